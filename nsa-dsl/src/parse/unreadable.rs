//! Why a text has no tokens: the bracket, quote or character that is at fault.

use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

/// The error for a text that cannot be split into tokens, `fallback` being the place that the lexer names.
pub(super) fn diagnose(text: &str, source: SourceId, fallback: Span) -> Diagnostic {
    let at = |start: usize, end: usize| Span { source, start: start as u32, end: end as u32 };
    let mut open: Vec<(usize, char)> = vec![];
    let mut characters = text.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        let end = start + character.len_utf8();
        match character {
            '/' if text[end..].starts_with('/') => while characters.next_if(|(_, c)| *c != '\n').is_some() {},
            '/' if text[end..].starts_with('*') => {
                let Some(after) = comment(&text[start..]) else {
                    return Diagnostic::new(at(start, end + 1), "this comment is never closed")
                        .help("end it with `*/`");
                };
                while characters.next_if(|(next, _)| *next < start + after).is_some() {}
            }
            '"' => {
                let Some(length) = string(&text[end..]) else {
                    return Diagnostic::new(at(start, end), "this string is never closed")
                        .help("programs have no strings: remove the quote");
                };
                while characters.next_if(|(next, _)| *next < end + length).is_some() {}
            }
            '#' if !text[end..].trim_start_matches('!').starts_with('[') => {
                return super::other_comment(at(start, end));
            }
            '(' | '[' | '{' => open.push((start, character)),
            ')' | ']' | '}' => match open.pop() {
                None => {
                    return Diagnostic::new(at(start, end), format!("this `{character}` closes nothing"))
                        .help("remove it, or open a bracket before");
                }
                Some((opening, bracket)) if closing(bracket) != character => {
                    return Diagnostic::new(at(start, end), format!("this `{character}` does not close a `{bracket}`"))
                        .note_at(at(opening, opening + 1), format!("this `{bracket}` is open"))
                        .help(format!("close it with `{}` first", closing(bracket)));
                }
                Some(_) => {}
            },
            c if c.is_whitespace() || c.is_alphanumeric() || "_+-*/%=<>!&|.,;:#'@$?^~".contains(c) => {}
            other => {
                let shown = if other.is_control() { other.escape_debug().to_string() } else { other.to_string() };
                let message = format!("the character `{shown}` is not part of the language");
                let error = Diagnostic::new(at(start, end), message);
                return match written(other) {
                    Some(sign) => error.did_you_mean(sign),
                    None => error.help("names are made of letters, digits and `_`"),
                };
            }
        }
    }
    match open.pop() {
        Some((opening, bracket)) => {
            Diagnostic::new(at(opening, opening + 1), format!("this `{bracket}` is never closed"))
                .help(format!("close it with `{}`", closing(bracket)))
        }
        None => Diagnostic::new(fallback, "this is no word, number or sign of the language"),
    }
}

/// How a mathematician's sign is written.
fn written(character: char) -> Option<&'static str> {
    Some(match character {
        '×' | '·' | '∗' => "*",
        '÷' | '∕' => "/",
        '−' | '–' => "-",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '∧' => "&&",
        '∨' => "||",
        '¬' => "!",
        '∈' => "in",
        '∑' => "sum",
        '∞' => "inf",
        '→' => "->",
        _ => return None,
    })
}

fn closing(bracket: char) -> char {
    match bracket {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// The length of a comment, which may contain others; None if it does not end.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    loop {
        let rest = text.get(at..)?;
        let (open, close) = (rest.find("/*"), rest.find("*/")?);
        match open {
            Some(open) if open < close => (depth, at) = (depth + 1, at + open + 2),
            _ if depth == 1 => return Some(at + close + 2),
            _ => (depth, at) = (depth.saturating_sub(1), at + close + 2),
        }
    }
}

/// The length of a string's rest, its closing quote included; None if it does not end.
fn string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
