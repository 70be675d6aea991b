//! Sums of products as tensor cores form them.
//!
//! A tensor core adds `c` and a block of products in one step: every term is aligned to the largest exponent among them,
//! cut to a fixed number of fraction bits, the cut terms are added exactly, and the sum is rounded once. This is the
//! model of Xie et al., "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores", arXiv 2511.10909,
//! which was validated there against the hardware; our own recordings are in `tests/conformance`.

mod columns;

pub(crate) use columns::{Columns, WIDTH};

use crate::code::{Element, Rounding};
use crate::number::small::{F16, round_to};
use crate::number::{bf16_to_f32, e4m3_to_f32, e5m2_to_f32, f16_to_f32};

/// The generation of tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Compute capability 8.0, 8.6, 8.7.
    Ampere,
    /// Compute capability 8.9.
    Ada,
    /// Compute capability 9.0.
    Hopper,
    /// Compute capability 10.0 and later.
    Blackwell,
}

impl Architecture {
    /// The architecture of a `.target` such as `sm_90a`.
    pub fn of_target(target: &str) -> Option<Self> {
        let digits: String = target.strip_prefix("sm_")?.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<u32>().ok()? {
            80..=88 => Some(Self::Ampere),
            89 => Some(Self::Ada),
            90 => Some(Self::Hopper),
            100.. => Some(Self::Blackwell),
            _ => None,
        }
    }

    /// How `mma.sync` adds.
    pub(crate) fn mma(self, element: Element, k: usize, half_result: bool) -> Arithmetic {
        let bytes = element.bytes();
        let fp8 = bytes == 1;
        let (fraction_bits, block) = match self {
            // 16 bytes of each operand a step.
            Self::Ampere => (24, 16 / bytes),
            Self::Ada if fp8 => (13, 16),
            Self::Ada => (24, 16 / bytes),
            // Elements of one byte are widened to f16 and go two steps.
            Self::Hopper | Self::Blackwell => (25, if fp8 { 16 } else { 32 / bytes }),
        };
        let result = match (half_result, self == Self::Ada && fp8) {
            (true, _) => Result::F16,
            (false, true) => Result::F32Short,
            (false, false) => Result::F32,
        };
        Arithmetic { fraction_bits, block: block.min(k), result }
    }

    /// Whether `mma.sync` widens the elements, sums the products of the lower halves of all registers and then those of the upper
    /// halves from zero, and adds `c` in f32, rounded to nearest: how an H200 does elements of one byte, as our recordings show.
    pub(crate) fn mma_adds_apart(self, element: Element) -> bool {
        self == Self::Hopper && element.bytes() == 1
    }

    /// How `wgmma` adds.
    pub(crate) fn wgmma(self, element: Element, half_result: bool) -> Arithmetic {
        let fp8 = element.bytes() == 1;
        let result = match (half_result, fp8) {
            (true, _) => Result::F16,
            (false, true) => Result::F32Short,
            (false, false) => Result::F32,
        };
        Arithmetic { fraction_bits: if fp8 { 13 } else { 25 }, block: 32 / element.bytes(), result }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Result {
    /// f32, towards zero.
    F32,
    /// f32 with 13 fraction bits, towards zero.
    F32Short,
    /// f16, nearest even.
    F16,
}

/// One way of adding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arithmetic {
    /// Fraction bits kept of each term after alignment.
    fraction_bits: i32,
    /// Products added in one step.
    block: usize,
    result: Result,
}

/// The pattern of a result: f32, or f16 in the low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounded(pub u32);

/// The value of an operand element.
pub(crate) fn widen(bits: u32, element: Element) -> f32 {
    match element {
        Element::F16 => f16_to_f32(bits as u16),
        Element::Bf16 => bf16_to_f32(bits as u16),
        // The hardware ignores the lower 13 bits.
        Element::Tf32 => f32::from_bits(bits & !0x1fff),
        Element::E4m3 => e4m3_to_f32(bits as u8),
        Element::E5m2 => e5m2_to_f32(bits as u8),
        Element::S8 => f32::from(bits as u8 as i8),
        Element::U8 => f32::from(bits as u8),
    }
}

/// The values of a row's elements.
pub(crate) fn widen_row(row: &[u32; LONGEST], element: Element) -> [f32; LONGEST] {
    // One loop a format, so that each is free of choices.
    match element {
        Element::F16 => row.map(|v| f16_to_f32(v as u16)),
        Element::Bf16 => row.map(|v| bf16_to_f32(v as u16)),
        Element::Tf32 => row.map(|v| f32::from_bits(v & !0x1fff)),
        _ => row.map(|v| widen(v, element)),
    }
}

/// The longest row of an instruction.
const LONGEST: usize = 32;

/// A row or column prepared for many dot products.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    length: usize,
    values: [f32; LONGEST],
    /// Exponents as the hardware aligns by them: subnormals have the smallest normal one.
    exponents: [i16; LONGEST],
    smallest: i32,
    finite: bool,
}

