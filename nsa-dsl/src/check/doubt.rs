//! Warnings: what means something, and hardly what was meant.
//!
//! Only what has no good use is warned about, and only where the user wrote it: functions that are called with different
//! arguments mean something different each time.

use super::Checker;
use super::scope::Value;
use crate::ast::{self, AxisDeclaration, Body, Expr as Written, ExprKind, FoldKind, PatternItem};
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::{SourceId, Span};
use std::collections::HashSet;

/// What the library calls a position among keys.
const POSITION: &str = "p";

impl<'a> Checker<'a> {
    fn doubt(&mut self, diagnostic: Diagnostic) {
        if !self.warnings.contains(&diagnostic) {
            self.warnings.push(diagnostic);
        }
    }

    /// Names that are given and never used: parameters and definitions of the kernel and of the user's functions.
    pub(super) fn unused(&mut self, file: &'a ast::File) {
        for item in &file.items {
            match item {
                ast::Item::Function(function) => self.unused_of_function(function),
                ast::Item::Kernel(kernel) => self.unused_of_kernel(kernel),
                ast::Item::Const(_) | ast::Item::Element(..) => {}
            }
        }
    }

    fn unused_of_kernel(&mut self, kernel: &'a ast::Kernel) {
        let mut used = HashSet::new();
        names_of_body(&kernel.body, &mut used);
        for (place, param) in kernel.params.iter().enumerate() {
            // Whoever gives an axis its length is of use.
            let others =
                || kernel.params.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, param)| param);
            let elsewhere = |axis: &str| others().any(|other| named(&other.axes).any(|name| name == axis));
            let in_result =
                |axis: &str| kernel.results.iter().any(|result| named(&result.axes).any(|name| name == axis));
            let gives = |axis: &str| !elsewhere(axis) && (used.contains(axis) || in_result(axis));
            if !used.contains(param.name.text.as_str()) && !named(&param.axes).any(gives) {
                self.unused_name(&param.name, "parameter");
            }
        }
        self.unused_lets(&kernel.body);
    }

    fn unused_of_function(&mut self, function: &'a ast::Function) {
        let mut used = HashSet::new();
        names_of_body(&function.body, &mut used);
        function.params.iter().filter_map(|param| param.default.as_ref()).for_each(|value| names(value, &mut used));
        for (place, param) in function.params.iter().enumerate() {
            let axes = |param: &'a ast::FunctionParam| {
                param.pattern.iter().flatten().filter_map(|item| match item {
                    PatternItem::Axis(name) => Some(name.text.as_str()),
                    PatternItem::Rest(_) => None,
                })
            };
            // An axis that another parameter has as well says that the two go together.
            let others: HashSet<&str> = function
                .params
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place)
                .flat_map(|(_, p)| axes(p))
                .collect();
            let says = axes(param).any(|axis| used.contains(axis) || others.contains(axis));
            if !used.contains(param.name.text.as_str()) && !says {
                self.unused_name(&param.name, "parameter");
            }
        }
        self.unused_lets(&function.body);
    }

    fn unused_lets(&mut self, body: &'a Body) {
        for (place, definition) in body.lets.iter().enumerate() {
            let mut later = HashSet::new();
            body.lets[place + 1..].iter().for_each(|definition| names_of_let(definition, &mut later));
            body.values.iter().for_each(|value| names(value, &mut later));
            // Of several values one is often all that is wanted.
            if definition.targets.iter().any(|(name, _)| later.contains(name.text.as_str())) {
                continue;
            }
            // A head may be there for its axes, which later definitions share.
            let heads = definition.targets.iter().flat_map(|(_, head)| head.iter().flatten());
            if !heads.filter_map(axis_name).any(|axis| later.contains(axis))
                && let Some((name, _)) = definition.targets.first()
            {
                self.unused_name(name, "definition");
            }
        }
    }

    fn unused_name(&mut self, name: &ast::Name, what: &str) {
        if !name.text.starts_with('_') {
            self.doubt(
                Diagnostic::warning(name.span, format!("`{}` is never used", name.text))
                    .label(format!("this {what}"))
                    .help(format!("remove it, or begin its name with `_`: `_{}`", name.text)),
            );
        }
    }

    /// A fold along an axis that neither its operand nor its condition varies along.
    pub(super) fn doubt_fold(
        &mut self,
        kind: FoldKind,
        (folded, span): (AxisId, Span),
        value: &Value,
        guard: Option<&Value>,
    ) {
        let varies = |value: &Value| value.axes.contains(&folded);
        // `sum[s] 1.0` counts.
        if span.source != SourceId::USER
            || !self.calls.is_empty()
            || value.axes.is_empty()
            || varies(value)
            || guard.is_some_and(varies)
        {
            return;
        }
        let axis = self.axis_name(folded).to_string();
        let what = match kind {
            FoldKind::Sum => format!("the same number is added up as often as `{axis}` has values"),
            FoldKind::Softmax | FoldKind::LogSumExp => format!("all values along `{axis}` are the same"),
            _ => "it has no effect".to_string(),
        };
        self.doubt(
            Diagnostic::warning(span, format!("the operand of `{}` does not vary along `{axis}`", kind.name()))
                .label(what)
                .note(format!("it varies along {}", self.axis_list(&value.axes)))
                .help(format!("remove `{axis}`, or index by `{axis}` what should vary along it")),
        );
    }

    /// `x in list` where the list has values of one axis and `x` is of another: keys and blocks of keys.
    pub(super) fn doubt_member(&mut self, x: &Value, span: Span, list: TensorId) {
        let Source::Top(top) = &self.tensors[list.0 as usize].source else { return };
        let (listed, list) = (top.axis, self.tensors[list.0 as usize].name.clone());
        let of = self.axis_name(listed).to_string();
        let wrong =
            |found: String| Diagnostic::warning(span, format!("`{list}` lists values of `{of}`, and this is {found}"));
        let diagnostic = match *self.arena.get(x.expr) {
            Expr::IntBin(IntBin::Div, a, _) if *self.arena.get(a) == Expr::Axis(listed) => {
                wrong("the number of a block of them".into()).help(format!("write `{of} in {list}`"))
            }
            Expr::Axis(own) if own != listed => match self.values_per_block(listed, own) {
                Some(size) => {
                    let own = self.axis_name(own).to_string();
                    wrong(format!("a value of `{own}`, of which there are {size} for each"))
                        .help(format!("write `{own} / {size} in {list}`"))
                }
                None => return,
            },
            _ => return,
        };
        if span.source == SourceId::USER && self.calls.is_empty() {
            self.doubt(diagnostic);
        }
    }

    /// How many values of `axis` there are for each of `blocks`, if `blocks` has as many as `axis` divided by that, rounded in
    /// any way.
    fn values_per_block(&self, blocks: AxisId, axis: AxisId) -> Option<i64> {
        let Some(Extent::Derived(extent)) = self.axes[blocks.0 as usize].extent else { return None };
        let Expr::IntBin(IntBin::Div, length, size) = *self.arena.get(extent) else { return None };
        let length = match *self.arena.get(length) {
            Expr::IntBin(IntBin::Add, length, more) if self.arena.as_int(more).is_some() => length,
            _ => length,
        };
        let size = self.arena.as_int(size).filter(|size| *size > 1)?;
        (*self.arena.get(length) == Expr::Len(axis)).then_some(size)
    }

    /// A query's number where a function of the library asks for its position among the keys.
    pub(super) fn doubt_position(&mut self, function: &ast::Function, given: &[Option<(Value, Span)>]) {
        if function.name.span.source == SourceId::USER {
            return;
        }
        let runtime = |value: &Value| match *self.arena.get(value.expr) {
            Expr::Axis(axis) if self.runtime.contains(&axis) => Some(axis),
            _ => None,
        };
        let at = |name: &str| function.params.iter().position(|param| param.name.text == name);
        let Some((position, span)) = at(POSITION).and_then(|at| given.get(at)).and_then(Option::as_ref) else { return };
        let Some(query) = runtime(position).filter(|_| span.source == SourceId::USER) else { return };
        let keys = given.iter().flatten().filter_map(|(value, _)| runtime(value)).find(|axis| *axis != query);
        let Some(keys) = keys else { return };
        let (name, keys) = (self.axis_name(query).to_string(), self.axis_name(keys).to_string());
        let meant = match self.runtime.len() {
            2 => format!("pos({name})"),
            _ => format!("pos({name}, {keys})"),
        };
        let message =
            format!("`{}` is given the number of a query, not its position among the keys", function.name.text);
        self.doubt(
            Diagnostic::warning(*span, message)
                .did_you_mean(&meant)
                .help(format!("they differ where there are more values of `{keys}` than of `{name}`, as in decoding")),
        );
    }
}

