//! From the macro's input to a module: parse, compile, expand.

use crate::expand;
use crate::input::{Input, Source};
use crate::report;
use nsa_artifact::{Artifact, Target};
use nsa_codegen::{CompileError, Options};
use nsa_dsl::Program;
use proc_macro2::{Span, TokenStream};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use syn::{Ident, LitStr};

/// The module that a call of the macro stands for.
pub fn module(tokens: TokenStream) -> syn::Result<TokenStream> {
    let input: Input = syn::parse2(tokens)?;
    let (program, file, place) = match &input.source {
        Source::Tokens(tokens) => {
            let program = nsa_dsl::compile_tokens(tokens.clone(), &input.settings);
            (program.map_err(|errors| report::in_place(&errors, tokens, &input.names))?, None, Span::call_site())
        }
        Source::Path(path) => {
            let (program, file) = from_file(path, &input)?;
            (program, Some(file), path.span())
        }
    };
    let name = match &input.module {
        Some(name) => name.clone(),
        None => Ident::new(&program.name, Span::call_site()),
    };
    let prefix = symbol_prefix(&name);
    let artifact = compile(&program, &input.targets, &prefix).map_err(|error| match (&error, &input.source) {
        (CompileError::Program(errors), Source::Tokens(tokens)) => report::in_place(errors, tokens, &input.names),
        (CompileError::Program(errors), Source::Path(path)) => report::in_file(errors, path, &input.names),
        _ => syn::Error::new(place, error),
    })?;
    Ok(expand::module(&input.visibility, &name, &artifact, file.as_deref()))
}

/// Reads a program whose path is relative to the crate's folder. Also its absolute path, to rebuild when it changes.
fn from_file(path: &LitStr, input: &Input) -> syn::Result<(Program, String)> {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let file = folder.join(path.value());
    let wrong = |reason: String| syn::Error::new(path.span(), reason);
    let text = std::fs::read_to_string(&file)
        .map_err(|e| wrong(format!("{}: {e} (paths are relative to the folder of Cargo.toml)", file.display())))?;
    let program = nsa_dsl::compile_source(&path.value(), &text, &input.settings)
        .map_err(|errors| report::in_file(&errors, path, &input.names))?;
    let file = file.to_str().ok_or_else(|| wrong("the path is not UTF-8".into()))?;
    Ok((program, file.to_string()))
}

/// What the symbols of this call begin with: different for every call in every crate that may be linked together.
fn symbol_prefix(module: &Ident) -> String {
    let mut hash = Sha256::new();
    for variable in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"] {
        hash.update(std::env::var(variable).unwrap_or_default());
        hash.update([0]);
    }
    let place = Span::call_site().start();
    hash.update(format!("{module} {} {} {}", Span::call_site().file(), place.line, place.column));
    let digest: String = hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("nsa_{digest}")
}

fn compile(program: &Program, targets: &[Target], prefix: &str) -> Result<Artifact, CompileError> {
    let options = Options { targets: targets.to_vec(), prefix: prefix.to_string(), ..Options::default() };
    nsa_codegen::compile(program, &options).map(|compiled| compiled.artifact)
}
