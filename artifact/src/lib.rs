//! What compiling a program yields: kernels as data.
//!
//! An [`Artifact`] is a [`Manifest`] (what the arguments are, which kernels run in which order on which grid, what memory they
//! need) and the texts it names: PTX for GPUs, assembly for the host. The macro, the command line and the compiler make the
//! same artifact; the runtime reads nothing else. Artifacts travel as one file ([`Artifact::to_bytes`],
//! [`Artifact::from_bytes`]) or embedded in a program.
//!
//! # The calling convention of kernels
//!
//! A kernel, on the host and on a GPU alike, takes an array of 64-bit words:
//!
//! | word | meaning |
//! |---|---|
//! | 0 | *sequences*: address of `i64 [sequence][slot][2]`, the (offset, length) of every non-constant axis of each sequence. Slots number the non-constant axes in the order of [`Variant::axes`]. The offset is where the sequence starts in a packed axis: the sum of the lengths of the sequences before it. |
//! | 1 | *tiles*: address of `i32 [tile][2]`: the sequence, and the first value of the grid's run-time axis. Without a run-time axis in the grid there is one entry per sequence, (sequence, 0). |
//! | 2 | the number of tiles |
//! | 3 .. | for each buffer of [`Kernel::buffers`]: its address, then the strides of all its axes but the last, in elements. The last axis is contiguous. A buffer of rank 0 has no stride word. |
//!
//! **Blocks.** The grid is one-dimensional. Block `b` works on tile `b % tiles`; `b / tiles` numbers the tiles of the grid's
//! constant axes in the order of [`Kernel::grid`], slowest first. So there are `tiles * product of ceil(extent / tile)` blocks.
//!
//! **Elements.** The element at an index is at `address + sum over axes of (index + packed offset) * stride`. The packed offset
//! is added for one axis only, the buffer's slowest run-time axis: sequences lie behind each other along it. Further run-time
//! axes are padded to their longest sequence. All of it is 64-bit arithmetic.
//!
//! **Derived axes.** The length of a derived axis is computed for each sequence from its other lengths ([`Extent::Derived`]),
//! negative values count as 0; offsets are running sums of these lengths, so that intermediates are packed too.
//!
//! **Workspaces** have one place per value of each constant axis, the total over all sequences for the slowest run-time axis,
//! and the longest sequence for further ones; at least one element.
//!
//! **GPU entry**: `.entry <kernel>` with one `.param .u64` per word, a one-dimensional grid, [`Kernel::threads`] threads,
//! [`Kernel::shared_bytes`] of dynamic shared memory.
//!
//! **Host entry**: `extern "C" fn(words: *const u64, first_block: i64, end_block: i64, scratch: *mut u8)` runs the blocks
//! `first_block .. end_block`. `scratch` has [`Kernel::scratch_bytes`], is aligned to [`SCRATCH_ALIGN`] and belongs to the
//! calling thread. There is one symbol per kernel and instruction set, named by [`Manifest::host_symbol`].

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

mod check;
mod container;
mod extent;
mod manifest;
mod processor;
mod target;

pub use container::{Artifact, ReadError, digest};
pub use extent::{Evaluate, IntOp, Length};
pub use manifest::{
    Axis, Bound, Buffer, Code, DType, Extent, GridAxis, Kernel, Manifest, Measure, Role, TargetCode, TileOrder,
    Variant, symbol_name,
};
pub use target::{HostIsa, PtxVersion, Target, UnknownTarget};

pub use check::Invalid;

/// Alignment of a host kernel's scratch memory in bytes: one cache line, one AVX-512 register.
pub const SCRATCH_ALIGN: usize = 64;
/// The most axes a buffer may have. Views of the runtime keep shapes in arrays of this length.
pub const MAX_RANK: usize = 8;
