//! Transaction barriers in shared memory (`mbarrier`).

use super::view::View;
use super::{Cx, Machine, RANK_SHIFT, bytes_of};
use crate::finding::{Bytes, FindingKind};
use crate::types::Space;
use std::collections::HashMap;

/// One barrier object. It is also an agent: bytes that a bulk copy delivers are stamped with the barrier's number and
/// the phase that counts them, so that only a wait for that very phase orders them before a read.
#[derive(Clone, Debug)]
pub(crate) struct Mbarrier {
    /// Arrivals of a phase.
    count: u32,
    /// Arrivals still missing in the current phase.
    pending: i64,
    /// Bytes still missing in the current phase; negative while more have come than were announced.
    bytes: i64,
    /// Phases completed.
    pub phase: u32,
    /// Agent number for stamps.
    pub agent: usize,
    /// What those know who have arrived, phase after phase.
    arrived: View,
    /// What a successful wait learns.
    released: View,
    /// Warp and stamp of the initialisation, and whether it was made known to the asynchronous proxy.
    pub init: (usize, u32),
    pub announced: bool,
    init_line: u32,
}

/// The barriers of a cluster by block and offset.
#[derive(Debug, Default)]
pub(crate) struct Mbarriers {
    table: HashMap<(usize, usize), Mbarrier>,
    /// Block of each barrier agent, in the order of their numbers.
    blocks: Vec<usize>,
}

impl Mbarriers {
    /// The block of a barrier's agent; `index` counts from the first barrier.
    pub fn block(&self, index: usize) -> Option<usize> {
        self.blocks.get(index).copied()
    }

    /// `fence.mbarrier_init` by a warp.
    pub fn announce(&mut self, me: usize) {
        self.table.values_mut().filter(|b| b.init.0 == me).for_each(|b| b.announced = true);
    }
}

/// Most arrivals and transaction bytes of a phase (PTX ISA, "mbarrier object": 2^20 - 1).
const MOST: i64 = (1 << 20) - 1;

