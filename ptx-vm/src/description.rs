//! Launches described by data: what a command-line tool needs to run a PTX file.

use crate::finding::Finding;
use crate::launch::{Arg, Module, Options, Report};
use crate::memory::{BufferId, Memory};
use crate::number::{f32_to_bf16, f32_to_f16};
use crate::tensor_map::{MapElement, Swizzle, TensorMap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A launch as a JSON file describes it.
///
/// ```
/// let description = ptx_vm::LaunchDescription::from_json(r#"{
///     "kernel": "double",
///     "grid": [1], "block": [32],
///     "buffers": {
///         "x": { "element": "f32", "length": 32, "fill": { "counting": {} } },
///         "y": { "element": "f32", "length": 32 }
///     },
///     "args": [ { "buffer": "x" }, { "buffer": "y" } ],
///     "seeds": [1, 2, 3]
/// }"#)?;
/// let ptx = "
///     .version 7.1
///     .target sm_80
///     .entry double(.param .u64 x, .param .u64 y) {
///         .reg .b32 %r<4>; .reg .b64 %rd<6>;
///         mov.u32 %r1, %tid.x;
///         mul.wide.u32 %rd1, %r1, 4;
///         ld.param.u64 %rd2, [x];
///         ld.param.u64 %rd3, [y];
///         add.s64 %rd4, %rd2, %rd1;
///         add.s64 %rd5, %rd3, %rd1;
///         ld.global.b32 %r2, [%rd4];
///         add.f32 %r3, %r2, %r2;
///         st.global.b32 [%rd5], %r3;
///         ret;
///     }";
/// let outcome = description.run(ptx)?;
/// assert!(outcome.is_clean());
/// assert_eq!(outcome.buffers["y"].head[..3], [0.0, 2.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchDescription {
    /// The kernel's name; may be left out if the file has one kernel.
    pub kernel: Option<String>,
    /// Blocks along one to three axes.
    pub grid: Vec<u32>,
    /// Threads of a block along one to three axes.
    pub block: Vec<u32>,
    /// Blocks of a cluster, if the kernel does not say.
    #[serde(default)]
    pub cluster: Vec<u32>,
    /// Bytes of dynamic shared memory.
    #[serde(default)]
    pub shared_bytes: u32,
    /// Buffers by name.
    #[serde(default)]
    pub buffers: BTreeMap<String, BufferDescription>,
    /// Arguments in the order of the parameters.
    pub args: Vec<ArgDescription>,
    /// Seeds of the schedules to try; one with seed 0 if there are none.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Warp instructions after which a run is given up.
    pub instruction_limit: Option<u64>,
}

/// A buffer of a described launch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferDescription {
    /// What it holds.
    pub element: BufferElement,
    /// Elements.
    pub length: usize,
    /// What it holds first; nothing: not initialised.
    pub fill: Option<Fill>,
}

/// Element types of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferElement {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 64 bits.
    I64,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

/// First contents of a buffer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Fill {
    /// One value everywhere.
    Value(f64),
    /// The values given, repeated.
    Values(Vec<f64>),
    /// 0, 1, 2 and so on, from `start` in steps of `step`.
    Counting {
        /// The first value.
        #[serde(default)]
        start: f64,
        /// The difference of neighbours.
        #[serde(default = "one")]
        step: f64,
    },
    /// Uniform values from `low` to `high`, the same in every run.
    Random {
        /// The lowest value.
        low: f64,
        /// The highest value.
        high: f64,
        /// Seed of the generator.
        #[serde(default)]
        seed: u64,
    },
}

/// Bytes that all buffers of a description may have together, so that a slip of the pen is told and not tried.
const MOST_BYTES: usize = 1 << 34;

fn one() -> f64 {
    1.0
}

/// An argument of a described launch.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArgDescription {
    /// The address of a buffer.
    Buffer(String),
    /// An unsigned integer of 32 bits.
    U32(u32),
    /// A signed integer of 32 bits.
    I32(i32),
    /// An unsigned integer of 64 bits.
    U64(u64),
    /// A signed integer of 64 bits.
    I64(i64),
    /// A single-precision number.
    F32(f32),
    /// A double-precision number.
    F64(f64),
    /// Bytes of any other parameter.
    Bytes(Vec<u8>),
    /// A tensor map over a buffer.
    TensorMap {
        /// The buffer that holds the tensor from its first byte on.
        buffer: String,
        /// Elements along each axis, the contiguous one first.
        sizes: Vec<u32>,
        /// Bytes between neighbours along every axis but the first.
        strides: Vec<u64>,
        /// Elements of a tile along each axis.
        tile: Vec<u32>,
        /// Type of its elements.
        element: MapElement,
        /// How tiles lie in shared memory.
        #[serde(default)]
        swizzle: Swizzle,
    },
}

