//! Expressions.

use super::Checker;
use super::scope::{Binding, Number, Result, Scope, Value, merge};
use crate::ast::{self, BinaryOp, ExprKind};
use crate::diagnostic::Diagnostic;
use crate::program::*;

impl<'a> Checker<'a> {
    /// Checks an expression.
    pub(super) fn expr(&mut self, scope: &mut Scope, expr: &ast::Expr) -> Result<Value> {
        let value = self.expr_kind(scope, expr)?;
        self.settle(expr.span)?;
        if matches!(self.arena.get(value.expr), Expr::Load(..) | Expr::Member(..)) {
            let place = self.user_place(expr.span);
            self.places.entry(value.expr).or_insert(place);
        }
        Ok(value)
    }

    fn expr_kind(&mut self, scope: &mut Scope, expr: &ast::Expr) -> Result<Value> {
        let span = expr.span;
        match &*expr.kind {
            ExprKind::Int(value) => {
                let expr = self.arena.int(*value);
                Ok(Value::new(expr, Kind::Int, vec![]))
            }
            ExprKind::Num(value) => {
                let expr = self.arena.num(*value);
                Ok(Value::new(expr, Kind::Float, vec![]))
            }
            ExprKind::Bool(value) => {
                let expr = self.arena.add(Expr::Bool(*value));
                Ok(Value::new(expr, Kind::Bool, vec![]))
            }
            ExprKind::Name(name) => self.name(scope, &ast::Name { text: name.clone(), span }),
            ExprKind::Index(name, indices) => self.index(scope, name, indices, span),
            ExprKind::Call(name, arguments) => {
                let values = self.call(scope, name, arguments, span)?;
                // In an expression a function with several values stands for its first.
                values.into_iter().next().ok_or(super::Failed)
            }
            ExprKind::Fold(kind, _, axes, body) => self.fold(scope, *kind, axes, body, span),
            ExprKind::Top(..) => self.error(
                Diagnostic::new(span, "a list of chosen values needs a name")
                    .help("write `let chosen = top[...](...);` and use `chosen`"),
            ),
            ExprKind::Where(..) => self.error(
                Diagnostic::new(span, "`where` belongs to a fold: there is nothing here that could leave values out")
                    .help("write `if condition { value } else { 0 }`"),
            ),
            ExprKind::Neg(operand) => self.negative(scope, operand),
            ExprKind::Not(operand) => {
                let value = self.expr(scope, operand)?;
                let value = self.want(value, Kind::Bool, "the operand of `!`", operand.span)?;
                Ok(Value { expr: self.arena.not(value.expr), ..value })
            }
            ExprKind::Binary(..) => self.chain(scope, expr),
            ExprKind::In(x, list) => self.member(scope, x, list),
            ExprKind::If(condition, yes, no) => {
                let p = self.expr(scope, condition)?;
                let p = self.want(p, Kind::Bool, "what follows `if`", condition.span)?;
                let a = self.expr(scope, yes)?;
                let b = self.expr(scope, no)?;
                let (a, b) = if a.kind == b.kind {
                    (a, b)
                } else {
                    (
                        self.want(a, Kind::Float, "a value of `if`", yes.span)?,
                        self.want(b, Kind::Float, "a value of `if`", no.span)?,
                    )
                };
                let expr = if a.kind == Kind::Bool {
                    // Conditions have no selection of their own: (p and a) or (not p and b).
                    let not = self.arena.not(p.expr);
                    let (first, second) = (self.arena.and(p.expr, a.expr), self.arena.and(not, b.expr));
                    self.arena.or(first, second)
                } else {
                    self.arena.select(p.expr, a.expr, b.expr)
                };
                let mut axes = a.axes;
                merge(&mut axes, &b.axes);
                merge(&mut axes, &p.axes);
                Ok(Value::new(expr, a.kind, axes))
            }
            ExprKind::Cast(operand, dtype) => {
                let value = self.expr(scope, operand)?;
                let value = self.want(value, Kind::Float, "the operand of `cast`", operand.span)?;
                if *dtype == DType::I32 {
                    return self.error(
                        Diagnostic::new(span, "`cast` rounds to `bf16`, `f16` or `f32`")
                            .help("integers stay integers: leave it out"),
                    );
                }
                let expr = self.arena.add(Expr::Cast(*dtype, value.expr));
                Ok(Value { expr, ..value })
            }
        }
    }

