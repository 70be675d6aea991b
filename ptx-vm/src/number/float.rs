//! Floating arithmetic of one lane: f32 and f64 directly, the 16-bit formats through exact wider sums.

use super::small::{BF16, F16, F32, Format, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, round_to};
use crate::code::{Compare, FloatMode, FloatOp, Rounding};

/// The NaN that f32 arithmetic gives.
pub(crate) const NAN32: u32 = 0x7fff_ffff;

/// Subnormals to zero of the same sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `a + b` rounded to odd in f64: rounding the result once more to fewer than 51 bits is then exact.
pub(crate) fn add_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    if !sum.is_finite() {
        return sum;
    }
    // The error of the sum, exactly (Knuth's two-sum).
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// min or max as PTX orders them: -0 below +0, a NaN loses unless `nan`.
#[inline(always)]
pub(crate) fn extremum(x: f32, y: f32, max: bool, nan: bool) -> f32 {
    if x.is_nan() || y.is_nan() {
        return if nan || (x.is_nan() && y.is_nan()) {
            f32::from_bits(NAN32)
        } else if x.is_nan() {
            y
        } else {
            x
        };
    }
    if x == y {
        return if x.is_sign_negative() == max { y } else { x };
    }
    if (x < y) == max { y } else { x }
}

/// The modifiers that act on a result.
#[inline(always)]
fn finish(x: f32, mode: FloatMode) -> f32 {
    let mut x = if mode.flush { flush(x) } else { x };
    if mode.saturate {
        // NaN becomes 0, as does everything below.
        x = if x > 0.0 { x.min(1.0) } else { 0.0 };
    }
    if mode.relu && x <= 0.0 {
        x = 0.0;
    }
    if x.is_nan() { f32::from_bits(NAN32) } else { x }
}

fn directed(value: f64, rounding: Rounding) -> f32 {
    f32::from_bits(round_to(value, F32, rounding, false))
}

/// One operation on f32.
#[inline(always)]
pub(crate) fn f32_op(op: FloatOp, mode: FloatMode, x: f32, y: f32, z: f32) -> f32 {
    let (x, y, z) = if mode.flush { (flush(x), flush(y), flush(z)) } else { (x, y, z) };
    match op {
        FloatOp::Neg | FloatOp::Abs if x.is_nan() => return f32::from_bits(NAN32),
        FloatOp::Neg => return -x,
        FloatOp::Abs => return x.abs(),
        FloatOp::CopySign => return y.copysign(x),
        FloatOp::Min | FloatOp::Max if mode.xorsign => {
            let sign = (x.to_bits() ^ y.to_bits()) & 1 << 31;
            let result = extremum(x.abs(), y.abs(), op == FloatOp::Max, mode.nan);
            return if result.is_nan() { result } else { f32::from_bits(result.to_bits() | sign) };
        }
        FloatOp::Min | FloatOp::Max => return extremum(x, y, op == FloatOp::Max, mode.nan),
        _ => {}
    }
    let nearest = matches!(mode.rounding, Rounding::Nearest | Rounding::NearestAway);
    let result = if nearest {
        match op {
            FloatOp::Add => x + y,
            FloatOp::Sub => x - y,
            FloatOp::Mul => x * y,
            FloatOp::Fma => x.mul_add(y, z),
            FloatOp::Div => x / y,
            FloatOp::Rcp => 1.0 / x,
            FloatOp::Sqrt => x.sqrt(),
            _ => transcendental(op, x),
        }
    } else {
        let (x, y, z) = (f64::from(x), f64::from(y), f64::from(z));
        let exact = match op {
            FloatOp::Add => add_to_odd(x, y),
            FloatOp::Sub => add_to_odd(x, -y),
            FloatOp::Mul => x * y,
            FloatOp::Fma => add_to_odd(x * y, z),
            // Quotients and roots are never halfway, and f64 has the bits to tell their side, save for exact ones.
            FloatOp::Div => x / y,
            FloatOp::Rcp => 1.0 / x,
            FloatOp::Sqrt => x.sqrt(),
            _ => f64::from(transcendental(op, x as f32)),
        };
        // Downwards, a sum that cancels is -0.
        let summands = match op {
            FloatOp::Add => Some((x, y)),
            FloatOp::Sub => Some((x, -y)),
            FloatOp::Fma => Some((x * y, z)),
            _ => None,
        };
        let exact =
            match summands {
                Some((a, b)) if mode.rounding == Rounding::Down && exact == 0.0 => {
                    if a.to_bits() == 0 && b.to_bits() == 0 { 0.0 } else { -0.0 }
                }
                _ => exact,
            };
        directed(exact, mode.rounding)
    };
    finish(result, mode)
}

