//! The barrier of a cluster.

use super::view::View;
use super::warp::Warp;
use super::{Cx, Machine};
use crate::finding::FindingKind;

/// `barrier.cluster`: arrivals and waits are separate, and alternate.
#[derive(Debug, Default)]
pub(crate) struct ClusterBarrier {
    /// Lanes of each warp that have arrived in this phase.
    arrived: Vec<u32>,
    view: View,
    /// What the last completed phase released.
    released: View,
    phase: u32,
    /// The phase each warp last arrived in, plus one.
    last: Vec<u32>,
}

impl Machine<'_> {
    pub fn cluster_arrive(&mut self, cx: Cx, warp: &Warp, mask: u32, releases: bool) {
        let warps = self.warps.len();
        let barrier = &mut self.cluster_barrier;
        barrier.arrived.resize(warps, 0);
        barrier.last.resize(warps, 0);
        let twice = barrier.arrived[cx.me] & mask != 0;
        barrier.arrived[cx.me] |= mask;
        barrier.last[cx.me] = barrier.phase + 1;
        if releases {
            barrier.view.join(&self.views[cx.me]);
            self.views[cx.me].tick(cx.me);
        } else if let Some(view) = &self.fences[cx.me].view {
            barrier.view.join(view);
        }
        if twice {
            self.find(FindingKind::BarrierMisuse, cx, || {
                "a warp arrives at the cluster barrier twice without a wait in between".into()
            });
        }
        self.cluster_settle(Some((cx.me, warp.live)));
    }

    /// Completes the phase if all live lanes have arrived; `current` is the warp that is taken out of the table.
    pub fn cluster_settle(&mut self, current: Option<(usize, u32)>) {
        if self.cluster_barrier.arrived.iter().all(|&lanes| lanes == 0) {
            return;
        }
        let complete = (0..self.warps.len()).all(|w| {
            let live = match current {
                Some((me, live)) if me == w => live,
                _ => self.warps[w].as_ref().map_or(0, |warp| warp.live),
            };
            live & !self.cluster_barrier.arrived[w] == 0
        });
        if !complete {
            return;
        }
        let barrier = &mut self.cluster_barrier;
        barrier.phase += 1;
        barrier.arrived.fill(0);
        let view = std::mem::take(&mut barrier.view);
        barrier.released.join(&view);
        self.progress += 1;
    }

    /// Whether the phase this warp arrived in is complete; an acquiring wait then learns what the others knew.
    pub fn cluster_wait(&mut self, cx: Cx, acquires: bool) -> bool {
        let last = self.cluster_barrier.last.get(cx.me).copied().unwrap_or(0);
        if last == 0 {
            self.find(FindingKind::BarrierMisuse, cx, || "a wait at the cluster barrier without an arrival".into());
            return true;
        }
        if self.cluster_barrier.phase < last {
            return false;
        }
        if acquires {
            let released = std::mem::take(&mut self.cluster_barrier.released);
            self.views[cx.me].join(&released);
            self.cluster_barrier.released = released;
        }
        true
    }
}
