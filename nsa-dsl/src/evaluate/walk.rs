//! Expressions at given values of the axes: one value, or a vector along one axis.

use super::analysis::Plan;
use super::sequence::{Data, Row, Sequence};
use crate::program::*;

/// Most elements that one memory may have; what would need more is computed again each time.
const MEMORY_LIMIT: usize = 1 << 24;

/// Remembered values of an expression: valid for one set of values of the axes that stand still.
#[derive(Default)]
struct Memory {
    still: Vec<i64>,
    strides: Vec<usize>,
    /// When each value was set; 0 means never.
    stamps: Vec<u32>,
    values: Vec<f64>,
    now: u32,
}

/// Evaluates expressions of one definition.
pub(super) struct Walk<'s, 'a> {
    pub sequence: &'s Sequence<'a>,
    plan: &'s Plan,
    /// The values of the axes.
    pub at: Vec<i64>,
    memories: Vec<Memory>,
    spare: Vec<Vec<f64>>,
}

impl<'s, 'a> Walk<'s, 'a> {
    pub fn new(sequence: &'s Sequence<'a>, plan: &'s Plan) -> Self {
        let mut memories = vec![];
        memories.resize_with(plan.memories.len(), Memory::default);
        Walk { sequence, plan, at: vec![0; sequence.extents.len()], memories, spare: vec![] }
    }

