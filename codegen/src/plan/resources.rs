//! What a kernel takes of a GPU multiprocessor, and how many of its blocks fit one.

use super::*;
use std::collections::BTreeSet;

/// What one multiprocessor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// 32-bit registers.
    pub registers: u32,
    /// Registers that one thread can name.
    pub registers_per_thread: u32,
    /// Shared memory, in bytes.
    pub shared: u32,
    /// Shared memory of one block at most, in bytes.
    pub shared_per_block: u32,
    /// Resident threads.
    pub threads: u32,
    /// Resident blocks.
    pub blocks: u32,
}

/// Compute capability 8.0 (CUDA programming guide, table of technical specifications).
pub const SM_80: Limits = Limits {
    registers: 65_536,
    registers_per_thread: 255,
    shared: 164 << 10,
    shared_per_block: 163 << 10,
    threads: 2048,
    blocks: 32,
};
/// Compute capability 9.0.
pub const SM_90: Limits = Limits { shared: 228 << 10, shared_per_block: 227 << 10, ..SM_80 };

/// What a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads per block.
    pub threads: u32,
    /// Registers per thread that variables and operand fragments need at least; addresses come on top.
    pub registers: u32,
    /// Shared memory per block for tiles, stages and long lists, in bytes.
    pub shared: u32,
}

/// Registers for addresses, counters and temporaries, as seen in assembled kernels.
const OVERHEAD: u32 = 40;

/// The same for each loop over tiles behind the first: its bounds, its masks, and what its pipeline is ahead.
const FURTHER_LOOP: u32 = 12;

/// Shared memory that the driver keeps of every block, in bytes.
pub const DRIVER_SHARED: u32 = 1024;

/// 64-bit list entries of a thread that stay in registers; more are kept in shared memory.
pub const LIST_KEYS: u32 = 16;

impl Resources {
    /// Counts a kernel's variables, tiles, stages and lists.
    #[expect(clippy::unreachable, reason = "there are two layouts, and the other one was matched")]
    pub fn of(kernel: &Kernel) -> Resources {
        let Layout::Fragments { rows, repeat, columns } = kernel.layout else {
            let Layout::Elements { threads } = kernel.layout else { unreachable!("two layouts") };
            return Resources { threads, registers: OVERHEAD, shared: 0 };
        };
        let padded_rows = rows * repeat * 16;
        let walked = walked_axes(&kernel.body);
        let mut registers = OVERHEAD;
        registers += kernel.variables.iter().map(|v| of_variable(v, repeat, columns, &walked)).sum::<u32>();
        let bytes = |t: &Tile| {
            let slow = match &t.slow {
                TileAxis::Rows => padded_rows,
                TileAxis::Span(s) => s.count,
            };
            slow * t.fast.count * t.dtype.bytes() as u32 * t.stages
        };
        let warps = rows * columns;
        let (kept, stored): (Vec<_>, Vec<_>) = kernel.lists.iter().partition(|l| l.keys(warps) <= LIST_KEYS);
        registers += kept.iter().map(|list| 2 * list.keys(warps)).sum::<u32>();
        let stages = |s: &Stage| s.rows.iter().map(|r| r.count).product::<u32>() * s.columns.count * 4;
        // Tiles of different loops lie in one place.
        let mut looped = BTreeSet::new();
        let mut longest = 0;
        let mut loops = 0;
        for statement in &kernel.body {
            if let Statement::Loop(inner) = statement {
                loops += 1;
                let mut tiles = BTreeSet::new();
                visit::statements(&inner.body, &mut |s| {
                    if let Statement::Fetch { tile } = s {
                        tiles.insert(*tile as usize);
                    }
                });
                longest = longest.max(tiles.iter().filter_map(|tile| kernel.tiles.get(*tile)).map(bytes).sum::<u32>());
                looped.extend(tiles);
            }
        }
        registers += FURTHER_LOOP * u32::saturating_sub(loops, 1);
        let outside = kernel.tiles.iter().enumerate().filter(|(number, _)| !looped.contains(number));
        let shared = outside.map(|(_, tile)| bytes(tile)).sum::<u32>()
            + longest
            + stored.iter().map(|list| list.bytes()).sum::<u32>()
            + kernel.stages.iter().map(stages).sum::<u32>();
        Resources { threads: rows * columns * 32, registers, shared }
    }

    /// Blocks of this kernel that are resident on one multiprocessor; 0 if one does not fit.
    pub fn blocks(&self, limits: &Limits) -> u32 {
        if self.shared > limits.shared_per_block {
            return 0;
        }
        // Registers are given to warps in units of 8 per thread.
        let registers = self.registers.min(limits.registers_per_thread).next_multiple_of(8) * self.threads.max(1);
        let by_shared = limits.shared / (self.shared + DRIVER_SHARED);
        (limits.registers / registers).min(by_shared).min(limits.threads / self.threads.max(1)).min(limits.blocks)
    }
}

/// Registers of a thread for a variable, where warps of `repeat` blocks of 16 rows share the columns of walked axes.
fn of_variable(variable: &Variable, repeat: u32, column_warps: u32, walked: &[AxisName]) -> u32 {
    match &variable.columns {
        // 16 rows times a column are spread over a warp's 32 lanes.
        Some(c) => {
            let shared_by = if walked.contains(&c.axis) { column_warps } else { 1 };
            repeat * 16 * c.count.div_ceil(8 * shared_by) * 8 / 32
        }
        None => 2 * repeat,
    }
}

/// Whether the variables that are alive at once are more than a thread has registers for, so that some are spilled: how many
/// registers they would take. `read` lists the variables that a term reads.
pub(super) fn crowded(kernel: &Kernel, read: &dyn Fn(Id) -> Vec<Var>) -> Option<u32> {
    /// Registers that are left for addresses in the tightest kernels.
    const ADDRESSES: u32 = 16;
    let Layout::Fragments { repeat, columns, .. } = kernel.layout else { return None };
    let walked = walked_axes(&kernel.body);
    let alive = live::peak(kernel, &|variable| of_variable(variable, repeat, columns, &walked), read);
    (alive + ADDRESSES > SM_80.registers_per_thread).then_some(alive)
}

/// Axes that loops walk in tiles: their columns are shared by the column warps.
fn walked_axes(body: &[Statement]) -> Vec<AxisName> {
    let mut axes = vec![];
    visit::statements(body, &mut |statement| {
        if let Statement::Loop(inner) = statement
            && inner.tile > 1
        {
            axes.push(inner.axis);
        }
    });
    axes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_bounded_by_the_scarcest_resource() {
        let small = Resources { threads: 128, registers: 64, shared: 0 };
        assert_eq!(small.blocks(&SM_80), 8, "65536 registers / (64 * 128)");
        assert_eq!(Resources { shared: 40 << 10, ..small }.blocks(&SM_80), 4, "164 KB / 41 KB");
        assert_eq!(Resources { shared: 200 << 10, ..small }.blocks(&SM_80), 0);
        assert_eq!(Resources { shared: 200 << 10, ..small }.blocks(&SM_90), 1);
        assert_eq!(Resources { threads: 1024, registers: 24, shared: 0 }.blocks(&SM_80), 2);
    }
}
