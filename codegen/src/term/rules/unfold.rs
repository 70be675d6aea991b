//! Unfolding: a load of a definition is the definition's body. The laws are made from the program's definitions.

use super::super::facts::Graph;
use super::super::{Definition, Term, Terms};
use super::{Condition, Law, Make, Rule};
use egg::{ENodeOrVar, Id, Language, PatternAst, Subst, Var};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

const TOPIC: &str = "unfold";

/// The two laws of unfolding, with one rule for every definition but lists.
///
/// A definition that is used, directly or through other definitions, inside a fold or a search is a producer; one that is
/// used only outside of them is an epilogue's operand.
pub fn unfolding(terms: &Terms) -> Vec<Law> {
    let producers = producers(terms);
    let law = |name, equation, producer: bool| {
        let rules =
            terms.definitions.iter().filter(|definition| producers.contains(definition.tensor.name()) == producer);
        Law { name, equation, topic: TOPIC, rules: rules.filter_map(|definition| rule(terms, definition)).collect() }
    };
    vec![
        law("fuse-producer", "x[i] = the body of x at i, for an x that is used inside folds", true),
        law("fuse-epilogue", "x[i] = the body of x at i, for an x that is used outside folds only", false),
    ]
}

/// The names of the definitions that are used inside folds or searches.
fn producers(terms: &Terms) -> HashSet<&'static str> {
    let mut producers = HashSet::new();
    // definitions come after those they load, so users are seen first when going backwards
    for definition in terms.definitions.iter().rev() {
        let inside = producers.contains(definition.tensor.name());
        used(terms, definition.root, inside, &mut HashSet::new(), &mut producers);
    }
    producers
}

fn used(terms: &Terms, id: Id, inside: bool, seen: &mut HashSet<(Id, bool)>, into: &mut HashSet<&'static str>) {
    if !seen.insert((id, inside)) {
        return;
    }
    let node = &terms.nodes[id];
    if let (Term::Load(operands), true) = (node, inside)
        && let Term::Tensor(name) = terms.nodes[operands[0]]
    {
        into.insert(name.name());
    }
    let inside = inside || matches!(node, Term::Fold(_) | Term::Top(_));
    node.for_each(|child| used(terms, child, inside, seen, into));
}

/// `(load $x ?0 ?1 ..)` to the body of `x` with its axes replaced. None for lists.
///
/// It fires only if nothing in the index varies over an axis that the body binds: the body would capture it.
fn rule(terms: &Terms, definition: &Definition) -> Option<Rule> {
    if matches!(terms.nodes[definition.root], Term::Top(_)) {
        return None;
    }
    let vars: Vec<Var> = (0..definition.axes.len()).map(|number| Var::from_u32(number as u32)).collect();
    let mut left = PatternAst::default();
    let mut operands = vec![left.add(ENodeOrVar::ENode(Term::Tensor(definition.tensor)))];
    operands.extend(vars.iter().map(|var| left.add(ENodeOrVar::Var(*var))));
    left.add(ENodeOrVar::ENode(Term::Load(operands.into())));

    let body = terms.nodes[definition.root].build_recexpr(|id| terms.nodes[id].clone());
    let mut bound = BTreeSet::new();
    for node in body.as_ref() {
        if let Term::All(axis) = node
            && let Term::Axis(axis) = body[*axis]
        {
            bound.insert(axis);
        }
    }
    let mut right = PatternAst::default();
    let mut places: HashMap<Id, Id> = HashMap::new();
    for (number, node) in body.as_ref().iter().enumerate() {
        let axis = match node {
            Term::Axis(name) if !bound.contains(name) => definition.axes.iter().position(|axis| axis == name),
            _ => None,
        };
        let place = match axis {
            Some(axis) => right.add(ENodeOrVar::Var(vars[axis])),
            None => right.add(ENodeOrVar::ENode(node.clone().map_children(|child| places[&child]))),
        };
        places.insert(Id::from(number), place);
    }
    let no_capture: Condition = Arc::new(move |graph: &Graph, subst: &Subst| {
        let numbers = bound.iter().filter_map(|axis| graph.analysis.context.axis_number(*axis));
        let numbers: Vec<u32> = numbers.map(|number| number as u32).collect();
        vars.iter().all(|var| !numbers.iter().any(|number| graph[subst[*var]].data.varies_over(*number)))
    });
    let of = Some(definition.tensor.name().to_string());
    Some(Rule { left, right: Make::Pattern(right), when: vec![no_capture], of })
}
