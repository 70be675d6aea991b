//! Plans: kernels as data, one step above machine code.
//!
//! A plan is what the planner makes of a candidate of the optimiser and what every target lowers: a list of kernels, each a
//! grid of thread blocks that run one short program over **tiles**. It prints as pseudo-code, can be verified, and says
//! nothing about threads: how a tile is spread over registers or vector lanes is the target's affair.
//!
//! # The block's view
//!
//! A thread block owns some values of the kernel's *row axes* (say 8 values of `t` and all 16 of `r`: 128 rows, slowest axis
//! first) and one value of every other grid axis. A [`Variable`] is an f32 tile: rows (those of `rows`, all or a part of the
//! kernel's row axes, or none) times columns (one axis, or none). Variables are assigned by statements, in order; a loop
//! repeats its body and variables keep their values across iterations.
//!
//! # Scalars
//!
//! Expressions are [`Term`]s, evaluated at one element. An axis `@x` there is, in this order: the axis of
//! an enclosing scalar fold inside the term; the coordinate of the element's column if the variable's column axis is `x`; of
//! its row if `x` is a row axis; the current value of an enclosing loop over `x` (of a tiled loop: the first value of the
//! tile); the value of grid axis `x` (of a tiled one: the first value of the block).
//! `%n` is variable `n` at this element, broadcast along rows or columns that it lacks. `(load $x ...)` reads a buffer;
//! an index that lies outside the buffer (the edge of a partial tile) reads anything valid: results of such elements are
//! masked or never stored. `(load $stage:n ...)` reads stage `n`, see [`Statement::Stage`].
//! Folds that remain in a term are scalar loops of the element's thread. Block-level integers (loop bounds) are terms
//! too: there a row axis means the first value that the block owns.
//!
//! # Memory
//!
//! Buffers are row-major views. Run-time axes are per sequence: the slowest run-time axis of a buffer is packed (index plus
//! the sequence's offset), further run-time axes are padded to their longest sequence. Rows beyond the sequence's length are
//! computed with clamped coordinates and not stored.

mod arena;
mod domain;
mod in_place;
mod live;
mod lower;
mod planner;
pub mod print;
pub mod resources;
mod split;
mod tiling;
mod untile;
mod verify;
pub mod visit;

use planner::contractions;
pub use planner::{PlanError, Planned, dtype, plan};
pub use tiling::{Cut, Tiling};
pub use verify::{Fault, verify};

use crate::term::{AxisName, TensorName, Term, Type};
use egg::{Id, RecExpr};
use nsa_dsl::program::Extent;

/// Kernels in launch order, and what they work on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program's name.
    pub name: String,
    /// All axes. Those that are not constant have a slot in the sequence table, in this order.
    pub axes: Vec<PlanAxis>,
    /// Arguments, results, workspaces.
    pub buffers: Vec<Buffer>,
    /// In launch order; a kernel reads what earlier ones wrote.
    pub kernels: Vec<Kernel>,
    /// The arena of every scalar expression of the plan.
    pub terms: RecExpr<Term>,
}

/// An axis and its number of values.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanAxis {
    /// Its name.
    pub name: AxisName,
    /// Its extent.
    pub extent: PlanExtent,
}

/// The extent of an axis in a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanExtent {
    /// Known when compiling.
    Const(i64),
    /// Given with the arguments, per sequence.
    Runtime,
    /// An integer term over lengths of run-time axes; negative means 0.
    Derived(Id),
}

/// A region of memory that kernels read or write.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Tensor name; unique.
    pub name: TensorName,
    /// Index axes, slowest first. The last one is contiguous; the others have run-time strides.
    pub axes: Vec<AxisName>,
    /// Type of the elements.
    pub dtype: Type,
    /// What it is to the caller.
    pub role: Role,
}

/// What a buffer is to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Given by the caller, read.
    Argument,
    /// Given by the caller, written.
    Result,
    /// Allocated when planning a shape.
    Workspace,
}

/// Index of a variable in [`Kernel::variables`]; `%n` in terms.
pub type Var = u32;

