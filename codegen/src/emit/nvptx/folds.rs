//! Elementwise assignment, masks, reductions along columns, the online softmax, and the merge of column warps.

use super::block::Block;
use super::shared::exchanged_registers;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::{Loop, Merge, Statement, Var};
use crate::term::{Monoid, Term};
use egg::Id;
use inkwell::{FloatPredicate, IntPredicate};
use std::collections::HashSet;

impl<'a, 'c> Block<'a, 'c> {
    /// Emits a statement that is no fetch.
    pub fn statement(&mut self, statement: &'a Statement) -> Result<(), EmitError> {
        match statement {
            Statement::Set { var, expr } => self.assign(*var, *expr),
            Statement::Fetch { .. } => Ok(()),
            Statement::Dot { var, a, b, depth, accumulate } => self.dot(*var, *a, *b, depth, *accumulate),
            Statement::Mask { var, keep, otherwise } => self.mask(*var, *keep, *otherwise),
            Statement::Reduce { var, from, monoid } => self.reduce(*var, *from, *monoid),
            Statement::Online { score, max, scale, rescale } => self.online(*score, *max, *scale as f32, rescale),
            Statement::Stage { stage, from, sum } => self.write_stage(*stage, *from, *sum),
            Statement::Insert { list, columns, score, force, among } => {
                self.insert(*list, columns, *score, *force, *among)
            }
            Statement::StoreList { list, buffer, index } => self.store_list(*list, *buffer, index),
            Statement::Store { buffer, index, value, rows, columns } => {
                self.store(*buffer, index, *value, *rows, columns.as_ref())
            }
            Statement::Loop(inner) => self.walk(inner),
        }
    }

    /// Calls `f` with the row slot, column slot and absolute column of every element of a variable that a thread holds.
    pub fn each_element(
        &self,
        var: Var,
        f: &mut dyn FnMut(usize, usize, Option<Value<'c>>) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        let registers = self.registers(var)?.clone();
        for column in 0..registers.columns {
            let absolute =
                registers.span.as_ref().map(|span| self.column_at(span.axis, self.column_offset(&registers, column)));
            for row in 0..registers.rows {
                f(row, column, absolute)?;
            }
        }
        Ok(())
    }

    /// The value of a term at an element of a variable.
    fn evaluate(
        &self,
        var: Var,
        row: usize,
        column: usize,
        at: Option<Value<'c>>,
        id: Id,
    ) -> Result<Value<'c>, EmitError> {
        let registers = self.registers(var)?;
        let columns = registers.span.as_ref().zip(at).map(|(span, value)| (span, column, value));
        let row = self.source.kernel.variables[var as usize].rows.then_some(row);
        self.place().at(row, columns)?.value(id)
    }

    fn assign(&self, var: Var, expr: Id) -> Result<(), EmitError> {
        let mut values = vec![];
        self.each_element(var, &mut |row, column, at| {
            values.push((row, column, self.evaluate(var, row, column, at, expr)?));
            Ok(())
        })?;
        for (row, column, value) in values {
            self.set(var, row, column, value)?;
        }
        Ok(())
    }

