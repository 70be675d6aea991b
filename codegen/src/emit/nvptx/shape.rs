//! How the threads of a block share its rows and columns.

use crate::emit::EmitError;
use crate::plan::{Kernel, Layout, Span, Statement, visit};
use crate::term::AxisName;
use std::collections::HashSet;

/// Threads of a warp.
pub(super) const WARP: u32 = 32;
/// Rows of an `m16n8k16` accumulator.
pub(super) const FRAGMENT_ROWS: u32 = 16;

/// The warps of a block in the fragment layout.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Warps along the rows.
    pub row_warps: u32,
    /// Blocks of 16 rows per warp.
    pub repeat: u32,
    /// Warps that share rows.
    pub column_warps: u32,
    /// Axes that some loop walks in tiles, with their tile.
    tiled: HashSet<(AxisName, u32)>,
}

impl Shape {
    /// The shape of a kernel in the fragment layout; None for elementwise kernels.
    pub fn of(kernel: &Kernel) -> Result<Option<Self>, EmitError> {
        let Layout::Fragments { rows, repeat, columns } = kernel.layout else { return Ok(None) };
        let mut tiled = HashSet::new();
        visit::statements(&kernel.body, &mut |statement| {
            if let Statement::Loop(inner) = statement
                && inner.tile > 1
            {
                tiled.insert((inner.axis, inner.tile));
            }
        });
        let count = kernel.row_count();
        let shape = Shape { row_warps: rows, repeat, column_warps: columns, tiled };
        let sensible = rows > 0 && repeat > 0 && columns > 0;
        if !sensible || shape.threads() > 1024 || count > shape.padded_rows() {
            let words = format!("{rows} x {columns} warps of {} rows for {count} rows", FRAGMENT_ROWS * repeat);
            return Err(EmitError::Plan(words));
        }
        Ok(Some(shape))
    }
    /// Threads of the block.
    pub fn threads(&self) -> u32 {
        WARP * self.row_warps * self.column_warps
    }
    /// Rows that fragments cover.
    pub fn padded_rows(&self) -> u32 {
        FRAGMENT_ROWS * self.repeat * self.row_warps
    }
    /// Rows of a thread.
    pub fn row_slots(&self) -> usize {
        2 * self.repeat as usize
    }
    /// Into how many parts the column warps split a tile of a walked axis: as many as leave each a multiple of 16
    /// columns, the depth of an `mma`. Warps beyond these repeat the work of another.
    pub fn parts(&self, tile: u32) -> u32 {
        (1..=self.column_warps).rev().find(|parts| tile.is_multiple_of(FRAGMENT_ROWS * parts)).unwrap_or(1)
    }
    /// [`Self::parts`] of a column or depth span: 1 unless it is the tile of a loop.
    pub fn split(&self, span: &Span) -> u32 {
        if self.tiled.contains(&(span.axis, span.count)) { self.parts(span.count) } else { 1 }
    }
    /// True if the rows that a sum over an axis adds lie in the lanes of one warp: the fastest row axis, of few values.
    pub fn sums_in_lanes(&self, rows: &[Span], axis: AxisName) -> bool {
        matches!(rows.last(), Some(s) if s.axis == axis && s.count.is_power_of_two() && s.count <= FRAGMENT_ROWS)
    }
}
