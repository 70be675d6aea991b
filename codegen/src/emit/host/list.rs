//! Stages, and the lists of best values that are built from them.
//!
//! A list is kept as a heap of 64-bit keys, the least on top: the score's bits in an order-preserving form above the complement
//! of the index, so that among equal scores the lowest index wins; forced values have all ones above. 0 is an empty place.

use super::EmitError;
use super::element::{Column, Rows};
use super::layout::padded;
use super::lower::Lower;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, store_type};
use crate::plan::{Span, Var};
use crate::term::{AxisName, TensorName};
use egg::Id;
use inkwell::{FloatPredicate, IntPredicate};

impl<'c> Lower<'_, 'c> {
    /// Writes a variable to a stage, summed over a row axis if one is given.
    pub(super) fn stage(&mut self, number: u32, from: Var, sum: Option<AxisName>) -> Result<(), EmitError> {
        let e = self.e;
        let Some(stage) = self.kernel.stages.get(number as usize) else {
            return Err(EmitError::Plan(format!("no stage {number}")));
        };
        let variable = self.variable(from)?;
        let Some(span) = variable.columns.as_ref().filter(|c| variable.rows && c.axis == stage.columns.axis) else {
            return Err(EmitError::Plan(format!("variable %{from} does not fit stage {number}")));
        };
        if !stage.columns.count.is_power_of_two() {
            return Err(EmitError::Plan(format!("stage {number} has {} columns", stage.columns.count)));
        }
        let kept: Vec<&Span> = self.kernel.rows.iter().filter(|s| Some(s.axis) != sum).collect();
        if !kept.iter().copied().eq(&stage.rows) {
            return Err(EmitError::Plan(format!("the rows of stage {number} are not the block's")));
        }
        let summed = self.kernel.rows.iter().rev().find(|s| Some(s.axis) == sum).map_or(1, |s| s.count);
        let innermost = self.kernel.rows.last().is_none_or(|s| Some(s.axis) == sum);
        let ring = i64::from(stage.columns.count);
        let base = self.scratch.stages[number as usize];
        let place = |combination: Value<'c>, value: Value<'c>| {
            let column = e.to_i64(e.and(value, e.i32(ring as i32 - 1)));
            self.at(base, e.add(e.mul(combination, e.i64(ring)), column), 4)
        };
        let width = padded(span.count);
        let source = self.scratch.variables[from as usize];
        let lanes = self.scratch.lanes;
        let whole = innermost && summed.is_multiple_of(lanes) && span.count.is_multiple_of(lanes);
        let step = if whole { lanes } else { 1 };
        let columns = e.begin_loop(e.i64(0), e.i64(span.count.into()), step.into(), &[]);
        let column = self.column(span, columns.index);
        if whole {
            self.stage_columns(source, width, &column, summed, ring, &place)?;
        } else {
            let inside = self.column_inside(span.axis, column.value)?;
            self.stage_rows(source, width, column.at, inside, sum, &|combination| place(combination, column.value));
        }
        e.end_loop(columns, &[]);
        Ok(())
    }

    /// As many columns of a stage as a vector has lanes, beginning at `column`: whole vectors of one combination's rows are added.
    fn stage_columns(
        &self,
        source: u64,
        width: u32,
        column: &Column<'c>,
        summed: u32,
        ring: i64,
        place: &dyn Fn(Value<'c>, Value<'c>) -> Value<'c>,
    ) -> Result<(), EmitError> {
        let (e, lanes) = (self.e, self.scratch.lanes);
        let values = e.add(e.splat(column.value, lanes), e.ramp(1, lanes));
        let columns_inside = self.column_inside(column.axis, values)?;
        let open = e.begin_loop(e.i64(0), e.i64((self.scratch.rows / summed).into()), 1, &[]);
        let first = e.mul(open.index, e.i64(summed.into()));
        let sums = (0..lanes).map(|c| {
            let at = e.add(column.at, e.i64(c.into()));
            let parts = (0..summed).step_by(lanes as usize).map(|v| {
                let row = e.add(first, e.i64(v.into()));
                e.load(self.vector_type(), self.at(source, self.panel_offset(row, width, at), 4), 4)
            });
            parts.reduce(|sum, part| e.fadd(sum, part)).unwrap_or_else(|| e.splat(e.f32(0.0), lanes))
        });
        let sums = self.lane_sums(sums.collect());
        let inside = e.and(columns_inside, e.splat(self.row_inside(first), lanes));
        let sums = e.select(inside, sums, e.f32_like(sums, 0.0));
        // They lie side by side but where the ring ends.
        let start = e.and(column.value, e.i32(ring as i32 - 1));
        let room = e.i32(ring as i32 - lanes as i32);
        let mut whole = e.begin_if(e.icmp(IntPredicate::SLE, start, room));
        e.store(sums, place(open.index, column.value), 4);
        e.begin_else(&mut whole, &[]);
        for c in 0..lanes {
            e.store(e.extract(sums, c), place(open.index, e.extract(values, c)), 4);
        }
        e.end_if(whole, &[]);
        e.end_loop(open, &[]);
        Ok(())
    }

    /// One column of a stage, row by row: each kept combination starts at 0 and its rows are added in order.
    fn stage_rows(
        &self,
        source: u64,
        width: u32,
        at: Value<'c>,
        column_inside: Value<'c>,
        sum: Option<AxisName>,
        place: &dyn Fn(Value<'c>) -> Value<'c>,
    ) {
        let e = self.e;
        let kept: u32 = self.kernel.rows.iter().filter(|s| Some(s.axis) != sum).map(|s| s.count).product();
        let clear = e.begin_loop(e.i64(0), e.i64(kept.into()), 1, &[]);
        e.store(e.f32(0.0), place(clear.index), 4);
        e.end_loop(clear, &[]);
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.rows.into()), 1, &[]);
        let row = open.index;
        // The row's combination of kept axes.
        let (mut combination, mut faster_rows, mut faster_kept) = (e.i64(0), 1_i64, 1_i64);
        for span in self.kernel.rows.iter().rev() {
            let count = i64::from(span.count);
            if Some(span.axis) != sum {
                let own = e.urem(e.udiv(row, e.i64(faster_rows)), e.i64(count));
                combination = e.add(combination, e.mul(own, e.i64(faster_kept)));
                faster_kept *= count;
            }
            faster_rows *= count;
        }
        let inside = e.begin_if(e.and(column_inside, self.row_inside(row)));
        let value = e.load(e.f32_type().into(), self.at(source, self.panel_offset(row, width, at), 4), 4);
        let pointer = place(combination);
        e.store(e.fadd(e.load(e.f32_type().into(), pointer, 4), value), pointer, 4);
        e.end_if(inside, &[]);
        e.end_loop(open, &[]);
    }

    /// The sums of the lanes of as many vectors as each has lanes, as a vector: in each, one half of the lanes is added to the
    /// other until one lane is left, and two vectors share one as soon as they fit.
    fn lane_sums(&self, mut vectors: Vec<Value<'c>>) -> Value<'c> {
        let e = self.e;
        let lanes = vectors.len() as u32;
        let mut left = lanes;
        while left > 1 {
            let half = left / 2;
            let halves = |upper: u32| -> Vec<u32> {
                (0..2 * lanes).step_by(left as usize).flat_map(|at| at + upper..at + upper + half).collect()
            };
            let pairs = vectors.chunks_exact(2);
            vectors = pairs
                .map(|v| e.fadd(e.shuffle(v[0], v[1], &halves(0)), e.shuffle(v[0], v[1], &halves(half))))
                .collect();
            left = half;
        }
        vectors[0]
    }

    /// Lists are empty when a block starts.
    pub(super) fn start_lists(&self) {
        let e = self.e;
        for (number, list) in self.kernel.lists.iter().enumerate() {
            let keys = i64::from(self.combinations(number)) * i64::from(list.count);
            let open = e.begin_loop(e.i64(0), e.i64(keys), 1, &[]);
            e.store(e.i64(0), self.at(self.scratch.lists[number], open.index, 8), 8);
            e.end_loop(open, &[]);
        }
    }
    /// Row combinations of a list.
    fn combinations(&self, list: usize) -> u32 {
        self.kernel.lists[list].rows.iter().map(|s| s.count).product()
    }
    /// The first of the block's rows that has a combination of a list's rows (`i64` each).
    fn row_of(&self, list: usize, combination: Value<'c>) -> Value<'c> {
        let e = self.e;
        let rows = &self.kernel.lists[list].rows;
        let (mut row, mut faster_rows, mut rest) = (e.i64(0), 1_i64, combination);
        for span in self.kernel.rows.iter().rev() {
            let count = i64::from(span.count);
            if rows.iter().any(|r| r.axis == span.axis) {
                row = e.add(row, e.mul(e.urem(rest, e.i64(count)), e.i64(faster_rows)));
                rest = e.udiv(rest, e.i64(count));
            }
            faster_rows *= count;
        }
        row
    }

    /// Inserts the candidates of a tile into a list.
    pub(super) fn insert(
        &mut self,
        list: u32,
        columns: &Span,
        score: Id,
        force: Id,
        among: Id,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let number = list as usize;
        let Some(state) = self.kernel.lists.get(number) else {
            return Err(EmitError::Plan(format!("no list {list}")));
        };
        let count = i64::from(state.count);
        let open = e.begin_loop(e.i64(0), e.i64(self.combinations(number).into()), 1, &[]);
        let row = self.row_of(number, open.index);
        let row_inside = e.begin_if(self.row_inside(row));
        let first_key = e.mul(open.index, e.i64(count));
        let (base, range) = match self.loops.iter().rev().find(|l| l.axis == columns.axis && l.tile > 1) {
            Some(open) => (open.base, Some(open.range)),
            None => (self.column_base(columns.axis), None),
        };
        let mut hi = e.imin(e.add(base, e.i32(columns.count as i32)), self.length(columns.axis)?);
        let mut lo = base;
        if let Some((first, end)) = range {
            lo = e.imax(lo, first);
            hi = e.imin(hi, end);
        }
        let (from, to) = (e.to_i64(e.sub(lo, base)), e.to_i64(e.sub(hi, base)));
        let values = e.begin_loop(from, to, 1, &[]);
        let column = self.column(columns, values.index);
        let element = self.element(1, Rows::One(row), Some(column));
        let candidate = Evaluator::new(e, self.plan, self.facts, &element).plain(among)?;
        let taken = e.begin_if(candidate);
        let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
        let (forced, score) = (evaluator.plain(force)?, evaluator.plain(score)?);
        let key = self.key(score, forced, column.value);
        self.insert_key(self.at(self.scratch.lists[number], first_key, 8), count, key);
        e.end_if(taken, &[]);
        e.end_loop(values, &[]);
        e.end_if(row_inside, &[]);
        e.end_loop(open, &[]);
        Ok(())
    }

    /// The key of a candidate.
    fn key(&self, score: Value<'c>, forced: Value<'c>, index: Value<'c>) -> Value<'c> {
        let e = self.e;
        let i64_type = e.i64_type().into();
        // NaN counts as -inf.
        let nan = e.fcmp(FloatPredicate::UNO, score, score);
        // Adding 0 makes -0 and 0 equal.
        let score = e.fadd(e.select(nan, e.f32(f32::NEG_INFINITY), score), e.f32(0.0));
        let bits = e.bits_as(score, e.i32_type().into());
        let negative = e.icmp(IntPredicate::SLT, bits, e.i32(0));
        let ordered = e.xor(bits, e.select(negative, e.i32(-1), e.i32(i32::MIN)));
        let high = e.select(forced, e.i32(-1), ordered);
        let high = e.shift_left(e.zero_extend(high, i64_type), e.i64(32));
        e.or(high, e.zero_extend(e.xor(index, e.i32(-1)), i64_type))
    }

    /// Puts a key in the place of a list's least one, if it is larger.
    fn insert_key(&self, list: Value<'c>, count: i64, key: Value<'c>) {
        let e = self.e;
        let least = e.load(e.i64_type().into(), list, 8);
        let better = e.begin_if(e.icmp(IntPredicate::UGT, key, least));
        self.sift(list, (e.i64(0), e.i64(count)), key, IntPredicate::ULT);
        e.end_if(better, &[]);
    }

    /// Puts a key into a heap of `count` keys whose place `free` is free: those below it that come `first` move up until it fits.
    fn sift(&self, heap: Value<'c>, (free, count): (Value<'c>, Value<'c>), key: Value<'c>, first: IntPredicate) {
        let e = self.e;
        let i64_type = e.i64_type().into();
        let place = |at: Value<'c>| e.offset(heap, e.mul(at, e.i64(8)));
        let before = e.current_block();
        let (test, choose, lift, done) = (e.block("sift"), e.block("choose"), e.block("lift"), e.block("sifted"));
        e.branch(test);
        e.position(test);
        let at = e.phi(free, before);
        let here = at.as_basic_value();
        let left = e.add(e.mul(here, e.i64(2)), e.i64(1));
        e.branch_if(e.icmp(IntPredicate::SLT, left, count), choose, done);
        e.position(choose);
        // Where there is no right one, it is the left one again.
        let right = e.imin(e.add(left, e.i64(1)), e.sub(count, e.i64(1)));
        let (on_left, on_right) = (e.load(i64_type, place(left), 8), e.load(i64_type, place(right), 8));
        let is_right = e.icmp(first, on_right, on_left);
        let (below, moved) = (e.select(is_right, right, left), e.select(is_right, on_right, on_left));
        e.branch_if(e.icmp(first, moved, key), lift, done);
        e.position(lift);
        e.store(moved, place(here), 8);
        at.add_incoming(&[(&below, lift)]);
        e.branch(test);
        e.position(done);
        e.store(key, place(here), 8);
    }

    /// Turns a list's keys into its values, ascending. Unsigned, so that the -1 of empty places goes last.
    fn sort_values(&self, list: Value<'c>, count: i64) {
        let e = self.e;
        let i64_type = e.i64_type().into();
        let place = |at: Value<'c>| e.offset(list, e.mul(at, e.i64(8)));
        let entries = e.begin_loop(e.i64(0), e.i64(count), 1, &[]);
        let key = e.load(i64_type, place(entries.index), 8);
        let empty = e.icmp(IntPredicate::EQ, key, e.i64(0));
        let value = e.select(empty, e.i32(-1), e.xor(e.to_i32(key), e.i32(-1)));
        e.store(e.zero_extend(value, i64_type), place(entries.index), 8);
        e.end_loop(entries, &[]);
        // Heapsort: the largest of what remains goes to its end.
        let halves = e.begin_loop(e.i64(0), e.i64(count / 2), 1, &[]);
        let free = e.sub(e.i64(count / 2 - 1), halves.index);
        self.sift(list, (free, e.i64(count)), e.load(i64_type, place(free), 8), IntPredicate::UGT);
        e.end_loop(halves, &[]);
        let ends = e.begin_loop(e.i64(0), e.i64(count - 1), 1, &[]);
        let end = e.sub(e.i64(count - 1), ends.index);
        let last = e.load(i64_type, place(end), 8);
        e.store(e.load(i64_type, list, 8), place(end), 8);
        self.sift(list, (e.i64(0), end), last, IntPredicate::UGT);
        e.end_loop(ends, &[]);
    }

    /// Writes finished lists, ascending, padded with -1.
    pub(super) fn store_list(&mut self, list: u32, buffer: TensorName, index: &[Id]) -> Result<(), EmitError> {
        let e = self.e;
        let number = list as usize;
        let (Some(state), Some(view)) = (self.kernel.lists.get(number), self.block.views.get(&buffer).cloned()) else {
            return Err(EmitError::Plan(format!("no list {list} or no buffer {buffer}")));
        };
        if view.axes.len() != index.len() + 1 {
            return Err(EmitError::Plan(format!("{buffer} has {} axes", view.axes.len())));
        }
        let count = i64::from(state.count);
        let open = e.begin_loop(e.i64(0), e.i64(self.combinations(number).into()), 1, &[]);
        let row = self.row_of(number, open.index);
        let inside = e.begin_if(self.row_inside(row));
        let keys = self.at(self.scratch.lists[number], e.mul(open.index, e.i64(count)), 8);
        self.sort_values(keys, count);

        let element = self.element(1, Rows::One(row), None);
        let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
        let mut place = index.iter().map(|id| evaluator.plain(*id)).collect::<Result<Vec<_>, _>>()?;
        place.push(e.i32(0));
        let target = self.address(&view, &place);
        let copy = e.begin_loop(e.i64(0), e.i64(count), 1, &[]);
        let value = e.to_i32(e.load(e.i64_type().into(), e.offset(keys, e.mul(copy.index, e.i64(8))), 8));
        let stored = store_type(e, &element, view.dtype, value);
        let bytes = view.dtype.bytes() as i64;
        e.store(stored, e.offset(target, e.mul(copy.index, e.i64(bytes))), bytes as u32);
        e.end_loop(copy, &[]);
        e.end_if(inside, &[]);
        e.end_loop(open, &[]);
        Ok(())
    }
}
