//! Compiling a program inside the user's build.

use crate::input::{Input, Number};
use crate::module::{Origin, read, symbol_prefix};
use crate::report;
use nsa_artifact::{Artifact, DType, Target};
use nsa_codegen::{CompileError, Options};
use nsa_dsl::program::DType as Element;
use nsa_dsl::{Constant, Diagnostics, Program, Settings};
use proc_macro2::{Span, TokenStream};
use syn::{Ident, LitStr};

/// Compiles the program that stands in the macro's parentheses.
pub fn in_place(input: &Input, tokens: &TokenStream) -> syn::Result<Origin> {
    let located = |errors: &Diagnostics| report::in_place(errors, tokens, &names(input));
    let program = nsa_dsl::compile_tokens(tokens.clone(), &settings(input)).map_err(|errors| located(&errors))?;
    let artifact = artifact(input, &program).map_err(|error| match &error {
        CompileError::Program(errors) => located(errors),
        _ => syn::Error::new(Span::call_site(), error),
    })?;
    Ok(Origin { artifact, name: name(input, &program), file: None })
}

/// Compiles the program in a file.
pub fn file(input: &Input, path: &LitStr) -> syn::Result<Origin> {
    let (file, content) = read(path)?;
    let text = String::from_utf8(content).map_err(|_| {
        let sentence = format!("{0} is not text; for an artifact write `prebuilt {0:?}`", path.value());
        syn::Error::new(path.span(), sentence)
    })?;
    let located = |errors: &Diagnostics| report::in_file(errors, path, &names(input));
    let program = nsa_dsl::compile_source(&path.value(), &text, &settings(input)).map_err(|errors| located(&errors))?;
    let artifact = artifact(input, &program).map_err(|error| match &error {
        CompileError::Program(errors) => located(errors),
        _ => syn::Error::new(path.span(), error),
    })?;
    Ok(Origin { artifact, name: name(input, &program), file: Some(file) })
}

/// The name of the module.
fn name(input: &Input, program: &Program) -> Ident {
    input.module.clone().unwrap_or_else(|| Ident::new(&program.name, Span::call_site()))
}

/// The names in `set(...)`, as written.
fn names(input: &Input) -> Vec<Ident> {
    input.constants.iter().map(|(name, _)| name.clone()).collect()
}

fn artifact(input: &Input, program: &Program) -> Result<Artifact, CompileError> {
    let prefix = symbol_prefix(&name(input, program), "");
    let targets = match &input.targets {
        Some(targets) => targets.iter().map(|(target, _)| *target).collect(),
        None => default_targets(),
    };
    let options = Options { targets, prefix, ..Options::default() };
    nsa_codegen::compile(program, &options).map(|compiled| compiled.artifact)
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
