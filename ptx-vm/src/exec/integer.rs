//! Integer and bit instructions.

use crate::code::{Binary, Dst, Int, PrmtMode, Src, Ternary, Unary};
use crate::machine::warp::{LANES, Lane, Warp};

pub(super) fn unary(warp: &mut Warp, mask: u32, op: Unary, ty: Int, d: Dst, a: Src) {
    match ty {
        Int::U32 | Int::S32 => {
            let signed = ty == Int::S32;
            match op {
                Unary::Neg => warp.map1(mask, d, a, |x: u32| x.wrapping_neg()),
                Unary::Abs => warp.map1(mask, d, a, |x: u32| (x as i32).unsigned_abs()),
                Unary::Not => warp.map1(mask, d, a, |x: u32| !x),
                Unary::Cnot => warp.map1(mask, d, a, |x: u32| u32::from(x == 0)),
                Unary::Popc => warp.map1(mask, d, a, |x: u32| x.count_ones()),
                Unary::Clz => warp.map1(mask, d, a, |x: u32| x.leading_zeros()),
                Unary::Brev => warp.map1(mask, d, a, |x: u32| x.reverse_bits()),
                Unary::Bfind | Unary::BfindShift => warp.map1(mask, d, a, |x: u32| {
                    let zeros = if signed && (x as i32) < 0 { (!x).leading_zeros() } else { x.leading_zeros() };
                    found(zeros, 32, op == Unary::BfindShift)
                }),
            }
        }
        Int::U64 | Int::S64 => {
            let signed = ty == Int::S64;
            match op {
                Unary::Neg => warp.map1(mask, d, a, |x: u64| x.wrapping_neg()),
                Unary::Abs => warp.map1(mask, d, a, |x: u64| (x as i64).unsigned_abs()),
                Unary::Not => warp.map1(mask, d, a, |x: u64| !x),
                Unary::Cnot => warp.map1(mask, d, a, |x: u64| u64::from(x == 0)),
                Unary::Popc => warp.map1(mask, d, a, |x: u64| x.count_ones()),
                Unary::Clz => warp.map1(mask, d, a, |x: u64| x.leading_zeros()),
                Unary::Brev => warp.map1(mask, d, a, |x: u64| x.reverse_bits()),
                Unary::Bfind | Unary::BfindShift => warp.map1(mask, d, a, |x: u64| {
                    let zeros = if signed && (x as i64) < 0 { (!x).leading_zeros() } else { x.leading_zeros() };
                    found(zeros, 64, op == Unary::BfindShift)
                }),
            }
        }
        Int::U16 | Int::S16 => warp.map1(mask, d, a, |x: u16| match op {
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => (x as i16).unsigned_abs(),
            Unary::Not => !x,
            Unary::Cnot => u16::from(x == 0),
            Unary::Popc => x.count_ones() as u16,
            Unary::Clz => x.leading_zeros() as u16,
            Unary::Brev => x.reverse_bits(),
            Unary::Bfind | Unary::BfindShift => found(x.leading_zeros(), 16, op == Unary::BfindShift) as u16,
        }),
    }
}

/// `bfind` from the count of leading insignificant bits.
fn found(zeros: u32, width: u32, shift: bool) -> u32 {
    if zeros == width {
        u32::MAX
    } else if shift {
        zeros
    } else {
        width - 1 - zeros
    }
}

