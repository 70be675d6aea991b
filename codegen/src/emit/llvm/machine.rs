//! Target machines, the pass pipeline, verification, output.

use crate::emit::EmitError;
use inkwell::OptimizationLevel;
use inkwell::context::{AsContextRef, Context};
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use llvm_sys::LLVMDiagnosticSeverity;
use llvm_sys::core::{
    LLVMContextSetDiagnosticHandler, LLVMDisposeMessage, LLVMGetDiagInfoDescription, LLVMGetDiagInfoSeverity,
};
use llvm_sys::prelude::LLVMDiagnosticInfoRef;
use std::ffi::{CStr, c_void};
use std::sync::Once;

/// What code can be made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Machine {
    /// NVIDIA compute capability 8.0 and later, PTX ISA 7.1 (the first with every instruction that is used).
    Sm80,
    /// NVIDIA compute capability 9.0 with its own instructions, PTX ISA 8.0.
    Sm90a,
    /// x86-64 without extensions; functions that have more say so in their attributes.
    X86_64,
    /// 64-bit Arm with NEON.
    Aarch64,
}

impl Machine {
    /// True for NVPTX.
    pub fn is_gpu(self) -> bool {
        matches!(self, Machine::Sm80 | Machine::Sm90a)
    }
    /// LLVM's triple, processor and features.
    pub fn description(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Machine::Sm80 => ("nvptx64-nvidia-cuda", "sm_80", "+ptx71"),
            Machine::Sm90a => ("nvptx64-nvidia-cuda", "sm_90a", "+ptx80"),
            Machine::X86_64 => ("x86_64-unknown-linux-gnu", "x86-64", ""),
            Machine::Aarch64 => ("aarch64-unknown-linux-gnu", "generic", "+neon"),
        }
    }
    /// The target machine: position-independent code, highest optimisation of the code generator.
    ///
    /// # Errors
    /// The linked LLVM lacks the target.
    pub fn target_machine(self) -> Result<TargetMachine, EmitError> {
        initialise();
        let (triple, cpu, features) = self.description();
        let missing = || EmitError::Missing(format!("target {triple} ({cpu} {features})"));
        let triple_value = TargetTriple::create(triple);
        let machine = Target::from_triple(&triple_value)
            .map_err(|_| missing())?
            .create_target_machine(
                &triple_value,
                cpu,
                features,
                OptimizationLevel::Aggressive,
                RelocMode::PIC,
                CodeModel::Default,
            )
            .ok_or_else(missing)?;
        machine.set_asm_verbosity(false);
        Ok(machine)
    }
}

/// Registers LLVM's targets; later calls do nothing.
pub fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let config = InitializationConfig::default();
        Target::initialize_nvptx(&config);
        Target::initialize_x86(&config);
        Target::initialize_aarch64(&config);
    });
}

/// Checks a module.
///
/// # Errors
/// LLVM's words for what is malformed.
pub fn verify(module: &Module<'_>) -> Result<(), EmitError> {
    module.verify().map_err(|message| EmitError::Llvm(message.to_string()))
}

/// Runs LLVM's optimiser over a module.
///
/// Loop unrolling is off: kernels unroll where it pays, and unrolling their outer loops only makes code large. The
/// vectorisers are off because code generation has vectorised already.
///
/// # Errors
/// The module is malformed.
pub fn optimise(module: &Module<'_>, machine: &TargetMachine) -> Result<(), EmitError> {
    run_passes(module, machine, "default<O3>")
}

/// As [`optimise`], with a pipeline of one's own in the notation of LLVM's `opt`.
///
/// # Errors
/// The module is malformed, or LLVM does not know a pass.
pub fn run_passes(module: &Module<'_>, machine: &TargetMachine, passes: &str) -> Result<(), EmitError> {
    verify(module)?;
    let options = PassBuilderOptions::create();
    options.set_loop_unrolling(false);
    options.set_loop_vectorization(false);
    options.set_loop_slp_vectorization(false);
    module.run_passes(passes, machine, options).map_err(|message| EmitError::Llvm(message.to_string()))
}

/// The assembly text of a module: PTX for a GPU, AT&T syntax on x86-64.
///
/// # Errors
/// LLVM cannot write it, or not as UTF-8.
pub fn assembly(module: &Module<'_>, machine: &TargetMachine) -> Result<String, EmitError> {
    let buffer = write(module, machine, FileType::Assembly)?;
    // The buffer ends with a zero byte that is not part of the text.
    let text = buffer.strip_suffix(&[0]).unwrap_or(&buffer).to_vec();
    String::from_utf8(text).map_err(|error| EmitError::Llvm(error.to_string()))
}

/// The object file of a module.
///
/// # Errors
/// LLVM cannot write it.
pub fn object(module: &Module<'_>, machine: &TargetMachine) -> Result<Vec<u8>, EmitError> {
    write(module, machine, FileType::Object)
}

/// Assembles text for a machine: an object file.
///
/// # Errors
/// The machine has no assembler in the linked LLVM, or the assembler's words for what is wrong with the text.
pub fn assemble(text: &str, machine: Machine) -> Result<Vec<u8>, EmitError> {
    if machine.is_gpu() {
        return Err(EmitError::Missing(format!("an assembler for {machine:?}")));
    }
    let target = machine.target_machine()?;
    let context = Context::create();
    let mut faults: Vec<String> = Vec::new();
    let into = (&raw mut faults).cast::<c_void>();
    // SAFETY: the context is valid; `faults` outlives every use of the handler, which ends with the context's last module.
    unsafe { LLVMContextSetDiagnosticHandler((&context).as_ctx_ref(), Some(note_fault), into) };
    let module = context.create_module("assembled");
    module.set_triple(&target.get_triple());
    module.set_data_layout(&target.get_target_data().get_data_layout());
    module.set_inline_assembly(text);
    let made = object(&module, &target);
    drop(module);
    match faults.first() {
        Some(fault) => Err(EmitError::Llvm(fault.clone())),
        None => made,
    }
}

/// Keeps errors, which LLVM would otherwise print before it ends the process.
extern "C" fn note_fault(info: LLVMDiagnosticInfoRef, into: *mut c_void) {
    // SAFETY: LLVM calls this with a valid description, and with the vector that `assemble` gave it.
    unsafe {
        if LLVMGetDiagInfoSeverity(info) == LLVMDiagnosticSeverity::LLVMDSError {
            let text = LLVMGetDiagInfoDescription(info);
            (*into.cast::<Vec<String>>()).push(CStr::from_ptr(text).to_string_lossy().into_owned());
            LLVMDisposeMessage(text);
        }
    }
}

fn write(module: &Module<'_>, machine: &TargetMachine, kind: FileType) -> Result<Vec<u8>, EmitError> {
    let buffer =
        machine.write_to_memory_buffer(module, kind).map_err(|message| EmitError::Llvm(message.to_string()))?;
    Ok(buffer.as_slice().to_vec())
}