fn axis_name(axis: &AxisDeclaration) -> Option<&str> {
    if let AxisDeclaration::Named(name, _) = axis { Some(&name.text) } else { None }
}

fn named(axes: &[AxisDeclaration]) -> impl Iterator<Item = &str> {
    axes.iter().filter_map(axis_name)
}

/// All names that a body's definitions and values mention.
fn names_of_body<'n>(body: &'n Body, into: &mut HashSet<&'n str>) {
    body.lets.iter().for_each(|definition| names_of_let(definition, into));
    body.values.iter().for_each(|value| names(value, into));
}

fn names_of_let<'n>(definition: &'n ast::Let, into: &mut HashSet<&'n str>) {
    for axis in definition.targets.iter().flat_map(|(_, head)| head.iter().flatten()) {
        names_of_axis(axis, into);
    }
    names(&definition.value, into);
}

fn names_of_axis<'n>(axis: &'n AxisDeclaration, into: &mut HashSet<&'n str>) {
    into.extend(axis_name(axis));
    if let AxisDeclaration::Named(_, Some(extent)) | AxisDeclaration::Size(extent) = axis {
        names(extent, into);
    }
}

/// All names that an expression mentions: of values, of axes, of functions.
fn names<'n>(expr: &'n Written, into: &mut HashSet<&'n str>) {
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        match &*expr.kind {
            ExprKind::Name(name) => {
                into.insert(name);
            }
            ExprKind::Index(name, _) | ExprKind::Call(name, _) | ExprKind::Top(name, _) => {
                into.insert(&name.text);
            }
            ExprKind::Fold(_, _, axes, _) => into.extend(named(axes)),
            _ => {}
        }
        expr.kind.children(|child| pending.push(child));
    }
}
