//! Machines as data: what the cost model reckons with.
//!
//! Rates are what a good kernel reaches, not what a data sheet promises; each carries its source. They decide between
//! candidates, so ratios matter more than values.

use crate::term::Type;

/// A machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// Name, as on the command line.
    pub name: &'static str,
    /// Streaming multiprocessors, or cores of a host.
    pub units: u64,
    /// Bytes per second from and to memory.
    pub memory: f64,
    /// Bytes per second from the last-level cache.
    pub cache: f64,
    /// Bytes that the last-level cache holds.
    pub cache_bytes: u64,
    /// Multiply-adds in matrix units, as 2 operations each, per second.
    pub matrix_rate: f64,
    /// Scalar f32 operations per second, all units, a multiply-add as 1: what a loop with loads reaches.
    pub scalar_rate: f64,
    /// Exponentials (and other elementary functions) per second.
    pub exp_rate: f64,
    /// Seconds from one kernel to the next.
    pub launch: f64,
    /// Rows of a contraction that one thread block works on at a time.
    pub rows: u64,
    /// Rows of the smallest contraction: fewer cost as much.
    pub least_rows: u64,
    /// What the matrix units do.
    pub matrix: MatrixUnit,
}

/// What a machine's matrix units multiply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MatrixUnit {
    /// Types of the factors.
    pub types: &'static [Type],
    /// Contracted extents are multiples of this.
    pub depth: i64,
    /// Whether its kernels gather tiles from lists of single values.
    pub gathers: bool,
}

/// mma.sync and wgmma on 16-bit types contract 16 elements at a time (PTX ISA, warp-level matrix instructions).
const TENSOR_CORES: MatrixUnit = MatrixUnit { types: &[Type::Bf16, Type::F16], depth: 16, gathers: true };
/// A host contracts by register-blocked vector loops: any type, any extent. Columns are consecutive there.
const VECTOR_UNITS: MatrixUnit = MatrixUnit { types: &[Type::Bf16, Type::F16, Type::F32], depth: 1, gathers: false };

/// NVIDIA H200: 132 SMs; copy 4.28 TB/s, matrix products 680-790 TFLOP/s and cache reads 9.1 TB/s measured, exponentials
/// 16 per SM and clock at 1.7 GHz, scalar work 128 lanes per SM and clock of which about a third does arithmetic.
pub const H200: Machine = Machine {
    name: "h200",
    units: 132,
    memory: 4.28e12,
    cache: 9.1e12,
    cache_bytes: 60 << 20,
    matrix_rate: 700e12,
    scalar_rate: 9e12,
    exp_rate: 3.6e12,
    launch: 3e-6,
    rows: 64,
    least_rows: 16,
    matrix: TENSOR_CORES,
};

/// NVIDIA H100 SXM: an H200 with 3.35 TB/s of memory (data sheet, less 10%) and 50 MB of cache.
pub const H100: Machine = Machine { name: "h100", memory: 3.0e12, cache_bytes: 50 << 20, ..H200 };

/// NVIDIA A100 80 GB: 108 SMs at 1.41 GHz, 2.0 TB/s of memory less 10%, 312 TFLOP/s dense of which about 75% is reached,
/// 40 MB of cache at about 5 TB/s.
pub const A100: Machine = Machine {
    name: "a100",
    units: 108,
    memory: 1.8e12,
    cache: 4.5e12,
    cache_bytes: 40 << 20,
    matrix_rate: 235e12,
    scalar_rate: 6e12,
    exp_rate: 2.4e12,
    launch: 3e-6,
    rows: 64,
    least_rows: 16,
    matrix: TENSOR_CORES,
};

/// Any GPU of compute capability 8.0 or later: the ratios of an A100 at half its size.
pub const SM_80: Machine = Machine {
    name: "sm_80",
    units: 54,
    memory: 0.9e12,
    cache: 2.2e12,
    cache_bytes: 20 << 20,
    matrix_rate: 115e12,
    scalar_rate: 3e12,
    exp_rate: 1.2e12,
    ..A100
};

/// A small x86-64 host with AVX2: per core 2 fused multiply-adds of 8 lanes at 3 GHz of which 60% is reached, scalar code
/// about a third of that, exponentials by a polynomial of a dozen operations; memory of one socket.
pub const X86_64: Machine = Machine {
    name: "x86_64",
    units: 2,
    memory: 20e9,
    cache: 100e9,
    cache_bytes: 32 << 20,
    matrix_rate: 115e9,
    scalar_rate: 15e9,
    exp_rate: 2e9,
    launch: 20e-6,
    rows: 64,
    least_rows: 4,
    matrix: VECTOR_UNITS,
};

/// A small aarch64 host with NEON: as the x86-64 host with lanes half as wide and twice as many pipes.
pub const AARCH64: Machine = Machine { name: "aarch64", ..X86_64 };

/// All machines.
pub const ALL: [&Machine; 6] = [&H200, &H100, &A100, &SM_80, &X86_64, &AARCH64];

impl Machine {
    /// The machine with a name.
    pub fn named(name: &str) -> Option<&'static Machine> {
        ALL.into_iter().find(|machine| machine.name == name)
    }

    /// Whether this is a GPU: only those store chunks by thread blocks of their own.
    pub fn is_gpu(&self) -> bool {
        self.matrix == TENSOR_CORES
    }
}
