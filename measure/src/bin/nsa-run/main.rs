//! `nsa-run`: checks and times artifacts on a machine that has no compiler, a GPU server say.
//!
//! * `nsa-run check ARTIFACT CASE ...` runs each case and compares with what it expects.
//! * `nsa-run dump ARTIFACT AXIS=LENGTH[,LENGTH ...] ... --outputs FILE` runs the program twice on random inputs, and writes a
//!   safetensors file: `input.NAME`, `result.NAME`, and what kernels stored besides, `stored.NAME`.
//! * `nsa-run time ARTIFACT AXIS=LENGTH[,LENGTH ...] ...` times the program on random inputs, and each of its kernels.
//!
//! `--device host` or `--device cuda:0` (default) chooses where; `--tolerance X` the largest relative error; `--seed N` and
//! `--scale X` the random inputs of `dump`, X the standard deviation of the first argument. One line of JSON per
//! result goes to standard output. The exit status is 0 if everything ran and every case passed.

mod check;
mod clock;
mod dump;

use nsa::{Artifact, Device, Kernel, Lengths, Shape};
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: nsa-run [--device host|cuda:N] [--tolerance X] [--seconds X] (check ARTIFACT CASE ... | time ARTIFACT AXIS=LENGTHS ... | dump ARTIFACT AXIS=LENGTHS ... --outputs FILE [--seed N] [--scale X])";

/// What was asked for.
struct Options {
    device: String,
    tolerance: f64,
    seconds: f64,
    seed: u64,
    scale: f64,
    outputs: Option<String>,
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
        ["dump", artifact, ref lengths @ ..] => dump::run(&options, artifact, lengths),
        ["time", artifact, ref lengths @ ..] => clock::run(&options, artifact, lengths).map(|()| true),
        _ => Err(USAGE.into()),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        device: "cuda:0".into(),
        tolerance: 5e-3,
        seconds: 1.0,
        seed: 0,
        scale: 1.0,
        outputs: None,
        words: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--device" => options.device = value()?,
            "--tolerance" => options.tolerance = number(&argument, &value()?)?,
            "--seed" => options.seed = number(&argument, &value()?)?,
            "--scale" => options.scale = number(&argument, &value()?)?,
            "--outputs" => options.outputs = Some(value()?),
            "--seconds" => options.seconds = number(&argument, &value()?)?,
            other if other.starts_with("--") => return Err(format!("unknown option {other}\n{USAGE}").into()),
            _ => options.words.push(argument),
        }
    }
    Ok(options)
}

/// A number as `what` says it.
fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.trim().parse().map_err(|_| format!("{what}: `{text}` is no number that can stand here").into())
}

/// Lengths of run-time axes, each `AXIS=LENGTH,LENGTH ...`.
fn shape(lengths: &[&str]) -> Result<Shape, Failure> {
    let mut shape = Shape::new();
    for text in lengths {
        let (axis, list) =
            text.split_once('=').ok_or_else(|| format!("`{text}`: expected AXIS=LENGTH[,LENGTH ...]"))?;
        let list = list.split(',').map(|length| number(text, length)).collect::<Result<Vec<usize>, _>>()?;
        shape = shape.with(axis, Lengths::packed(&list));
    }
    Ok(shape)
}

/// Loads an artifact on the device.
fn load(options: &Options, path: &str) -> Result<Kernel, Failure> {
    let device: Device = options.device.parse()?;
    let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let artifact = Artifact::from_bytes(&bytes).map_err(|e| format!("{path}: {e}"))?;
    // SAFETY: whoever calls this program vouches for the artifact, as for any program they run.
    Ok(unsafe { Kernel::load(&artifact, &device) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none() {
        let why = |lengths: &str| shape(&[lengths]).expect_err("no lengths").to_string();
        assert_eq!(why("t=1,a"), "t=1,a: `a` is no number that can stand here");
        assert_eq!(why("t=-1"), "t=-1: `-1` is no number that can stand here");
        assert_eq!(why("t"), "`t`: expected AXIS=LENGTH[,LENGTH ...]");
        let words = ["--seconds", "soon"].map(String::from);
        let why = parse(words.into_iter()).err().map(|e| e.to_string());
        assert_eq!(why.as_deref(), Some("--seconds: `soon` is no number that can stand here"));
    }
}
