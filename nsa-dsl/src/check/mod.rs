//! From the syntax tree to the program: names, axes, extents, kinds; functions expanded; constants folded.

mod bounds;
mod builtin;
mod call;
mod clamp;
mod definition;
mod expression;
mod extent;
mod fold;
mod index;
mod kernel;
mod report;
mod result;
mod scope;
mod sequence;
mod top;

use crate::arena::Arena;
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::program::*;
use crate::source::Span;
use scope::{Failed, Number, Result};
use std::collections::{HashMap, HashSet};

/// Overrides of what a program says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings {
    /// New values of constants (and of sizes written in the signature), by name. Naming one that does not exist is an
    /// error.
    pub constants: Vec<(String, Constant)>,
    /// The element type.
    pub element: Option<DType>,
}

impl Settings {
    /// With a constant's new value.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Constant>) -> Self {
        self.constants.push((name.into(), value.into()));
        self
    }

    /// With this element type.
    pub fn element(mut self, element: DType) -> Self {
        self.element = Some(element);
        self
    }
}

/// The value of a constant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Constant {
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
}

impl From<i64> for Constant {
    fn from(value: i64) -> Self {
        Constant::Int(value)
    }
}

impl From<f64> for Constant {
    fn from(value: f64) -> Self {
        Constant::Float(value)
    }
}

/// An axis while checking.
#[derive(Clone, Debug)]
struct AxisInfo {
    name: String,
    /// Unknown until it is inferred.
    extent: Option<Extent>,
    /// Given by its size only.
    anonymous: bool,
    /// Bound by a fold that gave its extent; folds of the same name and extent share it.
    local: Option<String>,
}

/// Most function calls that a program may expand to.
const MAX_CALLS: usize = 20_000;

struct Checker<'a> {
    arena: Arena,
    axes: Vec<AxisInfo>,
    axis_names: HashSet<String>,
    tensors: Vec<Tensor>,
    tensor_kinds: Vec<Kind>,
    tensor_names: HashSet<String>,
    functions: HashMap<&'a str, &'a ast::Function>,
    /// Constants by name, with the places where they were given.
    constants: Vec<(String, Number, Span)>,
    overrides: Vec<(String, Constant, bool)>,
    /// Sizes written in the signature, before overriding.
    written_sizes: Vec<(String, Number)>,
    diagnostics: Vec<Diagnostic>,
    /// Where loads and lists were written, for errors found later.
    places: HashMap<ExprId, Span>,
    /// Where definitions were written, by tensor.
    definitions: Vec<Span>,
    /// Axes bound by the folds around the expression that is being checked, through calls.
    open: Vec<AxisId>,
    /// Functions being expanded, with the places of the calls.
    calls: Vec<(String, Span)>,
    expansions: usize,
    /// Run-time axes of the signature.
    runtime: Vec<AxisId>,
    /// `(t, s)`: `pos` was taken of `t` among the keys `s`, so `len(t) <= len(s)` in every sequence.
    positions: Vec<(AxisId, AxisId)>,
    element: DType,
}

/// Checks a file that has exactly one kernel. `library` holds functions that the file may call and redefine.
pub(crate) fn check<'a>(
    file: &'a ast::File,
    library: impl Iterator<Item = &'static ast::Function>,
    settings: &Settings,
) -> std::result::Result<Program, Vec<Diagnostic>> {
    let mut functions: HashMap<&'a str, &'a ast::Function> = HashMap::new();
    for function in library {
        functions.insert(&function.name.text, function);
    }
    let mut checker = Checker {
        arena: Arena::default(),
        axes: vec![],
        axis_names: HashSet::new(),
        tensors: vec![],
        tensor_kinds: vec![],
        tensor_names: HashSet::new(),
        functions,
        constants: vec![],
        overrides: settings.constants.iter().map(|(name, value)| (name.clone(), *value, false)).collect(),
        written_sizes: vec![],
        diagnostics: vec![],
        places: HashMap::new(),
        definitions: vec![],
        open: vec![],
        calls: vec![],
        expansions: 0,
        runtime: vec![],
        positions: vec![],
        element: DType::Bf16,
    };
    let program = checker.file(file, settings);
    match program {
        Ok(program) if checker.diagnostics.is_empty() => Ok(program),
        _ => Err(checker.diagnostics),
    }
}

