//! `nsa explain`: what the compiler considered, and why it chose what it chose.

use crate::explain::{Paint, Way, json, pipeline, taken, text};
use crate::failure::{Failure, print};
use crate::program::{Source, targets};
use crate::roofline::Costs;
use std::path::PathBuf;

/// Explain how a program becomes kernels: the laws it came by, what was considered, what each way costs, what was chosen.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Targets, separated by commas.
    #[arg(long, visible_aliases = ["targets", "arch"], default_value = "sm_80")]
    target: String,
    #[command(flatten)]
    machine: Costs,
    /// Also print each law's equation, and the terms before and after it.
    #[arg(long)]
    steps: bool,
    /// One line of JSON instead of text.
    #[arg(long, conflicts_with = "steps")]
    pub json: bool,
    /// Draw the kernels of the first target, for many queries, with what they load, compute and store: a file that ends in
    /// .svg or .png.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    let targets = targets(&arguments.target)?;
    let paint = Paint::for_output();
    let (mut out, mut data) = (String::new(), vec![]);
    for (number, target) in targets.into_iter().enumerate() {
        let options = arguments.machine.options(&chosen, vec![target])?;
        let lowered = nsa_codegen::lower(&chosen.program, target, &options)?;
        let mut ways = vec![];
        for variant in &lowered.variants {
            let laws = nsa_codegen::derivation(&chosen.program, &lowered, variant, &options)?;
            let takes = taken(&variant.plan, target);
            ways.push(Way { program: &chosen.program, lowered: &lowered, variant, laws, takes });
        }
        // The way without bounds comes last.
        if let (Some(path), Some(way), 0) = (&arguments.svg, ways.last(), number) {
            pipeline(way).write(path)?;
        }
        let saturation = &lowered.optimised.saturation;
        let end = if saturation.complete { "nothing is left to add" } else { "stopped at a limit" };
        out += &format!(
            "{}\n{}\n",
            paint.heading(&format!("{target}, costed as {}", lowered.machine.name)),
            paint.dim(&format!(
                "All that the laws make of the program: {} terms in {} classes of equals; {end}.",
                saturation.nodes, saturation.classes
            ))
        );
        for way in &ways {
            out += &text(way, arguments.steps, paint);
            data.push(json(way));
        }
    }
    print(&if arguments.json { format!("{}\n", serde_json::Value::from(data)) } else { out })
}
