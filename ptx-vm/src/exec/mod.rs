//! What each instruction does to a warp and to memory.

mod atomic;
mod bulk;
mod collective;
mod control;
mod float;
mod integer;
mod load_store;
mod matrix;
mod wgmma;

use crate::code::{Dst, Logic, Op, Src};
use crate::finding::FindingKind;
use crate::machine::warp::{LANES, Lane, State, Warp};
use crate::machine::{Cx, LOCAL_WINDOW, Machine, PARAM_WINDOW, SHARED_WINDOW};
use crate::number::convert::convert;
use crate::types::{Space, Type};

pub(crate) use atomic::{combine, combine_in_global};

/// Where the lanes that executed go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Jump(u32),
    Exit,
    /// Run the instruction again once the group is ready.
    Stay,
    /// The instruction is done; another warp should get its turn.
    Yield,
    /// The instruction is done; the group may be asleep.
    Sleep,
}

/// Executes one instruction for the lanes of `mask`, which belong to `group` of the warp.
pub(crate) fn execute(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, group: usize, mask: u32, op: &Op) -> Flow {
    match op {
        Op::Mov(d, a) => mov(warp, mask, *d, *a),
        Op::Pack { d, parts, bits } => pack(warp, mask, *d, parts, *bits),
        Op::Unpack { parts, a, bits } => unpack(warp, mask, parts, *a, *bits),
        Op::PackWide { low, parts } => {
            for (half, part) in parts.iter().enumerate() {
                mov(warp, mask, Dst::Double(low + half as u32), *part);
            }
        }
        Op::UnpackWide { parts, low } => {
            for (half, part) in parts.iter().enumerate() {
                mov(warp, mask, *part, Src::Double(low + half as u32));
            }
        }
        Op::Int1(op, ty, d, a) => integer::unary(warp, mask, *op, *ty, *d, *a),
        Op::Int2(op, ty, d, a, b) => integer::binary(warp, mask, *op, *ty, *d, *a, *b),
        Op::Int3(op, ty, d, s) => integer::ternary(warp, mask, *op, *ty, *d, *s),
        Op::IntHalves { op, signed, d, a, b } => integer::halves(warp, mask, *op, *signed, *d, [*a, *b]),
        Op::Bfi(ty, d, s) => integer::insert(warp, mask, *ty, *d, *s),
        Op::Pred(logic, d, a, b) => {
            let (a, b) = (warp.pred(*a), warp.pred(*b));
            let bits = match logic {
                Logic::And => a & b,
                Logic::Or => a | b,
                Logic::Xor => a ^ b,
            };
            warp.set_pred(*d, mask, bits);
        }
        Op::PredNot(d, a) => {
            let bits = !warp.pred(*a);
            warp.set_pred(*d, mask, bits);
        }
        Op::Carry { subtract, carry_in, carry_out, mad, ty, d, a, b } => {
            integer::carry(warp, mask, *subtract, *carry_in, *carry_out, *mad, *ty, [*a, *b], *d);
        }
        Op::Float1(op, mode, d, a) => {
            float::arithmetic(warp, mask, *op, *mode, *d, [*a, Src::Imm(0), Src::Imm(0)]);
        }
        Op::Float2(op, mode, d, a, b) => float::arithmetic(warp, mask, *op, *mode, *d, [*a, *b, Src::Imm(0)]),
        Op::Float3(op, mode, d, s) => float::arithmetic(warp, mask, *op, *mode, *d, *s),
        Op::Testp(property, format, d, a) => float::test_property(warp, mask, *property, *format, *d, *a),
        Op::Setp { compare, what, combine, p, q, a, b } => {
            let (low, high) = float::compared(warp, *compare, *what, *a, *b);
            let packed =
                matches!(what, crate::code::Compared::Float(crate::code::Float::F16x2 | crate::code::Float::Bf16x2, _));
            let first = float::combine(warp, *combine, low);
            // The second destination is the complement, or the upper half's result of a packed comparison.
            let second = float::combine(warp, *combine, if packed { high } else { !low });
            warp.set_pred(*p, mask, first);
            warp.set_pred(*q, mask, second);
        }
        Op::Set { compare, what, combine, float, d, a, b } => {
            let (low, _) = float::compared(warp, *compare, *what, *a, *b);
            let bits = float::combine(warp, *combine, low);
            let yes = if *float { 1f32.to_bits() } else { u32::MAX };
            let values: [u32; LANES] = std::array::from_fn(|lane| if bits >> lane & 1 != 0 { yes } else { 0 });
            u32::write(warp, *d, mask, &values);
        }
        Op::Selp(d, a, b, p) => select(warp, mask, *d, *a, *b, *p),
        Op::Cvt(how, d, a) => cvt(warp, mask, *how, *d, *a),
        Op::CvtPack(how, d, a, b) => cvt_pack(warp, mask, *how, *d, *a, *b),
        Op::CvtHalves(how, d, a) => {
            let (from, to) = (how.from.bytes() as u32 * 4, how.to.bytes() as u32 * 4);
            warp.map1(mask, *d, *a, |x: u32| {
                let low = convert(u64::from(x & ((1 << from) - 1)), *how);
                let high = convert(u64::from(x >> from), *how);
                (low | high << to) as u32
            });
        }
        Op::Cvta { space, to, d, a } => {
            let window = window_of(*space);
            if *to {
                warp.map1(mask, *d, *a, |x: u64| x & !window);
            } else {
                warp.map1(mask, *d, *a, |x: u64| x | window);
            }
        }
        Op::Isspacep { space, own, d, a } => {
            let addresses = u64::read(warp, *a);
            let rank = u64::from(warp.id.cluster_rank);
            let here = |address: u64| {
                load_store::space_of(address) == *space
                    && (!*own || (address & 0xffff_ffff) >> crate::machine::RANK_SHIFT == rank)
            };
            let bits = (0..LANES).fold(0, |bits, lane| bits | u32::from(here(addresses[lane])) << lane);
            warp.set_pred(*d, mask, bits);
        }
        Op::Ld { space, ty, order, d, address } => {
            load_store::load(m, warp, cx, mask, *space, *ty, *order, d, *address);
        }
        Op::St { space, ty, order, address, values } => {
            load_store::store(m, warp, cx, mask, *space, *ty, *order, *address, values);
        }
        Op::Atom { space, op, ty, order, d, address, b, c } => {
            atomic::atomic(
                m,
                warp,
                cx,
                mask,
                atomic::Request { space: *space, op: *op, ty: *ty, order: *order, d, address: *address, b, c: *c },
            );
        }
        Op::Prefetch | Op::Nop | Op::Nanosleep => {}
        Op::Bra(target) => return Flow::Jump(*target),
        Op::Exit => {
            bulk::exit(m, warp, cx, mask);
            wgmma::exit(m, warp, cx);
            return Flow::Exit;
        }
        Op::Trap => {
            m.find(FindingKind::Trap, cx, || "the kernel executed trap".into());
            m.trapped = true;
        }
        Op::Bar(bar) => return collective::barrier(m, warp, cx, group, mask, bar),
        Op::WarpSync(members) => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            m.views[cx.me].tick(cx.me);
        }
        Op::Fence { memory } => {
            if *memory {
                m.fence(cx.me);
            }
        }
        Op::Shfl { mode, d, p, a, b, c, members } => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            collective::shuffle(m, warp, cx, mask, *mode, [*d, *p], [*a, *b, *c]);
        }
        Op::Vote { mode, d, a, members } => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            collective::vote(warp, mask, *mode, *d, *a, members);
        }
        Op::Match { all, wide, d, p, a, members } => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            collective::matching(warp, mask, *all, *wide, [*d, *p], *a, members);
        }
        Op::Redux { op, ty, d, a, members } => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            let values = u32::read(warp, *a);
            let mut lanes = (0..LANES).filter(|&lane| (mask & members & warp.live) >> lane & 1 != 0);
            let first = lanes.next().map_or(0, |lane| u64::from(values[lane]));
            let result = lanes.fold(first, |x, lane| integer::scalar(*op, *ty, x, u64::from(values[lane])));
            u32::write(warp, *d, mask, &[result as u32; LANES]);
        }
        Op::ActiveMask(d) => u32::write(warp, *d, mask, &[mask; LANES]),
        Op::Elect { d, p, members } => {
            let members = warp.uniform(*members, mask) as u32;
            if !collective::together(m, warp, cx, group, mask, members) {
                return Flow::Stay;
            }
            let leader = (members & mask).trailing_zeros().min(31);
            u32::write(warp, *d, mask, &[leader; LANES]);
            warp.set_pred(*p, mask, 1 << leader);
        }
        Op::Ldmatrix { d, address, transpose } => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            matrix::ldmatrix(m, warp, cx, mask, d, *address, *transpose);
        }
        Op::Stmatrix { address, values, transpose } => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            matrix::stmatrix(m, warp, cx, mask, *address, values, *transpose);
        }
        Op::Movmatrix(d, a) => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            matrix::movmatrix(warp, mask, *d, *a);
        }
        Op::Mma(mma) => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            matrix::mma(m, warp, mask, mma);
        }
        Op::CpAsync { to, from, bytes, source_bytes, ignore } => {
            load_store::cp_async(m, warp, cx, mask, [*to, *from], *bytes as usize, *source_bytes, *ignore);
        }
        Op::Mbarrier(op) => return bulk::mbarrier(m, warp, cx, group, mask, op),
        Op::Bulk(copy) => bulk::copy(m, warp, cx, mask, copy),
        Op::BulkCommit => warp.drains.commit(mask),
        Op::BulkWait(left) => bulk::wait(m, warp, cx, mask, *left),
        Op::FenceProxy => m.views[cx.me].fence_proxy(cx.me),
        Op::FenceMbarrierInit => m.mbarriers.announce(cx.me),
        Op::Wgmma(op) => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            wgmma::wgmma(m, warp, cx, mask, op);
        }
        Op::WgmmaFence => warp.wgmma.fence(warp.clock),
        Op::WgmmaCommit => warp.wgmma.commit(),
        Op::WgmmaWait(left) => wgmma::wait(m, warp, cx, *left),
        Op::SetMaxRegisters { count, increase } => {
            return control::set_registers(m, warp, cx, group, *count, *increase);
        }
        Op::ClusterArrive { releases } => {
            if !collective::all_together(m, warp, cx, group, mask) {
                return Flow::Stay;
            }
            m.cluster_arrive(cx, warp, mask, *releases);
        }
        Op::ClusterWait { acquires } => {
            if !m.cluster_wait(cx, *acquires) {
                warp.groups[group].state = State::Poll(m.progress);
                return Flow::Stay;
            }
        }
        Op::Mapa { d, a, rank } => bulk::map_address(warp, mask, *d, *a, *rank),
        Op::CtaRank(d, a) => {
            warp.map1(mask, *d, *a, |x: u64| (x & 0xffff_ffff) >> crate::machine::RANK_SHIFT);
        }
        Op::CpAsyncCommit => warp.copies.commit(mask),
        Op::CpAsyncWait(left) => load_store::cp_async_wait(m, warp, cx, mask, *left),
    }
    Flow::Next
}

