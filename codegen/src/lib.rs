//! The compiler of `nsa`.
#![allow(missing_docs)]
pub mod plan;
pub mod term;
