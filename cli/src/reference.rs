//! What the reference evaluator expects of a run.

use crate::failure::Failure;
use crate::layout::Lengths;
use nsa::artifact::Role;
use nsa::{DType, Plan};
use nsa_dsl::program::{Extent, Source};
use nsa_dsl::{Array, Choices, Inputs, Program, Values, evaluate, evaluate_rows};
use nsa_measure::{Case, Random, Tensors};
use std::collections::BTreeMap;

/// How much of the results is compared with the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Reference {
    /// Everything where that takes seconds, else some rows.
    Auto,
    /// Everything.
    Full,
    /// Some rows.
    Rows,
    /// Nothing.
    None,
}

/// Elements of results times values of the longest axis, up to which everything is compared: a few seconds of the evaluator.
const AFFORDABLE: usize = 300_000_000;
/// Rows that are compared otherwise.
const ROWS: usize = 24;

/// Bytes that comparing takes for an element of an argument or of a result, besides what a run takes: numbers in double precision, their
/// places, and what is expected where.
pub fn bytes(argument: bool) -> usize {
    let number = size_of::<f64>() + size_of::<usize>();
    if argument { number } else { number + size_of::<(usize, f64)>() }
}

/// Fills in what the evaluator expects of a case's inputs, if lists are chosen as in `stored`, and says what it thinks of those
/// lists: where scores nearly tie, rounding decides, and everything that follows depends on it.
pub fn expect(
    program: &Program,
    plan: &Plan,
    lengths: &Lengths,
    case: &mut Case,
    stored: &Tensors,
    extent: Reference,
    seed: u64,
) -> Result<BTreeMap<String, Choices>, Failure> {
    if extent == Reference::None {
        return Ok(BTreeMap::new());
    }
    let mut inputs = inputs(plan, lengths, case);
    for tensor in program.tensors.iter().filter(|t| matches!(t.source, Source::Top(_))) {
        let Some(lists) = stored.get(&tensor.name) else { continue };
        let axes: Vec<String> = tensor.axes.iter().map(|axis| program.axis(*axis).name.clone()).collect();
        let positions = lengths.positions(&axes, lists.shape());
        inputs = inputs.chosen(&tensor.name, positions.into_iter().map(|at| lists.get(at) as i64).collect());
    }
    let results = || plan.parameters().iter().filter(|p| p.role() == Role::Result);
    let longest = program.axes.iter().flat_map(|a| lengths.of(&a.name)).copied().max().unwrap_or(1);
    let affordable = results().map(|p| p.elements()).sum::<usize>().saturating_mul(longest) <= AFFORDABLE;
    let whole = extent == Reference::Full || (extent == Reference::Auto && affordable);
    let row_axis = if whole { None } else { row_axis(program) };
    let Some(axis) = row_axis else {
        let outputs = evaluate(program, &inputs)?;
        for parameter in results() {
            let Some(array) = outputs.get(parameter.name()) else { continue };
            let positions = lengths.positions(parameter.axes(), parameter.shape());
            case.expected.insert(parameter.name().into(), positions.into_iter().zip(numbers(array)).collect());
        }
        return Ok(outputs.choices().clone());
    };
    let rows = sample(lengths.of(&axis), seed);
    let outputs = evaluate_rows(program, &inputs, &axis, &rows)?;
    for parameter in results() {
        let Some(array) = outputs.get(parameter.name()) else { continue };
        let place = parameter.axes().iter().position(|a| *a == axis);
        let expected = match place {
            Some(place) => {
                let positions = rows_of(parameter.shape(), place, &rows, lengths.of(&axis));
                positions.into_iter().zip(numbers(array)).collect()
            }
            None => lengths.positions(parameter.axes(), parameter.shape()).into_iter().zip(numbers(array)).collect(),
        };
        case.expected.insert(parameter.name().into(), expected);
    }
    Ok(outputs.choices().clone())
}

