//! The sixteen named barriers of a block.

use super::view::View;
use super::warp::{State, Warp};
use super::{Cx, Machine};
use crate::code::Reduction;
use crate::finding::FindingKind;

/// Named barriers of a block.
pub(crate) const BARRIERS: usize = 16;

/// A barrier between two completions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Barrier {
    /// Threads it waits for, as the first arrival said; `None`: all of the block.
    expected: Option<u32>,
    /// Threads that arrived; a whole warp counts as 32.
    arrived: u32,
    /// Lanes that arrived, by warp of the block.
    lanes: Vec<u32>,
    /// What everybody knows who arrived.
    view: View,
    /// Who came first, and with which instruction.
    first: usize,
    line: u32,
    /// `bar.red`: lanes whose predicate was true, over all threads.
    votes: u32,
    voters: u32,
    /// Where each waiting warp wants the reduction: warp, lanes, predicate operation and destination.
    results: Vec<(usize, u32, Reduction, crate::code::Dst)>,
}

/// One arrival.
pub(crate) struct Arrival {
    pub id: u32,
    pub expected: Option<u32>,
    pub waits: bool,
    pub aligned: bool,
    pub mask: u32,
    /// Destination, operation and the lanes whose predicate is true.
    pub reduce: Option<(crate::code::Dst, Reduction, u32)>,
}

impl Machine<'_> {
    /// Lanes of `mask` arrive; the caller's group is put to sleep if it has to wait.
    pub fn arrive(&mut self, cx: Cx, warp: &mut Warp, group: usize, arrival: Arrival) {
        let Arrival { id, expected, waits, aligned, mask, reduce } = arrival;
        if id as usize >= BARRIERS {
            self.find(FindingKind::BarrierMisuse, cx, || {
                format!("barrier {id} does not exist: a block has barriers 0 to {}", BARRIERS - 1)
            });
            return;
        }
        if let Some(n) = expected
            && (n == 0 || n % 32 != 0)
        {
            self.find(FindingKind::BarrierMisuse, cx, || {
                format!("a barrier waits for a multiple of 32 threads, not for {n}")
            });
        }
        if !waits && expected.is_none() {
            self.find(FindingKind::BarrierMisuse, cx, || "bar.arrive must say how many threads take part".into());
        }
        let local = cx.me % self.warps_per_block;
        let warps = self.warps_per_block;
        let barrier = &mut self.blocks[cx.block].barriers[id as usize];
        barrier.lanes.resize(warps, 0);
        let fresh = barrier.arrived == 0;
        let (before, first) = (barrier.expected, (barrier.first, barrier.line));
        let twice = barrier.lanes[local] & mask != 0;
        if fresh {
            barrier.expected = expected;
            barrier.first = cx.me;
            barrier.line = cx.line;
        }
        let view = &self.views[cx.me];
        barrier.view.join(view);
        barrier.lanes[local] |= mask;
        barrier.arrived += if aligned { 32 } else { mask.count_ones() };
        if let Some((d, op, truths)) = reduce {
            barrier.votes += (truths & mask).count_ones();
            barrier.voters += mask.count_ones();
            barrier.results.push((local, mask, op, d));
        }
        self.views[cx.me].tick(cx.me);
        if !fresh && before != expected {
            self.find_between(FindingKind::BarrierMisuse, cx, first, None, || {
                format!("arrivals at barrier {id} disagree about the number of threads")
            });
        }
        if twice {
            self.find(FindingKind::BarrierMisuse, cx, || {
                format!("a warp arrived at barrier {id} again before it completed")
            });
        }
        if waits {
            warp.groups[group].state = State::Barrier(id);
        }
        self.settle_barrier(cx.block, id, Some((local, warp)));
    }

    /// Completes a barrier if everybody has arrived. `current` is the warp taken out of the table, if one is.
    pub fn settle_barrier(&mut self, block: usize, id: u32, mut current: Option<(usize, &mut Warp)>) {
        let first = block * self.warps_per_block;
        let barrier = &self.blocks[block].barriers[id as usize];
        if barrier.arrived == 0 {
            return;
        }
        let complete = match barrier.expected {
            Some(n) => barrier.arrived >= n,
            None => (0..self.warps_per_block).all(|w| {
                let live = match &current {
                    Some((me, warp)) if *me == w => warp.live,
                    _ => self.warps[first + w].as_ref().map_or(0, |warp| warp.live),
                };
                live & !barrier.lanes[w] == 0
            }),
        };
        if !complete {
            return;
        }
        let over = barrier.expected.is_some_and(|n| barrier.arrived > n);
        let barrier = std::mem::take(&mut self.blocks[block].barriers[id as usize]);
        if over {
            let cx = Cx { me: barrier.first, block, line: barrier.line };
            self.find(FindingKind::BarrierMisuse, cx, || {
                format!("more threads arrived at barrier {id} than it waits for")
            });
        }
        self.progress += 1;
        for w in 0..self.warps_per_block {
            let lanes = barrier.lanes.get(w).copied().unwrap_or(0);
            if lanes == 0 {
                continue;
            }
            let mut woken = false;
            let agent = first + w;
            let warp = match &mut current {
                Some((me, warp)) if *me == w => Some(&mut **warp),
                _ => self.warps[agent].as_deref_mut(),
            };
            let Some(warp) = warp else { continue };
            for group in &mut warp.groups {
                if group.state == State::Barrier(id) {
                    group.state = State::Ready;
                    woken = true;
                }
            }
            for &(_, mask, op, d) in barrier.results.iter().filter(|r| r.0 == w) {
                let value = match op {
                    Reduction::Popc => barrier.votes,
                    Reduction::And => u32::from(barrier.votes == barrier.voters),
                    Reduction::Or => u32::from(barrier.votes != 0),
                };
                if let crate::code::Dst::Pred(_) = d {
                    warp.set_pred(d, mask, if value != 0 { u32::MAX } else { 0 });
                } else {
                    use super::warp::Lane;
                    u32::write(warp, d, mask, &[value; 32]);
                }
            }
            if woken {
                self.views[agent].join(&barrier.view);
            }
        }
    }

    /// The barriers that somebody waits at, with how many threads came.
    pub fn waiting_barriers(&self, block: usize) -> Vec<(u32, u32, Option<u32>)> {
        self.blocks[block]
            .barriers
            .iter()
            .enumerate()
            .filter(|(_, b)| b.arrived > 0)
            .map(|(id, b)| (id as u32, b.arrived, b.expected))
            .collect()
    }
}
