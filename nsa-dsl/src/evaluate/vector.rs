//! Expressions along an axis, for several of its values at once.

use super::sequence::Sequence;
use super::walk::{Walk, combine};
use crate::program::*;

impl<'s, 'a> Walk<'s, 'a> {
    /// The values of an expression for some values of an axis, which ascend; `out` has one place for each. The axis itself
    /// is left anywhere.
    pub fn vector(&mut self, id: ExprId, axis: AxisId, places: &[usize], out: &mut [f64]) {
        if out.is_empty() {
            return;
        }
        if !self.sequence.analysis.depends(id, axis) {
            out.fill(self.real(id));
            return;
        }
        let number = self.plan.memory[id.0 as usize].map(|number| number as usize);
        // A memory that does not hold several values of this axis is of no use here.
        let Some(number) = number.filter(|&number| self.plan.memories[number].1.contains(&axis)) else {
            return self.vector_anew(id, axis, places, out);
        };
        let axes = &self.plan.memories[number];
        if !self.memories[number].refresh(axes, self.sequence, &self.at, self.version) {
            return self.vector_anew(id, axis, places, out);
        }
        let (slot, stride) = self.memories[number].slot(&axes.1, &self.at, Some(axis));
        let memory = &self.memories[number];
        let known = out.iter_mut().zip(places).all(|(x, &place)| match memory.get(slot + place * stride) {
            Some(value) => {
                *x = value;
                true
            }
            None => false,
        });
        if known {
            return;
        }
        self.vector_anew(id, axis, places, out);
        let memory = &mut self.memories[number];
        memory.refresh(axes, self.sequence, &self.at, self.version);
        out.iter().zip(places).for_each(|(&x, &place)| memory.set(slot + place * stride, x));
    }

    fn vector_anew(&mut self, id: ExprId, axis: AxisId, places: &[usize], out: &mut [f64]) {
        let sequence: &'s Sequence<'a> = self.sequence;
        let depends = |expr: ExprId| sequence.analysis.depends(expr, axis);
        match self.expr(id) {
            Expr::Load(..) if sequence.analysis.is_lane(sequence.program, id, axis) => {
                self.step(axis, 0);
                let last = places.last().map_or(0, |&last| last + 1);
                match self.lane(id, axis, last) {
                    Some(lane) => {
                        out.iter_mut().zip(places).for_each(|(x, &place)| *x = lane.values[place * lane.stride]);
                    }
                    None => out.fill(f64::NAN),
                }
            }
            Expr::Unary(op, a) => {
                self.vector(*a, axis, places, out);
                out.iter_mut().for_each(|x| *x = op.apply(*x));
            }
            Expr::Cast(dtype, a) => {
                self.vector(*a, axis, places, out);
                out.iter_mut().for_each(|x| *x = dtype.round(*x));
            }
            Expr::StopGradient(a) => self.vector(*a, axis, places, out),
            Expr::Binary(op, a, b) if !depends(*a) => {
                let a = self.real(*a);
                self.vector(*b, axis, places, out);
                out.iter_mut().for_each(|x| *x = op.apply(a, *x));
            }
            Expr::Binary(op, a, b) if !depends(*b) => {
                let b = self.real(*b);
                self.vector(*a, axis, places, out);
                out.iter_mut().for_each(|x| *x = op.apply(*x, b));
            }
            Expr::Binary(op, a, b) => {
                self.vector(*a, axis, places, out);
                let mut right = self.take(out.len());
                self.vector(*b, axis, places, &mut right);
                out.iter_mut().zip(&right).for_each(|(x, &y)| *x = op.apply(*x, y));
                self.give(right);
            }
            Expr::Select(p, a, b) if !depends(*p) => {
                let chosen = if self.holds(*p) { *a } else { *b };
                self.vector(chosen, axis, places, out);
            }
            Expr::Fold { monoid, axis: folded, body, .. } if self.adds_slices(id, axis) => {
                self.vector_fold(id, *monoid, *folded, *body, axis, places, out);
            }
            Expr::Fold { axis: folded, .. } if self.is_dot_along(id, axis) => {
                self.dots(id, *folded, axis, places, out);
            }
            _ => {
                for (&place, x) in places.iter().zip(out) {
                    self.step(axis, place as i64);
                    *x = self.real(id);
                }
            }
        }
    }

