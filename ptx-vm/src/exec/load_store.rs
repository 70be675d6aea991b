//! Loads, stores and non-bulk asynchronous copies.

use crate::code::{Address, Dst, Order, Src};
use crate::finding::FindingKind;
use crate::machine::copies::Copy;
use crate::machine::local::LocalFault;
use crate::machine::shared::{PENDING, Shared};
use crate::machine::warp::{LANES, Lane, Lanes, Warp};
use crate::machine::{Cx, LOCAL_WINDOW, Machine, PARAM_WINDOW, SHARED_WINDOW, bytes_of};
use crate::memory::{PAGE, Place};
use crate::types::{Space, Type};

const WINDOW: u64 = 7 << 60;

/// The space a generic address lies in.
pub(super) fn space_of(address: u64) -> Space {
    match address & WINDOW {
        SHARED_WINDOW => Space::Shared,
        LOCAL_WINDOW => Space::Local,
        PARAM_WINDOW => Space::Param,
        _ => Space::Global,
    }
}

/// Splits lanes by the space their generic address lies in.
pub(super) fn by_space(space: Space, mask: u32, addresses: &mut Lanes<u64>) -> Vec<(Space, u32)> {
    if space != Space::Generic {
        return vec![(space, mask)];
    }
    let mut parts: Vec<(Space, u32)> = Vec::new();
    for lane in 0..LANES {
        if mask >> lane & 1 == 0 {
            continue;
        }
        let space = space_of(addresses[lane]);
        addresses[lane] &= !WINDOW;
        match parts.iter_mut().find(|p| p.0 == space) {
            Some(part) => part.1 |= 1 << lane,
            None => parts.push((space, 1 << lane)),
        }
    }
    parts
}

#[allow(clippy::too_many_arguments)]
pub(super) fn load(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    mask: u32,
    space: Space,
    ty: Type,
    order: Order,
    d: &[Dst],
    address: Address,
) {
    let element = ty.bytes();
    let bytes = element * d.len();
    // Kernel parameters at a constant place are the same for every lane.
    if let (Space::Param, Src::Imm(base)) = (space, address.base) {
        for (i, d) in d.iter().enumerate() {
            let at = base.wrapping_add(address.offset as u64) + (i * element) as u64;
            let value = extend(parameter(m, cx, at, element), ty);
            u64::write(warp, *d, mask, &[value; LANES]);
        }
        return;
    }
    let mut addresses = warp.addresses(address);
    let mut values = [[0u8; 32]; LANES];
    for (space, mask) in by_space(space, mask, &mut addresses) {
        read_bytes(m, warp, cx, mask, space, order, &addresses, bytes, &mut values);
    }
    for (i, d) in d.iter().enumerate() {
        if element == 16 {
            // A 128-bit register is a pair of 64-bit ones.
            for half in 0..2 {
                let part: Lanes<u64> = std::array::from_fn(|lane| little(&values[lane][i * 16 + half * 8..], 8));
                u64::write(warp, upper(*d, half), mask, &part);
            }
        } else if element == 4 && !matches!(d, Dst::Double(_)) {
            let part: Lanes<u32> = std::array::from_fn(|lane| little(&values[lane][i * 4..], 4) as u32);
            u32::write(warp, *d, mask, &part);
        } else {
            let part: Lanes<u64> =
                std::array::from_fn(|lane| extend(little(&values[lane][i * element..], element), ty));
            u64::write(warp, *d, mask, &part);
        }
    }
}

/// Reads up to 32 bytes a lane from one space.
#[allow(clippy::too_many_arguments)]
fn read_bytes(
    m: &mut Machine<'_>,
    warp: &Warp,
    cx: Cx,
    mask: u32,
    space: Space,
    order: Order,
    addresses: &Lanes<u64>,
    bytes: usize,
    values: &mut [[u8; 32]; LANES],
) {
    match space {
        Space::Global | Space::Const | Space::Generic => {
            m.global_read(cx, mask, addresses, bytes, order, |lane, from| values[lane][..bytes].copy_from_slice(from));
        }
        Space::Shared => {
            m.count_banks(cx, mask, addresses, bytes);
            for lane in 0..LANES {
                if mask >> lane & 1 != 0 {
                    m.shared_read(cx, lane as u8, addresses[lane], &mut values[lane][..bytes], bytes);
                }
            }
        }
        Space::Local => {
            for lane in 0..LANES {
                if mask >> lane & 1 != 0 {
                    let result = warp.local.read(lane, addresses[lane], &mut values[lane][..bytes]);
                    local_fault(m, cx, result, addresses[lane], bytes);
                }
            }
        }
        Space::Param => {
            for lane in 0..LANES {
                if mask >> lane & 1 != 0 {
                    for at in 0..bytes {
                        values[lane][at] = parameter(m, cx, addresses[lane] + at as u64, 1) as u8;
                    }
                }
            }
        }
    }
}

