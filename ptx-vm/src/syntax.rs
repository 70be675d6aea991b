//! The syntax tree of a module, as close to the text as execution allows.

use crate::error::Position;
use crate::types::{Space, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// An operand as written; registers are already resolved to their declaration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Reg(u32),
    NotReg(u32),
    Int(i128),
    /// `0f...`: the bits of an f32.
    F32(u32),
    /// `0d...` or a decimal fraction: the bits of an f64.
    F64(u64),
    /// `%tid.x` and the like.
    Special(String),
    /// A variable, kernel parameter or label.
    Symbol(String),
    /// `symbol + offset` outside brackets.
    SymbolPlus(String, i64),
    /// `[base + offset]`, with coordinates for tensor copies.
    Address(Box<Operand>, i64, Option<Box<Operand>>),
    Vector(Vec<Operand>),
    /// `d|p`: two destinations.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`: a result nobody wants.
    Sink,
}

/// An instruction as written.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    /// Guard predicate register and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// `ld.global.b32` split at its dots.
    pub parts: Vec<String>,
    pub operands: Vec<Operand>,
    pub at: Position,
    /// The innermost block it stands in, for label lookup.
    pub scope: u32,
}

/// A register declaration.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub ty: Type,
    pub name: String,
}

/// A variable in some state space.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub name: String,
    pub space: Space,
    pub align: u64,
    /// Size in bytes; 0 for the dynamic shared array.
    pub size: u64,
    pub initial: Vec<u8>,
    pub dynamic: bool,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the text.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// Offset in the parameter block.
    pub offset: u64,
}

/// A block of the text: its parent and the labels declared in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub parent: Option<u32>,
    pub labels: HashMap<String, u32>,
}

/// What a kernel's directives demand of a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchBounds {
    /// `.reqntid`: the exact block size.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxntid`: the largest block size.
    pub max_threads: Option<[u32; 3]>,
    /// `.maxnreg`: the register cap of a thread.
    pub max_registers: Option<u32>,
    /// `.reqnctapercluster`: the exact cluster size.
    pub cluster: Option<[u32; 3]>,
}

/// One `.entry`.
#[derive(Clone, Debug)]
pub(crate) struct KernelSyntax {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub bounds: LaunchBounds,
    pub registers: Vec<Register>,
    pub variables: Vec<Variable>,
    pub code: Vec<Instruction>,
    pub scopes: Vec<Scope>,
    pub at: Position,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub(crate) struct ModuleSyntax {
    pub source: Arc<str>,
    pub version: (u32, u32),
    pub target: String,
    pub variables: Vec<Variable>,
    pub kernels: Vec<KernelSyntax>,
}
