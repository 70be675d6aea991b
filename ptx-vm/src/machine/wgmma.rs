//! What a warp has handed to the tensor cores and not waited for.

use super::{Cx, Machine};
use crate::finding::FindingKind;
use std::collections::VecDeque;

/// Registers of one `wgmma` in flight.
#[derive(Clone, Debug)]
struct Operation {
    line: u32,
    accumulators: Vec<u32>,
    inputs: Vec<u32>,
}

/// Registers and shared memory that one group of `wgmma` uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct WgmmaGroup {
    operations: Vec<Operation>,
    /// Block-relative offsets and lengths of the shared operands.
    pub held: Vec<(usize, usize)>,
    /// Of the last operation.
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
    /// The line of that instruction.
    writers: Vec<u32>,
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
            writers: vec![0; registers],
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
    pub fn issue(&mut self, line: u32, accumulators: Vec<u32>, inputs: Vec<u32>) {
        for &r in &accumulators {
            self.accumulators[r as usize] += 1;
        }
        for &r in &inputs {
            self.inputs[r as usize] += 1;
        }
        self.open.line = line;
        self.open.operations.push(Operation { line, accumulators, inputs });
        self.in_flight += 1;
    }

    /// Takes out the groups that a wait for all but `left` completes.
    pub fn wait(&mut self, left: usize) -> Vec<WgmmaGroup> {
        let mut done = Vec::new();
        while self.groups.len() > left {
            let Some(group) = self.groups.pop_front() else { break };
            for operation in &group.operations {
                for &r in &operation.accumulators {
                    self.accumulators[r as usize] -= 1;
                }
                for &r in &operation.inputs {
                    self.inputs[r as usize] -= 1;
                }
            }
            done.push(group);
        }
        if self.groups.is_empty() && self.open.operations.is_empty() {
            self.in_flight = 0;
        }
        done
    }

    pub fn idle(&self) -> bool {
        self.in_flight == 0
    }

    /// The line that wrote a register last, 0 for none, if that was after the last fence or there was no fence.
    pub fn unfenced(&self, register: u32) -> Option<u32> {
        let unfenced = self.fence.is_none_or(|fence| self.written[register as usize] > fence);
        unfenced.then_some(self.writers[register as usize])
    }

    pub fn accumulates(&self, register: u32) -> bool {
        self.accumulators[register as usize] > 0
    }

    /// The line of the oldest operation in flight that accumulates into a register, or reads it.
    pub fn holder(&self, register: u32) -> u32 {
        let holds = |o: &&Operation| o.accumulators.contains(&register) || o.inputs.contains(&register);
        self.in_flight().find(holds).map_or(0, |operation| operation.line)
    }

    /// Operations in flight, the oldest first.
    fn in_flight(&self) -> impl Iterator<Item = &Operation> {
        self.groups.iter().chain([&self.open]).flat_map(|group| &group.operations)
    }

    /// The line of the oldest operation in flight.
    pub fn oldest(&self) -> u32 {
        self.in_flight().next().map_or(0, |operation| operation.line)
    }
}

impl Machine<'_> {
    /// An ordinary instruction of a kernel with wgmma is about to run: it must leave registers in flight alone.
    pub fn check_registers(&mut self, state: &mut WgmmaState, cx: Cx, touched: &Touched, now: u64) {
        if !state.idle() {
            let accumulator = |&&r: &&u32| state.accumulators[r as usize] > 0;
            if let Some(&r) = touched.reads.iter().find(accumulator) {
                self.find_register(FindingKind::UseBeforeWait, cx, state.holder(r), r, "this reads the accumulator");
            }
            if let Some(&r) = touched.writes.iter().find(accumulator) {
                self.find_register(
                    FindingKind::OverwriteInFlight,
                    cx,
                    state.holder(r),
                    r,
                    "this writes the accumulator",
                );
            }
            if let Some(&r) = touched.writes.iter().find(|&&r| state.inputs[r as usize] > 0) {
                self.find_register(
                    FindingKind::OverwriteInFlight,
                    cx,
                    state.holder(r),
                    r,
                    "this overwrites the operand",
                );
            }
        }
        for &r in &touched.writes {
            state.written[r as usize] = now;
            state.writers[r as usize] = cx.line;
        }
    }

    /// A register in the hands of the `wgmma` of line `holder` was touched.
    #[cold]
    pub fn find_register(&mut self, kind: FindingKind, cx: Cx, holder: u32, register: u32, what: &str) {
        let name = self.launch.program.register_name(register);
        self.find_between(kind, cx, (cx.me, holder), None, || {
            format!("{what} {name} of a wgmma that was not waited for")
        });
    }
}