/// Why a described launch did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DescriptionError(String);

/// What a described launch found, over all its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedOutcome {
    /// The kernel's name.
    pub kernel: String,
    /// One report a seed.
    pub reports: Vec<SeedReport>,
    /// The buffers after the last run.
    pub buffers: BTreeMap<String, BufferSummary>,
}

/// The report of one seed.
#[derive(Clone, Debug, Serialize)]
pub struct SeedReport {
    /// The schedule's seed.
    pub seed: u64,
    /// What was found.
    #[serde(flatten)]
    pub report: Report,
}

/// A buffer in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct BufferSummary {
    /// The first elements, sixteen at most.
    pub head: Vec<f64>,
    /// The sum of all finite elements.
    pub sum: f64,
    /// Elements that are infinite or NaN.
    pub non_finite: usize,
    /// Bytes that nobody wrote.
    pub uninitialised_bytes: usize,
}

impl DescribedOutcome {
    /// Whether no seed found anything.
    pub fn is_clean(&self) -> bool {
        self.reports.iter().all(|r| r.report.is_clean())
    }

    /// All findings, each once.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = Vec::new();
        for finding in self.reports.iter().flat_map(|r| &r.report.findings) {
            let same = |f: &&Finding| {
                f.kind == finding.kind
                    && f.at.line == finding.at.line
                    && f.other.as_ref().map(|o| o.line) == finding.other.as_ref().map(|o| o.line)
            };
            if !all.iter().any(same) {
                all.push(finding);
            }
        }
        all
    }
}

impl fmt::Display for DescribedOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings() {
            writeln!(f, "{finding}\n")?;
        }
        for (name, buffer) in &self.buffers {
            write!(f, "{name}:")?;
            for value in &buffer.head {
                write!(f, " {value}")?;
            }
            write!(f, " ... sum {}", buffer.sum)?;
            if buffer.non_finite > 0 {
                write!(f, ", {} not finite", buffer.non_finite)?;
            }
            if buffer.uninitialised_bytes > 0 {
                write!(f, ", {} bytes never written", buffer.uninitialised_bytes)?;
            }
            writeln!(f)?;
        }
        let found = self.findings().len();
        let runs = self.reports.len();
        write!(
            f,
            "{}: {} in {}",
            self.kernel,
            if found == 1 { "1 finding".into() } else { format!("{found} findings") },
            if runs == 1 { "1 schedule".into() } else { format!("{runs} schedules") }
        )
    }
}

impl LaunchDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// If the text is not JSON of this form; the message says where.
    pub fn from_json(text: &str) -> Result<Self, DescriptionError> {
        serde_json::from_str(text).map_err(|e| DescriptionError(format!("launch description: {e}")))
    }

    /// Runs the kernel of a PTX text once a seed, each time from the same first contents.
    ///
    /// # Errors
    /// If the text does not parse, the kernel does not exist, the launch breaks a rule that a driver would reject, or the buffers
    /// have more than 16 GiB together.
    pub fn run(&self, ptx: &str) -> Result<DescribedOutcome, DescriptionError> {
        let fail = |e: &dyn fmt::Display| DescriptionError(e.to_string());
        let module = Module::parse(ptx).map_err(|e| fail(&e))?;
        let names: Vec<&str> = module.kernel_names().collect();
        let name = match (&self.kernel, &names[..]) {
            (Some(name), _) => name.clone(),
            (None, [only]) => (*only).to_string(),
            (None, _) => return Err(DescriptionError(format!("name one of the kernels: {}", names.join(", ")))),
        };
        let kernel = module.kernel(&name).map_err(|e| fail(&e))?;
        let bytes = self.buffers.values().map(|b| b.length.saturating_mul(b.element.bytes()));
        if bytes.fold(0, usize::saturating_add) > MOST_BYTES {
            return Err(DescriptionError(format!("the buffers have more than {MOST_BYTES} bytes together")));
        }
        let seeds = if self.seeds.is_empty() { &[0][..] } else { &self.seeds };
        let mut outcome = DescribedOutcome { kernel: name, reports: Vec::new(), buffers: BTreeMap::new() };
        for &seed in seeds {
            let mut memory = Memory::new();
            let buffers: BTreeMap<&str, BufferId> =
                self.buffers.iter().map(|(name, b)| (name.as_str(), b.allocate(&mut memory))).collect();
            let args = self.args.iter().map(|a| a.resolve(&buffers)).collect::<Result<Vec<_>, _>>()?;
            let mut options = Options { seed, cluster: extent(&self.cluster, "cluster")?, ..Options::default() };
            if let Some(limit) = self.instruction_limit {
                options.instruction_limit = limit;
            }
            let (grid, block) = (extent(&self.grid, "grid")?, extent(&self.block, "block")?);
            let report =
                kernel.launch(&mut memory, grid, block, self.shared_bytes, &args, &options).map_err(|e| fail(&e))?;
            outcome.reports.push(SeedReport { seed, report });
            outcome.buffers = self
                .buffers
                .iter()
                .filter_map(|(name, b)| Some((name.clone(), b.summary(&memory, *buffers.get(name.as_str())?))))
                .collect();
        }
        Ok(outcome)
    }
}

