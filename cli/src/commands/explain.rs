//! `nsa explain`: what the compiler considered, and why it chose what it chose.

use crate::failure::{Failure, print};
use crate::program::{Source, targets};
use nsa_artifact::Target;
use nsa_codegen::Variant;
use nsa_codegen::plan::resources::{Limits, Resources, SM_80, SM_90};
use nsa_codegen::term::cost::{CostTable, KernelCost};
use nsa_codegen::term::{Considered, Explanation};

/// Explain how a program becomes kernels: the laws it came by, what was considered, what each way costs, what was chosen.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Targets, separated by commas.
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// Also print the terms before and after each law.
    #[arg(long)]
    steps: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    let mut text = String::new();
    for target in targets(&arguments.target)? {
        let options = chosen.options(vec![target]);
        let lowered = nsa_codegen::lower(&chosen.program, target, &options)?;
        let saturation = &lowered.optimised.saturation;
        let end = if saturation.complete { "nothing left to add" } else { "stopped at a limit" };
        let (nodes, classes) = (saturation.nodes, saturation.classes);
        text += &format!("{target}, costed as {}; {nodes} terms in {classes} classes, {end}\n", lowered.machine.name);
        for variant in &lowered.variants {
            text += &format!("\n# {}{}\n", variant.label, bounds(variant));
            text += "\n## From the source to these kernels, law by law\n\n";
            for explanation in nsa_codegen::derivation(&chosen.program, &lowered, variant, &options)? {
                match arguments.steps {
                    true => text += &explanation.to_string(),
                    false => text += &outline(&explanation),
                }
            }
            text += "\n## What was considered\n\n";
            text += &considered(variant);
            text += &format!("\n## What the kernels cost\n\n{}\n", variant.candidate.cost);
            for (kernel, reason) in &variant.untiled {
                text += &format!("{kernel} is computed element by element: {reason}\n");
            }
            if let Some(limits) = limits(target) {
                text += "\n## What a multiprocessor holds of them\n\n";
                text += &occupancy(variant, limits);
            }
            text += &format!("\n## The plan\n\n{}", variant.plan);
        }
        text += "\n";
    }
    print(&text)
}

/// When a variant is taken.
fn bounds(variant: &Variant) -> String {
    let mut text = String::new();
    for bound in &variant.when {
        let most = bound.at_most.map(|n| format!(" at most {n}")).unwrap_or_default();
        let least = bound.at_least.map(|n| format!(" at least {n}")).unwrap_or_default();
        text += &format!(", when the {:?} of `{}` is{least}{most}", bound.measure, bound.axis).to_lowercase();
    }
    text
}

/// The laws of one definition, each once, with its equation.
fn outline(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.definition);
    let mut seen = vec![];
    for step in &explanation.steps {
        let of = step.of.as_ref().map_or(String::new(), |of| format!(" {of}"));
        let name = format!("{}{of}", step.law);
        if !seen.contains(&name) {
            text += &format!("  {name:<24} {}\n", step.equation);
            seen.push(name);
        }
    }
    if seen.is_empty() {
        text += "  as written\n";
    }
    text
}

/// The table of candidates, with what each has more or less than the chosen one.
fn considered(variant: &Variant) -> String {
    let chosen = &variant.candidate;
    let ways: Vec<(&Considered, String)> = variant.considered.iter().map(|way| (way, stored(way))).collect();
    let width = ways.iter().map(|(_, stored)| stored.len()).max().unwrap_or(0);
    let mut text = format!("{:>10}  {:<width$}  against the chosen one\n", "ms", "stored");
    for (way, stored) in ways {
        let is_chosen = way.stored == chosen.stored() && way.split == chosen.split;
        let against = if is_chosen { "chosen".into() } else { difference(way, &chosen.cost) };
        let mark = if is_chosen { '>' } else { ' ' };
        text += &format!("{mark}{:>9.4}  {stored:<width$}  {against}\n", way.cost.seconds() * 1e3);
    }
    for (stored, why) in &variant.refused {
        text += &format!("not taken: {}: {why}\n", stored.join(" "));
    }
    text
}

/// What a way stores, and which of it in chunks.
fn stored(way: &Considered) -> String {
    let split = if way.split.is_empty() { String::new() } else { format!("; split {}", way.split.join(" ")) };
    format!("{}{split}", way.stored.join(" "))
}

/// What of a way's cost differs most from another's.
fn difference(way: &Considered, chosen: &CostTable) -> String {
    type Part = fn(&KernelCost) -> f64;
    let sum = |table: &CostTable, of: Part| table.kernels.iter().map(of).sum::<f64>();
    let parts: [(&str, f64, Part); 6] = [
        ("GB of memory traffic", 1e9, |k| k.memory),
        ("GB of cache traffic", 1e9, |k| k.cache),
        ("TFLOP in matrix units", 1e12, |k| k.matrix),
        ("T scalar operations", 1e12, |k| k.scalar),
        ("G exponentials", 1e9, |k| k.exponentials),
        ("launches", 1.0, |k| k.launches as f64),
    ];
    let mut words = vec![];
    for (name, unit, of) in parts {
        let (here, there) = (sum(&way.cost, of) / unit, sum(chosen, of) / unit);
        let change = here - there;
        let digits = if change.abs() < 10.0 && unit > 1.0 { 2 } else { 0 };
        let seen = change.abs() > 0.02 * there && change.abs() >= if digits == 2 { 0.005 } else { 0.5 };
        if seen {
            words.push(format!("{change:+.digits$} {name}"));
        }
    }
    if words.is_empty() { "as much of everything".into() } else { words.join(", ") }
}

fn limits(target: Target) -> Option<&'static Limits> {
    match target {
        Target::Sm80 => Some(&SM_80),
        Target::Sm90a => Some(&SM_90),
        Target::X86_64 | Target::Aarch64 => None,
    }
}

fn occupancy(variant: &Variant, limits: &Limits) -> String {
    let mut text = format!(
        "{:<16} {:>7} {:>9} {:>10} {:>6} {:>9}\n",
        "kernel", "threads", "registers", "shared KB", "blocks", "occupancy"
    );
    for kernel in &variant.plan.kernels {
        let takes = Resources::of(kernel);
        let blocks = takes.blocks(limits);
        let share = 100.0 * f64::from(blocks * takes.threads) / f64::from(limits.threads);
        let shared = f64::from(takes.shared) / 1024.0;
        let (name, threads, registers) = (&kernel.name, takes.threads, takes.registers);
        text += &format!("{name:<16} {threads:>7} {registers:>9} {shared:>10.1} {blocks:>6} {share:>8.0}%\n");
    }
    text
}
