//! Machines as data: what the cost model reckons with.
//!
//! Rates are what a good kernel reaches, not what a data sheet promises; each carries its source. They decide between
//! candidates, so ratios matter more than values.

use crate::term::Type;
use nsa_artifact::{HostIsa, Target};

/// A machine.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// Name, as on the command line.
    pub name: &'static str,
    /// Compute capability of a GPU, as (major, minor); none for a host.
    pub capability: Option<(u32, u32)>,
    /// Cycles per second at most, as a driver says.
    pub clock: f64,
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
    capability: Some((9, 0)),
    clock: 1.98e9,
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
    capability: Some((8, 0)),
    clock: 1.41e9,
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

/// Cycles per second of a server's processor under load.
const HOST_CLOCK: f64 = 3e9;

/// A small x86-64 host with AVX2: per core 2 fused multiply-adds of 8 lanes at 3 GHz of which 60% is reached, scalar code
/// about a third of that, exponentials by a polynomial of a dozen operations; memory of one socket.
pub const X86_64: Machine = Machine {
    name: "x86_64",
    capability: None,
    clock: HOST_CLOCK,
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

/// What a driver says of a GPU.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GpuRates {
    /// Compute capability, as (major, minor).
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u64,
    /// Their cycles per second at most; 0 if it does not say.
    pub clock: f64,
    /// Bytes per second of the memory's data sheet: its clock, twice, times the width of its bus; 0 if it does not say.
    pub memory: f64,
    /// Bytes of the level-2 cache.
    pub cache_bytes: u64,
}

/// The part of the memory's data sheet that copies reach: 4.28 of an H200's 4.9 TB/s.
const MEMORY_REACHED: f64 = 0.88;
/// The part of a host's vector units that kernels reach.
const VECTORS_REACHED: f64 = 0.6;
/// Bytes per second that one core reads from memory; those of a socket together reach no more than [`SOCKET`].
const CORE: f64 = 10e9;
/// Bytes per second from a socket's memory: eight channels of DDR5, less a third.
const SOCKET: f64 = 200e9;

