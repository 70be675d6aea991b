//! Lists of the best values of an axis: one warp per row combination, candidates over lanes.
//!
//! A candidate is a 64-bit key: in the high half its score in an order-preserving form (forced ones above all), in the low
//! half the complement of its index, so that of equal scores the lowest index is largest. 0 is no candidate. A warp keeps its
//! list sorted, largest first, 32 keys side by side over its lanes; 32 new keys are sorted and merged into it by bitonic
//! networks, unless none of them beats the least that counts.
//!
//! Few keys stay in registers. More lie in shared memory, where every lane only ever touches its own: no barrier is needed,
//! and what is unrolled for registers are loops there.

use super::block::Block;
use super::shape::WARP;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::Span;
use crate::term::TensorName;
use egg::Id;
use inkwell::{FloatPredicate, IntPredicate};

/// Where the keys of a list are.
pub(super) enum Keys<'c> {
    /// In registers: by turn of the warp, then by 32 keys.
    Registers(Vec<Vec<Value<'c>>>),
    /// In shared memory.
    Shared(SharedKeys),
}

/// Keys in shared memory: from `offset` on by combination, then by 32 keys, then by lane.
#[derive(Clone, Copy)]
pub(super) struct SharedKeys {
    offset: u32,
    /// Of a lane, per combination.
    keys: u32,
    turns: u32,
}

/// One list of a warp.
enum Cells<'k, 'c> {
    Registers(&'k [Value<'c>]),
    /// The combination's number.
    Shared(SharedKeys, Value<'c>),
}

impl<'a, 'c> Block<'a, 'c> {
    /// Empty lists. The builder stands in the entry block.
    pub fn make_lists(&mut self) -> Result<(), EmitError> {
        let e = self.source.e;
        let warps = self.threads() / WARP;
        for (number, list) in self.source.kernel.lists.iter().enumerate() {
            if list.count == 0 {
                return Err(EmitError::Plan("a list of no values".into()));
            }
            let turns = list.combinations().div_ceil(warps);
            if let Some(offset) = self.layout.lists.get(number).copied().flatten() {
                let keys = SharedKeys { offset, keys: list.keys_per_lane(), turns };
                let open = e.begin_loop(e.i32(0), e.i32((turns * keys.keys) as i32), 1, &[]);
                let turn = e.udiv(open.index, e.i32(keys.keys as i32));
                let index = self.combination_of(turn);
                let exists = e.begin_if(self.less(index, e.i32(list.combinations() as i32)));
                let key = e.urem(open.index, e.i32(keys.keys as i32));
                e.store(e.i64(0), self.key_address(keys, index, key), 8);
                e.end_if(exists, &[]);
                e.end_loop(open, &[]);
                self.lists.push(Keys::Shared(keys));
                continue;
            }
            let mut cells = vec![];
            for _ in 0..turns {
                let keys: Vec<_> = (0..list.keys_per_lane()).map(|_| e.register(e.i64_type().into())).collect();
                keys.iter().for_each(|key| e.store(e.i64(0), *key, 8));
                cells.push(keys);
            }
            self.lists.push(Keys::Registers(cells));
        }
        Ok(())
    }

    /// The combination that the warp works on in a turn.
    fn combination_of(&self, turn: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        e.add(self.thread.warp, e.mul(turn, e.i32((self.threads() / WARP) as i32)))
    }
    /// Where a lane's key `key` of a combination lies in shared memory.
    fn key_address(&self, keys: SharedKeys, combination: Value<'c>, key: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let row = e.add(e.mul(combination, e.i32(keys.keys as i32)), key);
        let lane = e.add(e.mul(row, e.i32(WARP as i32)), self.thread.lane);
        self.shared_at(keys.offset, e.shift_left(lane, e.i32(3)))
    }

    /// Calls `each` with every list that the warp builds, and the row combination that it is of.
    fn each_list(
        &self,
        list: u32,
        each: &mut dyn FnMut(Cells<'_, 'c>, super::block::Row<'c>) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        let e = self.source.e;
        let missing = || EmitError::Plan(format!("there is no list {list}"));
        let rows = &self.source.kernel.lists.get(list as usize).ok_or_else(missing)?.rows;
        let mut one = |cells: Cells<'_, 'c>, index| -> Result<(), EmitError> {
            let row = self.combination(rows, index)?;
            let open = e.begin_if(row.valid);
            each(cells, row)?;
            e.end_if(open, &[]);
            Ok(())
        };
        match self.lists.get(list as usize).ok_or_else(missing)? {
            Keys::Registers(turns) => {
                for (turn, cells) in turns.iter().enumerate() {
                    one(Cells::Registers(cells), self.combination_of(e.i32(turn as i32)))?;
                }
            }
            Keys::Shared(keys) => {
                let open = e.begin_loop(e.i32(0), e.i32(keys.turns as i32), 1, &[]);
                let index = self.combination_of(open.index);
                one(Cells::Shared(*keys, index), index)?;
                e.end_loop(open, &[]);
            }
        }
        Ok(())
    }

    /// The lane's key `number` of a list.
    fn key_at(&self, cells: &Cells<'_, 'c>, number: u32) -> Value<'c> {
        let e = self.source.e;
        let pointer = match cells {
            Cells::Registers(cells) => cells[number as usize],
            Cells::Shared(keys, combination) => self.key_address(*keys, *combination, e.i32(number as i32)),
        };
        e.load(e.i64_type().into(), pointer, 8)
    }

