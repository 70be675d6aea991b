//! Lists of the best values of an axis: one warp per row combination, candidates over lanes.
//!
//! A candidate is a 64-bit key: in the high half its score in an order-preserving form (forced ones above all), in the low
//! half the complement of its index, so that of equal scores the lowest index is largest. 0 is no candidate. A warp keeps its
//! list sorted, largest first, 32 keys per register; 32 new keys are sorted and merged into it by bitonic networks, unless
//! none of them beats the least that counts.

use super::block::Block;
use super::shape::WARP;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::Span;
use crate::term::TensorName;
use egg::Id;
use inkwell::{FloatPredicate, IntPredicate};

/// Longest list.
const LONGEST: u32 = 128;

/// The registers of a list.
pub(super) struct Keys<'c> {
    /// By turn of the warp, then by 32 keys.
    cells: Vec<Vec<Value<'c>>>,
    count: u32,
}

impl<'a, 'c> Block<'a, 'c> {
    /// Empty lists. The builder stands in the entry block.
    pub fn make_lists(&mut self) -> Result<(), EmitError> {
        let e = self.source.e;
        for list in &self.source.kernel.lists {
            if list.count == 0 || list.count > LONGEST {
                return Err(EmitError::Plan(format!("a list of {} values", list.count)));
            }
            let combinations: u32 = list.rows.iter().map(|s| s.count).product();
            let turns = combinations.div_ceil(self.threads() / WARP);
            let registers = list.count.div_ceil(WARP).next_power_of_two();
            let mut cells = vec![];
            for _ in 0..turns {
                let keys: Vec<_> = (0..registers).map(|_| e.register(e.i64_type().into())).collect();
                keys.iter().for_each(|key| e.store(e.i64(0), *key, 8));
                cells.push(keys);
            }
            self.lists.push(Keys { cells, count: list.count });
        }
        Ok(())
    }