impl Machine {
    /// The machine with a name.
    pub fn named(name: &str) -> Option<&'static Machine> {
        ALL.into_iter().find(|machine| machine.name == name)
    }

    /// Whether this is a GPU: only those store chunks by thread blocks of their own.
    pub fn is_gpu(&self) -> bool {
        self.capability.is_some()
    }

    /// Whether code for a target runs on this machine.
    pub fn runs(&self, target: Target) -> bool {
        match self.capability {
            Some(capability) => target.runs_on(capability),
            None => target.name() == self.name,
        }
    }

    /// A GPU as its driver describes it. Multiprocessors do per cycle what those of the nearest described machine do: an H200's from
    /// compute capability 9.0 on, an A100's before; those of 8.6 and 8.9 have matrix units half as wide (NVIDIA's GA102
    /// white paper: 512 multiply-adds of 16 bits per multiprocessor and cycle, an A100 has 1024).
    pub fn gpu(rates: &GpuRates) -> Machine {
        let like = if rates.capability >= (9, 0) { H200 } else { A100 };
        let known = |value: f64, otherwise: f64| if value > 0.0 { value } else { otherwise };
        let clock = known(rates.clock, like.clock);
        let units = rates.multiprocessors.max(1);
        let size = units as f64 / like.units as f64 * clock / like.clock;
        let width = if (8, 1) <= rates.capability && rates.capability < (9, 0) { 0.5 } else { 1.0 };
        Machine {
            capability: Some(rates.capability),
            clock,
            units,
            memory: known(rates.memory * MEMORY_REACHED, like.memory * size),
            cache: like.cache * size,
            cache_bytes: rates.cache_bytes,
            matrix_rate: like.matrix_rate * size * width,
            scalar_rate: like.scalar_rate * size,
            exp_rate: like.exp_rate * size,
            ..like
        }
    }

    /// A host on which so many threads use an instruction set on contractions of a type; `cache_bytes`: of its last-level cache, if known.
    /// Per core and cycle: SSE2 multiplies and adds 4 lanes, AVX2 and NEON do 16 multiply-adds, AVX-512 32; AMX multiplies tiles of
    /// 16 x 32 and 32 x 16 values of bf16 in 16 cycles. Elementary functions and other scalar code are as wide as vectors are.
    pub fn host(isa: HostIsa, threads: u64, element: Type, cache_bytes: Option<u64>) -> Machine {
        let (lanes, operations) = match isa {
            HostIsa::X86_64 => (4.0, 8.0),
            HostIsa::Avx2 => (8.0, 32.0),
            HostIsa::Avx512 => (16.0, 64.0),
            HostIsa::Amx if element == Type::Bf16 => (16.0, 1024.0),
            HostIsa::Amx => (16.0, 64.0),
            HostIsa::Aarch64 => (8.0, 32.0),
        };
        let like = if isa == HostIsa::Aarch64 { AARCH64 } else { X86_64 };
        let threads = threads.max(1);
        // How many of the described machine's cores these are, for what is as wide as vectors.
        let cores = threads as f64 / like.units as f64;
        let wide = cores * lanes / 8.0;
        Machine {
            units: threads,
            memory: (CORE * threads as f64).min(SOCKET),
            cache: like.cache * cores,
            cache_bytes: cache_bytes.unwrap_or(like.cache_bytes),
            matrix_rate: threads as f64 * operations * HOST_CLOCK * VECTORS_REACHED,
            scalar_rate: like.scalar_rate * wide,
            exp_rate: like.exp_rate * wide,
            ..like
        }
    }

    /// The machine as kernels find it that are launched again and again on the same tensors of so many bytes: what fits the last-level
    /// cache is read from there.
    pub fn repeating(self, bytes: u64) -> Machine {
        let memory = if bytes <= self.cache_bytes { self.cache.max(self.memory) } else { self.memory };
        Machine { memory, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 0.07
    }

    /// What drivers say of the described machines leads to the described rates.
    #[test]
    fn gpus_come_out_as_they_are_described() {
        // Twice the memory's clock (3201, 2619 and 1593 MHz) times the bytes of its bus (6144, 5120 and 5120 bits).
        for (like, memory) in [(&H200, 4.916e12), (&H100, 3.352e12), (&A100, 2.039e12)] {
            let found = Machine::gpu(&GpuRates { memory, ..seen(like) });
            assert!(near(found.memory, like.memory), "{found:?}");
            assert!(near(found.cache, like.cache) && near(found.matrix_rate, like.matrix_rate), "{found:?}");
            assert!(near(found.exp_rate, like.exp_rate) && near(found.scalar_rate, like.scalar_rate), "{found:?}");
            // A driver that names no rates leaves those of the description.
            let silent = Machine::gpu(&GpuRates { clock: 0.0, memory: 0.0, ..seen(like) });
            assert!(silent.memory > 0.0 && near(silent.matrix_rate, like.matrix_rate), "{silent:?}");
        }
        let small = Machine::gpu(&GpuRates { capability: (8, 6), multiprocessors: 54, ..seen(&A100) });
        assert!(near(small.matrix_rate, A100.matrix_rate / 4.0), "half the multiprocessors, half as wide: {small:?}");
        assert_eq!(small.units, 54);
    }

    fn seen(like: &Machine) -> GpuRates {
        let capability = like.capability.expect("a GPU");
        let (clock, memory, cache_bytes) = (like.clock, like.memory / MEMORY_REACHED, like.cache_bytes);
        GpuRates { capability, multiprocessors: like.units, clock, memory, cache_bytes }
    }

    /// Two cores with AVX2 are what the cost model takes a host for.
    #[test]
    fn hosts_come_out_as_they_are_described() {
        let small = Machine::host(HostIsa::Avx2, 2, Type::F32, None);
        assert!(near(small.matrix_rate, X86_64.matrix_rate), "{small:?}");
        assert_eq!(Machine { matrix_rate: X86_64.matrix_rate, ..small }, X86_64);
        let amx = |element| Machine::host(HostIsa::Amx, 2, element, Some(1 << 20));
        assert!(amx(Type::Bf16).matrix_rate > 10.0 * amx(Type::F32).matrix_rate);
        assert_eq!(amx(Type::F32), Machine::host(HostIsa::Avx512, 2, Type::F32, Some(1 << 20)));
        let many = Machine::host(HostIsa::Avx512, 96, Type::F32, None);
        assert_eq!((many.units, many.memory), (96, SOCKET));
    }

    #[test]
    fn what_fits_the_cache_is_read_from_there() {
        assert_eq!(X86_64.repeating(1 << 20).memory, X86_64.cache);
        assert_eq!(X86_64.repeating(1 << 30), X86_64);
    }

    #[test]
    fn machines_run_the_code_that_is_for_them() {
        for machine in ALL {
            assert_eq!(Machine::named(machine.name), Some(machine));
            assert!(Target::ALL.into_iter().any(|target| machine.runs(target)), "{}", machine.name);
        }
        assert!(H100.runs(Target::Sm80) && H100.runs(Target::Sm90a) && !H100.runs(Target::X86_64));
        assert!(A100.runs(Target::Sm80) && !A100.runs(Target::Sm90a));
        assert!(AARCH64.runs(Target::Aarch64) && !AARCH64.runs(Target::X86_64));
        assert_eq!(Machine::named("h300"), None);
    }
}
