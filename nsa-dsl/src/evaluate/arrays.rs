//! Arguments and results of an evaluation.

use super::choices::Choices;
use crate::program::*;
use std::collections::BTreeMap;
use std::fmt;

/// Elements of an array, in the order of the tensor's axes, the last one fastest, one sequence after the other.
#[derive(Clone, PartialEq, Debug)]
pub enum Values {
    /// Floating.
    Real(Vec<f64>),
    /// Integer.
    Integer(Vec<i64>),
}

impl Values {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Real(values) => values.len(),
            Values::Integer(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Arguments by name, and the lengths of the run-time axes.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Inputs {
    params: BTreeMap<String, Values>,
    cumulative: BTreeMap<String, Vec<usize>>,
    lists: BTreeMap<String, Vec<i64>>,
}

impl Inputs {
    /// No arguments yet.
    pub fn new() -> Self {
        Inputs::default()
    }

    /// With a floating argument.
    pub fn real(mut self, name: impl Into<String>, values: Vec<f64>) -> Self {
        self.params.insert(name.into(), Values::Real(values));
        self
    }

    /// With an integer argument.
    pub fn integers(mut self, name: impl Into<String>, values: Vec<i64>) -> Self {
        self.params.insert(name.into(), Values::Integer(values));
        self
    }

    /// With the length of a run-time axis in a batch of one sequence.
    pub fn length(self, axis: impl Into<String>, length: usize) -> Self {
        self.cumulative(axis, vec![0, length])
    }

    /// With the cumulative lengths of a run-time axis: 0, then the sum of the lengths up to each sequence.
    pub fn cumulative(mut self, axis: impl Into<String>, cumulative: Vec<usize>) -> Self {
        self.cumulative.insert(axis.into(), cumulative);
        self
    }

    /// With the lists that somebody else's computation chose for a `top` definition. They are used instead of the best ones, and
    /// judged: [`Outputs::choices`] says how far they are from the best. Rounded scores order near ties either way, and what
    /// follows from such a choice can only be compared when both sides follow the same one.
    pub fn chosen(mut self, name: impl Into<String>, lists: Vec<i64>) -> Self {
        self.lists.insert(name.into(), lists);
        self
    }

    /// The lists given for a definition.
    pub(super) fn lists(&self, tensor: &Tensor) -> Option<&[i64]> {
        self.lists.get(&tensor.name).map(Vec::as_slice)
    }

    /// How many sequences there are; one for a program without run-time axes.
    pub(super) fn sequence_count(&self, program: &Program) -> Result<usize, EvalError> {
        let mut count: Option<(usize, &str)> = None;
        for axis in program.runtime_axes() {
            let Some(cumulative) = self.cumulative.get(&axis.name) else {
                return Err(EvalError::MissingLength(axis.name.clone()));
            };
            if cumulative.first() != Some(&0) || cumulative.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(EvalError::NotCumulative(axis.name.clone()));
            }
            let own = cumulative.len() - 1;
            match count {
                Some((other, name)) if other != own => {
                    return Err(EvalError::BatchesDiffer {
                        first: name.to_string(),
                        first_count: other,
                        second: axis.name.clone(),
                        second_count: own,
                    });
                }
                _ => count = Some((own, &axis.name)),
            }
        }
        for name in self.cumulative.keys() {
            if !program.runtime_axes().any(|axis| axis.name == *name) {
                return Err(EvalError::UnknownAxis(name.clone()));
            }
        }
        Ok(count.map_or(1, |(count, _)| count))
    }

    /// The extent of every axis in a sequence.
    pub(super) fn extents(&self, program: &Program, sequence: usize) -> Result<Vec<i64>, EvalError> {
        let mut extents = vec![0; program.axes.len()];
        for (extent, axis) in extents.iter_mut().zip(&program.axes) {
            match &axis.extent {
                Extent::Const(n) => *extent = *n,
                Extent::Runtime => {
                    let cumulative =
                        self.cumulative.get(&axis.name).ok_or_else(|| EvalError::MissingLength(axis.name.clone()))?;
                    *extent = (cumulative[sequence + 1] - cumulative[sequence]) as i64;
                }
                Extent::Derived(_) => {}
            }
        }
        for (at, axis) in program.axes.iter().enumerate() {
            if let Extent::Derived(expr) = axis.extent {
                extents[at] = size(program, expr, &extents).max(0);
            }
        }
        Ok(extents)
    }

    /// The argument of a parameter.
    pub(super) fn values(&self, tensor: &Tensor) -> Result<&Values, EvalError> {
        let Some(values) = self.params.get(&tensor.name) else {
            return Err(EvalError::MissingParam(tensor.name.clone()));
        };
        if matches!(values, Values::Integer(_)) != (tensor.dtype == Some(DType::I32)) {
            return Err(EvalError::WrongKind { name: tensor.name.clone(), integer: tensor.dtype == Some(DType::I32) });
        }
        Ok(values)
    }

    /// No arguments but the program's.
    pub(super) fn no_others(&self, program: &Program) -> Result<(), EvalError> {
        let unknown = self.params.keys().find(|name| !program.params().any(|(_, tensor)| tensor.name == **name));
        if let Some(name) = unknown {
            return Err(EvalError::UnknownParam(name.clone()));
        }
        let is_list = |tensor: &Tensor, name: &str| tensor.name == name && matches!(tensor.source, Source::Top(_));
        match self.lists.keys().find(|name| !program.tensors.iter().any(|tensor| is_list(tensor, name))) {
            Some(name) => Err(EvalError::UnknownTensor(name.clone())),
            None => Ok(()),
        }
    }
}

/// An integer made of constants and lengths.
fn size(program: &Program, expr: ExprId, extents: &[i64]) -> i64 {
    match *program.expr(expr) {
        Expr::Int(value) => value,
        Expr::Len(axis) => extents[axis.0 as usize],
        Expr::IntBin(op, a, b) => op.apply(size(program, a, extents), size(program, b, extents)),
        // The checker makes extents of nothing else.
        _ => 0,
    }
}

/// An evaluated tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    /// The tensor's name.
    pub name: String,
    /// Names of its axes, slowest first.
    pub axes: Vec<String>,
    /// Its shape in each sequence.
    pub shapes: Vec<Vec<usize>>,
    /// Its elements, one sequence after the other.
    pub values: Values,
}

