//! The meaning of terms, in f64: what the laws are tested against.
//!
//! Tiles have [`Environment::tile`] elements and there are [`Environment::chunks`] chunks; no result may depend on either
//! beyond rounding. Contractions are exact sums, stored values are not rounded.

use super::context::Context;
use super::facts::{Facts, Level, facts_of_nodes};
use super::{AxisName, Error, Monoid, TensorName, Term, Terms, Type};
use egg::{Id, RecExpr};
use std::collections::HashMap;
use std::rc::Rc;

/// A tensor's elements, row-major; integers are whole numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    /// Extents, slowest first; a list's own axis last.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f64>,
}

/// What terms are evaluated in.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Tensors by name.
    pub tensors: HashMap<TensorName, Array>,
    /// Lengths of axes.
    pub lengths: HashMap<AxisName, i64>,
    /// Elements of a tile.
    pub tile: usize,
    /// Chunks of a split domain.
    pub chunks: usize,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Integer.
    Int(i64),
    /// Real.
    Num(f64),
    /// Truth value.
    Bool(bool),
    /// Pair.
    Pair(Rc<(Value, Value)>),
    /// List of integers, padded with -1.
    List(Rc<Vec<i64>>),
}

impl Environment {
    /// An environment with tiles of 4 elements and 3 chunks.
    pub fn new() -> Self {
        Environment { tensors: HashMap::new(), lengths: HashMap::new(), tile: 4, chunks: 3 }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new()
    }
}

/// Computes every definition, in order, into the environment's tensors.
///
/// # Errors
/// [`Error::Malformed`] for terms that are not well formed, and for loads outside a tensor.
pub fn evaluate(terms: &Terms, context: &Context, environment: &mut Environment) -> Result<(), Error> {
    for definition in &terms.definitions {
        let mut shape = Vec::new();
        for axis in &definition.axes {
            shape.push(length(environment, *axis)?.max(0) as usize);
        }
        let count = match &terms.nodes[definition.root] {
            Term::Top([count, ..]) => match terms.nodes[*count] {
                Term::Int(count) => Some(count.max(0) as usize),
                _ => return Err(malformed("a top's count is no constant")),
            },
            _ => None,
        };
        let mut data = Vec::new();
        let mut evaluator = Evaluator::new(&terms.nodes, context, environment);
        for row in 0..shape.iter().product() {
            let at = definition.axes.iter().copied().zip(place(row, &shape));
            match evaluator.at(definition.root, at)? {
                Value::Num(x) => data.push(x),
                Value::Int(x) => data.push(x as f64),
                Value::List(list) => data.extend(list.iter().map(|x| *x as f64)),
                other => return Err(malformed(format!("{} is {other:?}", definition.tensor))),
            }
        }
        shape.extend(count);
        environment.tensors.insert(definition.tensor, Array { shape, data });
    }
    Ok(())
}

/// The value of a term at given values of its free axes.
///
/// # Errors
/// As [`evaluate`].
pub fn value(
    nodes: &RecExpr<Term>,
    root: Id,
    context: &Context,
    environment: &Environment,
    at: impl IntoIterator<Item = (AxisName, i64)>,
) -> Result<Value, Error> {
    Evaluator::new(nodes, context, environment).at(root, at)
}

/// The index of a row in row-major order.
fn place(mut row: usize, shape: &[usize]) -> Vec<i64> {
    let mut index = vec![0; shape.len()];
    for (place, extent) in index.iter_mut().zip(shape).rev() {
        *place = (row % extent) as i64;
        row /= extent;
    }
    index
}

fn malformed(message: impl Into<String>) -> Error {
    Error::Malformed { message: message.into() }
}

fn length(environment: &Environment, axis: AxisName) -> Result<i64, Error> {
    environment.lengths.get(&axis).copied().ok_or_else(|| malformed(format!("the length of {axis} is not known")))
}

struct Evaluator<'a> {
    nodes: &'a RecExpr<Term>,
    facts: Vec<Facts>,
    context: &'a Context,
    environment: &'a Environment,
    bindings: HashMap<(u32, Level), i64>,
    // a term has one value per value of what it varies over
    memo: HashMap<(Id, Vec<i64>), Value>,
}

