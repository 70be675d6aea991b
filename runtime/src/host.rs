//! The host: blocks of a grid shared out over threads.

use crate::memory::Memory;
use nsa_artifact::{Kernel, SCRATCH_ALIGN};
use rayon::prelude::*;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A compiled host kernel: `(words, first_block, end_block, scratch)`, see the calling convention in `nsa_artifact`.
pub type HostEntry = unsafe extern "C" fn(words: *const u64, first_block: i64, end_block: i64, scratch: *mut u8);

/// Host kernels by symbol, and whatever keeps their code in memory.
#[derive(Clone, Default)]
pub struct HostSymbols {
    entries: HashMap<String, HostEntry>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl HostSymbols {
    /// Kernels that are part of the program.
    pub fn new(entries: impl IntoIterator<Item = (impl Into<String>, HostEntry)>) -> Self {
        HostSymbols { entries: entries.into_iter().map(|(name, entry)| (name.into(), entry)).collect(), keep: None }
    }

    /// Drops `owner` (say, a just-in-time compiler's module) only when no kernel uses the entries any more.
    pub fn keeping(mut self, owner: Arc<dyn Any + Send + Sync>) -> Self {
        self.keep = Some(owner);
        self
    }

    /// The entry of this name.
    pub fn get(&self, symbol: &str) -> Option<HostEntry> {
        self.entries.get(symbol).copied()
    }
}

impl std::fmt::Debug for HostSymbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Scratch memory for every thread, allocated when a shape is planned.
#[derive(Debug)]
pub(crate) struct Threads {
    scratch: Vec<Memory>,
}

impl Threads {
    /// One scratch area per thread of the current rayon pool, large enough for each of the kernels.
    pub fn new(kernels: &[Kernel]) -> Option<Threads> {
        let bytes = kernels.iter().map(|k| k.scratch_bytes).max().unwrap_or(0);
        let bytes = usize::try_from(bytes).ok()?;
        let scratch = (0..rayon::current_num_threads().max(1)).map(|_| Memory::new(bytes, SCRATCH_ALIGN));
        Some(Threads { scratch: scratch.collect::<Option<Vec<_>>>()? })
    }

    /// Runs all blocks of one kernel and waits for them.
    ///
    /// # Safety
    /// `words` must be what the kernel takes, with valid addresses, and nothing else may use the results meanwhile.
    pub unsafe fn run(&mut self, entry: HostEntry, blocks: i64, words: &[u64]) {
        // Blocks cost differently (causal masks, short sequences): small portions, taken as threads become free. Thirty-two per
        // thread keep the last one's lateness near 3% while the counter stays out of the way.
        let portion = (blocks / (self.scratch.len() as i64 * 32)).max(1);
        let next = AtomicI64::new(0);
        let work = |scratch: &mut Memory| loop {
            let first = next.fetch_add(portion, Ordering::Relaxed);
            if first >= blocks {
                break;
            }
            // SAFETY: the caller vouches for the words; this scratch belongs to this thread; portions do not overlap.
            unsafe { entry(words.as_ptr(), first, (first + portion).min(blocks), scratch.as_mut_ptr()) };
        };
        match &mut self.scratch[..] {
            [only] => work(only),
            many if blocks == 1 => work(&mut many[0]),
            many => many.par_iter_mut().with_max_len(1).for_each(work),
        }
    }
}
