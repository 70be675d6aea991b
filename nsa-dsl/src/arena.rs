//! Builds expressions: equal ones once, constants folded, integers and comparisons in one canonical form.

use crate::program::*;
use std::collections::HashMap;

/// Most expressions of a program, and largest height of one: bounds on memory and stack, far above real programs.
pub(crate) const MAX_EXPRESSIONS: usize = 200_000;
/// See [`MAX_EXPRESSIONS`].
pub(crate) const MAX_HEIGHT: u32 = 600;

/// Why the arena could not take an expression; what it returned instead is some expression of the same kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// An integer constant left 64 bits.
    Overflow,
    /// Division by a constant that is not positive.
    Divisor,
    /// A limit was passed.
    TooLarge,
}

/// The hash-consed expressions with what is known about each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    exprs: Vec<Expr>,
    ids: HashMap<Key, ExprId>,
    /// The axes whose values each expression depends on, ascending.
    free: Vec<Box<[AxisId]>>,
    height: Vec<u32>,
    /// The first trouble since it was last taken.
    pub trouble: Option<Trouble>,
}

/// An expression with floating constants by their bits, so that it can be hashed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key(u8, u8, Vec<u64>);

fn key(expr: &Expr) -> Key {
    let id = |e: &ExprId| e.0 as u64;
    match expr {
        Expr::Int(value) => Key(0, 0, vec![*value as u64]),
        Expr::Num(value) => Key(1, 0, vec![value.to_bits()]),
        Expr::Bool(value) => Key(2, *value as u8, vec![]),
        Expr::Axis(axis) => Key(3, 0, vec![axis.0 as u64]),
        Expr::Len(axis) => Key(4, 0, vec![axis.0 as u64]),
        Expr::IntBin(op, a, b) => Key(5, *op as u8, vec![id(a), id(b)]),
        Expr::ToFloat(a) => Key(6, 0, vec![id(a)]),
        Expr::Load(tensor, index) => Key(7, 0, std::iter::once(tensor.0 as u64).chain(index.iter().map(id)).collect()),
        Expr::Unary(op, a) => Key(8, *op as u8, vec![id(a)]),
        Expr::Binary(op, a, b) => Key(9, *op as u8, vec![id(a), id(b)]),
        Expr::Select(p, a, b) => Key(10, 0, vec![id(p), id(a), id(b)]),
        Expr::Cast(dtype, a) => Key(11, *dtype as u8, vec![id(a)]),
        Expr::Compare(op, a, b) => Key(12, *op as u8, vec![id(a), id(b)]),
        Expr::And(a, b) => Key(13, 0, vec![id(a), id(b)]),
        Expr::Or(a, b) => Key(14, 0, vec![id(a), id(b)]),
        Expr::Not(a) => Key(15, 0, vec![id(a)]),
        Expr::Member(x, tensor, index) => {
            Key(16, 0, [id(x), tensor.0 as u64].into_iter().chain(index.iter().map(id)).collect())
        }
        Expr::Fold { monoid, axis, guard, body } => {
            Key(17, *monoid as u8, vec![axis.0 as u64, guard.as_ref().map_or(u64::MAX, id), id(body)])
        }
        Expr::StopGradient(a) => Key(18, 0, vec![id(a)]),
    }
}

