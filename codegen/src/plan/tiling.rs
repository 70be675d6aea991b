//! Sizes of blocks and tiles: the holes that the terms leave open.

/// How a machine's kernels are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    /// Rows of a block whose rows include a run-time axis.
    pub rows: u32,
    /// Rows of such a block that builds lists (it also keeps a stage and the lists themselves).
    pub list_rows: u32,
    /// Values of the walked axis per iteration.
    pub columns: u32,
    /// Tiles in flight.
    pub stages: u32,
    /// What the depth of a contraction must be a multiple of.
    pub depth: u32,
    /// Blocks of 16 rows per warp.
    pub repeat: u32,
    /// Warps that share the columns when a block has at most 16 rows.
    pub column_warps: u32,
    /// Chunks of a fold that is split over thread blocks.
    pub chunks: i64,
    /// Rows of a block that computes element by element.
    pub element_rows: u32,
    /// Its threads.
    pub element_threads: u32,
}

/// The cut of one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Values of the run-time row axis per block.
    pub row_tile: u32,
    /// Warps along the rows.
    pub warps: u32,
    /// Blocks of 16 rows per warp.
    pub repeat: u32,
    /// Warps along the columns.
    pub column_warps: u32,
    /// Values of a walked axis per iteration.
    pub columns: u32,
    /// Tiles in flight.
    pub stages: u32,
}

impl Tiling {
    /// Tensor-core GPUs: four warps of 32 rows against 64 columns, as FlashAttention-2 does at this width.
    pub fn gpu() -> Self {
        Tiling {
            rows: 128,
            list_rows: 64,
            columns: 64,
            stages: 2,
            depth: 16,
            repeat: 2,
            column_warps: 4,
            chunks: 32,
            element_rows: 16,
            element_threads: 256,
        }
    }

    /// CPUs: a row tile and a packed operand tile stay in the first two cache levels.
    pub fn host() -> Self {
        Tiling { rows: 64, stages: 1, depth: 1, ..Tiling::gpu() }
    }

    /// The same machine when there are few queries: as few rows as the constant axes give, so that warps share the columns.
    pub fn few_rows(self) -> Self {
        Tiling { rows: 16, list_rows: 16, ..self }
    }

    /// The cut of a kernel with this many rows of constant axes, and a run-time row axis or none.
    pub fn tiled(&self, constant_rows: u32, runtime_rows: bool, lists: bool) -> Cut {
        let target = if lists { self.list_rows } else { self.rows };
        let row_tile = if runtime_rows { (target / constant_rows).max(1) } else { 1 };
        let rows = (row_tile * constant_rows).max(1);
        let blocks = rows.div_ceil(16);
        let repeat = if blocks.is_multiple_of(self.repeat) && !lists { self.repeat } else { 1 };
        let warps = blocks.div_ceil(repeat);
        let column_warps = if blocks == 1 && !lists { self.column_warps } else { 1 };
        Cut { row_tile, warps, repeat, column_warps, columns: self.columns, stages: self.stages }
    }
}
