//! The term language: what the e-graph rewrites, and the scalar language of plans.
//!
//! A term denotes a value for every value of its free axes. Folds bind the axis of their domain. Terms are closed but for
//! axes, tensors and lengths, which are leaves: `@t` an axis's value, `#t` its length, `$q` a tensor.
//!
//! | form | meaning |
//! |---|---|
//! | `(all @k)` | domain: every value of axis `k`, 0 to `#k - 1` |
//! | `(mask D p)` | `D`, but elements where `p` is false do not take part (each is visited and tested) |
//! | `(upto D e)`, `(from D e)` | `D` cut to values `<= e`, `>= e`; `e` is free of the axis (the rest is never visited) |
//! | `(blocks D L B)` | the values `k` of `D` with `k / B` in the list `L`; only those blocks are visited, in the list's order |
//! | `(union D E)` | the values of `D`, then those of `E`: domains of one axis that have no value in common |
//! | `(outer D)`, `(inner D)` | the tiles of `D`; the elements of one tile |
//! | `(chunks D)`, `(chunk D)` | as outer and inner, but the chunks of one fold go to different thread blocks |
//! | `(fold M D e)` | fold of `e` over `D` with monoid `add`, `max`, `min` or `lse` |
//! | `(pair a b)`, `(fst x)`, `(snd x)` | pairs |
//! | `(norm (pair a z))` | `a / z`, 0 when both are 0 |
//! | `(logsum (pair m .. z))` | `m + log z` of a fold of `lse`, `z` its last component |
//! | `(load $x i ...)` | an element of a tensor; `(list $x i ...)` a whole list: all but the last index |
//! | `(in x L)` | the integer `x` is in the list `L`; -1 entries match nothing |
//! | `(top N D s f)` | the `N` best values of the axis of `D` by score `s`, those with `f` first |
//! | `(mma D a b)` | the sum over `D` of `a * b` on tensor cores: `a` gives the rows, `b` the columns |
//! | `(mat x)` | `x`, stored over its free axes by a kernel of its own and read back |
//! | `%n` | variable `n` of a kernel, at this element; only in plans |
//!
//! What is computed at one element:
//!
//! | form | meaning |
//! |---|---|
//! | `(i+ a b)`, `i-`, `i*`, `i/`, `i%`, `imin`, `imax` | integers, 64 bits; division and remainder round down |
//! | `(float a)` | an integer as a real |
//! | `(+ a b)`, `-`, `*`, `/`, `fmin`, `fmax` | reals, computed in f32 |
//! | `(shift x m)`, `(ratio a b)` | `x - m`, but -inf when `x` is; `a / b`, but 0 when both are 0 |
//! | `neg`, `abs`, `exp`, `log`, `sqrt`, `tanh`, `sigmoid`, `relu`, `silu`, `gelu` | of one real |
//! | `(cast T x)` | `x` rounded to the type `T` |
//! | `(i== a b)`, `i!=`, `i<`, `i<=`; `==`, `!=`, `<`, `<=` | predicates on integers; on reals |
//! | `and`, `or`, `not` | of predicates |
//! | `(select p a b)` | `a` where `p` holds, else `b` |
//!
//! `fold lse D (pair s w)`: each element is `(s, w)`; two elements merge to `(m, e^(s1-m) w1 + e^(s2-m) w2)` with
//! `m = max(s1, s2)`; the identity is `(-inf, 0)`. `w` may be a pair of pairs; all leaves are scaled alike. The result of
//! such a fold is again an element, which is why it splits like every other monoid.

pub mod affine;
pub mod build;
pub mod context;
pub mod cost;
mod display;
mod error;
pub mod eval;
mod explain;
pub mod extract;
pub mod facts;
mod optimise;
#[cfg(test)]
mod optimise_tests;
mod price;
pub mod rules;
pub mod stored;
pub mod sums;
mod translate;

pub use error::Error;
pub use explain::{Explanation, Step, explain};
pub use optimise::{
    Candidate, Considered, ITERATION_LIMIT, NODE_LIMIT, Optimised, Options, Saturated, Saturation, optimise,
    optimise_in, saturate,
};
pub use translate::translate;

use egg::{Id, define_language};
use std::{fmt, str::FromStr};

