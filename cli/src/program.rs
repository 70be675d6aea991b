//! The program that a command is about, with what the user changed in it.

use crate::failure::Failure;
use crate::reading::read;
use crate::settings::{self, Lengths};
use clap::Args;
use nsa_artifact::Target;
use nsa_codegen::Options;
use nsa_dsl::program::DType;
use nsa_dsl::{Program, Settings};
use std::path::PathBuf;

/// Arguments of every command that takes a program.
#[derive(Args, Clone)]
pub struct Source {
    /// The program, a .nsa file; - for the standard input.
    pub file: PathBuf,
    /// Another value for a constant, or the length of a run-time axis; t=1,0,5 for a packed batch of three sequences.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    set: Vec<String>,
    /// The element type: bf16, f16 or f32.
    #[arg(long, value_name = "TYPE")]
    element: Option<String>,
    /// Switch a law of the optimiser off.
    #[arg(long, value_name = "LAW", num_args = 1..)]
    without: Vec<String>,
}

/// A checked program, and the lengths that the user gave.
pub struct Chosen {
    /// The program.
    pub program: Program,
    /// What errors call its file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Lengths of run-time axes, as many for each: one for each sequence.
    pub lengths: Lengths,
    without: Vec<String>,
}

impl Source {
    /// Reads and checks the program.
    pub fn load(&self) -> Result<Chosen, Failure> {
        let (name, text) = read(&self.file)?;
        let mut settings = Settings::default();
        if let Some(element) = &self.element {
            let dtype = [DType::Bf16, DType::F16, DType::F32].into_iter().find(|t| t.name() == element);
            settings.element = Some(dtype.ok_or(format!("`{element}` is no element type: bf16, f16 and f32 are"))?);
        }
        let (program, lengths) = settings::compile(&name, &text, settings, &self.set)?;
        nsa_codegen::known_laws(&program, &self.without)?;
        Ok(Chosen { program, name, text, lengths, without: self.without.clone() })
    }
}

impl Chosen {
    /// Options to compile it for some targets, with the user's lengths, the longest of each batch, as expected sizes.
    pub fn options(&self, targets: Vec<Target>) -> Options {
        let longest = |list: &Vec<usize>| list.iter().copied().max().unwrap_or(0).max(1);
        let size = |list: &Vec<usize>| i64::try_from(longest(list)).unwrap_or(i64::MAX);
        let sizes = self.lengths.iter().map(|(axis, list)| (axis.clone(), size(list))).collect();
        Options { targets, sizes, without: self.without.clone(), ..Options::default() }
    }
}

/// The targets of a comma-separated list; `all` for every one.
pub fn targets(list: &str) -> Result<Vec<Target>, Failure> {
    if list == "all" {
        return Ok(Target::ALL.to_vec());
    }
    let mut targets = Vec::new();
    for name in list.split(',') {
        let target: Target = name.trim().parse()?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}
