//! The compiler of `nsa`.
pub mod compile;
pub mod emit;
pub mod identity;
pub mod machine;
mod package;
pub mod plan;
pub mod term;

pub use compile::{CompileError, Compiled, Lowered, Options, Variant, compile, derivation, llvm_text, lower};
