//! Resolves a kernel: registers to slots, symbols to addresses, labels to instructions, words to operations.

mod arithmetic;
mod asynchronous;
mod control;
mod memory;
mod tensor;
mod wgmma;

use crate::code::{Address, Dst, Inst, Op, Special, Src};
use crate::error::{ParseError, Position};
use crate::machine::RESERVED_SHARED;
use crate::program::{DeviceVariable, Program};
use crate::syntax::{Instruction, KernelSyntax, ModuleSyntax, Operand, Variable};
use crate::tensor_core::Architecture;
use crate::types::{Space, Type};
use std::cell::Cell;
use std::collections::HashMap;

/// Local memory of a thread (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
const MAX_LOCAL: u64 = 512 * 1024;

/// A fault of one instruction, in a sentence; the caller adds the place.
type Fault = String;
type Decoded<T> = Result<T, Fault>;

/// Decodes `kernel`.
pub(crate) fn decode(module: &ModuleSyntax, kernel: &KernelSyntax) -> Result<Program, ParseError> {
    let fail = |at: Position, message: String| ParseError::new(message, &module.source, at);
    let Some(architecture) = Architecture::of_target(&module.target) else {
        return Err(fail(kernel.at, format!("target `{}` is not supported: sm_80 and later are", module.target)));
    };
    let mut files = Files::default();
    let slots: Vec<Dst> = kernel.registers.iter().map(|r| files.slot(r.ty)).collect();
    let mut symbols = Symbols::default();
    for variable in module.variables.iter().chain(&kernel.variables).filter(|v| !v.dynamic) {
        symbols.place(variable);
    }
    // The dynamic array follows everything static; all arrays declared without a size are that one array.
    for variable in module.variables.iter().chain(&kernel.variables).filter(|v| v.dynamic) {
        symbols.place_dynamic(variable);
    }
    for parameter in &kernel.parameters {
        symbols.table.insert(parameter.name.clone(), Symbol::Param(parameter.offset));
    }
    if symbols.local > MAX_LOCAL {
        return Err(fail(
            kernel.at,
            format!("the kernel declares more than {MAX_LOCAL} bytes of local memory a thread"),
        ));
    }
    let decoder = Decoder { kernel, slots, symbols };
    let mut code = Vec::with_capacity(kernel.code.len());
    for instruction in &kernel.code {
        let op = decoder.instruction(instruction).map_err(|message| fail(instruction.at, message))?;
        let guard = match instruction.guard {
            None => None,
            Some((register, negated)) => match decoder.slots[register as usize] {
                Dst::Pred(p) => Some((p, negated)),
                _ => return Err(fail(instruction.at, "a guard must be a predicate register".into())),
            },
        };
        code.push(Inst { op, guard, line: instruction.at.line });
    }
    let uses_wgmma = code.iter().any(|i| matches!(i.op, Op::Wgmma(_)));
    let mut names = Vec::new();
    if uses_wgmma {
        let words =
            kernel.registers.iter().zip(&decoder.slots).filter(|(_, s)| matches!(s, Dst::Word(_) | Dst::Half(_)));
        names.extend(words.map(|(register, _)| register.name.clone()));
    }
    let touched = uses_wgmma.then(|| kernel.code.iter().map(|i| decoder.touched(i)).collect());
    Ok(Program {
        touched,
        names,
        name: kernel.name.clone(),
        source: module.source.clone(),
        target: module.target.clone(),
        architecture,
        code,
        words: files.words as usize,
        doubles: files.doubles as usize,
        preds: files.preds as usize,
        local_bytes: decoder.symbols.local as usize,
        static_shared: decoder.symbols.shared,
        parameters: kernel.parameters.clone(),
        bounds: kernel.bounds.clone(),
        variables: decoder.symbols.variables,
    })
}

/// Slots handed out so far in each register file.
#[derive(Default)]
struct Files {
    words: u32,
    doubles: u32,
    preds: u32,
}

