//! Plans as pseudo-code.

use super::*;
use egg::Language;
use std::fmt::{self, Display, Formatter, Write};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {}", self.name)?;
        for axis in &self.axes {
            match &axis.extent {
                PlanExtent::Const(n) => writeln!(f, "  axis {} = {n}", axis.name.name())?,
                PlanExtent::Runtime => writeln!(f, "  axis {} at run time", axis.name.name())?,
                PlanExtent::Derived(id) => writeln!(f, "  axis {} = {}", axis.name.name(), show(&self.terms, *id))?,
            }
        }
        for buffer in &self.buffers {
            writeln!(f, "  {buffer}")?;
        }
        for kernel in &self.kernels {
            writeln!(f)?;
            KernelText { kernel, terms: &self.terms }.fmt(f)?;
        }
        Ok(())
    }
}

/// With commas between.
pub fn list<T: ToString>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// As in `argument q: bf16[t, g, d]`.
impl Display for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Argument => "argument",
            Role::Result => "result",
            Role::Workspace => "workspace",
        };
        let axes: Vec<&str> = self.axes.iter().map(|axis| axis.name()).collect();
        write!(f, "{role} {}: {}[{}]", self.name.name(), self.dtype, list(&axes))
    }
}

/// As in `s:64`.
impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.axis.name(), self.count)
    }
}

/// As in `t/64`, or `g` for single values.
impl Display for GridAxis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.tile {
            1 => f.write_str(self.axis.name()),
            tile => write!(f, "{}/{tile}", self.axis.name()),
        }
    }
}

/// Grid, rows and warps: `kernel o: grid [g, t/8], rows [t:8, r:16], 4 x 1 warps of 32 rows`.
pub fn head(kernel: &Kernel) -> String {
    let Kernel { name, grid, rows, layout, .. } = kernel;
    format!("kernel {name}: grid [{}], rows [{}], {layout}", list(grid), list(rows))
}

struct KernelText<'a> {
    kernel: &'a Kernel,
    terms: &'a RecExpr<Term>,
}

impl Display for KernelText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let k = self.kernel;
        writeln!(f, "{}", head(k))?;
        for (i, t) in k.tiles.iter().enumerate() {
            let slow = match &t.slow {
                TileAxis::Rows => "rows".to_string(),
                TileAxis::Span(s) => s.to_string(),
            };
            let how = if t.copy { "copied" } else { "computed" };
            writeln!(
                f,
                "  tile {} = {} over [{slow}, {}], {}, {how}, {} in flight",
                self.tile(i as u32),
                show(self.terms, t.element),
                t.fast,
                t.dtype,
                t.stages
            )?;
        }
        for (i, s) in k.stages.iter().enumerate() {
            writeln!(f, "  stage:{i} over [{}; {}]", list(&s.rows), s.columns)?;
        }
        for (i, l) in k.lists.iter().enumerate() {
            writeln!(f, "  list:{i} of {} over [{}]", l.count, list(&l.rows))?;
        }
        self.block(f, &k.body, 1)
    }
}

impl Display for Layout {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Elements { threads } => write!(f, "{threads} threads"),
            Layout::Fragments { rows, repeat, columns } => {
                write!(f, "{rows} x {columns} warps of {} rows", 16 * repeat)
            }
        }
    }
}

