//! `nsa vm`: any PTX in the interpreter.

use crate::failure::{Failure, at, print};
use crate::reading::read;
use ptx_vm::LaunchDescription;
use std::path::{Path, PathBuf};

/// Run a PTX file without a GPU, and look for races and other hazards.
#[derive(clap::Args)]
pub struct Arguments {
    /// The PTX; - for the standard input.
    file: PathBuf,
    /// What to launch: {"kernel": "f", "grid": [4], "block": [128], "shared_bytes": 0,
    /// "buffers": {"x": {"element": "f32", "length": 512, "fill": {"random": {"low": -1, "high": 1}}}},
    /// "args": [{"buffer": "x"}, {"u32": 512}], "seeds": [1, 2, 3]}
    #[arg(long, value_name = "FILE.json", verbatim_doc_comment)]
    launch: PathBuf,
    /// One line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (launch, json) = read(&arguments.launch)?;
    let description = LaunchDescription::from_json(&json).map_err(at(Path::new(&launch)))?;
    let (file, text) = read(&arguments.file)?;
    let outcome = description.run(&text).map_err(at(Path::new(&file)))?;
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
        _ => Err(Failure::Verdict("the kernel has hazards".into())),
    }
}
