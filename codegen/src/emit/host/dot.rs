//! Contractions by register blocks, of f32 values; those of bf16 in matrix registers are in module `matrix`.
//!
//! A register block is one panel of rows against a few columns. Per value of the depth it reads the panel's vectors and
//! broadcasts one scalar per column: with AVX2, 2 vectors and 6 broadcasts for 12 fused multiply-adds, which two load ports
//! sustain at the full rate of two multiply-adds a cycle.
//!
//! Products and sums are f32. The second factor was rounded to the tile's type when it was stored in memory; the first is
//! used as it is, without the rounding to the tile's type that tensor cores need: results are at least as close to the
//! exact ones.

use super::EmitError;
use super::forms::Form;
use super::layout::{padded, tile_stride};
use super::lower::Lower;
use crate::emit::llvm::Value;
use crate::plan::{Operand, Span, TileAxis, Var};

/// Depth values per iteration of the inner loop (depths are multiples of 16).
const UNROLL: u32 = 2;

/// How the second factor lies in scratch memory, in bytes.
#[derive(Clone, Copy)]
struct Second<'c> {
    start: Value<'c>,
    per_column: i64,
    per_depth: i64,
}

/// `total` columns in blocks of at most `most`, as equal as possible: (size, how many) twice.
fn blocks(total: u32, most: u32) -> [(u32, u32); 2] {
    let count = total.div_ceil(most.max(1)).max(1);
    let small = total / count;
    let larger = total % count;
    [(small + 1, larger), (small, count - larger)]
}

impl<'c> Lower<'_, 'c> {
    /// `var (+)= sum over depth of a[row, depth] * b[depth, column]`.
    pub(super) fn dot(
        &mut self,
        var: Var,
        a: Operand,
        b: u32,
        depth: &Span,
        accumulate: bool,
    ) -> Result<(), EmitError> {
        let e = self.e;
        if self.scratch.forms.tiles.get(b as usize).is_some_and(|form| *form != Form::Floats) {
            return self.dot_in_matrices(var, a, b, depth, accumulate);
        }
        let Some(columns) = &self.variable(var)?.columns else {
            return Err(EmitError::Plan("a contraction into a variable without columns".into()));
        };
        let Some(tile) = self.kernel.tiles.get(b as usize) else {
            return Err(EmitError::Plan(format!("no tile {b}")));
        };
        let TileAxis::Span(slow) = &tile.slow else {
            return Err(EmitError::Plan("the second factor of a contraction is a tile of rows".into()));
        };
        let stride = i64::from(tile_stride(tile)) * 4;
        let start = self.at(self.scratch.tiles[b as usize], e.i64(0), 4);
        let second = if slow == depth && tile.fast == *columns {
            Second { start, per_column: 4, per_depth: stride }
        } else if slow == columns && tile.fast == *depth {
            Second { start, per_column: stride, per_depth: 4 }
        } else {
            return Err(EmitError::Plan(format!("tile {} does not fit its contraction", tile.label)));
        };
        let (base, width) = match a {
            Operand::Var(v) => (self.scratch.variables[v as usize], self.variable(v)?.columns.as_ref()),
            Operand::Tile(t) => match self.kernel.tiles.get(t as usize) {
                Some(tile) if tile.slow == TileAxis::Rows => (self.scratch.tiles[t as usize], Some(&tile.fast)),
                _ => return Err(EmitError::Plan(format!("the first factor {t} is no tile of rows"))),
            },
        };
        let Some(width) = width.filter(|w| *w == depth) else {
            return Err(EmitError::Plan("the first factor of a contraction has other columns than its depth".into()));
        };
        let first_columns = i64::from(padded(width.count));
        let most = (self.isa.accumulators() / self.vectors()).min(columns.count);
        self.each_panel(&mut |row| {
            let first = self.at(base, e.mul(row, e.i64(first_columns)), 4);
            let result = self.panel(var, row)?;
            let mut done = e.i64(0);
            for (size, count) in blocks(columns.count, most) {
                if size == 0 || count == 0 {
                    continue;
                }
                let end = e.add(done, e.i64(i64::from(size * count)));
                let open = e.begin_loop(done, end, size.into(), &[]);
                let at = open.index;
                let second = Second { start: e.offset(second.start, e.mul(at, e.i64(second.per_column))), ..second };
                let result = e.offset(result, e.mul(at, e.i64(self.panel_bytes())));
                self.register_block(size, depth.count, first, second, result, accumulate)?;
                e.end_loop(open, &[]);
                done = end;
            }
            Ok(())
        })
    }

    /// One panel against `size` columns.
    fn register_block(
        &self,
        size: u32,
        depth: u32,
        first: Value<'c>,
        second: Second<'c>,
        result: Value<'c>,
        accumulate: bool,
    ) -> Result<(), EmitError> {
        let e = self.e;
        let column = |i: u32| e.offset(result, e.i64(i64::from(i) * self.panel_bytes()));
        let sums: Vec<Value<'c>> = match accumulate {
            true => (0..size).flat_map(|i| self.load_panel(column(i))).collect(),
            false => {
                let zero = e.f32_like(self.vector_type().const_zero(), 0.0);
                vec![zero; (size * self.vectors()) as usize]
            }
        };
        let step = if depth.is_multiple_of(UNROLL) { UNROLL } else { 1 };
        let open = e.begin_loop(e.i64(0), e.i64(depth.into()), step.into(), &sums);
        let first = e.offset(first, e.mul(open.index, e.i64(self.panel_bytes())));
        let second_start = e.offset(second.start, e.mul(open.index, e.i64(second.per_depth)));
        let mut sums = open.carried.clone();
        for k in 0..i64::from(step) {
            let rows = self.load_panel(e.offset(first, e.i64(k * self.panel_bytes())));
            for i in 0..size {
                let offset = k * second.per_depth + i64::from(i) * second.per_column;
                let scalar = e.load(e.f32_type().into(), e.offset(second_start, e.i64(offset)), 4);
                for (v, row) in rows.iter().enumerate() {
                    let at = (i * self.vectors()) as usize + v;
                    sums[at] = e.multiply_add(*row, scalar, sums[at])?;
                }
            }
        }
        let sums = e.end_loop(open, &sums);
        for (i, values) in sums.chunks(self.vectors() as usize).enumerate() {
            self.store_panel(values, column(i as u32));
        }
        Ok(())
    }
}
