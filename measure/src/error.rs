//! How far results are from what is expected.

use crate::Tensor;
use half::{bf16, f16};
use nsa::DType;
use serde::Serialize;

/// The difference between a result and its expected values.
///
/// Values that the result's type does not have are expected as that type has them: what is too large for it as an infinity, what is too
/// small for its normal numbers as the nearest of the others. Something that is no number is expected where the reference has none.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Difference {
    /// `||result - expected|| / ||expected||` over the finite expected elements; infinite if anything is not a number or
    /// infinite in one of them only. 0 if both are 0. For integers: the fraction of elements that differ.
    pub relative: f64,
    /// Largest absolute difference of an element, of the same elements.
    pub largest: f64,
    /// Number of elements that were compared.
    pub elements: usize,
    /// Of these, how many are expected to be no number (0/0, the logarithm of a negative number).
    pub undefined: usize,
    /// Of these, how many are finite in the reference and beyond what the result's type holds.
    pub beyond: usize,
    /// Of these, how many are infinite or no number, and are expected to be something else; or the other way round.
    pub astray: usize,
}

impl Difference {
    /// True if the relative error is within `tolerance`. Nothing compared is nothing passed.
    pub fn within(&self, tolerance: f64) -> bool {
        self.elements > 0 && self.relative <= tolerance
    }
}

/// Compares elements `at` of a result with expected values.
pub fn compare(result: &Tensor, expected: impl IntoIterator<Item = (usize, f64)>) -> Difference {
    let integers = result.dtype() == DType::I32;
    let mut found = Difference::default();
    let (mut error, mut norm, mut differing) = (0f64, 0f64, 0usize);
    for (at, exact) in expected {
        let wanted = representable(result.dtype(), exact);
        found.elements += 1;
        found.undefined += usize::from(wanted.is_nan());
        found.beyond += usize::from(wanted.is_infinite() && exact.is_finite());
        norm += if wanted.is_finite() { wanted * wanted } else { 0.0 };
        let got = (at < result.elements()).then(|| result.get(at));
        // Equal infinities, too.
        if got.is_some_and(|got| got == wanted || (got.is_nan() && wanted.is_nan())) {
            continue;
        }
        differing += 1;
        let difference = got.map_or(f64::INFINITY, |got| (got - wanted).abs());
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        found.astray += usize::from(difference.is_infinite());
        error += difference * difference;
        found.largest = found.largest.max(difference);
    }
    found.relative = if integers {
        differing as f64 / found.elements.max(1) as f64
    } else if error == 0.0 {
        0.0
    } else if error.is_finite() && norm > 0.0 {
        (error / norm).sqrt()
    } else {
        f64::INFINITY
    };
    found
}

/// An expected value as the result's type can have it. Where the type is as fine as always the value stays as it is: that results are
/// rounded is part of the error.
fn representable(dtype: DType, exact: f64) -> f64 {
    let (rounded, least) = match dtype {
        DType::Bf16 => (bf16::from_f64(exact).to_f64(), bf16::MIN_POSITIVE.to_f64()),
        DType::F16 => (f16::from_f64(exact).to_f64(), f16::MIN_POSITIVE.to_f64()),
        DType::F32 => (f64::from(exact as f32), f64::from(f32::MIN_POSITIVE)),
        DType::I32 => return exact,
    };
    if rounded.is_infinite() || exact.abs() < least { rounded } else { exact }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(got: &[f64], wanted: &[f64]) -> f64 {
        let tensor = Tensor::from_f64(DType::F32, &[got.len()], got.iter().copied());
        compare(&tensor, wanted.iter().copied().enumerate()).relative
    }

    #[test]
    fn what_counts_as_an_error() {
        let inf = f64::INFINITY;
        assert_eq!(relative(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative(&[3.0, 9.0], &[3.0, 4.0]), 1.0);
        assert_eq!(relative(&[-inf, 4.0], &[-inf, 4.0]), 0.0);
        assert_eq!(relative(&[0.0, 4.0], &[-inf, 4.0]), inf);
        assert_eq!(relative(&[f64::NAN, 4.0], &[0.0, 4.0]), inf);
        assert_eq!(relative(&[1.0], &[0.0]), inf);
        assert_eq!(relative(&[1.0], &[1.0, 2.0]), inf, "a missing element");
        let none = compare(&Tensor::filled(DType::F32, &[0], 0), []);
        assert!(!none.within(1.0));
        let indices = Tensor::from_f64(DType::I32, &[4], [0.0, 1.0, 2.0, -1.0]);
        assert_eq!(compare(&indices, [0.0, 1.0, 3.0, -1.0].into_iter().enumerate()).relative, 0.25);
    }

    /// What a type does not hold, and what no type holds, is no error where the reference says the same.
    #[test]
    fn values_that_types_do_not_have() {
        let inf = f64::INFINITY;
        let of = |dtype, got: &[f64], wanted: &[f64]| {
            let tensor = Tensor::from_f64(dtype, &[got.len()], got.iter().copied());
            compare(&tensor, wanted.iter().copied().enumerate())
        };
        for dtype in [DType::Bf16, DType::F16, DType::F32] {
            let d = of(dtype, &[1.0, f64::NAN, inf, -inf, 0.0], &[1.0, f64::NAN, 1e300, -1e40, 1e-60]);
            assert_eq!((d.relative, d.largest), (0.0, 0.0), "{dtype}");
            assert_eq!((d.elements, d.undefined, d.beyond, d.astray), (5, 1, 2, 0), "{dtype}");
            // Of another sign, finite, no number; and the reverse.
            for (got, wanted) in [(inf, -1e300), (1.0, 1e300), (f64::NAN, 1e300), (1.0, f64::NAN), (inf, 1.0)] {
                let d = of(dtype, &[1.0, got], &[1.0, wanted]);
                assert_eq!((d.relative, d.astray), (inf, 1), "{dtype} {got} {wanted}");
            }
        }
        // 70000 is a number in bf16 and f32 only.
        assert_eq!(of(DType::F16, &[inf], &[70000.0]).relative, 0.0);
        assert_eq!(of(DType::F32, &[inf], &[70000.0]).relative, inf);
        // Rounding counts, where there is something to round to.
        let third = of(DType::Bf16, &[1.0 / 3.0], &[1.0 / 3.0]).relative;
        assert!(third > 1e-4 && third < 4e-3, "{third}");
        // An f32 result of 0 is not what f32 makes of 1e-30.
        assert_eq!(of(DType::F32, &[0.0], &[1e-30]).relative, 1.0);
    }
}
