//! Writing results.

use super::EmitError;
use super::element::Rows;
use super::lower::Lower;
use crate::emit::llvm::Value;
use crate::emit::scalar::{Evaluator, View, store_type};
use crate::plan::{Span, Var};
use crate::term::{TensorName, Term};
use egg::{Id, Language};
use std::collections::BTreeSet;

impl<'c> Lower<'_, 'c> {
    /// `buffer[index] = value` for every element inside the sequence.
    pub(super) fn store(
        &mut self,
        buffer: TensorName,
        index: &[Id],
        value: Id,
        rows: bool,
        columns: Option<&Span>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let Some(view) = self.block.views.get(&buffer).cloned() else {
            return Err(EmitError::Plan(format!("the kernel has no buffer {buffer}")));
        };
        if index.len() != view.axes.len() {
            return Err(EmitError::Plan(format!("{buffer} has {} axes, not {}", view.axes.len(), index.len())));
        }
        let contiguous = columns.is_some_and(|span| self.is_last(index, span));
        if contiguous && self.scratch.row_lanes {
            for var in self.wide_variables(value) {
                self.turn_variable(var)?;
            }
        }
        let count = if rows { self.scratch.rows } else { 1 };
        let open = e.begin_loop(e.i64(0), e.i64(count.into()), 1, &[]);
        let (at, inside) = match rows {
            true => (Rows::One(open.index), Some(e.begin_if(self.row_inside(open.index)))),
            false => (Rows::Block, None),
        };
        match columns {
            Some(span) if contiguous => self.each_column(span, &mut |column, lanes| {
                let mut element = self.element(lanes, at, Some(column));
                element.turned = self.scratch.row_lanes;
                let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
                let value = evaluator.lanes(value)?;
                let mut place = Vec::new();
                for id in &index[..index.len() - 1] {
                    place.push(evaluator.plain(*id)?);
                }
                place.push(column.value);
                e.store(
                    store_type(e, &element, view.dtype, value),
                    self.address(&view, &place),
                    view.dtype.bytes() as u32,
                );
                Ok(())
            })?,
            Some(span) => {
                let valid = match self.loose(span) {
                    false => e.i32(span.count as i32),
                    true => {
                        e.imin(e.sub(self.length(span.axis)?, self.column_base(span.axis)), e.i32(span.count as i32))
                    }
                };
                let columns = e.begin_loop(e.i64(0), e.to_i64(valid), 1, &[]);
                self.store_one(&view, index, value, at, Some((span, columns.index)))?;
                e.end_loop(columns, &[]);
            }
            None => self.store_one(&view, index, value, at, None)?,
        }
        if let Some(inside) = inside {
            e.end_if(inside, &[]);
        }
        e.end_loop(open, &[]);
        Ok(())
    }

    fn store_one(
        &self,
        view: &View<'c>,
        index: &[Id],
        value: Id,
        rows: Rows<'c>,
        column: Option<(&Span, Value<'c>)>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let element = self.element(1, rows, column.map(|(span, at)| self.column(span, at)));
        let mut evaluator = Evaluator::new(e, self.plan, self.facts, &element);
        let value = evaluator.plain(value)?;
        let place = index.iter().map(|id| evaluator.plain(*id)).collect::<Result<Vec<_>, _>>()?;
        let stored = store_type(e, &element, view.dtype, value);
        e.store(stored, self.address(view, &place), view.dtype.bytes() as u32);
        Ok(())
    }

    /// The address of an element.
    pub(super) fn address(&self, view: &View<'c>, index: &[Value<'c>]) -> Value<'c> {
        let e = self.e;
        let mut elements = e.i64(0);
        for (dim, index) in index.iter().enumerate() {
            let wide = e.to_i64(*index);
            elements = e.add(elements, view.strides.get(dim).map_or(wide, |stride| e.mul(wide, *stride)));
        }
        e.offset(view.pointer, e.mul(elements, e.i64(view.dtype.bytes() as i64)))
    }

    /// Whether a span's axis is the last index, and no other index depends on it.
    pub(super) fn is_last(&self, index: &[Id], span: &Span) -> bool {
        let Some((last, others)) = index.split_last() else { return false };
        matches!(self.plan.terms[*last], Term::Axis(axis) if axis == span.axis)
            && others.iter().all(|id| !self.facts.mentions(*id, span.axis))
    }

    /// Variables with rows and columns that a term reads.
    fn wide_variables(&self, id: Id) -> BTreeSet<Var> {
        let (mut found, mut seen, mut stack) = (BTreeSet::new(), BTreeSet::new(), vec![id]);
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Term::Value(v) = self.plan.terms[id]
                && self.kernel.variables.get(v.0 as usize).is_some_and(|v| v.rows && v.columns.is_some())
            {
                found.insert(v.0);
            }
            stack.extend(self.plan.terms[id].children());
        }
        found
    }
}
