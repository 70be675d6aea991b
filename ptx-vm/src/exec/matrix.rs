//! `ldmatrix`, `stmatrix`, `movmatrix` and `mma.sync`.

use crate::code::{Address, Dst, Element, Mma, Src};
use crate::machine::shared::ANY_LANE;
use crate::machine::warp::{LANES, Lane, Lanes, Warp};
use crate::machine::{Cx, Machine};
use crate::number::float::NAN32;
use crate::tensor_core::{Arithmetic, Columns, Terms, WIDTH, widen, widen_row};

/// Row and column of half `h` of a lane's register in an 8x8 matrix of 16-bit elements.
#[inline(always)]
fn place(lane: usize, h: usize, transpose: bool) -> (usize, usize) {
    let (row, column) = (lane / 4, lane % 4 * 2 + h);
    if transpose { (column, row) } else { (row, column) }
}

/// The lanes whose addresses are those of so many matrices' rows.
fn rows(matrices: usize) -> u32 {
    u32::MAX >> (32 - 8 * matrices.clamp(1, 4))
}

pub(super) fn ldmatrix(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    mask: u32,
    d: &[Dst],
    address: Address,
    transpose: bool,
) {
    let addresses = warp.addresses(address);
    m.count_banks(cx, rows(d.len()), &addresses, 16);
    for (matrix, d) in d.iter().enumerate() {
        let mut rows = [[0u8; 16]; 8];
        for (i, row) in rows.iter_mut().enumerate() {
            m.shared_read(cx, ANY_LANE, addresses[matrix * 8 + i], row, 16);
        }
        let element = |(row, column): (usize, usize)| {
            u32::from(u16::from_le_bytes([rows[row][column * 2], rows[row][column * 2 + 1]]))
        };
        let values: Lanes<u32> =
            std::array::from_fn(|lane| element(place(lane, 0, transpose)) | element(place(lane, 1, transpose)) << 16);
        u32::write(warp, *d, mask, &values);
    }
}

pub(super) fn stmatrix(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    _mask: u32,
    address: Address,
    values: &[Src],
    transpose: bool,
) {
    let addresses = warp.addresses(address);
    m.count_banks(cx, rows(values.len()), &addresses, 16);
    for (matrix, value) in values.iter().enumerate() {
        let value = u32::read(warp, *value);
        let mut rows = [[0u8; 16]; 8];
        for (lane, value) in value.iter().enumerate() {
            for h in 0..2 {
                let (row, column) = place(lane, h, transpose);
                rows[row][column * 2..column * 2 + 2].copy_from_slice(&((value >> (16 * h)) as u16).to_le_bytes());
            }
        }
        for (i, row) in rows.iter().enumerate() {
            m.shared_write(cx, ANY_LANE, addresses[matrix * 8 + i], row, 16);
        }
    }
}

pub(super) fn movmatrix(warp: &mut Warp, mask: u32, d: Dst, a: Src) {
    let a = u32::read(warp, a);
    let element = |row: usize, column: usize| a[row * 4 + column / 2] >> (16 * (column % 2)) & 0xffff;
    let values: Lanes<u32> = std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        element(column, row) | element(column + 1, row) << 16
    });
    u32::write(warp, d, mask, &values);
}

/// Rows of an operand, each along k; unused places are zero.
pub(super) type Rows<const N: usize> = [[u32; 32]; N];

/// Puts the registers of a fragment into rows: `mma` fragments of A have 16 rows, two registers after one another in
/// the rows before they go along k; those of B have 8.
pub(super) fn gather<const N: usize>(warp: &Warp, registers: &[Src], element: Element) -> Rows<N> {
    let per_register = 4 / element.bytes();
    let bits = element.bytes() as u32 * 8;
    let ones = u32::MAX >> (32 - bits);
    let row_blocks = N / 8;
    let mut rows = [[0u32; 32]; N];
    for (i, source) in registers.iter().enumerate() {
        let values = u32::read(warp, *source);
        let (block, slice) = (i % row_blocks, i / row_blocks * 4 * per_register);
        for (lane, &value) in values.iter().enumerate() {
            let row = &mut rows[lane / 4 + 8 * block];
            let k = slice + lane % 4 * per_register;
            for j in 0..per_register {
                row[k + j] = value >> (bits * j as u32) & ones;
            }
        }
    }
    rows
}

/// A row for the tensor core.
pub(super) fn terms(row: &[u32; 32], k: usize, element: Element) -> Terms {
    Terms::new(&widen_row(row, element)[..k], element)
}

/// Eight rows of the B operand as columns for the tensor core.
pub(super) fn columns(rows: &[[u32; 32]], k: usize, element: Element) -> Columns {
    let mut values = [[0.0; WIDTH]; 32];
    for (column, row) in rows.iter().take(WIDTH).enumerate() {
        for (to, value) in values.iter_mut().zip(widen_row(row, element)).take(k) {
            to[column] = value;
        }
    }
    Columns::new(values, k, element)
}

