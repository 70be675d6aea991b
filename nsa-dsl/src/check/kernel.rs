//! The kernel and its signature: parameters, axes, tensors.

use super::Checker;
use super::scope::{Binding, Number, Result, Scope, Value};
use crate::ast::{self, AxisDeclaration};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;

impl<'a> Checker<'a> {
    /// Checks the kernel; gives its results.
    pub(super) fn kernel(&mut self, kernel: &'a ast::Kernel) -> Result<Vec<TensorId>> {
        let mut scope = Scope::new(true);
        // Results keep their names, whatever definitions are called.
        for (place, result) in kernel.results.iter().enumerate() {
            if !self.tensor_names.insert(result.name.text.clone()) {
                let first = kernel.results[..place].iter().find(|other| other.name.text == result.name.text);
                let mut diagnostic =
                    Diagnostic::new(result.name.span, format!("there are two results `{}`", result.name.text));
                if let Some(first) = first {
                    diagnostic = diagnostic.note_at(first.name.span, "first here");
                }
                self.report(diagnostic);
            }
        }
        // Sizes in the signature may use one another in any order only if constants come first: they do.
        for param in &kernel.params {
            if self.param(&mut scope, param).is_err() {
                scope.bind(&param.name.text, Binding::Wrong, param.name.span);
            }
        }
        for definition in &kernel.body.lets {
            if self.definition(&mut scope, definition).is_err() {
                for (name, _) in &definition.targets {
                    scope.bind(&name.text, Binding::Wrong, name.span);
                }
            }
        }
        self.results(&mut scope, kernel)
    }

    fn param(&mut self, scope: &mut Scope, param: &'a ast::Declaration) -> Result<()> {
        let name = &param.name;
        if self.tensor_names.contains(&name.text) {
            let first = scope.get(&name.text).map(|(_, span)| span);
            let what = if first.is_some() { "two parameters are" } else { "a parameter and a result are both" };
            let mut diagnostic =
                Diagnostic::new(name.span, format!("{what} named `{}`", name.text)).help("choose another name");
            if let Some(first) = first {
                diagnostic = diagnostic.note_at(first, "first here");
            }
            return self.error(diagnostic);
        }
        let mut axes = vec![];
        for declaration in &param.axes {
            let axis = match self.declared_axis(scope, &name.text, declaration, true) {
                Ok(axis) => axis,
                Err(failed) => {
                    // Uses of the axis are no further errors.
                    if let AxisDeclaration::Named(axis, _) = declaration
                        && scope.get(&axis.text).is_none()
                    {
                        scope.bind(&axis.text, Binding::Wrong, axis.span);
                    }
                    return Err(failed);
                }
            };
            if axes.contains(&axis) {
                return self.error(
                    Diagnostic::new(param.span, format!("`{}` has axis `{}` twice", name.text, self.axis_name(axis)))
                        .help("give the second one a name of its own, and a constant of the same size"),
                );
            }
            axes.push(axis);
        }
        self.not_an_axis(scope, name)?;
        let dtype = param.dtype.unwrap_or(self.element);
        let kind = if dtype == DType::I32 { Kind::Int } else { Kind::Float };
        let tensor = self.add_tensor(&name.text, axes, Some(dtype), kind, Source::Param, name.span);
        let value = self.own_value(tensor);
        scope.bind(&name.text, Binding::Value(value), name.span);
        Ok(())
    }

    pub(super) fn not_an_axis(&mut self, scope: &Scope, name: &ast::Name) -> Result<()> {
        if let Some((Binding::Axis(_), first)) = scope.get(&name.text) {
            return self.error(
                Diagnostic::new(name.span, format!("`{}` is both an axis and a tensor", name.text))
                    .note_at(first, "the axis")
                    .help("give one of them another name"),
            );
        }
        Ok(())
    }

