//! Plans on a CPU: one function per kernel and instruction set.
//!
//! Every function is `extern "C" fn(words: *const u64, first: i64, end: i64, scratch: *mut u8)` and runs the blocks
//! `first..end` of its kernel, one after the other; threads divide the blocks between them. `words` are the kernel's
//! parameters and `scratch` is memory of the calling thread, [`HostKernel::scratch_bytes`] long and aligned to 64 bytes.
//!
//! Tiles and variables live in the scratch memory as f32, laid out so that vector lanes run along the rows of a block
//! (module `layout`). Tiles and first factors are *not* rounded to the tile's type: on a CPU this would cost time and
//! accuracy; stored tensors and `cast` are rounded. Only where the CPU has matrix registers are contractions of bf16 tiles done as
//! the plan says, with rounded factors (module `forms`). Several column warps of a plan are one here, so
//! [`Merge`](crate::plan::Merge) has nothing to do.

mod assign;
mod batch;
mod block;
mod dot;
mod element;
mod fetch;
mod forms;
mod halves;
mod isa;
mod jit;
mod labels;
mod layout;
mod link;
mod list;
mod lower;
mod math;
mod matrix;
mod store;

pub use isa::Isa;
pub use jit::{JitModule, KernelFunction, jit};
pub use link::Linked;

use super::EmitError;
use super::llvm::{Emitter, Machine, assembly, run_passes};
use super::scalar::Facts;
use crate::plan::{Kernel, Plan};
use block::Block;
use inkwell::IntPredicate;
use inkwell::attributes::AttributeLoc;
use inkwell::context::Context;
use layout::Scratch;
use lower::Lower;
use nsa_artifact::symbol_name;

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
    let isas = levels(plan, machine);
    if isas.is_empty() {
        return Err(EmitError::Plan(format!("{machine:?} is no CPU")));
    }
    // One module per instruction set: they are compiled side by side.
    let made: Result<Vec<_>, EmitError> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            isas.iter().map(|isa| scope.spawn(move || emit_for(plan, machine, prefix, *isa))).collect();
        threads
            .into_iter()
            .map(|thread| {
                let stopped = |_| EmitError::Llvm("a thread of the code generator stopped".into());
                thread.join().map_err(stopped).flatten()
            })
            .collect()
    });
    let mut text = String::new();
    let mut kernels: Vec<HostKernel> = Vec::new();
    for (part, part_kernels) in made? {
        text.push_str(&part);
        if kernels.is_empty() {
            kernels = part_kernels;
            continue;
        }
        for (kernel, more) in kernels.iter_mut().zip(part_kernels) {
            kernel.symbols.extend(more.symbols);
            kernel.scratch_bytes = kernel.scratch_bytes.max(more.scratch_bytes);
        }
    }
    // Assembly that follows in the same file starts where code belongs.
    text.push_str("\t.text\n");
    Ok(HostCode { machine, text, kernels })
}

/// Assembly text and kernels for one instruction set.
fn emit_for(plan: &Plan, machine: Machine, prefix: &str, isa: Isa) -> Result<(String, Vec<HostKernel>), EmitError> {
    let context = Context::create();
    let (emitter, kernels) = module(&context, plan, machine, prefix, isa, Which::Own)?;
    let target = machine.target_machine()?;
    run_passes(&emitter.module, &target, PASSES)?;
    let labels = format!("{prefix}_{}", isa.name());
    let mut text = labels::prefixed(&assembly(&emitter.module, &target)?, &labels);
    for kernel in plan.kernels.iter().filter(|kernel| !isa.has_own(plan, kernel)) {
        let [own, weaker] = [isa, isa.weaker()].map(|isa| symbol(prefix, kernel, isa));
        text.push_str(&format!("\t.globl\t{own}\n\t.set\t{own}, {weaker}\n"));
    }
    Ok((text, kernels))
}

/// The instruction sets that make a difference to a plan, weakest first.
fn levels(plan: &Plan, machine: Machine) -> Vec<Isa> {
    let differs =
        |isa: &Isa| !isa.has_matrix_registers() || plan.kernels.iter().any(|kernel| isa.has_own(plan, kernel));
    Isa::of(machine).iter().copied().filter(differs).collect()
}