/// Arguments as the evaluator wants them: unpadded, real or integer.
fn inputs(plan: &Plan, lengths: &Lengths, case: &Case) -> Inputs {
    let mut inputs = Inputs::new();
    for (axis, list) in &case.lengths {
        let mut bounds = vec![0];
        for n in list {
            bounds.push(bounds[bounds.len() - 1] + n);
        }
        inputs = inputs.cumulative(axis, bounds);
    }
    for parameter in plan.parameters().iter().filter(|p| p.role() == Role::Argument) {
        let Some(tensor) = case.inputs.get(parameter.name()) else { continue };
        let numbers = lengths.positions(parameter.axes(), parameter.shape()).into_iter().map(|at| tensor.get(at));
        inputs = match parameter.dtype() {
            DType::I32 => inputs.integers(parameter.name(), numbers.map(|x| x as i64).collect()),
            _ => inputs.real(parameter.name(), numbers.collect()),
        };
    }
    inputs
}

fn numbers(array: &Array) -> Vec<f64> {
    match &array.values {
        Values::Real(values) => values.clone(),
        Values::Integer(values) => values.iter().map(|n| *n as f64).collect(),
    }
}

/// The run-time axis that all results with run-time axes vary along, if it is their only one.
fn row_axis(program: &Program) -> Option<String> {
    let mut common = None;
    for result in &program.results {
        let axes =
            program.tensor(*result).axes.iter().filter(|a| !matches!(program.axis(**a).extent, Extent::Const(_)));
        let axes: Vec<_> = axes.collect();
        match (axes[..].first(), common) {
            (None, _) => {}
            (Some(axis), None) if axes.len() == 1 && program.axis(**axis).extent == Extent::Runtime => {
                common = Some(**axis)
            }
            (Some(axis), Some(known)) if axes.len() == 1 && **axis == known => {}
            _ => return None,
        }
    }
    common.map(|axis| program.axis(axis).name.clone())
}

/// Rows to compare: the first and the last of each sequence, as far as they go, and random ones. (sequence, value), ascending.
fn sample(lengths: &[usize], seed: u64) -> Vec<(usize, usize)> {
    let mut rows = std::collections::BTreeSet::new();
    for (sequence, length) in lengths.iter().enumerate().filter(|(_, n)| **n > 0).take(ROWS / 4) {
        rows.insert((sequence, 0));
        rows.insert((sequence, length - 1));
    }
    let total: usize = lengths.iter().sum();
    let mut random = Random::new(seed);
    while rows.len() < ROWS.min(total) {
        let mut at = random.below(total as u64) as usize;
        let sequence = lengths.iter().position(|n| {
            let here = at < *n;
            at -= if here { 0 } else { *n };
            here
        });
        rows.extend(sequence.map(|sequence| (sequence, at)));
    }
    rows.into_iter().collect()
}

/// Positions of rows along an axis in a row-major tensor: the elements of each row in order, row after row.
fn rows_of(shape: &[usize], place: usize, rows: &[(usize, usize)], lengths: &[usize]) -> Vec<usize> {
    let inner: usize = shape[place + 1..].iter().product();
    let outer: usize = shape[..place].iter().product();
    let mut positions = Vec::with_capacity(rows.len() * outer * inner);
    for (sequence, value) in rows {
        let at: usize = lengths[..*sequence].iter().sum::<usize>() + value;
        for o in 0..outer {
            positions.extend((0..inner).map(|i| (o * shape[place] + at) * inner + i));
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_rows() {
        let rows = sample(&[0, 15, 500], 3);
        assert_eq!(rows.len(), ROWS);
        for row in [(1, 0), (1, 14), (2, 0), (2, 499)] {
            assert!(rows.contains(&row), "{row:?} in {rows:?}");
        }
        assert!(rows.iter().all(|(s, v)| *v < [0, 15, 500][*s]));
        assert_eq!(sample(&[2, 0], 3), [(0, 0), (0, 1)]);
    }

    #[test]
    fn positions_of_rows() {
        assert_eq!(rows_of(&[2, 5, 3], 1, &[(0, 1), (1, 0)], &[2, 3]), [3, 4, 5, 18, 19, 20, 6, 7, 8, 21, 22, 23]);
    }
}
