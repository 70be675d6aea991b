//! The kernel: its signature, its definitions, its results.

use super::Checker;
use super::index::count;
use super::scope::{Binding, Number, Result, Scope, Value, merge};
use crate::ast::{self, Argument, AxisDeclaration, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::program::*;
use crate::source::Span;

/// Longest list that `top` may give.
const MAX_COUNT: i64 = 4096;

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

    fn not_an_axis(&mut self, scope: &Scope, name: &ast::Name) -> Result<()> {
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
    fn declared_axis(
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
            let value = self.constant_value(size)?;
            if !matches!(value, Number::Int(_)) {
                return self.error(Diagnostic::new(size.span, "an extent is an integer"));
            }
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
            Number::Float(value) => self.error(
                Diagnostic::new(size.span, "an extent is an integer")
                    .label(format!("this is {value}"))
                    .help(format!("write `{}`, or another whole number", value.ceil().max(1.0))),
            ),
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

    /// A `let` of the kernel.
    fn definition(&mut self, scope: &mut Scope, definition: &'a ast::Let) -> Result<()> {
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
    fn head(
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
    fn covers(&mut self, name: &ast::Name, axes: &[AxisId], varies: &[AxisId]) -> Result<()> {
        let missing: Vec<AxisId> = varies.iter().copied().filter(|axis| !axes.contains(axis)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let them = if missing.len() == 1 { "it" } else { "them" };
        let missing = self.axis_list(&missing);
        self.error(
            Diagnostic::new(name.span, format!("the value of `{}` varies along {missing}", name.text))
                .label(format!("its axes are {}", self.axis_list(axes)))
                .help(format!("fold over {missing}, or add {them} to its axes")),
        )
    }

    /// `top[axis](score, count, force = ..., among = ...)` under a name.
    pub(super) fn top(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        head: Option<&'a [AxisDeclaration]>,
        axis: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Result<Value> {
        let searched = match scope.get(&axis.text) {
            Some((Binding::Axis(axis), _)) => *axis,
            Some((Binding::Wrong, _)) => return Err(super::Failed),
            _ => return self.unknown(scope, "axis", &axis.text, axis.span, true),
        };
        let opened = self.open.len();
        self.open.push(searched);
        let parts = self.top_arguments(scope, arguments, span);
        self.open.truncate(opened);
        let [score, count, force, among] = parts?;
        let (Some((score, score_span)), Some((count, count_span))) = (score, count) else { return Err(super::Failed) };
        let score = self.want(score, Kind::Float, "the score of `top`", score_span)?;
        let number = self.arena.as_int(count.expr).filter(|n| (1..=MAX_COUNT).contains(n));
        let Some(number) = number else {
            return self.error(
                Diagnostic::new(count_span, format!("the count of `top` is a constant from 1 to {MAX_COUNT}"))
                    .label(match self.arena.as_int(count.expr) {
                        Some(n) => format!("this is {n}"),
                        None => "this is not known when compiling".to_string(),
                    })
                    .help("lists have the same length for all queries; leave entries out with `among`"),
            );
        };
        let mut axes = score.axes.clone();
        let mut condition = |checker: &mut Self, part: Option<(Value, Span)>, what| -> Result<Option<ExprId>> {
            let Some((value, span)) = part else { return Ok(None) };
            let value = checker.want(value, Kind::Bool, what, span)?;
            merge(&mut axes, &value.axes);
            Ok(Some(value.expr))
        };
        let force = condition(self, force, "`force`")?;
        let among = condition(self, among, "`among`")?;
        axes.retain(|&axis| axis != searched);
        let entries = Some(Extent::Const(number));
        let axes = match head {
            None => {
                let entry = self.new_axis(&format!("{}_entry", name.text), entries, false);
                axes.push(entry);
                axes
            }
            Some(head) => {
                let mut fresh = vec![];
                let stored = self.head(scope, name, head, &mut fresh)?;
                let Some((&last, outer)) = stored.split_last() else {
                    return self.error(Diagnostic::new(name.span, "the list's entries need an axis").help(format!(
                        "write `let {} = top[...](...);`, or name it last: `let {0}[.., n] = ...`",
                        name.text
                    )));
                };
                if let Some(&(axis, span)) = fresh.iter().find(|(axis, _)| outer.contains(axis)) {
                    let known = format!("there is no axis `{}` here", self.axis_name(axis));
                    return self.error(Diagnostic::new(span, known).label("only the last axis is new: the list's own"));
                }
                if self.axes[last.0 as usize].extent.get_or_insert(Extent::Const(number)) != &Extent::Const(number) {
                    return self.error(
                        Diagnostic::new(name.span, format!("`{}` lists {number} values", name.text))
                            .label(format!("its last axis, `{}`, has another extent", self.axis_name(last)))
                            .help(format!("name a new axis last: `let {}[.., n] = ...`", name.text)),
                    );
                }
                if outer.contains(&searched) {
                    let searched = self.axis_name(searched).to_string();
                    return self.error(
                        Diagnostic::new(name.span, format!("`{}` chooses along `{searched}`", name.text))
                            .label(format!("so `{searched}` is none of its axes"))
                            .help(format!("remove `{searched}`: the list has the values of it that were chosen")),
                    );
                }
                self.covers(name, outer, &axes)?;
                stored
            }
        };
        let top = Top { axis: searched, count: number, score: score.expr, force, among };
        let tensor = self.add_tensor(&name.text, axes, None, Kind::Int, Source::Top(top), name.span);
        Ok(self.own_value(tensor))
    }

    #[allow(clippy::type_complexity)]
    fn top_arguments(
        &mut self,
        scope: &mut Scope,
        arguments: &[Argument],
        span: Span,
    ) -> Result<[Option<(Value, Span)>; 4]> {
        const NAMES: [&str; 4] = ["score", "count", "force", "among"];
        let mut given = [None, None, None, None];
        for (position, argument) in arguments.iter().enumerate() {
            let place = match &argument.name {
                None => position,
                Some(name) => NAMES.iter().position(|known| *known == name.text).unwrap_or(usize::MAX),
            };
            let place_span = argument.name.as_ref().map_or(argument.value.span, |name| name.span);
            let value = self.expr(scope, &argument.value)?;
            match given.get_mut(place) {
                Some(slot @ None) => *slot = Some((value, argument.value.span)),
                Some(_) => {
                    return self.error(
                        Diagnostic::new(place_span, format!("`{}` is given twice", NAMES[place]))
                            .help("remove one of them"),
                    );
                }
                None => {
                    let near = argument.name.as_ref().and_then(|name| nearest(&name.text, NAMES.into_iter()));
                    let message = match &argument.name {
                        Some(name) => format!("`top` has no argument `{}`", name.text),
                        None => format!("`top` takes at most {} arguments", NAMES.len()),
                    };
                    let diagnostic = Diagnostic::new(place_span, message);
                    let known = "its arguments are `score`, `count`, `force` and `among`";
                    return self.error(match near {
                        Some(near) => diagnostic.did_you_mean(near).note(known),
                        None => diagnostic.label(known),
                    });
                }
            }
        }
        if given[0].is_none() || given[1].is_none() {
            return self.error(
                Diagnostic::new(span, "`top` needs a score and a count")
                    .help("write `top[axis](score, count, force = ..., among = ...)`"),
            );
        }
        Ok(given)
    }

    fn results(&mut self, scope: &mut Scope, kernel: &'a ast::Kernel) -> Result<Vec<TensorId>> {
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
            let missing = self.axis_list(&missing);
            return self.error(
                Diagnostic::new(span, format!("this varies along {missing}"))
                    .label(format!("the result `{}` has axes {}", name.text, self.axis_list(&axes)))
                    .note_at(declaration.span, "declared here")
                    .help(format!("fold over {missing}, or add {them} to the result's axes")),
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
