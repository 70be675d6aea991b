//! Machines for tests: a plan is run as its users would run it, on this CPU through the JIT or on a GPU through the
//! interpreter, whose race detection is on.
//!
//! What goes wrong ends the test: nothing here returns an error.

mod banks;
pub mod device;
pub mod driver;
pub mod judged;
mod sparse;
