//! From the statements of a kernel to instructions: the block's prologue, loops, and who handles which statement.

use super::EmitError;
use super::assign::Softmax;
use super::block::{Block, constant};
use super::element::{Column, Element, Rows};
use super::forms::{Form, reads_scratch};
use super::isa::Isa;
use super::layout::Scratch;
use super::matrix::Registers;
use crate::emit::llvm::{Emitter, Value};
use crate::emit::scalar::{Evaluator, Facts};
use crate::plan::{Kernel, Loop, Operand, Plan, Span, Statement, Var, Variable, Walk};
use crate::term::{AxisName, Monoid};
use egg::Id;
use inkwell::IntPredicate;

/// Vectors of a row per iteration, where kernels have matrix registers.
const VECTORS: i64 = 4;

/// A loop whose body is being built.
pub(super) struct Open<'c> {
    /// The axis that it walks.
    pub axis: AxisName,
    /// First value of the tile (`i32`).
    pub base: Value<'c>,
    /// Values per iteration.
    pub tile: u32,
    /// First value and end of the domain for the whole block.
    pub range: (Value<'c>, Value<'c>),
    /// Whether this tile needs masks; None: every tile does.
    pub masked: Option<Value<'c>>,
    /// First value of the next iteration's tile (`i32`); any value if there is none.
    pub next: Value<'c>,
    /// The tiles that the body itself fetches, in order.
    pub fetches: Vec<u32>,
}

/// A kernel being lowered for one instruction set.
pub(super) struct Lower<'a, 'c> {
    pub e: &'a Emitter<'c>,
    pub plan: &'a Plan,
    pub kernel: &'a Kernel,
    pub facts: &'a Facts,
    pub isa: Isa,
    pub scratch: Scratch,
    /// The thread's scratch memory.
    pub memory: Value<'c>,
    /// The part of it that the block has to itself; see [`super::batch`].
    pub own: Value<'c>,
    pub block: Block<'c>,
    pub loops: Vec<Open<'c>>,
    /// The panel (its first row, `i64`) that statements are built for; None: all of them.
    pub only: Option<Value<'c>>,
    /// Which place of the variable that has two is meant (`i64`, 0 or 1).
    pub parity: Option<Value<'c>>,
    /// The variable that is rounded already for the next contraction of it in matrix registers.
    pub rounded: Option<Var>,
    /// A sum that has its weights already: the variables of both.
    pub summed: Option<(Var, Var)>,
    /// Per tile of lines: where its registers are, if not in scratch memory.
    pub borrowed: Vec<Option<Registers<'c>>>,
}

impl<'a, 'c> Lower<'a, 'c> {
    /// Builds the body of one block.
    pub fn run(&mut self) -> Result<(), EmitError> {
        self.rows()?;
        if self.scratch.forms.matrix() {
            self.prefetch_results()?;
        }
        self.start_lists();
        let kernel = self.kernel;
        self.statements(&kernel.body.iter().collect::<Vec<_>>())
    }

