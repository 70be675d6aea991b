//! Timing.

use crate::{Failure, Options, load, shape};
use nsa_measure::{Memory, Tensors, fill, time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Twice the largest level-2 cache so far (H200: 50 MB; B200: 126 MB), in bytes: arguments that large in turn are never cached.
const COLD: usize = 256 << 20;
/// No more copies of the arguments than this.
const MOST_COPIES: usize = 16;

/// Times one shape, `AXIS=LENGTH,LENGTH ...` per run-time axis.
pub fn run(options: &Options, artifact: &str, lengths: &[&str]) -> Result<(), Failure> {
    let kernel = load(options, artifact)?;
    let mut plan = kernel.plan(&shape(lengths)?)?;
    let bytes: usize = plan.parameters().iter().map(|p| p.elements() * p.dtype().bytes()).sum();
    let copies = COLD.div_ceil(bytes.max(1)).clamp(1, MOST_COPIES);
    let mut memories = Vec::new();
    for seed in 0..copies as u64 {
        let inputs = fill(&plan, seed, Tensors::new(), &BTreeMap::new())?;
        memories.push(Memory::new(&plan, kernel.device(), &inputs)?);
    }
    let timing = time(&mut plan, &mut memories, Duration::from_secs_f64(options.seconds.max(0.0)))?;
    let blocks: Vec<i64> = plan.blocks().collect();
    let line = serde_json::json!({
        "program": kernel.manifest().name, "device": kernel.device().to_string(), "target": kernel.target().name(),
        "lengths": lengths, "variant": plan.variant().label, "blocks": blocks, "argument_bytes": bytes,
        "workspace_bytes": plan.workspace_bytes(), "copies": copies, "seconds": timing,
    });
    println!("{line}");
    Ok(())
}
