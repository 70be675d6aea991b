//! Floating arithmetic and comparisons over the lanes of a warp.

use crate::code::{Compare, Compared, Dst, Float, FloatMode, FloatOp, Int, Logic, Rounding, Src, TestProperty};
use crate::machine::warp::{LANES, Lane, Warp};
use crate::number::float::{compare, f32_op, f64_op, flush, half_op};
use crate::number::small::{BF16, F16, decode};

/// One operation with up to three sources; absent ones are zero.
pub(super) fn arithmetic(warp: &mut Warp, mask: u32, op: FloatOp, mode: FloatMode, d: Dst, s: [Src; 3]) {
    match mode.format {
        Float::F32 => single(warp, mask, op, mode, d, s),
        Float::F64 => warp.map3(mask, d, s, |x: f64, y: f64, z: f64| f64_op(op, mode, x, y, z)),
        Float::F16 | Float::Bf16 => {
            let bf16 = mode.format == Float::Bf16;
            warp.map3(mask, d, s, |x: u16, y: u16, z: u16| half_op(op, mode, bf16, x, y, z));
        }
        Float::F16x2 | Float::Bf16x2 => {
            let bf16 = mode.format == Float::Bf16x2;
            warp.map3(mask, d, s, |x: u32, y: u32, z: u32| {
                let low = half_op(op, mode, bf16, x as u16, y as u16, z as u16);
                let high = half_op(op, mode, bf16, (x >> 16) as u16, (y >> 16) as u16, (z >> 16) as u16);
                u32::from(high) << 16 | u32::from(low)
            });
        }
        Float::F32x2 => warp.map3(mask, d, s, |x: u64, y: u64, z: u64| {
            let part = |shift: u32| {
                let f = |v: u64| f32::from_bits((v >> shift) as u32);
                u64::from(f32_op(op, mode, f(x), f(y), f(z)).to_bits()) << shift
            };
            part(0) | part(32)
        }),
    }
}

fn single(warp: &mut Warp, mask: u32, op: FloatOp, mode: FloatMode, d: Dst, s: [Src; 3]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions.
        return unsafe { single_fma(warp, mask, op, mode, d, s) };
    }
    single_anywhere(warp, mask, op, mode, d, s);
}

/// The same code, compiled for wider vectors and with the processor's own multiply-add in place of a library's.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn single_fma(warp: &mut Warp, mask: u32, op: FloatOp, mode: FloatMode, d: Dst, s: [Src; 3]) {
    single_anywhere(warp, mask, op, mode, d, s);
}

/// f32, with the plain modes as loops of their own that the host compiler can vectorise.
#[inline(always)]
fn single_anywhere(warp: &mut Warp, mask: u32, op: FloatOp, mode: FloatMode, d: Dst, s: [Src; 3]) {
    let plain = mode.rounding == Rounding::Nearest && !mode.saturate && !mode.relu;
    let canonical = |x: f32| if x.is_nan() { f32::from_bits(crate::number::float::NAN32) } else { x };
    if plain && !mode.flush {
        match op {
            FloatOp::Add => return warp.map2(mask, d, s[0], s[1], |x: f32, y: f32| canonical(x + y)),
            FloatOp::Sub => return warp.map2(mask, d, s[0], s[1], |x: f32, y: f32| canonical(x - y)),
            FloatOp::Mul => return warp.map2(mask, d, s[0], s[1], |x: f32, y: f32| canonical(x * y)),
            FloatOp::Fma => {
                return warp.map3(mask, d, s, |x: f32, y: f32, z: f32| canonical(x.mul_add(y, z)));
            }
            _ => {}
        }
    } else if plain {
        match op {
            FloatOp::Add => {
                return warp.map2(mask, d, s[0], s[1], |x: f32, y: f32| canonical(flush(flush(x) + flush(y))));
            }
            FloatOp::Mul => {
                return warp.map2(mask, d, s[0], s[1], |x: f32, y: f32| canonical(flush(flush(x) * flush(y))));
            }
            FloatOp::Fma => {
                return warp
                    .map3(mask, d, s, |x: f32, y: f32, z: f32| canonical(flush(flush(x).mul_add(flush(y), flush(z)))));
            }
            _ => {}
        }
    }
    warp.map3(mask, d, s, |x: f32, y: f32, z: f32| f32_op(op, mode, x, y, z));
}

