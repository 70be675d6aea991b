//! What a block knows when it starts: its sequence, lengths, views of the buffers, its place in the grid.

use super::EmitError;
use crate::emit::llvm::{Emitter, Value};
use crate::emit::scalar::View;
use crate::plan::{Kernel, Plan, PlanExtent};
use crate::term::{AxisName, TensorName};
use std::collections::HashMap;

/// Values of one block; all dominate its body.
pub(super) struct Block<'c> {
    /// `i32` per axis of the plan.
    pub lengths: HashMap<AxisName, Value<'c>>,
    /// Buffers of the kernel.
    pub views: HashMap<TensorName, View<'c>>,
    /// First value (`i32`) of every grid axis.
    pub grid: HashMap<AxisName, Value<'c>>,
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
        let entry = e.offset(e.pointer(word(e, parameters, 1), 0), e.mul(tile, e.i64(8)));
        let sequence = e.load(e.i32_type().into(), entry, 4);
        let first = e.load(e.i32_type().into(), e.offset(entry, e.i64(4)), 4);

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
        Ok(Block { lengths, views, grid })
    }
}
