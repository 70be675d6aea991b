//! Nothing that is typed makes the parser, the checker or the printers panic, hang or grow without bound.

use nsa_dsl::{Settings, compile_source, parse};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The texts of all example programs.
fn examples() -> &'static [String] {
    static EXAMPLES: OnceLock<Vec<String>> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).expect("the examples").map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "nsa"));
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).expect("readable")).collect()
    })
}

/// Longest time that any one text may take: a hundred times what the slowest here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Words of the language and a few that are not.
const WORDS: &[&str] = &[
    "kernel",
    "const",
    "fn",
    "let",
    "element",
    "bf16",
    "i32",
    "f32",
    "if",
    "else",
    "in",
    "where",
    "sum",
    "max",
    "min",
    "mean",
    "softmax",
    "logsumexp",
    "top",
    "exp",
    "cast",
    "pos",
    "len",
    "attend",
    "score",
    "overlap",
    "block_mean",
    "force",
    "among",
    "true",
    "inf",
    "q",
    "k",
    "v",
    "t",
    "s",
    "g",
    "d",
    "o",
    "x",
    "y",
    "0",
    "1",
    "2",
    "16",
    "0.5",
    "9223372036854775807",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "=",
    "<",
    "<=",
    ">",
    "==",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "..",
    "->",
    ":",
    ".",
    "#",
    "'a",
    "\"text\"",
    "type",
    "é",
    "\\",
    "1e400",
    "// end\n",
    "/*",
    "*/",
];

/// Constants of the examples, and a name that is none.
const CONSTANTS: &[&str] = &[
    "d", "e", "g", "r", "n", "m", "L", "STRIDE", "BLOCK", "PAGE", "N", "FIRST", "LOCAL", "WINDOW", "REACH", "nothing",
];

/// Everything that can be done with a text; programs that compile are printed too.
fn exercise(text: &str) {
    let start = Instant::now();
    if let Ok(file) = parse("program.nsa", text) {
        let printed = file.to_string();
        let again = parse("printed.nsa", &printed).unwrap_or_else(|errors| panic!("{errors}\nof\n{text}"));
        assert_eq!(again.to_string(), printed, "printing is stable");
    }
    match compile_source("program.nsa", text, &Settings::default()) {
        Ok(program) => assert!(program.to_string().len() < 10_000_000),
        Err(errors) => assert!(errors.iter().count() > 0 && !errors.to_string().is_empty()),
    }
    if let Ok(tokens) = text.parse::<proc_macro2::TokenStream>()
        && let Err(errors) = nsa_dsl::compile_tokens(tokens.clone(), &Settings::default())
    {
        assert_eq!(errors.locate(&tokens).len(), errors.iter().count());
    }
    assert!(start.elapsed() < PATIENCE, "{:?} for\n{}", start.elapsed(), &text.chars().take(500).collect::<String>());
}

/// Splits a program into words and the spaces between.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    for c in text.chars() {
        let alphanumeric = c.is_alphanumeric() || c == '_';
        match words.last_mut() {
            Some(word) if alphanumeric && word.ends_with(|c: char| c.is_alphanumeric() || c == '_') => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5u8, prop::sample::select(WORDS));
    (prop::sample::select(examples()), prop::collection::vec(edit, 1..6)).prop_map(|(example, edits)| {
        let mut words = words(&example);
        for (at, other, kind, word) in edits {
            let (at, other) = (at.index(words.len()), other.index(words.len()));
            match kind {
                0 => words[at] = word.to_string(),
                1 => words.insert(at, format!(" {word} ")),
                2 => drop(words.remove(at)),
                3 => words.swap(at, other),
                _ => words[at] = words[other].clone(),
            }
            if words.is_empty() {
                words.push(String::new());
            }
        }
        words.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        exercise(&words.join(" "));
    }

    #[test]
    fn any_body(words in prop::collection::vec(prop::sample::select(WORDS), 0..25)) {
        exercise(&format!("kernel a(q[t, d = 4], k[s, d], v[s, e = 3]) -> o[t] {{ {} }}", words.join(" ")));
    }

    #[test]
    fn mutated_examples(text in mutated()) {
        exercise(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_settings(
        example in prop::sample::select(examples()),
        changes in prop::collection::vec((prop::sample::select(CONSTANTS), any::<i64>(), -3..70i64, any::<bool>()), 1..4),
    ) {
        let settings = changes.into_iter().fold(Settings::default(), |settings, (name, wide, small, is_small)| {
            settings.set(name, if is_small { small } else { wide })
        });
        if let Ok(program) = compile_source("program.nsa", &example, &settings) {
            prop_assert!(!program.to_string().is_empty());
        }
    }
}

/// Deep and wide texts end in an error, soon.
#[test]
fn deep_texts() {
    for text in [
        "(".repeat(50_000),
        "[".repeat(100) + &"]".repeat(100),
        format!("kernel a(q[t]) -> o[t] {{ {} }}", "q[".repeat(5_000) + &"]".repeat(5_000)),
        format!("kernel a(q[t]) -> o[t] {{ {}q }}", "!".repeat(20_000)),
        format!("kernel a(q[t]) -> o[t] {{ {}q }}", "sum[t] ".repeat(5_000)),
        format!("kernel a(q[t]) -> o[t] {{ q{} }}", " * q".repeat(20_000)),
        format!("kernel a(q[t]) -> o[t] {{ {} q }}", "let x = q;".repeat(1_000)),
        format!("kernel a(q[t]) -> o[t] {{ {} {{ q }} else {{ q }} }}", "if t < 1 { q } else ".repeat(3_000)),
        "const A = 1;".repeat(5_000),
    ] {
        exercise(&text);
    }
}
