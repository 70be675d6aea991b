//! One element of a kernel, as the environment of its scalar terms.

use super::block::{Block, no_axis};
use super::instructions::SHARED;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Environment, Evaluator, Math, Scalar, View};
use crate::plan::Span;
use crate::term::{AxisName, TensorName, Type};
use egg::Id;
use inkwell::IntPredicate;

/// The element at which terms are evaluated. An empty place is the block itself: row axes have their first value.
#[derive(Clone)]
pub(super) struct Place<'b, 'a, 'c> {
    block: &'b Block<'a, 'c>,
    /// Most specific first: value, and value inside the axis's extent.
    axes: Vec<(AxisName, Scalar<'c>, Scalar<'c>)>,
    /// Row and column slot of variables.
    slots: Option<(usize, usize)>,
    /// The column axis of the element.
    columns: Option<Span>,
    /// Variables of elementwise kernels.
    variables: Vec<(u32, Scalar<'c>)>,
    lanes: u32,
}

impl<'a, 'c> Block<'a, 'c> {
    /// The block as a whole.
    pub fn place(&self) -> Place<'_, 'a, 'c> {
        Place { block: self, axes: vec![], slots: None, columns: None, variables: vec![], lanes: 1 }
    }
    /// The value of a block-level integer.
    pub fn integer(&self, id: Id) -> Result<Value<'c>, EmitError> {
        self.place().value(id)
    }
}

