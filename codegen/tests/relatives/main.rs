//! Every example program, compiled for the host and for both GPU targets, run (on the GPU targets by the interpreter, whose
//! race detection is on) and compared with the f64 reference.

mod compare;
mod examples;
mod strangers;
