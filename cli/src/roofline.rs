//! The machine that a program runs on, as the cost model sees it, and the least time that it takes there.

use crate::failure::Failure;
use crate::loading::Loaded;
use crate::program::Chosen;
use nsa::Plan;
use nsa_artifact::Target;
use nsa_codegen::Options;
use nsa_codegen::machine::{ALL, GpuRates, Machine};
use nsa_codegen::plan::dtype;
use nsa_dsl::Program;
use std::collections::BTreeMap;

/// What launches of a plan take at least.
pub struct Roofline {
    /// Seconds of one launch, by the rates of the machine.
    pub seconds: f64,
    /// Those of them that launching the kernels takes by itself.
    pub launching: f64,
    /// The machine, in words.
    pub machine: String,
}

impl Roofline {
    /// For launches again and again of what was loaded, each over sequences with these lengths of run-time axes.
    pub fn of(
        loaded: &Loaded,
        program: &Program,
        plan: &Plan,
        lengths: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Roofline, Failure> {
        let (machine, name) = machine(loaded, program)?;
        let tensors: usize = plan.parameters().iter().map(|p| p.elements() * p.dtype().bytes()).sum();
        let machine = machine.repeating((tensors + plan.workspace_bytes()) as u64);
        let label = &plan.variant().label;
        let variant = loaded.lowered.variants.iter().find(|variant| variant.label == *label);
        let variant = variant.ok_or("the compiler left the plan's variant out".to_string())?;
        let cost = variant.cost(program, &machine, &sequences(lengths))?;
        let launching = cost.kernels.iter().map(|kernel| kernel.launches as f64 * machine.launch).sum();
        Ok(Roofline { seconds: cost.seconds(), launching, machine: name })
    }
}

/// The lengths of each sequence; one sequence where there are no run-time axes.
fn sequences(lengths: &BTreeMap<String, Vec<usize>>) -> Vec<BTreeMap<String, i64>> {
    let count = lengths.values().map(Vec::len).max().unwrap_or(1);
    let length = |list: &[usize], n: usize| i64::try_from(list.get(n).copied().unwrap_or(0)).unwrap_or(i64::MAX);
    let one = |n: usize| lengths.iter().map(|(axis, list)| (axis.clone(), length(list, n))).collect();
    (0..count).map(one).collect()
}

/// The machine that kernels were loaded for, with its name.
fn machine(loaded: &Loaded, program: &Program) -> Result<(Machine, String), Failure> {
    let device = loaded.kernel.device();
    if let Some(rates) = device.rates()? {
        let machine = Machine::gpu(&GpuRates {
            capability: rates.capability,
            multiprocessors: rates.multiprocessors as u64,
            clock: rates.clock as f64,
            memory: rates.memory as f64,
            cache_bytes: rates.level2 as u64,
        });
        return Ok((machine, format!("this {}", device.model().unwrap_or("GPU"))));
    }
    if let (Some(threads), Some(isa)) = (device.threads(), loaded.kernel.host_isa()) {
        let machine = Machine::host(isa, threads as u64, dtype(program.element), last_level_cache());
        let threads = if threads == 1 { "1 thread".to_string() } else { format!("{threads} threads") };
        return Ok((machine, format!("{threads} of {isa}")));
    }
    let machine = loaded.lowered.machine;
    Ok((machine.clone(), machine.name.to_string()))
}

/// Bytes of the first processor's largest cache, where the system says (Linux does).
fn last_level_cache() -> Option<u64> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        cache_size(&std::fs::read_to_string(entry.ok()?.path().join("size")).ok()?)
    };
    caches.filter_map(size).max()
}

/// The bytes of a size such as `32768K` or `36M`.
fn cache_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, ""),
    };
    let shift = ["", "K", "M", "G"].iter().position(|known| *known == unit)? as u32 * 10;
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Whose costs decide between the ways to compute a program.
#[derive(clap::Args)]
pub struct Costs {
    /// The machine whose costs decide: h200, h100, a100, sm_80, x86_64 or aarch64; by default the one that stands for the target.
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
}

impl Costs {
    /// Options to compile a program for some targets by these costs.
    ///
    /// # Errors
    /// No such machine, or none that runs code for all the targets.
    pub fn options(&self, chosen: &Chosen, targets: Vec<Target>) -> Result<Options, Failure> {
        let machine = named(self.machine.as_deref(), &targets)?;
        Ok(Options { machine, ..chosen.options(targets) })
    }
}

/// The described machine of a name, if there is one, which must run code for each of the targets.
fn named(name: Option<&str>, targets: &[Target]) -> Result<Option<&'static Machine>, Failure> {
    let Some(name) = name else { return Ok(None) };
    let Some(machine) = Machine::named(name) else {
        let known = ALL.map(|machine| machine.name);
        let near =
            nsa_dsl::nearest(name, known.into_iter()).map_or(String::new(), |near| format!(": did you mean `{near}`?"));
        return Err(format!("there is no machine `{name}`; there are {}{near}", known.join(", ")).into());
    };
    match targets.iter().find(|target| !machine.runs(**target)) {
        Some(target) => Err(format!("the machine `{name}` does not run code for {target}").into()),
        None => Ok(Some(machine)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(cache_size("32768K\n"), Some(32 << 20));
        assert_eq!(cache_size("36M"), Some(36 << 20));
        assert_eq!(cache_size("512"), Some(512));
        assert_eq!(cache_size("many"), None);
        assert_eq!(cache_size("99999999999999G"), None);
    }

    #[test]
    fn machines_are_found_by_name() {
        let sentence = |name, targets: &[Target]| match named(Some(name), targets) {
            Err(Failure::Sentence(text)) => text,
            _ => panic!("{name} is a machine for {targets:?}"),
        };
        assert!(
            matches!(named(Some("h100"), &[Target::Sm80, Target::Sm90a]), Ok(Some(machine)) if machine.name == "h100")
        );
        assert!(matches!(named(None, &[Target::Sm80]), Ok(None)));
        let text = sentence("h10", &[Target::Sm80]);
        assert_eq!(
            text,
            "there is no machine `h10`; there are h200, h100, a100, sm_80, x86_64, aarch64: did you mean `h100`?"
        );
        assert_eq!(sentence("a100", &[Target::Sm80, Target::Sm90a]), "the machine `a100` does not run code for sm_90a");
        assert_eq!(sentence("x86_64", &[Target::Sm80]), "the machine `x86_64` does not run code for sm_80");
    }
}
