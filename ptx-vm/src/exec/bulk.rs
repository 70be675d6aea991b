//! `mbarrier` and bulk copies.

use crate::code::{BulkCopy, BulkShape, Dst, MbarrierOp, Src};
use crate::exec::Flow;
use crate::finding::{Bytes, FindingKind};
use crate::machine::bulk::{Delivery, Drain, Landing, OPEN};
use crate::machine::warp::{LANES, Lane, State, Warp};
use crate::machine::{Cx, Machine, PARAM_WINDOW, SHARED_WINDOW, bytes_of};
use crate::tensor_map::{MAP_BYTES, TensorMap, swizzled};
use crate::types::{Space, Type};

/// Out of how many waits for an unfinished phase one returns early, as `try_wait` may.
const EARLY: usize = 4;

pub(super) fn mbarrier(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, group: usize, mask: u32, op: &MbarrierOp) -> Flow {
    let lanes = |mask: u32| (0..LANES).filter(move |lane| mask >> lane & 1 != 0);
    match op {
        MbarrierOp::Init { address, count } => {
            let (addresses, counts) = (warp.addresses(*address), u32::read(warp, *count));
            for lane in lanes(mask) {
                m.mbarrier_init(cx, lane as u8, addresses[lane], counts[lane]);
            }
        }
        MbarrierOp::Invalidate { address } => {
            let addresses = warp.addresses(*address);
            for lane in lanes(mask) {
                m.mbarrier_invalidate(cx, addresses[lane]);
            }
        }
        MbarrierOp::Arrive { address, d, count, bytes, releases, drop } => {
            let addresses = warp.addresses(*address);
            let counts = count.map_or([1; LANES], |c| u32::read(warp, c));
            let announced = bytes.map_or([0; LANES], |b| u32::read(warp, b));
            let mut tokens = [0u64; LANES];
            for lane in lanes(mask) {
                tokens[lane] =
                    m.mbarrier_arrive(cx, lane as u8, addresses[lane], counts[lane], announced[lane], *releases, *drop);
            }
            u64::write(warp, *d, mask, &tokens);
        }
        MbarrierOp::Expect { address, bytes } => {
            let (addresses, announced) = (warp.addresses(*address), u32::read(warp, *bytes));
            for lane in lanes(mask) {
                m.mbarrier_expect(cx, lane as u8, addresses[lane], announced[lane]);
            }
        }
        MbarrierOp::Complete { address, bytes } => {
            let (addresses, done) = (warp.addresses(*address), u32::read(warp, *bytes));
            for lane in lanes(mask) {
                if let Some(place) = m.mbarrier_place(cx, addresses[lane]) {
                    m.mbarrier_complete(place, done[lane]);
                }
            }
        }
        MbarrierOp::Wait { address, d, state, parity, blocks, acquires } => {
            let (addresses, states) = (warp.addresses(*address), u64::read(warp, *state));
            let mut over = 0u32;
            for lane in lanes(mask) {
                let Some(place) = m.mbarrier_place(cx, addresses[lane]) else { continue };
                let wanted = states[lane];
                let done = m.mbarrier_test(cx, lane as u8, place, *acquires, |phase| {
                    if *parity { u64::from(phase & 1) != wanted & 1 } else { u64::from(phase) > wanted }
                });
                over |= u32::from(done) << lane;
            }
            if *blocks && over & mask != mask && m.random.below(EARLY) != 0 {
                warp.groups[group].state = State::Poll(m.progress);
                return Flow::Stay;
            }
            warp.set_pred(*d, mask, over);
            if over & mask != mask {
                // Whoever polls lets others run.
                return Flow::Yield;
            }
        }
        MbarrierOp::CopiesArrive { address, counted } => {
            let addresses = warp.addresses(*address);
            for lane in lanes(mask) {
                let Some(place) = m.mbarrier_place(cx, addresses[lane]) else { continue };
                let Some((agent, phase)) = m.mbarrier_stamp(place) else {
                    m.no_mbarrier(cx, place);
                    continue;
                };
                // The thread's copies are done when it has arrived; who waits for the phase may read them.
                for copy in warp.copies.wait(1 << lane, None) {
                    super::load_store::deliver(m, cx, &copy, agent, phase);
                }
                // Without `.noinc` the arrival was not part of the count.
                if !*counted {
                    m.mbarrier_arrive(cx, lane as u8, addresses[lane], 1, 0, true, false);
                }
            }
        }
    }
    Flow::Next
}

