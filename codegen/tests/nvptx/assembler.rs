//! NVIDIA's assembler on the kernels of every example: nothing spilled, no repaired instructions, and what they take.
//!
//! Skipped, with a sentence, where there is no `ptxas`: `NSA_PTXAS` names one, else it is looked for in `PATH`.

use super::examples::{WAYS, Way, snapshot, ways};
use nsa_artifact::Target;
use nsa_codegen::assembler::{Assembled, Takes, assemble, find};
use nsa_codegen::emit::nvptx::PtxCode;
use nsa_dsl::Settings;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The assembler whose register counts are checked in; another one counts differently.
const PINNED: &str = "V13.5.37";

fn version(ptxas: &Path) -> String {
    let output = Command::new(ptxas).arg("--version").output().expect("ptxas starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Rows of the table for one module, and what is wrong with it.
fn look(way: &Way, code: &PtxCode, assembled: &Assembled) -> (Vec<String>, Vec<String>) {
    let repaired = assembled.said.lines().filter(|line| line.contains("C75"));
    let mut faults: Vec<String> = repaired.map(|line| format!("{}: {line}", way.name)).collect();
    let mut rows = vec![];
    assert_eq!(assembled.kernels.len(), code.kernels.len(), "{}: {}", way.name, assembled.said);
    for Takes { entry, registers, spilled } in &assembled.kernels {
        if *spilled > 0 {
            faults.push(format!("{}: {entry} spills {spilled} bytes", way.name));
        }
        let known = code.kernels.iter().find(|k| k.entry == *entry).expect("a kernel that was emitted");
        let mut row = format!("{:<40} {entry:<16}", way.name);
        write!(row, " {:>7} {registers:>9} {:>8} {spilled:>8}", known.threads, known.shared_bytes).expect("text");
        rows.push(row);
    }
    rows.sort();
    (rows, faults)
}

/// The same for many, in two threads.
fn assemble_all(ptxas: &Path, ways: &[Way]) -> (Vec<String>, Vec<String>) {
    let ways: Vec<&Way> = ways.iter().filter(|way| way.code.is_some()).collect();
    let half = ways.len().div_ceil(2);
    let one = |way: &&Way| {
        let (target, code) = way.code.as_ref()?;
        let assembled = assemble(ptxas, &code.text, *target).unwrap_or_else(|e| panic!("{}: {e}", way.name));
        Some(look(way, code, &assembled))
    };
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
    let Some(ptxas) = find() else {
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
    let Some(ptxas) = find() else {
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
