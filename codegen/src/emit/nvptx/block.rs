//! The thread block under construction: parameters, grid coordinates, lengths, the threads' places, registers.
//!
//! Kernel parameters are 64-bit words: the sequence table, the tile table, the number of tiles, then for every buffer its
//! address and the strides of all its axes but the last (see the documentation of `nsa-artifact`).

use super::instructions::{GLOBAL, SHARED};
use super::loops::Listed;
use super::shape::{FRAGMENT_ROWS, Shape, WARP};
use super::shared::SharedLayout;
use crate::emit::EmitError;
use crate::emit::llvm::{Emitter, Value};
use crate::emit::scalar::{Facts, View};
use crate::plan::{Kernel, Plan, PlanExtent, Span, Var};
use crate::term::{AxisName, TensorName};
use inkwell::IntPredicate;
use inkwell::values::BasicValueEnum;
use std::collections::{HashMap, HashSet};

/// Words before those of the buffers: sequence table, tile table, number of tiles.
pub(super) const LEADING_WORDS: u32 = 3;

/// What a kernel is made in: nothing here changes while it is emitted.
pub(super) struct Source<'a, 'c> {
    pub e: &'a Emitter<'c>,
    pub plan: &'a Plan,
    pub facts: &'a Facts,
    pub kernel: &'a Kernel,
}

/// Where a thread stands; all `i32`.
#[derive(Clone, Copy)]
pub(super) struct Thread<'c> {
    /// In the block.
    pub index: Value<'c>,
    /// In the warp.
    pub lane: Value<'c>,
    /// Warp.
    pub warp: Value<'c>,
    /// `lane / 4`: the row of a fragment.
    pub quad: Value<'c>,
    /// `lane % 4`: the pair of columns of a fragment.
    pub member: Value<'c>,
    /// Warp along the rows.
    pub row_warp: Value<'c>,
    /// Warp along the columns.
    pub column_warp: Value<'c>,
}

/// Coordinates of one row.
#[derive(Clone)]
pub(super) struct Row<'c> {
    /// Absolute value of every row axis (in the order of [`Kernel::rows`]), inside its extent.
    pub axes: Vec<Value<'c>>,
    /// True if the row exists in this sequence.
    pub valid: Value<'c>,
}

/// The registers of a variable in one thread.
#[derive(Clone)]
pub(super) struct Registers<'c> {
    /// One, or two per block of 16 rows.
    pub rows: usize,
    /// One, or two per block of 8 columns (of the thread's part of them).
    pub columns: usize,
    /// Into how many parts the column warps split the columns.
    pub parts: u32,
    /// The column axis and the whole width.
    pub span: Option<Span>,
    cells: Vec<Value<'c>>,
}

impl Registers<'_> {
    /// Width of the thread's part.
    pub fn width(&self) -> u32 {
        self.span.as_ref().map_or(0, |span| span.count / self.parts)
    }
}

/// A loop whose body is being emitted.
pub(super) struct Walked<'c> {
    pub axis: AxisName,
    pub tile: u32,
    /// First value of the tile; of a gathered tile, its first position in the list.
    pub base: Value<'c>,
    /// The list that tiles are gathered from, where they have several of its blocks.
    pub gathered: Option<Listed<'c>>,
    /// True if this tile has to be masked; None in loops without bounds for unmasked tiles (all are).
    pub edge: Option<Value<'c>>,
    /// Variables that hold one part of their value per thread until the loop ends.
    pub deferred: HashSet<Var>,
}