    /// Emits [`crate::plan::Statement::Insert`].
    pub fn insert(&self, list: u32, columns: &Span, score: Id, force: Id, among: Id) -> Result<(), EmitError> {
        let e = self.source.e;
        let state = self.source.kernel.lists.get(list as usize);
        let (rows, count) = state.map(|l| (l.rows.clone(), l.count)).unwrap_or_default();
        self.each_list(list, &mut |cells, row| {
            for start in (0..columns.count).step_by(WARP as usize) {
                let local = e.add(self.thread.lane, e.i32(start as i32));
                // Lanes past the tile repeat its last value: what they would read is not staged yet.
                let inside = e.imin(local, e.i32(columns.count as i32 - 1));
                let value = e.add(self.column_base(columns.axis), inside);
                let place = self.place().with_unchecked(columns.axis, value)?.with_rows(&rows, &row.axes);
                let values = place.values(&[score, force, among])?;
                let candidate = e.and(values[2], self.less(local, e.i32(columns.count as i32)));
                let candidate = e.and(candidate, self.less(value, self.length(columns.axis)?));
                let key = self.key(values[0], values[1], candidate, value);
                self.take_in(&cells, count, key)?;
            }
            Ok(())
        })
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

    /// Merges one key per lane into a list of `count`.
    fn take_in(&self, cells: &Cells<'_, 'c>, count: u32, key: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        let last = count - 1;
        let wide = e.i64_type().into();
        let least = e.shuffle_from(self.key_at(cells, last / WARP), e.i32((last % WARP) as i32))?;
        let better = e.icmp(IntPredicate::UGT, key, least);
        let open = e.begin_if(e.icmp(IntPredicate::NE, e.ballot(better)?, e.i32(0)));
        // Ascending against descending: the larger of each pair are the 32 largest, as a bitonic sequence.
        let sorted = self.sort(vec![key], IntPredicate::ULT)?[0];
        let tail = match cells {
            Cells::Registers(cells) => cells.len() as u32 - 1,
            Cells::Shared(keys, _) => keys.keys - 1,
        };
        let kept = self.pick(IntPredicate::UGT, self.key_at(cells, tail), sorted);
        let mut lower = self.unfold(kept)?;
        // One step up: the 32 keys there and those below them change places where these are larger.
        let step = |upper: Value<'c>, below: Value<'c>, lower: Value<'c>| -> Result<Value<'c>, EmitError> {
            let turned = e.shuffle_xor(lower, WARP - 1)?;
            let there = e.load(wide, upper, 8);
            let rest = self.pick(IntPredicate::ULT, there, turned);
            let best = self.pick(IntPredicate::UGT, there, turned);
            e.store(self.unfold(rest)?, below, 8);
            self.unfold(best)
        };
        match cells {
            Cells::Registers(cells) => {
                for number in (0..tail as usize).rev() {
                    lower = step(cells[number], cells[number + 1], lower)?;
                }
                e.store(lower, cells[0], 8);
            }
            Cells::Shared(keys, combination) => {
                let steps = e.begin_loop(e.i32(0), e.i32(tail as i32), 1, &[lower]);
                let below = e.sub(e.i32(tail as i32), steps.index);
                let upper = self.key_address(*keys, *combination, e.sub(below, e.i32(1)));
                let below = self.key_address(*keys, *combination, below);
                let next = step(upper, below, steps.carried[0])?;
                let lower = e.end_loop(steps, &[next])[0];
                e.store(lower, self.key_address(*keys, *combination, e.i32(0)), 8);
            }
        }
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

    /// Sorts a list in shared memory by the same network, smallest first. Element `32 n + lane` is key `n` of a lane: distances of
    /// 32 and more are between keys of one lane.
    fn sort_shared(&self, keys: SharedKeys, combination: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        let wide = e.i64_type().into();
        let lane_bits = WARP.ilog2() as i32;
        let bits = lane_bits + keys.keys.ilog2() as i32;
        let one = e.i32(1);
        let lacks = |number: Value<'c>, bit: Value<'c>| {
            e.icmp(IntPredicate::EQ, e.and(number, e.shift_left(one, bit)), e.i32(0))
        };
        let element = |key: Value<'c>| e.add(e.shift_left(key, e.i32(lane_bits)), self.thread.lane);
        // Runs of 2^size elements are sorted, every other one downwards.
        let sizes = e.begin_loop(one, e.i32(bits + 1), 1, &[]);
        let size = sizes.index;

        let within = e.begin_loop(e.i32(0), e.imax(e.sub(size, e.i32(lane_bits)), e.i32(0)), 1, &[]);
        // Of key numbers: the pair's lower one lacks this bit.
        let bit = e.sub(e.sub(size, e.i32(lane_bits + 1)), within.index);
        let pairs = e.begin_loop(e.i32(0), e.i32(keys.keys as i32 / 2), 1, &[]);
        let below = e.and(pairs.index, e.sub(e.shift_left(one, bit), one));
        let lower = e.add(e.shift_left(e.sub(pairs.index, below), one), below);
        let upper = e.add(lower, e.shift_left(one, bit));
        let places = [lower, upper].map(|key| self.key_address(keys, combination, key));
        let [a, b] = places.map(|place| e.load(wide, place, 8));
        let (least, most) = (self.pick(IntPredicate::ULT, a, b), self.pick(IntPredicate::UGT, a, b));
        let upwards = lacks(element(lower), size);
        e.store(e.select(upwards, least, most), places[0], 8);
        e.store(e.select(upwards, most, least), places[1], 8);
        e.end_loop(pairs, &[]);
        e.end_loop(within, &[]);

        let across = e.begin_loop(e.i32(0), e.imin(size, e.i32(lane_bits)), 1, &[]);
        let bit = e.sub(e.sub(e.imin(size, e.i32(lane_bits)), one), across.index);
        let all = e.begin_loop(e.i32(0), e.i32(keys.keys as i32), 1, &[]);
        let place = self.key_address(keys, combination, all.index);
        let mine = e.load(wide, place, 8);
        let other = e.shuffle_by(mine, e.shift_left(one, bit))?;
        let (least, most) = (self.pick(IntPredicate::ULT, mine, other), self.pick(IntPredicate::UGT, mine, other));
        let number = element(all.index);
        let wants_least = e.icmp(IntPredicate::EQ, lacks(number, bit), lacks(number, size));
        e.store(e.select(wants_least, least, most), place, 8);
        e.end_loop(all, &[]);
        e.end_loop(across, &[]);

        e.end_loop(sizes, &[]);
        Ok(())
    }

    /// Emits [`crate::plan::Statement::StoreList`].
    pub fn store_list(&self, list: u32, buffer: TensorName, index: &[Id]) -> Result<(), EmitError> {
        let e = self.source.e;
        let view = self.views.get(&buffer).cloned();
        let view = view.ok_or_else(|| EmitError::Plan(format!("there is no buffer {buffer}")))?;
        if index.len() != view.strides.len() {
            return Err(EmitError::Plan(format!("{buffer} does not have {} axes and a list", index.len())));
        }
        let missing = || EmitError::Plan(format!("there is no list {list}"));
        let state = self.source.kernel.lists.get(list as usize).ok_or_else(missing)?;
        self.each_list(list, &mut |cells, row| {
            // An index, or -1: as an unsigned number it comes last.
            let value_of = |key, number: Value<'c>| {
                let element = e.add(self.thread.lane, e.shift_left(number, e.i32(WARP.ilog2() as i32)));
                let counts = self.less(element, e.i32(state.count as i32));
                let counts = e.and(counts, e.icmp(IntPredicate::NE, key, e.i64(0)));
                e.select(counts, e.xor(e.truncate(key, e.i32_type().into()), e.i32(-1)), e.i32(-1))
            };
            let place = self.place().with_rows(&state.rows, &row.axes);
            let mut elements = e.i64(0);
            for (value, stride) in place.values(index)?.into_iter().zip(&view.strides) {
                elements = e.add(elements, e.mul(e.to_i64(value), *stride));
            }
            let start = e.offset(view.pointer, e.mul(elements, e.i64(4)));
            let store = |value, number: Value<'c>| {
                let element = e.add(self.thread.lane, e.shift_left(number, e.i32(WARP.ilog2() as i32)));
                let inside = e.begin_if(self.less(element, e.i32(state.count as i32)));
                e.store(value, e.offset_u32(start, e.shift_left(element, e.i32(2))), 4);
                e.end_if(inside, &[]);
            };
            match cells {
                Cells::Registers(_) => {
                    let numbers = (0..state.keys_per_lane()).map(|number| e.i32(number as i32));
                    let numbers: Vec<_> = numbers.collect();
                    let found = numbers.iter().zip(0..).map(|(at, number)| value_of(self.key_at(&cells, number), *at));
                    let sorted = self.sort(found.collect(), IntPredicate::ULT)?;
                    sorted.into_iter().zip(numbers).for_each(|(value, number)| store(value, number));
                }
                Cells::Shared(keys, combination) => {
                    let each = |body: &dyn Fn(Value<'c>, Value<'c>)| {
                        let open = e.begin_loop(e.i32(0), e.i32(keys.keys as i32), 1, &[]);
                        body(open.index, self.key_address(keys, combination, open.index));
                        e.end_loop(open, &[]);
                    };
                    let wide = e.i64_type().into();
                    each(&|number, at| e.store(e.zero_extend(value_of(e.load(wide, at, 8), number), wide), at, 8));
                    self.sort_shared(keys, combination)?;
                    each(&|number, at| store(e.truncate(e.load(wide, at, 8), e.i32_type().into()), number));
                }
            }
            Ok(())
        })
    }
}