impl<'b, 'a, 'c> Place<'b, 'a, 'c> {
    /// Gives an axis a value that is inside its extent.
    pub fn with(mut self, axis: AxisName, value: Value<'c>) -> Self {
        self.axes.push((axis, Scalar::Uniform(value), Scalar::Uniform(value)));
        self
    }
    /// Gives an axis a value that may lie outside its extent.
    pub fn with_unchecked(mut self, axis: AxisName, value: Value<'c>) -> Result<Self, EmitError> {
        let e = self.block.source.e;
        let inside = e.nearest_index(value, self.block.length(axis)?);
        self.axes.push((axis, Scalar::Uniform(value), Scalar::Uniform(inside)));
        Ok(self)
    }
    /// Gives an axis `lanes` consecutive values, all inside its extent.
    pub fn with_ramp(mut self, axis: AxisName, first: Value<'c>, lanes: u32) -> Self {
        let ramp = if lanes == 1 { Scalar::Uniform(first) } else { Scalar::Ramp { first, step: 1 } };
        self.axes.push((axis, ramp.clone(), ramp));
        self.lanes = lanes;
        self
    }
    /// Gives a variable a value.
    pub fn with_variable(mut self, variable: u32, value: Scalar<'c>) -> Self {
        self.variables.retain(|(name, _)| *name != variable);
        self.variables.push((variable, value));
        self
    }
    /// Gives the row axes values.
    pub fn with_rows(mut self, spans: &[Span], values: &[Value<'c>]) -> Self {
        for (span, value) in spans.iter().zip(values) {
            self = self.with(span.axis, *value);
        }
        self
    }
    /// The element of fragments in a row slot (if the element has rows) and a column slot of `columns`.
    pub fn at(mut self, row: Option<usize>, columns: Option<(&Span, usize, Value<'c>)>) -> Result<Self, EmitError> {
        // Columns come before rows: an axis may not be both, and the innermost meaning wins.
        let mut slots = (0, 0);
        if let Some((span, slot, value)) = columns {
            self = self.with_unchecked(span.axis, value)?;
            self.columns = Some(span.clone());
            slots.1 = slot;
        }
        if let Some(row) = row {
            let coordinates = self.block.rows.get(row).map(|r| r.axes.clone()).unwrap_or_default();
            let block = self.block;
            self = self.with_rows(&block.source.kernel.rows, &coordinates);
            slots.0 = row;
        }
        self.slots = Some(slots);
        Ok(self)
    }

    /// The value of a term: `i32`, `i1` or `float`, a vector if it varies from lane to lane.
    pub fn value(&self, id: Id) -> Result<Value<'c>, EmitError> {
        let source = &self.block.source;
        Evaluator::new(source.e, source.plan, source.facts, self).plain(id)
    }
    /// The value of a term, where those of some of its parts are known.
    pub fn value_knowing(&self, id: Id, known: &[(Id, Value<'c>)]) -> Result<Value<'c>, EmitError> {
        let source = &self.block.source;
        Evaluator::new(source.e, source.plan, source.facts, self).knowing(known).plain(id)
    }
    /// Values of several terms that share subterms.
    pub fn values(&self, ids: &[Id]) -> Result<Vec<Value<'c>>, EmitError> {
        let source = &self.block.source;
        let mut evaluator = Evaluator::new(source.e, source.plan, source.facts, self);
        ids.iter().map(|id| evaluator.plain(*id)).collect()
    }

    fn find(&self, axis: AxisName, inside: bool) -> Result<Scalar<'c>, EmitError> {
        if let Some((_, value, clamped)) = self.axes.iter().find(|(name, ..)| *name == axis) {
            return Ok(if inside { clamped.clone() } else { value.clone() });
        }
        let walked = self.block.loops.iter().rev().find(|l| l.axis == axis).map(|l| l.base);
        let value = walked.or_else(|| self.block.first.get(&axis).copied()).ok_or_else(|| no_axis(axis))?;
        Ok(Scalar::Uniform(value))
    }
}

impl<'c> Environment<'c> for Place<'_, '_, 'c> {
    fn lanes(&self) -> u32 {
        self.lanes
    }
    fn axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        self.find(axis, false)
    }
    fn address_axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        self.find(axis, true)
    }
    fn length(&self, axis: AxisName) -> Result<Value<'c>, EmitError> {
        self.block.length(axis)
    }
    fn view(&self, tensor: TensorName) -> Result<View<'c>, EmitError> {
        let missing = || EmitError::Plan(format!("there is no buffer {}", tensor.name()));
        self.block.views.get(&tensor).cloned().ok_or_else(missing)
    }
    fn variable(&self, variable: u32) -> Result<Scalar<'c>, EmitError> {
        if let Some((_, value)) = self.variables.iter().find(|(name, _)| *name == variable) {
            return Ok(value.clone());
        }
        let misplaced = |why: &str| EmitError::Plan(format!("%{variable} is read {why}"));
        let (row, column) = self.slots.ok_or_else(|| misplaced("outside of any element"))?;
        let registers = self.block.registers(variable)?;
        if registers.span.is_some() && registers.span != self.columns {
            return Err(misplaced("at an element with other columns"));
        }
        self.block.get(variable, row, column).map(Scalar::Uniform)
    }
    fn stage(&self, stage: u32, index: &[Scalar<'c>]) -> Result<Scalar<'c>, EmitError> {
        let plain: Option<Vec<Value<'c>>> = index
            .iter()
            .map(|i| match i {
                Scalar::Uniform(v) => Some(*v),
                _ => None,
            })
            .collect();
        let plain = plain.ok_or_else(|| EmitError::Plan("a stage is read by several lanes at once".into()))?;
        let e = self.block.source.e;
        let address = self.block.stage_address(stage, &plain)?;
        Ok(Scalar::Uniform(e.load(e.f32_type().into(), address, 4)))
    }
    fn math(&self, function: Math, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.block.source.e;
        let mut lanes = vec![];
        for lane in 0..e.lanes(x) {
            let x = e.extract(x, lane);
            lanes.push(match function {
                Math::Exp2 => e.exp2(x)?,
                Math::Log2 => e.log2(x)?,
                Math::Sqrt => e.intrinsic_value("llvm.sqrt", &[x.get_type()], &[x])?,
                // 1 - 2 / (1 + e^2x): right at both infinities, absolute error that of the exponential.
                Math::Tanh => {
                    let power = e.exp2(e.fmul(x, e.f32(2.0 * std::f32::consts::LOG2_E)))?;
                    let denominator = e.fadd(power, e.f32(1.0));
                    e.fsub(e.f32(1.0), e.fdiv(e.f32(2.0), denominator))
                }
            });
        }
        Ok(e.gather_lanes(&lanes))
    }
    fn converts(&self, _: Type) -> bool {
        true
    }
}

impl<'c> Block<'_, 'c> {
    /// Address of an element of a stage at absolute coordinates: rows first, then the column.
    pub fn stage_address(&self, stage: u32, index: &[Value<'c>]) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let missing = || EmitError::Plan(format!("there is no stage {stage} of {} axes", index.len()));
        let description = self.source.kernel.stages.get(stage as usize).ok_or_else(missing)?;
        let (Some((column, rows)), offset, row_bytes) =
            (index.split_last(), self.layout.stages[stage as usize], self.layout.stage_rows[stage as usize])
        else {
            return Err(missing());
        };
        if rows.len() != description.rows.len() {
            return Err(missing());
        }
        let mut row = e.i32(0);
        for (span, value) in description.rows.iter().zip(rows) {
            let first = self.first.get(&span.axis).copied().ok_or_else(|| no_axis(span.axis))?;
            row = e.add(e.mul(row, e.i32(span.count as i32)), e.sub(*value, first));
        }
        let ring = e.and(*column, e.i32(description.columns.count as i32 - 1));
        let bytes = e.add(e.mul(row, e.i32(row_bytes as i32)), e.shift_left(ring, e.i32(2)));
        Ok(e.offset_u32(e.offset_by(self.shared, offset.into()), bytes))
    }
    /// An address in shared memory, `bytes` (`i32`) after a constant offset.
    pub fn shared_at(&self, offset: u32, bytes: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        debug_assert!(
            self.shared.into_pointer_value().get_type().get_address_space() == inkwell::AddressSpace::from(SHARED)
        );
        e.offset_u32(e.offset_by(self.shared, offset.into()), bytes)
    }
    /// `a < b`, signed.
    pub fn less(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.source.e.icmp(IntPredicate::SLT, a, b)
    }
}