/// Fraction bits of an operand's significand: enough for f16 and tf32.
const SIGNIFICAND_BITS: i32 = 10;
/// The exponent of a zero term: below every other, and two of them still fit 16 bits.
const ZERO_EXPONENT: i32 = -10_000;

/// The smallest normal exponent of a format: subnormals are aligned as if they had it.
fn smallest_exponent(element: Element) -> i32 {
    match element {
        Element::F16 | Element::E5m2 => -14,
        Element::E4m3 => -6,
        _ => -126,
    }
}

impl Terms {
    /// Rows have at most 32 elements; further ones are ignored.
    pub fn new(values: &[f32], element: Element) -> Self {
        let smallest = smallest_exponent(element);
        let mut terms = Self {
            length: values.len().min(LONGEST),
            values: [0.0; LONGEST],
            exponents: [ZERO_EXPONENT as i16; LONGEST],
            smallest,
            finite: true,
        };
        for (i, &value) in values.iter().take(LONGEST).enumerate() {
            terms.finite &= value.is_finite();
            terms.values[i] = value;
            terms.exponents[i] = exponent_of(value, smallest);
        }
        terms
    }

    /// The significand of an element with [`SIGNIFICAND_BITS`] fraction bits.
    fn significand(&self, i: usize) -> i64 {
        // 23 fraction bits of f32; the operand formats leave the lower ones zero.
        i64::from(split(self.values[i], self.smallest).0 >> (23 - SIGNIFICAND_BITS))
    }
}

/// The exponent a value is aligned by: no lower than `smallest`, and far below everything for zero.
#[inline(always)]
fn exponent_of(value: f32, smallest: i32) -> i16 {
    let exponent = ((value.to_bits() >> 23 & 0xff) as i16 - 127).max(smallest as i16);
    if value == 0.0 { ZERO_EXPONENT as i16 } else { exponent }
}

/// A finite f32 as significand * 2^(exponent - 23), with exponents no lower than `smallest`.
fn split(value: f32, smallest: i32) -> (i32, i32) {
    let bits = value.to_bits();
    let field = (bits >> 23 & 0xff) as i32;
    let fraction = (bits & 0x7f_ffff) as i32;
    if field == 0 && fraction == 0 {
        return (0, ZERO_EXPONENT);
    }
    let (magnitude, exponent) = if field == 0 { (fraction, -126) } else { (fraction | 0x80_0000, field - 127) };
    let (magnitude, exponent) = if exponent < smallest {
        (magnitude >> (smallest - exponent).min(31), smallest)
    } else {
        (magnitude, exponent)
    };
    (if bits >> 31 != 0 { -magnitude } else { magnitude }, exponent)
}

impl Arithmetic {
    /// `c` plus the dot product, block by block.
    #[inline]
    pub fn dot(&self, a: &Terms, b: &Terms, c: f32) -> Rounded {
        if !a.finite || !b.finite || !c.is_finite() {
            return self.special_from(a, b, 0, c);
        }
        match self.block {
            4 => self.blocks::<4>(a, b, c),
            8 => self.blocks::<8>(a, b, c),
            16 => self.blocks::<16>(a, b, c),
            _ => self.blocks::<32>(a, b, c),
        }
    }

    #[inline(always)]
    fn blocks<const N: usize>(&self, a: &Terms, b: &Terms, c: f32) -> Rounded {
        let mut sum = c;
        for from in (0..a.length).step_by(N) {
            let bits = self.step::<N>(a, b, from, sum);
            sum = if self.result == Result::F16 { f16_to_f32(bits as u16) } else { f32::from_bits(bits) };
            if !sum.is_finite() {
                return self.special_from(a, b, from + N, sum);
            }
        }
        Rounded(if self.result == Result::F16 { u32::from(crate::number::f32_to_f16(sum)) } else { sum.to_bits() })
    }