    fn expr(&self, id: ExprId) -> &'s Expr {
        let program: &'s Program = self.sequence.program;
        program.expr(id)
    }

    /// Where a memory keeps the value for the present axes, and the value if it is there; None if nothing is kept.
    fn recall(&mut self, number: u32) -> Option<(usize, Option<f64>)> {
        let (still, running) = &self.plan.memories[number as usize];
        let memory = &mut self.memories[number as usize];
        if memory.now == 0 {
            let mut size = 1usize;
            for axis in running {
                memory.strides.push(size);
                size = size.saturating_mul(self.sequence.extents[axis.0 as usize] as usize);
            }
            if size <= MEMORY_LIMIT {
                memory.stamps = vec![0; size];
                memory.values = vec![0.0; size];
            }
            memory.still = still.iter().map(|axis| self.at[axis.0 as usize]).collect();
            memory.now = 1;
        }
        if memory.values.is_empty() {
            return None;
        }
        let mut same = true;
        for (old, axis) in memory.still.iter_mut().zip(still) {
            let new = self.at[axis.0 as usize];
            same &= *old == new;
            *old = new;
        }
        if !same {
            memory.now = memory.now.wrapping_add(1);
            if memory.now == 0 {
                memory.stamps.fill(0);
                memory.now = 1;
            }
        }
        let slot: usize =
            running.iter().zip(&memory.strides).map(|(axis, stride)| self.at[axis.0 as usize] as usize * stride).sum();
        Some((slot, (memory.stamps[slot] == memory.now).then(|| memory.values[slot])))
    }

    fn remembered(&mut self, id: ExprId, compute: impl FnOnce(&mut Self) -> f64) -> f64 {
        let Some(number) = self.plan.memory[id.0 as usize] else { return compute(self) };
        match self.recall(number) {
            None => compute(self),
            Some((_, Some(value))) => value,
            Some((slot, None)) => {
                let value = compute(self);
                let memory = &mut self.memories[number as usize];
                memory.values[slot] = value;
                memory.stamps[slot] = memory.now;
                value
            }
        }
    }

    /// An integer.
    pub fn integer(&mut self, id: ExprId) -> i64 {
        match self.expr(id) {
            Expr::Int(value) => *value,
            Expr::Axis(axis) => self.at[axis.0 as usize],
            Expr::Len(axis) => self.sequence.extents[axis.0 as usize],
            Expr::IntBin(op, a, b) => op.apply(self.integer(*a), self.integer(*b)),
            Expr::Select(p, a, b) => {
                let chosen = if self.holds(*p) { *a } else { *b };
                self.integer(chosen)
            }
            Expr::Load(tensor, index) => match self.element(*tensor, index) {
                Some((Slice::Integer(values), offset)) => values[offset],
                _ => 0,
            },
            // The checker lets nothing else be an integer.
            _ => 0,
        }
    }

    /// A condition.
    pub fn holds(&mut self, id: ExprId) -> bool {
        match self.expr(id) {
            Expr::Bool(value) => *value,
            Expr::Compare(op, a, b) => {
                if self.sequence.analysis.compares_integers(self.sequence.program, *a) {
                    op.holds(&self.integer(*a), &self.integer(*b))
                } else {
                    op.holds(&self.real(*a), &self.real(*b))
                }
            }
            Expr::And(a, b) => self.holds(*a) && self.holds(*b),
            Expr::Or(a, b) => self.holds(*a) || self.holds(*b),
            Expr::Not(a) => !self.holds(*a),
            Expr::Member(x, tensor, index) => {
                self.remembered(id, |walk| f64::from(u8::from(walk.member(*x, *tensor, index)))) != 0.0
            }
            _ => false,
        }
    }

    fn member(&mut self, x: ExprId, tensor: TensorId, index: &[ExprId]) -> bool {
        let x = self.integer(x);
        let stored = &self.sequence.tensors[tensor.0 as usize];
        let Some((Slice::Integer(values), offset)) = self.element(tensor, index) else { return false };
        let (Some(&count), Some(&stride)) = (stored.shape.last(), stored.strides.last()) else { return false };
        // A list along the row axis is not in one slice: one entry after the other.
        if let Data::Rows(Some(row), rows) = &stored.data
            && *row + 1 == stored.shape.len()
        {
            return (0..count as usize).any(|entry| match self.sequence.row(tensor, rows, entry) {
                Row::Integer(values) => values[offset] >= 0 && values[offset] == x,
                Row::Real(_) => false,
            });
        }
        (0..count as usize).any(|entry| {
            let value = values[offset + entry * stride];
            value >= 0 && value == x
        })
    }

    /// The values among which an element is, and its place there; None and an error noted if it is outside of its tensor.
    /// Axes that have no index count as 0.
    fn element(&mut self, tensor: TensorId, index: &[ExprId]) -> Option<(Slice<'s>, usize)> {
        let sequence: &'s Sequence<'a> = self.sequence;
        let stored = &sequence.tensors[tensor.0 as usize];
        let mut offset = 0;
        let mut row = 0;
        let row_place = match &stored.data {
            Data::Rows(place, _) => *place,
            _ => None,
        };
        for (place, &expr) in index.iter().enumerate() {
            let value = self.integer(expr);
            if value < 0 || value >= stored.shape[place] {
                sequence.out_of_range(tensor, place, value);
                return None;
            }
            if Some(place) == row_place {
                row = value as usize;
            }
            offset += value as usize * stored.strides[place];
        }
        let slice = match &stored.data {
            Data::Real(values) => Slice::Real(values),
            Data::Integer(values) => Slice::Integer(values),
            // An empty tensor has no element.
            Data::Rows(_, rows) if rows.is_empty() => return None,
            Data::Rows(_, rows) => match sequence.row(tensor, rows, row) {
                Row::Real(values) => Slice::Real(values),
                Row::Integer(values) => Slice::Integer(values),
            },
        };
        Some((slice, offset))
    }

    /// A floating value.
    pub fn real(&mut self, id: ExprId) -> f64 {
        self.remembered(id, |walk| walk.real_anew(id))
    }

    fn real_anew(&mut self, id: ExprId) -> f64 {
        match self.expr(id) {
            Expr::Num(value) => *value,
            Expr::ToFloat(a) => self.integer(*a) as f64,
            Expr::Load(tensor, index) => match self.element(*tensor, index) {
                Some((Slice::Real(values), offset)) => values[offset],
                _ => f64::NAN,
            },
            Expr::Unary(op, a) => op.apply(self.real(*a)),
            Expr::Binary(op, a, b) => {
                let a = self.real(*a);
                op.apply(a, self.real(*b))
            }
            Expr::Select(p, a, b) => {
                let chosen = if self.holds(*p) { *a } else { *b };
                self.real(chosen)
            }
            Expr::Cast(dtype, a) => dtype.round(self.real(*a)),
            Expr::StopGradient(a) => self.real(*a),
            Expr::Fold { monoid, axis, body, .. } => self.fold(id, *monoid, *axis, *body),
            _ => f64::NAN,
        }
    }

    fn fold(&mut self, id: ExprId, monoid: Monoid, axis: AxisId, body: ExprId) -> f64 {
        let sequence: &'s Sequence<'a> = self.sequence;
        let Some(plan) = &sequence.analysis.folds[id.0 as usize] else { return f64::NAN };
        let (first, last) = self.range(id, axis);
        if first > last {
            return monoid.identity();
        }
        let before = self.at[axis.0 as usize];
        let mut total = monoid.identity();
        if let Some((a, b)) = plan.dot {
            self.at[axis.0 as usize] = first;
            let count = (last - first + 1) as usize;
            let lanes = (self.lane(a, axis, count), self.lane(b, axis, count));
            self.at[axis.0 as usize] = before;
            return match lanes {
                (Some(a), Some(b)) => a.dot(&b, count),
                _ => f64::NAN,
            };
        }
        for value in first..=last {
            self.at[axis.0 as usize] = value;
            if plan.conditions.iter().all(|&condition| self.holds(condition)) {
                total = combine(monoid, total, self.real(body));
            }
        }
        self.at[axis.0 as usize] = before;
        total
    }

    /// First and last value that the bounds of a fold allow.
    fn range(&mut self, id: ExprId, axis: AxisId) -> (i64, i64) {
        let sequence: &'s Sequence<'a> = self.sequence;
        let (mut first, mut last) = (0, sequence.extents[axis.0 as usize] - 1);
        let Some(plan) = &sequence.analysis.folds[id.0 as usize] else { return (0, -1) };
        for bound in &plan.bounds {
            let mut rest = bound.constant;
            for &(atom, coefficient) in &bound.rest {
                rest = rest.wrapping_add(coefficient.wrapping_mul(self.integer(atom)));
            }
            match bound.coefficient {
                0 if rest >= 0 => {}
                0 => return (0, -1),
                // axis >= -rest / c, rounded up; axis <= rest / -c, rounded down.
                c if c > 0 => first = first.max(rest.wrapping_neg().wrapping_add(c - 1).div_euclid(c)),
                c => last = last.min(rest.div_euclid(-c)),
            }
        }
        (first, last)
    }

    /// The elements of a load along an axis from its present value on, if the load is one of which
    /// [`Analysis::is_lane`](super::analysis::Analysis::is_lane) holds and all `count` are there.
    fn lane(&mut self, load: ExprId, axis: AxisId, count: usize) -> Option<Lane<'s>> {
        let Expr::Load(tensor, index) = self.expr(load) else { return None };
        let place = index.iter().position(|&e| *self.expr(e) == Expr::Axis(axis))?;
        let last = self.at[axis.0 as usize] + count as i64 - 1;
        let stored = &self.sequence.tensors[tensor.0 as usize];
        let stride = stored.strides[place];
        if last >= stored.shape[place] {
            self.sequence.out_of_range(*tensor, place, last);
            return None;
        }
        match self.element(*tensor, index)? {
            (Slice::Real(values), offset) => Some(Lane { values: &values[offset..], stride }),
            _ => None,
        }
    }

    /// The values of an expression for all values of an axis.
    pub fn vector(&mut self, id: ExprId, axis: AxisId, out: &mut [f64]) {
        if out.is_empty() {
            return;
        }
        let sequence: &'s Sequence<'a> = self.sequence;
        let depends = |expr: ExprId| sequence.analysis.depends(expr, axis);
        if !depends(id) {
            out.fill(self.real(id));
            return;
        }
        match self.expr(id) {
            Expr::Load(..) if sequence.analysis.is_lane(sequence.program, id, axis) => {
                self.at[axis.0 as usize] = 0;
                match self.lane(id, axis, out.len()) {
                    Some(lane) => (0..out.len()).for_each(|i| out[i] = lane.values[i * lane.stride]),
                    None => out.fill(f64::NAN),
                }
            }
            Expr::Unary(op, a) => {
                self.vector(*a, axis, out);
                out.iter_mut().for_each(|x| *x = op.apply(*x));
            }
            Expr::Cast(dtype, a) => {
                self.vector(*a, axis, out);
                out.iter_mut().for_each(|x| *x = dtype.round(*x));
            }
            Expr::StopGradient(a) => self.vector(*a, axis, out),
            Expr::Binary(op, a, b) if !depends(*a) => {
                let a = self.real(*a);
                self.vector(*b, axis, out);
                out.iter_mut().for_each(|x| *x = op.apply(a, *x));
            }
            Expr::Binary(op, a, b) if !depends(*b) => {
                let b = self.real(*b);
                self.vector(*a, axis, out);
                out.iter_mut().for_each(|x| *x = op.apply(*x, b));
            }
            Expr::Binary(op, a, b) => {
                self.vector(*a, axis, out);
                let mut right = self.take(out.len());
                self.vector(*b, axis, &mut right);
                out.iter_mut().zip(&right).for_each(|(x, &y)| *x = op.apply(*x, y));
                self.spare.push(right);
            }
            Expr::Select(p, a, b) if !depends(*p) => {
                let chosen = if self.holds(*p) { *a } else { *b };
                self.vector(chosen, axis, out);
            }
            Expr::Fold { monoid, axis: folded, guard, body }
                if !guard.is_some_and(depends) && !self.is_dot(id) && *folded != axis =>
            {
                self.vector_fold(id, *monoid, *folded, *body, axis, out);
            }
            _ => {
                for (value, x) in out.iter_mut().enumerate() {
                    self.at[axis.0 as usize] = value as i64;
                    *x = self.real(id);
                }
            }
        }
    }

    fn is_dot(&self, id: ExprId) -> bool {
        self.sequence.analysis.folds[id.0 as usize].as_ref().is_some_and(|plan| plan.dot.is_some())
            && !self.prefers_vector(id)
    }

    /// A sum of products of which one factor does not vary along the definition's last axis, while the other is a slice of
    /// it: better as a sum of vectors than as one sum per element.
    fn prefers_vector(&self, id: ExprId) -> bool {
        let (Some(vector), Expr::Fold { body, .. }) = (self.plan.vector, self.expr(id)) else { return false };
        let Expr::Binary(_, a, b) = self.expr(*body) else { return false };
        let analysis = &self.sequence.analysis;
        let slice = |e| analysis.is_lane(self.sequence.program, e, vector);
        (slice(*a) && !analysis.depends(*b, vector)) || (slice(*b) && !analysis.depends(*a, vector))
    }

    fn vector_fold(&mut self, id: ExprId, monoid: Monoid, folded: AxisId, body: ExprId, axis: AxisId, out: &mut [f64]) {
        let sequence: &'s Sequence<'a> = self.sequence;
        out.fill(monoid.identity());
        let (first, last) = self.range(id, folded);
        let Some(plan) = &sequence.analysis.folds[id.0 as usize] else { return };
        let before = self.at[folded.0 as usize];
        // weight * vector, whichever stands first.
        let product = match (monoid, self.expr(body)) {
            (Monoid::Sum, Expr::Binary(Binary::Mul, a, b)) if !sequence.analysis.depends(*a, axis) => Some((*a, *b)),
            (Monoid::Sum, Expr::Binary(Binary::Mul, a, b)) if !sequence.analysis.depends(*b, axis) => Some((*b, *a)),
            _ => None,
        };
        let slice = product.is_some_and(|(_, x)| sequence.analysis.is_lane(sequence.program, x, axis));
        let mut term = self.take(out.len());
        for value in first..=last {
            self.at[folded.0 as usize] = value;
            if !plan.conditions.iter().all(|&condition| self.holds(condition)) {
                continue;
            }
            match product {
                Some((weight, x)) => {
                    let weight = self.real(weight);
                    if slice {
                        self.at[axis.0 as usize] = 0;
                        match self.lane(x, axis, out.len()) {
                            Some(lane) => lane.add_scaled(weight, out),
                            None => out.fill(f64::NAN),
                        }
                    } else {
                        self.vector(x, axis, &mut term);
                        out.iter_mut().zip(&term).for_each(|(total, x)| *total += weight * x);
                    }
                }
                None => {
                    self.vector(body, axis, &mut term);
                    out.iter_mut().zip(&term).for_each(|(total, &x)| *total = combine(monoid, *total, x));
                }
            }
        }
        self.spare.push(term);
        self.at[folded.0 as usize] = before;
    }

    /// A buffer of some length, from the spare ones if there is one.
    fn take(&mut self, length: usize) -> Vec<f64> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(length, 0.0);
        buffer
    }
}

