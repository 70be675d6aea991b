//! The language of `nsa`.
pub mod program;
pub use program::Program;