    #[inline(always)]
    fn step<const N: usize>(&self, a: &Terms, b: &Terms, from: usize, c: f32) -> u32 {
        // c in f16 sums has f16's smallest exponent.
        let (c_significand, c_exponent) = split(c, if self.result == Result::F16 { -14 } else { -126 });
        let mut tops = [ZERO_EXPONENT as i16; N];
        for i in 0..N {
            tops[i] = a.exponents[from + i] + b.exponents[from + i];
        }
        let top = c_exponent.max(i32::from(tops.iter().fold(i16::MIN, |x, &y| x.max(y))));
        let f = self.fraction_bits;
        // In the middle of the range f32 multiplies exactly what survives the cut, and the cut is a conversion.
        if (-60..=60).contains(&top) {
            let scale = f32::from_bits(((f - top + 127) as u32) << 23);
            // Each term is below 4 * 2^25: half a block of them fits 32 bits.
            let mut halves = [0i32; 4];
            for i in 0..N {
                let term = a.values[from + i] * b.values[from + i] * scale;
                halves[i % 4] += term as i32;
            }
            let sum = halves.iter().map(|&h| i64::from(h)).sum::<i64>() + i64::from((c * scale) as i32);
            return self.finish_near(sum, top - f);
        }
        // Only zeroes.
        if top <= ZERO_EXPONENT / 2 {
            return self.finish(0, 0);
        }
        // Products have 2 * SIGNIFICAND_BITS fraction bits; each term keeps `f` below the top exponent.
        let mut sum = cut(i64::from(c_significand), f - 23 + c_exponent - top);
        for i in from..from + N {
            let exponent = i32::from(a.exponents[i]) + i32::from(b.exponents[i]);
            sum += cut(a.significand(i) * b.significand(i), f - 2 * SIGNIFICAND_BITS + exponent - top);
        }
        self.finish(sum, top - f)
    }

    /// The same as `finish` where the result is a normal f32.
    #[inline(always)]
    fn finish_near(&self, sum: i64, exponent: i32) -> u32 {
        let value = sum as f64 * f64::from_bits(((exponent + 1023) as u64) << 52);
        match self.result {
            Result::F16 => round_to(value, F16, Rounding::Nearest, false),
            // Cutting the pattern of the f64 cuts towards zero.
            Result::F32 => (f64::from_bits(value.to_bits() & !0x1fff_ffff) as f32).to_bits(),
            Result::F32Short => (f64::from_bits(value.to_bits() & !0x7f_ffff_ffff) as f32).to_bits(),
        }
    }

    /// Rounds `sum * 2^exponent`.
    #[inline(always)]
    fn finish(&self, sum: i64, exponent: i32) -> u32 {
        if sum == 0 {
            return 0;
        }
        match self.result {
            Result::F16 => {
                // At most 40 significant bits: exact in f64.
                let value = sum as f64 * power(exponent);
                round_to(value, F16, Rounding::Nearest, false)
            }
            Result::F32 => towards_zero(sum, exponent, 23),
            Result::F32Short => towards_zero(sum, exponent, 13),
        }
    }

    /// Infinities and NaNs: as IEEE arithmetic would have them.
    #[cold]
    fn special_from(&self, a: &Terms, b: &Terms, from: usize, c: f32) -> Rounded {
        let sum = a.values[from..]
            .iter()
            .zip(&b.values[from..])
            .fold(f64::from(c), |sum, (&x, &y)| sum + f64::from(x) * f64::from(y));
        let half = self.result == Result::F16;
        Rounded(if sum.is_nan() {
            if half { 0x7fff } else { 0x7fff_ffff }
        } else if half {
            round_to(sum, F16, Rounding::Nearest, false)
        } else {
            (sum as f32).to_bits()
        })
    }
}

/// `value * 2^shift`, cut towards zero.
#[inline(always)]
fn cut(value: i64, shift: i32) -> i64 {
    if shift >= 0 {
        value << shift.min(40)
    } else {
        let shift = (-shift).min(63);
        let magnitude = (value.unsigned_abs() >> shift) as i64;
        if value < 0 { -magnitude } else { magnitude }
    }
}

fn power(exponent: i32) -> f64 {
    if exponent >= -1022 { f64::from_bits(((exponent + 1023) as u64) << 52) } else { 0.0 }
}

