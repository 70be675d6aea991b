//! The machine: one cluster of thread blocks, its warps under a seeded random scheduler.

mod access;
pub(crate) mod banks;
mod barrier;
pub(crate) mod bulk;
mod cluster;
pub(crate) mod copies;
mod global;
pub(crate) mod local;
mod mbarrier;
mod schedule;
pub(crate) mod shared;
mod start;
pub(crate) mod view;
pub(crate) mod warp;
pub(crate) mod wgmma;

pub(crate) use barrier::{Arrival, Barrier};
pub(crate) use schedule::Outcome;
pub(crate) use start::first_registers;

use crate::finding::{Bytes, FindingKind, Findings, Site};
use crate::launch::Options;
use crate::memory::Memory;
use crate::program::Program;
use crate::types::Space;
use shared::Shared;
use std::sync::Arc;
use view::{Foreign, View};
use warp::Warp;

/// Shared memory below this belongs to the system (1 KiB a block from compute capability 8.0 on).
pub(crate) const RESERVED_SHARED: u32 = 1024;
/// Bits of a shared address that are an offset in its block; the block's rank in the cluster lies above.
pub(crate) const RANK_SHIFT: u32 = 24;

/// Windows of the generic address space.
pub(crate) const SHARED_WINDOW: u64 = 1 << 60;
pub(crate) const LOCAL_WINDOW: u64 = 2 << 60;
pub(crate) const PARAM_WINDOW: u64 = 3 << 60;

/// What all clusters of a launch have in common.
pub(crate) struct Launch<'l> {
    pub program: &'l Program,
    pub memory: &'l Memory,
    pub parameters: &'l [u8],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    /// Bytes of shared memory of a block, the reserved ones included.
    pub shared_bytes: u32,
    pub dynamic_shared: u32,
    /// Index of the buffer of the module's first variable.
    pub first_variable: usize,
    pub options: &'l Options,
}

/// One thread block.
pub(crate) struct Block {
    pub index: [u32; 3],
    pub shared: Shared,
    pub barriers: Vec<Barrier>,
}

/// Fence state of a warp towards other clusters.
#[derive(Default)]
pub(crate) struct Fences {
    /// What the last fence made publishable by relaxed writes.
    pub publish: Option<Arc<Foreign>>,
    /// What the warp knew at its last fence: relaxed arrivals at the cluster's barrier hand it on.
    pub view: Option<View>,
    /// What relaxed reads saw, to be known after the next fence.
    pub observed: Option<Arc<Foreign>>,
}

/// Who executes: the agent number of the warp, its block in the cluster, and the instruction's line.
#[derive(Clone, Copy)]
pub(crate) struct Cx {
    pub me: usize,
    pub block: usize,
    pub line: u32,
}

/// One cluster in execution.
pub(crate) struct Machine<'l> {
    pub launch: &'l Launch<'l>,
    /// Linear index of the cluster in the grid.
    pub unit: u32,
    pub blocks: Vec<Block>,
    /// Warps of all blocks, block after block; taken out while one runs.
    pub warps: Vec<Option<Box<Warp>>>,
    pub warps_per_block: usize,
    pub views: Vec<View>,
    pub fences: Vec<Fences>,
    pub findings: Findings,
    pub banks: banks::Banks,
    pub random: Random,
    pub warp_instructions: u64,
    pub lane_instructions: u64,
    pub mbarriers: mbarrier::Mbarriers,
    pub cluster_barrier: cluster::ClusterBarrier,
    /// Bulk copies on their way into shared memory.
    pub deliveries: Vec<bulk::Delivery>,
    /// A trap ends the cluster.
    pub trapped: bool,
    /// Counts events that may let a waiting warp run on.
    pub progress: u64,
}

/// xorshift64*: small, and the same on every host.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // SplitMix64 spreads small seeds over all bits.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ z >> 31) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

impl Machine<'_> {
    pub fn tracks(&self) -> bool {
        self.launch.options.race_detection
    }

    /// The party that an agent of this cluster is.
    pub fn site(&self, agent: usize, line: u32) -> Site {
        let warps = self.warps_per_block;
        let all = warps * self.blocks.len();
        let (block, warp) = match agent.checked_sub(all) {
            None => (agent / warps, Some((agent % warps) as u32)),
            Some(barrier) => (self.mbarriers.block(barrier).unwrap_or(0), None),
        };
        Site { block: self.blocks[block].index, warp, line }
    }

    pub fn find(&mut self, kind: FindingKind, cx: Cx, detail: impl FnOnce() -> String) {
        let at = self.site(cx.me, cx.line);
        self.findings.add(kind, at, None, None, detail);
    }

    /// A finding with another side to it: `other` is a warp, or a barrier, of this cluster and a line.
    pub fn find_between(
        &mut self,
        kind: FindingKind,
        cx: Cx,
        other: (usize, u32),
        bytes: Option<Bytes>,
        detail: impl FnOnce() -> String,
    ) {
        let (at, other) = (self.site(cx.me, cx.line), self.site(other.0, other.1));
        self.findings.add(kind, at, Some(other), bytes, detail);
    }

    pub fn find_at(&mut self, kind: FindingKind, cx: Cx, bytes: Bytes, detail: impl FnOnce() -> String) {
        let at = self.site(cx.me, cx.line);
        self.findings.add(kind, at, None, Some(bytes), detail);
    }
}

pub(crate) fn bytes_of(space: Space, offset: u64, length: usize) -> Bytes {
    Bytes { space, buffer: None, offset, length: length as u32 }
}
