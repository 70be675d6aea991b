//! From text to the syntax tree.
//!
//! One parser on syn serves files and macros: tokens are printed and parsed as text, so that every place is a byte range.

mod expression;
mod item;
mod unreadable;

use crate::ast::File;
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};
use proc_macro2::{TokenStream, TokenTree};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Mutex;
use syn::parse::{ParseStream, Parser};

/// Longest text, in bytes. Programs are a page; this bounds memory, and places fit 32 bits.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of brackets.
const MAX_NESTING: usize = 64;
/// Most operations inside one another, as brackets and prefixes make them.
const MAX_DEPTH: u32 = 200;
/// Largest height of an expression's tree. Chains of operators, `a + b + c + ...`, are as high as they are long.
const MAX_HEIGHT: u32 = 600;
/// Stack of the parsing thread: room for `MAX_NESTING` and `MAX_DEPTH` in unoptimised builds.
const STACK_BYTES: usize = 32 << 20;

/// Parses a text into its syntax tree.
pub(crate) fn parse_text(text: &str, source: SourceId) -> Result<File, Diagnostic> {
    if text.len() > MAX_BYTES {
        return Err(Diagnostic::without_place(format!(
            "the program has {} bytes; the most that is accepted is {MAX_BYTES}",
            text.len()
        )));
    }
    on_own_thread(|| parse_here(text, source))
}

/// The byte ranges of all tokens of a text, opening and closing brackets included; empty if it does not lex.
pub(crate) fn token_ranges(text: &str) -> Vec<Range<usize>> {
    if text.len() > MAX_BYTES {
        return vec![];
    }
    on_own_thread(|| {
        let mut ranges = vec![];
        if let Ok(stream) = text.parse::<TokenStream>() {
            visit_tokens(stream, |span, _| ranges.push(span.byte_range()));
        }
        Ok(ranges)
    })
    .unwrap_or_default()
}

