//! Contractions: tensor-core fragments, and fused multiply-adds for f32.
//!
//! Fragments of `mma.m16n8k16` (PTX ISA, "Matrix Fragments for mma.m16n8k16"): lane `4 q + m` holds, of an accumulator,
//! rows `q` and `q + 8` at columns `2 m, 2 m + 1`; of the first factor the same rows at depths `2 m, 2 m + 1` and
//! `2 m + 8, 2 m + 9`; of the second, column `q` at the same depths. So two neighbouring accumulators of 8 columns are,
//! rounded, the first factor of a contraction over these columns.

use super::block::Block;
use super::shape::FRAGMENT_ROWS;
use super::shared::Placement;
use crate::emit::EmitError;
use crate::emit::llvm::Value;
use crate::plan::{Operand, Span, Tile, TileAxis, Var};
use crate::term::Type;

/// Addresses of `ldmatrix` into one tile: a row and the parity of a chunk per lane, constants for the rest.
///
/// Rows begin at multiples of 16 times the swizzle's group, so the chunks of a group differ from each other by an
/// exclusive or with a constant: one register per tile and loop makes all addresses.
struct Access<'c> {
    /// By chunk pair within a group of the swizzle.
    table: Vec<Value<'c>>,
    group: u32,
    row_bytes: u32,
}

impl<'c> Access<'c> {
    /// Into the tile at the byte offset `buffer` (`i32`) of shared memory. Lanes address row `lane_row` (only its last three
    /// bits may differ between lanes modulo 8) plus a multiple of 8, and chunk `2 n + parity`, counted from `chunk_offset`;
    /// see [`Placement::allows_parts`].
    fn new(
        block: &Block<'_, 'c>,
        place: &Placement,
        buffer: Value<'c>,
        lane_row: Value<'c>,
        parity: Value<'c>,
        chunk_offset: Value<'c>,
    ) -> Self {
        let e = block.source.e;
        let turn = e.shift_right_logical(lane_row, e.i32(place.row_shift() as i32));
        let turn = e.and(turn, e.i32(place.group as i32 - 1));
        let inside = e.and(chunk_offset, e.i32(place.group as i32 - 1));
        let groups = e.shift_left(e.sub(chunk_offset, inside), e.i32(4));
        let start = e.add(e.mul(lane_row, e.i32(place.row_bytes as i32)), groups);
        let first = e.shift_left(e.xor(e.or(inside, parity), turn), e.i32(4));
        let first = e.add(e.add(start, first), buffer);
        let table = (0..(place.group / 2).max(1))
            .map(|pair| block.shared_at(0, e.xor(first, e.i32(32 * pair as i32))))
            .collect();
        Access { table, group: place.group, row_bytes: place.row_bytes }
    }
    /// Address for rows from `row` (a multiple of 8) and chunk `chunk` (even, unless groups are single chunks).
    fn at(&self, block: &Block<'_, 'c>, row: u32, chunk: u32) -> Value<'c> {
        let (pair, rest) = match self.group {
            1 => (0, chunk),
            group => ((chunk % group) / 2, chunk / group * group),
        };
        block.source.e.offset_by(self.table[pair as usize], i64::from(row * self.row_bytes + rest * 16))
    }
}

/// What a contraction is about, after checks.
struct Contraction<'p> {
    tile: &'p Tile,
    number: u32,
    /// True if the tile's slow axis is the depth.
    depth_is_slow: bool,
    /// Depth of one warp, and the number of parts.
    depth: u32,
    depth_parts: u32,
    /// Columns of one warp (of the result), and the number of parts.
    columns: u32,
    column_parts: u32,
}

impl<'a, 'c> Block<'a, 'c> {
    /// `var (+)= sum over depth of a * tile`.
    pub fn dot(&mut self, var: Var, a: Operand, b: u32, depth: &Span, accumulate: bool) -> Result<(), EmitError> {
        self.settle()?;
        let contraction = self.contraction(var, b, depth)?;
        match contraction.tile.dtype {
            Type::Bf16 | Type::F16 => self.tensor_dot(&contraction, var, a, accumulate),
            _ => self.scalar_dot(&contraction, var, a, accumulate),
        }
    }