/// Arithmetic of one width; `$u` and `$i` are the unsigned and signed types, `$w` and `$wi` those of twice the width.
macro_rules! binary_of {
    ($warp:ident, $mask:ident, $op:ident, $signed:expr, $d:ident, $a:ident, $b:ident, $u:ty, $i:ty, $w:ty, $wi:ty) => {{
        let bits = <$u>::BITS;
        match ($op, $signed) {
            (Binary::Add, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.wrapping_add(y)),
            (Binary::Sub, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.wrapping_sub(y)),
            (Binary::AddSat, _) => {
                $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).saturating_add(y as $i) as $u)
            }
            (Binary::SubSat, _) => {
                $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).saturating_sub(y as $i) as $u)
            }
            (Binary::Mul, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.wrapping_mul(y)),
            (Binary::MulHi, true) => $warp
                .map2($mask, $d, $a, $b, |x: $u, y: $u| ((x as $i as $wi).wrapping_mul(y as $i as $wi) >> bits) as $u),
            (Binary::MulHi, false) => {
                $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| ((x as $w).wrapping_mul(y as $w) >> bits) as $u)
            }
            // Division by zero gives all ones on the hardware; so do we, without a host trap.
            (Binary::Div, true) => {
                $warp.map2(
                    $mask,
                    $d,
                    $a,
                    $b,
                    |x: $u, y: $u| {
                        if y == 0 { <$u>::MAX } else { (x as $i).wrapping_div(y as $i) as $u }
                    },
                )
            }
            (Binary::Div, false) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.checked_div(y).unwrap_or(<$u>::MAX)),
            (Binary::Rem, true) => $warp
                .map2($mask, $d, $a, $b, |x: $u, y: $u| if y == 0 { x } else { (x as $i).wrapping_rem(y as $i) as $u }),
            (Binary::Rem, false) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| if y == 0 { x } else { x % y }),
            (Binary::Min, true) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).min(y as $i) as $u),
            (Binary::Min, false) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.min(y)),
            (Binary::Max, true) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).max(y as $i) as $u),
            (Binary::Max, false) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x.max(y)),
            (Binary::MinRelu, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).min(y as $i).max(0) as $u),
            (Binary::MaxRelu, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| (x as $i).max(y as $i).max(0) as $u),
            (Binary::And, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x & y),
            (Binary::Or, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x | y),
            (Binary::Xor, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| x ^ y),
            // Shift amounts are 32-bit and clamp at the width.
            (Binary::Shl, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: u32| if y >= bits { 0 } else { x << y }),
            (Binary::Shr, true) => $warp.map2($mask, $d, $a, $b, |x: $u, y: u32| ((x as $i) >> y.min(bits - 1)) as $u),
            (Binary::Shr, false) => $warp.map2($mask, $d, $a, $b, |x: $u, y: u32| if y >= bits { 0 } else { x >> y }),
            (Binary::Bmsk, _) => $warp.map2($mask, $d, $a, $b, |x: $u, y: $u| {
                let ones = |n: u64| if n >= 64 { u64::MAX } else { (1u64 << n) - 1 };
                let (from, width) = (x as u64, y as u64);
                if from >= 64 { 0 } else { (ones(width) << from) as $u }
            }),
            (Binary::MulWide, _) => {}
        }
    }};
}

pub(super) fn binary(warp: &mut Warp, mask: u32, op: Binary, ty: Int, d: Dst, a: Src, b: Src) {
    match (op, ty) {
        (Binary::MulWide, Int::U16) => warp.map2(mask, d, a, b, |x: u16, y: u16| u32::from(x) * u32::from(y)),
        (Binary::MulWide, Int::S16) => {
            warp.map2(mask, d, a, b, |x: u16, y: u16| (i32::from(x as i16) * i32::from(y as i16)) as u32)
        }
        (Binary::MulWide, Int::U32) => warp.map2(mask, d, a, b, |x: u32, y: u32| u64::from(x) * u64::from(y)),
        (Binary::MulWide, Int::S32) => {
            warp.map2(mask, d, a, b, |x: u32, y: u32| (i64::from(x as i32) * i64::from(y as i32)) as u64)
        }
        (_, Int::U16 | Int::S16) => {
            binary_of!(warp, mask, op, ty == Int::S16, d, a, b, u16, i16, u32, i32);
        }
        (_, Int::U32 | Int::S32) => {
            binary_of!(warp, mask, op, ty == Int::S32, d, a, b, u32, i32, u64, i64);
        }
        (_, Int::U64 | Int::S64) => {
            binary_of!(warp, mask, op, ty == Int::S64, d, a, b, u64, i64, u128, i128);
        }
    }
}

/// `add`, `min` and `max` on both halves of a word.
pub(super) fn halves(warp: &mut Warp, mask: u32, op: Binary, signed: bool, d: Dst, [a, b]: [Src; 2]) {
    let one = |x: u16, y: u16| match op {
        Binary::Add => x.wrapping_add(y),
        Binary::Min | Binary::Max if !signed => {
            if op == Binary::Min {
                x.min(y)
            } else {
                x.max(y)
            }
        }
        Binary::Min | Binary::MinRelu => (x as i16).min(y as i16) as u16,
        _ => (x as i16).max(y as i16) as u16,
    };
    let relu = matches!(op, Binary::MinRelu | Binary::MaxRelu);
    let clamp = |x: u16| if relu && (x as i16) < 0 { 0 } else { x };
    warp.map2(mask, d, a, b, |x: u32, y: u32| {
        let low = clamp(one(x as u16, y as u16));
        let high = clamp(one((x >> 16) as u16, (y >> 16) as u16));
        u32::from(high) << 16 | u32::from(low)
    });
}