fn parameter(m: &mut Machine<'_>, cx: Cx, at: u64, bytes: usize) -> u64 {
    let all = m.launch.parameters;
    match usize::try_from(at).ok().and_then(|at| all.get(at..at + bytes)) {
        Some(slice) => little(slice, bytes),
        None => {
            m.find_at(FindingKind::OutOfBounds, cx, bytes_of(Space::Param, at, bytes), || {
                "beyond the kernel's parameters".into()
            });
            0
        }
    }
}

fn local_fault(m: &mut Machine<'_>, cx: Cx, result: Result<(), LocalFault>, address: u64, bytes: usize) {
    let place = bytes_of(Space::Local, address, bytes);
    match result {
        Ok(()) => {}
        Err(LocalFault::OutOfBounds) => {
            m.find_at(FindingKind::OutOfBounds, cx, place, || "beyond the thread's local memory".into());
        }
        Err(LocalFault::Uninitialised) => {
            m.find_at(FindingKind::UninitialisedRead, cx, place, || "the thread never wrote these bytes".into());
        }
    }
}

#[inline(always)]
fn little(bytes: &[u8], n: usize) -> u64 {
    let mut word = [0u8; 8];
    word[..n].copy_from_slice(&bytes[..n]);
    u64::from_le_bytes(word)
}

fn extend(value: u64, ty: Type) -> u64 {
    match ty {
        Type::S8 => value as u8 as i8 as i64 as u64,
        Type::S16 => value as u16 as i16 as i64 as u64,
        Type::S32 => value as u32 as i32 as i64 as u64,
        _ => value,
    }
}

