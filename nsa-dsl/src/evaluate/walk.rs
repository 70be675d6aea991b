//! Expressions at given values of the axes.

use super::analysis::{FoldPlan, Plan};
use super::memory::{Allowed, Memory};
use super::sequence::{Data, Row, Sequence};
use crate::program::*;
use std::rc::Rc;

/// Evaluates expressions of one definition.
pub(super) struct Walk<'s, 'a> {
    pub sequence: &'s Sequence<'a>,
    pub(super) plan: &'s Plan,
    /// The values of the axes.
    pub at: Vec<i64>,
    /// Counts how often the values of the definition's own axes, but the one of vectors, may have changed.
    pub version: u64,
    /// Which axes these are.
    own: Vec<bool>,
    pub(super) memories: Vec<Memory>,
    allowed: Vec<Allowed>,
    spare: Vec<Vec<f64>>,
}

impl<'s, 'a> Walk<'s, 'a> {
    pub fn new(sequence: &'s Sequence<'a>, plan: &'s Plan) -> Self {
        let mut memories = vec![];
        memories.resize_with(plan.memories.len(), Memory::default);
        let mut own = vec![false; sequence.extents.len()];
        plan.memories.iter().flat_map(|(still, _)| still).for_each(|axis| own[axis.0 as usize] = true);
        let at = vec![0; sequence.extents.len()];
        Walk { sequence, plan, at, version: 1, own, memories, allowed: vec![], spare: vec![] }
    }