    /// Row combination that the warp works on in a turn, and whether there is one.
    fn list_row(&self, list: u32, turn: usize) -> Result<(super::block::Row<'c>, Value<'c>), EmitError> {
        let e = self.source.e;
        let warps = self.threads() / WARP;
        let index = e.add(self.thread.warp, e.i32((turn as u32 * warps) as i32));
        let row = self.combination(&self.source.kernel.lists[list as usize].rows, index)?;
        let exists = row.valid;
        Ok((row, exists))
    }
    fn list_keys(&self, list: u32) -> Result<&Keys<'c>, EmitError> {
        self.lists.get(list as usize).ok_or_else(|| EmitError::Plan(format!("there is no list {list}")))
    }

    /// Emits [`crate::plan::Statement::Insert`].
    pub fn insert(&self, list: u32, columns: &Span, score: Id, force: Id, among: Id) -> Result<(), EmitError> {
        let e = self.source.e;
        let rows = &self.source.kernel.lists.get(list as usize).map(|l| l.rows.clone()).unwrap_or_default();
        for turn in 0..self.list_keys(list)?.cells.len() {
            let (row, exists) = self.list_row(list, turn)?;
            let open = e.begin_if(exists);
            for start in (0..columns.count).step_by(WARP as usize) {
                let local = e.add(self.thread.lane, e.i32(start as i32));
                // Lanes past the tile repeat its last value: what they would read is not staged yet.
                let inside = e.imin(local, e.i32(columns.count as i32 - 1));
                let value = e.add(self.column_base(columns.axis), inside);
                let place = self.place().with_unchecked(columns.axis, value)?.with_rows(rows, &row.axes);
                let values = place.values(&[score, force, among])?;
                let candidate = e.and(values[2], self.less(local, e.i32(columns.count as i32)));
                let candidate = e.and(candidate, self.less(value, self.length(columns.axis)?));
                let key = self.key(values[0], values[1], candidate, value);
                self.take_in(list, turn, key)?;
            }
            e.end_if(open, &[]);
        }
        Ok(())
    }

    fn key(&self, score: Value<'c>, forced: Value<'c>, candidate: Value<'c>, index: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let nan = e.fcmp(FloatPredicate::UNO, score, score);
        // Adding +0 makes -0 equal to it.
        let score = e.select(nan, e.f32(f32::NEG_INFINITY), e.fadd(score, e.f32(0.0)));
        let bits = e.bits_as(score, e.i32_type().into());
        // Negative numbers: all bits turned; others: the sign bit.
        let turn = e.or(e.shift_right(bits, e.i32(31)), e.i32(i32::MIN));
        let order = e.select(forced, e.i32(-1), e.xor(bits, turn));
        let wide = e.i64_type().into();
        let high = e.shift_left(e.zero_extend(order, wide), e.i64(32));
        let low = e.zero_extend(e.xor(index, e.i32(-1)), wide);
        e.select(candidate, e.or(high, low), e.i64(0))
    }

    /// Merges one key per lane into a list.
    fn take_in(&self, list: u32, turn: usize, key: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        let keys = self.list_keys(list)?;
        let (cells, last) = (&keys.cells[turn], keys.count - 1);
        let wide = e.i64_type().into();
        let least = e.load(wide, cells[(last / WARP) as usize], 8);
        let least = e.shuffle_from(least, e.i32((last % WARP) as i32))?;
        let better = e.icmp(IntPredicate::UGT, key, least);
        let open = e.begin_if(e.icmp(IntPredicate::NE, e.ballot(better)?, e.i32(0)));
        // Ascending against descending: the larger of each pair are the 32 largest, as a bitonic sequence.
        let sorted = self.sort(vec![key], IntPredicate::ULT)?[0];
        let tail = cells.len() - 1;
        let kept = self.pick(IntPredicate::UGT, e.load(wide, cells[tail], 8), sorted);
        let mut lower = self.unfold(kept)?;
        for register in (0..tail).rev() {
            let turned = e.shuffle_xor(lower, WARP - 1)?;
            let upper = e.load(wide, cells[register], 8);
            let rest = self.pick(IntPredicate::ULT, upper, turned);
            let best = self.pick(IntPredicate::UGT, upper, turned);
            e.store(self.unfold(rest)?, cells[register + 1], 8);
            lower = self.unfold(best)?;
        }
        e.store(lower, cells[0], 8);
        e.end_if(open, &[]);
        Ok(())
    }

    /// Of two values the one for which the predicate holds.
    fn pick(&self, predicate: IntPredicate, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        e.select(e.icmp(predicate, a, b), a, b)
    }
    /// Sorts a bitonic sequence over the lanes, largest first.
    fn unfold(&self, mut x: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        for distance in [16, 8, 4, 2, 1] {
            let other = e.shuffle_xor(x, distance)?;
            let first = e.icmp(IntPredicate::EQ, e.and(self.thread.lane, e.i32(distance as i32)), e.i32(0));
            x = e.select(first, self.pick(IntPredicate::UGT, x, other), self.pick(IntPredicate::ULT, x, other));
        }
        Ok(x)
    }
    /// Sorts over registers and lanes by a bitonic network; `before` holds for what comes first.
    fn sort(&self, mut keys: Vec<Value<'c>>, before: IntPredicate) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.source.e;
        let after = if before == IntPredicate::ULT { IntPredicate::UGT } else { IntPredicate::ULT };
        let total = keys.len() as u32 * WARP;
        // True where an element's number lacks a bit.
        let lacks = |bit: u32, register: u32| -> Value<'c> {
            if bit >= WARP {
                return e.bool(register & (bit / WARP) == 0);
            }
            e.icmp(IntPredicate::EQ, e.and(self.thread.lane, e.i32(bit as i32)), e.i32(0))
        };
        let mut size = 2;
        while size <= total {
            let mut distance = size / 2;
            while distance > 0 {
                let old = keys.clone();
                for register in 0..keys.len() as u32 {
                    let mine = old[register as usize];
                    let other = match distance >= WARP {
                        true => old[(register ^ (distance / WARP)) as usize],
                        false => e.shuffle_xor(mine, distance)?,
                    };
                    // In the last round every run goes one way; before, runs alternate.
                    let forward = if size == total { e.bool(true) } else { lacks(size, register) };
                    let wants_first = e.icmp(IntPredicate::EQ, lacks(distance, register), forward);
                    let (first, last) = (self.pick(before, mine, other), self.pick(after, mine, other));
                    keys[register as usize] = e.select(wants_first, first, last);
                }
                distance /= 2;
            }
            size *= 2;
        }
        Ok(keys)
    }

    /// Emits [`crate::plan::Statement::StoreList`].
    pub fn store_list(&self, list: u32, buffer: TensorName, index: &[Id]) -> Result<(), EmitError> {
        let e = self.source.e;
        let keys = self.list_keys(list)?;
        let view = self.views.get(&buffer).cloned();
        let view = view.ok_or_else(|| EmitError::Plan(format!("there is no buffer {buffer}")))?;
        if index.len() != view.strides.len() {
            return Err(EmitError::Plan(format!("{buffer} does not have {} axes and a list", index.len())));
        }
        let rows = self.source.kernel.lists[list as usize].rows.clone();
        for (turn, cells) in keys.cells.iter().enumerate() {
            let (row, exists) = self.list_row(list, turn)?;
            let open = e.begin_if(exists);
            let none = e.i32(-1);
            let mut found = vec![];
            for (register, cell) in cells.iter().enumerate() {
                let key = e.load(e.i64_type().into(), *cell, 8);
                let element = e.add(self.thread.lane, e.i32((register as u32 * WARP) as i32));
                let counts = self.less(element, e.i32(keys.count as i32));
                let counts = e.and(counts, e.icmp(IntPredicate::NE, key, e.i64(0)));
                let value = e.xor(e.truncate(key, e.i32_type().into()), none);
                // As an unsigned number -1 comes last.
                found.push(e.select(counts, value, none));
            }
            let sorted = self.sort(found, IntPredicate::ULT)?;
            let place = self.place().with_rows(&rows, &row.axes);
            let mut elements = e.i64(0);
            for (value, stride) in place.values(index)?.into_iter().zip(&view.strides) {
                elements = e.add(elements, e.mul(e.to_i64(value), *stride));
            }
            let start = e.offset(view.pointer, e.mul(elements, e.i64(4)));
            for (register, value) in sorted.into_iter().enumerate() {
                let element = e.add(self.thread.lane, e.i32((register as u32 * WARP) as i32));
                let inside = e.begin_if(self.less(element, e.i32(keys.count as i32)));
                e.store(value, e.offset_u32(start, e.shift_left(element, e.i32(2))), 4);
                e.end_if(inside, &[]);
            }
            e.end_if(open, &[]);
        }
        Ok(())
    }
}
