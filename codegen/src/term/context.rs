//! What the optimiser knows of axes and tensors beside the terms: extents, types, expected sizes.

use super::translate::type_of;
use super::{AxisName, Error, TensorName, Type};
use crate::machine::MatrixUnit;
use nsa_dsl::program as p;
use std::collections::{BTreeMap, HashMap};

/// Expected length of a run-time axis unless the options say otherwise: a long document, where the choices matter most.
pub const DEFAULT_SIZE: i64 = 65536;

/// Axes of a constant extent up to this are one tile: a head is at most 256 wide, a hidden layer a few hundred.
pub const ONE_TILE: i64 = 512;

/// Whether an axis may have more values than one tile.
pub fn is_long(context: &Context, number: u32) -> bool {
    let axis = context.axes.get(number as usize);
    axis.is_some_and(|axis| axis.constant.is_none_or(|extent| extent > ONE_TILE))
}

/// An axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AxisFacts {
    /// Its name.
    pub name: AxisName,
    /// Its extent, if it is known when compiling.
    pub constant: Option<i64>,
    /// Its extent, or the length that is expected of a run-time axis; at least 1.
    pub size: i64,
}

/// What a tensor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TensorRole {
    /// An argument.
    Param,
    /// A value for each element.
    Value,
    /// A list for each element, this long.
    List(i64),
}

/// A tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorFacts {
    /// Argument, values or lists.
    pub role: TensorRole,
    /// Index axes, slowest first; without the list's own axis.
    pub axes: Vec<AxisName>,
    /// The declared type.
    pub dtype: Option<Type>,
    /// One of the program's results.
    pub result: bool,
}

/// Axes and tensors of one program, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// In the order of the program.
    pub axes: Vec<AxisFacts>,
    /// Type of contraction factors.
    pub element: Type,
    /// What matrix units multiply, if the target has any.
    pub matrix: Option<MatrixUnit>,
    axis_numbers: HashMap<AxisName, usize>,
    tensors: HashMap<TensorName, TensorFacts>,
}

impl Context {
    /// An empty context.
    pub fn new(element: Type) -> Self {
        Context { axes: Vec::new(), element, matrix: None, axis_numbers: HashMap::new(), tensors: HashMap::new() }
    }

    /// The axes and tensors of a program; `sizes` are expected lengths of run-time axes, by name.
    ///
    /// # Errors
    /// [`Error::UnknownAxis`] for a size of an axis that the program does not have.
    pub fn of_program(program: &p::Program, sizes: &BTreeMap<String, i64>) -> Result<Self, Error> {
        let names: Vec<&str> = program.axes.iter().map(|axis| axis.name.as_str()).collect();
        if let Some(unknown) = sizes.keys().find(|name| !names.contains(&name.as_str())) {
            let known = names.iter().map(|name| name.to_string()).collect();
            return Err(Error::UnknownAxis { name: unknown.clone(), known });
        }
        let mut context = Context::new(type_of(program.element));
        for axis in &program.axes {
            let constant = match axis.extent {
                p::Extent::Const(extent) => Some(extent),
                _ => None,
            };
            context.axis(&axis.name, constant, axis_size(program, axis, sizes, 0));
        }
        for tensor in &program.tensors {
            let mut axes: Vec<AxisName> =
                tensor.axes.iter().map(|axis| AxisName::new(&program.axis(*axis).name)).collect();
            let role = match &tensor.source {
                p::Source::Param => TensorRole::Param,
                p::Source::Value(_) => TensorRole::Value,
                p::Source::Top(top) => {
                    axes.pop();
                    TensorRole::List(top.count)
                }
            };
            let result = program.results.iter().any(|id| std::ptr::eq(program.tensor(*id), tensor));
            let facts = TensorFacts { role, axes, dtype: tensor.dtype.map(type_of), result };
            context.tensors.insert(TensorName::new(&tensor.name), facts);
        }
        Ok(context)
    }

    /// The lengths of all axes of a program whose run-time axes have the given lengths (the default size where none is
    /// given).
    pub fn lengths(program: &p::Program, given: &BTreeMap<String, i64>) -> HashMap<AxisName, i64> {
        let length = |axis: &p::Axis| (AxisName::new(&axis.name), axis_size(program, axis, given, 0).max(0));
        program.axes.iter().map(length).collect()
    }

    /// Adds an axis; `size` is what is expected of it if its extent is not constant.
    pub fn axis(&mut self, name: &str, constant: Option<i64>, size: i64) {
        let name = AxisName::new(name);
        self.axis_numbers.insert(name, self.axes.len());
        self.axes.push(AxisFacts { name, constant, size: constant.unwrap_or(size).max(1) });
    }

    /// Adds a tensor.
    pub fn add_tensor(&mut self, name: &str, facts: TensorFacts) {
        self.tensors.insert(TensorName::new(name), facts);
    }

    /// The number of an axis: its place in [`Context::axes`].
    pub fn axis_number(&self, name: AxisName) -> Option<usize> {
        self.axis_numbers.get(&name).copied()
    }

    /// The expected size of an axis; 1 for an unknown one.
    pub fn size(&self, name: AxisName) -> i64 {
        self.axis_number(name).map_or(1, |number| self.axes[number].size)
    }

    /// All tensors, by name in alphabetical order.
    pub fn tensors(&self) -> Vec<(TensorName, &TensorFacts)> {
        let mut tensors: Vec<_> = self.tensors.iter().map(|(name, facts)| (*name, facts)).collect();
        tensors.sort_by_key(|(name, _)| name.name());
        tensors
    }

    /// What is known of a tensor.
    pub fn tensor(&self, name: TensorName) -> Option<&TensorFacts> {
        self.tensors.get(&name)
    }
}

/// The expected length of an axis, not more than 0 if it has no values; derived extents are computed from the expected
/// lengths of the others.
fn axis_size(program: &p::Program, axis: &p::Axis, sizes: &BTreeMap<String, i64>, depth: usize) -> i64 {
    if let Some(size) = sizes.get(&axis.name) {
        return *size;
    }
    match axis.extent {
        p::Extent::Const(extent) => extent,
        p::Extent::Runtime => DEFAULT_SIZE,
        p::Extent::Derived(expr) => length(program, expr, sizes, depth).unwrap_or(DEFAULT_SIZE),
    }
}

/// The value of an integer expression of lengths. Extents that refer to each other in a circle have none.
fn length(program: &p::Program, expr: p::ExprId, sizes: &BTreeMap<String, i64>, depth: usize) -> Option<i64> {
    if depth > program.axes.len() {
        return None;
    }
    match program.expr(expr) {
        p::Expr::Int(value) => Some(*value),
        p::Expr::Len(axis) => Some(axis_size(program, program.axis(*axis), sizes, depth + 1).max(0)),
        p::Expr::IntBin(op, a, b) => {
            let (a, b) = (length(program, *a, sizes, depth)?, length(program, *b, sizes, depth)?);
            match op {
                p::IntBin::Add => a.checked_add(b),
                p::IntBin::Sub => a.checked_sub(b),
                p::IntBin::Mul => a.checked_mul(b),
                p::IntBin::Div => (b > 0).then(|| a.div_euclid(b)),
                p::IntBin::Rem => (b > 0).then(|| a.rem_euclid(b)),
                p::IntBin::Min => Some(a.min(b)),
                p::IntBin::Max => Some(a.max(b)),
            }
        }
        _ => None,
    }
}
