//! Instruction sets that a kernel is emitted for.

use crate::emit::llvm::Machine;

/// An instruction set: a feature level of a CPU architecture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isa {
    /// x86-64 without extensions (SSE2).
    X86_64,
    /// x86-64 with AVX2, FMA, F16C, BMI1 and BMI2.
    Avx2,
    /// As [`Isa::Avx2`], with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// 64-bit Arm with NEON.
    Aarch64,
}

impl Isa {
    /// All instruction sets.
    pub const ALL: [Isa; 4] = [Isa::X86_64, Isa::Avx2, Isa::Avx512, Isa::Aarch64];

    /// The name that symbols carry.
    pub fn name(self) -> &'static str {
        match self {
            Isa::X86_64 => "x86_64",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Aarch64 => "aarch64",
        }
    }
    /// The instruction sets of a machine, weakest first; none for a GPU.
    pub fn of(machine: Machine) -> &'static [Isa] {
        match machine {
            Machine::X86_64 => &[Isa::X86_64, Isa::Avx2, Isa::Avx512],
            Machine::Aarch64 => &[Isa::Aarch64],
            Machine::Sm80 | Machine::Sm90a => &[],
        }
    }
    /// The strongest instruction set that the running CPU has.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Isa {
        macro_rules! has {
            ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
        }
        let avx2 = has!("avx2", "fma", "f16c", "bmi1", "bmi2");
        match avx2 && has!("avx512f", "avx512bw", "avx512dq", "avx512vl") {
            true => Isa::Avx512,
            false if avx2 => Isa::Avx2,
            false => Isa::X86_64,
        }
    }
    /// The strongest instruction set that the running CPU has.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Isa {
        Isa::Aarch64
    }
    /// Function attributes that switch the instruction set on.
    pub(super) fn attributes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Isa::X86_64 => &[("target-cpu", "x86-64")],
            Isa::Avx2 => &[("target-cpu", "x86-64"), ("target-features", "+avx2,+fma,+f16c,+bmi,+bmi2")],
            // Without the width preference LLVM splits 512-bit vectors in two.
            Isa::Avx512 => &[
                ("target-cpu", "x86-64"),
                ("target-features", "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c,+bmi,+bmi2"),
                ("prefer-vector-width", "512"),
                ("min-legal-vector-width", "512"),
            ],
            Isa::Aarch64 => &[("target-cpu", "generic"), ("target-features", "+neon")],
        }
    }
    /// Floats per vector register.
    pub(super) fn lanes(self) -> u32 {
        match self {
            Isa::X86_64 | Isa::Aarch64 => 4,
            Isa::Avx2 => 8,
            Isa::Avx512 => 16,
        }
    }
    /// Vector registers of accumulators in a register block. The rest hold operands: of 16 registers 12 accumulate, of 32
    /// 24.
    pub(super) fn accumulators(self) -> u32 {
        match self {
            Isa::X86_64 | Isa::Avx2 => 12,
            Isa::Avx512 | Isa::Aarch64 => 24,
        }
    }
    /// Whether one instruction converts between f16 and f32.
    pub(super) fn has_f16_conversions(self) -> bool {
        !matches!(self, Isa::X86_64)
    }
}
