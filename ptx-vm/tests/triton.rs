//! Kernels printed by another compiler: Triton's flash attention, cross-compiled without a GPU.
//!
//! Triton is looked for in `$PTX_VM_PYTHON`, or `python3`; without it these tests say so and are skipped.

mod attention;

use attention::{Attention, Element};
use ptx_vm::Options;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of generated PTX, or `None` without Triton.
fn corpus() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let python = std::env::var("PTX_VM_PYTHON").unwrap_or_else(|_| "python3".into());
            let present = Command::new(&python).args(["-c", "import triton"]).output();
            if !present.is_ok_and(|out| out.status.success()) {
                eprintln!("skipped: {python} has no Triton (pip install triton)");
                return None;
            }
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("triton-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("the target folder can be written");
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/flash_attention.py");
            let out = Command::new(&python).arg(script).arg(&folder).output().expect("python starts");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            Some(folder)
        })
        .as_deref()
}

/// The kernels of a target with the attention each computes.
fn kernels(target: &str) -> Vec<(String, String, Attention)> {
    let Some(folder) = corpus() else { return Vec::new() };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with(target) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("PTX text");
        let shared = text.lines().next().and_then(|l| l.strip_prefix("// shared ")).expect("the first line");
        let parts: Vec<&str> = name.split('_').collect();
        let shape: Vec<u32> = parts[3].split('x').map(|n| n.parse().expect("a number")).collect();
        let attention = Attention {
            element: if parts[1] == "bf16" { Element::Bf16 } else { Element::F16 },
            causal: parts[2] == "causal",
            rows: shape[0],
            width: shape[2] as usize,
            threads: parts[4][1..].parse::<u32>().expect("warps") * 32,
            shared: shared.trim().parse().expect("bytes"),
        };
        all.push((name, text, attention));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn run_clean(target: &str) {
    for (name, text, attention) in kernels(target) {
        for (seed, n) in [(1, 64), (2, 100), (3, 129)] {
            let (report, error) = attention.run(&text, n, 1, &Options { seed, ..Options::default() });
            assert!(report.is_clean(), "{name}, n = {n}:\n{report}");
            assert!(error < 2e-2, "{name}, n = {n}: error {error}");
        }
    }
}

#[test]
fn ampere_kernels_are_right_and_clean() {
    run_clean("sm80");
}

#[test]
fn hopper_kernels_are_right_and_clean() {
    if triton_version() == "3.6.0" {
        eprintln!(
            "skipped: Triton 3.6.0 prints no fence.proxy.async between cp.async and wgmma; the interpreter finds it (README.md)"
        );
        return;
    }
    run_clean("sm90");
}

/// The release whose kernels the list of equivalent mutants was reviewed for.
const REVIEWED: &str = "3.9.0";

/// Lines `kernel: mutant | reason`, of the mutants that compute the same in every order of the warps.
const EQUIVALENT: &str = include_str!("corpus/equivalent_mutants.txt");

fn triton_version() -> String {
    let python = std::env::var("PTX_VM_PYTHON").unwrap_or_else(|_| "python3".into());
    let out = Command::new(python).args(["-c", "import triton; print(triton.__version__)"]).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string()).unwrap_or_default()
}

#[test]
fn mutants_are_found() {
    let listed: Vec<&str> = EQUIVALENT
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").unwrap_or_else(|| panic!("`{line}` has no reason")).0)
        .collect();
    let mut tallies: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let (mut used, mut missed) = (Vec::new(), Vec::new());
    for (name, text, attention) in kernels("sm").into_iter().filter(|(name, ..)| name.contains("_bf16_")) {
        for mutant in ptx_vm::mutants(&text).unwrap_or_else(|e| panic!("{name}: {e}")) {
            let caught = [(300, 1), (100, 2)].into_iter().any(|(n, seed)| {
                let options = Options { seed, instruction_limit: 1 << 22, ..Options::default() };
                let (report, error) = attention.run(&mutant.text, n, 1, &options);
                !report.is_clean() || error > 2e-2
            });
            let opcode = mutant.statement.split(' ').next().unwrap_or_default();
            let tally = tallies.entry(format!("{opcode} {}", mutant.change)).or_default();
            let at = format!("{name}: {}", mutant.name());
            if caught {
                tally[0] += 1;
            } else if listed.contains(&at.as_str()) {
                tally[1] += 1;
                used.push(at);
            } else {
                tally[2] += 1;
                missed.push(format!("{at} (line {})", mutant.line));
            }
        }
    }
    let found: usize = tallies.values().map(|t| t[0]).sum();
    if found == 0 {
        return;
    }
    println!("{:44} found  equivalent  missed", "");
    for (what, [found, equivalent, missed]) in &tallies {
        println!("{what:44} {found:5}  {equivalent:10}  {missed:6}");
    }
    let stale: Vec<&&str> = listed.iter().filter(|at| !used.iter().any(|u| u == *at)).collect();
    let report = format!("missed:\n{}\nlisted, but found or gone:\n{stale:#?}", missed.join("\n"));
    println!("{found} mutants found, {} equivalent, {} missed", used.len(), missed.len());
    let version = triton_version();
    if version != REVIEWED {
        eprintln!(
            "nothing was asserted: the list of equivalent mutants is that of Triton {REVIEWED}, this is {version}\n{report}"
        );
        return;
    }
    assert!(missed.len() * 19 <= found, "more than 5% are missed\n{report}");
    assert!(stale.is_empty(), "{report}");
}
