//! A plan as data, for those who execute kernels in ways that this crate does not know: interpreters, recorders.

use super::{Owned, Plan};
use crate::kernel::LoadedCode;

/// Everything that launches of a plan for a [described](crate::Device::described) device need.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text of the chosen variant: PTX.
    pub code: String,
    /// The memory that the launches address.
    pub memory: Vec<ScriptMemory>,
    /// The launches, one after the other.
    pub launches: Vec<ScriptLaunch>,
}

/// A piece of device memory, aligned to at least 256 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScriptMemory {
    /// An argument or result, by its index in [`Plan::parameters`], dense, last axis fastest.
    Parameter(usize),
    /// Bytes that the kernels read.
    Table(Vec<u8>),
    /// So many bytes that the kernels write before they read them.
    Workspace(usize),
}

/// A kernel over its grid, which has one dimension, as do its blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptLaunch {
    /// The entry's name in the code.
    pub entry: String,
    /// Number of blocks, at least 1.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// The parameters, each of 64 bits.
    pub words: Vec<ScriptWord>,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScriptWord {
    /// A number.
    Value(u64),
    /// The address of a piece of memory, by its index in [`Script::memory`].
    Address(usize),
}

impl Plan {
    /// The plan as data; `None` unless its device is a description. Parameters without elements are given a table to point to.
    pub fn script(&self) -> Option<Script> {
        let code = self.chosen();
        let (LoadedCode::Text(text), Owned::Described(owned)) = (&code.code, &self.memory) else { return None };
        let mut memory = owned.clone();
        let first = memory.len();
        memory.extend((0..self.parameters.len()).map(ScriptMemory::Parameter));
        let kernels = code.variant.kernels.iter().zip(&self.launches);
        let launches = kernels.filter(|(_, launch)| launch.blocks > 0).map(|(kernel, launch)| {
            let mut words: Vec<ScriptWord> = launch.words.iter().map(|w| ScriptWord::Value(*w)).collect();
            // The sequence table, the tile table; then each buffer: its address and its outer strides.
            let mut addresses = vec![0, 1];
            let mut next = 3;
            for &buffer in &kernel.buffers {
                addresses.push(next);
                next += code.variant.buffers[buffer].axes.len().max(1);
            }
            for at in addresses {
                words[at] = ScriptWord::Address(launch.words[at] as usize);
            }
            for &(word, parameter) in &launch.patches {
                let given = &self.parameters[parameter];
                let (shape, empty) = (given.shape(), given.elements() == 0);
                words[word] = ScriptWord::Address(if empty { EMPTY } else { first + parameter });
                let stride = |axis: usize| if empty { 0 } else { shape[axis + 1..].iter().product::<usize>() as u64 };
                for (axis, to) in words[word + 1..].iter_mut().take(shape.len().saturating_sub(1)).enumerate() {
                    *to = ScriptWord::Value(stride(axis));
                }
            }
            ScriptLaunch {
                entry: kernel.name.clone(),
                blocks: launch.blocks as u32,
                threads: kernel.threads,
                shared_bytes: kernel.shared_bytes,
                words,
            }
        });
        Some(Script { code: text.clone(), launches: launches.collect(), memory })
    }
}

/// The first table of every plan: what views without elements point to.
const EMPTY: usize = 0;
