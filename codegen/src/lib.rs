//! The compiler of `nsa`.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]
pub mod assembler;
pub mod compile;
pub mod emit;
pub mod identity;
pub mod machine;
mod package;
pub mod plan;
pub mod term;

pub use compile::{
    CompileError, Compiled, Lowered, Options, Variant, compile, derivation, known_laws, llvm_text, lower,
};
