//! Lengths of derived axes: integer expressions over other lengths.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An integer expression over the lengths of axes, 64-bit, as in the language: `/` is floor division.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// A constant.
    Int(i64),
    /// The length of another axis.
    Of(String),
    /// An operation.
    Op(IntOp, Box<Length>, Box<Length>),
}

/// Integer operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Floor division.
    Div,
    /// Remainder of floor division.
    Rem,
    /// Smaller.
    Min,
    /// Larger.
    Max,
}

/// Why an expression has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Evaluate {
    /// An operand is an axis without a length.
    #[error("the length of axis `{0}` is not known here")]
    Unknown(String),
    /// A divisor is 0 or negative.
    #[error("division by {0} in the length of an axis")]
    Divisor(i64),
    /// The value does not fit 64 bits.
    #[error("the length of an axis exceeds 64 bits")]
    Overflow,
}

impl Length {
    /// Shorthand for an operation.
    pub fn op(op: IntOp, a: Length, b: Length) -> Self {
        Length::Op(op, Box::new(a), Box::new(b))
    }

    /// Its value, given the lengths of axes.
    pub fn evaluate(&self, length: &dyn Fn(&str) -> Option<i64>) -> Result<i64, Evaluate> {
        match self {
            Length::Int(n) => Ok(*n),
            Length::Of(axis) => length(axis).ok_or_else(|| Evaluate::Unknown(axis.clone())),
            Length::Op(op, a, b) => op.apply(a.evaluate(length)?, b.evaluate(length)?),
        }
    }

    /// Number of operations and operands.
    pub fn nodes(&self) -> usize {
        match self {
            Length::Int(_) | Length::Of(_) => 1,
            Length::Op(_, a, b) => 1 + a.nodes() + b.nodes(),
        }
    }

    /// Calls `f` with every axis that it mentions.
    pub fn axes<'a>(&'a self, f: &mut dyn FnMut(&'a str)) {
        match self {
            Length::Int(_) => {}
            Length::Of(axis) => f(axis),
            Length::Op(_, a, b) => {
                a.axes(f);
                b.axes(f);
            }
        }
    }
}

impl IntOp {
    /// The operation on two numbers.
    pub fn apply(self, a: i64, b: i64) -> Result<i64, Evaluate> {
        let divisor = || if b > 0 { Ok(b) } else { Err(Evaluate::Divisor(b)) };
        let value = match self {
            IntOp::Add => a.checked_add(b),
            IntOp::Sub => a.checked_sub(b),
            IntOp::Mul => a.checked_mul(b),
            // For a positive divisor Euclidean division rounds down.
            IntOp::Div => a.checked_div_euclid(divisor()?),
            IntOp::Rem => a.checked_rem_euclid(divisor()?),
            IntOp::Min => Some(a.min(b)),
            IntOp::Max => Some(a.max(b)),
        };
        value.ok_or(Evaluate::Overflow)
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let infix = |op| match op {
            IntOp::Add => Some("+"),
            IntOp::Sub => Some("-"),
            IntOp::Mul => Some("*"),
            IntOp::Div => Some("/"),
            IntOp::Rem => Some("%"),
            IntOp::Min | IntOp::Max => None,
        };
        match self {
            Length::Int(n) => write!(f, "{n}"),
            Length::Of(axis) => f.write_str(axis),
            Length::Op(op, a, b) => match infix(*op) {
                Some(sign) => write!(f, "({a} {sign} {b})"),
                None => write!(f, "{}({a}, {b})", if *op == IntOp::Min { "min" } else { "max" }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_length() {
        // (s - 32) / 16 + 1, floor division: no block fits below 32.
        let shifted = Length::op(IntOp::Sub, Length::Of("s".into()), Length::Int(32));
        let blocks = Length::op(IntOp::Add, Length::op(IntOp::Div, shifted, Length::Int(16)), Length::Int(1));
        let at = |s: i64| blocks.evaluate(&|axis| (axis == "s").then_some(s));
        assert_eq!([0, 15, 31, 32, 47, 48].map(at), [-1, -1, 0, 1, 1, 2].map(Ok));
        assert_eq!(blocks.to_string(), "(((s - 32) / 16) + 1)");
        assert_eq!(blocks.evaluate(&|_| None), Err(Evaluate::Unknown("s".into())));
    }

    #[test]
    fn arithmetic_never_panics() {
        assert_eq!(IntOp::Div.apply(7, 0), Err(Evaluate::Divisor(0)));
        assert_eq!(IntOp::Rem.apply(7, -2), Err(Evaluate::Divisor(-2)));
        assert_eq!(IntOp::Mul.apply(i64::MAX, 2), Err(Evaluate::Overflow));
        assert_eq!(IntOp::Rem.apply(-1, 4), Ok(3));
        assert_eq!(IntOp::Div.apply(-1, 4), Ok(-1));
    }
}
