//! `nsa vm`: any PTX in the interpreter.

use crate::failure::{Failure, at, print};
use ptx_vm::LaunchDescription;
use std::path::PathBuf;

/// Run a PTX file without a GPU, and look for races and other hazards.
#[derive(clap::Args)]
pub struct Arguments {
    /// The PTX.
    file: PathBuf,
    /// What to launch: {"kernel": "f", "grid": [4], "block": [128], "shared_bytes": 0,
    /// "buffers": {"x": {"element": "f32", "length": 512, "fill": {"random": {"low": -1, "high": 1}}}},
    /// "args": [{"buffer": "x"}, {"u32": 512}], "seeds": [1, 2, 3]}
    #[arg(long, value_name = "FILE.json", verbatim_doc_comment)]
    launch: PathBuf,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(at(path));
    let description = LaunchDescription::from_json(&read(&arguments.launch)?).map_err(at(&arguments.launch))?;
    let outcome = description.run(&read(&arguments.file)?).map_err(at(&arguments.file))?;
    if arguments.json {
        let line = serde_json::to_string(&outcome).map_err(|e| Failure::Sentence(e.to_string()))?;
        print(&format!("{line}\n"))?;
    } else {
        let mut text = String::new();
        for run in &outcome.reports {
            text += &format!("{}, seed {}: {}\n", outcome.kernel, run.seed, run.report);
        }
        for (name, buffer) in &outcome.buffers {
            text += &format!("{name}: {:?}", buffer.head);
            text += &format!(", sum {}", buffer.sum);
            if buffer.non_finite > 0 {
                text += &format!(", {} not finite", buffer.non_finite);
            }
            if buffer.uninitialised_bytes > 0 {
                text += &format!(", {} bytes never written", buffer.uninitialised_bytes);
            }
            text.push('\n');
        }
        print(&text)?;
    }
    match outcome.reports.iter().filter(|r| !r.report.is_clean()).count() {
        0 => Ok(()),
        _ => Err("the kernel has hazards".to_string().into()),
    }
}
