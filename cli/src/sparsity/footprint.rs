//! Which keys a compressed key stands for.

use super::branches::{Branch, each};
use crate::fills;
use nsa_dsl::Program;
use nsa_dsl::program::{AxisId, Expr, ExprId, Extent, Source, TensorId};
use std::collections::BTreeSet;
use std::ops::Range;

/// Where the values of a derived axis are computed from.
pub struct Footprint {
    /// The run-time axis.
    pub axis: AxisId,
    /// Indices along it, each with the axis whose value it is about.
    indices: Vec<(ExprId, AxisId)>,
}

/// The run-time axis that a branch's keys are computed from, if they are computed from one only, at indices that are
/// computed and not read.
pub fn footprint(program: &Program, branch: &Branch) -> Option<Footprint> {
    let mut leaves = vec![];
    follow(program, &[branch.score], branch.keys, &mut BTreeSet::new(), &mut leaves)?;
    let axis = leaves.first()?.0;
    let one = leaves.iter().all(|(other, ..)| *other == axis);
    one.then(|| Footprint { axis, indices: leaves.into_iter().map(|(_, index, value)| (index, value)).collect() })
}

/// Adds what loads below some roots do with the value of an axis: which run-time axis they index with it, and how. None if an
/// index goes to something else.
fn follow(
    program: &Program,
    roots: &[ExprId],
    axis: AxisId,
    seen: &mut BTreeSet<(TensorId, AxisId)>,
    leaves: &mut Vec<(AxisId, ExprId, AxisId)>,
) -> Option<()> {
    let mut uses = vec![];
    each(program, roots, |id| {
        if let Expr::Load(tensor, index) = program.expr(id) {
            uses.extend(index.iter().enumerate().map(|(place, at)| (*tensor, place, *at)));
        }
    });
    for (tensor, place, index) in uses {
        let mut varies = false;
        each(program, &[index], |id| varies |= *program.expr(id) == Expr::Axis(axis));
        if !varies {
            continue;
        }
        let target = program.tensor(tensor).axes[place];
        match (&program.axis(target).extent, &program.tensor(tensor).source) {
            (Extent::Runtime, _) => leaves.push((target, index, axis)),
            // Weights for the places inside a block and the like say nothing about keys.
            (Extent::Const(_), _) => {}
            (Extent::Derived(_), Source::Value(root)) if *program.expr(index) == Expr::Axis(axis) => {
                if seen.insert((tensor, target)) {
                    follow(program, &[*root], target, seen, leaves)?;
                }
            }
            (Extent::Derived(_), _) => return None,
        }
    }
    Some(())
}

impl Footprint {
    /// The keys that a value stands for, the whole range from the first to the last. `extent` gives the lengths of axes.
    pub fn of(&self, program: &Program, value: usize, extent: &dyn Fn(AxisId) -> usize) -> Option<Range<usize>> {
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for (index, axis) in &self.indices {
            let values = |other: AxisId| match other == *axis {
                true => (value as i64, value as i64),
                false => (0, extent(other) as i64 - 1),
            };
            let (least, most) = fills::range(program, *index, &values, &|axis| extent(axis) as i64)?;
            (first, last) = (first.min(least), last.max(most));
        }
        let end = usize::try_from(last + 1).unwrap_or(0).min(extent(self.axis));
        Some(usize::try_from(first).unwrap_or(0).min(end)..end)
    }
}
