//! Host kernels against plain loops in f64, run through the JIT on every instruction set that the CPU has.

mod attention;
mod code;
mod elements;
mod laws;
mod lists;
mod offsets;
mod program;
mod programs;
mod shapes;

use nsa_test_machines::driver;
