//! What a candidate stores: which definitions one kernel stores together, and in which types.

use super::context::Context;
use super::sums::{Moved, moved};
use super::{Definition, TensorName, Term, Terms, Type};
use egg::{Id, Language};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Which definitions one kernel stores: those that share a fold outside other folds, do not need each other, and whose axes
/// one grid has.
pub fn kernels(terms: &Terms) -> Vec<Vec<&Definition>> {
    let needs = needs(terms);
    let folds: Vec<BTreeSet<Id>> = terms.definitions.iter().map(|d| outermost_folds(terms, d.root)).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for number in 0..terms.definitions.len() {
        let independent = |a: usize, b: usize| !needs[a].contains(&b) && !needs[b].contains(&a);
        // the grid of one must do for the other: another axis would make every block along it repeat the fold
        let one_grid = |a: usize, b: usize| {
            let (a, b) = (&terms.definitions[a].axes, &terms.definitions[b].axes);
            a.iter().all(|axis| b.contains(axis)) || b.iter().all(|axis| a.contains(axis))
        };
        let joins = |group: &Vec<usize>| {
            let shares = group.iter().any(|other| !folds[*other].is_disjoint(&folds[number]));
            let fits = group.iter().all(|other| independent(number, *other) && one_grid(number, *other));
            // nothing in between may need the group and be needed by this one
            let between = needs[number].iter().any(|other| group.iter().any(|member| needs[*other].contains(member)));
            shares && fits && !between
        };
        match groups.iter_mut().find(|group| joins(group)) {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
    }
    groups.into_iter().map(|group| group.into_iter().map(|number| &terms.definitions[number]).collect()).collect()
}

/// For every definition the numbers of those it needs, directly or not.
pub fn needs(terms: &Terms) -> Vec<BTreeSet<usize>> {
    let mut needs: Vec<BTreeSet<usize>> = Vec::new();
    for definition in &terms.definitions {
        let mut all = BTreeSet::new();
        for name in loaded(terms, definition.root) {
            if let Some(number) = terms.definitions[..needs.len()].iter().position(|d| d.tensor == name) {
                all.extend(needs[number].iter().copied());
                all.insert(number);
            }
        }
        needs.push(all);
    }
    needs
}

/// The tensors that a term loads.
pub fn loaded(terms: &Terms, root: Id) -> Vec<TensorName> {
    let mut names = Vec::new();
    each_node(terms, root, &mut |id| {
        if let Term::Tensor(name) = terms.nodes[id]
            && !names.contains(&name)
        {
            names.push(name);
        }
        true
    });
    names
}

/// Visits every node under a root once; `visit` says whether to go on to the operands.
pub(super) fn each_node(terms: &Terms, root: Id, visit: &mut dyn FnMut(Id) -> bool) {
    let (mut seen, mut stack) = (HashSet::from([root]), vec![root]);
    while let Some(id) = stack.pop() {
        if visit(id) {
            stack.extend(terms.nodes[id].children().iter().rev().filter(|child| seen.insert(**child)));
        }
    }
}

fn outermost_folds(terms: &Terms, root: Id) -> BTreeSet<Id> {
    let mut folds = BTreeSet::new();
    each_node(terms, root, &mut |id| match terms.nodes[id] {
        Term::Fold(_) | Term::Mma(_) => {
            folds.insert(id);
            false
        }
        _ => true,
    });
    folds
}

/// The types in which definitions are stored: as declared; otherwise the element type for results, for what grows in the memory
/// of one, and if every use is as a factor of a contraction (which rounds it anyway), f32 if not; i32 for lists.
pub fn stored_types(terms: &Terms, context: &Context) -> HashMap<TensorName, Type> {
    // loads that are factors, and loads that are used otherwise
    let (mut factors, mut others) = (HashSet::new(), HashSet::new());
    for user in &terms.definitions {
        others.insert(user.root);
        each_node(terms, user.root, &mut |id| {
            for child in terms.nodes[id].children() {
                match terms.nodes[id] {
                    Term::Mma([_, a, b]) if *child == a || *child == b => factors.insert(*child),
                    _ => others.insert(*child),
                };
            }
            true
        });
    }
    let tensors = |ids: HashSet<Id>| -> HashSet<TensorName> {
        let tensor = |id: &Id| match &terms.nodes[*id] {
            Term::Load(operands) => match terms.nodes[operands[0]] {
                Term::Tensor(name) => Some(name),
                _ => None,
            },
            _ => None,
        };
        ids.iter().filter_map(tensor).collect()
    };
    let (factors, others) = (tensors(factors), tensors(others));
    let of = |definition: &Definition| {
        let declared = context.tensor(definition.tensor).and_then(|tensor| tensor.dtype);
        match (&terms.nodes[definition.root], declared) {
            (Term::Top(_), _) => Type::I32,
            (_, Some(dtype)) => dtype,
            _ if definition.result => context.element,
            _ if factors.contains(&definition.tensor) && !others.contains(&definition.tensor) => context.element,
            _ => Type::F32,
        }
    };
    let mut types: HashMap<TensorName, Type> = terms.definitions.iter().map(|d| (d.tensor, of(d))).collect();
    let declared = |name| context.tensor(name).is_some_and(|tensor| tensor.dtype.is_some());
    for Moved { tensor, result } in moved(terms, &declared) {
        types.insert(tensor, types[&result]);
    }
    types
}
