//! Constants, functions, kernels and their statements.

use super::{Context, expression};
use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::program::DType;
use crate::source::Span;
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::ParseStream;

type Parsed<T> = Result<T, Diagnostic>;

/// The next identifier, keyword or not, without taking it.
pub(super) fn peek_word(input: ParseStream) -> Option<String> {
    input.cursor().ident().map(|(ident, _)| ident.to_string())
}

/// Takes an identifier that is not a word of Rust, which the macro's tokens could not carry everywhere.
pub(super) fn name(context: &Context, input: ParseStream, what: &str) -> Parsed<Name> {
    let Some((ident, _)) = input.cursor().ident() else {
        return context.expected(input, what);
    };
    let span = context.span(ident.span());
    match input.call(syn::Ident::parse_any) {
        Ok(ident) if syn::parse_str::<syn::Ident>(&ident.to_string()).is_ok() => {
            Ok(Name { text: ident.unraw().to_string(), span })
        }
        _ => Err(Diagnostic::new(span, format!("`{ident}` is a reserved word, and cannot be {what}"))
            .help("choose another name")),
    }
}

/// Takes a word of the grammar.
pub(super) fn word(context: &Context, input: ParseStream) -> Span {
    let span = context.here(input);
    // The caller has seen an identifier.
    let _ = input.call(syn::Ident::parse_any);
    span
}

macro_rules! punctuation {
    ($context:expr, $input:expr, $token:tt) => {{
        let context: &Context = $context;
        let input: ParseStream = $input;
        if input.peek(syn::Token![$token]) {
            let span = context.here(input);
            match input.parse::<syn::Token![$token]>() {
                Ok(_) => Ok(span),
                Err(error) => Err(Diagnostic::new(span, error.to_string())),
            }
        } else {
            context.expected(input, concat!("`", stringify!($token), "`"))
        }
    }};
}
pub(super) use punctuation;

/// Opens a bracketed group: its contents and its place.
macro_rules! group {
    ($context:expr, $input:expr, $kind:ident, $peek:ident, $what:literal) => {{
        let context: &Context = $context;
        let input: ParseStream = $input;
        if !input.peek(syn::token::$peek) {
            return context.expected(input, $what);
        }
        let content;
        let tokens = match (|| -> syn::Result<_> {
            let inner;
            let tokens = syn::$kind!(inner in input);
            Ok((tokens, inner))
        })() {
            Ok((tokens, inner)) => {
                content = inner;
                tokens
            }
            Err(error) => return Err(Diagnostic::new(context.here(input), error.to_string())),
        };
        let span = context.span(tokens.span.open()).to(context.span(tokens.span.close()));
        (content, span)
    }};
}
pub(super) use group;

/// Takes a list separated by commas up to the end of the input.
pub(super) fn list<T>(
    context: &Context,
    input: ParseStream,
    mut element: impl FnMut(&Context, ParseStream) -> Parsed<T>,
) -> Parsed<Vec<T>> {
    let mut elements = vec![];
    while !input.is_empty() {
        elements.push(element(context, input)?);
        if input.is_empty() {
            break;
        }
        if !input.peek(Token![,]) {
            return context.expected(input, "`,` or the closing bracket");
        }
        punctuation!(context, input, ,)?;
    }
    Ok(elements)
}