impl Arena {
    /// The expression with this id.
    pub fn get(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize]
    }

    /// Whether the expression depends on an axis's value.
    pub fn depends(&self, id: ExprId, axis: AxisId) -> bool {
        self.free[id.0 as usize].contains(&axis)
    }

    /// All expressions, children before parents.
    pub fn into_exprs(self) -> Vec<Expr> {
        self.exprs
    }

    /// The id of an expression, if it was ever added.
    pub fn find(&self, expr: &Expr) -> Option<ExprId> {
        self.ids.get(&key(expr)).copied()
    }

    /// Adds an expression as it is.
    pub fn add(&mut self, expr: Expr) -> ExprId {
        let key = key(&expr);
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let mut free: Vec<AxisId> = vec![];
        let mut height = 0;
        expr.children(|child| {
            free.extend(self.free[child.0 as usize].iter().copied());
            height = height.max(self.height[child.0 as usize]);
        });
        match &expr {
            Expr::Axis(axis) => free.push(*axis),
            Expr::Fold { axis, .. } => free.retain(|other| other != axis),
            _ => {}
        }
        free.sort_unstable();
        free.dedup();
        height += 1;
        if (self.exprs.len() >= MAX_EXPRESSIONS || height > MAX_HEIGHT) && !self.exprs.is_empty() {
            self.fail(Trouble::TooLarge);
            let mut stand_in = ExprId(0);
            expr.children(|child| stand_in = child);
            return stand_in;
        }
        let id = ExprId(self.exprs.len() as u32);
        self.exprs.push(expr);
        self.free.push(free.into());
        self.height.push(height);
        self.ids.insert(key, id);
        id
    }

    pub(crate) fn fail(&mut self, trouble: Trouble) {
        self.trouble.get_or_insert(trouble);
    }

    /// An integer constant.
    pub fn int(&mut self, value: i64) -> ExprId {
        self.add(Expr::Int(value))
    }

    /// A floating constant.
    pub fn num(&mut self, value: f64) -> ExprId {
        self.add(Expr::Num(value))
    }

    /// The value of an axis.
    pub fn axis(&mut self, axis: AxisId) -> ExprId {
        self.add(Expr::Axis(axis))
    }

    /// The integer that the expression is, if constant.
    pub fn as_int(&self, id: ExprId) -> Option<i64> {
        match self.get(id) {
            Expr::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number that the expression is, if constant.
    pub fn as_num(&self, id: ExprId) -> Option<f64> {
        match self.get(id) {
            Expr::Num(value) => Some(*value),
            _ => None,
        }
    }

    fn checked(&mut self, value: Option<i64>) -> ExprId {
        if value.is_none() {
            self.fail(Trouble::Overflow);
        }
        self.int(value.unwrap_or(0))
    }

    /// Integer arithmetic. Constants come last and are gathered; `x - 3` is `x + -3`.
    pub fn int_bin(&mut self, op: IntBin, a: ExprId, b: ExprId) -> ExprId {
        use IntBin::*;
        let (constant_a, constant_b) = (self.as_int(a), self.as_int(b));
        if let (Some(x), Some(y)) = (constant_a, constant_b) {
            let value = match op {
                Add => x.checked_add(y),
                Sub => x.checked_sub(y),
                Mul => x.checked_mul(y),
                Div | Rem if y <= 0 => {
                    self.fail(Trouble::Divisor);
                    Some(0)
                }
                Div => Some(x.div_euclid(y)),
                Rem => Some(x.rem_euclid(y)),
                Min => Some(x.min(y)),
                Max => Some(x.max(y)),
            };
            return self.checked(value);
        }
        match (op, constant_a, constant_b) {
            (Add | Mul | Min | Max, Some(_), None) => self.int_bin(op, b, a),
            (Add, _, Some(0)) | (Mul | Div, _, Some(1)) => a,
            (Mul, _, Some(0)) | (Rem, _, Some(1)) => self.int(0),
            (Add, None, Some(y)) => {
                if let Expr::IntBin(Add, inner, constant) = *self.get(a)
                    && let Some(x) = self.as_int(constant)
                {
                    let sum = self.checked(x.checked_add(y));
                    return self.int_bin(Add, inner, sum);
                }
                self.add(Expr::IntBin(Add, a, b))
            }
            (Sub, None, Some(y)) => {
                let negated = self.checked(y.checked_neg());
                self.int_bin(Add, a, negated)
            }
            (Mul, None, Some(y)) => {
                if let Expr::IntBin(Mul, inner, constant) = *self.get(a)
                    && let Some(x) = self.as_int(constant)
                {
                    let product = self.checked(x.checked_mul(y));
                    return self.int_bin(Mul, inner, product);
                }
                self.add(Expr::IntBin(Mul, a, b))
            }
            (Div | Rem, _, Some(y)) if y <= 0 => {
                self.fail(Trouble::Divisor);
                a
            }
            (Sub, None, None) if a == b => self.int(0),
            (Min | Max, None, None) if a == b => a,
            // (x + c) + y = (x + y) + c: constants stay outermost.
            (Add, None, None) => match (self.get(a).clone(), self.get(b).clone()) {
                (Expr::IntBin(Add, inner, constant), _) if self.as_int(constant).is_some() => {
                    let sum = self.int_bin(Add, inner, b);
                    self.int_bin(Add, sum, constant)
                }
                (_, Expr::IntBin(Add, inner, constant)) if self.as_int(constant).is_some() => {
                    let sum = self.int_bin(Add, a, inner);
                    self.int_bin(Add, sum, constant)
                }
                _ => self.add(Expr::IntBin(Add, a, b)),
            },
            _ => self.add(Expr::IntBin(op, a, b)),
        }
    }

    /// An integer as a floating value.
    pub fn float(&mut self, a: ExprId) -> ExprId {
        match self.as_int(a) {
            Some(value) => self.num(value as f64),
            None => self.add(Expr::ToFloat(a)),
        }
    }

    /// Floating, one operand.
    pub fn unary(&mut self, op: Unary, a: ExprId) -> ExprId {
        match self.as_num(a) {
            Some(value) => self.num(op.apply(value)),
            None => self.add(Expr::Unary(op, a)),
        }
    }

    /// Floating, two operands. Only constants are folded: `x * 1` stays, as the forms that the optimiser's laws begin with.
    pub fn binary(&mut self, op: Binary, a: ExprId, b: ExprId) -> ExprId {
        match (self.as_num(a), self.as_num(b)) {
            (Some(x), Some(y)) => self.num(op.apply(x, y)),
            _ => self.add(Expr::Binary(op, a, b)),
        }
    }

    /// `a` if `p` else `b`.
    pub fn select(&mut self, p: ExprId, a: ExprId, b: ExprId) -> ExprId {
        match self.get(p) {
            Expr::Bool(true) => a,
            Expr::Bool(false) => b,
            _ if a == b => a,
            _ => self.add(Expr::Select(p, a, b)),
        }
    }

    /// A comparison of two integers or two floats; only `==`, `!=`, `<`, `<=` remain.
    pub fn compare(&mut self, op: Compare, a: ExprId, b: ExprId) -> ExprId {
        match op {
            Compare::Gt => return self.compare(Compare::Lt, b, a),
            Compare::Ge => return self.compare(Compare::Le, b, a),
            _ => {}
        }
        if let (Some(x), Some(y)) = (self.as_int(a), self.as_int(b)) {
            return self.add(Expr::Bool(op.holds(&x, &y)));
        }
        if let (Some(x), Some(y)) = (self.as_num(a), self.as_num(b)) {
            return self.add(Expr::Bool(op.holds(&x, &y)));
        }
        self.add(Expr::Compare(op, a, b))
    }

    /// Both.
    pub fn and(&mut self, a: ExprId, b: ExprId) -> ExprId {
        match (self.get(a), self.get(b)) {
            (Expr::Bool(true), _) => b,
            (_, Expr::Bool(true)) => a,
            (Expr::Bool(false), _) => a,
            (_, Expr::Bool(false)) => b,
            _ if a == b => a,
            _ => self.add(Expr::And(a, b)),
        }
    }

    /// Either.
    pub fn or(&mut self, a: ExprId, b: ExprId) -> ExprId {
        match (self.get(a), self.get(b)) {
            (Expr::Bool(false), _) => b,
            (_, Expr::Bool(false)) => a,
            (Expr::Bool(true), _) => a,
            (_, Expr::Bool(true)) => b,
            _ if a == b => a,
            _ => self.add(Expr::Or(a, b)),
        }
    }

    /// Negation. Of `==` and `!=` only the other: `!(x < y)` is not `y <= x` for NaN.
    pub fn not(&mut self, a: ExprId) -> ExprId {
        match *self.get(a) {
            Expr::Bool(value) => self.add(Expr::Bool(!value)),
            Expr::Not(inner) => inner,
            Expr::Compare(Compare::Eq, x, y) => self.add(Expr::Compare(Compare::Ne, x, y)),
            Expr::Compare(Compare::Ne, x, y) => self.add(Expr::Compare(Compare::Eq, x, y)),
            _ => self.add(Expr::Not(a)),
        }
    }

    /// The parts of a conjunction, in order.
    pub fn conjuncts(&self, p: ExprId, out: &mut Vec<ExprId>) {
        match *self.get(p) {
            Expr::And(a, b) => {
                self.conjuncts(a, out);
                self.conjuncts(b, out);
            }
            Expr::Bool(true) => {}
            _ if out.contains(&p) => {}
            _ => out.push(p),
        }
    }

    /// The conjunction of a list; None for "always".
    pub fn all(&mut self, parts: &[ExprId]) -> Option<ExprId> {
        let mut parts = parts.iter().copied();
        let first = parts.next()?;
        Some(parts.fold(first, |both, part| self.and(both, part)))
    }

    /// A fold over one axis. In a sum, a factor that is 0 where a condition fails makes the condition part of the guard:
    /// the terms it masks are not visited.
    pub fn fold(&mut self, monoid: Monoid, axis: AxisId, guard: Option<ExprId>, body: ExprId) -> ExprId {
        let mut parts = vec![];
        if let Some(guard) = guard {
            self.conjuncts(guard, &mut parts);
        }
        let body = if monoid == Monoid::Sum { self.unmask(body, &mut parts) } else { body };
        let guard = self.all(&parts);
        self.add(Expr::Fold { monoid, axis, guard, body })
    }

    /// Moves the masks of factors of `body` into `parts`.
    fn unmask(&mut self, body: ExprId, parts: &mut Vec<ExprId>) -> ExprId {
        match *self.get(body) {
            Expr::Select(p, a, zero) if self.as_num(zero) == Some(0.0) => {
                self.conjuncts(p, parts);
                self.unmask(a, parts)
            }
            Expr::Binary(Binary::Mul, a, b) => {
                let (new_a, new_b) = (self.unmask(a, parts), self.unmask(b, parts));
                if (a, b) == (new_a, new_b) { body } else { self.binary(Binary::Mul, new_a, new_b) }
            }
            Expr::Binary(Binary::Div, a, b) => {
                let new_a = self.unmask(a, parts);
                if a == new_a { body } else { self.binary(Binary::Div, new_a, b) }
            }
            _ => body,
        }
    }

    /// Rebuilds an expression with other operands, through the constructors that fold and order.
    pub fn rebuild(&mut self, expr: Expr) -> ExprId {
        match expr {
            Expr::IntBin(op, a, b) => self.int_bin(op, a, b),
            Expr::ToFloat(a) => self.float(a),
            Expr::Unary(op, a) => self.unary(op, a),
            Expr::Binary(op, a, b) => self.binary(op, a, b),
            Expr::Select(p, a, b) => self.select(p, a, b),
            Expr::Compare(op, a, b) => self.compare(op, a, b),
            Expr::And(a, b) => self.and(a, b),
            Expr::Or(a, b) => self.or(a, b),
            Expr::Not(a) => self.not(a),
            Expr::Fold { monoid, axis, guard, body } => self.fold(monoid, axis, guard, body),
            other => self.add(other),
        }
    }
}