    /// A name alone: an axis's value, a tensor at its own axes, an abbreviation, a constant.
    pub(super) fn name(&mut self, scope: &Scope, name: &ast::Name) -> Result<Value> {
        match scope.get(&name.text) {
            Some((Binding::Axis(axis), _)) => {
                let axis = *axis;
                let expr = self.arena.axis(axis);
                return Ok(Value::new(expr, Kind::Int, vec![axis]));
            }
            Some((Binding::Value(value), _)) => return Ok(value.clone()),
            Some((Binding::Wrong, _)) => return Err(super::Failed),
            None => {}
        }
        if scope.constants
            && let Some((_, number, _)) = self.constants.iter().find(|(other, ..)| *other == name.text)
        {
            return Ok(match *number {
                Number::Int(value) => Value::new(self.arena.int(value), Kind::Int, vec![]),
                Number::Float(value) => Value::new(self.arena.num(value), Kind::Float, vec![]),
            });
        }
        if name.text == "inf" {
            return Ok(Value::new(self.arena.num(f64::INFINITY), Kind::Float, vec![]));
        }
        if self.functions.contains_key(name.text.as_str()) || super::builtin::is_builtin(&name.text) {
            return self.error(
                Diagnostic::new(name.span, format!("`{}` is a function", name.text))
                    .label("it is called with arguments in round brackets")
                    .help(format!("write `{}(...)`", name.text)),
            );
        }
        self.unknown(scope, "tensor, axis or constant", &name.text, name.span, false)
    }

    fn negative(&mut self, scope: &mut Scope, operand: &ast::Expr) -> Result<Value> {
        let value = self.expr(scope, operand)?;
        if value.kind == Kind::Int {
            let zero = self.arena.int(0);
            return Ok(Value { expr: self.arena.int_bin(IntBin::Sub, zero, value.expr), ..value });
        }
        let value = self.want(value, Kind::Float, "the operand of `-`", operand.span)?;
        Ok(Value { expr: self.arena.unary(Unary::Neg, value.expr), ..value })
    }

    /// A chain of operators, `a + b - c`: from left to right, and not inside one another, so that it may be long.
    fn chain(&mut self, scope: &mut Scope, expr: &ast::Expr) -> Result<Value> {
        let (mut links, mut first) = (vec![], expr);
        while let ExprKind::Binary(op, left, right) = &*first.kind {
            links.push((*op, left, right, first.span));
            first = left;
        }
        let mut value = self.expr(scope, first)?;
        for (op, left, right, span) in links.into_iter().rev() {
            value = self.operator(scope, op, (left, value), right)?;
            self.settle(span)?;
        }
        Ok(value)
    }

