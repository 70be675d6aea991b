//! The book: its programs compile, its commands print what it says, its links lead somewhere, its pictures are what
//! `nsa` draws.
//!
//! `NSA_UPDATE_BOOK=1 cargo test -p nsa-cli --test book` writes the output of commands and the pictures anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Pictures in the repository, and the commands that draw them; `@` stands for the file.
const PICTURES: [(&str, &str); 5] = [
    ("nsa.svg", "draw examples/nsa.nsa --set t=4096 g=1 r=4 d=32 e=32 -o @"),
    ("window.svg", "draw examples/window_with_sinks.nsa --set t=256 g=1 r=1 d=4 e=4 SINKS=8 WINDOW=64 -o @"),
    ("documents.svg", "draw examples/documents.nsa --set t=256 g=1 r=1 d=4 e=4 -o @"),
    ("moba.svg", "draw examples/moba.nsa --set t=256 g=1 r=1 d=16 e=16 BLOCK=16 N=4 -o @"),
    ("pipeline.svg", "explain examples/nsa.nsa --target sm_90a --svg @"),
];

fn updating() -> bool {
    std::env::var_os("NSA_UPDATE_BOOK").is_some()
}

fn source() -> PathBuf {
    Path::new(ROOT).join("book/src")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chapters, in the order of the summary.
fn chapters() -> Vec<PathBuf> {
    links(&read(&source().join("SUMMARY.md"))).into_iter().map(|link| source().join(link)).collect()
}

/// Targets of links. Code has none: what looks like one there has spaces.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains(char::is_whitespace)).collect()
}

/// A block of code.
struct Block {
    /// What follows the three ticks.
    info: String,
    /// Lines between them, as numbers in the file, counted from 0.
    lines: std::ops::Range<usize>,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut open: Option<(String, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_string(), number + 1)),
            (Some((info, start)), Some("")) => {
                let lines = *start..number;
                let body: Vec<&str> = text.lines().skip(*start).take(lines.len()).collect();
                blocks.push(Block { info: info.clone(), lines, text: body.join("\n") + "\n" });
                open = None;
            }
            _ => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

#[test]
fn the_summary_names_every_chapter_and_links_lead_somewhere() {
    let named = chapters();
    for entry in std::fs::read_dir(source()).expect("the book") {
        let path = entry.expect("an entry").path();
        let is_chapter = path.extension().is_some_and(|ending| ending == "md") && !path.ends_with("SUMMARY.md");
        assert!(!is_chapter || named.contains(&path), "{} is not in the summary", path.display());
    }
    for chapter in named {
        let text = read(&chapter);
        assert!(text.starts_with("# "), "{} has no title", chapter.display());
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() { chapter.clone() } else { source().join(file) };
            assert!(target.exists(), "{}: {link} does not exist", chapter.display());
            if let Some(anchor) = anchor {
                let known = |line: &str| line.starts_with('#') && slug(line) == anchor;
                assert!(read(&target).lines().any(known), "{}: {link} has no such heading", chapter.display());
            }
        }
    }
}

/// What a heading is called in links.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn programs_compile() {
    let mut count = 0;
    for chapter in chapters() {
        for block in blocks(&read(&chapter)).into_iter().filter(|block| block.info.split(',').next() == Some("nsa")) {
            let compiled = nsa_dsl::compile_source("block.nsa", &block.text, &nsa_dsl::Settings::default());
            let place = format!("{}, line {}", chapter.display(), block.lines.start);
            match (compiled, block.info.contains("fails")) {
                (Err(errors), false) => panic!("{place}:\n{}", errors.render(false)),
                (Ok(_), true) => panic!("{place}: compiles"),
                (Ok(program), false) => {
                    assert_eq!(program.warnings().is_some(), block.info.contains("warns"), "{place}");
                    count += 1;
                }
                _ => count += 1,
            }
        }
    }
    assert!(count >= 10, "{count} programs");
}

