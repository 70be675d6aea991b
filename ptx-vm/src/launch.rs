//! The library's interface: modules, kernels, launches and their reports.

use crate::error::ParseError;
use crate::finding::{Finding, Findings};
use crate::machine::banks::{Banks, Served};
use crate::machine::{Launch, Machine, Outcome, RESERVED_SHARED};
use crate::memory::{BufferId, Memory, lock};
use crate::program::Program;
use crate::syntax::{LaunchBounds, ModuleSyntax, Parameter};
use crate::tensor_map::TensorMap;
use rayon::prelude::*;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A parsed PTX file.
#[derive(Clone, Debug)]
pub struct Module {
    syntax: ModuleSyntax,
}

impl Module {
    /// Parses PTX text.
    ///
    /// # Errors
    /// The first place where the text is not PTX that this crate knows, with line and column.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { syntax: crate::parser::parse(text)? })
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.syntax.kernels.iter().map(|k| k.name.as_str())
    }

    /// The `.target` of the file, such as `sm_90a`.
    pub fn target(&self) -> &str {
        &self.syntax.target
    }

    /// The `.version` of the file: the PTX ISA it was written for.
    pub fn version(&self) -> (u32, u32) {
        self.syntax.version
    }

    /// Resolves one kernel.
    ///
    /// # Errors
    /// [`LoadError::NoSuchKernel`], or the first instruction that is not known or not well formed.
    pub fn kernel(&self, name: &str) -> Result<Kernel, LoadError> {
        let Some(kernel) = self.syntax.kernels.iter().find(|k| k.name == name) else {
            return Err(LoadError::NoSuchKernel {
                name: name.into(),
                known: self.kernel_names().map(str::to_string).collect(),
            });
        };
        Ok(Kernel { program: crate::decode::decode(&self.syntax, kernel)? })
    }
}

/// Why a kernel cannot be had from a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The module has no kernel of that name.
    #[error("the module has no kernel `{name}`; it has {}", list(known))]
    NoSuchKernel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// An instruction is not known or not well formed.
    #[error(transparent)]
    Code(#[from] ParseError),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { format!("`{}`", names.join("`, `")) }
}

/// A kernel ready to be launched.
#[derive(Clone, Debug)]
pub struct Kernel {
    program: Program,
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// The address of a buffer.
    Buffer(BufferId),
    /// The address of a byte inside a buffer.
    BufferAt(BufferId, u64),
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit signed integer.
    I32(i32),
    /// A 64-bit unsigned integer, or an address from elsewhere.
    U64(u64),
    /// A 64-bit signed integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A tensor map, by value.
    TensorMap(TensorMap),
    /// Any other value, as its bytes.
    Bytes(Vec<u8>),
}

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Buffer(id) => id.address().to_le_bytes().to_vec(),
            Self::BufferAt(id, offset) => (id.address() + offset).to_le_bytes().to_vec(),
            Self::U32(v) => v.to_le_bytes().to_vec(),
            Self::I32(v) => v.to_le_bytes().to_vec(),
            Self::U64(v) => v.to_le_bytes().to_vec(),
            Self::I64(v) => v.to_le_bytes().to_vec(),
            Self::F32(v) => v.to_le_bytes().to_vec(),
            Self::F64(v) => v.to_le_bytes().to_vec(),
            Self::TensorMap(map) => map.encode(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// How to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of the scheduler: warps of a block take turns in an order that depends on nothing else.
    pub seed: u64,
    /// Look for races, missing waits and reads of bytes nobody wrote. Without it only values are computed.
    pub race_detection: bool,
    /// Run blocks on all threads of the current rayon pool; otherwise one after the other, which makes atomics between
    /// blocks repeatable.
    pub parallel: bool,
    /// Warp instructions after which the run is given up, over all blocks.
    pub instruction_limit: u64,
    /// Blocks of a cluster, if the kernel does not say so itself.
    pub cluster: [u32; 3],
    /// Count how accesses to shared memory fall on its banks ([`Report::shared_accesses`]).
    pub bank_conflicts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            race_detection: true,
            parallel: true,
            instruction_limit: 1 << 32,
            cluster: [1; 3],
            bank_conflicts: false,
        }
    }
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Hazards, in the order of the text; empty for a correct kernel.
    pub findings: Vec<Finding>,
    /// Instructions executed, counted once a warp.
    pub warp_instructions: u64,
    /// Instructions executed, counted once a thread.
    pub lane_instructions: u64,
    /// Loads, stores, matrices and `cp.async` copies of shared memory, in the order of the text, if [`Options::bank_conflicts`] asked
    /// for them. Atomic operations and bulk copies are not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared_accesses: Vec<SharedAccess>,
}

