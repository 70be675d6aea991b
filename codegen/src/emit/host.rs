//! Plans on a CPU: one function per kernel and instruction set.
//!
//! Every function is `extern "C" fn(words: *const u64, first: i64, end: i64, scratch: *mut u8)` and runs the blocks
//! `first..end` of its kernel, one after the other; threads divide the blocks between them. `words` are the kernel's
//! parameters and `scratch` is memory of the calling thread, [`HostKernel::scratch_bytes`] long and aligned to 64 bytes.
//!
//! Tiles and variables live in the scratch memory as f32, laid out so that vector lanes run along the rows of a block
//! (module `layout`). Tiles and first factors are *not* rounded to the tile's type: on a CPU this would cost time and
//! accuracy; stored tensors and `cast` are rounded. Several column warps of a plan are one here, so
//! [`Merge`](crate::plan::Merge) has nothing to do.

mod assign;
mod block;
mod dot;
mod element;
mod fetch;
mod isa;
mod jit;
mod labels;
mod layout;
mod list;
mod lower;
mod math;
mod store;

pub use isa::Isa;
pub use jit::{JitModule, KernelFunction, jit};

use super::EmitError;
use super::llvm::{Emitter, Machine, assembly, optimise};
use super::scalar::Facts;
use crate::plan::{Kernel, Plan};
use block::Block;
use inkwell::attributes::AttributeLoc;
use inkwell::context::Context;
use layout::Scratch;
use lower::Lower;

/// Assembly of all kernels of a plan for one CPU architecture.
#[derive(Clone, Debug)]
pub struct HostCode {
    /// The architecture: [`Machine::X86_64`] or [`Machine::Aarch64`].
    pub machine: Machine,
    /// Assembly text; on x86-64 in AT&T syntax, fit for `core::arch::global_asm!(text, options(att_syntax, raw))`.
    pub text: String,
    /// The kernels, in the plan's order.
    pub kernels: Vec<HostKernel>,
}

/// One kernel of a [`HostCode`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostKernel {
    /// The kernel's name in the plan.
    pub name: String,
    /// Its function for every instruction set, weakest first.
    pub symbols: Vec<(Isa, String)>,
    /// Scratch memory that each thread needs, whatever the instruction set.
    pub scratch_bytes: u64,
}

/// Emits a plan for a CPU architecture, with a function for each of its instruction sets.
///
/// `prefix` begins every symbol and local label; two modules of one program need different ones. It consists of letters,
/// digits and underscores.
///
/// # Errors
/// The prefix is no identifier, the machine is a GPU, or the plan cannot be emitted.
pub fn emit(plan: &Plan, machine: Machine, prefix: &str) -> Result<HostCode, EmitError> {
    let isas = Isa::of(machine);
    if isas.is_empty() {
        return Err(EmitError::Plan(format!("{machine:?} is no CPU")));
    }
    let context = Context::create();
    let (emitter, kernels) = module(&context, plan, machine, prefix, isas)?;
    let target = machine.target_machine()?;
    optimise(&emitter.module, &target)?;
    let text = labels::prefixed(&assembly(&emitter.module, &target)?, prefix);
    Ok(HostCode { machine, text, kernels })
}

/// The optimised LLVM module of a plan as text, for all instruction sets of the architecture.
///
/// # Errors
/// As [`emit`].
pub fn ir(plan: &Plan, machine: Machine, prefix: &str) -> Result<String, EmitError> {
    let context = Context::create();
    let (emitter, _) = module(&context, plan, machine, prefix, Isa::of(machine))?;
    optimise(&emitter.module, &machine.target_machine()?)?;
    Ok(emitter.module.print_to_string().to_string())
}

/// The LLVM module of a plan, not optimised.
fn module<'c>(
    context: &'c Context,
    plan: &Plan,
    machine: Machine,
    prefix: &str,
    isas: &[Isa],
) -> Result<(Emitter<'c>, Vec<HostKernel>), EmitError> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if prefix.is_empty() || !prefix.chars().all(named) {
        return Err(EmitError::Plan(format!("`{prefix}` cannot begin symbols: letters, digits and _ can")));
    }
    let emitter = Emitter::new(context, prefix, machine)?;
    let facts = Facts::of(&plan.terms);
    let mut kernels = Vec::new();
    for kernel in &plan.kernels {
        let mut made = HostKernel { name: kernel.name.clone(), symbols: Vec::new(), scratch_bytes: 0 };
        for isa in isas {
            let symbol = format!("{prefix}_{}_{}", kernel.name, isa.name());
            let scratch = Scratch::new(kernel, *isa);
            made.scratch_bytes = made.scratch_bytes.max(scratch.bytes);
            function(&emitter, plan, kernel, &facts, *isa, scratch, &symbol)?;
            made.symbols.push((*isa, symbol));
        }
        kernels.push(made);
    }
    Ok((emitter, kernels))
}

/// The function of a kernel for one instruction set.
fn function(
    e: &Emitter<'_>,
    plan: &Plan,
    kernel: &Kernel,
    facts: &Facts,
    isa: Isa,
    scratch: Scratch,
    symbol: &str,
) -> Result<(), EmitError> {
    let (pointer, i64_type) = (e.pointer_type(0).into(), e.i64_type().into());
    let function = e.function(symbol, &[pointer, i64_type, i64_type, pointer], None, isa.attributes());
    // Nothing else points into the scratch memory, so what is read from buffers stays known across writes to it.
    function.add_attribute(AttributeLoc::Param(3), e.flag("noalias"));
    e.position(e.context.append_basic_block(function, "entry"));
    let [words, first, end, memory] = [0, 1, 2, 3].map(|i| e.parameter(i));
    let blocks = e.begin_loop(first, end, 1, &[]);
    let block = Block::enter(e, plan, kernel, words, blocks.index)?;
    Lower { e, plan, kernel, facts, isa, scratch, memory, block, loops: Vec::new() }.run()?;
    e.end_loop(blocks, &[]);
    e.ret();
    Ok(())
}
