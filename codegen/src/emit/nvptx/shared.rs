//! Shared memory: where tiles, stages and scratch lie, and the swizzle that keeps `ldmatrix` free of bank conflicts.
//!
//! # Swizzle
//!
//! A tile row is a whole number `C` of 16-byte chunks. `ldmatrix` reads the same chunk of eight consecutive rows at once,
//! and shared memory serves eight chunks at once if their numbers differ modulo 8. Chunk `c` of row `r` is stored as
//! chunk `c ^ ((r / (8 / g)) % g)` of its row with `g = gcd(C, 8)`: the rows whose starts coincide modulo 8 are those
//! `8 / g` apart, and the exclusive or gives each of these another chunk of an aligned group of `g`. This serves every row
//! length; for rows of 128 bytes it is the usual exclusive or with the row number.
//!
//! The interpreter counts conflicts, and the tests that run kernels there allow none (`codegen/tests/support/src/banks.rs`).

use super::shape::{Shape, WARP};
use crate::emit::EmitError;
use crate::plan::resources::LIST_KEYS;
use crate::plan::{Kernel, Statement, Tile, TileAxis, Variable, visit};
use crate::term::Type;
use std::collections::{HashMap, HashSet};

/// How one tile lies in shared memory.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// Of the first buffer, from the start of dynamic shared memory.
    pub offset: u32,
    /// Rows that exist, padding included.
    pub rows: u32,
    /// From row to row.
    pub row_bytes: u32,
    /// 16-byte chunks of a row that hold elements (the last may be partly padding).
    pub chunks: u32,
    /// Size of the groups of chunks that the swizzle permutes: 1, 2, 4 or 8.
    pub group: u32,
    /// Buffers.
    pub stages: u32,
    /// Bytes of an element.
    pub element: u32,
}