/// The tensor map at a generic address.
fn tensor_map(m: &mut Machine<'_>, cx: Cx, address: u64) -> Option<TensorMap> {
    let mut bytes = vec![0u8; MAP_BYTES];
    if address & PARAM_WINDOW == PARAM_WINDOW || address < MAP_BYTES as u64 * 64 {
        let at = (address & !PARAM_WINDOW) as usize;
        if let Some(slice) = m.launch.parameters.get(at..at + MAP_BYTES) {
            bytes.copy_from_slice(slice);
        }
    } else {
        for i in 0..MAP_BYTES / 16 {
            let addresses = [address + 16 * i as u64; LANES];
            m.global_read(cx, 1, &addresses, 16, crate::code::Order::Weak, |_, part| {
                bytes[16 * i..16 * (i + 1)].copy_from_slice(part);
            });
        }
    }
    let map = TensorMap::decode(&bytes);
    let space = if address & PARAM_WINDOW == PARAM_WINDOW { Space::Param } else { Space::Global };
    let place = bytes_of(space, address & !PARAM_WINDOW, MAP_BYTES);
    if map.is_none() {
        m.find_at(FindingKind::InvalidOperand, cx, place, || "there is no tensor map at this address".into());
    }
    if !address.is_multiple_of(64) {
        m.find_at(FindingKind::Misaligned, cx, place, || "a tensor map lies at a multiple of 64 bytes".into());
    }
    map
}

/// Reads a run of global bytes for the copy engine.
fn read_run(m: &mut Machine<'_>, cx: Cx, address: u64, into: &mut [u8]) {
    let length = into.len();
    if length.is_power_of_two() && length <= 16 && address.is_multiple_of(length as u64) {
        let addresses = [address; LANES];
        m.global_read(cx, 1, &addresses, length, crate::code::Order::Weak, |_, part| into.copy_from_slice(part));
    } else {
        for (i, byte) in into.iter_mut().enumerate() {
            let addresses = [address + i as u64; LANES];
            m.global_read(cx, 1, &addresses, 1, crate::code::Order::Weak, |_, part| *byte = part[0]);
        }
    }
}

pub(super) fn copy(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32, copy: &BulkCopy) {
    for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
        match copy {
            BulkCopy::Load { to, shape, barrier, multicast } => {
                load(m, warp, cx, lane, [*to, *barrier], shape, *multicast);
            }
            BulkCopy::Store { from, shape, reduce } => store(m, warp, cx, lane, *from, shape, *reduce),
            BulkCopy::Between { to, from, bytes, barrier, reduce } => {
                between(m, warp, cx, lane, [*to, *from, *barrier], *bytes, *reduce);
            }
            BulkCopy::Send { to, ty, values, barrier, reduce } => {
                send(m, warp, cx, lane, [*to, *barrier], values, *ty, *reduce);
            }
        }
    }
}

/// Whether a range starts and ends at multiples of 16 bytes, as bulk copies demand.
fn sixteens(m: &mut Machine<'_>, cx: Cx, range: Bytes) -> bool {
    let fits = range.offset.is_multiple_of(16) && range.length.is_multiple_of(16);
    if !fits {
        m.find_at(FindingKind::Misaligned, cx, range, || "bulk copies work on multiples of 16 bytes".into());
    }
    fits
}

/// Coordinates of a tensor copy in one lane.
fn coordinates(warp: &Warp, lane: usize, at: &[Src]) -> Vec<i32> {
    at.iter().map(|&c| u32::read(warp, c)[lane] as i32).collect()
}