impl Array {
    /// The elements of a floating tensor; nothing for an integer one.
    pub fn real(&self) -> &[f64] {
        match &self.values {
            Values::Real(values) => values,
            Values::Integer(_) => &[],
        }
    }

    /// The elements of an integer tensor; nothing for a floating one.
    pub fn integers(&self) -> &[i64] {
        match &self.values {
            Values::Integer(values) => values,
            Values::Real(_) => &[],
        }
    }
}

/// The results by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outputs {
    arrays: Vec<Array>,
    choices: BTreeMap<String, Choices>,
}

impl Outputs {
    pub(super) fn add(&mut self, array: Array) {
        self.arrays.push(array);
    }

    pub(super) fn judge(&mut self, name: &str, choices: Choices) {
        self.choices.insert(name.to_string(), choices);
    }

    /// What is to be said of the lists that were [given](Inputs::chosen), by definition: of those that results needed.
    pub fn choices(&self) -> &BTreeMap<String, Choices> {
        &self.choices
    }

    /// A result.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|array| array.name == name)
    }

    /// All results, in the order of the signature.
    pub fn iter(&self) -> std::slice::Iter<'_, Array> {
        self.arrays.iter()
    }
}

/// Why a program could not be evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EvalError {
    /// A parameter without an argument.
    MissingParam(String),
    /// An argument without a parameter.
    UnknownParam(String),
    /// A run-time axis without lengths.
    MissingLength(String),
    /// Lengths that do not begin with 0 or that decrease.
    NotCumulative(String),
    /// Two axes whose lengths say different numbers of sequences.
    BatchesDiffer {
        /// One axis.
        first: String,
        /// Its number of sequences.
        first_count: usize,
        /// The other axis.
        second: String,
        /// Its number of sequences.
        second_count: usize,
    },
    /// Floating values for integers, or the other way round.
    WrongKind {
        /// The parameter.
        name: String,
        /// Whether it holds integers.
        integer: bool,
    },
    /// An argument with too many or too few elements.
    WrongSize {
        /// The parameter.
        name: String,
        /// What the lengths say.
        expected: usize,
        /// What there is.
        given: usize,
    },
    /// An element outside of a tensor, by an index read from data; or a row outside of an axis.
    OutOfRange {
        /// The tensor.
        name: String,
        /// The axis.
        axis: String,
        /// The index.
        index: i64,
        /// The extent of the axis in this sequence.
        extent: i64,
    },
    /// No such tensor.
    UnknownTensor(String),
    /// No such axis, or none that lengths are given for.
    UnknownAxis(String),
    /// No such sequence.
    UnknownSequence {
        /// Its number.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// More elements than the evaluator keeps.
    TooLarge {
        /// The tensor.
        name: String,
        /// Its extents in this sequence.
        shape: Vec<i64>,
    },
    /// No thread could be started.
    NoThread(String),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::TooLarge { name, shape } => {
                write!(f, "`{name}` has shape {shape:?}, which is more than the reference evaluator keeps")
            }
            EvalError::MissingParam(name) => write!(f, "parameter `{name}` is not given"),
            EvalError::UnknownParam(name) => write!(f, "the program has no parameter `{name}`"),
            EvalError::MissingLength(axis) => write!(f, "the lengths of axis `{axis}` are not given"),
            EvalError::NotCumulative(axis) => {
                write!(f, "the cumulative lengths of axis `{axis}` must begin with 0 and never decrease")
            }
            EvalError::BatchesDiffer { first, first_count, second, second_count } => {
                write!(f, "axis `{first}` has lengths for {first_count} sequences, axis `{second}` for {second_count}")
            }
            EvalError::WrongKind { name, integer: true } => write!(f, "parameter `{name}` holds integers"),
            EvalError::WrongKind { name, integer: false } => write!(f, "parameter `{name}` holds floating values"),
            EvalError::WrongSize { name, expected, given } => {
                write!(f, "parameter `{name}` has {given} elements; its axes' lengths say {expected}")
            }
            EvalError::OutOfRange { name, axis, index, extent } => {
                write!(f, "index {index} of axis `{axis}` of `{name}` is outside of its {extent} values")
            }
            EvalError::UnknownTensor(name) => write!(f, "the program has no tensor `{name}`"),
            EvalError::UnknownAxis(name) => write!(f, "there is no such axis here: `{name}`"),
            EvalError::UnknownSequence { number, count } => {
                write!(f, "there is no sequence {number}: the batch has {count}")
            }
            EvalError::NoThread(why) => write!(f, "no thread for the evaluation: {why}"),
        }
    }
}

impl std::error::Error for EvalError {}
