//! From the macro's input to a module: the artifact, made or read, and what it expands to.

use crate::input::{Input, Source};
use crate::{expand, prebuilt};
use nsa_artifact::Artifact;
use proc_macro2::{Span, TokenStream};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use syn::{Ident, LitStr};

/// The module that a call of the macro stands for.
pub fn module(tokens: TokenStream) -> syn::Result<TokenStream> {
    let input: Input = syn::parse2(tokens)?;
    let Origin { artifact, name, file } = origin(&input)?;
    Ok(expand::module(&input.visibility, &name, &artifact, file.as_deref()))
}

/// A compiled program, and where it comes from. Every name in its signature can be an identifier.
pub struct Origin {
    pub artifact: Artifact,
    /// The name of the module.
    pub name: Ident,
    /// Absolute path of the file that it was read from, to rebuild when that changes.
    pub file: Option<String>,
}

#[cfg(feature = "compile")]
fn origin(input: &Input) -> syn::Result<Origin> {
    use crate::compile;
    match &input.source {
        Source::Prebuilt(path) => prebuilt::origin(input, path),
        Source::InPlace(tokens) => compile::in_place(input, tokens),
        Source::File(path) => compile::file(input, path),
    }
}

#[cfg(not(feature = "compile"))]
fn origin(input: &Input) -> syn::Result<Origin> {
    let sentence = "this build of nsa has no compiler (its feature `compile` is off), so that nsa_kernel! takes prebuilt artifacts only: \
        write `prebuilt = \"FILE\"` with a file that `nsa build` wrote, or switch the feature on";
    match &input.source {
        Source::Prebuilt(path) => prebuilt::origin(input, path),
        Source::InPlace(tokens) => Err(syn::Error::new_spanned(tokens, sentence)),
        Source::File(path) => Err(syn::Error::new(path.span(), sentence)),
    }
}

/// A file whose path is relative to the crate's folder: its absolute path and its content.
pub fn read(path: &LitStr) -> syn::Result<(String, Vec<u8>)> {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let file = folder.join(path.value());
    let wrong = |reason: String| syn::Error::new(path.span(), reason);
    let content = std::fs::read(&file)
        .map_err(|e| wrong(format!("{}: {e} (paths are relative to the folder of Cargo.toml)", file.display())))?;
    let file = file.to_str().ok_or_else(|| wrong("the path is not UTF-8".into()))?;
    Ok((file.to_string(), content))
}

/// What the symbols of this call begin with: different for every call in every crate that may be linked together. `content` tells
/// calls apart whose places the compiler does not say.
pub fn symbol_prefix(module: &Ident, content: &str) -> String {
    let mut hash = Sha256::new();
    for variable in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"] {
        hash.update(std::env::var(variable).unwrap_or_default());
        hash.update([0]);
    }
    let place = Span::call_site().start();
    hash.update(format!("{module} {} {} {} {content}", Span::call_site().file(), place.line, place.column));
    let digest: String = hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("nsa_{digest}")
}