/// Whether the innermost coordinate of a tensor copy is a multiple of 16 bytes; a finding if it is not.
fn begins_on_sixteen(m: &mut Machine<'_>, cx: Cx, coordinate: i32, element: usize) -> bool {
    let into_row = i64::from(coordinate) * element as i64;
    let fits = into_row % 16 == 0;
    if !fits {
        m.find(FindingKind::Misaligned, cx, || {
            format!(
                "coordinate 0 of a tensor copy is {coordinate}, {into_row} bytes into the row, which is no multiple of 16 bytes: \
                 measured on an H100 and an H200, such a copy ends with an illegal instruction"
            )
        });
    }
    fits
}

fn load(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    lane: usize,
    [to, barrier]: [crate::code::Address; 2],
    shape: &BulkShape,
    multicast: Option<Src>,
) {
    let to = warp.addresses(to)[lane] & !SHARED_WINDOW;
    let barrier = warp.addresses(barrier)[lane];
    let Some(barrier) = m.mbarrier_place(cx, barrier) else { return };
    if m.mbarrier(cx, lane as u8, barrier).is_none() {
        return;
    }
    if m.tracks() && !m.mbarrier_announced(cx.me, barrier) {
        m.find_mbarrier(FindingKind::MissingProxyFence, cx, barrier, || {
            "the mbarrier's initialisation was not made known by fence.mbarrier_init or fence.proxy.async".into()
        });
    }
    // Runs of the destination: offset in the tile, bytes.
    let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
    let (total, mask, align) = match shape {
        BulkShape::Linear { global, bytes } => {
            let from = warp.addresses(*global)[lane];
            let bytes = u32::read(warp, *bytes)[lane] as usize;
            if !sixteens(m, cx, bytes_of(Space::Global, from, bytes)) {
                return;
            }
            for at in (0..bytes).step_by(16) {
                let mut data = vec![0; 16];
                read_run(m, cx, from + at as u64, &mut data);
                runs.push((at, data));
            }
            (bytes, 0, 16)
        }
        BulkShape::Tensor { map, at } => {
            let address = warp.addresses(*map)[lane];
            let Some(map) = tensor_map(m, cx, address) else { return };
            let start = coordinates(warp, lane, at);
            if start.len() != map.tile.len() {
                m.find(FindingKind::InvalidOperand, cx, || {
                    format!("the tensor map has {} axes, the copy {}", map.tile.len(), start.len())
                });
                return;
            }
            if !begins_on_sixteen(m, cx, start[0], map.element.bytes()) {
                return;
            }
            let fill = map.fill();
            let mut places = Vec::new();
            map.each_element_run(&start, |offset, address, length| places.push((offset, address, length)));
            for (offset, address, length) in places {
                let mut data = vec![0; length];
                match address {
                    Some(address) => {
                        read_run(m, cx, address, &mut data);
                        map.convert(&mut data);
                    }
                    None => data.copy_from_slice(&fill[..length]),
                }
                runs.push((offset, data));
            }
            (map.tile_bytes(), map.swizzle.mask(), 128)
        }
    };
    let Some((block, base)) = m.shared_place(cx, to, total, align) else { return };
    let targets: Vec<usize> = match multicast {
        None => vec![block],
        Some(mask) => {
            let mask = u32::read(warp, mask)[lane];
            (0..m.blocks.len()).filter(|b| mask >> b & 1 != 0).collect()
        }
    };
    for target in targets {
        m.claim(cx, lane as u8, target, base, total, Landing::Proxy);
        let placed = runs.iter().map(|(offset, data)| (target, swizzled(base + offset, mask), data.clone())).collect();
        // Multicast signals the barrier at the same offset in each block.
        let barrier = if multicast.is_some() { (target, barrier.1) } else { barrier };
        m.deliveries.push(Delivery { runs: placed, barrier, bytes: total as u32, how: Landing::Proxy });
    }
    m.progress += 1;
}

