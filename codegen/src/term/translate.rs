//! From the checked program to terms.

use super::build::{Builder, tidy_terms};
use super::{AxisName, Definition, LenName, Monoid, TensorName, Term, Terms, Type};
use egg::Id;
use nsa_dsl::program as p;
use std::collections::HashMap;

/// One definition for each of the program's non-parameter tensors, each over its own axes; definitions load each other.
///
/// Folds get domains: no guard is `(all @k)`, a guard `(mask (all @k) p)`. `stop_gradient` vanishes (it has no meaning
/// forward), `>` and `>=` turn round, the length of an axis of constant extent is that constant.
pub fn translate(program: &p::Program) -> Terms {
    let mut translator = Translator { program, builder: Builder::new(), done: HashMap::new() };
    let mut definitions = Vec::new();
    for (number, tensor) in program.tensors.iter().enumerate() {
        let mut axes: Vec<AxisName> = tensor.axes.iter().map(|axis| translator.axis_name(*axis)).collect();
        let root = match &tensor.source {
            p::Source::Param => continue,
            p::Source::Value(expr) => translator.expr(*expr),
            p::Source::Top(top) => {
                axes.pop();
                translator.top(top)
            }
        };
        let result = program.results.contains(&p::TensorId(number as u32));
        definitions.push(Definition { tensor: TensorName::new(&tensor.name), axes, root, result });
    }
    tidy_terms(&Terms { nodes: translator.builder.finish(), definitions })
}

/// The type of a tensor in memory as terms name it.
pub fn type_of(dtype: p::DType) -> Type {
    match dtype {
        p::DType::Bf16 => Type::Bf16,
        p::DType::F16 => Type::F16,
        p::DType::F32 => Type::F32,
        p::DType::I32 => Type::I32,
    }
}

struct Translator<'a> {
    program: &'a p::Program,
    builder: Builder,
    done: HashMap<p::ExprId, Id>,
}