fn combine(monoid: Monoid, total: f64, x: f64) -> f64 {
    match monoid {
        Monoid::Sum => total + x,
        Monoid::Max => total.max(x),
        Monoid::Min => total.min(x),
    }
}

/// The values of a tensor, or of a row of it.
enum Slice<'s> {
    Real(&'s [f64]),
    Integer(&'s [i64]),
}

/// Elements at a constant distance.
struct Lane<'s> {
    values: &'s [f64],
    stride: usize,
}

impl Lane<'_> {
    fn dot(&self, other: &Lane, count: usize) -> f64 {
        if self.stride != 1 || other.stride != 1 {
            return (0..count).map(|i| self.values[i * self.stride] * other.values[i * other.stride]).sum();
        }
        // Four sums side by side, which the machine adds at once.
        let (a, b) = (&self.values[..count], &other.values[..count]);
        let mut sums = [0.0; 4];
        for (x, y) in a.chunks_exact(4).zip(b.chunks_exact(4)) {
            for lane in 0..4 {
                sums[lane] += x[lane] * y[lane];
            }
        }
        let rest: f64 =
            a.chunks_exact(4).remainder().iter().zip(b.chunks_exact(4).remainder()).map(|(x, y)| x * y).sum();
        (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
    }

    fn add_scaled(&self, weight: f64, out: &mut [f64]) {
        if self.stride == 1 {
            out.iter_mut().zip(self.values).for_each(|(total, x)| *total += weight * x);
        } else {
            out.iter_mut().enumerate().for_each(|(i, total)| *total += weight * self.values[i * self.stride]);
        }
    }
}
