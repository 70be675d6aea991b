//! Runs PTX without a GPU, value by value, and reports the hazards it meets.
//!
//! A [`Module`] is parsed text; a [`Kernel`] of it is launched over a grid with buffers that live in a [`Memory`]. The
//! machine runs warps under a seeded random scheduler with the rules of the PTX ISA: divergence, shared memory,
//! barriers, tensor cores, asynchronous copies. The [`Report`] lists [`Finding`]s: races (found by vector clocks, so they
//! are found whether or not this schedule shows them), bytes read before anybody wrote them or before an asynchronous
//! copy was waited for, accesses out of bounds, misused barriers, divergent collectives, deadlocks.
//!
//! ```
//! use ptx_vm::{Arg, Memory, Module, Options};
//!
//! // Each thread writes its number to shared memory and reads its right neighbour's: without a barrier, a race.
//! let text = r#"
//! .version 7.1
//! .target sm_80
//! .address_size 64
//! .visible .entry rotate(.param .u64 out) {
//!     .reg .b32 %r<6>;
//!     .reg .b64 %rd<4>;
//!     .shared .align 4 .b8 tile[256];
//!     mov.u32 %r1, %tid.x;
//!     shl.b32 %r2, %r1, 2;
//!     mov.u32 %r3, tile;
//!     add.s32 %r4, %r3, %r2;
//!     st.shared.b32 [%r4], %r1;
//!     // bar.sync 0;
//!     xor.b32 %r2, %r2, 128;
//!     add.s32 %r4, %r3, %r2;
//!     ld.shared.b32 %r5, [%r4];
//!     ld.param.b64 %rd1, [out];
//!     mul.wide.u32 %rd2, %r1, 4;
//!     add.s64 %rd3, %rd1, %rd2;
//!     st.global.b32 [%rd3], %r5;
//!     ret;
//! }"#;
//! let launch = |text: &str| {
//!     let kernel = Module::parse(text)?.kernel("rotate")?;
//!     let mut memory = Memory::new();
//!     let out = memory.reserve(256);
//!     let report = kernel.launch(&mut memory, [1; 3], [64, 1, 1], 0, &[Arg::Buffer(out)], &Options::default())?;
//!     Ok::<_, Box<dyn std::error::Error>>((report, memory.bytes(out)[0]))
//! };
//! let (report, _) = launch(text)?;
//! assert!(report.to_string().contains("this read and that write of shared memory are not ordered")
//!     || report.to_string().contains("nobody wrote these bytes"));
//!
//! let (report, first) = launch(&text.replace("// bar.sync", "bar.sync"))?;
//! assert!(report.is_clean());
//! assert_eq!(first, 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]
// Loops over lanes index several arrays by the lane; iterators over one of them would hide that.
#![allow(clippy::needless_range_loop)]

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod code;
mod decode;
mod description;
mod error;
mod exec;
mod finding;
mod launch;
mod lexer;
mod machine;
mod memory;
mod mutate;
mod number;
mod parser;
mod program;
mod syntax;
mod tensor_core;
mod tensor_map;
mod types;

pub use description::{
    ArgDescription, BufferDescription, BufferElement, BufferSummary, DescribedOutcome, DescriptionError, Fill,
    LaunchDescription, SeedReport,
};
pub use error::{ParseError, Position};
pub use finding::{Bytes, Finding, FindingKind, Party};
pub use launch::{Arg, Kernel, LaunchError, LoadError, Module, Options, Report, SharedAccess};
pub use memory::{BufferId, Memory};
pub use mutate::{Change, Mutant, mutants};
pub use syntax::{LaunchBounds, Parameter};
pub use tensor_core::Architecture;
pub use tensor_map::{MapElement, Swizzle, TensorMap, TensorMapError};
pub use types::Space;
