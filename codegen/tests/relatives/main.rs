//! Every example program, compiled for the host and for both GPU targets, run (on the GPU targets by the interpreter, whose
//! race detection is on) and compared with the f64 reference.

#[allow(dead_code)]
#[path = "../nvptx/device.rs"]
mod device;
#[allow(dead_code)]
#[path = "../host/driver.rs"]
mod driver;

mod compare;
mod examples;
