//! The statements of a kernel in a few words each, for pictures.

use crate::text::positions;
use nsa_codegen::plan::print::show;
use nsa_codegen::plan::{Kernel, Operand, Plan, Statement, Var};
use nsa_codegen::term::Term;

/// What a statement keeps busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
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

/// All steps of a kernel. What only sets a variable to a constant is left out.
pub fn steps(plan: &Plan, kernel: &Kernel) -> Vec<Step> {
    block(plan, kernel, &kernel.body)
}

fn block(plan: &Plan, kernel: &Kernel, body: &[Statement]) -> Vec<Step> {
    body.iter().filter_map(|statement| step(plan, kernel, statement)).collect()
}

fn step(plan: &Plan, kernel: &Kernel, statement: &Statement) -> Option<Step> {
    let tile = |number: u32| kernel.tiles[number as usize].label.clone();
    let var = |number: Var| variable(kernel, number);
    let show = |id| readable(plan, &show(&plan.terms, id));
    let line = |kind, text| Some(Step::Line(kind, text));
    match statement {
        Statement::Set { expr, .. } if matches!(plan.terms[*expr], Term::Num(_) | Term::Int(_)) => None,
        Statement::Set { var: set, expr } => {
            line(Kind::Scalar, format!("{} = {}", var(*set), named(kernel, show(*expr))))
        }
        Statement::Fetch { tile: number } => {
            let fetched = &kernel.tiles[*number as usize];
            let ahead = match fetched.stages {
                0 | 1 => String::new(),
                many => format!(", {} ahead", many - 1),
            };
            let how = if fetched.copy { "fetch" } else { "compute tile" };
            line(Kind::Load, format!("{how} {}{ahead}", tile(*number)))
        }
        Statement::Dot { var: set, a, b, depth, accumulate } => {
            let a = match a {
                Operand::Var(number) => var(*number),
                Operand::Tile(number) => tile(*number),
            };
            let op = if *accumulate { "+=" } else { "=" };
            let depth = depth.axis.name();
            line(Kind::Matrix, format!("{} {op} {a} \u{b7} {} over {depth}", var(*set), tile(*b)))
        }
        Statement::Mask { var: masked, keep, .. } => {
            line(Kind::Scalar, format!("mask {} unless {}", var(*masked), show(*keep)))
        }
        Statement::Reduce { var: into, from, monoid } => {
            line(Kind::Scalar, format!("{} = {monoid} of {} along its columns", var(*into), var(*from)))
        }
        Statement::Online { score, rescale, .. } => {
            let sums: Vec<String> = rescale.iter().map(|number| var(*number)).collect();
            line(Kind::Scalar, format!("online softmax of {}, rescale {}", var(*score), sums.join(", ")))
        }
        Statement::Stage { from, sum, .. } => {
            let sum = sum.map_or(String::new(), |axis| format!(", summed over {}", axis.name()));
            line(Kind::Scalar, format!("keep {} in shared memory{sum}", var(*from)))
        }
        Statement::Insert { list, columns, .. } => {
            let count = kernel.lists[*list as usize].count;
            line(Kind::Scalar, format!("keep the best {count} of {}", columns.axis.name()))
        }
        Statement::StoreList { buffer, .. } => line(Kind::Store, format!("store the list {}", buffer.name())),
        Statement::Store { buffer, value, .. } => {
            let value = named(kernel, show(*value));
            line(Kind::Store, format!("{} = {value}", buffer.name()))
        }
        Statement::Loop(inner) => {
            let axis = inner.axis.name();
            let head = match (&inner.walk, inner.tile) {
                (Some(walk), _) => format!("for the {axis} of blocks in {}", show(walk.list)),
                (None, 1) => format!("for each {axis}"),
                (None, tile) => format!("for {axis}, {tile} at a time"),
            };
            let bounds = format!("from {} to {}", show(inner.lo), show(inner.hi));
            Some(Step::Loop { head, bounds, body: block(plan, kernel, &inner.body) })
        }
    }
}

/// Terms as people write them.
fn readable(plan: &Plan, text: &str) -> String {
    let axes: Vec<&str> = plan.axes.iter().map(|axis| axis.name.name()).collect();
    positions(text, &axes).replace("imin(", "min(").replace("imax(", "max(").replace(" + -", " - ")
}

/// A variable's label, with its number where another one has the same.
fn variable(kernel: &Kernel, number: Var) -> String {
    let label = &kernel.variables[number as usize].label;
    let same = kernel.variables.iter().filter(|other| other.label == *label).count();
    if same > 1 { format!("{label}{number}") } else { label.clone() }
}

/// `%n` by name.
fn named(kernel: &Kernel, text: String) -> String {
    let mut text = text;
    for number in (0..kernel.variables.len() as Var).rev() {
        text = text.replace(&format!("%{number}"), &variable(kernel, number));
    }
    text
}
