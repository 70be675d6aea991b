//! Results beside the f64 reference, at sizes that a variant is for.

use crate::device::{self, Arrays};
use nsa_artifact::{Bound, Measure};
use nsa_codegen::plan::Plan;
use nsa_dsl::program::{Program, Source};
use nsa_dsl::{Inputs, evaluate};

/// Compares every result of a plan of `program` with the reference. `inputs` are the arguments, `found` what the kernels stored.
///
/// Lists are taken as they were chosen, because scores that nearly tie may be ordered either way once they are rounded; what the
/// reference thinks of them is compared, too. `tolerance` bounds the relative error and the part of the best scores that a list misses.
pub fn judge(program: &Program, plan: &Plan, mut inputs: Inputs, found: &Arrays, tolerance: f64, what: &str) {
    for tensor in program.tensors.iter().filter(|tensor| matches!(tensor.source, Source::Top(_))) {
        if let Some(lists) = found.get(&tensor.name) {
            inputs = inputs.chosen(&tensor.name, lists.iter().map(|x| *x as i64).collect());
        }
    }
    let outputs = evaluate(program, &inputs).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (name, choices) in outputs.choices() {
        assert!(choices.within(tolerance), "{what}: {name}: {choices:?}\n{plan}");
    }
    for &result in &program.results {
        let name = &program.tensor(result).name;
        let expected = outputs.get(name).unwrap_or_else(|| panic!("{what}: no {name}"));
        let theirs: Vec<f64> = match expected.integers() {
            [] => expected.real().to_vec(),
            integers => integers.iter().map(|&x| x as f64).collect(),
        };
        let error = device::error(&found[name], &theirs);
        assert!(error < tolerance, "{what}: {name} is {error} off\n{plan}");
    }
}

/// Whether a variant may be launched for these lengths.
pub fn fits(when: &[Bound], lengths: &[(&str, &[i64])]) -> bool {
    when.iter().all(|bound| {
        let own = lengths.iter().find(|(axis, _)| *axis == bound.axis).map_or(&[][..], |(_, own)| own);
        let size = match bound.measure {
            Measure::Total => own.iter().sum(),
            Measure::Longest => own.iter().copied().max().unwrap_or(0),
        };
        bound.at_least.is_none_or(|least| size >= least) && bound.at_most.is_none_or(|most| size <= most)
    })
}
