//! `wgmma`: warpgroup matrix multiplication with operands in shared memory.

use super::matrix::{columns, gather, terms, tile};
use crate::code::{Dst, Element, Src, Wgmma, WgmmaA};
use crate::finding::FindingKind;
use crate::machine::warp::{LANES, Lane, Warp};
use crate::machine::{Cx, Machine, bytes_of};
use crate::tensor_core::Terms;
use crate::types::Space;

/// Bytes of k that one instruction works on, whatever the element type.
const DEPTH_BYTES: usize = 32;

/// A matrix descriptor (PTX ISA, "Matrix Descriptor Format").
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    start: usize,
    leading: usize,
    stride: usize,
    base: usize,
    /// Bytes of a row of the swizzle atom, and the rows' bits that are xored in.
    atom: usize,
    mask: usize,
}

impl Descriptor {
    fn new(bits: u64) -> Self {
        let field = |at: u32| ((bits >> at & 0x3fff) << 4) as usize;
        let (atom, mask) = match bits >> 62 {
            1 => (128, 7),
            2 => (64, 3),
            3 => (32, 1),
            _ => (16, 0),
        };
        Self { start: field(0), leading: field(16), stride: field(32), base: (bits >> 49 & 7) as usize, atom, mask }
    }

    fn place(&self, offset: usize) -> usize {
        let address = self.start + offset;
        address ^ (((address >> 7).wrapping_sub(self.base) & self.mask) << 4)
    }

    /// The 16-byte chunk `c` (0 or 1) along k of row `row`, for an operand whose rows run along k.
    fn along_k(&self, row: usize, c: usize) -> usize {
        let k = if self.mask == 0 { c * self.leading } else { c * 16 };
        self.place(row / 8 * self.stride + row % 8 * self.atom + k)
    }

    /// The chunk of eight rows from `8 * chunk` at depth `k`, for an operand whose rows run along the other axis.
    fn across_k(&self, chunk: usize, k: usize) -> usize {
        let bytes = chunk * 16;
        let rows = if self.mask == 0 {
            chunk * self.stride + k / 8 * self.leading
        } else {
            bytes / self.atom * self.leading + k / 8 * self.stride + bytes % self.atom
        };
        self.place(rows + k % 8 * self.atom)
    }
}

