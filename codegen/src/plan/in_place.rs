//! Sums in place: terms of a result that come from other kernels are added up in the result's own memory.
//!
//! Where a result is a sum and some of its terms read a stored tensor at the result's own element, that tensor is a detour: it is
//! written once and read once, by the element that it belongs to. Its kernel can as well compute the whole term and leave
//! it where the result will be; the next kernel adds its own term there, and the last one finishes the sum. For
//! `o = a x + b y + c z` with `x` and `y` stored:
//!
//! ```text
//! kernel x: o = a x
//! kernel y: o = o + b y
//! kernel o: o = o + c z
//! ```
//!
//! Neither `x` nor `y` takes memory any more. Every element is read and written by one thread of one block, before the
//! kernel ends, so the order of a sum is fixed and nothing races.
//!
//! Partial sums have the result's type. A sum of n terms is then rounded n times where f32 workspaces would round it once: what a
//! sum of n tensors of that type is, written by hand, and never more often than that.

use super::arena::Arena;
use super::planner::Root;
use super::{Buffer, Role};
use crate::term::{AxisName, TensorName, Term};
use egg::{Id, Language};
use std::collections::BTreeSet;

/// Rewrites the definitions of a candidate, in the order of their kernels, so that sums grow in their results. Buffers that
/// nothing uses any more are removed.
///
/// `declared` says whether the program gives a tensor a type: such a tensor is stored, rounded, as the program says.
pub(super) fn sums_in_place(
    arena: &mut Arena,
    roots: &mut [Root],
    buffers: &mut Vec<Buffer>,
    declared: &dyn Fn(TensorName) -> bool,
) {
    let role = |buffers: &[Buffer], name| buffers.iter().find(|b| b.name == name).map(|b| b.role);
    let results: Vec<TensorName> =
        roots.iter().map(|r| r.tensor).filter(|name| role(buffers, *name) == Some(Role::Result)).collect();
    for result in results {
        let Some(last) = roots.iter().rposition(|r| r.tensor == result) else { continue };
        if matches!(arena[roots[last].term], Term::Top(_)) {
            continue;
        }
        let mut started = false;
        for place in 0..last {
            let own = roots[place].tensor;
            if role(buffers, own) != Some(Role::Workspace) || declared(own) {
                continue;
            }
            let Some((moved, rest)) = separate(arena, roots, place, last) else { continue };
            let so_far = identity_load(arena, result, &roots[last].axes);
            let term = roots[place].term;
            let axes = roots[place].axes.clone();
            let load = identity_load(arena, own, &axes);
            let moved = arena.replace(moved, load, term);
            roots[place].term = if started { arena.add(Term::Add([so_far, moved])) } else { moved };
            roots[place].tensor = result;
            roots[place].axes = roots[last].axes.clone();
            roots[last].term = rest;
            buffers.retain(|b| b.name != own);
            started = true;
        }
        if started {
            let so_far = identity_load(arena, result, &roots[last].axes);
            let rest = roots[last].term;
            roots[last].term = arena.add(Term::Add([so_far, rest]));
        }
    }
}

/// The terms of the last root's sum that read the tensor of the root at `place`, and the others, each added up. None if the
/// sum cannot be cut there, or nothing would be left of it.
fn separate(arena: &mut Arena, roots: &[Root], place: usize, last: usize) -> Option<(Id, Id)> {
    let (from, to) = (&roots[place], &roots[last]);
    let set = |axes: &[AxisName]| axes.iter().copied().collect::<BTreeSet<_>>();
    if set(&from.axes) != set(&to.axes) || from.axes.len() != to.axes.len() {
        return None;
    }
    // Nothing else may need the tensor.
    let reads = |arena: &Arena, id| arena.contains(id, &|t| matches!(t, Term::Tensor(name) if *name == from.tensor));
    if roots.iter().enumerate().any(|(other, root)| other != last && reads(arena, root.term)) {
        return None;
    }
    let mut terms = vec![];
    summands(arena, to.term, &mut terms);
    let (moved, rest): (Vec<Id>, Vec<Id>) = terms.into_iter().partition(|term| reads(arena, *term));
    let load = identity_load(arena, from.tensor, &from.axes);
    // What the tensor's kernel can read: arguments, and what is stored before it.
    let later: BTreeSet<TensorName> = roots[place + 1..].iter().map(|r| r.tensor).collect();
    if moved.is_empty() || rest.is_empty() || !moved.iter().all(|term| elementwise(arena, *term, load, &later)) {
        return None;
    }
    let mut add = |terms: Vec<Id>| terms.into_iter().reduce(|sum, term| arena.add(Term::Add([sum, term])));
    add(moved).zip(add(rest))
}

/// The terms of a sum, left to right; `a - b` is `a + -b`.
fn summands(arena: &mut Arena, id: Id, into: &mut Vec<Id>) {
    match arena[id] {
        Term::Add([a, b]) => {
            summands(arena, a, into);
            summands(arena, b, into);
        }
        Term::Sub([a, b]) => {
            summands(arena, a, into);
            let first = into.len();
            summands(arena, b, into);
            for term in &mut into[first..] {
                *term = match arena[*term] {
                    Term::Neg(x) => x,
                    _ => arena.add(Term::Neg(*term)),
                };
            }
        }
        _ => into.push(id),
    }
}

/// Whether a term reads a tensor by this load only, combines nothing over an axis, and needs nothing that is stored later.
fn elementwise(arena: &Arena, term: Id, load: Id, later: &BTreeSet<TensorName>) -> bool {
    let tensor = arena[load].children()[0];
    let (mut stack, mut seen) = (vec![term], BTreeSet::new());
    while let Some(id) = stack.pop() {
        if id == load || !seen.insert(id) {
            continue;
        }
        match arena[id] {
            Term::Fold(_) | Term::Mma(_) | Term::Top(_) => return false,
            Term::Tensor(name) if id == tensor || later.contains(&name) => return false,
            _ => stack.extend(arena[id].children()),
        }
    }
    true
}

/// A tensor's element at its own axes.
pub(super) fn identity_load(arena: &mut Arena, tensor: TensorName, axes: &[AxisName]) -> Id {
    let mut load = vec![arena.add(Term::Tensor(tensor))];
    load.extend(axes.iter().map(|axis| arena.axis(*axis)));
    arena.add(Term::Load(load.into()))
}
