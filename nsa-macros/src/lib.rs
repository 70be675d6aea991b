//! `nsa_kernel!`: compiles a tensor program while yours is compiled, and embeds its kernels.
//!
//! Use it through the crate `nsa`, which it refers to. See the documentation of `nsa::nsa_kernel!`.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

#[cfg(feature = "compile")]
mod compile;
mod expand;
mod input;
mod module;
mod prebuilt;
#[cfg(feature = "compile")]
mod report;
mod symbols;

use proc_macro::TokenStream;

/// Compiles a program and makes a module of it.
///
/// Three forms:
/// ```text
/// nsa_kernel! {
///     const WINDOW = 512;
///     kernel window(q[t, g = 4, r = 16, d = 128], k[s, g, d], v[s, g, e = 128]) -> o[t, g, r, e] {
///         attend(q, k, v, s <= pos(t) && pos(t) < s + WINDOW)
///     }
/// }
///
/// nsa_kernel!(pub mod nsa = "programs/nsa.nsa", targets = ["sm_80", "sm_90a", "host"], set(N = 8, d = 64), element = "f16");
///
/// nsa_kernel!(pub mod window = prebuilt "kernels/window.nsak");
/// ```
/// The first makes a private module with the kernel's name, for all targets. In the second the path is relative to the crate's
/// `Cargo.toml`, and editing the file rebuilds; instead of a path the program itself may stand there, in braces. What follows is
/// optional: `targets` (default: all GPU targets and the host), `set` (other values for the program's constants), `element`
/// (`"bf16"`, `"f16"` or `"f32"`).
///
/// In the third the program is compiled already: the file is an artifact that `nsa build` wrote. Everything else is the same,
/// types included; `prebuilt = "kernels/window.nsak"` makes a private module with the kernel's name. Values were set by `nsa build`,
/// so that `targets` (default: all that are in the file) is the only option. A crate that uses no other form needs no compiler: with
/// `default-features = false` it builds without LLVM, with other toolchains too. The file's code becomes part of yours; take it from those from
/// whom you would take a library.
///
/// The module has
/// * `Shape`: the lengths of the run-time axes, one field each;
/// * `Args`: a view for each argument and result;
/// * `Kernel`: the program on a device, from `load(&device)`;
/// * `Plan`: prepared for a shape, from `kernel.plan(&shape)`; `plan.launch(stream, &args)`;
/// * `PROGRAM`: all of it as data.
///
/// Errors in the program are reported at its tokens, or with a quotation of its file; errors about a file at its path.
#[proc_macro]
pub fn nsa_kernel(input: TokenStream) -> TokenStream {
    let input = proc_macro2::TokenStream::from(input);
    match module::module(input) {
        Ok(tokens) => tokens.into(),
        Err(error) => error.into_compile_error().into(),
    }
}
