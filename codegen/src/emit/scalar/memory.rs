//! Reading and writing elements of buffers.

use super::{EmitError, Environment, Evaluator, Scalar};
use crate::emit::llvm::{Emitter, Value};
use crate::term::{AxisName, Term, Type};
use egg::Id;
use inkwell::FloatPredicate;
use inkwell::types::BasicTypeEnum;

/// A buffer as a kernel sees it in the sequence that it works on.
#[derive(Clone, Debug)]
pub struct View<'c> {
    /// The element at index 0 of every axis: the packed axis's offset is already added.
    pub pointer: Value<'c>,
    /// Strides in elements (`i64`) of every axis but the last, whose stride is 1.
    pub strides: Vec<Value<'c>>,
    /// Index axes, as in the plan.
    pub axes: Vec<AxisName>,
    /// Type of the elements.
    pub dtype: Type,
}

impl<'c> Evaluator<'_, 'c> {
    /// `(load $x index...)`.
    pub(super) fn load(&mut self, children: &[Id]) -> Result<Scalar<'c>, EmitError> {
        let (Some(Term::Tensor(tensor)), index) = (children.first().map(|x| &self.plan.terms[*x]), &children[1..])
        else {
            return Err(EmitError::Plan("a load without a tensor".into()));
        };
        if let Some(number) = tensor.name().strip_prefix("stage:") {
            let stage = number.parse().map_err(|_| EmitError::Plan(format!("no stage is called {number}")))?;
            let index = index.iter().map(|i| self.value(*i)).collect::<Result<Vec<_>, _>>()?;
            return self.environment.stage(stage, &index);
        }
        let view = self.environment.view(*tensor)?;
        if view.axes.len() != index.len() {
            return Err(EmitError::Plan(format!("{tensor} has {} axes, not {}", view.axes.len(), index.len())));
        }
        let index = self.indices(&view, index)?;
        self.element(&view, &index)
    }

    /// Where a load reads: its buffer, and the address of the element. Every index has one value here.
    ///
    /// # Errors
    /// The term is no load of a buffer that the kernel has.
    pub fn address(&mut self, load: Id) -> Result<(View<'c>, Value<'c>), EmitError> {
        let Term::Load(children) = &self.plan.terms[load] else {
            return Err(EmitError::Plan("the address of something that is no load".into()));
        };
        let (Some(Term::Tensor(tensor)), index) = (children.first().map(|x| &self.plan.terms[*x]), &children[1..])
        else {
            return Err(EmitError::Plan("a load without a tensor".into()));
        };
        let (e, view) = (self.emitter, self.environment.view(*tensor)?);
        let mut elements = e.i64(0);
        for (axis, value) in self.indices(&view, index)?.iter().enumerate() {
            let value = e.to_i64(self.flat(value)?);
            elements = e.add(elements, view.strides.get(axis).map_or(value, |stride| e.mul(value, *stride)));
        }
        let address = e.offset(view.pointer, e.mul(elements, e.i64(view.dtype.bytes() as i64)));
        Ok((view, address))
    }

    /// The indices of a load, inside the buffer.
    pub(super) fn indices(&mut self, view: &View<'c>, index: &[Id]) -> Result<Vec<Scalar<'c>>, EmitError> {
        let outer = std::mem::replace(&mut self.addressing, true);
        let mut values = Vec::new();
        for (id, axis) in index.iter().zip(&view.axes) {
            let value = self.value(*id);
            // Restored before an error leaves.
            let value = value.and_then(|value| self.inside(*id, *axis, value));
            match value {
                Ok(value) => values.push(value),
                Err(error) => {
                    self.addressing = outer;
                    return Err(error);
                }
            }
        }
        self.addressing = outer;
        Ok(values)
    }
    /// Clamps an index that was read from data, where -1 means "none".
    fn inside(&self, id: Id, axis: AxisName, value: Scalar<'c>) -> Result<Scalar<'c>, EmitError> {
        if !self.facts.reads(id) {
            return Ok(value);
        }
        let value = self.flat(&value)?;
        Ok(self.wrap(self.emitter.nearest_index(value, self.environment.length(axis)?)))
    }

    /// The element of a buffer at known indices.
    pub(super) fn element(&self, view: &View<'c>, index: &[Scalar<'c>]) -> Result<Scalar<'c>, EmitError> {
        let e = self.emitter;
        let bytes = view.dtype.bytes() as i64;
        // The uniform part of the address, and one offset per lane where indices differ.
        let mut uniform = e.i64(0);
        let mut lanes: Option<Value<'c>> = None;
        let mut contiguous = false;
        for (axis, index) in index.iter().enumerate() {
            let stride = view.strides.get(axis).copied();
            let scaled = |x: Value<'c>| match stride {
                Some(stride) => e.mul(e.to_i64(x), stride),
                None => e.to_i64(x),
            };
            match index {
                Scalar::Uniform(x) => uniform = e.add(uniform, scaled(*x)),
                Scalar::Ramp { first, step: 1 } if stride.is_none() => {
                    uniform = e.add(uniform, scaled(*first));
                    contiguous = true;
                }
                other => {
                    let offset = scaled(self.flat(other)?);
                    lanes = Some(lanes.map_or(offset, |sum| e.add(sum, offset)));
                }
            }
        }
        let base = e.offset(view.pointer, e.mul(uniform, e.i64(bytes)));
        let width = self.environment.lanes();
        let element = memory_type(e, view.dtype);
        let Some(mut offsets) = lanes else {
            let ty = e.lanes_of(element, if contiguous { width } else { 1 });
            let raw = e.load(ty, base, bytes as u32);
            return Ok(self.wrap(widened(e, self.environment, view.dtype, raw)));
        };
        if contiguous {
            offsets = e.add(offsets, e.to_i64(e.ramp(1, width)));
        }
        let offsets = e.mul(offsets, e.int_like(offsets, bytes));
        let raw: Vec<_> =
            (0..width).map(|lane| e.load(element, e.offset(base, e.extract(offsets, lane)), bytes as u32)).collect();
        Ok(self.wrap(widened(e, self.environment, view.dtype, e.gather_lanes(&raw))))
    }
}

