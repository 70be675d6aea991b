//! NVIDIA's assembler on the kernels of every example: nothing spilled, no repaired instructions, and what they take.
//!
//! Skipped, with a sentence, where there is no `ptxas`: `NSA_PTXAS` names one, else it is looked for in `PATH`.

use super::examples::{WAYS, Way, snapshot, ways};
use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_dsl::Settings;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The assembler whose register counts are checked in; another one counts differently.
const PINNED: &str = "V13.5.37";

fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NSA_PTXAS") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("ptxas")).find(|path| path.is_file())
}

fn version(ptxas: &Path) -> String {
    let output = Command::new(ptxas).arg("--version").output().expect("ptxas starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the assembler says about a module.
fn assemble(ptxas: &Path, text: &str, target: nvptx::Target) -> String {
    let mut child = Command::new(ptxas)
        .args(["-v", "-warn-spills", &format!("-arch={}", target.name()), "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ptxas starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("ptxas reads");
    let output = child.wait_with_output().expect("ptxas ends");
    let text = String::from_utf8_lossy(&output.stderr).to_string() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text
}

/// The number before a word, as in `96 registers`.
fn number_before(line: &str, word: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|w| w.trim_end_matches(',') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

/// Rows of the table for one module, and what is wrong with it.
fn look(way: &Way, said: &str) -> (Vec<String>, Vec<String>) {
    let Some((_, code)) = &way.code else { return Default::default() };
    let (mut rows, mut faults, mut kernel, mut spilled) = (vec![], vec![], String::new(), 0);
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            kernel = rest.split('\'').next().unwrap_or_default().to_string();
        }
        if line.contains("bytes stack frame") {
            let stores = line.split(',').find(|part| part.contains("bytes spill stores"));
            spilled = stores.and_then(|part| number_before(part, "bytes")).expect("bytes of spills");
        }
        if line.contains("C75") {
            faults.push(format!("{}: {kernel}: {line}", way.name));
        }
        if let Some(registers) = number_before(line, "registers") {
            if spilled > 0 {
                faults.push(format!("{}: {kernel} spills {spilled} bytes", way.name));
            }
            let known = code.kernels.iter().find(|k| k.entry == kernel).expect("a kernel that was emitted");
            let mut row = format!("{:<40} {kernel:<16}", way.name);
            write!(row, " {:>7} {registers:>9} {:>8} {spilled:>8}", known.threads, known.shared_bytes).expect("text");
            rows.push(row);
        }
    }
    rows.sort();
    (rows, faults)
}

/// The same for many, in two threads.
fn assemble_all(ptxas: &Path, ways: &[Way]) -> (Vec<String>, Vec<String>) {
    let ways: Vec<&Way> = ways.iter().filter(|way| way.code.is_some()).collect();
    let half = ways.len().div_ceil(2);
    let one = |way: &&Way| way.code.as_ref().map(|(target, code)| look(way, &assemble(ptxas, &code.text, *target)));
    let found: Vec<(Vec<String>, Vec<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = ways
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().filter_map(one).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the assembler runs")).collect()
    });
    let (rows, faults): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    (rows.concat(), faults.concat())
}

/// Wide heads, and groups as large as they get.
#[test]
fn nothing_spills_at_other_sizes() {
    let Some(ptxas) = ptxas() else {
        println!("skipped: no ptxas; set NSA_PTXAS or install the wheel nvidia-cuda-nvcc");
        return;
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nsa.nsa");
    let sizes =
        [[("d", 192), ("e", 128), ("r", 16)], [("d", 256), ("e", 256), ("r", 16)], [("d", 128), ("e", 128), ("r", 64)]];
    let all: Vec<Way> = sizes
        .iter()
        .flat_map(|sizes| {
            let settings = sizes.iter().fold(Settings::default(), |settings, &(name, n)| settings.set(name, n));
            ways(&example, &settings, &[Target::Sm80, Target::Sm90a])
        })
        .collect();
    assert_eq!(all.len(), 4 * sizes.len(), "two targets, two variants");
    let (_, faults) = assemble_all(&ptxas, &all);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn examples_assemble_as_the_table_says() {
    let Some(ptxas) = ptxas() else {
        println!("skipped: no ptxas; set NSA_PTXAS or install the wheel nvidia-cuda-nvcc");
        return;
    };
    let (rows, faults) = assemble_all(&ptxas, &WAYS);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    if !version(&ptxas).contains(PINNED) {
        println!("not compared with the checked-in table: that is of ptxas {PINNED}");
        return;
    }
    let head = format!(
        "{:<40} {:<16} {:>7} {:>9} {:>8} {:>8}",
        "example, target, variant", "kernel", "threads", "registers", "shared", "spilled"
    );
    let rows: Vec<String> = std::iter::once(head).chain(rows).collect();
    snapshot("", "resources", &rows.join("\n"));
}
