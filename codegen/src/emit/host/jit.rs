//! Running a plan in the process that compiled it.

use super::{HostKernel, Isa, module};
use crate::emit::EmitError;
use crate::emit::llvm::{Machine, optimise};
use crate::plan::Plan;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::execution_engine::ExecutionEngine;
use std::mem::ManuallyDrop;

/// A kernel's function; see [`super`] for its parameters.
pub type KernelFunction = unsafe extern "C" fn(words: *const u64, first: i64, end: i64, scratch: *mut u8);

/// Machine code in memory. The functions live as long as this value.
pub struct JitModule {
    kernels: Vec<HostKernel>,
    functions: Vec<KernelFunction>,
    isa: Isa,
    // Dropped by hand, the engine before the context that it lives in.
    engine: ManuallyDrop<ExecutionEngine<'static>>,
    context: *mut Context,
}

// SAFETY: after construction nothing but the machine code is used, which any thread may run; LLVM is entered again only by
// `drop`, which has the value to itself.
unsafe impl Send for JitModule {}
// SAFETY: as above; shared references give function pointers only.
unsafe impl Sync for JitModule {}

/// Compiles a plan for the running CPU, for the strongest instruction set that it has, or for a given weaker one.
///
/// # Errors
/// The CPU lacks the instruction set, or the plan cannot be emitted.
pub fn jit(plan: &Plan, isa: Option<Isa>) -> Result<JitModule, EmitError> {
    let machine = if cfg!(target_arch = "x86_64") { Machine::X86_64 } else { Machine::Aarch64 };
    let detected = Isa::detect();
    let isa = isa.unwrap_or(detected);
    if !Isa::of(machine).contains(&isa) || isa > detected {
        return Err(EmitError::Plan(format!("this CPU cannot run {} code", isa.name())));
    }
    let context = Box::into_raw(Box::new(Context::create()));
    // SAFETY: the context is freed below on failure, or in `drop`, both after everything that was made in it.
    let living: &'static Context = unsafe { &*context };
    match build(living, plan, machine, isa) {
        Ok((engine, kernels, functions)) => {
            Ok(JitModule { kernels, functions, isa, engine: ManuallyDrop::new(engine), context })
        }
        Err(error) => {
            // SAFETY: `build` has dropped what it made; nobody else has the pointer.
            drop(unsafe { Box::from_raw(context) });
            Err(error)
        }
    }
}

type Built = (ExecutionEngine<'static>, Vec<HostKernel>, Vec<KernelFunction>);

fn build(context: &'static Context, plan: &Plan, machine: Machine, isa: Isa) -> Result<Built, EmitError> {
    let (emitter, kernels) = module(context, plan, machine, "jit", &[isa])?;
    optimise(&emitter.module, &machine.target_machine()?)?;
    let engine = emitter
        .module
        .create_jit_execution_engine(OptimizationLevel::Aggressive)
        .map_err(|message| EmitError::Llvm(message.to_string()))?;
    let mut functions = Vec::new();
    for (_, symbol) in kernels.iter().flat_map(|k| &k.symbols) {
        let address = engine.get_function_address(symbol).map_err(|error| EmitError::Llvm(error.to_string()))?;
        // SAFETY: the module defines this symbol with exactly this type.
        functions.push(unsafe { std::mem::transmute::<usize, KernelFunction>(address) });
    }
    Ok((engine, kernels, functions))
}

impl JitModule {
    /// The kernels, in the plan's order.
    pub fn kernels(&self) -> &[HostKernel] {
        &self.kernels
    }
    /// Their functions, in the same order. They must not outlive the module.
    pub fn functions(&self) -> &[KernelFunction] {
        &self.functions
    }
    /// The instruction set that was compiled for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Drop for JitModule {
    fn drop(&mut self) {
        // SAFETY: both are dropped exactly once, here, and the engine, which uses the context, first.
        unsafe {
            ManuallyDrop::drop(&mut self.engine);
            drop(Box::from_raw(self.context));
        }
    }
}
