//! Lists that are too long for registers, in shared memory.
//!
//! A list has two halves of as many keys (see [`super::list`]), element `32 n + lane` being key `n` of a lane. The first half is sorted,
//! largest first. Keys that beat the least that counts wait in the second half, every lane's in a stack of its own, until
//! one is full: then the waiting ones are sorted, and the larger half of all becomes the list. Sorting so many at a time costs a
//! key some hundredth of what merging every 32 of them would. Every lane only ever touches its own keys: no barrier is needed.

use super::block::Block;
use super::shape::WARP;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::ListState;
use inkwell::IntPredicate;

/// Where the lists of a block are: by combination, keys (by number, then lane); behind them by combination and lane how many wait.
#[derive(Clone, Copy)]
pub(super) struct LongLists {
    offset: u32,
    /// Of a lane, in one half of a list.
    keys: u32,
    combinations: u32,
    turns: u32,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct LongList<'c> {
    of: LongLists,
    combination: Value<'c>,
}

/// What a lane's number takes of an element's.
const LANE_BITS: u32 = WARP.ilog2();

impl LongLists {
    /// Those of `list`, from an offset in shared memory on, built by so many warps.
    pub fn new(list: &ListState, offset: u32, warps: u32) -> Self {
        let combinations = list.combinations();
        LongLists { offset, keys: list.keys_per_lane(), combinations, turns: combinations.div_ceil(warps) }
    }
    /// How often a warp takes up another list.
    pub fn turns(&self) -> u32 {
        self.turns
    }
    /// The list of one combination.
    pub fn of(self, combination: Value<'_>) -> LongList<'_> {
        LongList { of: self, combination }
    }
}

impl<'a, 'c> Block<'a, 'c> {
    /// Where a lane's key is.
    fn key_address(&self, list: LongList<'c>, key: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let row = e.add(e.mul(list.combination, e.i32(2 * list.of.keys as i32)), key);
        let lane = e.add(e.mul(row, e.i32(WARP as i32)), self.thread.lane);
        self.shared_at(list.of.offset, e.shift_left(lane, e.i32(3)))
    }
    /// Where the number of a lane's waiting keys is.
    fn waiting_address(&self, list: LongList<'c>) -> Value<'c> {
        let e = self.source.e;
        let start = list.of.offset + list.of.combinations * 2 * list.of.keys * WARP * 8;
        let lane = e.add(e.mul(list.combination, e.i32(WARP as i32)), self.thread.lane);
        self.shared_at(start, e.shift_left(lane, e.i32(2)))
    }
    /// Calls `each` with all numbers of keys of one half.
    fn each_key(&self, list: LongList<'c>, each: &dyn Fn(Value<'c>)) {
        let e = self.source.e;
        let open = e.begin_loop(e.i32(0), e.i32(list.of.keys as i32), 1, &[]);
        each(open.index);
        e.end_loop(open, &[]);
    }
    /// The number in the second half of a key's place in the first.
    fn second(&self, list: LongList<'c>, key: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        e.add(key, e.i32(list.of.keys as i32))
    }

    /// Makes a list empty.
    pub(super) fn clear_long(&self, list: LongList<'c>) {
        let e = self.source.e;
        self.each_key(list, &|key| e.store(e.i64(0), self.key_address(list, key), 8));
        e.store(e.i32(0), self.waiting_address(list), 4);
    }

    /// Takes one key per lane into a list of `count`.
    pub(super) fn take_in_long(&self, list: LongList<'c>, count: u32, key: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        let wide = e.i64_type().into();
        let last = count - 1;
        let least = e.load(wide, self.key_address(list, e.i32((last / WARP) as i32)), 8);
        let least = e.shuffle_from(least, e.i32((last % WARP) as i32))?;
        let better = e.icmp(IntPredicate::UGT, key, least);
        let any = e.begin_if(e.icmp(IntPredicate::NE, e.ballot(better)?, e.i32(0)));
        let waiting = e.load(e.i32_type().into(), self.waiting_address(list), 4);
        let waits = e.begin_if(better);
        e.store(key, self.key_address(list, self.second(list, waiting)), 8);
        e.end_if(waits, &[]);
        let waiting = e.add(waiting, e.select(better, e.i32(1), e.i32(0)));
        e.store(waiting, self.waiting_address(list), 4);
        let full = e.icmp(IntPredicate::EQ, waiting, e.i32(list.of.keys as i32));
        let full = e.begin_if(e.icmp(IntPredicate::NE, e.ballot(full)?, e.i32(0)));
        self.settle_long(list)?;
        e.end_if(full, &[]);
        e.end_if(any, &[]);
        Ok(())
    }

