//! The compiler of `nsa`.
#![allow(missing_docs)]
pub mod compile;
pub mod emit;
pub mod machine;
mod package;
pub mod plan;
pub mod term;

pub use compile::{CompileError, Compiled, Lowered, Options, Variant, compile, llvm_text, lower};
