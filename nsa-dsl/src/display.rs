//! Programs as text: complete, stable, for reading and for snapshots. What occurs several times in a definition is written
//! once, below it, as `%1`, `%2`, ...

use crate::program::*;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

/// How tightly an operator binds; operands that bind less tightly get brackets.
mod level {
    pub const ANY: u8 = 0;
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const COMPARISON: u8 = 3;
    pub const SUM: u8 = 4;
    pub const PRODUCT: u8 = 5;
    pub const PREFIX: u8 = 6;
}

/// Prints expressions of an arena.
struct Printer<'a> {
    axis: &'a dyn Fn(AxisId) -> String,
    tensor: &'a dyn Fn(TensorId) -> String,
    expr: &'a dyn Fn(ExprId) -> Expr,
    /// Names of shared expressions.
    shared: HashMap<ExprId, usize>,
    /// Longest text before the rest becomes `...`.
    limit: usize,
}

impl Printer<'_> {
    /// Prints an expression that stands where `outer` or more is needed; shared ones by name unless `whole`.
    fn write(&self, out: &mut String, id: ExprId, outer: u8, whole: bool) {
        if out.len() > self.limit {
            if !out.ends_with("...") {
                out.push_str("...");
            }
            return;
        }
        if !whole && let Some(number) = self.shared.get(&id) {
            let _ = write!(out, "%{number}");
            return;
        }
        let infix = |out: &mut String, a: ExprId, op: &str, b: ExprId, own: u8| {
            let brackets = own < outer;
            if brackets {
                out.push('(');
            }
            // Comparisons do not chain; the others group to the left.
            self.write(out, a, if own == level::COMPARISON { own + 1 } else { own }, false);
            let _ = write!(out, " {op} ");
            self.write(out, b, own + 1, false);
            if brackets {
                out.push(')');
            }
        };
        let call = |out: &mut String, name: &str, operands: &[ExprId]| {
            out.push_str(name);
            out.push('(');
            self.list(out, operands);
            out.push(')');
        };
        match (self.expr)(id) {
            Expr::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Expr::Num(value) => {
                let _ = write!(out, "{value:?}");
            }
            Expr::Bool(value) => {
                let _ = write!(out, "{value}");
            }
            Expr::Axis(axis) => out.push_str(&(self.axis)(axis)),
            Expr::Len(axis) => {
                let _ = write!(out, "len({})", (self.axis)(axis));
            }
            Expr::IntBin(op, a, b) => match op {
                IntBin::Add => match (self.expr)(b) {
                    Expr::Int(value) if value < 0 && value != i64::MIN => {
                        let brackets = level::SUM < outer;
                        if brackets {
                            out.push('(');
                        }
                        self.write(out, a, level::SUM, false);
                        let _ = write!(out, " - {}", -value);
                        if brackets {
                            out.push(')');
                        }
                    }
                    _ => infix(out, a, "+", b, level::SUM),
                },
                IntBin::Sub => infix(out, a, "-", b, level::SUM),
                IntBin::Mul => infix(out, a, "*", b, level::PRODUCT),
                IntBin::Div => infix(out, a, "/", b, level::PRODUCT),
                IntBin::Rem => infix(out, a, "%", b, level::PRODUCT),
                IntBin::Min => call(out, "min", &[a, b]),
                IntBin::Max => call(out, "max", &[a, b]),
            },
            Expr::ToFloat(a) => call(out, "float", &[a]),
            Expr::Load(tensor, index) => {
                out.push_str(&(self.tensor)(tensor));
                if !index.is_empty() {
                    out.push('[');
                    self.list(out, &index);
                    out.push(']');
                }
            }
            Expr::Unary(Unary::Neg, a) => {
                let brackets = level::PREFIX < outer;
                out.push_str(if brackets { "(-" } else { "-" });
                self.write(out, a, level::PREFIX, false);
                if brackets {
                    out.push(')');
                }
            }
            Expr::Unary(op, a) => call(out, op.name(), &[a]),
            Expr::Binary(op, a, b) => match op {
                Binary::Add => infix(out, a, "+", b, level::SUM),
                Binary::Sub => infix(out, a, "-", b, level::SUM),
                Binary::Mul => infix(out, a, "*", b, level::PRODUCT),
                Binary::Div => infix(out, a, "/", b, level::PRODUCT),
                Binary::Min => call(out, "min", &[a, b]),
                Binary::Max => call(out, "max", &[a, b]),
                Binary::Shift => call(out, "shift", &[a, b]),
                Binary::Ratio => call(out, "ratio", &[a, b]),
            },
            Expr::Select(p, a, b) => {
                out.push_str("(if ");
                self.write(out, p, level::ANY, false);
                out.push_str(" { ");
                self.write(out, a, level::ANY, false);
                out.push_str(" } else { ");
                self.write(out, b, level::ANY, false);
                out.push_str(" })");
            }
            Expr::Cast(dtype, a) => {
                out.push_str("cast(");
                self.write(out, a, level::ANY, false);
                let _ = write!(out, ", {})", dtype.name());
            }
            Expr::Compare(op, a, b) => infix(out, a, op.symbol(), b, level::COMPARISON),
            Expr::And(a, b) => infix(out, a, "&&", b, level::AND),
            Expr::Or(a, b) => infix(out, a, "||", b, level::OR),
            Expr::Not(a) => {
                out.push('!');
                self.write(out, a, level::PREFIX + 1, false);
            }
            Expr::Member(x, tensor, index) => {
                let brackets = level::COMPARISON < outer;
                if brackets {
                    out.push('(');
                }
                self.write(out, x, level::SUM, false);
                let _ = write!(out, " in {}", (self.tensor)(tensor));
                if !index.is_empty() {
                    out.push('[');
                    self.list(out, &index);
                    out.push(']');
                }
                if brackets {
                    out.push(')');
                }
            }
            Expr::Fold { monoid, axis, guard, body } => {
                let _ = write!(out, "{}[{}](", monoid.name(), (self.axis)(axis));
                self.write(out, body, level::ANY, false);
                if let Some(guard) = guard {
                    out.push_str(" where ");
                    self.write(out, guard, level::ANY, false);
                }
                out.push(')');
            }
            Expr::StopGradient(a) => call(out, "stop_gradient", &[a]),
        }
    }

    fn list(&self, out: &mut String, operands: &[ExprId]) {
        for (i, &operand) in operands.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            self.write(out, operand, level::ANY, false);
        }
    }
}