/// Reads 16 bytes of an operand through the asynchronous proxy.
fn chunk(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, address: usize) -> [u8; 16] {
    if address + 16 > m.launch.shared_bytes as usize {
        m.find_at(FindingKind::OutOfBounds, cx, bytes_of(Space::Shared, address as u64, 16), || {
            "an operand of wgmma lies outside the block's shared memory".into()
        });
        return [0; 16];
    }
    if m.tracks() {
        m.hold_async_read(cx, cx.block, address);
        match warp.wgmma.open.held.last_mut() {
            Some((start, length)) if *start + *length == address => *length += 16,
            _ => warp.wgmma.open.held.push((address, 16)),
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&m.blocks[cx.block].shared.data[address..address + 16]);
    bytes
}

/// Rows `first..first + rows` of a shared operand.
#[allow(clippy::too_many_arguments)]
fn operand(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    bits: u64,
    first: usize,
    rows: usize,
    transposed: bool,
    element: Element,
    negate: bool,
) -> Vec<[u32; 32]> {
    let descriptor = Descriptor::new(bits);
    let size = element.bytes();
    let mut matrix = vec![[0u32; 32]; rows];
    let sign = if negate { sign_of(element) } else { 0 };
    let value = |bytes: &[u8]| {
        let mut word = [0u8; 4];
        word[..size].copy_from_slice(bytes);
        u32::from_le_bytes(word) ^ sign
    };
    if transposed {
        for k in 0..DEPTH_BYTES / size {
            for c in 0..rows / 8 {
                let bytes = chunk(m, warp, cx, descriptor.across_k(first / 8 + c, k));
                for (i, part) in bytes.chunks_exact(size).take(8).enumerate() {
                    matrix[c * 8 + i][k] = value(part);
                }
            }
        }
    } else {
        for (row, values) in matrix.iter_mut().enumerate() {
            for c in 0..2 {
                let bytes = chunk(m, warp, cx, descriptor.along_k(first + row, c));
                for (i, part) in bytes.chunks_exact(size).enumerate() {
                    values[c * 16 / size + i] = value(part);
                }
            }
        }
    }
    matrix
}

fn sign_of(element: Element) -> u32 {
    1 << (element.bytes() * 8 - 1)
}

fn word(source: Src) -> Option<u32> {
    if let Src::Word(r) = source { Some(r) } else { None }
}

pub(super) fn wgmma(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32, op: &Wgmma) {
    if !warp.id.nwarps.is_multiple_of(4) {
        m.find(FindingKind::InvalidOperand, cx, || "wgmma needs whole warpgroups of four warps".into());
        return;
    }
    let accumulators: Vec<u32> =
        op.d.iter().filter_map(|&d| if let Dst::Word(r) = d { Some(r) } else { None }).collect();
    let inputs: Vec<u32> = match &op.a {
        WgmmaA::Registers(registers) => registers.iter().filter_map(|&s| word(s)).collect(),
        WgmmaA::Shared(..) => Vec::new(),
    };
    if m.tracks() {
        let mut used = accumulators.iter().chain(&inputs);
        if let Some((r, writer)) = used.find_map(|&r| warp.wgmma.unfenced(r).map(|writer| (r, writer))) {
            let name = m.launch.program.register_name(r);
            if writer == 0 {
                m.find(FindingKind::MissingWgmmaFence, cx, || "there was no wgmma.fence before this wgmma".into());
            } else {
                m.find_between(FindingKind::MissingWgmmaFence, cx, (cx.me, writer), None, || {
                    format!("register {name} of this wgmma was written after the last wgmma.fence, or there was none")
                });
            }
        }
        if let Some(&r) = inputs.iter().find(|&&r| warp.wgmma.accumulates(r)) {
            let holder = warp.wgmma.holder(r);
            m.find_register(FindingKind::UseBeforeWait, cx, holder, r, "the A operand is the accumulator");
        }
    }
    let first = warp.id.warp as usize % 4 * 16;
    let a = match &op.a {
        WgmmaA::Registers(registers) => {
            let mut rows = gather::<16>(warp, registers, op.a_type);
            if op.negate_a {
                rows.iter_mut().flatten().for_each(|v| *v ^= sign_of(op.a_type));
            }
            rows.to_vec()
        }
        WgmmaA::Shared(descriptor, transposed) => {
            let bits = warp.uniform(*descriptor, mask);
            operand(m, warp, cx, bits, first, 16, *transposed, op.a_type, op.negate_a)
        }
    };
    let bits = warp.uniform(op.b, mask);
    let b = operand(m, warp, cx, bits, 0, op.n, op.transpose_b, op.b_type, op.negate_b);
    warp.wgmma.issue(cx.line, accumulators, inputs);
    let accumulate = warp.pred(op.scale_d) & mask != 0;
    let depth = DEPTH_BYTES / op.a_type.bytes();
    if matches!(op.a_type, Element::S8 | Element::U8) {
        return integer(warp, mask, op, &a, &b, accumulate);
    }
    let rows: Vec<Terms> = a.iter().map(|row| terms(row, depth, op.a_type)).collect();
    let arithmetic = m.launch.program.architecture.wgmma(op.a_type, op.half_result);
    let per_block = if op.half_result { 2 } else { 4 };
    for (d, b) in op.d.chunks(per_block).zip(b.chunks(8)) {
        let b = columns(b, depth, op.b_type);
        let mut values = [[0; LANES]; 4];
        let start = |i: usize| if accumulate { u32::read(warp, source_of(d[i])) } else { [0; LANES] };
        tile(arithmetic, op.half_result, &rows, &b, start, |i, v| values[i] = *v);
        for (to, values) in d.iter().zip(&values) {
            u32::write(warp, *to, mask, values);
        }
    }
}

fn source_of(d: Dst) -> Src {
    match d {
        Dst::Word(r) | Dst::Half(r) => Src::Word(r),
        Dst::Double(r) => Src::Double(r),
        _ => Src::Imm(0),
    }
}

fn integer(warp: &mut Warp, mask: u32, op: &Wgmma, a: &[[u32; 32]], b: &[[u32; 32]], accumulate: bool) {
    let value = |v: u32, ty: Element| if ty == Element::S8 { i64::from(v as u8 as i8) } else { i64::from(v) };
    for (i, d) in op.d.iter().enumerate() {
        let old = u32::read(warp, source_of(*d));
        let values: [u32; LANES] = std::array::from_fn(|lane| {
            let (row, column) = (lane / 4 + 8 * (i % 4 / 2), i / 4 * 8 + lane % 4 * 2 + i % 2);
            let start = if accumulate { i64::from(old[lane] as i32) } else { 0 };
            let sum = (0..32).fold(start, |s, k| s + value(a[row][k], op.a_type) * value(b[column][k], op.b_type));
            if op.saturate { sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32 } else { sum as u32 }
        });
        u32::write(warp, *d, mask, &values);
    }
}

/// `wgmma.wait_group`: registers and shared memory of the older groups are free.
pub(super) fn wait(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, left: u32) {
    for group in warp.wgmma.wait(left as usize) {
        let cx = Cx { line: group.line, ..cx };
        for (offset, bytes) in group.held {
            m.unhold(cx, cx.block, offset, bytes);
        }
    }
}

/// Exiting with operations in flight.
pub(super) fn exit(m: &mut Machine<'_>, warp: &Warp, cx: Cx) {
    if !warp.wgmma.idle() {
        m.find_between(FindingKind::UseBeforeWait, cx, (cx.me, warp.wgmma.oldest()), None, || {
            "the warp exits while a wgmma that it did not wait for runs".into()
        });
    }
}
