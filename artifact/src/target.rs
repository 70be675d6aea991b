//! Names of targets and instruction sets.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// NVIDIA GPUs of compute capability 8.0 and later.
    Sm80,
    /// NVIDIA GPUs of compute capability 9.0 only (Hopper; architecture-specific instructions).
    Sm90a,
    /// 64-bit x86 processors; the instruction set is chosen when running, see [`HostIsa`].
    X86_64,
    /// 64-bit ARM processors.
    Aarch64,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 4] = [Target::Sm80, Target::Sm90a, Target::X86_64, Target::Aarch64];

    /// The name as users write it: `sm_80`, `sm_90a`, `x86_64`, `aarch64`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Sm80 => "sm_80",
            Target::Sm90a => "sm_90a",
            Target::X86_64 => "x86_64",
            Target::Aarch64 => "aarch64",
        }
    }

    /// True for GPUs.
    pub fn is_gpu(self) -> bool {
        matches!(self, Target::Sm80 | Target::Sm90a)
    }

    /// The processor that this code itself was compiled for, if it is a target.
    pub const fn this_host() -> Option<Target> {
        if cfg!(target_arch = "x86_64") {
            Some(Target::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Target::Aarch64)
        } else {
            None
        }
    }

    /// True if a GPU of this compute capability executes the target's PTX.
    pub fn runs_on(self, capability: (u32, u32)) -> bool {
        match self {
            Target::Sm80 => capability >= (8, 0),
            Target::Sm90a => capability == (9, 0),
            Target::X86_64 | Target::Aarch64 => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no target.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a target; targets are sm_80, sm_90a, x86_64, aarch64, and host for the processor that compiles")]
pub struct UnknownTarget(pub String);

impl FromStr for Target {
    type Err = UnknownTarget;
    /// Reads a target's name; `host` is the processor this runs on.
    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let host = if text == "host" { Target::this_host() } else { None };
        host.or_else(|| Target::ALL.into_iter().find(|t| t.name() == text))
            .ok_or_else(|| UnknownTarget(text.to_string()))
    }
}

impl TryFrom<String> for Target {
    type Error = UnknownTarget;
    fn try_from(text: String) -> Result<Self, UnknownTarget> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.name().to_string()
    }
}

/// An instruction set that host kernels are compiled for; the runtime takes the best one that the processor has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostIsa {
    /// Baseline x86-64: SSE2.
    #[serde(rename = "x86_64")]
    X86_64,
    /// AVX2 with FMA, F16C, BMI1 and BMI2.
    Avx2,
    /// AVX-512 F, BW, DQ and VL on top of AVX2.
    Avx512,
    /// AVX-512 BF16 and AMX with tiles of bf16 on top of [`HostIsa::Avx512`].
    Amx,
    /// Baseline 64-bit ARM: NEON.
    Aarch64,
}

impl HostIsa {
    /// All instruction sets.
    pub const ALL: [HostIsa; 5] = [HostIsa::X86_64, HostIsa::Avx2, HostIsa::Avx512, HostIsa::Amx, HostIsa::Aarch64];

    /// The suffix of its symbols.
    pub fn name(self) -> &'static str {
        match self {
            HostIsa::X86_64 => "x86_64",
            HostIsa::Avx2 => "avx2",
            HostIsa::Avx512 => "avx512",
            HostIsa::Amx => "amx",
            HostIsa::Aarch64 => "aarch64",
        }
    }
}

impl fmt::Display for HostIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Version of the PTX language, e.g. 7.1; a driver accepts those up to its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PtxVersion {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl PtxVersion {
    /// The highest PTX version that a CUDA driver accepts, from the number that `cuDriverGetVersion` gives
    /// (1000 * major + 10 * minor). Source: "PTX ISA", release notes table. None: too old for this table (before CUDA 11.0).
    pub fn of_driver(driver: u32) -> Option<PtxVersion> {
        let (major, minor) = (driver / 1000, driver % 1000 / 10);
        let minor = match (major, minor) {
            (0..=10, _) => return None,
            (11, minor) => minor,
            (12, minor @ 0..=5) => minor,
            // CUDA 12.6 kept PTX 8.5.
            (12, minor) => minor - 1,
            (_, minor) => minor,
        };
        Some(PtxVersion { major: major - 4, minor })
    }

    /// The version that a PTX module asks for: its `.version` directive (PTX ISA, "PTX Module Directives").
    pub fn of_module(text: &str) -> Option<PtxVersion> {
        let version = text.lines().find_map(|line| line.trim().strip_prefix(".version"))?;
        let (major, minor) = version.trim().split_once('.')?;
        Some(PtxVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The first CUDA release whose driver accepts this version, as (major, minor).
    pub fn first_cuda(self) -> (u32, u32) {
        let minor = if self.major == 8 && self.minor >= 6 { self.minor + 1 } else { self.minor };
        (self.major + 4, minor)
    }
}

impl fmt::Display for PtxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for target in Target::ALL {
            assert_eq!(target.name().parse(), Ok(target));
        }
        assert!("sm_75".parse::<Target>().is_err());
    }

    #[test]
    fn hopper_code_runs_on_hopper_only() {
        let can = |target: Target| -> Vec<_> {
            [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0)].into_iter().filter(|c| target.runs_on(*c)).collect()
        };
        assert_eq!(can(Target::Sm80), [(8, 0), (8, 9), (9, 0), (10, 0)]);
        assert_eq!(can(Target::Sm90a), [(9, 0)]);
    }

    /// The PTX ISA manual's release table, rows around each irregularity.
    #[test]
    fn drivers_and_ptx_versions() {
        let table = [
            (11000, "7.0"),
            (11080, "7.8"),
            (12000, "8.0"),
            (12050, "8.5"),
            (12060, "8.5"),
            (12070, "8.6"),
            (12080, "8.7"),
            (12090, "8.8"),
            (13000, "9.0"),
            (13010, "9.1"),
        ];
        for (driver, ptx) in table {
            let version = PtxVersion::of_driver(driver).expect("in the table");
            assert_eq!(version.to_string(), ptx, "driver {driver}");
            let (major, minor) = version.first_cuda();
            let first = major * 1000 + minor * 10;
            assert!(first == driver || (driver == 12060 && first == 12050), "driver {driver} gives {first}");
        }
        assert_eq!(PtxVersion::of_driver(10020), None);
    }
}
