//! Calls: functions are expanded, their parameters bound to checked arguments.

use super::scope::{Binding, Result, Scope, Value};
use super::{Checker, MAX_CALLS, builtin};
use crate::ast::{self, Argument, ExprKind, PatternItem};
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

/// What the library calls queries.
const QUERIES: &str = "q";

/// What functions of other languages are in this one.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "not" => "negation is `!`: `!p`",
        "select" | "ifelse" => "to choose is `if p { x } else { y }`",
        "matmul" | "dot" | "einsum" | "bmm" => {
            "a product of matrices is a sum over the axis they share: `sum[d] q * k`"
        }
        "transpose" | "permute" | "reshape" => {
            "axes have names, so that their order does not matter: index what differs"
        }
        "pow" => "there are no powers: write `x * x`, or `exp(y * log(x))`",
        _ => return None,
    })
}

/// A parameter with its pattern: `k[s, .., d]`.
fn shape(param: &ast::FunctionParam) -> String {
    ast::FunctionParam { default: None, ..param.clone() }.to_string()
}

impl<'a> Checker<'a> {
    /// A call, with all its values.
    pub(super) fn call(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Result<Vec<Value>> {
        let Some(&function) = self.functions.get(name.text.as_str()) else {
            if builtin::is_builtin(&name.text) {
                return Ok(vec![self.builtin(scope, name, arguments, span)?]);
            }
            let mut diagnostic = Diagnostic::new(name.span, format!("there is no function `{}`", name.text));
            let mut known: Vec<String> = self.functions.keys().map(|name| name.to_string()).collect();
            known.extend(builtin::names().map(String::from));
            // The order of a hash map must not choose between equally near names.
            known.sort();
            if let Some(help) = elsewhere(&name.text) {
                diagnostic = diagnostic.label("not of this language").help(help);
            } else if let Some(near) = crate::nearest::nearest(&name.text, known.iter().map(|name| name.as_str())) {
                diagnostic = diagnostic.did_you_mean(near);
            } else if scope.get(&name.text).is_some() {
                diagnostic = diagnostic.label("this is a value: it is indexed with square brackets");
            } else {
                diagnostic = diagnostic.label("unknown function").help(format!(
                    "define it in this file, `fn {}(...) {{ ... }}`, or use one of the library's, such as `attend` or `softcap`",
                    name.text
                ));
            }
            return self.error(diagnostic);
        };
        if self.calls.iter().any(|(other, _)| *other == name.text) {
            return self.error(
                Diagnostic::new(name.span, format!("`{}` calls itself", name.text))
                    .note("functions are expanded where they are called, so that none can be recursive"),
            );
        }
        self.expansions += 1;
        if self.expansions > MAX_CALLS {
            return self.error(Diagnostic::new(span, format!("the program expands to more than {MAX_CALLS} calls")));
        }
        let values = self.match_arguments(scope, function, arguments, span)?;
        self.calls.push((name.text.clone(), span));
        let result = self.expand(function, values);
        self.calls.pop();
        result
    }

    /// The argument of each parameter, in the order of the parameters.
    fn match_arguments(
        &mut self,
        scope: &mut Scope,
        function: &'a ast::Function,
        arguments: &[Argument],
        span: Span,
    ) -> Result<Vec<Option<(Value, Span)>>> {
        let name = &function.name.text;
        let mut given: Vec<Option<(Value, Span)>> = vec![None; function.params.len()];
        let mut named = false;
        for (position, argument) in arguments.iter().enumerate() {
            let place = match &argument.name {
                Some(parameter) => {
                    named = true;
                    let found = function.params.iter().position(|param| param.name.text == parameter.text);
                    let Some(found) = found else {
                        let known: Vec<String> = function.params.iter().map(|param| param.name.text.clone()).collect();
                        let near = crate::nearest::nearest(&parameter.text, known.iter().map(|name| name.as_str()));
                        let wrong =
                            Diagnostic::new(parameter.span, format!("`{name}` has no parameter `{}`", parameter.text));
                        return self.error(match near {
                            Some(near) => wrong.did_you_mean(near),
                            None => wrong.label(format!("its parameters are {}", super::report::list(&known))),
                        });
                    };
                    found
                }
                None if named => {
                    return self.error(
                        Diagnostic::new(argument.value.span, "an argument without a name stands after one with a name")
                            .help("name this one as well, or put it before the others"),
                    );
                }
                None if position >= function.params.len() => {
                    let most = super::index::count(function.params.len(), "argument", "arguments");
                    let known: Vec<String> = function.params.iter().map(|param| param.name.text.clone()).collect();
                    return self.error(
                        Diagnostic::new(argument.value.span, format!("`{name}` takes at most {most}"))
                            .label("one too many")
                            .note(format!("its parameters are {}", super::report::list(&known))),
                    );
                }
                None => position,
            };
            let value = self.expr(scope, &argument.value)?;
            if given[place].replace((value, argument.value.span)).is_some() {
                let twice = format!("`{}` is given twice", function.params[place].name.text);
                return self.error(Diagnostic::new(argument.value.span, twice).help("remove one of them"));
            }
        }
        for (param, value) in function.params.iter().zip(&given) {
            if value.is_none() && param.default.is_none() {
                return self.error(
                    Diagnostic::new(span, format!("`{name}` needs `{}`", param.name.text))
                        .label(format!("`{}` is not given", param.name.text))
                        .note_at(param.name.span, "declared here")
                        .help(format!("give it by place or by name: `{} = ...`", param.name.text)),
                );
            }
        }
        self.doubt_position(function, &given);
        Ok(given)
    }

    fn expand(&mut self, function: &'a ast::Function, given: Vec<Option<(Value, Span)>>) -> Result<Vec<Value>> {
        let mut scope = Scope::new(function.name.span.source == SourceId::USER);
        // The places of the arguments that gave axes their names.
        let mut givers: Vec<(&str, Span)> = vec![];
        for (param, value) in function.params.iter().zip(given) {
            let (value, span) = match (value, &param.default) {
                (Some(given), _) => given,
                (None, Some(default)) => (self.expr(&mut scope, default)?, default.span),
                (None, None) => return Err(super::Failed),
            };
            if let Some(pattern) = &param.pattern {
                self.bind_pattern(&mut scope, function, (param, pattern), (&value, span), &givers)?;
                let axes = pattern.iter().filter_map(|item| match item {
                    PatternItem::Axis(name) => Some(name.text.as_str()),
                    PatternItem::Rest(_) => None,
                });
                givers.extend(axes.map(|axis| (axis, span)));
            }
            if let Some((Binding::Axis(_), first)) = scope.get(&param.name.text) {
                return self.error(
                    Diagnostic::new(
                        param.name.span,
                        format!("`{}` is both a parameter and an axis of `{}`", param.name.text, function.name.text),
                    )
                    .note_at(first, "the axis")
                    .help("give one of them another name"),
                );
            }
            scope.bind(&param.name.text, Binding::Value(value), param.name.span);
        }
        for definition in &function.body.lets {
            self.abbreviation(&mut scope, definition)?;
        }
        let mut values = vec![];
        for value in &function.body.values {
            values.push(self.expr(&mut scope, value)?);
        }
        Ok(values)
    }

    /// Gives the axes of an argument the names that the parameter's pattern has for them.
    fn bind_pattern(
        &mut self,
        scope: &mut Scope,
        function: &ast::Function,
        (param, pattern): (&ast::FunctionParam, &[PatternItem]),
        (value, span): (&Value, Span),
        givers: &[(&str, Span)],
    ) -> Result<()> {
        let named = pattern.iter().filter(|item| matches!(item, PatternItem::Axis(_))).count();
        let rest = pattern.iter().position(|item| matches!(item, PatternItem::Rest(_)));
        let rank = value.axes.len();
        if named > rank || (rest.is_none() && named < rank) {
            let expected = super::index::count(named, "axis", "axes");
            let at_least = if rest.is_some() { "at least " } else { "" };
            let mut diagnostic = Diagnostic::new(
                span,
                format!("`{}` of `{}` has {at_least}{expected}", param.name.text, function.name.text),
            );
            diagnostic = diagnostic.label(if rank == 0 {
                "this varies along no axis".to_string()
            } else {
                format!("this has {}: {}", super::index::count(rank, "axis", "axes"), self.axis_list(&value.axes))
            });
            diagnostic = diagnostic.help("give it a tensor, or an expression, that varies along as many axes");
            return self.at_call(diagnostic);
        }
        for (place, item) in pattern.iter().enumerate() {
            let PatternItem::Axis(name) = item else { continue };
            let from_end = rest.is_some_and(|rest| place > rest);
            let axis = value.axes[if from_end { rank - (pattern.len() - place) } else { place }];
            match scope.get(&name.text) {
                None => scope.bind(&name.text, Binding::Axis(axis), name.span),
                Some((Binding::Axis(other), _)) if *other == axis => {}
                Some((Binding::Axis(other), _)) => {
                    let (here, there) = (self.axis_name(axis).to_string(), self.axis_name(*other).to_string());
                    let mut diagnostic = Diagnostic::new(
                        span,
                        format!("axis `{}` of `{}` is both `{there}` and `{here}`", name.text, function.name.text),
                    )
                    .label(format!("`{here}` here"));
                    if let Some((_, giver)) = givers.iter().find(|(axis, _)| *axis == name.text) {
                        diagnostic = diagnostic.note_at(*giver, format!("`{there}` here"));
                    }
                    let params: Vec<String> = function.params.iter().map(shape).collect();
                    let library = function.name.span.source != SourceId::USER;
                    let queries = library && function.params.first().is_some_and(|first| first.name.text == QUERIES);
                    let order = if queries { "queries come first: " } else { "" };
                    diagnostic = diagnostic
                        .note(format!("{order}its arguments are, in this order, {}", super::report::list(&params)))
                        .help(format!(
                            "if the order is right, index one of them by the other's axis: `name[.., {there}]`"
                        ));
                    return self.at_call(diagnostic);
                }
                Some(_) => {
                    return self.error(
                        Diagnostic::new(
                            name.span,
                            format!("`{}` is both an axis and a parameter of `{}`", name.text, function.name.text),
                        )
                        .help("give one of them another name"),
                    );
                }
            }
        }
        Ok(())
    }

    /// An error about an argument: shown where it was written, not in the function.
    fn at_call<T>(&mut self, diagnostic: Diagnostic) -> Result<T> {
        let call = self.calls.pop();
        self.report(diagnostic);
        self.calls.extend(call);
        Err(super::Failed)
    }

    /// A `let` of a function: its names stand for its values. Only lists are tensors of their own.
    fn abbreviation(&mut self, scope: &mut Scope, definition: &'a ast::Let) -> Result<()> {
        for (name, axes) in &definition.targets {
            if axes.is_some() {
                return self.error(
                    Diagnostic::new(name.span, "definitions inside functions take their axes from their values")
                        .help(format!("write `let {} = ...`", name.text)),
                );
            }
        }
        if let (ExprKind::Top(axis, arguments), [(name, _)]) = (&*definition.value.kind, definition.targets.as_slice())
        {
            let value = self.top(scope, name, None, axis, arguments, definition.value.span)?;
            scope.bind(&name.text, Binding::Value(value), name.span);
            return Ok(());
        }
        let values = self.values(scope, definition)?;
        for ((name, _), value) in definition.targets.iter().zip(values) {
            scope.bind(&name.text, Binding::Value(value), name.span);
        }
        Ok(())
    }

    /// The values of the right side of a `let`, one per name.
    pub(super) fn values(&mut self, scope: &mut Scope, definition: &'a ast::Let) -> Result<Vec<Value>> {
        let value = &definition.value;
        if definition.targets.len() == 1 {
            return Ok(vec![self.expr(scope, value)?]);
        }
        let ExprKind::Call(name, arguments) = &*value.kind else {
            return self.error(
                Diagnostic::new(value.span, "only a call gives several values")
                    .label(format!("{} names stand before it", definition.targets.len()))
                    .help("define one name after the other: `let a = ...; let b = ...;`"),
            );
        };
        let values = self.call(scope, name, arguments, value.span)?;
        self.settle(value.span)?;
        if values.len() != definition.targets.len() {
            return self.error(
                Diagnostic::new(
                    value.span,
                    format!("`{}` gives {}", name.text, super::index::count(values.len(), "value", "values")),
                )
                .label(format!("{} names stand before it", definition.targets.len()))
                .help(match values.len() {
                    1 => "name it alone: `let a = ...;`".to_string(),
                    n => format!("give {n} names, or one for the first value"),
                }),
            );
        }
        Ok(values)
    }
}
