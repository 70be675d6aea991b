//! The relatives of Native Sparse Attention among the examples, each against a formula of its own written as loops.

#[path = "../random/mod.rs"]
mod random;

mod case;
mod chosen;
mod given;
mod scores;