/// Consecutive elements from an address on, as f32 (or i32): as many as the environment has lanes.
pub fn load_lanes<'c>(
    e: &Emitter<'c>,
    environment: &dyn Environment<'c>,
    dtype: Type,
    address: Value<'c>,
) -> Value<'c> {
    let ty = e.lanes_of(memory_type(e, dtype), environment.lanes());
    widened(e, environment, dtype, e.load(ty, address, dtype.bytes() as u32))
}

/// The LLVM type of an element in memory; 16-bit floats are moved as integers unless the target converts them.
fn memory_type<'c>(e: &Emitter<'c>, dtype: Type) -> BasicTypeEnum<'c> {
    match dtype {
        Type::Bf16 | Type::F16 => e.i16_type().into(),
        Type::F32 => e.f32_type().into(),
        Type::I32 => e.i32_type().into(),
    }
}

/// What was loaded from memory as `float` (or `i32`).
fn widened<'c>(e: &Emitter<'c>, environment: &dyn Environment<'c>, dtype: Type, raw: Value<'c>) -> Value<'c> {
    let i32_type = e.i32_type().into();
    match dtype {
        Type::F32 | Type::I32 => raw,
        Type::Bf16 => {
            let wide = e.zero_extend(raw, i32_type);
            e.bits_as(e.shift_left(wide, e.int_like(wide, 16)), e.f32_type().into())
        }
        Type::F16 if environment.converts(Type::F16) => e.widen_float(e.bits_as(raw, e.context.f16_type().into())),
        Type::F16 => {
            // Exponent and mantissa move 13 places; a multiplication by 2^(127-15) rebiases the exponent and is exact for
            // subnormals too. Infinities and NaN need the exponent of f32's.
            let wide = e.zero_extend(raw, i32_type);
            let constant = |v: i64| e.int_like(wide, v);
            let sign = e.shift_left(e.and(wide, constant(0x8000)), constant(16));
            let magnitude = e.shift_left(e.and(wide, constant(0x7fff)), constant(13));
            let scaled =
                e.fmul(e.bits_as(magnitude, e.f32_type().into()), e.f32_like(wide, f32::from_bits((127 + 112) << 23)));
            let special = e.icmp(inkwell::IntPredicate::SGE, magnitude, constant(0x7c00 << 13));
            let bits = e.bits_as(scaled, i32_type);
            let bits = e.select(special, e.or(bits, constant(0x7f80_0000)), bits);
            e.bits_as(e.or(bits, sign), e.f32_type().into())
        }
    }
}

