//! Writing results from fragments to global memory.

use super::block::{Block, Registers, no_axis};
use super::fetch::rows_are_aligned;
use super::place::Place;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::emit::scalar::{View, store_type};
use crate::plan::Span;
use crate::term::{TensorName, Term, Type};
use egg::Id;
use inkwell::IntPredicate;

impl<'c> Block<'_, 'c> {
    /// Emits [`crate::plan::Statement::Store`].
    pub fn store(
        &self,
        buffer: TensorName,
        index: &[Id],
        value: Id,
        rows: bool,
        columns: Option<&Span>,
    ) -> Result<(), EmitError> {
        let e = self.source.e;
        let view = self.views.get(&buffer).cloned();
        let view = view.ok_or_else(|| EmitError::Plan(format!("there is no buffer {buffer}")))?;
        if index.len() != view.axes.len() {
            return Err(EmitError::Plan(format!("{buffer} does not have {} axes", index.len())));
        }
        let shape = self.fragments()?;
        let parts = columns.map_or(1, |span| shape.split(span));
        let slots = columns.map_or(1, |span| 2 * (span.count / parts).div_ceil(8) as usize);
        let registers = Registers::bare(columns.cloned(), slots, parts);
        // One thread per element: of threads that hold the same rows or columns, the first.
        let mut mine = self.first_of_part(parts)?;
        let zero = e.i32(0);
        if columns.is_none() {
            mine = e.and(mine, e.icmp(IntPredicate::EQ, self.thread.member, zero));
        }
        if !rows {
            mine = e.and(mine, e.icmp(IntPredicate::EQ, self.thread.quad, zero));
            mine = e.and(mine, e.icmp(IntPredicate::EQ, self.thread.row_warp, zero));
        }
        let outer = e.begin_if(mine);
        let paired = self.stores_pairs(buffer, index, columns);
        for row in 0..if rows { shape.row_slots() } else { 1 } {
            let valid = match rows {
                true => Some(e.begin_if(self.stored_by(row, index)?)),
                false => None,
            };
            let row = rows.then_some(row);
            let mut column = 0;
            while column < slots {
                let at = columns
                    .map(|span| (span, column, self.column_at(span.axis, self.column_offset(&registers, column))));
                let inside = match at {
                    Some((span, _, value)) => self.column_condition(&registers, span, column, value)?,
                    None => None,
                };
                let open = inside.map(|inside| e.begin_if(inside));
                let place = self.place().at(row, at)?;
                let x = place.value(value)?;
                let address = self.element_address(&place, &view, index)?;
                if paired {
                    let next = columns.zip(at).map(|(span, (.., value))| (span, column + 1, e.add(value, e.i32(1))));
                    let y = self.place().at(row, next)?.value(value)?;
                    self.store_pair(view.dtype, x, y, address)?;
                    column += 2;
                } else {
                    e.store(store_type(e, &place, view.dtype, x), address, view.dtype.bytes() as u32);
                    column += 1;
                }
                if let Some(open) = open {
                    e.end_if(open, &[]);
                }
            }
            if let Some(open) = valid {
                e.end_if(open, &[]);
            }
        }
        e.end_if(outer, &[]);
        Ok(())
    }

    /// Whether the row of a slot exists and stores: of rows that differ only along axes that no index mentions, the first.
    fn stored_by(&self, slot: usize, index: &[Id]) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let row = &self.rows[slot];
        let mut stores = row.valid;
        for (span, value) in self.source.kernel.rows.iter().zip(&row.axes) {
            let mentioned = |id: &Id| self.source.facts.mentions(*id, span.axis);
            if span.count > 1 && !index.iter().any(mentioned) {
                let first = self.first.get(&span.axis).copied().ok_or_else(|| no_axis(span.axis))?;
                stores = e.and(stores, e.icmp(IntPredicate::EQ, *value, first));
            }
        }
        Ok(stores)
    }

    /// True if the two columns that a thread holds side by side are one aligned word.
    fn stores_pairs(&self, buffer: TensorName, index: &[Id], columns: Option<&Span>) -> bool {
        let (Some(span), Some(last)) = (columns, index.last()) else { return false };
        let plan = self.source.plan;
        let contiguous = matches!(plan.terms[*last], Term::Axis(axis) if axis == span.axis);
        let aligned = plan.buffer(buffer).is_some_and(|b| rows_are_aligned(plan, b));
        let walked = self.loops.iter().any(|l| l.axis == span.axis);
        let even = self.source.constant(span.axis).is_some_and(|n| n % 2 == 0);
        contiguous && aligned && !walked && even && span.count.is_multiple_of(2)
    }

    fn store_pair(&self, dtype: Type, x: Value<'c>, y: Value<'c>, address: Value<'c>) -> Result<(), EmitError> {
        let e = self.source.e;
        match dtype {
            Type::Bf16 | Type::F16 => e.store(e.pack(dtype, x, y)?, address, 4),
            Type::F32 | Type::I32 => e.store(e.gather_lanes(&[x, y]), address, 8),
        }
        Ok(())
    }

    /// Whether a column exists, if that is not certain.
    fn column_condition(
        &self,
        registers: &Registers<'c>,
        span: &Span,
        slot: usize,
        value: Value<'c>,
    ) -> Result<Option<Value<'c>>, EmitError> {
        let e = self.source.e;
        let walked = self.loops.iter().any(|l| l.axis == span.axis);
        let gridded = self.source.kernel.grid.iter().any(|g| g.axis == span.axis);
        let certain = match self.source.constant(span.axis) {
            Some(n) if gridded => n % i64::from(span.count) == 0,
            Some(n) => !walked && n >= i64::from(span.count),
            None => false,
        };
        let mut inside = self.column_exists(registers, slot);
        if !certain {
            let exists = self.less(value, self.length(span.axis)?);
            inside = Some(inside.map_or(exists, |x| e.and(x, exists)));
        }
        Ok(inside)
    }

    /// Address of an element of a buffer whose index terms are evaluated at a place.
    pub fn element_address(
        &self,
        place: &Place<'_, '_, 'c>,
        view: &View<'c>,
        index: &[Id],
    ) -> Result<Value<'c>, EmitError> {
        let e = self.source.e;
        let mut elements = e.i64(0);
        for (axis, value) in place.values(index)?.into_iter().enumerate() {
            let value = e.to_i64(value);
            elements = e.add(elements, view.strides.get(axis).map_or(value, |stride| e.mul(value, *stride)));
        }
        Ok(e.offset(view.pointer, e.mul(elements, e.i64(view.dtype.bytes() as i64))))
    }
}
