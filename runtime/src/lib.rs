//! Kernels for attention-like tensor programs: compile them with [`nsa_kernel!`], run them on the host or on a GPU.
//!
//! A program is compiled when *your* program is: the macro embeds PTX for GPUs and machine code for the host. At run time there is
//! no compiler, no CUDA toolkit and no Python, only the CUDA driver, and that only if a GPU is used.
//!
//! * [`Device`]: the host, or a GPU.
//! * [`Kernel`]: a compiled program on a device.
//! * [`Plan`]: a kernel prepared for a [`Shape`]: one sequence, or a packed batch. Planning allocates, launching does not.
//! * [`View`]: your memory, with its strides, as an argument.
//!
//! # Features
//!
//! | feature | what | needs |
//! |---|---|---|
//! | `compile` (default) | [`nsa_kernel!`] compiles programs inside your build | a Rust toolchain that ships LLVM 22 (1.95) |
//! | none (`default-features = false`) | [`nsa_kernel!`] embeds artifacts that `nsa build` wrote | any toolchain from Rust 1.88 on, no LLVM |
//! | `jit` | `Kernel::compile`, module `jit`: programs compiled at run time, with a cache on disk | LLVM in your program, see the module |
//! | `cache` (part of `jit`) | the cache alone, module `cache` | |
//! | `system-llvm` | where LLVM is needed, the static libraries of an installed LLVM 22: other toolchains, and programs with `jit` that travel | on Debian `llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev`; `NSA_LLVM_CONFIG` names another `llvm-config` |
//! | `ndarray`, `safetensors`, `dlpack` | views of other libraries' memory, never copies: `View::from` an array, or a tensor of a file in memory; tensors of other libraries as arguments and results, and memory given to them | |
//!
//! The compiler is part of your build with `compile`. Two lines in your `Cargo.toml` have it optimised there, debug builds included:
//!
//! ```toml
//! [profile.dev.build-override]
//! opt-level = 3
//! ```
//!
//! # Artifacts
//!
//! Compiled programs can also travel as files ([`Artifact`]), written by `nsa build`. On a GPU:
//!
//! ```no_run
//! use nsa::{Artifact, Device, Kernel, Shape, View, half::bf16};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::cuda(0)?;
//! let stream = device.context().ok_or("no GPU")?.new_stream()?;
//! let artifact = Artifact::from_bytes(&std::fs::read("window.nsak")?)?;
//! // SAFETY: the file comes from the compiler.
//! let kernel = unsafe { Kernel::load(&artifact, &device) }?;
//!
//! // Two sequences, one behind the other; once per shape.
//! let mut plan = kernel.plan(&Shape::new().with("t", vec![100, 900]).with("s", vec![100, 900]))?;
//! let x = stream.alloc_zeros::<bf16>(1000 * 64)?;
//! let mut o = stream.alloc_zeros::<bf16>(1000 * 64)?;
//! let x = || View::cuda(&x, &[1000, 64], &stream);
//! plan.launch(&stream, &[("q", &x()), ("k", &x()), ("v", &x()), ("o", &View::cuda_mut(&mut o, &[1000, 64], &stream))])?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

mod batch;
#[cfg(feature = "cache")]
pub mod cache;
mod cuda;
mod device;
mod driver;
mod error;
mod gather;
mod host;
#[cfg(feature = "jit")]
pub mod jit;
mod kernel;
mod memory;
mod plan;
mod shape;
mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use device::Device;
pub use driver::{Driver, GpuLimits, GpuRates};
pub use error::Error;
pub use host::{HostEntry, HostSymbols};
pub use kernel::{Embedded, Kernel};
pub use nsa_artifact::{self as artifact, Artifact, DType, HostIsa, Target};
pub use plan::{Intermediate, Parameter, Plan, Script, ScriptLaunch, ScriptMemory, ScriptWord, Stream};
pub use shape::{Lengths, Shape};
#[cfg(feature = "dlpack")]
pub use view::dlpack;
pub use view::{Element, View};

pub use nsa_macros::nsa_kernel;

/// The CUDA driver bindings whose streams and memory this crate takes.
pub use cudarc;
/// Half-precision types of elements.
pub use half;

/// The README's example, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The book's chapter for those who embed kernels, likewise.
#[cfg(doctest)]
#[doc = include_str!("../../book/src/embedding.md")]
struct Embedding;
