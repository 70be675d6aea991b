//! A warp: its registers, its lanes' positions in the program and what they wait for.

use crate::code::{Dst, Special, Src};

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// A value per lane.
pub(crate) type Lanes<T> = [T; LANES];

/// Lanes that stand at one instruction and move together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
}

/// Why a group does or does not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Ready,
    /// Arrived at barrier `id`; runs on when the barrier completes.
    Barrier(u32),
    /// Waits for an event; looks again once anything has happened since this count of events.
    Poll(u64),
    /// Wants the other lanes of `members` at the same instruction.
    Converge(u32),
}

/// Values of the special registers that differ between launches, blocks and warps.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub tid: [Lanes<u32>; 3],
    pub ntid: [u32; 3],
    pub ctaid: [u32; 3],
    pub nctaid: [u32; 3],
    pub cluster_id: [u32; 3],
    pub nclusters: [u32; 3],
    pub cluster_ctaid: [u32; 3],
    pub cluster_nctaid: [u32; 3],
    pub cluster_rank: u32,
    pub cluster_size: u32,
    pub explicit_cluster: bool,
    /// Index of the warp in its block.
    pub warp: u32,
    pub nwarps: u32,
    pub dynamic_shared: u32,
    pub total_shared: u32,
    /// Index of the buffer of the module's first variable.
    pub first_variable: usize,
}

/// The three register files of a warp.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    pub words: Vec<Lanes<u32>>,
    pub doubles: Vec<Lanes<u64>>,
    /// One bit a lane.
    pub preds: Vec<u32>,
}

/// One warp.
#[derive(Clone, Debug)]
pub(crate) struct Warp {
    pub regs: Registers,
    pub id: Identity,
    /// Lanes by position; sorted by nothing, few.
    pub groups: Vec<Group>,
    /// Lanes that have not exited.
    pub live: u32,
    /// Instructions run, as `%clock`.
    pub clock: u64,
    /// The carry flag of `add.cc`, a bit a lane.
    pub carry: u32,
    /// Instructions that a diverged warp's hindmost lanes may still run before others get a turn.
    pub patience: u32,
    /// Lanes that run their next collective without the others, after a finding.
    pub forced: u32,
    pub local: super::local::LocalMemory,
    pub copies: super::copies::Copies,
    pub drains: super::bulk::Drains,
    pub wgmma: super::wgmma::WgmmaState,
    /// Registers of a thread, as `setmaxnreg` left them.
    pub registers: u32,
}

/// What the lanes of a register can be read as.
pub(crate) trait Lane: Copy + Default {
    fn read(warp: &Warp, source: Src) -> Lanes<Self>;
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<Self>);
}

#[inline(always)]
fn blend<T: Copy>(into: &mut Lanes<T>, mask: u32, values: &Lanes<T>) {
    if mask == u32::MAX {
        *into = *values;
    } else {
        for lane in 0..LANES {
            if mask >> lane & 1 != 0 {
                into[lane] = values[lane];
            }
        }
    }
}

impl Lane for u32 {
    #[inline(always)]
    fn read(warp: &Warp, source: Src) -> Lanes<u32> {
        match source {
            Src::Word(r) => warp.regs.words[r as usize],
            Src::Imm(v) => [v as u32; LANES],
            Src::Double(r) => warp.regs.doubles[r as usize].map(|v| v as u32),
            Src::Special(special) => warp.special(special).map(|v| v as u32),
            Src::Pred(_) | Src::NotPred(_) => {
                let bits = warp.pred(source);
                std::array::from_fn(|lane| bits >> lane & 1)
            }
        }
    }

    #[inline(always)]
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<u32>) {
        match to {
            Dst::Word(r) => blend(&mut warp.regs.words[r as usize], mask, values),
            Dst::Half(r) => blend(&mut warp.regs.words[r as usize], mask, &values.map(|v| v & 0xffff)),
            Dst::Double(r) => blend(&mut warp.regs.doubles[r as usize], mask, &values.map(u64::from)),
            Dst::Pred(_) => {
                let bits = (0..LANES).fold(0, |bits, lane| bits | u32::from(values[lane] != 0) << lane);
                warp.set_pred(to, mask, bits);
            }
            Dst::Sink => {}
        }
    }
}

impl Lane for u64 {
    #[inline(always)]
    fn read(warp: &Warp, source: Src) -> Lanes<u64> {
        match source {
            Src::Double(r) => warp.regs.doubles[r as usize],
            Src::Imm(v) => [v; LANES],
            Src::Special(special) => warp.special(special),
            _ => u32::read(warp, source).map(u64::from),
        }
    }

    #[inline(always)]
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<u64>) {
        match to {
            Dst::Double(r) => blend(&mut warp.regs.doubles[r as usize], mask, values),
            _ => u32::write(warp, to, mask, &values.map(|v| v as u32)),
        }
    }
}

impl Lane for u16 {
    #[inline(always)]
    fn read(warp: &Warp, source: Src) -> Lanes<u16> {
        u32::read(warp, source).map(|v| v as u16)
    }

    #[inline(always)]
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<u16>) {
        u32::write(warp, to, mask, &values.map(u32::from));
    }
}

impl Lane for f32 {
    #[inline(always)]
    fn read(warp: &Warp, source: Src) -> Lanes<f32> {
        u32::read(warp, source).map(f32::from_bits)
    }

    #[inline(always)]
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<f32>) {
        u32::write(warp, to, mask, &values.map(f32::to_bits));
    }
}

impl Lane for f64 {
    #[inline(always)]
    fn read(warp: &Warp, source: Src) -> Lanes<f64> {
        u64::read(warp, source).map(f64::from_bits)
    }

