//! How the checker reports.

use super::Checker;
use super::scope::{Failed, Result, Scope, Value};
use crate::arena::Trouble;
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::program::*;
use crate::source::{SourceId, Span};

/// Most names that a message lists.
const MAX_LISTED: usize = 12;

/// Most errors of a program that are reported: nobody reads more.
const MAX_ERRORS: usize = 30;

impl Checker<'_> {
    /// Adds an error. One that lies in a library function is shown at the user's call of it.
    pub(super) fn report(&mut self, mut diagnostic: Diagnostic) {
        if let Some(span) = diagnostic.span {
            let place = self.user_place(span);
            if place != span {
                diagnostic.suggestion = None;
                let label = match std::mem::take(&mut diagnostic.label) {
                    label if label.is_empty() => "because of this".to_string(),
                    label => label,
                };
                diagnostic.span = Some(place);
                diagnostic.notes.insert(0, crate::diagnostic::Note { message: label, span: Some(span) });
                diagnostic.label =
                    self.calls.first().map_or(String::new(), |(name, _)| format!("in this call of `{name}`"));
            } else if let Some((name, call)) = self.calls.last().cloned()
                && call.source == SourceId::USER
                && !(call.start <= span.start && span.end <= call.end)
            {
                diagnostic = diagnostic.note_at(call, format!("in this call of `{name}`"));
            }
        }
        if self.diagnostics.len() < MAX_ERRORS && !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Adds an error and gives up what is being checked.
    pub(super) fn error<T>(&mut self, diagnostic: Diagnostic) -> Result<T> {
        self.report(diagnostic);
        Err(Failed)
    }

    /// The place itself if it is the user's, else the call that led there.
    pub(super) fn user_place(&self, span: Span) -> Span {
        if span.source == SourceId::USER {
            return span;
        }
        self.calls.iter().rev().map(|&(_, call)| call).find(|call| call.source == SourceId::USER).unwrap_or(span)
    }

    /// Reports what went wrong while building expressions, if anything.
    pub(super) fn settle(&mut self, span: Span) -> Result<()> {
        match self.arena.trouble.take() {
            None => Ok(()),
            Some(Trouble::Overflow) => {
                self.error(Diagnostic::new(span, "an integer constant here does not fit 64 bits").help(
                    "integers go up to 9223372036854775807; for larger numbers write them with a point, as in `1.0`",
                ))
            }
            Some(Trouble::Divisor) => self.error(
                Diagnostic::new(span, "integers are divided by positive constants only")
                    .label("the divisor is zero or negative")
                    .help("for numbers that may be negative, divide floating values: `x / -2.0`"),
            ),
            Some(Trouble::TooLarge) => self.error(
                Diagnostic::new(span, "the program is too large")
                    .label("this makes its expressions too many or too deep")
                    .help("give parts of it names with `let` in the kernel"),
            ),
        }
    }

    /// "`t`, `g` and an axis of 3 values": axes for messages. Those that only have a size have no name that a user knows.
    pub(super) fn axis_list(&self, axes: &[AxisId]) -> String {
        let words = |axis: &AxisId| {
            let info = &self.axes[axis.0 as usize];
            match &info.extent {
                Some(Extent::Const(n)) if info.anonymous => {
                    format!("an axis of {}", super::index::count(*n as usize, "value", "values"))
                }
                _ => format!("`{}`", info.name),
            }
        };
        joined(&axes.iter().map(words).collect::<Vec<_>>())
    }

    /// What to do about axes that a value varies along and must not; `fold` says so for axes that have names.
    pub(super) fn fold_help(&self, axes: &[AxisId], fold: String) -> String {
        let unnamed = axes.iter().map(|axis| &self.axes[axis.0 as usize]).find(|info| info.anonymous);
        match unnamed.map(|info| &info.extent) {
            Some(Some(Extent::Const(n))) => {
                format!("index it, or give it a name in the signature to fold over: `n = {n}` in place of `{n}`")
            }
            _ => fold,
        }
    }

    pub(super) fn axis_name(&self, axis: AxisId) -> &str {
        &self.axes[axis.0 as usize].name
    }

    /// An unknown name, with the nearest known one of any sort.
    pub(super) fn unknown<T>(&mut self, scope: &Scope, what: &str, name: &str, span: Span, axes: bool) -> Result<T> {
        let mut known: Vec<String> = scope.names(axes).map(String::from).collect();
        if !axes {
            known.extend(scope.names(true).map(String::from));
            if scope.constants {
                known.extend(self.constants.iter().map(|(name, ..)| name.clone()));
            }
        }
        // Where constants are all that there can be, as in an extent, it is one of them that is missing.
        let sizes = !axes && scope.constants && scope.mark() == 0;
        let what = if sizes { "constant" } else { what };
        let mut diagnostic = Diagnostic::new(span, format!("there is no {what} `{name}` here"));
        if let Some(near) = nearest(name, known.iter().map(|name| name.as_str())) {
            diagnostic = diagnostic.did_you_mean(near);
        } else if axes && !known.is_empty() {
            known.dedup();
            diagnostic = diagnostic.label("unknown axis").note(format!("the axes here are {}", list(&known)));
        } else {
            diagnostic = diagnostic.label("unknown name");
            // An axis that has its extent from a constant is an axis.
            let is_axis = |name: &str| scope.names(true).any(|axis| axis == name);
            let constants = self.constants.iter().map(|(name, ..)| name.clone());
            let constants = constants.filter(|name| scope.constants && !is_axis(name));
            let sorts = [
                ("tensors", scope.names(false).map(String::from).collect::<Vec<_>>()),
                ("axes", scope.names(true).map(String::from).collect()),
                ("constants", constants.collect()),
            ];
            for (sort, mut names) in sorts {
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(name.clone()));
                if (1..=MAX_LISTED).contains(&names.len()) {
                    diagnostic = diagnostic.note(format!("the {sort} here are {}", list(&names)));
                }
            }
            if sizes {
                diagnostic = diagnostic.help(format!("define it before: `const {name} = 64;`"));
            }
        }
        self.error(diagnostic)
    }

    /// Requires a kind; integers become floating where floating is asked for.
    pub(super) fn want(&mut self, value: Value, kind: Kind, what: &str, span: Span) -> Result<Value> {
        if value.kind == kind {
            return Ok(value);
        }
        if kind == Kind::Float && value.kind == Kind::Int {
            let expr = self.arena.float(value.expr);
            return Ok(Value { expr, kind, ..value });
        }
        let is = match value.kind {
            Kind::Int => "an integer",
            Kind::Float => "a floating value",
            Kind::Bool => "a condition",
        };
        let must = match kind {
            Kind::Int => "an integer",
            Kind::Float => "a number",
            Kind::Bool => "a condition",
        };
        let help = match (kind, value.kind) {
            (Kind::Float, _) => "choose between numbers: `if condition { 1.0 } else { 0.0 }`",
            (Kind::Int, Kind::Float) => "integers are axes, lengths, `i32` tensors and what `+ - * / %` make of them",
            (Kind::Int, _) => "write the integer itself, such as an axis or a constant",
            (Kind::Bool, _) => "compare it with something: `x > 0`",
        };
        self.error(Diagnostic::new(span, format!("{what} must be {must}")).label(format!("this is {is}")).help(help))
    }
}

impl Checker<'_> {
    /// An axis in words: one that only has a size is called by its place in its tensor.
    pub(super) fn axis_words(&self, axis: AxisId, tensor: TensorId) -> String {
        let info = &self.axes[axis.0 as usize];
        let tensor = &self.tensors[tensor.0 as usize];
        match tensor.axes.iter().position(|other| *other == axis) {
            Some(place) if info.anonymous => format!("axis {} of `{}`", place + 1, tensor.name),
            _ => format!("axis `{}` of `{}`", info.name, tensor.name),
        }
    }
}

/// `a`, `b` and `c`, quoted.
pub(super) fn list(names: &[String]) -> String {
    joined(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

/// a, b and c.
fn joined(words: &[String]) -> String {
    match words {
        [] => "none".to_string(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