/// One launch.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Unique name.
    pub name: String,
    /// One block per combination of values (tiles, for a tiled axis), slowest first.
    /// At most one is a run-time axis; it comes last.
    pub grid: Vec<GridAxis>,
    /// The block's rows, slowest first. A row axis that is also in the grid is tiled: `count` is the grid axis's tile.
    pub rows: Vec<Span>,
    /// How the work of a block is spread; see [`Layout`].
    pub layout: Layout,
    /// The tiles that live in registers (or in the host's scratch).
    pub variables: Vec<Variable>,
    /// Operand tiles fetched from memory.
    pub tiles: Vec<Tile>,
    /// Staged tiles: shared memory, readable at any coordinate.
    pub stages: Vec<Stage>,
    /// Lists under construction.
    pub lists: Vec<ListState>,
    /// The program.
    pub body: Vec<Statement>,
}

/// An axis of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct GridAxis {
    /// The axis.
    pub axis: AxisName,
    /// Consecutive values per block: 1 unless it is a row axis or a column axis (whose columns then start at the block's
    /// first value).
    pub tile: u32,
}

/// Consecutive values of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The axis.
    pub axis: AxisName,
    /// How many.
    pub count: u32,
}

/// How a block's work is spread over threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Independent elements: every statement is `Set`, `Store` or a `Loop` of these (over a run-time column axis), columns
    /// are contiguous in memory, one thread per element (or vector of columns). `threads` per block.
    Elements {
        /// Threads per block.
        threads: u32,
    },
    /// Tensor-core fragments: `rows` warps each own `16 * repeat` consecutive rows; `columns` warps share those rows and
    /// split every loop tile's columns between them, each with its own running sums, merged when the loop ends.
    Fragments {
        /// Warps along the rows.
        rows: u32,
        /// Blocks of 16 rows per warp.
        repeat: u32,
        /// Warps along the columns of loops.
        columns: u32,
    },
}

/// An f32 tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// What it is, for readers (`score`, `sum`, `o`).
    pub label: String,
    /// True if it varies along the kernel's rows.
    pub rows: bool,
    /// Its column axis, if any, and the width of the tile.
    pub columns: Option<Span>,
}

/// An operand tile in memory close to the tensor cores.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// What it is, for readers (`k`, `v`).
    pub label: String,
    /// Its slow axis.
    pub slow: TileAxis,
    /// Its fast axis; contiguous.
    pub fast: Span,
    /// The element at (slow, fast). Out-of-range coordinates give 0.
    pub element: Id,
    /// True if `element` is a plain load whose last index is the fast axis and whose others are free of it: it can be copied
    /// without passing through registers.
    pub copy: bool,
    /// Type it is rounded to.
    pub dtype: Type,
    /// How many of it are in flight: 1 outside loops, 2 and more in pipelined loops.
    pub stages: u32,
}

/// The slow axis of a tile.
#[derive(Clone, Debug, PartialEq)]
pub enum TileAxis {
    /// The block's rows: the first operand of a contraction.
    Rows,
    /// A span of an axis: from the loop's position if a loop walks it, else from 0.
    Span(Span),
}

/// A tile in shared memory that later statements read at any coordinate, as `(load $stage:n row-axes... column)`.
///
/// It is a ring along its columns: value `c` of the column axis lives at `c mod columns.count` (a power of two), so what
/// earlier iterations wrote stays readable until it is overwritten. All indices are absolute axis values.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Row axes kept, slowest first (indices first to last, then the column).
    pub rows: Vec<Span>,
    /// Column axis and width of the ring.
    pub columns: Span,
}

/// The best `count` values of an axis found so far, for every combination of `rows`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListState {
    /// Row axes.
    pub rows: Vec<Span>,
    /// Length.
    pub count: u32,
}

impl ListState {
    /// Lists of a block.
    pub fn combinations(&self) -> u32 {
        self.rows.iter().map(|span| span.count).product()
    }
    /// Entries that each lane of a warp of a GPU has of one list.
    pub fn keys_per_lane(&self) -> u32 {
        self.count.div_ceil(LANES).next_power_of_two()
    }
    /// Entries that each lane has of all lists that its warp, one of `warps`, builds.
    pub fn keys(&self, warps: u32) -> u32 {
        self.combinations().div_ceil(warps.max(1)) * self.keys_per_lane()
    }
    /// Bytes of a block's lists as 64-bit keys, where they are kept in memory.
    pub fn bytes(&self) -> u32 {
        self.combinations() * self.keys_per_lane() * LANES * 8
    }
}