/// The state of emitting one kernel.
pub(super) struct Block<'a, 'c> {
    pub source: Source<'a, 'c>,
    /// The warps; None for elementwise kernels.
    pub shape: Option<Shape>,
    pub layout: SharedLayout,
    pub thread: Thread<'c>,
    /// Lengths (`i32`) of all axes in this sequence.
    pub lengths: HashMap<AxisName, Value<'c>>,
    /// First value (`i32`) of every grid axis, and 0 for row axes that are whole.
    pub first: HashMap<AxisName, Value<'c>>,
    pub views: HashMap<TensorName, View<'c>>,
    /// By row slot of a thread.
    pub rows: Vec<Row<'c>>,
    pub variables: Vec<Registers<'c>>,
    /// Start of dynamic shared memory.
    pub shared: Value<'c>,
    pub loops: Vec<Walked<'c>>,
    /// Where the buffer that holds each tile now begins in shared memory, `i32`.
    pub buffers: HashMap<u32, Value<'c>>,
    /// Fragments of first operands that stay in registers.
    pub resident: HashMap<u32, Vec<[Value<'c>; 4]>>,
    /// Copies were issued whose end nobody has waited for.
    pub in_flight: bool,
    /// Lists under construction, by list: keys per row combination of a warp.
    pub lists: Vec<super::list::Keys<'c>>,
    /// Per open loop, the tiles that it fetches ahead.
    pub pipelined: Vec<HashSet<u32>>,
    /// True once some loop has used the space of its tiles.
    pub looped_before: bool,
}

impl<'a, 'c> Source<'a, 'c> {
    /// The extent of an axis if it is known.
    pub fn constant(&self, axis: AxisName) -> Option<i64> {
        match self.plan.axis(axis).map(|a| &a.extent) {
            Some(PlanExtent::Const(n)) => Some(*n),
            _ => None,
        }
    }
    fn tile_of_grid(&self, axis: AxisName) -> Option<u32> {
        self.kernel.grid.iter().find(|g| g.axis == axis).map(|g| g.tile)
    }
}

/// The sentence for an axis that nothing gives a value.
pub(super) fn no_axis(axis: AxisName) -> EmitError {
    EmitError::Plan(format!("axis {} has no value here", axis.name()))
}

/// Loads a 32-bit or 64-bit integer `index` elements after `pointer`.
fn table<'c>(e: &Emitter<'c>, pointer: Value<'c>, index: Value<'c>, bytes: i64) -> Value<'c> {
    let ty = if bytes == 8 { e.i64_type() } else { e.i32_type() };
    e.load(ty.into(), e.offset(pointer, e.mul(index, e.i64(bytes))), bytes as u32)
}

/// Lengths, packed offsets and first values of a block.
struct Position<'c> {
    lengths: HashMap<AxisName, Value<'c>>,
    offsets: HashMap<AxisName, Value<'c>>,
    first: HashMap<AxisName, Value<'c>>,
}

impl<'c> Position<'c> {
    /// From the number of the block.
    fn of(source: &Source<'_, 'c>, block: Value<'c>) -> Result<Self, EmitError> {
        let e = source.e;
        let pointer = |word: u32| e.pointer(e.parameter(word), GLOBAL);
        let tiles = e.to_i32(e.parameter(2));
        let tile = e.to_i64(e.urem(block, tiles));
        let mut rest = e.udiv(block, tiles);
        let sequence = e.to_i64(table(e, pointer(1), e.mul(tile, e.i64(2)), 4));
        let start = table(e, pointer(1), e.add(e.mul(tile, e.i64(2)), e.i64(1)), 4);

        let slots = source.plan.axes.iter().filter(|a| source.constant(a.name).is_none()).count() as i64;
        let (mut lengths, mut offsets) = (HashMap::new(), HashMap::new());
        for axis in &source.plan.axes {
            let length = match (&axis.extent, source.plan.slot(axis.name)) {
                (PlanExtent::Const(n), _) => e.i32(i32::try_from(*n).map_err(|_| too_long(axis.name))?),
                (_, Some(slot)) => {
                    let entry = e.add(e.mul(sequence, e.i64(slots)), e.i64(slot as i64));
                    let entry = e.mul(entry, e.i64(2));
                    offsets.insert(axis.name, table(e, pointer(0), entry, 8));
                    e.to_i32(table(e, pointer(0), e.add(entry, e.i64(1)), 8))
                }
                (_, None) => return Err(no_axis(axis.name)),
            };
            lengths.insert(axis.name, length);
        }

        let mut first = HashMap::new();
        for span in &source.kernel.rows {
            first.insert(span.axis, e.i32(0));
        }
        for axis in source.kernel.grid.iter().rev() {
            let Some(extent) = source.constant(axis.axis) else {
                first.insert(axis.axis, start);
                continue;
            };
            let tile = axis.tile.max(1) as i64;
            let count = i32::try_from((extent + tile - 1) / tile).map_err(|_| too_long(axis.axis))?;
            let index = e.urem(rest, e.i32(count.max(1)));
            rest = e.udiv(rest, e.i32(count.max(1)));
            first.insert(axis.axis, e.mul(index, e.i32(tile as i32)));
        }
        Ok(Position { lengths, offsets, first })
    }
}

