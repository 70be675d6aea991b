//! Arithmetic, comparisons and conversions, on scalars and vectors alike.

use super::{Condition, Emitter, Value, built, condition};
use crate::emit::EmitError;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValue, BasicValueEnum, FastMathFlags, InstructionOpcode};
use inkwell::{FloatPredicate, IntPredicate};

impl<'c> Emitter<'c> {
    fn binary(&self, op: InstructionOpcode, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        // One operand may be uniform where the other has lanes.
        let lanes = self.lanes(a).max(self.lanes(b));
        built(self.builder.build_binop(op, self.splat(a, lanes), self.splat(b, lanes), ""))
    }
    /// Lets multiplications and additions contract to fused ones; nothing else is reassociated.
    fn contracted(&self, value: Value<'c>) -> Value<'c> {
        if let Some(instruction) = value.as_instruction_value() {
            // Not an arithmetic instruction: folded to something else, and then there is nothing to contract.
            let _ = instruction.set_fast_math_flags(FastMathFlags::AllowContract);
        }
        value
    }

    // Integers.

    /// `a + b`.
    pub fn add(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Add, a, b)
    }
    /// `a - b`.
    pub fn sub(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Sub, a, b)
    }
    /// `a * b`.
    pub fn mul(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Mul, a, b)
    }
    /// `a / b`, unsigned.
    pub fn udiv(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::UDiv, a, b)
    }
    /// `a % b`, unsigned.
    pub fn urem(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::URem, a, b)
    }
    /// `floor(a / b)` for positive `b`.
    pub fn floor_div(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        if let Some(shift) = power_of_two(b) {
            return self.shift_right(a, self.int_like(a, shift));
        }
        // The quotient truncates towards zero; one less where the remainder is negative.
        let quotient = self.binary(InstructionOpcode::SDiv, a, b);
        let remainder = self.sub(a, self.mul(quotient, b));
        let negative = self.icmp(IntPredicate::SLT, remainder, self.int_like(remainder, 0));
        self.select(negative, self.sub(quotient, self.int_like(quotient, 1)), quotient)
    }
    /// `a - b * floor(a / b)` for positive `b`.
    pub fn floor_rem(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        if power_of_two(b).is_some() {
            return self.and(a, self.sub(b, self.int_like(b, 1)));
        }
        let remainder = self.binary(InstructionOpcode::SRem, a, b);
        let negative = self.icmp(IntPredicate::SLT, remainder, self.int_like(remainder, 0));
        self.select(negative, self.add(remainder, b), remainder)
    }
    /// The smaller, signed.
    pub fn imin(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.select(self.icmp(IntPredicate::SLT, a, b), a, b)
    }
    /// The larger, signed.
    pub fn imax(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.select(self.icmp(IntPredicate::SGT, a, b), a, b)
    }
    /// The index nearest to `value` of an axis with `length` values; 0 if it has none.
    pub fn nearest_index(&self, value: Value<'c>, length: Value<'c>) -> Value<'c> {
        let last = self.sub(length, self.i32(1));
        self.imax(self.imin(value, last), self.int_like(value, 0))
    }
    /// The entry of a list of blocks of so many values; -1 for a number that is negative, or so far behind every axis that its
    /// values could not be counted.
    pub fn countable(&self, entry: Value<'c>, block: i64) -> Value<'c> {
        let counts = self.icmp(IntPredicate::ULT, entry, self.int_like(entry, (1 << 30) / block.max(1)));
        self.select(counts, entry, self.int_like(entry, -1))
    }
    /// Bitwise and; conjunction of conditions.
    pub fn and(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::And, a, b)
    }
    /// Bitwise or; disjunction of conditions.
    pub fn or(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Or, a, b)
    }
    /// Bitwise exclusive or.
    pub fn xor(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Xor, a, b)
    }
    /// Negation of a condition.
    pub fn not(&self, a: Value<'c>) -> Value<'c> {
        self.xor(a, self.int_like(a, 1))
    }
    /// `a << b`.
    pub fn shift_left(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::Shl, a, b)
    }
    /// `a >> b`, arithmetic.
    pub fn shift_right(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::AShr, a, b)
    }
    /// `a >> b`, logical.
    pub fn shift_right_logical(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.binary(InstructionOpcode::LShr, a, b)
    }
    /// A comparison of integers.
    #[expect(clippy::unreachable, reason = "both operands were brought to the same lanes above")]
    pub fn icmp(&self, predicate: IntPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let lanes = self.lanes(a).max(self.lanes(b));
        match (condition(self.splat(a, lanes)), condition(self.splat(b, lanes))) {
            (Condition::Lanes(a), Condition::Lanes(b)) => {
                built(self.builder.build_int_compare(predicate, a, b, "")).into()
            }
            (Condition::Scalar(a), Condition::Scalar(b)) => {
                built(self.builder.build_int_compare(predicate, a, b, "")).into()
            }
            _ => unreachable!("both operands were given the same lanes"),
        }
    }

    // Floats.

    /// `a + b`.
    pub fn fadd(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.contracted(self.binary(InstructionOpcode::FAdd, a, b))
    }
    /// `a - b`.
    pub fn fsub(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.contracted(self.binary(InstructionOpcode::FSub, a, b))
    }
    /// `a * b`.
    pub fn fmul(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.contracted(self.binary(InstructionOpcode::FMul, a, b))
    }
    /// `a / b`.
    pub fn fdiv(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.contracted(self.binary(InstructionOpcode::FDiv, a, b))
    }
    /// `-a`.
    pub fn fneg(&self, a: Value<'c>) -> Value<'c> {
        match a {
            BasicValueEnum::VectorValue(v) => built(self.builder.build_float_neg(v, "")).into(),
            other => built(self.builder.build_float_neg(other.into_float_value(), "")).into(),
        }
    }
    /// `a * b + c`: fused where the machine has it, a product and a sum where it has not.
    ///
    /// # Errors
    /// None in practice: the intrinsic belongs to every LLVM.
    pub fn multiply_add(&self, a: Value<'c>, b: Value<'c>, c: Value<'c>) -> Result<Value<'c>, EmitError> {
        let lanes = [a, b, c].map(|x| self.lanes(x)).into_iter().max().unwrap_or(1);
        let ty = self.lanes_of(self.f32_type().into(), lanes);
        self.intrinsic_value("llvm.fmuladd", &[ty], &[a, b, c].map(|x| self.splat(x, lanes)))
    }
    /// A comparison of floats.
    pub fn fcmp(&self, predicate: FloatPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let lanes = self.lanes(a).max(self.lanes(b));
        match (self.splat(a, lanes), self.splat(b, lanes)) {
            (BasicValueEnum::VectorValue(a), BasicValueEnum::VectorValue(b)) => {
                built(self.builder.build_float_compare(predicate, a, b, "")).into()
            }
            (a, b) => {
                let (a, b) = (a.into_float_value(), b.into_float_value());
                built(self.builder.build_float_compare(predicate, a, b, "")).into()
            }
        }
    }
    /// The larger; `b` where either is NaN (on NVPTX the one that is not NaN).
    pub fn fmax(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.extremum("llvm.maxnum", FloatPredicate::OGT, a, b)
    }
    /// The smaller; `b` where either is NaN (on NVPTX the one that is not NaN).
    pub fn fmin(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        self.extremum("llvm.minnum", FloatPredicate::OLT, a, b)
    }
    fn extremum(&self, intrinsic: &str, predicate: FloatPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let lanes = self.lanes(a).max(self.lanes(b));
        let (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        // One instruction on either machine: x86's maximum is exactly "a > b ? a : b", PTX's is IEEE maxNum.
        if self.machine.is_gpu()
            && let Ok(value) = self.intrinsic_value(intrinsic, &[a.get_type()], &[a, b])
        {
            return value;
        }
        self.select(self.fcmp(predicate, a, b), a, b)
    }

    // Choice and conversion.

    /// `a` where the condition holds, else `b`. Each of the three may be uniform or have lanes.
    pub fn select(&self, choose: Value<'c>, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let lanes = [choose, a, b].map(|x| self.lanes(x)).into_iter().max().unwrap_or(1);
        let (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        match condition(choose) {
            Condition::Lanes(c) => built(self.builder.build_select(c, a, b, "")),
            Condition::Scalar(c) => built(self.builder.build_select(c, a, b, "")),
        }
    }
    fn convert(&self, op: InstructionOpcode, a: Value<'c>, element: BasicTypeEnum<'c>) -> Value<'c> {
        let ty = self.shaped_like(element, a);
        if a.get_type() == ty { a } else { built(self.builder.build_cast(op, a, ty, "")) }
    }
    /// Sign-extends to `i64`.
    pub fn to_i64(&self, a: Value<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::SExt, a, self.i64_type().into())
    }
    /// Truncates to `i32`.
    pub fn to_i32(&self, a: Value<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::Trunc, a, self.i32_type().into())
    }
    /// Zero-extends to an integer type.
    pub fn zero_extend(&self, a: Value<'c>, to: BasicTypeEnum<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::ZExt, a, to)
    }
    /// Truncates to an integer type.
    pub fn truncate(&self, a: Value<'c>, to: BasicTypeEnum<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::Trunc, a, to)
    }
    /// A signed integer as `float`.
    pub fn int_to_float(&self, a: Value<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::SIToFP, a, self.f32_type().into())
    }
    /// A `float` as `i32`, towards zero.
    pub fn float_to_int(&self, a: Value<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::FPToSI, a, self.i32_type().into())
    }
    /// Rounds to a narrower float type.
    pub fn narrow_float(&self, a: Value<'c>, to: BasicTypeEnum<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::FPTrunc, a, to)
    }
    /// A narrower float as `float`.
    pub fn widen_float(&self, a: Value<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::FPExt, a, self.f32_type().into())
    }
    /// Whether a condition holds in any lane.
    ///
    /// # Errors
    /// None in practice: the intrinsic belongs to every LLVM.
    pub fn any(&self, conditions: Value<'c>) -> Result<Value<'c>, EmitError> {
        match conditions {
            BasicValueEnum::VectorValue(_) => {
                self.intrinsic_value("llvm.vector.reduce.or", &[conditions.get_type()], &[conditions])
            }
            scalar => Ok(scalar),
        }
    }
    /// The same bits as another type of the same size; vectors may change their number of lanes.
    pub fn reinterpreted(&self, a: Value<'c>, to: BasicTypeEnum<'c>) -> Value<'c> {
        built(self.builder.build_bit_cast(a, to, ""))
    }
    /// The same bits as another element type of the same width.
    pub fn bits_as(&self, a: Value<'c>, element: BasicTypeEnum<'c>) -> Value<'c> {
        self.convert(InstructionOpcode::BitCast, a, element)
    }
}

/// The exponent of a constant power of two.
fn power_of_two(value: Value<'_>) -> Option<i64> {
    let constant = match value {
        BasicValueEnum::IntValue(v) => v.get_sign_extended_constant()?,
        _ => return None,
    };
    (constant > 0 && constant.count_ones() == 1).then(|| constant.trailing_zeros().into())
}
