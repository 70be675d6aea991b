//! Axes and their extents: declared, written, inferred from how they index.

use super::scope::{Number, Result, Scope};
use super::{AxisInfo, Checker};
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::linear::{Linear, Prover};
use crate::program::*;
use std::collections::HashSet;

/// Largest extent that is known when compiling: element offsets stay far inside 64 bits.
const MAX_EXTENT: i64 = (1 << 31) - 1;

/// Adds an axis; a name that is taken gets a number.
pub(super) fn new_axis(
    axes: &mut Vec<AxisInfo>,
    names: &mut HashSet<String>,
    name: &str,
    extent: Option<Extent>,
    anonymous: bool,
) -> AxisId {
    let name = unique(names, name);
    axes.push(AxisInfo { name, extent, anonymous, local: None });
    AxisId(axes.len() as u32 - 1)
}

/// The name, or `name_1`, `name_2`, ... if taken; then it is taken.
pub(super) fn unique(names: &mut HashSet<String>, name: &str) -> String {
    let mut candidate = name.to_string();
    let mut n = 0;
    while !names.insert(candidate.clone()) {
        n += 1;
        candidate = format!("{name}_{n}");
    }
    candidate
}

impl Checker<'_> {
    pub(super) fn new_axis(&mut self, name: &str, extent: Option<Extent>, anonymous: bool) -> AxisId {
        new_axis(&mut self.axes, &mut self.axis_names, name, extent, anonymous)
    }

    /// An axis for a fold that gives its extent. Folds that are not inside one another share it, so that equal folds
    /// become equal expressions.
    pub(super) fn local_axis(&mut self, name: &str, extent: Extent) -> AxisId {
        let found = self.axes.iter().enumerate().position(|(i, axis)| {
            axis.local.as_deref() == Some(name)
                && axis.extent.as_ref() == Some(&extent)
                && !self.open.contains(&AxisId(i as u32))
        });
        if let Some(found) = found {
            return AxisId(found as u32);
        }
        let axis = self.new_axis(name, Some(extent), false);
        self.axes[axis.0 as usize].local = Some(name.to_string());
        axis
    }

    /// The extent that a written expression is.
    pub(super) fn extent_value(&mut self, scope: &mut Scope, expr: &ast::Expr) -> Result<Extent> {
        let value = self.expr(scope, expr)?;
        let value = self.want(value, Kind::Int, "an extent", expr.span)?;
        if let Some(n) = self.arena.as_int(value.expr) {
            return self.fixed_extent(n, expr);
        }
        if !self.is_size(value.expr) {
            let wrong = Diagnostic::new(expr.span, "an extent is made of constants and lengths only");
            return self.error(match value.axes.first() {
                Some(&axis) => {
                    let name = self.axis_name(axis);
                    let label = format!("this varies along `{name}`");
                    let help = format!(
                        "the length of axis `{name}` is `len({name})`; what varies is left out of a larger extent with `where`"
                    );
                    wrong.label(label).help(help)
                }
                None => wrong
                    .label("this varies inside a sequence")
                    .help("take the largest extent that occurs, and leave values out with `where`"),
            });
        }
        Ok(Extent::Derived(value.expr))
    }

    /// An extent known when compiling.
    pub(super) fn fixed_extent(&mut self, n: i64, expr: &ast::Expr) -> Result<Extent> {
        if n > MAX_EXTENT {
            let most = format!("an extent is at most {MAX_EXTENT}");
            let wrong = self.where_given(Diagnostic::new(expr.span, most).label(format!("this is {n}")), expr);
            return self.error(wrong);
        }
        if n < 1 {
            let positive = Diagnostic::new(expr.span, "an extent is a positive number").label(format!("this is {n}"));
            let positive = self.where_given(positive, expr);
            return self.error(positive.help("an axis has at least one value; lengths given at run time may be 0"));
        }
        Ok(Extent::Const(n))
    }

    /// An error about a number that is written as a constant's name: where the constant is from.
    pub(super) fn where_given(&self, diagnostic: Diagnostic, expr: &ast::Expr) -> Diagnostic {
        let ast::ExprKind::Name(name) = &*expr.kind else { return diagnostic };
        match self.constants.iter().find(|(other, ..)| other == name) {
            Some((_, _, place)) => diagnostic.note_at(*place, format!("`{name}` is given here")),
            None => diagnostic,
        }
    }

    /// Whether an integer is made of constants and lengths only.
    fn is_size(&self, expr: ExprId) -> bool {
        match *self.arena.get(expr) {
            Expr::Int(_) | Expr::Len(_) => true,
            Expr::IntBin(_, a, b) => self.is_size(a) && self.is_size(b),
            _ => false,
        }
    }

    /// The number of values of an axis, as an expression.
    pub(super) fn len(&mut self, axis: AxisId) -> Result<ExprId> {
        match self.axes[axis.0 as usize].extent.clone() {
            Some(Extent::Const(n)) => Ok(self.arena.int(n)),
            Some(Extent::Runtime) => Ok(self.arena.add(Expr::Len(axis))),
            Some(Extent::Derived(expr)) => {
                // A sequence that is too short gives no values, not fewer than none.
                let zero = self.arena.int(0);
                Ok(if self.is_nonnegative(expr) { expr } else { self.arena.int_bin(IntBin::Max, expr, zero) })
            }
            // Being inferred, or its definition was wrong.
            None => Err(super::Failed),
        }
    }

    fn is_nonnegative(&self, expr: ExprId) -> bool {
        let Some(form) = Linear::of(&self.arena, expr) else { return false };
        Prover::new(&self.arena, &|axis| self.axes[axis.0 as usize].extent.clone(), &[]).nonnegative(&form)
    }

    /// Whether an integer is at least 1 whatever the sizes are.
    pub(super) fn is_positive(&self, expr: ExprId) -> bool {
        // Constants are judged where they are folded.
        if self.arena.as_int(expr).is_some() {
            return true;
        }
        let Some(form) = Linear::of(&self.arena, expr).and_then(|form| form.offset(-1)) else { return false };
        Prover::new(&self.arena, &|axis| self.axes[axis.0 as usize].extent.clone(), &[]).nonnegative(&form)
    }

    /// The extent of a constant's axis, if a constant of this name exists.
    pub(super) fn constant_extent(&mut self, name: &ast::Name) -> Result<Option<Extent>> {
        let found = self.constants.iter().find(|(other, ..)| *other == name.text).cloned();
        match found {
            None => Ok(None),
            Some((_, Number::Int(n), _)) if (1..=MAX_EXTENT).contains(&n) => Ok(Some(Extent::Const(n))),
            Some((_, number, place)) => {
                let wrong = match number {
                    Number::Int(n) if n > MAX_EXTENT => format!("axis `{}` has at most {MAX_EXTENT} values", name.text),
                    _ => format!("axis `{}` needs a positive number of values", name.text),
                };
                self.error(
                    Diagnostic::new(name.span, wrong)
                        .label(format!("its constant is {}", number.as_f64()))
                        .note_at(place, "given here")
                        .help("an axis whose name is a constant's has as many values: change the constant, or rename the axis"),
                )
            }
        }
    }

    /// The largest extent for which `axis` keeps every affine index in `root` inside its tensor; None if it indexes
    /// nothing.
    pub(super) fn infer_extent(&mut self, root: &[ExprId], axis: AxisId) -> Result<Option<Extent>> {
        let mut candidates: Vec<Extent> = vec![];
        let mut seen = HashSet::new();
        let mut pending: Vec<ExprId> = root.to_vec();
        while let Some(expr) = pending.pop() {
            if !seen.insert(expr) || !self.arena.depends(expr, axis) {
                continue;
            }
            let node = self.arena.get(expr).clone();
            node.children(|child| pending.push(child));
            let Expr::Load(tensor, index) = node else { continue };
            for (place, &index) in index.iter().enumerate() {
                let indexed = self.tensors[tensor.0 as usize].axes[place];
                if let Some(extent) = self.extent_from_index(index, axis, indexed)
                    && !candidates.contains(&extent)
                {
                    candidates.push(extent);
                }
            }
        }
        if candidates.len() < 2 {
            return Ok(candidates.pop());
        }
        let mut smallest: Option<ExprId> = None;
        for extent in candidates {
            let extent = match extent {
                Extent::Const(n) => self.arena.int(n),
                Extent::Derived(expr) => expr,
                Extent::Runtime => continue,
            };
            smallest = Some(match smallest {
                None => extent,
                Some(other) => self.arena.int_bin(IntBin::Min, other, extent),
            });
        }
        Ok(smallest.map(|expr| match self.arena.as_int(expr) {
            Some(n) => Extent::Const(n),
            None => Extent::Derived(expr),
        }))
    }

    /// `c * axis + rest <= len(indexed) - 1` for the largest rest: `axis < (len - 1 - rest) / c + 1`.
    fn extent_from_index(&mut self, index: ExprId, axis: AxisId, indexed: AxisId) -> Option<Extent> {
        let atom = self.arena.axis(axis);
        let mut form = Linear::of(&self.arena, index)?;
        let c = form.terms.remove(&atom).filter(|&c| c > 0)?;
        let mut rest = Linear::constant(form.constant);
        for (other, k) in form.terms {
            let largest = match *self.arena.get(other) {
                Expr::Axis(_) if k < 0 => Linear::default(),
                Expr::Axis(other) => {
                    let len = self.len(other).ok()?;
                    Linear::of(&self.arena, len)?.offset(-1)?
                }
                Expr::Len(_) => Linear::of(&self.arena, other)?,
                _ => return None,
            };
            rest = rest.plus(&largest, k)?;
        }
        let len = self.len(indexed).ok()?;
        let room = Linear::of(&self.arena, len)?.offset(-1)?.plus(&rest, -1)?;
        let room = room.to_expr(&mut self.arena);
        let divisor = self.arena.int(c);
        let steps = self.arena.int_bin(IntBin::Div, room, divisor);
        let one = self.arena.int(1);
        let extent = self.arena.int_bin(IntBin::Add, steps, one);
        Some(match self.arena.as_int(extent) {
            Some(n) => Extent::Const(n),
            None => Extent::Derived(extent),
        })
    }
}
