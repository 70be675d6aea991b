//! `cvt`: any scalar type to any other.

use super::small::{BF16, E4M3, E5M2, F16, F32, Format, TF32, decode, round_to};
use crate::code::{Convert, Rounding};
use crate::types::Type;

fn format_of(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16 | Type::F16x2 => F16,
        Type::Bf16 | Type::Bf16x2 => BF16,
        Type::Tf32 => TF32,
        Type::F32 => F32,
        Type::E4m3 | Type::E4m3x2 => E4M3,
        Type::E5m2 | Type::E5m2x2 => E5M2,
        _ => return None,
    })
}

/// A source pattern as a number: integers beyond 53 bits stay integers.
enum Value {
    Int(i128),
    Float(f64),
}

fn read(bits: u64, ty: Type, flush: bool) -> Value {
    match ty {
        Type::F64 => Value::Float(f64::from_bits(bits)),
        Type::F32 => {
            let x = f32::from_bits(bits as u32);
            Value::Float(f64::from(if flush { super::float::flush(x) } else { x }))
        }
        _ => match format_of(ty) {
            Some(format) => Value::Float(decode(bits as u32, format)),
            None => {
                let width = ty.bytes() as u32 * 8;
                let shift = 64 - width.min(64);
                Value::Int(if ty.signed() {
                    i128::from(((bits << shift) as i64) >> shift)
                } else {
                    i128::from((bits << shift) >> shift)
                })
            }
        },
    }
}

fn integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::NearestAway => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// The result of `how` on a source pattern, zero-extended.
pub(crate) fn convert(bits: u64, how: Convert) -> u64 {
    let value = read(bits, how.from, how.flush);
    let width = how.to.bytes() as u32 * 8;
    if how.to.integer() {
        let (low, high) = if how.to.signed() {
            (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
        } else {
            (0, (1i128 << width) - 1)
        };
        let int = match value {
            Value::Int(int) if how.saturate => int.clamp(low, high),
            Value::Int(int) => int,
            Value::Float(x) if x.is_nan() => match how.from {
                // f32 and narrower NaNs give 0; f64's and 64-bit results give the lowest pattern's.
                Type::F64 => 1i128 << (width - 1),
                _ if width == 64 => 1i128 << 63,
                _ => 0,
            },
            // Out of range clamps even without `.sat`.
            Value::Float(x) => (integral(x, how.rounding.unwrap_or(Rounding::Zero)) as i128).clamp(low, high),
        };
        let bits = int as u64;
        return if width < 64 { bits & ((1 << width) - 1) } else { bits };
    }
    let rounding = how.rounding.unwrap_or(Rounding::Nearest);
    if how.to == Type::F64 {
        return match value {
            Value::Int(int) => int_to_f64(int, rounding),
            Value::Float(x) if how.integral => integral(x, rounding),
            Value::Float(x) => x,
        }
        .to_bits();
    }
    let Some(format) = format_of(how.to) else { return bits };
    let mut x = match value {
        // i128 to f64 to odd keeps the rounding to f32 exact: 64-bit integers have a sticky bit to spare.
        Value::Int(int) => int_to_odd(int),
        Value::Float(x) if how.integral => integral(x, rounding),
        Value::Float(x) => x,
    };
    if how.saturate {
        x = if x > 0.0 { x.min(1.0) } else { 0.0 };
    }
    if how.relu && x <= 0.0 {
        x = 0.0;
    }
    // What Hopper gives where other conversions give a NaN of all ones.
    if x.is_nan() {
        match (how.to, how.from) {
            (Type::F32, Type::F64) => return 0x7fc0_0000,
            (Type::F16, Type::F64) => return 0x7e00,
            (Type::Bf16, Type::F64) => return 0x7fc0,
            (Type::Tf32, _) if rounding == Rounding::NearestAway => return 0x7fc0_0000,
            (Type::Tf32, _) => return 0x7fff_e000,
            _ => {}
        }
    }
    let mut result = round_to(x, format, rounding, how.finite);
    if how.to == Type::Tf32 {
        // A tf32 value lives in the upper bits of a 32-bit register.
        result <<= 13;
    }
    if how.to == Type::F32 && how.flush {
        result = super::float::flush(f32::from_bits(result)).to_bits();
    }
    u64::from(result)
}

fn int_to_f64(int: i128, rounding: Rounding) -> f64 {
    let nearest = int as f64;
    let back = nearest as i128;
    let above = match rounding {
        Rounding::Nearest | Rounding::NearestAway => return nearest,
        Rounding::Up => return if back < int { nearest.next_up() } else { nearest },
        Rounding::Down => back > int,
        Rounding::Zero => back.abs() > int.abs(),
    };
    match (above, rounding) {
        (false, _) => nearest,
        (true, Rounding::Zero) => f64::from_bits(nearest.to_bits() - 1),
        (true, _) => nearest.next_down(),
    }
}

fn int_to_odd(int: i128) -> f64 {
    let nearest = int as f64;
    let back = nearest as i128;
    if back == int || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    let away = (int > back) == (int > 0);
    f64::from_bits(if away { nearest.to_bits() + 1 } else { nearest.to_bits() - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(to: Type, from: Type, rounding: Rounding) -> Convert {
        Convert {
            to,
            from,
            rounding: Some(rounding),
            integral: false,
            flush: false,
            saturate: false,
            finite: false,
            relu: false,
        }
    }

    #[test]
    fn floats_to_integers_clamp() {
        let to_int = |x: f32, to| convert(u64::from(x.to_bits()), how(to, Type::F32, Rounding::Zero));
        assert_eq!(to_int(3.9, Type::S32), 3);
        assert_eq!(to_int(-3.9, Type::S32), (-3i32) as u32 as u64);
        assert_eq!(to_int(1e20, Type::S32), i32::MAX as u64);
        assert_eq!(to_int(-1.0, Type::U32), 0);
        assert_eq!(to_int(f32::NAN, Type::S32), 0);
    }

    #[test]
    fn integers_to_f32_round_once() {
        let from = |x: u64| f32::from_bits(convert(x, how(Type::F32, Type::U64, Rounding::Nearest)) as u32);
        for x in [0, 1, (1 << 24) + 1, u64::MAX, (1 << 60) + (1 << 36) + 1, 0xffff_ff7f_ffff_ffff] {
            assert_eq!(from(x), x as f32, "{x}");
        }
    }

    #[test]
    fn sign_extension_between_integers() {
        let c = how(Type::S32, Type::S8, Rounding::Zero);
        assert_eq!(convert(0x80, c), 0xffff_ff80);
        assert_eq!(convert(0x1_ff, how(Type::U64, Type::U8, Rounding::Zero)), 0xff);
    }

    #[test]
    fn tf32_rounds_away_from_zero_on_ties() {
        let bits = 1.0f32.to_bits() | 1 << 12;
        assert_eq!(
            convert(u64::from(bits), how(Type::Tf32, Type::F32, Rounding::NearestAway)),
            u64::from(1.0f32.to_bits() + (1 << 13))
        );
    }
}