/// One pair, for `redux` and atomics.
pub(super) fn scalar(op: Binary, ty: Int, x: u64, y: u64) -> u64 {
    let signed = matches!(ty, Int::S16 | Int::S32 | Int::S64);
    let narrow = matches!(ty, Int::U32 | Int::S32);
    let widen = |v: u64| if narrow && signed { i64::from(v as i32) } else { v as i64 };
    let result = match op {
        Binary::Add => x.wrapping_add(y),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Min if signed => widen(x).min(widen(y)) as u64,
        Binary::Max if signed => widen(x).max(widen(y)) as u64,
        Binary::Min => x.min(y),
        _ => x.max(y),
    };
    if narrow { result & 0xffff_ffff } else { result }
}

pub(super) fn ternary(warp: &mut Warp, mask: u32, op: Ternary, ty: Int, d: Dst, s: [Src; 3]) {
    match (op, ty) {
        (Ternary::Mad, Int::U32 | Int::S32) => {
            warp.map3(mask, d, s, |x: u32, y: u32, z: u32| x.wrapping_mul(y).wrapping_add(z));
        }
        (Ternary::Mad, Int::U64 | Int::S64) => {
            warp.map3(mask, d, s, |x: u64, y: u64, z: u64| x.wrapping_mul(y).wrapping_add(z));
        }
        (Ternary::Mad, _) => warp.map3(mask, d, s, |x: u16, y: u16, z: u16| x.wrapping_mul(y).wrapping_add(z)),
        (Ternary::MadHi, Int::S32) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| {
            ((i64::from(x as i32) * i64::from(y as i32)) >> 32).wrapping_add(i64::from(z as i32)) as u32
        }),
        (Ternary::MadHi, Int::U64) => warp.map3(mask, d, s, |x: u64, y: u64, z: u64| {
            ((u128::from(x) * u128::from(y)) >> 64).wrapping_add(u128::from(z)) as u64
        }),
        (Ternary::MadHi, Int::S64) => warp.map3(mask, d, s, |x: u64, y: u64, z: u64| {
            ((i128::from(x as i64) * i128::from(y as i64)) >> 64).wrapping_add(i128::from(z as i64)) as u64
        }),
        (Ternary::MadHi, Int::S16) => warp.map3(mask, d, s, |x: u16, y: u16, z: u16| {
            ((i32::from(x as i16) * i32::from(y as i16)) >> 16).wrapping_add(i32::from(z as i16)) as u16
        }),
        (Ternary::MadHi, Int::U16) => warp.map3(mask, d, s, |x: u16, y: u16, z: u16| {
            ((u32::from(x) * u32::from(y)) >> 16).wrapping_add(u32::from(z)) as u16
        }),
        (Ternary::MadHi, _) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| {
            ((u64::from(x) * u64::from(y)) >> 32).wrapping_add(u64::from(z)) as u32
        }),
        (Ternary::MadWide, Int::S16) => warp.map3(mask, d, s, |x: u16, y: u16, z: u32| {
            (i32::from(x as i16) * i32::from(y as i16)).wrapping_add(z as i32) as u32
        }),
        (Ternary::MadWide, Int::U16) => {
            warp.map3(mask, d, s, |x: u16, y: u16, z: u32| (u32::from(x) * u32::from(y)).wrapping_add(z));
        }
        (Ternary::MadWide, Int::S32) => warp.map3(mask, d, s, |x: u32, y: u32, z: u64| {
            (i64::from(x as i32) * i64::from(y as i32)).wrapping_add(z as i64) as u64
        }),
        (Ternary::MadWide, _) => {
            warp.map3(mask, d, s, |x: u32, y: u32, z: u64| (u64::from(x) * u64::from(y)).wrapping_add(z));
        }
        (Ternary::Sad, Int::S16) => {
            warp.map3(mask, d, s, |x: u16, y: u16, z: u16| z.wrapping_add((x as i16).abs_diff(y as i16)))
        }
        (Ternary::Sad, Int::S32) => {
            warp.map3(mask, d, s, |x: u32, y: u32, z: u32| z.wrapping_add((x as i32).abs_diff(y as i32)))
        }
        (Ternary::Sad, Int::S64) => {
            warp.map3(mask, d, s, |x: u64, y: u64, z: u64| z.wrapping_add((x as i64).abs_diff(y as i64)))
        }
        (Ternary::Sad, Int::U64) => {
            warp.map3(mask, d, s, |x: u64, y: u64, z: u64| z.wrapping_add(x.abs_diff(y)));
        }
        (Ternary::Sad, _) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| z.wrapping_add(x.abs_diff(y))),
        (Ternary::Bfe, Int::U64 | Int::S64) => {
            warp.map3(mask, d, s, |x: u64, p: u32, n: u32| bit_field(x, p, n, 64, ty == Int::S64));
        }
        (Ternary::Bfe, _) => {
            warp.map3(mask, d, s, |x: u32, p: u32, n: u32| bit_field(u64::from(x), p, n, 32, ty == Int::S32) as u32)
        }
        (Ternary::ShfLeftWrap | Ternary::ShfLeftClamp, _) => warp.map3(mask, d, s, |low: u32, high: u32, n: u32| {
            let n = if op == Ternary::ShfLeftWrap { n & 31 } else { n.min(32) };
            (((u64::from(high) << 32 | u64::from(low)) << n) >> 32) as u32
        }),
        (Ternary::ShfRightWrap | Ternary::ShfRightClamp, _) => {
            warp.map3(mask, d, s, |low: u32, high: u32, n: u32| {
                let n = if op == Ternary::ShfRightWrap { n & 31 } else { n.min(32) };
                ((u64::from(high) << 32 | u64::from(low)) >> n) as u32
            });
        }
        (Ternary::Lop3(table), _) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| lop3(x, y, z, table)),
        (Ternary::Prmt(mode), _) => warp.map3(mask, d, s, |x: u32, y: u32, c: u32| permute(x, y, c, mode)),
        (Ternary::Dp4a { a_signed, b_signed }, _) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| {
            (0..4).fold(z, |sum, i| {
                let byte = |v: u32, signed: bool| {
                    let byte = (v >> (8 * i)) as u8;
                    if signed { i32::from(byte as i8) } else { i32::from(byte) }
                };
                sum.wrapping_add(byte(x, a_signed).wrapping_mul(byte(y, b_signed)) as u32)
            })
        }),
        (Ternary::Dp2a { a_signed, b_signed, high }, _) => warp.map3(mask, d, s, |x: u32, y: u32, z: u32| {
            (0..2).fold(z, |sum, i| {
                let half = (x >> (16 * i)) as u16;
                let half = if a_signed { i32::from(half as i16) } else { i32::from(half) };
                let byte = (y >> (8 * (i + if high { 2 } else { 0 }))) as u8;
                let byte = if b_signed { i32::from(byte as i8) } else { i32::from(byte) };
                sum.wrapping_add(half.wrapping_mul(byte) as u32)
            })
        }),
    }
}