/// How the accesses of one instruction fell on the banks of shared memory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SharedAccess {
    /// Line of the text, counted from 1.
    pub line: u32,
    /// The instruction as written.
    pub instruction: String,
    /// How often a warp executed it.
    pub accesses: u64,
    /// How often these accesses went to shared memory: each time gives one word of each of the 32 banks.
    pub wavefronts: u64,
    /// How often they would have gone there if no two words had shared a bank that need not.
    pub least: u64,
}

impl SharedAccess {
    /// Wavefronts that bank conflicts cost.
    pub fn conflicts(&self) -> u64 {
        self.wavefronts - self.least
    }
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{} finding{} in {} warp instructions",
            self.findings.len(),
            if self.findings.len() == 1 { "" } else { "s" },
            self.warp_instructions
        )
    }
}

/// Why a launch did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The number of arguments is wrong.
    #[error("kernel `{kernel}` takes {wanted} arguments, {given} were given")]
    ArgumentCount {
        /// The kernel's name.
        kernel: String,
        /// Parameters it has.
        wanted: usize,
        /// Arguments given.
        given: usize,
    },
    /// An argument has another size than its parameter.
    #[error("parameter `{parameter}` has {wanted} bytes, the argument has {given}")]
    ArgumentSize {
        /// The parameter's name.
        parameter: String,
        /// Its size in bytes.
        wanted: u64,
        /// The argument's size in bytes.
        given: usize,
    },
    /// Grid, block or cluster is outside what the target or the kernel allows.
    #[error("{0}")]
    Shape(String),
    /// More shared memory than a block may have.
    #[error("the block needs {wanted} bytes of shared memory, {target} has {limit}")]
    SharedMemory {
        /// Static and dynamic bytes together.
        wanted: u64,
        /// The target's limit.
        limit: u32,
        /// The target.
        target: String,
    },
}

/// Warp instructions of a cluster before another gets its turn on the same worker.
const SLICE: u64 = 2_000_000;

