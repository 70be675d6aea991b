//! Walking over the terms and statements of a kernel.

use super::{Kernel, Loop, Statement};
use crate::term::TensorName;
use egg::Id;

/// Calls `f` with every statement, outer ones before inner ones.
pub fn statements<'k>(body: &'k [Statement], f: &mut dyn FnMut(&'k Statement)) {
    for statement in body {
        f(statement);
        if let Statement::Loop(inner) = statement {
            statements(&inner.body, f);
        }
    }
}

/// Calls `f` with the root of every term of a kernel.
pub fn terms(kernel: &Kernel, f: &mut dyn FnMut(Id)) {
    kernel.tiles.iter().for_each(|tile| f(tile.element));
    statements(&kernel.body, &mut |statement| match statement {
        Statement::Set { expr, .. } => f(*expr),
        Statement::Mask { keep, .. } => f(*keep),
        Statement::Insert { score, force, among, .. } => [score, force, among].into_iter().for_each(|id| f(*id)),
        Statement::StoreList { index, .. } => index.iter().for_each(|id| f(*id)),
        Statement::Store { index, value, .. } => index.iter().chain([value]).for_each(|id| f(*id)),
        Statement::Loop(inner) => loop_terms(inner, f),
        Statement::Fetch { .. }
        | Statement::Dot { .. }
        | Statement::Reduce { .. }
        | Statement::Online { .. }
        | Statement::Stage { .. } => {}
    });
}

fn loop_terms(inner: &Loop, f: &mut dyn FnMut(Id)) {
    f(inner.lo);
    f(inner.hi);
    if let Some((lo, hi)) = inner.full {
        f(lo);
        f(hi);
    }
    if let Some(walk) = &inner.walk {
        f(walk.list);
    }
}

/// Calls `f` with the name of every buffer that a kernel writes.
pub fn stores(kernel: &Kernel, f: &mut dyn FnMut(TensorName)) {
    statements(&kernel.body, &mut |statement| {
        if let Statement::Store { buffer, .. } | Statement::StoreList { buffer, .. } = statement {
            f(*buffer);
        }
    });
}
