//! Instruction sets that a kernel is emitted for.

use super::forms::Forms;
use crate::emit::llvm::Machine;
use crate::plan::{Kernel, Plan};
use nsa_artifact::HostIsa;

/// An instruction set: a feature level of a CPU architecture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isa {
    /// x86-64 without extensions (SSE2).
    X86_64,
    /// x86-64 with AVX2, FMA, F16C, BMI1 and BMI2.
    Avx2,
    /// As [`Isa::Avx2`], with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// As [`Isa::Avx512`], with AVX-512 BF16, and AMX tiles of bf16.
    Amx,
    /// 64-bit Arm with NEON.
    Aarch64,
}

impl Isa {
    /// All instruction sets.
    pub const ALL: [Isa; 5] = [Isa::X86_64, Isa::Avx2, Isa::Avx512, Isa::Amx, Isa::Aarch64];

    /// The name that symbols carry.
    pub fn name(self) -> &'static str {
        match self {
            Isa::X86_64 => "x86_64",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Aarch64 => "aarch64",
        }
    }
    /// The instruction sets of a machine, weakest first; none for a GPU.
    pub fn of(machine: Machine) -> &'static [Isa] {
        match machine {
            Machine::X86_64 => &[Isa::X86_64, Isa::Avx2, Isa::Avx512, Isa::Amx],
            Machine::Aarch64 => &[Isa::Aarch64],
            Machine::Sm80 | Machine::Sm90a => &[],
        }
    }
    /// The strongest instruction set that the running CPU has.
    pub fn detect() -> Isa {
        let best = HostIsa::detected().last().and_then(|known| Isa::ALL.into_iter().find(|i| i.name() == known.name()));
        best.unwrap_or(if cfg!(target_arch = "x86_64") { Isa::X86_64 } else { Isa::Aarch64 })
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
            Isa::Amx => &[
                ("target-cpu", "x86-64"),
                (
                    "target-features",
                    "+amx-tile,+amx-bf16,+avx512bf16,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+f16c,+bmi,+bmi2",
                ),
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
            Isa::Avx512 | Isa::Amx => 16,
        }
    }
    /// Vector registers of accumulators in a register block. The rest hold operands: of 16 registers 12 accumulate, of 32
    /// 24.
    pub(super) fn accumulators(self) -> u32 {
        match self {
            Isa::X86_64 | Isa::Avx2 => 12,
            Isa::Avx512 | Isa::Amx | Isa::Aarch64 => 24,
        }
    }
    /// Whether contractions of bf16 can run in matrix registers.
    pub(super) fn has_matrix_registers(self) -> bool {
        self == Isa::Amx
    }
    /// Whether a kernel's code differs from that for the next weaker instruction set.
    pub(super) fn has_own(self, plan: &Plan, kernel: &Kernel) -> bool {
        !self.has_matrix_registers() || Forms::new(plan, kernel, self).matrix()
    }
    /// The next weaker instruction set; the weakest itself has none below.
    pub(super) fn weaker(self) -> Isa {
        match self {
            Isa::Amx => Isa::Avx512,
            Isa::Avx512 => Isa::Avx2,
            Isa::Avx2 | Isa::X86_64 => Isa::X86_64,
            Isa::Aarch64 => Isa::Aarch64,
        }
    }
    /// Whether one instruction converts between f16 and f32.
    pub(super) fn has_f16_conversions(self) -> bool {
        !matches!(self, Isa::X86_64)
    }
}