pub(crate) fn window_of(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        _ => 0,
    }
}

fn mov(warp: &mut Warp, mask: u32, d: Dst, a: Src) {
    match d {
        Dst::Double(_) => {
            let values = u64::read(warp, a);
            u64::write(warp, d, mask, &values);
        }
        Dst::Pred(_) => {
            let bits = warp.pred(a);
            warp.set_pred(d, mask, bits);
        }
        _ => {
            let values = u32::read(warp, a);
            u32::write(warp, d, mask, &values);
        }
    }
}

fn pack(warp: &mut Warp, mask: u32, d: Dst, parts: &[Src], bits: u32) {
    let ones = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let mut result = [0u64; LANES];
    for (i, part) in parts.iter().enumerate() {
        let values = u64::read(warp, *part);
        for lane in 0..LANES {
            result[lane] |= (values[lane] & ones) << (bits * i as u32);
        }
    }
    u64::write(warp, d, mask, &result);
}

fn unpack(warp: &mut Warp, mask: u32, parts: &[Dst], a: Src, bits: u32) {
    let ones = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    let values = u64::read(warp, a);
    for (i, part) in parts.iter().enumerate() {
        let piece = values.map(|v| v >> (bits * i as u32) & ones);
        u64::write(warp, *part, mask, &piece);
    }
}

