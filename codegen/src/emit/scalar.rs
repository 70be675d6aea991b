//! Scalar terms to LLVM values, the same for every target.
//!
//! An [`Evaluator`] gives the value of a term at one element, or at several at once: with `lanes > 1` some axis of the
//! [`Environment`] varies from lane to lane, and whatever depends on it becomes a vector, while everything else stays
//! scalar. Integers are `i32` (positions and lengths stay below 2^31), conditions `i1`, reals `float`.
//!
//! Values are memoised per term and scope, so that shared subterms are computed once. The memo refers to values where they
//! were built: whoever leaves the block in which terms were evaluated makes a new evaluator.
//!
//! Loads never fault: axes are clamped by the environment ([`Environment::address_axis`]), axes of folds stay inside their
//! domain, and indices that were read from data are clamped to the buffer's extent. All operands of `select` are
//! evaluated.

mod facts;
mod fold;
mod memory;

pub use facts::Facts;
pub use memory::{View, load_lanes, store_type};

use super::EmitError;
use super::llvm::{Emitter, Value};
use crate::plan::Plan;
use crate::term::{AxisName, TensorName, Term, Type};
use egg::Id;
use inkwell::{FloatPredicate, IntPredicate};
use std::collections::HashMap;
use std::rc::Rc;

/// The value of a term at the element or elements of an evaluator.
#[derive(Clone, Debug)]
pub enum Scalar<'c> {
    /// The same in every lane: `i32`, `i1` or `float`.
    Uniform(Value<'c>),
    /// The integer `first + lane * step`.
    Ramp {
        /// In lane 0.
        first: Value<'c>,
        /// From lane to lane.
        step: i32,
    },
    /// A vector, one element per lane.
    Lanes(Value<'c>),
    /// A pair.
    Pair(Rc<(Scalar<'c>, Scalar<'c>)>),
}

/// Functions that every target has its own way to compute, on `float` scalars or vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Math {
    /// 2 to the x; 0 at -inf.
    Exp2,
    /// Base-2 logarithm; -inf at 0.
    Log2,
    /// Hyperbolic tangent.
    Tanh,
    /// Square root.
    Sqrt,
}