impl Translator<'_> {
    fn axis_name(&self, axis: p::AxisId) -> AxisName {
        AxisName::new(&self.program.axis(axis).name)
    }

    fn all(&mut self, axis: p::AxisId) -> Id {
        let axis = Term::Axis(self.axis_name(axis));
        let axis = self.builder.add(axis);
        self.builder.add(Term::All(axis))
    }

    fn masked(&mut self, axis: p::AxisId, guard: Option<p::ExprId>) -> Id {
        let all = self.all(axis);
        match guard {
            None => all,
            Some(guard) => {
                let guard = self.expr(guard);
                if let Term::Bool(true) = self.builder.node(guard) {
                    return all;
                }
                self.builder.add(Term::Mask([all, guard]))
            }
        }
    }

    fn top(&mut self, top: &p::Top) -> Id {
        let count = self.builder.int(top.count);
        let domain = self.masked(top.axis, top.among);
        let score = self.expr(top.score);
        let force = match top.force {
            Some(force) => self.expr(force),
            None => self.builder.bool(false),
        };
        self.builder.add(Term::Top([count, domain, score, force]))
    }

    fn element(&mut self, tensor: p::TensorId, index: &[p::ExprId]) -> Box<[Id]> {
        let tensor = Term::Tensor(TensorName::new(&self.program.tensor(tensor).name));
        let mut children = vec![self.builder.add(tensor)];
        children.extend(index.iter().map(|index| self.expr(*index)));
        children.into()
    }

    fn expr(&mut self, id: p::ExprId) -> Id {
        if let Some(term) = self.done.get(&id) {
            return *term;
        }
        let term = self.node(id);
        self.done.insert(id, term);
        term
    }

    fn node(&mut self, id: p::ExprId) -> Id {
        use p::Expr::*;
        let program = self.program;
        let term = match program.expr(id) {
            Int(value) => return self.builder.int(*value),
            Num(value) => return self.builder.num(*value),
            Bool(value) => return self.builder.bool(*value),
            Axis(axis) => Term::Axis(self.axis_name(*axis)),
            Len(axis) => match program.axis(*axis).extent {
                p::Extent::Const(extent) => return self.builder.int(extent),
                _ => Term::Len(LenName::new(&program.axis(*axis).name)),
            },
            IntBin(op, a, b) => {
                let ab = [self.expr(*a), self.expr(*b)];
                match op {
                    p::IntBin::Add => Term::IntAdd(ab),
                    p::IntBin::Sub => Term::IntSub(ab),
                    p::IntBin::Mul => Term::IntMul(ab),
                    p::IntBin::Div => Term::IntDiv(ab),
                    p::IntBin::Rem => Term::IntRem(ab),
                    p::IntBin::Min => Term::IntMin(ab),
                    p::IntBin::Max => Term::IntMax(ab),
                }
            }
            ToFloat(a) => Term::ToFloat(self.expr(*a)),
            Load(tensor, index) => Term::Load(self.element(*tensor, index)),
            Unary(op, a) => {
                let a = self.expr(*a);
                match op {
                    p::Unary::Neg => Term::Neg(a),
                    p::Unary::Abs => Term::Abs(a),
                    p::Unary::Exp => Term::Exp(a),
                    p::Unary::Log => Term::Log(a),
                    p::Unary::Sqrt => Term::Sqrt(a),
                    p::Unary::Tanh => Term::Tanh(a),
                    p::Unary::Sigmoid => Term::Sigmoid(a),
                    p::Unary::Relu => Term::Relu(a),
                    p::Unary::Silu => Term::Silu(a),
                    p::Unary::Gelu => Term::Gelu(a),
                }
            }
            Binary(op, a, b) => {
                let ab = [self.expr(*a), self.expr(*b)];
                match op {
                    p::Binary::Add => Term::Add(ab),
                    p::Binary::Sub => Term::Sub(ab),
                    p::Binary::Mul => Term::Mul(ab),
                    p::Binary::Div => Term::Div(ab),
                    p::Binary::Min => Term::Min(ab),
                    p::Binary::Max => Term::Max(ab),
                    p::Binary::Shift => Term::Shift(ab),
                    p::Binary::Ratio => Term::Ratio(ab),
                }
            }
            Select(condition, a, b) => Term::Select([self.expr(*condition), self.expr(*a), self.expr(*b)]),
            Cast(dtype, a) => {
                let dtype = self.builder.dtype(type_of(*dtype));
                Term::Cast([dtype, self.expr(*a)])
            }
            Compare(op, a, b) => {
                let int = program.is_integer(*a) && program.is_integer(*b);
                let (a, b) = (self.expr(*a), self.expr(*b));
                match (op, int) {
                    (p::Compare::Eq, true) => Term::IntEq([a, b]),
                    (p::Compare::Eq, false) => Term::Eq([a, b]),
                    (p::Compare::Ne, true) => Term::IntNe([a, b]),
                    (p::Compare::Ne, false) => Term::Ne([a, b]),
                    (p::Compare::Lt, true) => Term::IntLt([a, b]),
                    (p::Compare::Lt, false) => Term::Lt([a, b]),
                    (p::Compare::Le, true) => Term::IntLe([a, b]),
                    (p::Compare::Le, false) => Term::Le([a, b]),
                    (p::Compare::Gt, true) => Term::IntLt([b, a]),
                    (p::Compare::Gt, false) => Term::Lt([b, a]),
                    (p::Compare::Ge, true) => Term::IntLe([b, a]),
                    (p::Compare::Ge, false) => Term::Le([b, a]),
                }
            }
            And(a, b) => Term::And([self.expr(*a), self.expr(*b)]),
            Or(a, b) => Term::Or([self.expr(*a), self.expr(*b)]),
            Not(a) => Term::Not(self.expr(*a)),
            Member(x, tensor, index) => {
                let x = self.expr(*x);
                let list = Term::List(self.element(*tensor, index));
                let list = self.builder.add(list);
                Term::In([x, list])
            }
            Fold { monoid, axis, guard, body } => {
                let monoid = self.builder.monoid(match monoid {
                    p::Monoid::Sum => Monoid::Add,
                    p::Monoid::Max => Monoid::Max,
                    p::Monoid::Min => Monoid::Min,
                });
                let domain = self.masked(*axis, *guard);
                Term::Fold([monoid, domain, self.expr(*body)])
            }
            StopGradient(a) => return self.expr(*a),
        };
        self.builder.tidy(term)
    }
}