fn lop3(x: u32, y: u32, z: u32, table: u8) -> u32 {
    (0..8).fold(0, |result, row| {
        if table >> row & 1 == 0 {
            return result;
        }
        let pick = |v: u32, bit: u32| if row >> bit & 1 == 1 { v } else { !v };
        result | pick(x, 2) & pick(y, 1) & pick(z, 0)
    })
}

fn bit_field(x: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    // Above the top, a signed field repeats the sign of its own highest bit inside the word.
    let sign_at = (position + length - 1).min(width - 1);
    let negative = signed && x >> sign_at & 1 == 1;
    let low = if position >= width { 0 } else { x >> position };
    let available = width.saturating_sub(position).min(length);
    let kept = if available >= 64 { low } else { low & ((1u64 << available) - 1) };
    if negative && available < 64 { kept | u64::MAX << available } else { kept }
}

fn permute(x: u32, y: u32, control: u32, mode: PrmtMode) -> u32 {
    let bytes = u64::from(y) << 32 | u64::from(x);
    let byte = |i: u32| (bytes >> (8 * (i & 7))) as u32 & 0xff;
    let c = control & 3;
    let pick: [u32; 4] = match mode {
        PrmtMode::Index => {
            return (0..4).fold(0, |result, i| {
                let selector = control >> (4 * i);
                let mut value = byte(selector & 7);
                if selector & 8 != 0 {
                    value = if value & 0x80 != 0 { 0xff } else { 0 };
                }
                result | value << (8 * i)
            });
        }
        PrmtMode::Forward4 => [c, c + 1, c + 2, c + 3],
        PrmtMode::Backward4 => [c, c + 7, c + 6, c + 5],
        PrmtMode::Replicate8 => [c; 4],
        PrmtMode::EdgeLeft => [c, c.max(1), c.max(2), 3],
        PrmtMode::EdgeRight => [0, c.min(1), c.min(2), c],
        PrmtMode::Replicate16 => {
            let h = 2 * (c & 1);
            [h, h + 1, h, h + 1]
        }
    };
    (0..4).fold(0, |result, i| result | byte(pick[i]) << (8 * i))
}

