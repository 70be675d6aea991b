//! What kernels store besides the results: the workspaces of a plan.

use super::Owned;
use crate::batch::{Batch, Dims};
use crate::{DType, Error};
use nsa_artifact::{Buffer, Role, Variant};

/// A tensor that some kernels of a plan write and others read.
#[derive(Clone, Debug)]
pub struct Intermediate {
    buffer: Buffer,
    /// Its number among the variant's buffers.
    number: usize,
    /// Its number among the plan's workspaces.
    index: usize,
    dims: Dims,
    address: u64,
    /// Distance of neighbours along all axes but the last, in elements. Rows are padded so that each starts aligned.
    strides: Vec<i64>,
}

impl Intermediate {
    /// Its name: a definition's in the program, or one that the compiler made.
    pub fn name(&self) -> &str {
        &self.buffer.name
    }
    /// Type of its elements.
    pub fn dtype(&self) -> DType {
        self.buffer.dtype
    }
    /// Names of its axes, slowest first.
    pub fn axes(&self) -> &[String] {
        &self.buffer.axes
    }
    /// Its extents: the slowest run-time axis has the total over all sequences, further ones the longest sequence.
    pub fn shape(&self) -> &[usize] {
        self.dims.as_slice()
    }
    /// Its address on the plan's device; for a [described](crate::Device::described) device its place in
    /// [`Script::memory`](super::Script::memory).
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its elements out of the memory that it lies in, without the padding, last axis fastest.
    pub fn dense(&self, memory: &[u8]) -> Vec<u8> {
        let shape = self.shape();
        let (outer, row) = shape.split_at(shape.len().saturating_sub(1));
        let row = row.first().copied().unwrap_or(1) * self.dtype().bytes();
        let mut dense = Vec::with_capacity(self.dims.elements() * self.dtype().bytes());
        for flat in 0..outer.iter().product::<usize>() {
            let mut rest = flat;
            let mut start = 0;
            for (extent, stride) in outer.iter().zip(&self.strides).rev() {
                start += rest % extent * *stride as usize;
                rest /= extent;
            }
            let start = start * self.dtype().bytes();
            dense.extend(memory.get(start..start + row).unwrap_or_default());
        }
        dense
    }

    pub(super) fn buffer(&self) -> usize {
        self.number
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn outer_strides(&self) -> &[i64] {
        &self.strides
    }
}

/// Memory for all workspaces of a variant.
pub(super) fn allocate(variant: &Variant, batch: &Batch, memory: &mut Owned) -> Result<Vec<Intermediate>, Error> {
    let mut list = Vec::new();
    for (number, buffer) in variant.buffers.iter().enumerate().filter(|(_, b)| b.role == Role::Workspace) {
        let dims = batch.dims(variant, buffer)?;
        let too_large = || Error::TooLarge {
            what: format!("workspace `{}`", buffer.name),
            size: dims.elements() as i128,
            limit: i128::from(i64::MAX),
        };
        let unit = (buffer.align as usize / buffer.dtype.bytes()).max(1);
        let mut strides = Vec::with_capacity(dims.rank.saturating_sub(1));
        let mut elements = 1usize;
        for (axis, extent) in dims.as_slice().iter().enumerate().rev() {
            let row = (*extent).max(1).checked_next_multiple_of(if axis + 1 == dims.rank { unit } else { 1 });
            elements = row.and_then(|row| elements.checked_mul(row)).ok_or_else(too_large)?;
            if axis > 0 {
                strides.push(i64::try_from(elements).map_err(|_| too_large())?);
            }
        }
        strides.reverse();
        let bytes = elements.checked_mul(buffer.dtype.bytes()).ok_or_else(too_large)?;
        let address = memory.workspace(bytes)?;
        list.push(Intermediate { buffer: buffer.clone(), number, index: list.len(), dims, address, strides });
    }
    Ok(list)
}
