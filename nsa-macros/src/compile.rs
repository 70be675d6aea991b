//! Compiling a program inside the user's build.

use crate::input::{Input, Number};
use crate::module::{Origin, read, symbol_prefix};
use nsa_artifact::{DType, Target};
use nsa_codegen::Options;
use nsa_dsl::program::DType as Element;
use nsa_dsl::{Constant, Program, Settings};
use proc_macro2::{Span, TokenStream};
use syn::{Ident, LitStr};

/// Compiles the program that stands in the macro's parentheses.
pub fn in_place(input: &Input, tokens: &TokenStream) -> syn::Result<Origin> {
    let program = nsa_dsl::compile_tokens(tokens.clone(), &settings(input)).map_err(|errors| {
        let located = errors.locate(tokens).into_iter().map(|(message, first, last)| spanning(&message, first, last));
        all(located)
    })?;
    origin(input, &program, None, Span::call_site())
}

/// Compiles the program in a file.
pub fn file(input: &Input, path: &LitStr) -> syn::Result<Origin> {
    let (file, content) = read(path)?;
    let wrong = |reason: String| syn::Error::new(path.span(), reason);
    let text = String::from_utf8(content)
        .map_err(|_| wrong(format!("{0} is not text; for an artifact write `prebuilt {0:?}`", path.value())))?;
    let program = nsa_dsl::compile_source(&path.value(), &text, &settings(input))
        .map_err(|errors| wrong(format!("in {}\n{errors}", path.value())))?;
    origin(input, &program, Some(file), path.span())
}

fn origin(input: &Input, program: &Program, file: Option<String>, place: Span) -> syn::Result<Origin> {
    let name = match &input.module {
        Some(name) => name.clone(),
        None => Ident::new(&program.name, Span::call_site()),
    };
    let prefix = symbol_prefix(&name, "");
    let targets = match &input.targets {
        Some(targets) => targets.iter().map(|(target, _)| *target).collect(),
        None => default_targets(),
    };
    let options = Options { targets, prefix, ..Options::default() };
    let artifact = nsa_codegen::compile(program, &options).map_err(|e| syn::Error::new(place, e))?.artifact;
    Ok(Origin { artifact, name, file })
}

/// All GPU targets, and the processor that compiles.
fn default_targets() -> Vec<Target> {
    Target::ALL.into_iter().filter(|t| t.is_gpu()).chain(Target::this_host()).collect()
}

/// The user's values, as the checker takes them.
fn settings(input: &Input) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in &input.constants {
        let value = match value {
            Number::Int(n) => Constant::Int(*n),
            Number::Float(x) => Constant::Float(*x),
        };
        settings.constants.push((name.to_string(), value));
    }
    settings.element = input.element.as_ref().map(|(dtype, _)| match dtype {
        DType::Bf16 => Element::Bf16,
        DType::F16 => Element::F16,
        DType::F32 => Element::F32,
        DType::I32 => Element::I32,
    });
    settings
}

/// An error that points from one token to another.
fn spanning(message: &str, first: Span, last: Span) -> syn::Error {
    // `new_spanned` takes first and last position from tokens, so two tokens with these positions say it on stable Rust.
    let ends: TokenStream =
        [Ident::new("a", first), Ident::new("b", last)].into_iter().map(proc_macro2::TokenTree::from).collect();
    syn::Error::new_spanned(ends, message)
}

/// Several errors as one.
fn all(errors: impl Iterator<Item = syn::Error>) -> syn::Error {
    errors
        .reduce(|mut all, next| {
            all.combine(next);
            all
        })
        .unwrap_or_else(|| syn::Error::new(Span::call_site(), "the program is wrong"))
}
