//! The compiler of `nsa`.
#![allow(missing_docs)]
pub mod emit;
pub mod machine;
pub mod plan;
pub mod term;