/// The approximate functions, through f64: closer to the true value than the documented error of any of them.
fn transcendental(op: FloatOp, x: f32) -> f32 {
    let x = f64::from(x);
    (match op {
        FloatOp::Ex2 => x.exp2(),
        FloatOp::Lg2 => x.log2(),
        FloatOp::Rsqrt => 1.0 / x.sqrt(),
        FloatOp::Sin => x.sin(),
        FloatOp::Cos => x.cos(),
        FloatOp::Tanh => x.tanh(),
        _ => x,
    }) as f32
}

/// The sign of what rounding to nearest left out of `result`: negative where the exact value is below it. Results near the lowest
/// exponents, where the remainder itself would be rounded, count as exact.
fn remainder(op: FloatOp, result: f64, x: f64, y: f64, z: f64) -> f64 {
    let two_sum = |a: f64, b: f64| {
        let sum = a + b;
        let part = sum - a;
        (sum, (a - (sum - part)) + (b - part))
    };
    // Far down, the remainder of a product is below the smallest number: everything is scaled up, either factor at most once.
    const LOW: f64 = f64::from_bits(123 << 52);
    const UP: f64 = f64::from_bits((1023 + 600) << 52);
    let (larger, smaller) = if x.abs() < y.abs() { (y, x) } else { (x, y) };
    let products = matches!(op, FloatOp::Mul | FloatOp::Fma);
    let [result, x, y, z] = if products && [result, x * y, z].iter().all(|part| part.abs() < LOW) {
        let more = if larger.abs() < 1.0 { UP } else { 1.0 };
        [result * UP * more, larger * more, smaller * UP, z * UP * more]
    } else {
        [result, x, y, z]
    };
    if op == FloatOp::Div && result.abs() < LOW && x.abs() < 1.0 {
        return (-result * UP).mul_add(y, x * UP) * y.signum();
    }
    match op {
        FloatOp::Add => two_sum(x, y).1,
        FloatOp::Sub => two_sum(x, -y).1,
        FloatOp::Mul => x.mul_add(y, -result),
        FloatOp::Fma => {
            let product = x * y;
            let (sum, low) = two_sum(product, z);
            // A product below the smallest number has a sign still.
            let vanished = product == 0.0 && x != 0.0 && y != 0.0;
            let cut = if vanished { f64::MIN_POSITIVE.copysign(product) } else { x.mul_add(y, -product) };
            let (rest, lowest) = two_sum(low, cut);
            let (near, tail) = two_sum(sum - result, rest);
            if near != 0.0 { near } else { tail + lowest }
        }
        FloatOp::Div => (-result).mul_add(y, x) * y.signum(),
        FloatOp::Rcp => (-result).mul_add(x, 1.0) * x.signum(),
        FloatOp::Sqrt => (-result).mul_add(result, x),
        _ => 0.0,
    }
}

/// A result rounded to nearest, rounded in a direction instead.
fn redirected(op: FloatOp, rounding: Rounding, result: f64, [x, y, z]: [f64; 3]) -> f64 {
    if result.is_nan() || (result.is_infinite() && !(x.is_finite() && y.is_finite() && z.is_finite())) {
        return result;
    }
    if result.is_infinite() {
        let toward = match rounding {
            Rounding::Up => result > 0.0,
            Rounding::Down => result < 0.0,
            _ => false,
        };
        // Division by zero is infinite whatever the direction.
        let exact = (op == FloatOp::Div && y == 0.0) || (op == FloatOp::Rcp && x == 0.0);
        return if toward || exact { result } else { f64::MAX.copysign(result) };
    }
    let rest = remainder(op, result, x, y, z);
    if rest == 0.0 {
        // Downwards, a sum that cancels is -0.
        let cancels = match op {
            FloatOp::Add => x == -y && x != 0.0 || x == 0.0 && y == 0.0 && x.to_bits() != y.to_bits(),
            FloatOp::Sub => x == y && x != 0.0 || x == 0.0 && y == 0.0 && x.to_bits() == y.to_bits(),
            FloatOp::Fma => result == 0.0 && z != 0.0,
            _ => false,
        };
        return if cancels && rounding == Rounding::Down { -0.0 } else { result };
    }
    let below = match rounding {
        Rounding::Down => rest < 0.0,
        Rounding::Up => return if rest > 0.0 { result.next_up() } else { result },
        _ => (rest < 0.0) == (result > 0.0) && result != 0.0,
    };
    match (below, rounding) {
        (false, _) => result,
        (true, Rounding::Down) => result.next_down(),
        (true, _) => f64::from_bits(result.to_bits() - 1),
    }
}

