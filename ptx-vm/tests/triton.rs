//! Kernels printed by another compiler: Triton's flash attention, cross-compiled without a GPU.
//!
//! Triton is looked for in `$PTX_VM_PYTHON`, or `python3`; without it these tests say so and are skipped.

mod attention;

use attention::{Attention, Element};
use ptx_vm::Options;
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
    run_clean("sm90");
}

/// Statements whose loss or weakening must show.
const SYNCHRONISING: [&str; 9] = [
    "bar.sync",
    "bar.warp.sync",
    "cp.async.commit_group",
    "cp.async.wait_group",
    "fence.proxy.async",
    "wgmma.fence",
    "wgmma.commit_group",
    "wgmma.wait_group",
    "mbarrier.",
];

/// A text with one statement changed.
struct Mutant {
    /// The statement, its number among the kernel's synchronising ones, and what was done to it.
    what: String,
    text: String,
}

fn mutants(text: &str) -> Vec<Mutant> {
    let mut all = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let statement = line.trim().trim_end_matches(';');
        if SYNCHRONISING.iter().any(|s| statement.starts_with(s)) {
            let with = |new: &str| format!("{}{new}{}", &text[..start], &text[start + line.len()..]);
            let number = all.len();
            all.push(Mutant { what: format!("{number}: {statement} deleted"), text: with("\n") });
            if let Some((wait, left)) = statement.rsplit_once([' ', '\t'])
                && statement.contains("wait_group")
                && let Ok(left) = left.parse::<u32>()
            {
                let number = all.len();
                let weaker = format!("{wait} {};\n", left + 1);
                all.push(Mutant { what: format!("{number}: {statement} weakened"), text: with(&weaker) });
            }
        }
        start += line.len();
    }
    all
}

/// Mutants that compute the right values in every order, and why. Numbers are those of Triton 3.9.0.
const EQUIVALENT: &[(&str, &str, &str)] = &[];

#[test]
fn mutants_are_found() {
    let (mut found, mut harmless, mut missed) = (0, 0, Vec::new());
    for (name, text, attention) in kernels("sm").into_iter().filter(|(name, ..)| name.contains("_bf16_")) {
        for mutant in mutants(&text) {
            let caught = [(300, 1), (100, 2)].into_iter().any(|(n, seed)| {
                let options = Options { seed, instruction_limit: 1 << 22, ..Options::default() };
                let (report, error) = attention.run(&mutant.text, n, 1, &options);
                !report.is_clean() || error > 2e-2
            });
            if caught {
                found += 1;
            } else if EQUIVALENT.iter().any(|(kernel, what, _)| name.contains(kernel) && mutant.what == *what) {
                harmless += 1;
            } else {
                missed.push(format!("{name}, {}", mutant.what));
            }
        }
    }
    if found > 0 {
        eprintln!("{found} mutants found, {harmless} equivalent, {} missed\n{}", missed.len(), missed.join("\n"));
        assert!(missed.len() * 19 <= found, "more than 5% missed:\n{}", missed.join("\n"));
    }
}
