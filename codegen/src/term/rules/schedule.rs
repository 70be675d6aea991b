//! Laws of order: the same fold in tiles, in two passes, by several thread blocks, on tensor cores.

use super::super::Term;
use super::super::facts::{Graph, Level};
use super::{Condition, Law, any_node, is_whole, law, rule, var, whole};
use crate::term::context::{self, ONE_TILE, TensorRole};
use egg::Id;
use std::collections::BTreeSet;
use std::sync::Arc;

const TOPIC: &str = "schedule";

#[rustfmt::skip]
pub(super) fn laws() -> Vec<Law> { vec![
    law(TOPIC, "tile", "fold over D = fold over the tiles of D of the fold over a tile, any monoid, D long", vec![
        rule("(fold ?M ?D ?e)", "(fold ?M (outer ?D) (fold ?M (inner ?D) ?e))", &[tileable("?D")]),
    ]),
    law(TOPIC, "two-pass-inner", "lse fold over a tile of (s, w) = (m, sum of exp(s - m) w), m the tile's maximum of s", vec![
        rule("(fold lse (inner ?D) (pair ?s 1.0))",
            "(pair (fold max (inner ?D) ?s) (fold add (inner ?D) (exp (shift ?s (fold max (inner ?D) ?s)))))", &[]),
        rule("(fold lse (inner ?D) (pair ?s ?v))",
            "(pair (fold max (inner ?D) ?s) (fold add (inner ?D) (* (exp (shift ?s (fold max (inner ?D) ?s))) ?v)))", &[weight("?v")]),
        rule("(fold lse (inner ?D) (pair ?s (pair ?v 1.0)))",
            "(pair (fold max (inner ?D) ?s) (pair (fold add (inner ?D) (* (exp (shift ?s (fold max (inner ?D) ?s))) ?v))
                                                  (fold add (inner ?D) (exp (shift ?s (fold max (inner ?D) ?s))))))", &[weight("?v")]),
    ]),
    law(TOPIC, "split", "fold over D = fold over the chunks of D of the stored fold over a chunk, any monoid, D long", vec![
        rule("(fold ?M ?D ?e)", "(fold ?M (chunks ?D) (mat (fold ?M (chunk ?D) ?e)))", &[whole("?D"), long("?D")]),
    ]),
    law(TOPIC, "mma", "sum_D a b = a tensor-core contraction, a and b varying over D and each over an axis that the other does not", vec![
        rule("(fold add ?D (* ?a ?b))", "(mma ?D ?a ?b)", &[contraction("?D", "?a", "?b")]),
    ]),
    law(TOPIC, "mma-operands", "a contraction of a and b = that of b and a: rows and columns change places", vec![
        rule("(mma ?D ?a ?b)", "(mma ?D ?b ?a)", &[]),
    ]),
] }

/// The domain is not known to be short.
fn long(domain: &str) -> Condition {
    let domain = var(domain);
    Arc::new(move |graph, subst| is_long(graph, subst[domain]))
}

fn is_long(graph: &Graph, domain: Id) -> bool {
    graph[domain].data.binds.is_some_and(|(number, _)| context::is_long(&graph.analysis.context, number))
}

/// The domain is long and whole, or a chunk of one.
fn tileable(domain: &str) -> Condition {
    let domain = var(domain);
    Arc::new(move |graph, subst| {
        let chunk = |node: &Term| matches!(node, Term::Chunk(_));
        is_long(graph, subst[domain]) && (is_whole(graph, subst[domain]) || any_node(graph, subst[domain], chunk))
    })
}

/// `v` is a single weight that is not just 1: the other patterns are for those.
fn weight(v: &str) -> Condition {
    let v = var(v);
    Arc::new(move |graph, subst| {
        !any_node(graph, subst[v], |node| match node {
            Term::Pair(_) => true,
            Term::Num(one) => one.get() == 1.0,
            _ => false,
        })
    })
}

/// A matrix unit can do it: both factors vary over the domain's axis and each over an axis that the other does not; the
/// contracted extent fits (a constant multiple of the unit's depth, or a tile, which is made to fit); both factors can be
/// held in a type that the unit multiplies.
fn contraction(domain: &str, a: &str, b: &str) -> Condition {
    let (domain, a, b) = (var(domain), var(a), var(b));
    Arc::new(move |graph, subst| {
        let (domain, a, b) = (subst[domain], subst[a], subst[b]);
        let context = &graph.analysis.context;
        let Some(unit) = &context.matrix else { return false };
        let Some((number, Level::Element)) = graph[domain].data.binds else { return false };
        let Some(axis) = context.axes.get(number as usize) else { return false };
        let tile = any_node(graph, domain, |node| matches!(node, Term::Inner(_)));
        let every = any_node(graph, domain, |node| matches!(node, Term::All(_)));
        let fits = tile || every && axis.constant.is_some_and(|extent| extent % unit.depth == 0 && extent <= ONE_TILE);
        let elements = |id: Id| -> BTreeSet<u32> {
            graph[id].data.free.iter().filter(|(_, level)| *level == Level::Element).map(|(axis, _)| *axis).collect()
        };
        let (over_a, over_b) = (elements(a), elements(b));
        fits && over_a.contains(&number)
            && over_b.contains(&number)
            && over_a.difference(&over_b).next().is_some()
            && over_b.difference(&over_a).next().is_some()
            && is_factor(graph, a, FACTOR_DEPTH)
            && is_factor(graph, b, FACTOR_DEPTH)
    })
}

/// How deep a factor's expression is looked into.
const FACTOR_DEPTH: usize = 6;

/// Whether a factor of a contraction can be brought to the matrix unit: elements of tensors, and what is computed from
/// them element by element, of a type that the unit multiplies. Folds and integers as numbers are not.
fn is_factor(graph: &Graph, class: Id, depth: usize) -> bool {
    let context = &graph.analysis.context;
    let Some(unit) = &context.matrix else { return false };
    let deeper = |id: Id| depth > 0 && is_factor(graph, id, depth - 1);
    let constant = |id: Id| any_node(graph, id, |node| matches!(node, Term::Num(_)));
    let element = unit.types.contains(&context.element);
    any_node(graph, class, |node| match *node {
        Term::Load(ref operands) => any_node(graph, operands[0], |node| {
            let Term::Tensor(name) = node else { return false };
            context.tensor(*name).is_some_and(|tensor| match tensor.role {
                TensorRole::List(_) => false,
                TensorRole::Param => tensor.dtype.is_some_and(|dtype| unit.types.contains(&dtype)),
                TensorRole::Value => unit.types.contains(&tensor.dtype.unwrap_or(context.element)),
            })
        }),
        // computed in f32, rounded to the element type when it becomes a factor
        Term::Exp(_) | Term::Sigmoid(_) | Term::Relu(_) | Term::Silu(_) | Term::Gelu(_) | Term::Tanh(_) => element,
        Term::Cast([_, x]) => deeper(x),
        Term::Neg(x) => deeper(x),
        Term::Add([x, y]) | Term::Sub([x, y]) | Term::Mul([x, y]) => {
            (deeper(x) || constant(x)) && (deeper(y) || constant(y)) && !(constant(x) && constant(y))
        }
        Term::Div([x, y]) => deeper(x) && constant(y),
        Term::Select([_, x, y]) => (deeper(x) || constant(x)) && (deeper(y) || constant(y)),
        _ => false,
    })
}