/// Lanes of a warp of a GPU.
const LANES: u32 = 32;

/// One step of a block.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `var = expr` at every element.
    Set {
        /// What is assigned.
        var: Var,
        /// Its value at an element.
        expr: Id,
    },
    /// Bring a tile in. In a pipelined loop the target issues this `stages - 1` iterations ahead.
    Fetch {
        /// Index into [`Kernel::tiles`].
        tile: u32,
    },
    /// `var[row, col] (+)= sum over depth of a[row, depth] * tile[depth, col]`, f32 accumulation; both factors in the tile's
    /// type. The tile's two axes are depth and the variable's column axis, in either order.
    Dot {
        /// What is assigned, or added to.
        var: Var,
        /// The first factor: rows times depth.
        a: Operand,
        /// The second factor: index into [`Kernel::tiles`].
        b: u32,
        /// What is summed over.
        depth: Span,
        /// True if the products are added to what `var` holds.
        accumulate: bool,
    },
    /// Where `keep` is false, `var = otherwise`. Only tiles that need it (see [`Loop::full`]) execute it.
    Mask {
        /// What is masked.
        var: Var,
        /// A predicate at an element.
        keep: Id,
        /// What the others become.
        otherwise: f64,
    },
    /// `var[row] = fold of from[row, ..] along the columns`, merged with the old value of `var`.
    Reduce {
        /// The fold's value: no columns.
        var: Var,
        /// What is folded.
        from: Var,
        /// How it combines; never `Lse`.
        monoid: crate::term::Monoid,
    },
    /// Online softmax in base 2. `m = max(max, row maximum of score)`; `score = 2^(scale (score - m))`; every variable of
    /// `rescale` is multiplied by `2^(scale (max - m))`; `max = m`. Where `m` is -inf, score becomes 0.
    Online {
        /// Scores before, weights after.
        score: Var,
        /// The running maximum of every row, not scaled.
        max: Var,
        /// Positive; `log2(e)` times the scale of the scores.
        scale: f64,
        /// Running sums that refer to the maximum.
        rescale: Vec<Var>,
    },
    /// Write a variable to a stage, folding (sum) away the row axis `sum` if given. Rows and columns outside the sequence are
    /// written as 0. A barrier follows before the next read, and one precedes the next write.
    Stage {
        /// Index into [`Kernel::stages`].
        stage: u32,
        /// What is written.
        from: Var,
        /// The row axis that is summed over.
        sum: Option<AxisName>,
    },
    /// For every row combination of the list and every one of `columns`'s values in the loop's tile: if `among`, insert
    /// it with key `score` (`force` ones above all others). Terms are evaluated per element; they may read stages.
    Insert {
        /// Index into [`Kernel::lists`].
        list: u32,
        /// The candidates of one iteration.
        columns: Span,
        /// A candidate's rank: the highest stay, ties go to the lowest value of the axis.
        score: Id,
        /// A predicate: candidates that go above all others.
        force: Id,
        /// A predicate: what is a candidate at all.
        among: Id,
    },
    /// Write a finished list, ascending, padded with -1: `buffer[index.., 0..count]`.
    StoreList {
        /// Index into [`Kernel::lists`].
        list: u32,
        /// Where to; its last axis is the list's.
        buffer: TensorName,
        /// All indices but the last.
        index: Vec<Id>,
    },
    /// `buffer[index] = value` for every element: rows (if `rows`) times `columns`, those inside the sequence.
    ///
    /// `value` may read the buffer, at `index` only: then the kernel changes in place what an earlier one wrote.
    Store {
        /// Where to.
        buffer: TensorName,
        /// One index per axis of the buffer.
        index: Vec<Id>,
        /// What is stored, rounded to the buffer's type.
        value: Id,
        /// True if elements vary along the kernel's rows; row axes that no index mentions have one value for all.
        rows: bool,
        /// The columns that they vary along, if any.
        columns: Option<Span>,
    },
    /// Repeat the body over tiles of a domain.
    Loop(Box<Loop>),
}

/// The first operand of a contraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    /// A variable whose column axis is the depth; rounded to the tile type.
    Var(Var),
    /// A tile whose slow axis is [`TileAxis::Rows`] and whose fast axis is the depth.
    Tile(u32),
}

