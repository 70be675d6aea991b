//! From the domain of a fold to the bounds of a loop over tiles.

use super::Span;
use super::arena::Arena;
use crate::term::{AxisName, LenName, Term};
use egg::Id;
use std::collections::HashMap;

/// A domain taken apart.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The axis it ranges over.
    pub axis: AxisName,
    /// Values are `<=` each of these.
    pub upto: Vec<Id>,
    /// Values are `>=` each of these.
    pub from: Vec<Id>,
    /// Predicates that are tested at every value.
    pub masks: Vec<Id>,
    /// Only values in the listed blocks: the list and the size of a block.
    pub blocks: Option<(Id, i64)>,
}

impl Domain {
    /// Reads a domain term: the parts of a union one by one, in their order; `outer`, `inner`, `chunks`, `chunk` are looked
    /// through. None if a list of blocks has no constant block size, or there are two lists for one part.
    pub fn read(arena: &Arena, id: Id) -> Option<Vec<Domain>> {
        let axis = arena.domain_axis(id)?;
        let mut parts = vec![];
        let whole = Domain { axis, upto: vec![], from: vec![], masks: vec![], blocks: None };
        whole.restricted(arena, id, &mut parts)?;
        Some(parts)
    }

    /// Whether it is all of the axis.
    pub fn is_whole(&self) -> bool {
        self.upto.is_empty() && self.from.is_empty() && self.masks.is_empty() && self.blocks.is_none()
    }

    /// As [`Domain::read`], for a domain that has no parts.
    pub fn read_one(arena: &Arena, id: Id) -> Option<Domain> {
        let mut parts = Domain::read(arena, id)?;
        if parts.len() == 1 { parts.pop() } else { None }
    }

    /// What has these restrictions and those of a domain term besides.
    fn restricted(mut self, arena: &Arena, mut id: Id, into: &mut Vec<Domain>) -> Option<()> {
        loop {
            id = match &arena[id] {
                Term::All(_) => {
                    into.push(self);
                    return Some(());
                }
                Term::Union([one, other]) => {
                    self.clone().restricted(arena, *one, into)?;
                    return self.restricted(arena, *other, into);
                }
                Term::Mask([d, p]) => {
                    self.masks.push(*p);
                    *d
                }
                Term::Upto([d, e]) => {
                    let split = |t: &Term| if let Term::IntMin(x) = t { Some(*x) } else { None };
                    operands(arena, *e, &split, &mut self.upto);
                    *d
                }
                Term::From([d, e]) => {
                    let split = |t: &Term| if let Term::IntMax(x) = t { Some(*x) } else { None };
                    operands(arena, *e, &split, &mut self.from);
                    *d
                }
                Term::Blocks([d, list, size]) => {
                    if self.blocks.is_some() {
                        return None;
                    }
                    self.blocks = Some((*list, arena.as_int(*size)?));
                    *d
                }
                Term::Outer(d) | Term::Inner(d) | Term::Chunks(d) | Term::Chunk(d) => *d,
                _ => return None,
            };
        }
    }
}

/// The leaves of a tree of one associative, idempotent operation, each once.
fn operands(arena: &Arena, id: Id, split: &dyn Fn(&Term) -> Option<[Id; 2]>, into: &mut Vec<Id>) {
    match split(&arena[id]) {
        Some([a, b]) => {
            operands(arena, a, split, into);
            operands(arena, b, split, into);
        }
        None if !into.contains(&id) => into.push(id),
        None => {}
    }
}

/// The bounds of a loop for all rows of a block, as block-level integers.
pub struct Bounds {
    /// First value that any row visits.
    pub lo: Id,
    /// One past the last value that any row visits.
    pub hi: Id,
    /// Values that every row visits, if that can be said.
    pub full: Option<(Id, Id)>,
    /// The predicate to test at an element outside of `full`.
    pub keep: Id,
}

/// Rows whose data a bound is the extreme of, at most: each is one load before a loop.
const DATA_ROWS: i64 = 32;

/// Where the rows of a block begin and end, for bounds.
pub struct Corners {
    first: HashMap<AxisName, Id>,
    last: HashMap<AxisName, Id>,
    count: HashMap<AxisName, i64>,
}

impl Corners {
    /// The corners of a block: a tiled axis starts at the grid's value and ends inside its extent, a whole axis at 0.
    pub fn new(arena: &mut Arena, rows: &[Span], tiled: &dyn Fn(AxisName) -> bool) -> Corners {
        let (mut first, mut last, mut count) = (HashMap::new(), HashMap::new(), HashMap::new());
        for span in rows {
            let (a, z);
            if tiled(span.axis) {
                a = arena.axis(span.axis);
                let end = arena.plus(a, i64::from(span.count) - 1);
                let len = arena.add(Term::Len(LenName(span.axis.0)));
                let inside = arena.plus(len, -1);
                z = arena.add(Term::IntMin([end, inside]));
            } else {
                a = arena.int(0);
                z = arena.int(i64::from(span.count) - 1);
            }
            first.insert(span.axis, a);
            last.insert(span.axis, z);
            count.insert(span.axis, i64::from(span.count));
        }
        Corners { first, last, count }
    }

