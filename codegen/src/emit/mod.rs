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
    /// The program asks for more than the target has; in its own words.
    #[error("{0}")]
    Limit(String),
    /// The plan says something that the target has no code for, or that contradicts itself: a defect of the compiler.
    #[error("cannot emit kernel code: {0} (this is a defect of the compiler, please report it)")]
    Plan(String),
    /// LLVM refused what was built: a defect of the compiler, not of the program.
    #[error("LLVM rejected the generated code: {0} (this is a defect of the compiler, please report it)")]
    Llvm(String),
    /// The linked LLVM lacks a target or an instruction.
    #[error("the linked LLVM has no {0}")]
    Missing(String),
    /// It is about this kernel of the plan.
    #[error("kernel {kernel}: {error}")]
    Kernel {
        /// The kernel's name.
        kernel: String,
        /// What is wrong.
        error: Box<EmitError>,
    },
}

impl EmitError {
    /// The same, said of a kernel.
    pub(crate) fn of(self, kernel: &str) -> Self {
        match self {
            EmitError::Kernel { .. } => self,
            error => EmitError::Kernel { kernel: kernel.to_string(), error: Box::new(error) },
        }
    }
}