/// Names for index expressions in messages.
pub(crate) struct Names<'a> {
    pub axes: &'a dyn Fn(AxisId) -> String,
    pub exprs: &'a dyn Fn(ExprId) -> Expr,
}

impl Names<'_> {
    /// An integer expression, shortened if it is very long.
    pub fn integer(&self, id: ExprId) -> String {
        let tensor = |_| "tensor".to_string();
        let printer =
            Printer { axis: self.axes, tensor: &tensor, expr: self.exprs, shared: HashMap::new(), limit: 100 };
        let mut out = String::new();
        printer.write(&mut out, id, level::SUM, false);
        out
    }
}

impl Program {
    /// One expression, printed with nothing shared; a very long one ends in `...`.
    pub fn expr_text(&self, id: ExprId) -> String {
        let mut out = String::new();
        self.with_printer(HashMap::new(), 4000, |printer| printer.write(&mut out, id, level::ANY, false));
        out
    }

    fn with_printer(&self, shared: HashMap<ExprId, usize>, limit: usize, print: impl FnOnce(&Printer)) {
        let axis = |id| self.axis(id).name.clone();
        let tensor = |id| self.tensor(id).name.clone();
        let expr = |id| self.expr(id).clone();
        print(&Printer { axis: &axis, tensor: &tensor, expr: &expr, shared, limit });
    }

