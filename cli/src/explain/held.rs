//! What a multiprocessor holds of the kernels: by the assembler where there is one, else what the plan says at least.

use super::Way;
use nsa_artifact::Target;
use nsa_codegen::assembler;
use nsa_codegen::emit::nvptx;
use nsa_codegen::plan::Plan;
use nsa_codegen::plan::resources::{Limits, Resources};

/// What a kernel takes, assembled.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// 32-bit registers of each thread.
    pub registers: u32,
    /// Bytes of each thread that did not find a register.
    pub spilled: u32,
    /// Shared memory of each block, in bytes.
    pub shared: u32,
}

/// What the assembler says of a plan's kernels, in their order; or why it says nothing.
pub fn taken(plan: &Plan, target: Target) -> Result<Vec<Taken>, String> {
    let gpu = nvptx::Target::of(target).ok_or(format!("{target} is no GPU"))?;
    let ptxas = assembler::find().ok_or("with NVIDIA's assembler (NSA_PTXAS, or ptxas in PATH) they would be known")?;
    let code = nvptx::emit(plan, gpu).map_err(|error| error.to_string())?;
    let assembled = assembler::assemble(&ptxas, &code.text, gpu).map_err(|error| error.to_string())?;
    let kernel = |made: &nvptx::PtxKernel| {
        let own = assembled.kernels.iter().find(|takes| takes.entry == made.entry)?;
        Some(Taken { registers: own.registers, spilled: own.spilled, shared: made.shared_bytes })
    };
    let all: Option<Vec<Taken>> = code.kernels.iter().map(kernel).collect();
    all.ok_or(format!("{} does not say it of every kernel", ptxas.display()))
}

/// What a GPU target's multiprocessor has.
pub fn limits(target: Target) -> Option<Limits> {
    nvptx::Target::of(target).map(nvptx::Target::limits)
}

/// What a multiprocessor holds of a kernel.
pub struct Held {
    /// What the kernel takes; registers at least, unless the assembler gave them.
    pub takes: Resources,
    /// Bytes of each thread that did not find a register, by the assembler.
    pub spilled: Option<u32>,
    /// Blocks side by side; at most, unless the assembler gave the registers.
    pub blocks: u32,
    /// The part of the multiprocessor's threads that these are.
    pub share: f64,
}

/// What a multiprocessor holds of the kernel of a number in the plan.
pub fn held(way: &Way, number: usize, limits: &Limits) -> Option<Held> {
    let mut takes = Resources::of(way.variant.plan.kernels.get(number)?);
    let taken = way.takes.as_ref().ok().and_then(|all| all.get(number));
    if let Some(taken) = taken {
        takes = Resources { registers: taken.registers, shared: taken.shared, ..takes };
    }
    let blocks = takes.blocks(limits);
    let share = f64::from(blocks * takes.threads) / f64::from(limits.threads);
    Some(Held { takes, spilled: taken.map(|taken| taken.spilled), blocks, share })
}
