//! Where the values of a block lie in a thread's scratch memory.
//!
//! Rows are the vector lanes of a [`Layout::Fragments`] kernel. Rows come in *panels* of one or two vectors, and a variable
//! with rows and columns is stored panel by panel, column by column: `[panel][column][row of the panel]`. A register block
//! of a contraction then reads the first operand as consecutive vectors and the second as broadcast scalars, whichever way
//! the second lies in memory; no operand is transposed inside a loop, and a softmax along the columns works on whole
//! vectors.
//!
//! In a [`Layout::Elements`] kernel the columns are the lanes and variables are `[row][column]`.
//!
//! Where contractions run in matrix registers (module `forms`), their operands are bf16 instead:
//!
//! | operand | lies as |
//! |---|---|
//! | tile, [`Form::Lines`] | `[slow / 16][fast / 32]` registers of `[16][32]` |
//! | tile, [`Form::Pairs`] | `[slow / 32][fast / 16]` registers of `[16][16][2]`, groups of 32 fast values in the order of [`in_pairs`] |
//! | row tile, [`Form::Lines`] | `[row / 16][fast / 32]` registers of `[16][32]` |
//! | row tile, [`Form::Pairs`] | `[row / 16][fast / 32]` registers of `[16][16][2]`: pairs of fast values, then rows |
//! | accumulator (`Forms::lines`), f32 | `[row / 16][column / 16]` registers of `[16][16]`, columns in the order of the tile that they came from |
//!
//! A register is 1024 consecutive bytes: its lines are read twice as fast as lines that lie a power of two apart. The depth
//! is padded to 32 with zeros, so that what is added is 0.

use super::batch::Batch;
use super::forms::{Form, Forms};
use super::isa::Isa;
use crate::emit::scalar::Facts;
use crate::plan::{Kernel, Layout, Plan, Stage, Tile, TileAxis};

/// Offsets into scratch memory (bytes, multiples of 64) and the sizes that follow from the instruction set.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    /// Elements per vector.
    pub lanes: u32,
    /// Rows of the block.
    pub rows: u32,
    /// Rows of a panel (a power of two); meaningless for `Elements`.
    pub panel: u32,
    /// Rows, rounded up to whole panels.
    pub padded_rows: u32,
    /// True if rows are the lanes.
    pub row_lanes: bool,
    /// Per row axis: `i32[padded_rows]`, clamped coordinates.
    pub coordinates: Vec<u64>,
    /// `i32[padded_rows]`: 1 for rows inside the sequence.
    pub inside: u64,
    /// Per variable: `f32`.
    pub variables: Vec<u64>,
    /// Per tile: `f32` (see [`tile_stride`]) or bf16, as its form says.
    pub tiles: Vec<u64>,
    /// Per stage: `f32[row combination][column mod width]`.
    pub stages: Vec<u64>,
    /// Per list: `u64[row combination][count]` keys.
    pub lists: Vec<u64>,
    /// Per variable that stores may turn: `f32[padded_rows][columns]`.
    pub turned: Vec<u64>,
    /// `f32[padded_rows][fast]` where row tiles are evaluated before they are turned; bf16 lines of tiles before they are
    /// paired.
    pub untiled: u64,
    /// The forms of tiles and variables.
    pub forms: Forms,
    /// The first factor of a contraction in matrix registers, in bf16, where it is a variable.
    pub first: u64,
    /// `f32[panel]`: factors of rows.
    pub factors: u64,
    /// 64 bytes: what the matrix registers are set to.
    pub configuration: u64,
    /// How several blocks are worked on together; what each of them has to itself comes first, block after block.
    pub batch: Option<Batch>,
    /// From the first to the second place of the variable that has two (see [`Batch::ahead`]), in bytes; 0: none has.
    pub second: u64,
    /// All of it.
    pub bytes: u64,
}

/// Columns rounded up so that a row of them is whole vectors of any instruction set.
pub(super) fn padded(columns: u32) -> u32 {
    columns.next_multiple_of(16)
}

/// Lines of a matrix register, and f32 or pairs per line.
pub(super) const LINES: u32 = 16;
/// Bytes of a matrix register.
pub(super) const REGISTER: i64 = 1024;
/// bf16 values per line of a matrix register.
pub(super) const HALVES: u32 = 32;

/// Values rounded up to whole lines of bf16.
pub(super) fn halves(count: u32) -> u32 {
    count.next_multiple_of(HALVES)
}

/// Where a column is stored in two registers of pairs side by side, for every column of a group of 32: the order in which interleaving the
/// 128-bit parts of two vectors leaves them.
pub(super) fn in_pairs() -> [u32; HALVES as usize] {
    std::array::from_fn(|column| {
        let column = column as u32;
        let (part, upper, within) = (column / 8, column % 8 / 4, column % 4);
        upper * LINES + part * 4 + within
    })
}