impl Files {
    fn slot(&mut self, ty: Type) -> Dst {
        let take = |file: &mut u32, n: u32| {
            *file += n;
            *file - n
        };
        match ty.bytes() {
            _ if ty == Type::Pred => Dst::Pred(take(&mut self.preds, 1)),
            1 | 2 => Dst::Half(take(&mut self.words, 1)),
            4 => Dst::Word(take(&mut self.words, 1)),
            8 => Dst::Double(take(&mut self.doubles, 1)),
            _ => Dst::Double(take(&mut self.doubles, 2)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Symbol {
    Shared(u32),
    Local(u64),
    Param(u64),
    Variable(u32),
}

struct Symbols {
    table: HashMap<String, Symbol>,
    shared: u32,
    local: u64,
    variables: Vec<DeviceVariable>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { table: HashMap::new(), shared: RESERVED_SHARED, local: 0, variables: Vec::new() }
    }
}

impl Symbols {
    fn place(&mut self, variable: &Variable) {
        let symbol = match variable.space {
            Space::Shared => {
                let at = u64::from(self.shared).next_multiple_of(variable.align) as u32;
                self.shared = at.saturating_add(variable.size as u32);
                Symbol::Shared(at)
            }
            Space::Local => {
                let at = self.local.next_multiple_of(variable.align);
                self.local = at + variable.size;
                Symbol::Local(at)
            }
            _ => {
                self.variables.push(DeviceVariable { size: variable.size, initial: variable.initial.clone() });
                Symbol::Variable(self.variables.len() as u32 - 1)
            }
        };
        self.table.insert(variable.name.clone(), symbol);
    }

    fn place_dynamic(&mut self, variable: &Variable) {
        if variable.space == Space::Shared {
            self.shared = u64::from(self.shared).next_multiple_of(variable.align) as u32;
            let at = self.shared;
            for symbol in self.table.values_mut() {
                // Earlier dynamic arrays move along with the alignment of this one.
                if let Symbol::Shared(offset) = symbol
                    && *offset == u32::MAX
                {
                    *offset = at;
                }
            }
            self.table.insert(variable.name.clone(), Symbol::Shared(at));
        }
    }
}

struct Decoder<'k> {
    kernel: &'k KernelSyntax,
    slots: Vec<Dst>,
    symbols: Symbols,
}

/// An instruction while it is taken apart: words that nothing asked for are unknown ones.
struct Words<'i> {
    name: &'i str,
    modifiers: Vec<(&'i str, Cell<bool>)>,
    operands: &'i [Operand],
    scope: u32,
}

impl<'i> Words<'i> {
    fn new(instruction: &'i Instruction) -> Self {
        Self {
            name: &instruction.parts[0],
            modifiers: instruction.parts[1..].iter().map(|m| (m.as_str(), Cell::new(false))).collect(),
            operands: &instruction.operands,
            scope: instruction.scope,
        }
    }

    /// Whether the modifier is there.
    fn has(&self, word: &str) -> bool {
        let mut found = false;
        for (modifier, used) in &self.modifiers {
            if *modifier == word {
                used.set(true);
                found = true;
            }
        }
        found
    }

    /// The first modifier that `f` knows.
    fn find<T>(&self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.modifiers.iter().find_map(|(modifier, used)| {
            let value = f(modifier)?;
            used.set(true);
            Some(value)
        })
    }

    /// All type modifiers, in order.
    fn types(&self) -> Vec<Type> {
        self.modifiers
            .iter()
            .filter_map(|(modifier, used)| {
                let ty = Type::parse(modifier)?;
                used.set(true);
                Some(ty)
            })
            .collect()
    }

    fn ty(&self) -> Decoded<Type> {
        self.types().last().copied().ok_or_else(|| format!("`{}` needs a type", self.name))
    }

    /// Modifiers that hints and caches use; they change no value.
    fn ignore_hints(&self) {
        for (modifier, used) in &self.modifiers {
            let hint = match modifier.split_once("::") {
                Some(("L1" | "L2", what)) => matches!(
                    what,
                    "evict_first"
                        | "evict_last"
                        | "evict_normal"
                        | "evict_unchanged"
                        | "no_allocate"
                        | "cache_hint"
                        | "64B"
                        | "128B"
                        | "256B"
                ),
                _ => matches!(*modifier, "nc" | "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt"),
            };
            if hint {
                used.set(true);
            }
        }
    }

    fn count(&self, wanted: std::ops::RangeInclusive<usize>) -> Decoded<()> {
        if wanted.contains(&self.operands.len()) {
            return Ok(());
        }
        let (low, high) = (wanted.start(), wanted.end());
        let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
        Err(format!("`{}` takes {range} operands, not {}", self.name, self.operands.len()))
    }

    fn finish(&self) -> Decoded<()> {
        match self.modifiers.iter().find(|(_, used)| !used.get()) {
            None => Ok(()),
            Some((modifier, _)) => Err(format!("`.{modifier}` of `{}` is not supported", self.full())),
        }
    }

    fn full(&self) -> String {
        let mut text = self.name.to_string();
        for (modifier, _) in &self.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        text
    }
}

impl Decoder<'_> {
    fn instruction(&self, instruction: &Instruction) -> Decoded<Op> {
        let words = Words::new(instruction);
        let families = [Self::arithmetic, Self::memory, Self::control, Self::tensor, Self::asynchronous];
        let mut found = None;
        for family in families {
            found = family(self, &words)?;
            if found.is_some() {
                break;
            }
        }
        let Some(op) = found else { return Err(format!("instruction `{}` is not supported", words.full())) };
        words.finish()?;
        Ok(op)
    }

    /// A destination register.
    fn dst(&self, operand: &Operand) -> Decoded<Dst> {
        match operand {
            Operand::Reg(register) => Ok(self.slots[*register as usize]),
            Operand::Sink => Ok(Dst::Sink),
            _ => Err("the destination must be a register".into()),
        }
    }

    /// `d|p`, or `d` alone.
    fn pair(&self, operand: &Operand) -> Decoded<(Dst, Dst)> {
        match operand {
            Operand::Pair(first, second) => Ok((self.dst(first)?, self.dst(second)?)),
            single => Ok((self.dst(single)?, Dst::Sink)),
        }
    }

    /// A source; constants take the shape of `ty`.
    fn src(&self, operand: &Operand, ty: Type) -> Decoded<Src> {
        Ok(match operand {
            Operand::Reg(register) => match self.slots[*register as usize] {
                Dst::Half(r) | Dst::Word(r) => Src::Word(r),
                Dst::Double(r) => Src::Double(r),
                Dst::Pred(p) => Src::Pred(p),
                Dst::Sink => return Err("`_` has no value".into()),
            },
            Operand::NotReg(register) => match self.slots[*register as usize] {
                Dst::Pred(p) => Src::NotPred(p),
                _ => return Err("`!` wants a predicate register".into()),
            },
            Operand::Int(value) => {
                let bits = *value as u64;
                Src::Imm(match ty {
                    // An integer constant as a float operand is its value.
                    Type::F32 => u64::from((*value as f32).to_bits()),
                    Type::F64 => (*value as f64).to_bits(),
                    _ if ty.bytes() >= 8 => bits,
                    _ => bits & ((1 << (ty.bytes() * 8)) - 1),
                })
            }
            Operand::F32(bits) => Src::Imm(match ty {
                Type::F64 => f64::from(f32::from_bits(*bits)).to_bits(),
                _ => u64::from(*bits),
            }),
            Operand::F64(bits) => Src::Imm(match ty {
                Type::F32 => u64::from((f64::from_bits(*bits) as f32).to_bits()),
                _ => *bits,
            }),
            Operand::Special(name) => match Special::parse(name) {
                Some(special) => Src::Special(special),
                None => return Err(format!("special register `{name}` is not supported")),
            },
            Operand::Symbol(name) => self.symbol(name, 0)?,
            Operand::SymbolPlus(name, offset) => self.symbol(name, *offset)?,
            Operand::Sink => return Err("`_` has no value".into()),
            Operand::Address(..) | Operand::Vector(_) | Operand::Pair(..) => {
                return Err("this operand must be a register or a constant".into());
            }
        })
    }

    fn symbol(&self, name: &str, offset: i64) -> Decoded<Src> {
        Ok(match self.symbols.table.get(name) {
            Some(Symbol::Shared(at)) => Src::Special(Special::SharedAt(at.wrapping_add(offset as u32))),
            Some(Symbol::Local(at) | Symbol::Param(at)) => Src::Imm(at.wrapping_add(offset as u64)),
            Some(Symbol::Variable(index)) => {
                Src::Special(Special::VariableAt(*index, u32::try_from(offset).unwrap_or(u32::MAX)))
            }
            None => return Err(format!("`{name}` is not declared")),
        })
    }

    /// `[base + offset]`.
    fn address(&self, operand: &Operand) -> Decoded<Address> {
        match operand {
            Operand::Address(base, offset, None) => Ok(Address { base: self.src(base, Type::U64)?, offset: *offset }),
            _ => Err("this operand must be an address in brackets".into()),
        }
    }

    fn vector_of_dst(&self, operand: &Operand) -> Decoded<Vec<Dst>> {
        match operand {
            Operand::Vector(parts) => parts.iter().map(|p| self.dst(p)).collect(),
            single => Ok(vec![self.dst(single)?]),
        }
    }

    fn vector_of_src(&self, operand: &Operand, ty: Type) -> Decoded<Vec<Src>> {
        match operand {
            Operand::Vector(parts) => parts.iter().map(|p| self.src(p, ty)).collect(),
            single => Ok(vec![self.src(single, ty)?]),
        }
    }

    /// A label, looked up from the instruction's block outwards.
    fn label(&self, operand: &Operand, scope: u32) -> Decoded<u32> {
        let Operand::Symbol(name) = operand else { return Err("a branch needs a label".into()) };
        let mut at = Some(scope);
        while let Some(scope) = at {
            let scope = &self.kernel.scopes[scope as usize];
            if let Some(&target) = scope.labels.get(name) {
                return Ok(target);
            }
            at = scope.parent;
        }
        Err(format!("label `{name}` is not defined"))
    }

    /// A constant operand.
    fn constant(&self, operand: &Operand) -> Decoded<i64> {
        match operand {
            Operand::Int(value) => Ok(*value as i64),
            _ => Err("this operand must be an integer constant".into()),
        }
    }
}
