//! Contractions in matrix registers; see [`super::forms`] for how operands lie, and why.
//!
//! Of the eight registers four hold sums, two the tile's part and two the first factor's. Four independent sums are as many as
//! the latency of a product (52 cycles) has room for products (16 cycles each); per product 1.25 registers are
//! loaded, at 8 cycles each from the first-level cache, so that products are what takes the time.
//!
//! Products are exact, sums are f32. Results are bit-identical from run to run, but not to those of other instruction sets: the
//! first factor is rounded to bf16, as the plan says.

use super::EmitError;
use super::forms::Form;
use super::layout::{HALVES, LINES, REGISTER, halves, in_pairs, padded};
use super::lower::Lower;
use crate::emit::llvm::{Emitter, Value};
use crate::plan::{Operand, Span, Var};

/// Registers of sums.
const SUMS: u32 = 4;
/// Parts of a contraction's depth (of [`HALVES`] values each) that are unrolled; deeper ones are a loop.
const UNROLL: u32 = 8;
/// The configuration's palette: eight registers of up to 16 lines of 64 bytes.
const PALETTE: u8 = 1;

/// Registers in memory.
#[derive(Clone, Copy)]
pub(super) struct Registers<'c> {
    /// Of the first one.
    pub start: Value<'c>,
    /// Bytes from one line to the next (`i64`).
    pub line: Value<'c>,
    /// Bytes from one register to the next along the depth (`i64`).
    pub deeper: Value<'c>,
    /// Bytes from one register to the next along the columns (`i64`).
    pub across: Value<'c>,
}

impl<'c> Registers<'c> {
    /// Registers of consecutive lines.
    pub fn packed(e: &Emitter<'c>, start: Value<'c>, deeper: i64, across: i64) -> Self {
        Registers { start, line: e.i64(64), deeper: e.i64(deeper), across: e.i64(across) }
    }
}

/// One panel's part of a contraction.
#[derive(Clone, Copy)]
struct Panel<'c> {
    first: Registers<'c>,
    second: Registers<'c>,
    result: Registers<'c>,
    /// The form of the second factor.
    form: Form,
    depth: u32,
    accumulate: bool,
}

/// Sets all matrix registers to 16 lines of 64 bytes.
pub(super) fn configure<'c>(e: &Emitter<'c>, place: Value<'c>) -> Result<(), EmitError> {
    // Byte 0 is the palette; bytes per line from byte 16 on, as 16-bit numbers; lines from byte 48 on.
    let mut bytes = [0_u8; 64];
    bytes[0] = PALETTE;
    for register in 0..8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = LINES as u8;
    }
    for (word, part) in bytes.chunks_exact(4).enumerate() {
        let value = part.iter().rev().fold(0_i32, |all, byte| all << 8 | i32::from(*byte));
        e.store(e.i32(value), e.offset(place, e.i64(4 * word as i64)), 4);
    }
    e.intrinsic("llvm.x86.ldtilecfg", &[], &[place]).map(|_| ())
}

/// Gives the matrix registers back, so that they need not be saved when threads take turns.
pub(super) fn release(e: &Emitter<'_>) -> Result<(), EmitError> {
    e.intrinsic("llvm.x86.tilerelease", &[], &[]).map(|_| ())
}

