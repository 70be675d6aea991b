//! Values that are finite whatever is empty: what a sum over nothing may be multiplied with.
//!
//! A maximum over nothing is -inf, an exponential relative to it infinite. Where such a value is a factor inside of a sum over
//! nothing nobody asks for it; outside of the sum it would make 0 * inf of it.

use super::super::context::TensorRole;
use super::super::facts::Graph;
use super::super::{Monoid, Term};
use super::{Condition, any_node, var};
use egg::Id;
use std::collections::HashMap;
use std::sync::Arc;

/// `x` is finite where the arguments are, up to overflow.
pub(super) fn finite(x: &str) -> Condition {
    let x = var(x);
    Arc::new(move |graph, subst| Finite { graph, known: HashMap::new() }.class(subst[x]))
}

/// `x` is a number that is neither 0 nor infinite.
pub(super) fn number(x: &str) -> Condition {
    let x = var(x);
    Arc::new(move |graph, subst| is_number(graph, subst[x]))
}

fn is_number(graph: &Graph, id: Id) -> bool {
    any_node(graph, id, |node| matches!(node, Term::Num(x) if x.get() != 0.0 && x.get().is_finite()))
}

struct Finite<'g> {
    graph: &'g Graph,
    /// Classes asked about; false while the answer is looked for.
    known: HashMap<Id, bool>,
}

impl Finite<'_> {
    /// One of the equal terms shows it.
    fn class(&mut self, id: Id) -> bool {
        let id = self.graph.find(id);
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        self.known.insert(id, false);
        let graph = self.graph;
        let found = graph[id].nodes.iter().any(|node| self.node(node));
        self.known.insert(id, found);
        found
    }

    fn node(&mut self, node: &Term) -> bool {
        match node {
            Term::Num(x) => x.get().is_finite(),
            Term::ToFloat(_) | Term::Tanh(_) | Term::Sigmoid(_) => true,
            Term::Load(xs) => {
                let param = |node: &Term| {
                    matches!(node, Term::Tensor(name)
                        if self.graph.analysis.context.tensor(*name).is_some_and(|t| t.role == TensorRole::Param))
                };
                xs.first().is_some_and(|tensor| any_node(self.graph, *tensor, param))
            }
            Term::Add([a, b]) | Term::Sub([a, b]) | Term::Mul([a, b]) | Term::Min([a, b]) | Term::Max([a, b]) => {
                self.class(*a) && self.class(*b)
            }
            Term::Shift([a, b]) => self.class(*a) && self.class(*b),
            Term::Div([a, b]) => is_number(self.graph, *b) && self.class(*a),
            Term::Neg(a) | Term::Abs(a) | Term::Exp(a) | Term::Relu(a) | Term::Silu(a) | Term::Gelu(a) => {
                self.class(*a)
            }
            Term::Cast([_, a]) => self.class(*a),
            Term::Select([_, a, b]) => self.class(*a) && self.class(*b),
            Term::Fold([monoid, _, body]) => {
                any_node(self.graph, *monoid, |node| *node == Term::Monoid(Monoid::Add)) && self.class(*body)
            }
            Term::Mma([_, a, b]) => self.class(*a) && self.class(*b),
            _ => false,
        }
    }
}
