//! Arguments for a picture: those that are given, and random ones that look like a text's.

use crate::failure::Failure;
use crate::fills::{fills_for, is_integer_parameter, range};
use nsa_dsl::program::{AxisId, Compare, DType, Expr, ExprId, Extent, TensorId};
use nsa_dsl::{Inputs, Program};
use nsa_measure::{Demand, Fill, Random, Tensors};
use std::collections::BTreeMap;

/// The length of run-time axes if none is given.
const DEFAULT_LENGTH: usize = 256;
/// How many stretches of equal lists a sequence has.
const STRETCHES: usize = 16;
/// How many times random vectors become new ones along a sequence, about.
const DRIFTS: usize = 64;

/// The lengths of all axes of one sequence: what is given, and for other run-time axes the longest given one, because most
/// programs want as many keys as queries.
pub fn lengths(program: &Program, given: &BTreeMap<String, usize>) -> Vec<usize> {
    let usual = given.values().copied().max().unwrap_or(DEFAULT_LENGTH);
    let runtime = |axis: AxisId| given.get(&program.axis(axis).name).copied().unwrap_or(usual);
    let numbers = (0..program.axes.len() as u32).map(AxisId);
    let of = |axis: AxisId| match program.axis(axis).extent {
        Extent::Const(n) => usize::try_from(n).unwrap_or(0),
        Extent::Runtime => runtime(axis),
        Extent::Derived(length) => usize::try_from(size(program, length, &runtime)).unwrap_or(0),
    };
    numbers.map(of).collect()
}

/// An extent: an integer made of constants and lengths of run-time axes.
fn size(program: &Program, id: ExprId, runtime: &dyn Fn(AxisId) -> usize) -> i64 {
    match program.expr(id) {
        Expr::Int(n) => *n,
        Expr::Len(axis) => runtime(*axis) as i64,
        Expr::IntBin(op, a, b) => op.apply(size(program, *a, runtime), size(program, *b, runtime)),
        // The checker makes extents of nothing else.
        _ => 0,
    }
}

/// Arguments for one sequence. Random vectors drift along the sequence, as those of a text do, so that neighbours want
/// similar keys; lists stay the same for a stretch; integers that are compared with each other number stretches.
///
/// # Errors
/// A given tensor of another shape, or one that is no argument. Arguments for which there is not enough memory.
pub fn random(program: &Program, lengths: &[usize], seed: u64, mut given: Tensors) -> Result<Inputs, Failure> {
    let of = |axis: AxisId| lengths[axis.0 as usize];
    let mut demand = Demand::default();
    for (_, tensor) in program.params() {
        let shape: Vec<usize> = tensor.axes.iter().map(|axis| of(*axis)).collect();
        demand.tensor(&format!("argument `{}`: f64", tensor.name), &shape, size_of::<f64>());
    }
    demand.check()?;
    let mut inputs = Inputs::new();
    for (number, axis) in program.axes.iter().enumerate() {
        if axis.extent == Extent::Runtime {
            inputs = inputs.length(&axis.name, lengths[number]);
        }
    }
    let integers = integers(program, &|axis| of(axis) as i64);
    for (number, (id, tensor)) in program.params().enumerate() {
        let shape: Vec<usize> = tensor.axes.iter().map(|axis| of(*axis)).collect();
        let dtype = tensor.dtype.unwrap_or(program.element);
        let numbers = match given.remove(&tensor.name) {
            Some(values) if values.shape() == shape => values.to_f64(),
            Some(values) => {
                let name = &tensor.name;
                return Err(format!("argument `{name}` is {values:?}, but must have the shape {shape:?}").into());
            }
            None => {
                // Each argument has its own stream, so that adding one leaves the others as they were.
                let mut random = Random::new(seed ^ (number as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f));
                let long = tensor.axes.iter().position(|axis| program.axis(*axis).extent == Extent::Runtime);
                let usual = if dtype == DType::I32 { Meaning::Below(1) } else { Meaning::Vector };
                Filler { shape: &shape, long }.fill(integers.get(&id).copied().unwrap_or(usual), &mut random)
            }
        };
        inputs = match dtype {
            DType::I32 => inputs.integers(&tensor.name, numbers.into_iter().map(|x| x as i64).collect()),
            _ => inputs.real(&tensor.name, numbers),
        };
    }
    match given.into_keys().next() {
        Some(name) => {
            let names: Vec<_> = program.params().map(|(_, tensor)| tensor.name.as_str()).collect();
            Err(format!("there is no argument `{name}`; there are {}", names.join(", ")).into())
        }
        None => Ok(inputs),
    }
}

/// What an argument's numbers are.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Meaning {
    /// Floating.
    Vector,
    /// A list of different numbers below a bound.
    List(u64),
    /// Any number below a bound.
    Below(u64),
    /// Numbers of stretches, ascending.
    Groups,
    /// One number for all, somewhere inside of a long axis of this length.
    Place(u64),
}

