//! The same sums for eight columns at once, written so that the host's vector units carry them.

use super::{Arithmetic, Element, LONGEST, Result, Terms, ZERO_EXPONENT, exponent_of, smallest_exponent};
use crate::code::Rounding;
use crate::number::f16_to_f32;
use crate::number::small::{F16, round_to};

/// Columns computed together.
pub(crate) const WIDTH: usize = 8;

/// Eight columns of the B operand, element by element of k.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    values: [[f32; WIDTH]; LONGEST],
    exponents: [[i16; WIDTH]; LONGEST],
    element: Element,
    length: usize,
    finite: bool,
}

/// The range of the largest exponent in which f32 holds everything that survives the cut.
const NEAR: std::ops::RangeInclusive<i16> = -60..=60;

impl Columns {
    /// `values[k][column]`, of which the first `length` count.
    pub fn new(values: [[f32; WIDTH]; LONGEST], length: usize, element: Element) -> Self {
        let smallest = smallest_exponent(element);
        let mut exponents = [[ZERO_EXPONENT as i16; WIDTH]; LONGEST];
        let mut finite = true;
        for (row, to) in values.iter().zip(&mut exponents).take(length) {
            for (value, to) in row.iter().zip(to) {
                *to = exponent_of(*value, smallest);
                finite &= value.to_bits() & 0x7f80_0000 != 0x7f80_0000;
            }
        }
        Self { values, exponents, element, length, finite }
    }

    /// One column as the scalar way wants it.
    #[cold]
    fn column(&self, column: usize) -> Terms {
        let values: Vec<f32> = self.values[..self.length].iter().map(|row| row[column]).collect();
        Terms::new(&values, self.element)
    }
}

impl Arithmetic {
    /// `c` plus the dot product of a row with each column; results are patterns as [`Arithmetic::dot`] gives them.
    #[inline]
    pub fn dot_columns(&self, row: &Terms, columns: &Columns, c: [f32; WIDTH]) -> [u32; WIDTH] {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions.
            return unsafe { self.dot_columns_avx2(row, columns, c) };
        }
        self.dot_columns_anywhere(row, columns, c)
    }

    /// The same code, compiled for wider vectors.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn dot_columns_avx2(&self, row: &Terms, columns: &Columns, c: [f32; WIDTH]) -> [u32; WIDTH] {
        self.dot_columns_anywhere(row, columns, c)
    }

    #[inline(always)]
    fn dot_columns_anywhere(&self, row: &Terms, columns: &Columns, c: [f32; WIDTH]) -> [u32; WIDTH] {
        let short = match self.block {
            _ if !row.finite || !columns.finite => None,
            4 => self.blocks_of_columns::<4>(row, columns, c),
            8 => self.blocks_of_columns::<8>(row, columns, c),
            16 => self.blocks_of_columns::<16>(row, columns, c),
            _ => self.blocks_of_columns::<32>(row, columns, c),
        };
        short.unwrap_or_else(|| self.each_column(row, columns, c))
    }

    #[cold]
    fn each_column(&self, row: &Terms, columns: &Columns, c: [f32; WIDTH]) -> [u32; WIDTH] {
        std::array::from_fn(|i| self.dot(row, &columns.column(i), c[i]).0)
    }

    #[inline(always)]
    fn blocks_of_columns<const N: usize>(
        &self,
        row: &Terms,
        columns: &Columns,
        mut c: [f32; WIDTH],
    ) -> Option<[u32; WIDTH]> {
        let mut bits = [0; WIDTH];
        for from in (0..row.length).step_by(N) {
            bits = self.step_of_columns::<N>(row, columns, from, c)?;
            c = match self.result {
                Result::F16 => bits.map(|b| f16_to_f32(b as u16)),
                _ => bits.map(f32::from_bits),
            };
        }
        Some(bits)
    }

    #[inline(always)]
    fn step_of_columns<const N: usize>(
        &self,
        row: &Terms,
        columns: &Columns,
        from: usize,
        c: [f32; WIDTH],
    ) -> Option<[u32; WIDTH]> {
        let smallest = if self.result == Result::F16 { -14 } else { -126 };
        let mut tops = c.map(|c| exponent_of(c, smallest));
        let (values, exponents) = (&row.values[from..from + N], &row.exponents[from..from + N]);
        let b_values = &columns.values[from..from + N];
        let b_exponents = &columns.exponents[from..from + N];
        for k in 0..N {
            for i in 0..WIDTH {
                tops[i] = tops[i].max(exponents[k] + b_exponents[k][i]);
            }
        }
        let low = tops.iter().fold(i16::MAX, |x, &y| x.min(y));
        let high = tops.iter().fold(i16::MIN, |x, &y| x.max(y));
        if !NEAR.contains(&low) || !NEAR.contains(&high) {
            // A column of zeroes has no exponent at all; the others would be computed here.
            if high > *NEAR.end() || tops.iter().any(|&t| t < *NEAR.start() && i32::from(t) > ZERO_EXPONENT / 2) {
                return None;
            }
            tops = tops.map(|t| t.max(*NEAR.start()));
        }
        let f = self.fraction_bits;
        let scale = tops.map(|t| f32::from_bits(((f - i32::from(t) + 127) as u32) << 23));
        // Each term is below 2^27 in magnitude: half of 16 of them, and c, fit 32 bits.
        let mut sums = [[0i32; WIDTH]; 4];
        for k in 0..N {
            for i in 0..WIDTH {
                sums[k % 4][i] += cut_to_int(values[k] * b_values[k][i] * scale[i]);
            }
        }
        let mut bits = [0; WIDTH];
        for i in 0..WIDTH {
            let sum = (f64::from(sums[0][i]) + f64::from(sums[1][i]))
                + (f64::from(sums[2][i]) + f64::from(sums[3][i]))
                + f64::from(cut_to_int(c[i] * scale[i]));
            // Sums below 2^53 are exact, and so is the power of two.
            let value = sum * f64::from_bits(((i32::from(tops[i]) - f + 1023) as u64) << 52);
            bits[i] = match self.result {
                Result::F16 => round_to(value, F16, Rounding::Nearest, false),
                // Cutting the pattern of the f64 cuts towards zero.
                Result::F32 => (f64::from_bits(value.to_bits() & !0x1fff_ffff) as f32).to_bits(),
                Result::F32Short => (f64::from_bits(value.to_bits() & !0x7f_ffff_ffff) as f32).to_bits(),
            };
        }
        Some(bits)
    }
}

