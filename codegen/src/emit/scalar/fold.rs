//! Scalar folds, sums of products and list membership: loops of one element's computation.

use super::facts::{Shape, domain_axis, shape};
use super::{EmitError, Evaluator, Scalar, Scope, View};
use crate::emit::llvm::Value;
use crate::plan::PlanExtent;
use crate::term::{AxisName, Monoid, Term};
use egg::{Id, Language};
use inkwell::IntPredicate;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What a fold combines.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// A term.
    Term(Id),
    /// The product of two terms.
    Product(Id, Id),
}

/// A domain without unions, taken apart.
#[derive(Clone)]
struct Domain {
    axis: AxisName,
    /// The whole domain is one tile of itself: the body holds folds over its inner part.
    outer: bool,
    masks: Vec<Id>,
    upto: Vec<Id>,
    from: Vec<Id>,
    /// A list and the values per block.
    blocks: Option<(Id, i64)>,
}

impl<'c> Evaluator<'_, 'c> {
    /// The parts of a domain: one, or those of a union.
    fn domain(&self, id: Id) -> Result<Vec<Domain>, EmitError> {
        let terms = &self.plan.terms;
        let Some(axis) = domain_axis(terms, id) else {
            return Err(EmitError::Plan(format!("`{}` is not a domain", terms[id])));
        };
        let whole = Domain { axis, outer: false, masks: vec![], upto: vec![], from: vec![], blocks: None };
        let mut parts = vec![];
        self.restricted(whole, id, &mut parts)?;
        Ok(parts)
    }
    /// What has the restrictions of `domain` and those of a domain term besides.
    fn restricted(&self, mut domain: Domain, mut at: Id, into: &mut Vec<Domain>) -> Result<(), EmitError> {
        let terms = &self.plan.terms;
        loop {
            at = match &terms[at] {
                Term::Mask([d, p]) => {
                    domain.masks.push(*p);
                    *d
                }
                Term::Upto([d, bound]) => {
                    domain.upto.push(*bound);
                    *d
                }
                Term::From([d, bound]) => {
                    domain.from.push(*bound);
                    *d
                }
                Term::Blocks([d, list, size]) => {
                    let Term::Int(size @ 1..) = terms[*size] else {
                        return Err(EmitError::Plan("the size of a block is no positive constant".into()));
                    };
                    if domain.blocks.replace((*list, size)).is_some() {
                        return Err(EmitError::Plan("a domain is walked by two lists of blocks".into()));
                    }
                    *d
                }
                // Any tiling gives the same fold, so a scalar loop takes the whole domain as its only tile.
                Term::Outer(d) | Term::Chunks(d) => {
                    domain.outer = true;
                    *d
                }
                Term::Inner(d) | Term::Chunk(d) => *d,
                Term::Union([one, other]) => {
                    self.restricted(domain.clone(), *one, into)?;
                    *other
                }
                _ => {
                    into.push(domain);
                    return Ok(());
                }
            };
        }
    }

    /// Whether a term's value can differ from lane to lane.
    fn varies(&self, id: Id) -> Result<bool, EmitError> {
        if self.environment.lanes() == 1 {
            return Ok(false);
        }
        if self.facts.uses_variables(id) {
            return Ok(true);
        }
        for axis in self.facts.free(id) {
            if !matches!(self.axis(*axis), Ok(Scalar::Uniform(_)) | Err(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn fold(&mut self, monoid: Monoid, domain: Id, body: Body) -> Result<Scalar<'c>, EmitError> {
        let parts = self.domain(domain)?;
        if parts.iter().any(|part| part.outer) {
            return match body {
                Body::Term(term) => self.value(term),
                Body::Product(..) => Err(EmitError::Plan("a contraction over tiles".into())),
            };
        }
        let Some(axis) = parts.first().map(|part| part.axis) else {
            return Err(EmitError::Plan("a domain without parts".into()));
        };
        let (roots, element) = match body {
            Body::Term(term) => (vec![term], shape(&self.plan.terms, term)),
            Body::Product(a, b) => (vec![a, b], Shape::Number),
        };
        for root in roots.iter().chain(parts.iter().flat_map(|part| &part.masks)) {
            self.hoist(*root, axis, &mut BTreeSet::new())?;
        }
        let mut lanes = false;
        for id in roots.iter().chain([&domain]) {
            // The fold's own axis takes uniform values (or lane values when the list of blocks varies).
            lanes |= self.varies_outside(*id, axis)?;
        }
        let mut state = self.identity(monoid, &element, lanes)?;
        for part in &parts {
            state = match part.blocks {
                None => {
                    let (lo, hi, bounds) = self.range(part, true)?;
                    self.walk(monoid, part, body, (lo, hi), &bounds, state)?
                }
                Some((list, size)) => self.walk_blocks(monoid, part, body, list, size, state)?,
            };
        }
        Ok(rebuild(&element, &mut state.into_iter().map(|v| self.wrap(v))))
    }

    fn varies_outside(&self, id: Id, bound: AxisName) -> Result<bool, EmitError> {
        if self.environment.lanes() == 1 {
            return Ok(false);
        }
        if self.facts.uses_variables(id) {
            return Ok(true);
        }
        let mut any = false;
        for axis in self.facts.free(id).iter().filter(|axis| **axis != bound) {
            any |= !matches!(self.axis(*axis), Ok(Scalar::Uniform(_)));
        }
        Ok(any)
    }

    /// Evaluates what a loop over `axis` would compute again and again. `bound`: axes of folds between here and there.
    fn hoist(&mut self, id: Id, axis: AxisName, bound: &mut BTreeSet<AxisName>) -> Result<(), EmitError> {
        let plan = self.plan;
        let node = &plan.terms[id];
        let scalar = !matches!(
            node,
            Term::All(_)
                | Term::Mask(_)
                | Term::Upto(_)
                | Term::From(_)
                | Term::Blocks(_)
                | Term::Union(_)
                | Term::Outer(_)
                | Term::Inner(_)
                | Term::Chunks(_)
                | Term::Chunk(_)
                | Term::List(_)
                | Term::Monoid(_)
                | Term::Tensor(_)
                | Term::Type(_)
        );
        if scalar && !self.facts.mentions(id, axis) && self.facts.free(id).is_disjoint(bound) {
            return if node.is_leaf() { Ok(()) } else { self.value(id).map(drop) };
        }
        let binds = match node {
            Term::Fold([_, domain, _]) | Term::Mma([domain, ..]) => domain_axis(&plan.terms, *domain),
            _ => None,
        };
        let added = binds.filter(|axis| bound.insert(*axis));
        for child in node.children() {
            self.hoist(*child, axis, bound)?;
        }
        if let Some(axis) = added {
            bound.remove(&axis);
        }
        Ok(())
    }

    fn identity(&self, monoid: Monoid, element: &Shape, lanes: bool) -> Result<Vec<Value<'c>>, EmitError> {
        let width = if lanes { self.environment.lanes() } else { 1 };
        let constant = |x: f32| self.emitter.splat(self.emitter.f32(x), width);
        let count = leaves(element);
        match (monoid, element) {
            (Monoid::Add, _) => Ok(vec![constant(0.0); count]),
            (Monoid::Max, _) => Ok(vec![constant(f32::NEG_INFINITY); count]),
            (Monoid::Min, _) => Ok(vec![constant(f32::INFINITY); count]),
            (Monoid::Lse, Shape::Pair(first, _)) if matches!(**first, Shape::Number) => {
                let mut state = vec![constant(0.0); count];
                state[0] = constant(f32::NEG_INFINITY);
                Ok(state)
            }
            (Monoid::Lse, _) => Err(EmitError::Plan("a log-sum-exp fold of something that is no pair".into())),
        }
    }

    /// First value, end, and the bounds that are left as conditions because they differ from lane to lane. With `tight`,
    /// the loop still skips what no lane wants.
    fn range(&mut self, domain: &Domain, tight: bool) -> Result<Range<'c>, EmitError> {
        let e = self.emitter;
        let (mut lo, mut hi) = (e.i32(0), self.environment.length(domain.axis)?);
        let mut bounds = Vec::new();
        for (ids, upper) in [(&domain.upto, true), (&domain.from, false)] {
            for id in ids {
                let bound = self.value(*id)?;
                let extreme = match &bound {
                    Scalar::Uniform(x) => Some(*x),
                    other => {
                        let flat = self.flat(other)?;
                        bounds.push((flat, upper));
                        let name = if upper { "llvm.vector.reduce.smax" } else { "llvm.vector.reduce.smin" };
                        tight.then(|| e.intrinsic_value(name, &[flat.get_type()], &[flat])).transpose()?
                    }
                };
                match extreme {
                    Some(x) if upper => hi = e.imin(hi, e.add(x, e.i32(1))),
                    Some(x) => lo = e.imax(lo, x),
                    None => {}
                }
            }
        }
        Ok((lo, hi, bounds))
    }

    /// A loop over consecutive values.
    fn walk(
        &mut self,
        monoid: Monoid,
        domain: &Domain,
        body: Body,
        (lo, hi): (Value<'c>, Value<'c>),
        bounds: &[(Value<'c>, bool)],
        state: Vec<Value<'c>>,
    ) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.emitter;
        let open = e.begin_loop(lo, hi, 1, &state);
        let mut active = None;
        for (bound, upper) in bounds {
            let inside = e.icmp(if *upper { IntPredicate::SLE } else { IntPredicate::SGE }, open.index, *bound);
            active = Some(active.map_or(inside, |a| e.and(a, inside)));
        }
        let next = self.visit(monoid, domain, body, Scalar::Uniform(open.index), active, &open.carried)?;
        Ok(e.end_loop(open, &next))
    }

    /// Loops over the blocks of a list, then over each block's values.
    fn walk_blocks(
        &mut self,
        monoid: Monoid,
        domain: &Domain,
        body: Body,
        list: Id,
        size: i64,
        state: Vec<Value<'c>>,
    ) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.emitter;
        let (view, index, count) = self.list(list)?;
        let varies = index.iter().any(|i| !matches!(i, Scalar::Uniform(_)));
        let (lo, hi, bounds) = self.range(domain, !varies)?;
        let entries = e.begin_loop(e.i32(0), e.i32(count), 1, &state);
        let entry = e.countable(self.entry(&view, &index, entries.index)?, size);
        let size = e.i32(size as i32);
        let listed = e.icmp(IntPredicate::SGE, entry, e.int_like(entry, 0));
        let first = e.mul(entry, size);
        let next = if varies {
            let inner = e.begin_loop(e.i32(0), size, 1, &entries.carried);
            let value = e.add(first, inner.index);
            let mut active = e.and(listed, e.icmp(IntPredicate::SGE, value, lo));
            active = e.and(active, e.icmp(IntPredicate::SLT, value, hi));
            for (bound, upper) in &bounds {
                let order = if *upper { IntPredicate::SLE } else { IntPredicate::SGE };
                active = e.and(active, e.icmp(order, value, *bound));
            }
            // Lanes that take no part still form addresses.
            let clamped = e.nearest_index(value, self.environment.length(domain.axis)?);
            let next = self.visit(monoid, domain, body, self.wrap(clamped), Some(active), &inner.carried)?;
            e.end_loop(inner, &next)
        } else {
            let start = e.imax(lo, first);
            let end = e.select(listed, e.imin(hi, e.add(first, size)), start);
            self.walk(monoid, domain, body, (start, end), &bounds, entries.carried.clone())?
        };
        Ok(e.end_loop(entries, &next))
    }

    /// One value of the axis: the next state.
    fn visit(
        &mut self,
        monoid: Monoid,
        domain: &Domain,
        body: Body,
        at: Scalar<'c>,
        active: Option<Value<'c>>,
        state: &[Value<'c>],
    ) -> Result<Vec<Value<'c>>, EmitError> {
        self.scopes.push(Scope { axis: Some((domain.axis, at)), ..Scope::default() });
        let addressing = std::mem::replace(&mut self.addressing, false);
        let next = self.visit_bound(monoid, domain, body, active, state);
        self.addressing = addressing;
        self.scopes.pop();
        next
    }
    fn visit_bound(
        &mut self,
        monoid: Monoid,
        domain: &Domain,
        body: Body,
        mut active: Option<Value<'c>>,
        state: &[Value<'c>],
    ) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.emitter;
        for mask in &domain.masks {
            let keep = self.plain(*mask)?;
            active = Some(active.map_or(keep, |a| e.and(a, keep)));
        }
        match active {
            None => self.combine(monoid, body, state),
            Some(condition) if !condition.is_vector_value() => {
                let mut open = e.begin_if(condition);
                let next = self.combine(monoid, body, state)?;
                e.begin_else(&mut open, &next);
                Ok(e.end_if(open, state))
            }
            Some(lanes) => {
                let next = self.combine(monoid, body, state)?;
                Ok(next.iter().zip(state).map(|(new, old)| e.select(lanes, *new, *old)).collect())
            }
        }
    }

    fn combine(&mut self, monoid: Monoid, body: Body, state: &[Value<'c>]) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.emitter;
        if let Body::Product(a, b) = body {
            let (a, b) = (self.plain(a)?, self.plain(b)?);
            let next = e.multiply_add(a, b, state[0])?;
            return Ok(vec![self.as_wide(next, state[0])]);
        }
        let Body::Term(term) = body else { return Err(EmitError::Plan("a fold without a body".into())) };
        let value = self.value(term)?;
        let mut numbers = Vec::new();
        self.flatten(&value, &mut numbers)?;
        if numbers.len() != state.len() {
            return Err(EmitError::Plan("the elements of a fold have different shapes".into()));
        }
        let next: Vec<_> = match monoid {
            Monoid::Add => state.iter().zip(&numbers).map(|(s, x)| e.fadd(*s, *x)).collect(),
            Monoid::Max => state.iter().zip(&numbers).map(|(s, x)| e.fmax(*s, *x)).collect(),
            Monoid::Min => state.iter().zip(&numbers).map(|(s, x)| e.fmin(*s, *x)).collect(),
            Monoid::Lse => {
                let (old, new) = (state[0], numbers[0]);
                let max = e.fmax(e.splat(new, e.lanes(old)), old);
                let (old_scale, new_scale) = (self.exp(self.shift(old, max))?, self.exp(self.shift(new, max))?);
                let mut next = vec![max];
                for (s, x) in state.iter().zip(&numbers).skip(1) {
                    next.push(e.fadd(e.fmul(*s, old_scale), e.fmul(*x, new_scale)));
                }
                next
            }
        };
        Ok(next.into_iter().zip(state).map(|(value, like)| self.as_wide(value, *like)).collect())
    }
    fn as_wide(&self, value: Value<'c>, like: Value<'c>) -> Value<'c> {
        self.emitter.splat(value, self.emitter.lanes(like))
    }
    fn flatten(&self, value: &Scalar<'c>, into: &mut Vec<Value<'c>>) -> Result<(), EmitError> {
        match value {
            Scalar::Pair(pair) => {
                self.flatten(&pair.0, into)?;
                self.flatten(&pair.1, into)
            }
            number => {
                into.push(self.flat(number)?);
                Ok(())
            }
        }
    }

    /// A `(list $x index...)`: its buffer, the indices of its axes but the last, and the number of entries.
    pub(super) fn list(&mut self, id: Id) -> Result<(View<'c>, Vec<Scalar<'c>>, i32), EmitError> {
        let plan = self.plan;
        let Term::List(children) = &plan.terms[id] else {
            return Err(EmitError::Plan(format!("`{}` is not a list", plan.terms[id])));
        };
        let Term::Tensor(tensor) = plan.terms[children[0]] else {
            return Err(EmitError::Plan("a list without a tensor".into()));
        };
        let buffer = plan.buffer(tensor).ok_or_else(|| EmitError::Plan(format!("no buffer {tensor}")))?;
        let extent = buffer.axes.last().and_then(|axis| plan.axis(*axis)).map(|axis| &axis.extent);
        let Some(PlanExtent::Const(count)) = extent else {
            return Err(EmitError::Plan(format!("the entries of {tensor} are no constant number")));
        };
        if children.len() != buffer.axes.len() {
            return Err(EmitError::Plan(format!("a list of {tensor} has {} indices", children.len() - 1)));
        }
        let view = self.environment.view(tensor)?;
        let index = self.indices(&view, &children[1..])?;
        Ok((view, index, *count as i32))
    }
    /// Entry `at` of a list.
    pub(super) fn entry(&self, view: &View<'c>, index: &[Scalar<'c>], at: Value<'c>) -> Result<Value<'c>, EmitError> {
        let mut index = index.to_vec();
        index.push(Scalar::Uniform(at));
        let entry = self.element(view, &index)?;
        self.flat(&entry)
    }

    /// Entry `at` (a uniform `i32`) of a list of blocks of so many values: -1 past its end, and for a block that is far behind
    /// every axis, whose values could not be counted.
    ///
    /// # Errors
    /// The term is not a list of a buffer that the kernel has.
    pub fn list_entry(&mut self, list: Id, block: i64, at: Value<'c>) -> Result<Value<'c>, EmitError> {
        let (view, index, _) = self.list(list)?;
        Ok(self.emitter.countable(self.entry(&view, &index, at)?, block))
    }

    /// `(in x list)`: some entry equals `x`, and `x` is not negative.
    pub(super) fn member(&mut self, x: Id, list: Id) -> Result<Scalar<'c>, EmitError> {
        let e = self.emitter;
        let lanes = self.varies(x)? || self.varies(list)?;
        let x = self.plain(x)?;
        let (view, index, count) = self.list(list)?;
        let none = e.splat(e.bool(false), if lanes { self.environment.lanes() } else { 1 });
        let open = e.begin_loop(e.i32(0), e.i32(count), 1, &[none]);
        let entry = self.entry(&view, &index, open.index)?;
        let found = e.or(open.carried[0], e.icmp(IntPredicate::EQ, x, entry));
        let found = e.end_loop(open, &[found])[0];
        let valid = e.icmp(IntPredicate::SGE, x, e.int_like(x, 0));
        Ok(self.wrap(e.and(found, valid)))
    }
}

/// First value, end, lane-dependent bounds (value, whether it is an upper one).
type Range<'c> = (Value<'c>, Value<'c>, Vec<(Value<'c>, bool)>);

fn leaves(shape: &Shape) -> usize {
    match shape {
        Shape::Number => 1,
        Shape::Pair(a, b) => leaves(a) + leaves(b),
    }
}

#[expect(clippy::unreachable, reason = "numbers are taken apart and put together by one shape")]
fn rebuild<'c>(shape: &Shape, numbers: &mut dyn Iterator<Item = Scalar<'c>>) -> Scalar<'c> {
    match shape {
        Shape::Pair(a, b) => {
            let first = rebuild(a, numbers);
            Scalar::Pair(Rc::new((first, rebuild(b, numbers))))
        }
        Shape::Number => match numbers.next() {
            Some(number) => number,
            None => unreachable!("the state has as many numbers as the shape"),
        },
    }
}
