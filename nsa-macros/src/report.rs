//! Where errors of a program are shown: at its tokens, at its file's path, or at the name in `set(...)` that they are about.

use nsa_dsl::{Diagnostic, Diagnostics};
use proc_macro2::{Span, TokenStream};
use syn::{Ident, LitStr};

/// Errors of a program in the macro's parentheses. `names` are those in `set(...)`.
pub fn in_place(errors: &Diagnostics, tokens: &TokenStream, names: &[Ident]) -> syn::Error {
    let places = errors.locate(tokens).into_iter().zip(errors.iter());
    all(places.map(|((message, first, last), error)| match setting(error, names) {
        Some(name) => syn::Error::new(name.span(), message),
        None => spanning(&message, first, last),
    }))
}

/// Errors of a program in a file, which is quoted.
pub fn in_file(errors: &Diagnostics, path: &LitStr, names: &[Ident]) -> syn::Error {
    match errors.iter().find_map(|error| Some((setting(error, names)?, error))) {
        Some((name, error)) => syn::Error::new(name.span(), errors.plain(error)),
        None => syn::Error::new(path.span(), format!("in {}\n{errors}", path.value())),
    }
}

/// The name in `set(...)` that an error is about.
fn setting<'n>(error: &Diagnostic, names: &'n [Ident]) -> Option<&'n Ident> {
    let setting = error.setting.as_ref().filter(|_| error.span.is_none())?;
    names.iter().find(|name| *name == setting)
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
