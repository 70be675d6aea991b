//! The manifest: everything about the kernels except their code.

use crate::{HostIsa, Length, PtxVersion, Target};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a compiled program consists of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The program's name.
    pub name: String,
    /// SHA-256, in hexadecimal, of what was compiled: the program's text and its constants.
    pub program: String,
    /// Name and version of the compiler.
    pub compiler: String,
    /// Compile-time constants, for display: name and value.
    pub constants: Vec<(String, f64)>,
    /// The axes of the signature.
    pub axes: Vec<Axis>,
    /// Arguments, then results, in the order of the signature. Their axes are in [`Manifest::axes`].
    pub signature: Vec<Buffer>,
    /// The code, per target.
    pub targets: Vec<TargetCode>,
}

/// The kernels for one target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TargetCode {
    /// The target; each appears once.
    pub target: Target,
    /// Ways to run the program; the first one whose [`Variant::when`] holds is taken. The last one has no condition.
    pub variants: Vec<Variant>,
}

/// One way to run the program: kernels in launch order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Variant {
    /// What it is, for readers (`split`, `fused`).
    pub label: String,
    /// Bounds on the sizes, all of which must hold. Empty: always.
    pub when: Vec<Bound>,
    /// All axes of its buffers and grids. Those that are not constant have a slot in the sequence table, in this order.
    pub axes: Vec<Axis>,
    /// All buffers: those of the signature, by name, and workspaces.
    pub buffers: Vec<Buffer>,
    /// In launch order; a kernel reads what earlier ones wrote.
    pub kernels: Vec<Kernel>,
    /// The code of these kernels.
    pub code: Code,
}

/// A condition on the sizes of a launch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bound {
    /// A non-constant axis of the variant.
    pub axis: String,
    /// Which size.
    pub measure: Measure,
    /// The size is at least this.
    pub at_least: Option<i64>,
    /// The size is at most this.
    pub at_most: Option<i64>,
}

/// A size of an axis over a batch of sequences.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Sum of the lengths of all sequences.
    Total,
    /// Length of the longest sequence.
    Longest,
}

/// A named axis.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Axis {
    /// Its name; unique in its list.
    pub name: String,
    /// Its number of values.
    pub extent: Extent,
}

/// The number of values of an axis.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Known when compiling.
    Const(i64),
    /// Given with the arguments, per sequence.
    Runtime,
    /// Computed per sequence; negative means 0.
    Derived(Length),
}

impl Extent {
    /// The number of values, if it is known when compiling.
    pub fn constant(&self) -> Option<i64> {
        match self {
            Extent::Const(n) => Some(*n),
            Extent::Runtime | Extent::Derived(_) => None,
        }
    }
}

/// A region of memory that kernels read or write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Buffer {
    /// Its name; unique in its list.
    pub name: String,
    /// Index axes, slowest first; the last one is contiguous.
    pub axes: Vec<String>,
    /// Type of the elements.
    pub dtype: DType,
    /// What it is to the caller.
    pub role: Role,
    /// Bytes, a power of two, at least the size of an element: the address, and the strides of all axes but the last, must be
    /// multiples of it. 16 where kernels copy with 16-byte instructions.
    pub align: u32,
}

/// Types of elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// 32-bit signed integer.
    I32,
}

impl DType {
    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            DType::Bf16 | DType::F16 => 2,
            DType::F32 | DType::I32 => 4,
        }
    }

    /// The name as programs write it.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::I32 => "i32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a buffer is to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Given by the caller, read.
    Argument,
    /// Given by the caller, written.
    Result,
    /// Allocated when a shape is planned.
    Workspace,
}

