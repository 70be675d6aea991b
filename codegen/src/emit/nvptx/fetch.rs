//! Bringing operand tiles into shared memory: asynchronous copies, or elements computed one chunk at a time.

use super::block::Block;
use super::shape::FRAGMENT_ROWS;
use super::shared::Placement;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::{Buffer, Plan, PlanExtent, Statement, Tile, TileAxis, visit};
use crate::term::{AxisName, Term, Type};
use egg::{Id, RecExpr};
use inkwell::IntPredicate;

/// True if every row of a buffer starts at a multiple of 16 bytes, given that its pointer does and that its strides are
/// multiples of the row length's granule; whoever launches kernels checks both for these buffers.
pub fn rows_are_aligned(plan: &Plan, buffer: &Buffer) -> bool {
    let extent = buffer.axes.last().and_then(|axis| plan.axis(*axis)).map(|a| &a.extent);
    matches!(extent, Some(PlanExtent::Const(n)) if (*n * buffer.dtype.bytes() as i64) % 16 == 0)
}

/// How much a term grows when an axis grows by one; None if it is not affine in the axis by its form.
fn slope(terms: &RecExpr<Term>, id: Id, axis: AxisName) -> Option<i64> {
    let constant = |id: Id| match terms[id] {
        Term::Int(n) => Some(n),
        _ => None,
    };
    match &terms[id] {
        Term::Axis(a) => Some(i64::from(*a == axis)),
        Term::Int(_) | Term::Len(_) => Some(0),
        Term::IntAdd([a, b]) => slope(terms, *a, axis)?.checked_add(slope(terms, *b, axis)?),
        Term::IntSub([a, b]) => slope(terms, *a, axis)?.checked_sub(slope(terms, *b, axis)?),
        Term::IntMul([a, b]) => match (constant(*a), constant(*b)) {
            (Some(n), _) => slope(terms, *b, axis)?.checked_mul(n),
            (_, Some(n)) => slope(terms, *a, axis)?.checked_mul(n),
            _ => None,
        },
        _ => None,
    }
}

/// How threads share the chunks of a tile in a copy: `across` neighbouring threads take a row.
struct Sharing {
    across: u32,
    /// Rows that all threads cover at once.
    rows: u32,
}

impl Sharing {
    fn of(place: &Placement, threads: u32) -> Self {
        let power = 1 << place.chunks.trailing_zeros();
        let across = power.min(threads);
        Sharing { across, rows: (threads / across).max(1) }
    }
}

