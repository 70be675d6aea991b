//! Laws of domains: from a predicate on elements to which elements are visited.
//!
//! What is skipped is the identity of the fold: 0 for a sum, -inf for a maximum, weight 0 for lse.

use super::super::affine::{self, Bound};
use super::super::build::Builder;
use super::super::facts::{Graph, Level, axis_name};
use super::super::{AxisName, Term};
use super::{Condition, Law, any_node, computed, free_of, ground, is_whole, law, rule, var, whole};
use egg::{ENodeOrVar, Id, Language, PatternAst, Subst, Var};
use std::sync::Arc;

const TOPIC: &str = "sparsity";

#[rustfmt::skip]
pub(super) fn laws() -> Vec<Law> { vec![
    law(TOPIC, "select-to-mask", "fold over D of (e where p, else the identity) = fold over D where p of e", vec![
        rule("(fold lse ?D (pair (select ?p ?s -inf) ?w))", "(fold lse (mask ?D ?p) (pair ?s ?w))", &[whole("?D")]),
        rule("(fold max ?D (select ?p ?s -inf))",           "(fold max (mask ?D ?p) ?s)",           &[whole("?D")]),
        rule("(fold min ?D (select ?p ?s inf))",            "(fold min (mask ?D ?p) ?s)",           &[whole("?D")]),
        rule("(fold add ?D (select ?p ?x 0.0))",            "(fold add (mask ?D ?p) ?x)",           &[whole("?D")]),
        rule("(fold add ?D (*~ (select ?p ?x 0.0) ?y))",    "(fold add (mask ?D ?p) (* ?x ?y))",    &[whole("?D")]),
    ]),
    law(TOPIC, "split-conjunction", "D where p and q = (D where p) where q", vec![
        rule("(mask ?D (and ?p ?q))", "(mask (mask ?D ?p) ?q)", &[]),
    ]),
    law(TOPIC, "mask-to-domain", "D where c k + a <= b = D up to (b - a) / c, rounded down; likewise <, ==, k / B and lower bounds", vec![
        computed("(mask ?D ?p)", mask_to_domain),
    ]),
    law(TOPIC, "zero-to-domain", "sum_D x max(0, min(a, b) - max(c, d)) = the sum over the part of D where a, b > c, d", vec![
        computed("(fold add ?D ?e)", zero_to_domain),
    ]),
    law(TOPIC, "walk-blocks", "D where k / B is in L = the blocks of D that L lists, L free of k and without duplicates", vec![
        rule("(mask ?D (in (i/ ?k ?B) ?L))", "(blocks ?D ?L ?B)", &[bound_axis("?k", "?D"), constant("?B"), free_of("?L", "?D")]),
        rule("(mask ?D (in ?k ?L))",         "(blocks ?D ?L 1)",  &[bound_axis("?k", "?D"), free_of("?L", "?D"), gathers()]),
    ]),
    law(TOPIC, "order-bounds", "restrictions of a domain commute: upto, then from, then blocks, then mask", vec![
        rule("(upto (mask ?D ?p) ?e)",        "(mask (upto ?D ?e) ?p)",        &[]),
        rule("(from (mask ?D ?p) ?e)",        "(mask (from ?D ?e) ?p)",        &[]),
        rule("(blocks (mask ?D ?p) ?L ?B)",   "(mask (blocks ?D ?L ?B) ?p)",   &[]),
        rule("(upto (blocks ?D ?L ?B) ?e)",   "(blocks (upto ?D ?e) ?L ?B)",   &[]),
        rule("(from (blocks ?D ?L ?B) ?e)",   "(blocks (from ?D ?e) ?L ?B)",   &[]),
        rule("(upto (from ?D ?a) ?e)",        "(from (upto ?D ?e) ?a)",        &[]),
    ]),
    law(TOPIC, "join-bounds", "D up to a, up to b = D up to min(a, b); from a, from b = from max(a, b)", vec![
        computed("(upto (upto ?D ?a) ?b)", |graph, subst| join_bounds(graph, subst, true)),
        computed("(from (from ?D ?a) ?b)", |graph, subst| join_bounds(graph, subst, false)),
    ]),
] }

/// `x` is the axis that the domain binds.
fn bound_axis(x: &str, domain: &str) -> Condition {
    let (x, domain) = (var(x), var(domain));
    Arc::new(move |graph, subst| {
        let Some(axis) = bound_name(graph, subst[domain]) else { return false };
        any_node(graph, subst[x], |node| *node == Term::Axis(axis))
    })
}

/// The machine's kernels can walk a list of single values.
fn gathers() -> Condition {
    Arc::new(|graph, _| graph.analysis.context.matrix.as_ref().is_some_and(|unit| unit.gathers))
}

/// `x` is a positive integer constant.
fn constant(x: &str) -> Condition {
    let x = var(x);
    Arc::new(move |graph, subst| any_node(graph, subst[x], |node| matches!(node, Term::Int(value) if *value > 0)))
}