impl<'a> Evaluator<'a> {
    fn new(nodes: &'a RecExpr<Term>, context: &'a Context, environment: &'a Environment) -> Self {
        let facts = facts_of_nodes(context, nodes);
        Evaluator { nodes, facts, context, environment, bindings: HashMap::new(), memo: HashMap::new() }
    }

    fn at(&mut self, root: Id, at: impl IntoIterator<Item = (AxisName, i64)>) -> Result<Value, Error> {
        for (axis, value) in at {
            let number = self.context.axis_number(axis).ok_or_else(|| malformed(format!("{axis} is unknown")))?;
            self.bindings.insert((number as u32, Level::Element), value);
        }
        self.eval(root)
    }

    fn eval(&mut self, id: Id) -> Result<Value, Error> {
        let mut key = Vec::new();
        for binding in &self.facts[usize::from(id)].free {
            let unbound = || malformed(format!("{} varies over an axis that is not bound", self.nodes[id]));
            key.push(*self.bindings.get(binding).ok_or_else(unbound)?);
        }
        let key = (id, key);
        if let Some(value) = self.memo.get(&key) {
            return Ok(value.clone());
        }
        let value = self.compute(id)?;
        self.memo.insert(key, value.clone());
        Ok(value)
    }

    fn int(&mut self, id: Id) -> Result<i64, Error> {
        match self.eval(id)? {
            Value::Int(x) => Ok(x),
            other => Err(malformed(format!("{other:?} is no integer"))),
        }
    }

    fn num(&mut self, id: Id) -> Result<f64, Error> {
        match self.eval(id)? {
            Value::Num(x) => Ok(x),
            other => Err(malformed(format!("{other:?} is no real"))),
        }
    }

    fn bool(&mut self, id: Id) -> Result<bool, Error> {
        match self.eval(id)? {
            Value::Bool(x) => Ok(x),
            other => Err(malformed(format!("{other:?} is no truth value"))),
        }
    }

    fn list(&mut self, id: Id) -> Result<Rc<Vec<i64>>, Error> {
        match self.eval(id)? {
            Value::List(list) => Ok(list),
            other => Err(malformed(format!("{other:?} is no list"))),
        }
    }

    fn pair(&mut self, id: Id) -> Result<(Value, Value), Error> {
        match self.eval(id)? {
            Value::Pair(pair) => Ok(pair.as_ref().clone()),
            other => Err(malformed(format!("{other:?} is no pair"))),
        }
    }

