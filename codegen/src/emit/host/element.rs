//! The environment of scalar terms: where an element's coordinates and values come from.

use super::block::constant;
use super::layout::{halves, padded};
use super::lower::Lower;
use super::matrix::stored_at;
use super::{EmitError, math};
use crate::emit::llvm::Value;
use crate::emit::scalar::{Environment, Math, Scalar, View};
use crate::term::{AxisName, TensorName, Type};
use inkwell::IntPredicate;

/// The rows of an element.
#[derive(Clone, Copy)]
pub(super) enum Rows<'c> {
    /// The block as a whole: a row axis means its first value.
    Block,
    /// One row (`i64`).
    One(Value<'c>),
    /// As many rows as there are lanes, from this one on (`i64`, a multiple of the lanes).
    Lanes(Value<'c>),
}

/// The columns of an element.
#[derive(Clone, Copy)]
pub(super) struct Column<'c> {
    /// The axis.
    pub axis: AxisName,
    /// Its value (`i32`), in lane 0 if columns are the lanes.
    pub value: Value<'c>,
    /// The position in the tile (`i64`), in lane 0.
    pub at: Value<'c>,
    /// True if the value may lie beyond the axis's length, so that addresses need clamping.
    pub loose: bool,
}

/// One element, or as many as a vector has lanes.
pub(super) struct Element<'s, 'a, 'c> {
    pub lower: &'s Lower<'a, 'c>,
    /// Elements at once.
    pub lanes: u32,
    pub rows: Rows<'c>,
    pub column: Option<Column<'c>>,
    /// An axis with a value of its own (`i32`): the slow axis of a tile that is fetched.
    pub fixed: Option<(AxisName, Value<'c>)>,
    /// Variables are read from their turned copies, `[row][column]`.
    pub turned: bool,
}

impl<'c> Element<'_, '_, 'c> {
    fn columns_are_lanes(&self) -> bool {
        self.lanes > 1 && !matches!(self.rows, Rows::Lanes(_))
    }

    fn row_axis(&self, index: usize, axis: AxisName) -> Scalar<'c> {
        let k = self.lower;
        let e = k.e;
        let table = k.scratch.coordinates[index];
        match self.rows {
            Rows::Block => Scalar::Uniform(k.row_first(axis)),
            Rows::One(row) => Scalar::Uniform(e.load(e.i32_type().into(), k.at(table, row, 4), 4)),
            Rows::Lanes(row) => {
                let faster: u32 = k.kernel.rows[index + 1..].iter().map(|s| s.count).product();
                if faster.is_multiple_of(self.lanes) {
                    return Scalar::Uniform(e.load(e.i32_type().into(), k.at(table, row, 4), 4));
                }
                let count = k.kernel.rows[index].count;
                let whole =
                    constant(k.plan, axis).is_some_and(|n| i64::from(count) <= n) && !k.block.grid.contains_key(&axis);
                if faster == 1 && whole && count.is_multiple_of(self.lanes) {
                    let first = e.load(e.i32_type().into(), k.at(table, row, 4), 4);
                    return Scalar::Ramp { first, step: 1 };
                }
                Scalar::Lanes(e.load(e.lanes_of(e.i32_type().into(), self.lanes), k.at(table, row, 4), 4))
            }
        }
    }

    fn coordinate(&self, axis: AxisName, inside: bool) -> Result<Scalar<'c>, EmitError> {
        let k = self.lower;
        let e = k.e;
        if let Some(column) = &self.column
            && column.axis == axis
        {
            if self.columns_are_lanes() {
                return Ok(Scalar::Ramp { first: column.value, step: 1 });
            }
            let value = match inside && column.loose {
                true => e.imin(column.value, e.sub(k.length(axis)?, e.i32(1))),
                false => column.value,
            };
            return Ok(Scalar::Uniform(value));
        }
        if let Some((_, value)) = self.fixed.filter(|(fixed, _)| *fixed == axis) {
            return Ok(Scalar::Uniform(value));
        }
        if let Some(index) = k.kernel.rows.iter().position(|s| s.axis == axis) {
            return Ok(self.row_axis(index, axis));
        }
        if let Some(open) = k.loops.iter().rev().find(|l| l.axis == axis) {
            return Ok(Scalar::Uniform(open.base));
        }
        match k.block.grid.get(&axis) {
            Some(value) => Ok(Scalar::Uniform(*value)),
            None => Err(EmitError::Plan(format!("axis {} has no value here", axis.name()))),
        }
    }
}

