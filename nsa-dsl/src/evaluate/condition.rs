//! Where conditions hold: which values of an axis a fold visits, for pictures and counts.

use super::analysis::Plan;
use super::walk::Walk;
use super::{EvalError, Evaluation};
use crate::program::*;
use std::ops::Range;

impl Evaluation<'_> {
    /// The number of values of an axis in a sequence; None if there is no such sequence.
    pub fn extent(&self, sequence: usize, axis: AxisId) -> Option<usize> {
        self.sequences.get(sequence).map(|sequence| sequence.extents[axis.0 as usize] as usize)
    }

    /// The values of `axis` for which a condition holds, as ascending disjoint ranges: for every value of `along`, or once if
    /// that is None. `at` gives the values of other axes; those that it leaves out are 0.
    ///
    /// With the guard of a [`Expr::Fold`] for condition and the fold's axis this is what the fold visits. Lists and other
    /// definitions that the condition reads are evaluated where it needs them.
    ///
    /// # Errors
    /// An unknown sequence; a value outside of its axis; elements asked for outside of a tensor.
    pub fn satisfying(
        &self,
        sequence: usize,
        condition: ExprId,
        axis: AxisId,
        along: Option<AxisId>,
        at: &[(AxisId, usize)],
    ) -> Result<Vec<Vec<Range<usize>>>, EvalError> {
        let count = self.sequences.len();
        let Some(found) = self.sequences.get(sequence) else {
            return Err(EvalError::UnknownSequence { number: sequence, count });
        };
        for &(axis, value) in at {
            let extent = found.extents[axis.0 as usize];
            if value as i64 >= extent {
                let name = self.program.axis(axis).name.clone();
                return Err(EvalError::OutOfRange { name: name.clone(), axis: name, index: value as i64, extent });
            }
        }
        let fold = found.analysis.guarded(self.program, axis, Some(condition));
        // Nothing is worth remembering: every row is asked for once.
        let plan = Plan { row: None, vector: None, memory: vec![None; self.program.exprs.len()], memories: vec![] };
        let rows = along.map_or(1, |along| found.extents[along.0 as usize] as usize);
        found.parallel(rows, |row| {
            let mut walk = Walk::new(found, &plan);
            at.iter().for_each(|&(axis, value)| walk.at[axis.0 as usize] = value as i64);
            if let Some(along) = along {
                walk.at[along.0 as usize] = row as i64;
            }
            let mut ranges: Vec<Range<usize>> = vec![];
            walk.visit(&fold, axis, |value| match ranges.last_mut() {
                Some(last) if last.end == value => last.end += 1,
                _ => ranges.push(value..value + 1),
            });
            ranges
        })
    }
}
