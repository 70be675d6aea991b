//! Operands and numbers.

use super::{Body, MAX_DEPTH, Parser, describe};
use crate::error::ParseError;
use crate::lexer::Token;
use crate::syntax::Operand;

impl Parser<'_> {
    pub(super) fn number(&mut self) -> Result<Operand, ParseError> {
        let at = self.at();
        let Token::Number(text) = self.peek() else { return self.fail("expected a number") };
        self.advance();
        let value = parse_number(text);
        value.map_or_else(|| self.fail_at(at, format!("`{text}` is not a number")), Ok)
    }

    pub(super) fn operand(&mut self, body: &Body, depth: usize) -> Result<Operand, ParseError> {
        if depth > MAX_DEPTH {
            return self.fail("operands are nested too deeply");
        }
        let at = self.at();
        match self.peek() {
            Token::Punct('{') => {
                self.advance();
                let mut parts = Vec::new();
                while !self.eat('}') {
                    parts.push(self.operand(body, depth + 1)?);
                    if !self.eat(',') && self.peek() != Token::Punct('}') {
                        return self.fail("expected `,` or `}` in a vector");
                    }
                }
                Ok(Operand::Vector(parts))
            }
            Token::Punct('[') => {
                self.advance();
                let mut base = self.operand(body, depth + 1)?;
                let mut offset = 0i64;
                if let Operand::SymbolPlus(name, plus) = base {
                    base = Operand::Symbol(name);
                    offset = plus;
                }
                // `+ 4`, `- 4` and `+ -4` all occur.
                while self.eat('+') || self.peek() == Token::Punct('-') {
                    offset = offset.wrapping_add(self.integer()? as i64);
                }
                let mut coordinates = None;
                if self.eat(',') {
                    coordinates = Some(Box::new(self.operand(body, depth + 1)?));
                }
                self.want(']')?;
                Ok(Operand::Address(Box::new(base), offset, coordinates))
            }
            Token::Punct('!') => {
                self.advance();
                match self.operand(body, depth + 1)? {
                    Operand::Reg(register) => Ok(Operand::NotReg(register)),
                    _ => self.fail_at(at, "`!` wants a predicate register"),
                }
            }
            Token::Punct('-') => {
                self.advance();
                match self.number()? {
                    Operand::Int(value) => Ok(Operand::Int(-value)),
                    Operand::F32(bits) => Ok(Operand::F32(bits ^ 1 << 31)),
                    Operand::F64(bits) => Ok(Operand::F64(bits ^ 1 << 63)),
                    _ => self.fail_at(at, "expected a number after `-`"),
                }
            }
            Token::Number(_) => self.number(),
            Token::Name("_") => {
                self.advance();
                if self.eat('|') {
                    return Ok(Operand::Pair(Box::new(Operand::Sink), Box::new(self.operand(body, depth + 1)?)));
                }
                Ok(Operand::Sink)
            }
            Token::Name(name) => {
                self.advance();
                if let Some(register) = body.lookup(name) {
                    if self.eat('|') {
                        let second = self.operand(body, depth + 1)?;
                        return Ok(Operand::Pair(Box::new(Operand::Reg(register)), Box::new(second)));
                    }
                    return Ok(Operand::Reg(register));
                }
                if name.starts_with('%') {
                    if crate::code::Special::parse(name).is_none() {
                        return self.fail_at(at, format!("register `{name}` is not declared"));
                    }
                    return Ok(Operand::Special(name.to_string()));
                }
                if depth == 0 && self.eat('+') {
                    return Ok(Operand::SymbolPlus(name.to_string(), self.integer()? as i64));
                }
                Ok(Operand::Symbol(name.to_string()))
            }
            other => self.fail(format!("expected an operand, found {}", describe(other))),
        }
    }
}

fn parse_number(text: &str) -> Option<Operand> {
    let prefixed = |lower: &str, upper: &str| text.strip_prefix(lower).or_else(|| text.strip_prefix(upper));
    if let Some(hex) = prefixed("0f", "0F") {
        return u32::from_str_radix(hex, 16).ok().map(Operand::F32);
    }
    if let Some(hex) = prefixed("0d", "0D") {
        return u64::from_str_radix(hex, 16).ok().map(Operand::F64);
    }
    let digits = text.trim_end_matches('U');
    let integer = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|v| Operand::Int(i128::from(v)));
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return integer(hex, 16);
    }
    if let Some(binary) = digits.strip_prefix("0b").or_else(|| digits.strip_prefix("0B")) {
        return integer(binary, 2);
    }
    if digits.contains('.') {
        return digits.parse::<f64>().ok().map(|v| Operand::F64(v.to_bits()));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return integer(digits, 8);
    }
    integer(digits, 10)
}