    /// Merges what waits into the list.
    fn settle_long(&self, list: LongList<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        let wide = e.i64_type().into();
        let waiting = e.load(e.i32_type().into(), self.waiting_address(list), 4);
        self.each_key(list, &|key| {
            let free = e.begin_if(e.icmp(IntPredicate::SGE, key, waiting));
            e.store(e.i64(0), self.key_address(list, self.second(list, key)), 8);
            e.end_if(free, &[]);
        });
        let bits = LANE_BITS + list.of.keys.ilog2();
        self.sort_keys(list, list.of.keys, (1, bits), IntPredicate::ULT)?;
        // Descending beside ascending: the larger of each pair are the larger half, as a bitonic sequence.
        self.each_key(list, &|key| {
            let place = self.key_address(list, key);
            let other = e.load(wide, self.key_address(list, self.second(list, key)), 8);
            e.store(self.pick(IntPredicate::UGT, e.load(wide, place, 8), other), place, 8);
        });
        self.sort_keys(list, 0, (bits, bits), IntPredicate::UGT)?;
        e.store(e.i32(0), self.waiting_address(list), 4);
        Ok(())
    }

    /// Replaces the keys of a list by what `value` makes of them and of their numbers, ascending, and calls `each` with every one
    /// and its number.
    pub(super) fn finish_long(
        &self,
        list: LongList<'c>,
        value: &dyn Fn(Value<'c>, Value<'c>) -> Value<'c>,
        each: &dyn Fn(Value<'c>, Value<'c>),
    ) -> Result<(), EmitError> {
        let e = self.source.e;
        let wide = e.i64_type().into();
        self.settle_long(list)?;
        self.each_key(list, &|key| {
            let place = self.key_address(list, key);
            e.store(e.zero_extend(value(e.load(wide, place, 8), key), wide), place, 8);
        });
        self.sort_keys(list, 0, (1, LANE_BITS + list.of.keys.ilog2()), IntPredicate::ULT)?;
        self.each_key(list, &|key| {
            let found = e.load(wide, self.key_address(list, key), 8);
            each(e.truncate(found, e.i32_type().into()), key);
        });
        Ok(())
    }

    /// The bitonic network over the half of a list that begins with a lane's key `base`: rounds that make sorted runs of 2^first, ...
    /// 2^last elements of two each. `before` holds for what comes first; but for the round of the whole half, every other run is
    /// the other way round.
    fn sort_keys(
        &self,
        list: LongList<'c>,
        base: u32,
        (first, last): (u32, u32),
        before: IntPredicate,
    ) -> Result<(), EmitError> {
        let e = self.source.e;
        let wide = e.i64_type().into();
        let after = if before == IntPredicate::ULT { IntPredicate::UGT } else { IntPredicate::ULT };
        let one = e.i32(1);
        let lane_bits = e.i32(LANE_BITS as i32);
        let lacks = |number: Value<'c>, bit: Value<'c>| {
            e.icmp(IntPredicate::EQ, e.and(number, e.shift_left(one, bit)), e.i32(0))
        };
        let element = |key: Value<'c>| e.add(e.shift_left(key, lane_bits), self.thread.lane);
        let address = |key: Value<'c>| self.key_address(list, e.add(key, e.i32(base as i32)));
        let rounds = e.begin_loop(e.i32(first as i32), e.i32(last as i32 + 1), 1, &[]);
        let size = rounds.index;

        // Distances of 32 and more are between keys of one lane.
        let within = e.begin_loop(e.i32(0), e.imax(e.sub(size, lane_bits), e.i32(0)), 1, &[]);
        // Of key numbers: a pair's lower one lacks this bit.
        let bit = e.sub(e.sub(e.sub(size, lane_bits), one), within.index);
        let pairs = e.begin_loop(e.i32(0), e.i32(list.of.keys as i32 / 2), 1, &[]);
        let below = e.and(pairs.index, e.sub(e.shift_left(one, bit), one));
        let lower = e.add(e.shift_left(e.sub(pairs.index, below), one), below);
        let places = [address(lower), address(e.add(lower, e.shift_left(one, bit)))];
        let [a, b] = places.map(|place| e.load(wide, place, 8));
        let forward = lacks(element(lower), size);
        let (earlier, later) = (self.pick(before, a, b), self.pick(after, a, b));
        e.store(e.select(forward, earlier, later), places[0], 8);
        e.store(e.select(forward, later, earlier), places[1], 8);
        e.end_loop(pairs, &[]);
        e.end_loop(within, &[]);

        let across = e.begin_loop(e.i32(0), e.imin(size, lane_bits), 1, &[]);
        let bit = e.sub(e.sub(e.imin(size, lane_bits), one), across.index);
        let all = e.begin_loop(e.i32(0), e.i32(list.of.keys as i32), 1, &[]);
        let place = address(all.index);
        let mine = e.load(wide, place, 8);
        let other = e.shuffle_by(mine, e.shift_left(one, bit))?;
        let number = element(all.index);
        let wants_first = e.icmp(IntPredicate::EQ, lacks(number, bit), lacks(number, size));
        e.store(e.select(wants_first, self.pick(before, mine, other), self.pick(after, mine, other)), place, 8);
        e.end_loop(all, &[]);
        e.end_loop(across, &[]);

        e.end_loop(rounds, &[]);
        Ok(())
    }
}
