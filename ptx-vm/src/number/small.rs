//! Formats below 32 bits: f16, bf16, tf32, e4m3 and e5m2, from and to wider ones with any rounding.

use crate::code::Rounding;

/// Shape of a binary format: exponent and fraction bits, and what the top exponent means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub exponent_bits: u32,
    pub fraction_bits: u32,
    /// IEEE infinities; without them only all-ones is NaN (e4m3).
    pub infinities: bool,
}

pub(crate) const F16: Format = Format { exponent_bits: 5, fraction_bits: 10, infinities: true };
pub(crate) const BF16: Format = Format { exponent_bits: 8, fraction_bits: 7, infinities: true };
pub(crate) const TF32: Format = Format { exponent_bits: 8, fraction_bits: 10, infinities: true };
pub(crate) const F32: Format = Format { exponent_bits: 8, fraction_bits: 23, infinities: true };
pub(crate) const E4M3: Format = Format { exponent_bits: 4, fraction_bits: 3, infinities: false };
pub(crate) const E5M2: Format = Format { exponent_bits: 5, fraction_bits: 2, infinities: true };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign_bit(self) -> u32 {
        1 << (self.exponent_bits + self.fraction_bits)
    }

    /// The pattern of the largest finite magnitude.
    pub fn max_finite(self) -> u32 {
        let top = ((1 << self.exponent_bits) - 1) << self.fraction_bits;
        if self.infinities { top - 1 } else { top | ((1 << self.fraction_bits) - 2) }
    }

    /// The NaN that conversions give: 0x7fff for the 16-bit formats, 0x7f for the 8-bit ones.
    pub fn nan(self) -> u32 {
        self.sign_bit() - 1
    }

    fn infinity(self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }
}

/// Rounds a value to `format`; the caller gives exact values (every narrower format is exact in f64).
///
/// `finite`: values beyond the range become the largest finite one. NaN becomes the canonical NaN.
pub(crate) fn round_to(value: f64, format: Format, rounding: Rounding, finite: bool) -> u32 {
    if value.is_nan() {
        return format.nan();
    }
    let sign = if value.is_sign_negative() { format.sign_bit() } else { 0 };
    let magnitude = value.abs();
    let overflow = if finite || !format.infinities { format.max_finite() } else { format.infinity() };
    if magnitude.is_infinite() {
        return sign
            | if finite {
                format.max_finite()
            } else if format.infinities {
                format.infinity()
            } else {
                format.nan()
            };
    }
    if magnitude == 0.0 {
        return sign;
    }
    let bits = magnitude.to_bits();
    let exponent = ((bits >> 52) as i32 - 1023).max(-1022);
    let significand = if bits >> 52 == 0 { bits } else { bits & ((1 << 52) - 1) | 1 << 52 };
    // The exponent of the format's last place at this magnitude.
    let smallest = 1 - format.bias();
    let kept_exponent = exponent.max(smallest);
    let drop = 52 - format.fraction_bits as i32 + (kept_exponent - exponent);
    let (mut kept, rest, half) =
        if drop >= 64 { (0, 1, 2) } else { (significand >> drop, significand & ((1 << drop) - 1), 1u64 << (drop - 1)) };
    let negative = sign != 0;
    let up = match rounding {
        Rounding::Nearest => rest > half || (rest == half && kept & 1 == 1),
        Rounding::NearestAway => rest >= half,
        Rounding::Zero => false,
        Rounding::Down => negative && rest != 0,
        Rounding::Up => !negative && rest != 0,
    };
    kept += u64::from(up);
    // Adding the exponent field to the significand lets a carry move into it; subnormals have field 0.
    let field = (kept_exponent - smallest) as u64;
    let pattern = (field << format.fraction_bits) + kept;
    let pattern = if pattern > u64::from(format.max_finite()) {
        let toward_zero = match rounding {
            Rounding::Zero => true,
            Rounding::Down => !negative,
            Rounding::Up => negative,
            _ => false,
        };
        if toward_zero {
            format.max_finite()
        } else if !format.infinities && !finite {
            format.nan()
        } else {
            overflow
        }
    } else {
        pattern as u32
    };
    sign | pattern
}