impl Placement {
    fn of(tile: &Tile, shape: &Shape, most_stages: u32) -> Result<Self, EmitError> {
        let rows = match &tile.slow {
            TileAxis::Rows => shape.padded_rows(),
            TileAxis::Span(span) => span.count.next_multiple_of(8),
        };
        let element = match tile.dtype {
            Type::Bf16 | Type::F16 => 2,
            Type::F32 => 4,
            Type::I32 => return Err(EmitError::Plan(format!("tile `{}` holds integers", tile.label))),
        };
        let chunks = (tile.fast.count * element).div_ceil(16);
        // f32 tiles are read by plain loads along a row: one chunk of padding sets neighbouring rows apart.
        let (group, padding) = if element == 2 { (gcd(chunks, 8), 0) } else { (1, 16) };
        let row_bytes = chunks * 16 + padding;
        Ok(Placement { offset: 0, rows, row_bytes, chunks, group, stages: tile.stages.clamp(1, most_stages), element })
    }
    /// Bytes of one buffer, a multiple of 128.
    pub fn bytes(&self) -> u32 {
        (self.rows * self.row_bytes).next_multiple_of(128)
    }
    /// True if warps may each address so many chunks of a row: whole groups of the swizzle, or aligned parts of one, in which
    /// adding a chunk's number is an exclusive or.
    pub fn allows_parts(&self, chunks: u32) -> bool {
        chunks.is_multiple_of(self.group) || (chunks > 1 && self.group.is_multiple_of(chunks))
    }
    /// Elements of a chunk.
    pub fn per_chunk(&self) -> u32 {
        16 / self.element
    }
    /// log2 of the number of consecutive rows that share a swizzle.
    pub fn row_shift(&self) -> u32 {
        (8 / self.group).trailing_zeros()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The dynamic shared memory of a kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLayout {
    /// By tile.
    pub tiles: Vec<Placement>,
    /// Offset of each stage.
    pub stages: Vec<u32>,
    /// Row length of each stage in bytes.
    pub stage_rows: Vec<u32>,
    /// Offset of each list that does not stay in registers.
    pub lists: Vec<Option<u32>>,
    /// Where warps exchange values: merges of running sums, sums over rows.
    pub scratch: u32,
    /// Bytes in all.
    pub bytes: u32,
}

impl SharedLayout {
    /// Places everything. Tiles that are fetched inside one outermost loop are dead outside of it, so different loops, and the
    /// scratch that is used between them, share their space.
    ///
    /// Tiles get fewer buffers than the plan wishes if the target's `limit` in bytes asks for it.
    ///
    /// # Errors
    /// The plan contradicts itself, or does not fit with one buffer per tile.
    pub fn of(kernel: &Kernel, shape: &Shape, limit: u32) -> Result<Self, EmitError> {
        let wish = kernel.tiles.iter().map(|tile| tile.stages).max().unwrap_or(1).max(1);
        let mut needed = 0;
        for most_stages in (1..=wish).rev() {
            let layout = Self::with_stages(kernel, shape, most_stages)?;
            needed = layout.bytes;
            if needed <= limit {
                return Ok(layout);
            }
        }
        Err(EmitError::Limit(format!("it takes {needed} bytes of shared memory at once, there are {limit}")))
    }
    fn with_stages(kernel: &Kernel, shape: &Shape, most_stages: u32) -> Result<Self, EmitError> {
        let mut layout = SharedLayout::default();
        for tile in &kernel.tiles {
            layout.tiles.push(Placement::of(tile, shape, most_stages)?);
        }
        let mut end = 0;
        for stage in &kernel.stages {
            let rows: u32 = stage.rows.iter().map(|s| s.count).product();
            if !stage.columns.count.is_power_of_two() {
                return Err(EmitError::Plan("a stage whose width is no power of two".into()));
            }
            layout.stages.push(end);
            // Rows four bytes out of step: a column of the stage then lies in different banks.
            layout.stage_rows.push(stage.columns.count * 4 + 4);
            end = (end + rows * (stage.columns.count * 4 + 4)).next_multiple_of(128);
        }
        for list in &kernel.lists {
            let kept = list.keys(shape.threads() / WARP) <= LIST_KEYS;
            layout.lists.push((!kept).then_some(end));
            end += if kept { 0 } else { list.bytes() };
        }
        let in_loops = tiles_by_loop(kernel);
        let looped: HashSet<u32> = in_loops.iter().flatten().copied().collect();
        for (index, place) in layout.tiles.iter_mut().enumerate() {
            if !looped.contains(&(index as u32)) {
                place.offset = end;
                end += place.bytes() * place.stages;
            }
        }
        // A sum over rows happens inside loops, beside their tiles; a merge after them, over their tiles.
        let row_sum = row_sum_scratch(kernel, shape);
        let start = end + row_sum;
        layout.scratch = if row_sum > 0 { end } else { start };
        let mut longest = 0;
        let mut placed: HashMap<u32, u32> = HashMap::new();
        for tiles in &in_loops {
            let mut at = start;
            for tile in tiles {
                let place = &mut layout.tiles[*tile as usize];
                if placed.insert(*tile, at).is_some() {
                    return Err(EmitError::Plan("a tile that two loops fetch".into()));
                }
                place.offset = at;
                at += place.bytes() * place.stages;
            }
            longest = longest.max(at - start);
        }
        let merge = merge_scratch(kernel, shape);
        if row_sum > 0 && merge > 0 {
            return Err(EmitError::Plan("a kernel that sums over rows and merges column warps".into()));
        }
        layout.bytes = start + longest.max(merge);
        Ok(layout)
    }
}

/// The tiles fetched inside each outermost loop.
fn tiles_by_loop(kernel: &Kernel) -> Vec<Vec<u32>> {
    kernel
        .body
        .iter()
        .filter_map(|statement| match statement {
            Statement::Loop(inner) => {
                let mut tiles = vec![];
                visit::statements(&inner.body, &mut |s| {
                    if let Statement::Fetch { tile } = s
                        && !tiles.contains(tile)
                    {
                        tiles.push(*tile);
                    }
                });
                Some(tiles)
            }
            _ => None,
        })
        .collect()
}

/// Registers that a variable takes in every thread, padded to whole 16-byte chunks.
pub(super) fn exchanged_registers(variable: &Variable, shape: &Shape) -> u32 {
    let rows = if variable.rows { 2 * shape.repeat } else { 1 };
    let columns = variable.columns.as_ref().map_or(1, |span| 2 * span.count.div_ceil(8));
    (rows * columns).next_multiple_of(4)
}

/// Bytes for merging the running values of several column warps.
fn merge_scratch(kernel: &Kernel, shape: &Shape) -> u32 {
    if shape.column_warps == 1 {
        return 0;
    }
    let mut most = 0;
    visit::statements(&kernel.body, &mut |statement| {
        if let Statement::Loop(inner) = statement {
            for merge in &inner.merge {
                let max = merge.max.iter().map(|(var, _)| *var);
                let registers: u32 = merge
                    .values
                    .iter()
                    .copied()
                    .chain(max)
                    .filter_map(|var| kernel.variables.get(var as usize))
                    .map(|variable| exchanged_registers(variable, shape))
                    .sum();
                most = most.max(registers * 4 * shape.threads());
            }
        }
    });
    most
}

/// Bytes for sums over a row axis whose values do not lie in one warp's lanes.
fn row_sum_scratch(kernel: &Kernel, shape: &Shape) -> u32 {
    let mut most = 0;
    visit::statements(&kernel.body, &mut |statement| {
        if let Statement::Stage { from, sum: Some(axis), .. } = statement {
            let columns = kernel.variables.get(*from as usize).and_then(|v| v.columns.as_ref()).map_or(1, |s| s.count);
            if !shape.sums_in_lanes(&kernel.rows, *axis) {
                most = most.max((shape.padded_rows() * (columns.next_multiple_of(8) + 1) * 4).next_multiple_of(128));
            }
        }
    });
    most
}
