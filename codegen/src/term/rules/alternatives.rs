//! Laws of alternatives: what satisfies one of two predicates is visited part by part.
//!
//! The parts of a union have no value in common, so every monoid may fold over one after the other: the second part leaves
//! out what the first has. Which alternative comes first is a matter of price, so both orders are offered.

use super::super::affine::{self, Bound};
use super::super::build::Builder;
use super::super::facts::Graph;
use super::super::{AxisName, Term};
use super::sparsity::{bound_name, integer_term, restricted};
use super::{Law, computed, law, var};
use egg::{ENodeOrVar, Id, PatternAst, Subst, Var};

const TOPIC: &str = "alternatives";

#[rustfmt::skip]
pub(super) fn laws() -> Vec<Law> { vec![
    law(TOPIC, "split-disjunction", "D where p or q = D where p, then D where q and not p; likewise with q first", vec![
        computed("(mask ?D (or ?p ?q))", split_disjunction),
    ]),
    law(TOPIC, "join-alternatives", "D where k <= a or k <= b = D up to max(a, b); two lower bounds: D from min(a, b)", vec![
        computed("(mask ?D (or ?p ?q))", join_alternatives),
    ]),
] }

/// How deep a predicate's negation is moved inwards.
const NEGATION_DEPTH: usize = 4;

/// A pattern whose variables stand for classes of the graph.
struct Grounded<'a> {
    graph: &'a Graph,
    ast: PatternAst<Term>,
    subst: Subst,
}

impl Grounded<'_> {
    fn class(&mut self, id: Id) -> Id {
        let id = self.graph.find(id);
        let name = Var::from_u32(usize::from(id) as u32);
        self.subst.insert(name, id);
        self.ast.add(ENodeOrVar::Var(name))
    }

    fn node(&mut self, term: Term) -> Id {
        self.ast.add(ENodeOrVar::ENode(term))
    }

    /// The negation of a predicate: moved into integer comparisons (real ones are false on NaN either way) and
    /// alternatives, where it may become a bound.
    fn not(&mut self, predicate: Id, depth: usize) -> Id {
        let predicate = self.graph.find(predicate);
        for node in &self.graph[predicate].nodes {
            match *node {
                Term::Not(inner) => return self.class(inner),
                Term::IntLt([a, b]) => {
                    let ab = [self.class(b), self.class(a)];
                    return self.node(Term::IntLe(ab));
                }
                Term::IntLe([a, b]) => {
                    let ab = [self.class(b), self.class(a)];
                    return self.node(Term::IntLt(ab));
                }
                Term::IntNe([a, b]) => {
                    let ab = [self.class(a), self.class(b)];
                    return self.node(Term::IntEq(ab));
                }
                Term::Or([p, q]) if depth > 0 => {
                    let pq = [self.not(p, depth - 1), self.not(q, depth - 1)];
                    return self.node(Term::And(pq));
                }
                _ => {}
            }
        }
        let whole = self.class(predicate);
        self.node(Term::Not(whole))
    }
}

fn split_disjunction(graph: &Graph, subst: &Subst) -> Vec<(PatternAst<Term>, Subst)> {
    let (domain, p, q) = (subst[var("?D")], subst[var("?p")], subst[var("?q")]);
    let split = |first: Id, second: Id| {
        let mut made = Grounded { graph, ast: PatternAst::default(), subst: subst.clone() };
        let whole = made.class(domain);
        let predicate = made.class(first);
        let one = made.node(Term::Mask([whole, predicate]));
        let predicate = made.class(second);
        let other = made.node(Term::Mask([whole, predicate]));
        let rest = made.not(first, NEGATION_DEPTH);
        let other = made.node(Term::Mask([other, rest]));
        made.node(Term::Union([one, other]));
        (made.ast, made.subst)
    };
    vec![split(p, q), split(q, p)]
}

fn join_alternatives(graph: &Graph, subst: &Subst) -> Vec<(PatternAst<Term>, Subst)> {
    let domain = var("?D");
    let Some(axis) = bound_name(graph, subst[domain]) else { return Vec::new() };
    let mut builder = Builder::new();
    let one = |builder: &mut Builder, predicate| only_bound(graph, subst[var(predicate)], builder, axis);
    let joined = match (one(&mut builder, "?p"), one(&mut builder, "?q")) {
        (Some(Bound::Upper(a)), Some(Bound::Upper(b))) => Bound::Upper(builder.int_extreme(true, a, b)),
        (Some(Bound::Lower(a)), Some(Bound::Lower(b))) => Bound::Lower(builder.int_extreme(false, a, b)),
        _ => return Vec::new(),
    };
    vec![(restricted(domain, &builder, &[joined]), subst.clone())]
}

/// The one bound of the axis that says the same as a predicate.
fn only_bound(graph: &Graph, predicate: Id, builder: &mut Builder, axis: AxisName) -> Option<Bound> {
    let comparison = integer_term(graph, predicate, builder)?;
    match affine::solve(builder, comparison, axis)?.as_slice() {
        [bound] => Some(*bound),
        _ => None,
    }
}
