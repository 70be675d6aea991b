//! Whether a view can be passed for a buffer. Nothing is ever copied to make it fit.

use super::{Known, Place, Type, View};
use crate::Error;
use crate::batch::Dims;
use nsa_artifact::{Buffer, MAX_RANK, Role};

impl View<'_> {
    /// Checks that the view can be passed for a buffer of these dimensions, to what runs at `place`.
    pub(crate) fn check(&self, buffer: &Buffer, dims: &Dims, place: Place) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::Argument { name: buffer.name.clone(), reason });
        if let Some(fault) = &self.fault {
            return wrong(fault.to_string());
        }
        if self.element != Type::Known(buffer.dtype) {
            return Err(Error::Type {
                name: buffer.name.clone(),
                expected: buffer.dtype,
                given: self.element.to_string(),
                axes: buffer.axes.clone(),
            });
        }
        if !self.place.reaches(place) {
            return wrong(format!("it is in {}, but the plan needs it in {place}: copy it there first", self.place));
        }
        if buffer.role == Role::Result && !self.writable {
            return wrong("it is a result, but the view is read-only: make it with host_mut or cuda_mut".into());
        }
        if self.stride_count != self.rank {
            return wrong(format!(
                "the view has {} and {}: give one stride per axis",
                count(self.rank, "axis", "axes"),
                count(self.stride_count, "stride", "strides")
            ));
        }
        self.check_shape(buffer, dims).or_else(wrong)?;
        if dims.elements() == 0 {
            return Ok(());
        }
        self.check_strides(buffer, dims).or_else(wrong)
    }

    fn check_shape(&self, buffer: &Buffer, dims: &Dims) -> Result<(), String> {
        let expected = expected(buffer, dims);
        if self.rank != dims.rank {
            let (has, wants) = (count(self.rank, "axis", "axes"), count(dims.rank, "axis", "axes"));
            return Err(format!("it has {has}, but must have {wants}: {expected}"));
        }
        // Checked artifacts have no buffers of a higher rank.
        let given = self.shape.get(..self.rank).unwrap_or(&self.shape);
        let planned = dims.as_slice();
        if given == planned {
            return Ok(());
        }
        let mut sorted = [given.to_vec(), planned.to_vec()];
        sorted.iter_mut().for_each(|extents| extents.sort_unstable());
        let hint = if sorted[0] == sorted[1] {
            format!(": the same extents in another order; its axes must be {}", buffer.axes.join(", "))
        } else {
            let differing = buffer.axes.iter().zip(given.iter().zip(planned)).find(|(_, (a, b))| a != b);
            differing.map_or(String::new(), |(axis, (given, planned))| {
                format!(": the plan has {planned} for axis `{axis}`, the view {given}")
            })
        };
        Err(format!("it must be {expected}, but is {given:?}{hint}"))
    }

    fn check_strides(&self, buffer: &Buffer, dims: &Dims) -> Result<(), String> {
        let align = buffer.align;
        let size = buffer.dtype.bytes() as u64;
        let unit = u64::from(align) / size;
        let Some(last) = dims.rank.checked_sub(1) else {
            return self.check_bounds(0, 0).and(self.check_address(align));
        };
        let (mut lowest, mut highest) = (0i128, 0i128);
        let axes = buffer.axes.iter().zip(self.shape.iter().zip(&self.strides)).enumerate();
        for (axis, (name, (extent, stride))) in axes {
            if *extent <= 1 {
                continue;
            }
            if axis == last && *stride != 1 {
                return Err(format!(
                    "its last axis `{name}` must be contiguous, but has stride {stride}: make a row-major copy first, \
                     launches copy nothing"
                ));
            }
            if buffer.role == Role::Result && *stride == 0 {
                return Err(format!("a result cannot have stride 0, as axis `{name}` has: its elements must be apart"));
            }
            if axis != last && !stride.unsigned_abs().is_multiple_of(unit) {
                return Err(format!(
                    "the stride of axis `{name}` is {stride} elements, it must be a multiple of {unit}: pad its rows, or \
                     copy it first"
                ));
            }
            let reach = (*extent as i128 - 1) * i128::from(*stride);
            if reach < 0 { lowest += reach } else { highest += reach }
        }
        self.check_address(align)?;
        if buffer.role == Role::Result
            && let Some(axis) = self.overlap()
        {
            let name = buffer.axes.get(axis).map_or("", |name| name);
            return Err(format!(
                "a result's elements must be apart, but with its strides values of axis `{name}` lie on others"
            ));
        }
        self.check_bounds(lowest, highest)
    }

    fn check_address(&self, align: u32) -> Result<(), String> {
        if self.address.is_multiple_of(u64::from(align)) {
            return Ok(());
        }
        Err(format!(
            "it begins at address {:#x}, which is no multiple of {align} bytes: begin it there, or copy it to memory that is \
             aligned so",
            self.address
        ))
    }

    /// Elements from `lowest` to `highest`, relative to the address, must exist.
    fn check_bounds(&self, lowest: i128, highest: i128) -> Result<(), String> {
        match self.known {
            Known::Nothing | Known::Strides => Ok(()),
            Known::Elements(_) if lowest < 0 => Err("its strides reach before its first element".into()),
            Known::Elements(available) if highest >= available as i128 => {
                let needed = count((highest + 1) as usize, "element", "elements");
                Err(format!("its shape and strides need {needed}, there are {available}"))
            }
            Known::Elements(_) => Ok(()),
        }
    }

    /// An axis whose steps are not wider than everything inside of it, so that two indices could be one element.
    fn overlap(&self) -> Option<usize> {
        let mut axes = [0; MAX_RANK];
        let mut used = 0;
        for axis in 0..self.rank.min(MAX_RANK) {
            if self.shape[axis] > 1 {
                axes[used] = axis;
                used += 1;
            }
        }
        let axes = &mut axes[..used];
        axes.sort_unstable_by_key(|axis| self.strides[*axis].unsigned_abs());
        let mut inside = 0u128;
        axes.iter().copied().find(|&axis| {
            let stride = u128::from(self.strides[axis].unsigned_abs());
            let overlaps = stride <= inside;
            inside += stride * (self.shape[axis] as u128 - 1);
            overlaps
        })
    }
}

/// `[t = 100, d = 64]`.
fn expected(buffer: &Buffer, dims: &Dims) -> String {
    let parts = buffer.axes.iter().zip(dims.as_slice()).map(|(axis, n)| format!("{axis} = {n}"));
    format!("[{}]", parts.collect::<Vec<_>>().join(", "))
}

/// `1 axis`, `3 axes`.
fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
