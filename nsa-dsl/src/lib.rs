//! The language of `nsa`.

mod arena;
pub mod ast;
mod check;
mod diagnostic;
mod display;
mod evaluate;
mod library;
mod linear;
mod operations;
mod parse;
mod print;
pub mod program;
pub mod source;
mod substitute;

pub use check::{Constant, Settings};
pub use diagnostic::{Diagnostic, Diagnostics, Note};
pub use evaluate::{Array, EvalError, Evaluation, Inputs, Outputs, Values, evaluate, evaluate_rows};
pub use library::library_files;
pub use program::Program;
pub use source::{LineColumn, SourceId, Span};

use diagnostic::SourceText;
use proc_macro2::TokenStream;

/// Parses a text. `file_name` is what errors call it.
///
/// # Errors
/// What is not a program, at its place.
pub fn parse(file_name: &str, text: &str) -> Result<ast::File, Diagnostics> {
    let text = without_byte_order_mark(text);
    parse::parse_text(text, SourceId::USER).map_err(|error| diagnostics(file_name, text, vec![error], false))
}

/// Parses and checks a text with exactly one kernel. `file_name` is what errors call it.
///
/// # Errors
/// Everything that is wrong with the program or the settings, quoting the source.
pub fn compile_source(file_name: &str, text: &str, settings: &Settings) -> Result<Program, Diagnostics> {
    compile(file_name, without_byte_order_mark(text), settings, false)
}

/// The same for the tokens of a macro; [`Diagnostics::locate`] finds the tokens that errors are about.
///
/// # Errors
/// As [`compile_source`].
pub fn compile_tokens(tokens: TokenStream, settings: &Settings) -> Result<Program, Diagnostics> {
    compile("nsa_kernel!", &tokens.to_string(), settings, true)
}

fn compile(file_name: &str, text: &str, settings: &Settings, from_tokens: bool) -> Result<Program, Diagnostics> {
    let compiled = parse::parse_text(text, SourceId::USER).map_err(|error| vec![error]).and_then(|file| {
        let library = library::functions().map_err(|error| vec![error])?;
        check::check(&file, library, settings)
    });
    compiled.map_err(|errors| diagnostics(file_name, text, errors, from_tokens))
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn diagnostics(file_name: &str, text: &str, errors: Vec<Diagnostic>, from_tokens: bool) -> Diagnostics {
    let mut sources = vec![SourceText { name: file_name.to_string(), text: text.to_string() }];
    sources.extend(library::sources());
    Diagnostics::new(errors, sources, from_tokens)
}
