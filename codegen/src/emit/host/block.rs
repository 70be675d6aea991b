//! What a block knows when it starts: its sequence, lengths, views of the buffers, its place in the grid.

use super::EmitError;
use crate::emit::llvm::{Emitter, Value};
use crate::emit::scalar::View;
use crate::plan::{Kernel, Plan, PlanExtent};
use crate::term::{AxisName, TensorName};
use inkwell::IntPredicate;
use std::collections::HashMap;

/// Values of one block; all dominate its body.
#[derive(Clone)]
pub(super) struct Block<'c> {
    /// `i32` per axis of the plan.
    pub lengths: HashMap<AxisName, Value<'c>>,
    /// Buffers of the kernel.
    pub views: HashMap<TensorName, View<'c>>,
    /// First value (`i32`) of every grid axis.
    pub grid: HashMap<AxisName, Value<'c>>,
    /// What the next block of the table of tiles begins at beyond this one, along the grid's run-time axis (`i32`). Only an
    /// expectation: the next block may belong to another sequence.
    pub ahead: Value<'c>,
    /// Where the block is in the table of tiles.
    pub place: Place<'c>,
}

/// A place in the table of tiles, whose entries are a sequence and a first value (`i32` each).
#[derive(Clone, Copy)]
pub(super) struct Place<'c> {
    /// Address of the first entry.
    table: Value<'c>,
    /// Which entry (`i64`).
    at: Value<'c>,
    /// The last entry (`i64`).
    last: Value<'c>,
}