    /// Whether a fold is a sum of multiples of slices along `axis`, or of such sums: better added as vectors than element
    /// by element.
    fn adds_slices(&self, id: ExprId, axis: AxisId) -> bool {
        let Expr::Fold { monoid: Monoid::Sum, axis: folded, guard, body } = self.expr(id) else { return false };
        let (analysis, program) = (&self.sequence.analysis, self.sequence.program);
        if *folded == axis || guard.is_some_and(|guard| analysis.depends(guard, axis)) {
            return false;
        }
        let Expr::Binary(Binary::Mul, a, b) = self.expr(*body) else { return self.adds_slices(*body, axis) };
        let slice = |e| analysis.is_lane(program, e, axis);
        let scaled = (slice(*a) && !analysis.depends(*b, axis)) || (slice(*b) && !analysis.depends(*a, axis));
        // Both factors neighbours in memory along the summed axis: products of slices are better still.
        let contiguous = |e| match self.expr(e) {
            Expr::Load(_, index) => index.last().is_some_and(|&last| *self.expr(last) == Expr::Axis(*folded)),
            _ => false,
        };
        scaled && !(contiguous(*a) && contiguous(*b))
    }

    /// Whether a fold is a sum of products of two slices, over the same range for all values of `axis`.
    fn is_dot_along(&self, id: ExprId, axis: AxisId) -> bool {
        let Expr::Fold { axis: folded, guard, .. } = self.expr(id) else { return false };
        *folded != axis
            && self.sequence.analysis.folds[id.0 as usize].as_ref().is_some_and(|plan| plan.dot.is_some())
            && !guard.is_some_and(|guard| self.sequence.analysis.depends(guard, axis))
    }

    /// Products of slices, one for each value of `axis`.
    fn dots(&mut self, id: ExprId, folded: AxisId, axis: AxisId, places: &[usize], out: &mut [f64]) {
        let sequence: &'s Sequence<'a> = self.sequence;
        let dot = sequence.analysis.folds[id.0 as usize].as_ref().and_then(|plan| plan.dot);
        let (first, last) = self.range(id, folded);
        let Some((mut a, mut b)) = dot.filter(|_| first <= last) else {
            return out.fill(0.0);
        };
        if !sequence.analysis.depends(b, axis) {
            (a, b) = (b, a);
        }
        let before = self.at[folded.0 as usize];
        let count = (last - first + 1) as usize;
        self.step(folded, first);
        // The factor that is the same for all is looked up once.
        let fixed = if sequence.analysis.depends(a, axis) { None } else { self.lane(a, folded, count) };
        for (&place, x) in places.iter().zip(out) {
            self.step(axis, place as i64);
            let right = self.lane(b, folded, count);
            *x = match (&fixed, right) {
                (Some(left), Some(right)) => left.dot(&right, count),
                (None, Some(right)) => self.lane(a, folded, count).map_or(f64::NAN, |left| left.dot(&right, count)),
                _ => f64::NAN,
            };
        }
        self.step(folded, before);
    }

    #[allow(clippy::too_many_arguments)]
    fn vector_fold(
        &mut self,
        id: ExprId,
        monoid: Monoid,
        folded: AxisId,
        body: ExprId,
        axis: AxisId,
        places: &[usize],
        out: &mut [f64],
    ) {
        let sequence: &'s Sequence<'a> = self.sequence;
        let depends = |expr: ExprId| sequence.analysis.depends(expr, axis);
        out.fill(monoid.identity());
        let before = self.at[folded.0 as usize];
        let values = self.allowed(id, folded);
        // weight * vector, whichever stands first.
        let product = match self.expr(body) {
            Expr::Binary(Binary::Mul, a, b) if !depends(*a) => Some((*a, *b)),
            Expr::Binary(Binary::Mul, a, b) if !depends(*b) => Some((*b, *a)),
            _ => None,
        };
        if let Some((weight, x)) = product {
            let mut weights = self.take(values.len());
            self.vector(weight, folded, &values, &mut weights);
            let length = places.last().map_or(0, |&last| last + 1);
            for (&value, &weight) in values.iter().zip(&weights) {
                self.step(folded, value as i64);
                self.step(axis, 0);
                match self.lane(x, axis, length) {
                    Some(lane) => lane.add_scaled(weight, places, out),
                    None => out.fill(f64::NAN),
                }
            }
            self.give(weights);
        } else {
            let mut term = self.take(out.len());
            for &value in values.iter() {
                self.step(folded, value as i64);
                self.vector(body, axis, places, &mut term);
                out.iter_mut().zip(&term).for_each(|(total, &x)| *total = combine(monoid, *total, x));
            }
            self.give(term);
        }
        self.step(folded, before);
    }
}