define_language! {
    /// One node. What each means is in the tables of the module's documentation: the macro takes no comments on variants.
    #[expect(missing_docs, reason = "the macro takes no comments on variants")]
    pub enum Term {
        Int(i64),
        Num(Real),
        Bool(bool),
        Axis(AxisName),
        Len(LenName),
        Tensor(TensorName),
        Monoid(Monoid),
        Type(Type),
        // a tile value of the kernel being emitted, at this element; only in plans
        Value(ValueName),
        // integers
        "i+" = IntAdd([Id; 2]), "i-" = IntSub([Id; 2]), "i*" = IntMul([Id; 2]), "i/" = IntDiv([Id; 2]), "i%" = IntRem([Id; 2]),
        "imin" = IntMin([Id; 2]), "imax" = IntMax([Id; 2]),
        "float" = ToFloat(Id),
        // reals
        "+" = Add([Id; 2]), "-" = Sub([Id; 2]), "*" = Mul([Id; 2]), "/" = Div([Id; 2]),
        "fmin" = Min([Id; 2]), "fmax" = Max([Id; 2]),
        // x - m, but -inf when x is -inf; a / b, but 0 when both are 0
        "shift" = Shift([Id; 2]), "ratio" = Ratio([Id; 2]),
        "neg" = Neg(Id), "abs" = Abs(Id), "exp" = Exp(Id), "log" = Log(Id), "sqrt" = Sqrt(Id), "tanh" = Tanh(Id),
        "sigmoid" = Sigmoid(Id), "relu" = Relu(Id), "silu" = Silu(Id), "gelu" = Gelu(Id),
        "cast" = Cast([Id; 2]),
        // predicates
        "i==" = IntEq([Id; 2]), "i!=" = IntNe([Id; 2]), "i<" = IntLt([Id; 2]), "i<=" = IntLe([Id; 2]),
        "==" = Eq([Id; 2]), "!=" = Ne([Id; 2]), "<" = Lt([Id; 2]), "<=" = Le([Id; 2]),
        "and" = And([Id; 2]), "or" = Or([Id; 2]), "not" = Not(Id),
        "in" = In([Id; 2]),
        // any kind
        "select" = Select([Id; 3]),
        "load" = Load(Box<[Id]>), "list" = List(Box<[Id]>),
        // domains
        "all" = All(Id), "mask" = Mask([Id; 2]), "upto" = Upto([Id; 2]), "from" = From([Id; 2]), "blocks" = Blocks([Id; 3]),
        "union" = Union([Id; 2]),
        "outer" = Outer(Id), "inner" = Inner(Id), "chunks" = Chunks(Id), "chunk" = Chunk(Id),
        // folds
        "fold" = Fold([Id; 3]), "mma" = Mma([Id; 3]),
        "pair" = Pair([Id; 2]), "fst" = Fst(Id), "snd" = Snd(Id), "norm" = Norm(Id), "logsum" = Logsum(Id),
        "top" = Top([Id; 4]),
        "mat" = Mat(Id),
    }
}

impl Term {
    /// Whether it computes an integer from two others.
    pub fn is_integer_arithmetic(&self) -> bool {
        matches!(
            self,
            Term::IntAdd(_)
                | Term::IntSub(_)
                | Term::IntMul(_)
                | Term::IntDiv(_)
                | Term::IntRem(_)
                | Term::IntMin(_)
                | Term::IntMax(_)
        )
    }
}

/// A real constant; always printed with a point, so that it is never read back as an integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Real(u64);

impl Real {
    /// The constant for a value; -0 becomes 0.
    pub fn new(x: f64) -> Self {
        Real((x + 0.0).to_bits())
    }
    /// Its value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

impl FromStr for Real {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let spelled = matches!(s, "inf" | "-inf" | "NaN") || s.contains('.') || s.contains("e-") || s.contains("e+");
        if !spelled {
            return Err(());
        }
        s.parse().map(Real::new).map_err(drop)
    }
}

/// A leaf whose text is a mark and a name.
macro_rules! named_leaf {
    ($(#[$doc:meta])* $name:ident, $mark:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub egg::Symbol);
        // By name: symbols are numbered as they come up, which is another order in every process and thread.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                if self.0 == other.0 { std::cmp::Ordering::Equal } else { self.name().cmp(other.name()) }
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl $name {
            /// The leaf for a name (without its mark).
            pub fn new(name: &str) -> Self {
                $name(egg::Symbol::from(name))
            }
            /// The name, without its mark.
            pub fn name(&self) -> &'static str {
                self.0.as_str()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($mark, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                s.strip_prefix($mark).filter(|name| !name.is_empty()).map(Self::new).ok_or(())
            }
        }
    };
}

named_leaf!(
    /// The value of an axis: `@t`.
    AxisName, "@");
named_leaf!(
    /// The length of an axis: `#t`.
    LenName, "#");
named_leaf!(
    /// A tensor: `$q`.
    TensorName, "$");

/// A leaf that is one of a few words.
macro_rules! word_leaf {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $word),* })
            }
        }
        impl FromStr for $name {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                match s { $($word => Ok($name::$variant),)* _ => Err(()) }
            }
        }
    };
}

word_leaf!(
    /// How a fold combines.
    Monoid {
        /// Sum, identity 0.
        Add = "add",
        /// Maximum, identity -inf.
        Max = "max",
        /// Minimum, identity +inf.
        Min = "min",
        /// Weighted log-sum-exp, identity (-inf, 0).
        Lse = "lse",
    }
);
word_leaf!(
    /// The type a `cast` rounds to, and what buffers hold.
    Type {
        /// bfloat16.
        Bf16 = "bf16",
        /// IEEE half.
        F16 = "f16",
        /// IEEE single.
        F32 = "f32",
        /// 32-bit signed integer.
        I32 = "i32",
    }
);

impl Type {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Type::Bf16 | Type::F16 => 2,
            Type::F32 | Type::I32 => 4,
        }
    }
}

/// A tile value of a kernel: `%3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueName(pub u32);

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ValueName {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        s.strip_prefix('%').and_then(|n| n.parse().ok()).map(ValueName).ok_or(())
    }
}

/// A program in terms: every tensor that the compiler may compute, each with one root term over its axes.
///
/// Before optimisation every definition of the program is here; after it, only those that are stored.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The arena.
    pub nodes: egg::RecExpr<Term>,
    /// Definitions, each after those it loads.
    pub definitions: Vec<Definition>,
}

/// One tensor and the term that computes its element from its axes.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Name of the tensor.
    pub tensor: TensorName,
    /// Index axes, slowest first. For a list (`top`), without the list's own axis.
    pub axes: Vec<AxisName>,
    /// The value at these axes; a `top` for lists.
    pub root: Id,
    /// True for the program's results.
    pub result: bool,
}
