//! Loops: positions from a range or a list of blocks, pipelined fetches, running values of several warps.
//!
//! A pipelined loop keeps `stages` buffers per tile. An iteration waits for its own copies, meets the other threads once
//! (their copies are then visible, and everybody has left the buffer that is filled next), issues the copies of the
//! iteration `stages - 1` ahead, and computes.

use super::block::{Block, Walked};
use super::instructions::GLOBAL;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::{Loop, Operand, Statement, TileAxis, Var, Walk, visit};
use crate::term::{Monoid, Term};
use inkwell::IntPredicate;
use std::collections::HashSet;

/// Registers that a thread may use before fragments of the first operand had better stay in shared memory. Half of the
/// statements' temporaries are live at once in the kernels seen; 255 is the architecture's limit.
const REGISTER_BUDGET: u32 = 232;
/// Registers for addresses, loop state and temporaries, as ptxas needs them beside accumulators.
const REGISTER_OVERHEAD: u32 = 56;
/// Registers of variables from which on a loop needs every other register for itself.
const CROWDED: u32 = 128;

/// Where the tiles of a loop lie.
struct Positions<'c> {
    lo: Value<'c>,
    /// Number of iterations.
    count: Value<'c>,
    tile: u32,
    listed: Option<Listed<'c>>,
    /// The list, where a tile has several of its blocks.
    gathered: Option<Listed<'c>>,
}

/// A list of blocks in memory.
#[derive(Clone, Copy)]
pub(super) struct Listed<'c> {
    /// Its first entry.
    pointer: Value<'c>,
    entries: u32,
    block: u32,
}

