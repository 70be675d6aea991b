//! The interpreter against recorded results of a GPU, instruction by instruction.
//!
//! `conformance/recorded/ARCHITECTURE/NAME.bin` holds what `conformance/record.py` measured; programs without a recording
//! are run for their findings only.

#[path = "conformance/programs/mod.rs"]
mod programs;

use programs::{Argument, Program, Tolerance};
use ptx_vm::{Arg, BufferId, FindingKind, MapElement, Memory, Module, Options, Swizzle, TensorMap};
use std::path::Path;

/// Runs a program; the result is the contents of its output.
fn run(program: &Program, target: &str) -> (ptx_vm::Report, Vec<u8>) {
    let ptx = program.ptx.replace(&format!(".target {}\n", program.target), &format!(".target {target}\n"));
    let kernel = Module::parse(&ptx)
        .map_err(|e| e.to_string())
        .and_then(|m| m.kernel("program").map_err(|e| e.to_string()))
        .unwrap_or_else(|e| panic!("{}: {e}\n{ptx}", program.name));
    let mut memory = Memory::new();
    let mut buffers: Vec<Option<BufferId>> = Vec::new();
    let mut output = None;
    for argument in &program.arguments {
        buffers.push(match argument {
            Argument::Input(bytes) => Some(memory.add(bytes)),
            Argument::Output(bytes) => {
                output = Some(memory.reserve(*bytes));
                output
            }
            Argument::Map { .. } => None,
        });
    }
    let args: Vec<Arg> = program
        .arguments
        .iter()
        .zip(&buffers)
        .map(|(argument, buffer)| match (argument, buffer) {
            (Argument::Map { over, element, sizes, strides, tile, swizzle, nan }, _) => {
                let swizzle = match *swizzle {
                    "32B" => Swizzle::B32,
                    "64B" => Swizzle::B64,
                    "128B" => Swizzle::B128,
                    _ => Swizzle::None,
                };
                let over = buffers[*over].expect("a map lies over a buffer");
                let element: MapElement = serde_json::from_str(&format!("\"{element}\"")).expect("an element type");
                let map = TensorMap::tiled(element, over, 0, sizes, strides, tile, swizzle);
                let map = map.unwrap_or_else(|e| panic!("{}: {e}", program.name));
                Arg::TensorMap(if *nan { map.fill_with_nan() } else { map })
            }
            (_, Some(buffer)) => Arg::Buffer(*buffer),
            (_, None) => unreachable!("buffers were made for all others"),
        })
        .collect();
    let report = kernel
        .launch(&mut memory, [program.grid, 1, 1], [program.threads, 1, 1], program.shared, &args, &Options::default())
        .unwrap_or_else(|e| panic!("{}: {e}", program.name));
    (report, memory.bytes(output.expect("every program has an output")))
}

/// The first disagreement, or nothing.
fn compare(ours: &[u8], recorded: &[u8], tolerance: Tolerance) -> Option<String> {
    if ours.len() != recorded.len() {
        return Some(format!("{} bytes against {} recorded", ours.len(), recorded.len()));
    }
    // Results of one thread are 8 bytes; the tolerant ones hold one value in the lower half.
    let word = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("eight bytes"));
    for (i, (x, y)) in ours.chunks_exact(8).zip(recorded.chunks_exact(8)).enumerate() {
        let (x, y) = (word(x), word(y));
        let (fx, fy) = (f32::from_bits(x as u32), f32::from_bits(y as u32));
        let fits = match tolerance {
            Tolerance::Exact => x == y,
            Tolerance::Ulp32(n) => {
                (fx.is_nan() && fy.is_nan()) || ordered(x as u32, 31).abs_diff(ordered(y as u32, 31)) <= u64::from(n)
            }
            Tolerance::Absolute32(error) => {
                let near = ordered(x as u32, 31).abs_diff(ordered(y as u32, 31)) <= 2;
                (fx.is_nan() && fy.is_nan()) || near || (fx - fy).abs() <= error
            }
            Tolerance::UlpPairBf16(n) => pair(x, y, n, 0x7f80),
            Tolerance::UlpPairF16(n) => pair(x, y, n, 0x7c00),
            Tolerance::Relative64(error) => {
                let (x, y) = (f64::from_bits(x), f64::from_bits(y));
                (x.is_nan() && y.is_nan()) || x == y || (x - y).abs() <= error * y.abs()
            }
            Tolerance::Ulp16(n) => {
                let nan = |v: u64| v & 0x7fff > 0x7c00;
                (nan(x) && nan(y))
                    || ordered(x as u32 & 0xffff, 15).abs_diff(ordered(y as u32 & 0xffff, 15)) <= u64::from(n)
            }
        };
        if !fits {
            return Some(format!("case {i}: {x:#x} ({fx}), recorded {y:#x} ({fy})"));
        }
    }
    None
}

/// Whether both 16-bit floats of the lower words are within `most` units in the last place; NaNs are above `infinity`.
fn pair(x: u64, y: u64, most: u32, infinity: u32) -> bool {
    [0, 16].into_iter().all(|shift| {
        let (x, y) = (x as u32 >> shift & 0xffff, y as u32 >> shift & 0xffff);
        let nan = |v: u32| v & 0x7fff > infinity;
        (nan(x) && nan(y)) || ordered(x, 15).abs_diff(ordered(y, 15)) <= u64::from(most)
    })
}

/// Float patterns as integers in the order of their values.
fn ordered(bits: u32, sign: u32) -> i64 {
    let magnitude = i64::from(bits & ((1 << sign) - 1));
    if bits >> sign & 1 != 0 { -magnitude } else { magnitude }
}

/// What a recording is made on, by folder.
const FOLDERS: [(&str, &str); 2] = [("sm_80", "sm_80"), ("sm_90", "sm_90a")];

#[test]
fn recorded_results_are_reproduced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/recorded");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (folder, target) in FOLDERS {
        for program in programs::all() {
            let Ok(recorded) = std::fs::read(root.join(folder).join(format!("{}.bin", program.name))) else { continue };
            compared += 1;
            let (_, ours) = run(&program, target);
            if let Some(difference) = compare(&ours, &recorded, program.tolerance) {
                wrong.push(format!("{folder} {}: {difference}", program.name));
            }
        }
    }
    assert!(compared > 720, "only {compared} recordings were found in {}", root.display());
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether a program's tensor copy to global memory also changes what lies beyond the tensor's edge, which is a finding: where
/// rows end within 16 bytes. All of these programs reach the end of a row.
fn changes_beyond(program: &Program) -> bool {
    let Some(Argument::Map { element, sizes, .. }) = program.arguments.get(1) else { return false };
    let element: MapElement = serde_json::from_str(&format!("\"{element}\"")).expect("an element type");
    program.ptx.contains("d.global.shared::cta") && !(sizes[0] as usize * element.bytes()).is_multiple_of(16)
}

#[test]
fn every_program_runs_without_findings() {
    for program in programs::all() {
        let (report, _) = run(&program, program.target);
        if changes_beyond(&program) {
            let kinds: Vec<FindingKind> = report.findings.iter().map(|finding| finding.kind).collect();
            assert_eq!(kinds, [FindingKind::OutOfBounds], "{}:\n{report}\n{}", program.name, program.ptx);
        } else {
            assert!(report.is_clean(), "{}:\n{report}\n{}", program.name, program.ptx);
        }
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<String> = programs::all().into_iter().map(|p| p.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
