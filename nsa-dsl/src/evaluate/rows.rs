//! One row of a definition.

use super::choices::{Choices, judge};
use super::sequence::{Row, Sequence};
use super::walk::Walk;
use crate::program::*;

/// The elements of a definition at one value of its row axis.
pub(super) fn compute(sequence: &Sequence, tensor: TensorId, at: usize) -> Row {
    let definition = sequence.program.tensor(tensor);
    let plan = &sequence.analysis.plans[tensor.0 as usize];
    let shape = &sequence.tensors[tensor.0 as usize].shape;
    let mut walk = Walk::new(sequence, plan);
    let mut outer = definition.axes.clone();
    if let Some(row) = plan.row {
        walk.at[definition.axes[row].0 as usize] = at as i64;
        outer.remove(row);
    }
    let size = (0..shape.len()).filter(|&place| Some(place) != plan.row).map(|place| shape[place] as usize).product();
    match &definition.source {
        Source::Param => Row::Real(Box::new([])),
        Source::Value(expr) if sequence.is_integer(tensor) => {
            let mut row = Vec::with_capacity(size);
            for_each(&mut walk, &outer, |walk| row.push(walk.integer(*expr)));
            Row::Integer(row.into())
        }
        Source::Value(expr) => {
            let mut row = Vec::with_capacity(size);
            match plan.vector {
                None => row.push(walk.real(*expr)),
                Some(vector) => {
                    outer.pop();
                    let length = sequence.extents[vector.0 as usize] as usize;
                    let places: Vec<usize> = (0..length).collect();
                    for_each(&mut walk, &outer, |walk| {
                        let start = row.len();
                        row.resize(start + length, 0.0);
                        walk.vector(*expr, vector, &places, &mut row[start..]);
                    });
                }
            }
            Row::Real(row.into())
        }
        Source::Top(top) => {
            outer.pop();
            let mut row = Vec::with_capacity(size);
            let count = top.count as usize;
            match sequence.given(tensor) {
                None => for_each(&mut walk, &outer, |walk| row.extend(rank(walk, top).list(count))),
                Some(lists) => {
                    let mut choices = Choices::default();
                    for_each(&mut walk, &outer, |walk| {
                        let place = |start: usize, axis: &AxisId| {
                            let extent = sequence.extents[axis.0 as usize] as usize;
                            start * extent + walk.at[axis.0 as usize] as usize
                        };
                        let axes = &definition.axes[..definition.axes.len() - 1];
                        let start = axes.iter().fold(0, place) * count;
                        let list = &lists[start..start + count];
                        row.extend(list);
                        choices = choices.and(judge(walk, top, list));
                    });
                    sequence.judged(tensor, choices);
                }
            }
            Row::Integer(row.into())
        }
    }
}

/// Runs `body` for all values of some axes, the last one fastest.
fn for_each(walk: &mut Walk, axes: &[AxisId], mut body: impl FnMut(&mut Walk)) {
    let extents: Vec<i64> = axes.iter().map(|axis| walk.sequence.extents[axis.0 as usize]).collect();
    if extents.contains(&0) {
        return;
    }
    for axis in axes {
        walk.at[axis.0 as usize] = 0;
    }
    loop {
        walk.version += 1;
        body(walk);
        let mut place = axes.len();
        loop {
            if place == 0 {
                return;
            }
            place -= 1;
            let value = &mut walk.at[axes[place].0 as usize];
            *value += 1;
            if *value < extents[place] {
                break;
            }
            *value = 0;
        }
    }
}

/// The candidates of a `top`, in the order of choice.
pub(super) struct Ranked {
    /// Forced ones, ascending.
    pub forced: Vec<i64>,
    /// The others with their scores, best first, ties by index.
    pub others: Vec<(f64, i64)>,
}

impl Ranked {
    /// The best: ascending, then -1.
    pub fn list(&self, count: usize) -> Vec<i64> {
        let others = self.others.iter().map(|(_, value)| *value);
        let mut chosen: Vec<i64> = self.forced.iter().copied().chain(others).take(count).collect();
        chosen.sort_unstable();
        chosen.resize(count, -1);
        chosen
    }
}

/// Ranks the candidates of a `top`.
pub(super) fn rank(walk: &mut Walk, top: &Top) -> Ranked {
    let mut ranked = Ranked { forced: vec![], others: vec![] };
    for value in 0..walk.sequence.extents[top.axis.0 as usize] {
        walk.at[top.axis.0 as usize] = value;
        if !top.among.is_none_or(|among| walk.holds(among)) {
            continue;
        }
        if top.force.is_some_and(|force| walk.holds(force)) {
            ranked.forced.push(value);
        } else {
            let score = walk.real(top.score);
            ranked.others.push((if score.is_nan() { f64::NEG_INFINITY } else { score }, value));
        }
    }
    // Stable, so that equal scores stay in the order of their indices.
    ranked.others.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal));
    ranked
}
