//! Linear forms of integer expressions, and proofs that one is never negative.

use crate::arena::Arena;
use crate::program::*;
use std::collections::BTreeMap;

/// `constant` plus a sum of coefficients times expressions that are not themselves sums. None of them overflow 64 bits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Linear {
    pub constant: i64,
    pub terms: BTreeMap<ExprId, i64>,
}

impl Linear {
    pub fn constant(constant: i64) -> Self {
        Linear { constant, terms: BTreeMap::new() }
    }

    /// The form of an integer expression; None if a coefficient overflows.
    pub fn of(arena: &Arena, expr: ExprId) -> Option<Linear> {
        Linear::among(&|id| arena.get(id), expr)
    }

    /// The same for expressions that are kept anywhere.
    pub fn among<'e>(get: &impl Fn(ExprId) -> &'e Expr, expr: ExprId) -> Option<Linear> {
        match (*get(expr)).clone() {
            Expr::Int(value) => Some(Linear::constant(value)),
            Expr::IntBin(IntBin::Add, a, b) => Linear::among(get, a)?.plus(&Linear::among(get, b)?, 1),
            Expr::IntBin(IntBin::Sub, a, b) => Linear::among(get, a)?.plus(&Linear::among(get, b)?, -1),
            Expr::IntBin(IntBin::Mul, a, b) => match get(b) {
                Expr::Int(factor) => Linear::default().plus(&Linear::among(get, a)?, *factor),
                _ => Some(Linear { constant: 0, terms: BTreeMap::from([(expr, 1)]) }),
            },
            _ => Some(Linear { constant: 0, terms: BTreeMap::from([(expr, 1)]) }),
        }
    }

    /// `self + factor * other`.
    pub fn plus(&self, other: &Linear, factor: i64) -> Option<Linear> {
        let mut sum = self.clone();
        sum.constant = sum.constant.checked_add(other.constant.checked_mul(factor)?)?;
        for (&atom, &coefficient) in &other.terms {
            let entry = sum.terms.entry(atom).or_insert(0);
            *entry = entry.checked_add(coefficient.checked_mul(factor)?)?;
            if *entry == 0 {
                sum.terms.remove(&atom);
            }
        }
        Some(sum)
    }

    /// With a constant added.
    pub fn offset(&self, constant: i64) -> Option<Linear> {
        self.plus(&Linear::constant(constant), 1)
    }

    /// As an expression again, terms in the order of their ids.
    pub fn to_expr(&self, arena: &mut Arena) -> ExprId {
        let mut sum: Option<ExprId> = None;
        for (&atom, &coefficient) in &self.terms {
            let factor = arena.int(coefficient.abs());
            let term = arena.int_bin(IntBin::Mul, atom, factor);
            sum = Some(match sum {
                None if coefficient > 0 => term,
                None => {
                    let zero = arena.int(0);
                    arena.int_bin(IntBin::Sub, zero, term)
                }
                Some(sum) => arena.int_bin(if coefficient > 0 { IntBin::Add } else { IntBin::Sub }, sum, term),
            });
        }
        let constant = arena.int(self.constant);
        match sum {
            None => constant,
            Some(sum) => arena.int_bin(IntBin::Add, sum, constant),
        }
    }
}

/// Tries to prove that linear forms are never negative, given the extents of axes and some facts.
pub(crate) struct Prover<'a> {
    pub arena: &'a Arena,
    pub axes: &'a dyn Fn(AxisId) -> Option<Extent>,
    /// Forms that are known not to be negative.
    pub facts: &'a [Linear],
    /// What is left of the work allowed.
    steps: u32,
}

impl<'a> Prover<'a> {
    pub fn new(arena: &'a Arena, axes: &'a dyn Fn(AxisId) -> Option<Extent>, facts: &'a [Linear]) -> Self {
        // Index expressions have a handful of terms: real proofs end within some dozens of steps.
        Prover { arena, axes, facts, steps: 3000 }
    }

    /// Whether the form is proved never to be negative, whatever values the axes in it have.
    pub fn nonnegative(&mut self, form: &Linear) -> bool {
        self.prove(form, 0, 0)
    }

