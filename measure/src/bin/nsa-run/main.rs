//! `nsa-run`: checks and times artifacts on a machine that has no compiler, a GPU server say.
//!
//! * `nsa-run check ARTIFACT CASE ...` runs each case and compares with what it expects.
//! * `nsa-run time ARTIFACT AXIS=LENGTH[,LENGTH ...] ...` times the program on random inputs, and each of its kernels.
//!
//! `--device host` or `--device cuda:0` (default) chooses where; `--tolerance X` the largest relative error. One line of JSON per
//! result goes to standard output. The exit status is 0 if everything ran and every case passed.

mod check;
mod clock;

use nsa::{Artifact, Device, Kernel};
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: nsa-run [--device host|cuda:N] [--tolerance X] [--seconds X] (check ARTIFACT CASE ... | time ARTIFACT AXIS=LENGTHS ...)";

/// What was asked for.
struct Options {
    device: String,
    tolerance: f64,
    seconds: f64,
    words: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("nsa-run: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let options = parse(std::env::args().skip(1))?;
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    match words[..] {
        ["check", artifact, ref cases @ ..] if !cases.is_empty() => check::run(&options, artifact, cases),
        ["time", artifact, ref lengths @ ..] => clock::run(&options, artifact, lengths).map(|()| true),
        _ => Err(USAGE.into()),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options { device: "cuda:0".into(), tolerance: 5e-3, seconds: 1.0, words: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--device" => options.device = value()?,
            "--tolerance" => options.tolerance = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            other if other.starts_with("--") => return Err(format!("unknown option {other}\n{USAGE}").into()),
            _ => options.words.push(argument),
        }
    }
    Ok(options)
}

/// Loads an artifact on the device.
fn load(options: &Options, path: &str) -> Result<Kernel, Failure> {
    let device: Device = options.device.parse()?;
    let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let artifact = Artifact::from_bytes(&bytes).map_err(|e| format!("{path}: {e}"))?;
    // SAFETY: whoever calls this program vouches for the artifact, as for any program they run.
    Ok(unsafe { Kernel::load(&artifact, &device) }?)
}
