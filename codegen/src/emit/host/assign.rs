//! Assignments, masks, reductions and the online softmax: statements whose elements are independent along the rows.

use super::EmitError;
use super::element::Rows;
use super::forms::Form;
use super::layout::padded;
use super::lower::Lower;
use super::math;
use crate::emit::llvm::Value;
use crate::emit::scalar::Evaluator;
use crate::plan::{Span, Var};
use crate::term::Monoid;
use egg::Id;
use inkwell::FloatPredicate;

/// Independent partial results of a reduction: as many as hide the latency of an addition.
const PARTIALS: u32 = 4;
/// Exponentials per iteration of a softmax: the loop itself then costs little beside them.
const EXPONENTIALS: u32 = 4;

/// An online softmax; see [`crate::plan::Statement::Online`].
pub(super) struct Softmax<'r> {
    pub score: Var,
    pub max: Var,
    pub scale: f64,
    pub rescale: &'r [Var],
    /// The form of the tile for whose contraction in matrix registers weights are rounded at once.
    pub round: Option<Form>,
    /// The variable that weights are summed up into at once.
    pub sum: Option<Var>,
}

impl<'c> Lower<'_, 'c> {
    /// `var = expr` at every element.
    pub(super) fn set(&mut self, var: Var, expr: Id) -> Result<(), EmitError> {
        let variable = self.variable(var)?;
        if !self.scratch.row_lanes {
            return self.set_along_columns(var, expr);
        }
        if self.scratch.forms.lines[var as usize] {
            let value = self.real_value(expr)?;
            return self.fill_lines(var, value);
        }
        match (&variable.columns, variable.rows) {
            (None, false) => self.set_one(var, None, expr),
            (None, true) => self.each_row_vector(&mut |this, row| this.set_rows(var, row, None, expr)),
            (Some(span), rows) => {
                let e = self.e;
                let open = e.begin_loop(e.i64(0), e.i64(span.count.into()), 1, &[]);
                let at = open.index;
                match rows {
                    false => self.set_one(var, Some((span, at)), expr)?,
                    true => {
                        self.each_row_vector(&mut |this, row| this.set_rows(var, row, Some((span, at)), expr))?;
                    }
                }
                e.end_loop(open, &[]);
                Ok(())
            }
        }
    }
    /// A number that is the same for the whole block.
    fn real_value(&self, expr: Id) -> Result<Value<'c>, EmitError> {
        let element = self.element(1, Rows::Block, None);
        Evaluator::new(self.e, self.plan, self.facts, &element).plain(expr)
    }
    fn set_one(&self, var: Var, column: Option<(&Span, Value<'c>)>, expr: Id) -> Result<(), EmitError> {
        let e = self.e;
        let element = self.element(1, Rows::Block, column.map(|(span, at)| self.column(span, at)));
        let value = Evaluator::new(e, self.plan, self.facts, &element).plain(expr)?;
        let at = column.map_or(e.i64(0), |(_, at)| at);
        e.store(value, self.at(self.scratch.variables[var as usize], at, 4), 4);
        Ok(())
    }
    fn set_rows(
        &self,
        var: Var,
        row: Value<'c>,
        column: Option<(&Span, Value<'c>)>,
        expr: Id,
    ) -> Result<(), EmitError> {
        let element =
            self.element(self.scratch.lanes, Rows::Lanes(row), column.map(|(span, at)| self.column(span, at)));
        let value = Evaluator::new(self.e, self.plan, self.facts, &element).lanes(expr)?;
        self.e.store(value, self.row_vector(var, row, column.map(|(_, at)| at))?, 4);
        Ok(())
    }
    fn set_along_columns(&mut self, var: Var, expr: Id) -> Result<(), EmitError> {
        let e = self.e;
        let variable = self.variable(var)?;
        let stride = variable.columns.as_ref().map_or(1, |c| padded(c.count));
        let base = self.scratch.variables[var as usize];
        let count = if variable.rows { self.scratch.rows } else { 1 };
        let open = e.begin_loop(e.i64(0), e.i64(count.into()), 1, &[]);
        let rows = if variable.rows { Rows::One(open.index) } else { Rows::Block };
        let first = e.mul(open.index, e.i64(stride.into()));
        match &variable.columns {
            None => {
                let element = self.element(1, rows, None);
                let value = Evaluator::new(e, self.plan, self.facts, &element).plain(expr)?;
                e.store(value, self.at(base, first, 4), 4);
            }
            Some(span) => self.each_column(span, &mut |column, lanes| {
                let element = self.element(lanes, rows, Some(column));
                let value = Evaluator::new(e, self.plan, self.facts, &element).lanes(expr)?;
                e.store(value, self.at(base, e.add(first, column.at), 4), 4);
                Ok(())
            })?,
        }
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Where the vector of rows from `row` on lies in a variable with rows.
    fn row_vector(&self, var: Var, row: Value<'c>, column: Option<Value<'c>>) -> Result<Value<'c>, EmitError> {
        let base = self.scratch.variables[var as usize];
        Ok(match (&self.variable(var)?.columns, column) {
            (Some(span), Some(at)) => self.at(base, self.panel_offset(row, padded(span.count), at), 4),
            _ => self.at(base, row, 4),
        })
    }
    /// Builds `f` for every vector of rows (`i64`, its first row).
    fn each_row_vector(
        &mut self,
        f: &mut dyn FnMut(&mut Self, Value<'c>) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let (first, end) = match self.only {
            Some(panel) => (panel, e.add(panel, e.i64(self.scratch.panel.into()))),
            None => (e.i64(0), e.i64(self.scratch.padded_rows.into())),
        };
        if self.only.is_some() && self.vectors() == 1 {
            return f(self, first);
        }
        let open = e.begin_loop(first, end, self.scratch.lanes.into(), &[]);
        f(self, open.index)?;
        e.end_loop(open, &[]);
        Ok(())
    }

    /// `var = keep ? var : otherwise`.
    pub(super) fn mask(&mut self, var: Var, keep: Id, otherwise: f64) -> Result<(), EmitError> {
        let e = self.e;
        let Some(span) = &self.variable(var)?.columns else {
            return Err(EmitError::Plan("a mask of a variable without columns".into()));
        };
        if !self.variable(var)?.rows {
            return Err(EmitError::Plan("a mask of a variable without rows".into()));
        }
        let lanes = self.scratch.lanes;
        let open = e.begin_loop(e.i64(0), e.i64(span.count.into()), 1, &[]);
        let at = open.index;
        self.each_row_vector(&mut |this, row| {
            let element = this.element(lanes, Rows::Lanes(row), Some(this.column(span, at)));
            let keep = Evaluator::new(e, this.plan, this.facts, &element).plain(keep)?;
            let pointer = this.row_vector(var, row, Some(at))?;
            let old = e.load(this.vector_type(), pointer, 4);
            e.store(e.select(keep, old, e.f32_like(old, otherwise as f32)), pointer, 4);
            Ok(())
        })?;
        e.end_loop(open, &[]);
        Ok(())
    }

    /// A vector of floats.
    pub(super) fn vector_type(&self) -> inkwell::types::BasicTypeEnum<'c> {
        self.e.lanes_of(self.e.f32_type().into(), self.scratch.lanes)
    }
    /// `f32` vectors at `pointer`, one per vector of a panel.
    pub(super) fn load_panel(&self, pointer: Value<'c>) -> Vec<Value<'c>> {
        let e = self.e;
        (0..self.vectors())
            .map(|v| e.load(self.vector_type(), e.offset(pointer, e.i64(i64::from(v * self.scratch.lanes) * 4)), 4))
            .collect()
    }
    /// Writes vectors, as [`Self::load_panel`] reads them.
    pub(super) fn store_panel(&self, values: &[Value<'c>], pointer: Value<'c>) {
        let e = self.e;
        for (v, value) in values.iter().enumerate() {
            e.store(*value, e.offset(pointer, e.i64(v as i64 * i64::from(self.scratch.lanes) * 4)), 4);
        }
    }
    /// Vectors per panel.
    pub(super) fn vectors(&self) -> u32 {
        self.scratch.panel / self.scratch.lanes
    }
    /// Builds `f` for every panel (`i64`, its first row).
    pub(super) fn each_panel(&self, f: &mut dyn FnMut(Value<'c>) -> Result<(), EmitError>) -> Result<(), EmitError> {
        if let Some(panel) = self.only {
            return f(panel);
        }
        let e = self.e;
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.padded_rows.into()), self.scratch.panel.into(), &[]);
        f(open.index)?;
        e.end_loop(open, &[]);
        Ok(())
    }
    /// Where column 0 of a panel lies in a variable with rows.
    pub(super) fn panel(&self, var: Var, first_row: Value<'c>) -> Result<Value<'c>, EmitError> {
        let variable = self.variable(var)?;
        if !variable.rows {
            return Err(EmitError::Plan(format!("variable {} has no rows", variable.label)));
        }
        let columns = variable.columns.as_ref().map_or(1, |c| padded(c.count));
        let index = self.e.mul(first_row, self.e.i64(columns.into()));
        Ok(self.at(self.scratch.variables[var as usize], index, 4))
    }
    /// Bytes from one column of a panel to the next.
    pub(super) fn panel_bytes(&self) -> i64 {
        i64::from(self.scratch.panel) * 4
    }

    /// The fold of every column of a panel: one vector per vector of the panel.
    fn fold_columns(&self, monoid: Monoid, start: Value<'c>, columns: u32) -> Vec<Value<'c>> {
        let e = self.e;
        let vectors = self.vectors();
        let identity = match monoid {
            Monoid::Add => 0.0,
            Monoid::Max | Monoid::Lse => f32::NEG_INFINITY,
            Monoid::Min => f32::INFINITY,
        };
        let width = if columns.is_multiple_of(PARTIALS) { PARTIALS } else { 1 };
        let like = self.vector_type().const_zero();
        let partials = vec![e.f32_like(like, identity); (width * vectors) as usize];
        let open = e.begin_loop(e.i64(0), e.i64(columns.into()), width.into(), &partials);
        let mut next = Vec::new();
        for i in 0..width {
            let at = e.add(e.mul(open.index, e.i64(self.panel_bytes())), e.i64(i64::from(i) * self.panel_bytes()));
            for (v, value) in self.load_panel(e.offset(start, at)).into_iter().enumerate() {
                next.push(self.merge(monoid, open.carried[i as usize * vectors as usize + v], value));
            }
        }
        let partials = e.end_loop(open, &next);
        let mut chunks = partials.chunks(vectors as usize);
        let first = chunks.next().map(<[_]>::to_vec).unwrap_or_default();
        chunks.fold(first, |sum, part| sum.iter().zip(part).map(|(a, b)| self.merge(monoid, *a, *b)).collect())
    }
    fn merge(&self, monoid: Monoid, a: Value<'c>, b: Value<'c>) -> Value<'c> {
        match monoid {
            Monoid::Add => self.e.fadd(a, b),
            // The second operand survives a comparison with NaN: a NaN that has come in stays.
            Monoid::Max | Monoid::Lse => self.e.fmax(b, a),
            Monoid::Min => self.e.fmin(b, a),
        }
    }

    /// `var[row] = fold of from[row, ..]`, merged with the old value.
    pub(super) fn reduce(&mut self, var: Var, from: Var, monoid: Monoid) -> Result<(), EmitError> {
        if monoid == Monoid::Lse {
            return Err(EmitError::Plan("a reduction by log-sum-exp".into()));
        }
        let Some(columns) = &self.variable(from)?.columns else {
            return Err(EmitError::Plan("a reduction of a variable without columns".into()));
        };
        if self.variable(var)?.columns.is_some() {
            return Err(EmitError::Plan("a reduction into a variable with columns".into()));
        }
        self.each_panel(&mut |row| {
            let folded = self.fold_columns(monoid, self.panel(from, row)?, columns.count);
            let pointer = self.panel(var, row)?;
            let old = self.load_panel(pointer);
            let new: Vec<_> = old.iter().zip(&folded).map(|(a, b)| self.merge(monoid, *a, *b)).collect();
            self.store_panel(&new, pointer);
            Ok(())
        })
    }

    /// Online softmax; see [`crate::plan::Statement::Online`].
    pub(super) fn online(&mut self, softmax: &Softmax<'_>) -> Result<(), EmitError> {
        let e = self.e;
        let Softmax { score, max, scale, rescale, round, sum } = *softmax;
        let Some(columns) = &self.variable(score)?.columns else {
            return Err(EmitError::Plan("a softmax of a variable without columns".into()));
        };
        let scale = e.f32(scale as f32);
        self.each_panel(&mut |row| {
            let start = self.panel(score, row)?;
            let max_pointer = self.panel(max, row)?;
            let old = self.load_panel(max_pointer);
            let folded = self.fold_columns(Monoid::Max, start, columns.count);
            let new: Vec<_> = old.iter().zip(&folded).map(|(a, b)| self.merge(Monoid::Max, *a, *b)).collect();
            self.store_panel(&new, max_pointer);
            // A row that has seen nothing has maximum -inf; subtracting 0 instead keeps its scores at -inf, so 2^ gives 0.
            let base: Vec<_> = new
                .iter()
                .map(|m| {
                    let lowest = e.f32_like(*m, f32::NEG_INFINITY);
                    e.select(e.fcmp(FloatPredicate::OEQ, *m, lowest), e.f32_like(*m, 0.0), *m)
                })
                .collect();
            // Where weights are rounded to bf16, one multiply-add is exact enough: it is off by a part in 2^24 of the exponent.
            let shifts: Vec<_> = base.iter().map(|m| e.fneg(e.fmul(*m, scale))).collect();
            let together = [EXPONENTIALS / self.vectors(), 1].into_iter().find(|n| columns.count.is_multiple_of(*n));
            let together = together.unwrap_or(1);
            let partials = if sum.is_some() { together * self.vectors() } else { 0 };
            let zero = e.f32_like(self.vector_type().const_zero(), 0.0);
            let partials = vec![zero; partials as usize];
            let open = e.begin_loop(e.i64(0), e.i64(columns.count.into()), together.into(), &partials);
            let pointer = e.offset(start, e.mul(open.index, e.i64(self.panel_bytes())));
            let mut sums = open.carried.clone();
            for column in 0..i64::from(together) {
                let pointer = e.offset(pointer, e.i64(column * self.panel_bytes()));
                let mut weights = Vec::new();
                for ((s, base), shift) in self.load_panel(pointer).iter().zip(&base).zip(&shifts) {
                    let power = match round {
                        Some(_) => e.multiply_add(*s, scale, *shift)?,
                        None => e.fmul(e.fsub(*s, *base), scale),
                    };
                    weights.push(math::weight(e, power, round.is_some())?);
                }
                self.store_panel(&weights, pointer);
                let own = sums.iter_mut().skip(column as usize * weights.len());
                own.zip(&weights).for_each(|(sum, weight)| *sum = e.fadd(*sum, *weight));
            }
            let sums = e.end_loop(open, &sums);
            if let Some(form) = round {
                self.round_panel(score, row, form)?;
            }
            self.rescale_panel(rescale, row, &old, &new, &base, scale)?;
            let Some(sum) = sum else { return Ok(()) };
            let pointer = self.panel(sum, row)?;
            let mut total = self.load_panel(pointer);
            let mut parts = sums.chunks(total.len());
            let first = parts.next().map(<[_]>::to_vec).unwrap_or_default();
            let whole = parts.fold(first, |a, b| a.iter().zip(b).map(|(a, b)| e.fadd(*a, *b)).collect());
            total.iter_mut().zip(&whole).for_each(|(sum, own)| *sum = e.fadd(*sum, *own));
            self.store_panel(&total, pointer);
            Ok(())
        })
    }

    /// Multiplies running sums by `2^(scale (old - new))` where the maximum of some row has moved.
    fn rescale_panel(
        &self,
        rescale: &[Var],
        row: Value<'c>,
        old: &[Value<'c>],
        new: &[Value<'c>],
        base: &[Value<'c>],
        scale: Value<'c>,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let mut moved = e.bool(false);
        for (a, b) in old.iter().zip(new) {
            let differ = e.fcmp(FloatPredicate::UNE, *a, *b);
            let any = e.any(differ)?;
            moved = e.or(moved, any);
        }
        let conditional = e.begin_if(moved);
        let mut factors = Vec::new();
        for (a, m) in old.iter().zip(base) {
            factors.push(math::exp2(e, e.fmul(e.fsub(*a, *m), scale))?);
        }
        for var in rescale {
            if self.scratch.forms.lines[*var as usize] {
                // Panels are one vector where there are such variables.
                self.rescale_lines(*var, row, factors[0])?;
                continue;
            }
            let columns = self.variable(*var)?.columns.as_ref().map_or(1, |c| c.count);
            let start = self.panel(*var, row)?;
            let open = e.begin_loop(e.i64(0), e.i64(columns.into()), 1, &[]);
            let pointer = e.offset(start, e.mul(open.index, e.i64(self.panel_bytes())));
            let scaled: Vec<_> = self.load_panel(pointer).iter().zip(&factors).map(|(x, f)| e.fmul(*x, *f)).collect();
            self.store_panel(&scaled, pointer);
            e.end_loop(open, &[]);
        }
        e.end_if(conditional, &[]);
        Ok(())
    }
}
