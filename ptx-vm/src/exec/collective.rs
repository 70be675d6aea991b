//! Instructions that lanes execute together: shuffles, votes, barriers.

use super::{Flow, wait_for};
use crate::code::{BarrierUse, Dst, Shuffle, Src, Vote};
use crate::finding::FindingKind;
use crate::machine::warp::{LANES, Lane, State, Warp};
use crate::machine::{Arrival, Cx, Machine};

/// Whether the lanes named by `members` are all here; if not, the group is put to wait for them.
pub(super) fn together(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, group: usize, mask: u32, members: u32) -> bool {
    if mask & !members != 0 {
        m.find(FindingKind::DivergentCollective, cx, || {
            format!("lanes {:#010x} execute it but the member mask {members:#010x} leaves them out", mask & !members)
        });
    }
    // Lanes that have exited are not waited for.
    let missing = members & warp.live & !mask;
    if missing == 0 {
        return true;
    }
    if warp.forced & mask != 0 {
        warp.forced &= !mask;
        return true;
    }
    // Lanes of this very group that a guard holds back will never come.
    if missing & warp.groups[group].mask != 0 {
        m.find(FindingKind::DivergentCollective, cx, || {
            format!("the guard keeps lanes {missing:#010x} of the warp from this instruction")
        });
        return true;
    }
    wait_for(warp, group, mask | missing);
    false
}

/// The same for instructions that the whole warp must execute.
pub(super) fn all_together(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, group: usize, mask: u32) -> bool {
    let live = warp.live;
    together(m, warp, cx, group, mask, live)
}

pub(super) fn barrier(m: &mut Machine<'_>, warp: &mut Warp, cx: Cx, group: usize, mask: u32, bar: &BarrierUse) -> Flow {
    if bar.aligned && !all_together(m, warp, cx, group, mask) {
        return Flow::Stay;
    }
    if mask != warp.groups[group].mask {
        // Part of a group sleeps: it becomes a group of its own.
        warp.groups[group].mask &= !mask;
        let pc = warp.groups[group].pc;
        warp.groups[group].pc = pc + 1;
        warp.groups.push(crate::machine::warp::Group { pc, mask, state: State::Ready });
        return Flow::Stay;
    }
    let arrival = Arrival {
        id: warp.uniform(bar.id, mask) as u32,
        expected: bar.threads.map(|n| warp.uniform(n, mask) as u32),
        waits: !bar.arrive_only,
        aligned: bar.aligned,
        mask,
        reduce: bar.reduce.map(|(d, op, p)| (d, op, warp.pred(p))),
    };
    m.arrive(cx, warp, group, arrival);
    Flow::Sleep
}

pub(super) fn shuffle(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    mask: u32,
    mode: Shuffle,
    [d, p]: [Dst; 2],
    [a, b, c]: [Src; 3],
) {
    let (values, b, c) = (u32::read(warp, a), u32::read(warp, b), u32::read(warp, c));
    let mut result = values;
    let mut valid = 0u32;
    for lane in 0..LANES as u32 {
        if mask >> lane & 1 == 0 {
            continue;
        }
        let amount = b[lane as usize] & 31;
        let clamp = c[lane as usize] & 31;
        let segment = c[lane as usize] >> 8 & 31;
        let highest = lane & segment | clamp & !segment;
        let lowest = lane & segment;
        let (source, inside) = match mode {
            Shuffle::Up => (lane.wrapping_sub(amount), lane as i32 - amount as i32 >= highest as i32),
            Shuffle::Down => (lane + amount, lane + amount <= highest),
            Shuffle::Butterfly => (lane ^ amount, lane ^ amount <= highest),
            Shuffle::Index => {
                let source = lowest | amount & !segment;
                (source, source <= highest)
            }
        };
        let source = if inside { source & 31 } else { lane };
        valid |= u32::from(inside) << lane;
        if mask >> source & 1 == 0 {
            m.find(FindingKind::DivergentCollective, cx, || {
                format!("lane {lane} reads lane {source}, which does not take part")
            });
        }
        result[lane as usize] = values[source as usize];
    }
    u32::write(warp, d, mask, &result);
    warp.set_pred(p, mask, valid);
}

pub(super) fn vote(warp: &mut Warp, mask: u32, mode: Vote, d: Dst, a: Src, members: u32) {
    let voters = members & mask;
    let yes = warp.pred(a) & voters;
    match mode {
        Vote::Ballot => u32::write(warp, d, mask, &[yes; LANES]),
        _ => {
            let holds = match mode {
                Vote::All => yes == voters,
                Vote::Any => yes != 0,
                _ => yes == 0 || yes == voters,
            };
            warp.set_pred(d, mask, if holds { u32::MAX } else { 0 });
        }
    }
}

pub(super) fn matching(warp: &mut Warp, mask: u32, all: bool, wide: bool, [d, p]: [Dst; 2], a: Src, members: u32) {
    let values = if wide { u64::read(warp, a) } else { u32::read(warp, a).map(u64::from) };
    let voters = members & mask;
    let equal_to = |lane: usize| {
        (0..LANES)
            .filter(|&other| voters >> other & 1 != 0 && values[other] == values[lane])
            .fold(0u32, |bits, other| bits | 1 << other)
    };
    let mut result: [u32; LANES] = std::array::from_fn(equal_to);
    if all {
        let same = result.map(|bits| bits == voters);
        let holds = (0..LANES).all(|lane| voters >> lane & 1 == 0 || same[lane]);
        result = [if holds { voters } else { 0 }; LANES];
        warp.set_pred(p, mask, if holds { u32::MAX } else { 0 });
    }
    u32::write(warp, d, mask, &result);
}
