//! What a warp has handed to the tensor cores and not waited for.

use super::{Cx, Machine};
use crate::finding::FindingKind;
use std::collections::VecDeque;

/// Registers and shared memory that one group of `wgmma` uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct WgmmaGroup {
    pub accumulators: Vec<u32>,
    pub inputs: Vec<u32>,
    /// Block-relative offsets and lengths of the shared operands.
    pub held: Vec<(usize, usize)>,
    pub line: u32,
}

/// The `wgmma` state of a warp; registers are slots of the 32-bit file.
#[derive(Clone, Debug, Default)]
pub(crate) struct WgmmaState {
    /// In how many operations in flight a register is an accumulator, and an input.
    accumulators: Vec<u16>,
    inputs: Vec<u16>,
    /// When an ordinary instruction wrote a register last.
    written: Vec<u64>,
    /// When `wgmma.fence` ran last.
    fence: Option<u64>,
    pub open: WgmmaGroup,
    pub groups: VecDeque<WgmmaGroup>,
    in_flight: u32,
}

/// The 32-bit registers an instruction reads and writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub reads: Vec<u32>,
    pub writes: Vec<u32>,
}

impl WgmmaState {
    pub fn new(registers: usize) -> Self {
        Self {
            accumulators: vec![0; registers],
            inputs: vec![0; registers],
            written: vec![0; registers],
            ..Self::default()
        }
    }

    pub fn fence(&mut self, now: u64) {
        self.fence = Some(now);
    }

    pub fn commit(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    /// Registers an operation; what it accumulates into and reads is busy until its group is waited for.
    pub fn issue(&mut self, accumulators: &[u32], inputs: &[u32]) {
        for &r in accumulators {
            self.accumulators[r as usize] += 1;
        }
        for &r in inputs {
            self.inputs[r as usize] += 1;
        }
        self.open.accumulators.extend(accumulators);
        self.open.inputs.extend(inputs);
        self.in_flight += 1;
    }

    /// Takes out the groups that a wait for all but `left` completes.
    pub fn wait(&mut self, left: usize) -> Vec<WgmmaGroup> {
        let mut done = Vec::new();
        while self.groups.len() > left {
            let Some(group) = self.groups.pop_front() else { break };
            for &r in &group.accumulators {
                self.accumulators[r as usize] -= 1;
            }
            for &r in &group.inputs {
                self.inputs[r as usize] -= 1;
            }
            done.push(group);
        }
        if self.groups.is_empty() && self.open.accumulators.is_empty() {
            self.in_flight = 0;
        }
        done
    }

    pub fn idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether a register was written by an ordinary instruction after the last fence.
    pub fn unfenced(&self, register: u32) -> bool {
        self.fence.is_none_or(|fence| self.written[register as usize] > fence)
    }

    pub fn accumulates(&self, register: u32) -> bool {
        self.accumulators[register as usize] > 0
    }
}

impl Machine<'_> {
    /// An ordinary instruction of a kernel with wgmma is about to run: it must leave registers in flight alone.
    pub fn check_registers(&mut self, state: &mut WgmmaState, cx: Cx, touched: &Touched, now: u64) {
        if !state.idle() {
            if touched.reads.iter().any(|&r| state.accumulators[r as usize] > 0) {
                self.find(FindingKind::UseBeforeWait, cx, || {
                    "this reads an accumulator of a wgmma that was not waited for".into()
                });
            }
            if touched.writes.iter().any(|&r| state.accumulators[r as usize] > 0) {
                self.find(FindingKind::OverwriteInFlight, cx, || {
                    "this writes an accumulator of a wgmma that was not waited for".into()
                });
            }
            if touched.writes.iter().any(|&r| state.inputs[r as usize] > 0) {
                self.find(FindingKind::OverwriteInFlight, cx, || {
                    "this overwrites an operand of a wgmma that was not waited for".into()
                });
            }
        }
        for &r in &touched.writes {
            state.written[r as usize] = now;
        }
    }
}
