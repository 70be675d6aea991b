//! Where the elements of each sequence are in a packed, padded tensor.
//!
//! The reference evaluator keeps the elements of one sequence after those of another; kernels want the slowest run-time axis packed
//! and further ones padded to the longest sequence. The two agree but for padding.

use nsa_artifact::{Axis, Extent};
use std::collections::BTreeMap;

/// The lengths of all axes of a program, per sequence.
pub struct Lengths {
    sequences: usize,
    axes: BTreeMap<String, Vec<usize>>,
    constant: Vec<String>,
}

impl Lengths {
    /// Lengths of these axes, from those of the run-time axes; None if a derived one cannot be computed.
    pub fn new(axes: &[Axis], runtime: &BTreeMap<String, Vec<usize>>) -> Option<Lengths> {
        let sequences = runtime.values().map(Vec::len).max().unwrap_or(1);
        let mut lengths = Lengths { sequences, axes: runtime.clone(), constant: Vec::new() };
        for axis in axes {
            if let Extent::Const(n) = axis.extent {
                lengths.axes.insert(axis.name.clone(), vec![usize::try_from(n).ok()?; sequences]);
                lengths.constant.push(axis.name.clone());
            }
        }
        // Derived axes may need each other in any order.
        for axis in axes.iter().cycle().take(axes.len() * axes.len()) {
            if let Extent::Derived(length) = &axis.extent
                && !lengths.axes.contains_key(&axis.name)
            {
                let at = |n: usize| {
                    let of = |name: &str| lengths.axes.get(name).and_then(|l| i64::try_from(l[n]).ok());
                    length.evaluate(&of).ok().map(|v| usize::try_from(v).unwrap_or(0))
                };
                if let Some(values) = (0..sequences).map(at).collect() {
                    lengths.axes.insert(axis.name.clone(), values);
                }
            }
        }
        axes.iter().all(|a| lengths.axes.contains_key(&a.name)).then_some(lengths)
    }

    /// The length of an axis in every sequence.
    pub fn of(&self, axis: &str) -> &[usize] {
        self.axes.get(axis).map_or(&[], Vec::as_slice)
    }

    /// True if the axis has the same length always.
    pub fn is_constant(&self, axis: &str) -> bool {
        self.constant.iter().any(|a| a == axis)
    }

    /// Positions in the packed and padded tensor, of the elements in the evaluator's order: one sequence after the other, row-major in
    /// each. `shape` is the tensor's.
    pub fn positions(&self, axes: &[String], shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![1usize; axes.len()];
        for axis in (1..axes.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let packed = axes.iter().position(|a| !self.is_constant(a));
        let mut offset = 0;
        let mut positions = Vec::new();
        for n in 0..self.sequences {
            let extents: Vec<usize> = axes.iter().map(|a| self.of(a)[n]).collect();
            let mut index = vec![0usize; axes.len()];
            let base = packed.map_or(0, |axis| offset * strides[axis]);
            for _ in 0..extents.iter().product::<usize>() {
                positions.push(base + index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>());
                for axis in (0..axes.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < extents[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
            match packed {
                Some(axis) => offset += extents[axis],
                // Nothing depends on the sequence: it is there once.
                None => break,
            }
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsa_artifact::{IntOp, Length};

    fn lengths() -> Lengths {
        let half = Length::op(IntOp::Div, Length::Of("s".into()), Length::Int(2));
        let axis = |name: &str, extent| Axis { name: name.into(), extent };
        let axes = vec![axis("i", Extent::Derived(half)), axis("s", Extent::Runtime), axis("d", Extent::Const(2))];
        Lengths::new(&axes, &BTreeMap::from([("s".to_string(), vec![3, 0, 2])])).expect("computable")
    }

    #[test]
    fn packed_axes_follow_each_other() {
        let names = |list: &[&str]| list.iter().map(|a| a.to_string()).collect::<Vec<_>>();
        let lengths = lengths();
        assert_eq!(lengths.of("i"), [1, 0, 1]);
        assert_eq!(lengths.positions(&names(&["s", "d"]), &[5, 2]), (0..10).collect::<Vec<_>>());
        assert_eq!(lengths.positions(&names(&["d", "s"]), &[2, 5]), [0, 1, 2, 5, 6, 7, 3, 4, 8, 9]);
        assert_eq!(lengths.positions(&names(&["d"]), &[2]), [0, 1]);
    }

    #[test]
    fn further_run_time_axes_are_padded() {
        let axes = ["s".to_string(), "i".to_string()];
        // Rows of the longest `i`, which is 1; with a wider pad the last row moves.
        assert_eq!(lengths().positions(&axes, &[5, 1]), [0, 1, 2, 3, 4]);
        assert_eq!(lengths().positions(&axes, &[5, 3]), [0, 3, 6, 9, 12]);
    }
}