    fn mask(&mut self, var: Var, keep: Id, otherwise: f64) -> Result<(), EmitError> {
        let e = self.source.e;
        let axis = self.registers(var)?.span.as_ref().map(|s| s.axis);
        let walked = self.loops.iter().rev().find(|l| Some(l.axis) == axis);
        let open = walked.and_then(|l| l.edge).map(|edge| e.begin_if(edge));
        // What only masks need is not kept for them where registers are few.
        let kept = (self.thread, self.rows.clone());
        if self.is_crowded() {
            self.thread = self.thread_again()?;
            self.rows.clear();
            self.make_rows()?;
        }
        let searches = self.searches_of_columns(keep);
        let mut found: (Option<usize>, Vec<(Id, Value<'c>)>) = (None, vec![]);
        self.each_element(var, &mut |row, column, at| {
            let registers = self.registers(var)?;
            let columns = registers.span.as_ref().zip(at).map(|(span, value)| (span, column, value));
            let rows = self.source.kernel.variables[var as usize].rows.then_some(row);
            let place = self.place().at(rows, columns)?;
            if found.0 != Some(column) {
                let values = searches.iter().map(|id| Ok((*id, place.value(*id)?)));
                found = (Some(column), values.collect::<Result<_, EmitError>>()?);
            }
            let keep = place.value_knowing(keep, &found.1)?;
            let value = self.get(var, row, column)?;
            self.set(var, row, column, e.select(keep, value, e.f32(otherwise as f32)))
        })?;
        (self.thread, self.rows) = kept;
        if let Some(open) = open {
            e.end_if(open, &[]);
        }
        Ok(())
    }

    /// The searches through lists in a predicate that are the same for all rows: once per column is enough.
    fn searches_of_columns(&self, predicate: Id) -> Vec<Id> {
        let terms = &self.source.plan.terms;
        let by_row = |id: Id| self.source.kernel.rows.iter().any(|span| self.source.facts.mentions(id, span.axis));
        let (mut found, mut stack, mut seen) = (vec![], vec![predicate], HashSet::new());
        while let Some(id) = stack.pop() {
            match &terms[id] {
                _ if !seen.insert(id) => {}
                Term::In(_) if !by_row(id) && !self.source.facts.uses_variables(id) => found.push(id),
                Term::And(pair) | Term::Or(pair) => stack.extend(pair),
                Term::Not(inner) => stack.push(*inner),
                _ => {}
            }
        }
        found
    }

    /// `a` and `b` combined.
    fn combine(&self, monoid: Monoid, a: Value<'c>, b: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        match monoid {
            Monoid::Add => Ok(e.fadd(a, b)),
            Monoid::Max => Ok(e.fmax(a, b)),
            Monoid::Min => Ok(e.fmin(a, b)),
            Monoid::Lse => Err(EmitError::Plan("a reduction by lse".into())),
        }
    }
    fn identity(&self, monoid: Monoid) -> Value<'c> {
        self.source.e.f32(match monoid {
            Monoid::Add => 0.0,
            Monoid::Max | Monoid::Lse => f32::NEG_INFINITY,
            Monoid::Min => f32::INFINITY,
        })
    }
    /// The fold over the four lanes that share a row.
    fn across_quad(&self, monoid: Monoid, mut x: Value<'c>) -> Result<Value<'c>, EmitError> {
        for mask in [1, 2] {
            x = self.combine(monoid, x, self.source.e.shuffle_xor(x, mask)?)?;
        }
        Ok(x)
    }
    /// The fold over a thread's columns of a row; columns of padding do not take part.
    fn along_columns(&self, monoid: Monoid, from: Var, row: usize) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let registers = self.registers(from)?.clone();
        let mut values = vec![];
        for column in 0..registers.columns {
            let mut value = self.get(from, row, column)?;
            if let Some(exists) = self.column_exists(&registers, column) {
                value = e.select(exists, value, self.identity(monoid));
            }
            values.push(value);
        }
        // A tree of pairs: its depth, not the number of columns, bounds the latency.
        while values.len() > 1 {
            let mut next = vec![];
            for pair in values.chunks(2) {
                next.push(if let [a, b] = pair { self.combine(monoid, *a, *b)? } else { pair[0] });
            }
            values = next;
        }
        values.pop().ok_or_else(|| EmitError::Plan("a reduction of nothing".into()))
    }

    fn reduce(&self, var: Var, from: Var, monoid: Monoid) -> Result<(), EmitError> {
        let registers = self.registers(var)?.clone();
        if registers.span.is_some() || self.registers(from)?.span.is_none() {
            return Err(EmitError::Plan(format!("%{var} is no reduction of %{from} along columns")));
        }
        let deferred = self.loops.last().is_some_and(|l| l.deferred.contains(&var));
        for row in 0..registers.rows {
            let mut value = self.along_columns(monoid, from, row)?;
            if !deferred {
                value = self.across_quad(monoid, value)?;
            }
            let value = self.combine(monoid, self.get(var, row, 0)?, value)?;
            self.set(var, row, 0, value)?;
        }
        Ok(())
    }

