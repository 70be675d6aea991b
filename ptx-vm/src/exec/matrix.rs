//! `ldmatrix`, `stmatrix`, `movmatrix` and `mma.sync`.

use crate::code::{Address, Dst, Element, Mma, Src};
use crate::machine::shared::ANY_LANE;
use crate::machine::warp::{LANES, Lane, Lanes, Warp};
use crate::machine::{Cx, Machine};
use crate::tensor_core::{Rounded, Terms, widen};

/// Row and column of half `h` of a lane's register in an 8x8 matrix of 16-bit elements.
#[inline(always)]
fn place(lane: usize, h: usize, transpose: bool) -> (usize, usize) {
    let (row, column) = (lane / 4, lane % 4 * 2 + h);
    if transpose { (column, row) } else { (row, column) }
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

/// The elements of a register: low first.
#[inline(always)]
fn elements(register: u32, ty: Element) -> impl Iterator<Item = u32> {
    let bits = ty.bytes() as u32 * 8;
    (0..4 / ty.bytes() as u32).map(move |i| (register >> (bits * i)) & (u32::MAX >> (32 - bits)))
}

/// `mma.sync.aligned.m16n8kK.row.col`: PTX ISA, "Matrix Fragments for mma.m16n8k*".
pub(super) fn mma(m: &Machine<'_>, warp: &mut Warp, mask: u32, mma: &Mma) {
    let per_register = 4 / mma.a_type.bytes();
    // A quad of lanes holds one register each of a row's slice; a slice is a quarter or half of k.
    let slice = 4 * per_register;
    let integer = matches!(mma.a_type, Element::S8 | Element::U8);
    let mut a = [[0u32; 32]; 16];
    let mut b = [[0u32; 32]; 8];
    for (i, source) in mma.a.iter().enumerate() {
        let values = u32::read(warp, *source);
        // Registers go down the rows first, then along k.
        let (row_block, k_block) = (i % 2, i / 2);
        for (lane, &value) in values.iter().enumerate() {
            let row = lane / 4 + 8 * row_block;
            let k = k_block * slice + lane % 4 * per_register;
            for (j, element) in elements(value, mma.a_type).enumerate() {
                a[row][k + j] = element;
            }
        }
    }
    for (i, source) in mma.b.iter().enumerate() {
        let values = u32::read(warp, *source);
        for (lane, &value) in values.iter().enumerate() {
            let k = i * slice + lane % 4 * per_register;
            for (j, element) in elements(value, mma.b_type).enumerate() {
                b[lane / 4][k + j] = element;
            }
        }
    }
    let c: Vec<Lanes<u32>> = mma.c.iter().map(|&c| u32::read(warp, c)).collect();
    if integer {
        return integer_mma(warp, mask, mma, &a, &b, &c);
    }
    let row = |bits: &[u32; 32], ty: Element| Terms::new(&bits.map(|v| widen(v, ty))[..mma.k], ty);
    let arithmetic = m.launch.program.architecture.mma(mma.a_type, mma.k, mma.half_result);
    let a: [Terms; 16] = std::array::from_fn(|r| row(&a[r], mma.a_type));
    let b: [Terms; 8] = std::array::from_fn(|r| row(&b[r], mma.b_type));
    if mma.half_result {
        let mut d = vec![[0u32; LANES]; 2];
        for lane in 0..LANES {
            for (i, d) in d.iter_mut().enumerate() {
                for h in 0..2 {
                    let (row, column) = (lane / 4 + 8 * i, lane % 4 * 2 + h);
                    let c = c[i][lane] >> (16 * h) & 0xffff;
                    let start = widen(c, Element::F16);
                    let Rounded(bits) = arithmetic.dot(&a[row], &b[column], start);
                    d[lane] |= bits << (16 * h);
                }
            }
        }
        for (to, value) in mma.d.iter().zip(&d) {
            u32::write(warp, *to, mask, value);
        }
        return;
    }
    let mut d = vec![[0u32; LANES]; 4];
    for lane in 0..LANES {
        for (i, d) in d.iter_mut().enumerate() {
            let (row, column) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
            d[lane] = arithmetic.dot(&a[row], &b[column], f32::from_bits(c[i][lane])).0;
        }
    }
    for (to, value) in mma.d.iter().zip(&d) {
        u32::write(warp, *to, mask, value);
    }
}

fn integer_mma(warp: &mut Warp, mask: u32, mma: &Mma, a: &[[u32; 32]; 16], b: &[[u32; 32]; 8], c: &[Lanes<u32>]) {
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