fn select(warp: &mut Warp, mask: u32, d: Dst, a: Src, b: Src, p: Src) {
    let p = warp.pred(p);
    if let Dst::Double(_) = d {
        let (a, b) = (u64::read(warp, a), u64::read(warp, b));
        let values: [u64; LANES] = std::array::from_fn(|lane| if p >> lane & 1 != 0 { a[lane] } else { b[lane] });
        u64::write(warp, d, mask, &values);
    } else {
        let (a, b) = (u32::read(warp, a), u32::read(warp, b));
        let values: [u32; LANES] = std::array::from_fn(|lane| if p >> lane & 1 != 0 { a[lane] } else { b[lane] });
        u32::write(warp, d, mask, &values);
    }
}

fn cvt(warp: &mut Warp, mask: u32, how: crate::code::Convert, d: Dst, a: Src) {
    use crate::number::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
    let nearest = matches!(how.rounding, None | Some(crate::code::Rounding::Nearest));
    let plain = nearest && !how.flush && !how.saturate && !how.finite && !how.relu && !how.integral;
    match (how.from, how.to) {
        (Type::F16, Type::F32) if plain => {
            let canonical = |x: f32| if x.is_nan() { f32::from_bits(crate::number::float::NAN32) } else { x };
            return warp.map1(mask, d, a, |x: u16| canonical(f16_to_f32(x)));
        }
        (Type::Bf16, Type::F32) if plain => return warp.map1(mask, d, a, bf16_to_f32),
        (Type::F32, Type::F16) if plain => return warp.map1(mask, d, a, f32_to_f16),
        (Type::F32, Type::Bf16) if plain => return warp.map1(mask, d, a, f32_to_bf16),
        (Type::U32 | Type::B32, Type::U64 | Type::S64) => return warp.map1(mask, d, a, |x: u32| u64::from(x)),
        (Type::S32, Type::S64 | Type::U64) if !how.saturate => {
            return warp.map1(mask, d, a, |x: u32| i64::from(x as i32) as u64);
        }
        (Type::U64 | Type::S64, Type::U32 | Type::S32) if !how.saturate => {
            return warp.map1(mask, d, a, |x: u64| x as u32);
        }
        (Type::U16, Type::U32 | Type::S32) => return warp.map1(mask, d, a, |x: u16| u32::from(x)),
        (Type::U32 | Type::S32, Type::U16 | Type::S16) if !how.saturate => {
            return warp.map1(mask, d, a, |x: u32| x as u16);
        }
        (Type::S32, Type::F32) if plain => return warp.map1(mask, d, a, |x: u32| x as i32 as f32),
        (Type::U32, Type::F32) if plain => return warp.map1(mask, d, a, |x: u32| x as f32),
        _ => {}
    }
    let extend = how.to.signed();
    let width = how.to.bytes() as u32 * 8;
    warp.map1(mask, d, a, |x: u64| {
        let result = convert(x, how);
        // A narrow signed result fills a wider register with its sign.
        if extend && width < 64 { (((result << (64 - width)) as i64) >> (64 - width)) as u64 } else { result }
    });
}

