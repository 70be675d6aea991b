//! How far results are from what is expected.

use crate::Tensor;
use serde::Serialize;

/// The difference between a result and its expected values.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Difference {
    /// `||result - expected|| / ||expected||` over the finite expected elements; infinite if anything is not a number or
    /// infinite in one of them only. 0 if both are 0. For integers: the fraction of elements that differ.
    pub relative: f64,
    /// Largest absolute difference of an element, of the same elements.
    pub largest: f64,
    /// Number of elements that were compared.
    pub elements: usize,
}

impl Difference {
    /// True if the relative error is within `tolerance`. Nothing compared is nothing passed.
    pub fn within(&self, tolerance: f64) -> bool {
        self.elements > 0 && self.relative <= tolerance
    }
}

/// Compares elements `at` of a result with expected values.
pub fn compare(result: &Tensor, expected: impl IntoIterator<Item = (usize, f64)>) -> Difference {
    let integers = result.dtype() == nsa::DType::I32;
    let (mut error, mut norm, mut largest, mut elements, mut differing) = (0f64, 0f64, 0f64, 0usize, 0usize);
    for (at, wanted) in expected {
        elements += 1;
        let got = if at < result.elements() { result.get(at) } else { f64::NAN };
        if got == wanted {
            // Equal infinities, too.
            norm += if wanted.is_finite() { wanted * wanted } else { 0.0 };
            continue;
        }
        differing += 1;
        let difference = (got - wanted).abs();
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        error += difference * difference;
        norm += if wanted.is_finite() { wanted * wanted } else { 0.0 };
        largest = largest.max(difference);
    }
    let relative = if integers {
        differing as f64 / elements.max(1) as f64
    } else if error == 0.0 {
        0.0
    } else if error.is_finite() && norm > 0.0 {
        (error / norm).sqrt()
    } else {
        f64::INFINITY
    };
    Difference { relative, largest, elements }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsa::DType;

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
}
