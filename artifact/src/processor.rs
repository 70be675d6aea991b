//! What the running processor can execute.

use crate::HostIsa;
use std::sync::OnceLock;

impl HostIsa {
    /// The instruction sets that the running processor has and this process may use, best last.
    ///
    /// On Linux a process must ask before it uses AMX; the first call asks, for all threads.
    pub fn detected() -> &'static [HostIsa] {
        static FOUND: OnceLock<Vec<HostIsa>> = OnceLock::new();
        FOUND.get_or_init(detect)
    }
}

/// Exactly the features that the compiler uses at each level.
#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<HostIsa> {
    macro_rules! all {
        ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let levels = [
        (HostIsa::Avx2, all!("avx2" "fma" "f16c" "bmi1" "bmi2")),
        (HostIsa::Avx512, all!("avx512f" "avx512bw" "avx512dq" "avx512vl")),
        (HostIsa::Amx, all!("avx512bf16") && has_amx_bf16() && may_use_amx()),
    ];
    let above = levels.into_iter().take_while(|(_, has)| *has).map(|(isa, _)| isa);
    std::iter::once(HostIsa::X86_64).chain(above).collect()
}

/// Whether the processor has AMX tiles and their products of bf16 (Intel SDM, CPUID leaf 7: AMX-BF16 and AMX-TILE in EDX).
#[cfg(target_arch = "x86_64")]
fn has_amx_bf16() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    // SAFETY: every x86-64 processor has the instruction. The functions are safe in later versions of Rust than the oldest one.
    #[allow(unused_unsafe)]
    let edx = unsafe {
        let highest = std::arch::x86_64::__get_cpuid_max(0).0;
        if highest >= 7 { std::arch::x86_64::__cpuid_count(7, 0).edx } else { 0 }
    };
    edx & (BF16 | TILE) == BF16 | TILE
}

/// Asks Linux to save the tile registers of this process (`arch_prctl(2)`). Refused by kernels that do not know them, and where a
/// signal stack is too small for them.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_amx() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request reads and writes no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// How other systems are asked is not known here.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn may_use_amx() -> bool {
    false
}

/// NEON is part of every 64-bit ARM processor.
#[cfg(target_arch = "aarch64")]
fn detect() -> Vec<HostIsa> {
    vec![HostIsa::Aarch64]
}

/// Nothing is generated for other processors.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Vec<HostIsa> {
    Vec::new()
}