    /// The largest (or smallest) value of an integer term over the block's rows; None if it is neither monotone by its form
    /// nor made of data of few rows.
    pub fn extreme(&self, arena: &mut Arena, id: Id, largest: bool) -> Option<Id> {
        if self.first.keys().all(|axis| !arena.free(id).contains(axis)) {
            return Some(id);
        }
        let node = arena[id].clone();
        let both = |arena: &mut Arena, x: [Id; 2]| {
            Some([self.extreme(arena, x[0], largest)?, self.extreme(arena, x[1], largest)?])
        };
        let term = match node {
            Term::Axis(name) => return Some(if largest { self.last[&name] } else { self.first[&name] }),
            Term::IntAdd(x) => Term::IntAdd(both(arena, x)?),
            Term::IntMin(x) => Term::IntMin(both(arena, x)?),
            Term::IntMax(x) => Term::IntMax(both(arena, x)?),
            Term::IntSub([a, b]) => Term::IntSub([self.extreme(arena, a, largest)?, self.extreme(arena, b, !largest)?]),
            Term::IntMul([a, b]) => match (arena.as_int(a), arena.as_int(b)) {
                (_, Some(n)) => Term::IntMul([self.extreme(arena, a, largest == (n >= 0))?, b]),
                (Some(n), _) => Term::IntMul([a, self.extreme(arena, b, largest == (n >= 0))?]),
                _ => return None,
            },
            Term::IntDiv([a, b]) if arena.as_int(b).is_some_and(|n| n > 0) => {
                Term::IntDiv([self.extreme(arena, a, largest)?, b])
            }
            Term::Load(_) => return self.extreme_of_data(arena, id, largest),
            _ => return None,
        };
        Some(arena.add(term))
    }

    /// The largest (or smallest) of the elements that the rows read. Rows past the end of an axis are its last one.
    fn extreme_of_data(&self, arena: &mut Arena, load: Id, largest: bool) -> Option<Id> {
        let axes: Vec<AxisName> =
            arena.free(load).iter().copied().filter(|axis| self.first.contains_key(axis)).collect();
        if axes.iter().map(|axis| self.count[axis]).product::<i64>() > DATA_ROWS {
            return None;
        }
        let mut elements = vec![load];
        for axis in axes {
            let mut next = vec![];
            for number in 0..self.count[&axis] {
                let place = arena.plus(self.first[&axis], number);
                let place = arena.add(Term::IntMin([place, self.last[&axis]]));
                let by = HashMap::from([(axis, place)]);
                next.extend(elements.iter().map(|element| arena.substitute(*element, &by)));
            }
            elements = next;
        }
        let extreme = |a, b| if largest { Term::IntMax([a, b]) } else { Term::IntMin([a, b]) };
        elements.into_iter().reduce(|a, b| arena.add(extreme(a, b)))
    }
}

impl Domain {
    /// Loop bounds over all rows. Bounds that are not monotone in the rows are tested at every element instead.
    pub fn bounds(&self, arena: &mut Arena, corners: &Corners) -> Bounds {
        let axis = arena.axis(self.axis);
        let len = arena.add(Term::Len(LenName(self.axis.0)));
        let zero = arena.int(0);
        let (mut lo, mut hi, mut full_lo, mut full_hi) = (zero, len, zero, len);
        let mut exact = self.masks.is_empty();
        let mut keep = arena.add(Term::IntLt([axis, len]));
        for &e in &self.upto {
            let test = arena.add(Term::IntLe([axis, e]));
            keep = arena.and(Some(keep), test);
            match (corners.extreme(arena, e, true), corners.extreme(arena, e, false)) {
                (Some(most), Some(least)) => {
                    let most = arena.plus(most, 1);
                    hi = arena.add(Term::IntMin([hi, most]));
                    let least = arena.plus(least, 1);
                    full_hi = arena.add(Term::IntMin([full_hi, least]));
                }
                _ => exact = false,
            }
        }
        for &e in &self.from {
            let test = arena.add(Term::IntLe([e, axis]));
            keep = arena.and(Some(keep), test);
            match (corners.extreme(arena, e, false), corners.extreme(arena, e, true)) {
                (Some(least), Some(most)) => {
                    lo = arena.add(Term::IntMax([lo, least]));
                    full_lo = arena.add(Term::IntMax([full_lo, most]));
                }
                _ => exact = false,
            }
        }
        for &p in &self.masks {
            keep = arena.and(Some(keep), p);
        }
        Bounds { lo, hi, full: exact.then_some((full_lo, full_hi)), keep }
    }
}
