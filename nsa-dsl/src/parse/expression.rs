//! Expressions, by precedence: `||`, `&&`, comparisons and `in`, `+ -`, `* / %`, prefixes, primaries.

use super::item::{axis, dtype, group, list, name, peek_word, punctuation, word};
use super::{Context, MAX_HEIGHT};
use crate::ast::*;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::ParseStream;

type Parsed<T> = Result<T, Diagnostic>;

/// A whole expression.
pub(super) fn expression(context: &Context, input: ParseStream) -> Parsed<Expr> {
    binary(context, input, 1)
}

/// An expression of sums and products, without comparisons.
pub(super) fn sum(context: &Context, input: ParseStream) -> Parsed<Expr> {
    binary(context, input, 4)
}

/// A product: how far the body of a fold reaches.
fn product(context: &Context, input: ParseStream) -> Parsed<Expr> {
    binary(context, input, 5)
}

/// The precedence of comparisons.
const COMPARISON: u8 = 3;

fn binary(context: &Context, input: ParseStream, loosest: u8) -> Parsed<Expr> {
    context.deeper(input, || {
        let mut left = prefix(context, input)?;
        // The precedence of what stands on the left: comparisons do not chain.
        let mut reached = u8::MAX;
        loop {
            if loosest <= COMPARISON && input.peek(Token![in]) {
                if reached <= COMPARISON {
                    return Err(chained(context.here(input)));
                }
                word(context, input);
                let list = primary(context, input)?;
                let span = left.span.to(list.span);
                left = node(ExprKind::In(left, list), span)?;
                reached = COMPARISON;
                continue;
            }
            let Some(op) = peek_operator(input) else { break };
            let precedence = op.precedence();
            if precedence < loosest {
                break;
            }
            if precedence == COMPARISON && reached <= COMPARISON {
                return Err(chained(context.here(input)));
            }
            take_operator(context, input, op)?;
            let right = binary(context, input, precedence + 1)?;
            let span = left.span.to(right.span);
            left = node(ExprKind::Binary(op, left, right), span)?;
            reached = precedence;
        }
        Ok(left)
    })
}

fn chained(span: Span) -> Diagnostic {
    Diagnostic::new(span, "comparisons do not chain").help("write `a < b && b < c`")
}

fn peek_operator(input: ParseStream) -> Option<BinaryOp> {
    // The longer ones first: `<` is also the beginning of `<=`.
    Some(if input.peek(Token![||]) {
        BinaryOp::Or
    } else if input.peek(Token![&&]) {
        BinaryOp::And
    } else if input.peek(Token![==]) {
        BinaryOp::Eq
    } else if input.peek(Token![!=]) {
        BinaryOp::Ne
    } else if input.peek(Token![<=]) {
        BinaryOp::Le
    } else if input.peek(Token![>=]) {
        BinaryOp::Ge
    } else if input.peek(Token![<]) {
        BinaryOp::Lt
    } else if input.peek(Token![>]) {
        BinaryOp::Gt
    } else if input.peek(Token![+]) {
        BinaryOp::Add
    } else if input.peek(Token![-]) {
        BinaryOp::Sub
    } else if input.peek(Token![*]) {
        BinaryOp::Mul
    } else if input.peek(Token![/]) {
        BinaryOp::Div
    } else if input.peek(Token![%]) {
        BinaryOp::Rem
    } else {
        return None;
    })
}

fn take_operator(context: &Context, input: ParseStream, op: BinaryOp) -> Parsed<Span> {
    match op {
        BinaryOp::Or => punctuation!(context, input, ||),
        BinaryOp::And => punctuation!(context, input, &&),
        BinaryOp::Eq => punctuation!(context, input, ==),
        BinaryOp::Ne => punctuation!(context, input, !=),
        BinaryOp::Le => punctuation!(context, input, <=),
        BinaryOp::Ge => punctuation!(context, input, >=),
        BinaryOp::Lt => punctuation!(context, input, <),
        BinaryOp::Gt => punctuation!(context, input, >),
        BinaryOp::Add => punctuation!(context, input, +),
        BinaryOp::Sub => punctuation!(context, input, -),
        BinaryOp::Mul => punctuation!(context, input, *),
        BinaryOp::Div => punctuation!(context, input, /),
        BinaryOp::Rem => punctuation!(context, input, %),
    }
}