    pub(super) fn expr(&self, id: ExprId) -> &'s Expr {
        let program: &'s Program = self.sequence.program;
        program.expr(id)
    }

    /// Moves an axis that a fold runs along.
    pub(super) fn step(&mut self, axis: AxisId, value: i64) {
        self.at[axis.0 as usize] = value;
        if self.own[axis.0 as usize] {
            self.version += 1;
        }
    }

    fn remembered(&mut self, id: ExprId, compute: impl FnOnce(&mut Self) -> f64) -> f64 {
        let Some(number) = self.plan.memory[id.0 as usize] else { return compute(self) };
        let axes = &self.plan.memories[number as usize];
        let memory = &mut self.memories[number as usize];
        if !memory.refresh(axes, self.sequence, &self.at, self.version) {
            return compute(self);
        }
        let (slot, _) = memory.slot(&axes.1, &self.at, None);
        if let Some(value) = memory.get(slot) {
            return value;
        }
        let value = compute(self);
        let memory = &mut self.memories[number as usize];
        // Folds inside may have moved axes and moved them back.
        memory.refresh(axes, self.sequence, &self.at, self.version);
        memory.set(slot, value);
        value
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
            Expr::Load(tensor, index) => match self.load(id, *tensor, index) {
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

    /// The same for a whole load, by the simple way if it has one.
    fn load(&mut self, id: ExprId, tensor: TensorId, index: &[ExprId]) -> Option<(Slice<'s>, usize)> {
        let sequence: &'s Sequence<'a> = self.sequence;
        let Some(access) = &sequence.accesses[id.0 as usize] else { return self.element(tensor, index) };
        let mut offset = access.offset;
        for &(axis, stride) in &access.terms {
            offset += self.at[axis.0 as usize] as usize * stride;
        }
        let slice = match &sequence.tensors[tensor.0 as usize].data {
            Data::Real(values) => Slice::Real(values),
            Data::Integer(values) => Slice::Integer(values),
            Data::Rows(_, rows) => {
                let row = access.row.map_or(0, |axis| self.at[axis.0 as usize] as usize);
                match sequence.row(tensor, rows, row) {
                    Row::Real(values) => Slice::Real(values),
                    Row::Integer(values) => Slice::Integer(values),
                }
            }
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
            Expr::Load(tensor, index) => match self.load(id, *tensor, index) {
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
        let before = self.at[axis.0 as usize];
        let total = if let Some((a, b)) = self.sequence.analysis.folds[id.0 as usize].as_ref().and_then(|plan| plan.dot)
        {
            let (first, last) = self.range(id, axis);
            if first > last {
                return monoid.identity();
            }
            self.step(axis, first);
            let count = (last - first + 1) as usize;
            match (self.lane(a, axis, count), self.lane(b, axis, count)) {
                (Some(a), Some(b)) => a.dot(&b, count),
                _ => f64::NAN,
            }
        } else {
            let values = self.allowed(id, axis);
            let mut terms = self.take(values.len());
            self.vector(body, axis, &values, &mut terms);
            let total = terms.iter().fold(monoid.identity(), |total, &x| combine(monoid, total, x));
            self.give(terms);
            total
        };
        self.step(axis, before);
        total
    }

    /// The values of a fold's axis that its guard allows.
    pub(super) fn allowed(&mut self, id: ExprId, axis: AxisId) -> Rc<[usize]> {
        let sequence: &'s Sequence<'a> = self.sequence;
        let Expr::Fold { guard, .. } = self.expr(id) else { return Rc::new([]) };
        let known = self.allowed.iter().position(|known| known.guard == *guard && known.axis == axis);
        if let Some(known) = known.map(|known| &self.allowed[known])
            && known.others.iter().all(|&(axis, value)| self.at[axis.0 as usize] == value)
        {
            return known.values.clone();
        }
        let others = (0..sequence.extents.len() as u32)
            .map(AxisId)
            .filter(|&other| other != axis && guard.is_some_and(|guard| sequence.analysis.depends(guard, other)))
            .map(|axis| (axis, self.at[axis.0 as usize]))
            .collect();
        let mut values = vec![];
        if let Some(plan) = &sequence.analysis.folds[id.0 as usize] {
            self.visit(plan, axis, |value| values.push(value));
        }
        let values: Rc<[usize]> = values.into();
        let now = Allowed { guard: *guard, axis, others, values: values.clone() };
        // Conditions may hold folds of their own: look again for the place.
        match self.allowed.iter_mut().find(|known| known.guard == *guard && known.axis == axis) {
            Some(known) => *known = now,
            None => self.allowed.push(now),
        }
        values
    }

    /// Calls `found` for the values of an axis that a fold visits, in ascending order.
    pub(super) fn visit(&mut self, plan: &FoldPlan, axis: AxisId, mut found: impl FnMut(usize)) {
        let (first, last) = self.bounds(plan, axis);
        let before = self.at[axis.0 as usize];
        for value in first..=last {
            self.step(axis, value);
            if plan.conditions.iter().all(|&condition| self.holds(condition)) {
                found(value as usize);
            }
        }
        self.step(axis, before);
    }

    /// First and last value that the bounds of a fold allow.
    pub(super) fn range(&mut self, id: ExprId, axis: AxisId) -> (i64, i64) {
        let sequence: &'s Sequence<'a> = self.sequence;
        sequence.analysis.folds[id.0 as usize].as_ref().map_or((0, -1), |plan| self.bounds(plan, axis))
    }

    fn bounds(&mut self, plan: &FoldPlan, axis: AxisId) -> (i64, i64) {
        let (mut first, mut last) = (0, self.sequence.extents[axis.0 as usize] - 1);
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
    pub(super) fn lane(&mut self, load: ExprId, axis: AxisId, count: usize) -> Option<Lane<'s>> {
        let Expr::Load(tensor, index) = self.expr(load) else { return None };
        let place = index.iter().position(|&e| matches!(self.expr(e), Expr::Axis(other) if *other == axis))?;
        let last = self.at[axis.0 as usize] + count as i64 - 1;
        let stored = &self.sequence.tensors[tensor.0 as usize];
        let stride = stored.strides[place];
        if last >= stored.shape[place] {
            self.sequence.out_of_range(*tensor, place, last);
            return None;
        }
        match self.load(load, *tensor, index)? {
            (Slice::Real(values), offset) => Some(Lane { values: &values[offset..], stride }),
            _ => None,
        }
    }

    /// A buffer of some length, from the spare ones if there is one.
    pub(super) fn take(&mut self, length: usize) -> Vec<f64> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(length, 0.0);
        buffer
    }

    /// Gives a buffer back.
    pub(super) fn give(&mut self, buffer: Vec<f64>) {
        self.spare.push(buffer);
    }
}

pub(super) fn combine(monoid: Monoid, total: f64, x: f64) -> f64 {
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
pub(super) struct Lane<'s> {
    pub values: &'s [f64],
    pub stride: usize,
}

impl Lane<'_> {
    pub fn dot(&self, other: &Lane, count: usize) -> f64 {
        if self.stride != 1 || other.stride != 1 {
            return (0..count).map(|i| self.values[i * self.stride] * other.values[i * other.stride]).sum();
        }
        // Eight sums side by side, which the machine adds at once.
        let ((a, rest_a), (b, rest_b)) =
            (self.values[..count].as_chunks::<8>(), other.values[..count].as_chunks::<8>());
        let mut sums = [0.0; 8];
        for (x, y) in a.iter().zip(b) {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum += x * y;
            }
        }
        let rest: f64 = rest_a.iter().zip(rest_b).map(|(x, y)| x * y).sum();
        sums.iter().sum::<f64>() + rest
    }

    /// Adds a multiple of the elements at some places to a vector.
    pub fn add_scaled(&self, weight: f64, places: &[usize], out: &mut [f64]) {
        // Places ascend: as many as their range holds are all of it.
        let whole = places.first() == Some(&0) && places.last() == Some(&(places.len() - 1));
        if self.stride == 1 && whole {
            out.iter_mut().zip(self.values).for_each(|(total, x)| *total += weight * x);
        } else {
            out.iter_mut().zip(places).for_each(|(total, &place)| *total += weight * self.values[place * self.stride]);
        }
    }
}
