//! The commands, one file each.

pub mod bench;
pub mod build;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod draw;
pub mod explain;
pub mod lower;
pub mod ptx;
pub mod run;
pub mod vm;
