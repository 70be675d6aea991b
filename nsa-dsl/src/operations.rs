//! What the scalar operations compute, in f64, and how expressions are walked.

use crate::program::*;
use std::cmp::Ordering;

impl DType {
    /// As written: `bf16`, `f16`, `f32`, `i32`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::I32 => "i32",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<DType> {
        [DType::Bf16, DType::F16, DType::F32, DType::I32].into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::Bf16 | DType::F16 => 2,
            DType::F32 | DType::I32 => 4,
        }
    }

    /// The nearest value of this type, ties to even, beyond the largest finite value infinity; integers stay as they are.
    pub fn round(self, x: f64) -> f64 {
        match self {
            DType::Bf16 => round_to(x, 8, -126, 127),
            DType::F16 => round_to(x, 11, -14, 15),
            DType::F32 => x as f32 as f64,
            DType::I32 => x,
        }
    }
}

/// Rounds to `bits` significant bits, exponents from `min` (below it, subnormal) to `max`.
fn round_to(x: f64, bits: i32, min: i32, max: i32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // f64's own subnormals are far below every target's smallest value.
    let exponent = (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(min);
    // One unit in the last place, a power of two well inside f64's range, so that the division is exact.
    let unit = 2f64.powi(exponent - (bits - 1));
    let rounded = (x / unit).round_ties_even() * unit;
    let limit = 2f64.powi(max) * (2.0 - 2f64.powi(1 - bits));
    if rounded.abs() > limit { f64::INFINITY.copysign(x) } else { rounded }
}

impl Unary {
    /// The operation in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Tanh => x.tanh(),
            Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Unary::Relu => x.max(0.0),
            Unary::Silu => x / (1.0 + (-x).exp()),
            Unary::Gelu => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        }
    }

    /// As printed and called in programs.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "-",
            Unary::Abs => "abs",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Relu => "relu",
            Unary::Silu => "silu",
            Unary::Gelu => "gelu",
        }
    }
}

impl Binary {
    /// The operation in f64.
    pub fn apply(self, x: f64, y: f64) -> f64 {
        match self {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Min => x.min(y),
            Binary::Max => x.max(y),
            Binary::Shift if x == f64::NEG_INFINITY => x,
            Binary::Shift => x - y,
            Binary::Ratio if x == 0.0 && y == 0.0 => 0.0,
            Binary::Ratio => x / y,
        }
    }
}

impl IntBin {
    /// The operation on 64-bit integers, wrapping; division by zero gives 0 (the checker lets no such program pass).
    pub fn apply(self, x: i64, y: i64) -> i64 {
        match self {
            IntBin::Add => x.wrapping_add(y),
            IntBin::Sub => x.wrapping_sub(y),
            IntBin::Mul => x.wrapping_mul(y),
            IntBin::Div | IntBin::Rem if y == 0 => 0,
            IntBin::Div => x.wrapping_sub(x.wrapping_rem_euclid(y)).wrapping_div(y),
            IntBin::Rem => x.wrapping_rem_euclid(y),
            IntBin::Min => x.min(y),
            IntBin::Max => x.max(y),
        }
    }
}

impl Compare {
    /// Whether the comparison holds; with NaN only `!=` does.
    pub fn holds<T: PartialOrd>(self, x: &T, y: &T) -> bool {
        let order = x.partial_cmp(y);
        match self {
            Compare::Eq => order == Some(Ordering::Equal),
            Compare::Ne => order != Some(Ordering::Equal),
            Compare::Lt => order == Some(Ordering::Less),
            Compare::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Compare::Gt => order == Some(Ordering::Greater),
            Compare::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }

    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            Compare::Eq => "==",
            Compare::Ne => "!=",
            Compare::Lt => "<",
            Compare::Le => "<=",
            Compare::Gt => ">",
            Compare::Ge => ">=",
        }
    }
}

impl Monoid {
    /// What a fold that meets nothing gives.
    pub fn identity(self) -> f64 {
        match self {
            Monoid::Sum => 0.0,
            Monoid::Max => f64::NEG_INFINITY,
            Monoid::Min => f64::INFINITY,
        }
    }

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Monoid::Sum => "sum",
            Monoid::Max => "max",
            Monoid::Min => "min",
        }
    }
}

impl Expr {
    /// Calls `visit` with every operand.
    pub fn children(&self, mut visit: impl FnMut(ExprId)) {
        match self {
            Expr::Int(_) | Expr::Num(_) | Expr::Bool(_) | Expr::Axis(_) | Expr::Len(_) => {}
            Expr::ToFloat(a) | Expr::Unary(_, a) | Expr::Cast(_, a) | Expr::Not(a) | Expr::StopGradient(a) => visit(*a),
            Expr::IntBin(_, a, b)
            | Expr::Binary(_, a, b)
            | Expr::Compare(_, a, b)
            | Expr::And(a, b)
            | Expr::Or(a, b) => {
                visit(*a);
                visit(*b);
            }
            Expr::Select(p, a, b) => {
                visit(*p);
                visit(*a);
                visit(*b);
            }
            Expr::Load(_, index) => index.iter().copied().for_each(visit),
            Expr::Member(x, _, index) => {
                visit(*x);
                index.iter().copied().for_each(visit);
            }
            Expr::Fold { guard, body, .. } => {
                if let Some(guard) = guard {
                    visit(*guard);
                }
                visit(*body);
            }
        }
    }

    /// The same operation on other operands.
    pub fn map_children(&self, mut map: impl FnMut(ExprId) -> ExprId) -> Expr {
        match self {
            Expr::Int(_) | Expr::Num(_) | Expr::Bool(_) | Expr::Axis(_) | Expr::Len(_) => self.clone(),
            Expr::ToFloat(a) => Expr::ToFloat(map(*a)),
            Expr::Unary(op, a) => Expr::Unary(*op, map(*a)),
            Expr::Cast(dtype, a) => Expr::Cast(*dtype, map(*a)),
            Expr::Not(a) => Expr::Not(map(*a)),
            Expr::StopGradient(a) => Expr::StopGradient(map(*a)),
            Expr::IntBin(op, a, b) => Expr::IntBin(*op, map(*a), map(*b)),
            Expr::Binary(op, a, b) => Expr::Binary(*op, map(*a), map(*b)),
            Expr::Compare(op, a, b) => Expr::Compare(*op, map(*a), map(*b)),
            Expr::And(a, b) => Expr::And(map(*a), map(*b)),
            Expr::Or(a, b) => Expr::Or(map(*a), map(*b)),
            Expr::Select(p, a, b) => Expr::Select(map(*p), map(*a), map(*b)),
            Expr::Load(tensor, index) => Expr::Load(*tensor, index.iter().map(|&e| map(e)).collect()),
            Expr::Member(x, tensor, index) => {
                let x = map(*x);
                Expr::Member(x, *tensor, index.iter().map(|&e| map(e)).collect())
            }
            Expr::Fold { monoid, axis, guard, body } => {
                let guard = guard.map(&mut map);
                Expr::Fold { monoid: *monoid, axis: *axis, guard, body: map(*body) }
            }
        }
    }
}