/// Skips comments written as `///` or `//!`, which Rust's tokens show as attributes.
fn skip_documentation(context: &Context, input: ParseStream) -> Parsed<()> {
    while input.peek(Token![#]) {
        let span = punctuation!(context, input, #)?;
        if input.peek(Token![!]) {
            punctuation!(context, input, !)?;
        }
        if !input.peek(syn::token::Bracket) {
            return Err(super::other_comment(span));
        }
        let (content, _) = group!(context, input, bracketed, Bracket, "a comment");
        if peek_word(&content).as_deref() != Some("doc") {
            return Err(Diagnostic::new(span, "programs have no attributes").help("remove it"));
        }
        // The words are for readers of the source.
        let _: proc_macro2::TokenStream = content.parse().map_err(|error| Diagnostic::new(span, error.to_string()))?;
    }
    Ok(())
}

/// A whole file.
pub(super) fn file(context: &Context, input: ParseStream) -> Parsed<File> {
    let mut items = vec![];
    skip_documentation(context, input)?;
    while !input.is_empty() {
        items.push(match peek_word(input).as_deref() {
            Some("const") => Item::Const(constant(context, input)?),
            Some("element") => {
                let start = word(context, input);
                let dtype = dtype(context, input)?;
                let end = punctuation!(context, input, ;)?;
                Item::Element(dtype, start.to(end))
            }
            Some("fn") => Item::Function(function(context, input)?),
            Some("kernel") => Item::Kernel(kernel(context, input)?),
            _ => return context.expected(input, "`const`, `element`, `fn` or `kernel`"),
        });
        skip_documentation(context, input)?;
    }
    Ok(File { items })
}

fn constant(context: &Context, input: ParseStream) -> Parsed<Const> {
    word(context, input);
    let name = name(context, input, "the constant's name")?;
    punctuation!(context, input, =)?;
    let value = expression::expression(context, input)?;
    punctuation!(context, input, ;)?;
    Ok(Const { name, value })
}

fn function(context: &Context, input: ParseStream) -> Parsed<Function> {
    word(context, input);
    let name = name(context, input, "the function's name")?;
    let (content, _) = group!(context, input, parenthesized, Paren, "`(` and the parameters");
    let params = list(context, &content, function_param)?;
    let body = body(context, input)?;
    Ok(Function { name, params, body })
}

fn function_param(context: &Context, input: ParseStream) -> Parsed<FunctionParam> {
    let name = name(context, input, "a parameter's name")?;
    let mut pattern = None;
    if input.peek(syn::token::Bracket) {
        let (content, span) = group!(context, input, bracketed, Bracket, "`[`");
        let items = list(context, &content, |context, input| {
            if input.peek(Token![..]) {
                punctuation!(context, input, ..).map(PatternItem::Rest)
            } else {
                self::name(context, input, "an axis name or `..`").map(PatternItem::Axis)
            }
        })?;
        if items.iter().filter(|item| matches!(item, PatternItem::Rest(_))).count() > 1 {
            return Err(Diagnostic::new(span, "a pattern has at most one `..`").help("name the axes between"));
        }
        pattern = Some(items);
    }
    let mut default = None;
    if input.peek(Token![=]) {
        punctuation!(context, input, =)?;
        default = Some(expression::expression(context, input)?);
    }
    Ok(FunctionParam { name, pattern, default })
}

fn kernel(context: &Context, input: ParseStream) -> Parsed<Kernel> {
    word(context, input);
    let name = name(context, input, "the kernel's name")?;
    let (content, _) = group!(context, input, parenthesized, Paren, "`(` and the parameters");
    let params = list(context, &content, declaration)?;
    punctuation!(context, input, ->)?;
    let results = if input.peek(syn::token::Paren) {
        let (content, span) = group!(context, input, parenthesized, Paren, "the results");
        let results = list(context, &content, declaration)?;
        if results.is_empty() {
            return Err(Diagnostic::new(span, "a kernel has at least one result")
                .help("write `-> name[axes]`, or `-> (name[axes], other[axes])`"));
        }
        results
    } else {
        vec![declaration(context, input)?]
    };
    let body = body(context, input)?;
    Ok(Kernel { name, params, results, body })
}

fn declaration(context: &Context, input: ParseStream) -> Parsed<Declaration> {
    let name = name(context, input, "a tensor's name")?;
    let mut dtype = None;
    if input.peek(Token![:]) {
        punctuation!(context, input, :)?;
        dtype = Some(self::dtype(context, input)?);
    }
    let mut axes = vec![];
    let mut span = name.span;
    if input.peek(syn::token::Bracket) {
        let (content, bracket) = group!(context, input, bracketed, Bracket, "`[` and the axes");
        axes = list(context, &content, |context, input| axis(context, input, true))?;
        span = span.to(bracket);
    }
    Ok(Declaration { name, dtype, axes, span })
}

/// An axis of a declaration, a definition's head or a fold. A size alone is allowed only where `sizes` says so.
pub(super) fn axis(context: &Context, input: ParseStream, sizes: bool) -> Parsed<AxisDeclaration> {
    if peek_word(input).is_none() {
        if !sizes {
            let missing: Parsed<AxisDeclaration> = context.expected(input, "an axis name");
            return missing.map_err(|error| error.help("a new axis has a name and an extent: `j < 4`"));
        }
        return expression::sum(context, input).map(AxisDeclaration::Size);
    }
    // `2 * L` begins with a number, `L * 2` with a word: what follows the word decides.
    if sizes && !(input.peek2(Token![=]) || input.peek2(Token![<]) || input.peek2(Token![,]) || ends_after_one(input)) {
        return expression::sum(context, input).map(AxisDeclaration::Size);
    }
    let name = name(context, input, "an axis name")?;
    if input.peek(Token![<=]) {
        return Err(Diagnostic::new(context.here(input), format!("the extent of axis `{}` follows `<`", name.text))
            .label("write `<`")
            .help("`j < 4` has the 4 values 0, 1, 2 and 3"));
    }
    if input.peek(Token![<]) {
        punctuation!(context, input, <)?;
    } else if input.peek(Token![=]) {
        punctuation!(context, input, =)?;
    } else {
        return Ok(AxisDeclaration::Named(name, None));
    }
    Ok(AxisDeclaration::Named(name, Some(expression::sum(context, input)?)))
}

fn ends_after_one(input: ParseStream) -> bool {
    input.cursor().token_tree().is_some_and(|(_, rest)| rest.eof())
}

/// `bf16`, `f16`, `f32`, `i32`.
pub(super) fn dtype(context: &Context, input: ParseStream) -> Parsed<DType> {
    let name = name(context, input, "a type: `bf16`, `f16`, `f32` or `i32`")?;
    DType::by_name(&name.text).ok_or_else(|| {
        let wrong = Diagnostic::new(name.span, format!("there is no type `{}`", name.text));
        let types = "the types are `bf16`, `f16`, `f32` and `i32`";
        match crate::nearest::nearest(&name.text, ["bf16", "f16", "f32", "i32"].into_iter()) {
            Some(near) => wrong.did_you_mean(near).note(types),
            None => wrong.label(types),
        }
    })
}

/// `{ lets; value }` or `{ lets; (value, value) }`.
fn body(context: &Context, input: ParseStream) -> Parsed<Body> {
    let (content, _) = group!(context, input, braced, Brace, "`{` and the body");
    let input = &content;
    let mut lets = vec![];
    skip_documentation(context, input)?;
    while input.peek(Token![let]) {
        lets.push(definition(context, input)?);
        skip_documentation(context, input)?;
    }
    if input.is_empty() {
        return context.expected(input, "the value of the body");
    }
    let start = context.here(input);
    let values = values(context, input)?;
    if !input.is_empty() {
        return context.expected(input, "the end of the body");
    }
    let span = values.iter().fold(start, |span, value| span.to(value.span));
    Ok(Body { lets, values, span })
}

/// One value, or several in round brackets.
fn values(context: &Context, input: ParseStream) -> Parsed<Vec<Expr>> {
    if input.peek(syn::token::Paren) {
        // A tuple is a bracket that ends the input and has a comma at its top level.
        let fork = input.fork();
        let (content, _) = group!(context, &fork, parenthesized, Paren, "`(`");
        if fork.is_empty() && has_comma(&content) {
            let (content, _) = group!(context, input, parenthesized, Paren, "`(`");
            return list(context, &content, expression::expression);
        }
    }
    Ok(vec![expression::expression(context, input)?])
}

fn has_comma(input: ParseStream) -> bool {
    let mut cursor = input.cursor();
    while let Some((token, rest)) = cursor.token_tree() {
        if matches!(&token, proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ',') {
            return true;
        }
        cursor = rest;
    }
    false
}

fn definition(context: &Context, input: ParseStream) -> Parsed<Let> {
    word(context, input);
    let targets = if input.peek(syn::token::Paren) {
        let (content, span) = group!(context, input, parenthesized, Paren, "`(`");
        let targets = list(context, &content, target)?;
        if targets.is_empty() {
            return Err(Diagnostic::new(span, "`let` needs a name")
                .help("write `let name = value;` or `let (a, b) = call(...);`"));
        }
        targets
    } else {
        vec![target(context, input)?]
    };
    punctuation!(context, input, =)?;
    let value = expression::expression(context, input)?;
    punctuation!(context, input, ;)?;
    Ok(Let { targets, value })
}

fn target(context: &Context, input: ParseStream) -> Parsed<(Name, Option<Vec<AxisDeclaration>>)> {
    let name = name(context, input, "the name to define")?;
    let mut axes = None;
    if input.peek(syn::token::Bracket) {
        let (content, _) = group!(context, input, bracketed, Bracket, "`[`");
        axes = Some(list(context, &content, |context, input| axis(context, input, false))?);
    }
    Ok((name, axes))
}
