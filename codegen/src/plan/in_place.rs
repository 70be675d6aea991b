//! Sums in place: terms of a result that come from other kernels are added up in the result's own memory. Of which tensors,
//! `term/sums.rs` decides.
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

use super::Buffer;
use super::arena::Arena;
use super::planner::Root;
use crate::term::sums::Moved;
use crate::term::{AxisName, TensorName, Term};
use egg::Id;

/// Rewrites the definitions of a candidate, in the order of their kernels, so that sums grow in their results, for the
/// tensors of which that was decided. Their buffers are removed.
pub(super) fn sums_in_place(arena: &mut Arena, roots: &mut [Root], buffers: &mut Vec<Buffer>, moved: &[Moved]) {
    let mut started: Vec<TensorName> = vec![];
    for Moved { tensor, result } in moved {
        let place = roots.iter().position(|root| root.tensor == *tensor);
        let last = roots.iter().rposition(|root| root.tensor == *result);
        let (Some(place), Some(last)) = (place, last) else { continue };
        let mut terms = vec![];
        summands(arena, roots[last].term, &mut terms);
        let (taken, rest): (Vec<Id>, Vec<Id>) = terms
            .into_iter()
            .partition(|term| arena.contains(*term, &|t| matches!(t, Term::Tensor(name) if name == tensor)));
        let mut add = |terms: Vec<Id>| terms.into_iter().reduce(|sum, term| arena.add(Term::Add([sum, term])));
        let (Some(taken), Some(rest)) = (add(taken), add(rest)) else { continue };
        let load = identity_load(arena, *tensor, &roots[place].axes);
        let mut term = arena.replace(taken, load, roots[place].term);
        if started.contains(result) {
            let so_far = identity_load(arena, *result, &roots[last].axes);
            term = arena.add(Term::Add([so_far, term]));
        } else {
            started.push(*result);
        }
        roots[place].term = term;
        roots[place].tensor = *result;
        roots[place].axes = roots[last].axes.clone();
        roots[last].term = rest;
        buffers.retain(|buffer| buffer.name != *tensor);
    }
    for result in started {
        let Some(last) = roots.iter().rposition(|root| root.tensor == result) else { continue };
        let so_far = identity_load(arena, result, &roots[last].axes);
        let rest = roots[last].term;
        roots[last].term = arena.add(Term::Add([so_far, rest]));
    }
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

/// A tensor's element at its own axes.
fn identity_load(arena: &mut Arena, tensor: TensorName, axes: &[AxisName]) -> Id {
    let mut load = vec![arena.add(Term::Tensor(tensor))];
    load.extend(axes.iter().map(|axis| arena.axis(*axis)));
    arena.add(Term::Load(load.into()))
}
