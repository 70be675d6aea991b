//! `nsa bench`: times of a program over lengths.

use crate::extents;
use crate::failure::{Failure, print};
use crate::loading::load;
use crate::program::Source;
use crate::settings::length;
use crate::text::seconds;
use nsa::Device;
use nsa_measure::{Case, Memory, Tensors, fill, time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time a program for several lengths of its run-time axes.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Where: host, cuda:0, cuda:1, ...
    #[arg(long, default_value = "host")]
    device: String,
    /// Lengths of all run-time axes that --set leaves out, one run each.
    #[arg(long, value_delimiter = ',', value_parser = length, default_value = "1024,4096")]
    sizes: Vec<usize>,
    /// Seconds for each length.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// One line of JSON per length instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Copies of the arguments that launches take turns among, so that none finds them in a cache: with this many bytes in all. Twice the
/// largest level-2 cache of a GPU so far.
const COLD: usize = 256 << 20;
/// At most so many copies.
const COPIES: usize = 16;

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    let device: Device = arguments.device.parse()?;
    let loaded = load(&chosen, &device)?;
    for &size in &arguments.sizes {
        let mut lengths = chosen.lengths.clone();
        let sequences = lengths.values().next().map_or(1, Vec::len);
        for axis in chosen.program.runtime_axes() {
            lengths.entry(axis.name.clone()).or_insert_with(|| vec![size; sequences]);
        }
        // Before workspaces are taken.
        extents::demand(&chosen.program, &lengths, |_, size| 2 * size).check()?;
        let case = Case { lengths, ..Case::default() };
        let mut plan = loaded.kernel.plan(&case.shape())?;
        let bytes: usize = plan.parameters().iter().map(|p| p.elements() * p.dtype().bytes()).sum();
        let copies = if device.is_cuda() { COLD.div_ceil(bytes.max(1)).clamp(1, COPIES) } else { 1 };
        let mut memories = Vec::new();
        for seed in 0..copies as u64 {
            let inputs = fill(&plan, seed, Tensors::new(), &BTreeMap::new())?;
            memories.push(Memory::new(&plan, &device, &inputs)?);
        }
        let timing = time(&mut plan, &mut memories, Duration::from_secs_f64(arguments.seconds.max(0.0)))?;
        let line = if arguments.json {
            let value = serde_json::json!({
                "program": chosen.program.name, "device": device.to_string(), "target": loaded.kernel.target().name(),
                "lengths": case.lengths, "variant": plan.variant().label, "argument_bytes": bytes,
                "workspace_bytes": plan.workspace_bytes(), "copies": copies, "seconds": timing,
            });
            format!("{value}\n")
        } else {
            let kernels: Vec<String> =
                timing.kernels.iter().map(|(name, s)| format!("{name} {}", seconds(*s))).collect();
            format!("{size:>8}  {:>10}  ({})\n", seconds(timing.median), kernels.join(", "))
        };
        print(&line)?;
    }
    Ok(())
}
