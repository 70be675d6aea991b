//! Lists: what `top` chooses.

use super::Checker;
use super::scope::{Binding, Result, Scope, Value, merge};
use crate::ast::{self, Argument, AxisDeclaration};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::program::*;
use crate::source::Span;

impl<'a> Checker<'a> {
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
        let number = self.arena.as_int(count.expr).filter(|n| (1..=LONGEST_LIST).contains(n));
        let Some(number) = number else {
            return self.error(
                Diagnostic::new(count_span, format!("the count of `top` is a constant from 1 to {LONGEST_LIST}"))
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
}
