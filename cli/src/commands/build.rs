//! `nsa build`: a program as an artifact, one file that the runtime loads.

use crate::failure::{Failure, at, print};
use crate::program::{Source, targets};
use crate::reading::is_standard_input;
use crate::roofline::Costs;
use crate::text::bytes;
use nsa_artifact::Code;
use std::path::PathBuf;

/// Compile a program to an artifact: one file with the kernels for several targets.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Targets, separated by commas: sm_80, sm_90a, x86_64, aarch64, host, or all.
    #[arg(long, visible_aliases = ["target", "arch"], default_value = "sm_80,sm_90a,host")]
    targets: String,
    #[command(flatten)]
    machine: Costs,
    /// The file; by default that of the program (the kernel's name, if it comes from the standard input) with the extension .nsak.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    let targets = targets(&arguments.targets)?;
    let artifact = nsa_codegen::compile(&chosen.program, &arguments.machine.options(&chosen, targets)?)?.artifact;
    let own = || match is_standard_input(&arguments.source.file) {
        true => PathBuf::from(format!("{}.nsak", chosen.program.name)),
        false => arguments.source.file.with_extension("nsak"),
    };
    let path = arguments.output.clone().unwrap_or_else(own);
    let file = artifact.to_bytes();
    std::fs::write(&path, &file).map_err(at(&path))?;
    let mut text = format!("{} ({}, sha256 {})\n", path.display(), bytes(file.len()), artifact.hash());
    for code in &artifact.manifest().targets {
        for variant in &code.variants {
            let size = artifact.payload(variant.code.payload()).map_or(0, <[u8]>::len);
            let what = match &variant.code {
                Code::Ptx { version, .. } => format!("PTX {version}"),
                Code::Host { isas, .. } => isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(", "),
            };
            let kernels: Vec<&str> = variant.kernels.iter().map(|k| k.name.as_str()).collect();
            text += &format!(
                "  {:8} {}: {} ({what}, {})\n",
                code.target.name(),
                variant.label,
                kernels.join(", "),
                bytes(size)
            );
        }
    }
    print(&text)
}
