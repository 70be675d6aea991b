//! `nsa ptx`: the GPU code of a program.

use crate::failure::{Failure, at, print};
use crate::program::Source;
use crate::roofline::Costs;
use nsa_artifact::Target;
use std::path::PathBuf;

/// Print the PTX of a program.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The GPU: sm_80 (A100 and later) or sm_90a (H100, H200).
    #[arg(long, visible_aliases = ["target", "targets"], default_value = "sm_80")]
    arch: String,
    #[command(flatten)]
    machine: Costs,
    /// Which way to run the program, by its label, if there are several; the last one is the general one.
    #[arg(long)]
    variant: Option<String>,
    /// Write to a file instead.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target: Target = arguments.arch.parse()?;
    if !target.is_gpu() {
        return Err(format!("{target} is no GPU: sm_80 and sm_90a are").into());
    }
    let chosen = arguments.source.load()?;
    let options = arguments.machine.options(&chosen, vec![target])?;
    let artifact = nsa_codegen::compile(&chosen.program, &options)?.artifact;
    let variants = artifact.manifest().target(target).map_or(&[][..], |t| &t.variants);
    let labels: Vec<&str> = variants.iter().map(|v| v.label.as_str()).collect();
    let wanted = arguments.variant.as_deref().or(labels.last().copied()).unwrap_or_default();
    let Some(variant) = variants.iter().find(|v| v.label == wanted) else {
        return Err(format!("there is no variant `{wanted}`; there are {}", labels.join(", ")).into());
    };
    if arguments.variant.is_none() && labels.len() > 1 {
        eprintln!("this is the variant for {wanted}; others (--variant): {}", labels[..labels.len() - 1].join(", "));
    }
    let text = artifact.text(variant.code.payload()).unwrap_or_default();
    match &arguments.output {
        Some(path) => std::fs::write(path, text).map_err(at(path)),
        None => print(text),
    }
}
