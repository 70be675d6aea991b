//! Names and what they stand for.

use crate::program::*;
use crate::source::Span;

/// An error was reported; there is nothing to go on with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failed;

pub(super) type Result<T> = std::result::Result<T, Failed>;

/// A number known when compiling.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

/// A checked expression.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Value {
    pub expr: ExprId,
    pub kind: Kind,
    /// The axes it varies along, in the order in which they first occur: what patterns and index lists count.
    pub axes: Vec<AxisId>,
}

impl Value {
    pub fn new(expr: ExprId, kind: Kind, axes: Vec<AxisId>) -> Self {
        Value { expr, kind, axes }
    }
}

/// Appends the axes that are not there yet.
pub(super) fn merge(into: &mut Vec<AxisId>, more: &[AxisId]) {
    for &axis in more {
        if !into.contains(&axis) {
            into.push(axis);
        }
    }
}

/// What a name stands for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Binding {
    Axis(AxisId),
    Value(Value),
    /// Its definition was wrong; that has been reported.
    Wrong,
}

/// The names that can be used at some place.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    names: Vec<(String, Binding, Span)>,
    /// Whether the program's constants can be seen: not by the library.
    pub constants: bool,
}

impl Scope {
    pub fn new(constants: bool) -> Self {
        Scope { names: vec![], constants }
    }

    /// Adds a name, which hides earlier ones.
    pub fn bind(&mut self, name: impl Into<String>, binding: Binding, span: Span) {
        self.names.push((name.into(), binding, span));
    }

    /// What the name stands for, and where it was given.
    pub fn get(&self, name: &str) -> Option<(&Binding, Span)> {
        self.names.iter().rev().find(|(other, ..)| other == name).map(|(_, binding, span)| (binding, *span))
    }

    /// For [`Scope::close`].
    pub fn mark(&self) -> usize {
        self.names.len()
    }

    /// Forgets the names added since the mark.
    pub fn close(&mut self, mark: usize) {
        self.names.truncate(mark);
    }

    /// All names of one sort.
    pub fn names(&self, axes: bool) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter(move |(_, binding, _)| matches!(binding, Binding::Axis(_)) == axes)
            .map(|(name, ..)| name.as_str())
    }
}
