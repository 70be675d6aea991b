//! Tokens to the syntax tree.

mod operand;

use crate::error::{ParseError, Position};
use crate::lexer::{Lexeme, Token, lex};
use crate::syntax::*;
use crate::types::{Space, Type};
use std::collections::HashMap;

/// Bound on declared registers and array bytes, so that a hostile text cannot exhaust memory.
const MAX_REGISTERS: usize = 1 << 18;
const MAX_VARIABLE_BYTES: u64 = 1 << 26;
/// Bound on nested braces, so that recursion stays shallow.
const MAX_DEPTH: usize = 64;

pub(crate) fn parse(source: &str) -> Result<ModuleSyntax, ParseError> {
    let tokens = lex(source)?;
    let mut parser = Parser { source, tokens, next: 0 };
    parser.module()
}

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Lexeme<'s>>,
    next: usize,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Token<'s> {
        self.tokens[self.next].token
    }

    fn at(&self) -> Position {
        self.tokens[self.next].at
    }

    fn advance(&mut self) -> Token<'s> {
        let token = self.peek();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(message, self.source, self.at()))
    }

    fn fail_at<T>(&self, at: Position, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(message, self.source, at))
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Token::Punct(c);
        if found {
            self.advance();
        }
        found
    }

    fn want(&mut self, c: char) -> Result<(), ParseError> {
        if self.eat(c) { Ok(()) } else { self.fail(format!("expected `{c}`, found {}", describe(self.peek()))) }
    }

    fn name(&mut self) -> Result<&'s str, ParseError> {
        match self.peek() {
            Token::Name(name) => {
                self.advance();
                Ok(name)
            }
            other => self.fail(format!("expected a name, found {}", describe(other))),
        }
    }

    fn integer(&mut self) -> Result<i128, ParseError> {
        let at = self.at();
        let negative = self.eat('-');
        match self.number()? {
            Operand::Int(value) => Ok(if negative { -value } else { value }),
            _ => self.fail_at(at, "expected an integer"),
        }
    }

    fn count(&mut self, limit: u64, what: &str) -> Result<u64, ParseError> {
        let at = self.at();
        match u64::try_from(self.integer()?) {
            Ok(value) if value <= limit => Ok(value),
            _ => self.fail_at(at, format!("{what} must lie between 0 and {limit}")),
        }
    }

    fn skip_statement(&mut self) {
        loop {
            match self.advance() {
                Token::Punct(';') | Token::End => return,
                _ => {}
            }
        }
    }

    fn module(&mut self) -> Result<ModuleSyntax, ParseError> {
        let mut module = ModuleSyntax {
            source: self.source.into(),
            version: (0, 0),
            target: String::new(),
            variables: Vec::new(),
            kernels: Vec::new(),
        };
        loop {
            match self.peek() {
                Token::End => break,
                Token::Punct(';') => {
                    self.advance();
                }
                Token::Name(".version") => {
                    self.advance();
                    let at = self.at();
                    let Token::Number(text) = self.advance() else {
                        return self.fail_at(at, "expected a version such as 8.0");
                    };
                    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
                    match (major.parse(), minor.parse()) {
                        (Ok(major), Ok(minor)) => module.version = (major, minor),
                        _ => return self.fail_at(at, "expected a version such as 8.0"),
                    }
                }
                Token::Name(".target") => {
                    self.advance();
                    module.target = self.name()?.to_string();
                    while self.eat(',') {
                        self.name()?;
                    }
                }
                Token::Name(".address_size") => {
                    self.advance();
                    let at = self.at();
                    if self.integer()? != 64 {
                        return self.fail_at(at, "only 64-bit addresses are supported");
                    }
                }
                Token::Name(".visible" | ".extern" | ".weak" | ".common") => {
                    let external = self.advance() == Token::Name(".extern");
                    if external && self.peek() == Token::Name(".func") {
                        // A declaration; calling it is what would be an error.
                        self.skip_statement();
                    }
                }
                Token::Name(".shared" | ".global" | ".const") => self.variables(&mut module.variables)?,
                Token::Name(".entry") => {
                    let kernel = self.entry()?;
                    module.kernels.push(kernel);
                }
                Token::Name(".func") => return self.fail("functions (`.func`) are not supported: inline them"),
                other => return self.fail(format!("expected a module directive, found {}", describe(other))),
            }
        }
        if module.target.is_empty() {
            return self.fail("the module names no `.target`");
        }
        Ok(module)
    }

    /// `.shared .align 16 .b8 name[1024], other;` with an optional initialiser.
    fn variables(&mut self, into: &mut Vec<Variable>) -> Result<(), ParseError> {
        let space = match self.name()? {
            ".shared" => Space::Shared,
            ".const" => Space::Const,
            ".local" => Space::Local,
            _ => Space::Global,
        };
        let mut align = 1;
        let mut ty = None;
        let mut lanes = 1;
        loop {
            match self.peek() {
                Token::Name(".align") => {
                    self.advance();
                    align = self.count(1 << 16, "an alignment")?.max(1);
                }
                Token::Name(".v2") => {
                    self.advance();
                    lanes = 2;
                }
                Token::Name(".v4") => {
                    self.advance();
                    lanes = 4;
                }
                Token::Name(name) if name.starts_with('.') => {
                    let parsed = Type::parse(&name[1..]);
                    if parsed.is_none() && !name.starts_with(".attribute") {
                        return self.fail(format!("`{name}` is not a type"));
                    }
                    ty = parsed.or(ty);
                    self.advance();
                    if name == ".attribute" {
                        self.want('(')?;
                        while !self.eat(')') {
                            if self.advance() == Token::End {
                                return self.fail("the attribute list is not closed");
                            }
                        }
                    }
                }
                _ => break,
            }
        }
        let Some(ty) = ty else { return self.fail("this declaration has no type") };
        if !align.is_power_of_two() {
            return self.fail("an alignment must be a power of two");
        }
        let element = ty.bytes() as u64 * lanes;
        loop {
            let at = self.at();
            let name = self.name()?.to_string();
            let mut size = element;
            let mut dynamic = false;
            while self.eat('[') {
                if self.eat(']') {
                    dynamic = true;
                } else {
                    size = size.saturating_mul(self.count(MAX_VARIABLE_BYTES, "an array length")?);
                    self.want(']')?;
                }
            }
            let mut initial = Vec::new();
            if self.eat('=') {
                self.initialiser(ty, &mut initial, 0)?;
                if dynamic {
                    size = initial.len() as u64;
                    dynamic = false;
                }
            }
            if size > MAX_VARIABLE_BYTES || initial.len() as u64 > size {
                return self.fail_at(at, format!("variable `{name}` is too large"));
            }
            if dynamic || (size == 0 && space == Space::Shared) {
                (size, dynamic) = (0, true);
            }
            into.push(Variable { name, space, align: align.max(element.min(16)), size, initial, dynamic });
            if !self.eat(',') {
                break;
            }
        }
        self.want(';')
    }

    fn initialiser(&mut self, ty: Type, out: &mut Vec<u8>, depth: usize) -> Result<(), ParseError> {
        if depth > MAX_DEPTH {
            return self.fail("braces are nested too deeply");
        }
        if self.eat('{') {
            while !self.eat('}') {
                self.initialiser(ty, out, depth + 1)?;
                if !self.eat(',') && self.peek() != Token::Punct('}') {
                    return self.fail("expected `,` or `}` in the initialiser");
                }
            }
            return Ok(());
        }
        let negative = self.eat('-');
        let bits = match self.number()? {
            Operand::Int(value) => (if negative { -value } else { value }) as u64,
            Operand::F32(bits) => u64::from(bits),
            Operand::F64(bits) if ty == Type::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
            Operand::F64(bits) => bits,
            _ => return self.fail("expected a constant"),
        };
        out.extend(&bits.to_le_bytes()[..ty.bytes().min(8)]);
        Ok(())
    }

    fn entry(&mut self) -> Result<KernelSyntax, ParseError> {
        self.advance();
        let at = self.at();
        let mut kernel = KernelSyntax {
            name: self.name()?.to_string(),
            parameters: Vec::new(),
            bounds: LaunchBounds::default(),
            registers: Vec::new(),
            variables: Vec::new(),
            code: Vec::new(),
            scopes: vec![Scope::default()],
            at,
        };
        if self.eat('(') {
            self.parameters(&mut kernel)?;
        }
        while self.peek() != Token::Punct('{') {
            let directive = self.name()?;
            match directive {
                ".reqntid" => kernel.bounds.required_threads = Some(self.extent()?),
                ".maxntid" => kernel.bounds.max_threads = Some(self.extent()?),
                ".reqnctapercluster" => kernel.bounds.cluster = Some(self.extent()?),
                ".maxnreg" => kernel.bounds.max_registers = Some(self.count(1 << 16, "a register cap")? as u32),
                ".minnctapersm" | ".maxclusterrank" | ".maxnctapersm" => {
                    self.integer()?;
                }
                ".explicitcluster" | ".blocksareclusters" | ".noreturn" => {}
                ".pragma" => self.skip_statement(),
                _ => return self.fail(format!("`{directive}` is not a known kernel directive")),
            }
        }
        self.advance();
        let mut body = Body { names: vec![HashMap::new()], open: vec![0] };
        while !body.open.is_empty() {
            self.statement(&mut kernel, &mut body)?;
        }
        Ok(kernel)
    }

    fn extent(&mut self) -> Result<[u32; 3], ParseError> {
        let mut extent = [1; 3];
        for (i, value) in extent.iter_mut().enumerate() {
            if i > 0 && !self.eat(',') {
                break;
            }
            *value = self.count(1 << 31, "an extent")? as u32;
        }
        Ok(extent)
    }

    fn parameters(&mut self, kernel: &mut KernelSyntax) -> Result<(), ParseError> {
        let mut end = 0u64;
        while !self.eat(')') {
            let at = self.at();
            if self.name()? != ".param" {
                return self.fail_at(at, "expected `.param`");
            }
            let (mut align, mut size, mut name) = (1u64, 0u64, None);
            let mut pointer = false;
            loop {
                match self.peek() {
                    Token::Name(".ptr") => {
                        pointer = true;
                        self.advance();
                    }
                    Token::Name(".align") => {
                        self.advance();
                        let value = self.count(1 << 16, "an alignment")?;
                        // After `.ptr` it describes what is pointed to.
                        if !pointer {
                            align = value.max(1);
                        }
                    }
                    Token::Name(".global" | ".shared" | ".const" | ".local") if pointer => {
                        self.advance();
                    }
                    Token::Name(word) if word.starts_with('.') => {
                        let Some(ty) = Type::parse(&word[1..]) else {
                            return self.fail(format!("`{word}` is not a type"));
                        };
                        size = ty.bytes() as u64;
                        align = align.max(size);
                        self.advance();
                    }
                    Token::Name(word) => {
                        name = Some(word.to_string());
                        self.advance();
                    }
                    Token::Punct('[') => {
                        self.advance();
                        size *= self.count(1 << 16, "a parameter length")?;
                        self.want(']')?;
                    }
                    _ => break,
                }
            }
            let Some(name) = name else { return self.fail_at(at, "this parameter has no name") };
            if size == 0 || !align.is_power_of_two() {
                return self.fail_at(at, format!("parameter `{name}` has no size or an odd alignment"));
            }
            let offset = end.next_multiple_of(align);
            end = offset + size;
            kernel.parameters.push(Parameter { name, size, align, offset });
            if !self.eat(',') && self.peek() != Token::Punct(')') {
                return self.fail("expected `,` or `)` after a parameter");
            }
        }
        Ok(())
    }

    fn statement(&mut self, kernel: &mut KernelSyntax, body: &mut Body) -> Result<(), ParseError> {
        let at = self.at();
        match self.peek() {
            Token::End => return self.fail("the kernel's body is not closed"),
            Token::Punct('{') => {
                self.advance();
                if body.open.len() > MAX_DEPTH {
                    return self.fail_at(at, "braces are nested too deeply");
                }
                let parent = body.open.last().copied();
                kernel.scopes.push(Scope { parent, ..Scope::default() });
                body.open.push(kernel.scopes.len() as u32 - 1);
                body.names.push(HashMap::new());
                return Ok(());
            }
            Token::Punct('}') => {
                self.advance();
                body.open.pop();
                body.names.pop();
                return Ok(());
            }
            Token::Punct(';') => {
                self.advance();
                return Ok(());
            }
            Token::Name(".reg") => return self.registers(kernel, body),
            Token::Name(".shared" | ".local" | ".global" | ".const") => return self.variables(&mut kernel.variables),
            Token::Name(".pragma") => {
                self.skip_statement();
                return Ok(());
            }
            _ => {}
        }
        let mut guard = None;
        if self.eat('@') {
            let negated = self.eat('!');
            let at = self.at();
            let name = self.name()?;
            let Some(register) = body.lookup(name) else {
                return self.fail_at(at, format!("register `{name}` is not declared"));
            };
            guard = Some((register, negated));
        }
        let at = if guard.is_none() { at } else { self.at() };
        let word = self.name()?;
        if guard.is_none() && self.eat(':') {
            if word.starts_with('.') {
                return self.fail_at(at, format!("`{word}` cannot be a label"));
            }
            let scope = body.scope();
            let here = kernel.code.len() as u32;
            if kernel.scopes[scope as usize].labels.insert(word.to_string(), here).is_some() {
                return self.fail_at(at, format!("label `{word}` is defined twice"));
            }
            if self.peek() == Token::Name(".branchtargets") {
                return self.fail("indirect branches are not supported");
            }
            return Ok(());
        }
        if word.starts_with('.') {
            return self.fail_at(at, format!("`{word}` is not a known directive"));
        }
        let parts: Vec<String> = word.split('.').map(str::to_string).collect();
        let mut operands = Vec::new();
        while !self.eat(';') {
            operands.push(self.operand(body, 0)?);
            if !self.eat(',') && self.peek() != Token::Punct(';') {
                return self.fail(format!("expected `,` or `;`, found {}", describe(self.peek())));
            }
        }
        kernel.code.push(Instruction { guard, parts, operands, at, scope: body.scope() });
        Ok(())
    }

    fn registers(&mut self, kernel: &mut KernelSyntax, body: &mut Body) -> Result<(), ParseError> {
        self.advance();
        let at = self.at();
        let name = self.name()?;
        let Some(ty) = name.strip_prefix('.').and_then(Type::parse) else {
            return self.fail_at(at, format!("`{name}` is not a register type"));
        };
        loop {
            let at = self.at();
            let name = self.name()?;
            let mut declare = |name: String| {
                kernel.registers.push(Register { ty, name: name.clone() });
                body.declare(name, kernel.registers.len() as u32 - 1);
                kernel.registers.len() <= MAX_REGISTERS
            };
            let fits = if self.peek() == Token::Punct('<') {
                self.next += 1;
                let count = self.count(MAX_REGISTERS as u64, "a register count")?;
                self.want('>')?;
                (0..count).all(|i| declare(format!("{name}{i}")))
            } else {
                declare(name.to_string())
            };
            if !fits {
                return self.fail_at(at, "too many registers");
            }
            if !self.eat(',') {
                break;
            }
        }
        self.want(';')
    }
}

/// Names in force while a kernel's body is read.
struct Body {
    names: Vec<HashMap<String, u32>>,
    open: Vec<u32>,
}

impl Body {
    fn lookup(&self, name: &str) -> Option<u32> {
        self.names.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    fn declare(&mut self, name: String, register: u32) {
        if let Some(scope) = self.names.last_mut() {
            scope.insert(name, register);
        }
    }

    fn scope(&self) -> u32 {
        self.open.last().copied().unwrap_or(0)
    }
}

fn describe(token: Token<'_>) -> String {
    match token {
        Token::Name(text) | Token::Number(text) => format!("`{text}`"),
        Token::Text(text) => format!("\"{text}\""),
        Token::Punct(c) => format!("`{c}`"),
        Token::End => "the end of the text".into(),
    }
}