    fn online(&self, score: Var, max: Var, scale: f32, rescale: &[Var]) -> Result<(), EmitError> {
        let e = self.source.e;
        let registers = self.registers(score)?.clone();
        let lowest = e.f32(f32::NEG_INFINITY);
        let scale = e.f32(scale);
        for row in 0..registers.rows {
            let old = self.get(max, row, 0)?;
            let found = self.across_quad(Monoid::Max, self.along_columns(Monoid::Max, score, row)?)?;
            let new = e.fmax(old, found);
            // A row that has seen nothing: any finite reference makes 2^(-inf) = 0 of everything.
            let nothing = e.fcmp(FloatPredicate::OEQ, new, lowest);
            let reference = e.select(nothing, e.f32(0.0), new);
            let factor = e.exp2(e.fmul(e.fsub(old, reference), scale))?;
            let shift = e.fneg(e.fmul(reference, scale));
            for column in 0..registers.columns {
                let x = self.get(score, row, column)?;
                self.set(score, row, column, e.exp2(e.multiply_add(x, scale, shift)?)?)?;
            }
            for var in rescale {
                let sums = self.registers(*var)?.clone();
                for column in 0..sums.columns {
                    let value = e.fmul(self.get(*var, row, column)?, factor);
                    self.set(*var, row, column, value)?;
                }
            }
            self.set(max, row, 0, new)?;
        }
        Ok(())
    }

    /// Before a loop: what several threads or warps will fold into starts at the identity in all but one of them.
    pub fn enter_merges(&mut self, l: &Loop, deferred: &HashSet<Var>, parts: u32) -> Result<(), EmitError> {
        let e = self.source.e;
        let first_lane = e.icmp(IntPredicate::EQ, self.thread.member, e.i32(0));
        for var in deferred {
            self.keep_only(first_lane, *var, Self::monoid_of(l, *var))?;
        }
        if parts == 1 {
            return Ok(());
        }
        let first_warp = e.icmp(IntPredicate::EQ, self.thread.column_warp, e.i32(0));
        for merge in &l.merge {
            for var in &merge.values {
                self.keep_only(first_warp, *var, merge.monoid)?;
            }
            if let Some((max, _)) = merge.max {
                self.keep_only(first_warp, max, Monoid::Max)?;
            }
        }
        Ok(())
    }
    fn keep_only(&self, condition: Value<'c>, var: Var, monoid: Monoid) -> Result<(), EmitError> {
        let registers = self.registers(var)?.clone();
        for row in 0..registers.rows {
            for column in 0..registers.columns {
                let value = self.source.e.select(condition, self.get(var, row, column)?, self.identity(monoid));
                self.set(var, row, column, value)?;
            }
        }
        Ok(())
    }