/// f32 of `sum * 2^exponent`, keeping `fraction` bits, towards zero.
#[inline(always)]
fn towards_zero(sum: i64, exponent: i32, fraction: i32) -> u32 {
    let sign = if sum < 0 { 1u32 << 31 } else { 0 };
    let magnitude = sum.unsigned_abs();
    let highest = 63 - magnitude.leading_zeros() as i32;
    let value_exponent = highest + exponent;
    if value_exponent > 127 {
        return sign | 0x7f80_0000;
    }
    // Subnormal results lose the places below 2^-149 (or the shorter fraction's).
    let kept_exponent = value_exponent.max(-126);
    let lowest = kept_exponent - fraction;
    let shift = exponent - lowest;
    let kept = if shift >= 0 { magnitude << shift.min(40) } else { magnitude >> (-shift).min(63) };
    let aligned = (kept << (23 - fraction)) as u32;
    if aligned & 0x80_0000 != 0 {
        sign | ((kept_exponent + 127) as u32) << 23 | aligned & 0x7f_ffff
    } else {
        sign | aligned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(architecture: Architecture, a: &[f32], b: &[f32], c: f32) -> f32 {
        let arithmetic = architecture.mma(Element::F16, a.len(), false);
        let terms = |v: &[f32]| Terms::new(v, Element::F16);
        f32::from_bits(arithmetic.dot(&terms(a), &terms(b), c).0)
    }

    #[test]
    fn small_integers_are_exact() {
        let a: Vec<f32> = (0..16).map(|i| i as f32 - 5.0).collect();
        let b: Vec<f32> = (0..16).map(|i| (i * i) as f32).collect();
        let exact: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum::<f32>() + 7.0;
        for architecture in [Architecture::Ampere, Architecture::Hopper] {
            assert_eq!(dot(architecture, &a, &b, 7.0), exact);
        }
    }

    #[test]
    fn terms_below_the_kept_places_vanish() {
        let mut a = vec![0.0; 16];
        let mut b = vec![0.0; 16];
        (a[0], b[0]) = (1.0, 1.0);
        // 2^-25 is the last place Hopper keeps beside 1, and one below Ampere's last.
        (a[1], b[1]) = (f32::exp2(-12.0), f32::exp2(-13.0));
        (a[2], b[2]) = (1.0, -1.0);
        assert_eq!(dot(Architecture::Hopper, &a, &b, 0.0), f32::exp2(-25.0));
        assert_eq!(dot(Architecture::Ampere, &a, &b, 0.0), 0.0);
    }

    #[test]
    fn sums_are_cut_not_rounded() {
        let mut a = vec![0.0; 16];
        let b = vec![1.0; 16];
        a[0] = f32::exp2(-12.0);
        a[1] = f32::exp2(-12.0);
        // 1 + 2^-11 is exact; the sum with c just below a power of two is cut.
        let c = 2.0 - f32::EPSILON;
        assert_eq!(dot(Architecture::Hopper, &a, &b, c), 2.0 + f32::exp2(-11.0) - f32::exp2(-22.0));
    }

    #[test]
    fn infinities_and_nans_pass_through() {
        let ones = [1.0; 16];
        let mut a = ones;
        a[3] = f32::INFINITY;
        assert_eq!(dot(Architecture::Hopper, &a, &ones, 0.0), f32::INFINITY);
        a[4] = f32::NEG_INFINITY;
        let arithmetic = Architecture::Hopper.mma(Element::F16, 16, false);
        let bits = arithmetic.dot(&Terms::new(&a, Element::F16), &Terms::new(&ones, Element::F16), 0.0);
        assert_eq!(bits.0, 0x7fff_ffff);
    }

    #[test]
    fn the_short_way_agrees_with_the_long_one() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for round in 0..20_000 {
            // Exponents spread over a few dozen binades around one, signs mixed, some zeroes.
            let mut value = |spread: u32| {
                let r = next();
                if r.is_multiple_of(11) {
                    0.0
                } else {
                    bf16_to_f32(((r & 0x807f) | (127 - spread / 2 + next() % spread) << 7) as u16)
                }
            };
            let spread = 2 + round % 28;
            let a: Vec<f32> = (0..16).map(|_| value(spread)).collect();
            let b: Vec<f32> = (0..16).map(|_| value(spread)).collect();
            let c = value(spread) * 1.2345;
            // Scaling by 2^40 and 2^50 leaves the short way's range and changes nothing else.
            let far = f32::exp2(40.0);
            let scaled = |v: &[f32], by: f32| v.iter().map(|x| x * by).collect::<Vec<_>>();
            for architecture in [Architecture::Ampere, Architecture::Hopper] {
                let arithmetic = architecture.mma(Element::Bf16, 16, false);
                let terms = |v: &[f32]| Terms::new(v, Element::Bf16);
                let near = f32::from_bits(arithmetic.dot(&terms(&a), &terms(&b), c).0);
                let distant = arithmetic.dot(&terms(&scaled(&a, far)), &terms(&scaled(&b, far)), c * far * far).0;
                assert_eq!(near * far * far, f32::from_bits(distant), "{a:?} {b:?} {c}");
            }
        }
    }

    #[test]
    fn subnormal_results_are_exact() {
        let tiny = f32::from_bits(3);
        assert_eq!(dot(Architecture::Hopper, &[0.0; 16], &[0.0; 16], tiny), tiny);
        assert_eq!(towards_zero(-5, -149, 23), (-f32::from_bits(5)).to_bits());
    }
}
