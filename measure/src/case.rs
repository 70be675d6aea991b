//! Cases: inputs, lengths, and the outputs that the reference evaluator expects, in one safetensors file.
//!
//! Tensors are named `lengths.AXIS` (i32, one per sequence), `input.NAME`, `expected.NAME` (f32 or i32), and for results of which
//! only some elements are known `elements.NAME` (i32, positions in the flattened result).

use crate::{Difference, Error, Tensor, Tensors, compare, read_tensors, write_tensors};
use nsa::{DType, Lengths, Shape};
use std::collections::BTreeMap;
use std::path::Path;

/// A test case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Lengths of the run-time axes, one per sequence.
    pub lengths: BTreeMap<String, Vec<usize>>,
    /// Arguments by name.
    pub inputs: Tensors,
    /// Expected values by result: positions in the flattened result, and values.
    pub expected: BTreeMap<String, Vec<(usize, f64)>>,
}

impl Case {
    /// The shape to plan.
    pub fn shape(&self) -> Shape {
        self.lengths.iter().fold(Shape::new(), |shape, (axis, n)| shape.with(axis, Lengths::packed(n)))
    }

    /// How far results are from what is expected, by name.
    ///
    /// # Errors
    /// A result that is missing.
    pub fn judge(&self, results: &Tensors) -> Result<BTreeMap<String, Difference>, Error> {
        let judge = |(name, expected): (&String, &Vec<(usize, f64)>)| {
            let missing = || Error::Tensor { name: name.clone(), reason: "the program has no such result".into() };
            let result = results.get(name).ok_or_else(missing)?;
            Ok((name.clone(), compare(result, expected.iter().copied())))
        };
        self.expected.iter().map(judge).collect()
    }

    /// Reads a case from its file.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Case, Error> {
        let wrong = |reason: String| Error::File { path: path.display().to_string(), reason };
        let mut case = Case::default();
        let tensors = read_tensors(path)?;
        for (name, tensor) in &tensors {
            let (kind, rest) = name.split_once('.').ok_or_else(|| wrong(format!("`{name}` is no part of a case")))?;
            match kind {
                "lengths" => {
                    let lengths = tensor.to_f64().into_iter().map(|n| n.max(0.0) as usize).collect();
                    case.lengths.insert(rest.into(), lengths);
                }
                "input" => {
                    case.inputs.insert(rest.into(), tensor.clone());
                }
                "expected" => {
                    let values = tensor.to_f64();
                    let positions: Vec<usize> = match tensors.get(&format!("elements.{rest}")) {
                        Some(list) => list.to_f64().into_iter().map(|n| n.max(0.0) as usize).collect(),
                        None => (0..values.len()).collect(),
                    };
                    if positions.len() != values.len() {
                        return Err(wrong(format!("`{rest}` has other numbers of positions and values")));
                    }
                    case.expected.insert(rest.into(), positions.into_iter().zip(values).collect());
                }
                "elements" => {}
                _ => return Err(wrong(format!("`{name}` is no part of a case"))),
            }
        }
        Ok(case)
    }

    /// Writes the case.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut tensors = Tensors::new();
        let list = |numbers: &mut dyn ExactSizeIterator<Item = f64>, dtype| {
            let count = numbers.len();
            Tensor::from_f64(dtype, &[count], numbers)
        };
        for (axis, lengths) in &self.lengths {
            tensors.insert(format!("lengths.{axis}"), list(&mut lengths.iter().map(|n| *n as f64), DType::I32));
        }
        for (name, tensor) in &self.inputs {
            tensors.insert(format!("input.{name}"), tensor.clone());
        }
        for (name, expected) in &self.expected {
            tensors.insert(format!("expected.{name}"), list(&mut expected.iter().map(|e| e.1), DType::F32));
            if expected.iter().enumerate().any(|(n, (at, _))| n != *at) {
                let positions = list(&mut expected.iter().map(|e| e.0 as f64), DType::I32);
                tensors.insert(format!("elements.{name}"), positions);
            }
        }
        write_tensors(path, &tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_round_trip() {
        let path = std::env::temp_dir().join(format!("nsa-case-{}.safetensors", std::process::id()));
        let mut case = Case::default();
        case.lengths.insert("t".into(), vec![0, 15, 205]);
        case.inputs.insert("q".into(), Tensor::from_f64(DType::Bf16, &[2, 2], [1.0, 2.0, 3.0, 4.0]));
        case.expected.insert("o".into(), vec![(0, 1.5), (1, -2.0)]);
        case.expected.insert("some".into(), vec![(7, 0.5), (70000, f64::NEG_INFINITY)]);
        case.write(&path).expect("written");
        let back = Case::read(&path).expect("read");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!((&back.lengths, &back.expected), (&case.lengths, &case.expected));
        assert_eq!(back.inputs["q"].to_f64(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(back.shape().lengths("t"), Some(&Lengths::packed(&[0, 15, 205])));
    }
}