fn prefix(context: &Context, input: ParseStream) -> Parsed<Expr> {
    context.deeper(input, || {
        if input.peek(Token![-]) {
            let start = punctuation!(context, input, -)?;
            let operand = prefix(context, input)?;
            let span = start.to(operand.span);
            return node(ExprKind::Neg(operand), span);
        }
        if input.peek(Token![!]) && !input.peek(Token![!=]) {
            let start = punctuation!(context, input, !)?;
            let operand = prefix(context, input)?;
            let span = start.to(operand.span);
            return node(ExprKind::Not(operand), span);
        }
        if peek_word(input).as_deref() == Some("not") && starts_operand(input) {
            let place = context.here(input);
            return Err(Diagnostic::new(place, "there is no operator `not`").help("negation is `!`: `!p`"));
        }
        primary(context, input)
    })
}

/// Whether what follows a word can only be its operand.
fn starts_operand(input: ParseStream) -> bool {
    let fork = input.fork();
    let _ = fork.call(syn::Ident::parse_any);
    let word = peek_word(&fork);
    let operator = word.is_some_and(|word| matches!(word.as_str(), "in" | "where" | "else" | "and" | "or"));
    !operator && (fork.cursor().ident().is_some() || fork.peek(syn::Lit))
}

fn primary(context: &Context, input: ParseStream) -> Parsed<Expr> {
    if input.peek(syn::Lit) && !matches!(peek_word(input).as_deref(), Some("true" | "false")) {
        return number(context, input);
    }
    if input.peek(syn::token::Paren) {
        return parenthesis(context, input);
    }
    let Some(word_text) = peek_word(input) else {
        return context.expected(input, "an expression");
    };
    match word_text.as_str() {
        "true" | "false" => {
            let span = word(context, input);
            node(ExprKind::Bool(word_text == "true"), span)
        }
        "if" => conditional(context, input),
        "cast" if input.peek2(syn::token::Paren) => cast(context, input),
        "top" if input.peek2(syn::token::Bracket) => top(context, input),
        _ => match FoldKind::by_name(&word_text) {
            Some(kind) if input.peek2(syn::token::Bracket) => fold(context, input, kind),
            _ => named(context, input),
        },
    }
}

fn number(context: &Context, input: ParseStream) -> Parsed<Expr> {
    let span = context.here(input);
    let wrong = |message: String| Err(Diagnostic::new(span, message));
    match input.parse::<syn::Lit>() {
        Ok(syn::Lit::Int(literal)) if literal.suffix().is_empty() => match literal.base10_parse::<i64>() {
            Ok(value) => node(ExprKind::Int(value), span),
            Err(_) => wrong(format!("this integer does not fit 64 bits: the largest is {}", i64::MAX)),
        },
        Ok(syn::Lit::Float(literal)) if literal.suffix().is_empty() => {
            match literal.base10_parse::<f64>() {
                Ok(value) if value.is_finite() => node(ExprKind::Num(value), span),
                _ => Err(Diagnostic::new(span, "this number is beyond the largest of 64 bits")
                    .help("write `inf` for infinity")),
            }
        }
        Ok(syn::Lit::Int(literal)) => suffix(span, literal.base10_digits(), literal.suffix()),
        Ok(syn::Lit::Float(literal)) => suffix(span, literal.base10_digits(), literal.suffix()),
        Ok(_) => wrong("expected a number: programs have no strings or characters".into()),
        Err(error) => wrong(error.to_string()),
    }
}

fn suffix(span: Span, digits: &str, suffix: &str) -> Parsed<Expr> {
    Err(Diagnostic::new(span, format!("numbers have no type: `{suffix}` cannot follow one"))
        .help(format!("write `{digits}`")))
}

fn parenthesis(context: &Context, input: ParseStream) -> Parsed<Expr> {
    let (content, span) = group!(context, input, parenthesized, Paren, "`(`");
    let value = expression(context, &content)?;
    if peek_word(&content).as_deref() == Some("where") {
        word(context, &content);
        let condition = expression(context, &content)?;
        end(context, &content)?;
        return node(ExprKind::Where(value, condition), span);
    }
    end(context, &content)?;
    // Wider than the value, so that carets take the brackets in.
    Ok(Expr { span, ..value })
}

fn end(context: &Context, content: ParseStream) -> Parsed<()> {
    if content.is_empty() { Ok(()) } else { context.expected(content, "an operator or the closing bracket") }
}

fn conditional(context: &Context, input: ParseStream) -> Parsed<Expr> {
    context.deeper(input, || {
        let start = word(context, input);
        let condition = expression(context, input)?;
        let (content, _) = group!(context, input, braced, Brace, "`{` and a value");
        let yes = expression(context, &content)?;
        end(context, &content)?;
        if !input.peek(Token![else]) {
            return context.expected(input, "`else`");
        }
        word(context, input);
        let (no, span) = if input.peek(Token![if]) {
            let no = conditional(context, input)?;
            let span = no.span;
            (no, span)
        } else {
            let (content, span) = group!(context, input, braced, Brace, "`{` and a value");
            let no = expression(context, &content)?;
            end(context, &content)?;
            (no, span)
        };
        node(ExprKind::If(condition, yes, no), start.to(span))
    })
}