/// One launch. See the crate's documentation for how it is called.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// Name of the GPU entry; part of the host symbols. Unique in the variant.
    pub name: String,
    /// Slowest first. At most one axis is not constant; it comes last.
    pub grid: Vec<GridAxis>,
    /// The order of the table of tiles.
    pub order: TileOrder,
    /// Indices into [`Variant::buffers`], in the order of the parameters.
    pub buffers: Vec<usize>,
    /// Threads per block on a GPU; 1 on the host.
    pub threads: u32,
    /// Dynamic shared memory per block on a GPU, in bytes.
    pub shared_bytes: u32,
    /// Scratch memory per thread on the host, in bytes.
    pub scratch_bytes: u64,
    /// Those of [`Kernel::buffers`] (as indices into [`Variant::buffers`]) whose rows are read in blocks from all over, along
    /// their slowest run-time axis: where memory is cached, it is worth to have these rows side by side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gathered: Vec<usize>,
}

/// An axis of the grid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GridAxis {
    /// The axis.
    pub axis: String,
    /// Consecutive values per block.
    pub tile: u32,
}

/// In which order blocks take the tiles of the grid's run-time axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TileOrder {
    /// By sequence, then by value.
    #[default]
    Forward,
    /// Largest values first: where later values cost more (causal attention), the heavy blocks start first and the light ones
    /// fill the gaps at the end.
    LargestFirst,
}

/// Where the code of a variant is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A PTX module.
    Ptx {
        /// Name of the payload: text.
        payload: String,
        /// Its `.version`.
        version: PtxVersion,
    },
    /// Host functions.
    Host {
        /// Name of the payload: assembly text in AT&T (x86-64) or standard ARM syntax, for `global_asm!`.
        payload: String,
        /// What every symbol begins with.
        prefix: String,
        /// Instruction sets that there are symbols for, baseline first.
        isas: Vec<HostIsa>,
    },
}

impl Code {
    /// Name of the payload.
    pub fn payload(&self) -> &str {
        match self {
            Code::Ptx { payload, .. } | Code::Host { payload, .. } => payload,
        }
    }
}

impl Manifest {
    /// The code for a target.
    pub fn target(&self, target: Target) -> Option<&TargetCode> {
        self.targets.iter().find(|t| t.target == target)
    }

    /// The target to use on a GPU of this compute capability: the most specific one that runs there.
    pub fn target_for_gpu(&self, capability: (u32, u32)) -> Option<&TargetCode> {
        self.targets.iter().filter(|t| t.target.runs_on(capability)).max_by_key(|t| t.target)
    }

    /// The symbol of a host kernel: `<prefix>_<kernel>_<instruction set>`.
    pub fn host_symbol(prefix: &str, kernel: &str, isa: HostIsa) -> String {
        format!("{prefix}_{}_{isa}", symbol_name(kernel))
    }
}

/// A name as assemblers take it: what is no ASCII letter, digit or `_` by its number, so that different names stay different.
pub fn symbol_name(name: &str) -> String {
    let mut symbol = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => symbol.push(c),
            other => symbol.push_str(&format!("_u{:x}_", u32::from(other))),
        }
    }
    symbol
}

impl Variant {
    /// The axis of this name.
    pub fn axis(&self, name: &str) -> Option<&Axis> {
        self.axes.iter().find(|a| a.name == name)
    }

    /// Slot of a non-constant axis in the sequence table.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.axes.iter().filter(|a| a.extent.constant().is_none()).position(|a| a.name == name)
    }

    /// Number of slots of the sequence table.
    pub fn slots(&self) -> usize {
        self.axes.iter().filter(|a| a.extent.constant().is_none()).count()
    }

    /// Number of 64-bit words that a kernel of this variant takes.
    pub fn words(&self, kernel: &Kernel) -> usize {
        3 + kernel.buffers.iter().map(|b| self.buffers[*b].axes.len().max(1)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_ascii_and_different() {
        assert_eq!(symbol_name("o_part0"), "o_part0");
        assert_eq!(symbol_name("größe"), "gr_uf6__udf_e");
        assert_ne!(symbol_name("α"), symbol_name("β"));
        assert_eq!(Manifest::host_symbol("p", "σ", HostIsa::X86_64), "p__u3c3__x86_64");
    }
}
