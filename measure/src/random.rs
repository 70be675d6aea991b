//! Random inputs that only depend on a seed.

use crate::{Error, Tensor, Tensors, demand};
use nsa::artifact::Role;
use nsa::{DType, Plan};
use std::collections::BTreeMap;

/// A generator of pseudo-random numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Fast, and good enough for test data.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that only depends on the seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in the open interval (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Uniform among 0 .. n; 0 if there are none.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// What random numbers an argument gets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// Normal numbers of this standard deviation.
    Normal(f64),
    /// Uniform in (0, 1).
    Unit,
    /// Uniform integers from 0 to below the bound.
    Below(u64),
    /// Along the last axis, a random set of numbers below the bound: ascending, without repetition, then -1.
    List(u64),
}

impl Fill {
    /// What an argument gets unless told otherwise: integers are 0; what is called a gate is in (0, 1), as gates are behind their
    /// sigmoid; everything else is normal. Arguments of two and more axes without a run-time one, whose `weights` shape is given, are
    /// drawn as layers are initialised, so that a linear map to the last axis keeps the size of what it maps: otherwise scores
    /// become so large that softmax only picks maxima, and rounding decides which.
    pub fn usual(name: &str, dtype: DType, weights: Option<&[usize]>) -> Fill {
        match (dtype, weights.and_then(<[usize]>::split_last)) {
            (DType::I32, _) => Fill::Below(1),
            (_, Some((_, inputs))) if !inputs.is_empty() => {
                Fill::Normal(1.0 / inputs.iter().map(|n| *n as f64).product::<f64>().max(1.0).sqrt())
            }
            _ if name.starts_with("gate") => Fill::Unit,
            _ => Fill::Normal(1.0),
        }
    }

    /// Numbers for a tensor with rows of this length.
    fn numbers(self, random: &mut Random, count: usize, row: usize) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Fill::Normal(deviation) => Box::new((0..count).map(move |_| random.normal() * deviation)),
            Fill::Unit => Box::new((0..count).map(|_| random.unit())),
            Fill::Below(bound) => Box::new((0..count).map(move |_| random.below(bound) as f64)),
            Fill::List(bound) => {
                let rows = count.checked_div(row).unwrap_or(0);
                Box::new((0..rows).flat_map(move |_| list(random, bound, row)))
            }
        }
    }
}

/// A set of at most `length` numbers below `bound`, ascending, padded with -1.
fn list(random: &mut Random, bound: u64, length: usize) -> Vec<f64> {
    let most = bound.min(length as u64);
    let wanted = random.below(most + 1) as usize;
    let mut set = std::collections::BTreeSet::new();
    while set.len() < wanted {
        set.insert(random.below(bound));
    }
    let mut list: Vec<f64> = set.into_iter().map(|n| n as f64).collect();
    list.resize(length, -1.0);
    list
}

/// Inputs for a plan: the given tensors, checked, and random ones for the other arguments. `fills` says how, for arguments
/// that need something unusual.
///
/// # Errors
/// A given tensor of another shape or type, or one that is no argument. Arguments and results for which there is not enough memory.
pub fn fill(plan: &Plan, seed: u64, mut given: Tensors, fills: &BTreeMap<String, Fill>) -> Result<Tensors, Error> {
    demand(plan).check()?;
    let mut inputs = Tensors::new();
    let arguments = || plan.parameters().iter().filter(|p| p.role() == Role::Argument);
    for (index, parameter) in arguments().enumerate() {
        let (name, dtype, shape) = (parameter.name(), parameter.dtype(), parameter.shape());
        let tensor = match given.remove(name) {
            Some(tensor) if tensor.dtype() == dtype && tensor.shape() == shape => tensor,
            Some(tensor) => {
                let reason = format!("it is {tensor:?}, but must be {dtype} {shape:?}");
                return Err(Error::Tensor { name: name.into(), reason });
            }
            None => {
                let constant = |axis: &String| {
                    plan.variant().axes.iter().any(|a| a.name == *axis && a.extent.constant().is_some())
                };
                let weight = parameter.axes().iter().all(constant);
                let how = fills.get(name).copied().unwrap_or_else(|| Fill::usual(name, dtype, weight.then_some(shape)));
                // Each argument has its own stream, so that adding one leaves the others as they were.
                let mut random = Random::new(seed ^ (index as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f));
                let row = shape.last().copied().unwrap_or(1);
                Tensor::from_f64(dtype, shape, how.numbers(&mut random, parameter.elements(), row))
            }
        };
        inputs.insert(name.to_string(), tensor);
    }
    match given.into_keys().next() {
        Some(name) => {
            let names: Vec<_> = arguments().map(|p| p.name()).collect();
            Err(Error::Tensor { name, reason: format!("there is no such argument; there are {}", names.join(", ")) })
        }
        None => Ok(inputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let mut random = Random::new(7);
        let n = 20_000;
        let (mut sum, mut square, mut unit) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = random.normal();
            sum += x;
            square += x * x;
            unit += random.unit();
        }
        let n = f64::from(n);
        // Five standard errors.
        assert!((sum / n).abs() < 5.0 / n.sqrt(), "mean {}", sum / n);
        assert!((square / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "variance {}", square / n);
        assert!((unit / n - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt(), "mean {}", unit / n);
    }

    #[test]
    fn lists_are_sets() {
        let mut random = Random::new(1);
        let mut lengths = [0; 5];
        let numbers: Vec<f64> = Fill::List(6).numbers(&mut random, 400 * 4, 4).collect();
        for row in numbers.chunks(4) {
            let set: Vec<f64> = row.iter().copied().take_while(|n| *n >= 0.0).collect();
            assert!(set.windows(2).all(|w| w[0] < w[1]) && set.iter().all(|n| *n < 6.0), "{row:?}");
            assert!(row[set.len()..].iter().all(|n| *n == -1.0), "{row:?}");
            lengths[set.len()] += 1;
        }
        assert!(lengths.iter().all(|n| *n > 20), "all lengths occur: {lengths:?}");
    }
}
