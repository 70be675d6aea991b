//! The `nsa` command: compile, explain and run tensor programs.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

mod commands;
mod demo;
mod explain;
mod extents;
mod failure;
mod fills;
mod interpreter;
mod layout;
mod loading;
mod picture;
mod program;
mod reading;
mod reference;
mod roofline;
mod settings;
mod sparsity;
mod text;

use clap::{Parser, Subcommand};
use commands::{bench, build, check, doctor, draw, lower, ptx, run, vm};
use std::process::ExitCode;

/// Compiles short tensor programs, Native Sparse Attention first of all, into kernels for GPUs and for the host.
#[derive(Parser)]
#[command(name = "nsa", version)]
struct Command {
    #[command(subcommand)]
    command: Which,
}

#[derive(Subcommand)]
enum Which {
    Check(check::Arguments),
    Ptx(ptx::Arguments),
    Lower(lower::Arguments),
    Explain(commands::explain::Arguments),
    Draw(draw::Arguments),
    Build(build::Arguments),
    Run(run::Arguments),
    Bench(bench::Arguments),
    Vm(vm::Arguments),
    Demo(commands::demo::Arguments),
    Doctor(doctor::Arguments),
}

impl Which {
    /// Whether the output is data, errors included.
    fn json(&self) -> bool {
        match self {
            Which::Check(arguments) => arguments.json,
            Which::Explain(arguments) => arguments.json,
            Which::Draw(arguments) => arguments.json,
            Which::Run(arguments) => arguments.json,
            Which::Bench(arguments) => arguments.json,
            Which::Vm(arguments) => arguments.json,
            Which::Demo(arguments) => arguments.json,
            Which::Doctor(arguments) => arguments.json,
            Which::Ptx(_) | Which::Lower(_) | Which::Build(_) => false,
        }
    }
}

fn main() -> ExitCode {
    let command = Command::parse().command;
    let json = command.json();
    let result = match command {
        Which::Check(arguments) => check::run(&arguments),
        Which::Ptx(arguments) => ptx::run(&arguments),
        Which::Lower(arguments) => lower::run(&arguments),
        Which::Explain(arguments) => commands::explain::run(&arguments),
        Which::Draw(arguments) => draw::run(&arguments),
        Which::Build(arguments) => build::run(&arguments),
        Which::Run(arguments) => run::run(&arguments),
        Which::Bench(arguments) => bench::run(&arguments),
        Which::Vm(arguments) => vm::run(&arguments),
        Which::Demo(arguments) => commands::demo::run(&arguments),
        Which::Doctor(arguments) => doctor::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            ExitCode::FAILURE
        }
    }
}