/// What surrounds a scalar term: the element that is computed and the memory that it reads.
pub trait Environment<'c> {
    /// How many elements are computed at once; 1 on a GPU.
    fn lanes(&self) -> u32;
    /// The value of an axis that no fold of the term binds.
    ///
    /// # Errors
    /// The axis has no value here.
    fn axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError>;
    /// As [`Self::axis`], but inside the axis's extent even where the element is not: what addresses are made of.
    ///
    /// # Errors
    /// The axis has no value here.
    fn address_axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        self.axis(axis)
    }
    /// The length of an axis in this sequence, `i32`.
    ///
    /// # Errors
    /// There is no such axis.
    fn length(&self, axis: AxisName) -> Result<Value<'c>, EmitError>;
    /// How a buffer lies in memory.
    ///
    /// # Errors
    /// The kernel has no such buffer.
    fn view(&self, tensor: TensorName) -> Result<View<'c>, EmitError>;
    /// A variable at this element.
    ///
    /// # Errors
    /// The kernel has no such variable, or it cannot be read at this element.
    fn variable(&self, variable: u32) -> Result<Scalar<'c>, EmitError>;
    /// An element of a stage; one index per row axis, then the column.
    ///
    /// # Errors
    /// The kernel has no such stage.
    fn stage(&self, stage: u32, index: &[Scalar<'c>]) -> Result<Scalar<'c>, EmitError>;
    /// One of the target's functions.
    ///
    /// # Errors
    /// The linked LLVM lacks an instruction for it.
    fn math(&self, function: Math, x: Value<'c>) -> Result<Value<'c>, EmitError>;
    /// Whether the target converts between `float` and this type by an instruction. Otherwise integer operations do.
    fn converts(&self, dtype: Type) -> bool;
}

/// Evaluates terms of a plan in an environment.
pub struct Evaluator<'a, 'c> {
    emitter: &'a Emitter<'c>,
    plan: &'a Plan,
    facts: &'a Facts,
    environment: &'a dyn Environment<'c>,
    scopes: Vec<Scope<'c>>,
    /// True while an index of a load is evaluated: axes are then taken clamped.
    addressing: bool,
}

/// What is known inside a scalar fold; the outermost scope binds nothing.
#[derive(Default)]
struct Scope<'c> {
    axis: Option<(AxisName, Scalar<'c>)>,
    /// By term, and whether it was evaluated for an address.
    values: HashMap<(Id, bool), Scalar<'c>>,
}

impl<'a, 'c> Evaluator<'a, 'c> {
    /// An evaluator whose values are built where the emitter stands.
    pub fn new(
        emitter: &'a Emitter<'c>,
        plan: &'a Plan,
        facts: &'a Facts,
        environment: &'a dyn Environment<'c>,
    ) -> Self {
        Evaluator { emitter, plan, facts, environment, scopes: vec![Scope::default()], addressing: false }
    }

    /// The same, but the values of some terms are known.
    pub fn knowing(mut self, known: &[(Id, Value<'c>)]) -> Self {
        let known: Vec<_> = known.iter().map(|(id, value)| ((*id, false), self.wrap(*value))).collect();
        self.scopes[0].values.extend(known);
        self
    }

    /// The value of a term.
    ///
    /// # Errors
    /// The term is not a scalar, or mentions what the environment lacks.
    pub fn value(&mut self, id: Id) -> Result<Scalar<'c>, EmitError> {
        if let Some(known) = self.known(id) {
            return Ok(known);
        }
        let value = self.compute(id)?;
        let key = (id, self.addressing);
        if let Some(scope) = self.scopes.last_mut() {
            scope.values.insert(key, value.clone());
        }
        Ok(value)
    }
    /// The value of a term as one LLVM value: scalar when it is uniform, a vector otherwise.
    ///
    /// # Errors
    /// As [`Self::value`]; or the term is a pair.
    pub fn plain(&mut self, id: Id) -> Result<Value<'c>, EmitError> {
        let value = self.value(id)?;
        self.flat(&value)
    }
    /// The value of a term in every lane.
    ///
    /// # Errors
    /// As [`Self::plain`].
    pub fn lanes(&mut self, id: Id) -> Result<Value<'c>, EmitError> {
        let value = self.plain(id)?;
        Ok(self.emitter.splat(value, self.environment.lanes()))
    }

    fn known(&self, id: Id) -> Option<Scalar<'c>> {
        for scope in self.scopes.iter().rev() {
            if let Some(value) = scope.values.get(&(id, self.addressing)) {
                return Some(value.clone());
            }
            // Outside this scope its axis means something else.
            if scope.axis.as_ref().is_some_and(|(axis, _)| self.facts.mentions(id, *axis)) {
                return None;
            }
        }
        None
    }

    /// A scalar or vector; ramps are written out.
    fn flat(&self, value: &Scalar<'c>) -> Result<Value<'c>, EmitError> {
        match value {
            Scalar::Uniform(v) | Scalar::Lanes(v) => Ok(*v),
            Scalar::Ramp { first, step } => {
                Ok(self.emitter.add(*first, self.emitter.ramp(*step, self.environment.lanes())))
            }
            Scalar::Pair(_) => Err(EmitError::Plan("a pair where a number is expected".into())),
        }
    }
    fn wrap(&self, value: Value<'c>) -> Scalar<'c> {
        if value.is_vector_value() { Scalar::Lanes(value) } else { Scalar::Uniform(value) }
    }

    fn axis(&self, axis: AxisName) -> Result<Scalar<'c>, EmitError> {
        let bound = self.scopes.iter().rev().find_map(|scope| scope.axis.as_ref().filter(|(name, _)| *name == axis));
        match bound {
            Some((_, value)) => Ok(value.clone()),
            None if self.addressing => self.environment.address_axis(axis),
            None => self.environment.axis(axis),
        }
    }

    fn binary(
        &mut self,
        [a, b]: [Id; 2],
        f: impl FnOnce(&Emitter<'c>, Value<'c>, Value<'c>) -> Value<'c>,
    ) -> Result<Scalar<'c>, EmitError> {
        let (a, b) = (self.plain(a)?, self.plain(b)?);
        Ok(self.wrap(f(self.emitter, a, b)))
    }
    fn math(&self, function: Math, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.environment.math(function, x)
    }
    fn exp(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.math(Math::Exp2, self.emitter.fmul(x, self.emitter.f32_like(x, std::f32::consts::LOG2_E)))
    }
    fn log(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        let log2 = self.math(Math::Log2, x)?;
        Ok(self.emitter.fmul(log2, self.emitter.f32_like(x, std::f32::consts::LN_2)))
    }
    /// `1 / (1 + e^-x)`.
    fn sigmoid(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.emitter;
        let one = e.f32_like(x, 1.0);
        Ok(e.fdiv(one, e.fadd(one, self.exp(e.fneg(x))?)))
    }
    /// The tanh form: `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    fn gelu(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.emitter;
        let constant = |v: f32| e.f32_like(x, v);
        let cubic = e.fmul(e.fmul(x, x), e.fmul(x, constant(0.044_715)));
        let inner = e.fmul(e.fadd(x, cubic), constant((2.0 / std::f32::consts::PI).sqrt()));
        let tanh = self.math(Math::Tanh, inner)?;
        Ok(e.fmul(e.fmul(x, constant(0.5)), e.fadd(constant(1.0), tanh)))
    }
    /// `x - m`, but -inf where `x` is -inf.
    fn shift(&self, x: Value<'c>, m: Value<'c>) -> Value<'c> {
        let e = self.emitter;
        let lowest = e.f32_like(x, f32::NEG_INFINITY);
        e.select(e.fcmp(FloatPredicate::OEQ, x, lowest), lowest, e.fsub(x, m))
    }
    /// `a / b`, but 0 where both are 0.
    fn ratio(&self, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let e = self.emitter;
        let zero = |x| e.fcmp(FloatPredicate::OEQ, x, e.f32_like(x, 0.0));
        let both = e.and(zero(a), zero(b));
        e.select(both, e.f32_like(a, 0.0), e.fdiv(a, b))
    }

    fn unary(
        &mut self,
        x: Id,
        f: impl FnOnce(&Self, Value<'c>) -> Result<Value<'c>, EmitError>,
    ) -> Result<Scalar<'c>, EmitError> {
        let x = self.plain(x)?;
        let value = f(self, x)?;
        Ok(self.wrap(value))
    }

    fn compute(&mut self, id: Id) -> Result<Scalar<'c>, EmitError> {
        let e = self.emitter;
        let plan = self.plan;
        use FloatPredicate as F;
        use IntPredicate as I;
        match &plan.terms[id] {
            Term::Int(n) => match i32::try_from(*n) {
                Ok(n) => Ok(Scalar::Uniform(e.i32(n))),
                Err(_) => Err(EmitError::Plan(format!("the integer {n} does not fit 32 bits"))),
            },
            Term::Num(x) => Ok(Scalar::Uniform(e.f32(x.get() as f32))),
            Term::Bool(b) => Ok(Scalar::Uniform(e.bool(*b))),
            Term::Axis(axis) => self.axis(*axis),
            Term::Len(axis) => self.environment.length(AxisName::new(axis.name())).map(Scalar::Uniform),
            Term::Value(v) => self.environment.variable(v.0),
            Term::IntAdd(x) => self.sum(*x, 1),
            Term::IntSub(x) => self.sum(*x, -1),
            Term::IntMul(x) => self.product(*x),
            Term::IntDiv(x) => self.binary(*x, |e, a, b| e.floor_div(a, b)),
            Term::IntRem(x) => self.binary(*x, |e, a, b| e.floor_rem(a, b)),
            Term::IntMin(x) => self.binary(*x, |e, a, b| e.imin(a, b)),
            Term::IntMax(x) => self.binary(*x, |e, a, b| e.imax(a, b)),
            Term::ToFloat(x) => self.unary(*x, |s, x| Ok(s.emitter.int_to_float(x))),
            Term::Add(x) => self.binary(*x, |e, a, b| e.fadd(a, b)),
            Term::Sub(x) => self.binary(*x, |e, a, b| e.fsub(a, b)),
            Term::Mul(x) => self.binary(*x, |e, a, b| e.fmul(a, b)),
            Term::Div(x) => self.binary(*x, |e, a, b| e.fdiv(a, b)),
            Term::Min(x) => self.binary(*x, |e, a, b| e.fmin(a, b)),
            Term::Max(x) => self.binary(*x, |e, a, b| e.fmax(a, b)),
            Term::Shift([x, m]) => {
                let (x, m) = (self.plain(*x)?, self.plain(*m)?);
                Ok(self.wrap(self.shift(x, m)))
            }
            Term::Ratio([a, b]) => {
                let (a, b) = (self.plain(*a)?, self.plain(*b)?);
                Ok(self.wrap(self.ratio(a, b)))
            }
            Term::Neg(x) => self.unary(*x, |s, x| Ok(s.emitter.fneg(x))),
            Term::Abs(x) => self.unary(*x, |s, x| s.emitter.intrinsic_value("llvm.fabs", &[x.get_type()], &[x])),
            Term::Exp(x) => self.unary(*x, |s, x| s.exp(x)),
            Term::Log(x) => self.unary(*x, |s, x| s.log(x)),
            Term::Sqrt(x) => self.unary(*x, |s, x| s.math(Math::Sqrt, x)),
            Term::Tanh(x) => self.unary(*x, |s, x| s.math(Math::Tanh, x)),
            Term::Sigmoid(x) => self.unary(*x, |s, x| s.sigmoid(x)),
            Term::Relu(x) => self.unary(*x, |s, x| Ok(s.emitter.fmax(x, s.emitter.f32_like(x, 0.0)))),
            Term::Silu(x) => self.unary(*x, |s, x| Ok(s.emitter.fmul(x, s.sigmoid(x)?))),
            Term::Gelu(x) => self.unary(*x, |s, x| s.gelu(x)),
            Term::Cast([a, b]) => {
                let (dtype, x) = match (&plan.terms[*a], &plan.terms[*b]) {
                    (Term::Type(dtype), _) => (*dtype, *b),
                    (_, Term::Type(dtype)) => (*dtype, *a),
                    _ => return Err(EmitError::Plan("a cast without a type".into())),
                };
                self.unary(x, |s, x| Ok(memory::rounded(s.emitter, s.environment, dtype, x)))
            }
            Term::IntEq(x) => self.binary(*x, |e, a, b| e.icmp(I::EQ, a, b)),
            Term::IntNe(x) => self.binary(*x, |e, a, b| e.icmp(I::NE, a, b)),
            Term::IntLt(x) => self.binary(*x, |e, a, b| e.icmp(I::SLT, a, b)),
            Term::IntLe(x) => self.binary(*x, |e, a, b| e.icmp(I::SLE, a, b)),
            Term::Eq(x) => self.binary(*x, |e, a, b| e.fcmp(F::OEQ, a, b)),
            Term::Ne(x) => self.binary(*x, |e, a, b| e.fcmp(F::UNE, a, b)),
            Term::Lt(x) => self.binary(*x, |e, a, b| e.fcmp(F::OLT, a, b)),
            Term::Le(x) => self.binary(*x, |e, a, b| e.fcmp(F::OLE, a, b)),
            Term::And(x) => self.binary(*x, |e, a, b| e.and(a, b)),
            Term::Or(x) => self.binary(*x, |e, a, b| e.or(a, b)),
            Term::Not(x) => self.unary(*x, |s, x| Ok(s.emitter.not(x))),
            Term::In([x, list]) => self.member(*x, *list),
            Term::Select([p, a, b]) => {
                let p = self.plain(*p)?;
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                self.select(p, &a, &b)
            }
            Term::Load(x) => self.load(x),
            Term::Fold([monoid, domain, body]) => match plan.terms[*monoid] {
                Term::Monoid(monoid) => self.fold(monoid, *domain, fold::Body::Term(*body)),
                _ => Err(EmitError::Plan("a fold without a monoid".into())),
            },
            Term::Mma([domain, a, b]) => self.fold(crate::term::Monoid::Add, *domain, fold::Body::Product(*a, *b)),
            Term::Pair([a, b]) => Ok(Scalar::Pair(Rc::new((self.value(*a)?, self.value(*b)?)))),
            Term::Fst(x) => Ok(self.pair(*x)?.0.clone()),
            Term::Snd(x) => Ok(self.pair(*x)?.1.clone()),
            Term::Norm(x) => {
                let pair = self.pair(*x)?;
                let (a, z) = (self.flat(&pair.0)?, self.flat(&pair.1)?);
                Ok(self.wrap(self.ratio(a, z)))
            }
            Term::Logsum(x) => {
                let pair = self.pair(*x)?;
                let mut last = &pair.1;
                while let Scalar::Pair(inner) = last {
                    last = &inner.1;
                }
                let (m, z) = (self.flat(&pair.0)?, self.flat(last)?);
                // An empty fold is (-inf, 0): its logarithm is -inf, not -inf + -inf by way of log 0 on some targets.
                let empty = e.fcmp(F::OEQ, m, e.f32_like(m, f32::NEG_INFINITY));
                Ok(self.wrap(e.select(empty, m, e.fadd(m, self.log(z)?))))
            }
            Term::Mat(x) => self.value(*x),
            other => Err(EmitError::Plan(format!("`{other}` is not a scalar"))),
        }
    }

    fn pair(&mut self, id: Id) -> Result<Rc<(Scalar<'c>, Scalar<'c>)>, EmitError> {
        match self.value(id)? {
            Scalar::Pair(pair) => Ok(pair),
            _ => Err(EmitError::Plan("a number where a pair is expected".into())),
        }
    }

    fn select(&self, p: Value<'c>, a: &Scalar<'c>, b: &Scalar<'c>) -> Result<Scalar<'c>, EmitError> {
        if let (Scalar::Pair(a), Scalar::Pair(b)) = (a, b) {
            return Ok(Scalar::Pair(Rc::new((self.select(p, &a.0, &b.0)?, self.select(p, &a.1, &b.1)?))));
        }
        Ok(self.wrap(self.emitter.select(p, self.flat(a)?, self.flat(b)?)))
    }

    /// `a + sign * b`; a ramp stays one.
    fn sum(&mut self, [a, b]: [Id; 2], sign: i32) -> Result<Scalar<'c>, EmitError> {
        let e = self.emitter;
        let (a, b) = (self.value(a)?, self.value(b)?);
        let combine = |x, y| if sign > 0 { e.add(x, y) } else { e.sub(x, y) };
        let parts = |x: &Scalar<'c>| match x {
            Scalar::Uniform(v) => Some((*v, 0)),
            Scalar::Ramp { first, step } => Some((*first, *step)),
            _ => None,
        };
        match (parts(&a), parts(&b)) {
            (Some((x, 0)), Some((y, 0))) => Ok(Scalar::Uniform(combine(x, y))),
            (Some((x, s)), Some((y, t))) => Ok(Scalar::Ramp { first: combine(x, y), step: s + sign * t }),
            _ => Ok(self.wrap(combine(self.flat(&a)?, self.flat(&b)?))),
        }
    }
    /// `a * b`; a ramp times a constant stays one.
    fn product(&mut self, [a, b]: [Id; 2]) -> Result<Scalar<'c>, EmitError> {
        let e = self.emitter;
        let (a, b) = (self.value(a)?, self.value(b)?);
        let constant = |x: &Scalar<'c>| match x {
            Scalar::Uniform(Value::IntValue(v)) => v.get_sign_extended_constant().and_then(|n| i32::try_from(n).ok()),
            _ => None,
        };
        for (x, y) in [(&a, &b), (&b, &a)] {
            if let (Scalar::Ramp { first, step }, Some(n)) = (x, constant(y))
                && let Some(step) = step.checked_mul(n)
            {
                return Ok(Scalar::Ramp { first: e.mul(*first, e.i32(n)), step });
            }
        }
        Ok(self.wrap(e.mul(self.flat(&a)?, self.flat(&b)?)))
    }
}