impl<'c> Environment<'c> for Element<'_, '_, 'c> {
    fn lanes(&self) -> u32 {
        self.lanes
    }
    fn axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        self.coordinate(axis, false)
    }
    fn address_axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        self.coordinate(axis, true)
    }
    fn length(&self, axis: AxisName) -> Result<Value<'c>, EmitError> {
        self.lower.length(axis)
    }
    fn view(&self, tensor: TensorName) -> Result<View<'c>, EmitError> {
        let view = self.lower.block.views.get(&tensor);
        view.cloned().ok_or_else(|| EmitError::Plan(format!("the kernel has no buffer {tensor}")))
    }

    fn variable(&self, number: u32) -> Result<Scalar<'c>, EmitError> {
        let k = self.lower;
        let e = k.e;
        let variable = k.variable(number)?;
        let f32_type = e.f32_type().into();
        let wide = e.lanes_of(f32_type, self.lanes);
        let base = k.scratch.variables[number as usize];
        let column = match (&variable.columns, &self.column) {
            (None, _) => None,
            (Some(span), Some(column)) if span.axis == column.axis => Some(column.at),
            (Some(span), _) => {
                return Err(EmitError::Plan(format!(
                    "variable %{number} has columns over {}, its reader has not",
                    span.axis.name()
                )));
            }
        };
        let row = match (variable.rows, self.rows) {
            (false, _) => None,
            (true, Rows::Block) => {
                return Err(EmitError::Plan(format!("variable %{number} has rows, its reader has not")));
            }
            (true, Rows::One(row) | Rows::Lanes(row)) => Some(row),
        };
        let row_lanes = row.is_some() && matches!(self.rows, Rows::Lanes(_));
        let column_lanes = column.is_some() && self.columns_are_lanes();
        let vector = row_lanes || column_lanes;
        let pointer = match (row, column) {
            (None, None) => k.at(base, e.i64(0), 4),
            (None, Some(at)) | (Some(at), None) => k.at(base, at, 4),
            (Some(row), Some(at)) => {
                let stride = variable.columns.as_ref().map_or(1, |c| padded(c.count));
                if self.turned || !k.scratch.row_lanes {
                    let base = if k.scratch.row_lanes { k.scratch.turned[number as usize] } else { base };
                    k.at(base, e.add(e.mul(row, e.i64(stride.into())), at), 4)
                } else if k.scratch.forms.lines[number as usize] {
                    if vector {
                        return Err(EmitError::Plan(format!("accumulator %{number} is read in vectors")));
                    }
                    k.at(base, stored_at(e, row, at, halves(stride)), 4)
                } else if column_lanes {
                    return Err(EmitError::Plan(format!("variable %{number} is read along its columns")));
                } else {
                    k.at(base, k.panel_offset(row, stride, at), 4)
                }
            }
        };
        let value = e.load(if vector { wide } else { f32_type }, pointer, 4);
        Ok(if vector { Scalar::Lanes(value) } else { Scalar::Uniform(value) })
    }

    fn stage(&self, number: u32, index: &[Scalar<'c>]) -> Result<Scalar<'c>, EmitError> {
        let k = self.lower;
        let e = k.e;
        let Some(stage) = k.kernel.stages.get(number as usize) else {
            return Err(EmitError::Plan(format!("the kernel has no stage {number}")));
        };
        let [rows @ .., column] = index else { return Err(EmitError::Plan("a stage read without an index".into())) };
        if rows.len() != stage.rows.len() {
            return Err(EmitError::Plan(format!("stage {number} has {} row axes", stage.rows.len())));
        }
        let flat = |x: &Scalar<'c>| match x {
            Scalar::Uniform(v) | Scalar::Lanes(v) => Ok(*v),
            Scalar::Ramp { first, step } => Ok(e.add(*first, e.ramp(*step, self.lanes))),
            Scalar::Pair(_) => Err(EmitError::Plan("a pair as an index".into())),
        };
        let mut at = e.i32(0);
        for (span, value) in stage.rows.iter().zip(rows) {
            let local = e.sub(flat(value)?, k.row_first(span.axis));
            at = e.add(e.mul(at, e.i32(span.count as i32)), local);
        }
        let ring = stage.columns.count as i32;
        let column = e.and(flat(column)?, e.i32(ring - 1));
        let at = e.to_i64(e.add(e.mul(at, e.i32(ring)), column));
        let base = k.scratch.stages[number as usize];
        let load = |at| e.load(e.f32_type().into(), k.at(base, at, 4), 4);
        if !at.is_vector_value() {
            return Ok(Scalar::Uniform(load(at)));
        }
        let values: Vec<_> = (0..self.lanes).map(|lane| load(e.extract(at, lane))).collect();
        Ok(Scalar::Lanes(e.gather_lanes(&values)))
    }

    fn math(&self, function: Math, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        math::call(self.lower.e, function, x)
    }
    fn converts(&self, dtype: Type) -> bool {
        // The instruction that rounds to bf16 makes subnormal numbers 0, which results may not become.
        dtype == Type::F16 && self.lower.isa.has_f16_conversions()
    }
}

impl<'a, 'c> Lower<'a, 'c> {
    /// Whether a column (`i32`) lies inside its axis.
    pub(super) fn column_inside(&self, axis: AxisName, value: Value<'c>) -> Result<Value<'c>, EmitError> {
        let length = self.e.splat(self.length(axis)?, self.e.lanes(value));
        Ok(self.e.icmp(IntPredicate::SLT, value, length))
    }
}
