//! NVIDIA's assembler on the kernels of every example: no repaired instructions, and what they take and spill.
//!
//! Skipped, with a sentence, where there is no `ptxas`: `NSA_PTXAS` names one, else it is looked for in `PATH`.

use super::examples::{WAYS, Way, snapshot};
use nsa_codegen::assembler::{Assembled, Takes, assemble, find};
use nsa_codegen::emit::nvptx::PtxCode;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The assembler whose register counts are checked in; another one counts differently.
const PINNED: &str = "V13.5.37";

fn version(ptxas: &Path) -> String {
    let output = Command::new(ptxas).arg("--version").output().expect("ptxas starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Examples none of whose kernels may spill. The others' spills are in the table: masks that are alternatives, or lists of
/// several kinds, keep more in registers than the tiles leave.
const WITHOUT_SPILLS: [&str; 4] = ["full_attention", "nsa", "nsa_mlp", "window"];

/// Rows of the table for one module, and what is wrong with it.
fn look(way: &Way, code: &PtxCode, assembled: &Assembled) -> (Vec<String>, Vec<String>) {
    let may_spill = !WITHOUT_SPILLS.iter().any(|name| way.name.starts_with(&format!("{name}-")));
    let repaired = assembled.said.lines().filter(|line| line.contains("C75"));
    let mut faults: Vec<String> = repaired.map(|line| format!("{}: {line}", way.name)).collect();
    let mut rows = vec![];
    assert_eq!(assembled.kernels.len(), code.kernels.len(), "{}: {}", way.name, assembled.said);
    for Takes { entry, registers, spilled } in &assembled.kernels {
        if *spilled > 0 && !may_spill {
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

#[test]
fn examples_assemble_as_the_table_says() {
    let Some(ptxas) = find() else {
        println!("skipped: no ptxas; set NSA_PTXAS or install the wheel nvidia-cuda-nvcc");
        return;
    };
    let ways: Vec<&Way> = WAYS.iter().filter(|way| way.code.is_some()).collect();
    let half = ways.len().div_ceil(2);
    let found: Vec<(Vec<String>, Vec<String>)> = std::thread::scope(|scope| {
        let one = |way: &&Way| {
            let (target, code) = way.code.as_ref()?;
            let assembled = assemble(&ptxas, &code.text, *target).unwrap_or_else(|e| panic!("{}: {e}", way.name));
            Some(look(way, code, &assembled))
        };
        let threads: Vec<_> = ways
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().filter_map(one).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the assembler runs")).collect()
    });
    let faults: Vec<String> = found.iter().flat_map(|(_, faults)| faults.clone()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    if !version(&ptxas).contains(PINNED) {
        println!("not compared with the checked-in table: that is of ptxas {PINNED}");
        return;
    }
    let head = format!(
        "{:<40} {:<16} {:>7} {:>9} {:>8} {:>8}",
        "example, target, variant", "kernel", "threads", "registers", "shared", "spilled"
    );
    let rows: Vec<String> = std::iter::once(head).chain(found.into_iter().flat_map(|(rows, _)| rows)).collect();
    snapshot("", "resources", &rows.join("\n"));
}