fn store(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    lane: usize,
    from: crate::code::Address,
    shape: &BulkShape,
    reduce: Option<(crate::code::AtomicOp, Option<Type>)>,
) {
    let from = warp.addresses(from)[lane] & !SHARED_WINDOW;
    let (mut runs, mut beyond) = (Vec::new(), Vec::new());
    let mut element = None;
    let (total, align) = match shape {
        BulkShape::Linear { global, bytes } => {
            let to = warp.addresses(*global)[lane];
            let bytes = u32::read(warp, *bytes)[lane] as usize;
            if !sixteens(m, cx, bytes_of(Space::Global, to, bytes)) {
                return;
            }
            runs.extend((0..bytes).step_by(16).map(|at| (at, to + at as u64, 16)));
            (bytes, 16)
        }
        BulkShape::Tensor { map, at } => {
            let address = warp.addresses(*map)[lane];
            let Some(map) = tensor_map(m, cx, address) else { return };
            let start = coordinates(warp, lane, at);
            if start.len() != map.tile.len() {
                m.find(FindingKind::InvalidOperand, cx, || {
                    format!("the tensor map has {} axes, the copy {}", map.tile.len(), start.len())
                });
                return;
            }
            if let Some(axis) = start.iter().position(|&at| at < 0) {
                m.find(FindingKind::InvalidOperand, cx, || {
                    format!(
                        "coordinate {axis} of a tensor copy to global memory is {}: Hopper takes none below 0 here",
                        start[axis]
                    )
                });
                return;
            }
            if !begins_on_sixteen(m, cx, start[0], map.element.bytes()) {
                return;
            }
            element = Some(map.element.ty());
            let mask = map.swizzle.mask();
            let base = from as usize;
            map.each_element_run(&start, |offset, address, length| {
                if let Some(address) = address {
                    runs.push((swizzled(base + offset, mask) - base, address, length));
                }
            });
            map.each_element_past_end(&start, |offset, address| {
                beyond.push((swizzled(base + offset, mask) - base, address, map.element.bytes()));
            });
            (map.tile_bytes(), 128)
        }
    };
    let Some((block, base)) = m.shared_place(cx, from, total, align) else { return };
    if m.tracks() {
        m.check_async_read(cx, lane as u8, block, base, total);
        m.hold(block, base, total);
    }
    let placed = |runs: Vec<(usize, u64, usize)>| {
        runs.into_iter().map(|(offset, address, length)| (base + offset, address, length)).collect()
    };
    let (runs, beyond) = (placed(runs), placed(beyond));
    warp.drains.pending.push(Drain {
        lane: lane as u8,
        group: OPEN,
        source: vec![(block, base, total)],
        runs,
        beyond,
        block,
        reduce: reduce.map(|(op, ty)| (op, ty.or(element).unwrap_or(Type::U32))),
        line: cx.line,
    });
}

/// Shared memory of one block to that of another of the cluster.
fn between(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    lane: usize,
    [to, from, barrier]: [crate::code::Address; 3],
    bytes: Src,
    reduce: Option<(crate::code::AtomicOp, Type)>,
) {
    let to = warp.addresses(to)[lane] & !SHARED_WINDOW;
    let from = warp.addresses(from)[lane] & !SHARED_WINDOW;
    let bytes = u32::read(warp, bytes)[lane] as usize;
    let barrier = warp.addresses(barrier)[lane];
    let Some(barrier) = m.mbarrier_place(cx, barrier) else { return };
    if !sixteens(m, cx, bytes_of(Space::Shared, from, bytes)) {
        return;
    }
    let Some((source_block, source)) = m.shared_place(cx, from, bytes, 16) else { return };
    let Some((block, target)) = m.shared_place(cx, to, bytes, 16) else { return };
    if m.tracks() {
        m.check_async_read(cx, lane as u8, source_block, source, bytes);
    }
    let data = m.blocks[source_block].shared.data[source..source + bytes].to_vec();
    let how = reduce.map_or(Landing::Proxy, |(op, ty)| Landing::Combined(op, ty));
    m.claim(cx, lane as u8, block, target, bytes, how);
    m.deliveries.push(Delivery { runs: vec![(block, target, data)], barrier, bytes: bytes as u32, how });
    m.progress += 1;
}

