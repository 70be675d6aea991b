//! `nsa run`: runs a program, compares it with the reference, times it.

use crate::extents::{self, Given};
use crate::failure::{Failure, print};
use crate::fills;
use crate::interpreter::{self, Interpreted};
use crate::layout;
use crate::loading::{Loaded, load};
use crate::program::{Chosen, Source};
use crate::reference::{self, Reference};
use crate::roofline::Roofline;
use crate::settings::{Lengths, length};
use crate::text::{bytes, seconds};
use nsa::Device;
use nsa::artifact::Role;
use nsa_dsl::Choices;
use nsa_measure::{Case, Difference, Memory, Tensors, Timing, fill, intermediates, read_tensors, time, write_tensors};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Run a program on random or given inputs, compare with the reference, and time it.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Where: host; host:x86_64, host:avx2, host:avx512, host:amx or host:aarch64, no better instruction set than that; cuda:0, cuda:1,
    /// ...; or vm (vm:sm_80, vm:sm_90a), the PTX in the interpreter, which looks for races.
    #[arg(long, default_value = "host")]
    device: String,
    /// Lengths of the sequences of a packed batch, for all run-time axes that --set leaves out: 0,15,205
    #[arg(long, value_delimiter = ',', value_parser = length)]
    lengths: Vec<usize>,
    /// Seed of random inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Arguments, by name; the others are random. Lengths of run-time axes that nobody gives are theirs.
    #[arg(long, value_name = "FILE.safetensors")]
    inputs: Option<PathBuf>,
    /// Where to write the results.
    #[arg(long, value_name = "FILE.safetensors")]
    outputs: Option<PathBuf>,
    /// Where to write inputs and expected results, for `nsa-run check`.
    #[arg(long, value_name = "FILE.safetensors")]
    case: Option<PathBuf>,
    /// With --device vm: schedules of the warps to try.
    #[arg(long, default_value_t = 1)]
    schedules: u64,
    /// With --device vm: where to write code, launches, inputs and results, to be replayed on a GPU.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// How much to compare with the reference.
    #[arg(long, value_enum, default_value = "auto")]
    reference: Reference,
    /// Largest relative error (root of mean squares) of a result.
    #[arg(long, default_value_t = 5e-3)]
    tolerance: f64,
    /// Seconds to spend on timing.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// One line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Everything that is reported.
struct Report {
    loaded: Loaded,
    lengths: Lengths,
    plan: nsa::Plan,
    differences: BTreeMap<String, Difference>,
    /// What the reference says of the lists that were chosen.
    choices: BTreeMap<String, Choices>,
    /// On a device.
    timing: Option<Timing>,
    /// In the interpreter.
    interpreted: Option<Interpreted>,
    roofline: Roofline,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut chosen = arguments.source.load()?;
    let given = arguments.inputs.as_deref().map(read_tensors).transpose()?.unwrap_or_default();
    let file = arguments.inputs.as_deref().map(|path| Given { path, tensors: &given });
    let lengths = extents::lengths(&chosen.program, &chosen.lengths, &arguments.lengths, file.as_ref())?;
    let device = match interpreter::target(&arguments.device)? {
        Some(target) => {
            // What is interpreted is what `nsa build` makes, for any lengths.
            chosen.lengths.clear();
            Device::described(target)
        }
        None => {
            chosen.lengths = lengths.clone();
            arguments.device.parse().map_err(interpreter::unknown)?
        }
    };
    room(arguments, &chosen, &lengths, device.described_target().is_some())?;
    let loaded = load(&chosen, &device)?;
    let mut case = Case { lengths: lengths.clone(), ..Case::default() };
    let mut plan = loaded.kernel.plan(&case.shape())?;
    let all = layout::Lengths::new(&plan.variant().axes, &lengths)
        .ok_or("the lengths of derived axes cannot be computed".to_string())?;
    case.inputs = fill(&plan, arguments.seed, given, &fills::fills(&chosen.program, &all))?;

