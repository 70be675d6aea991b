//! `nsa draw`: which keys each query of a program sees.

use crate::extents::{self, Given};
use crate::failure::{Failure, print};
use crate::program::{Chosen, Source};
use crate::sparsity::{Pattern, affordable, figure, lengths, patterns, percent, random};
use nsa_dsl::Program;
use nsa_dsl::program::{AxisId, Extent};
use nsa_measure::{Tensors, read_tensors};
use serde_json::json;
use std::path::PathBuf;

/// Draw which keys each query sees, branch by branch.
///
/// Every softmax over keys is a branch. What its conditions let through is computed; what lists choose is taken from evaluating the
/// program on random arguments, or on given ones.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Where to draw: a file that ends in .svg or .png. Without it the numbers are printed only.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Values of other axes, such as the head: g=1,r=3. Those that are not named are 0.
    #[arg(long, value_name = "AXIS=VALUE", value_delimiter = ',')]
    at: Vec<String>,
    /// Seed of random arguments.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Arguments, by name; the others are random.
    #[arg(long, value_name = "FILE.safetensors")]
    inputs: Option<PathBuf>,
    /// One line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Chosen { program, lengths: set, .. } = arguments.source.load()?;
    let set = extents::single(&set, "a picture")?;
    let given: Tensors = arguments.inputs.as_deref().map(read_tensors).transpose()?.unwrap_or_default();
    let file = arguments.inputs.as_deref().map(|path| Given { path, tensors: &given });
    let lengths = lengths(&program, &extents::with_tensors(&program, &set, file.as_ref())?);
    let at = at(&program, &lengths, &arguments.at)?;
    affordable(&program, &lengths)?;
    let inputs = random(&program, &lengths, arguments.seed, given)?;
    let patterns = patterns(&program, &inputs, &at)?;
    let about = about(&program, &lengths, &at, arguments);
    if let Some(path) = &arguments.output {
        figure(&program.name, &about, &patterns).write(path)?;
    }
    print(&if arguments.json { json(&program, &patterns) } else { text(&program, &about, &patterns) })
}

/// The axes that `--at` names, with their values.
fn at(program: &Program, lengths: &[usize], settings: &[String]) -> Result<Vec<(AxisId, usize)>, Failure> {
    let mut at = vec![];
    for setting in settings {
        let (name, value) = setting.split_once('=').ok_or(format!("--at {setting}: expected AXIS=VALUE"))?;
        let axis = program.axes.iter().position(|axis| axis.name == name).ok_or_else(|| {
            let names: Vec<_> = program.axes.iter().map(|axis| axis.name.as_str()).collect();
            format!("--at {setting}: there is no axis `{name}`; there are {}", names.join(", "))
        })?;
        let value = value.parse().ok().filter(|value| *value < lengths[axis]).ok_or_else(|| match lengths[axis] {
            0 => format!("--at {setting}: axis `{name}` has no values"),
            length => format!("--at {setting}: the values of axis `{name}` are 0 to {}", length - 1),
        })?;
        at.push((AxisId(axis as u32), value));
    }
    Ok(at)
}

/// What was evaluated: lengths, which head, on what.
fn about(program: &Program, lengths: &[usize], at: &[(AxisId, usize)], arguments: &Arguments) -> String {
    let runtime = program.axes.iter().zip(lengths).filter(|(axis, _)| axis.extent == Extent::Runtime);
    let mut parts: Vec<String> = runtime.map(|(axis, length)| format!("{} = {length}", axis.name)).collect();
    parts.extend(at.iter().map(|(axis, value)| format!("{} = {value}", program.axis(*axis).name)));
    parts.push(match &arguments.inputs {
        Some(path) => format!("arguments from {}", path.display()),
        None => format!("random arguments, seed {}", arguments.seed),
    });
    parts.join(" \u{b7} ")
}

fn text(program: &Program, about: &str, patterns: &[Pattern]) -> String {
    let mut text = format!("{}: {about}\n", program.name);
    let name = patterns.iter().map(|pattern| pattern.name.len()).max().unwrap_or(0);
    for pattern in patterns {
        text += &format!("  {:name$}  {:>6} of the pairs computed", pattern.name, percent(pattern.computed_share()));
        if pattern.is_compressed() {
            let (folded, axis, seen) = (pattern.folded, &pattern.axis, percent(pattern.seen_share()));
            text += &format!(": {folded} keys of {axis}, which stand for {seen}");
        }
        if !pattern.lists.is_empty() {
            text += &format!(", {} picked by {}", percent(pattern.chosen_share()), pattern.lists.join(" and "));
        }
        text += &format!("  ({})\n", if pattern.condition.is_empty() { "every key" } else { &pattern.condition });
    }
    text
}

fn json(program: &Program, patterns: &[Pattern]) -> String {
    let branches: Vec<_> = patterns
        .iter()
        .map(|pattern| {
            json!({
                "name": pattern.name, "condition": pattern.condition, "axis": pattern.axis, "keys": pattern.keys,
                "queries": pattern.seen.len(), "length": pattern.length, "folded": pattern.folded,
                "computed": pattern.computed, "computed_share": pattern.computed_share(),
                "seen_share": pattern.seen_share(), "chosen_share": pattern.chosen_share(), "lists": pattern.lists,
            })
        })
        .collect();
    format!("{}\n", json!({"program": program.name, "branches": branches}))
}
