//! Blocks that each walk a list of their own, several at a time.
//!
//! Neighbouring queries choose some of the same blocks of keys. One query after the other would have each of these come in from
//! the last-level cache again, with one panel of rows to use it for. So a batch of blocks of the grid advances together: of the
//! entries that are next in their lists the smallest is taken, its tiles come in once, and all blocks whose next entry it is
//! work on it. Every block follows its own list in its own order, so that its result does not depend on which blocks are
//! in the batch. Lists are ascending where a kernel has made them; others are only shared less.
//!
//! What a block keeps from tile to tile (its rows, running sums, coordinates) lies in scratch memory once per block, within the
//! second-level cache; see [`super::layout::Scratch::batch`].

use super::EmitError;
use super::block::{Block, constant};
use super::forms::{reads, reads_scratch};
use super::lower::Lower;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, Facts};
use crate::plan::{Kernel, Loop, Operand, Plan, Statement, TileAxis, Var, Walk};
use crate::term::AxisName;
use inkwell::IntPredicate;

/// What the blocks of a batch may have in scratch memory, in bytes: with the tiles that come in, half of a second-level cache.
const OWN_BYTES: u64 = 832 << 10;
/// Blocks of a batch.
const SLOTS: u64 = 64;
/// In place of an entry: the list is at its end.
const END: i32 = i32::MAX;

/// How blocks are worked on together.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// The loop that walks the list: its place among the kernel's statements.
    at: usize,
    /// The grid's run-time axis, along which the blocks lie.
    axis: AxisName,
    /// Entries of a list.
    entries: u32,
    /// Per variable: whether it is alive outside of the loop, so that every block has its own.
    pub variables: Vec<bool>,
    /// The variable that the first contraction of an iteration writes. It has two places, so that this contraction can be one
    /// block ahead: matrix registers work on it while vectors work on what came before.
    pub ahead: Option<Var>,
    /// Blocks.
    slots: u64,
    /// Bytes that a block has to itself.
    pub own: u64,
    /// Where the lists begin: `i32[slots][entries + 1]` of entries, then `i32[slots]` each: the place in the list, the
    /// entry there, and the blocks that an entry belongs to.
    pub control: u64,
}

impl Batch {
    /// The batches of a kernel: None if it walks no list, or its tiles differ from block to block.
    pub fn of(plan: &Plan, kernel: &Kernel, facts: &Facts) -> Option<Batch> {
        let axis = kernel.grid.last()?.axis;
        let mut loops = kernel.body.iter().enumerate().filter_map(|(at, statement)| match statement {
            Statement::Loop(inner) => Some((at, inner)),
            _ => None,
        });
        let ((at, inner), None) = (loops.next()?, loops.next()) else { return None };
        let walk = inner.walk.as_ref()?;
        let shared = |number: u32| {
            kernel.tiles.get(number as usize).is_some_and(|tile| {
                let rows = kernel.rows.iter().any(|row| facts.mentions(tile.element, row.axis));
                let varies = rows || facts.mentions(tile.element, axis);
                tile.slow != TileAxis::Rows && !varies && !reads_scratch(plan, tile.element)
            })
        };
        let simple = inner.body.iter().all(|statement| match statement {
            Statement::Fetch { tile } => shared(*tile),
            Statement::Set { .. }
            | Statement::Dot { .. }
            | Statement::Mask { .. }
            | Statement::Reduce { .. }
            | Statement::Online { .. } => true,
            _ => false,
        });
        let divides = inner.tile > 0 && walk.block.is_multiple_of(inner.tile);
        let plain = kernel.lists.is_empty() && kernel.stages.is_empty();
        if !(simple && divides && plain && constant(plan, axis).is_none()) {
            return None;
        }
        let outside = || kernel.body.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, s)| s);
        let alive = |var: u32| outside().any(|statement| mentions(plan, kernel, statement, var));
        let variables: Vec<bool> = (0..kernel.variables.len()).map(|var| alive(var as u32)).collect();
        let ahead = match inner.body.iter().find(|statement| !matches!(statement, Statement::Fetch { .. })) {
            Some(Statement::Dot { var, accumulate: false, .. }) if !variables[*var as usize] => Some(*var),
            _ => None,
        };
        Some(Batch { at, axis, entries: walk.count, variables, ahead, slots: 1, own: 0, control: 0 })
    }

    /// Given what a block has to itself, the bytes of all blocks.
    pub fn share(&mut self, own: u64) -> u64 {
        self.own = own;
        self.slots = (OWN_BYTES / own.max(1)).clamp(1, SLOTS);
        own * self.slots
    }
    /// Words of [`Batch::control`].
    pub fn words(&self) -> u64 {
        self.slots * (u64::from(self.entries) + 4)
    }
}