/// The integer part of a term.
#[inline(always)]
fn cut_to_int(term: f32) -> i32 {
    debug_assert!(term.abs() < 2f32.powi(28));
    // SAFETY: the term is finite and below 2^28 in magnitude, since operands are finite and scaled by their largest
    // exponent; the checked conversion would keep the loop from being vectorised.
    unsafe { term.to_int_unchecked::<i32>() }
}

#[cfg(test)]
mod tests {
    use super::super::Architecture;
    use super::*;
    use crate::number::bf16_to_f32;

    /// Random bf16 values around one, with zeroes and some far away.
    fn random(state: &mut u32, wide: bool) -> f32 {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let r = *state >> 8;
        if r.is_multiple_of(13) {
            return 0.0;
        }
        let spread = if wide { r >> 4 & 0xff } else { 117 + (r >> 4) % 20 };
        bf16_to_f32(((r >> 12 & 0x807f) | spread << 7) as u16)
    }

    #[test]
    fn eight_columns_agree_with_one_at_a_time() {
        let mut state = 3;
        for round in 0..4000 {
            let wide = round % 4 == 0;
            let mut row = [0.0; 16];
            row.iter_mut().for_each(|x| *x = random(&mut state, wide));
            let mut values = [[0.0; WIDTH]; LONGEST];
            values[..16].iter_mut().flatten().for_each(|x| *x = random(&mut state, wide));
            let mut c = [0.0; WIDTH];
            c.iter_mut().for_each(|x| *x = random(&mut state, wide) * 1.37);
            let row = Terms::new(&row, Element::Bf16);
            let columns = Columns::new(values, 16, Element::Bf16);
            for architecture in [Architecture::Ampere, Architecture::Hopper] {
                for half in [false, true] {
                    let arithmetic = architecture.mma(Element::Bf16, 16, half);
                    let c = if half { c.map(|x| f16_to_f32(crate::number::f32_to_f16(x))) } else { c };
                    let together = arithmetic.dot_columns(&row, &columns, c);
                    assert_eq!(together, arithmetic.each_column(&row, &columns, c), "{row:?} {columns:?} {c:?}");
                }
            }
        }
    }
}
