//! Kernels without tiles: every element on its own, neighbouring columns in neighbouring threads.

use super::block::Block;
use super::fetch::rows_are_aligned;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, store_type};
use crate::plan::{Loop, Span, Statement};
use crate::term::{TensorName, Term};
use egg::Id;

/// Columns that one thread computes at once, if rows are whole multiples: 16 bytes of 16-bit values.
const VECTOR: u32 = 8;

impl<'a, 'c> Block<'a, 'c> {
    /// Emits the statements of an elementwise kernel.
    pub fn elements(&mut self, body: &'a [Statement]) -> Result<(), EmitError> {
        let mut straight: Vec<&'a Statement> = vec![];
        for statement in body {
            match statement {
                Statement::Set { .. } | Statement::Store { .. } => straight.push(statement),
                Statement::Loop(inner) => {
                    if straight.iter().any(|s| matches!(s, Statement::Set { .. })) {
                        return Err(EmitError::Plan("an elementwise kernel that carries values into a loop".into()));
                    }
                    self.each(&std::mem::take(&mut straight))?;
                    self.element_loop(inner)?;
                }
                _ => return Err(EmitError::Plan("an elementwise kernel with a tile operation".into())),
            }
        }
        self.each(&straight)
    }

    fn element_loop(&mut self, l: &'a Loop) -> Result<(), EmitError> {
        if l.walk.is_some() {
            return Err(EmitError::Plan("an elementwise kernel that walks a list".into()));
        }
        let e = self.source.e;
        let turn = e.begin_loop(self.integer(l.lo)?, self.integer(l.hi)?, l.tile.max(1).into(), &[]);
        self.loops.push(super::block::Walked {
            axis: l.axis,
            tile: l.tile,
            base: turn.index,
            gathered: None,
            edge: None,
            deferred: Default::default(),
        });
        let result = self.elements(&l.body);
        self.loops.pop();
        e.end_loop(turn, &[]);
        result
    }

    /// Runs assignments and stores for every element of the block.
    fn each(&self, statements: &[&'a Statement]) -> Result<(), EmitError> {
        let mut columns: Option<&Span> = None;
        let mut rows = false;
        for statement in statements {
            if let Statement::Store { columns: Some(span), .. } = statement {
                if columns.is_some_and(|c| c != span) {
                    return Err(EmitError::Plan("an elementwise kernel with two column axes".into()));
                }
                columns = Some(span);
            }
            rows |= matches!(statement, Statement::Store { rows: true, .. });
        }
        if statements.is_empty() {
            return Ok(());
        }
        let e = self.source.e;
        let row_count = if rows { self.source.kernel.row_count() } else { 1 };
        let lanes = columns.map_or(1, |span| self.lanes_of(span));
        let width = columns.map_or(1, |span| span.count) / lanes;
        let total = e.i32((row_count * width) as i32);
        let turn = e.begin_loop(self.thread.index, total, self.threads().into(), &[]);
        let row = self.row(e.udiv(turn.index, e.i32(width as i32)))?;
        let local = e.mul(e.urem(turn.index, e.i32(width as i32)), e.i32(lanes as i32));
        let mut exists = row.valid;
        let mut place = self.place();
        if let Some(span) = columns {
            let column = e.add(self.column_base(span.axis), local);
            if lanes > 1 {
                place = place.with_ramp(span.axis, column, lanes);
            } else {
                place = place.with_unchecked(span.axis, column)?;
            }
            exists = e.and(exists, self.less(column, self.length(span.axis)?));
        }
        if rows {
            place = place.with_rows(&self.source.kernel.rows, &row.axes);
        }
        let open = e.begin_if(exists);
        for statement in statements {
            match statement {
                Statement::Set { var, expr } => {
                    let value = Evaluator::new(e, self.source.plan, self.source.facts, &place).value(*expr)?;
                    place = place.with_variable(*var, value);
                }
                Statement::Store { buffer, index, value, columns, .. } => {
                    let value = e.splat(place.value(*value)?, if columns.is_some() { lanes } else { 1 });
                    self.store_element(&place, *buffer, index, value)?;
                }
                _ => {}
            }
        }
        e.end_if(open, &[]);
        e.end_loop(turn, &[]);
        Ok(())
    }

    /// Columns that a thread computes at once: several where no vector can straddle the end of the axis.
    fn lanes_of(&self, span: &Span) -> u32 {
        match self.source.constant(span.axis) {
            Some(n) if n % i64::from(VECTOR) == 0 && span.count.is_multiple_of(VECTOR) => VECTOR,
            _ => 1,
        }
    }

    fn store_element(
        &self,
        place: &super::place::Place<'_, '_, 'c>,
        name: TensorName,
        index: &[Id],
        value: Value<'c>,
    ) -> Result<(), EmitError> {
        let (e, plan) = (self.source.e, self.source.plan);
        let view = self.views.get(&name).cloned();
        let view = view.ok_or_else(|| EmitError::Plan(format!("there is no buffer {name}")))?;
        let bytes = view.dtype.bytes() as u32;
        let lanes = e.lanes(value);
        let last_is_column = index.last().is_some_and(|id| matches!(plan.terms[*id], Term::Axis(_)));
        let aligned = plan.buffer(name).is_some_and(|b| rows_are_aligned(plan, b));
        if lanes > 1 && !(last_is_column && aligned) {
            return Err(EmitError::Plan(format!("the columns of {name} are not contiguous")));
        }
        let mut elements = e.i64(0);
        for (axis, value) in place.values(index)?.into_iter().enumerate() {
            // Of the columns, the first lane's.
            let value = e.to_i64(e.extract(value, 0));
            elements = e.add(elements, view.strides.get(axis).map_or(value, |stride| e.mul(value, *stride)));
        }
        let address = e.offset(view.pointer, e.mul(elements, e.i64(bytes.into())));
        let stored = store_type(e, place, view.dtype, value);
        e.store(stored, address, (bytes * lanes).min(16));
        Ok(())
    }
}
