//! Folds along axes, and what is made of them: mean, softmax, log-sum-exp.

use super::Checker;
use super::scope::{Binding, Result, Scope, Value, merge};
use crate::ast::{self, AxisDeclaration, ExprKind, FoldKind};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;

impl Checker<'_> {
    /// `sum[axes] body`, with `where` inside the body.
    pub(super) fn fold(
        &mut self,
        scope: &mut Scope,
        kind: FoldKind,
        axes: &[AxisDeclaration],
        body: &ast::Expr,
        span: Span,
    ) -> Result<Value> {
        let (mark, opened) = (scope.mark(), self.open.len());
        let value = self.fold_inside(scope, kind, axes, body);
        scope.close(mark);
        self.open.truncate(opened);
        let value = value?;
        self.settle(span)?;
        Ok(value)
    }

    fn fold_inside(
        &mut self,
        scope: &mut Scope,
        kind: FoldKind,
        axes: &[AxisDeclaration],
        body: &ast::Expr,
    ) -> Result<Value> {
        let (mut folded, mut spans) = (vec![], vec![]);
        for axis in axes {
            let axis_span = match axis {
                AxisDeclaration::Named(name, _) => name.span,
                AxisDeclaration::Size(size) => size.span,
            };
            let axis = self.fold_axis(scope, kind, axis)?;
            if folded.contains(&axis) {
                let twice = format!("`{}` goes along axis `{}` twice", kind.name(), self.axis_name(axis));
                return self.error(Diagnostic::new(axis_span, twice).help("once is enough: remove this one"));
            }
            self.open.push(axis);
            folded.push(axis);
            spans.push(axis_span);
        }
        let (body, condition) = match &*body.kind {
            ExprKind::Where(body, condition) => (body, Some(condition)),
            _ => (body, None),
        };
        let value = self.expr(scope, body)?;
        let value = self.want(value, Kind::Float, &format!("the operand of `{}`", kind.name()), body.span)?;
        let guard = match condition {
            Some(condition) => {
                let guard = self.expr(scope, condition)?;
                Some(self.want(guard, Kind::Bool, "what follows `where`", condition.span)?)
            }
            None => None,
        };
        for (axis, span) in folded.iter().zip(spans) {
            self.doubt_fold(kind, (*axis, span), &value, guard.as_ref());
        }
        let mut axes = value.axes.clone();
        if let Some(guard) = &guard {
            merge(&mut axes, &guard.axes);
        }
        let p = guard.as_ref().map(|guard| guard.expr);
        let x = value.expr;
        let expr = match kind {
            FoldKind::Sum => self.fold_axes(Monoid::Sum, &folded, p, x),
            FoldKind::Max => self.fold_axes(Monoid::Max, &folded, p, x),
            FoldKind::Min => self.fold_axes(Monoid::Min, &folded, p, x),
            FoldKind::Mean => self.mean(&folded, p, x)?,
            FoldKind::Softmax => {
                let (_, exponential, total) = self.softmax_parts(&folded, p, x);
                let ratio = self.arena.binary(Binary::Ratio, exponential, total);
                // What the condition leaves out has no probability.
                let zero = self.arena.num(0.0);
                match p {
                    Some(p) => self.arena.select(p, ratio, zero),
                    None => ratio,
                }
            }
            FoldKind::LogSumExp => {
                let (largest, _, total) = self.softmax_parts(&folded, p, x);
                let log = self.arena.unary(Unary::Log, total);
                self.arena.binary(Binary::Add, largest, log)
            }
        };
        // A softmax still varies along its axis; the others do not.
        if kind == FoldKind::Softmax {
            merge(&mut axes, &folded);
        } else {
            axes.retain(|axis| !folded.contains(axis));
        }
        Ok(Value::new(expr, Kind::Float, axes))
    }

    /// An axis known here, or a new one with the extent given.
    fn fold_axis(&mut self, scope: &mut Scope, kind: FoldKind, axis: &AxisDeclaration) -> Result<AxisId> {
        match axis {
            AxisDeclaration::Named(name, None) => match scope.get(&name.text) {
                Some((Binding::Axis(axis), _)) => Ok(*axis),
                Some((Binding::Wrong, _)) => Err(super::Failed),
                Some((Binding::Value(_), place)) => self.error(
                    Diagnostic::new(name.span, format!("`{}` is not an axis", name.text))
                        .note_at(place, "it is the value of this name")
                        .help(format!("`{}` goes along an axis, as in `{0}[axis] {}`", kind.name(), name.text)),
                ),
                None => {
                    let known = scope.names(true).any(|other| other == name.text);
                    debug_assert!(!known);
                    let mut diagnostic = Diagnostic::new(name.span, format!("there is no axis `{}` here", name.text));
                    let mut known: Vec<String> = scope.names(true).map(String::from).collect();
                    known.dedup();
                    diagnostic = match crate::nearest::nearest(&name.text, scope.names(true)) {
                        Some(near) => diagnostic.did_you_mean(near),
                        None if known.is_empty() => diagnostic.label("unknown axis"),
                        None => {
                            let list = super::report::list(&known);
                            diagnostic.label("unknown axis").note(format!("the axes here are {list}"))
                        }
                    };
                    let help = format!("a new axis needs its extent: `{}[{} < extent]`", kind.name(), name.text);
                    self.error(diagnostic.help(help))
                }
            },
            AxisDeclaration::Named(name, Some(extent)) => {
                if kind == FoldKind::Softmax {
                    return self.error(
                        Diagnostic::new(name.span, "`softmax` goes along an axis that exists outside of it")
                            .label("a new axis would end here")
                            .help(format!(
                                "give it to a definition first, `let x[{} < extent] = ...;`, and take the softmax of `x`",
                                name.text
                            )),
                    );
                }
                let extent = self.extent_value(scope, extent)?;
                let axis = self.local_axis(&name.text, extent);
                scope.bind(&name.text, Binding::Axis(axis), name.span);
                Ok(axis)
            }
            AxisDeclaration::Size(size) => self.error(Diagnostic::new(size.span, "expected an axis name")),
        }
    }

    /// Nested folds, the first axis outermost. Each part of the condition goes to the outermost fold that can decide it.
    pub(super) fn fold_axes(&mut self, monoid: Monoid, axes: &[AxisId], p: Option<ExprId>, body: ExprId) -> ExprId {
        let mut parts = vec![];
        if let Some(p) = p {
            self.arena.conjuncts(p, &mut parts);
        }
        let mut result = body;
        for (level, &axis) in axes.iter().enumerate().rev() {
            let (here, outer): (Vec<ExprId>, Vec<ExprId>) =
                parts.iter().partition(|&&part| level == 0 || self.arena.depends(part, axis));
            parts = outer;
            let guard = self.arena.all(&here);
            result = self.arena.fold(monoid, axis, guard, result);
        }
        result
    }

    /// Largest value, exp(x - largest), and the sum of these.
    fn softmax_parts(&mut self, axes: &[AxisId], p: Option<ExprId>, x: ExprId) -> (ExprId, ExprId, ExprId) {
        let largest = self.fold_axes(Monoid::Max, axes, p, x);
        let shifted = self.arena.binary(Binary::Shift, x, largest);
        let exponential = self.arena.unary(Unary::Exp, shifted);
        let total = self.fold_axes(Monoid::Sum, axes, p, exponential);
        (largest, exponential, total)
    }

    fn mean(&mut self, axes: &[AxisId], p: Option<ExprId>, x: ExprId) -> Result<ExprId> {
        let total = self.fold_axes(Monoid::Sum, axes, p, x);
        if p.is_some() {
            let one = self.arena.num(1.0);
            let count = self.fold_axes(Monoid::Sum, axes, p, one);
            return Ok(self.arena.binary(Binary::Ratio, total, count));
        }
        let mut count = self.arena.int(1);
        for &axis in axes {
            let len = self.len(axis)?;
            count = self.arena.int_bin(IntBin::Mul, count, len);
        }
        let fixed = self.arena.as_int(count).is_some();
        let count = self.arena.float(count);
        // A mean over nothing is 0, as everywhere; a fixed extent is not nothing.
        Ok(self.arena.binary(if fixed { Binary::Div } else { Binary::Ratio }, total, count))
    }
}
