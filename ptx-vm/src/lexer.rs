//! Text to tokens. Comments, debug sections and line directives disappear here.

use crate::error::{ParseError, Position};

/// One token; names keep their dots, so that `ld.global.v4.b32` and `%tid.x` are single tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'s> {
    Name(&'s str),
    Number(&'s str),
    Text(&'s str),
    Punct(char),
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme<'s> {
    pub token: Token<'s>,
    pub at: Position,
}

fn starts_name(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

fn continues_name(c: u8) -> bool {
    starts_name(c) || c.is_ascii_digit()
}

/// Splits `source` into tokens; the last one is [`Token::End`].
pub(crate) fn lex(source: &str) -> Result<Vec<Lexeme<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let mut in_comment = false;
    let mut in_section = false;
    for (number, line) in source.lines().enumerate() {
        let number = number as u32 + 1;
        if !in_comment {
            let start = line.trim_start();
            // DWARF sections are data for debuggers, in a grammar of their own.
            if start.starts_with(".section") {
                in_section = !start.contains('}');
                continue;
            }
            if in_section {
                in_section = !start.starts_with('}');
                continue;
            }
            if matches!(start.split_ascii_whitespace().next(), Some(".loc" | ".file")) {
                continue;
            }
        }
        lex_line(source, line, number, &mut in_comment, &mut tokens)?;
    }
    let line = source.lines().count().max(1) as u32;
    tokens.push(Lexeme { token: Token::End, at: Position { line, column: 1 } });
    Ok(tokens)
}

fn lex_line<'s>(
    source: &str,
    line: &'s str,
    number: u32,
    in_comment: &mut bool,
    tokens: &mut Vec<Lexeme<'s>>,
) -> Result<(), ParseError> {
    let bytes = line.as_bytes();
    let at =
        |byte: usize| Position { line: number, column: line.get(..byte).map_or(0, |s| s.chars().count()) as u32 + 1 };
    let mut i = 0;
    while i < bytes.len() {
        if *in_comment {
            match line[i..].find("*/") {
                Some(end) => {
                    i += end + 2;
                    *in_comment = false;
                    continue;
                }
                None => return Ok(()),
            }
        }
        let c = bytes[i];
        let start = i;
        if c.is_ascii_whitespace() {
            i += 1;
            continue;
        }
        if line[i..].starts_with("//") {
            return Ok(());
        }
        if line[i..].starts_with("/*") {
            *in_comment = true;
            i += 2;
            continue;
        }
        let token = if starts_name(c) {
            while i < bytes.len() {
                if continues_name(bytes[i]) {
                    i += 1;
                } else if bytes[i..].starts_with(b"::") && bytes.get(i + 2).is_some_and(|&c| continues_name(c)) {
                    // `shared::cta` is one modifier, while a single colon ends a label.
                    i += 2;
                } else {
                    break;
                }
            }
            Token::Name(&line[start..i])
        } else if c.is_ascii_digit() {
            while i < bytes.len() && (bytes[i].is_ascii_alphanumeric() || bytes[i] == b'.') {
                i += 1;
            }
            Token::Number(&line[start..i])
        } else if c == b'"' {
            match line[i + 1..].find('"') {
                Some(end) => {
                    i += end + 2;
                    Token::Text(&line[start + 1..i - 1])
                }
                None => return Err(ParseError::new("this string is not closed on its line", source, at(start))),
            }
        } else {
            let c = line[i..].chars().next().unwrap_or(' ');
            if !"{}()[]<>,;:@!+-|=&*~/".contains(c) {
                return Err(ParseError::new(format!("unexpected character `{c}`"), source, at(start)));
            }
            i += 1;
            Token::Punct(c)
        };
        tokens.push(Lexeme { token, at: at(start) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scoped_modifiers_and_labels_are_told_apart() {
        let tokens: Vec<_> =
            lex("$L1: st.shared::cta.b32 [%r1+4], 0x1F; // note").unwrap().into_iter().map(|l| l.token).collect();
        assert_eq!(
            tokens,
            [
                Token::Name("$L1"),
                Token::Punct(':'),
                Token::Name("st.shared::cta.b32"),
                Token::Punct('['),
                Token::Name("%r1"),
                Token::Punct('+'),
                Token::Number("4"),
                Token::Punct(']'),
                Token::Punct(','),
                Token::Number("0x1F"),
                Token::Punct(';'),
                Token::End,
            ]
        );
    }

    #[test]
    fn an_unknown_character_is_shown_with_a_caret() {
        let error = lex("\tadd.u32 %r1, %r2, §;").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unexpected character `§`\n --> line 1, column 20\n1 | \tadd.u32 %r1, %r2, §;\n  | \t                  ^"
        );
    }

    #[test]
    fn line_directives_vanish_and_local_variables_do_not() {
        assert_eq!(lex("\t.loc\t1 20 3\n\t.file 1 \"x.cu\"").unwrap().len(), 1);
        assert_eq!(lex("\t.local .align 4 .b8 stack[16];").unwrap().len(), 10);
    }

    #[test]
    fn block_comments_may_span_lines() {
        assert_eq!(lex("ret /* a\n b */ ;").unwrap().len(), 3);
    }
}