fn too_long(axis: AxisName) -> EmitError {
    EmitError::Limit(format!("axis `{}` has 2^31 values or more", axis.name()))
}

impl<'c> Thread<'c> {
    /// The place of thread `index` of a block whose rows are shared by `column_warps` warps each.
    fn of(e: &Emitter<'c>, index: Value<'c>, column_warps: u32) -> Self {
        let (lane, warp) = (e.and(index, e.i32(31)), e.shift_right_logical(index, e.i32(5)));
        let columns = e.i32(column_warps as i32);
        Thread {
            index,
            lane,
            warp,
            quad: e.shift_right_logical(lane, e.i32(2)),
            member: e.and(lane, e.i32(3)),
            row_warp: e.udiv(warp, columns),
            column_warp: e.urem(warp, columns),
        }
    }
}

/// Number of parameter words of a kernel.
pub(super) fn words(plan: &Plan, kernel: &Kernel) -> u32 {
    LEADING_WORDS + kernel.buffers(plan).iter().map(|b| b.axes.len().max(1) as u32).sum::<u32>()
}

impl<'a, 'c> Block<'a, 'c> {
    /// Emits what every thread computes first. The builder stands in the entry block.
    pub fn new(source: Source<'a, 'c>, shape: Option<Shape>, shared_limit: u32) -> Result<Self, EmitError> {
        let e = source.e;
        let layout = match &shape {
            Some(shape) => SharedLayout::of(source.kernel, shape, shared_limit)?,
            None => SharedLayout::default(),
        };
        let position = Position::of(&source, e.special("ctaid.x")?)?;
        let thread = Thread::of(e, e.special("tid.x")?, shape.as_ref().map_or(1, |s| s.column_warps));
        let views = views(&source, &position)?;
        let shared = match e.module.get_global("dynamic_shared") {
            Some(global) => global.as_pointer_value().into(),
            None => {
                let space = inkwell::AddressSpace::from(SHARED);
                let global = e.module.add_global(e.context.i8_type().array_type(0), Some(space), "dynamic_shared");
                global.set_alignment(128);
                global.as_pointer_value().into()
            }
        };
        let mut block = Block {
            source,
            shape,
            layout,
            thread,
            lengths: position.lengths,
            first: position.first,
            views,
            rows: vec![],
            variables: vec![],
            shared,
            loops: vec![],
            buffers: HashMap::new(),
            resident: HashMap::new(),
            in_flight: false,
            lists: vec![],
            pipelined: vec![],
            looped_before: false,
        };
        block.make_rows()?;
        block.make_registers()?;
        block.make_lists()?;
        Ok(block)
    }

    /// Computes again what only depends on the places of block and thread, where few registers were left during a loop:
    /// values from before it then need not survive it.
    pub fn look_again(&mut self) -> Result<(), EmitError> {
        let e = self.source.e;
        let position = Position::of(&self.source, e.special_again("ctaid.x")?)?;
        self.thread = self.thread_again()?;
        self.views = views(&self.source, &position)?;
        (self.lengths, self.first) = (position.lengths, position.first);
        self.rows.clear();
        self.make_rows()
    }