    fn prove(&mut self, form: &Linear, used: u64, depth: u32) -> bool {
        if self.steps == 0 || depth > 24 {
            return false;
        }
        self.steps -= 1;
        if form.terms.is_empty() {
            return form.constant >= 0;
        }
        // A fact as it stands: it may relate what the later steps bound one by one.
        for (i, fact) in self.facts.iter().enumerate().take(64) {
            let helps = fact.terms.iter().any(|(atom, &c)| form.terms.get(atom).is_some_and(|&f| (f < 0) == (c < 0)));
            if used >> i & 1 == 0
                && helps
                && let Some(rest) = form.plus(fact, -1)
                && rest.terms.len() <= form.terms.len()
                && self.prove(&rest, used | 1 << i, depth + 1)
            {
                return true;
            }
        }
        let terms: Vec<(ExprId, i64)> = form.terms.iter().map(|(&atom, &c)| (atom, c)).collect();
        // Innermost structure last: quotients mention axes, axes mention lengths.
        for rank in 0..3 {
            for &(atom, coefficient) in &terms {
                if self.rank(atom) == rank {
                    return self.without(form, atom, coefficient).is_some_and(|any_of| {
                        any_of.iter().any(|all| all.iter().all(|f| self.prove(f, used, depth + 1)))
                    });
                }
            }
        }
        false
    }

    fn rank(&self, atom: ExprId) -> u32 {
        match self.arena.get(atom) {
            Expr::Axis(_) => 1,
            Expr::Len(_) => 2,
            _ => 0,
        }
    }

    /// Lower bounds of `form` without `atom`: any of the lists, all of its forms, must be proved.
    fn without(&self, form: &Linear, atom: ExprId, k: i64) -> Option<Vec<Vec<Linear>>> {
        let mut rest = form.clone();
        rest.terms.remove(&atom);
        let of = |expr| Linear::of(self.arena, expr);
        Some(match *self.arena.get(atom) {
            Expr::Axis(_) | Expr::Len(_) if k > 0 => vec![vec![rest]],
            Expr::Axis(axis) => vec![vec![rest.plus(&self.extent((self.axes)(axis)?, axis)?.offset(-1)?, k)?]],
            Expr::IntBin(IntBin::Div, x, c) => {
                // c q <= x < c (q + 1) for q = x / c: the whole form times c. An integer is not negative if c times it is
                // more than -c.
                let c = self.arena.as_int(c).filter(|&c| c > 0)?;
                let scaled = Linear::default().plus(&rest, c)?.offset(c - 1)?;
                let x = of(x)?;
                if k < 0 {
                    vec![vec![scaled.plus(&x, k)?]]
                } else {
                    vec![vec![scaled.plus(&x.offset(1 - c)?, k)?], vec![rest, x]]
                }
            }
            Expr::IntBin(IntBin::Rem, _, c) => {
                let c = self.arena.as_int(c).filter(|&c| c > 0)?;
                if k > 0 { vec![vec![rest]] } else { vec![vec![rest.offset(k.checked_mul(c - 1)?)?]] }
            }
            Expr::IntBin(op @ (IntBin::Min | IntBin::Max), x, y) => {
                let (x, y) = (rest.plus(&of(x)?, k)?, rest.plus(&of(y)?, k)?);
                // -min(x, y) >= -x and >= -y: either will do; min(x, y) itself is the smaller: both are needed.
                if (op == IntBin::Min) == (k < 0) { vec![vec![x], vec![y]] } else { vec![vec![x, y]] }
            }
            _ => return None,
        })
    }

    fn extent(&self, extent: Extent, axis: AxisId) -> Option<Linear> {
        match extent {
            Extent::Const(n) => Some(Linear::constant(n)),
            Extent::Derived(expr) => Linear::of(self.arena, expr),
            Extent::Runtime => {
                // The length is an atom only if some expression mentions it; if none does, nothing can bound it.
                let len = self.arena.find(&Expr::Len(axis))?;
                Some(Linear { constant: 0, terms: BTreeMap::from([(len, 1)]) })
            }
        }
    }
}
