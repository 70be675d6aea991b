//! From plans to machine code.
//!
//! [`llvm`] wraps the parts of LLVM that emission needs, [`scalar`] evaluates scalar terms and is shared by all targets;
//! each target then has a module that lowers the statements of a plan.

pub mod host;
pub mod llvm;
pub mod nvptx;
pub mod scalar;

/// Why a plan could not be turned into code.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The plan says something that the target has no code for, or that contradicts itself.
    #[error("cannot emit kernel code: {0}")]
    Plan(String),
    /// LLVM refused what was built: a defect of the compiler, not of the program.
    #[error("LLVM rejected the generated code: {0} (this is a defect of the compiler, please report it)")]
    Llvm(String),
    /// The linked LLVM lacks a target or an instruction.
    #[error("the linked LLVM has no {0}")]
    Missing(String),
}
