//! Writes the conformance programs to a folder, for `tests/conformance/record.py` to run on a GPU.

// The interpreter's side of a program, its tolerance, is for the test.
#[allow(dead_code)]
#[path = "../tests/conformance/programs/mod.rs"]
mod programs;

use programs::Argument;
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
                Argument::Map { over, element, sizes, strides, tile, swizzle } => json!({ "map": {
                    "over": over, "element": element, "sizes": sizes, "strides": strides, "tile": tile, "swizzle": swizzle
                } }),
            });
        }
        let description = json!({ "threads": program.threads, "shared": program.shared, "arguments": arguments });
        std::fs::write(folder.join(format!("{}.json", program.name)), description.to_string())?;
        std::fs::write(folder.join(format!("{}.ptx", program.name)), &program.ptx)?;
    }
    println!("{} programs in {}", programs.len(), folder.display());
    Ok(())
}