    let (results, stored, timing, interpreted) = if device.described_target().is_some() {
        let (stored, interpreted) = interpreter::interpret(&plan, &case.inputs, arguments.schedules)?;
        let mut results = stored.clone();
        results.retain(|name, _| plan.parameter(name).is_some());
        if let Some(folder) = &arguments.record {
            interpreter::record(folder, &plan, &case.inputs, &results)?;
        }
        (results, stored, None, Some(interpreted))
    } else {
        // What is left in workspaces and results must not matter.
        plan.fill_workspaces(0xff)?;
        let mut memory = Memory::new(&plan, &device, &case.inputs)?;
        let kernels = 0..plan.variant().kernels.len();
        memory.launch(&mut plan, kernels)?;
        let results: Tensors = memory.results(&plan)?;
        let mut stored = intermediates(&plan)?;
        stored.extend(results.clone());
        let timing = time(&mut plan, &mut [memory], Duration::from_secs_f64(arguments.seconds.max(0.0)))?;
        (results, stored, Some(timing), None)
    };
    if let Some(path) = &arguments.outputs {
        write_tensors(path, &results)?;
    }
    let (extent, seed) = (arguments.reference, arguments.seed);
    let choices = reference::expect(&chosen.program, &plan, &all, &mut case, &stored, extent, seed)?;
    if let Some(path) = &arguments.case {
        case.write(path)?;
    }
    let differences = case.judge(&results)?;
    let roofline = Roofline::of(&loaded, &chosen.program, &plan, &lengths)?;
    let report = Report { loaded, lengths, plan, differences, choices, timing, interpreted, roofline };
    let failed: Vec<&str> = report.failed(arguments.tolerance);
    print(&if arguments.json { report.json(&failed) } else { report.text(&chosen, &failed) })?;
    let findings = report.interpreted.as_ref().map_or(0, |i| i.findings.len());
    if findings > 0 {
        let verdict = format!("the interpreter found {findings} hazard{}", if findings == 1 { "" } else { "s" });
        return Err(Failure::Verdict(verdict));
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Verdict(format!("beyond the tolerance of {:.1e}: {}", arguments.tolerance, failed.join(", "))))
}

/// Says so before anything is allocated, if there is not enough memory for a run.
fn room(arguments: &Arguments, chosen: &Chosen, lengths: &Lengths, interpreted: bool) -> Result<(), Failure> {
    // Inputs, results, and the copies that are launched on; in the interpreter they are larger.
    let run = |argument: bool, size: usize| {
        let copies = if argument { 1 } else { 3 };
        size * (copies + if interpreted { interpreter::BYTES } else { 1 })
    };
    extents::demand(&chosen.program, lengths, run).check()?;
    if arguments.reference == Reference::None {
        return Ok(());
    }
    let compared = |argument: bool, size: usize| run(argument, size) + reference::bytes(argument);
    extents::demand(&chosen.program, lengths, compared).check().map_err(|error| {
        Failure::Sentence(format!("{error}, or compare nothing (--reference none), for which there is enough"))
    })
}

impl Report {
    /// Results that are too far off. A result without elements has nothing to be wrong.
    fn failed(&self, tolerance: f64) -> Vec<&str> {
        let empty = |name: &str| self.plan.parameter(name).is_some_and(|p| p.elements() == 0);
        let bad = self.differences.iter().filter(|(name, d)| !d.within(tolerance) && !empty(name));
        let chosen = self.choices.iter().filter(|(_, choices)| !choices.within(tolerance)).map(|(name, _)| name);
        bad.map(|(name, _)| name).chain(chosen).map(String::as_str).collect()
    }

    /// The part of the roofline that was reached; none where it says nothing: there is nothing to do, or less than launching the
    /// kernels takes by itself.
    fn fraction(&self, seconds: f64) -> Option<f64> {
        let Roofline { seconds: least, launching, .. } = self.roofline;
        let empty = self.plan.parameters().iter().all(|p| p.role() == Role::Argument || p.elements() == 0);
        (!empty && least > 2.0 * launching).then(|| least / seconds)
    }

    fn argument_bytes(&self) -> usize {
        self.plan.parameters().iter().map(|p| p.elements() * p.dtype().bytes()).sum()
    }