/// The axis whose values a domain has.
pub(super) fn bound_name(graph: &Graph, domain: Id) -> Option<AxisName> {
    match graph[domain].data.binds {
        Some((number, Level::Element)) => axis_name(&graph.analysis.context, number),
        _ => None,
    }
}

fn mask_to_domain(graph: &Graph, subst: &Subst) -> Vec<(PatternAst<Term>, Subst)> {
    let (domain, predicate) = (var("?D"), var("?p"));
    let Some(axis) = bound_name(graph, subst[domain]) else { return Vec::new() };
    let mut builder = Builder::new();
    let Some(comparison) = integer_term(graph, subst[predicate], &mut builder) else { return Vec::new() };
    match affine::solve(&mut builder, comparison, axis) {
        Some(bounds) => vec![(restricted(domain, &builder, &bounds), subst.clone())],
        None => Vec::new(),
    }
}

fn zero_to_domain(graph: &Graph, subst: &Subst) -> Vec<(PatternAst<Term>, Subst)> {
    let (domain, body) = (var("?D"), var("?e"));
    let Some(axis) = bound_name(graph, subst[domain]).filter(|_| is_whole(graph, subst[domain])) else {
        return Vec::new();
    };
    let mut weights = Vec::new();
    find_weights(graph, subst[body], 4, &mut weights);
    let mut made = Vec::new();
    for weight in weights {
        let mut builder = Builder::new();
        let Some(weight) = integer_term(graph, weight, &mut builder) else { continue };
        let mut bounds = affine::where_positive(&mut builder, weight, axis);
        let have = bounds_of(graph, subst[domain]);
        bounds.retain(|bound| {
            let (Bound::Upper(term) | Bound::Lower(term)) = *bound;
            let term = builder.node(term).build_recexpr(|id| builder.node(id).clone());
            graph.lookup_expr(&term).is_none_or(|class| !have.contains(&graph.find(class)))
        });
        if bounds.is_empty() {
            continue;
        }
        // (fold add <restricted ?D> ?e)
        let mut ast = PatternAst::default();
        let monoid = ast.add(ENodeOrVar::ENode(Term::Monoid(super::super::Monoid::Add)));
        let over = append(&mut ast, &restricted(domain, &builder, &bounds));
        let body = ast.add(ENodeOrVar::Var(body));
        ast.add(ENodeOrVar::ENode(Term::Fold([monoid, over, body])));
        made.push((ast, subst.clone()));
    }
    made
}

/// Integer factors `max(0, ..)` of a product, through products and numerators.
fn find_weights(graph: &Graph, class: Id, depth: usize, into: &mut Vec<Id>) {
    for node in &graph[class].nodes {
        match *node {
            Term::Mul([a, b]) if depth > 0 => {
                find_weights(graph, a, depth - 1, into);
                find_weights(graph, b, depth - 1, into);
            }
            Term::Div([a, _]) | Term::Ratio([a, _]) if depth > 0 => find_weights(graph, a, depth - 1, into),
            Term::ToFloat(weight) => {
                let zero = |id| any_node(graph, id, |node| *node == Term::Int(0));
                let clipped = |node: &Term| matches!(*node, Term::IntMax([a, b]) if zero(a) || zero(b));
                let weight = graph.find(weight);
                if any_node(graph, weight, clipped) && !into.contains(&weight) {
                    into.push(weight);
                }
            }
            _ => {}
        }
    }
}

/// One bound for two: the least (or greatest) of all that they are the least (or greatest) of, each once. Two restrictions
/// often say the same, in part.
fn join_bounds(graph: &Graph, subst: &Subst, upper: bool) -> Vec<(PatternAst<Term>, Subst)> {
    let mut parts = Vec::new();
    for bound in [subst[var("?a")], subst[var("?b")]] {
        let bound = graph.find(bound);
        let mut leaves = Vec::new();
        extremes(graph, bound, upper, &mut vec![], &mut leaves);
        parts.extend(leaves);
    }
    parts.sort_unstable();
    parts.dedup();
    let (mut ast, mut subst) = (PatternAst::default(), subst.clone());
    let domain = ast.add(ENodeOrVar::Var(var("?D")));
    let mut joined = None;
    for (number, part) in parts.into_iter().enumerate() {
        let name = Var::from_u32(number as u32);
        subst.insert(name, part);
        let part = ast.add(ENodeOrVar::Var(name));
        joined = Some(match joined {
            None => part,
            Some(before) if upper => ast.add(ENodeOrVar::ENode(Term::IntMin([before, part]))),
            Some(before) => ast.add(ENodeOrVar::ENode(Term::IntMax([before, part]))),
        });
    }
    let Some(joined) = joined else { return Vec::new() };
    ast.add(ENodeOrVar::ENode(if upper { Term::Upto([domain, joined]) } else { Term::From([domain, joined]) }));
    vec![(ast, subst)]
}

