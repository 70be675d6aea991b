//! `nsa explain`: what the compiler considered, and why it chose what it chose.

use crate::failure::{Failure, print};
use crate::program::{Source, targets};

/// Explain how a program becomes kernels: what was considered, what each way costs, what was chosen.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Targets, separated by commas.
    #[arg(long, default_value = "sm_80")]
    target: String,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    let mut text = String::new();
    for target in targets(&arguments.target)? {
        let lowered = nsa_codegen::lower(&chosen.program, target, &chosen.options(vec![target]))?;
        text += &format!("{target}, costed as {}\n\n{}\n", lowered.machine.name, lowered.optimised);
        for variant in &lowered.variants {
            text += &format!("chosen for {}", variant.label);
            for bound in &variant.when {
                let most = bound.at_most.map(|n| format!(" at most {n}")).unwrap_or_default();
                let least = bound.at_least.map(|n| format!(" at least {n}")).unwrap_or_default();
                text += &format!(" ({:?} of `{}`{least}{most})", bound.measure, bound.axis).to_lowercase();
            }
            text += &format!(": {}\n{}\n", variant.candidate.stored().join(", "), variant.candidate.cost);
            for (kernel, reason) in &variant.untiled {
                text += &format!("  {kernel} is computed element by element: {reason}\n");
            }
            text += &format!("{}\n", variant.plan);
        }
    }
    print(&text)
}
