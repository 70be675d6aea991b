//! Sizes of blocks and tiles: the holes that the terms leave open.
//!
//! The sizes for GPUs were chosen by measurement; `docs/experiments.md` has the numbers.

/// What the lists of a block may take beside its tiles, in bytes: they lie in a GPU's shared memory, or in a core's cache. 64 KB of
/// keys, and what says where they are.
pub(super) const LIST_BYTES: u32 = 68 << 10;

/// How a machine's kernels are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    /// Blocks whose rows include a run-time axis.
    pub many: Cut,
    /// Such blocks that build lists; they also keep a stage and the lists themselves.
    pub lists: Cut,
    /// Blocks whose rows are constant axes only: a token that walks a list of its own, a few queries when decoding.
    pub few: Cut,
    /// What the depth of a contraction must be a multiple of.
    pub depth: u32,
    /// Whether tiles may be gathered from several blocks of a list.
    pub gathers: bool,
    /// Chunks of a fold that is split over thread blocks.
    pub chunks: i64,
    /// Whether kernels that walk an axis of their tensor also share it between thread blocks, in as many chunks.
    pub spread: bool,
    /// Rows of a block that computes element by element.
    pub element_rows: u32,
    /// Its threads.
    pub element_threads: u32,
    /// Registers of a thread as [`Resources`](super::resources::Resources) counts them, where they bound the columns.
    pub registers: Option<u32>,
}

/// How one kind of kernel is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Rows of a block, as near as the axes allow.
    pub rows: u32,
    /// Values of a walked axis per iteration; fewer where a thread has too few registers for them.
    pub columns: u32,
    /// Tiles in flight.
    pub stages: u32,
    /// Blocks of 16 rows per warp, where the rows divide.
    pub repeat: u32,
    /// Warps that share the columns, where a block has at most 16 rows.
    pub column_warps: u32,
}

/// The cut of one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
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
    /// Tensor-core GPUs: four warps of 32 rows, so that every loaded operand of columns serves two instructions.
    pub fn gpu() -> Self {
        let many = Cut { rows: 128, columns: 64, stages: 2, repeat: 2, column_warps: 1 };
        Tiling {
            many,
            lists: Cut { rows: 64, columns: 32, stages: 3, repeat: 1, column_warps: 1 },
            few: Cut { rows: 16, columns: 64, stages: 2, repeat: 1, column_warps: 4 },
            depth: 16,
            gathers: true,
            chunks: 32,
            spread: false,
            element_rows: 16,
            element_threads: 256,
            registers: Some(232),
        }
    }

    /// The same for compute capability 8.0, for which `ptxas` finds fewer registers for the same accumulators.
    pub fn sm_80() -> Self {
        Tiling { registers: Some(224), ..Tiling::gpu() }
    }

    /// CPUs: a row tile and a packed operand tile stay in the first two cache levels. What comes in of keys serves many rows.
    pub fn host() -> Self {
        let many = Cut { rows: 256, columns: 64, stages: 1, repeat: 2, column_warps: 1 };
        let few = Cut { rows: 16, repeat: 1, column_warps: 4, ..many };
        Tiling {
            many,
            lists: Cut { rows: 64, repeat: 1, ..many },
            few,
            depth: 1,
            gathers: false,
            registers: None,
            ..Tiling::gpu()
        }
    }

    /// The same machine when there are few queries: as few rows as the constant axes give, so that warps share the columns.
    pub fn few_rows(self) -> Self {
        Tiling { many: self.few, lists: Cut { rows: 16, ..self.lists }, spread: true, ..self }
    }

    /// The cut of a kernel with this many rows of constant axes, and a run-time row axis or none. `list_bytes`: for kernels
    /// that build lists, what those of one value of the run-time axis take.
    pub fn shape(&self, constant_rows: u32, runtime_rows: bool, list_bytes: Option<u32>) -> Shape {
        let lists = list_bytes.is_some();
        let cut = match (lists, runtime_rows) {
            (true, _) => self.lists,
            (false, true) => self.many,
            (false, false) => self.few,
        };
        // A power of two, as the rows of other blocks are.
        let room = list_bytes.map_or(u32::MAX, |bytes| 1 << (LIST_BYTES / bytes.max(1)).max(1).ilog2());
        let row_tile = if runtime_rows { (cut.rows / constant_rows).clamp(1, room) } else { 1 };
        let rows = (row_tile * constant_rows).max(1);
        let blocks = rows.div_ceil(16);
        let repeat = if blocks.is_multiple_of(cut.repeat) { cut.repeat } else { 1 };
        let column_warps = if blocks == 1 && !lists { cut.column_warps } else { 1 };
        let warps = blocks.div_ceil(repeat);
        Shape { row_tile, warps, repeat, column_warps, columns: cut.columns, stages: cut.stages }
    }
}