impl<'a> Checker<'a> {
    fn file(&mut self, file: &'a ast::File, settings: &Settings) -> Result<Program> {
        let mut kernel = None;
        let mut functions = HashSet::new();
        let mut element_given = None;
        for item in &file.items {
            match item {
                ast::Item::Const(constant) => {
                    let _ = self.constant(constant);
                }
                ast::Item::Element(dtype, span) => {
                    if let Some(first) = element_given.replace(*span) {
                        self.report(
                            Diagnostic::new(*span, "the element type is given twice")
                                .note_at(first, "first here")
                                .help("remove one of them"),
                        );
                    }
                    self.element = self.element_type(*dtype, Some(*span));
                }
                ast::Item::Function(function) => {
                    let name = function.name.text.as_str();
                    if builtin::is_builtin(name) {
                        self.report(
                            Diagnostic::new(
                                function.name.span,
                                format!("`{name}` is a primitive of the language and cannot be defined"),
                            )
                            .help("choose another name"),
                        );
                    } else if !functions.insert(name) {
                        let first = self.functions[name].name.span;
                        self.report(
                            Diagnostic::new(function.name.span, format!("the function `{name}` is defined twice"))
                                .note_at(first, "first here")
                                .help("choose another name"),
                        );
                    }
                    self.functions.insert(name, function);
                }
                ast::Item::Kernel(found) => match kernel {
                    None => kernel = Some(found),
                    Some(first) => {
                        let first: &ast::Kernel = first;
                        self.report(
                            Diagnostic::new(found.name.span, "a program has one kernel")
                                .label("a second one")
                                .note_at(first.name.span, "the first")
                                .help("put it into a file of its own"),
                        );
                    }
                },
            }
        }
        if let Some(element) = settings.element {
            self.element = self.element_type(element, None);
        }
        let Some(kernel) = kernel else {
            self.report(
                Diagnostic::without_place("the program has no kernel")
                    .help("write `kernel name(parameters) -> result[axes] { ... }`"),
            );
            return Err(Failed);
        };
        let results = self.kernel(kernel)?;
        self.unused_overrides();
        let guarded = self.check_bounds();
        if !self.diagnostics.is_empty() {
            return Err(Failed);
        }
        let mut axes = vec![];
        for axis in &self.axes {
            // Every axis has an extent by now, or there was an error about it.
            let extent = axis.extent.clone().ok_or(Failed)?;
            axes.push(Axis { name: axis.name.clone(), extent });
        }
        let mut program = Program {
            name: kernel.name.text.clone(),
            element: self.element,
            axes,
            tensors: std::mem::take(&mut self.tensors),
            results,
            exprs: std::mem::take(&mut self.arena).into_exprs(),
            constants: self.constants.iter().map(|(name, value, _)| (name.clone(), value.as_f64())).collect(),
            places: Places {
                kernel: kernel.name.span,
                tensors: std::mem::take(&mut self.definitions),
                origin: Origin::default(),
            },
        };
        if clamp::add(&mut program, &guarded).is_none() {
            self.report(Diagnostic::without_place("the program is too large for its indices to be clamped"));
            return Err(Failed);
        }
        sequence::add(&mut program);
        Ok(program)
    }

    fn element_type(&mut self, dtype: DType, span: Option<Span>) -> DType {
        if dtype == DType::I32 {
            let message = "`i32` cannot be the element type";
            let wrong = match span {
                Some(span) => Diagnostic::new(span, message),
                None => Diagnostic::without_place(message),
            };
            self.report(
                wrong
                    .help("it is `bf16`, `f16` or `f32`; single tensors of integers are declared as `name: i32[axes]`"),
            );
        }
        dtype
    }

    fn constant(&mut self, constant: &ast::Const) -> Result<()> {
        let name = &constant.name;
        if let Some((_, _, first)) = self.constants.iter().find(|(other, ..)| *other == name.text) {
            let first = *first;
            return self.error(
                Diagnostic::new(name.span, format!("the constant `{}` is defined twice", name.text))
                    .note_at(first, "first here")
                    .help("choose another name"),
            );
        }
        let value = match self.constant_value(&constant.value) {
            Ok(value) => value,
            Err(failed) => {
                // Its uses are no further errors.
                self.constants.push((name.text.clone(), Number::Int(1), name.span));
                return Err(failed);
            }
        };
        self.define_constant(&name.text, value, name.span)
    }

    /// Adds a constant, or what overrides it.
    fn define_constant(&mut self, name: &str, written: Number, span: Span) -> Result<()> {
        let mut value = written;
        let mut wrong = None;
        // The last of several overrides counts.
        for (other, constant, used) in &mut self.overrides {
            if other == name {
                *used = true;
                value = match (written, *constant) {
                    (_, Constant::Int(value)) => {
                        if matches!(written, Number::Float(_)) {
                            Number::Float(value as f64)
                        } else {
                            Number::Int(value)
                        }
                    }
                    (Number::Float(_), Constant::Float(value)) => Number::Float(value),
                    (Number::Int(_), Constant::Float(value)) => {
                        if value.abs() > 1e15 {
                            let help = "choose a number that is nearer to 0";
                            wrong = Some((format!("cannot be set to {value:e}, which is too large"), help));
                        } else if value.fract() != 0.0 {
                            let help = "set it to an integer, or write it with a point here";
                            wrong = Some(("cannot be set to a fraction".to_string(), help));
                        }
                        Number::Int(value as i64)
                    }
                };
            }
        }
        self.constants.push((name.to_string(), value, span));
        if let Some((wrong, help)) = wrong {
            return self.error(
                Diagnostic::new(span, format!("`{name}` is an integer, and {wrong}")).about_setting(name).help(help),
            );
        }
        Ok(())
    }

    fn unused_overrides(&mut self) {
        for (name, _, used) in self.overrides.clone() {
            if !used {
                let known: Vec<String> = self.constants.iter().map(|(name, ..)| name.clone()).collect();
                let mut diagnostic =
                    Diagnostic::without_place(format!("there is no constant `{name}` that could be set"))
                        .about_setting(&name);
                diagnostic = match crate::nearest::nearest(&name, known.iter().map(|name| name.as_str())) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None if known.is_empty() => diagnostic.help("the program has no constants"),
                    None => diagnostic.help(format!("its constants are {}", report::list(&known))),
                };
                self.report(diagnostic);
            }
        }
    }

    /// The number that a constant expression is.
    fn constant_value(&mut self, expr: &ast::Expr) -> Result<Number> {
        let mut scope = scope::Scope::new(true);
        let value = self.expr(&mut scope, expr)?;
        match *self.arena.get(value.expr) {
            Expr::Int(value) => Ok(Number::Int(value)),
            Expr::Num(value) => Ok(Number::Float(value)),
            _ => self.error(
                Diagnostic::new(expr.span, "this is not a number known when compiling")
                    .help("constants are made of numbers and other constants"),
            ),
        }
    }
}