    /// Scratch memory at `base` bytes, element `index` (`i64`) of `size` bytes.
    pub fn at(&self, base: u64, index: Value<'c>, size: i64) -> Value<'c> {
        let e = self.e;
        let memory = if self.scratch.is_own(base) { self.own } else { self.memory };
        let start = match self.parity {
            Some(parity) if self.scratch.second > 0 && base == self.scratch.ahead() => {
                e.add(e.mul(parity, e.i64(self.scratch.second as i64)), e.i64(base as i64))
            }
            _ => e.i64(base as i64),
        };
        e.offset(memory, e.add(e.mul(index, e.i64(size)), start))
    }
    /// First value of a row axis in this block (`i32`).
    pub fn row_first(&self, axis: AxisName) -> Value<'c> {
        self.block.grid.get(&axis).copied().unwrap_or_else(|| self.e.i32(0))
    }
    /// Length of an axis (`i32`).
    pub fn length(&self, axis: AxisName) -> Result<Value<'c>, EmitError> {
        let length = self.block.lengths.get(&axis);
        length.copied().ok_or_else(|| EmitError::Plan(format!("no axis {}", axis.name())))
    }
    /// A variable of the kernel.
    pub fn variable(&self, number: u32) -> Result<&'a Variable, EmitError> {
        let variable = self.kernel.variables.get(number as usize);
        variable.ok_or_else(|| EmitError::Plan(format!("no variable %{number}")))
    }
    /// The index of (row, column `at`) in a variable with `columns` columns, in panels.
    pub fn panel_offset(&self, row: Value<'c>, columns: u32, at: Value<'c>) -> Value<'c> {
        let e = self.e;
        let panel = i64::from(self.scratch.panel);
        let whole = e.mul(e.floor_div(row, e.i64(panel)), e.i64(panel * i64::from(columns)));
        let inner = e.add(e.mul(at, e.i64(panel)), e.floor_rem(row, e.i64(panel)));
        e.add(whole, inner)
    }

    /// The first value of the tile of a column axis.
    pub fn column_base(&self, axis: AxisName) -> Value<'c> {
        if let Some(open) = self.loops.iter().rev().find(|l| l.axis == axis && l.tile > 1) {
            return open.base;
        }
        let row = self.kernel.rows.iter().any(|s| s.axis == axis);
        match self.block.grid.get(&axis) {
            Some(first) if !row => *first,
            _ => self.e.i32(0),
        }
    }
    /// True if a tile of an axis may reach beyond the axis's length.
    pub fn loose(&self, span: &Span) -> bool {
        let moving =
            self.loops.iter().any(|l| l.axis == span.axis && l.tile > 1) || self.block.grid.contains_key(&span.axis);
        match constant(self.plan, span.axis) {
            Some(extent) if moving => extent % i64::from(span.count.max(1)) != 0,
            Some(extent) => i64::from(span.count) > extent,
            None => true,
        }
    }
    /// Column `at` (`i64`) of a span.
    pub fn column(&self, span: &Span, at: Value<'c>) -> Column<'c> {
        let value = self.e.add(self.column_base(span.axis), self.e.to_i32(at));
        Column { axis: span.axis, value, at, loose: self.loose(span) }
    }

    /// An element, or a vector of them, for evaluating terms.
    pub fn element(&self, lanes: u32, rows: Rows<'c>, column: Option<Column<'c>>) -> Element<'_, 'a, 'c> {
        Element { lower: self, lanes, rows, column, fixed: None, turned: false }
    }
    /// A block-level integer.
    pub fn block_value(&self, id: Id) -> Result<Value<'c>, EmitError> {
        let element = self.element(1, Rows::Block, None);
        Evaluator::new(self.e, self.plan, self.facts, &element).plain(id)
    }

    /// Builds `f` for the columns of a span that lie inside its axis: whole vectors, then single ones.
    pub fn each_column(
        &self,
        span: &Span,
        f: &mut dyn FnMut(Column<'c>, u32) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let lanes = i64::from(self.scratch.lanes);
        let count = i64::from(span.count);
        let (whole, valid) = match self.loose(span) {
            false => (e.i64(count / lanes * lanes), e.i64(count)),
            true => {
                let left = e.sub(self.length(span.axis)?, self.column_base(span.axis));
                let valid = e.to_i64(e.imax(e.imin(left, e.i32(span.count as i32)), e.i32(0)));
                (e.and(valid, e.i64(-lanes)), valid)
            }
        };
        // What the vectors of a row have in common is computed once for several of them.
        let together = if self.scratch.forms.matrix() && !self.loose(span) { VECTORS } else { 1 };
        let together = if (count / lanes) % together == 0 { together } else { 1 };
        let open = e.begin_loop(e.i64(0), whole, lanes * together, &[]);
        for vector in 0..together {
            let at = e.add(open.index, e.i64(vector * lanes));
            f(Column { loose: false, ..self.column(span, at) }, self.scratch.lanes)?;
        }
        e.end_loop(open, &[]);
        if self.loose(span) || count % lanes != 0 {
            let open = e.begin_loop(whole, valid, 1, &[]);
            f(Column { loose: false, ..self.column(span, open.index) }, 1)?;
            e.end_loop(open, &[]);
        }
        Ok(())
    }

    /// Coordinates of the block's rows, and which lie inside the sequence.
    pub(super) fn rows(&mut self) -> Result<(), EmitError> {
        let e = self.e;
        let open = e.begin_loop(e.i32(0), e.i32(self.scratch.padded_rows as i32), 1, &[]);
        let row = e.imin(open.index, e.i32(self.scratch.rows as i32 - 1));
        let at = e.to_i64(open.index);
        let mut inside = e.icmp(IntPredicate::EQ, row, open.index);
        let mut faster = 1;
        for (index, span) in self.kernel.rows.iter().enumerate().rev() {
            // Rows are not negative, so the divisions may as well be unsigned.
            let own = e.urem(e.udiv(row, e.i32(faster)), e.i32(span.count as i32));
            faster *= span.count as i32;
            let value = e.add(self.row_first(span.axis), own);
            let last = e.sub(self.length(span.axis)?, e.i32(1));
            inside = e.and(inside, e.icmp(IntPredicate::SLE, value, last));
            e.store(e.imax(e.imin(value, last), e.i32(0)), self.at(self.scratch.coordinates[index], at, 4), 4);
        }
        e.store(e.zero_extend(inside, e.i32_type().into()), self.at(self.scratch.inside, at, 4), 4);
        e.end_loop(open, &[]);
        Ok(())
    }
    /// Whether a row (`i64`) lies inside the sequence.
    pub fn row_inside(&self, row: Value<'c>) -> Value<'c> {
        let e = self.e;
        let flag = e.load(e.i32_type().into(), self.at(self.scratch.inside, row, 4), 4);
        e.icmp(IntPredicate::NE, flag, e.i32(0))
    }

    pub(super) fn statements(&mut self, mut body: &[&'a Statement]) -> Result<(), EmitError> {
        while let Some((first, rest)) = body.split_first() {
            body = match (self.panelwise(body), first) {
                (count @ 2.., _) => {
                    let (run, after) = body.split_at(count);
                    self.panel_by_panel(run)?;
                    after
                }
                (_, Statement::Online { score, max, scale, rescale }) => {
                    let (round, sum) = (self.rounds_early(*score, rest), sums_early(*score, rest));
                    self.online(&Softmax { score: *score, max: *max, scale: *scale, rescale, round, sum })?;
                    self.rounded = round.map(|_| *score);
                    self.summed = sum.map(|sum| (sum, *score));
                    rest
                }
                (_, Statement::Reduce { var, from, .. }) if self.summed == Some((*var, *from)) => {
                    self.summed = None;
                    rest
                }
                _ => {
                    self.statement(first)?;
                    rest
                }
            };
        }
        Ok(())
    }
    /// How many statements, the first of which is a contraction in matrix registers, can be done panel by panel.
    fn panelwise(&self, body: &[&Statement]) -> usize {
        let in_matrices = |tile: u32| self.scratch.forms.tiles.get(tile as usize).is_some_and(|f| *f != Form::Floats);
        let several = self.scratch.padded_rows > self.scratch.panel && self.only.is_none();
        let begins = matches!(body.first(), Some(Statement::Dot { b, .. }) if several && in_matrices(*b));
        let follows = |statement: &&&Statement| match statement {
            Statement::Dot { b, .. } => in_matrices(*b),
            Statement::Set { var, .. } => {
                let variable = self.kernel.variables.get(*var as usize);
                variable.is_some_and(|v| v.rows && v.columns.is_some() && !self.scratch.forms.lines[*var as usize])
            }
            Statement::Mask { .. } | Statement::Reduce { .. } | Statement::Online { .. } => true,
            _ => false,
        };
        if begins { 1 + body[1..].iter().take_while(follows).count() } else { 0 }
    }
    /// Statements on one panel after the other, so that what they pass on stays in the first-level cache. The first one,
    /// a contraction, is a panel ahead: matrix registers work on it while vectors work on what came before.
    fn panel_by_panel(&mut self, run: &[&'a Statement]) -> Result<(), EmitError> {
        let e = self.e;
        let Some((first, rest)) = run.split_first() else { return Ok(()) };
        let (rows, panel) = (i64::from(self.scratch.padded_rows), i64::from(self.scratch.panel));
        let open = e.begin_loop(e.i64(0), e.i64(rows + panel), panel, &[]);
        let more = e.begin_if(e.icmp(IntPredicate::SLT, open.index, e.i64(rows)));
        self.only = Some(open.index);
        self.statement(first)?;
        e.end_if(more, &[]);
        let begun = e.begin_if(e.icmp(IntPredicate::SGT, open.index, e.i64(0)));
        self.only = Some(e.sub(open.index, e.i64(panel)));
        self.statements(rest)?;
        e.end_if(begun, &[]);
        e.end_loop(open, &[]);
        self.only = None;
        Ok(())
    }
    fn statement(&mut self, statement: &'a Statement) -> Result<(), EmitError> {
        if !self.scratch.row_lanes
            && !matches!(statement, Statement::Set { .. } | Statement::Store { .. } | Statement::Loop(_))
        {
            return Err(EmitError::Plan("an elementwise kernel has a statement on tiles".into()));
        }
        match statement {
            Statement::Set { var, expr } => self.set(*var, *expr),
            Statement::Fetch { tile } => self.fetch(*tile),
            Statement::Dot { var, a, b, depth, accumulate } => self.dot(*var, *a, *b, depth, *accumulate),
            Statement::Mask { var, keep, otherwise } => {
                match self.loops.iter().rev().find(|l| l.tile > 1).and_then(|l| l.masked) {
                    None => self.mask(*var, *keep, *otherwise),
                    Some(masked) => {
                        let open = self.e.begin_if(masked);
                        self.mask(*var, *keep, *otherwise)?;
                        self.e.end_if(open, &[]);
                        Ok(())
                    }
                }
            }
            Statement::Reduce { var, from, monoid } => self.reduce(*var, *from, *monoid),
            Statement::Online { score, max, scale, rescale } => {
                self.online(&Softmax { score: *score, max: *max, scale: *scale, rescale, round: None, sum: None })
            }
            Statement::Stage { stage, from, sum } => self.stage(*stage, *from, *sum),
            Statement::Insert { list, columns, score, force, among } => {
                self.insert(*list, columns, *score, *force, *among)
            }
            Statement::StoreList { list, buffer, index } => self.store_list(*list, *buffer, index),
            Statement::Store { buffer, index, value, rows, columns } => {
                self.store(*buffer, index, *value, *rows, columns.as_ref())
            }
            Statement::Loop(inner) => self.repeat(inner),
        }
    }

    fn repeat(&mut self, inner: &'a Loop) -> Result<(), EmitError> {
        let e = self.e;
        let (lo, hi) = (self.block_value(inner.lo)?, self.block_value(inner.hi)?);
        let full = match inner.full {
            Some((first, end)) => Some((self.block_value(first)?, self.block_value(end)?)),
            None => None,
        };
        let Some(walk) = &inner.walk else {
            let open = e.begin_loop(lo, hi, inner.tile.into(), &[]);
            let next = e.add(open.index, e.i32(inner.tile as i32));
            self.iteration(inner, &self.ordered(&inner.body), (open.index, next), (lo, hi), full)?;
            e.end_loop(open, &[]);
            return Ok(());
        };
        self.walk(inner, walk, (lo, hi), full)
    }

    /// The tiles of the listed blocks that meet the domain.
    fn walk(
        &mut self,
        inner: &'a Loop,
        walk: &Walk,
        (lo, hi): (Value<'c>, Value<'c>),
        full: Option<(Value<'c>, Value<'c>)>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        if inner.tile == 0 || !walk.block.is_multiple_of(inner.tile) {
            return Err(EmitError::Plan(format!(
                "tiles of {} values do not divide blocks of {}",
                inner.tile, walk.block
            )));
        }
        let entries = e.begin_loop(e.i32(0), e.i32(walk.count as i32), 1, &[]);
        let entry_at = |at| {
            let element = self.element(1, Rows::Block, None);
            Evaluator::new(e, self.plan, self.facts, &element).list_entry(walk.list, walk.block.into(), at)
        };
        let entry = entry_at(entries.index)?;
        let listed = e.begin_if(e.icmp(IntPredicate::SGE, entry, e.i32(0)));
        let first = e.mul(entry, e.i32(walk.block as i32));
        // After a tile comes the block's next one, or the next block.
        let next = match inner.tile == walk.block {
            true => {
                let after = e.imin(e.add(entries.index, e.i32(1)), e.i32(walk.count as i32 - 1));
                Some(e.mul(entry_at(after)?, e.i32(walk.block as i32)))
            }
            false => None,
        };
        let tiles = e.begin_loop(first, e.add(first, e.i32(walk.block as i32)), inner.tile.into(), &[]);
        let base = tiles.index;
        let reaches = e.icmp(IntPredicate::SGT, e.add(base, e.i32(inner.tile as i32)), lo);
        let meets = e.begin_if(e.and(reaches, e.icmp(IntPredicate::SLT, base, hi)));
        let next = next.unwrap_or_else(|| e.add(base, e.i32(inner.tile as i32)));
        self.iteration(inner, &self.ordered(&inner.body), (base, next), (lo, hi), full)?;
        e.end_if(meets, &[]);
        e.end_loop(tiles, &[]);
        e.end_if(listed, &[]);
        e.end_loop(entries, &[]);
        Ok(())
    }

    /// Statements of one iteration of a loop.
    pub(super) fn iteration(
        &mut self,
        inner: &'a Loop,
        body: &[&'a Statement],
        (base, next): (Value<'c>, Value<'c>),
        range: (Value<'c>, Value<'c>),
        full: Option<(Value<'c>, Value<'c>)>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let masked = full.map(|(first, end)| {
            let before = e.icmp(IntPredicate::SLT, base, first);
            e.or(before, e.icmp(IntPredicate::SGT, e.add(base, e.i32(inner.tile as i32)), end))
        });
        let fetched = |statement: &Statement| match statement {
            Statement::Fetch { tile } => Some(*tile),
            _ => None,
        };
        let fetches = body.iter().copied().filter_map(fetched).collect();
        self.loops.push(Open { axis: inner.axis, base, tile: inner.tile, range, masked, next, fetches });
        let result = self.statements(body);
        self.loops.pop();
        result
    }

    /// The body of a loop in the order in which it is built. Where contractions run in matrix registers, all tiles come in first:
    /// registers are loaded past the stores that wrote their lines, not from them, so that there should be work between.
    fn ordered(&self, body: &'a [Statement]) -> Vec<&'a Statement> {
        let stores = body.iter().any(|s| matches!(s, Statement::Store { .. } | Statement::StoreList { .. }));
        if !self.scratch.forms.matrix() || stores {
            return body.iter().collect();
        }
        let early = |statement: &&Statement| match statement {
            Statement::Fetch { tile } => {
                let element = self.kernel.tiles.get(*tile as usize).map(|tile| tile.element);
                let again = |s: &&Statement| matches!(s, Statement::Fetch { tile: other } if other == tile);
                body.iter().filter(again).count() == 1 && element.is_some_and(|id| !reads_scratch(self.plan, id))
            }
            _ => false,
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = body.iter().partition(early);
        first.extend(rest);
        first
    }

    /// The form that weights are to be rounded to as soon as they are computed: that of the tile that they are contracted with
    /// in matrix registers, if nothing changes them before.
    fn rounds_early(&self, weights: Var, after: &[&Statement]) -> Option<Form> {
        for statement in after {
            match statement {
                Statement::Dot { a: Operand::Var(first), b, .. } if *first == weights => {
                    let form = self.scratch.forms.tiles.get(*b as usize).copied();
                    return form.filter(|form| *form != Form::Floats);
                }
                Statement::Set { var, .. } | Statement::Mask { var, .. } | Statement::Dot { var, .. }
                    if *var == weights =>
                {
                    return None;
                }
                // Another softmax or an inner loop might round something else in between.
                Statement::Online { .. } | Statement::Loop(_) => return None,
                _ => {}
            }
        }
        None
    }
}

/// The variable that weights are only summed up into later, so that it can be done as they are computed.
fn sums_early(weights: Var, after: &[&Statement]) -> Option<Var> {
    for (at, statement) in after.iter().enumerate() {
        match statement {
            Statement::Reduce { var, from, monoid: Monoid::Add } if *from == weights => {
                // Nothing may read or write the sum in between: only contractions of other variables, which read no sums.
                let other = |s: &&Statement| matches!(s, Statement::Dot { var: result, .. } if result != var);
                return after[..at].iter().all(other).then_some(*var);
            }
            Statement::Dot { var, .. } if *var != weights => {}
            _ => return None,
        }
    }
    None
}