fn cvt_pack(warp: &mut Warp, mask: u32, how: crate::code::Convert, d: Dst, a: Src, b: Src) {
    use crate::number::{f32_to_bf16, f32_to_f16};
    let nearest = matches!(how.rounding, None | Some(crate::code::Rounding::Nearest));
    let plain = nearest && !how.flush && !how.saturate && !how.finite && !how.relu;
    match how.to {
        Type::F16x2 if plain && how.from == Type::F32 => {
            warp.map2(mask, d, a, b, |x: f32, y: f32| u32::from(f32_to_f16(x)) << 16 | u32::from(f32_to_f16(y)))
        }
        Type::Bf16x2 if plain && how.from == Type::F32 => {
            warp.map2(mask, d, a, b, |x: f32, y: f32| u32::from(f32_to_bf16(x)) << 16 | u32::from(f32_to_bf16(y)))
        }
        Type::F16x2 | Type::Bf16x2 => warp.map2(mask, d, a, b, |x: u32, y: u32| {
            (convert(u64::from(x), how) << 16 | convert(u64::from(y), how)) as u32
        }),
        _ => warp.map2(mask, d, a, b, |x: u32, y: u32| {
            (convert(u64::from(x), how) << 8 | convert(u64::from(y), how)) as u32
        }),
    }
}

/// Puts a group to wait for lanes of `members`.
fn wait_for(warp: &mut Warp, group: usize, members: u32) {
    warp.groups[group].state = State::Converge(members);
}
