//! Why a command failed, and how that is shown.

use crate::commands::check::diagnostics;
use nsa_dsl::Diagnostics;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// The reason of a failure.
pub enum Failure {
    /// Errors in a program; shown with the source.
    Program(Diagnostics),
    /// Anything else, as a sentence.
    Sentence(String),
    /// A sentence about what is printed already: a result that is wrong, a hazard.
    Verdict(String),
    /// The reader of the output has gone away (`nsa ptx ... | head`): nothing to say.
    Closed,
}

impl Failure {
    /// Writes the reason to standard error: in colour on a terminal, unless `NO_COLOR` is set. Where the output is data, to standard
    /// output, as one object; verdicts stand in it already.
    pub fn report(&self, json: bool) {
        if json && !matches!(self, Failure::Verdict(_) | Failure::Closed) {
            // Whoever does not read the output does not read this.
            let _ = print(&format!("{}\n", self.json()));
            return;
        }
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        match self {
            Failure::Program(errors) => eprintln!("{}", errors.render(colour)),
            Failure::Sentence(text) | Failure::Verdict(text) if colour => eprintln!("\x1b[1;31merror\x1b[0m: {text}"),
            Failure::Sentence(text) | Failure::Verdict(text) => eprintln!("error: {text}"),
            Failure::Closed => {}
        }
    }

    /// The reason as data, as `nsa check --json` prints it.
    fn json(&self) -> Value {
        let diagnostics = match self {
            Failure::Program(errors) => diagnostics(errors),
            Failure::Sentence(text) | Failure::Verdict(text) => vec![json!({
                "severity": "error", "message": text, "label": "", "place": null, "notes": [], "help": null, "suggestion": null,
            })],
            Failure::Closed => vec![],
        };
        json!({"diagnostics": diagnostics, "program": null})
    }
}

impl From<Diagnostics> for Failure {
    fn from(errors: Diagnostics) -> Self {
        Failure::Program(errors)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Sentence(text)
    }
}

impl From<nsa_codegen::CompileError> for Failure {
    fn from(error: nsa_codegen::CompileError) -> Self {
        match error {
            nsa_codegen::CompileError::Program(errors) => Failure::Program(errors),
            other => Failure::Sentence(other.to_string()),
        }
    }
}

impl From<nsa::Error> for Failure {
    fn from(error: nsa::Error) -> Self {
        match error {
            // The runtime does not know how its users are told to take the host.
            nsa::Error::NoDriver => Failure::Sentence(format!("{error} (--device host)")),
            other => Failure::Sentence(other.to_string()),
        }
    }
}

macro_rules! sentences {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::Sentence(error.to_string())
            }
        })*
    };
}
sentences!(
    nsa_codegen::emit::EmitError,
    nsa_dsl::EvalError,
    nsa_measure::Error,
    nsa_artifact::UnknownTarget,
    ptx_vm::DescriptionError,
    ptx_vm::LaunchError,
    ptx_vm::LoadError,
    ptx_vm::ParseError,
);

/// Writes to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Sentence(format!("standard output: {e}")),
    })
}

/// A file's name before an error about it.
pub fn at<E: std::fmt::Display>(path: &std::path::Path) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Sentence(format!("{}: {error}", path.display()))
}
