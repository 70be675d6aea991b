//! The checked program: what the parser and checker hand to the evaluator and to the compiler.
//!
//! A [`Program`] is a list of tensors, each a parameter or a definition over named axes, and the tensors that are its
//! results. Definitions are closed scalar expressions over the values of their axes: function calls are expanded, names
//! resolved, types decided, constants folded. Nothing here is specific to one kind of attention.
//!
//! # When things are evaluated, and as what
//!
//! * A program describes **one sequence**. A packed batch runs it once per sequence; every run-time axis then has its own
//!   length per sequence, 0 included, and its elements lie one sequence after the other in memory. Where there are run-time
//!   axes, definitions along constant axes only have one more, `sequence`, first: a derived axis of one value per sequence.
//! * Integers are 64-bit; `/` on them is floor division and `%` its remainder (never negative for a positive divisor).
//! * Floating values are real numbers in the reference (f64). In kernels everything is f32, except that **the two factors
//!   of a contraction** (a `Sum` over a product of two values that vary along the summed axis, on tensor cores) are
//!   rounded to the program's element type, and stored tensors have their declared type.
//! * A fold visits the values of its axis for which its guard holds, in increasing order. A fold that meets nothing is its
//!   identity: 0 for `Sum`, -inf for `Max`, +inf for `Min`.
//! * `Shift(x, m)` is `x - m`, but -inf when `x` is -inf, whatever `m` is. `Ratio(a, b)` is `a / b`, but 0 when `a` and
//!   `b` are both 0. `softmax` is made of these two, so a row that sees nothing gives 0, and its log-sum-exp is -inf.
//! * A `Load` outside a tensor's extents is a checked error where the index is affine (the axis's extent is inferred or
//!   compared); an index read from data (`Member`, gathers) is in range by the caller's contract, -1 meaning "none".

use crate::diagnostic::Diagnostic;
use crate::source::Span;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest list that `top` gives: where kernels build it, it takes 64 KB, for which every GPU has room beside their tiles.
pub const LONGEST_LIST: i64 = 4096;

/// Index of an axis in [`Program::axes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AxisId(pub u32);
/// Index of a tensor in [`Program::tensors`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TensorId(pub u32);
/// Index of an expression in [`Program::exprs`]. Expressions are hash-consed: equal expressions have equal ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExprId(pub u32);

/// A kernel program after checking. See the module documentation for its meaning.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// The kernel's name, as written.
    pub name: String,
    /// Type of the parameters that declare none, and of contraction factors: `Bf16`, `F16` or `F32`.
    pub element: DType,
    /// All axes; names are unique (the checker renames a shadowing axis `d` to `d_1`, ...).
    pub axes: Vec<Axis>,
    /// Parameters first, in the order of the signature, then definitions, each after those it uses.
    pub tensors: Vec<Tensor>,
    /// The results, in the order of the signature; each is a definition.
    pub results: Vec<TensorId>,
    /// The expression arena; children come before parents.
    pub exprs: Vec<Expr>,
    /// Compile-time constants after overriding, for display: name and value, in source order.
    pub constants: Vec<(String, f64)>,
    /// Where it was written.
    pub places: Places,
}

/// Where a program's parts were written, for errors about it that are found after checking. Programs that differ in nothing else
/// are equal.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The kernel's name.
    pub kernel: Span,
    /// Per tensor: its declaration, its definition, or the user's call of the library function that defines it.
    pub tensors: Vec<Span>,
    /// What hardly is what was meant, see [`Program::warnings`].
    pub(crate) warnings: Vec<Diagnostic>,
    /// The text that these are places of.
    pub(crate) origin: Origin,
}

/// The text that a program was compiled from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub file_name: String,
    pub text: Arc<str>,
    pub from_tokens: bool,
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl Program {
    /// Where the tensor of this name was written; the kernel's name if there is none.
    pub fn place(&self, tensor: &str) -> Span {
        let found = self.tensors.iter().position(|t| t.name == tensor);
        found.and_then(|found| self.places.tensors.get(found)).copied().unwrap_or(self.places.kernel)
    }
}

/// A named axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    /// Unique name.
    pub name: String,
    /// How many values it has: 0, 1, ... extent - 1.
    pub extent: Extent,
}

/// The number of values of an axis.
#[derive(Clone, PartialEq, Debug)]
pub enum Extent {
    /// Known when compiling.
    Const(i64),
    /// Given with the arguments, per sequence (a packed batch may give each sequence its own).
    Runtime,
    /// Computed from run-time axes: an integer expression made of `Int`, `Len`, `IntBin`; negative means 0.
    Derived(ExprId),
}

/// Element types of tensors in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// 32-bit signed integer: indices, counts, ids.
    I32,
}

/// A parameter or a definition.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Unique name (a definition that shadows gets a suffix, as axes do).
    pub name: String,
    /// Index axes, slowest first. Parameters and results are stored in this order.
    pub axes: Vec<AxisId>,
    /// Type in memory. Definitions that are not results say `None`: the compiler chooses, if they reach memory at all.
    pub dtype: Option<DType>,
    /// Where the values come from.
    pub source: Source,
}

/// Where a tensor's values come from.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// An argument.
    Param,
    /// A floating or integer expression over the tensor's axes.
    Value(ExprId),
    /// The `count` best values of an axis, ascending, then -1. The last of the tensor's axes numbers the list entries
    /// (extent `Const(count)`); the others are the free axes.
    Top(Top),
}