    #[inline(always)]
    fn write(warp: &mut Warp, to: Dst, mask: u32, values: &Lanes<f64>) {
        u64::write(warp, to, mask, &values.map(f64::to_bits));
    }
}

impl Warp {
    /// A predicate operand, one bit a lane; other operands count as "not zero".
    #[inline(always)]
    pub fn pred(&self, source: Src) -> u32 {
        match source {
            Src::Pred(p) => self.regs.preds[p as usize],
            Src::NotPred(p) => !self.regs.preds[p as usize],
            Src::Imm(v) => {
                if v != 0 {
                    u32::MAX
                } else {
                    0
                }
            }
            _ => {
                u64::read(self, source).iter().enumerate().fold(0, |bits, (lane, &v)| bits | u32::from(v != 0) << lane)
            }
        }
    }

    #[inline(always)]
    pub fn set_pred(&mut self, to: Dst, mask: u32, bits: u32) {
        match to {
            Dst::Pred(p) => {
                let old = &mut self.regs.preds[p as usize];
                *old = *old & !mask | bits & mask;
            }
            Dst::Sink => {}
            _ => {
                let values: Lanes<u32> = std::array::from_fn(|lane| bits >> lane & 1);
                u32::write(self, to, mask, &values);
            }
        }
    }

    #[inline(always)]
    pub fn map1<A: Lane, D: Lane>(&mut self, mask: u32, d: Dst, a: Src, f: impl Fn(A) -> D) {
        let a = A::read(self, a);
        let mut result = [D::default(); LANES];
        for lane in 0..LANES {
            result[lane] = f(a[lane]);
        }
        D::write(self, d, mask, &result);
    }

    #[inline(always)]
    pub fn map2<A: Lane, B: Lane, D: Lane>(&mut self, mask: u32, d: Dst, a: Src, b: Src, f: impl Fn(A, B) -> D) {
        let (a, b) = (A::read(self, a), B::read(self, b));
        let mut result = [D::default(); LANES];
        for lane in 0..LANES {
            result[lane] = f(a[lane], b[lane]);
        }
        D::write(self, d, mask, &result);
    }

    #[inline(always)]
    pub fn map3<A: Lane, B: Lane, C: Lane, D: Lane>(
        &mut self,
        mask: u32,
        d: Dst,
        [a, b, c]: [Src; 3],
        f: impl Fn(A, B, C) -> D,
    ) {
        let (a, b, c) = (A::read(self, a), B::read(self, b), C::read(self, c));
        let mut result = [D::default(); LANES];
        for lane in 0..LANES {
            result[lane] = f(a[lane], b[lane], c[lane]);
        }
        D::write(self, d, mask, &result);
    }

    /// The value of an operand in the lowest lane of `mask`: for operands that must not differ between lanes.
    pub fn uniform(&self, source: Src, mask: u32) -> u64 {
        match source {
            Src::Imm(v) => v,
            _ => u64::read(self, source)[(mask.trailing_zeros() as usize).min(LANES - 1)],
        }
    }

    /// The addresses of an operand.
    #[inline(always)]
    pub fn addresses(&self, address: crate::code::Address) -> Lanes<u64> {
        let base = u64::read(self, address.base);
        base.map(|a| a.wrapping_add(address.offset as u64))
    }

    fn special(&self, special: Special) -> Lanes<u64> {
        let lane_mask = |f: fn(u32) -> u32| -> Lanes<u64> { std::array::from_fn(|lane| u64::from(f(1u32 << lane))) };
        let one = |v: u32| [u64::from(v); LANES];
        let id = &self.id;
        match special {
            Special::Tid(a) => id.tid[a as usize].map(u64::from),
            Special::Ntid(a) => one(id.ntid[a as usize]),
            Special::Ctaid(a) => one(id.ctaid[a as usize]),
            Special::Nctaid(a) => one(id.nctaid[a as usize]),
            Special::ClusterId(a) => one(id.cluster_id[a as usize]),
            Special::NclusterId(a) => one(id.nclusters[a as usize]),
            Special::ClusterCtaid(a) => one(id.cluster_ctaid[a as usize]),
            Special::ClusterNctaid(a) => one(id.cluster_nctaid[a as usize]),
            Special::ClusterRank => one(id.cluster_rank),
            Special::ClusterSize => one(id.cluster_size),
            Special::IsExplicitCluster => one(u32::from(id.explicit_cluster)),
            Special::Lane => std::array::from_fn(|lane| lane as u64),
            Special::Warp => one(id.warp),
            Special::Nwarp => one(id.nwarps),
            // One multiprocessor a block: any assignment is allowed, this one shows scheduling assumptions.
            Special::Sm => one(id.ctaid[0]),
            Special::Nsm => one(id.nctaid[0]),
            Special::Grid => one(0),
            Special::LaneMaskEq => lane_mask(|bit| bit),
            Special::LaneMaskLt => lane_mask(|bit| bit - 1),
            Special::LaneMaskLe => lane_mask(|bit| bit | (bit - 1)),
            Special::LaneMaskGt => lane_mask(|bit| !(bit | (bit - 1))),
            Special::LaneMaskGe => lane_mask(|bit| !(bit - 1)),
            Special::Clock | Special::GlobalTimer => [self.clock; LANES],
            Special::DynamicShared => one(id.dynamic_shared),
            Special::TotalShared => one(id.total_shared),
            Special::SharedAt(offset) => one(id.cluster_rank << super::RANK_SHIFT | offset),
            Special::VariableAt(index, offset) => {
                [crate::memory::BufferId(id.first_variable + index as usize).address() + u64::from(offset); LANES]
            }
        }
    }
}
