//! What is known about terms before any code is built.

use crate::term::{AxisName, Term};
use egg::{Id, Language, RecExpr};
use std::collections::BTreeSet;

/// Free axes and other properties of every term of an arena.
pub struct Facts {
    free: Vec<BTreeSet<AxisName>>,
    reads: Vec<bool>,
    variables: Vec<bool>,
}

impl Facts {
    /// Analyses an arena.
    pub fn of(terms: &RecExpr<Term>) -> Self {
        let mut facts = Facts { free: Vec::new(), reads: Vec::new(), variables: Vec::new() };
        for node in terms.as_ref() {
            let mut free: BTreeSet<AxisName> =
                node.children().iter().flat_map(|c| facts.free[usize::from(*c)].iter().copied()).collect();
            let any = |of: &[bool]| node.children().iter().any(|c| of[usize::from(*c)]);
            let mut reads = any(&facts.reads);
            let mut variables = any(&facts.variables);
            match node {
                Term::Axis(axis) => {
                    free.insert(*axis);
                }
                Term::Fold([_, domain, _]) | Term::Mma([domain, ..]) | Term::Top([_, domain, ..]) => {
                    if let Some(axis) = domain_axis(terms, *domain) {
                        free.remove(&axis);
                    }
                }
                Term::Load(_) | Term::In(_) => reads = true,
                Term::Value(_) => variables = true,
                _ => {}
            }
            facts.free.push(free);
            facts.reads.push(reads);
            facts.variables.push(variables);
        }
        facts
    }
    /// The axes that a term's value depends on.
    pub fn free(&self, id: Id) -> &BTreeSet<AxisName> {
        &self.free[usize::from(id)]
    }
    /// Whether a term's value depends on an axis.
    pub fn mentions(&self, id: Id, axis: AxisName) -> bool {
        self.free(id).contains(&axis)
    }
    /// Whether a term reads a buffer or a stage.
    pub fn reads(&self, id: Id) -> bool {
        self.reads[usize::from(id)]
    }
    /// Whether a term reads a variable.
    pub fn uses_variables(&self, id: Id) -> bool {
        self.variables[usize::from(id)]
    }
}

/// The axis that a domain ranges over.
pub fn domain_axis(terms: &RecExpr<Term>, domain: Id) -> Option<AxisName> {
    match &terms[domain] {
        Term::All(axis) => match terms[*axis] {
            Term::Axis(axis) => Some(axis),
            _ => None,
        },
        Term::Mask([d, _])
        | Term::Upto([d, _])
        | Term::From([d, _])
        | Term::Blocks([d, _, _])
        | Term::Union([d, _])
        | Term::Outer(d)
        | Term::Inner(d)
        | Term::Chunks(d)
        | Term::Chunk(d) => domain_axis(terms, *d),
        _ => None,
    }
}

/// How many numbers a term's value is made of, as a tree of pairs.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A number.
    Number,
    /// A pair.
    Pair(Box<Shape>, Box<Shape>),
}

/// The shape of a term's value.
pub fn shape(terms: &RecExpr<Term>, id: Id) -> Shape {
    match &terms[id] {
        Term::Pair([a, b]) => Shape::Pair(Box::new(shape(terms, *a)), Box::new(shape(terms, *b))),
        Term::Fold([_, _, body]) | Term::Mat(body) | Term::Select([_, body, _]) => shape(terms, *body),
        Term::Fst(x) => match shape(terms, *x) {
            Shape::Pair(a, _) => *a,
            Shape::Number => Shape::Number,
        },
        Term::Snd(x) => match shape(terms, *x) {
            Shape::Pair(_, b) => *b,
            Shape::Number => Shape::Number,
        },
        _ => Shape::Number,
    }
}