/// `top[axis](score, count, force = ..., among = ...)`: among the candidates, first all that are forced, then the
/// others by score, highest first, ties to the lowest index; at most `count`; listed in ascending order.
#[derive(Clone, PartialEq, Debug)]
pub struct Top {
    /// The axis that is searched.
    pub axis: AxisId,
    /// Length of the list.
    pub count: i64,
    /// Floating expression; NaN counts as -inf.
    pub score: ExprId,
    /// Boolean: entries that are in the list whatever their score (they count; lowest index first if too many).
    pub force: Option<ExprId>,
    /// Boolean: which entries are candidates at all (forced ones must be candidates too). None: all.
    pub among: Option<ExprId>,
}

/// What kind of value an expression has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Integer.
    Int,
    /// Floating.
    Float,
    /// True or false.
    Bool,
}

/// One expression node; operands are earlier ids.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// Integer constant.
    Int(i64),
    /// Floating constant.
    Num(f64),
    /// Boolean constant.
    Bool(bool),
    /// The value of an axis, an integer.
    Axis(AxisId),
    /// The length of an axis in this sequence, an integer.
    Len(AxisId),
    /// Integer arithmetic.
    IntBin(IntBin, ExprId, ExprId),
    /// An integer as a floating value.
    ToFloat(ExprId),
    /// An element: `index` has one integer expression per axis of the tensor. Integer if the tensor holds integers.
    Load(TensorId, Vec<ExprId>),
    /// Floating, one operand.
    Unary(Unary, ExprId),
    /// Floating, two operands.
    Binary(Binary, ExprId, ExprId),
    /// `Select(p, a, b)`: `a` if `p` else `b`; both of one kind.
    Select(ExprId, ExprId, ExprId),
    /// Rounded to a type and back, floating.
    Cast(DType, ExprId),
    /// Comparison of two integers or two floats (`Eq` etc. by the operands' kind), boolean.
    Compare(Compare, ExprId, ExprId),
    /// Both.
    And(ExprId, ExprId),
    /// Either.
    Or(ExprId, ExprId),
    /// Negation.
    Not(ExprId),
    /// `Member(x, list, index)`: the integer `x` is among `list[index.., 0..count]`; the list axis is the tensor's last
    /// axis, -1 entries match nothing (even if `x` is -1).
    Member(ExprId, TensorId, Vec<ExprId>),
    /// The fold of `body` over `axis` where `guard` holds (None: everywhere). Several axes nest, outermost first.
    Fold {
        /// Sum, max or min.
        monoid: Monoid,
        /// The axis that is folded over.
        axis: AxisId,
        /// Boolean; None means always.
        guard: Option<ExprId>,
        /// Floating expression.
        body: ExprId,
    },
    /// The operand, but no gradient flows through it.
    StopGradient(ExprId),
}

/// Integer operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IntBin {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Floor division; the divisor is a positive constant or checked to be positive.
    Div,
    /// Remainder of the floor division.
    Rem,
    /// Smaller.
    Min,
    /// Larger.
    Max,
}

/// Floating operations on one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    /// Negation.
    Neg,
    /// Absolute value.
    Abs,
    /// e to the x.
    Exp,
    /// Natural logarithm; -inf at 0.
    Log,
    /// Square root.
    Sqrt,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// max(x, 0).
    Relu,
    /// x * sigmoid(x).
    Silu,
    /// The tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    Gelu,
}

/// Floating operations on two operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// `x - m`, but -inf when `x` is -inf.
    Shift,
    /// `a / b`, but 0 when both are 0.
    Ratio,
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// How a fold combines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Monoid {
    /// Addition, identity 0.
    Sum,
    /// Maximum, identity -inf.
    Max,
    /// Minimum, identity +inf.
    Min,
}

impl Program {
    /// The axis with this id.
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.0 as usize]
    }
    /// The tensor with this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }
    /// The expression with this id.
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize]
    }
    /// Other expressions, and where those of before are among them.
    pub(crate) fn move_exprs(&mut self, exprs: Vec<Expr>, moved: &HashMap<ExprId, ExprId>) {
        self.exprs = exprs;
        for axis in &mut self.axes {
            if let Extent::Derived(extent) = &mut axis.extent {
                *extent = moved[extent];
            }
        }
        for tensor in &mut self.tensors {
            match &mut tensor.source {
                Source::Param => {}
                Source::Value(root) => *root = moved[root],
                Source::Top(top) => {
                    top.score = moved[&top.score];
                    top.force = top.force.map(|force| moved[&force]);
                    top.among = top.among.map(|among| moved[&among]);
                }
            }
        }
    }
    /// Whether an expression is an integer (else it is floating or a condition).
    pub fn is_integer(&self, id: ExprId) -> bool {
        match self.expr(id) {
            Expr::Int(_) | Expr::Axis(_) | Expr::Len(_) | Expr::IntBin(..) => true,
            Expr::Load(tensor, _) => self.holds_integers(*tensor),
            Expr::Select(_, a, _) | Expr::StopGradient(a) => self.is_integer(*a),
            _ => false,
        }
    }
    /// Whether a tensor's elements are integers.
    pub fn holds_integers(&self, id: TensorId) -> bool {
        let tensor = self.tensor(id);
        match &tensor.source {
            Source::Param => tensor.dtype == Some(DType::I32),
            Source::Value(root) => self.is_integer(*root),
            Source::Top(_) => true,
        }
    }
    /// The axes whose lengths are given at run time, in the order of the program.
    pub fn runtime_axes(&self) -> impl Iterator<Item = &Axis> {
        self.axes.iter().filter(|axis| axis.extent == Extent::Runtime)
    }
    /// The parameters, in the order of the signature.
    pub fn params(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors
            .iter()
            .enumerate()
            .filter(|(_, t)| matches!(t.source, Source::Param))
            .map(|(i, t)| (TensorId(i as u32), t))
    }
}
