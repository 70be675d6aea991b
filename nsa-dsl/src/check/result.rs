//! Results: the values that end a kernel's body.

use super::Checker;
use super::index::count;
use super::scope::{Result, Scope, Value};
use crate::ast::{self, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;

impl<'a> Checker<'a> {
    pub(super) fn results(&mut self, scope: &mut Scope, kernel: &'a ast::Kernel) -> Result<Vec<TensorId>> {
        let mut values = vec![];
        for value in &kernel.body.values {
            values.push(self.expr(scope, value));
        }
        // A call in the place of all results gives all of its values.
        if let ([ast::Expr { kind, span, .. }], true) = (kernel.body.values.as_slice(), kernel.results.len() > 1)
            && let ExprKind::Call(name, arguments) = &**kind
        {
            values = self.call(scope, name, arguments, *span)?.into_iter().map(Ok).collect();
            self.settle(*span)?;
        }
        if values.len() != kernel.results.len() {
            let (given, wanted) = (values.len(), kernel.results.len());
            return self.error(
                Diagnostic::new(kernel.body.span, format!("the kernel has {}", count(wanted, "result", "results")))
                    .label(format!("but its body gives {}", count(given, "value", "values")))
                    .help(match wanted {
                        1 => "end the body with one value".to_string(),
                        _ => "end the body with one value per result: `(x, y)`".to_string(),
                    }),
            );
        }
        let mut results = vec![];
        for ((declaration, value), written) in kernel.results.iter().zip(values).zip(
            // A call that gives all results is the place of each.
            kernel.body.values.iter().chain(std::iter::repeat(&kernel.body.values[0])),
        ) {
            let result = value.and_then(|value| self.result(scope, declaration, value, written.span, &results));
            if let Ok(result) = result {
                results.push(result);
            }
        }
        if results.len() == kernel.results.len() { Ok(results) } else { Err(super::Failed) }
    }

    fn result(
        &mut self,
        scope: &mut Scope,
        declaration: &'a ast::Declaration,
        value: Value,
        span: Span,
        others: &[TensorId],
    ) -> Result<TensorId> {
        let name = &declaration.name;
        let dtype = match (value.kind, declaration.dtype) {
            (Kind::Bool, _) => {
                return self.error(
                    Diagnostic::new(span, format!("the result `{}` must be a number", name.text))
                        .label("this is a condition")
                        .help("write `if condition { 1.0 } else { 0.0 }`"),
                );
            }
            (Kind::Int, None | Some(DType::I32)) => DType::I32,
            (Kind::Int, Some(dtype)) => dtype,
            (Kind::Float, Some(DType::I32)) => {
                return self.error(
                    Diagnostic::new(span, format!("the result `{}` holds integers", name.text))
                        .label("this is a floating value")
                        .note_at(declaration.span, "declared here")
                        .help(format!("declare `{}` as `bf16`, `f16` or `f32`, or without a type", name.text)),
                );
            }
            (Kind::Float, dtype) => dtype.unwrap_or(self.element),
        };
        let value = if dtype == DType::I32 { value } else { self.want(value, Kind::Float, "a result", span)? };
        let mut axes = vec![];
        for axis in &declaration.axes {
            let axis = self.declared_axis(scope, &name.text, axis, false)?;
            if axes.contains(&axis) {
                return self.error(
                    Diagnostic::new(
                        declaration.span,
                        format!("`{}` has axis `{}` twice", name.text, self.axis_name(axis)),
                    )
                    .help("the axes of a result are different ones: remove it"),
                );
            }
            axes.push(axis);
        }
        if let Some(tensor) = self.is_definition(&value, &axes).filter(|tensor| !others.contains(tensor)) {
            let definition = &mut self.tensors[tensor.0 as usize];
            definition.name = name.text.clone();
            definition.axes = axes;
            definition.dtype = Some(dtype);
            return Ok(tensor);
        }
        let missing: Vec<AxisId> = value.axes.iter().copied().filter(|axis| !axes.contains(axis)).collect();
        if !missing.is_empty() {
            let them = if missing.len() == 1 { "it" } else { "them" };
            let named = self.axis_list(&missing);
            let help = self.fold_help(&missing, format!("fold over {named}, or add {them} to the result's axes"));
            return self.error(
                Diagnostic::new(span, format!("this varies along {named}"))
                    .label(format!("the result `{}` has axes {}", name.text, self.axis_list(&axes)))
                    .note_at(declaration.span, "declared here")
                    .help(help),
            );
        }
        // The name is reserved since the kernel began.
        self.tensor_names.remove(&name.text);
        Ok(self.add_tensor(&name.text, axes, Some(dtype), value.kind, Source::Value(value.expr), span))
    }

    /// The definition that a value is at its own axes, if it can be stored along `axes` as it is. A list's own axis may
    /// be renamed.
    fn is_definition(&self, value: &Value, axes: &[AxisId]) -> Option<TensorId> {
        let Expr::Load(tensor, index) = self.arena.get(value.expr) else { return None };
        let definition = &self.tensors[tensor.0 as usize];
        let own = index.len() == definition.axes.len()
            && index.iter().zip(&definition.axes).all(|(&e, &axis)| *self.arena.get(e) == Expr::Axis(axis));
        if !own || definition.source == Source::Param || axes.len() != definition.axes.len() {
            return None;
        }
        let extent = |axis: AxisId| self.axes[axis.0 as usize].extent.as_ref();
        let same = axes.iter().zip(&definition.axes).enumerate().all(|(place, (&wanted, &own))| {
            let entry = place + 1 == axes.len() && matches!(definition.source, Source::Top(_));
            wanted == own || (entry && extent(wanted) == extent(own) && !axes[..place].contains(&wanted))
        });
        same.then_some(*tensor)
    }
}