impl KernelText<'_> {
    fn tile(&self, id: u32) -> String {
        format!("{}@{id}", self.kernel.tiles[id as usize].label)
    }
    fn var(&self, id: Var) -> String {
        format!("{}%{id}", self.kernel.variables[id as usize].label)
    }
    fn shaped(&self, id: Var) -> String {
        let v = &self.kernel.variables[id as usize];
        let mut parts = Vec::new();
        if v.rows {
            parts.push("rows".to_string());
        }
        parts.extend(v.columns.iter().map(Span::to_string));
        format!("{}[{}]", self.var(id), parts.join(", "))
    }
    fn show(&self, id: Id) -> String {
        show(self.terms, id)
    }
    fn list(&self, ids: &[Id]) -> String {
        ids.iter().map(|i| self.show(*i)).collect::<Vec<_>>().join(", ")
    }

    fn block(&self, f: &mut Formatter<'_>, body: &[Statement], depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        for statement in body {
            match statement {
                Statement::Set { var, expr } => writeln!(f, "{pad}{} = {}", self.shaped(*var), self.show(*expr))?,
                Statement::Fetch { tile } => writeln!(f, "{pad}fetch {}", self.tile(*tile))?,
                Statement::Dot { var, a, b, depth: k, accumulate } => {
                    let a = match a {
                        Operand::Var(v) => self.var(*v),
                        Operand::Tile(t) => self.tile(*t),
                    };
                    let op = if *accumulate { "+=" } else { "=" };
                    writeln!(
                        f,
                        "{pad}{} {op} dot {}:{} of {a}, {}",
                        self.shaped(*var),
                        k.axis.name(),
                        k.count,
                        self.tile(*b)
                    )?;
                }
                Statement::Mask { var, keep, otherwise } => {
                    writeln!(f, "{pad}at edges: {} = {otherwise:?} unless {}", self.var(*var), self.show(*keep))?;
                }
                Statement::Reduce { var, from, monoid } => {
                    writeln!(f, "{pad}{} = {monoid} of {} and {}", self.shaped(*var), self.var(*var), self.var(*from))?;
                }
                Statement::Online { score, max, scale, rescale } => {
                    let rescale: Vec<_> = rescale.iter().map(|v| self.var(*v)).collect();
                    writeln!(
                        f,
                        "{pad}online softmax of {} * {scale:.6}: maximum {}, rescale {}",
                        self.var(*score),
                        self.var(*max),
                        rescale.join(", ")
                    )?;
                }
                Statement::Stage { stage, from, sum } => match sum {
                    Some(axis) => writeln!(f, "{pad}stage:{stage} = sum over {} of {}", axis.name(), self.var(*from))?,
                    None => writeln!(f, "{pad}stage:{stage} = {}", self.var(*from))?,
                },
                Statement::Insert { list, columns, score, force, among } => {
                    writeln!(
                        f,
                        "{pad}insert {}:{} into list:{list} by {}",
                        columns.axis.name(),
                        columns.count,
                        self.show(*score)
                    )?;
                    writeln!(f, "{pad}  first {}", self.show(*force))?;
                    writeln!(f, "{pad}  among {}", self.show(*among))?;
                }
                Statement::StoreList { list, buffer, index } => {
                    writeln!(f, "{pad}{}[{}, ..] = list:{list}", buffer.name(), self.list(index))?;
                }
                Statement::Store { buffer, index, value, .. } => {
                    writeln!(f, "{pad}{}[{}] = {}", buffer.name(), self.list(index), self.show(*value))?;
                }
                Statement::Loop(inner) => {
                    let mut head = format!(
                        "for {}:{} in {} .. {}",
                        inner.axis.name(),
                        inner.tile,
                        self.show(inner.lo),
                        self.show(inner.hi)
                    );
                    if let Some(w) = &inner.walk {
                        write!(head, ", blocks of {} listed in {}", w.block, self.show(w.list))?;
                    }
                    if let Some((lo, hi)) = inner.full {
                        write!(head, ", no masks in {} .. {}", self.show(lo), self.show(hi))?;
                    }
                    writeln!(f, "{pad}{head}")?;
                    self.block(f, &inner.body, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}

/// A term in infix notation.
pub fn show(terms: &RecExpr<Term>, id: Id) -> String {
    infix(terms, id, 0)
}

/// Binding strength: 0 weakest. Arguments of a function are at 0.
fn infix(terms: &RecExpr<Term>, id: Id, outer: u8) -> String {
    let arg = |i: &Id| infix(terms, *i, 0);
    let binary = |op: &str, level: u8, [a, b]: &[Id; 2]| {
        let text = format!("{} {op} {}", infix(terms, *a, level), infix(terms, *b, level + 1));
        if level < outer { format!("({text})") } else { text }
    };
    match &terms[id] {
        Term::Axis(a) => a.name().to_string(),
        Term::Len(a) => format!("len({})", a.name()),
        Term::Tensor(t) => t.name().to_string(),
        Term::IntAdd(x) | Term::Add(x) => binary("+", 5, x),
        Term::IntSub(x) | Term::Sub(x) => binary("-", 5, x),
        Term::IntMul(x) | Term::Mul(x) => binary("*", 6, x),
        Term::IntDiv(x) | Term::Div(x) => binary("/", 6, x),
        Term::IntRem(x) => binary("%", 6, x),
        Term::IntEq(x) | Term::Eq(x) => binary("==", 4, x),
        Term::IntNe(x) | Term::Ne(x) => binary("!=", 4, x),
        Term::IntLt(x) | Term::Lt(x) => binary("<", 4, x),
        Term::IntLe(x) | Term::Le(x) => binary("<=", 4, x),
        Term::In(x) => binary("in", 4, x),
        Term::And(x) => binary("&&", 2, x),
        Term::Or(x) => binary("||", 1, x),
        Term::Load(xs) => format!("{}[{}]", arg(&xs[0]), xs[1..].iter().map(arg).collect::<Vec<_>>().join(", ")),
        Term::List(xs) => format!("{}[{}, ..]", arg(&xs[0]), xs[1..].iter().map(arg).collect::<Vec<_>>().join(", ")),
        node if node.is_leaf() => node.to_string(),
        node => format!("{node}({})", node.children().iter().map(arg).collect::<Vec<_>>().join(", ")),
    }
}
