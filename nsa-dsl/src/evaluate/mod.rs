//! The reference: any program in f64, one sequence after the other.
//!
//! Written to be believed: each expression is computed as [`program`](crate::program) defines it, by walking it. What
//! makes it fast enough for thousands of queries changes no value but by the order of a sum: definitions are computed once
//! per row and kept, folds that are met again with the same axes are remembered, guards that bound an axis shorten its
//! loop, sums of products run over slices, rows are shared out to threads.

mod analysis;
mod arrays;
mod choices;
mod condition;
mod memory;
mod rows;
mod sequence;
mod vector;
mod walk;

pub use arrays::{Array, EvalError, Inputs, Outputs, Values};
pub use choices::Choices;

use crate::program::*;
use analysis::Analysis;
use sequence::Sequence;

/// Evaluates all results.
///
/// # Errors
/// Arguments that do not fit the program, and elements asked for outside of a tensor through indices read from data.
pub fn evaluate(program: &Program, inputs: &Inputs) -> Result<Outputs, EvalError> {
    let evaluation = Evaluation::new(program, inputs)?;
    let mut outputs = Outputs::default();
    for &result in &program.results {
        outputs.add(evaluation.tensor(&program.tensor(result).name)?);
    }
    evaluation.judge(inputs, &mut outputs);
    Ok(outputs)
}

/// Evaluates the results for some values of an axis only, each a sequence's number and a value in it. Results that do not
/// have the axis are evaluated whole. In the arrays, the axis comes first, with one value for each pair, all as one
/// sequence.
///
/// # Errors
/// As [`evaluate`]; an axis that does not exist, or values outside of it.
pub fn evaluate_rows(
    program: &Program,
    inputs: &Inputs,
    axis: &str,
    values: &[(usize, usize)],
) -> Result<Outputs, EvalError> {
    let evaluation = Evaluation::new(program, inputs)?;
    let id = evaluation.axis(axis)?;
    let mut outputs = Outputs::default();
    for &result in &program.results {
        let tensor = program.tensor(result);
        outputs.add(if tensor.axes.contains(&id) {
            evaluation.rows(&tensor.name, axis, values)?
        } else {
            evaluation.tensor(&tensor.name)?
        });
    }
    evaluation.judge(inputs, &mut outputs);
    Ok(outputs)
}

/// A program with arguments. Tensors are evaluated when they are asked for, and then kept.
pub struct Evaluation<'a> {
    program: &'a Program,
    sequences: Vec<Sequence<'a>>,
}

impl<'a> Evaluation<'a> {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Arguments that are missing, unknown, or of another size than the lengths say.
    pub fn new(program: &'a Program, inputs: &'a Inputs) -> Result<Self, EvalError> {
        let count = inputs.sequence_count(program)?;
        let analysis = std::sync::Arc::new(Analysis::new(program));
        let mut offsets = vec![0; program.tensors.len()];
        let mut sequences = vec![];
        for number in 0..count {
            let extents = inputs.extents(program, number)?;
            sequences.push(Sequence::new(program, analysis.clone(), inputs, extents, &mut offsets)?);
        }
        for (id, tensor) in program.params() {
            let expected = offsets[id.0 as usize];
            let given = inputs.values(tensor)?.len();
            if given != expected {
                return Err(EvalError::WrongSize { name: tensor.name.clone(), expected, given });
            }
        }
        for (number, tensor) in program.tensors.iter().enumerate() {
            if let Some(given) = inputs.lists(tensor).map(<[i64]>::len).filter(|given| *given != offsets[number]) {
                return Err(EvalError::WrongSize { name: tensor.name.clone(), expected: offsets[number], given });
            }
        }
        inputs.no_others(program)?;
        Ok(Evaluation { program, sequences })
    }

    /// Adds what is to be said of lists that were given.
    fn judge(&self, inputs: &Inputs, outputs: &mut Outputs) {
        for (number, tensor) in self.program.tensors.iter().enumerate() {
            if inputs.lists(tensor).is_some() {
                let of = |sequence: &Sequence<'_>| sequence.choices(TensorId(number as u32));
                outputs.judge(&tensor.name, self.sequences.iter().map(of).fold(Choices::default(), Choices::and));
            }
        }
    }

    fn axis(&self, name: &str) -> Result<AxisId, EvalError> {
        let found = self.program.axes.iter().position(|axis| axis.name == name);
        found.map(|at| AxisId(at as u32)).ok_or_else(|| EvalError::UnknownAxis(name.to_string()))
    }

    fn find(&self, name: &str) -> Result<TensorId, EvalError> {
        let found = self.program.tensors.iter().position(|tensor| tensor.name == name);
        found.map(|at| TensorId(at as u32)).ok_or_else(|| EvalError::UnknownTensor(name.to_string()))
    }

    fn array(&self, id: TensorId) -> Array {
        let tensor = self.program.tensor(id);
        let integer = self.sequences.first().map_or(tensor.dtype == Some(DType::I32), |s| s.is_integer(id));
        Array {
            name: tensor.name.clone(),
            axes: tensor.axes.iter().map(|&axis| self.program.axis(axis).name.clone()).collect(),
            shapes: vec![],
            values: if integer { Values::Integer(vec![]) } else { Values::Real(vec![]) },
        }
    }

    /// A tensor, parameters and definitions that are no results included, for all sequences.
    ///
    /// # Errors
    /// An unknown name; elements asked for outside of a tensor.
    pub fn tensor(&self, name: &str) -> Result<Array, EvalError> {
        let id = self.find(name)?;
        let mut array = self.array(id);
        for sequence in &self.sequences {
            sequence.force(id, None)?;
            array.shapes.push(sequence.shape(id));
            sequence.append(id, &mut array.values);
        }
        Ok(array)
    }

    /// A tensor for some values of one of its axes, each a sequence's number and a value: the axis comes first.
    ///
    /// # Errors
    /// As [`Evaluation::tensor`]; an axis that the tensor does not have, or values outside of it.
    pub fn rows(&self, name: &str, axis: &str, values: &[(usize, usize)]) -> Result<Array, EvalError> {
        let id = self.find(name)?;
        let axis_id = self.axis(axis)?;
        let mut array = self.array(id);
        let Some(place) = self.program.tensor(id).axes.iter().position(|&other| other == axis_id) else {
            return Err(EvalError::UnknownAxis(axis.to_string()));
        };
        let axis_name = array.axes.remove(place);
        array.axes.insert(0, axis_name);
        for (number, sequence) in self.sequences.iter().enumerate() {
            let wanted: Vec<usize> = values.iter().filter(|&&(s, _)| s == number).map(|&(_, value)| value).collect();
            let extent = sequence.shape(id)[place];
            if let Some(&value) = wanted.iter().find(|&&value| value >= extent) {
                return Err(EvalError::OutOfRange {
                    name: name.to_string(),
                    axis: axis.to_string(),
                    index: value as i64,
                    extent: extent as i64,
                });
            }
            sequence.force(id, Some((place, &wanted)))?;
        }
        let mut shape = None;
        for &(number, value) in values {
            let Some(sequence) = self.sequences.get(number) else {
                return Err(EvalError::UnknownSequence { number, count: self.sequences.len() });
            };
            sequence.append_slice(id, place, value, &mut array.values);
            let mut rest = sequence.shape(id);
            rest.remove(place);
            shape.get_or_insert(rest);
        }
        let mut shape = shape.unwrap_or_default();
        shape.insert(0, values.len());
        array.shapes.push(shape);
        Ok(array)
    }
}