    /// An axis of the signature. A parameter's axis may be new: of a constant's size, of a size written there, or
    /// else given at run time.
    pub(super) fn declared_axis(
        &mut self,
        scope: &mut Scope,
        tensor: &str,
        declaration: &'a AxisDeclaration,
        parameter: bool,
    ) -> Result<AxisId> {
        let name = match declaration {
            AxisDeclaration::Size(size) => {
                let extent = self.fixed_size(size)?;
                return Ok(self.new_axis(&format!("{tensor}_{}", extent.1), Some(extent.0), true));
            }
            AxisDeclaration::Named(name, _) => name,
        };
        let written = match declaration {
            AxisDeclaration::Named(_, Some(size)) => Some(size),
            _ => None,
        };
        match scope.get(&name.text).map(|(binding, span)| (binding.clone(), span)) {
            Some((Binding::Axis(axis), first)) => {
                if let Some(size) = written {
                    // What is written is compared: the size itself may have been set from outside. An axis of a definition
                    // has its extent from there.
                    let again = self.constant_value(size)?;
                    let extent = self.axes[axis.0 as usize].extent.clone();
                    let same = match self.written_sizes.iter().find(|(other, _)| *other == name.text) {
                        Some((_, first)) => *first == again,
                        None => matches!((&extent, again), (Some(Extent::Const(n)), Number::Int(m)) if *n == m),
                    };
                    if !same {
                        let known = match extent {
                            Some(Extent::Const(n)) => format!("first here, with {n}"),
                            Some(Extent::Runtime) => "first here, with an extent given at run time".to_string(),
                            _ => "first here".to_string(),
                        };
                        return self.error(
                            Diagnostic::new(size.span, format!("axis `{}` has another extent already", name.text))
                                .label(format!("{} values here", again.as_f64()))
                                .note_at(first, known),
                        );
                    }
                }
                return Ok(axis);
            }
            Some((Binding::Value(_), first)) => {
                return self.error(
                    Diagnostic::new(name.span, format!("`{}` is both a tensor and an axis", name.text))
                        .note_at(first, "the tensor")
                        .help("give one of them another name"),
                );
            }
            Some((Binding::Wrong, _)) => return Err(super::Failed),
            None => {}
        }
        if let Some(size) = written {
            if self.constants.iter().any(|(other, ..)| *other == name.text) {
                return self.error(
                    Diagnostic::new(size.span, format!("`{}` has its extent from a constant already", name.text))
                        .help(format!("write `{}` alone", name.text)),
                );
            }
            let (_, n) = self.fixed_size(size)?;
            let value = Number::Int(n);
            self.written_sizes.push((name.text.clone(), value));
            self.define_constant(&name.text, value, size.span)?;
        }
        let extent = match self.constant_extent(name)? {
            Some(extent) => extent,
            None if parameter => Extent::Runtime,
            None => return self.unknown(scope, "axis", &name.text, name.span, true),
        };
        let runtime = extent == Extent::Runtime;
        let axis = self.new_axis(&name.text, Some(extent), false);
        if runtime {
            self.runtime.push(axis);
            self.arena.add(Expr::Len(axis));
        }
        scope.bind(&name.text, Binding::Axis(axis), name.span);
        Ok(axis)
    }

    fn fixed_size(&mut self, size: &ast::Expr) -> Result<(Extent, i64)> {
        match self.constant_value(size)? {
            Number::Int(n) => Ok((self.fixed_extent(n, size)?, n)),
            Number::Float(value) => {
                let whole = value.ceil().max(1.0);
                let wrong = Diagnostic::new(size.span, "an extent is an integer").label(format!("this is {value}"));
                let wrong = self.where_given(wrong, size);
                self.error(wrong.help(format!("write `{whole}`, or another whole number")))
            }
        }
    }

    pub(super) fn add_tensor(
        &mut self,
        name: &str,
        axes: Vec<AxisId>,
        dtype: Option<DType>,
        kind: Kind,
        source: Source,
        span: Span,
    ) -> TensorId {
        let name = super::extent::unique(&mut self.tensor_names, name);
        self.tensors.push(Tensor { name, axes, dtype, source });
        self.tensor_kinds.push(kind);
        self.definitions.push(self.user_place(span));
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// A tensor at its own axes.
    pub(super) fn own_value(&mut self, tensor: TensorId) -> Value {
        let axes = self.tensors[tensor.0 as usize].axes.clone();
        let index = axes.iter().map(|&axis| self.arena.axis(axis)).collect();
        let expr = self.arena.add(Expr::Load(tensor, index));
        Value::new(expr, self.tensor_kinds[tensor.0 as usize], axes)
    }
}
