//! Elementary functions as straight-line vector code: no library is called.
//!
//! The polynomials interpolate at Chebyshev nodes; the errors given are the largest relative ones over the reduced range,
//! in exact arithmetic. NaN gives NaN.

use crate::emit::EmitError;
use crate::emit::llvm::{Emitter, Value};
use crate::emit::scalar::Math;
use inkwell::FloatPredicate;

/// (2^f - 1) / f for |f| <= 1/2; error of 2^f 2.0e-7.
const EXP2: [f32; 5] = [0.001_338_132_2, 0.009_666_388, 0.055_503_81, 0.240_223_5, std::f32::consts::LN_2];
/// (2^f - 1) / f for f from 0 to 1; error of 2^f 2.3e-7.
const EXP2_UP: [f32; 5] = [0.001_788_368_8, 0.009_199_387, 0.055_657_055, 0.240_207_2, 0.693_147_54];
/// The same with an error of 7.4e-6.
const EXP2_SHORT: [f32; 4] = [0.012_763_114, 0.053_441_03, 0.240_647_05, 0.693_134];
/// log2((1+r)/(1-r)) / r in r^2, for mantissas between 1/sqrt 2 and sqrt 2; error 7e-10.
const LOG2: [f32; 4] = [0.431_721_73, 0.576_715_04, 0.961_798_8, 2.885_39];
/// (tanh x - x) / x^3 in x^2 for |x| <= 0.625; error of tanh 1.7e-8.
const TANH: [f32; 5] = [-0.006_096_714, 0.020_997_18, -0.053_850_91, 0.133_327_7, -0.333_333_3];

/// A function of `Math` on a float scalar or vector.
pub(super) fn call<'c>(e: &Emitter<'c>, function: Math, x: Value<'c>) -> Result<Value<'c>, EmitError> {
    match function {
        Math::Exp2 => exp2(e, x),
        Math::Log2 => log2(e, x),
        Math::Tanh => tanh(e, x),
        Math::Sqrt => e.intrinsic_value("llvm.sqrt", &[x.get_type()], &[x]),
    }
}

fn polynomial<'c>(e: &Emitter<'c>, coefficients: &[f32], x: Value<'c>) -> Result<Value<'c>, EmitError> {
    let mut sum = e.f32_like(x, coefficients[0]);
    for c in &coefficients[1..] {
        sum = e.multiply_add(sum, x, e.f32_like(x, *c))?;
    }
    Ok(sum)
}

/// 2^x. Near the ends of f32's range: with fewer than 16 lanes 0 below -127 and at most 2^127.99.
pub(super) fn exp2<'c>(e: &Emitter<'c>, x: Value<'c>) -> Result<Value<'c>, EmitError> {
    if e.lanes(x) >= 16 {
        return exp2_in_parts(e, x, &EXP2_UP);
    }
    let x = e.fmin(e.f32_like(x, 127.99), e.fmax(e.f32_like(x, -127.0), x));
    // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits; with 127 more it is the biased exponent.
    let magic = e.f32_like(x, 12_582_912.0 + 127.0);
    let shifted = e.fadd(x, magic);
    let fraction = e.fsub(x, e.fsub(shifted, magic));
    let slope = polynomial(e, &EXP2, fraction)?;
    let mantissa = e.multiply_add(slope, fraction, e.f32_like(x, 1.0))?;
    let bits = e.bits_as(shifted, e.i32_type().into());
    let power = e.bits_as(e.shift_left(bits, e.int_like(bits, 23)), e.f32_type().into());
    Ok(e.fmul(mantissa, power))
}

/// 2^x for the weights of a softmax; 0 at -inf. `short`: the weights are rounded to bf16 afterwards, for which a shorter
/// polynomial does.
pub(super) fn weight<'c>(e: &Emitter<'c>, x: Value<'c>, short: bool) -> Result<Value<'c>, EmitError> {
    if short && e.lanes(x) >= 16 { exp2_in_parts(e, x, &EXP2_SHORT) } else { exp2(e, x) }
}

/// 2^x by AVX-512, which splits off the integer part, and multiplies by its power of two, in one instruction each.
fn exp2_in_parts<'c>(e: &Emitter<'c>, x: Value<'c>, coefficients: &[f32]) -> Result<Value<'c>, EmitError> {
    let (zero, all, nearest) = (e.f32_like(x, 0.0), e.context.i16_type().const_all_ones().into(), e.i32(4));
    let fraction = e.intrinsic_value("llvm.x86.avx512.mask.reduce.ps.512", &[], &[x, e.i32(9), zero, all, nearest])?;
    let slope = polynomial(e, coefficients, fraction)?;
    let mantissa = e.multiply_add(slope, fraction, e.f32_like(x, 1.0))?;
    e.intrinsic_value("llvm.x86.avx512.mask.scalef.ps.512", &[], &[mantissa, x, zero, all, nearest])
}

/// log2 x; -inf at 0, NaN below.
fn log2<'c>(e: &Emitter<'c>, x: Value<'c>) -> Result<Value<'c>, EmitError> {
    let real = |v: f32| e.f32_like(x, v);
    // Subnormal numbers are scaled into the normal range first.
    let tiny = e.fcmp(FloatPredicate::OLT, x, real(f32::MIN_POSITIVE));
    let scaled = e.select(tiny, e.fmul(x, real(8_388_608.0)), x);
    let bits = e.bits_as(scaled, e.i32_type().into());
    let int = |v: i64| e.int_like(bits, v);
    // Exponent of the mantissa's nearest power of two: mantissas in [1/sqrt 2, sqrt 2).
    let offset = int(0x3f35_04f3);
    let exponent = e.shift_right(e.sub(bits, offset), int(23));
    let mantissa = e.bits_as(e.sub(bits, e.shift_left(exponent, int(23))), e.f32_type().into());
    let exponent = e.int_to_float(exponent);
    let exponent = e.select(tiny, e.fsub(exponent, real(23.0)), exponent);
    let r = e.fdiv(e.fsub(mantissa, real(1.0)), e.fadd(mantissa, real(1.0)));
    let log = e.multiply_add(polynomial(e, &LOG2, e.fmul(r, r))?, r, exponent)?;
    let zero = e.fcmp(FloatPredicate::OEQ, x, real(0.0));
    let large = e.fcmp(FloatPredicate::OEQ, x, real(f32::INFINITY));
    let invalid = e.fcmp(FloatPredicate::ULT, x, real(0.0));
    let log = e.select(zero, real(f32::NEG_INFINITY), e.select(large, x, log));
    Ok(e.select(invalid, real(f32::NAN), log))
}

fn tanh<'c>(e: &Emitter<'c>, x: Value<'c>) -> Result<Value<'c>, EmitError> {
    let real = |v: f32| e.f32_like(x, v);
    let magnitude = e.intrinsic_value("llvm.fabs", &[x.get_type()], &[x])?;
    let square = e.fmul(x, x);
    let small = e.multiply_add(e.fmul(polynomial(e, &TANH, square)?, square), x, x)?;
    let power = exp2(e, e.fmul(magnitude, real(2.0 * std::f32::consts::LOG2_E)))?;
    let large = e.fsub(real(1.0), e.fdiv(real(2.0), e.fadd(power, real(1.0))));
    let large = e.intrinsic_value("llvm.copysign", &[x.get_type()], &[large, x])?;
    Ok(e.select(e.fcmp(FloatPredicate::OLT, magnitude, real(0.625)), small, large))
}