fn extent(axes: &[u32], what: &str) -> Result<[u32; 3], DescriptionError> {
    if axes.len() > 3 {
        return Err(DescriptionError(format!("a {what} has at most three axes, not {}", axes.len())));
    }
    Ok(std::array::from_fn(|a| axes.get(a).copied().unwrap_or(1)))
}

impl BufferElement {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    fn encode(self, value: f64) -> Vec<u8> {
        match self {
            Self::U8 => vec![value as u8],
            Self::I32 => (value as i32).to_le_bytes().to_vec(),
            Self::U32 => (value as u32).to_le_bytes().to_vec(),
            Self::I64 => (value as i64).to_le_bytes().to_vec(),
            Self::F16 => f32_to_f16(value as f32).to_le_bytes().to_vec(),
            Self::Bf16 => f32_to_bf16(value as f32).to_le_bytes().to_vec(),
            Self::F32 => (value as f32).to_le_bytes().to_vec(),
            Self::F64 => value.to_le_bytes().to_vec(),
        }
    }

    fn decode(self, bytes: &[u8]) -> f64 {
        let mut word = [0u8; 8];
        word[..self.bytes()].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        match self {
            Self::U8 | Self::U32 => word as f64,
            Self::I32 => f64::from(word as u32 as i32),
            Self::I64 => word as i64 as f64,
            Self::F16 => f64::from(crate::number::f16_to_f32(word as u16)),
            Self::Bf16 => f64::from(crate::number::bf16_to_f32(word as u16)),
            Self::F32 => f64::from(f32::from_bits(word as u32)),
            Self::F64 => f64::from_bits(word),
        }
    }
}

impl BufferDescription {
    fn allocate(&self, memory: &mut Memory) -> BufferId {
        let id = memory.reserve(self.length.saturating_mul(self.element.bytes()));
        let Some(fill) = &self.fill else { return id };
        let mut random = crate::machine::Random::new(if let Fill::Random { seed, .. } = fill { *seed } else { 0 });
        let mut bytes = Vec::with_capacity(self.length * self.element.bytes());
        for i in 0..self.length {
            let value = match fill {
                Fill::Value(value) => *value,
                Fill::Values(values) => values.get(i % values.len().max(1)).copied().unwrap_or(0.0),
                Fill::Counting { start, step } => start + step * i as f64,
                Fill::Random { low, high, .. } => {
                    low + (high - low) * ((random.next() >> 11) as f64 / (1u64 << 53) as f64)
                }
            };
            bytes.extend(self.element.encode(value));
        }
        memory.write(id, 0, &bytes);
        id
    }

    fn summary(&self, memory: &Memory, id: BufferId) -> BufferSummary {
        let bytes = memory.bytes(id);
        let values = || bytes.chunks_exact(self.element.bytes()).map(|b| self.element.decode(b));
        BufferSummary {
            head: values().take(16).collect(),
            sum: values().filter(|v| v.is_finite()).sum(),
            non_finite: values().filter(|v| !v.is_finite()).count(),
            uninitialised_bytes: memory.initialised(id).iter().filter(|&&w| !w).count(),
        }
    }
}

impl ArgDescription {
    fn resolve(&self, buffers: &BTreeMap<&str, BufferId>) -> Result<Arg, DescriptionError> {
        let find = |name: &String| {
            buffers.get(name.as_str()).copied().ok_or_else(|| DescriptionError(format!("there is no buffer `{name}`")))
        };
        Ok(match self {
            Self::Buffer(name) => Arg::Buffer(find(name)?),
            Self::U32(v) => Arg::U32(*v),
            Self::I32(v) => Arg::I32(*v),
            Self::U64(v) => Arg::U64(*v),
            Self::I64(v) => Arg::I64(*v),
            Self::F32(v) => Arg::F32(*v),
            Self::F64(v) => Arg::F64(*v),
            Self::Bytes(bytes) => Arg::Bytes(bytes.clone()),
            Self::TensorMap { buffer, sizes, strides, tile, element, swizzle } => Arg::TensorMap(
                TensorMap::tiled(*element, find(buffer)?, 0, sizes, strides, tile, *swizzle)
                    .map_err(|e| DescriptionError(e.to_string()))?,
            ),
        })
    }
}