fn cast(context: &Context, input: ParseStream) -> Parsed<Expr> {
    let start = word(context, input);
    let (content, span) = group!(context, input, parenthesized, Paren, "`(`");
    let value = expression(context, &content)?;
    if !content.peek(Token![,]) {
        return Err(Diagnostic::new(start.to(span), "`cast` takes a value and a type").help("write `cast(x, f16)`"));
    }
    punctuation!(context, &content, ,)?;
    let dtype = dtype(context, &content)?;
    end(context, &content)?;
    node(ExprKind::Cast(value, dtype), start.to(span))
}

fn top(context: &Context, input: ParseStream) -> Parsed<Expr> {
    let start = word(context, input);
    let (content, _) = group!(context, input, bracketed, Bracket, "`[`");
    let axis = name(context, &content, "the axis to choose from")?;
    end(context, &content)?;
    let (content, span) = group!(context, input, parenthesized, Paren, "`(score, count)`");
    let arguments = list(context, &content, argument)?;
    node(ExprKind::Top(axis, arguments), start.to(span))
}

fn fold(context: &Context, input: ParseStream, kind: FoldKind) -> Parsed<Expr> {
    let start = word(context, input);
    let (content, bracket) = group!(context, input, bracketed, Bracket, "`[`");
    let axes = list(context, &content, |context, input| axis(context, input, false))?;
    if axes.is_empty() {
        return Err(Diagnostic::new(bracket, format!("`{}` needs an axis", kind.name()))
            .help(format!("name the axis to go along: `{}[axis]`", kind.name())));
    }
    if matches!(kind, FoldKind::Softmax | FoldKind::LogSumExp) {
        // These read as calls: what follows the bracket is not part of them.
        if !input.peek(syn::token::Paren) {
            let name = kind.name();
            let missing: Parsed<Expr> = context.expected(input, &format!("`(` after `{name}[..]`"));
            return missing
                .map_err(|error| error.help(format!("its operand stands in round brackets: `{name}[axis](x)`")));
        }
        let body = parenthesis(context, input)?;
        let span = start.to(body.span);
        return node(ExprKind::Fold(kind, bracket, axes, body), span);
    }
    let mut body = product(context, input)?;
    if peek_word(input).as_deref() == Some("where") {
        word(context, input);
        let condition = expression(context, input)?;
        let span = body.span.to(condition.span);
        body = node(ExprKind::Where(body, condition), span)?;
    }
    let span = start.to(body.span);
    node(ExprKind::Fold(kind, bracket, axes, body), span)
}

fn argument(context: &Context, input: ParseStream) -> Parsed<Argument> {
    let mut argument_name = None;
    if input.cursor().ident().is_some() && input.peek2(Token![=]) && !input.peek2(Token![==]) {
        argument_name = Some(name(context, input, "a parameter's name")?);
        punctuation!(context, input, =)?;
    }
    Ok(Argument { name: argument_name, value: expression(context, input)? })
}

fn named(context: &Context, input: ParseStream) -> Parsed<Expr> {
    let name = name(context, input, "an expression")?;
    if input.peek(syn::token::Paren) {
        let (content, span) = group!(context, input, parenthesized, Paren, "`(`");
        let arguments = list(context, &content, argument)?;
        let span = name.span.to(span);
        return node(ExprKind::Call(name, arguments), span);
    }
    if input.peek(syn::token::Bracket) {
        let (content, span) = group!(context, input, bracketed, Bracket, "`[`");
        let indices = list(context, &content, |context, input| {
            if input.peek(Token![..]) {
                punctuation!(context, input, ..).map(IndexItem::Rest)
            } else {
                expression(context, input).map(IndexItem::Value)
            }
        })?;
        let span = name.span.to(span);
        return node(ExprKind::Index(name, indices), span);
    }
    let span = name.span;
    node(ExprKind::Name(name.text), span)
}

/// Builds a node, unless the tree becomes too high.
fn node(kind: ExprKind, span: Span) -> Parsed<Expr> {
    let mut depth = 0;
    kind.children(|child| depth = depth.max(child.depth));
    depth += 1;
    if depth <= MAX_HEIGHT {
        return Ok(Expr { kind: Box::new(kind), span, depth });
    }
    // Of a chain the place where it is too long.
    let place = if let ExprKind::Binary(_, _, right) = &kind { right.span } else { span };
    Err(Diagnostic::new(place, "this expression is too long")
        .label(format!("more than {MAX_HEIGHT} operations in a row"))
        .help("give a part of it a name with `let`"))
}