    fn compute(&mut self, id: Id) -> Result<Value, Error> {
        let node = self.nodes[id].clone();
        let int = |x: Option<i64>| x.map(Value::Int).ok_or_else(|| malformed("integer overflow or division by 0"));
        Ok(match node {
            Term::Int(x) => Value::Int(x),
            Term::Num(x) => Value::Num(x.get()),
            Term::Bool(x) => Value::Bool(x),
            Term::Axis(axis) => {
                let number = self.context.axis_number(axis).map_or(u32::MAX, |number| number as u32);
                Value::Int(self.bindings.get(&(number, Level::Element)).copied().unwrap_or_default())
            }
            Term::Len(axis) => Value::Int(length(self.environment, AxisName(axis.0))?),
            Term::IntAdd([a, b]) => int(self.int(a)?.checked_add(self.int(b)?))?,
            Term::IntSub([a, b]) => int(self.int(a)?.checked_sub(self.int(b)?))?,
            Term::IntMul([a, b]) => int(self.int(a)?.checked_mul(self.int(b)?))?,
            Term::IntDiv([a, b]) => {
                let (a, b) = (self.int(a)?, self.int(b)?);
                int((b > 0).then(|| a.div_euclid(b)))?
            }
            Term::IntRem([a, b]) => {
                let (a, b) = (self.int(a)?, self.int(b)?);
                int((b > 0).then(|| a.rem_euclid(b)))?
            }
            Term::IntMin([a, b]) => Value::Int(self.int(a)?.min(self.int(b)?)),
            Term::IntMax([a, b]) => Value::Int(self.int(a)?.max(self.int(b)?)),
            Term::ToFloat(a) => Value::Num(self.int(a)? as f64),
            Term::Add([a, b]) => Value::Num(self.num(a)? + self.num(b)?),
            Term::Sub([a, b]) => Value::Num(self.num(a)? - self.num(b)?),
            Term::Mul([a, b]) => Value::Num(self.num(a)? * self.num(b)?),
            Term::Div([a, b]) => Value::Num(self.num(a)? / self.num(b)?),
            Term::Min([a, b]) => Value::Num(self.num(a)?.min(self.num(b)?)),
            Term::Max([a, b]) => Value::Num(self.num(a)?.max(self.num(b)?)),
            Term::Shift([a, b]) => Value::Num(shift(self.num(a)?, self.num(b)?)),
            Term::Ratio([a, b]) => Value::Num(ratio(self.num(a)?, self.num(b)?)),
            Term::Neg(a) => Value::Num(-self.num(a)?),
            Term::Abs(a) => Value::Num(self.num(a)?.abs()),
            Term::Exp(a) => Value::Num(self.num(a)?.exp()),
            Term::Log(a) => Value::Num(self.num(a)?.ln()),
            Term::Sqrt(a) => Value::Num(self.num(a)?.sqrt()),
            Term::Tanh(a) => Value::Num(self.num(a)?.tanh()),
            Term::Sigmoid(a) => Value::Num(sigmoid(self.num(a)?)),
            Term::Relu(a) => Value::Num(self.num(a)?.max(0.0)),
            Term::Silu(a) => {
                let x = self.num(a)?;
                Value::Num(x * sigmoid(x))
            }
            Term::Gelu(a) => {
                let x = self.num(a)?;
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                Value::Num(0.5 * x * (1.0 + inner.tanh()))
            }
            Term::Cast([dtype, a]) => match self.nodes[dtype] {
                Term::Type(dtype) => Value::Num(rounded(self.num(a)?, dtype)),
                ref other => return Err(malformed(format!("{other} is no type"))),
            },
            Term::IntEq([a, b]) => Value::Bool(self.int(a)? == self.int(b)?),
            Term::IntNe([a, b]) => Value::Bool(self.int(a)? != self.int(b)?),
            Term::IntLt([a, b]) => Value::Bool(self.int(a)? < self.int(b)?),
            Term::IntLe([a, b]) => Value::Bool(self.int(a)? <= self.int(b)?),
            Term::Eq([a, b]) => Value::Bool(self.num(a)? == self.num(b)?),
            Term::Ne([a, b]) => Value::Bool(self.num(a)? != self.num(b)?),
            Term::Lt([a, b]) => Value::Bool(self.num(a)? < self.num(b)?),
            Term::Le([a, b]) => Value::Bool(self.num(a)? <= self.num(b)?),
            Term::And([a, b]) => Value::Bool(self.bool(a)? && self.bool(b)?),
            Term::Or([a, b]) => Value::Bool(self.bool(a)? || self.bool(b)?),
            Term::Not(a) => Value::Bool(!self.bool(a)?),
            Term::In([x, list]) => {
                let x = self.int(x)?;
                Value::Bool(x >= 0 && self.list(list)?.contains(&x))
            }
            Term::Select([p, a, b]) => {
                let taken = if self.bool(p)? { a } else { b };
                self.eval(taken)?
            }
            Term::Load(operands) => self.load(&operands)?,
            Term::List(operands) => self.load_list(&operands)?,
            Term::Fold([monoid, domain, body]) => self.fold(monoid, domain, body)?,
            Term::Mma([domain, a, b]) => {
                let mut sum = 0.0;
                self.each(domain, &mut |this| {
                    sum += this.num(a)? * this.num(b)?;
                    Ok(())
                })?;
                Value::Num(sum)
            }
            Term::Pair([a, b]) => Value::Pair(Rc::new((self.eval(a)?, self.eval(b)?))),
            Term::Fst(a) => self.pair(a)?.0,
            Term::Snd(a) => self.pair(a)?.1,
            Term::Norm(a) => match self.pair(a)? {
                (Value::Num(a), Value::Num(z)) => Value::Num(ratio(a, z)),
                other => return Err(malformed(format!("norm of {other:?}"))),
            },
            Term::Logsum(a) => self.logsum(a)?,
            Term::Top([count, domain, score, force]) => self.top(count, domain, score, force)?,
            Term::Mat(a) => self.eval(a)?,
            Term::Tensor(_)
            | Term::Monoid(_)
            | Term::Type(_)
            | Term::Value(_)
            | Term::All(_)
            | Term::Mask(_)
            | Term::Upto(_)
            | Term::From(_)
            | Term::Blocks(_)
            | Term::Union(_)
            | Term::Outer(_)
            | Term::Inner(_)
            | Term::Chunks(_)
            | Term::Chunk(_) => return Err(malformed(format!("{} has no value", self.nodes[id]))),
        })
    }

