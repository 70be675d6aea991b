//! How many values restricted domains have: their bounds evaluated at sample points of the axes that they vary over.

use super::*;

impl Kernel<'_> {
    /// How many parts the unions in a domain make.
    pub(super) fn parts(&self, domain: Id) -> usize {
        match self.terms.nodes[domain] {
            Term::Union([one, other]) => self.parts(one) + self.parts(other),
            Term::Mask([inner, _]) | Term::Upto([inner, _]) | Term::From([inner, _]) | Term::Blocks([inner, ..]) => {
                self.parts(inner)
            }
            _ => 1,
        }
    }

    /// First and last value of a part of a domain at a sample point, and at most how many there are.
    pub(super) fn range(&self, domain: Id, point: Point, stack: &[usize]) -> (i64, i64, f64) {
        let node = &self.terms.nodes[domain];
        match *node {
            Term::Mask([inner, _]) => self.range(inner, point, stack),
            Term::Union([one, other]) => match point.part.checked_sub(self.parts(one)) {
                None => self.range(one, point, stack),
                Some(part) => self.range(other, Point { part, ..point }, stack),
            },
            Term::Upto([inner, bound]) => {
                let (low, high, most) = self.range(inner, point, stack);
                // a bound that is read from data: half of what there is
                let bound = self.integer(bound, point, stack).unwrap_or((low + high) / 2);
                (low, high.min(bound), most)
            }
            Term::From([inner, bound]) => {
                let (low, high, most) = self.range(inner, point, stack);
                let bound = self.integer(bound, point, stack).unwrap_or((low + high) / 2);
                (low.max(bound), high, most)
            }
            Term::Blocks([inner, list, block]) => {
                let (low, high, most) = self.range(inner, point, stack);
                let count = match &self.terms.nodes[list] {
                    Term::List(operands) => match self.terms.nodes[operands[0]] {
                        Term::Tensor(name) => list_length(self.context, name),
                        _ => None,
                    },
                    _ => None,
                };
                let block = self.integer(block, point, stack).unwrap_or(1);
                (low, high, most.min(count.unwrap_or(1.0) * block as f64))
            }
            _ => {
                let axis = self.facts[usize::from(domain)].binds.map_or(u32::MAX, |(axis, _)| axis);
                let size = self.axis_size(axis);
                (0, size as i64 - 1, size)
            }
        }
    }

    /// The value of an integer term at a sample point; None if it reads data.
    pub(super) fn integer(&self, id: Id, point: Point, stack: &[usize]) -> Option<i64> {
        let of = |id: Id| self.integer(id, point, stack);
        match self.terms.nodes[id] {
            Term::Int(value) => Some(value),
            Term::Axis(axis) => {
                let number = self.context.axis_number(axis)? as u32;
                match stack.iter().rev().find(|frame| self.frames[**frame].axis == number) {
                    Some(frame) => {
                        let [low, high, between] = *self.frames[*frame].samples.get(point.sample)?;
                        Some(match (point.together.contains(&number), point.last) {
                            (false, _) => between,
                            (true, false) => low,
                            (true, true) => high,
                        })
                    }
                    None => {
                        let size = self.axis_size(number);
                        let at = (size * fraction(point.sample, number as usize)).floor();
                        let tile = self.tiles.get(&number).copied().unwrap_or(1.0);
                        let (first, count) = match point.together.contains(&number) {
                            false => (at, 1.0),
                            true => ((at / tile).floor() * tile, tile),
                        };
                        Some(if point.last { first + count - 1.0 } else { first } as i64)
                    }
                }
            }
            Term::Len(axis) => Some(self.context.size(AxisName(axis.0))),
            Term::IntAdd([a, b]) => of(a)?.checked_add(of(b)?),
            Term::IntSub([a, b]) => of(a)?.checked_sub(of(b)?),
            Term::IntMul([a, b]) => of(a)?.checked_mul(of(b)?),
            Term::IntDiv([a, b]) => Some(of(a)?.div_euclid(of(b).filter(|b| *b > 0)?)),
            Term::IntRem([a, b]) => Some(of(a)?.rem_euclid(of(b).filter(|b| *b > 0)?)),
            Term::IntMin([a, b]) => Some(of(a)?.min(of(b)?)),
            Term::IntMax([a, b]) => Some(of(a)?.max(of(b)?)),
            _ => None,
        }
    }
}

/// Where bounds are evaluated.
#[derive(Clone, Copy)]
pub(super) struct Point<'a> {
    /// Of a domain with unions, which part.
    pub part: usize,
    pub sample: usize,
    /// Axes that are not at the sample but at their first or last value; of grid axes, the thread block's.
    pub together: &'a [u32],
    pub last: bool,
}

/// Evenly spread numbers between 0 and 1, independent for different salts (Kronecker sequences of square roots of primes).
pub(super) fn fraction(sample: usize, salt: usize) -> f64 {
    const PRIMES: [f64; 12] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0, 29.0, 31.0, 37.0];
    ((sample as f64 + 0.5) * PRIMES[salt % PRIMES.len()].sqrt()).fract()
}
