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
mod tensor;
mod timing;

pub use case::Case;
pub use error::{Difference, compare};
pub use execute::{Memory, execute, intermediates};
pub use random::{Fill, Random, fill};
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
    /// The GPU driver failed.
    #[error("CUDA: {0}")]
    Cuda(#[from] nsa::cudarc::driver::DriverError),
}
