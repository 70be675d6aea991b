//! `--set NAME=VALUE`: other values of constants, and lengths of run-time axes.

use crate::failure::Failure;
use nsa_dsl::program::Extent;
use nsa_dsl::{Constant, Diagnostic, Diagnostics, Program, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::num::IntErrorKind;

/// Lengths of run-time axes by name, one for each sequence.
pub type Lengths = BTreeMap<String, Vec<usize>>;

/// One name and what it is set to, as written.
struct Setting<'a> {
    name: &'a str,
    value: &'a str,
}

/// Checks a program with what is set in it. A name is a constant if the program has one of that name, otherwise it must be a run-time
/// axis.
///
/// # Errors
/// What is wrong with the program comes first, then what is wrong with the settings.
pub fn compile(file: &str, text: &str, mut given: Settings, set: &[String]) -> Result<(Program, Lengths), Failure> {
    let settings = settings(set)?;
    let compile = |constants: Vec<(String, Constant)>, given: &Settings| {
        nsa_dsl::compile_source(file, text, &Settings { constants, ..given.clone() })
    };
    // Which names are constants is seen by setting them all; what is no number is 1 meanwhile.
    let trial = settings.iter().map(|s| (s.name.to_string(), constant(s).unwrap_or(Constant::Int(1)))).collect();
    let trial = compile(trial, &given);
    let others: BTreeSet<String> = trial.as_ref().err().map(strangers).unwrap_or_default();
    let (axes, constants): (Vec<&Setting>, Vec<&Setting>) = settings.iter().partition(|s| others.contains(s.name));
    let mut wrong = None;
    for setting in constants {
        match constant(setting) {
            Ok(value) => given.constants.push((setting.name.to_string(), value)),
            Err(sentence) => wrong = wrong.or(Some(sentence)),
        }
    }
    let program = match trial {
        Ok(program) if wrong.is_none() => program,
        _ => compile(given.constants.clone(), &given)?,
    };
    if let Some(sentence) = wrong {
        return Err(sentence.into());
    }
    let mut lengths = Lengths::new();
    for setting in axes {
        if !program.runtime_axes().any(|axis| axis.name == setting.name) {
            return Err(program.diagnose(unknown(&program, setting.name)).into());
        }
        let list = setting.value.split(',').map(length).collect::<Result<Vec<usize>, String>>();
        lengths.insert(setting.name.into(), list.map_err(|why| format!("{}: {why}", setting.written()))?);
    }
    if let Some(((a, first), (b, other))) =
        lengths.iter().zip(lengths.iter().skip(1)).find(|((_, a), (_, b))| a.len() != b.len())
    {
        let counts = format!("{} of `{a}` and {} of `{b}`", first.len(), other.len());
        return Err(format!("--set gives lengths {counts}: every sequence of a batch has one of each axis").into());
    }
    Ok((program, lengths))
}

impl Setting<'_> {
    fn written(&self) -> String {
        format!("--set {}={}", self.name, self.value)
    }
}

fn settings(set: &[String]) -> Result<Vec<Setting<'_>>, Failure> {
    let mut settings: Vec<Setting> = vec![];
    for written in set {
        let (name, value) = written.split_once('=').ok_or(format!("--set {written}: expected NAME=VALUE"))?;
        if let Some(first) = settings.iter().find(|setting| setting.name == name) {
            return Err(format!("--set gives `{name}` twice, {} and {value}: leave one out", first.value).into());
        }
        settings.push(Setting { name, value });
    }
    Ok(settings)
}

/// The names in settings that are no constant's.
fn strangers(errors: &Diagnostics) -> BTreeSet<String> {
    errors.iter().filter(|error| error.span.is_none()).filter_map(|error| error.setting.clone()).collect()
}

/// A constant's new value, or why it is none.
fn constant(setting: &Setting) -> Result<Constant, String> {
    let value = setting.value;
    let float = || value.parse().ok().filter(|value: &f64| value.is_finite()).map(Constant::Float);
    value.parse().ok().map(Constant::Int).or_else(float).ok_or_else(|| {
        let several = value.contains(',') && value.split(',').all(|part| part.trim().parse::<f64>().is_ok());
        let why = if several { "a constant has one value" } else { "this is no number" };
        format!("{}: {why}", setting.written())
    })
}

/// A length as somebody writes it, or why it is none.
pub fn length(text: &str) -> Result<usize, String> {
    let text = text.trim();
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => format!("no axis is as long as {text}"),
        _ if text.parse::<f64>().is_ok_and(|number| number < 0.0) => format!("lengths are 0 or more, {text} is less"),
        IntErrorKind::Empty => "a length is missing".into(),
        _ => format!("`{text}` is no length, which is a whole number, 0 or more"),
    })
}

/// An error about a name that is neither a constant's nor a run-time axis'.
fn unknown(program: &Program, name: &str) -> Diagnostic {
    let constants: Vec<&str> = program.constants.iter().map(|(name, _)| name.as_str()).collect();
    let runtime: Vec<&str> = program.runtime_axes().map(|axis| axis.name.as_str()).collect();
    let known = || constants.iter().chain(&runtime).copied();
    let axis = program.axes.iter().find(|axis| axis.name == name);
    let message = match axis.map(|axis| &axis.extent) {
        Some(Extent::Const(n)) => format!("the program says that axis `{name}` has the length {n}: it cannot be set"),
        Some(Extent::Derived(length)) => {
            format!("the length of axis `{name}` is {}: it cannot be set", program.expr_text(*length))
        }
        _ => format!("there is no constant and no run-time axis `{name}` that could be set"),
    };
    let error = Diagnostic::without_place(message).about_setting(name);
    if let (None, Some(near)) = (axis, nsa_dsl::nearest(name, known())) {
        return error.help(format!("did you mean `{near}`?"));
    }
    let list = |one: &str, several: &str, names: &[&str]| match names {
        [] => format!("there are no {several}"),
        [name] => format!("the only {one} is {name}"),
        names => format!("the {several} are {}", names.join(", ")),
    };
    let constants = list("constant", "constants", &constants);
    error.help(format!("{constants}; {}", list("run-time axis", "run-time axes", &runtime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_as_written() {
        assert_eq!((length("0"), length(" 15 ")), (Ok(0), Ok(15)));
        let why = |text: &str| length(text).expect_err("no length");
        assert_eq!(why("-3"), "lengths are 0 or more, -3 is less");
        assert_eq!(why("99999999999999999999"), "no axis is as long as 99999999999999999999");
        assert_eq!(why("abc"), "`abc` is no length, which is a whole number, 0 or more");
        assert_eq!(why("1.5"), "`1.5` is no length, which is a whole number, 0 or more");
        assert_eq!(why(""), "a length is missing");
    }

    #[test]
    fn constants_as_written() {
        let constant = |value: &str| constant(&Setting { name: "W", value });
        assert_eq!((constant("-3"), constant("0.5")), (Ok(Constant::Int(-3)), Ok(Constant::Float(0.5))));
        assert_eq!(constant("1,2"), Err("--set W=1,2: a constant has one value".into()));
        assert_eq!(constant("a"), Err("--set W=a: this is no number".into()));
    }
}