/// The classes that a class is the least (or greatest) of; itself, if it is no minimum (or maximum).
fn extremes(graph: &Graph, class: Id, least: bool, open: &mut Vec<Id>, into: &mut Vec<Id>) {
    let class = graph.find(class);
    if open.contains(&class) {
        return;
    }
    open.push(class);
    let pair = graph[class].nodes.iter().find_map(|node| match *node {
        Term::IntMin(pair) if least => Some(pair),
        Term::IntMax(pair) if !least => Some(pair),
        _ => None,
    });
    match pair {
        Some([a, b]) => {
            extremes(graph, a, least, open, into);
            extremes(graph, b, least, open, into);
        }
        None => into.push(class),
    }
    open.pop();
}

/// The bounds that a domain has already, those that are joined included.
fn bounds_of(graph: &Graph, domain: Id) -> Vec<Id> {
    let (mut seen, mut bounds) = (Vec::new(), Vec::new());
    let mut open = vec![graph.find(domain)];
    while let Some(class) = open.pop() {
        if seen.contains(&class) {
            continue;
        }
        seen.push(class);
        for node in &graph[class].nodes {
            match *node {
                Term::Upto([domain, bound]) | Term::From([domain, bound]) => {
                    open.push(graph.find(domain));
                    joined(graph, bound, &mut bounds);
                }
                Term::Mask([domain, _]) | Term::Blocks([domain, ..]) => open.push(graph.find(domain)),
                _ => {}
            }
        }
    }
    bounds
}

fn joined(graph: &Graph, bound: Id, into: &mut Vec<Id>) {
    let bound = graph.find(bound);
    if into.contains(&bound) {
        return;
    }
    into.push(bound);
    for node in &graph[bound].nodes {
        if let Term::IntMin([a, b]) | Term::IntMax([a, b]) = *node {
            joined(graph, a, into);
            joined(graph, b, into);
        }
    }
}

/// `(from (upto ?D upper) lower)` for all bounds, upper ones innermost.
pub(super) fn restricted(domain: Var, builder: &Builder, bounds: &[Bound]) -> PatternAst<Term> {
    let mut ast = PatternAst::default();
    let mut over = ast.add(ENodeOrVar::Var(domain));
    let uppers = bounds.iter().filter(|bound| matches!(bound, Bound::Upper(_)));
    let lowers = bounds.iter().filter(|bound| matches!(bound, Bound::Lower(_)));
    for bound in uppers.chain(lowers) {
        let (Bound::Upper(term) | Bound::Lower(term)) = *bound;
        let term = ground(&builder.node(term).build_recexpr(|id| builder.node(id).clone()));
        let term = append(&mut ast, &term);
        over = ast.add(ENodeOrVar::ENode(match bound {
            Bound::Upper(_) => Term::Upto([over, term]),
            Bound::Lower(_) => Term::From([over, term]),
        }));
    }
    ast
}

/// Adds a pattern's nodes to another; the place of its root.
fn append(ast: &mut PatternAst<Term>, more: &PatternAst<Term>) -> Id {
    let offset = ast.len();
    let mut last = Id::from(offset);
    for node in more.as_ref() {
        last = ast.add(node.clone().map_children(|child| Id::from(usize::from(child) + offset)));
    }
    last
}

/// An integer or comparison class as a term. Of equal terms the first that is no load is taken, so that definitions are
/// seen through. None if the class is something else.
pub(super) fn integer_term(graph: &Graph, class: Id, builder: &mut Builder) -> Option<Id> {
    fn visit(graph: &Graph, class: Id, builder: &mut Builder, open: &mut Vec<Id>) -> Option<Id> {
        let class = graph.find(class);
        if open.contains(&class) {
            return None;
        }
        open.push(class);
        let nodes = &graph[class].nodes;
        let loads_last = nodes.iter().filter(|node| !is_load(node)).chain(nodes.iter().filter(|node| is_load(node)));
        let mut found = None;
        for node in loads_last {
            if !is_integer(node) {
                continue;
            }
            let mut failed = false;
            let built = node.clone().map_children(|child| {
                visit(graph, child, builder, open).unwrap_or_else(|| {
                    failed = true;
                    child
                })
            });
            if !failed {
                found = Some(builder.tidy(built));
                break;
            }
        }
        open.pop();
        found
    }
    visit(graph, class, builder, &mut Vec::new())
}

fn is_load(node: &Term) -> bool {
    matches!(node, Term::Load(_))
}

fn is_integer(node: &Term) -> bool {
    node.is_integer_arithmetic()
        || matches!(
            node,
            Term::Int(_)
                | Term::Axis(_)
                | Term::Len(_)
                | Term::Tensor(_)
                | Term::Load(_)
                | Term::IntLt(_)
                | Term::IntLe(_)
                | Term::IntEq(_)
        )
}
