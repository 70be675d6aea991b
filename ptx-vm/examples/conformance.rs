//! Writes the conformance programs to a folder, for `tests/conformance/record.py` to run on a GPU.

#[path = "../tests/conformance/programs/mod.rs"]
mod programs;

use programs::{Argument, Tolerance};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: conformance FOLDER")?;
    let folder = std::path::Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let programs = programs::all();
    for program in &programs {
        let mut arguments = Vec::new();
        for (i, argument) in program.arguments.iter().enumerate() {
            arguments.push(match argument {
                Argument::Input(bytes) => {
                    let file = format!("{}.{i}.bin", program.name);
                    std::fs::write(folder.join(&file), bytes)?;
                    json!({ "input": file })
                }
                Argument::Output(bytes) => json!({ "output": bytes }),
                Argument::Map { over, element, sizes, strides, tile, swizzle, nan } => json!({ "map": {
                    "over": over, "element": element, "sizes": sizes, "strides": strides, "tile": tile, "swizzle": swizzle,
                    "nan": nan
                } }),
            });
        }
        // The recorder compares nothing; what the test allows is written down for the reader.
        let tolerance = match program.tolerance {
            Tolerance::Exact => "exact".to_string(),
            Tolerance::Ulp32(n) => format!("{n} ulp of f32"),
            Tolerance::Ulp16(n) => format!("{n} ulp of f16"),
            Tolerance::UlpPairF16(n) => format!("{n} ulp of f16"),
            Tolerance::Relative64(error) => format!("{error} of an f64"),
            Tolerance::UlpPairBf16(n) => format!("{n} ulp of bf16"),
            Tolerance::Absolute32(error) => format!("{error} in f32"),
        };
        let description = json!({
            "target": program.target, "grid": program.grid, "threads": program.threads, "shared": program.shared, "arguments": arguments,
            "tolerance": tolerance,
        });
        std::fs::write(folder.join(format!("{}.json", program.name)), description.to_string())?;
        std::fs::write(folder.join(format!("{}.ptx", program.name)), &program.ptx)?;
    }
    println!("{} programs in {}", programs.len(), folder.display());
    Ok(())
}
