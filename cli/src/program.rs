//! The program that a command is about, with what the user changed in it.

use crate::failure::{Failure, at};
use clap::Args;
use nsa_artifact::Target;
use nsa_codegen::Options;
use nsa_dsl::program::{DType, Extent};
use nsa_dsl::{Constant, Program, Settings};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of every command that takes a program.
#[derive(Args, Clone)]
pub struct Source {
    /// The program, a .nsa file.
    pub file: PathBuf,
    /// Another value for a constant, or the length of a run-time axis.
    #[arg(long, value_name = "NAME=VALUE", num_args = 1..)]
    set: Vec<String>,
    /// The element type: bf16, f16 or f32.
    #[arg(long, value_name = "TYPE")]
    element: Option<String>,
    /// Switch an optimiser rule off.
    #[arg(long, value_name = "RULE", num_args = 1..)]
    without: Vec<String>,
}

/// A checked program, and the lengths that the user gave.
pub struct Chosen {
    /// The program.
    pub program: Program,
    /// Its text.
    pub text: String,
    /// Lengths of run-time axes.
    pub sizes: BTreeMap<String, usize>,
    without: Vec<String>,
}

impl Source {
    /// Reads and checks the program.
    pub fn load(&self) -> Result<Chosen, Failure> {
        let text = std::fs::read_to_string(&self.file).map_err(at(&self.file))?;
        let name = self.file.display().to_string();
        let mut settings = Settings::default();
        if let Some(element) = &self.element {
            let dtype = [DType::Bf16, DType::F16, DType::F32].into_iter().find(|t| t.name() == element);
            settings.element = Some(dtype.ok_or(format!("`{element}` is no element type: bf16, f16 and f32 are"))?);
        }
        // A name is a run-time axis if the unchanged program has one of that name; otherwise it must be a constant. A program that
        // needs settings to be correct at all has its names taken as constants.
        let plain = nsa_dsl::compile_source(&name, &text, &settings).ok();
        let runtime =
            |name: &str| plain.iter().flat_map(|p| &p.axes).any(|a| a.name == name && a.extent == Extent::Runtime);
        let mut sizes = BTreeMap::new();
        for setting in &self.set {
            let (name, value) = setting.split_once('=').ok_or(format!("--set {setting}: expected NAME=VALUE"))?;
            let wrong = || format!("--set {setting}: `{value}` is no number");
            if runtime(name) {
                sizes.insert(name.to_string(), value.parse().map_err(|_| wrong())?);
            } else {
                let constant = value.parse().map(Constant::Int).or_else(|_| value.parse().map(Constant::Float));
                settings.constants.push((name.to_string(), constant.map_err(|_| wrong())?));
            }
        }
        let program = nsa_dsl::compile_source(&name, &text, &settings)?;
        Ok(Chosen { program, text, sizes, without: self.without.clone() })
    }
}

impl Chosen {
    /// Options to compile it for some targets, with the user's lengths as expected sizes.
    pub fn options(&self, targets: Vec<Target>) -> Options {
        let sizes = self.sizes.iter().map(|(axis, n)| (axis.clone(), i64::try_from(*n).unwrap_or(i64::MAX))).collect();
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
