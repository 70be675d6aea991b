//! Bringing operand tiles into scratch memory as f32, and turning what lies rows-first.
//!
//! While a tile of a loop comes in, the tile that comes after it is on its way to the second-level cache: rows of keys lie far
//! apart, and blocks of a list anywhere, where hardware prefetches nothing.

use super::EmitError;
use super::block::constant;
use super::element::Rows;
use super::forms::Form;
use super::layout::{padded, tile_stride};
use super::lower::Lower;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, View, load_lanes};
use crate::plan::{Statement, Tile, TileAxis, Var};
use crate::term::{AxisName, Type};

/// Vectors per iteration of a copy, where they divide: enough independent loads to wait for several cache lines at once.
const UNROLL: u32 = 8;
/// Bytes of a cache line on x86-64; aarch64 has lines of 64 or 128.
const CACHE_LINE: usize = 64;

impl<'a, 'c> Lower<'a, 'c> {
    /// Evaluates a tile's elements. Their f32 values are kept: nothing is rounded to the tile's type.
    pub(super) fn fetch(&mut self, number: u32) -> Result<(), EmitError> {
        let Some(tile) = self.kernel.tiles.get(number as usize) else {
            return Err(EmitError::Plan(format!("no tile {number}")));
        };
        match &tile.slow {
            TileAxis::Rows if self.scratch.forms.matrix() => {
                self.prefetch_rows_ahead(tile)?;
                match self.scratch.forms.tiles[number as usize] {
                    Form::Floats => self.fetch_rows(number, tile),
                    _ => self.fetch_halves(number, tile),
                }
            }
            _ if self.scratch.forms.tiles[number as usize] != Form::Floats => self.fetch_halves(number, tile),
            TileAxis::Rows => self.fetch_rows(number, tile),
            TileAxis::Span(slow) => {
                let e = self.e;
                let stride = i64::from(tile_stride(tile));
                let base = self.scratch.tiles[number as usize];
                let next = self.next_tile(number);
                let open = e.begin_loop(e.i64(0), e.i64(slow.count.into()), 1, &[]);
                if let Some((next, base)) = next {
                    self.prefetch_row(next, e.add(base, e.to_i32(open.index)))?;
                }
                let start = e.mul(open.index, e.i64(stride));
                let value = e.add(self.column_base(slow.axis), e.to_i32(open.index));
                if self.loose(slow) {
                    let mut inside = e.begin_if(self.column_inside(slow.axis, value)?);
                    self.fetch_fast(tile, Some((slow.axis, value)), Rows::Block, base, start)?;
                    e.begin_else(&mut inside, &[]);
                    self.clear(base, start, tile.fast.count);
                    e.end_if(inside, &[]);
                } else {
                    self.fetch_fast(tile, Some((slow.axis, value)), Rows::Block, base, start)?;
                }
                e.end_loop(open, &[]);
                Ok(())
            }
        }
    }

