//! Definitions: the `let`s of a kernel's body.

use super::Checker;
use super::scope::{Binding, Result, Scope, Value};
use crate::ast::{self, AxisDeclaration, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;

impl<'a> Checker<'a> {
    /// A `let` of the kernel.
    pub(super) fn definition(&mut self, scope: &mut Scope, definition: &'a ast::Let) -> Result<()> {
        for (name, _) in &definition.targets {
            self.not_an_axis(scope, name)?;
        }
        if let (ExprKind::Top(axis, arguments), [(name, head)]) =
            (&*definition.value.kind, definition.targets.as_slice())
        {
            let value = self.top(scope, name, head.as_deref(), axis, arguments, definition.value.span)?;
            scope.bind(&name.text, Binding::Value(value), name.span);
            return Ok(());
        }
        let mut heads = vec![];
        let mut fresh = vec![];
        for (name, head) in &definition.targets {
            heads.push(match head {
                Some(head) => Some(self.head(scope, name, head, &mut fresh)?),
                None => None,
            });
        }
        let values = self.values(scope, definition)?;
        let roots: Vec<ExprId> = values.iter().map(|value| value.expr).collect();
        for (axis, span) in fresh {
            if self.axes[axis.0 as usize].extent.is_some() {
                continue;
            }
            let Some(extent) = self.infer_extent(&roots, axis)? else {
                let name = self.axis_name(axis).to_string();
                return self.error(
                    Diagnostic::new(span, format!("the extent of axis `{name}` cannot be inferred"))
                        .label("it indexes no tensor by a sum of axes times constants")
                        .help(format!("give it: `{name} < extent`")),
                );
            };
            self.axes[axis.0 as usize].extent = Some(extent);
        }
        for (((name, _), head), value) in definition.targets.iter().zip(heads).zip(values) {
            let value = self.define(name, head, value)?;
            scope.bind(&name.text, Binding::Value(value), name.span);
        }
        Ok(())
    }

    /// The axes of a definition's head. New ones, whose extents may be unknown still, go to `fresh`.
    pub(super) fn head(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        head: &'a [AxisDeclaration],
        fresh: &mut Vec<(AxisId, Span)>,
    ) -> Result<Vec<AxisId>> {
        let mut axes = vec![];
        for declaration in head {
            let AxisDeclaration::Named(axis_name, extent) = declaration else { return Err(super::Failed) };
            let extent = match extent {
                Some(extent) => Some(self.extent_value(scope, extent)?),
                None => None,
            };
            let axis = match scope.get(&axis_name.text).map(|(binding, span)| (binding.clone(), span)) {
                Some((Binding::Axis(axis), first)) => {
                    if extent.is_some() && extent != self.axes[axis.0 as usize].extent {
                        return self.error(
                            Diagnostic::new(
                                axis_name.span,
                                format!("axis `{}` has another extent already", axis_name.text),
                            )
                            .note_at(first, "first here")
                            .help("a new axis needs a new name"),
                        );
                    }
                    axis
                }
                Some((Binding::Value(_), first)) => {
                    return self.error(
                        Diagnostic::new(axis_name.span, format!("`{}` is a tensor, not an axis", axis_name.text))
                            .note_at(first, "the tensor")
                            .help("give the axis another name"),
                    );
                }
                Some((Binding::Wrong, _)) => return Err(super::Failed),
                None => {
                    let extent = match extent {
                        Some(extent) => Some(extent),
                        None => self.constant_extent(axis_name)?,
                    };
                    let axis = self.new_axis(&axis_name.text, extent, false);
                    scope.bind(&axis_name.text, Binding::Axis(axis), axis_name.span);
                    fresh.push((axis, axis_name.span));
                    axis
                }
            };
            if axes.contains(&axis) {
                return self.error(
                    Diagnostic::new(axis_name.span, format!("`{}` has axis `{}` twice", name.text, axis_name.text))
                        .help("axes of a definition are different ones: remove it, or use a new name with the same extent"),
                );
            }
            axes.push(axis);
        }
        Ok(axes)
    }

    /// A tensor for the value; or an abbreviation, if it is a condition, a constant, or an integer without a head.
    fn define(&mut self, name: &ast::Name, head: Option<Vec<AxisId>>, value: Value) -> Result<Value> {
        let axes = match &head {
            Some(head) => {
                self.covers(name, head, &value.axes)?;
                head.clone()
            }
            None => value.axes.clone(),
        };
        let constant = matches!(self.arena.get(value.expr), Expr::Num(_));
        if value.kind == Kind::Bool || (head.is_none() && (value.kind == Kind::Int || constant)) {
            return Ok(Value { axes, ..value });
        }
        let tensor = self.add_tensor(&name.text, axes, None, value.kind, Source::Value(value.expr), name.span);
        Ok(self.own_value(tensor))
    }

    /// Every axis that a value varies along must be among the axes it is stored along.
    pub(super) fn covers(&mut self, name: &ast::Name, axes: &[AxisId], varies: &[AxisId]) -> Result<()> {
        let missing: Vec<AxisId> = varies.iter().copied().filter(|axis| !axes.contains(axis)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let them = if missing.len() == 1 { "it" } else { "them" };
        let named = self.axis_list(&missing);
        let help = self.fold_help(&missing, format!("fold over {named}, or add {them} to its axes"));
        self.error(
            Diagnostic::new(name.span, format!("the value of `{}` varies along {named}", name.text))
                .label(format!("its axes are {}", self.axis_list(axes)))
                .help(help),
        )
    }
}
