//! NVIDIA GPUs: plans to PTX.
//!
//! Tiles of the fragment layout live in the registers of warps as `mma.sync.m16n8k16` lays them out (`dot`), operand
//! tiles in swizzled shared memory (`shared`), fed by asynchronous copies that run ahead of the loops (`loops`,
//! `fetch`). Warps that share rows fold their parts of a loop's columns separately and merge at its end (`folds`). The
//! code is the same for every target from compute capability 8.0 on; a target differs in its name and PTX version.
//!
//! Sums are taken in an order that depends on nothing but the plan, so two runs give the same bits.

mod block;
mod dot;
mod elements;
mod fetch;
mod folds;
mod instructions;
mod list;
mod long_list;
mod loops;
mod place;
mod shape;
mod shared;
mod stage;
mod store;

pub use fetch::rows_are_aligned;

use super::EmitError;
use super::llvm::{self, Emitter, Machine};
use super::scalar::Facts;
use crate::plan::resources::{self, Limits};
use crate::plan::{Buffer, Kernel, Layout, Plan, visit};
use block::{Block, Source};
use inkwell::attributes::AttributeLoc;
use inkwell::context::Context;
use nsa_artifact::symbol_name;
use shape::Shape;
use std::collections::HashSet;

/// A GPU that code can be made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// Compute capability 8.0 and everything after it.
    Sm80,
    /// Compute capability 9.0 (H100, H200), with instructions of its own.
    Sm90a,
}

impl Target {
    /// The GPU among an artifact's targets; None for a CPU.
    pub fn of(target: nsa_artifact::Target) -> Option<Target> {
        match target {
            nsa_artifact::Target::Sm80 => Some(Target::Sm80),
            nsa_artifact::Target::Sm90a => Some(Target::Sm90a),
            nsa_artifact::Target::X86_64 | nsa_artifact::Target::Aarch64 => None,
        }
    }
    fn machine(self) -> Machine {
        match self {
            Target::Sm80 => Machine::Sm80,
            Target::Sm90a => Machine::Sm90a,
        }
    }
    /// Its name for `ptxas` and in PTX.
    pub fn name(self) -> &'static str {
        self.machine().description().1
    }
    /// What a multiprocessor has.
    pub fn limits(self) -> Limits {
        match self {
            Target::Sm80 => resources::SM_80,
            Target::Sm90a => resources::SM_90,
        }
    }
}

/// PTX for all kernels of a plan.
#[derive(Clone, Debug)]
pub struct PtxCode {
    /// The module.
    pub text: String,
    /// In launch order.
    pub kernels: Vec<PtxKernel>,
}

/// What a launch of one kernel needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtxKernel {
    /// Name of the entry.
    pub entry: String,
    /// Threads per block, all along x.
    pub threads: u32,
    /// Dynamic shared memory in bytes; above 48 KB the launcher has to raise the function's limit first.
    pub shared_bytes: u32,
    /// Number of 64-bit parameter words.
    pub words: u32,
    /// Buffers (by name) whose address and strides must be multiples of 16 bytes: they are read or written in vectors.
    pub aligned: Vec<String>,
    /// Registers that the variables take in every thread; what the kernel needs beside them is some 60.
    pub variable_registers: u32,
}

/// Lowers a plan.
///
/// # Errors
/// The plan contradicts itself, needs more shared memory than the target has, or LLVM lacks something.
pub fn emit(plan: &Plan, target: Target) -> Result<PtxCode, EmitError> {
    let context = Context::create();
    let (emitter, kernels) = module(&context, plan, target)?;
    let text = llvm::assembly(&emitter.module, &target.machine().target_machine()?)?;
    Ok(PtxCode { text, kernels })
}

/// The optimised LLVM module of a plan as text.
///
/// # Errors
/// As [`emit`].
pub fn ir(plan: &Plan, target: Target) -> Result<String, EmitError> {
    let context = Context::create();
    module(&context, plan, target).map(|(emitter, _)| emitter.module.print_to_string().to_string())
}

/// The optimised LLVM module of a plan.
fn module<'c>(context: &'c Context, plan: &Plan, target: Target) -> Result<(Emitter<'c>, Vec<PtxKernel>), EmitError> {
    let emitter = Emitter::new(context, &plan.name, target.machine())?;
    let facts = Facts::of(&plan.terms);
    let mut kernels = vec![];
    let mut names = HashSet::new();
    for kernel in &plan.kernels {
        if !names.insert(&kernel.name) {
            return Err(EmitError::Plan(format!("two kernels are called {}", kernel.name)));
        }
        let emitted = emit_kernel(&emitter, plan, &facts, kernel, target);
        kernels.push(emitted.map_err(|error| error.of(&kernel.name))?);
    }
    llvm::optimise(&emitter.module, &target.machine().target_machine()?)?;
    Ok((emitter, kernels))
}