/// A fold over tiles: for `base = lo, lo + tile, ...` while `base < hi`.
#[derive(Clone, Debug)]
pub struct Loop {
    /// The axis whose values are walked.
    pub axis: AxisName,
    /// Values per iteration. 1: the axis is a scalar in the body. More: it is a column axis there.
    pub tile: u32,
    /// First value for any row of the block; a block-level integer.
    pub lo: Id,
    /// One past the last value for any row of the block.
    pub hi: Id,
    /// Tiles inside `[full.0, full.1)` need no masks. None: every tile is masked (if the body has masks).
    pub full: Option<(Id, Id)>,
    /// Walk only the listed blocks.
    pub walk: Option<Walk>,
    /// How running sums of several warps merge when the loop ends.
    pub merge: Vec<Merge>,
    /// What is repeated.
    pub body: Vec<Statement>,
}

/// Walk through a list of blocks: position `p` in `[0, count * block)` stands for the value
/// `list[p / block] * block + p % block`; entries of -1 and values outside `[lo, hi)` are skipped or masked.
///
/// A tile is a part of one block, or it is gathered: it has whole blocks, as many as make its width, and every value in
/// it is masked on its own.
#[derive(Clone, Debug)]
pub struct Walk {
    /// A `(list $x index...)` term, uniform in the block.
    pub list: Id,
    /// Entries.
    pub count: u32,
    /// Values per block.
    pub block: u32,
}

/// Variables that merge together.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The running maximum that the sums refer to and the scale of its [`Statement::Online`]; None for plain folds.
    pub max: Option<(Var, f64)>,
    /// How the variables merge (after rescaling to a common maximum): `Add` for those of an online softmax.
    pub monoid: crate::term::Monoid,
    /// The running values.
    pub values: Vec<Var>,
}

impl PlanExtent {
    /// The extent of a program's axis; derived extents are translated by `derive`.
    pub fn of(extent: &Extent, derive: impl FnOnce(nsa_dsl::program::ExprId) -> Id) -> Self {
        match extent {
            Extent::Const(n) => PlanExtent::Const(*n),
            Extent::Runtime => PlanExtent::Runtime,
            Extent::Derived(e) => PlanExtent::Derived(derive(*e)),
        }
    }
}

impl Plan {
    /// The axis of this name.
    pub fn axis(&self, name: AxisName) -> Option<&PlanAxis> {
        self.axes.iter().find(|a| a.name == name)
    }
    /// The buffer of this name.
    pub fn buffer(&self, name: TensorName) -> Option<&Buffer> {
        self.buffers.iter().find(|b| b.name == name)
    }
    /// Extent of an axis that is known when compiling.
    pub fn constant(&self, name: AxisName) -> Option<i64> {
        match self.axis(name)?.extent {
            PlanExtent::Const(n) => Some(n),
            PlanExtent::Runtime | PlanExtent::Derived(_) => None,
        }
    }
    /// Slot of a run-time or derived axis in the sequence table.
    pub fn slot(&self, name: AxisName) -> Option<usize> {
        self.axes.iter().filter(|a| !matches!(a.extent, PlanExtent::Const(_))).position(|a| a.name == name)
    }
}

impl Kernel {
    /// Rows of a block.
    pub fn row_count(&self) -> u32 {
        self.rows.iter().map(|s| s.count).product()
    }
    /// Names of the buffers that the kernel touches, sorted by their order in the plan: its parameters.
    pub fn buffers<'p>(&self, plan: &'p Plan) -> Vec<&'p Buffer> {
        let mut used = std::collections::BTreeSet::new();
        visit::terms(self, &mut |id| collect_tensors(&plan.terms, id, &mut used));
        visit::stores(self, &mut |name| {
            used.insert(name);
        });
        plan.buffers.iter().filter(|b| used.contains(&b.name)).collect()
    }
}

/// Every tensor that a term mentions.
fn collect_tensors(terms: &RecExpr<Term>, root: Id, into: &mut std::collections::BTreeSet<TensorName>) {
    let mut seen = vec![false; usize::from(root) + 1];
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut seen[usize::from(id)], true) {
            continue;
        }
        let node = &terms[id];
        if let Term::Tensor(name) = node {
            into.insert(*name);
        }
        stack.extend(egg::Language::children(node));
    }
}
