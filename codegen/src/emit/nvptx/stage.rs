//! Writing stages: a variable to shared memory, summed over a row axis if asked.

use super::block::Block;
use super::shape::FRAGMENT_ROWS;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::{Span, Var};
use crate::term::AxisName;
use inkwell::IntPredicate;

impl<'c> Block<'_, 'c> {
    /// Emits [`crate::plan::Statement::Stage`].
    pub fn write_stage(&mut self, stage: u32, from: Var, sum: Option<AxisName>) -> Result<(), EmitError> {
        let e = self.source.e;
        let kernel = self.source.kernel;
        let missing = || EmitError::Plan(format!("there is no stage {stage}"));
        let kept = &kernel.stages.get(stage as usize).ok_or_else(missing)?.rows;
        let expected: Vec<&Span> = kernel.rows.iter().filter(|s| Some(s.axis) != sum).collect();
        if kept.iter().collect::<Vec<_>>() != expected || !kernel.variables[from as usize].rows {
            return Err(EmitError::Plan(format!("stage {stage} does not hold the rows of %{from}")));
        }
        // Others may still read what is there.
        e.barrier()?;
        match sum {
            Some(axis) if !self.fragments()?.sums_in_lanes(&kernel.rows, axis) => {
                self.sum_through_scratch(stage, from, axis)?;
            }
            _ => self.sum_in_lanes(stage, from, sum)?,
        }
        e.barrier()
    }

    /// Row `slot` of the thread, counted from the first of the block.
    fn row_index(&self, slot: usize) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let warp_rows = e.i32((FRAGMENT_ROWS * self.fragments()?.repeat) as i32);
        let start = e.add(e.mul(self.thread.row_warp, warp_rows), self.thread.quad);
        Ok(e.add(start, e.i32(8 * slot as i32)))
    }
    /// Coordinates of a row, each from its axis's first value in the block.
    fn local_axes(&self, row: Value<'c>) -> Vec<(AxisName, Value<'c>)> {
        let e = self.source.e;
        let mut rest = row;
        let mut axes = vec![];
        for span in self.source.kernel.rows.iter().rev() {
            let count = e.i32(span.count as i32);
            axes.push((span.axis, e.urem(rest, count)));
            rest = e.udiv(rest, count);
        }
        axes.reverse();
        axes
    }
    /// The elements of a row slot, 0 where the row or the column does not exist.
    fn existing(&self, from: Var, slot: usize) -> Result<Vec<Value<'c>>, EmitError> {
        let e = self.source.e;
        let registers = self.registers(from)?.clone();
        let mut values = vec![];
        for column in 0..registers.columns {
            let mut exists = self.rows[slot].valid;
            if let Some(span) = &registers.span {
                let at = self.column_at(span.axis, self.column_offset(&registers, column));
                exists = e.and(exists, self.less(at, self.length(span.axis)?));
            }
            values.push(e.select(exists, self.get(from, slot, column)?, e.f32(0.0)));
        }
        Ok(values)
    }
    /// Address of a column of the stage row that a block row (which exists) belongs to.
    fn stage_row(&self, stage: u32, row: Value<'c>, column: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let kept = &self.source.kernel.stages[stage as usize].rows;
        let mut index = vec![];
        for (axis, local) in self.local_axes(row) {
            if kept.iter().any(|s| s.axis == axis) {
                let first = self.first.get(&axis).copied().unwrap_or(e.i32(0));
                index.push(e.add(first, local));
            }
        }
        index.push(column);
        self.stage_address(stage, &index)
    }

    fn sum_in_lanes(&self, stage: u32, from: Var, sum: Option<AxisName>) -> Result<(), EmitError> {
        let e = self.source.e;
        let registers = self.registers(from)?.clone();
        let rows = &self.source.kernel.rows;
        let count = sum.and_then(|axis| rows.iter().find(|s| s.axis == axis)).map_or(1, |s| s.count);
        let step = if count == FRAGMENT_ROWS { 2 } else { 1 };
        let writes = e.icmp(IntPredicate::EQ, e.and(self.thread.quad, e.i32(count.min(8) as i32 - 1)), e.i32(0));
        let writes = e.and(writes, self.first_of_part(registers.parts)?);
        for slot in (0..registers.rows).step_by(step) {
            let mut values = self.existing(from, slot)?;
            if step == 2 {
                for (value, other) in values.iter_mut().zip(self.existing(from, slot + 1)?) {
                    *value = e.fadd(*value, other);
                }
            }
            for bit in [1, 2, 4].into_iter().filter(|bit| *bit < count) {
                for value in &mut values {
                    *value = e.fadd(*value, e.shuffle_xor(*value, 4 * bit)?);
                }
            }
            let row = self.row_index(slot)?;
            let in_block = self.less(row, e.i32(self.source.kernel.row_count() as i32));
            let open = e.begin_if(e.and(writes, in_block));
            for (column, value) in values.iter().enumerate() {
                let exists = self.column_exists(&registers, column).map(|exists| e.begin_if(exists));
                let offset = self.column_offset(&registers, column);
                let at = registers.span.as_ref().map_or(offset, |span| self.column_at(span.axis, offset));
                e.store(*value, self.stage_row(stage, row, at)?, 4);
                if let Some(open) = exists {
                    e.end_if(open, &[]);
                }
            }
            e.end_if(open, &[]);
        }
        Ok(())
    }

    /// A sum over any row axis: all rows go to scratch, then one thread adds each sum in order.
    fn sum_through_scratch(&self, stage: u32, from: Var, axis: AxisName) -> Result<(), EmitError> {
        let e = self.source.e;
        let registers = self.registers(from)?.clone();
        let width = registers.span.as_ref().map_or(1, |s| s.count);
        let pitch = e.i32(width.next_multiple_of(8) as i32 + 1);
        let scratch = self.layout.scratch;
        let address = |row: Value<'c>, column: Value<'c>| {
            self.shared_at(scratch, e.shift_left(e.add(e.mul(row, pitch), column), e.i32(2)))
        };
        let open = e.begin_if(self.first_of_part(registers.parts)?);
        for slot in 0..registers.rows {
            let row = self.row_index(slot)?;
            for (column, value) in self.existing(from, slot)?.into_iter().enumerate() {
                e.store(value, address(row, self.column_offset(&registers, column)), 4);
            }
        }
        e.end_if(open, &[]);
        e.barrier()?;

        let rows = &self.source.kernel.rows;
        let (mut inner, mut count, mut found) = (1, 1, false);
        for span in rows.iter().rev() {
            if span.axis == axis {
                (count, found) = (span.count, true);
            } else if !found {
                inner *= span.count;
            }
        }
        let sums = self.source.kernel.row_count() / count * width;
        let turn = e.begin_loop(self.thread.index, e.i32(sums as i32), self.threads().into(), &[]);
        let (combination, column) = (e.udiv(turn.index, e.i32(width as i32)), e.urem(turn.index, e.i32(width as i32)));
        let inner = e.i32(inner as i32);
        let outer = e.mul(e.udiv(combination, inner), e.mul(inner, e.i32(count as i32)));
        let first = e.add(outer, e.urem(combination, inner));
        let mut sum = e.f32(0.0);
        for i in 0..count {
            let row = e.add(first, e.mul(inner, e.i32(i as i32)));
            sum = e.fadd(sum, e.load(e.f32_type().into(), address(row, column), 4));
        }
        let at = registers.span.as_ref().map_or(column, |span| self.column_at(span.axis, column));
        e.store(sum, self.stage_row(stage, first, at)?, 4);
        e.end_loop(turn, &[]);
        Ok(())
    }
}