fn emit_kernel(
    e: &Emitter<'_>,
    plan: &Plan,
    facts: &Facts,
    kernel: &Kernel,
    target: Target,
) -> Result<PtxKernel, EmitError> {
    let shape = Shape::of(kernel)?;
    let threads = match (&shape, kernel.layout) {
        (Some(shape), _) => shape.threads(),
        (None, Layout::Elements { threads }) => threads,
        (None, Layout::Fragments { .. }) => return Err(EmitError::Plan("fragments without warps".into())),
    };
    if threads == 0 || threads > 1024 || !threads.is_multiple_of(32) {
        return Err(EmitError::Plan(format!("kernel {} has blocks of {threads} threads", kernel.name)));
    }
    let entry = symbol_name(&kernel.name);
    let buffers = kernel.buffers(plan);
    declare(e, plan, kernel, &entry, threads, &buffers);
    let limits = target.limits();
    let mut block = Block::new(Source { e, plan, facts, kernel }, shape, limits.shared_per_block)?;
    if let Some(blocks) = resident(kernel, threads, block.layout.bytes, &limits) {
        let least = e.context.create_string_attribute("nvvm.minctasm", &blocks.to_string());
        e.current_function().add_attribute(AttributeLoc::Function, least);
    }
    match block.shape {
        Some(_) => block.statements(&kernel.body)?,
        None => block.elements(&kernel.body)?,
    }
    e.ret();
    let aligned = buffers.iter().filter(|b| rows_are_aligned(plan, b)).map(|b| b.name.name().to_string()).collect();
    Ok(PtxKernel {
        entry,
        threads,
        shared_bytes: block.layout.bytes,
        words: block::words(plan, kernel),
        aligned,
        variable_registers: block.variables.iter().map(|r| (r.rows * r.columns) as u32).sum(),
    })
}

/// How many blocks of a kernel `ptxas` shall make room for, where it would otherwise spill registers of some to have more of
/// their blocks resident: of those that compute element by element or build lists. None: as many as it likes.
fn resident(kernel: &Kernel, threads: u32, shared: u32, limits: &Limits) -> Option<u32> {
    if shared == 0 {
        let scalar = matches!(kernel.layout, Layout::Elements { .. }) || !kernel.lists.is_empty();
        return scalar.then_some(1);
    }
    // More than shared memory lets in are of no use.
    let blocks = (limits.shared / (shared + resources::DRIVER_SHARED)).clamp(1, limits.blocks);
    let room = limits.registers / (blocks * threads);
    // What a list takes is known roughly: registers must be plenty.
    let plenty = resources::Resources::of(kernel).registers + 64;
    (!kernel.lists.is_empty() && room >= plenty).then_some(blocks)
}

/// Declares the entry and stands in its first block.
fn declare(e: &Emitter<'_>, plan: &Plan, kernel: &Kernel, entry: &str, threads: u32, buffers: &[&Buffer]) {
    let mut written = HashSet::new();
    visit::stores(kernel, &mut |name| {
        written.insert(name);
    });
    let pointer = e.pointer_type(instructions::GLOBAL);
    let word = e.i64_type();
    let mut parameters = vec![word.into(); block::words(plan, kernel) as usize];
    let mut at = block::LEADING_WORDS as usize;
    let mut places = vec![];
    for buffer in buffers {
        parameters[at] = pointer.into();
        places.push((at as u32, written.contains(&buffer.name)));
        at += buffer.axes.len().max(1);
    }
    let threads = threads.to_string();
    let attributes = [("nvvm.reqntid", threads.as_str()), ("denormal-fp-math-f32", "preserve-sign,preserve-sign")];
    let function = e.function(entry, &parameters, None, &attributes);
    /// LLVM's number for the calling convention of kernels, `ptx_kernel`.
    const KERNEL: u32 = 71;
    function.set_call_conventions(KERNEL);
    for (place, written) in places {
        // Results overlap nothing else; arguments may overlap each other, which readers cannot tell.
        function.add_attribute(AttributeLoc::Param(place), e.flag("noalias"));
        if !written {
            function.add_attribute(AttributeLoc::Param(place), e.flag("readonly"));
        }
    }
    let start = e.context.append_basic_block(function, "entry");
    e.position(start);
}