/// The name of a kernel's function for an instruction set.
fn symbol(prefix: &str, kernel: &Kernel, isa: Isa) -> String {
    format!("{prefix}_{}_{}", symbol_name(&kernel.name), isa.name())
}

/// Cleans up what emission leaves: repeated address arithmetic, invariants inside loops. Loops and vectors are as they
/// should be already; LLVM's full pipeline takes three times as long for the same speed. By default a named `instcombine` ends
/// the process where one round of it leaves something to do.
const PASSES: &str = "function(early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,\
                                 loop-mssa(loop-rotate,licm),early-cse<memssa>,\
                                 instcombine<no-verify-fixpoint>,simplifycfg)";

/// The optimised LLVM modules of a plan as text, one for each instruction set of the architecture.
///
/// # Errors
/// As [`emit`].
pub fn ir(plan: &Plan, machine: Machine, prefix: &str) -> Result<String, EmitError> {
    let mut text = String::new();
    for isa in levels(plan, machine) {
        let context = Context::create();
        let (emitter, _) = module(&context, plan, machine, prefix, isa, Which::Own)?;
        run_passes(&emitter.module, &machine.target_machine()?, PASSES)?;
        text.push_str(&emitter.module.print_to_string().to_string());
    }
    Ok(text)
}

/// The kernels that get a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those whose function differs from the one for the next weaker instruction set.
    Own,
    All,
}

/// The LLVM module of a plan, not optimised, and what there is to know about all of its kernels.
fn module<'c>(
    context: &'c Context,
    plan: &Plan,
    machine: Machine,
    prefix: &str,
    isa: Isa,
    which: Which,
) -> Result<(Emitter<'c>, Vec<HostKernel>), EmitError> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if prefix.is_empty() || !prefix.chars().all(named) {
        return Err(EmitError::Plan(format!("`{prefix}` cannot begin symbols: letters, digits and _ can")));
    }
    let emitter = Emitter::new(context, prefix, machine)?;
    let facts = Facts::of(&plan.terms);
    let mut kernels = Vec::new();
    for kernel in &plan.kernels {
        let symbol = symbol(prefix, kernel, isa);
        let scratch = Scratch::new(plan, kernel, &facts, isa);
        let scratch_bytes = scratch.bytes;
        if which == Which::All || isa.has_own(plan, kernel) {
            function(&emitter, plan, kernel, &facts, isa, scratch, &symbol).map_err(|error| error.of(&kernel.name))?;
        }
        kernels.push(HostKernel { name: kernel.name.clone(), symbols: vec![(isa, symbol)], scratch_bytes });
    }
    Ok((emitter, kernels))
}

/// The function of a kernel for one instruction set.
fn function<'c>(
    e: &Emitter<'c>,
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
    let matrix = scratch.forms.matrix();
    if matrix {
        matrix::configure(e, e.offset(memory, e.i64(scratch.configuration as i64)))?;
    }
    let lower = |scratch: Scratch, block: Block<'c>| Lower {
        e,
        plan,
        kernel,
        facts,
        isa,
        scratch,
        memory,
        own: memory,
        block,
        loops: Vec::new(),
        only: None,
        borrowed: vec![None; kernel.tiles.len()],
        parity: None,
        rounded: None,
        summed: None,
    };
    let enter = |index| Block::enter(e, plan, kernel, words, index);
    if scratch.batch.is_some() {
        e.repeat(
            first,
            |index| e.icmp(IntPredicate::SLT, index, end),
            |index| {
                let done = lower(scratch.clone(), enter(index)?).batch(e.sub(end, index))?;
                Ok::<_, EmitError>(e.add(index, done))
            },
        )?;
    } else {
        let blocks = e.begin_loop(first, end, 1, &[]);
        lower(scratch, enter(blocks.index)?).run()?;
        e.end_loop(blocks, &[]);
    }
    if matrix {
        matrix::release(e)?;
    }
    e.ret();
    Ok(())
}