    /// The thread's place, computed again.
    pub fn thread_again(&self) -> Result<Thread<'c>, EmitError> {
        let e = self.source.e;
        Ok(Thread::of(e, e.special_again("tid.x")?, self.fragments()?.column_warps))
    }

    /// Computes the coordinates of the thread's rows.
    pub fn make_rows(&mut self) -> Result<(), EmitError> {
        let Some(shape) = self.shape.clone() else { return Ok(()) };
        let e = self.source.e;
        let warp_rows = e.mul(self.thread.row_warp, e.i32((FRAGMENT_ROWS * shape.repeat) as i32));
        for slot in 0..shape.row_slots() {
            let row = e.add(e.add(warp_rows, self.thread.quad), e.i32(8 * slot as i32));
            let row = self.row(row)?;
            self.rows.push(row);
        }
        Ok(())
    }

    /// The coordinates of row `index` (`i32`) of the block; rows past the last are those of the last, and not valid.
    pub fn row(&self, index: Value<'c>) -> Result<Row<'c>, EmitError> {
        let rows = self.source.kernel.rows.clone();
        self.combination(&rows, index)
    }
    /// As [`Self::row`], for some of the row axes.
    pub fn combination(&self, spans: &[Span], index: Value<'c>) -> Result<Row<'c>, EmitError> {
        let e = self.source.e;
        let count = spans.iter().map(|s| s.count).product::<u32>() as i32;
        let mut valid = e.icmp(IntPredicate::SLT, index, e.i32(count));
        let mut rest = e.imin(index, e.i32(count - 1));
        let mut axes = vec![];
        for (place, span) in spans.iter().enumerate().rev() {
            let local = if place == 0 { rest } else { e.urem(rest, e.i32(span.count as i32)) };
            rest = e.udiv(rest, e.i32(span.count as i32));
            let first = self.first.get(&span.axis).copied().ok_or_else(|| no_axis(span.axis))?;
            let value = e.add(first, local);
            let length = self.length(span.axis)?;
            valid = e.and(valid, e.icmp(IntPredicate::SLT, value, length));
            axes.push(e.imin(value, e.sub(length, e.i32(1))));
        }
        axes.reverse();
        Ok(Row { axes, valid })
    }

    fn make_registers(&mut self) -> Result<(), EmitError> {
        let e = self.source.e;
        for variable in &self.source.kernel.variables {
            let (mut rows, mut columns, mut parts) = (1, 1, 1);
            if let Some(shape) = &self.shape {
                rows = if variable.rows { shape.row_slots() } else { 1 };
                if let Some(span) = &variable.columns {
                    parts = shape.split(span);
                    columns = 2 * (span.count / parts).div_ceil(8) as usize;
                }
            }
            let cells = (0..rows * columns).map(|_| e.register(e.f32_type().into())).collect();
            self.variables.push(Registers { rows, columns, parts, span: variable.columns.clone(), cells });
        }
        Ok(())
    }

    /// Length of an axis in this sequence.
    pub fn length(&self, axis: AxisName) -> Result<Value<'c>, EmitError> {
        self.lengths.get(&axis).copied().ok_or_else(|| no_axis(axis))
    }
    /// The registers of a variable.
    pub fn registers(&self, var: Var) -> Result<&Registers<'c>, EmitError> {
        self.variables.get(var as usize).ok_or_else(|| EmitError::Plan(format!("there is no variable %{var}")))
    }
    /// The value of a variable in a row and a column slot; 0 along what it lacks.
    pub fn get(&self, var: Var, row: usize, column: usize) -> Result<Value<'c>, EmitError> {
        let registers = self.registers(var)?;
        Ok(self.source.e.load(self.source.e.f32_type().into(), registers.cell(row, column), 4))
    }
    /// Assigns a variable in a row and a column slot.
    pub fn set(&self, var: Var, row: usize, column: usize, value: Value<'c>) -> Result<(), EmitError> {
        let cell = self.registers(var)?.cell(row, column);
        self.source.e.store(value, cell, 4);
        Ok(())
    }
    /// The shape of a kernel in the fragment layout.
    pub fn fragments(&self) -> Result<&Shape, EmitError> {
        self.shape.as_ref().ok_or_else(|| EmitError::Plan("an elementwise kernel with a tile operation".into()))
    }
    /// Which part of `parts` this thread's warp works on.
    pub fn part(&self, parts: u32) -> Value<'c> {
        let e = self.source.e;
        if parts == 1 { e.i32(0) } else { e.urem(self.thread.column_warp, e.i32(parts as i32)) }
    }
    /// True in the threads whose warp is the first of those that hold the same part of a variable.
    pub fn first_of_part(&self, parts: u32) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let all = self.fragments()?.column_warps;
        Ok(if parts == all {
            e.bool(true)
        } else {
            e.icmp(IntPredicate::SLT, self.thread.column_warp, e.i32(parts as i32))
        })
    }

    /// Where the columns of an axis begin: at the tile of a loop that walks it, else at the block's first value.
    pub fn column_base(&self, axis: AxisName) -> Value<'c> {
        let walked = self.loops.iter().rev().find(|l| l.axis == axis && l.tile > 1).map(|l| l.base);
        let tiled = || self.source.tile_of_grid(axis).and_then(|_| self.first.get(&axis).copied());
        walked.or_else(tiled).unwrap_or_else(|| self.source.e.i32(0))
    }
    /// The value that lies `local` columns after the start of a column axis's tile; behind every axis where a gathered tile has
    /// no value there.
    pub fn column_at(&self, axis: AxisName, local: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let at = e.add(self.column_base(axis), local);
        match self.loops.iter().rev().find(|l| l.axis == axis && l.tile > 1).and_then(|l| l.gathered.as_ref()) {
            Some(listed) => self.listed_value(listed, at),
            None => at,
        }
    }
    /// Whether the values of an axis's tile are gathered from a list.
    pub fn is_gathered(&self, axis: AxisName) -> bool {
        self.loops.iter().rev().find(|l| l.axis == axis).is_some_and(|l| l.gathered.is_some())
    }
    /// Offset of the thread's column `slot` of a variable, from the start of its columns.
    pub fn column_offset(&self, registers: &Registers<'c>, slot: usize) -> Value<'c> {
        let e = self.source.e;
        let pair = e.shift_left(self.thread.member, e.i32(1));
        let part = e.mul(self.part(registers.parts), e.i32(registers.width() as i32));
        e.add(e.add(part, pair), e.i32((8 * (slot / 2) + slot % 2) as i32))
    }
    /// True in the threads whose column `slot` lies inside the variable's width; None if that is so in all.
    pub fn column_exists(&self, registers: &Registers<'c>, slot: usize) -> Option<Value<'c>> {
        let width = registers.width();
        if registers.span.is_none() || 8 * (slot as u32 / 2 + 1) <= width {
            return None;
        }
        let e = self.source.e;
        let local = e.add(e.shift_left(self.thread.member, e.i32(1)), e.i32((8 * (slot / 2) + slot % 2) as i32));
        Some(e.icmp(IntPredicate::SLT, local, e.i32(width as i32)))
    }

    /// Number of threads.
    pub fn threads(&self) -> u32 {
        match (&self.shape, self.source.kernel.layout) {
            (Some(shape), _) => shape.threads(),
            (None, crate::plan::Layout::Elements { threads }) => threads,
            (None, _) => WARP,
        }
    }
}

impl<'c> Registers<'c> {
    /// The shape of a value that is stored without being kept in registers.
    pub fn bare(span: Option<Span>, columns: usize, parts: u32) -> Self {
        Registers { rows: 1, columns, parts, span, cells: vec![] }
    }
    fn cell(&self, row: usize, column: usize) -> Value<'c> {
        let (row, column) = (row.min(self.rows - 1), column.min(self.columns - 1));
        self.cells[row * self.columns + column]
    }
}

