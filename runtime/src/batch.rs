//! From lengths to what kernels read: the sequence table, the tables of tiles, the shapes of buffers, the sizes of grids.

use crate::{Error, Shape};
use nsa_artifact::{Axis, Bound, Buffer, Evaluate, Extent, Kernel, MAX_RANK, Manifest, Measure, TileOrder, Variant};

/// Most bytes of a table of tiles: 128 million tiles. What needs more runs for hours, or its lengths are a mistake.
const MAX_TABLE_BYTES: usize = 1 << 30;

/// The lengths of a variant's non-constant axes in a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    /// Number of sequences.
    pub sequences: usize,
    /// Per slot, per sequence.
    lengths: Vec<Vec<i64>>,
}

/// The extents of a buffer in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dims {
    /// Number of axes.
    pub rank: usize,
    /// Extents; those beyond `rank` are 1.
    pub extents: [usize; MAX_RANK],
}

impl Dims {
    pub fn as_slice(&self) -> &[usize] {
        &self.extents[..self.rank]
    }
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.extents.iter().product()
    }
}

impl Batch {
    /// Computes the lengths of every non-constant axis of a variant; derived ones from the run-time ones.
    pub fn new(manifest: &Manifest, variant: &Variant, shape: &Shape) -> Result<Batch, Error> {
        let wrong = |reason| Error::Shape { program: manifest.name.clone(), reason };
        let runtime: Vec<&str> =
            variant.axes.iter().filter(|a| a.extent == Extent::Runtime).map(|a| a.name.as_str()).collect();
        if let Some(unknown) = shape.axes().find(|axis| !runtime.contains(axis)) {
            return Err(wrong(format!("there is no run-time axis `{unknown}`; there are {}", runtime.join(", "))));
        }
        // A program without run-time axes runs once.
        let mut sequences = if runtime.is_empty() { Some((1, "")) } else { None };
        for axis in &runtime {
            let Some(lengths) = shape.lengths(axis) else {
                return Err(wrong(format!("the length of axis `{axis}` is missing")));
            };
            let lengths = lengths.as_slice();
            if let Some(bad) = lengths.iter().find(|n| !(0..=i64::from(i32::MAX)).contains(*n)) {
                return Err(wrong(format!("axis `{axis}` has length {bad}; lengths are from 0 to {}", i32::MAX)));
            }
            match sequences {
                None => sequences = Some((lengths.len(), axis)),
                Some((n, _)) if n == lengths.len() => {}
                Some((n, other)) => {
                    return Err(wrong(format!(
                        "axis `{axis}` has {} sequences, axis `{other}` has {n}",
                        lengths.len()
                    )));
                }
            }
        }
        let sequences = sequences.map_or(1, |(n, _)| n);
        let slots: Vec<&Axis> = variant.axes.iter().filter(|a| a.extent.constant().is_none()).collect();
        let mut batch = Batch { sequences, lengths: vec![Vec::new(); slots.len()] };
        let mut known = vec![false; slots.len()];
        // Derived axes may need each other in any order: as many rounds as there are axes settle all of them.
        for _ in 0..slots.len() {
            for (slot, axis) in slots.iter().enumerate() {
                let Extent::Derived(length) = &axis.extent else {
                    let given = shape.lengths(&axis.name).map(|l| l.as_slice().to_vec());
                    batch.lengths[slot] = given.unwrap_or_default();
                    known[slot] = true;
                    continue;
                };
                let mut ready = !known[slot];
                length.axes(&mut |name| ready &= variant.slot(name).is_none_or(|slot| known[slot]));
                if ready {
                    let value = |n| length.evaluate(&|name| batch.length(variant, name, n)).map(|v| v.max(0));
                    batch.lengths[slot] = (0..sequences).map(value).collect::<Result<Vec<_>, Evaluate>>()?;
                    known[slot] = true;
                }
            }
        }
        for lengths in &batch.lengths {
            if lengths.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)).is_none() {
                return Err(Evaluate::Overflow.into());
            }
        }
        Ok(batch)
    }

    /// The length of an axis in a sequence.
    fn length(&self, variant: &Variant, axis: &str, sequence: usize) -> Option<i64> {
        match variant.axis(axis)?.extent.constant() {
            Some(n) => Some(n),
            None => self.lengths.get(variant.slot(axis)?)?.get(sequence).copied(),
        }
    }

    /// A size of an axis over the whole batch; constants are what they are.
    fn measure(&self, variant: &Variant, axis: &str, measure: Measure) -> i64 {
        if let Some(n) = variant.axis(axis).and_then(|a| a.extent.constant()) {
            return n;
        }
        let lengths = variant.slot(axis).map_or(&[][..], |slot| &self.lengths[slot]);
        match measure {
            Measure::Total => lengths.iter().sum(),
            Measure::Longest => lengths.iter().copied().max().unwrap_or(0),
        }
    }

    /// True if every bound holds.
    pub fn satisfies(&self, variant: &Variant, bounds: &[Bound]) -> bool {
        bounds.iter().all(|bound| {
            let size = self.measure(variant, &bound.axis, bound.measure);
            bound.at_least.is_none_or(|n| size >= n) && bound.at_most.is_none_or(|n| size <= n)
        })
    }

    /// The sequence table: `[sequence][slot]` of (offset, length).
    pub fn table(&self) -> Vec<[i64; 2]> {
        let mut offsets = vec![0i64; self.lengths.len()];
        let mut table = Vec::with_capacity(self.sequences * offsets.len());
        for n in 0..self.sequences {
            for (offset, lengths) in offsets.iter_mut().zip(&self.lengths) {
                table.push([*offset, lengths[n]]);
                *offset += lengths[n];
            }
        }
        table
    }

    /// The extents of a buffer: totals for its slowest run-time axis, the longest sequence for further ones.
    pub fn dims(&self, variant: &Variant, buffer: &Buffer) -> Result<Dims, Error> {
        let mut dims = Dims { rank: buffer.axes.len(), extents: [1; MAX_RANK] };
        let mut measure = Measure::Total;
        let mut elements: i128 = 1;
        for (axis, extent) in buffer.axes.iter().zip(&mut dims.extents) {
            let size = self.measure(variant, axis, measure);
            if variant.slot(axis).is_some() {
                measure = Measure::Longest;
            }
            elements = elements.saturating_mul(i128::from(size));
            *extent = usize::try_from(size).unwrap_or(0);
        }
        let limit = i128::from(i64::MAX) / buffer.dtype.bytes() as i128;
        if elements > limit {
            return Err(Error::TooLarge { what: format!("buffer `{}`", buffer.name), size: elements, limit });
        }
        Ok(dims)
    }

    /// The tiles of a kernel's run-time grid axis: (sequence, first value).
    pub fn tiles(&self, variant: &Variant, kernel: &Kernel) -> Result<Vec<[i32; 2]>, Error> {
        let too_many = |size| Error::TooLarge {
            what: format!("the grid of kernel `{}`", kernel.name),
            size,
            limit: i128::from(i32::MAX),
        };
        let fits = |n: i64| i32::try_from(n).map_err(|_| too_many(i128::from(n)));
        let walked = kernel.grid.last().and_then(|g| variant.slot(&g.axis).map(|slot| (slot, i64::from(g.tile))));
        let Some((slot, tile)) = walked else {
            return (0..self.sequences).map(|n| Ok([fits(n as i64)?, 0])).collect();
        };
        let count: i128 = self.lengths[slot].iter().map(|n| i128::from(div_ceil(*n, tile))).sum();
        if count > i128::from(i32::MAX) {
            return Err(too_many(count));
        }
        let mut tiles = Vec::new();
        let bytes = count as usize * size_of::<[i32; 2]>();
        if bytes > MAX_TABLE_BYTES || tiles.try_reserve_exact(count as usize).is_err() {
            return Err(Error::TooLarge {
                what: format!("the table of tiles of kernel `{}`, in bytes,", kernel.name),
                size: bytes as i128,
                limit: MAX_TABLE_BYTES as i128,
            });
        }
        for (n, length) in self.lengths[slot].iter().enumerate() {
            for first in (0..*length).step_by(tile as usize) {
                tiles.push([fits(n as i64)?, fits(first)?]);
            }
        }
        if kernel.order == TileOrder::LargestFirst {
            // Stable: equal values stay in the order of their sequences.
            tiles.sort_by_key(|[_, first]| std::cmp::Reverse(*first));
        }
        Ok(tiles)
    }

    /// The number of blocks of a kernel with this many tiles.
    pub fn blocks(variant: &Variant, kernel: &Kernel, tiles: usize) -> Result<i64, Error> {
        let mut blocks = tiles as i128;
        for grid in &kernel.grid {
            if let Some(n) = variant.axis(&grid.axis).and_then(|a| a.extent.constant()) {
                blocks = blocks.saturating_mul(i128::from(div_ceil(n, i64::from(grid.tile))));
            }
        }
        // The limit of a CUDA grid's first dimension.
        if blocks > i128::from(i32::MAX) {
            let what = format!("the grid of kernel `{}`", kernel.name);
            return Err(Error::TooLarge { what, size: blocks, limit: i128::from(i32::MAX) });
        }
        Ok(blocks as i64)
    }
}