impl<'c> Lower<'_, 'c> {
    /// `var (+)= sum over depth of a[row, depth] * b[depth, column]`, for a tile that has a form of matrix registers.
    pub(super) fn dot_in_matrices(
        &mut self,
        var: Var,
        a: Operand,
        b: u32,
        depth: &Span,
        accumulate: bool,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let Some(columns) = self.variable(var)?.columns.as_ref() else {
            return Err(EmitError::Plan("a contraction into a variable without columns".into()));
        };
        let form = self.scratch.forms.tiles[b as usize];
        let second = self.second(b, form, columns.count);
        let count = match form {
            Form::Pairs => halves(columns.count) / LINES,
            _ => columns.count.div_ceil(LINES),
        };
        let built = self.each_panel(&mut |row| {
            let first = match a {
                Operand::Tile(tile) => {
                    let bytes = i64::from(halves(depth.count)) * 2;
                    let start = self.at(self.scratch.tiles[tile as usize], row, bytes);
                    Registers::packed(e, start, REGISTER, 0)
                }
                Operand::Var(variable) => {
                    if self.rounded != Some(variable) {
                        self.round_panel(variable, row, form)?;
                    }
                    let bytes = i64::from(halves(depth.count)) * 2;
                    Registers::packed(e, self.at(self.scratch.first, row, bytes), REGISTER, 0)
                }
            };
            let result = self.sums(var, row, form, columns.count)?;
            let panel = Panel { first, second, result, form, depth: depth.count, accumulate };
            let whole = count / SUMS;
            if whole > 0 {
                let open = e.begin_loop(e.i64(0), e.i64(whole.into()), 1, &[]);
                self.products(SUMS, open.index, panel)?;
                e.end_loop(open, &[]);
            }
            match count % SUMS {
                0 => Ok(()),
                rest => self.products(rest, e.i64(whole.into()), panel),
            }
        });
        self.rounded = None;
        built
    }

    /// A tile's registers.
    fn second(&self, tile: u32, form: Form, columns: u32) -> Registers<'c> {
        let e = self.e;
        match form {
            Form::Pairs => {
                let start = self.at(self.scratch.tiles[tile as usize], e.i64(0), 1);
                Registers::packed(e, start, i64::from(halves(columns) / LINES) * REGISTER, REGISTER)
            }
            _ => self.lines_of(tile),
        }
    }
    /// The registers of one panel of the result.
    fn sums(&self, var: Var, row: Value<'c>, tile: Form, columns: u32) -> Result<Registers<'c>, EmitError> {
        let e = self.e;
        Ok(match tile {
            Form::Pairs => {
                let start = self.at(self.scratch.variables[var as usize], row, i64::from(halves(columns)) * 4);
                Registers::packed(e, start, 0, REGISTER)
            }
            _ => Registers::packed(e, self.panel(var, row)?, 0, REGISTER),
        })
    }

    /// `count` registers of sums, those of group `group` (of [`SUMS`] each), over the whole depth.
    fn products(&self, count: u32, group: Value<'c>, panel: Panel<'c>) -> Result<(), EmitError> {
        let e = self.e;
        let Panel { first, second, result, form, depth, accumulate } = panel;
        let skip = e.mul(group, e.i64(SUMS.into()));
        let across = |registers: Registers<'c>, i: u32| {
            e.offset(registers.start, e.mul(e.add(skip, e.i64(i.into())), registers.across))
        };
        for i in 0..count {
            match accumulate {
                true => self.load_register(i, across(result, i), result.line)?,
                false => self.register("llvm.x86.tilezero", &[i])?,
            }
        }
        let parts = halves(depth) / HALVES;
        let part = |at: Value<'c>, parity: u32| -> Result<(), EmitError> {
            let shared = 6 + parity;
            self.load_register(shared, e.offset(first.start, e.mul(at, first.deeper)), first.line)?;
            for i in 0..count {
                let own = 4 + i % 2;
                let place = e.offset(across(second, i), e.mul(at, second.deeper));
                self.load_register(own, place, second.line)?;
                let (left, right) = if form == Form::Pairs { (shared, own) } else { (own, shared) };
                self.register("llvm.x86.tdpbf16ps", &[i, left, right])?;
            }
            Ok(())
        };
        if parts <= UNROLL {
            for at in 0..parts {
                part(e.i64(at.into()), at % 2)?;
            }
        } else {
            let open = e.begin_loop(e.i64(0), e.i64(parts.into()), 1, &[]);
            part(open.index, 0)?;
            e.end_loop(open, &[]);
        }
        for i in 0..count {
            let arguments = [self.number(i), across(result, i), result.line];
            e.intrinsic("llvm.x86.tilestored64", &[], &arguments)?;
        }
        Ok(())
    }

    fn number(&self, register: u32) -> Value<'c> {
        self.e.context.i8_type().const_int(register.into(), false).into()
    }
    fn load_register(&self, register: u32, place: Value<'c>, line: Value<'c>) -> Result<(), EmitError> {
        self.e.intrinsic("llvm.x86.tileloadd64", &[], &[self.number(register), place, line]).map(|_| ())
    }
    fn register(&self, instruction: &str, registers: &[u32]) -> Result<(), EmitError> {
        let numbers: Vec<_> = registers.iter().map(|register| self.number(*register)).collect();
        self.e.intrinsic(instruction, &[], &numbers).map(|_| ())
    }

    /// Rounds one panel of a variable to bf16, to lines or pairs as the tile's form needs them, zeros after its columns.
    pub(super) fn round_panel(&self, var: Var, row: Value<'c>, tile: Form) -> Result<(), EmitError> {
        let e = self.e;
        let count = self.variable(var)?.columns.as_ref().map_or(1, |c| c.count);
        let from = self.panel(var, row)?;
        let part = |at: Value<'c>, present: u32| -> Result<(), EmitError> {
            let start = e.offset(from, e.mul(at, e.i64(i64::from(HALVES) * self.panel_bytes())));
            let zero = e.f32_like(self.vector_type().const_zero(), 0.0);
            let column = |i: u32| match i < present {
                true => e.load(self.vector_type(), e.offset(start, e.i64(i64::from(i) * self.panel_bytes())), 64),
                false => zero,
            };
            let mut pairs = Vec::new();
            for pair in 0..LINES {
                pairs.push(self.pairs_of(column(2 * pair), column(2 * pair + 1))?);
            }
            if tile == Form::Pairs {
                pairs = self.transposed(pairs);
            }
            let panel = self.at(self.scratch.first, row, i64::from(halves(count)) * 2);
            let to = e.offset(panel, e.mul(at, e.i64(REGISTER)));
            for (i, pair) in pairs.into_iter().enumerate() {
                e.store(pair, e.offset(to, e.i64(i as i64 * 64)), 64);
            }
            Ok(())
        };
        let whole = count / HALVES;
        if whole > 0 {
            let open = e.begin_loop(e.i64(0), e.i64(whole.into()), 1, &[]);
            part(open.index, HALVES)?;
            e.end_loop(open, &[]);
        }
        match count % HALVES {
            0 => Ok(()),
            rest => part(e.i64(whole.into()), rest),
        }
    }

    /// Two vectors rounded to bf16, their lanes side by side (`a` in the lower halves), as a vector of f32.
    fn pairs_of(&self, a: Value<'c>, b: Value<'c>) -> Result<Value<'c>, EmitError> {
        let e = self.e;
        // The second operand comes out first. Subnormal numbers become 0, as products in matrix registers make them anyway.
        let both = e.intrinsic_value("llvm.x86.avx512bf16.cvtne2ps2bf16.512", &[], &[b, a])?;
        let both = e.bits_as(both, e.i16_type().into());
        let pick: Vec<u32> = (0..LINES).flat_map(|lane| [lane, LINES + lane]).collect();
        Ok(e.reinterpreted(e.shuffle(both, both, &pick), self.vector_type()))
    }

    /// Multiplies the rows of one panel of an accumulator.
    pub(super) fn rescale_lines(&self, var: Var, row: Value<'c>, factors: Value<'c>) -> Result<(), EmitError> {
        let e = self.e;
        let columns = halves(self.variable(var)?.columns.as_ref().map_or(1, |c| c.count));
        e.store(factors, self.at(self.scratch.factors, e.i64(0), 4), 64);
        let open = e.begin_loop(e.i64(0), e.i64(LINES.into()), 1, &[]);
        let factor = e.load(e.f32_type().into(), self.at(self.scratch.factors, open.index, 4), 4);
        let panel = self.at(self.scratch.variables[var as usize], row, i64::from(columns) * 4);
        let line = e.offset(panel, e.mul(open.index, e.i64(64)));
        for register in 0..i64::from(columns / LINES) {
            let place = e.offset(line, e.i64(register * REGISTER));
            e.store(e.fmul(e.load(self.vector_type(), place, 64), factor), place, 64);
        }
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Sets all of an accumulator to a value.
    pub(super) fn fill_lines(&self, var: Var, value: Value<'c>) -> Result<(), EmitError> {
        let e = self.e;
        let columns = halves(self.variable(var)?.columns.as_ref().map_or(1, |c| c.count));
        let all = self.scratch.padded_rows * columns;
        let open = e.begin_loop(e.i64(0), e.i64(all.into()), LINES.into(), &[]);
        let place = self.at(self.scratch.variables[var as usize], open.index, 4);
        e.store(e.splat(value, LINES), place, 64);
        e.end_loop(open, &[]);
        Ok(())
    }

    /// Copies an accumulator to `[row][column]` with its columns in order.
    pub(super) fn order_columns(&self, var: Var) -> Result<(), EmitError> {
        let e = self.e;
        let count = self.variable(var)?.columns.as_ref().map_or(1, |c| c.count);
        let (from, to) = (self.scratch.variables[var as usize], self.scratch.turned[var as usize]);
        let order = in_pairs();
        let open = e.begin_loop(e.i64(0), e.i64(self.scratch.padded_rows.into()), 1, &[]);
        let ordered = e.mul(open.index, e.i64(padded(count).into()));
        for first in (0..padded(count)).step_by(LINES as usize) {
            let group = first / HALVES * HALVES;
            let half = |i: u32| {
                let at = stored_at(e, open.index, e.i64(0), halves(count));
                let register = e.i64(i64::from(group / LINES + i) * REGISTER);
                e.load(self.vector_type(), e.offset(self.at(from, at, 4), register), 64)
            };
            let pick = &order[(first - group) as usize..][..LINES as usize];
            e.store(e.shuffle(half(0), half(1), pick), self.at(to, e.add(ordered, e.i64(first.into())), 4), 64);
        }
        e.end_loop(open, &[]);
        Ok(())
    }
}

/// Where an element of an accumulator of so many columns is stored, in elements: [`super::layout`] as arithmetic on `i64`.
pub(super) fn stored_at<'c>(e: &Emitter<'c>, row: Value<'c>, column: Value<'c>, columns: u32) -> Value<'c> {
    let lines = i64::from(LINES);
    let panel = e.mul(e.floor_div(row, e.i64(lines)), e.i64(lines * i64::from(columns)));
    let line = e.mul(e.floor_rem(row, e.i64(lines)), e.i64(lines));
    // Two registers per group of 32 columns; see `in_pairs`.
    let group = e.shift_right_logical(e.and(column, e.i64(-i64::from(HALVES))), e.i64(4));
    let register = e.add(group, e.shift_right_logical(e.and(column, e.i64(4)), e.i64(2)));
    let part = e.shift_right_logical(e.and(column, e.i64(24)), e.i64(1));
    let within = e.add(part, e.and(column, e.i64(3)));
    e.add(e.add(panel, e.mul(register, e.i64(REGISTER / 4))), e.add(line, within))
}
