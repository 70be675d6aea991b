//! What is known of every class of equal terms: which axes its value varies over, and which axis a domain binds.

use super::context::Context;
use super::{AxisName, Term};
use egg::{Analysis, DidMerge, EGraph, Id, Language, RecExpr};
use std::collections::BTreeSet;
use std::sync::Arc;

/// At which level of a split domain a value varies along an axis.
///
/// `(outer D)` binds the tile of an axis and `(inner D)` its elements, so a fold over `(inner D)` still varies from tile to
/// tile; likewise `(chunks D)` and `(chunk D)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// The axis's value itself.
    Element,
    /// Which tile.
    Tile,
    /// Which chunk.
    Chunk,
}

/// An axis (its number in the context) at a level.
pub type Binding = (u32, Level);

/// What is known of a class.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// What the value varies over.
    pub free: BTreeSet<Binding>,
    /// What the last component varies over: of a pair that of its second part, of anything else all of it.
    pub last: BTreeSet<Binding>,
    /// What the log-sum-exp of an lse element varies over: its score and its last weight, but not its other weights.
    pub sum: BTreeSet<Binding>,
    /// What a domain binds; None for anything but domains.
    pub binds: Option<Binding>,
}

impl Facts {
    /// A value that is no pair.
    fn single(free: BTreeSet<Binding>, binds: Option<Binding>) -> Self {
        Facts { last: free.clone(), sum: free.clone(), free, binds }
    }

    /// Whether the value is the same for all values of what a domain binds.
    pub fn free_of(&self, domain: &Facts) -> bool {
        domain.binds.is_none_or(|bound| !self.free.contains(&bound))
    }

    /// Whether the value varies over an axis at any level.
    pub fn varies_over(&self, axis: u32) -> bool {
        self.free.iter().any(|(number, _)| *number == axis)
    }
}

/// The facts of a node from those of its operands. Axes that the context does not have get the number `u32::MAX`.
pub fn facts<'a>(context: &Context, node: &Term, of: impl Fn(Id) -> &'a Facts) -> Facts {
    // everything that the parts vary over, but not what `domain` binds, and what the domain's bounds vary over
    let without = |domain: Id, mut free: BTreeSet<Binding>| {
        let domain = of(domain);
        if let Some(bound) = domain.binds {
            free.remove(&bound);
        }
        free.extend(&domain.free);
        free
    };
    let all =
        |parts: &[Id]| -> BTreeSet<Binding> { parts.iter().flat_map(|part| of(*part).free.iter().copied()).collect() };
    let restricted = |domain: Id, parts: &[Id]| Facts::single(without(domain, all(parts)), of(domain).binds);
    let folded = |domain: Id, parts: &[Id]| Facts::single(without(domain, all(parts)), None);
    // the two halves of a split domain
    let outside = |domain: Id, level| {
        let domain = of(domain);
        Facts::single(domain.free.clone(), domain.binds.map(|(axis, _)| (axis, level)))
    };
    let inside = |domain: Id, level| {
        let domain = of(domain);
        let mut free = domain.free.clone();
        free.extend(domain.binds.map(|(axis, _)| (axis, level)));
        Facts::single(free, domain.binds)
    };
    match node {
        Term::Axis(axis) => {
            let number = context.axis_number(*axis).map_or(u32::MAX, |number| number as u32);
            Facts::single(BTreeSet::from([(number, Level::Element)]), None)
        }
        Term::All(axis) => Facts::single(BTreeSet::new(), of(*axis).free.first().copied()),
        Term::Mask([domain, part]) | Term::Upto([domain, part]) | Term::From([domain, part]) => {
            restricted(*domain, &[*part])
        }
        Term::Blocks([domain, list, block]) => restricted(*domain, &[*list, *block]),
        Term::Union([one, other]) => Facts::single(all(&[*one, *other]), of(*one).binds.or(of(*other).binds)),
        Term::Outer(domain) => outside(*domain, Level::Tile),
        Term::Inner(domain) => inside(*domain, Level::Tile),
        Term::Chunks(domain) => outside(*domain, Level::Chunk),
        Term::Chunk(domain) => inside(*domain, Level::Chunk),
        Term::Fold([_, domain, body]) => {
            let body = of(*body);
            let part = |part: &BTreeSet<Binding>| without(*domain, part.clone());
            Facts { free: part(&body.free), last: part(&body.last), sum: part(&body.sum), binds: None }
        }
        Term::Mma([domain, a, b]) => folded(*domain, &[*a, *b]),
        Term::Top([_, domain, score, force]) => folded(*domain, &[*score, *force]),
        Term::Pair([a, b]) => {
            let last = of(*b).last.clone();
            Facts { free: all(&[*a, *b]), sum: &of(*a).free | &last, last, binds: None }
        }
        Term::Mat(x) => of(*x).clone(),
        Term::Logsum(x) => Facts::single(of(*x).sum.clone(), None),
        other => Facts::single(all(other.children()), None),
    }
}

/// The facts of every node of an arena.
pub fn facts_of_nodes(context: &Context, nodes: &RecExpr<Term>) -> Vec<Facts> {
    let mut all: Vec<Facts> = Vec::with_capacity(nodes.len());
    for node in nodes.as_ref() {
        let new = facts(context, node, |id| &all[usize::from(id)]);
        all.push(new);
    }
    all
}

/// The e-graph's analysis: [`Facts`] per class, the context at hand for conditions.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// Axes and tensors.
    pub context: Arc<Context>,
}

/// The e-graph of terms.
pub type Graph = EGraph<Term, Knowledge>;

impl Analysis<Term> for Knowledge {
    type Data = Facts;

    fn make(graph: &mut Graph, node: &Term, _: Id) -> Facts {
        facts(&graph.analysis.context, node, |id| &graph[id].data)
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        // Equal terms have equal values, so the value varies over no more than either of them says.
        let narrow = |a: &mut BTreeSet<Binding>, b: &BTreeSet<Binding>| {
            let (had, other) = (a.len(), b.len());
            a.retain(|binding| b.contains(binding));
            DidMerge(a.len() != had, a.len() != other)
        };
        let binds = a.binds.or(b.binds);
        let bound = DidMerge(binds != a.binds, binds != b.binds);
        a.binds = binds;
        narrow(&mut a.free, &b.free) | narrow(&mut a.last, &b.last) | narrow(&mut a.sum, &b.sum) | bound
    }
}

/// The name of the axis with a number.
pub fn axis_name(context: &Context, number: u32) -> Option<AxisName> {
    context.axes.get(number as usize).map(|axis| axis.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Type;

    #[test]
    fn a_fold_over_a_tile_varies_from_tile_to_tile() {
        let mut context = Context::new(Type::Bf16);
        context.axis("t", None, 8);
        context.axis("k", None, 8);
        let free = |text: &str| {
            let nodes = text.parse().unwrap();
            let facts = facts_of_nodes(&context, &nodes);
            facts.last().unwrap().free.iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(free("(fold max (all @k) (load $x @t @k))"), [(0, Level::Element)]);
        assert_eq!(free("(fold max (upto (all @k) @t) (load $x @k))"), [(0, Level::Element)]);
        let tile = "(fold max (inner (all @k)) (load $x @t @k))";
        assert_eq!(free(tile), [(0, Level::Element), (1, Level::Tile)]);
        assert_eq!(free(&format!("(fold max (outer (all @k)) {tile})")), [(0, Level::Element)]);
        assert_eq!(free("(mat (fold add (chunk (all @k)) (load $x @k)))"), [(1, Level::Chunk)]);
    }
}