    /// The fast axis of a tile at one slow value, to consecutive floats from `start` on; zeros beyond the axis's length.
    fn fetch_fast(
        &mut self,
        tile: &Tile,
        slow: Option<(AxisName, Value<'c>)>,
        rows: Rows<'c>,
        base: u64,
        start: Value<'c>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        if tile.copy && !self.loose(&tile.fast) && tile.fast.count.is_multiple_of(self.scratch.lanes) {
            return self.copy_fast(tile, slow, rows, base, start);
        }
        if self.loose(&tile.fast) {
            self.clear(base, start, tile.fast.count);
        }
        self.each_column(&tile.fast, &mut |column, lanes| {
            let mut element = self.element(lanes, rows, Some(column));
            element.fixed = slow;
            let value = Evaluator::new(e, self.plan, self.facts, &element).lanes(tile.element)?;
            e.store(value, self.at(base, e.add(start, column.at), 4), 4);
            Ok(())
        })
    }
    /// As [`Self::fetch_fast`] where elements are consecutive in memory and all exist: one address, several vectors at a time.
    fn copy_fast(
        &mut self,
        tile: &Tile,
        slow: Option<(AxisName, Value<'c>)>,
        rows: Rows<'c>,
        base: u64,
        start: Value<'c>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let (view, from) = self.row_address(tile, slow, rows)?;
        let to = self.at(base, start, 4);
        let lanes = self.scratch.lanes;
        let vectors = tile.fast.count / lanes;
        let together = (1..=UNROLL).rev().find(|n| vectors.is_multiple_of(*n)).unwrap_or(1);
        let open = e.begin_loop(e.i64(0), e.i64(tile.fast.count.into()), (together * lanes).into(), &[]);
        let bytes = view.dtype.bytes() as i64;
        let (from, to) = (e.offset(from, e.mul(open.index, e.i64(bytes))), e.offset(to, e.mul(open.index, e.i64(4))));
        let element = self.element(lanes, rows, None);
        for vector in 0..i64::from(together) {
            let first = vector * i64::from(lanes);
            let value = load_lanes(e, &element, view.dtype, e.offset(from, e.i64(first * bytes)));
            e.store(value, e.offset(to, e.i64(first * 4)), 4);
        }
        e.end_loop(open, &[]);
        Ok(())
    }

    /// The address of the first element of a row of a tile that is copied, and its buffer.
    pub(super) fn row_address(
        &self,
        tile: &Tile,
        slow: Option<(AxisName, Value<'c>)>,
        rows: Rows<'c>,
    ) -> Result<(View<'c>, Value<'c>), EmitError> {
        let column = self.column(&tile.fast, self.e.i64(0));
        let mut element = self.element(1, rows, Some(column));
        element.fixed = slow;
        Evaluator::new(self.e, self.plan, self.facts, &element).address(tile.element)
    }

    /// The tile that is fetched after this one in the innermost loop, and where it begins; None where that is not known.
    pub(super) fn next_tile(&self, number: u32) -> Option<(&'a Tile, Value<'c>)> {
        let open = self.loops.last()?;
        let place = open.fetches.iter().position(|tile| *tile == number)?;
        if self.scratch.forms.matrix() {
            // Tiles come in one after the other, so that the time to prefetch one is that of a whole iteration.
            let tile = self.kernel.tiles.get(number as usize)?;
            let walked = matches!(&tile.slow, TileAxis::Span(span) if span.axis == open.axis);
            return (walked && tile.copy).then_some((tile, open.next));
        }
        let (next, base) = match open.fetches.get(place + 1) {
            Some(next) => (*next, open.base),
            None => (open.fetches[0], open.next),
        };
        let tile = self.kernel.tiles.get(next as usize)?;
        let walked = matches!(&tile.slow, TileAxis::Span(span) if span.axis == open.axis);
        (walked && tile.copy).then_some((tile, base))
    }

    /// Has a row of a tile brought into the second-level cache. It need not exist: nothing is read.
    pub(super) fn prefetch_row(&self, tile: &Tile, value: Value<'c>) -> Result<(), EmitError> {
        let TileAxis::Span(slow) = &tile.slow else { return Ok(()) };
        let (view, first) = self.row_address(tile, Some((slow.axis, value)), Rows::Block)?;
        self.prefetch_line(first, tile.fast.count, view.dtype)
    }
    /// Has consecutive elements brought into the second-level cache.
    fn prefetch_line(&self, first: Value<'c>, count: u32, dtype: Type) -> Result<(), EmitError> {
        let e = self.e;
        let bytes = i64::from(count) * dtype.bytes() as i64;
        for line in (0..bytes).step_by(CACHE_LINE) {
            e.prefetch(e.offset(first, e.i64(line)))?;
        }
        Ok(())
    }

    /// Has the rows of the next block's row tile brought closer, which this block's work then hides.
    pub(super) fn prefetch_rows_ahead(&self, tile: &Tile) -> Result<(), EmitError> {
        let e = self.e;
        let Some(axis) = self.kernel.grid.last().map(|g| g.axis).filter(|a| constant(self.plan, *a).is_none()) else {
            return Ok(());
        };
        if !(tile.copy && self.loops.is_empty()) {
            return Ok(());
        }
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.rows.into()), 1, &[]);
        let own = match self.kernel.rows.iter().position(|span| span.axis == axis) {
            Some(index) => e.load(e.i32_type().into(), self.at(self.scratch.coordinates[index], open.index, 4), 4),
            None => self.row_first(axis),
        };
        let value = e.add(own, self.block.ahead);
        let (view, first) = self.row_address(tile, Some((axis, value)), Rows::One(open.index))?;
        self.prefetch_line(first, tile.fast.count, view.dtype)?;
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Has the rows of results that this block will add to, or write, brought closer before it begins.
    pub(super) fn prefetch_results(&self) -> Result<(), EmitError> {
        let e = self.e;
        for statement in &self.kernel.body {
            let Statement::Store { buffer, index, rows: true, columns: Some(span), .. } = statement else { continue };
            let Some(view) = self.block.views.get(buffer) else { continue };
            if !self.is_last(index, span) || index.iter().any(|id| self.facts.reads(*id)) {
                continue;
            }
            let open = e.begin_loop(e.i64(0), e.i64(self.scratch.rows.into()), 1, &[]);
            let element = self.element(1, Rows::One(open.index), Some(self.column(span, e.i64(0))));
            let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
            let place = index.iter().map(|id| evaluator.plain(*id)).collect::<Result<Vec<_>, _>>()?;
            self.prefetch_line(self.address(view, &place), span.count, view.dtype)?;
            e.end_loop(open, &[]);
        }
        Ok(())
    }

    /// Zeros.
    fn clear(&self, base: u64, start: Value<'c>, count: u32) {
        let e = self.e;
        let open = e.begin_loop(e.i64(0), e.i64(count.into()), 1, &[]);
        e.store(e.f32(0.0), self.at(base, e.add(start, open.index), 4), 4);
        e.end_loop(open, &[]);
    }

    /// A tile of rows: evaluated row by row along the fast axis, then turned into panels.
    fn fetch_rows(&mut self, number: u32, tile: &Tile) -> Result<(), EmitError> {
        let e = self.e;
        let columns = padded(tile.fast.count);
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.padded_rows.into()), 1, &[]);
        let start = e.mul(open.index, e.i64(columns.into()));
        self.fetch_fast(tile, None, Rows::One(open.index), self.scratch.untiled, start)?;
        e.end_loop(open, &[]);
        self.turn(self.scratch.untiled, self.scratch.tiles[number as usize], columns, Turn::ToPanels);
        Ok(())
    }

    /// Copies a variable with rows and columns to `[row][column]`.
    pub(super) fn turn_variable(&self, var: Var) -> Result<(), EmitError> {
        if self.scratch.forms.lines[var as usize] {
            return self.order_columns(var);
        }
        let columns = self.variable(var)?.columns.as_ref().map_or(1, |c| padded(c.count));
        let (from, to) = (self.scratch.variables[var as usize], self.scratch.turned[var as usize]);
        self.turn(from, to, columns, Turn::FromPanels);
        Ok(())
    }

    /// Copies between `[row][column]` and panels, a square of one vector's width at a time.
    pub(super) fn turn(&self, from: u64, to: u64, columns: u32, direction: Turn) {
        let e = self.e;
        let lanes = self.scratch.lanes;
        let rows = e.begin_loop(e.i64(0), e.i64(self.scratch.padded_rows.into()), lanes.into(), &[]);
        let square = e.begin_loop(e.i64(0), e.i64(columns.into()), lanes.into(), &[]);
        let row_major = |base: u64, i: u32| {
            let row = e.add(rows.index, e.i64(i.into()));
            self.at(base, e.add(e.mul(row, e.i64(columns.into())), square.index), 4)
        };
        let panel = |base: u64, i: u32| {
            let column = e.add(square.index, e.i64(i.into()));
            self.at(base, self.panel_offset(rows.index, columns, column), 4)
        };
        let source = |i| match direction {
            Turn::ToPanels => row_major(from, i),
            Turn::FromPanels => panel(from, i),
        };
        let target = |i| match direction {
            Turn::ToPanels => panel(to, i),
            Turn::FromPanels => row_major(to, i),
        };
        let vectors: Vec<_> = (0..lanes).map(|i| e.load(self.vector_type(), source(i), 4)).collect();
        for (i, vector) in self.transposed(vectors).into_iter().enumerate() {
            e.store(vector, target(i as u32), 4);
        }
        e.end_loop(square, &[]);
        e.end_loop(rows, &[]);
    }

    /// The transpose of a square of lanes (a power of two of them, at least 4).
    pub(super) fn transposed(&self, mut vectors: Vec<Value<'c>>) -> Vec<Value<'c>> {
        let lanes = self.scratch.lanes;
        // Squares of four by interleaving, which every instruction set has an instruction for.
        for four in vectors.chunks_exact_mut(4) {
            let interleave = |a, b, pick: [u32; 4]| {
                let pick: Vec<u32> = (0..lanes / 4)
                    .flat_map(|part| pick.map(|i| 4 * part + i % 4 + if i < 4 { 0 } else { lanes }))
                    .collect();
                self.e.shuffle(a, b, &pick)
            };
            let (low, high) = ([0, 4, 1, 5], [2, 6, 3, 7]);
            let (first, second) = ([0, 1, 4, 5], [2, 3, 6, 7]);
            let [a, b] = [low, high].map(|pick| interleave(four[0], four[1], pick));
            let [c, d] = [low, high].map(|pick| interleave(four[2], four[3], pick));
            four.copy_from_slice(&[
                interleave(a, c, first),
                interleave(a, c, second),
                interleave(b, d, first),
                interleave(b, d, second),
            ]);
        }
        // Swapping blocks of `half` between vectors `half` apart transposes the grid of these squares, level by level.
        let mut half = lanes / 2;
        while half >= 4 {
            let keep: Vec<u32> = (0..lanes).map(|l| if l & half == 0 { l } else { lanes + l - half }).collect();
            let swap: Vec<u32> = (0..lanes).map(|l| if l & half == 0 { l + half } else { lanes + l }).collect();
            for i in (0..lanes).filter(|i| i & half == 0) {
                let (a, b) = (vectors[i as usize], vectors[(i + half) as usize]);
                vectors[i as usize] = self.e.shuffle(a, b, &keep);
                vectors[(i + half) as usize] = self.e.shuffle(a, b, &swap);
            }
            half /= 2;
        }
        vectors
    }
}

/// Which way [`Lower::turn`] copies.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    ToPanels,
    FromPanels,
}