/// A folder with the examples and the programs that blocks name.
fn workplace() -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("book");
    std::fs::create_dir_all(place.join("examples")).expect("a folder");
    for entry in std::fs::read_dir(Path::new(ROOT).join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "nsa") {
            std::fs::copy(&path, place.join("examples").join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    for chapter in chapters() {
        for block in blocks(&read(&chapter)) {
            if let Some((_, name)) = block.info.split_once("file=") {
                std::fs::write(place.join(name), &block.text).expect("written");
            }
        }
    }
    place
}

/// What a command prints: standard output, then standard error.
fn output(place: &Path, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words.first(), Some(&"nsa"), "{command}: only `nsa` is run");
    let output = Command::new(env!("CARGO_BIN_EXE_nsa"))
        .env("NSA_PTXAS", "")
        .args(&words[1..])
        .current_dir(place)
        .output()
        .expect("started");
    String::from_utf8_lossy(&output.stdout).to_string() + &String::from_utf8_lossy(&output.stderr)
}

/// Whether lines are as expected. `...` alone stands for any lines, inside a line for anything.
fn matches(expected: &[&str], lines: &[&str]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=lines.len()).any(|skip| matches(rest, &lines[skip..])),
        (Some((pattern, rest)), Some((line, more))) => like(pattern, line) && matches(rest, more),
        _ => false,
    }
}

fn like(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (number, part) in parts.iter().enumerate() {
        let found = if number + 1 == parts.len() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn commands_print_what_the_book_says() {
    let place = workplace();
    let mut count = 0;
    for chapter in chapters() {
        let text = read(&chapter);
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        // From the end, so that places stay what they are while lines change.
        for block in blocks(&text).into_iter().rev().filter(|block| block.info == "console") {
            let mut shown = vec![];
            let mut expected: Vec<(&str, Vec<&str>)> = vec![];
            for line in block.text.lines() {
                match (line.strip_prefix("$ "), expected.last_mut()) {
                    (Some(command), _) => expected.push((command, vec![])),
                    (None, Some((_, lines))) => lines.push(line),
                    (None, None) => panic!("{}: output without a command: {line}", chapter.display()),
                }
            }
            for (command, expected) in expected {
                let printed = output(&place, command);
                let printed: Vec<&str> = printed.trim_end().lines().map(str::trim_end).collect();
                let fixed = expected.iter().any(|line| line.contains("..."));
                let right = matches(&expected, &printed);
                shown.push(format!("$ {command}"));
                if updating() && !fixed {
                    shown.extend(printed.iter().map(|line| line.to_string()));
                } else {
                    let place = chapter.display();
                    assert!(
                        right,
                        "{place}: `{command}` prints\n{}\n(NSA_UPDATE_BOOK=1 writes that)",
                        printed.join("\n")
                    );
                    shown.extend(expected.iter().map(|line| line.to_string()));
                }
                count += 1;
            }
            lines.splice(block.lines, shown);
        }
        if updating() {
            std::fs::write(&chapter, lines.join("\n") + "\n").expect("written");
        }
    }
    assert!(count >= 5, "{count} commands");
}

#[test]
fn patterns_match() {
    assert!(matches(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(matches(&["a", "..."], &["a"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(like("took ... ms of ...", "took 3 ms of 7"));
    assert!(like("x...x", "x and x") && !like("x...x", "x") && !like("ab", "abc"));
    assert_eq!(slug("## Why is it 2e-3?"), "why-is-it-2e-3");
}

#[test]
fn pictures_are_what_is_drawn() {
    let known: BTreeMap<_, _> = PICTURES.into_iter().collect();
    let folder = source().join("pictures");
    for (name, command) in &known {
        let ours = folder.join(name);
        let drawn = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("book-{name}"));
        let command = command.replace('@', drawn.to_str().expect("text"));
        let output = Command::new(env!("CARGO_BIN_EXE_nsa"))
            .env("NSA_PTXAS", "")
            .args(command.split(' '))
            .current_dir(ROOT)
            .output()
            .expect("started");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if updating() {
            std::fs::copy(&drawn, &ours).expect("copied");
        }
        assert!(
            read(&ours) == read(&drawn),
            "{name} is not what `nsa {command}` draws; NSA_UPDATE_BOOK=1 draws it anew"
        );
    }
    for entry in std::fs::read_dir(folder).expect("pictures") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(known.contains_key(name.as_str()), "nobody draws {name}");
    }
}