/// What the program's integer arguments mean, from how they are used.
fn integers(program: &Program, length: &dyn Fn(AxisId) -> i64) -> BTreeMap<TensorId, Meaning> {
    let values = |axis: AxisId| (0, (length(axis) - 1).max(0));
    let bound = |id: ExprId| range(program, id, &values, length).map_or(1, |(_, most)| (most + 1).max(1) as u64);
    let loaded = |id: ExprId| match program.expr(id) {
        Expr::Load(tensor, _) if is_integer_parameter(program, *tensor) => Some(*tensor),
        _ => None,
    };
    let long = |id: ExprId| {
        let mut long = false;
        super::branches::each(program, &[id], |id| {
            long |= matches!(program.expr(id), Expr::Axis(axis) if program.axis(*axis).extent == Extent::Runtime);
        });
        long
    };
    let mut found = BTreeMap::new();
    for expr in &program.exprs {
        let Expr::Compare(op, a, b) = expr else { continue };
        match (loaded(*a), loaded(*b)) {
            (Some(a), Some(b)) if a == b && matches!(op, Compare::Eq | Compare::Ne) => {
                found.insert(a, Meaning::Groups);
            }
            (Some(tensor), None) | (None, Some(tensor)) => {
                let other = if loaded(*a).is_some() { *b } else { *a };
                let bound = bound(other);
                let meaning = if long(other) { Meaning::Place(bound) } else { Meaning::Below(bound + 1) };
                found.entry(tensor).or_insert(meaning);
            }
            _ => {}
        }
    }
    // What else integers mean is the same for every random run.
    let fills = fills_for(program, length);
    for (id, tensor) in program.params() {
        match fills.get(&tensor.name) {
            Some(Fill::List(bound)) => {
                found.insert(id, Meaning::List(*bound));
            }
            Some(Fill::Below(bound)) => {
                found.entry(id).or_insert(Meaning::Below(*bound));
            }
            _ => {}
        }
    }
    found
}

/// Fills a tensor.
struct Filler<'a> {
    shape: &'a [usize],
    /// The place of its first run-time axis.
    long: Option<usize>,
}

impl Filler<'_> {
    fn fill(&self, meaning: Meaning, random: &mut Random) -> Vec<f64> {
        let count: usize = self.shape.iter().product();
        match meaning {
            Meaning::Vector => self.drifting(random),
            Meaning::Below(bound) => (0..count).map(|_| random.below(bound) as f64).collect(),
            Meaning::Place(length) => vec![(length / 8 + random.below(length / 4 + 1)) as f64; count],
            Meaning::Groups => {
                let (outer, length, inner) = self.parts();
                let mut group = 0.0;
                let steps: Vec<f64> = (0..length)
                    .map(|n| {
                        // Stretches of very different lengths, as documents have.
                        let ends = n > 0 && random.unit() < 5.0 / length as f64;
                        group += if ends { 1.0 } else { 0.0 };
                        group
                    })
                    .collect();
                let row = |step: &f64| vec![*step; inner];
                (0..outer).flat_map(|_| steps.iter().flat_map(row)).collect()
            }
            Meaning::List(bound) => {
                let entries = self.shape.last().copied().unwrap_or(1);
                let (outer, length, inner) = self.parts();
                let rows =
                    if self.long.is_some() { inner.checked_div(entries).unwrap_or(0) } else { count / entries.max(1) };
                let (outer, length) = if self.long.is_some() { (outer, length) } else { (1, 1) };
                let stretch = length.div_ceil(STRETCHES).max(1);
                let mut numbers = Vec::with_capacity(count);
                for _ in 0..outer {
                    let mut now = vec![];
                    for n in 0..length {
                        if n % stretch == 0 {
                            now = (0..rows).flat_map(|_| list(random, bound, entries)).collect();
                        }
                        numbers.extend(&now);
                    }
                }
                numbers
            }
        }
    }

    /// The number of elements before, along and behind the run-time axis.
    fn parts(&self) -> (usize, usize, usize) {
        match self.long {
            Some(at) => (self.shape[..at].iter().product(), self.shape[at], self.shape[at + 1..].iter().product()),
            None => (1, 1, self.shape.iter().product()),
        }
    }

    /// Normal numbers that change slowly along the run-time axis: white noise that went through two low-pass filters, one
    /// after the other.
    fn drifting(&self, random: &mut Random) -> Vec<f64> {
        let (outer, length, inner) = self.parts();
        let stretch = length.div_ceil(DRIFTS).max(1);
        let keep = (-1.0 / stretch as f64).exp();
        // The variance of what comes out, if 1 goes in.
        let variance = (1.0 + keep * keep) / (1.0 - keep * keep).powi(3);
        let scale = variance.sqrt().recip();
        let mut numbers = Vec::with_capacity(outer * length * inner);
        for _ in 0..outer {
            let (mut first, mut second) = (vec![0.0; inner], vec![0.0; inner]);
            // It begins long before, so that the beginning is like the rest.
            for n in 0..4 * stretch + length {
                for (a, b) in first.iter_mut().zip(&mut second) {
                    *a = keep * *a + random.normal();
                    *b = keep * *b + *a;
                }
                if n >= 4 * stretch {
                    numbers.extend(second.iter().map(|x| x * scale));
                }
            }
        }
        numbers
    }
}

/// Different numbers below a bound, ascending, padded with -1: a quarter of them all at most, so that there is something
/// left to skip.
fn list(random: &mut Random, bound: u64, length: usize) -> Vec<f64> {
    let most = (bound / 4).max(1).min(bound).min(length as u64);
    let mut set = std::collections::BTreeSet::new();
    while (set.len() as u64) < most {
        set.insert(random.below(bound));
    }
    let mut list: Vec<f64> = set.into_iter().map(|n| n as f64).collect();
    list.resize(length, -1.0);
    list
}
