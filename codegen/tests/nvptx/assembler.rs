//! NVIDIA's assembler on the kernels of every example: no spills, and how many registers they take.
//!
//! Skipped, with a sentence, where there is no `ptxas`: `NSA_PTXAS` names one, else it is looked for in `PATH`.

use nsa_artifact::Target;
use nsa_codegen::emit::nvptx::{self, PtxCode};
use nsa_codegen::{Options, lower};
use nsa_dsl::{Settings, compile_source};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NSA_PTXAS") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("ptxas")).find(|path| path.is_file())
}

/// What the assembler says about a module.
fn assemble(ptxas: &PathBuf, code: &PtxCode, target: nvptx::Target) -> String {
    let mut child = Command::new(ptxas)
        .args(["-v", "-warn-spills", &format!("-arch={}", target.name()), "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ptxas starts");
    child.stdin.take().expect("a pipe").write_all(code.text.as_bytes()).expect("ptxas reads");
    let output = child.wait_with_output().expect("ptxas ends");
    let text = String::from_utf8_lossy(&output.stderr).to_string() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text
}

fn number_before(line: &str, word: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|w| w.trim_end_matches(',') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

/// Bytes that a thread may spill. The dense kernels of 32 rows per warp at width 128 use every register and spill some
/// addresses outside their inner contractions; anything beyond that is a mistake.
const SPILL_BUDGET: u32 = 64;

#[test]
fn examples_assemble_within_the_spill_budget() {
    let Some(ptxas) = ptxas() else {
        println!("skipped: no ptxas; set NSA_PTXAS or install the wheel nvidia-cuda-nvcc");
        return;
    };
    let mut faults = vec![];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let files = std::fs::read_dir(folder).expect("the examples").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "nsa")).collect();
    files.sort();
    for path in files {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let source = std::fs::read_to_string(&path).expect("an example");
        let program = compile_source(name, &source, &Settings::default()).unwrap_or_else(|e| panic!("{e}"));
        for (target, gpu) in [(Target::Sm80, nvptx::Target::Sm80), (Target::Sm90a, nvptx::Target::Sm90a)] {
            let lowered = lower(&program, target, &Options::default()).expect("plans");
            for variant in &lowered.variants {
                let code = nvptx::emit(&variant.plan, gpu).expect("PTX");
                if let Some(folder) = std::env::var_os("NSA_KEEP_PTX") {
                    let file = format!("{name}-{}-{}.ptx", gpu.name(), variant.label.replace(' ', "-"));
                    std::fs::write(PathBuf::from(folder).join(file), &code.text).expect("a folder for PTX");
                }
                let text = assemble(&ptxas, &code, gpu);
                let mut kernel = String::new();
                for line in text.lines() {
                    if let Some(rest) = line.split("Compiling entry function '").nth(1) {
                        kernel = rest.split('\'').next().unwrap_or_default().to_string();
                    }
                    let bytes = line.split(',').filter(|part| part.contains("bytes spill"));
                    let spilled = bytes.filter_map(|part| number_before(part, "bytes")).any(|n| n > SPILL_BUDGET);
                    if spilled || line.contains("C75") {
                        faults.push(format!("{name} {} {}: {kernel}: {line}", gpu.name(), variant.label));
                    }
                    if let Some(registers) = number_before(line, "registers") {
                        let shared = code.kernels.iter().find(|k| k.entry == kernel).map_or(0, |k| k.shared_bytes);
                        println!(
                            "{name} {} {}: {kernel}: {registers} registers, {shared} bytes of shared memory",
                            gpu.name(),
                            variant.label
                        );
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