pub(super) fn insert(warp: &mut Warp, mask: u32, ty: Int, d: Dst, [a, b, position, length]: [Src; 4]) {
    let wide = matches!(ty, Int::U64 | Int::S64);
    let (a, b) = (u64::read(warp, a), u64::read(warp, b));
    let (position, length) = (u32::read(warp, position), u32::read(warp, length));
    let width = if wide { 64 } else { 32 };
    let result: [u64; LANES] = std::array::from_fn(|lane| {
        let (p, n) = (position[lane] & 0xff, length[lane] & 0xff);
        if p >= width || n == 0 {
            return b[lane];
        }
        let ones = if n >= 64 { u64::MAX } else { (1u64 << n) - 1 };
        let field = ones << p;
        (b[lane] & !field | (a[lane] << p) & field) & if wide { u64::MAX } else { 0xffff_ffff }
    });
    u64::write(warp, d, mask, &result);
}

/// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.lo.cc`, `madc`: arithmetic through the carry flag.
#[allow(clippy::too_many_arguments)]
pub(super) fn carry(
    warp: &mut Warp,
    mask: u32,
    subtract: bool,
    carry_in: bool,
    carry_out: bool,
    mad: Option<(bool, Src)>,
    ty: Int,
    [a, b]: [Src; 2],
    d: Dst,
) {
    let wide = matches!(ty, Int::U64 | Int::S64);
    let bits = if wide { 64 } else { 32 };
    let all = if wide { u128::from(u64::MAX) } else { u128::from(u32::MAX) };
    let signed = matches!(ty, Int::S32 | Int::S64);
    let (x, y) = (u64::read(warp, a), u64::read(warp, b));
    let addend = mad.map(|(_, c)| u64::read(warp, c));
    let old = warp.carry;
    let mut flags = old;
    let mut result = [0u64; LANES];
    for lane in 0..LANES {
        let mut left = u128::from(x[lane]) & all;
        let mut right = u128::from(y[lane]) & all;
        if let (Some((high, _)), Some(addend)) = (mad, &addend) {
            let extend = |v: u128| if signed { ((v << (128 - bits)) as i128) >> (128 - bits) } else { v as i128 };
            let product = extend(left).wrapping_mul(extend(right)) as u128;
            left = if high { product >> bits } else { product } & all;
            right = u128::from(addend[lane]) & all;
        }
        let flag = u128::from(carry_in && old >> lane & 1 == 1);
        let sum = if subtract { left.wrapping_sub(right).wrapping_sub(flag) } else { left + right + flag };
        result[lane] = (sum & all) as u64;
        let out = sum >> bits & 1 == 1;
        flags = flags & !(1 << lane) | u32::from(out) << lane;
    }
    if carry_out {
        warp.carry = old & !mask | flags & mask;
    }
    u64::write(warp, d, mask, &result);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logic_table_of_three_inputs() {
        let (x, y, z) = (0xf0f0_1234, 0xcccc_5678, 0xaaaa_9abc);
        assert_eq!(lop3(x, y, z, 0xf0 & 0xcc & 0xaa), x & y & z);
        assert_eq!(lop3(x, y, z, 0xf0 ^ 0xcc ^ 0xaa), x ^ y ^ z);
        assert_eq!(lop3(x, y, z, (0xf0 & 0xcc) | (!0xf0 & 0xaa)), x & y | !x & z);
    }

    #[test]
    fn byte_permutation() {
        assert_eq!(permute(0x3322_1100, 0x7766_5544, 0x7531, PrmtMode::Index), 0x7755_3311);
        assert_eq!(permute(0x0000_0080, 0, 0x0008, PrmtMode::Index), 0x8080_80ff);
        assert_eq!(permute(0x3322_1100, 0x7766_5544, 2, PrmtMode::Forward4), 0x5544_3322);
        assert_eq!(permute(0x3322_1100, 0x7766_5544, 1, PrmtMode::Replicate16), 0x3322_3322);
    }

    #[test]
    fn bit_fields_extend_their_sign() {
        assert_eq!(bit_field(0x0000_0f00, 8, 4, 32, true) as u32, u32::MAX);
        assert_eq!(bit_field(0x0000_0f00, 8, 4, 32, false), 0xf);
        assert_eq!(bit_field(0x8000_0000, 28, 16, 32, true) as u32, 0xffff_fff8);
        assert_eq!(bit_field(0x8000_0000, 40, 4, 32, true) as u32, u32::MAX);
        assert_eq!(bit_field(0xff, 0, 0, 32, true), 0);
    }
}