/// Runs a parse in a thread of its own, with text-only tokens.
///
/// proc-macro2 keeps every text that a thread has lexed until the thread ends, and inside a procedural macro it would
/// hand the text to the compiler, which forgets the places; and the stack of the caller is of unknown size.
fn on_own_thread<T: Send>(parse: impl FnOnce() -> Result<T, Diagnostic> + Send) -> Result<T, Diagnostic> {
    let _text_only = TextOnly::begin();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("nsa-parse".into()).stack_size(STACK_BYTES);
        let handle = thread
            .spawn_scoped(scope, parse)
            .map_err(|error| Diagnostic::without_place(format!("no thread for the parser: {error}")))?;
        match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// How many parses are running: the switch to text-only tokens is global, the last one turns it back.
static TEXT_ONLY: Mutex<usize> = Mutex::new(0);

struct TextOnly;

impl TextOnly {
    fn begin() -> TextOnly {
        let mut running = TEXT_ONLY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *running == 0 {
            proc_macro2::fallback::force();
        }
        *running += 1;
        TextOnly
    }
}

impl Drop for TextOnly {
    fn drop(&mut self) {
        let mut running = TEXT_ONLY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *running -= 1;
        if *running == 0 {
            proc_macro2::fallback::unforce();
        }
    }
}

fn parse_here(text: &str, source: SourceId) -> Result<File, Diagnostic> {
    let context = Context { source, end: text.len() as u32, depth: Cell::new(0), error: RefCell::new(None) };
    let stream: TokenStream = text
        .parse()
        .map_err(|error: proc_macro2::LexError| unreadable::diagnose(text, source, context.span(error.span())))?;
    if let Some(span) = first_too_deep(stream.clone()) {
        return Err(nested_too_deeply(context.span(span)));
    }
    let parser = |input: ParseStream| {
        item::file(&context, input).map_err(|diagnostic| {
            *context.error.borrow_mut() = Some(diagnostic);
            input.error("reported apart")
        })
    };
    let parsed = parser.parse2(stream);
    if let Some(diagnostic) = context.error.take() {
        return Err(diagnostic);
    }
    parsed.map_err(|error| Diagnostic::new(context.span(error.span()), error.to_string()))
}

/// The first token inside too many brackets.
fn first_too_deep(stream: TokenStream) -> Option<proc_macro2::Span> {
    let mut first = None;
    visit_tokens(stream, |span, depth| {
        if depth > MAX_NESTING && first.is_none() {
            first = Some(span);
        }
    });
    first
}

fn nested_too_deeply(span: Span) -> Diagnostic {
    Diagnostic::new(span, "brackets are nested too deeply").label(format!("more than {MAX_NESTING} levels"))
}

/// The text of a macro's tokens; an error without a place if they are nested so deeply that printing them is no good idea.
pub(crate) fn print_tokens(tokens: &TokenStream) -> Result<String, Diagnostic> {
    match first_too_deep(tokens.clone()) {
        Some(_) => Err(Diagnostic { span: None, ..nested_too_deeply(Span::default()) }),
        None => Ok(tokens.to_string()),
    }
}

/// Calls `visit` with the place and the nesting of every token.
fn visit_tokens(stream: TokenStream, mut visit: impl FnMut(proc_macro2::Span, usize)) {
    // Not recursive: this is what finds out how deep the nesting is.
    let mut open = vec![(stream.into_iter(), None)];
    loop {
        let depth = open.len();
        let Some((level, close)) = open.last_mut() else { break };
        match level.next() {
            Some(TokenTree::Group(group)) => {
                visit(group.span_open(), depth);
                open.push((group.stream().into_iter(), Some(group.span_close())));
            }
            Some(token) => visit(token.span(), depth),
            None => {
                if let Some(close) = close {
                    visit(*close, depth - 1);
                }
                open.pop();
            }
        }
    }
}

/// What all parts of the parser need.
struct Context {
    source: SourceId,
    /// Length of the text: the place of what is missing at its end.
    end: u32,
    /// Nesting of the grammar's rules at this moment.
    depth: Cell<u32>,
    /// syn carries only its own errors; ours waits here.
    error: RefCell<Option<Diagnostic>>,
}

impl Context {
    fn span(&self, span: proc_macro2::Span) -> Span {
        let range = span.byte_range();
        // syn gives the end of the input an empty place at the start.
        let range = if range.is_empty() && range.start == 0 {
            self.end..self.end
        } else {
            range.start as u32..range.end as u32
        };
        Span { source: self.source, start: range.start, end: range.end }
    }

    /// The place of the next token.
    fn here(&self, input: ParseStream) -> Span {
        self.span(input.span())
    }

    /// "expected X, found Y" at the next token.
    fn expected<T>(&self, input: ParseStream, what: &str) -> Result<T, Diagnostic> {
        let found = match input.cursor().token_tree() {
            Some((TokenTree::Group(group), _)) => match group.delimiter() {
                proc_macro2::Delimiter::Parenthesis => "`(`".to_string(),
                proc_macro2::Delimiter::Bracket => "`[`".to_string(),
                proc_macro2::Delimiter::Brace => "`{`".to_string(),
                proc_macro2::Delimiter::None => "a macro's fragment".to_string(),
            },
            Some((token, _)) => format!("`{token}`"),
            None => "the end".to_string(),
        };
        let span = match input.cursor().token_tree() {
            Some((TokenTree::Group(group), _)) => self.span(group.span_open()),
            _ => self.here(input),
        };
        if found == "`#`" {
            return Err(other_comment(span));
        }
        let mut diagnostic = Diagnostic::new(span, format!("expected {what}, found {found}"));
        diagnostic.help = match found.as_str() {
            // Signs and words of other languages.
            "`@`" => Some("a product of matrices is a sum over the axis they share: `sum[d] q * k`".into()),
            "`.`" => Some("axes have names, so that nothing is transposed; and functions are called `name(x)`".into()),
            "`?`" => Some("to choose is `if p { x } else { y }`".into()),
            "`^`" => Some("there are no powers: write `x * x`, or `exp(y * log(x))`".into()),
            "`*`" if what == "an expression" => Some("there are no powers: write `x * x`, or `exp(y * log(x))`".into()),
            "`and`" => Some("conditions are joined by `&&`: `p && q`".into()),
            "`or`" => Some("conditions are joined by `||`: `p || q`".into()),
            "`where`" => Some(
                "`where` follows the operand of a fold, as in `sum[axis] x where p`; elsewhere write \
                 `if p { x } else { 0.0 }`"
                    .into(),
            ),
            _ if what == "`->`" => Some("the results follow the parameters: `-> name[axes]`".into()),
            _ if what == "`;`" => Some("definitions and constants end with `;`".into()),
            _ if what == "the value of the body" => {
                Some("the last expression is the value, without a `;`: `{ let a = ...; a }`".into())
            }
            _ if what == "`else`" => Some("every `if` has a value either way: `if p { x } else { y }`".into()),
            "the end" if what == "an expression" => Some("something is missing after the operator".into()),
            "`;`" if what == "the end of the body" => Some("the last expression is the value: it has no `;`".into()),
            "`=`" => Some("comparison is `==`; a definition begins with `let`".into()),
            "`let`" if what.starts_with("`const`") => Some(
                "`let` stands inside the braces of a kernel or a function; at the top, constants begin with `const`"
                    .into(),
            ),
            _ if what.starts_with("`const`") => {
                let word = found.trim_matches('`');
                let near = crate::nearest::nearest(word, ["const", "element", "fn", "kernel"].into_iter());
                near.map(|near| format!("did you mean `{near}`?"))
            }
            "`&`" | "`|`" => Some("conditions are joined by `&&` and `||`".into()),
            _ if what == "the end of the body" => {
                Some("a body has one value: put an operator between, or define the first with `let`".into())
            }
            _ => None,
        };
        Err(diagnostic)
    }

    /// Runs a rule one level deeper.
    fn deeper<T>(&self, input: ParseStream, rule: impl FnOnce() -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
        self.depth.set(self.depth.get() + 1);
        let result = if self.depth.get() > MAX_DEPTH { Err(too_deep(self.here(input))) } else { rule() };
        self.depth.set(self.depth.get() - 1);
        result
    }
}

/// The error for a comment of another language, at its `#`.
fn other_comment(span: Span) -> Diagnostic {
    Diagnostic::new(span, "comments begin with `//`").help("write `//` instead of `#`")
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::new(span, "this expression is nested too deeply")
        .label(format!("more than {MAX_DEPTH} operations inside one another"))
        .help("give a part of it a name with `let`")
}
