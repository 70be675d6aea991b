//! `nsa explain` as text: from the source to the kernels, section by section.

use super::cost::{RESOURCES, figures, limit, loses_by, total};
use super::held::{Held, held, limits};
use super::listing::listing;
use super::{Paint, Way, words::words};
use crate::text::seconds;
use nsa_codegen::plan::resources::Limits;
use nsa_codegen::plan::{Kernel, visit};
use nsa_codegen::term::{Considered, Explanation};

/// Most ways in the table.
const ROWS: usize = 12;

/// How to read a plan.
const PLAN: &str = "What each thread block does, in the words of the language; `nsa lower --emit plan` prints the plan itself. `x:64` is 64\n\
                    values of axis x, last(t) the block's last t. merge[chunk](x by m) puts together what chunks of a fold came to:\n\
                    each counts by the exponential of its m less the largest.";

/// Everything about one way. `steps` asks for the terms before and after each law.
pub fn text(way: &Way, steps: bool, paint: Paint) -> String {
    let label = match way.when().as_str() {
        "" => way.variant.label.to_string(),
        when => format!("{}, when {when}", way.variant.label),
    };
    let mut text = format!("\n{}\n\n{}", paint.heading(&format!("# {label}")), summary(way, paint));
    let mut section = |title: &str, about: &str, body: String| {
        text += &format!("\n{}\n{}\n\n{body}", paint.heading(&format!("## {title}")), paint.dim(about));
    };
    section(
        "From the source to these kernels",
        "Each line is a law, an equation that holds whatever the numbers are (RULES.md has them all). Applied from top to\n\
         bottom they lead from a definition as it is written to what its kernel computes.",
        tree(way, steps, paint),
    );
    section(
        "What was considered",
        &format!(
            "Which definitions reach memory, and which are computed again where they are used, is free. Every way below computes\n\
             the same; costs are for {} on {}. The last column says what a way takes most time more of.",
            way.sizes(),
            way.lowered.machine.name
        ),
        considered(way, paint),
    );
    section(
        "What the kernels cost",
        "What each kernel moves and computes at least, and what it waits for.",
        costs(way),
    );
    if let Some(limits) = limits(way.lowered.target) {
        section(
            "What a multiprocessor holds of them",
            &format!(
                "Registers and shared memory decide how many thread blocks run side by side and hide each other's waiting.\n{}",
                match &way.takes {
                    Ok(_) => "Registers and what found none are counted by NVIDIA's assembler.".to_string(),
                    Err(why) =>
                        format!("Registers are those of variables and operands, the least there can be; {why}."),
                }
            ),
            occupancy(way, &limits),
        );
    }
    section("The plan", PLAN, listing(&way.variant.plan));
    text
}

/// The first thing to know.
fn summary(way: &Way, paint: Paint) -> String {
    let (plan, cost) = (&way.variant.plan, &way.variant.candidate.cost);
    let count = plan.kernels.len();
    let names: Vec<&str> = plan.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    let kernels = if count == 1 { "one kernel".to_string() } else { format!("{count} kernels") };
    let mut text = format!("{} becomes {kernels}: {}.\n", paint.strong(&plan.name), paint.strong(&names.join(", ")));
    let machine = way.lowered.machine;
    let slowest = cost.kernels.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    text += &format!("Together at least {} on {} with {}", seconds(cost.seconds()), machine.name, way.sizes());
    if let Some(slowest) = slowest {
        let share = 100.0 * slowest.seconds / cost.seconds();
        let name = definitions(slowest);
        text += &format!("; {share:.0}% of it is {name}, which waits for {}", limit(slowest, machine));
    }
    text += ".\n";
    for (kernel, reason) in &way.variant.untiled {
        text += &format!("{kernel} is computed element by element, slowly: {reason}.\n");
    }
    text
}

fn definitions(kernel: &nsa_codegen::term::cost::KernelCost) -> String {
    kernel.definitions.iter().map(|name| name.name()).collect::<Vec<_>>().join("+")
}

/// For each stored definition its laws, and the kernel that they end in.
fn tree(way: &Way, steps: bool, paint: Paint) -> String {
    let lines: Vec<_> = way.laws.iter().flat_map(laws).collect();
    let width = lines.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for explanation in &way.laws {
        text += &format!("{}\n", paint.strong(explanation.definition.name()));
        let laws = laws(explanation);
        if laws.is_empty() {
            text += "\u{2502}  as it is written\n";
        }
        for (name, words, step) in laws {
            text += &format!("\u{251c}\u{2500} {name:width$}  {}\n", paint.dim(&words));
            if steps {
                let reversed = if step.reversed { ", from right to left" } else { "" };
                text += &format!("\u{2502}     {}{reversed}\n", step.equation);
                text += &format!("\u{2502}       {}\n\u{2502}     = {}\n", step.before, step.after);
            }
        }
        let kernels: Vec<&str> = way
            .variant
            .plan
            .kernels
            .iter()
            .filter(|kernel| computes(kernel, explanation.definition.name()))
            .map(|kernel| kernel.name.as_str())
            .collect();
        text += &format!("\u{2570}\u{2500} kernel {}\n", kernels.join(", "));
    }
    text
}