/// The buffers of a kernel as this block's sequence sees them.
fn views<'c>(source: &Source<'_, 'c>, position: &Position<'c>) -> Result<HashMap<TensorName, View<'c>>, EmitError> {
    let e = source.e;
    let mut word = LEADING_WORDS;
    let mut views = HashMap::new();
    for buffer in source.kernel.buffers(source.plan) {
        let mut pointer = match e.parameter(word) {
            BasicValueEnum::PointerValue(p) => p.into(),
            word => e.pointer(word, GLOBAL),
        };
        let strides: Vec<_> = (1..buffer.axes.len() as u32).map(|i| e.parameter(word + i)).collect();
        word += buffer.axes.len().max(1) as u32;
        let packed = buffer.axes.iter().position(|axis| source.constant(*axis).is_none());
        if let Some(axis) = packed {
            let offset = position.offsets.get(&buffer.axes[axis]).copied().ok_or_else(|| no_axis(buffer.axes[axis]))?;
            let elements = strides.get(axis).map_or(offset, |stride| e.mul(offset, *stride));
            pointer = e.offset(pointer, e.mul(elements, e.i64(buffer.dtype.bytes() as i64)));
        }
        views.insert(buffer.name, View { pointer, strides, axes: buffer.axes.clone(), dtype: buffer.dtype });
    }
    Ok(views)
}