/// One operation on f64.
pub(crate) fn f64_op(op: FloatOp, mode: FloatMode, x: f64, y: f64, z: f64) -> f64 {
    let small = |x: f64| if mode.flush && x.is_subnormal() { 0f64.copysign(x) } else { x };
    let (x, y, z) = (small(x), small(y), small(z));
    let result = match op {
        FloatOp::Add => x + y,
        FloatOp::Sub => x - y,
        FloatOp::Mul => x * y,
        FloatOp::Fma => x.mul_add(y, z),
        FloatOp::Div => x / y,
        FloatOp::Min | FloatOp::Max => {
            if x.is_nan() || y.is_nan() {
                if x.is_nan() { y } else { x }
            } else if x == y {
                if x.is_sign_negative() == (op == FloatOp::Max) { y } else { x }
            } else if (x < y) == (op == FloatOp::Max) {
                y
            } else {
                x
            }
        }
        // NaNs become the one NaN.
        FloatOp::Neg | FloatOp::Abs if x.is_nan() => return f64::from_bits(0x7ff8 << 48),
        FloatOp::Neg => -x,
        FloatOp::Abs => x.abs(),
        FloatOp::CopySign => y.copysign(x),
        FloatOp::Rcp => 1.0 / x,
        FloatOp::Sqrt => x.sqrt(),
        FloatOp::Rsqrt => 1.0 / x.sqrt(),
        FloatOp::Ex2 => x.exp2(),
        FloatOp::Lg2 => x.log2(),
        FloatOp::Sin => x.sin(),
        FloatOp::Cos => x.cos(),
        FloatOp::Tanh => x.tanh(),
    };
    let result = match mode.rounding {
        Rounding::Nearest | Rounding::NearestAway => small(result),
        rounding => redirected(op, rounding, result, [x, y, z]),
    };
    match mode.saturate {
        true if result > 0.0 => result.min(1.0),
        true => 0.0,
        false => result,
    }
}

/// One operation on a 16-bit format; `bf16` tells which.
pub(crate) fn half_op(op: FloatOp, mode: FloatMode, bf16: bool, x: u16, y: u16, z: u16) -> u16 {
    let format: Format = if bf16 { BF16 } else { F16 };
    let widen = |bits: u16| {
        let value = if bf16 { bf16_to_f32(bits) } else { f16_to_f32(bits) };
        // `.ftz` acts on f16's own subnormals.
        if mode.flush && bits & 0x7fff != 0 && u32::from(bits & 0x7fff) < 1 << format.fraction_bits {
            0f32.copysign(value)
        } else {
            value
        }
    };
    let nan = u32::from(x & 0x7fff) > 0x7fff & !((1 << format.fraction_bits) - 1);
    match op {
        FloatOp::Neg | FloatOp::Abs if nan => return 0x7fff,
        FloatOp::Neg => return x ^ 0x8000,
        FloatOp::Abs => return x & 0x7fff,
        FloatOp::CopySign => return y & 0x7fff | x & 0x8000,
        _ => {}
    }
    let (a, b, c) = (widen(x), widen(y), widen(z));
    let bits = match op {
        FloatOp::Fma => {
            // The product of two 11-bit significands is exact in f64.
            let sum = add_to_odd(f64::from(a) * f64::from(b), f64::from(c));
            round_to(sum, format, Rounding::Nearest, false) as u16
        }
        _ => {
            let wide = f32_op(op, FloatMode { flush: false, saturate: false, relu: false, ..mode }, a, b, c);
            if bf16 { f32_to_bf16(wide) } else { f32_to_f16(wide) }
        }
    };
    let nan = u32::from(bits & 0x7fff) > 0x7fff & !((1 << format.fraction_bits) - 1);
    let negative = bits & 0x8000 != 0;
    let one = if bf16 { 0x3f80 } else { 0x3c00 };
    if mode.saturate && (nan || negative) {
        return 0;
    }
    let bits = if mode.saturate { bits.min(one) } else { bits };
    if nan {
        return 0x7fff;
    }
    if mode.relu && negative {
        return 0;
    }
    if mode.flush && u32::from(bits & 0x7fff) < 1 << format.fraction_bits {
        return bits & 0x8000;
    }
    bits
}

