//! `atom` and `red`.

use super::load_store::by_space;
use crate::code::{Address, AtomicOp, Dst, Float, FloatMode, FloatOp, Order, Rounding, Src};
use crate::finding::FindingKind;
use crate::machine::warp::{LANES, Lane, Lanes, Warp};
use crate::machine::{Cx, Machine};
use crate::number::float::{f32_op, f64_op, flush, half_op};
use crate::types::{Space, Type};

pub(super) struct Request<'i> {
    pub space: Space,
    pub op: AtomicOp,
    pub ty: Type,
    pub order: Order,
    pub d: &'i [Dst],
    pub address: Address,
    pub b: &'i [Src],
    pub c: Option<Src>,
}

/// One atomic operation a lane; the lanes take their turns in order, which is one of the orders allowed.
pub(super) fn atomic(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32, request: Request<'_>) {
    let Request { space, op, ty, order, d, address, b, c } = request;
    let element = ty.bytes();
    let mut addresses = warp.addresses(address);
    let operands: Vec<Lanes<u64>> = b.iter().map(|&b| u64::read(warp, b)).collect();
    let swap = c.map(|c| u64::read(warp, c));
    let mut old: Vec<Lanes<u64>> = vec![[0; LANES]; operands.len()];
    for (space, mask) in by_space(space, mask, &mut addresses) {
        match space {
            Space::Shared => {
                for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
                    for (i, operand) in operands.iter().enumerate() {
                        let third = swap.map_or(0, |s| s[lane]);
                        let at = addresses[lane] + (i * element) as u64;
                        old[i][lane] =
                            m.shared_modify(cx, lane as u8, at, element, |x| combine(op, ty, x, operand[lane], third));
                    }
                }
            }
            Space::Global => {
                let bytes = element * operands.len();
                m.global_modify(cx, mask, &addresses, bytes, order, |lane, data| {
                    for (i, operand) in operands.iter().enumerate() {
                        let slot = &mut data[i * element..(i + 1) * element];
                        let mut word = [0u8; 8];
                        word[..element].copy_from_slice(slot);
                        let x = u64::from_le_bytes(word);
                        let third = swap.map_or(0, |s| s[lane]);
                        old[i][lane] = x;
                        let new = combine_in_global(op, ty, x, operand[lane], third);
                        slot.copy_from_slice(&new.to_le_bytes()[..element]);
                    }
                });
            }
            _ => m.find(FindingKind::InvalidOperand, cx, || {
                format!("atomic operations work on global and shared memory, not on {space} memory")
            }),
        }
    }
    for (d, old) in d.iter().zip(&old) {
        u64::write(warp, *d, mask, old);
    }
}

/// The new value at an address of global memory, where f32 sums have no subnormals (PTX ISA, `red`).
pub(crate) fn combine_in_global(op: AtomicOp, ty: Type, x: u64, y: u64, z: u64) -> u64 {
    if (op, ty) != (AtomicOp::Add, Type::F32) {
        return combine(op, ty, x, y, z);
    }
    let small = |v: u64| u64::from(flush(f32::from_bits(v as u32)).to_bits());
    small(combine(op, ty, small(x), small(y), z))
}

/// The new value at the address.
pub(crate) fn combine(op: AtomicOp, ty: Type, x: u64, y: u64, z: u64) -> u64 {
    let bits = ty.bytes() as u32 * 8;
    let ones = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let (y, z) = (y & ones, z & ones);
    let mode = |format| FloatMode {
        format,
        rounding: Rounding::Nearest,
        flush: false,
        saturate: false,
        relu: false,
        nan: false,
        xorsign: false,
    };
    let float = match op {
        AtomicOp::Add => Some(FloatOp::Add),
        AtomicOp::Min => Some(FloatOp::Min),
        AtomicOp::Max => Some(FloatOp::Max),
        _ => None,
    };
    if let Some(float) = float {
        let half =
            |bf16: bool, x: u64, y: u64| u64::from(half_op(float, mode(Float::F16), bf16, x as u16, y as u16, 0));
        match ty {
            Type::F32 => {
                let f = |v: u64| f32::from_bits(v as u32);
                return u64::from(f32_op(float, mode(Float::F32), f(x), f(y), 0.0).to_bits());
            }
            Type::F64 => return f64_op(float, mode(Float::F64), f64::from_bits(x), f64::from_bits(y), 0.0).to_bits(),
            Type::F16 | Type::Bf16 => return half(ty == Type::Bf16, x, y),
            Type::F16x2 | Type::Bf16x2 => {
                let bf16 = ty == Type::Bf16x2;
                return half(bf16, x >> 16, y >> 16) << 16 | half(bf16, x, y);
            }
            _ => {}
        }
    }
    let signed = |v: u64| ((v << (64 - bits)) as i64) >> (64 - bits);
    let result = match op {
        AtomicOp::Add => x.wrapping_add(y),
        AtomicOp::Min if ty.signed() => signed(x).min(signed(y)) as u64,
        AtomicOp::Max if ty.signed() => signed(x).max(signed(y)) as u64,
        AtomicOp::Min => x.min(y),
        AtomicOp::Max => x.max(y),
        AtomicOp::And => x & y,
        AtomicOp::Or => x | y,
        AtomicOp::Xor => x ^ y,
        AtomicOp::Exch => y,
        AtomicOp::Cas => {
            if x == y {
                z
            } else {
                x
            }
        }
        AtomicOp::Inc => {
            if x >= y {
                0
            } else {
                x + 1
            }
        }
        AtomicOp::Dec => {
            if x == 0 || x > y {
                y
            } else {
                x - 1
            }
        }
    };
    result & ones
}
