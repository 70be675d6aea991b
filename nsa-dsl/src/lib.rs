//! The language of `nsa`: short tensor programs in index notation, such as attention with any pattern of sparsity.
//!
//! [`compile_source`] and [`compile_tokens`] take a text or a macro's tokens to a checked [`Program`], which this crate
//! prints, and evaluates in f64 ([`evaluate()`]), and from which `nsa-codegen` makes kernels.
//!
//! ```
//! let text = "
//!     kernel causal(q[t, d = 64], k[s, d], v[s, e = 64]) -> o[t, e] {
//!         attend(q, k, v, s <= pos(t))
//!     }";
//! let program = nsa_dsl::compile_source("causal.nsa", text, &nsa_dsl::Settings::default())?;
//! assert_eq!(program.tensor(program.results[0]).name, "o");
//! # Ok::<(), nsa_dsl::Diagnostics>(())
//! ```
//!
//! # What a program means
//!
//! A program describes what happens to **one sequence**. Its tensors have **named axes**; a packed batch runs it once per
//! sequence, each with lengths of its own, 0 included. A name that stands for an axis says which values go together:
//! `q[t, g, d]` and `k[s, g, d]` share `g` and `d`.
//!
//! *Extents.* An axis of the signature whose name is a constant's has that many values; `d = 64` gives axis `d` its extent
//! on the spot (and makes a constant of it, which [`Settings`] can change); `3` is an axis without a name; any other axis
//! is given at run time. An axis that a definition introduces, `let kc[i, g, d] = ...`, gets the largest extent for which
//! every index that is affine in it stays inside its tensor (`k[i * 16 + j, g, d]` with 32 values of `j` makes it
//! `(len(s) - 32) / 16 + 1`), or the one that is written: `b < ceil_div(len(s), 64)`. A fold may introduce an axis for
//! itself: `sum[j < 32]`.
//!
//! *Names in expressions.* A tensor's name alone is its element at its own axes: `q` is `q[t, g, d]`. In square brackets
//! each axis gets an index, an integer expression; `..` leaves the axes between as they are; indices as many as the tensor
//! has axes without names stand for just those (`gate[0]`). The name of an axis is its value, an integer. A name that is
//! both an axis and a constant means the axis; `len(d)` is the number of its values.
//!
//! *Definitions.* `let x = value;` is a tensor along all axes that its value varies along, in the order of their
//! occurrence; `let x[t, g] = value;` says which, and in which order. Conditions, integers (without brackets) and
//! constants are no tensors but abbreviations. A tensor is computed once, as it were; whether it ever reaches memory is the
//! compiler's business.
//!
//! *Results.* The body's last expression, or several in round brackets, are the results, along the axes that the signature
//! declares: `-> (o[t, g, e], lse: f32[t, g])`. What varies along no run-time axis, such as `-> o[g, e]`, has a value for each
//! sequence of a packed batch: its first axis in memory is one that nobody writes, `sequence`.
//!
//! *Types.* A value is integer, floating or a condition. Integers are 64-bit; `/` between two of them is floor division
//! (`1 / 2` is 0; write `0.5`), `%` its remainder; divisors must be positive whatever the lengths are. An integer among
//! floating operands becomes floating. Tensors in memory hold `bf16`, `f16`, `f32` or `i32`; without a type they hold the
//! program's element type (`element f16;` or [`Settings`]; `bf16` if nothing says). [`program`] says what is rounded when.
//!
//! *Rows that see nothing.* A fold over nothing is 0 for `sum`, -inf for `max`, +inf for `min`, 0 for `mean` and for a sum
//! of `softmax` probabilities, -inf for `logsumexp`. Never NaN.
//!
//! *Indices stay inside.* An affine index must be proved to, from extents, from the guards around it (`where j < len(s)`,
//! `if`), and from `len(t) <= len(s)` where `pos` is used; else it is an error when compiling. An index that is read from
//! data is the caller's responsibility, and checked by the evaluator.
//!
//! # Primitives
//!
//! | written | is |
//! |---|---|
//! | `sum[axes] x`, `max[axes] x`, `min[axes] x` | the fold of `x` along the axes; `x` reaches as far as a product does |
//! | `mean[axes] x` | the sum over the number of values |
//! | `sum[axes] x where p` | the same over the values for which `p` holds; what `p` leaves out is not evaluated |
//! | `softmax[axes](x where p)` | `exp(x - m) / sum exp(x - m)` with `m = max x`, 0 where `p` fails; still varies along the axes |
//! | `logsumexp[axes](x where p)` | `m + log(sum exp(x - m))`, natural |
//! | `top[b](score, n, force = f, among = a)` | the `n` best values of axis `b` as a list, ascending, then -1: of those for which `a` holds, all for which `f` does, then the highest scores, ties to the lower value. Only as a definition of its own |
//! | `x in list` | whether integer `x` is in a list (`top`'s, or an `i32` parameter's last axis); -1 entries match nothing |
//! | `+ - * / %`, `min(x, y)`, `max(x, y)`, `ceil_div(a, b)`, `abs(x)` | arithmetic |
//! | `== != < <= > >=`, `&&`, `\|\|`, `!` | conditions |
//! | `exp log sqrt tanh sigmoid relu silu gelu` | functions of one value |
//! | `shift(x, m)`, `ratio(x, y)` | `x - m` but -inf where `x` is; `x / y` but 0 where both are 0 |
//! | `if p { x } else { y }` | `x` or `y`; the other is not evaluated |
//! | `len(a)`, `pos(t)`, `pos(t, s)` | number of values of an axis; position of query `t` among the keys, `t + len(s) - len(t)`: queries stand at the end, after what is cached |
//! | `cast(x, f16)`, `float(i)`, `stop_gradient(x)`, `inf` | rounding; an integer as a number; no gradient; infinity |
//!
//! A factor of a sum that is 0 where a condition fails (an `if p { x } else { 0.0 }`, a `softmax` with `where`) makes the
//! condition part of the sum's guard: what is masked is not visited.
//!
//! # Functions
//!
//! `fn f(x[.., d], y[s, ..], z = 1.0) { let a = ...; value }` is expanded where it is called. A pattern in square brackets
//! names axes of the argument, in the order in which they first occur in it: `[.., d]` its last, `[s, ..]` its first;
//! names that occur twice must be the same axis. Inside, a parameter is indexed by place, `x[at + j, ..]`. A function
//! with several values, `(a, b)`, is taken apart by `let (x, y) = f(...);`, and elsewhere stands for its first. Functions
//! see constants but no axes or tensors of the kernel. The library ([`library_files`]) has attention (`attend`, `score`,
//! `attend_scores`, `softcap`, `merge_attention`), compression (`block_mean`, `block_weighted`, `block_linear`,
//! `block_mlp`, `block_gated`, `block_swiglu`) and ranges (`overlap`, `touches`, `causal`, `window`, `window_with_sinks`);
//! a program may define functions of the same names instead.
//!
//! # Grammar
//!
//! Tokens are Rust's, so that files and macros share the parser; `//` and `///` begin comments.
//!
//! ```text
//! file        = { const | element | function | kernel }
//! const       = "const" name "=" expression ";"
//! element     = "element" type ";"                                  type = "bf16" | "f16" | "f32" | "i32"
//! function    = "fn" name "(" [ parameter { "," parameter } ] ")" body
//! parameter   = name [ "[" ( name | ".." ) { "," ( name | ".." ) } "]" ] [ "=" expression ]
//! kernel      = "kernel" name "(" [ tensor { "," tensor } ] ")" "->" ( tensor | "(" tensor { "," tensor } ")" ) body
//! tensor      = name [ ":" type ] [ "[" axis { "," axis } "]" ]     axis = name [ "=" sum ] | sum
//! body        = "{" { let } ( expression | "(" expression { "," expression } ")" ) "}"
//! let         = "let" ( target | "(" target { "," target } ")" ) "=" expression ";"
//! target      = name [ "[" bound { "," bound } "]" ]                bound = name [ "<" sum ]
//! expression  = and { "||" and }                                    and = test { "&&" test }
//! test        = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) sum | "in" primary ]
//! sum         = product { ( "+" | "-" ) product }                   product = prefix { ( "*" | "/" | "%" ) prefix }
//! prefix      = { "-" | "!" } primary
//! primary     = number | "true" | "false" | name | name "[" index { "," index } "]" | call | fold | top | if
//!             | "(" expression [ "where" expression ] ")"           index = expression | ".."
//! call        = name "(" [ argument { "," argument } ] ")"          argument = [ name "=" ] expression
//! fold        = ( "sum" | "max" | "min" | "mean" ) "[" bound { "," bound } "]" product [ "where" expression ]
//!             | ( "softmax" | "logsumexp" ) "[" bound { "," bound } "]" "(" expression [ "where" expression ] ")"
//! top         = "top" "[" name "]" "(" argument { "," argument } ")"
//! if          = "if" expression "{" expression "}" "else" ( "{" expression "}" | if )
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable)
)]

