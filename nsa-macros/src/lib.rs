//! `nsa_kernel!`: compiles a tensor program while yours is compiled, and embeds its kernels.
//!
//! Use it through the crate `nsa`, which it refers to. See the documentation of `nsa::nsa_kernel!`.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable))]

mod compile;
mod expand;
mod input;
mod labels;
mod report;

use proc_macro::TokenStream;

/// Compiles a program and makes a module of it.
///
/// Two forms:
/// ```text
/// nsa_kernel! {
///     const WINDOW = 512;
///     kernel window(q[t, g = 4, r = 16, d = 128], k[s, g, d], v[s, g, e = 128]) -> o[t, g, r, e] {
///         attend(q, k, v, s <= pos(t) && pos(t) < s + WINDOW)
///     }
/// }
///
/// nsa_kernel!(pub mod nsa = "programs/nsa.nsa", targets = ["sm_80", "sm_90a", "host"], set(N = 8, d = 64), element = "f16");
/// ```
/// The first makes a private module with the kernel's name, for all targets. In the second the path is relative to the crate's
/// `Cargo.toml`, and editing the file rebuilds; instead of a path the program itself may stand there, in braces. What follows is
/// optional: `targets` (default: all GPU targets and the host), `set` (other values for the program's constants), `element`
/// (`"bf16"`, `"f16"` or `"f32"`).
///
/// The module has
/// * `Shape`: the lengths of the run-time axes, one field each;
/// * `Args`: a view for each argument and result;
/// * `Kernel`: the program on a device, from `load(&device)`;
/// * `Plan`: prepared for a shape, from `kernel.plan(&shape)`; `plan.launch(stream, &args)`;
/// * `PROGRAM`: all of it as data.
///
/// Errors in the program are reported at its tokens, or with a quotation of its file.
#[proc_macro]
pub fn nsa_kernel(input: TokenStream) -> TokenStream {
    let input = proc_macro2::TokenStream::from(input);
    match compile::module(input) {
        Ok(tokens) => tokens.into(),
        Err(error) => error.into_compile_error().into(),
    }
}