/// One comparison; `unordered` inputs satisfy only the `u` forms and `Nan`.
#[inline(always)]
pub(crate) fn compare(c: Compare, x: f64, y: f64) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = x.partial_cmp(&y);
    match c {
        Compare::Eq => order == Some(Equal),
        Compare::Ne => matches!(order, Some(Less | Greater)),
        Compare::Lt => order == Some(Less),
        Compare::Le => matches!(order, Some(Less | Equal)),
        Compare::Gt => order == Some(Greater),
        Compare::Ge => matches!(order, Some(Greater | Equal)),
        Compare::EqU => matches!(order, None | Some(Equal)),
        Compare::NeU => order != Some(Equal),
        Compare::LtU => matches!(order, None | Some(Less)),
        Compare::LeU => matches!(order, None | Some(Less | Equal)),
        Compare::GtU => matches!(order, None | Some(Greater)),
        Compare::GeU => matches!(order, None | Some(Greater | Equal)),
        Compare::Num => order.is_some(),
        Compare::Nan => order.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Float;

    fn mode(format: Float) -> FloatMode {
        FloatMode {
            format,
            rounding: Rounding::Nearest,
            flush: false,
            saturate: false,
            relu: false,
            nan: false,
            xorsign: false,
        }
    }

    #[test]
    fn a_sum_rounded_to_odd_keeps_the_side_of_the_exact_one() {
        // 1 + 2^-24 + 2^-60 lies just above the midpoint of two f32.
        let sum = add_to_odd(1.0 + f64::exp2(-24.0), f64::exp2(-60.0));
        assert_eq!(sum as f32, 1.0 + f32::EPSILON);
        assert_eq!((1.0 + f64::exp2(-24.0) + f64::exp2(-60.0)) as f32, 1.0);
        assert_eq!(add_to_odd(3.0, 4.0), 7.0);
    }

    #[test]
    fn f16_fma_rounds_once() {
        // 1 * 1 + 2^-11 + tiny: a f32 intermediate would lose the tiny term and round to even.
        let one = f32_to_f16(1.0);
        let m = half_op(FloatOp::Fma, mode(Float::F16), false, f32_to_f16(1.0 + 1.0 / 1024.0), one, 0x1000);
        assert_eq!(m, f32_to_f16(1.0 + 1.0 / 1024.0) + 1);
        assert_eq!(half_op(FloatOp::Add, mode(Float::Bf16), true, 0x3f80, 0x3f80, 0), 0x4000);
    }

    #[test]
    fn minimum_orders_zeroes_and_drops_nans() {
        let m = mode(Float::F32);
        assert!(f32_op(FloatOp::Min, m, 0.0, -0.0, 0.0).is_sign_negative());
        assert!(f32_op(FloatOp::Max, m, -0.0, 0.0, 0.0).is_sign_positive());
        assert_eq!(f32_op(FloatOp::Max, m, f32::NAN, 2.0, 0.0), 2.0);
        assert!(f32_op(FloatOp::Max, FloatMode { nan: true, ..m }, f32::NAN, 2.0, 0.0).is_nan());
    }

    #[test]
    fn directed_rounding_of_a_sum_is_exact() {
        let toward = |rounding| f32_op(FloatOp::Add, FloatMode { rounding, ..mode(Float::F32) }, 1.0, 1e-30, 0.0);
        assert_eq!(toward(Rounding::Zero), 1.0);
        assert_eq!(toward(Rounding::Up), 1.0 + f32::EPSILON);
        assert_eq!(toward(Rounding::Down), 1.0);
    }

    #[test]
    fn flushing_and_saturation() {
        let ftz = FloatMode { flush: true, ..mode(Float::F32) };
        assert_eq!(f32_op(FloatOp::Mul, ftz, 1e-40, 1e10, 0.0), 0.0);
        let sat = FloatMode { saturate: true, ..mode(Float::F32) };
        assert_eq!(f32_op(FloatOp::Add, sat, 3.0, 4.0, 0.0), 1.0);
        assert_eq!(f32_op(FloatOp::Add, sat, f32::NAN, 4.0, 0.0), 0.0);
    }
}
