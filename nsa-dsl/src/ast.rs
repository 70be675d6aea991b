//! The syntax tree: what was written, with places. `Display` prints it back as a program.

use crate::program::DType;
use crate::source::Span;

/// A name as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The characters.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A source text: constants, functions, the kernel.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct File {
    /// In the order they were written.
    pub items: Vec<Item>,
}

/// What stands at the top of a file.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// `const NAME = value;`
    Const(Const),
    /// `element bf16;`
    Element(DType, Span),
    /// `fn name(...) { ... }`
    Function(Function),
    /// `kernel name(...) -> ... { ... }`
    Kernel(Kernel),
}

/// A named number.
#[derive(Clone, PartialEq, Debug)]
pub struct Const {
    /// Its name.
    pub name: Name,
    /// A constant expression.
    pub value: Expr,
}

/// A function: expanded where it is called.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its parameters.
    pub params: Vec<FunctionParam>,
    /// What it computes.
    pub body: Body,
}

/// A parameter of a function.
#[derive(Clone, PartialEq, Debug)]
pub struct FunctionParam {
    /// Its name.
    pub name: Name,
    /// Names for axes of the argument: `[s, .., d]`.
    pub pattern: Option<Vec<PatternItem>>,
    /// Value if the call gives none.
    pub default: Option<Expr>,
}

/// One place of a pattern or of an index list.
#[derive(Clone, PartialEq, Debug)]
pub enum PatternItem {
    /// An axis gets this name.
    Axis(Name),
    /// `..`: the axes between.
    Rest(Span),
}

/// A kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: Name,
    /// Its arguments.
    pub params: Vec<Declaration>,
    /// What it gives.
    pub results: Vec<Declaration>,
    /// What it computes.
    pub body: Body,
}

/// A parameter or a result of a kernel: `name: f32[t, g, d]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Declaration {
    /// Its name.
    pub name: Name,
    /// Type in memory, if given.
    pub dtype: Option<DType>,
    /// Its axes, slowest first.
    pub axes: Vec<AxisDeclaration>,
    /// All of it.
    pub span: Span,
}

/// An axis of a declaration, of a definition or of a fold.
#[derive(Clone, PartialEq, Debug)]
pub enum AxisDeclaration {
    /// A named axis; `d = 128` or `b < n` gives the number of its values.
    Named(Name, Option<Expr>),
    /// An axis without a name, by its size.
    Size(Expr),
}

/// Statements, then one or several values.
#[derive(Clone, PartialEq, Debug)]
pub struct Body {
    /// The definitions.
    pub lets: Vec<Let>,
    /// The values.
    pub values: Vec<Expr>,
    /// The values' place.
    pub span: Span,
}

/// `let name[axes] = value;` or `let (a, b) = call;`
#[derive(Clone, PartialEq, Debug)]
pub struct Let {
    /// The names defined, with the axes that were written.
    pub targets: Vec<(Name, Option<Vec<AxisDeclaration>>)>,
    /// What they mean.
    pub value: Expr,
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Box<ExprKind>,
    /// Where.
    pub span: Span,
    /// Height of the tree, which the parser limits so that nothing that walks it can run out of stack.
    pub depth: u32,
}

/// The forms of expressions.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// An integer.
    Int(i64),
    /// A number with a fraction or exponent.
    Num(f64),
    /// `true`, `false`.
    Bool(bool),
    /// A name.
    Name(String),
    /// `name[indices]`.
    Index(Name, Vec<IndexItem>),
    /// A call.
    Call(Name, Vec<Argument>),
    /// `sum[axes] body`, and `softmax[axis](x where p)`, which is written in the same way.
    Fold(FoldKind, Span, Vec<AxisDeclaration>, Expr),
    /// `top[axis](score, count, force = ..., among = ...)`.
    Top(Name, Vec<Argument>),
    /// `value where condition`: only as the body of a fold.
    Where(Expr, Expr),
    /// `-x`
    Neg(Expr),
    /// `!p`
    Not(Expr),
    /// An operator between two operands.
    Binary(BinaryOp, Expr, Expr),
    /// `x in list`.
    In(Expr, Expr),
    /// `if p { a } else { b }`.
    If(Expr, Expr, Expr),
    /// `cast(x, f16)`.
    Cast(Expr, DType),
}

/// One place of an index list.
#[derive(Clone, PartialEq, Debug)]
pub enum IndexItem {
    /// The index along this axis.
    Value(Expr),
    /// `..`: the axes between are indexed by their own names.
    Rest(Span),
}

/// An argument of a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Argument {
    /// The parameter's name, if written.
    pub name: Option<Name>,
    /// The value.
    pub value: Expr,
}

/// Operations along axes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoldKind {
    /// Sum.
    Sum,
    /// Largest value.
    Max,
    /// Smallest value.
    Min,
    /// Sum over count.
    Mean,
    /// exp(x - max x) over the sum of the same.
    Softmax,
    /// log of the sum of exp.
    LogSumExp,
}

impl FoldKind {
    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            FoldKind::Sum => "sum",
            FoldKind::Max => "max",
            FoldKind::Min => "min",
            FoldKind::Mean => "mean",
            FoldKind::Softmax => "softmax",
            FoldKind::LogSumExp => "logsumexp",
        }
    }

    /// By its name.
    pub fn by_name(name: &str) -> Option<FoldKind> {
        use FoldKind::*;
        [Sum, Max, Min, Mean, Softmax, LogSumExp].into_iter().find(|kind| kind.name() == name)
    }
}

/// Operators between two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `&&`
    And,
    /// `||`
    Or,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }

    /// How tightly it binds; 1 is loosest.
    pub fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 5,
        }
    }
}

impl ExprKind {
    /// Calls `visit` with every direct operand.
    pub fn children<'a>(&'a self, mut visit: impl FnMut(&'a Expr)) {
        match self {
            ExprKind::Int(_) | ExprKind::Num(_) | ExprKind::Bool(_) | ExprKind::Name(_) => {}
            ExprKind::Index(_, indices) => {
                for index in indices {
                    if let IndexItem::Value(value) = index {
                        visit(value);
                    }
                }
            }
            ExprKind::Call(_, arguments) | ExprKind::Top(_, arguments) => {
                arguments.iter().for_each(|argument| visit(&argument.value));
            }
            ExprKind::Fold(_, _, axes, body) => {
                for axis in axes {
                    match axis {
                        AxisDeclaration::Named(_, Some(extent)) | AxisDeclaration::Size(extent) => visit(extent),
                        AxisDeclaration::Named(_, None) => {}
                    }
                }
                visit(body);
            }
            ExprKind::Neg(operand) | ExprKind::Not(operand) | ExprKind::Cast(operand, _) => visit(operand),
            ExprKind::Where(a, b) | ExprKind::Binary(_, a, b) | ExprKind::In(a, b) => {
                visit(a);
                visit(b);
            }
            ExprKind::If(condition, yes, no) => {
                visit(condition);
                visit(yes);
                visit(no);
            }
        }
    }
}
