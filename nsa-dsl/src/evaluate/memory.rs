//! Values that are met again.

use super::sequence::Sequence;
use crate::program::*;
use std::rc::Rc;

/// Most elements that one memory may have; what would need more is computed again each time.
const LIMIT: usize = 1 << 24;

/// Remembered values of an expression: valid for one set of values of the axes that stand still.
#[derive(Default)]
pub(super) struct Memory {
    still: Vec<i64>,
    strides: Vec<usize>,
    /// For which set each value was computed; 0 means never.
    stamps: Vec<u32>,
    values: Vec<f64>,
    now: u32,
    /// The version of the axes for which `still` was compared.
    version: u64,
}

impl Memory {
    /// Makes the memory valid for the present values of the axes; false if there is none, because it would be too large.
    pub fn refresh(
        &mut self,
        axes: &(Vec<AxisId>, Vec<AxisId>),
        sequence: &Sequence,
        at: &[i64],
        version: u64,
    ) -> bool {
        let (still, running) = axes;
        if self.now == 0 {
            let mut size = 1usize;
            for axis in running {
                self.strides.push(size);
                size = size.saturating_mul(sequence.extents[axis.0 as usize] as usize);
            }
            if size <= LIMIT {
                self.stamps = vec![0; size];
                self.values = vec![0.0; size];
            }
            self.still = still.iter().map(|axis| at[axis.0 as usize]).collect();
            self.now = 1;
            self.version = version;
        }
        if self.values.is_empty() {
            return false;
        }
        if self.version != version {
            self.version = version;
            let mut same = true;
            for (old, axis) in self.still.iter_mut().zip(still) {
                let new = at[axis.0 as usize];
                same &= *old == new;
                *old = new;
            }
            if !same {
                self.now = self.now.wrapping_add(1);
                if self.now == 0 {
                    self.stamps.fill(0);
                    self.now = 1;
                }
            }
        }
        true
    }

    /// The slot of the present values of the running axes; an axis that is given counts as 0, and its stride comes with
    /// the slot (0 if it does not run).
    pub fn slot(&self, running: &[AxisId], at: &[i64], without: Option<AxisId>) -> (usize, usize) {
        let (mut slot, mut stride) = (0, 0);
        for (axis, distance) in running.iter().zip(&self.strides) {
            if Some(*axis) == without {
                stride = *distance;
            } else {
                slot += at[axis.0 as usize] as usize * distance;
            }
        }
        (slot, stride)
    }

    pub fn get(&self, slot: usize) -> Option<f64> {
        (self.stamps[slot] == self.now).then(|| self.values[slot])
    }

    pub fn set(&mut self, slot: usize, value: f64) {
        self.values[slot] = value;
        self.stamps[slot] = self.now;
    }
}

/// The values of a fold's axis that its guard allows, for one set of values of the other axes in the guard.
pub(super) struct Allowed {
    pub guard: Option<ExprId>,
    pub axis: AxisId,
    pub others: Vec<(AxisId, i64)>,
    pub values: Rc<[usize]>,
}
