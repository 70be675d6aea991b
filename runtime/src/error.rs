//! What can go wrong between a compiled program and its launch, one sentence each.

use nsa_artifact::{DType, Evaluate, Invalid, PtxVersion, ReadError, Target};

/// An error of the runtime. The text is a sentence for the user: what was wrong, what would have been right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no device's.
    #[error("`{0}` is no device; devices are host, host:x86_64 (or avx2, avx512, amx, aarch64), cuda:0, cuda:1, ...")]
    DeviceName(String),
    /// An instruction set that the processor lacks.
    #[error("this machine's processor does not have the instruction set {0}")]
    NoIsa(nsa_artifact::HostIsa),
    /// No CUDA driver.
    #[error("no CUDA driver on this machine (libcuda was not found): install NVIDIA's driver, or run on the host")]
    NoDriver,
    /// The driver is older than CUDA 11.0.
    #[error("this machine's CUDA driver is for CUDA {major}.{minor}; nsa needs a driver for CUDA 11.0 or later")]
    AncientDriver {
        /// CUDA version of the driver, before the dot.
        major: u32,
        /// After the dot.
        minor: u32,
    },
    /// The driver cannot read the PTX.
    #[error(
        "`{program}` is PTX {needed}, this machine's CUDA driver reads up to PTX {highest}: update it to one for CUDA {}.{} or later",
        .needed.first_cuda().0, .needed.first_cuda().1
    )]
    OldDriver {
        /// The program's name.
        program: String,
        /// The PTX version of the code.
        needed: PtxVersion,
        /// What the driver reads.
        highest: PtxVersion,
    },
    /// There is no GPU of this number.
    #[error("there is no CUDA device {ordinal}: this machine has {count}, counted from 0")]
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The GPU is older than anything nsa generates code for.
    #[error("{name} has compute capability {}.{}; nsa needs 8.0 (A100) or later", .capability.0, .capability.1)]
    SmallGpu {
        /// The GPU's name.
        name: String,
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// The artifact has no code for the device.
    #[error("`{program}` has no code for {device}; it was compiled for {}", list(.targets))]
    NoCode {
        /// The program's name.
        program: String,
        /// The device, in words.
        device: String,
        /// What there is code for.
        targets: Vec<Target>,
    },
    /// Host code that is not linked in.
    #[error(
        "the host code of `{program}` is not part of this process (symbol {symbol} is missing): embed it with nsa_kernel!, or give its symbols to Kernel::load_host"
    )]
    NotLinked {
        /// The program's name.
        program: String,
        /// The first symbol that was not found.
        symbol: String,
    },
    /// A kernel needs more shared memory than the GPU has.
    #[error(
        "kernel `{kernel}` needs {needed} bytes of shared memory per block, {device} has {available}: use smaller tiles or another GPU"
    )]
    SharedMemory {
        /// The kernel.
        kernel: String,
        /// What it needs.
        needed: usize,
        /// What there is.
        available: usize,
        /// The device, in words.
        device: String,
    },
    /// The driver refused the PTX.
    #[error("the CUDA driver cannot load `{program}`: {reason}{}", log_lines(.log))]
    Load {
        /// The program's name.
        program: String,
        /// The driver's error.
        reason: String,
        /// The log of its assembler.
        log: String,
    },
    /// A call of the driver failed.
    #[error("CUDA, while {doing}: {reason}")]
    Cuda {
        /// What was being done.
        doing: &'static str,
        /// The driver's error.
        reason: String,
    },
    /// The shape does not fit the program.
    #[error("shape of `{program}`: {reason}")]
    Shape {
        /// The program's name.
        program: String,
        /// What is wrong.
        reason: String,
    },
    /// A length cannot be computed.
    #[error(transparent)]
    Length(#[from] Evaluate),
    /// Sizes beyond what addresses or the grid can hold.
    #[error("{what} is too large: {size}, at most {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size.
        size: i128,
        /// What is possible.
        limit: i128,
    },
    /// An argument was not given.
    #[error("argument `{0}` is missing")]
    Missing(String),
    /// An argument was given that the program does not have.
    #[error("there is no argument `{name}`; `{program}` has {}", list(.known))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The program's name.
        program: String,
        /// The names of its arguments and results.
        known: Vec<String>,
    },
    /// An argument was given twice.
    #[error("argument `{0}` is given twice")]
    Twice(String),
    /// An argument has another type.
    #[error("`{name}` must be {expected}, but is {given}: convert it first{}", declare(.name, .given, .axes))]
    Type {
        /// The argument.
        name: String,
        /// What the program says.
        expected: DType,
        /// The name of what was given; tensors of other libraries may have types that programs do not.
        given: String,
        /// The argument's axes.
        axes: Vec<String>,
    },
    /// An argument does not fit the planned shape.
    #[error("`{name}`: {reason}")]
    Argument {
        /// The argument.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A plan for one device was launched on a stream of another.
    #[error("the plan was made for {planned}, the launch is on {given}")]
    WrongDevice {
        /// The plan's device.
        planned: String,
        /// The stream's.
        given: String,
    },
    /// Memory cannot be described for another library.
    #[error("this cannot be given away as a DLPack tensor: {0}")]
    Share(String),
    /// Not enough memory.
    #[error("no memory for {bytes} bytes of workspace on {device}")]
    Memory {
        /// How much was needed.
        bytes: usize,
        /// Where.
        device: String,
    },
    /// A program that was to be compiled has errors: all of them, with the source quoted.
    #[error("{0}")]
    Program(String),
    /// A program without errors could not be compiled.
    #[error("{0}")]
    Compile(String),
    /// The bytes are no artifact.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The artifact contradicts itself.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Error {
    /// Wraps an error of the driver.
    pub(crate) fn cuda(doing: &'static str) -> impl Fn(cudarc::driver::DriverError) -> Error {
        move |e| Error::Cuda { doing, reason: crate::cuda::describe(e) }
    }
}

/// What to write in the program instead, if programs have such a type.
fn declare(name: &str, given: &str, axes: &[String]) -> String {
    let known = [DType::Bf16, DType::F16, DType::F32, DType::I32].iter().any(|dtype| dtype.name() == given);
    if known { format!(", or declare `{name}: {given}[{}]` in the program", axes.join(", ")) } else { String::new() }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    match items {
        [] => "nothing".into(),
        items => items.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn log_lines(log: &str) -> String {
    if log.trim().is_empty() { String::new() } else { format!("\n{}", log.trim()) }
}
