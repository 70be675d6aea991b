//! A kernel resolved for execution.

use crate::code::Inst;
use crate::machine::wgmma::Touched;
use crate::syntax::{LaunchBounds, Parameter};
use crate::tensor_core::Architecture;
use std::sync::Arc;

/// A module-level variable in global or constant memory; a launch gives each its own buffer.
#[derive(Clone, Debug)]
pub(crate) struct DeviceVariable {
    pub size: u64,
    pub initial: Vec<u8>,
}

/// A decoded kernel.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub name: String,
    pub source: Arc<str>,
    pub target: String,
    pub architecture: Architecture,
    pub code: Vec<Inst>,
    /// Sizes of the register files: 32-bit, 64-bit, predicates.
    pub words: usize,
    pub doubles: usize,
    pub preds: usize,
    pub local_bytes: usize,
    /// Shared memory up to the dynamic array, the system's part included.
    pub static_shared: u32,
    pub parameters: Vec<Parameter>,
    pub bounds: LaunchBounds,
    /// For kernels with wgmma, the 32-bit registers that each instruction uses.
    pub touched: Option<Vec<Touched>>,
    /// For kernels with wgmma, the names of the 32-bit registers.
    pub names: Vec<String>,
    /// Variables in global and constant memory.
    pub variables: Vec<DeviceVariable>,
}

/// Limits of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Shared memory a block may use, without the system's 1 KiB.
    pub shared_bytes: u32,
    pub cluster: u32,
}

impl Program {
    /// What the source calls a register of a kernel with wgmma.
    pub fn register_name(&self, register: u32) -> &str {
        self.names.get(register as usize).map_or("", String::as_str)
    }

    /// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
    pub fn limits(&self) -> Limits {
        let digits: String = self.target.trim_start_matches("sm_").chars().take_while(char::is_ascii_digit).collect();
        let shared_kib = match digits.as_str() {
            "80" | "87" => 163,
            "86" | "89" | "120" | "121" => 99,
            _ => 227,
        };
        let cluster = if matches!(self.architecture, Architecture::Hopper | Architecture::Blackwell) { 16 } else { 1 };
        Limits { shared_bytes: shared_kib * 1024, cluster }
    }
}