    /// The other weights of the fold may vary over more axes; they are looked at nowhere in particular.
    fn logsum(&mut self, fold: Id) -> Result<Value, Error> {
        let free = self.facts[usize::from(fold)].free.iter().copied();
        let missing: Vec<(u32, Level)> = free.filter(|binding| !self.bindings.contains_key(binding)).collect();
        self.bindings.extend(missing.iter().map(|binding| (*binding, 0)));
        let value = self.pair(fold);
        for binding in &missing {
            self.bindings.remove(binding);
        }
        match value? {
            (Value::Num(m), weights) => Ok(Value::Num(m + last(&weights)?.ln())),
            other => Err(malformed(format!("logsum of {other:?}"))),
        }
    }

    fn array(&self, tensor: Id) -> Result<(TensorName, &'a Array), Error> {
        let Term::Tensor(name) = self.nodes[tensor] else { return Err(malformed("a load of no tensor")) };
        let array = self.environment.tensors.get(&name).ok_or_else(|| malformed(format!("{name} is not there")))?;
        Ok((name, array))
    }

    fn offset(&mut self, operands: &[Id], shape: &[usize]) -> Result<usize, Error> {
        let mut offset = 0;
        if operands.len() - 1 != shape.len() {
            return Err(malformed("a load with another number of indices than axes"));
        }
        for (index, extent) in operands[1..].iter().zip(shape) {
            let index = self.int(*index)?;
            let inside = usize::try_from(index).ok().filter(|index| index < extent);
            let outside = || malformed(format!("index {index} of {} elements", extent));
            offset = offset * extent + inside.ok_or_else(outside)?;
        }
        Ok(offset)
    }

    fn load(&mut self, operands: &[Id]) -> Result<Value, Error> {
        let (name, array) = self.array(operands[0])?;
        let offset = self.offset(operands, &array.shape)?;
        let element = array.data[offset];
        let integer = self.context.tensor(name).is_some_and(|facts| facts.dtype == Some(Type::I32));
        Ok(if integer { Value::Int(element as i64) } else { Value::Num(element) })
    }

    fn load_list(&mut self, operands: &[Id]) -> Result<Value, Error> {
        let (_, array) = self.array(operands[0])?;
        let Some((count, shape)) = array.shape.split_last() else { return Err(malformed("a list without an axis")) };
        let offset = self.offset(operands, shape)? * count;
        Ok(Value::List(Rc::new(array.data[offset..offset + count].iter().map(|x| *x as i64).collect())))
    }

    /// Calls `each` with every value of what the domain binds.
    fn each(&mut self, domain: Id, each: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let Some(bound) = self.facts[usize::from(domain)].binds else { return Err(malformed("a fold over no domain")) };
        let values = self.elements(domain)?;
        let outer = self.bindings.get(&bound).copied();
        for value in values {
            self.bindings.insert(bound, value);
            each(self)?;
        }
        match outer {
            Some(value) => self.bindings.insert(bound, value),
            None => self.bindings.remove(&bound),
        };
        Ok(())
    }

