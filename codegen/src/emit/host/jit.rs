//! Running a plan in the process that compiled it.

use super::{HostKernel, Isa, PASSES, Which, levels, module};
use crate::emit::EmitError;
use crate::emit::llvm::{Machine, run_passes};
use crate::plan::Plan;
use inkwell::context::Context;
use inkwell::module::Module;
use llvm_sys::core::LLVMDisposeMessage;
use llvm_sys::execution_engine::{
    LLVMCreateJITCompilerForModule, LLVMDisposeExecutionEngine, LLVMExecutionEngineRef, LLVMGetFunctionAddress,
    LLVMLinkInMCJIT,
};
use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;

/// A kernel's function; see [`super`] for its parameters.
pub type KernelFunction = unsafe extern "C" fn(words: *const u64, first: i64, end: i64, scratch: *mut u8);

/// Machine code in memory. The functions live as long as this value.
pub struct JitModule {
    kernels: Vec<HostKernel>,
    functions: Vec<KernelFunction>,
    isa: Isa,
    // In this order: the engine lives in the context.
    _engine: Engine,
    _context: Box<Context>,
}

/// LLVM's MCJIT with one module.
///
/// inkwell's own wrapper initialises the native target through functions that a build without LLVM's headers lacks.
struct Engine(LLVMExecutionEngineRef);

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
    let most = isa.unwrap_or(detected);
    let refused = || EmitError::Plan(format!("this CPU cannot run {} code", most.name()));
    if !Isa::of(machine).contains(&most) || most > detected {
        return Err(refused());
    }
    // Where a stronger one makes no difference to the plan there is no code of its own for it.
    let isa = levels(plan, machine).into_iter().rfind(|isa| *isa <= most).ok_or_else(refused)?;
    let context = Box::new(Context::create());
    let (engine, kernels) = build(&context, plan, machine, isa)?;
    let mut functions = Vec::new();
    for (_, symbol) in kernels.iter().flat_map(|k| &k.symbols) {
        functions.push(engine.function(symbol)?);
    }
    Ok(JitModule { kernels, functions, isa, _engine: engine, _context: context })
}

fn build(context: &Context, plan: &Plan, machine: Machine, isa: Isa) -> Result<(Engine, Vec<HostKernel>), EmitError> {
    let (emitter, kernels) = module(context, plan, machine, "jit", isa, Which::All)?;
    run_passes(&emitter.module, &machine.target_machine()?, PASSES)?;
    Ok((Engine::new(emitter.module)?, kernels))
}

impl Engine {
    fn new(module: Module<'_>) -> Result<Self, EmitError> {
        let mut engine = std::ptr::null_mut();
        let mut message = std::ptr::null_mut();
        // The engine owns the module from here on, also when it cannot be made.
        let module = ManuallyDrop::new(module);
        // SAFETY: the module is valid and its target is initialised; both results are written before they are read.
        unsafe {
            LLVMLinkInMCJIT();
            if LLVMCreateJITCompilerForModule(&mut engine, module.as_mut_ptr(), 3, &mut message) != 0 {
                let text = CStr::from_ptr(message).to_string_lossy().into_owned();
                LLVMDisposeMessage(message);
                return Err(EmitError::Llvm(text));
            }
        }
        Ok(Engine(engine))
    }
    /// Compiles the module at the first call.
    fn function(&self, symbol: &str) -> Result<KernelFunction, EmitError> {
        let missing = || EmitError::Llvm(format!("no machine code for {symbol}"));
        let name = CString::new(symbol).map_err(|_| missing())?;
        // SAFETY: the engine is alive.
        match unsafe { LLVMGetFunctionAddress(self.0, name.as_ptr()) } {
            0 => Err(missing()),
            // SAFETY: the module defines this symbol with exactly this type.
            address => Ok(unsafe { std::mem::transmute::<usize, KernelFunction>(address as usize) }),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: the engine was made by `new` and is disposed of once; it disposes of its module.
        unsafe { LLVMDisposeExecutionEngine(self.0) }
    }
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