impl<'c> Place<'c> {
    /// So many entries further (`i64`), at most the last one.
    fn further(self, e: &Emitter<'c>, by: Value<'c>) -> Self {
        Place { at: e.imin(e.add(self.at, by), self.last), ..self }
    }
    fn word(self, e: &Emitter<'c>, word: i64) -> Value<'c> {
        let entry = e.offset(self.table, e.mul(self.at, e.i64(8)));
        e.load(e.i32_type().into(), e.offset(entry, e.i64(4 * word)), 4)
    }
    /// The sequence's number.
    fn sequence(self, e: &Emitter<'c>) -> Value<'c> {
        self.word(e, 0)
    }
    /// The first value of the grid's run-time axis.
    fn first(self, e: &Emitter<'c>) -> Value<'c> {
        self.word(e, 1)
    }
}

/// The constant extent of an axis.
pub(super) fn constant(plan: &Plan, axis: AxisName) -> Option<i64> {
    match plan.axis(axis)?.extent {
        PlanExtent::Const(n) => Some(n),
        _ => None,
    }
}

/// Parameter word `index` (`i64`).
fn word<'c>(e: &Emitter<'c>, words: Value<'c>, index: usize) -> Value<'c> {
    e.load(e.i64_type().into(), e.offset(words, e.i64(8 * index as i64)), 8)
}

/// Blocks of a constant grid axis.
fn blocks_of(extent: i64, tile: u32) -> i64 {
    (extent.max(0) + i64::from(tile.max(1)) - 1) / i64::from(tile.max(1))
}

impl<'c> Block<'c> {
    /// Builds the prologue of block `index` (`i64`).
    pub fn enter(
        e: &Emitter<'c>,
        plan: &Plan,
        kernel: &Kernel,
        parameters: Value<'c>,
        index: Value<'c>,
    ) -> Result<Self, EmitError> {
        let tiles = word(e, parameters, 2);
        let tile = e.urem(index, tiles);
        let mut rest = e.udiv(index, tiles);
        let table = e.pointer(word(e, parameters, 1), 0);
        let place = Place { table, at: tile, last: e.sub(tiles, e.i64(1)) };
        let (sequence, first) = (place.sequence(e), place.first(e));
        let ahead = e.sub(place.further(e, e.i64(1)).first(e), first);

        // Constant grid axes, fastest last.
        let mut grid = HashMap::new();
        for axis in kernel.grid.iter().rev() {
            let value = match constant(plan, axis.axis) {
                None => first,
                Some(extent) => {
                    let count = e.i64(blocks_of(extent, axis.tile));
                    let at = e.urem(rest, count);
                    rest = e.udiv(rest, count);
                    e.mul(e.to_i32(at), e.i32(axis.tile as i32))
                }
            };
            grid.insert(axis.axis, value);
        }

        // Sequence table: (offset, length) per slot.
        let slots = plan.axes.iter().filter(|a| !matches!(a.extent, PlanExtent::Const(_))).count();
        let row = e.mul(e.to_i64(sequence), e.i64(16 * slots as i64));
        let table = e.offset(e.pointer(word(e, parameters, 0), 0), row);
        let slot = |axis: AxisName, part: i64| -> Option<Value<'c>> {
            let at = plan.slot(axis)? as i64 * 16 + part;
            Some(e.load(e.i64_type().into(), e.offset(table, e.i64(at)), 8))
        };
        let mut lengths = HashMap::new();
        for axis in &plan.axes {
            let length =
                match constant(plan, axis.name) {
                    Some(n) => e.i32(i32::try_from(n).map_err(|_| {
                        EmitError::Limit(format!("axis `{}` has 2^31 values or more", axis.name.name()))
                    })?),
                    None => match slot(axis.name, 8) {
                        Some(length) => e.to_i32(length),
                        None => return Err(EmitError::Plan(format!("axis {} has no slot", axis.name.name()))),
                    },
                };
            lengths.insert(axis.name, length);
        }

        let mut views = HashMap::new();
        let mut next = 3;
        for buffer in kernel.buffers(plan) {
            let mut pointer = e.pointer(word(e, parameters, next), 0);
            let dims = buffer.axes.len().saturating_sub(1);
            let strides: Vec<_> = (0..dims).map(|d| word(e, parameters, next + 1 + d)).collect();
            next += 1 + dims;
            let packed = buffer.axes.iter().position(|axis| constant(plan, *axis).is_none());
            if let Some(dim) = packed
                && let Some(offset) = slot(buffer.axes[dim], 0)
            {
                let elements = strides.get(dim).map_or(offset, |stride| e.mul(offset, *stride));
                pointer = e.offset(pointer, e.mul(elements, e.i64(buffer.dtype.bytes() as i64)));
            }
            let view = View { pointer, strides, axes: buffer.axes.clone(), dtype: buffer.dtype };
            views.insert(buffer.name, view);
        }
        Ok(Block { lengths, views, grid, ahead, place })
    }

    /// The block that is so many entries (`i64`) further in the table of tiles, if it is one of those that
    /// [`Block::neighbours`] counts. `axis`: the grid's run-time axis.
    pub fn neighbour(&self, e: &Emitter<'c>, axis: AxisName, by: Value<'c>) -> Self {
        let place = self.place.further(e, by);
        let first = place.first(e);
        let ahead = e.sub(place.further(e, e.i64(1)).first(e), first);
        let mut block = Block { ahead, place, ..self.clone() };
        block.grid.insert(axis, first);
        block
    }

    /// How many of at most `most` blocks (`i64`) from this one on differ in nothing but their place along the grid's run-time
    /// axis (`i64`; at least this one).
    pub fn neighbours(&self, e: &Emitter<'c>, most: Value<'c>) -> Value<'c> {
        let entries = e.add(e.sub(self.place.last, self.place.at), e.i64(1));
        let sequence = self.place.sequence(e);
        let open = e.begin_loop(e.i64(1), e.imin(most, entries), 1, &[e.i64(1), e.bool(true)]);
        let same = e.icmp(IntPredicate::EQ, self.place.further(e, open.index).sequence(e), sequence);
        let same = e.and(open.carried[1], same);
        let count = e.add(open.carried[0], e.zero_extend(same, e.i64_type().into()));
        e.end_loop(open, &[count, same])[0]
    }
}