fn upper(d: Dst, half: usize) -> Dst {
    match d {
        Dst::Double(r) => Dst::Double(r + half as u32),
        other => other,
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn store(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    mask: u32,
    space: Space,
    ty: Type,
    order: Order,
    address: Address,
    values: &[Src],
) {
    let element = ty.bytes();
    let bytes = element * values.len();
    let mut addresses = warp.addresses(address);
    let mut data = [[0u8; 32]; LANES];
    for (i, value) in values.iter().enumerate() {
        if element == 16 {
            for half in 0..2 {
                let source = match value {
                    Src::Double(r) => Src::Double(r + half as u32),
                    other => *other,
                };
                let v = u64::read(warp, source);
                for lane in 0..LANES {
                    data[lane][i * 16 + half * 8..][..8].copy_from_slice(&v[lane].to_le_bytes());
                }
            }
        } else if element == 4 {
            let v = u32::read(warp, *value);
            for lane in 0..LANES {
                data[lane][i * 4..][..4].copy_from_slice(&v[lane].to_le_bytes());
            }
        } else {
            let v = u64::read(warp, *value);
            for lane in 0..LANES {
                data[lane][i * element..][..element].copy_from_slice(&v[lane].to_le_bytes()[..element]);
            }
        }
    }
    for (space, mask) in by_space(space, mask, &mut addresses) {
        match space {
            Space::Global | Space::Const | Space::Generic => {
                // Sixteen bytes are the widest single access; 32-byte ones are two.
                for half in 0..bytes.div_ceil(16) {
                    let shifted = addresses.map(|a| a + 16 * half as u64);
                    m.global_write(cx, mask, &shifted, bytes.min(16), order, |lane| {
                        let mut chunk = [0u8; 16];
                        let part = bytes.min(16);
                        chunk[..part].copy_from_slice(&data[lane][16 * half..16 * half + part]);
                        chunk
                    });
                }
            }
            Space::Shared => {
                m.count_banks(cx, mask, &addresses, bytes);
                for lane in 0..LANES {
                    if mask >> lane & 1 != 0 {
                        m.shared_write(cx, lane as u8, addresses[lane], &data[lane][..bytes], bytes);
                    }
                }
            }
            Space::Local => {
                for lane in 0..LANES {
                    if mask >> lane & 1 != 0 {
                        let result = warp.local.write(lane, addresses[lane], &data[lane][..bytes]);
                        local_fault(m, cx, result, addresses[lane], bytes);
                    }
                }
            }
            Space::Param => {
                let lane = mask.trailing_zeros().min(31) as usize;
                m.find_at(FindingKind::OutOfBounds, cx, bytes_of(Space::Param, addresses[lane], bytes), || {
                    "kernel parameters cannot be written".into()
                });
            }
        }
    }
}

/// `cp.async`: the source is read now, the destination is claimed until the wait delivers it.
#[allow(clippy::too_many_arguments)]
pub(super) fn cp_async(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    mask: u32,
    [to, from]: [Address; 2],
    bytes: usize,
    source_bytes: Option<Src>,
    ignore: Option<Src>,
) {
    let (to, from) = (warp.addresses(to), warp.addresses(from));
    let sizes: Lanes<u32> = source_bytes.map_or([bytes as u32; LANES], |s| u32::read(warp, s));
    let ignored = ignore.map_or(0, |p| warp.pred(p));
    let mut data = [[0u8; 16]; LANES];
    let mut whole = 0u32;
    for lane in 0..LANES {
        if mask >> lane & 1 == 0 || ignored >> lane & 1 != 0 || sizes[lane] == 0 {
            continue;
        }
        if sizes[lane] as usize > bytes {
            m.find(FindingKind::InvalidOperand, cx, || {
                format!("a copy of {bytes} bytes cannot read {} bytes", sizes[lane])
            });
            continue;
        }
        if sizes[lane] as usize == bytes {
            whole |= 1 << lane;
        } else {
            partial_source(m, cx, from[lane], sizes[lane] as usize, bytes, &mut data[lane]);
        }
    }
    m.global_read(cx, whole, &from, bytes, Order::Weak, |lane, source| data[lane][..bytes].copy_from_slice(source));
    m.count_banks(cx, mask, &to, bytes);
    for lane in 0..LANES {
        if mask >> lane & 1 == 0 {
            continue;
        }
        let Some((block, offset)) = m.shared_place(cx, to[lane], bytes, bytes) else { continue };
        if m.tracks() {
            m.track_write(cx, lane as u8, block, offset, bytes, false, PENDING);
        }
        // Until the wait, the destination holds what no kernel wants.
        m.blocks[block].shared.data[offset..offset + bytes].fill(0xff);
        warp.copies.issue(lane, to[lane] as u32, bytes as u8, data[lane]);
    }
}

/// Reads `count` bytes of a zero-filled copy, byte by byte: only those must exist.
fn partial_source(m: &mut Machine<'_>, cx: Cx, from: u64, count: usize, align: usize, into: &mut [u8; 16]) {
    let place = bytes_of(Space::Global, from, count);
    match m.launch.memory.place(from, count as u64) {
        Place::Inside { offset, .. }
            if (offset as usize).is_multiple_of(align) && offset as usize % PAGE + count <= PAGE =>
        {
            for at in 0..count {
                let addresses = [from + at as u64; LANES];
                m.global_read(cx, 1, &addresses, 1, Order::Weak, |_, byte| into[at] = byte[0]);
            }
        }
        Place::Inside { .. } => m.find_at(FindingKind::Misaligned, cx, place, || {
            format!("the source address must be a multiple of {align}")
        }),
        Place::Outside { .. } => {
            m.find_at(FindingKind::OutOfBounds, cx, place, || "the source lies outside every buffer".into());
        }
    }
}

/// `cp.async.wait_group` and `wait_all`: deliver what is complete.
pub(super) fn cp_async_wait(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32, left: Option<u32>) {
    let done = warp.copies.wait(mask, left);
    let now = m.views[cx.me].of(cx.me);
    for copy in done {
        // The bytes arrive for the thread that waited, at the moment of its wait.
        deliver(m, cx, &copy, cx.me, now);
    }
}

/// The bytes of a copy arrive, stamped as `agent` at `clock`.
pub(super) fn deliver(m: &mut Machine<'_>, cx: Cx, copy: &Copy, agent: usize, clock: u32) {
    let bytes = usize::from(copy.bytes);
    let Some((block, offset)) = m.shared_place(cx, u64::from(copy.to), bytes, bytes) else { return };
    let tracks = m.tracks();
    let shared = &mut m.blocks[block].shared;
    shared.data[offset..offset + bytes].copy_from_slice(&copy.data[..bytes]);
    if tracks {
        for (index, _) in Shared::split(offset, bytes) {
            let word = &mut shared.words[index];
            word.flags &= !PENDING;
            word.clock = clock;
            word.agent = agent as u16;
            word.lane = copy.lane;
        }
    }
}