    fn operator(
        &mut self,
        scope: &mut Scope,
        op: BinaryOp,
        (left, a): (&ast::Expr, Value),
        right: &ast::Expr,
    ) -> Result<Value> {
        let b = self.expr(scope, right)?;
        let mut axes = a.axes.clone();
        merge(&mut axes, &b.axes);
        let what = format!("an operand of `{}`", op.symbol());
        let comparison = match op {
            BinaryOp::Eq => Some(Compare::Eq),
            BinaryOp::Ne => Some(Compare::Ne),
            BinaryOp::Lt => Some(Compare::Lt),
            BinaryOp::Le => Some(Compare::Le),
            BinaryOp::Gt => Some(Compare::Gt),
            BinaryOp::Ge => Some(Compare::Ge),
            _ => None,
        };
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            let a = self.want(a, Kind::Bool, &what, left.span)?;
            let b = self.want(b, Kind::Bool, &what, right.span)?;
            let expr = if op == BinaryOp::And { self.arena.and(a.expr, b.expr) } else { self.arena.or(a.expr, b.expr) };
            return Ok(Value::new(expr, Kind::Bool, axes));
        }
        let integers = a.kind == Kind::Int && b.kind == Kind::Int;
        if let Some(comparison) = comparison {
            let (a, b) = if integers {
                (a, b)
            } else {
                (self.want(a, Kind::Float, &what, left.span)?, self.want(b, Kind::Float, &what, right.span)?)
            };
            return Ok(Value::new(self.arena.compare(comparison, a.expr, b.expr), Kind::Bool, axes));
        }
        if integers {
            let op = match op {
                BinaryOp::Add => IntBin::Add,
                BinaryOp::Sub => IntBin::Sub,
                BinaryOp::Mul => IntBin::Mul,
                BinaryOp::Div => IntBin::Div,
                _ => IntBin::Rem,
            };
            return Ok(Value::new(self.integer(op, &a, &b, right)?, Kind::Int, axes));
        }
        let a = self.want(a, Kind::Float, &what, left.span)?;
        let b = self.want(b, Kind::Float, &what, right.span)?;
        let op = match op {
            BinaryOp::Add => Binary::Add,
            BinaryOp::Sub => Binary::Sub,
            BinaryOp::Mul => Binary::Mul,
            BinaryOp::Div => Binary::Div,
            _ => {
                return self.error(
                    Diagnostic::new(left.span.to(right.span), "`%` is for integers")
                        .label("an operand is a floating value")
                        .help("integers are axes, lengths, `i32` tensors and what `+ - * / %` make of them"),
                );
            }
        };
        Ok(Value::new(self.arena.binary(op, a.expr, b.expr), Kind::Float, axes))
    }

    /// Integer arithmetic; a divisor must be positive whatever the sizes are.
    pub(super) fn integer(&mut self, op: IntBin, a: &Value, b: &Value, divisor: &ast::Expr) -> Result<ExprId> {
        if matches!(op, IntBin::Div | IntBin::Rem) && !self.is_positive(b.expr) {
            return self.error(
                Diagnostic::new(divisor.span, "integers are divided by positive values only")
                    .label("this may be zero or negative")
                    .help("divide by a constant, or by `max(1, ...)`"),
            );
        }
        Ok(self.arena.int_bin(op, a.expr, b.expr))
    }

    fn member(&mut self, scope: &mut Scope, x: &ast::Expr, list: &ast::Expr) -> Result<Value> {
        let value = self.expr(scope, x)?;
        let value = self.want(value, Kind::Int, "what stands before `in`", x.span)?;
        // `chosen[t, g]` leaves the list's own axis out.
        let (tensor, mut index, list_axes) = match &*list.kind {
            ExprKind::Index(name, indices) => self.list_index(scope, name, indices, list.span)?,
            ExprKind::Name(text) => {
                let name = ast::Name { text: text.clone(), span: list.span };
                let value = self.name(scope, &name)?;
                let found = match self.arena.get(value.expr) {
                    Expr::Load(tensor, index) => self.whole_list(*tensor, index.clone()).map(|index| (*tensor, index)),
                    _ => None,
                };
                let Some((tensor, index)) = found else { return self.not_a_list(list.span) };
                let last = self.tensors[tensor.0 as usize].axes.last().copied();
                let axes = value.axes.into_iter().filter(|axis| Some(*axis) != last).collect();
                (tensor, index, axes)
            }
            _ => return self.not_a_list(list.span),
        };
        self.doubt_member(&value, x.span, tensor);
        index.truncate(self.tensors[tensor.0 as usize].axes.len() - 1);
        let mut axes = value.axes;
        merge(&mut axes, &list_axes);
        Ok(Value::new(self.arena.add(Expr::Member(value.expr, tensor, index)), Kind::Bool, axes))
    }

    /// The index of a list without its last axis, if the last axis is left to the list.
    fn whole_list(&self, tensor: TensorId, mut index: Vec<ExprId>) -> Option<Vec<ExprId>> {
        let last = *self.tensors[tensor.0 as usize].axes.last()?;
        if self.tensor_kinds[tensor.0 as usize] != Kind::Int {
            return None;
        }
        let own = index.pop()?;
        let bound = index.iter().any(|&e| self.arena.depends(e, last));
        (*self.arena.get(own) == Expr::Axis(last) && !bound).then_some(index)
    }

    fn list_index(
        &mut self,
        scope: &mut Scope,
        name: &ast::Name,
        indices: &[ast::IndexItem],
        span: crate::source::Span,
    ) -> Result<(TensorId, Vec<ExprId>, Vec<AxisId>)> {
        let whole = self.name(scope, name)?;
        let found = match self.arena.get(whole.expr) {
            Expr::Load(tensor, index) => self.whole_list(*tensor, index.clone()).map(|_| *tensor),
            _ => None,
        };
        let Some(tensor) = found else { return self.not_a_list(name.span) };
        let last = self.tensors[tensor.0 as usize].axes.last().copied();
        // Index what is left when the list's own axis, which stays, is not counted.
        let mut counted = whole.clone();
        counted.axes.retain(|axis| Some(*axis) != last);
        let value = self.index_value(scope, &name.text, counted, indices, span)?;
        match self.arena.get(value.expr) {
            Expr::Load(_, index) => Ok((tensor, index.clone(), value.axes)),
            _ => self.not_a_list(span),
        }
    }

    fn not_a_list<T>(&mut self, span: crate::source::Span) -> Result<T> {
        self.error(
            Diagnostic::new(span, "`in` needs a list of integers")
                .label("this is not a list")
                .note("a list is what `top` gives, or a parameter of type `i32` whose last axis numbers its entries"),
        )
    }
}