    fn contraction(&self, var: Var, b: u32, depth: &Span) -> Result<Contraction<'a>, EmitError> {
        let wrong = |why: &str| EmitError::Plan(format!("a contraction over {}: {why}", depth.axis.name()));
        let kernel = self.source.kernel;
        let tile = kernel.tiles.get(b as usize).ok_or_else(|| wrong("there is no such tile"))?;
        let registers = self.registers(var)?;
        let Some(span) = &registers.span else { return Err(wrong("its result has no columns")) };
        let TileAxis::Span(slow) = &tile.slow else { return Err(wrong("its second factor lies along the rows")) };
        let depth_is_slow = slow.axis == depth.axis;
        let (tile_depth, tile_columns) = if depth_is_slow { (slow, &tile.fast) } else { (&tile.fast, slow) };
        if tile_depth != depth || tile_columns != span {
            return Err(wrong("the tile's axes are not its depth and its columns"));
        }
        let shape = self.fragments()?;
        let depth_parts = shape.split(depth);
        if depth_parts > 1 && !self.loops.iter().any(|l| l.axis == depth.axis && l.tile == depth.count) {
            return Err(wrong("its depth is split over warps outside of a loop"));
        }
        let depth = depth.count / depth_parts;
        if !depth.is_multiple_of(FRAGMENT_ROWS) {
            return Err(wrong("its depth is no multiple of 16"));
        }
        let column_parts = registers.parts;
        Ok(Contraction {
            tile,
            number: b,
            depth_is_slow,
            depth,
            depth_parts,
            columns: span.count / column_parts,
            column_parts,
        })
    }

    /// Row and chunk where a warp's part of the second factor begins, both `i32`.
    fn second_start(&self, c: &Contraction<'_>) -> (Value<'c>, Value<'c>) {
        let e = self.source.e;
        let depth = e.mul(self.part(c.depth_parts), e.i32(c.depth as i32));
        let columns = e.mul(self.part(c.column_parts), e.i32(c.columns as i32));
        if c.depth_is_slow { (depth, columns) } else { (columns, depth) }
    }

    fn tensor_dot(&self, c: &Contraction<'_>, var: Var, a: Operand, accumulate: bool) -> Result<(), EmitError> {
        let e = self.source.e;
        let place = self.placement(c.number);
        let buffer = self.current(c.number)?;
        let lane = self.lane_for_addresses()?;
        let (row_start, fast_start) = self.second_start(c);
        let bit = |shift: i32| e.and(e.shift_right_logical(lane, e.i32(shift)), e.i32(1));
        let low = e.and(lane, e.i32(7));
        // Matrices 0..3 of an x4 load: both halves of the depth for 8 columns, then for the next 8.
        let (row, parity) = match c.depth_is_slow {
            true => (e.add(low, e.shift_left(bit(3), e.i32(3))), bit(4)),
            false => (e.add(low, e.shift_left(bit(4), e.i32(3))), bit(3)),
        };
        let chunk_start = e.shift_right_logical(fast_start, e.i32(3));
        let fast_parts = if c.depth_is_slow { c.column_parts } else { c.depth_parts };
        let fast_width = if c.depth_is_slow { c.columns } else { c.depth };
        if fast_parts > 1 && !place.allows_parts(fast_width / 8) {
            return Err(EmitError::Plan(format!(
                "tile `{}` is split over warps in parts of {fast_width}, which its swizzle does not allow",
                c.tile.label
            )));
        }
        let access = Access::new(self, place, buffer, e.add(row, row_start), parity, chunk_start);

        let blocks = self.fragments()?.repeat as usize;
        let fragments = c.columns.div_ceil(8) as usize;
        let mut sums = vec![];
        for block in 0..blocks {
            for fragment in 0..fragments {
                let mut sum = [e.f32(0.0); 4];
                if accumulate {
                    for (i, value) in sum.iter_mut().enumerate() {
                        *value = self.get(var, 2 * block + i / 2, 2 * fragment + i % 2)?;
                    }
                }
                sums.push(sum);
            }
        }
        let first_access = match a {
            Operand::Tile(number) if !self.resident.contains_key(&number) => {
                self.check_first(c, number)?;
                Some(self.first_access(number, c.depth_parts)?)
            }
            _ => None,
        };
        for step in 0..c.depth / FRAGMENT_ROWS {
            let mut firsts = vec![];
            for block in 0..blocks {
                firsts.push(self.first_fragment(c, a, first_access.as_ref(), block as u32, step)?);
            }
            for pair in (0..fragments).step_by(2) {
                let (row, chunk) = match c.depth_is_slow {
                    true => (step * FRAGMENT_ROWS, pair as u32),
                    false => (8 * pair as u32, 2 * step),
                };
                let count = if pair + 1 < fragments { 4 } else { 2 };
                let second = e.ldmatrix(count, c.depth_is_slow, access.at(self, row, chunk))?;
                for (block, first) in firsts.iter().enumerate() {
                    for (i, half) in second.chunks_exact(2).enumerate() {
                        let sum = &mut sums[block * fragments + pair + i];
                        *sum = e.mma(c.tile.dtype, *first, [half[0], half[1]], *sum)?;
                    }
                }
            }
        }
        for block in 0..blocks {
            for fragment in 0..fragments {
                for (i, value) in sums[block * fragments + fragment].iter().enumerate() {
                    self.set(var, 2 * block + i / 2, 2 * fragment + i % 2, *value)?;
                }
            }
        }
        Ok(())
    }

    /// The first factor's fragment of 16 rows at depth `16 step`.
    fn first_fragment(
        &self,
        c: &Contraction<'_>,
        a: Operand,
        access: Option<&Access<'c>>,
        block: u32,
        step: u32,
    ) -> Result<[Value<'c>; 4], EmitError> {
        let e = self.source.e;
        match a {
            Operand::Tile(number) => {
                if let Some(access) = access {
                    return self.load_first(access, block, step);
                }
                self.check_first(c, number)?;
                let steps = self.tile(number)?.fast.count / FRAGMENT_ROWS;
                let fragment = self.resident.get(&number).and_then(|f| f.get((block * steps + step) as usize));
                fragment.copied().ok_or_else(|| EmitError::Plan(format!("tile {number} has no fragment {step}")))
            }
            Operand::Var(from) => {
                let registers = self.registers(from)?;
                if registers.width() != c.depth || registers.parts != c.depth_parts {
                    return Err(EmitError::Plan(format!("%{from} does not vary along the depth of its contraction")));
                }
                let mut words = [e.i32(0); 4];
                for (i, word) in words.iter_mut().enumerate() {
                    let (row, column) = (2 * block as usize + i % 2, 4 * step as usize + 2 * (i / 2));
                    *word = e.pack(c.tile.dtype, self.get(from, row, column)?, self.get(from, row, column + 1)?)?;
                }
                Ok(words)
            }
        }
    }

    fn check_first(&self, c: &Contraction<'_>, number: u32) -> Result<(), EmitError> {
        let tile = self.tile(number)?;
        let agrees =
            tile.slow == TileAxis::Rows && tile.fast.count == c.depth * c.depth_parts && tile.dtype == c.tile.dtype;
        agrees.then_some(()).ok_or_else(|| {
            EmitError::Plan(format!("tile `{}` is no first factor for tile `{}`", tile.label, c.tile.label))
        })
    }

    /// The lane, computed here if registers are short.
    fn lane_for_addresses(&self) -> Result<Value<'c>, EmitError> {
        if self.is_crowded() { Ok(self.thread_again()?.lane) } else { Ok(self.thread.lane) }
    }

    /// Addresses of the fragments of a first factor.
    fn first_access(&self, number: u32, parts: u32) -> Result<Access<'c>, EmitError> {
        let (e, place) = (self.source.e, self.placement(number));
        let lane = self.lane_for_addresses()?;
        let rows = e.mul(self.thread.row_warp, e.i32((FRAGMENT_ROWS * self.fragments()?.repeat) as i32));
        let row = e.add(rows, e.and(lane, e.i32(15)));
        let chunks = self.tile(number)?.fast.count / parts / 8;
        if parts > 1 && !place.allows_parts(chunks) {
            return Err(EmitError::Plan(format!("the depth of tile {number} is split finer than its swizzle")));
        }
        let start = e.mul(self.part(parts), e.i32(chunks as i32));
        let parity = e.shift_right_logical(lane, e.i32(4));
        Ok(Access::new(self, place, self.current(number)?, row, parity, start))
    }
    fn load_first(&self, access: &Access<'c>, block: u32, step: u32) -> Result<[Value<'c>; 4], EmitError> {
        let words = self.source.e.ldmatrix(4, false, access.at(self, FRAGMENT_ROWS * block, 2 * step))?;
        Ok([words[0], words[1], words[2], words[3]])
    }

    /// Loads the fragments of a first factor into registers for good.
    pub fn make_resident(&mut self, number: u32) -> Result<(), EmitError> {
        let steps = self.tile(number)?.fast.count / FRAGMENT_ROWS;
        let mut fragments = vec![];
        let access = self.first_access(number, 1)?;
        for block in 0..self.fragments()?.repeat {
            for step in 0..steps {
                fragments.push(self.load_first(&access, block, step)?);
            }
        }
        self.resident.insert(number, fragments);
        Ok(())
    }

    /// A contraction in f32: every thread computes the elements that it holds.
    fn scalar_dot(&self, c: &Contraction<'_>, var: Var, a: Operand, accumulate: bool) -> Result<(), EmitError> {
        let e = self.source.e;
        let registers = self.registers(var)?.clone();
        if !accumulate {
            for row in 0..registers.rows {
                for column in 0..registers.columns {
                    self.set(var, row, column, e.f32(0.0))?;
                }
            }
        }
        let depth_start = e.mul(self.part(c.depth_parts), e.i32(c.depth as i32));
        match a {
            Operand::Tile(number) => {
                self.check_first(c, number)?;
                let turn = e.begin_loop(e.i32(0), e.i32(c.depth as i32), 1, &[]);
                let depth = e.add(depth_start, turn.index);
                let warp_rows = e.i32((FRAGMENT_ROWS * self.fragments()?.repeat) as i32);
                let first_row = e.add(e.mul(self.thread.row_warp, warp_rows), self.thread.quad);
                let mut firsts = vec![];
                for row in 0..registers.rows {
                    let row = e.add(first_row, e.i32(8 * row as i32));
                    let address = self.tile_element(number, self.current(number)?, row, depth);
                    firsts.push(e.load(e.f32_type().into(), address, 4));
                }
                self.outer_product(c, var, &firsts, depth)?;
                e.end_loop(turn, &[]);
            }
            Operand::Var(from) => {
                let source = self.registers(from)?.clone();
                if source.width() != c.depth || source.parts != c.depth_parts {
                    return Err(EmitError::Plan(format!("%{from} does not vary along the depth of its contraction")));
                }
                let quad_start = e.shift_left(self.thread.quad, e.i32(2));
                for depth in 0..c.depth {
                    let lane = e.add(quad_start, e.i32(depth as i32 % 8 / 2));
                    let slot = (depth / 8 * 2 + depth % 2) as usize;
                    let mut firsts = vec![];
                    for row in 0..registers.rows {
                        firsts.push(e.shuffle_from(self.get(from, row, slot)?, lane)?);
                    }
                    self.outer_product(c, var, &firsts, e.add(depth_start, e.i32(depth as i32)))?;
                }
            }
        }
        Ok(())
    }

    /// Adds `firsts[row] * tile[depth, column]` to every element that the thread holds.
    fn outer_product(
        &self,
        c: &Contraction<'_>,
        var: Var,
        firsts: &[Value<'c>],
        depth: Value<'c>,
    ) -> Result<(), EmitError> {
        let e = self.source.e;
        let buffer = self.current(c.number)?;
        let registers = self.registers(var)?.clone();
        for column in 0..registers.columns {
            let local = self.column_offset(&registers, column);
            // Columns of padding read the last column there is.
            let local = e.imin(local, e.i32((c.columns * c.column_parts) as i32 - 1));
            let (row, at) = if c.depth_is_slow { (depth, local) } else { (local, depth) };
            let second = e.load(e.f32_type().into(), self.tile_element(c.number, buffer, row, at), 4);
            for (row, first) in firsts.iter().enumerate() {
                let sum = self.get(var, row, column)?;
                self.set(var, row, column, e.multiply_add(*first, second, sum)?)?;
            }
        }
        Ok(())
    }
}