/// `st.async` and `red.async`: registers of one lane to another block's shared memory, counted by a barrier there.
#[allow(clippy::too_many_arguments)]
fn send(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    lane: usize,
    [to, barrier]: [crate::code::Address; 2],
    values: &[Src],
    ty: Type,
    reduce: Option<crate::code::AtomicOp>,
) {
    let to = warp.addresses(to)[lane] & !SHARED_WINDOW;
    let barrier = warp.addresses(barrier)[lane];
    let mut data = Vec::with_capacity(16);
    for &value in values {
        data.extend(&u64::read(warp, value)[lane].to_le_bytes()[..ty.bytes()]);
    }
    let Some(barrier) = m.mbarrier_place(cx, barrier) else { return };
    if m.mbarrier(cx, lane as u8, barrier).is_none() {
        return;
    }
    let bytes = data.len();
    let Some((block, target)) = m.shared_place(cx, to, bytes, bytes) else { return };
    if block != barrier.0 {
        m.find(FindingKind::InvalidOperand, cx, || "the mbarrier is not in the block that the bytes go to".into());
        return;
    }
    let how = reduce.map_or(Landing::Ordinary, |op| Landing::Combined(op, ty));
    m.claim(cx, lane as u8, block, target, bytes, how);
    m.deliveries.push(Delivery { runs: vec![(block, target, data)], barrier, bytes: bytes as u32, how });
    m.progress += 1;
}

/// `cp.async.bulk.wait_group`, with `.read` or without: the sources may be overwritten. Destinations are written by then
/// in both forms; a kernel that relies on that after `.read` is not told.
pub(super) fn wait(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32, left: u32) {
    let covered = warp.drains.covered(mask, left);
    for &i in &covered {
        let mut drain = std::mem::replace(
            &mut warp.drains.pending[i],
            Drain {
                lane: 0,
                group: OPEN,
                source: Vec::new(),
                runs: Vec::new(),
                beyond: Vec::new(),
                block: cx.block,
                reduce: None,
                line: cx.line,
            },
        );
        // The source is read at the latest now.
        m.drain(cx.me, &mut drain);
        for (block, offset, bytes) in std::mem::take(&mut drain.source) {
            m.unhold(cx, block, offset, bytes);
        }
        warp.drains.pending[i] = drain;
    }
    for i in covered.into_iter().rev() {
        warp.drains.pending.remove(i);
    }
}

/// What is still in flight when lanes exit: their stores happen, but shared memory must outlive its readers.
pub(super) fn exit(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, mask: u32) {
    let mut kept = Vec::new();
    for mut drain in std::mem::take(&mut warp.drains.pending) {
        if mask >> drain.lane & 1 == 0 {
            kept.push(drain);
            continue;
        }
        let other = m.site(cx.me, drain.line);
        let at = m.site(cx.me, cx.line);
        let bytes = drain.source.first().map(|s| bytes_of(Space::Shared, s.1 as u64, s.2));
        m.findings.add(FindingKind::OverwriteInFlight, at, Some(other), bytes, || {
            "the thread exits while a bulk copy that it did not wait for reads shared memory".into()
        });
        m.drain(cx.me, &mut drain);
        for (block, offset, bytes) in drain.source {
            m.unhold(cx, block, offset, bytes);
        }
    }
    warp.drains.pending = kept;
}

/// `mapa`: the same offset in another block's shared memory.
pub(super) fn map_address(warp: &mut Warp, mask: u32, d: Dst, a: Src, rank: Src) {
    let (a, rank) = (u64::read(warp, a), u32::read(warp, rank));
    let shift = crate::machine::RANK_SHIFT;
    let values: [u64; LANES] = std::array::from_fn(|lane| {
        let window = a[lane] & SHARED_WINDOW;
        window | u64::from(rank[lane]) << shift | a[lane] & ((1 << shift) - 1)
    });
    u64::write(warp, d, mask, &values);
}