/// The comparison's outcome, one bit a lane (two results for packed formats: low and high halves).
pub(super) fn compared(warp: &Warp, how: Compare, what: Compared, a: Src, b: Src) -> (u32, u32) {
    fn bits(f: impl Fn(usize) -> bool) -> u32 {
        (0..LANES).fold(0, |bits, lane| bits | u32::from(f(lane)) << lane)
    }
    match what {
        Compared::Int(ty) => {
            let result = match ty {
                Int::U32 => integers(u32::read(warp, a), u32::read(warp, b), how),
                Int::S32 => integers(u32::read(warp, a).map(|v| v as i32), u32::read(warp, b).map(|v| v as i32), how),
                Int::U64 => integers(u64::read(warp, a), u64::read(warp, b), how),
                Int::S64 => integers(u64::read(warp, a).map(|v| v as i64), u64::read(warp, b).map(|v| v as i64), how),
                Int::U16 => integers(u16::read(warp, a), u16::read(warp, b), how),
                Int::S16 => integers(u16::read(warp, a).map(|v| v as i16), u16::read(warp, b).map(|v| v as i16), how),
            };
            (result, 0)
        }
        Compared::Float(Float::F32 | Float::F32x2, ftz) => {
            let (x, y) = (f32::read(warp, a), f32::read(warp, b));
            let f = |v: f32| f64::from(if ftz { flush(v) } else { v });
            (bits(|lane| compare(how, f(x[lane]), f(y[lane]))), 0)
        }
        Compared::Float(Float::F64, _) => {
            let (x, y) = (f64::read(warp, a), f64::read(warp, b));
            (bits(|lane| compare(how, x[lane], y[lane])), 0)
        }
        Compared::Float(format, ftz) => {
            let small = if matches!(format, Float::Bf16 | Float::Bf16x2) { BF16 } else { F16 };
            let (x, y) = (u32::read(warp, a), u32::read(warp, b));
            let half = |shift: u32| {
                bits(|lane| {
                    let f = |v: u32| {
                        let v = v >> shift & 0xffff;
                        let subnormal = v & 0x7fff < 1 << small.fraction_bits;
                        if ftz && subnormal { 0.0 } else { decode(v, small) }
                    };
                    compare(how, f(x[lane]), f(y[lane]))
                })
            };
            (half(0), if matches!(format, Float::F16x2 | Float::Bf16x2) { half(16) } else { 0 })
        }
    }
}

fn integers<T: Ord + Copy>(x: [T; LANES], y: [T; LANES], how: Compare) -> u32 {
    macro_rules! fold {
        ($op:tt) => {
            (0..LANES).fold(0, |bits, lane| bits | u32::from(x[lane] $op y[lane]) << lane)
        };
    }
    match how {
        Compare::Eq | Compare::EqU => fold!(==),
        Compare::Lt | Compare::LtU => fold!(<),
        Compare::Le | Compare::LeU => fold!(<=),
        Compare::Gt | Compare::GtU => fold!(>),
        Compare::Ge | Compare::GeU => fold!(>=),
        _ => fold!(!=),
    }
}

pub(super) fn combine(warp: &Warp, combine: Option<(Logic, Src)>, bits: u32) -> u32 {
    match combine {
        None => bits,
        Some((Logic::And, c)) => bits & warp.pred(c),
        Some((Logic::Or, c)) => bits | warp.pred(c),
        Some((Logic::Xor, c)) => bits ^ warp.pred(c),
    }
}

pub(super) fn test_property(warp: &mut Warp, mask: u32, property: TestProperty, format: Float, d: Dst, a: Src) {
    let wide = format == Float::F64;
    let values = u64::read(warp, a);
    let bits = (0..LANES).fold(0u32, |bits, lane| {
        let (x, subnormal) = if wide {
            let x = f64::from_bits(values[lane]);
            (x, x.is_subnormal())
        } else {
            let x = f32::from_bits(values[lane] as u32);
            (f64::from(x), x.is_subnormal())
        };
        let holds = match property {
            TestProperty::Finite => x.is_finite(),
            TestProperty::Infinite => x.is_infinite(),
            TestProperty::Number => !x.is_nan(),
            TestProperty::NotANumber => x.is_nan(),
            // Zeroes count as normal (PTX ISA, `testp`).
            TestProperty::Normal => x.is_finite() && !subnormal,
            TestProperty::Subnormal => subnormal,
        };
        bits | u32::from(holds) << lane
    });
    warp.set_pred(d, mask, bits);
}
