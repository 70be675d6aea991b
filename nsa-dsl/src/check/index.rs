//! Index lists: a value at other places of its axes.

use super::Checker;
use super::scope::{Result, Scope, Value, merge};
use crate::ast::{self, IndexItem};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;
use crate::substitute::substitute;

impl Checker<'_> {
    /// `name[indices]`.
    pub(super) fn index(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        indices: &[IndexItem],
        span: Span,
    ) -> Result<Value> {
        let value = self.name(scope, name)?;
        self.index_value(scope, &name.text, value, indices, span)
    }

    /// A value with its axes replaced by indices, in order. `..` leaves the axes between as they are. Indices as many as
    /// there are axes without names stand for just these.
    pub(super) fn index_value(
        &mut self,
        scope: &mut Scope,
        name: &str,
        value: Value,
        indices: &[IndexItem],
        span: Span,
    ) -> Result<Value> {
        let rest = indices.iter().position(|item| matches!(item, IndexItem::Rest(_)));
        let given: Vec<&ast::Expr> = indices
            .iter()
            .filter_map(|item| match item {
                IndexItem::Value(value) => Some(value),
                IndexItem::Rest(_) => None,
            })
            .collect();
        if given.len() + 1 < indices.len() {
            return self.error(Diagnostic::new(span, "an index list has at most one `..`"));
        }
        let rank = value.axes.len();
        let anonymous: Vec<AxisId> =
            value.axes.iter().copied().filter(|axis| self.axes[axis.0 as usize].anonymous).collect();
        let axes: Vec<AxisId> = match rest {
            Some(lead) if given.len() <= rank => {
                let trail = given.len() - lead;
                value.axes[..lead].iter().chain(&value.axes[rank - trail..]).copied().collect()
            }
            None if given.len() == rank => value.axes.clone(),
            None if given.len() == anonymous.len() && rank > 0 => anonymous,
            _ => {
                let mut diagnostic = Diagnostic::new(
                    span,
                    format!("`{name}` has {}, but {} given", count(rank, "axis", "axes"), are(given.len(), "index")),
                );
                if rank > 0 {
                    diagnostic = diagnostic
                        .label(format!("its axes are {}", self.axis_list(&value.axes)))
                        .help("give one index per axis, or `..` for those that stay as they are");
                }
                return self.error(diagnostic);
            }
        };
        let mut map = vec![];
        let mut replaced = vec![];
        for (axis, index) in axes.into_iter().zip(given) {
            let index_value = self.expr(scope, index)?;
            let index_value = self.want(index_value, Kind::Int, "an index", index.span)?;
            if let Expr::Axis(by) = *self.arena.get(index_value.expr)
                && by != axis
                && let Some((n, m)) = self.fixed_mismatch(axis, by)
            {
                return self.error(
                    Diagnostic::new(
                        index.span,
                        format!("axis `{}` cannot be indexed by axis `{}`", self.axis_name(axis), self.axis_name(by)),
                    )
                    .label(format!("`{}` has {m} values", self.axis_name(by)))
                    .note(format!("axis `{}` of `{name}` has {n}", self.axis_name(axis)))
                    .help("index by an axis with as many values, or by an expression that stays below"),
                );
            }
            replaced.push((axis, index_value.axes.clone()));
            map.push((axis, index_value.expr));
        }
        let mut axes = vec![];
        for axis in &value.axes {
            match replaced.iter().find(|(from, _)| from == axis) {
                Some((_, to)) => merge(&mut axes, to),
                None => merge(&mut axes, &[*axis]),
            }
        }
        map.retain(|&(axis, to)| *self.arena.get(to) != Expr::Axis(axis));
        let expr = self.substitute(value.expr, &map);
        Ok(Value { expr, kind: value.kind, axes })
    }

    /// Replaces free axes; see [`substitute`].
    pub(super) fn substitute(&mut self, expr: ExprId, map: &[(AxisId, ExprId)]) -> ExprId {
        let (arena, axes, names) = (&mut self.arena, &mut self.axes, &mut self.axis_names);
        substitute(arena, expr, map, &mut |axis| {
            let info = axes[axis.0 as usize].clone();
            super::extent::new_axis(axes, names, &info.name, info.extent, info.anonymous)
        })
    }

    /// Both extents, if they are known, differ, and the index is not a fold's own axis, which may cover a part.
    fn fixed_mismatch(&self, axis: AxisId, by: AxisId) -> Option<(i64, i64)> {
        let (axis, by) = (&self.axes[axis.0 as usize], &self.axes[by.0 as usize]);
        match (&axis.extent, &by.extent, &by.local) {
            (Some(Extent::Const(n)), Some(Extent::Const(m)), None) if n != m => Some((*n, *m)),
            _ => None,
        }
    }
}

/// "1 axis", "2 axes".
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

fn are(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what} is"),
        1 => format!("1 {what} is"),
        n => format!("{n} indices are"),
    }
}