impl Machine<'_> {
    /// The place of a barrier object.
    pub fn mbarrier_place(&mut self, cx: Cx, address: u64) -> Option<(usize, usize)> {
        self.shared_place(cx, address & !super::SHARED_WINDOW, 8, 8)
    }

    pub fn mbarrier_init(&mut self, cx: Cx, lane: u8, address: u64, count: u32) {
        let Some(place) = self.mbarrier_place(cx, address) else { return };
        if count == 0 || i64::from(count) > MOST {
            self.find_at(FindingKind::InvalidOperand, cx, object(place), || {
                format!("an mbarrier takes 1 to {MOST} arrivals, not {count}")
            });
        }
        if self.tracks() {
            self.track_write(cx, lane, place.0, place.1, 8, false, 0);
        }
        let warps = self.warps.len();
        let fresh = self.mbarriers.blocks.len();
        let (agent, phase) = match self.mbarriers.table.get(&place) {
            // Initialised anew: later stamps stay above the earlier ones.
            Some(old) => (old.agent, (old.phase + 2) & !1),
            None => {
                self.mbarriers.blocks.push(place.0);
                (warps + fresh, 0)
            }
        };
        let init = (cx.me, self.views[cx.me].of(cx.me));
        self.mbarriers.table.insert(
            place,
            Mbarrier {
                count,
                pending: i64::from(count),
                bytes: 0,
                phase,
                agent,
                arrived: View::default(),
                released: View::default(),
                init,
                announced: false,
                init_line: cx.line,
            },
        );
    }

    pub fn mbarrier_invalidate(&mut self, cx: Cx, address: u64) {
        let Some(place) = self.mbarrier_place(cx, address) else { return };
        if self.mbarriers.table.remove(&place).is_none() {
            self.no_mbarrier(cx, place);
        }
    }

    pub fn no_mbarrier(&mut self, cx: Cx, place: (usize, usize)) {
        self.find_at(FindingKind::BarrierMisuse, cx, object(place), || "there is no mbarrier at this address".into());
    }

    /// A finding about a barrier: against its initialisation, with the object's own bytes.
    pub fn find_mbarrier(&mut self, kind: FindingKind, cx: Cx, place: (usize, usize), detail: impl FnOnce() -> String) {
        let init = self.mbarriers.table.get(&place).map_or((cx.me, cx.line), |b| (b.init.0, b.init_line));
        self.find_between(kind, cx, init, Some(object(place)), detail);
    }

    /// The barrier at a place, or a finding; an operation on it must be ordered after its initialisation.
    pub fn mbarrier(&mut self, cx: Cx, lane: u8, place: (usize, usize)) -> Option<&mut Mbarrier> {
        if !self.mbarriers.table.contains_key(&place) {
            self.no_mbarrier(cx, place);
            return None;
        }
        if self.tracks() {
            let word = self.blocks[place.0].shared.words[place.1 / 4];
            let line = self.mbarriers.table.get(&place).map_or(0, |b| b.init_line);
            if word.line == line && !self.write_ordered(cx.me, lane, &word) {
                self.track_read(cx, lane, place.0, place.1, 8, true);
            }
        }
        self.mbarriers.table.get_mut(&place)
    }

    /// `count` arrivals, after announcing `bytes` more. Returns the phase they count for.
    #[allow(clippy::too_many_arguments)]
    pub fn mbarrier_arrive(
        &mut self,
        cx: Cx,
        lane: u8,
        address: u64,
        count: u32,
        bytes: u32,
        releases: bool,
        drop: bool,
    ) -> u64 {
        let Some(place) = self.mbarrier_place(cx, address) else { return 0 };
        let view = if releases && self.tracks() { Some(self.views[cx.me].clone()) } else { None };
        let Some(barrier) = self.mbarrier(cx, lane, place) else { return 0 };
        let phase = barrier.phase;
        barrier.bytes += i64::from(bytes);
        barrier.pending -= i64::from(count);
        if drop {
            barrier.count = barrier.count.saturating_sub(count);
        }
        let too_many = barrier.pending < 0;
        if let Some(view) = view {
            barrier.arrived.join(&view);
        }
        if releases {
            self.views[cx.me].tick(cx.me);
        }
        if too_many {
            self.find_mbarrier(FindingKind::BarrierMisuse, cx, place, || {
                "more threads arrive than the mbarrier was initialised for".into()
            });
        }
        self.mbarrier_settle(place);
        u64::from(phase)
    }

    pub fn mbarrier_expect(&mut self, cx: Cx, lane: u8, address: u64, bytes: u32) {
        let Some(place) = self.mbarrier_place(cx, address) else { return };
        if let Some(barrier) = self.mbarrier(cx, lane, place) {
            barrier.bytes += i64::from(bytes);
        }
        self.mbarrier_settle(place);
    }

    /// Bytes that have been delivered for the current phase.
    pub fn mbarrier_complete(&mut self, place: (usize, usize), bytes: u32) {
        if let Some(barrier) = self.mbarriers.table.get_mut(&place) {
            barrier.bytes -= i64::from(bytes);
        }
        self.mbarrier_settle(place);
    }

    /// Agent and stamp for bytes that the current phase of a barrier counts.
    pub fn mbarrier_stamp(&self, place: (usize, usize)) -> Option<(usize, u32)> {
        self.mbarriers.table.get(&place).map(|b| (b.agent, b.phase + 1))
    }

    /// Whether the asynchronous proxy may use a barrier that warp `me` names.
    pub fn mbarrier_announced(&self, me: usize, place: (usize, usize)) -> bool {
        self.mbarriers.table.get(&place).is_none_or(|b| {
            let (warp, stamp) = b.init;
            b.announced || self.views[me].fenced_of(warp) >= stamp
        })
    }

    fn mbarrier_settle(&mut self, place: (usize, usize)) {
        let Some(barrier) = self.mbarriers.table.get_mut(&place) else { return };
        if barrier.pending > 0 || barrier.bytes != 0 {
            return;
        }
        barrier.phase += 1;
        barrier.pending = i64::from(barrier.count);
        let (agent, phase) = (barrier.agent, barrier.phase);
        let mut arrived = std::mem::take(&mut barrier.arrived);
        if arrived.clock.len() <= agent {
            arrived.clock.resize(agent + 1, 0);
        }
        arrived.clock[agent] = phase;
        barrier.released.join(&arrived);
        self.progress += 1;
    }

    /// Whether the phase that `matches` names is over; if so, the waiter learns what its arrivals knew.
    pub fn mbarrier_test(
        &mut self,
        cx: Cx,
        lane: u8,
        place: (usize, usize),
        acquires: bool,
        over: impl Fn(u32) -> bool,
    ) -> bool {
        let tracks = self.tracks();
        let Some(barrier) = self.mbarrier(cx, lane, place) else { return true };
        if !over(barrier.phase) {
            return false;
        }
        if acquires && tracks {
            let released = std::mem::take(&mut barrier.released);
            self.views[cx.me].join(&released);
            if let Some(barrier) = self.mbarriers.table.get_mut(&place) {
                barrier.released = released;
            }
        }
        true
    }

    /// What a waiter at this address waits for: arrivals and bytes.
    pub fn mbarrier_missing(&self, place: (usize, usize)) -> Option<(i64, i64)> {
        self.mbarriers.table.get(&place).map(|b| (b.pending, b.bytes))
    }

    /// Barriers whose announced bytes do not match what came, once everything has ended.
    pub fn mbarriers_unbalanced(&self) -> Vec<(Cx, Bytes, i64)> {
        self.mbarriers
            .table
            .iter()
            .filter(|(_, b)| b.bytes != 0)
            .map(|(place, b)| (Cx { me: b.init.0, block: place.0, line: b.init_line }, object(*place), b.bytes))
            .collect()
    }
}

/// The eight bytes of a barrier object.
fn object(place: (usize, usize)) -> Bytes {
    bytes_of(Space::Shared, (place.1 as u64) + ((place.0 as u64) << RANK_SHIFT), 8)
}
