//! The first state of a cluster.

use super::barrier::BARRIERS;
use super::bulk::Drains;
use super::cluster::ClusterBarrier;
use super::copies::Copies;
use super::local::LocalMemory;
use super::mbarrier::Mbarriers;
use super::shared::Shared;
use super::view::View;
use super::warp::{Group, Identity, LANES, Registers, State, Warp};
use super::wgmma::WgmmaState;
use super::{Barrier, Block, Fences, Launch, Machine, Random};
use crate::finding::Findings;

/// The index of block `rank` of cluster `unit`; x runs fastest in both.
pub(crate) fn block_index(launch: &Launch<'_>, unit: u32, rank: usize) -> [u32; 3] {
    let clusters: [u32; 3] = std::array::from_fn(|a| launch.grid[a] / launch.cluster[a]);
    let spread = |linear: u32, extent: [u32; 3]| {
        [linear % extent[0], linear / extent[0] % extent[1], linear / extent[0] / extent[1]]
    };
    let (outer, inner) = (spread(unit, clusters), spread(rank as u32, launch.cluster));
    std::array::from_fn(|a| outer[a] * launch.cluster[a] + inner[a])
}

impl<'l> Machine<'l> {
    /// Cluster `unit` of a launch, before its first instruction.
    pub fn new(launch: &'l Launch<'l>, unit: u32) -> Self {
        let size = launch.cluster.iter().product::<u32>();
        let threads = launch.block.iter().product::<u32>();
        let warps_per_block = threads.div_ceil(32) as usize;
        let agents = warps_per_block * size as usize;
        let mut blocks = Vec::new();
        let mut warps = Vec::new();
        for rank in 0..size {
            let index = block_index(launch, unit, rank as usize);
            blocks.push(Block {
                index,
                shared: Shared::new(launch.shared_bytes as usize, agents, launch.options.race_detection),
                barriers: vec![Barrier::default(); BARRIERS],
            });
            for warp in 0..warps_per_block as u32 {
                warps.push(Some(Box::new(first_warp(launch, index, rank, warp, threads))));
            }
        }
        Self {
            launch,
            unit,
            blocks,
            warps,
            warps_per_block,
            views: (0..agents).map(|me| View::start(agents, me)).collect(),
            fences: (0..agents).map(|_| Fences::default()).collect(),
            findings: Findings::default(),
            banks: super::banks::Banks::default(),
            random: Random::new(launch.options.seed ^ u64::from(unit) << 32),
            warp_instructions: 0,
            lane_instructions: 0,
            trapped: false,
            mbarriers: Mbarriers::default(),
            deliveries: Vec::new(),
            cluster_barrier: ClusterBarrier::default(),
            progress: 0,
        }
    }
}

/// Registers of a thread at the start: what the kernel declares, or an equal share of the multiprocessor's 65536.
pub(crate) fn first_registers(launch: &Launch<'_>, threads: u32) -> u32 {
    let share = REGISTERS / threads.next_multiple_of(32) / 8 * 8;
    launch.program.bounds.max_registers.unwrap_or(share).min(255)
}

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65536;

fn first_warp(launch: &Launch<'_>, ctaid: [u32; 3], rank: u32, warp: u32, threads: u32) -> Warp {
    let [width, height, _] = launch.block;
    let thread = |lane: usize| warp * 32 + lane as u32;
    let live = (0..LANES).fold(0, |mask, lane| mask | u32::from(thread(lane) < threads) << lane);
    let program = launch.program;
    let cluster_size = launch.cluster.iter().product();
    Warp {
        regs: Registers {
            words: vec![[0; LANES]; program.words],
            doubles: vec![[0; LANES]; program.doubles],
            preds: vec![0; program.preds],
        },
        id: Identity {
            tid: [
                std::array::from_fn(|lane| thread(lane) % width),
                std::array::from_fn(|lane| thread(lane) / width % height),
                std::array::from_fn(|lane| thread(lane) / width / height),
            ],
            ntid: launch.block,
            ctaid,
            nctaid: launch.grid,
            cluster_id: std::array::from_fn(|a| ctaid[a] / launch.cluster[a]),
            nclusters: std::array::from_fn(|a| launch.grid[a] / launch.cluster[a]),
            cluster_ctaid: std::array::from_fn(|a| ctaid[a] % launch.cluster[a]),
            cluster_nctaid: launch.cluster,
            cluster_rank: rank,
            cluster_size,
            explicit_cluster: cluster_size > 1,
            warp,
            nwarps: threads.div_ceil(32),
            dynamic_shared: launch.dynamic_shared,
            total_shared: launch.shared_bytes,
            first_variable: launch.first_variable,
        },
        groups: vec![Group { pc: 0, mask: live, state: State::Ready }],
        live,
        clock: 0,
        carry: 0,
        forced: 0,
        patience: super::schedule::PATIENCE,
        local: LocalMemory::new(program.local_bytes),
        copies: Copies::default(),
        drains: Drains::default(),
        wgmma: if program.touched.is_some() { WgmmaState::new(program.words) } else { WgmmaState::default() },
        registers: first_registers(launch, threads),
    }
}