/// The exact value of a pattern.
pub(crate) fn decode(bits: u32, format: Format) -> f64 {
    let sign = if bits & format.sign_bit() != 0 { -1.0 } else { 1.0 };
    let field = (bits >> format.fraction_bits) & ((1 << format.exponent_bits) - 1);
    let fraction = bits & ((1 << format.fraction_bits) - 1);
    let top = field == (1 << format.exponent_bits) - 1;
    if top && format.infinities {
        return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if top && fraction == (1 << format.fraction_bits) - 1 {
        return f64::NAN;
    }
    let scale = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    if field == 0 {
        sign * f64::from(fraction) * scale(1 - format.bias() - format.fraction_bits as i32)
    } else {
        sign * f64::from(fraction | 1 << format.fraction_bits)
            * scale(field as i32 - format.bias() - format.fraction_bits as i32)
    }
}

/// f16 to f32, exact; NaN keeps its payload's top bits.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13);
    }
    // Placing the bits and multiplying by 2^112 normalises subnormals as well.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(sign | scaled.to_bits())
}

/// bf16 to f32, exact.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// e4m3 to f32, exact.
pub(crate) fn e4m3_to_f32(bits: u8) -> f32 {
    decode(u32::from(bits), E4M3) as f32
}

/// e5m2 to f32, exact.
pub(crate) fn e5m2_to_f32(bits: u8) -> f32 {
    f16_to_f32(u16::from(bits) << 8)
}

/// f32 to bf16, nearest even.
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// f32 to f16, nearest even.
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return 0x7fff;
    }
    // 65520 and above round to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2^-14: adding 0.5 aligns the last place of f16 with that of the sum.
        let aligned = f32::from_bits(magnitude) + 0.5;
        return sign | (aligned.to_bits() - 0x3f00_0000) as u16;
    }
    let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    sign | ((rounded - 0x3800_0000) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives_the_way_to_f32_and_back() {
        for bits in 0..=u16::MAX {
            let value = f16_to_f32(bits);
            if value.is_nan() {
                assert_eq!(f32_to_f16(value), 0x7fff);
                continue;
            }
            assert_eq!(f64::from(value), decode(u32::from(bits), F16));
            assert_eq!(f32_to_f16(value), bits);
            assert_eq!(round_to(f64::from(value), F16, Rounding::Nearest, false), u32::from(bits));
        }
    }

    #[test]
    fn the_fast_roundings_agree_with_the_general_one() {
        let mut state = 1u32;
        for _ in 0..200_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(state);
            assert_eq!(u32::from(f32_to_f16(value)), round_to(f64::from(value), F16, Rounding::Nearest, false));
            assert_eq!(u32::from(f32_to_bf16(value)), round_to(f64::from(value), BF16, Rounding::Nearest, false));
            // Around f16's subnormals, where most random patterns do not land.
            let small = f32::from_bits(0x3200_0000 + (state >> 4 & 0x07ff_ffff));
            assert_eq!(u32::from(f32_to_f16(small)), round_to(f64::from(small), F16, Rounding::Nearest, false));
        }
    }

    #[test]
    fn directed_roundings_bracket_the_value() {
        for value in [1.0001, -1.0001, 3e-8, -3e-8, 70000.0, -70000.0] {
            let down = decode(round_to(value, F16, Rounding::Down, false), F16);
            let up = decode(round_to(value, F16, Rounding::Up, false), F16);
            assert!(down < value && value < up, "{down} {value} {up}");
        }
    }

    #[test]
    fn e4m3_has_no_infinity_and_saturates_on_request() {
        assert_eq!(decode(0x7e, E4M3), 448.0);
        assert!(decode(0x7f, E4M3).is_nan());
        assert_eq!(round_to(1e6, E4M3, Rounding::Nearest, true), 0x7e);
        assert_eq!(round_to(464.0, E4M3, Rounding::Nearest, true), 0x7e);
        assert_eq!(decode(0x01, E4M3), 1.0 / 512.0);
        assert_eq!(e5m2_to_f32(0x7b), 57344.0);
    }
}