impl<'c> Block<'_, 'c> {
    /// A tile by its number.
    pub fn tile(&self, tile: u32) -> Result<&Tile, EmitError> {
        let missing = || EmitError::Plan(format!("there is no tile {tile}"));
        self.source.kernel.tiles.get(tile as usize).ok_or_else(missing)
    }
    /// Where a tile lies.
    pub fn placement(&self, tile: u32) -> &Placement {
        &self.layout.tiles[tile as usize]
    }
    /// Where buffer `slot` (`i32`) of a tile begins in shared memory: a byte offset, `i32`.
    pub fn tile_buffer(&self, tile: u32, slot: Value<'c>) -> Value<'c> {
        let (e, place) = (self.source.e, self.placement(tile));
        e.add(e.mul(slot, e.i32(place.bytes() as i32)), e.i32(place.offset as i32))
    }

    /// True if a tile can be copied without passing through registers.
    pub fn copyable(&self, tile: &Tile) -> bool {
        let source = &self.source;
        let Some((view, _)) = self.load_of(tile) else { return false };
        let Some(buffer) = source.plan.buffer(view) else { return false };
        let mut from_zero = true;
        visit::statements(&source.kernel.body, &mut |statement| {
            if let Statement::Loop(inner) = statement
                && inner.axis == tile.fast.axis
            {
                from_zero &= inner.walk.is_none() && matches!(source.plan.terms[inner.lo], Term::Int(0));
                from_zero &= (inner.tile as u64 * buffer.dtype.bytes()).is_multiple_of(16);
            }
        });
        tile.copy && buffer.dtype == tile.dtype && rows_are_aligned(source.plan, buffer) && from_zero
    }
    fn load_of(&self, tile: &Tile) -> Option<(crate::term::TensorName, &[Id])> {
        let terms = &self.source.plan.terms;
        let Term::Load(children) = &terms[tile.element] else { return None };
        let (first, index) = children.split_first()?;
        match (&terms[*first], index.last().map(|i| &terms[*i])) {
            (Term::Tensor(name), Some(Term::Axis(axis))) if *axis == tile.fast.axis => Some((*name, index)),
            _ => None,
        }
    }

    /// Writes a tile into buffer `slot` (`i32`): issues copies (to be committed and waited for by the caller), or computes elements.
    pub fn fill(&self, number: u32, slot: Value<'c>) -> Result<(), EmitError> {
        let (tile, place, e) = (self.tile(number)?, self.placement(number), self.source.e);
        // The constant part stays apart, so that it becomes part of the instructions.
        let buffer = self.shared_at(place.offset, e.mul(slot, e.i32(place.bytes() as i32)));
        if self.copyable(tile) { self.copy(number, buffer) } else { self.compute(number, buffer) }
    }

    fn copy(&self, number: u32, buffer: Value<'c>) -> Result<(), EmitError> {
        let (tile, place, e) = (self.tile(number)?, self.placement(number).clone(), self.source.e);
        let sharing = Sharing::of(&place, self.threads());
        let across = e.i32(sharing.across as i32);
        let (chunk, row) = (e.urem(self.thread.index, across), e.udiv(self.thread.index, across));
        let passes = place.rows.div_ceil(sharing.rows);
        let columns = place.chunks / sharing.across;

        let fast = e.add(self.column_base(tile.fast.axis), e.mul(chunk, e.i32(place.per_chunk() as i32)));
        let affine = self.affine_row_step(tile);
        let start = match affine {
            Some(_) => Some(self.copy_source(tile, row, fast)?.0),
            None => None,
        };
        // One distance, added again and again, keeps fewer registers alive than its multiples.
        let distance = affine.map(|step| {
            let step = if self.is_crowded() { e.unmoved(step) } else { step };
            e.mul(step, e.i64(i64::from(sharing.rows * place.element)))
        });
        let mut next = start;
        for pass in 0..passes {
            let here = e.add(row, e.i32((pass * sharing.rows) as i32));
            let (from, mut valid) = match (distance, next) {
                (Some(distance), Some(from)) => {
                    next = Some(e.offset(from, distance));
                    (from, self.slow_exists(tile, here)?)
                }
                _ => self.copy_source(tile, here, fast)?,
            };
            // Threads beyond the last row of the buffer have nothing to copy.
            let exists = (pass + 1) * sharing.rows <= place.rows;
            let guard = (!exists).then(|| e.begin_if(self.less(here, e.i32(place.rows as i32))));
            valid = e.and(valid, self.less(here, e.i32(self.slow_count(tile) as i32)));
            let target = self.swizzled_row(&place, buffer, here);
            for column in 0..columns {
                let step = column * sharing.across;
                let bytes = self.chunk_bytes(tile, &place, fast, chunk, step)?;
                let bytes = e.select(valid, bytes, e.i32(0));
                let to = self.swizzled(&place, target, e.add(chunk, e.i32(step as i32)), here);
                e.copy_async(to, e.offset_by(from, i64::from(step) * 16), bytes)?;
            }
            if let Some(open) = guard {
                e.end_if(open, &[]);
            }
        }
        Ok(())
    }

    /// Elements from row to row of a copied tile (`i64`), if its address is affine in the slow axis.
    fn affine_row_step(&self, tile: &Tile) -> Option<Value<'c>> {
        let TileAxis::Span(span) = &tile.slow else { return None };
        if self.is_gathered(span.axis) {
            return None;
        }
        let (name, index) = self.load_of(tile)?;
        let view = self.views.get(&name)?;
        let e = self.source.e;
        let mut step = e.i64(0);
        for (id, stride) in index.iter().zip(&view.strides) {
            let slope = slope(&self.source.plan.terms, *id, span.axis)?;
            if slope != 0 {
                step = e.add(step, e.mul(*stride, e.i64(slope)));
            }
        }
        Some(step)
    }

    /// Address of the chunk that starts at the fast coordinate `fast` of row `row` (both `i32`), and whether the row exists.
    fn copy_source(&self, tile: &Tile, row: Value<'c>, fast: Value<'c>) -> Result<(Value<'c>, Value<'c>), EmitError> {
        let e = self.source.e;
        let (name, index) = self.load_of(tile).ok_or_else(|| EmitError::Plan(format!("tile `{}`", tile.label)))?;
        let view = self.views.get(&name).cloned().ok_or_else(|| EmitError::Plan(format!("no buffer {name}")))?;
        let (place, valid) = match &tile.slow {
            TileAxis::Rows => {
                let row = self.row(row)?;
                (self.place().with_rows(&self.source.kernel.rows, &row.axes), row.valid)
            }
            TileAxis::Span(span) => {
                let value = self.column_at(span.axis, row);
                let valid = self.less(value, self.length(span.axis)?);
                (self.place().with(span.axis, value), valid)
            }
        };
        // What neither row nor thread changes comes first: one pointer stays in registers from fill to fill.
        let bytes = e.i64(view.dtype.bytes() as i64);
        let (mut fixed, mut moving) = (e.i64(0), e.to_i64(fast));
        for ((id, stride), axis) in index.iter().zip(&view.strides).zip(&view.axes) {
            let mut value = place.value(*id)?;
            if self.source.facts.reads(*id) {
                value = e.nearest_index(value, self.length(*axis)?);
            }
            let product = e.mul(e.to_i64(value), *stride);
            if self.moves(tile, *id) {
                moving = e.add(moving, product);
            } else {
                fixed = e.add(fixed, product);
            }
        }
        let start = e.offset(view.pointer, e.mul(fixed, bytes));
        Ok((e.offset(start, e.mul(moving, bytes)), valid))
    }
    /// True if a term differs between the rows of a tile.
    fn moves(&self, tile: &Tile, id: Id) -> bool {
        match &tile.slow {
            TileAxis::Rows => true,
            TileAxis::Span(span) => self.source.facts.mentions(id, span.axis),
        }
    }

    /// Rows of a tile that hold values, those past the end of an axis included.
    fn slow_count(&self, tile: &Tile) -> u32 {
        match &tile.slow {
            TileAxis::Rows => self.source.kernel.row_count(),
            TileAxis::Span(span) => span.count,
        }
    }
    fn slow_exists(&self, tile: &Tile, row: Value<'c>) -> Result<Value<'c>, EmitError> {
        match &tile.slow {
            TileAxis::Rows => Ok(self.row(row)?.valid),
            TileAxis::Span(span) => Ok(self.less(self.column_at(span.axis, row), self.length(span.axis)?)),
        }
    }

    /// Bytes to read of the chunk `step` chunks after the thread's first one, in a row that exists.
    fn chunk_bytes(
        &self,
        tile: &Tile,
        place: &Placement,
        fast: Value<'c>,
        chunk: Value<'c>,
        step: u32,
    ) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let skipped = step * place.per_chunk();
        let mut bytes = e.i32(16);
        if !self.fast_is_whole(tile) {
            let left = e.sub(e.sub(self.length(tile.fast.axis)?, fast), e.i32(skipped as i32));
            let left = e.mul(left, e.i32(place.element as i32));
            bytes = e.imax(e.imin(left, bytes), e.i32(0));
        }
        if !tile.fast.count.is_multiple_of(place.per_chunk()) {
            let first = e.add(e.mul(chunk, e.i32(place.per_chunk() as i32)), e.i32(skipped as i32));
            let left = e.mul(e.sub(e.i32(tile.fast.count as i32), first), e.i32(place.element as i32));
            bytes = e.imax(e.imin(left, bytes), e.i32(0));
        }
        Ok(bytes)
    }
    /// True if no column of a tile can lie outside its axis.
    fn fast_is_whole(&self, tile: &Tile) -> bool {
        let walked = self.loops.iter().any(|l| l.axis == tile.fast.axis && l.tile > 1);
        let gridded = self.source.kernel.grid.iter().any(|g| g.axis == tile.fast.axis && g.tile > 1);
        match self.source.constant(tile.fast.axis) {
            Some(n) if walked || gridded => n % i64::from(tile.fast.count) == 0,
            Some(n) => n >= i64::from(tile.fast.count),
            None => false,
        }
    }

    /// Start of a row of a tile.
    fn swizzled_row(&self, place: &Placement, buffer: Value<'c>, row: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        e.offset_u32(buffer, e.mul(row, e.i32(place.row_bytes as i32)))
    }
    /// Address of chunk `chunk` of a row that starts at `start`.
    fn swizzled(&self, place: &Placement, start: Value<'c>, chunk: Value<'c>, row: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let chunk = match place.group {
            1 => chunk,
            group => {
                let turn = e.shift_right_logical(row, e.i32(place.row_shift() as i32));
                e.xor(chunk, e.and(turn, e.i32(group as i32 - 1)))
            }
        };
        e.offset_u32(start, e.shift_left(chunk, e.i32(4)))
    }
    /// Address of an element of a tile in the layout of f32 tiles: row and column, `i32`.
    pub fn tile_element(&self, number: u32, buffer: Value<'c>, row: Value<'c>, column: Value<'c>) -> Value<'c> {
        let (e, place) = (self.source.e, self.placement(number));
        let start = self.swizzled_row(place, self.shared_at(0, buffer), row);
        e.offset_u32(start, e.mul(column, e.i32(place.element as i32)))
    }

    /// Computes a tile, a chunk per thread and turn.
    fn compute(&self, number: u32, buffer: Value<'c>) -> Result<(), EmitError> {
        let (tile, place, e) = (self.tile(number)?, self.placement(number).clone(), self.source.e);
        let total = e.i32((place.rows * place.chunks) as i32);
        let turn = e.begin_loop(self.thread.index, total, self.threads().into(), &[]);
        let chunks = e.i32(place.chunks as i32);
        let (row, chunk) = (e.udiv(turn.index, chunks), e.urem(turn.index, chunks));
        let local = e.mul(chunk, e.i32(place.per_chunk() as i32));
        let fast = e.add(self.column_base(tile.fast.axis), local);
        let (at, valid) = match &tile.slow {
            TileAxis::Rows => {
                let row = self.row(row)?;
                (self.place().with_rows(&self.source.kernel.rows, &row.axes), row.valid)
            }
            TileAxis::Span(span) => {
                let value = self.column_at(span.axis, row);
                let valid = e.and(self.slow_exists(tile, row)?, self.less(row, e.i32(span.count as i32)));
                (self.place().with_unchecked(span.axis, value)?, valid)
            }
        };
        let lanes = place.per_chunk();
        let whole = self.fast_is_whole(tile) && tile.fast.count.is_multiple_of(lanes);
        let mut elements = vec![];
        if whole {
            let all = at.with_ramp(tile.fast.axis, fast, lanes).value(tile.element)?;
            let all = e.splat(all, lanes);
            elements.extend((0..lanes).map(|lane| e.extract(all, lane)));
        } else {
            for lane in 0..lanes {
                let column = e.add(fast, e.i32(lane as i32));
                let value = at.clone().with_unchecked(tile.fast.axis, column)?.value(tile.element)?;
                let inside = e.icmp(IntPredicate::SLT, column, self.length(tile.fast.axis)?);
                let exists = self.less(e.add(local, e.i32(lane as i32)), e.i32(tile.fast.count as i32));
                elements.push(e.select(e.and(inside, exists), value, e.f32(0.0)));
            }
        }
        let elements: Vec<_> = elements.into_iter().map(|x| e.select(valid, x, e.f32(0.0))).collect();
        let words = match tile.dtype {
            Type::F32 => elements,
            dtype => {
                elements.chunks_exact(2).map(|pair| e.pack(dtype, pair[0], pair[1])).collect::<Result<Vec<_>, _>>()?
            }
        };
        let start = self.swizzled_row(&place, buffer, row);
        e.store(e.gather_lanes(&words), self.swizzled(&place, start, chunk, row), 16);
        e.end_loop(turn, &[]);
        Ok(())
    }

    /// The tiles that hold rows of first operands, and how many registers their fragments take.
    pub fn fragment_registers(&self, number: u32) -> Result<u32, EmitError> {
        let tile = self.tile(number)?;
        let repeat = self.fragments()?.repeat;
        Ok(repeat * tile.fast.count.div_ceil(FRAGMENT_ROWS) * 4)
    }
    /// The current buffer of a tile.
    pub fn current(&self, number: u32) -> Result<Value<'c>, EmitError> {
        let missing = || EmitError::Plan(format!("tile {number} is used before it is fetched"));
        self.buffers.get(&number).copied().ok_or_else(missing)
    }
}
