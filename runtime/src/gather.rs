//! Copies of arguments whose rows kernels read from all over, on the host.
//!
//! A kernel that walks a list of blocks reads 64 neighbouring keys here and 64 there, each row from one head of all. In an
//! argument `k[s, g, d]` neighbouring keys of a head are `g` rows apart: they fall into one of `g` parts of the caches' sets,
//! so that as much of the caches is of use, and each block touches `g` times as many pages. In a copy `[g, s, d]` they are
//! adjacent. Kernels take strides when they run, so that they need not know.
//!
//! A copy is made where it costs little beside what the program reads and writes anyway (see [`SHARE`]): not for a few queries
//! against many keys.

use crate::Error;
use crate::memory::Memory;
use crate::plan::Parameter;
use crate::view::View;
use nsa_artifact::{Role, Variant};
use rayon::prelude::*;

/// All copies together have at most this part of the bytes of arguments and results.
const SHARE: usize = 16;
/// Rows that one task copies.
const ROWS: usize = 512;

/// A copy of an argument in which the rows along one axis are adjacent.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// Which argument.
    pub parameter: usize,
    /// The axis whose rows become adjacent.
    axis: usize,
    shape: Vec<usize>,
    row_bytes: usize,
    element_bytes: usize,
    memory: Memory,
    /// In elements, of all axes but the last.
    strides: Vec<i64>,
}

impl Gathered {
    /// The copies for a variant's kernels.
    pub fn plan(variant: &Variant, parameters: &[Parameter]) -> Result<Vec<Gathered>, Error> {
        let bytes = |p: &Parameter| p.elements() * p.dtype().bytes();
        let mut left = parameters.iter().map(bytes).sum::<usize>() / SHARE;
        let mut found: Vec<Gathered> = Vec::new();
        for kernel in &variant.kernels {
            for buffer in kernel.gathered.iter().filter_map(|b| variant.buffers.get(*b)) {
                let Some(number) = parameters.iter().position(|p| p.name() == buffer.name) else { continue };
                let parameter = &parameters[number];
                let constant = |axis: &String| {
                    let known = variant.axes.iter().find(|a| a.name == *axis);
                    known.is_some_and(|a| matches!(a.extent, nsa_artifact::Extent::Const(_)))
                };
                let axis = parameter.axes().iter().position(|axis| !constant(axis));
                let rank = parameter.axes().len();
                let Some(axis) = axis.filter(|axis| axis + 2 < rank && parameter.role() == Role::Argument) else {
                    continue;
                };
                let size = bytes(parameter);
                let between: usize = parameter.shape()[axis + 1..rank - 1].iter().product();
                if size == 0 || between == 1 || size > left || found.iter().any(|g| g.parameter == number) {
                    continue;
                }
                left -= size;
                let shape = parameter.shape().to_vec();
                let mut strides = vec![0; rank - 1];
                let mut next = shape[rank - 1];
                for outer in [axis].into_iter().chain((0..rank - 1).rev().filter(|outer| *outer != axis)) {
                    strides[outer] = next as i64;
                    next *= shape[outer];
                }
                let element_bytes = parameter.dtype().bytes();
                found.push(Gathered {
                    parameter: number,
                    axis,
                    row_bytes: shape[rank - 1] * element_bytes,
                    shape,
                    element_bytes,
                    memory: crate::plan::host_memory(size)?,
                    strides,
                });
            }
        }
        Ok(found)
    }

    /// Bytes of the copy.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }
    /// Overwrites the copy.
    pub fn fill(&mut self, byte: u8) {
        self.memory.fill(byte);
    }
    /// Where kernels find the copy, and its strides.
    pub fn place(&self) -> (u64, &[i64]) {
        (self.memory.address(), &self.strides)
    }
    /// Whether a view has its rows where the copy would have them.
    pub fn is_needless(&self, view: &View<'_>) -> bool {
        view.outer_strides()[self.axis] == self.strides[self.axis]
    }

    /// Copies a view.
    ///
    /// # Safety
    /// The view was checked against the argument that the copy is of, and nothing else uses the copy.
    pub unsafe fn copy(&mut self, view: &View<'_>) {
        let rows: usize = self.shape[..self.shape.len() - 1].iter().product();
        let (from, to) = (view.address(), self.memory.address());
        let own = &*self;
        (0..rows.div_ceil(ROWS)).into_par_iter().for_each(|task| {
            for row in task * ROWS..rows.min((task + 1) * ROWS) {
                let (mut rest, mut source, mut target) = (row, 0, 0);
                for outer in (0..own.strides.len()).rev() {
                    let at = (rest % own.shape[outer]) as i64;
                    rest /= own.shape[outer];
                    source += at * view.outer_strides()[outer];
                    target += at * own.strides[outer];
                }
                let size = own.element_bytes as i64;
                // SAFETY: both places lie in their memory, as the caller vouches; rows of the copy do not overlap.
                unsafe {
                    let from = from.wrapping_add_signed(source * size) as *const u8;
                    let to = to.wrapping_add_signed(target * size) as *mut u8;
                    to.copy_from_nonoverlapping(from, own.row_bytes);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[s = 5, g = 3, d = 2]`, with a gap after every row of the caller's memory.
    #[test]
    fn rows_of_a_head_become_neighbours() {
        let (rows, heads, width) = (5, 3, 2);
        let data: Vec<f32> = (0..rows * heads * 4).map(|n| n as f32).collect();
        let view = View::host(&data, &[rows, heads, width]).strides(&[12, 4, 1]);
        let mut copy = Gathered {
            parameter: 0,
            axis: 0,
            shape: vec![rows, heads, width],
            row_bytes: width * 4,
            element_bytes: 4,
            memory: crate::plan::host_memory(rows * heads * width * 4).expect("memory"),
            strides: vec![2, 10],
        };
        assert!(!copy.is_needless(&view));
        // SAFETY: the view has the copy's shape.
        unsafe { copy.copy(&view) };
        let (address, strides) = copy.place();
        assert_eq!(strides, [2, 10]);
        for (s, g, d) in (0..rows).flat_map(|s| (0..heads).flat_map(move |g| (0..width).map(move |d| (s, g, d)))) {
            // SAFETY: inside the copy.
            let found = unsafe { *(address as *const f32).add(g * 10 + s * 2 + d) };
            assert_eq!(found, data[s * 12 + g * 4 + d]);
        }
        let adjacent = vec![0f32; rows * heads * width];
        let adjacent = View::host(&adjacent, &[rows, heads, width]).strides(&[2, 10, 1]);
        assert!(copy.is_needless(&adjacent));
    }
}
