//! The primitive functions.

use super::Checker;
use super::scope::{Binding, Result, Scope, Value, merge};
use crate::ast::{self, Argument};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;

/// Floating functions of one value.
const UNARY: [Unary; 9] = [
    Unary::Abs,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Relu,
    Unary::Silu,
    Unary::Gelu,
];

/// The other primitives that are called with round brackets.
const OTHERS: [&str; 10] = ["min", "max", "shift", "ratio", "len", "pos", "float", "ceil_div", "stop_gradient", "cast"];

/// Operations along axes, and the words for them.
const FOLDS: [&str; 5] = ["sum", "mean", "softmax", "logsumexp", "top"];

/// Whether the language itself defines this name.
pub(super) fn is_builtin(name: &str) -> bool {
    UNARY.iter().any(|op| op.name() == name) || OTHERS.contains(&name) || FOLDS.contains(&name)
}

/// All primitives that can be called.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    UNARY.iter().map(|op| op.name()).chain(OTHERS)
}

impl Checker<'_> {
    /// A call of a primitive.
    pub(super) fn builtin(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Result<Value> {
        let text = name.text.as_str();
        if FOLDS.contains(&text) {
            return self.error(
                Diagnostic::new(name.span, format!("`{text}` goes along an axis"))
                    .help(format!("write `{text}[axis]` before the operand")),
            );
        }
        if let Some(argument) = arguments.iter().find(|argument| argument.name.is_some()) {
            return self.error(
                Diagnostic::new(argument.value.span, format!("the arguments of `{text}` have no names"))
                    .help(format!("write the value alone: `{text}(...)`")),
            );
        }
        if text == "len" || text == "pos" {
            return self.axis_function(scope, name, arguments, span);
        }
        if let Some(op) = UNARY.into_iter().find(|op| op.name() == text) {
            let [x] = self.arguments(scope, name, arguments, span)?;
            if op == Unary::Abs && x.kind == Kind::Int {
                let zero = self.arena.int(0);
                let negative = self.arena.int_bin(IntBin::Sub, zero, x.expr);
                return Ok(Value { expr: self.arena.int_bin(IntBin::Max, x.expr, negative), ..x });
            }
            let x = self.want(x, Kind::Float, &format!("the operand of `{text}`"), arguments[0].value.span)?;
            return Ok(Value { expr: self.arena.unary(op, x.expr), ..x });
        }
        match text {
            "stop_gradient" | "float" => {
                let [x] = self.arguments(scope, name, arguments, span)?;
                let x = self.want(x, Kind::Float, &format!("the operand of `{text}`"), arguments[0].value.span)?;
                if text == "float" {
                    return Ok(x);
                }
                Ok(Value { expr: self.arena.add(Expr::StopGradient(x.expr)), ..x })
            }
            "cast" => self.error(Diagnostic::new(span, "`cast` takes a value and a type: `cast(x, f16)`")),
            "ceil_div" => {
                let [a, b] = self.arguments(scope, name, arguments, span)?;
                let a = self.want(a, Kind::Int, "the dividend of `ceil_div`", arguments[0].value.span)?;
                let b = self.want(b, Kind::Int, "the divisor of `ceil_div`", arguments[1].value.span)?;
                // (a + b - 1) / b
                let one = self.arena.int(1);
                let most = self.arena.int_bin(IntBin::Sub, b.expr, one);
                let mut axes = a.axes.clone();
                merge(&mut axes, &b.axes);
                let sum = Value { expr: self.arena.int_bin(IntBin::Add, a.expr, most), ..a };
                Ok(Value::new(self.integer(IntBin::Div, &sum, &b, &arguments[1].value)?, Kind::Int, axes))
            }
            _ => {
                let [a, b] = self.arguments(scope, name, arguments, span)?;
                let mut axes = a.axes.clone();
                merge(&mut axes, &b.axes);
                let integer = match text {
                    "min" => Some(IntBin::Min),
                    "max" => Some(IntBin::Max),
                    _ => None,
                };
                if let (Some(op), Kind::Int, Kind::Int) = (integer, a.kind, b.kind) {
                    return Ok(Value::new(self.arena.int_bin(op, a.expr, b.expr), Kind::Int, axes));
                }
                let what = format!("an operand of `{text}`");
                let a = self.want(a, Kind::Float, &what, arguments[0].value.span)?;
                let b = self.want(b, Kind::Float, &what, arguments[1].value.span)?;
                let op = match text {
                    "min" => Binary::Min,
                    "max" => Binary::Max,
                    "shift" => Binary::Shift,
                    _ => Binary::Ratio,
                };
                Ok(Value::new(self.arena.binary(op, a.expr, b.expr), Kind::Float, axes))
            }
        }
    }

    fn arguments<const N: usize>(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Result<[Value; N]> {
        if arguments.len() != N {
            let takes = super::index::count(N, "argument", "arguments");
            return self.error(
                Diagnostic::new(span, format!("`{}` takes {takes}", name.text))
                    .label(format!("{} given", arguments.len()))
                    .help(match (name.text.as_str(), N) {
                        (fold @ ("max" | "min"), _) => {
                            format!("write `{fold}(x, y)`; along an axis it is `{fold}[axis] x`")
                        }
                        (name, 1) => format!("write `{name}(x)`"),
                        (name, _) => format!("write `{name}(x, y)`"),
                    }),
            );
        }
        let mut values = vec![];
        for argument in arguments {
            values.push(self.expr(scope, &argument.value)?);
        }
        values.try_into().map_err(|_| super::Failed)
    }

    /// `len(axis)`, `pos(axis)`, `pos(axis, keys)`.
    fn axis_function(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Result<Value> {
        let most = if name.text == "pos" { 2 } else { 1 };
        if arguments.is_empty() || arguments.len() > most {
            let takes = if most == 2 { "one axis, or an axis and the keys' axis" } else { "one axis" };
            let help = if most == 2 { "`pos(axis)` or `pos(axis, keys)`" } else { "`len(axis)`" };
            return self
                .error(Diagnostic::new(span, format!("`{}` takes {takes}", name.text)).help(format!("write {help}")));
        }
        let mut axes = vec![];
        for argument in arguments {
            axes.push(self.axis_argument(scope, &name.text, &argument.value)?);
        }
        let axis = axes[0];
        if name.text == "len" {
            if self.axes[axis.0 as usize].extent.is_none() {
                return self.error(
                    Diagnostic::new(span, format!("the extent of `{}` is not known here", self.axis_name(axis)))
                        .help("give it in the head of the definition: `name[axis < extent]`"),
                );
            }
            return Ok(Value::new(self.len(axis)?, Kind::Int, vec![]));
        }
        for &one in &axes {
            if self.axes[one.0 as usize].extent != Some(Extent::Runtime) {
                return self.error(
                    Diagnostic::new(span, "a position is one of a run-time axis among another's")
                        .label(format!("the extent of `{}` is not given at run time", self.axis_name(one)))
                        .help(format!("the value of the axis itself is `{}`", self.axis_name(one))),
                );
            }
        }
        let keys = match axes.get(1) {
            Some(&keys) => keys,
            None => self.key_axis(axis, span)?,
        };
        let at = self.arena.axis(axis);
        if keys == axis {
            return Ok(Value::new(at, Kind::Int, vec![axis]));
        }
        if !self.positions.contains(&(axis, keys)) {
            self.positions.push((axis, keys));
        }
        let (queries, total) = (self.len(axis)?, self.len(keys)?);
        let before = self.arena.int_bin(IntBin::Sub, total, queries);
        Ok(Value::new(self.arena.int_bin(IntBin::Add, at, before), Kind::Int, vec![axis]))
    }

    fn axis_argument(&mut self, scope: &mut Scope, function: &str, argument: &ast::Expr) -> Result<AxisId> {
        if let ast::ExprKind::Name(text) = &*argument.kind {
            match scope.get(text) {
                Some((Binding::Axis(axis), _)) => return Ok(*axis),
                // A parameter of a function may stand for an axis.
                Some((Binding::Value(value), _)) => {
                    if let Expr::Axis(axis) = *self.arena.get(value.expr) {
                        return Ok(axis);
                    }
                }
                Some((Binding::Wrong, _)) => return Err(super::Failed),
                None => return self.unknown(scope, "axis", text, argument.span, true),
            }
        }
        let mut known: Vec<String> = scope.names(true).map(String::from).collect();
        known.dedup();
        self.error(
            Diagnostic::new(argument.span, format!("`{function}` is about an axis"))
                .label("expected the name of an axis alone")
                .note(format!("the axes here are {}", super::report::list(&known))),
        )
    }

    /// The one run-time axis of the signature beside `axis`.
    fn key_axis(&mut self, axis: AxisId, span: Span) -> Result<AxisId> {
        let others: Vec<AxisId> = self.runtime.iter().copied().filter(|&other| other != axis).collect();
        match others.as_slice() {
            [] => Ok(axis),
            [keys] => Ok(*keys),
            _ => {
                let names = self.axis_list(&others);
                let example = |keys: &AxisId| format!("`pos({}, {})`", self.axis_name(axis), self.axis_name(*keys));
                let examples: Vec<String> = others.iter().map(example).collect();
                self.error(
                    Diagnostic::new(span, "position among which keys?")
                        .label(format!("the run-time axes {names} all could be the keys'"))
                        .help(format!("name it: {}", examples.join(" or "))),
                )
            }
        }
    }
}