    /// Expressions below `roots` that are worth a name: used more than once, and more than a name themselves. Operands
    /// before their uses.
    fn shared(&self, roots: &[ExprId]) -> Vec<ExprId> {
        let mut uses: HashMap<ExprId, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let mut pending = roots.to_vec();
        for &root in roots {
            *uses.entry(root).or_default() += 1;
        }
        while let Some(id) = pending.pop() {
            if seen.insert(id) {
                self.expr(id).children(|child| {
                    *uses.entry(child).or_default() += 1;
                    pending.push(child);
                });
            }
        }
        let mut shared: Vec<ExprId> =
            uses.into_iter().filter(|&(id, n)| n > 1 && !self.is_short(id)).map(|(id, _)| id).collect();
        shared.sort_unstable();
        shared
    }

    /// A name or a number, or an element at plain axes.
    fn is_short(&self, id: ExprId) -> bool {
        let plain = |id: &ExprId| matches!(self.expr(*id), Expr::Axis(_) | Expr::Int(_));
        match self.expr(id) {
            Expr::Int(_) | Expr::Num(_) | Expr::Bool(_) | Expr::Axis(_) | Expr::Len(_) => true,
            Expr::Load(_, index) => index.iter().all(plain),
            Expr::IntBin(_, a, b) => plain(a) && plain(b),
            Expr::ToFloat(a) => plain(a),
            _ => false,
        }
    }

    fn axes_text(&self, axes: &[AxisId]) -> String {
        let names: Vec<&str> = axes.iter().map(|&axis| self.axis(axis).name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {}, element {}", self.name, self.element.name())?;
        if !self.constants.is_empty() {
            writeln!(f, "\nconstants")?;
            for (name, value) in &self.constants {
                writeln!(f, "  {name} = {value}")?;
            }
        }
        writeln!(f, "\naxes")?;
        for axis in &self.axes {
            let extent = match &axis.extent {
                Extent::Const(n) => n.to_string(),
                Extent::Runtime => "given at run time".to_string(),
                Extent::Derived(expr) => self.expr_text(*expr),
            };
            writeln!(f, "  {}: {extent}", axis.name)?;
        }
        writeln!(f, "\nparameters")?;
        for (_, tensor) in self.params() {
            let dtype = tensor.dtype.map_or("", |dtype| dtype.name());
            writeln!(f, "  {}: {dtype}{}", tensor.name, self.axes_text(&tensor.axes))?;
        }
        writeln!(f, "\ndefinitions")?;
        for tensor in &self.tensors {
            self.write_definition(f, tensor)?;
        }
        writeln!(f, "\nresults")?;
        for &result in &self.results {
            let tensor = self.tensor(result);
            let dtype = tensor.dtype.map_or("", |dtype| dtype.name());
            writeln!(f, "  {}: {dtype}{}", tensor.name, self.axes_text(&tensor.axes))?;
        }
        Ok(())
    }
}

impl Program {
    fn write_definition(&self, f: &mut fmt::Formatter<'_>, tensor: &Tensor) -> fmt::Result {
        let roots = match &tensor.source {
            Source::Param => return Ok(()),
            Source::Value(expr) => vec![*expr],
            Source::Top(top) => [Some(top.score), top.force, top.among].into_iter().flatten().collect(),
        };
        let shared = self.shared(&roots);
        let numbers = shared.iter().enumerate().map(|(i, &id)| (id, i + 1)).collect();
        let mut lines = vec![];
        self.with_printer(numbers, usize::MAX, |printer| {
            let text = |id, whole| {
                let mut out = String::new();
                printer.write(&mut out, id, level::ANY, whole);
                out
            };
            lines.push(match &tensor.source {
                Source::Top(top) => {
                    let mut line =
                        format!("top[{}]({}, {}", self.axis(top.axis).name, text(top.score, false), top.count);
                    for (name, part) in [("force", top.force), ("among", top.among)] {
                        if let Some(part) = part {
                            let _ = write!(line, ", {name} = {}", text(part, false));
                        }
                    }
                    line + ")"
                }
                _ => text(roots[0], false),
            });
            for (i, &id) in shared.iter().enumerate() {
                lines.push(format!("%{} = {}", i + 1, text(id, true)));
            }
        });
        writeln!(f, "  {}{} = {}", tensor.name, self.axes_text(&tensor.axes), lines[0])?;
        for line in &lines[1..] {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