impl Kernel {
    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.program.parameters
    }

    /// What the kernel's directives demand of a launch.
    pub fn bounds(&self) -> &LaunchBounds {
        &self.program.bounds
    }

    /// Bytes of shared memory that the kernel declares, dynamic ones excluded.
    pub fn static_shared_bytes(&self) -> u32 {
        self.program.static_shared - RESERVED_SHARED
    }

    /// Runs the kernel to its end over `grid` blocks of `block` threads with `shared_bytes` of dynamic shared memory.
    ///
    /// # Errors
    /// If the launch breaks a rule that a driver would reject; what goes wrong later is in the report.
    pub fn launch(
        &self,
        memory: &mut Memory,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        args: &[Arg],
        options: &Options,
    ) -> Result<Report, LaunchError> {
        let program = &self.program;
        let parameters = self.parameter_block(args)?;
        let cluster = program.bounds.cluster.unwrap_or(options.cluster);
        self.check_shape(grid, block, cluster)?;
        let limits = program.limits();
        let total = u64::from(program.static_shared) + u64::from(shared_bytes);
        if total > u64::from(limits.shared_bytes + RESERVED_SHARED) {
            return Err(LaunchError::SharedMemory {
                wanted: total - u64::from(RESERVED_SHARED),
                limit: limits.shared_bytes,
                target: program.target.clone(),
            });
        }
        memory.forget_accesses();
        let own = memory.count();
        self.add_variables(memory);
        let launch = Launch {
            program,
            memory,
            parameters: &parameters,
            grid,
            block,
            cluster,
            shared_bytes: total as u32,
            dynamic_shared: shared_bytes,
            first_variable: own,
            options,
        };
        let units = (0..3).map(|a| u64::from(grid[a] / cluster[a])).product::<u64>() as u32;
        let report = run(&launch, units);
        memory.truncate(own);
        Ok(report)
    }

    fn parameter_block(&self, args: &[Arg]) -> Result<Vec<u8>, LaunchError> {
        let parameters = &self.program.parameters;
        if args.len() != parameters.len() {
            return Err(LaunchError::ArgumentCount {
                kernel: self.program.name.clone(),
                wanted: parameters.len(),
                given: args.len(),
            });
        }
        let size = parameters.last().map_or(0, |p| p.offset + p.size) as usize;
        let mut block = vec![0; size];
        for (parameter, arg) in parameters.iter().zip(args) {
            let bytes = arg.bytes();
            if bytes.len() as u64 != parameter.size {
                return Err(LaunchError::ArgumentSize {
                    parameter: parameter.name.clone(),
                    wanted: parameter.size,
                    given: bytes.len(),
                });
            }
            let at = parameter.offset as usize;
            block[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(block)
    }

    fn check_shape(&self, grid: [u32; 3], block: [u32; 3], cluster: [u32; 3]) -> Result<(), LaunchError> {
        let fail = |sentence: String| Err(LaunchError::Shape(sentence));
        let product = |v: [u32; 3]| v.iter().map(|&x| u64::from(x)).product::<u64>();
        let threads = product(block);
        if product(grid) == 0 || threads == 0 || product(cluster) == 0 {
            return fail("a grid, a block and a cluster have at least one element along each axis".into());
        }
        if product(grid) > u64::from(u32::MAX) || grid[1] > 65535 || grid[2] > 65535 {
            return fail(format!("a grid of {grid:?} blocks is too large"));
        }
        if threads > 1024 || block[2] > 64 {
            return fail(format!("a block of {block:?} threads is too large: 1024 in all, 64 along z"));
        }
        if let Some(required) = self.program.bounds.required_threads
            && required != block
        {
            return fail(format!("the kernel requires blocks of {required:?} threads, not {block:?}"));
        }
        if let Some(max) = self.program.bounds.max_threads
            && threads > product(max)
        {
            return fail(format!("the kernel allows at most {} threads a block, not {threads}", product(max)));
        }
        if (0..3).any(|a| !grid[a].is_multiple_of(cluster[a])) {
            return fail(format!("a grid of {grid:?} blocks does not divide into clusters of {cluster:?}"));
        }
        let limit = self.program.limits().cluster;
        if product(cluster) > u64::from(limit) {
            return fail(format!("a cluster of {cluster:?} blocks is too large: {limit} on {}", self.program.target));
        }
        Ok(())
    }

    /// Gives the module's variables buffers, as they are before the launch.
    fn add_variables(&self, memory: &mut Memory) {
        for variable in &self.program.variables {
            let mut bytes = variable.initial.clone();
            // Variables are zero where no initialiser says otherwise.
            bytes.resize(variable.size as usize, 0);
            memory.add(&bytes);
        }
    }
}

/// Clusters run to their end, many at a time; one that takes long gives way to the next, since it may be waiting for
/// it.
fn run<'l>(launch: &'l Launch<'l>, units: u32) -> Report {
    let all = Mutex::new((Findings::default(), 0u64, 0u64, Banks::default()));
    let suspended: Mutex<Vec<Machine<'l>>> = Mutex::new(Vec::new());
    let spent = AtomicU64::new(0);
    // Clusters that come when the budget is spent do not begin; one of them says so.
    let late = AtomicBool::new(false);
    let begin = |unit: u32| -> Option<Machine<'l>> {
        if spent.load(Ordering::Relaxed) <= launch.options.instruction_limit {
            return Some(Machine::new(launch, unit));
        }
        if !late.swap(true, Ordering::Relaxed) {
            let mut machine = Machine::new(launch, unit);
            machine.report_timeout();
            lock(&all).0.merge(machine.findings);
        }
        None
    };
    let advance = |mut machine: Machine<'l>| {
        let before = machine.warp_instructions;
        let outcome = machine.run(SLICE.min(launch.options.instruction_limit));
        let total = spent.fetch_add(machine.warp_instructions - before, Ordering::Relaxed);
        if outcome == Outcome::Suspended && total <= launch.options.instruction_limit {
            lock(&suspended).push(machine);
            return;
        }
        if outcome == Outcome::Suspended {
            machine.report_timeout();
        }
        let mut all = lock(&all);
        all.0.merge(machine.findings);
        all.1 += machine.warp_instructions;
        all.2 += machine.lane_instructions;
        all.3.merge(machine.banks);
    };
    if launch.options.parallel && units > 1 {
        (0..units).into_par_iter().try_for_each(|unit| begin(unit).map(advance));
    } else {
        (0..units).try_for_each(|unit| begin(unit).map(advance));
    }
    loop {
        let round = std::mem::take(&mut *lock(&suspended));
        if round.is_empty() {
            break;
        }
        if launch.options.parallel {
            round.into_par_iter().for_each(advance);
        } else {
            round.into_iter().for_each(advance);
        }
    }
    let (findings, warp_instructions, lane_instructions, banks) = all.into_inner().unwrap_or_else(|e| e.into_inner());
    let source = &launch.program.source;
    let shared_accesses = if banks.0.is_empty() { Vec::new() } else { accesses(banks, source) };
    Report { findings: findings.finish(source), warp_instructions, lane_instructions, shared_accesses }
}

/// Accesses with their instructions, quoted from `source`.
fn accesses(banks: Banks, source: &str) -> Vec<SharedAccess> {
    let lines: Vec<&str> = source.lines().collect();
    let one = |(line, served): (u32, Served)| SharedAccess {
        line,
        instruction: lines.get((line as usize).wrapping_sub(1)).map_or("", |l| l.trim()).to_string(),
        accesses: served.accesses,
        wavefronts: served.wavefronts,
        least: served.least,
    };
    banks.0.into_iter().map(one).collect()
}
