//! Operations of the asynchronous proxy and of the tensor cores behind it.

use super::{Address, AtomicOp, Dst, Element, Src};
use crate::types::Type;

/// Operations on transaction barriers.
#[derive(Clone, Debug)]
pub(crate) enum MbarrierOp {
    Init {
        address: Address,
        count: Src,
    },
    Invalidate {
        address: Address,
    },
    Arrive {
        address: Address,
        d: Dst,
        count: Option<Src>,
        /// `.expect_tx`: bytes announced first.
        bytes: Option<Src>,
        releases: bool,
        drop: bool,
    },
    Expect {
        address: Address,
        bytes: Src,
    },
    Complete {
        address: Address,
        bytes: Src,
    },
    Wait {
        address: Address,
        d: Dst,
        /// A phase parity, or the token of an arrival.
        state: Src,
        parity: bool,
        /// `try_wait`: sleeps until the phase is over or a time limit passes.
        blocks: bool,
        acquires: bool,
    },
    /// `cp.async.mbarrier.arrive`: an arrival when the thread's copies are done; `counted`: not part of the count.
    CopiesArrive {
        address: Address,
        counted: bool,
    },
}

/// What a bulk copy moves.
#[derive(Clone, Debug)]
pub(crate) enum BulkShape {
    Linear { global: Address, bytes: Src },
    Tensor { map: Address, at: Vec<Src> },
}

#[derive(Clone, Debug)]
pub(crate) enum BulkCopy {
    /// Global to shared memory, counted by a barrier.
    Load { to: Address, shape: BulkShape, barrier: Address, multicast: Option<Src> },
    /// Shared to global memory, waited for by group. A reduction of a tensor takes its type from the map.
    Store { from: Address, shape: BulkShape, reduce: Option<(AtomicOp, Option<Type>)> },
    /// Shared memory of one block to another's; or added and the like to what is there.
    Between { to: Address, from: Address, bytes: Src, barrier: Address, reduce: Option<(AtomicOp, Type)> },
    /// `st.async` and `red.async`: registers of each thread to another block's shared memory.
    Send { to: Address, ty: Type, values: Vec<Src>, barrier: Address, reduce: Option<AtomicOp> },
}

/// Where the A operand of `wgmma` is.
#[derive(Clone, Debug)]
pub(crate) enum WgmmaA {
    Registers(Vec<Src>),
    /// A descriptor, and whether rows run across k.
    Shared(Src, bool),
}

/// `wgmma.mma_async` of shape m64 x n.
#[derive(Clone, Debug)]
pub(crate) struct Wgmma {
    pub n: usize,
    pub a_type: Element,
    pub b_type: Element,
    pub half_result: bool,
    pub saturate: bool,
    pub d: Vec<Dst>,
    pub a: WgmmaA,
    pub b: Src,
    pub transpose_b: bool,
    /// False: start from zero.
    pub scale_d: Src,
    pub negate_a: bool,
    pub negate_b: bool,
}