    /// The values that a domain binds, in order: of its axis, or numbers of tiles or chunks.
    fn elements(&mut self, domain: Id) -> Result<Vec<i64>, Error> {
        let bound = self.facts[usize::from(domain)].binds;
        let level = |level| bound.map(|(axis, _)| (axis, level));
        Ok(match self.nodes[domain] {
            Term::All(axis) => match self.nodes[axis] {
                Term::Axis(axis) => (0..length(self.environment, axis)?).collect(),
                _ => return Err(malformed("all of no axis")),
            },
            Term::Mask([domain, predicate]) => {
                let mut kept = Vec::new();
                let bound = self.facts[usize::from(domain)].binds.ok_or_else(|| malformed("a mask on no domain"))?;
                self.each(domain, &mut |this| {
                    if this.bool(predicate)? {
                        kept.push(this.bindings[&bound]);
                    }
                    Ok(())
                })?;
                kept
            }
            Term::Upto([domain, bound]) => {
                let bound = self.int(bound)?;
                self.elements(domain)?.into_iter().filter(|value| *value <= bound).collect()
            }
            Term::From([domain, bound]) => {
                let bound = self.int(bound)?;
                self.elements(domain)?.into_iter().filter(|value| *value >= bound).collect()
            }
            Term::Blocks([domain, list, block]) => {
                let (all, list, block) = (self.elements(domain)?, self.list(list)?, self.int(block)?);
                if block <= 0 {
                    return Err(malformed("blocks of no elements"));
                }
                let listed = list.iter().filter(|entry| **entry >= 0);
                listed.flat_map(|entry| all.iter().copied().filter(|value| value.div_euclid(block) == *entry)).collect()
            }
            Term::Union([one, other]) => [self.elements(one)?, self.elements(other)?].concat(),
            Term::Outer(domain) => (0..self.elements(domain)?.len().div_ceil(self.environment.tile) as i64).collect(),
            Term::Inner(domain) => self.part(domain, level(Level::Tile), |_, tile| tile)?,
            Term::Chunks(_) => (0..self.environment.chunks as i64).collect(),
            Term::Chunk(domain) => {
                let chunks = self.environment.chunks;
                self.part(domain, level(Level::Chunk), |count, _| count.div_ceil(chunks).max(1))?
            }
            ref other => return Err(malformed(format!("{other} is no domain"))),
        })
    }

    /// The elements of the tile or chunk whose number is bound.
    fn part(
        &mut self,
        domain: Id,
        binding: Option<(u32, Level)>,
        size: impl Fn(usize, usize) -> usize,
    ) -> Result<Vec<i64>, Error> {
        let number = binding.and_then(|binding| self.bindings.get(&binding).copied());
        let number = number.ok_or_else(|| malformed("a part of a domain outside the fold over its parts"))? as usize;
        let all = self.elements(domain)?;
        let size = size(all.len(), self.environment.tile);
        Ok(all.into_iter().skip(number * size).take(size).collect())
    }

    fn fold(&mut self, monoid: Id, domain: Id, body: Id) -> Result<Value, Error> {
        let Term::Monoid(monoid) = self.nodes[monoid] else { return Err(malformed("a fold without a monoid")) };
        let mut values = Vec::new();
        self.each(domain, &mut |this| {
            values.push(this.eval(body)?);
            Ok(())
        })?;
        if monoid == Monoid::Lse {
            return merge(&values, &self.nodes[body], |id| self.nodes[id].clone());
        }
        let mut result = match monoid {
            Monoid::Max => f64::NEG_INFINITY,
            Monoid::Min => f64::INFINITY,
            _ => 0.0,
        };
        for value in values {
            let Value::Num(x) = value else { return Err(malformed(format!("{value:?} in a fold of reals"))) };
            result = match monoid {
                Monoid::Max => result.max(x),
                Monoid::Min => result.min(x),
                _ => result + x,
            };
        }
        Ok(Value::Num(result))
    }

    fn top(&mut self, count: Id, domain: Id, score: Id, force: Id) -> Result<Value, Error> {
        let bound = self.facts[usize::from(domain)].binds.ok_or_else(|| malformed("a top over no domain"))?;
        let mut candidates = Vec::new();
        self.each(domain, &mut |this| {
            let score = this.num(score)?;
            let score = if score.is_nan() { f64::NEG_INFINITY } else { score };
            candidates.push((this.bool(force)?, score, this.bindings[&bound]));
            Ok(())
        })?;
        let count = self.int(count)?.max(0) as usize;
        // forced ones by index, then the others by score, ties by index
        candidates.sort_by(|(forced_a, a, i), (forced_b, b, j)| {
            let by_score = if *forced_a && *forced_b { std::cmp::Ordering::Equal } else { b.total_cmp(a) };
            forced_b.cmp(forced_a).then(by_score).then(i.cmp(j))
        });
        let mut list: Vec<i64> = candidates.into_iter().take(count).map(|(_, _, index)| index).collect();
        list.sort_unstable();
        list.resize(count, -1);
        Ok(Value::List(Rc::new(list)))
    }
}