    fn json(&self, failed: &[&str]) -> String {
        let choices: BTreeMap<&str, serde_json::Value> = self
            .choices
            .iter()
            .map(|(name, c)| {
                let value = serde_json::json!({
                    "lists": c.lists, "different": c.different, "invalid": c.invalid, "shortfall": c.shortfall,
                });
                (name.as_str(), value)
            })
            .collect();
        let value = serde_json::json!({
            "program": self.loaded.kernel.manifest().name,
            "device": self.loaded.kernel.device().to_string(),
            "target": self.loaded.kernel.target().name(),
            "isa": self.loaded.kernel.host_isa().map(|i| i.name()),
            "variant": self.plan.variant().label,
            "lengths": self.lengths,
            "constants": self.loaded.kernel.manifest().constants.iter().cloned().collect::<BTreeMap<String, f64>>(),
            "compile_seconds": self.loaded.seconds,
            "argument_bytes": self.argument_bytes(),
            "workspace_bytes": self.plan.workspace_bytes(),
            "differences": self.differences,
            "choices": choices,
            "failed": failed,
            "seconds": self.timing,
            "interpreter": self.interpreted,
            "predicted_seconds": self.roofline.seconds,
            "machine": self.roofline.machine,
        });
        format!("{value}\n")
    }

    fn text(&self, chosen: &Chosen, failed: &[&str]) -> String {
        let kernel = &self.loaded.kernel;
        let (name, target, label) = (&chosen.program.name, kernel.target(), &self.plan.variant().label);
        let device = if self.interpreted.is_some() { "the interpreter".into() } else { kernel.device().to_string() };
        let mut text = format!("{name} on {device}: code for {target}, {label}\n");
        for (axis, list) in &self.lengths {
            let list: Vec<String> = list.iter().map(usize::to_string).collect();
            text += &format!("  {axis} = {}\n", list.join(", "));
        }
        text += &format!(
            "  compiled in {}; arguments and results {}, workspaces {}\n",
            seconds(self.loaded.seconds),
            bytes(self.argument_bytes()),
            bytes(self.plan.workspace_bytes())
        );
        for (name, d) in &self.differences {
            let total = self.plan.parameter(name).map_or(0, |p| p.elements());
            let verdict = if failed.contains(&name.as_str()) { "WRONG" } else { "ok" };
            text += &format!(
                "  {name}: relative error {:.2e}, largest {:.2e}, {} of {total} elements compared{}: {verdict}\n",
                d.relative,
                d.largest,
                d.elements,
                peculiar(d)
            );
        }
        for (name, c) in self.choices.iter().filter(|(_, c)| c.different > 0) {
            let verdict = if failed.contains(&name.as_str()) { "WRONG" } else { "ok" };
            text += &format!("  {name}: {} of {} lists chosen otherwise than by the reference, ", c.different, c.lists);
            text += &match c.invalid {
                0 => format!("whose scores are better by at most {:.1e} of their sum: {verdict}\n", c.shortfall),
                invalid => format!("{invalid} of them not allowed: {verdict}\n"),
            };
        }
        if let Some(i) = &self.interpreted {
            text += &i.text();
        }
        let Some(t) = &self.timing else { return text };
        text += &format!("  {} (median of {}, fastest {})", seconds(t.median), t.launches, seconds(t.fastest));
        if let Some(processor) = t.processor {
            text += &format!(", {} of processor time", seconds(processor));
        }
        if let Some(fraction) = self.fraction(t.median) {
            text += &format!(", {:.0}% of the roofline of {}", 100.0 * fraction, self.roofline.machine);
        }
        text.push('\n');
        for (name, s) in &t.kernels {
            text += &format!("    {name:24} {}\n", seconds(*s));
        }
        text
    }
}

/// What is to be said of elements that are not what numbers usually are.
fn peculiar(d: &Difference) -> String {
    let are = |n: usize| if n == 1 { "is" } else { "are" };
    let mut text = String::new();
    if d.undefined > 0 {
        text += &format!(", {} {} expected to be no number", d.undefined, are(d.undefined));
    }
    if d.beyond > 0 {
        text += &format!(", {} {} beyond the range of the type", d.beyond, are(d.beyond));
    }
    if d.astray > 0 {
        text += &format!(", {} {} infinite or no number on one side only", d.astray, are(d.astray));
    }
    text
}