impl Scratch {
    pub fn new(plan: &Plan, kernel: &Kernel, facts: &Facts, isa: Isa) -> Self {
        let rows = kernel.row_count().max(1);
        let row_lanes = matches!(kernel.layout, Layout::Fragments { .. });
        let forms = Forms::new(plan, kernel, isa);
        // Fewer rows than lanes: narrower vectors waste less.
        let lanes = match row_lanes {
            _ if forms.matrix() => LINES,
            true => isa.lanes().min(rows.next_power_of_two().max(4)),
            false => isa.lanes(),
        };
        let panel = match () {
            () if !row_lanes => 1,
            () if forms.matrix() => LINES,
            // Two vectors per panel, unless that pads by more than an eighth.
            () if u64::from(rows.next_multiple_of(2 * lanes)) * 8 <= u64::from(rows.next_multiple_of(lanes)) * 9 => {
                2 * lanes
            }
            () => lanes,
        };
        let mut scratch = Scratch {
            lanes,
            rows,
            panel,
            padded_rows: rows.next_multiple_of(panel),
            row_lanes,
            coordinates: vec![],
            inside: 0,
            variables: vec![],
            tiles: vec![],
            stages: vec![],
            lists: vec![],
            turned: vec![],
            untiled: 0,
            forms,
            first: 0,
            factors: 0,
            configuration: 0,
            batch: None,
            second: 0,
            bytes: 0,
        };
        if scratch.forms.matrix() {
            scratch.batch = Batch::of(plan, kernel, facts);
        }
        scratch.place(kernel);
        scratch
    }

    fn take(&mut self, elements: u64, size: u64) -> u64 {
        let at = self.bytes;
        self.bytes = (at + elements * size).next_multiple_of(64);
        at
    }

    fn place(&mut self, kernel: &Kernel) {
        let rows = u64::from(self.padded_rows);
        for _ in &kernel.rows {
            let at = self.take(rows, 4);
            self.coordinates.push(at);
        }
        self.inside = self.take(rows, 4);
        self.variables = vec![0; kernel.variables.len()];
        self.tiles = vec![0; kernel.tiles.len()];
        self.place_operands(kernel, true);
        if let Some(mut batch) = self.batch.take() {
            self.bytes = batch.share(self.bytes);
            batch.control = self.take(batch.words(), 4);
            self.batch = Some(batch);
            self.place_operands(kernel, false);
        }
        if self.forms.matrix() {
            let depth = kernel.variables.iter().filter_map(|v| v.columns.as_ref()).map(|c| halves(c.count)).max();
            self.first = self.take(rows * u64::from(depth.unwrap_or(0)), 2);
            self.factors = self.take(LINES.into(), 4);
            self.configuration = self.take(64, 1);
        }
        for stage in &kernel.stages {
            let at = self.take(stage_rows(stage) * u64::from(stage.columns.count), 4);
            self.stages.push(at);
        }
        for list in &kernel.lists {
            let combinations: u64 = list.rows.iter().map(|s| u64::from(s.count)).product();
            let at = self.take(combinations * u64::from(list.count), 8);
            self.lists.push(at);
        }
        for variable in &kernel.variables {
            let turned = match &variable.columns {
                Some(columns) if variable.rows && self.row_lanes => rows * u64::from(padded(columns.count)),
                _ => 0,
            };
            let at = self.take(turned, 4);
            self.turned.push(at);
        }
    }

    /// Places variables and tiles: those that a block has to itself, which are all where there are no batches, or the others.
    fn place_operands(&mut self, kernel: &Kernel, own: bool) {
        let rows = u64::from(self.padded_rows);
        let is_own = |owns: &dyn Fn(&Batch) -> bool, batch: &Option<Batch>| batch.as_ref().is_none_or(owns);
        for (number, variable) in kernel.variables.iter().enumerate() {
            if is_own(&|batch| batch.variables[number], &self.batch) != own {
                continue;
            }
            let width = if self.forms.lines[number] { halves } else { padded };
            let columns = variable.columns.as_ref().map_or(1, |c| u64::from(width(c.count)));
            let elements = columns * if variable.rows { rows } else { 1 };
            self.variables[number] = self.take(elements, 4);
            if self.batch.as_ref().is_some_and(|batch| batch.ahead == Some(number as u32)) {
                self.second = self.take(elements, 4) - self.variables[number];
            }
        }
        let mut untiled = 0;
        for (number, tile) in kernel.tiles.iter().enumerate() {
            let fast = u64::from(padded(tile.fast.count));
            let bytes = match (&tile.slow, self.forms.tiles[number]) {
                (TileAxis::Rows, Form::Floats) => {
                    untiled = untiled.max(rows * fast * 4);
                    rows * fast * 4
                }
                (TileAxis::Span(slow), Form::Floats) => u64::from(slow.count) * u64::from(tile_stride(tile)) * 4,
                (axis, form) => {
                    let lines = match axis {
                        TileAxis::Rows => rows,
                        TileAxis::Span(slow) => u64::from(halves(slow.count)),
                    };
                    let bytes = lines * u64::from(halves(tile.fast.count)) * 2;
                    if form == Form::Pairs {
                        untiled = untiled.max(bytes);
                    }
                    bytes
                }
            };
            if is_own(&|_| tile.slow == TileAxis::Rows, &self.batch) == own {
                self.tiles[number] = self.take(bytes, 1);
            }
        }
        if self.batch.is_none() || !own {
            self.untiled = self.take(untiled, 1);
        }
    }

    /// Where the variable with two places begins.
    pub fn ahead(&self) -> u64 {
        let number = self.batch.as_ref().and_then(|batch| batch.ahead);
        number.and_then(|number| self.variables.get(number as usize)).copied().unwrap_or(0)
    }

    /// Whether what is placed there is a block's own.
    pub fn is_own(&self, base: u64) -> bool {
        self.batch.as_ref().is_some_and(|batch| base < batch.own)
    }
}

/// Floats from one slow value of a tile to the next: padded so that a column of a power-of-two tile does not fall into
/// a few sets of the first-level cache.
pub(super) fn tile_stride(tile: &Tile) -> u32 {
    padded(tile.fast.count) + 16
}

/// Row combinations of a stage.
pub(super) fn stage_rows(stage: &Stage) -> u64 {
    stage.rows.iter().map(|s| u64::from(s.count)).product()
}