/// The lse fold of elements `(s, w)`. An empty one needs the form of the body to know how many weights there are.
fn merge(elements: &[Value], body: &Term, node: impl Fn(Id) -> Term) -> Result<Value, Error> {
    let split = |value: &Value| match value {
        Value::Pair(pair) => match pair.as_ref() {
            (Value::Num(s), weights) => Ok((*s, weights.clone())),
            other => Err(malformed(format!("{other:?} in an lse fold"))),
        },
        other => Err(malformed(format!("{other:?} in an lse fold"))),
    };
    let Some(first) = elements.first() else {
        let weights = weights_of_form(body, &node, 0).unwrap_or(Value::Num(0.0));
        return Ok(Value::Pair(Rc::new((Value::Num(f64::NEG_INFINITY), weights))));
    };
    let (mut m, weights) = split(first)?;
    let mut sum = scaled(&weights, shift(m, m).exp())?;
    for element in &elements[1..] {
        let (s, weights) = split(element)?;
        let larger = m.max(s);
        sum = added(&scaled(&sum, shift(m, larger).exp())?, &scaled(&weights, shift(s, larger).exp())?)?;
        m = larger;
    }
    Ok(Value::Pair(Rc::new((Value::Num(m), sum))))
}

/// Zeros in the form of the weights of an lse fold's body.
fn weights_of_form(body: &Term, node: &impl Fn(Id) -> Term, depth: usize) -> Option<Value> {
    match body {
        Term::Pair([_, weights]) if depth == 0 => weights_of_form(&node(*weights), node, 1),
        // the body is itself an lse fold: of the same form
        Term::Fold([_, _, body]) | Term::Mat(body) if depth == 0 => weights_of_form(&node(*body), node, 0),
        Term::Pair([a, b]) => {
            Some(Value::Pair(Rc::new((weights_of_form(&node(*a), node, 1)?, weights_of_form(&node(*b), node, 1)?))))
        }
        _ if depth > 0 => Some(Value::Num(0.0)),
        _ => None,
    }
}

fn scaled(value: &Value, factor: f64) -> Result<Value, Error> {
    match value {
        // a weight of an element that does not count is not looked at
        Value::Num(_) if factor == 0.0 => Ok(Value::Num(0.0)),
        Value::Num(x) => Ok(Value::Num(x * factor)),
        Value::Pair(pair) => Ok(Value::Pair(Rc::new((scaled(&pair.0, factor)?, scaled(&pair.1, factor)?)))),
        other => Err(malformed(format!("{other:?} as a weight"))),
    }
}

fn added(a: &Value, b: &Value) -> Result<Value, Error> {
    match (a, b) {
        (Value::Num(a), Value::Num(b)) => Ok(Value::Num(a + b)),
        (Value::Pair(a), Value::Pair(b)) => Ok(Value::Pair(Rc::new((added(&a.0, &b.0)?, added(&a.1, &b.1)?)))),
        other => Err(malformed(format!("{other:?} as weights"))),
    }
}

fn last(weights: &Value) -> Result<f64, Error> {
    match weights {
        Value::Num(x) => Ok(*x),
        Value::Pair(pair) => last(&pair.1),
        other => Err(malformed(format!("{other:?} as a weight"))),
    }
}

fn shift(x: f64, m: f64) -> f64 {
    if x == f64::NEG_INFINITY { x } else { x - m }
}

fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 && b == 0.0 { 0.0 } else { a / b }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Rounded to the nearest value of a type, ties to even.
fn rounded(x: f64, dtype: Type) -> f64 {
    let (fraction_bits, least_exponent, largest) = match dtype {
        Type::Bf16 => (7, -126, 3.3895313892515355e38),
        Type::F16 => (10, -14, 65504.0),
        Type::F32 => return f64::from(x as f32),
        Type::I32 => return x.trunc(),
    };
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = (x.abs().log2().floor() as i32).max(least_exponent);
    let unit = 2f64.powi(exponent - fraction_bits);
    let nearest = (x / unit).round_ties_even() * unit;
    if nearest.abs() > largest { f64::INFINITY.copysign(x) } else { nearest }
}