/// A `float` (or `i32`) as it lies in memory, rounded to nearest, ties to even.
pub fn store_type<'c>(e: &Emitter<'c>, environment: &dyn Environment<'c>, dtype: Type, x: Value<'c>) -> Value<'c> {
    let (i16_type, i32_type) = (e.i16_type().into(), e.i32_type().into());
    match dtype {
        Type::F32 | Type::I32 => x,
        Type::Bf16 if environment.converts(Type::Bf16) => {
            e.bits_as(e.narrow_float(x, e.context.bf16_type().into()), i16_type)
        }
        Type::Bf16 => {
            let bits = e.bits_as(x, i32_type);
            let constant = |v: i64| e.int_like(bits, v);
            let odd = e.and(e.shift_right_logical(bits, constant(16)), constant(1));
            let rounded = e.add(e.add(bits, constant(0x7fff)), odd);
            let nan = e.fcmp(FloatPredicate::UNO, x, x);
            let quiet = e.or(bits, constant(0x40_0000));
            e.truncate(e.shift_right_logical(e.select(nan, quiet, rounded), constant(16)), i16_type)
        }
        Type::F16 if environment.converts(Type::F16) => {
            e.bits_as(e.narrow_float(x, e.context.f16_type().into()), i16_type)
        }
        Type::F16 => half_bits(e, x),
    }
}

/// f16 bits of a `float` by integer operations and exact float ones.
fn half_bits<'c>(e: &Emitter<'c>, x: Value<'c>) -> Value<'c> {
    let f32_type = e.f32_type().into();
    let all = e.bits_as(x, e.i32_type().into());
    let constant = |v: i64| e.int_like(all, v);
    let real = |bits: u32| e.f32_like(all, f32::from_bits(bits));
    let sign = e.and(e.shift_right_logical(all, constant(16)), constant(0x8000));
    let bits = e.and(all, constant(0x7fff_ffff));
    // Subnormal results: adding 0.5 lines the result's last place up with that of 0.5, so the sum rounds as it should.
    let tiny = e.icmp(inkwell::IntPredicate::SLT, bits, constant(113 << 23));
    let aligned = e.fadd(e.bits_as(bits, f32_type), real(126 << 23));
    let subnormal = e.sub(e.bits_as(aligned, e.i32_type().into()), constant(126 << 23));
    // Normal results: rebias and round the 13 dropped bits to nearest even.
    let odd = e.and(e.shift_right_logical(bits, constant(13)), constant(1));
    let normal = e.add(e.add(bits, constant(0xfff - (112 << 23))), odd);
    let normal = e.shift_right_logical(normal, constant(13));
    // At and above 65520 the result is infinite; NaN stays NaN.
    let huge = e.icmp(inkwell::IntPredicate::SGE, bits, constant(0x477f_f000));
    let nan = e.icmp(inkwell::IntPredicate::SGT, bits, constant(0x7f80_0000));
    let special = e.select(nan, constant(0x7e00), constant(0x7c00));
    let magnitude = e.select(huge, special, e.select(tiny, subnormal, normal));
    e.truncate(e.or(magnitude, sign), e.i16_type().into())
}

/// A `float` rounded to a type and back.
pub(super) fn rounded<'c>(e: &Emitter<'c>, environment: &dyn Environment<'c>, dtype: Type, x: Value<'c>) -> Value<'c> {
    match dtype {
        Type::F32 | Type::I32 => x,
        narrow => widened(e, environment, narrow, store_type(e, environment, narrow, x)),
    }
}