/// `d = a * b + c` for 16 rows and 8 columns in the accumulator layout: `c` and the result hold, for each register, the
/// lanes' values. f16 accumulators are packed in pairs.
pub(super) fn tile(
    arithmetic: Arithmetic,
    half: bool,
    a: &[Terms],
    b: &Columns,
    c: impl Fn(usize) -> Lanes<u32>,
    mut store: impl FnMut(usize, &Lanes<u32>),
) {
    let mut start = [[0f32; WIDTH]; 16];
    let registers = if half { 2 } else { 4 };
    for i in 0..registers {
        for (lane, value) in c(i).into_iter().enumerate() {
            if half {
                let row = &mut start[lane / 4 + 8 * i];
                row[lane % 4 * 2] = widen(value & 0xffff, Element::F16);
                row[lane % 4 * 2 + 1] = widen(value >> 16, Element::F16);
            } else {
                start[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2] = f32::from_bits(value);
            }
        }
    }
    let mut result = [[0u32; WIDTH]; 16];
    for (row, (a, c)) in result.iter_mut().zip(a.iter().zip(start)) {
        *row = arithmetic.dot_columns(a, b, c);
    }
    for i in 0..registers {
        let values: Lanes<u32> = std::array::from_fn(|lane| {
            if half {
                let row = &result[lane / 4 + 8 * i];
                row[lane % 4 * 2] | row[lane % 4 * 2 + 1] << 16
            } else {
                result[lane / 4 + 8 * (i / 2)][lane % 4 * 2 + i % 2]
            }
        });
        store(i, &values);
    }
}

/// `mma.sync.aligned.m16n8kK.row.col`: PTX ISA, "Matrix Fragments for mma.m16n8k*".
pub(super) fn mma(m: &Machine<'_>, warp: &mut Warp, mask: u32, mma: &Mma) {
    let mut a: Rows<16> = gather(warp, &mma.a, mma.a_type);
    let mut b: Rows<8> = gather(warp, &mma.b, mma.b_type);
    if matches!(mma.a_type, Element::S8 | Element::U8) {
        let c: Vec<Lanes<u32>> = mma.c.iter().map(|&c| u32::read(warp, c)).collect();
        return integer_mma(warp, mask, mma, &a, &b, &c);
    }
    let arithmetic = m.launch.program.architecture.mma(mma.a_type, mma.k, mma.half_result);
    let apart = m.launch.program.architecture.mma_adds_apart(mma.a_type);
    if apart {
        a.iter_mut().chain(&mut b).for_each(halves_first);
    }
    let a: [Terms; 16] = std::array::from_fn(|row| terms(&a[row], mma.k, mma.a_type));
    let b = columns(&b, mma.k, mma.b_type);
    let mut d = [[0; LANES]; 4];
    let start = |i: usize| if apart { [0; LANES] } else { u32::read(warp, mma.c[i]) };
    tile(arithmetic, mma.half_result, &a, &b, start, |i, values| d[i] = *values);
    if apart {
        for (sum, c) in d.iter_mut().zip(&mma.c) {
            let c = f32::read(warp, *c);
            for lane in 0..LANES {
                let total = f32::from_bits(sum[lane]) + c[lane];
                sum[lane] = if total.is_nan() { NAN32 } else { total.to_bits() };
            }
        }
    }
    for (to, values) in mma.d.iter().zip(&d) {
        u32::write(warp, *to, mask, values);
    }
}

/// Puts the lower two bytes of every register's four before all upper ones: the order in which they are widened and multiplied.
fn halves_first(row: &mut [u32; 32]) {
    let from = *row;
    for (i, to) in row.iter_mut().enumerate() {
        *to = from[i % 16 / 2 * 4 + i / 16 * 2 + i % 2];
    }
}

fn integer_mma(warp: &mut Warp, mask: u32, mma: &Mma, a: &Rows<16>, b: &Rows<8>, c: &[Lanes<u32>]) {
    let signed = |v: u32, ty: Element| if ty == Element::S8 { i64::from(v as u8 as i8) } else { i64::from(v) };
    for (i, to) in mma.d.iter().enumerate() {
        let values: Lanes<u32> = std::array::from_fn(|lane| {
            let (row, column) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
            let sum = (0..mma.k).fold(i64::from(c[i][lane] as i32), |sum, k| {
                sum + signed(a[row][k], mma.a_type) * signed(b[column][k], mma.b_type)
            });
            if mma.saturate { sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32 } else { sum as u32 }
        });
        u32::write(warp, *to, mask, &values);
    }
}