/// Division that rounds up, of a number that is not negative by a positive one.
fn div_ceil(n: i64, divisor: i64) -> i64 {
    n / divisor + i64::from(n % divisor != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lengths;
    use crate::testing::compress_manifest;

    fn batch(shape: &Shape) -> Result<(Manifest, Batch), Error> {
        let manifest = compress_manifest();
        let batch = Batch::new(&manifest, &manifest.targets[0].variants[0], shape)?;
        Ok((manifest, batch))
    }

    #[test]
    fn derived_axes_are_packed() {
        let (manifest, batch) = batch(&Shape::new().with("s", vec![0, 7, 8, 21])).expect("fits");
        let variant = &manifest.targets[0].variants[0];
        // i = s / 4 - 1, negative as 0: slots are s and i.
        let expected = [[0, 0], [0, 0], [0, 7], [0, 0], [7, 8], [0, 1], [15, 21], [1, 4]];
        assert_eq!(batch.table(), expected);
        let dims = |name: &str| {
            let buffer = variant.buffers.iter().find(|b| b.name == name).expect("exists");
            batch.dims(variant, buffer).expect("fits").as_slice().to_vec()
        };
        assert_eq!(dims("x"), [36, 3]);
        assert_eq!(dims("y"), [5, 3]);
        // Two run-time axes: the slower one packed, the other padded.
        assert_eq!(dims("scratch"), [36, 4, 3]);
    }

    #[test]
    fn tiles_in_both_orders() {
        let (manifest, batch) = batch(&Shape::new().with("s", vec![9, 0, 21])).expect("fits");
        let variant = &manifest.targets[0].variants[0];
        let mut kernel = variant.kernels[0].clone();
        assert_eq!(batch.tiles(variant, &kernel).expect("few"), [[0, 0], [2, 0], [2, 2]]);
        kernel.order = TileOrder::LargestFirst;
        let tiles = batch.tiles(variant, &kernel).expect("few");
        assert_eq!(tiles, [[2, 2], [0, 0], [2, 0]]);
        assert_eq!(Batch::blocks(variant, &kernel, tiles.len()).expect("few"), 3 * 2);
        kernel.grid.pop();
        assert_eq!(batch.tiles(variant, &kernel).expect("few"), [[0, 0], [1, 0], [2, 0]]);
    }

    #[test]
    fn shapes_that_do_not_fit() {
        let sentence = |shape: Shape| batch(&shape).expect_err("must be refused").to_string();
        assert_eq!(sentence(Shape::new()), "shape of `compress`: the length of axis `s` is missing");
        assert_eq!(
            sentence(Shape::new().with("s", 4).with("u", 4)),
            "shape of `compress`: there is no run-time axis `u`; there are s"
        );
        assert_eq!(
            sentence(Shape::new().with("s", Lengths::cumulative(&[0, 5, 3]))),
            "shape of `compress`: axis `s` has length -2; lengths are from 0 to 2147483647"
        );
        assert!(sentence(Shape::new().with("s", usize::MAX)).contains("lengths are from 0"));
    }
}