/// A definition's laws, each once: name, words, and the first step that uses it.
fn laws(explanation: &Explanation) -> Vec<(String, String, &nsa_codegen::term::Step)> {
    let mut laws: Vec<(String, String, _)> = vec![];
    for step in &explanation.steps {
        let meaning = words(step.law).unwrap_or(step.equation);
        let (name, meaning) = match &step.of {
            Some(of) => (format!("{} {of}", step.law), format!("`{of}` {meaning}")),
            None => (step.law.to_string(), meaning.to_string()),
        };
        if !laws.iter().any(|(other, ..)| *other == name) {
            laws.push((name, meaning, step));
        }
    }
    laws
}

/// Whether a kernel writes a definition, or adds it to a sum that is another's memory: it is called after it then.
fn computes(kernel: &Kernel, tensor: &str) -> bool {
    let mut found = kernel.name.split('_').any(|name| name == tensor);
    visit::stores(kernel, &mut |name| found |= name.name() == tensor);
    found
}

/// The table of ways, with what each costs and loses by.
fn considered(way: &Way, paint: Paint) -> String {
    let (variant, machine) = (way.variant, way.lowered.machine);
    let chosen = &variant.candidate;
    let is_chosen = |way: &Considered| way.stored == chosen.stored() && way.split == chosen.split;
    let shown: Vec<&Considered> = variant
        .considered
        .iter()
        .enumerate()
        .filter(|(number, way)| *number < ROWS || is_chosen(way))
        .map(|(_, way)| way)
        .collect();
    let against = |considered: &Considered| {
        let refused = variant.refused.iter().any(|(stored, _)| *stored == considered.stored);
        if is_chosen(considered) {
            "chosen".to_string()
        } else if refused {
            "no plan: see below".to_string()
        } else {
            loses_by(&considered.cost, &chosen.cost, machine)
        }
    };
    let width = shown.iter().map(|way| against(way).len()).max().unwrap_or(0);
    let mut text = format!(
        "  {:>9} {:>9} {:>9} {:>9} {:>7} {:>8}  {:<width$}  stored\n",
        "ms", "memory GB", "cache GB", "matrix TF", "exp G", "launches", "loses by"
    );
    for considered in &shown {
        let number = |resource: usize| figures(total(&considered.cost, &RESOURCES[resource]));
        let line = format!(
            "{} {:>9} {:>9} {:>9} {:>9} {:>7} {:>8}  {:<width$}  {}",
            if is_chosen(considered) { '>' } else { ' ' },
            figures(considered.cost.seconds() * 1e3),
            number(0),
            number(1),
            number(2),
            number(4),
            number(5),
            against(considered),
            stored(considered)
        );
        text += &format!("{}\n", if is_chosen(considered) { paint.chosen(&line) } else { line });
    }
    if let Some(more) = variant.considered.len().checked_sub(shown.len()).filter(|more| *more > 0) {
        text += &paint.dim(&format!("  and {more} that cost more\n"));
    }
    for (stored, why) in &variant.refused {
        text += &format!("  no plan: {}: {why}\n", stored.join(" "));
    }
    text
}

/// What a way stores, and which of it in chunks.
pub fn stored(way: &Considered) -> String {
    let split = if way.split.is_empty() { String::new() } else { format!("; in chunks: {}", way.split.join(" ")) };
    format!("{}{split}", way.stored.join(" "))
}

fn costs(way: &Way) -> String {
    let cost = &way.variant.candidate.cost;
    let width = cost.kernels.iter().map(|kernel| definitions(kernel).len()).max().unwrap_or(0).max("together".len());
    let mut text = format!(
        "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9}  waits for\n",
        "stores", "memory GB", "cache GB", "matrix TF", "scalar T", "exp G", "launches", "blocks", "ms"
    );
    for kernel in &cost.kernels {
        let number = |resource: usize| figures((RESOURCES[resource].of)(kernel) / RESOURCES[resource].scale);
        text += &format!(
            "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9}  {}\n",
            definitions(kernel),
            number(0),
            number(1),
            number(2),
            number(3),
            number(4),
            number(5),
            figures(kernel.blocks.round()),
            figures(kernel.seconds * 1e3),
            limit(kernel, way.lowered.machine)
        );
    }
    let all = |resource: usize| figures(total(cost, &RESOURCES[resource]));
    text += &format!(
        "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>7} {:>8} {:>9} {:>9}\n",
        "together",
        all(0),
        all(1),
        all(2),
        all(3),
        all(4),
        all(5),
        "",
        figures(cost.seconds() * 1e3)
    );
    text
}

fn occupancy(way: &Way, limits: &Limits) -> String {
    let kernels = &way.variant.plan.kernels;
    let width = kernels.iter().map(|kernel| kernel.name.len()).max().unwrap_or(0).max("kernel".len());
    // Without the assembler they are bounds, and their headings say so.
    let (registers, blocks, occupancy) = match &way.takes {
        Ok(_) => ("registers", "blocks", "occupancy"),
        Err(_) => ("registers >=", "blocks <=", "occupancy <="),
    };
    let mut text = format!(
        "{:<width$} {:>8} {registers:>12} {:>8} {:>10} {blocks:>9} {occupancy:>12}\n",
        "kernel", "threads", "spilled", "shared KB"
    );
    for (number, kernel) in kernels.iter().enumerate() {
        let Some(Held { takes, spilled, blocks, share }) = held(way, number, limits) else { continue };
        let spilled = spilled.map_or("?".to_string(), |bytes| format!("{bytes} B"));
        text += &format!(
            "{:<width$} {:>8} {:>12} {spilled:>8} {:>10.1} {blocks:>9} {:>11.0}%\n",
            kernel.name,
            takes.threads,
            takes.registers,
            f64::from(takes.shared) / 1024.0,
            100.0 * share
        );
    }
    text
}