/// Whether a statement reads or writes a variable.
fn mentions(plan: &Plan, kernel: &Kernel, statement: &Statement, number: u32) -> bool {
    let reads = |id| reads(plan, id, number);
    match statement {
        Statement::Set { var, expr } => *var == number || reads(*expr),
        Statement::Fetch { tile } => kernel.tiles.get(*tile as usize).is_some_and(|tile| reads(tile.element)),
        Statement::Store { index, value, .. } => index.iter().chain([value]).any(|id| reads(*id)),
        Statement::Dot { var, a, .. } => *var == number || *a == Operand::Var(number),
        Statement::Mask { var, keep, .. } => *var == number || reads(*keep),
        Statement::Reduce { var, from, .. } => [*var, *from].contains(&number),
        Statement::Online { score, max, rescale, .. } => [*score, *max].contains(&number) || rescale.contains(&number),
        _ => true,
    }
}

/// Where the words of [`Batch::control`] are.
#[derive(Clone, Copy)]
enum Word {
    Entries,
    Position,
    Head,
    Active,
}

impl<'a, 'c> Lower<'a, 'c> {
    /// Builds the work on a batch of blocks that begins with this one and has at most `left` blocks (`i64`); how many it has.
    pub(super) fn batch(&mut self, left: Value<'c>) -> Result<Value<'c>, EmitError> {
        let (e, kernel) = (self.e, self.kernel);
        let missing = || EmitError::Plan("a batch without a walk".into());
        let batch = self.scratch.batch.clone().ok_or_else(missing)?;
        let Some(Statement::Loop(inner)) = kernel.body.get(batch.at) else { return Err(missing()) };
        let walk = inner.walk.as_ref().ok_or_else(missing)?;
        let base = self.block.clone();
        let count = base.neighbours(e, e.imin(left, e.i64(batch.slots as i64)));

        let slots = e.begin_loop(e.i64(0), count, 1, &[e.i32(END)]);
        self.enter(&base, &batch, slots.index);
        self.rows()?;
        self.statements(&kernel.body[..batch.at].iter().collect::<Vec<_>>())?;
        let head = self.start(&batch, walk, slots.index)?;
        let next = e.imin(slots.carried[0], head);
        let first = e.end_loop(slots, &[next])[0];

        let listed = |entry| e.icmp(IntPredicate::NE, entry, e.i32(END));
        e.repeat(first, listed, |entry| self.advance(&base, &batch, (inner, walk), count, entry))?;

        let slots = e.begin_loop(e.i64(0), count, 1, &[]);
        let after = e.imin(e.add(slots.index, e.i64(1)), e.sub(count, e.i64(1)));
        self.enter(&base, &batch, after);
        self.prefetch_results()?;
        self.enter(&base, &batch, slots.index);
        self.statements(&kernel.body[batch.at + 1..].iter().collect::<Vec<_>>())?;
        e.end_loop(slots, &[]);
        Ok(count)
    }

    /// What is built next is for one block of a batch.
    fn enter(&mut self, base: &Block<'c>, batch: &Batch, slot: Value<'c>) {
        let e = self.e;
        self.block = base.neighbour(e, batch.axis, slot);
        self.own = e.offset(self.memory, e.mul(slot, e.i64(batch.own as i64)));
    }

    /// The same for a block (`i64`) of those that have an entry.
    fn enter_active(&mut self, base: &Block<'c>, batch: &Batch, block: Value<'c>) {
        let e = self.e;
        let slot = e.load(e.i32_type().into(), self.word(batch, Word::Active, block), 4);
        self.enter(base, batch, e.to_i64(slot));
        self.parity = Some(e.and(block, e.i64(1)));
    }

    /// The address of a word of [`Batch::control`].
    fn word(&self, batch: &Batch, word: Word, index: Value<'c>) -> Value<'c> {
        let entries = batch.slots * (u64::from(batch.entries) + 1);
        let skipped = match word {
            Word::Entries => 0,
            Word::Position => entries,
            Word::Head => entries + batch.slots,
            Word::Active => entries + 2 * batch.slots,
        };
        self.at(batch.control + 4 * skipped, index, 4)
    }
    /// The address of an entry (`i64`) of a block's list.
    fn entry(&self, batch: &Batch, slot: Value<'c>, at: Value<'c>) -> Value<'c> {
        let e = self.e;
        let first = e.mul(slot, e.i64(i64::from(batch.entries) + 1));
        self.word(batch, Word::Entries, e.add(first, at))
    }

    /// Copies a block's list without what is no entry; its first entry (`i32`).
    fn start(&self, batch: &Batch, walk: &Walk, slot: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.e;
        let entries = e.begin_loop(e.i32(0), e.i32(walk.count as i32), 1, &[e.i64(0)]);
        let element = self.element(1, super::element::Rows::Block, None);
        let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
        let entry = evaluator.list_entry(walk.list, walk.block.into(), entries.index)?;
        e.store(entry, self.entry(batch, slot, entries.carried[0]), 4);
        let listed = e.icmp(IntPredicate::SGE, entry, e.i32(0));
        let next = e.add(entries.carried[0], e.zero_extend(listed, e.i64_type().into()));
        let count = e.end_loop(entries, &[next])[0];
        e.store(e.i32(END), self.entry(batch, slot, count), 4);
        let head = e.load(e.i32_type().into(), self.entry(batch, slot, e.i64(0)), 4);
        e.store(head, self.word(batch, Word::Head, slot), 4);
        e.store(e.i32(0), self.word(batch, Word::Position, slot), 4);
        Ok(head)
    }

    /// The work on one entry (`i32`), which some blocks have next; the smallest that is next then.
    fn advance(
        &mut self,
        base: &Block<'c>,
        batch: &Batch,
        (inner, walk): (&'a Loop, &Walk),
        count: Value<'c>,
        entry: Value<'c>,
    ) -> Result<Value<'c>, EmitError> {
        let e = self.e;
        let (active, next) = self.take_entry(batch, count, entry);

        let block = |entry| e.mul(entry, e.i32(walk.block as i32));
        let from = block(entry);
        let tiles = e.begin_loop(from, e.add(from, e.i32(walk.block as i32)), inner.tile.into(), &[]);
        let start = tiles.index;
        let inside = e.begin_if(e.icmp(IntPredicate::SLT, start, self.length(inner.axis)?));
        let after = match inner.tile == walk.block {
            true => block(e.select(e.icmp(IntPredicate::EQ, next, e.i32(END)), entry, next)),
            false => e.add(start, e.i32(inner.tile as i32)),
        };
        let (fetches, rest): (Vec<_>, Vec<_>) =
            inner.body.iter().partition(|statement| matches!(statement, Statement::Fetch { .. }));
        self.block = base.clone();
        self.iteration(inner, &fetches, (start, after), (e.i32(0), self.length(inner.axis)?), None)?;
        let (first, rest) = rest.split_at(usize::from(batch.ahead.is_some()));
        let blocks = e.begin_loop(e.i64(0), e.add(active, e.i64(first.len() as i64)), 1, &[]);
        let mut block = blocks.index;
        if !first.is_empty() {
            let more = e.begin_if(e.icmp(IntPredicate::SLT, block, active));
            self.enter_active(base, batch, block);
            self.iteration(inner, first, (start, after), (e.i32(0), self.length(inner.axis)?), None)?;
            e.end_if(more, &[]);
            block = e.sub(block, e.i64(1));
        }
        let begun = e.begin_if(e.icmp(IntPredicate::SGE, block, e.i64(0)));
        self.enter_active(base, batch, block);
        let (lo, hi) = (self.block_value(inner.lo)?, self.block_value(inner.hi)?);
        let full = match inner.full {
            Some((first, end)) => Some((self.block_value(first)?, self.block_value(end)?)),
            None => None,
        };
        let reaches = e.icmp(IntPredicate::SGT, e.add(start, e.i32(inner.tile as i32)), lo);
        let meets = e.begin_if(e.and(reaches, e.icmp(IntPredicate::SLT, start, hi)));
        self.iteration(inner, rest, (start, after), (lo, hi), full)?;
        e.end_if(meets, &[]);
        e.end_if(begun, &[]);
        e.end_loop(blocks, &[]);
        e.end_if(inside, &[]);
        e.end_loop(tiles, &[]);
        Ok(next)
    }

    /// Writes down the blocks whose next entry this is and moves them on; how many there are (`i64`), and the smallest entry that
    /// is next then (`i32`).
    fn take_entry(&self, batch: &Batch, count: Value<'c>, entry: Value<'c>) -> (Value<'c>, Value<'c>) {
        let e = self.e;
        let i32_type = e.i32_type().into();
        let slots = e.begin_loop(e.i64(0), count, 1, &[e.i64(0), e.i32(END)]);
        let (slot, active) = (slots.index, slots.carried[0]);
        let head = e.load(i32_type, self.word(batch, Word::Head, slot), 4);
        let mut own = e.begin_if(e.icmp(IntPredicate::EQ, head, entry));
        e.store(e.to_i32(slot), self.word(batch, Word::Active, active), 4);
        let position = self.word(batch, Word::Position, slot);
        let following = e.add(e.load(i32_type, position, 4), e.i32(1));
        e.store(following, position, 4);
        let moved = e.load(i32_type, self.entry(batch, slot, e.to_i64(following)), 4);
        e.store(moved, self.word(batch, Word::Head, slot), 4);
        let more = e.add(active, e.i64(1));
        e.begin_else(&mut own, &[moved, more]);
        let merged = e.end_if(own, &[head, active]);
        let next = e.imin(slots.carried[1], merged[0]);
        let ended = e.end_loop(slots, &[merged[1], next]);
        (ended[0], ended[1])
    }
}
