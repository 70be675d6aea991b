//! Checking cases.

use crate::{Failure, Options, load};
use nsa_measure::{Case, Memory};
use std::path::Path;

/// Runs every case twice with poisoned results and workspaces: results must be as expected, and bit for bit the same again. True
/// if all passed.
pub fn run(options: &Options, artifact: &str, cases: &[&str]) -> Result<bool, Failure> {
    let kernel = load(options, artifact)?;
    let mut passed = true;
    for path in cases {
        let case = Case::read(Path::new(path))?;
        let mut plan = kernel.plan(&case.shape())?;
        let mut memory = Memory::new(&plan, kernel.device(), &case.inputs)?;
        let all = 0..plan.variant().kernels.len();
        let mut runs = Vec::new();
        for poison in [0xff, 0x7b] {
            plan.fill_workspaces(poison)?;
            memory.poison(&plan)?;
            memory.launch(&mut plan, all.clone())?;
            runs.push(memory.results(&plan)?);
        }
        let same = runs[0].iter().all(|(name, tensor)| runs[1][name].bytes() == tensor.bytes());
        let differences = case.judge(&runs[0])?;
        // A batch of empty sequences has no elements, and nothing that could be wrong.
        let empty = |name: &String| runs[0].get(name).is_some_and(|t| t.elements() == 0);
        let ok = same && differences.iter().all(|(name, d)| d.within(options.tolerance) || empty(name));
        passed &= ok;
        let line = serde_json::json!({
            "case": path, "ok": ok, "repeatable": same, "target": kernel.target().name(),
            "variant": plan.variant().label, "differences": differences,
        });
        println!("{line}");
    }
    Ok(passed)
}
