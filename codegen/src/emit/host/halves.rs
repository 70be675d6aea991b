//! Bringing operand tiles into scratch memory as bf16, in the forms that matrix registers take (see [`super::forms`]).

use super::EmitError;
use super::element::Rows;
use super::fetch::Turn;
use super::forms::Form;
use super::layout::{HALVES, LINES, REGISTER, halves};
use super::lower::Lower;
use super::matrix::Registers;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, store_type};
use crate::plan::{Span, Tile, TileAxis};
use crate::term::{AxisName, TensorName, Term, Type};
use egg::Id;
use inkwell::IntPredicate;

/// How lines lie in scratch memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// One after the other.
    Lines,
    /// In parts of 32 values, in registers.
    Registers,
}

impl Lie {
    /// Bytes from one part of a line to the next.
    fn part(self) -> i64 {
        if self == Lie::Lines { 64 } else { REGISTER }
    }
}

impl<'a, 'c> Lower<'a, 'c> {
    /// Where the registers of a tile of lines are.
    pub(super) fn lines_of(&self, tile: u32) -> Registers<'c> {
        let own = || {
            let parts = i64::from(halves(self.kernel.tiles[tile as usize].fast.count) / HALVES);
            let start = self.at(self.scratch.tiles[tile as usize], self.e.i64(0), 1);
            Registers::packed(self.e, start, REGISTER, parts * REGISTER)
        };
        self.borrowed[tile as usize].unwrap_or_else(own)
    }

    /// As [`Lower::fetch`], for a tile with a form of matrix registers.
    pub(super) fn fetch_halves(&mut self, number: u32, tile: &'a Tile) -> Result<(), EmitError> {
        let form = self.scratch.forms.tiles[number as usize];
        let own = self.scratch.tiles[number as usize];
        match (&tile.slow, form) {
            (TileAxis::Rows, _) => {
                if form == Form::Lines {
                    return self.row_lines(tile, own, Lie::Registers);
                }
                self.row_lines(tile, self.scratch.untiled, Lie::Lines)?;
                // A pair moves like one f32.
                self.turn(self.scratch.untiled, own, halves(tile.fast.count) / 2, Turn::ToPanels);
                Ok(())
            }
            (TileAxis::Span(slow), Form::Pairs) => self.fetch_pairs(number, tile, slow),
            (TileAxis::Span(slow), _) => self.fetch_lines(number, tile, slow),
        }
    }

    /// A line per row.
    fn row_lines(&mut self, tile: &Tile, base: u64, lie: Lie) -> Result<(), EmitError> {
        let e = self.e;
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.padded_rows.into()), 1, &[]);
        self.line(tile, None, Rows::One(open.index), self.line_at(tile, base, open.index, lie), lie)?;
        e.end_loop(open, &[]);
        Ok(())
    }

    /// A line per value of the slow axis. Where it is used once and lies in memory as it should, it stays there.
    fn fetch_lines(&mut self, number: u32, tile: &'a Tile, slow: &Span) -> Result<(), EmitError> {
        let e = self.e;
        let base = self.scratch.tiles[number as usize];
        let once = self.scratch.padded_rows == self.scratch.panel;
        let registers = slow.count.is_multiple_of(LINES) && tile.fast.count.is_multiple_of(HALVES);
        if !(once && registers && self.is_copied(tile)? && self.is_regular(tile, slow)) {
            self.borrowed[number as usize] = None;
            return self.copy_lines(number, tile, slow, base, Lie::Registers);
        }
        let first = self.column_base(slow.axis);
        let (_, start) = self.row_address(tile, Some((slow.axis, first)), Rows::Block)?;
        let (_, second) = self.row_address(tile, Some((slow.axis, e.add(first, e.i32(1)))), Rows::Block)?;
        let line = e.sub(e.address(second), e.address(start));
        let there = [start, line, e.i64(64), e.mul(line, e.i64(LINES.into()))];
        let place = match self.whole(slow)? {
            None => {
                self.prefetch_next(number, slow)?;
                there.to_vec()
            }
            Some(whole) => {
                self.borrowed[number as usize] = None;
                let Registers { start, line, deeper, across } = self.lines_of(number);
                let mut conditional = e.begin_if(whole);
                self.prefetch_next(number, slow)?;
                e.begin_else(&mut conditional, &there);
                self.copy_lines(number, tile, slow, base, Lie::Registers)?;
                e.end_if(conditional, &[start, line, deeper, across])
            }
        };
        let [start, line, deeper, across] = [0, 1, 2, 3].map(|i| place[i]);
        self.borrowed[number as usize] = Some(Registers { start, line, deeper, across });
        Ok(())
    }

    /// Has the lines of the next tile brought closer, where this tile does not come in itself.
    fn prefetch_next(&self, number: u32, slow: &Span) -> Result<(), EmitError> {
        let e = self.e;
        let Some((next, base)) = self.next_tile(number) else { return Ok(()) };
        let open = e.begin_loop(e.i32(0), e.i32(slow.count as i32), 1, &[]);
        self.prefetch_row(next, e.add(base, open.index))?;
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Writes a line per value of the slow axis; zeros beyond its length.
    fn copy_lines(&mut self, number: u32, tile: &'a Tile, slow: &Span, base: u64, lie: Lie) -> Result<(), EmitError> {
        let e = self.e;
        let next = self.next_tile(number);
        let open = e.begin_loop(e.i64(0), e.i64(slow.count.into()), 1, &[]);
        if let Some((next, base)) = next {
            self.prefetch_row(next, e.add(base, e.to_i32(open.index)))?;
        }
        let value = e.add(self.column_base(slow.axis), e.to_i32(open.index));
        let to = self.line_at(tile, base, open.index, lie);
        if self.loose(slow) {
            let mut inside = e.begin_if(self.column_inside(slow.axis, value)?);
            self.line(tile, Some((slow.axis, value)), Rows::Block, to, lie)?;
            e.begin_else(&mut inside, &[]);
            self.zeros(to, halves(tile.fast.count) / HALVES, lie.part());
            e.end_if(inside, &[]);
        } else {
            self.line(tile, Some((slow.axis, value)), Rows::Block, to, lie)?;
        }
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Pairs of neighbouring values of the slow axis.
    fn fetch_pairs(&mut self, number: u32, tile: &'a Tile, slow: &Span) -> Result<(), EmitError> {
        let e = self.e;
        if !(slow.count.is_multiple_of(2) && self.is_copied(tile)?) {
            return self.pair_lines(number, tile, slow);
        }
        let Some(whole) = self.whole(slow)? else { return self.pair_directly(number, tile, slow) };
        let mut conditional = e.begin_if(whole);
        self.pair_directly(number, tile, slow)?;
        e.begin_else(&mut conditional, &[]);
        self.pair_lines(number, tile, slow)?;
        e.end_if(conditional, &[]);
        Ok(())
    }
    /// Pairs from the lines of a buffer, all of which exist.
    fn pair_directly(&mut self, number: u32, tile: &'a Tile, slow: &Span) -> Result<(), EmitError> {
        let e = self.e;
        let own = self.scratch.tiles[number as usize];
        let next = self.next_tile(number);
        let open = e.begin_loop(e.i64(0), e.i64((slow.count / 2).into()), 1, &[]);
        let mut sources = Vec::new();
        for i in 0..2 {
            let at = e.add(e.to_i32(e.mul(open.index, e.i64(2))), e.i32(i));
            let value = e.add(self.column_base(slow.axis), at);
            sources.push(self.row_address(tile, Some((slow.axis, value)), Rows::Block)?.1);
            if let Some((next, base)) = next {
                self.prefetch_row(next, e.add(base, at))?;
            }
        }
        self.interleave(sources[0], sources[1], self.pairs_at(tile, own, open.index), tile.fast.count);
        e.end_loop(open, &[]);
        if !slow.count.is_multiple_of(HALVES) {
            let (first, end) = (slow.count / 2, halves(slow.count) / 2);
            let open = e.begin_loop(e.i64(first.into()), e.i64(end.into()), 1, &[]);
            let to = self.pairs_at(tile, own, open.index);
            self.zeros(to, halves(tile.fast.count) / LINES, REGISTER);
            e.end_loop(open, &[]);
        }
        Ok(())
    }
    /// Pairs from lines that are written first.
    fn pair_lines(&mut self, number: u32, tile: &'a Tile, slow: &Span) -> Result<(), EmitError> {
        let e = self.e;
        let (lines, own) = (self.scratch.untiled, self.scratch.tiles[number as usize]);
        let width = halves(tile.fast.count);
        self.copy_lines(number, tile, slow, lines, Lie::Lines)?;
        let missing = halves(slow.count) - slow.count;
        let end = self.line_at(tile, lines, e.i64(slow.count.into()), Lie::Lines);
        self.zeros(end, missing * width / HALVES, Lie::Lines.part());
        let open = e.begin_loop(e.i64(0), e.i64((halves(slow.count) / 2).into()), 1, &[]);
        let first = self.line_at(tile, lines, e.mul(open.index, e.i64(2)), Lie::Lines);
        let second = e.offset(first, e.i64(i64::from(width) * 2));
        self.interleave(first, second, self.pairs_at(tile, own, open.index), width);
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Whether a tile's lines are whole vectors of bf16 in a buffer, all of which exist wherever the line does.
    fn is_copied(&self, tile: &Tile) -> Result<bool, EmitError> {
        let vectors = tile.fast.count.is_multiple_of(LINES);
        if !tile.copy || self.loose(&tile.fast) || !vectors {
            return Ok(false);
        }
        let Some((buffer, _)) = self.load_of(tile) else { return Ok(false) };
        match self.block.views.get(&buffer) {
            Some(view) => Ok(view.dtype == Type::Bf16),
            None => Err(EmitError::Plan(format!("the kernel has no buffer {buffer}"))),
        }
    }
    /// Whether neighbouring lines of a tile that is copied are always equally far apart.
    fn is_regular(&self, tile: &Tile, slow: &Span) -> bool {
        let Some((_, index)) = self.load_of(tile) else { return false };
        let own = |id: &Id| matches!(self.plan.terms[*id], Term::Axis(axis) if axis == slow.axis);
        let along = index.iter().filter(|id| own(id)).count();
        along == 1 && index.iter().all(|id| own(id) || !self.facts.mentions(*id, slow.axis))
    }
    /// The buffer and the index that a tile is loaded from, if it is a plain load.
    fn load_of(&self, tile: &Tile) -> Option<(TensorName, &'a [Id])> {
        let Term::Load(children) = &self.plan.terms[tile.element] else { return None };
        let (tensor, index) = children.split_first()?;
        match &self.plan.terms[*tensor] {
            Term::Tensor(name) => Some((*name, index)),
            _ => None,
        }
    }
    /// Whether all values of a span lie inside its axis; None: always.
    fn whole(&self, slow: &Span) -> Result<Option<Value<'c>>, EmitError> {
        let e = self.e;
        if !self.loose(slow) {
            return Ok(None);
        }
        let end = e.add(self.column_base(slow.axis), e.i32(slow.count as i32));
        Ok(Some(e.icmp(IntPredicate::SLE, end, self.length(slow.axis)?)))
    }

    /// Line `index` (`i64`) in scratch memory.
    fn line_at(&self, tile: &Tile, base: u64, index: Value<'c>, lie: Lie) -> Value<'c> {
        let width = halves(tile.fast.count);
        match lie {
            Lie::Lines => self.at(base, index, i64::from(width) * 2),
            Lie::Registers => self.line_of_registers(base, index, width / HALVES),
        }
    }
    /// The pairs `index` (`i64`) of the slow axis in scratch memory; neighbouring registers of them follow each other.
    fn pairs_at(&self, tile: &Tile, base: u64, index: Value<'c>) -> Value<'c> {
        self.line_of_registers(base, index, halves(tile.fast.count) / LINES)
    }
    /// Line `index` of rows of `count` registers each.
    fn line_of_registers(&self, base: u64, index: Value<'c>, count: u32) -> Value<'c> {
        let e = self.e;
        let lines = e.i64(LINES.into());
        let row = e.mul(e.floor_div(index, lines), e.i64(i64::from(count) * REGISTER));
        self.at(base, e.add(row, e.mul(e.floor_rem(index, lines), e.i64(64))), 1)
    }

    /// One line: a tile's values along its fast axis, then zeros.
    fn line(
        &mut self,
        tile: &Tile,
        slow: Option<(AxisName, Value<'c>)>,
        rows: Rows<'c>,
        to: Value<'c>,
        lie: Lie,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let count = tile.fast.count;
        if self.is_copied(tile)? {
            let (_, from) = self.row_address(tile, slow, rows)?;
            for first in (0..count).step_by(HALVES as usize) {
                let vector = self.load_halves(e.offset(from, e.i64(i64::from(first) * 2)), count - first);
                e.store(vector, e.offset(to, e.i64(i64::from(first / HALVES) * lie.part())), 64);
            }
            return Ok(());
        }
        self.zeros(to, halves(count) / HALVES, lie.part());
        self.each_column(&tile.fast, &mut |column, lanes| {
            let mut element = self.element(lanes, rows, Some(column));
            element.fixed = slow;
            let value = Evaluator::new(e, self.plan, self.facts, &element).lanes(tile.element)?;
            let value = store_type(e, &element, Type::Bf16, value);
            let part = e.mul(e.floor_div(column.at, e.i64(HALVES.into())), e.i64(lie.part()));
            let within = e.mul(e.floor_rem(column.at, e.i64(HALVES.into())), e.i64(2));
            e.store(value, e.offset(to, e.add(part, within)), 2);
            Ok(())
        })
    }

    /// A vector of 32 bf16 values in memory, of which `present` (16, or 32 and more) exist; zeros after them.
    fn load_halves(&self, from: Value<'c>, present: u32) -> Value<'c> {
        let e = self.e;
        let vector = |lanes| e.lanes_of(e.i16_type().into(), lanes);
        if present >= HALVES {
            return e.load(vector(HALVES), from, 2);
        }
        let half = e.load(vector(LINES), from, 2);
        let zero = e.int_like(half, 0);
        e.shuffle(half, zero, &(0..HALVES).collect::<Vec<_>>())
    }
    /// Zeros for `count` vectors, `step` bytes apart.
    fn zeros(&self, to: Value<'c>, count: u32, step: i64) {
        let e = self.e;
        if count == 0 {
            return;
        }
        let zero = e.f32_like(self.vector_type().const_zero(), 0.0);
        let open = e.begin_loop(e.i64(0), e.i64(count.into()), 1, &[]);
        e.store(zero, e.offset(to, e.mul(open.index, e.i64(step))), 64);
        e.end_loop(open, &[]);
    }

    /// Two lines of `count` values as a line of registers of pairs, in the order of [`super::layout::in_pairs`].
    fn interleave(&self, a: Value<'c>, b: Value<'c>, to: Value<'c>, count: u32) {
        let e = self.e;
        for first in (0..count).step_by(HALVES as usize) {
            let vector = |from| self.load_halves(e.offset(from, e.i64(i64::from(first) * 2)), count - first);
            let (a, b) = (vector(a), vector(b));
            for upper in 0..2 {
                let pick: Vec<u32> = (0..LINES)
                    .map(|at| at / 4 * 8 + upper * 4 + at % 4)
                    .flat_map(|column| [column, HALVES + column])
                    .collect();
                let place = i64::from(first / LINES + upper) * REGISTER;
                e.store(e.shuffle(a, b, &pick), e.offset(to, e.i64(place)), 64);
            }
        }
    }
}