mod arena;
pub mod ast;
mod check;
mod diagnostic;
mod display;
mod evaluate;
mod library;
mod linear;
mod nearest;
mod operations;
mod parse;
mod print;
pub mod program;
pub mod source;
mod substitute;

pub use check::{Constant, Settings};
pub use diagnostic::{Diagnostic, Diagnostics, Note, Severity};
pub use evaluate::{Array, Choices, EvalError, Evaluation, Inputs, Outputs, Values, evaluate, evaluate_rows};
pub use library::library_files;
pub use nearest::nearest;
pub use program::{Places, Program};
pub use source::{LineColumn, SourceId, Span};

use diagnostic::SourceText;
use proc_macro2::TokenStream;
use program::Origin;

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
    let text = parse::print_tokens(&tokens).map_err(|error| diagnostics("nsa_kernel!", "", vec![error], true))?;
    compile("nsa_kernel!", &text, settings, true)
}

fn compile(file_name: &str, text: &str, settings: &Settings, from_tokens: bool) -> Result<Program, Diagnostics> {
    let compiled = parse::parse_text(text, SourceId::USER).map_err(|error| vec![error]).and_then(|file| {
        let library = library::functions().map_err(|error| vec![error])?;
        check::check(&file, library, settings)
    });
    let mut program = compiled.map_err(|errors| diagnostics(file_name, text, errors, from_tokens))?;
    program.places.origin = Origin { file_name: file_name.to_string(), text: text.into(), from_tokens };
    Ok(program)
}

impl Program {
    /// What in this program means something, and hardly what was meant; None if there is nothing of the sort.
    pub fn warnings(&self) -> Option<Diagnostics> {
        let Origin { file_name, text, from_tokens } = &self.places.origin;
        let warnings = self.places.warnings.clone();
        (!warnings.is_empty()).then(|| diagnostics(file_name, text, warnings, *from_tokens))
    }

    /// An error about this program that was found after it was checked, quoting its text as the checker's errors do.
    pub fn diagnose(&self, error: Diagnostic) -> Diagnostics {
        let Origin { file_name, text, from_tokens } = &self.places.origin;
        diagnostics(file_name, text, vec![error], *from_tokens)
    }
}

fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn diagnostics(file_name: &str, text: &str, errors: Vec<Diagnostic>, from_tokens: bool) -> Diagnostics {
    let mut sources = vec![SourceText { name: file_name.to_string(), text: text.to_string() }];
    sources.extend(library::sources());
    Diagnostics::new(errors, sources, from_tokens)
}
