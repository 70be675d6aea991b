//! Running compiled programs on tensors, and judging what comes out.
//!
//! Needs the runtime only, not the compiler: the binary `nsa-run` of this crate can be copied to a machine with a GPU and
//! nothing else. It takes artifacts (`nsa build`) and cases (`nsa run --case`): inputs together with the outputs that the
//! reference evaluator expects.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

mod case;
mod error;
mod execute;
mod gpu;
mod random;
mod space;
mod tensor;
mod timing;

pub use case::Case;
pub use error::{Difference, compare};
pub use execute::{Memory, execute, intermediates};
pub use random::{Fill, Random, fill};
pub use space::{Demand, demand};
pub use tensor::{Tensor, Tensors, parse_tensors, read_tensors, write_tensors};
pub use timing::{Timing, time};

/// What can go wrong besides the runtime's own errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime refused something.
    #[error(transparent)]
    Runtime(#[from] nsa::Error),
    /// A file of tensors cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is missing or has another shape or type.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The host's memory is too small.
    #[error(
        "{largest} is too large for this machine: {} of memory are needed in all, and {} are free; choose smaller lengths or widths",
        gigabytes(.needed), gigabytes(.available)
    )]
    Space {
        /// The largest tensor: what it is, its shape.
        largest: String,
        /// Bytes that are needed, of everything together.
        needed: u128,
        /// Bytes that there are.
        available: u128,
    },
    /// The GPU driver failed.
    #[error("CUDA: {0}")]
    Cuda(#[from] nsa::cudarc::driver::DriverError),
}

fn gigabytes(bytes: &u128) -> String {
    format!("{:.2} GB", *bytes as f64 / 1e9)
}
