//! The statements of a kernel in a few words each, for text and pictures.

use super::phrase::Phrases;
use nsa_codegen::plan::{Kernel, Loop, Operand, Plan, Statement, Var};
use nsa_codegen::term::{Monoid, Term};

/// What a statement keeps busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing to speak of: a variable begins at a constant.
    Start,
    /// Memory, reading.
    Load,
    /// Matrix units.
    Matrix,
    /// Everything that is done element by element.
    Scalar,
    /// Memory, writing.
    Store,
}

/// A statement, or a loop of them.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// One statement.
    Line(Kind, String),
    /// Statements that are repeated.
    Loop {
        /// What the loop walks.
        head: String,
        /// From where to where.
        bounds: String,
        /// What is repeated.
        body: Vec<Step>,
    },
}

/// All steps of a kernel. Bounds that are long and stand in several places come first, under names.
pub fn steps(plan: &Plan, kernel: &Kernel) -> Vec<Step> {
    let mut phrases = Phrases::new(plan, Some(kernel));
    let print = |phrases: &Phrases| Steps { plan, kernel, phrases }.block(&kernel.body);
    let names = phrases.name_repeated(print);
    let named = names.into_iter().map(|(name, text)| Step::Line(Kind::Scalar, format!("{name} = {text}")));
    named.chain(print(&phrases)).collect()
}

struct Steps<'a> {
    plan: &'a Plan,
    kernel: &'a Kernel,
    phrases: &'a Phrases<'a>,
}

impl Steps<'_> {
    fn block(&self, body: &[Statement]) -> Vec<Step> {
        body.iter().flat_map(|statement| self.step(statement)).collect()
    }

    fn tile(&self, number: u32) -> String {
        tile(self.kernel, number)
    }

    fn var(&self, number: Var) -> String {
        self.phrases.variable(number)
    }

    /// The axis of a variable's columns.
    fn columns(&self, number: Var) -> &'static str {
        self.kernel.variables[number as usize].columns.as_ref().map_or("", |span| span.axis.name())
    }

    fn step(&self, statement: &Statement) -> Vec<Step> {
        let show = |id| self.phrases.show(id);
        let line = |kind, text| vec![Step::Line(kind, text)];
        match statement {
            Statement::Set { var, expr } => {
                let constant = matches!(self.plan.terms[*expr], Term::Num(_) | Term::Int(_));
                let kind = if constant { Kind::Start } else { Kind::Scalar };
                line(kind, format!("{} = {}", self.var(*var), show(*expr)))
            }
            Statement::Fetch { tile: number } => {
                let fetched = &self.kernel.tiles[*number as usize];
                let ahead = match fetched.stages {
                    0 | 1 => String::new(),
                    many => format!(", {} ahead", many - 1),
                };
                let how = if fetched.copy { "fetch" } else { "compute" };
                line(Kind::Load, format!("{how} {}{ahead}", self.tile(*number)))
            }
            Statement::Dot { var, a, b, depth, accumulate } => {
                let a = match a {
                    Operand::Var(number) => self.var(*number),
                    Operand::Tile(number) => self.tile(*number),
                };
                let op = if *accumulate { "+=" } else { "=" };
                let (set, b, depth) = (self.var(*var), self.tile(*b), depth.axis.name());
                line(Kind::Matrix, format!("{set} {op} sum[{depth}] {a} * {b}"))
            }
            Statement::Mask { var, keep, otherwise } => {
                line(Kind::Scalar, format!("at edges: {} = {otherwise} unless {}", self.var(*var), show(*keep)))
            }
            Statement::Reduce { var, from, monoid } => {
                let (into, from, axis) = (self.var(*var), self.var(*from), self.columns(*from));
                line(
                    Kind::Scalar,
                    match monoid {
                        Monoid::Add | Monoid::Lse => format!("{into} += sum[{axis}] {from}"),
                        Monoid::Max => format!("{into} = max({into}, max[{axis}] {from})"),
                        Monoid::Min => format!("{into} = min({into}, min[{axis}] {from})"),
                    },
                )
            }
            Statement::Online { score, max, rescale, .. } => {
                let sums: Vec<String> = rescale.iter().map(|number| self.var(*number)).collect();
                let (score, max, sums) = (self.var(*score), self.var(*max), sums.join(", "));
                line(Kind::Scalar, format!("online softmax of {score}: its maximum {max}, rescale {sums}"))
            }
            Statement::Stage { stage, from, sum } => {
                let sum = sum.map_or(String::new(), |axis| format!("sum[{}] ", axis.name()));
                let stage = self.phrases.stage(*stage);
                line(Kind::Scalar, format!("{stage} = {sum}{}, in shared memory", self.var(*from)))
            }
            Statement::Insert { list, columns, score, force, among } => {
                let count = self.kernel.lists[*list as usize].count;
                let mut steps =
                    line(Kind::Scalar, format!("the best {count} of {} by {}", columns.axis.name(), show(*score)));
                for (word, condition, idle) in [("first", force, false), ("among", among, true)] {
                    if !matches!(self.plan.terms[*condition], Term::Bool(value) if value == idle) {
                        steps.push(Step::Line(Kind::Scalar, format!("  {word} {}", show(*condition))));
                    }
                }
                steps
            }
            Statement::StoreList { buffer, index, .. } => {
                line(Kind::Store, format!("{} = the best", self.phrases.element(buffer.name(), index, true)))
            }
            Statement::Store { buffer, index, value, .. } => {
                let element = self.phrases.element(buffer.name(), index, false);
                line(Kind::Store, format!("{element} = {}", show(*value)))
            }
            Statement::Loop(inner) => {
                let axis = inner.axis.name();
                let head = match (&inner.walk, inner.tile) {
                    (Some(walk), tile) => {
                        let list = show(walk.list);
                        let of = match walk.block {
                            1 => "of those".to_string(),
                            block => format!("in the blocks of {block}"),
                        };
                        format!("for {axis}, {tile} at a time, {of} that {list} lists")
                    }
                    (None, 1) => format!("for each {axis}"),
                    (None, tile) => format!("for {axis}, {tile} at a time"),
                };
                vec![Step::Loop { head, bounds: self.bounds(inner), body: self.block(&inner.body) }]
            }
        }
    }

    /// From where to where a loop goes, and between which of its bounds no masks are needed, as far as these are others.
    fn bounds(&self, inner: &Loop) -> String {
        let show = |id| self.phrases.show(id);
        let (from, to) = (show(inner.lo), show(inner.hi));
        let masks = inner.full.map_or(String::new(), |(lo, hi)| {
            // Said only where they differ: what is said twice gets a name.
            let unlike = |a, b| (!self.phrases.same(a, b)).then(|| show(b));
            match (unlike(inner.lo, lo), unlike(inner.hi, hi)) {
                (None, None) => String::new(),
                (Some(lo), None) => format!("; no masks from {lo} on"),
                (None, Some(hi)) => format!("; no masks below {hi}"),
                (Some(lo), Some(hi)) => format!("; no masks from {lo} to {hi}"),
            }
        });
        format!("from {from} to {to}{masks}")
    }
}

/// A tile's label, with its number where another one has the same.
pub fn tile(kernel: &Kernel, number: u32) -> String {
    let label = &kernel.tiles[number as usize].label;
    let same = kernel.tiles.iter().filter(|other| other.label == *label).count();
    if same > 1 { format!("{label}@{number}") } else { label.clone() }
}