impl<'a, 'c> Block<'a, 'c> {
    /// Emits statements in order, but for reductions: they come as early as they can.
    ///
    /// A reduction needs its source in full; after a contraction with the same source it would keep the source's registers
    /// alive beside the contraction's rounded copies.
    pub fn statements(&mut self, body: &'a [Statement]) -> Result<(), EmitError> {
        let mut order: Vec<&'a Statement> = vec![];
        for statement in body {
            let mut at = order.len();
            if let Statement::Reduce { var, from, .. } = statement {
                let passes = |before: &Statement| match before {
                    Statement::Fetch { .. } => true,
                    Statement::Dot { var: sum, a, .. } => {
                        sum != from && sum != var && !matches!(a, Operand::Var(a) if a == var)
                    }
                    _ => false,
                };
                at -= order.iter().rev().take_while(|before| passes(before)).count();
            }
            order.insert(at, statement);
        }
        let mut at = 0;
        while let Some(statement) = order.get(at) {
            let run = order[at..].iter().take_while(|s| matches!(s, Statement::Fetch { .. })).count();
            if run > 0 {
                self.fetch_now(&order[at..at + run])?;
                at += run;
            } else {
                self.statement(statement)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// Fetches that no pipeline has issued ahead.
    fn fetch_now(&mut self, fetches: &[&Statement]) -> Result<(), EmitError> {
        let e = self.source.e;
        let tiles: Vec<u32> = fetches
            .iter()
            .filter_map(|s| match s {
                Statement::Fetch { tile } => Some(*tile),
                _ => None,
            })
            .filter(|tile| !self.is_pipelined_now(*tile))
            .collect();
        if tiles.is_empty() {
            return Ok(());
        }
        if !self.loops.is_empty() {
            // Other warps may still read what the last iteration left there.
            e.barrier()?;
        }
        for tile in &tiles {
            self.tile(*tile)?;
            self.fill(*tile, e.i32(0))?;
            self.buffers.insert(*tile, self.tile_buffer(*tile, e.i32(0)));
        }
        e.commit_copies()?;
        self.in_flight = true;
        if !self.loops.is_empty() {
            self.settle()?;
        }
        Ok(())
    }
    fn is_pipelined_now(&self, tile: u32) -> bool {
        self.pipelined.last().is_some_and(|tiles| tiles.contains(&tile))
    }

    /// Waits until every fetched tile can be read by every thread.
    pub fn settle(&mut self) -> Result<(), EmitError> {
        if std::mem::take(&mut self.in_flight) {
            self.source.e.wait_copies(0)?;
            self.source.e.barrier()?;
        }
        Ok(())
    }

    fn positions(&self, l: &Loop) -> Result<Positions<'c>, EmitError> {
        let e = self.source.e;
        let (lo, tile) = (self.integer(l.lo)?, l.tile.max(1));
        if let Some(walk) = &l.walk {
            if walk.block == 0 || !walk.block.is_multiple_of(tile) && !tile.is_multiple_of(walk.block) {
                let words = format!("tiles of {tile} values in listed blocks of {}", walk.block);
                return Err(EmitError::Plan(words));
            }
            let listed = Listed { pointer: self.list_pointer(walk)?, entries: walk.count, block: walk.block };
            let valid = self.valid_entries(&listed)?;
            if walk.block < tile {
                // Positions in the list; what stands there is looked up value by value.
                let values = e.mul(valid, e.i32(walk.block as i32));
                let count = e.udiv(e.add(values, e.i32(tile as i32 - 1)), e.i32(tile as i32));
                return Ok(Positions { lo: e.i32(0), count, tile, listed: None, gathered: Some(listed) });
            }
            let count = e.mul(valid, e.i32((walk.block / tile) as i32));
            return Ok(Positions { lo, count, tile, listed: Some(listed), gathered: None });
        }
        let length = e.imax(e.sub(self.integer(l.hi)?, lo), e.i32(0));
        let count = e.udiv(e.add(length, e.i32(tile as i32 - 1)), e.i32(tile as i32));
        Ok(Positions { lo, count, tile, listed: None, gathered: None })
    }
    /// Address of the first entry of a list.
    fn list_pointer(&self, walk: &Walk) -> Result<Value<'c>, EmitError> {
        let (e, terms) = (self.source.e, &self.source.plan.terms);
        let wrong = || EmitError::Plan("a walk along something that is no list".into());
        let Term::List(children) = &terms[walk.list] else { return Err(wrong()) };
        let (Some(Term::Tensor(name)), index) = (children.first().map(|id| &terms[*id]), &children[1..]) else {
            return Err(wrong());
        };
        let view = self.views.get(name).ok_or_else(wrong)?;
        if index.len() != view.strides.len() {
            return Err(wrong());
        }
        let mut elements = e.i64(0);
        for ((id, stride), axis) in index.iter().zip(&view.strides).zip(&view.axes) {
            let mut value = self.integer(*id)?;
            if self.source.facts.reads(*id) {
                value = e.nearest_index(value, self.length(*axis)?);
            }
            elements = e.add(elements, e.mul(e.to_i64(value), *stride));
        }
        Ok(e.offset(view.pointer, e.mul(elements, e.i64(view.dtype.bytes() as i64))))
    }
    /// An entry, made [`Emitter::countable`](crate::emit::llvm::Emitter::countable).
    fn entry(&self, listed: &Listed<'c>, index: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let last = e.i32(listed.entries as i32 - 1);
        let bytes = e.shift_left(e.imin(index, last), e.i32(2));
        let entry = e.load(e.i32_type().into(), e.offset_u32(listed.pointer, bytes), 4);
        e.countable(entry, listed.block.into())
    }
    /// Entries up to the last that is none of padding: -1 may stand anywhere, but lies behind the others as a rule.
    fn valid_entries(&self, listed: &Listed<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        debug_assert_eq!(GLOBAL, 1);
        let mut count = e.i32(0);
        for start in (0..listed.entries).step_by(32) {
            let index = e.add(self.thread.lane, e.i32(start as i32));
            let exists = self.less(index, e.i32(listed.entries as i32));
            let chosen = e.icmp(IntPredicate::SGE, self.entry(listed, index), e.i32(0));
            let word = e.ballot(e.and(exists, chosen))?;
            let end = e.sub(e.i32(start as i32 + 32), e.leading_zeros(word)?);
            count = e.select(e.icmp(IntPredicate::NE, word, e.i32(0)), end, count);
        }
        Ok(count)
    }
    /// The value at a position of a list: behind every axis where there is none.
    pub fn listed_value(&self, listed: &Listed<'c>, position: Value<'c>) -> Value<'c> {
        let e = self.source.e;
        let block = e.i32(listed.block as i32);
        let (index, inside) = (e.udiv(position, block), e.urem(position, block));
        let entry = self.entry(listed, index);
        let exists = e.and(self.less(index, e.i32(listed.entries as i32)), e.icmp(IntPredicate::SGE, entry, e.i32(0)));
        e.select(exists, e.add(e.mul(entry, block), inside), e.i32(1 << 30))
    }
    /// First value of tile `index`; of a gathered one, its first position.
    fn base(&self, positions: &Positions<'c>, index: Value<'c>) -> Value<'c> {
        let (e, tile) = (self.source.e, positions.tile as i32);
        let Some(listed) = &positions.listed else {
            return e.add(positions.lo, e.mul(index, e.i32(tile)));
        };
        let per_block = e.i32(listed.block as i32 / tile);
        let entry = self.entry(listed, e.udiv(index, per_block));
        // Padding is a block behind every axis: nothing of it is read, and every mask leaves it out.
        let entry = e.select(self.less(entry, e.i32(0)), e.i32((1 << 30) / listed.block as i32), entry);
        let inside = e.mul(e.urem(index, per_block), e.i32(tile));
        e.add(e.mul(entry, e.i32(listed.block as i32)), inside)
    }

    /// Emits a loop.
    pub fn walk(&mut self, l: &'a Loop) -> Result<(), EmitError> {
        let e = self.source.e;
        let nested = !self.loops.is_empty();
        let tiles = self.pipelined_tiles(l);
        let depth = tiles.iter().map(|t| self.placement(*t).stages).min().unwrap_or(1);
        let positions = self.positions(l)?;
        if nested || self.looped_before {
            // The tiles of this loop take the place of others that some warp may still read.
            if !nested {
                self.settle()?;
            }
            e.barrier()?;
        }
        self.looped_before = true;
        let deferred = self.deferrable(l);
        let parts = self.fragments()?.parts(l.tile);
        self.enter_merges(l, &deferred, parts)?;

        // Positions are known one iteration before their copies are issued, so that nobody waits for the list.
        let mut ahead: Vec<Value<'c>> = (0..depth).map(|j| self.base(&positions, e.i32(j as i32))).collect();
        self.loops.push(Walked {
            axis: l.axis,
            tile: l.tile,
            base: ahead[0],
            gathered: positions.gathered,
            edge: None,
            deferred,
        });
        for j in 0..depth - 1 {
            let exists = self.less(e.i32(j as i32), positions.count);
            self.issue(&tiles, ahead[j as usize], e.i32(j as i32), exists)?;
        }
        if self.loops.len() == 1 {
            self.load_residents(l, depth)?;
        }

        let listed = positions.listed.is_some();
        // Which buffer is in use follows from the iteration's number where that is a matter of its last bits.
        let counted = depth.is_power_of_two();
        let mut carried = if counted { vec![] } else { vec![e.i32(0)] };
        if listed {
            carried.extend(&ahead);
        }
        let turn = e.begin_loop(e.i32(0), positions.count, 1, &carried);
        let slot = if counted { e.and(turn.index, e.i32(depth as i32 - 1)) } else { turn.carried[0] };
        if listed {
            ahead = turn.carried[usize::from(!counted)..].to_vec();
        } else {
            ahead[0] = self.base(&positions, turn.index);
        }
        let base = ahead[0];
        self.set_base(base);
        if !tiles.is_empty() {
            e.wait_copies(depth - 2)?;
            e.barrier()?;
            let next = e.add(turn.index, e.i32(depth as i32 - 1));
            let free = if counted {
                e.and(next, e.i32(depth as i32 - 1))
            } else {
                let first = e.icmp(IntPredicate::EQ, slot, e.i32(0));
                e.select(first, e.i32(depth as i32 - 1), e.sub(slot, e.i32(1)))
            };
            let position = if listed { ahead[depth as usize - 1] } else { self.base(&positions, next) };
            self.issue(&tiles, position, free, self.less(next, positions.count))?;
            self.set_base(base);
            for tile in &tiles {
                let buffer = self.tile_buffer(*tile, slot);
                self.buffers.insert(*tile, buffer);
            }
        }
        let outer_flight = std::mem::take(&mut self.in_flight);
        let after = if listed { Some(self.base(&positions, e.add(turn.index, e.i32(depth as i32)))) } else { None };
        let edge = self.edge(l, base)?;
        if let Some(walked) = self.loops.last_mut() {
            walked.edge = edge;
        }

        self.pipelined.push(tiles.iter().copied().collect());
        let result = self.statements(&l.body);
        self.pipelined.pop();
        result?;

        let last = e.icmp(IntPredicate::EQ, slot, e.i32(depth as i32 - 1));
        let mut next = if counted { vec![] } else { vec![e.select(last, e.i32(0), e.add(slot, e.i32(1)))] };
        if let Some(after) = after {
            next.extend(&ahead[1..]);
            next.push(after);
        }
        e.end_loop(turn, &next);
        let walked = self.loops.pop();
        for tile in &tiles {
            self.buffers.remove(tile);
        }
        // A loop without iterations has waited for nothing.
        self.in_flight = outer_flight;
        if !nested && self.is_crowded() {
            self.look_again()?;
        }
        self.leave_merges(l, &walked.map(|w| w.deferred).unwrap_or_default(), parts)
    }
    fn set_base(&mut self, base: Value<'c>) {
        if let Some(walked) = self.loops.last_mut() {
            walked.base = base;
        }
    }

    /// Issues the copies of one iteration, if it exists; commits a group in any case, so that groups count iterations.
    fn issue(&mut self, tiles: &[u32], base: Value<'c>, slot: Value<'c>, exists: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        self.set_base(base);
        let open = e.begin_if(exists);
        let thread = self.thread;
        if self.is_crowded() {
            self.thread = self.thread_again()?;
        }
        for tile in tiles {
            self.fill(*tile, slot)?;
        }
        self.thread = thread;
        e.end_if(open, &[]);
        e.commit_copies()
    }

    /// The tiles that a loop fetches ahead.
    fn pipelined_tiles(&self, l: &Loop) -> Vec<u32> {
        let mut tiles = vec![];
        for statement in &l.body {
            if let Statement::Fetch { tile } = statement
                && let Ok(description) = self.tile(*tile)
                && self.placement(*tile).stages > 1
                && self.copyable(description)
                && !tiles.contains(tile)
            {
                tiles.push(*tile);
            }
        }
        tiles
    }

    /// Before an outermost loop, with the copies of its first iterations under way: the first operands that stay in registers.
    fn load_residents(&mut self, l: &Loop, depth: u32) -> Result<(), EmitError> {
        let e = self.source.e;
        let mut wanted = vec![];
        visit::statements(&l.body, &mut |statement| {
            if let Statement::Dot { a: Operand::Tile(tile), .. } = statement
                && self.buffers.contains_key(tile)
                && !self.resident.contains_key(tile)
                && !wanted.contains(tile)
            {
                wanted.push(*tile);
            }
        });
        let mut free = REGISTER_BUDGET.saturating_sub(self.accumulators() + REGISTER_OVERHEAD);
        let mut settled = false;
        for tile in wanted {
            let description = self.tile(tile)?;
            let registers = self.fragment_registers(tile)?;
            let fits = registers <= free && registers <= 64 && description.dtype.bytes() == 2;
            if !fits || description.slow != TileAxis::Rows || !description.fast.count.is_multiple_of(16) {
                continue;
            }
            if !std::mem::replace(&mut settled, true) && std::mem::take(&mut self.in_flight) {
                e.wait_copies(depth - 1)?;
                e.barrier()?;
            }
            self.make_resident(tile)?;
            free -= registers;
        }
        // Tiles that stay in shared memory are covered by the loop's own wait, or else need one now.
        if self.in_flight && depth == 1 {
            self.settle()?;
        }
        Ok(())
    }
    /// Registers of all variables of a thread.
    fn accumulators(&self) -> u32 {
        self.variables.iter().map(|registers| (registers.rows * registers.columns) as u32).sum()
    }
    /// True if loops need nearly every register for their variables.
    pub fn is_crowded(&self) -> bool {
        self.accumulators() > CROWDED
    }

    /// True where the tile at `base` is not inside the range that needs no masks.
    fn edge(&self, l: &Loop, base: Value<'c>) -> Result<Option<Value<'c>>, EmitError> {
        let Some((lo, hi)) = l.full else { return Ok(None) };
        let e = self.source.e;
        let (lo, hi) = (self.integer(lo)?, self.integer(hi)?);
        let before = self.less(base, lo);
        let after = self.less(hi, e.add(base, e.i32(l.tile as i32)));
        Ok(Some(e.or(before, after)))
    }

    /// Variables that the body only folds into (and rescales): every thread may keep its own part until the loop ends.
    fn deferrable(&self, l: &Loop) -> HashSet<Var> {
        let mut folded = HashSet::new();
        for statement in &l.body {
            if let Statement::Reduce { var, .. } = statement {
                folded.insert(*var);
            }
        }
        let mut touched = HashSet::new();
        let terms = &self.source.plan.terms;
        visit::statements(&l.body, &mut |statement| {
            let mut reads = |id: egg::Id| variables_of(terms, id, &mut touched);
            match statement {
                Statement::Set { var, expr } => {
                    reads(*expr);
                    touched.insert(*var);
                }
                Statement::Mask { var, keep, .. } => {
                    reads(*keep);
                    touched.insert(*var);
                }
                Statement::Dot { var, a, .. } => {
                    touched.insert(*var);
                    if let Operand::Var(a) = a {
                        touched.insert(*a);
                    }
                }
                Statement::Reduce { from, .. } => {
                    touched.insert(*from);
                }
                Statement::Online { score, max, .. } => {
                    touched.insert(*score);
                    touched.insert(*max);
                }
                Statement::Stage { from, .. } => {
                    touched.insert(*from);
                }
                Statement::Insert { score, force, among, .. } => {
                    [score, force, among].into_iter().for_each(|x| reads(*x))
                }
                Statement::StoreList { index, .. } => index.iter().for_each(|x| reads(*x)),
                Statement::Store { index, value, .. } => index.iter().chain([value]).for_each(|x| reads(*x)),
                // Loops inside belong to an iteration: what they fold must be whole when they end.
                Statement::Loop(inner) => {
                    for merge in &inner.merge {
                        touched.extend(merge.values.iter().copied());
                    }
                    visit::statements(&inner.body, &mut |s| {
                        if let Statement::Reduce { var, .. } = s {
                            touched.insert(*var);
                        }
                    });
                }
                Statement::Fetch { .. } => {}
            }
        });
        folded.retain(|var| !touched.contains(var));
        folded
    }

    /// The monoid that a loop folds a variable with.
    pub fn monoid_of(l: &Loop, var: Var) -> Monoid {
        let mut monoid = Monoid::Add;
        for statement in &l.body {
            if let Statement::Reduce { var: v, monoid: m, .. } = statement
                && *v == var
            {
                monoid = *m;
            }
        }
        monoid
    }
}

/// The variables that a term reads.
fn variables_of(terms: &egg::RecExpr<Term>, root: egg::Id, into: &mut HashSet<Var>) {
    let mut seen = vec![false; usize::from(root) + 1];
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut seen[usize::from(id)], true) {
            continue;
        }
        if let Term::Value(v) = &terms[id] {
            into.insert(v.0);
        }
        stack.extend(egg::Language::children(&terms[id]));
    }
}
