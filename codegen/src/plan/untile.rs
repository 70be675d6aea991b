//! Undoing the tiled form of folds, for kernels that compute element by element.

use super::arena::Arena;
use crate::term::{Monoid, Term};
use egg::{Id, Language};
use std::collections::HashMap;

/// The same value without `outer`, `inner` and `mma`: every fold is one fold over its whole domain.
pub fn untile(arena: &mut Arena, id: Id) -> Id {
    Untile { done: HashMap::new() }.term(arena, id)
}

/// A log-sum-exp needs only the last weight of its fold; the others may vary over axes that it does not have.
fn last_weight(arena: &mut Arena, fold: Id) -> Id {
    let Term::Fold([monoid, domain, body]) = arena[fold] else { return fold };
    let Term::Pair([score, mut weights]) = arena[body] else { return fold };
    while let Term::Pair([_, last]) = arena[weights] {
        weights = last;
    }
    let body = arena.add(Term::Pair([score, weights]));
    arena.add(Term::Fold([monoid, domain, body]))
}

struct Untile {
    done: HashMap<Id, Id>,
}

impl Untile {
    #[expect(clippy::unreachable, reason = "the arm matches this constructor only")]
    fn term(&mut self, arena: &mut Arena, id: Id) -> Id {
        if let Some(done) = self.done.get(&id) {
            return *done;
        }
        let new = match arena[id].clone() {
            Term::Mma([domain, a, b]) => {
                let (domain, a, b) = (self.term(arena, domain), self.term(arena, a), self.term(arena, b));
                let product = arena.add(Term::Mul([a, b]));
                let add = arena.add(Term::Monoid(Monoid::Add));
                arena.add(Term::Fold([add, domain, product]))
            }
            Term::Fold([monoid, domain, body]) if matches!(arena[domain], Term::Outer(_)) => {
                let Term::Outer(whole) = arena[domain] else { unreachable!("just matched") };
                let whole = self.term(arena, whole);
                let body = self.tile_body(arena, body);
                let body = self.term(arena, body);
                arena.add(Term::Fold([monoid, whole, body]))
            }
            Term::Fst(_) | Term::Snd(_) => self.component(arena, id),
            Term::Logsum(fold) => {
                let fold = self.term(arena, fold);
                let fold = last_weight(arena, fold);
                arena.add(Term::Logsum(fold))
            }
            node => {
                let node = node.map_children(|child| self.term(arena, child));
                arena.add(node)
            }
        };
        self.done.insert(id, new);
        new
    }

    /// A component of a fold of lse, from a fold of that component only: the others may vary over axes that it does not have.
    fn component(&mut self, arena: &mut Arena, id: Id) -> Id {
        let (mut path, mut at) = (vec![], id);
        while let Term::Fst(x) | Term::Snd(x) = arena[at] {
            path.push(matches!(arena[at], Term::Snd(_)));
            at = x;
        }
        let fold = self.term(arena, at);
        let parts = match arena[fold] {
            Term::Fold([monoid, domain, body]) => match arena[body] {
                Term::Pair([score, weights]) => Some((monoid, domain, score, weights)),
                _ => None,
            },
            _ => None,
        };
        let Some((monoid, domain, score, mut weight)) = parts else {
            let node = arena[id].clone().map_children(|child| self.term(arena, child));
            return arena.add(node);
        };
        let second = path.pop() == Some(true);
        while let (Some(second), Term::Pair([a, b])) = (path.pop(), arena[weight].clone()) {
            weight = if second { b } else { a };
        }
        if !second {
            weight = arena.num(1.0);
        }
        let body = arena.add(Term::Pair([score, weight]));
        let fold = arena.add(Term::Fold([monoid, domain, body]));
        arena.add(if second { Term::Snd(fold) } else { Term::Fst(fold) })
    }

    /// What one element contributes, from what one tile does.
    fn tile_body(&mut self, arena: &mut Arena, tile: Id) -> Id {
        // The element of an online softmax: (max of s, sums of exp(s - max) w) comes from (s, w).
        if let Term::Pair([max, weights]) = arena[tile].clone() {
            let Term::Fold([_, _, score]) = arena[max].clone() else { return tile };
            let shifted = arena.add(Term::Shift([score, max]));
            let weight = arena.add(Term::Exp(shifted));
            let weights = weights_of(arena, weights, weight);
            return arena.add(Term::Pair([score, weights]));
        }
        element(arena, tile)
    }
}

/// The weights `w` from sums over a tile of `p w`.
fn weights_of(arena: &mut Arena, id: Id, p: Id) -> Id {
    if let Term::Pair([a, b]) = arena[id].clone() {
        let (a, b) = (weights_of(arena, a, p), weights_of(arena, b, p));
        return arena.add(Term::Pair([a, b]));
    }
    let product = element(arena, id);
    // Where the factor cannot be seen it is divided out; what has weight 0 contributes nothing whatever it is.
    without(arena, product, p).unwrap_or_else(|| arena.add(Term::Ratio([product, p])))
}

/// What one element contributes to a fold over a tile. Factors that do not vary inside the tile may stand outside of it.
fn element(arena: &mut Arena, tile: Id) -> Id {
    let folds = |arena: &Arena, id: Id| arena.contains(id, &|t| matches!(t, Term::Inner(_)));
    match arena[tile].clone() {
        Term::Fold([_, domain, body]) if matches!(arena[domain], Term::Inner(_)) => body,
        Term::Mma([_, a, b]) => arena.add(Term::Mul([a, b])),
        // The fold is the outermost of all: a factor may have folds over the tile of its own, such as the tile's maximum.
        Term::Mul([a, b]) if folds(arena, a) && !is_weight(arena, a) => {
            let a = element(arena, a);
            arena.add(Term::Mul([a, b]))
        }
        Term::Mul([a, b]) if folds(arena, b) => {
            let b = element(arena, b);
            arena.add(Term::Mul([a, b]))
        }
        Term::Div([a, b]) => {
            let a = element(arena, a);
            arena.add(Term::Div([a, b]))
        }
        Term::Neg(a) => {
            let a = element(arena, a);
            arena.add(Term::Neg(a))
        }
        _ => tile,
    }
}

/// Whether a factor is an exponential: what a tile of an online softmax multiplies with.
fn is_weight(arena: &Arena, id: Id) -> bool {
    matches!(arena[id], Term::Exp(_))
}

/// A product without one of its factors; None if it is not one of them.
fn without(arena: &mut Arena, product: Id, factor: Id) -> Option<Id> {
    if product == factor {
        return Some(arena.num(1.0));
    }
    match arena[product].clone() {
        Term::Mul([a, b]) => {
            if a == factor {
                return Some(b);
            }
            if b == factor {
                return Some(a);
            }
            if let Some(a) = without(arena, a, factor) {
                return Some(arena.add(Term::Mul([a, b])));
            }
            let b = without(arena, b, factor)?;
            Some(arena.add(Term::Mul([a, b])))
        }
        Term::Div([a, b]) => {
            let a = without(arena, a, factor)?;
            Some(arena.add(Term::Div([a, b])))
        }
        Term::Neg(a) => {
            let a = without(arena, a, factor)?;
            Some(arena.add(Term::Neg(a)))
        }
        _ => None,
    }
}
