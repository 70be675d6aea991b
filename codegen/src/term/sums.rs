//! Results that are sums: which of their terms grow in the result's own memory.
//!
//! Where a result is a sum and some of its terms read a stored tensor at the result's own element, the kernel of that tensor
//! can add those terms up where the result will be (`plan/in_place.rs` does). Here it is decided which tensors go that
//! way: the planner builds what this says, and the cost model reckons with it.

use super::stored::{each_node, loaded};
use super::{Definition, TensorName, Term, Terms};
use egg::Id;
use std::collections::BTreeSet;

/// A stored tensor that is a detour: its terms of a sum are added up in the result's memory, and it takes none itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The tensor.
    pub tensor: TensorName,
    /// The result.
    pub result: TensorName,
}

/// What moves into which result, in the order of the definitions.
///
/// `declared` says whether the program gives a tensor a type: such a tensor is stored, rounded, as the program says.
pub fn moved(terms: &Terms, declared: &dyn Fn(TensorName) -> bool) -> Vec<Moved> {
    let definitions = &terms.definitions;
    let mut moved: Vec<Moved> = Vec::new();
    for (last, result) in definitions.iter().enumerate().filter(|(_, d)| d.result) {
        if matches!(terms.nodes[result.root], Term::Top(_)) {
            continue;
        }
        let mut rest = Vec::new();
        summands(terms, result.root, &mut rest);
        for (place, from) in definitions[..last].iter().enumerate() {
            let free = !from.result && !declared(from.tensor) && !moved.iter().any(|m| m.tensor == from.tensor);
            if !free || !same_elements(from, result) {
                continue;
            }
            let reads = |root: Id| loaded(terms, root).contains(&from.tensor);
            // Nothing else may need the tensor.
            if definitions.iter().enumerate().any(|(other, d)| other != last && reads(d.root)) {
                continue;
            }
            let (taken, left): (Vec<Id>, Vec<Id>) = rest.iter().partition(|term| reads(**term));
            // What the tensor's kernel can read: arguments, and what is stored before it.
            let later: BTreeSet<TensorName> = definitions[place + 1..].iter().map(|d| d.tensor).collect();
            if taken.is_empty() || left.is_empty() || !taken.iter().all(|term| elementwise(terms, *term, from, &later))
            {
                continue;
            }
            rest = left;
            moved.push(Moved { tensor: from.tensor, result: result.tensor });
        }
    }
    moved
}

fn same_elements(a: &Definition, b: &Definition) -> bool {
    let set = |d: &Definition| d.axes.iter().copied().collect::<BTreeSet<_>>();
    a.axes.len() == b.axes.len() && set(a) == set(b)
}

/// The terms of a sum, left to right, whatever their signs.
fn summands(terms: &Terms, id: Id, into: &mut Vec<Id>) {
    match terms.nodes[id] {
        Term::Add([a, b]) | Term::Sub([a, b]) => {
            summands(terms, a, into);
            summands(terms, b, into);
        }
        _ => into.push(id),
    }
}

/// Whether a term reads a tensor at its own element only, combines nothing over an axis, and needs nothing that is stored
/// later.
fn elementwise(terms: &Terms, term: Id, from: &Definition, later: &BTreeSet<TensorName>) -> bool {
    let mut fits = true;
    each_node(terms, term, &mut |id| {
        match &terms.nodes[id] {
            Term::Load(operands) if terms.nodes[operands[0]] == Term::Tensor(from.tensor) => {
                let own = operands[1..].iter().map(|index| &terms.nodes[*index]);
                fits &= own.eq(from.axes.iter().map(|axis| Term::Axis(*axis)).collect::<Vec<_>>().iter());
                return false;
            }
            Term::Fold(_) | Term::Mma(_) | Term::Top(_) => fits = false,
            Term::Tensor(name) if *name == from.tensor || later.contains(name) => fits = false,
            _ => {}
        }
        true
    });
    fits
}
