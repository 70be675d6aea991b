//! Results on random inputs, for those who judge them in another way.

use crate::{Failure, Options, load, shape};
use nsa::artifact::Role;
use nsa_measure::{Fill, Memory, Tensors, fill, intermediates, write_tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs one shape, `AXIS=LENGTH,LENGTH ...` per run-time axis, twice with poisoned results and workspaces, and writes inputs, results
/// and what was stored besides. True if both runs gave the same bits.
pub fn run(options: &Options, artifact: &str, lengths: &[&str]) -> Result<bool, Failure> {
    let path = options.outputs.as_ref().ok_or("dump needs --outputs FILE")?;
    let kernel = load(options, artifact)?;
    let mut plan = kernel.plan(&shape(lengths)?)?;
    let first = plan.parameters().iter().find(|p| p.role() == Role::Argument).map(|p| p.name().to_string());
    let fills: BTreeMap<String, Fill> = first.into_iter().map(|name| (name, Fill::Normal(options.scale))).collect();
    let inputs = fill(&plan, options.seed, Tensors::new(), &fills)?;
    let mut memory = Memory::new(&plan, kernel.device(), &inputs)?;
    let all = 0..plan.variant().kernels.len();
    let mut runs = Vec::new();
    for poison in [0xff, 0x7b] {
        plan.fill_workspaces(poison)?;
        memory.poison(&plan)?;
        memory.launch(&mut plan, all.clone())?;
        runs.push(memory.results(&plan)?);
    }
    let repeatable = runs[0].iter().all(|(name, tensor)| runs[1][name].bytes() == tensor.bytes());
    let mut file = Tensors::new();
    for (kind, tensors) in [("input", inputs), ("result", runs.swap_remove(0)), ("stored", intermediates(&plan)?)] {
        file.extend(tensors.into_iter().map(|(name, tensor)| (format!("{kind}.{name}"), tensor)));
    }
    write_tensors(Path::new(path), &file)?;
    let constants: BTreeMap<&str, f64> = kernel.manifest().constants.iter().map(|(n, x)| (n.as_str(), *x)).collect();
    let line = serde_json::json!({
        "program": kernel.manifest().name, "target": kernel.target().name(), "variant": plan.variant().label,
        "repeatable": repeatable, "constants": constants,
    });
    println!("{line}");
    Ok(repeatable)
}
