//! `setmaxnreg`.

use super::Flow;
use crate::finding::FindingKind;
use crate::machine::warp::{State, Warp};
use crate::machine::{Cx, Machine, first_registers};

/// A warp gives registers back or takes some; taking waits until there are enough.
pub(super) fn set_registers(
    m: &mut Machine<'_>,
    warp: &mut Warp,
    cx: Cx,
    group: usize,
    count: u32,
    increase: bool,
) -> Flow {
    if !(24..=256).contains(&count) || !count.is_multiple_of(8) {
        m.find(FindingKind::InvalidOperand, cx, || {
            format!("setmaxnreg takes a multiple of 8 from 24 to 256, not {count}")
        });
        return Flow::Next;
    }
    if increase != (count >= warp.registers) && count != warp.registers {
        let now = warp.registers;
        m.find(FindingKind::InvalidOperand, cx, || {
            let wrong = if increase { "raise" } else { "lower" };
            format!("setmaxnreg is to {wrong} the registers of a thread from {now} to {count}")
        });
        return Flow::Next;
    }
    if increase {
        let first = cx.block * m.warps_per_block;
        let others: u32 =
            m.warps[first..first + m.warps_per_block].iter().flatten().map(|other| other.registers * 32).sum();
        // The pool is what the block was launched with; other registers of the multiprocessor are out of reach.
        let threads = m.launch.block.iter().product::<u32>();
        if others + count * 32 > first_registers(m.launch, threads) * threads.next_multiple_of(32) {
            warp.groups[group].state = State::Poll(m.progress);
            return Flow::Stay;
        }
    }
    warp.registers = count;
    m.progress += 1;
    Flow::Next
}