    /// After a loop: whole values from those of threads, then from those of warps, in a fixed order.
    pub fn leave_merges(&mut self, l: &Loop, deferred: &HashSet<Var>, parts: u32) -> Result<(), EmitError> {
        let mut deferred: Vec<Var> = deferred.iter().copied().collect();
        deferred.sort_unstable();
        for var in deferred {
            let monoid = Self::monoid_of(l, var);
            for row in 0..self.registers(var)?.rows {
                let value = self.across_quad(monoid, self.get(var, row, 0)?)?;
                self.set(var, row, 0, value)?;
            }
        }
        if parts > 1 {
            for merge in &l.merge {
                self.merge(merge, parts)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, merge: &Merge, parts: u32) -> Result<(), EmitError> {
        let e = self.source.e;
        // Scratch lies over the tiles of the loop, which slower warps may still read.
        e.barrier()?;
        let mut at = self.layout.scratch;
        if let Some((max, scale)) = merge.max {
            let scale = e.f32(scale as f32);
            let mine = self.held(max)?;
            self.exchange(max, at)?;
            e.barrier()?;
            let all = self.folded(max, at, Monoid::Max, parts)?;
            at += self.exchange_bytes(max)?;
            let mut factors = vec![];
            for (mine, all) in mine.iter().zip(&all) {
                let nothing = e.fcmp(FloatPredicate::OEQ, *all, e.f32(f32::NEG_INFINITY));
                let reference = e.select(nothing, e.f32(0.0), *all);
                factors.push(e.exp2(e.fmul(e.fsub(*mine, reference), scale))?);
            }
            for var in &merge.values {
                let registers = self.registers(*var)?.clone();
                for (row, factor) in factors.iter().enumerate().take(registers.rows) {
                    for column in 0..registers.columns {
                        self.set(*var, row, column, e.fmul(self.get(*var, row, column)?, *factor))?;
                    }
                }
            }
            self.put(max, &all)?;
        }
        let mut places = vec![];
        for var in &merge.values {
            if self.registers(*var)?.parts > 1 {
                return Err(EmitError::Plan(format!("%{var} is split over warps and merged")));
            }
            self.exchange(*var, at)?;
            places.push((*var, at));
            at += self.exchange_bytes(*var)?;
        }
        e.barrier()?;
        for (var, at) in places {
            let all = self.folded(var, at, merge.monoid, parts)?;
            self.put(var, &all)?;
        }
        Ok(())
    }
    fn exchange_bytes(&self, var: Var) -> Result<u32, EmitError> {
        let shape = self.fragments()?;
        let variable = &self.source.kernel.variables[var as usize];
        Ok(exchanged_registers(variable, shape) * 4 * shape.threads())
    }
    /// All registers of a variable, row by row.
    fn held(&self, var: Var) -> Result<Vec<Value<'c>>, EmitError> {
        let registers = self.registers(var)?.clone();
        let mut values = vec![];
        for row in 0..registers.rows {
            for column in 0..registers.columns {
                values.push(self.get(var, row, column)?);
            }
        }
        Ok(values)
    }
    fn put(&self, var: Var, values: &[Value<'c>]) -> Result<(), EmitError> {
        let registers = self.registers(var)?.clone();
        for (i, value) in values.iter().enumerate() {
            self.set(var, i / registers.columns, i % registers.columns, *value)?;
        }
        Ok(())
    }
    /// Address of the thread's first chunk of 16 bytes in the exchange of `chunks` chunks, for a column warp.
    fn exchange_address(&self, at: u32, chunks: u32, column_warp: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let warps = e.i32(self.fragments()?.column_warps as i32);
        let warp = e.add(e.mul(self.thread.row_warp, warps), column_warp);
        let bytes = e.add(e.mul(warp, e.i32((chunks * 512) as i32)), e.shift_left(self.thread.lane, e.i32(4)));
        Ok(self.shared_at(at, bytes))
    }
    /// Writes a variable where the other column warps can read it: they hold the same elements in the same lanes.
    fn exchange(&self, var: Var, at: u32) -> Result<(), EmitError> {
        let e = self.source.e;
        let mut values = self.held(var)?;
        values.resize(values.len().next_multiple_of(4), e.f32(0.0));
        let start = self.exchange_address(at, values.len() as u32 / 4, self.thread.column_warp)?;
        for (i, chunk) in values.chunks_exact(4).enumerate() {
            e.store(e.gather_lanes(chunk), e.offset_by(start, 512 * i as i64), 16);
        }
        Ok(())
    }
    /// The fold of what the first `parts` column warps wrote, in their order.
    fn folded(&self, var: Var, at: u32, monoid: Monoid, parts: u32) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.source.e;
        let registers = self.registers(var)?;
        let count = registers.rows * registers.columns;
        let chunks = count.div_ceil(4);
        let ty = e.lanes_of(e.f32_type().into(), 4);
        let starts = (0..parts).map(|warp| self.exchange_address(at, chunks as u32, e.i32(warp as i32)));
        let starts = starts.collect::<Result<Vec<_>, _>>()?;
        let mut values: Vec<Value<'c>> = vec![];
        for chunk in 0..chunks {
            let parts = starts.iter().map(|start| e.load(ty, e.offset_by(*start, 512 * chunk as i64), 16));
            let parts: Vec<_> = parts.collect();
            for lane in 0..4 {
                let mut all = e.extract(parts[0], lane);
                for part in &parts[1..] {
                    all = self.combine(monoid, all, e.extract(*part, lane))?;
                }
                // Folded here, not where it is used: several parts would stay in registers until then.
                values.push(e.settled(all));
            }
        }
        values.truncate(count);
        Ok(values)
    }
}
