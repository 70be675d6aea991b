//! Which contractions of a kernel run in matrix registers, and how their operands then lie in scratch memory.
//!
//! A matrix register of AMX holds 16 lines of 64 bytes. One instruction adds to 16 x 16 sums (f32) the products of 16 lines of
//! 32 bf16 values each, the *left* operand, with 16 lines of 16 *pairs* of bf16 values, the *right* operand, where a pair
//! is two values that follow each other along the depth. What comes out lies as the left operand's lines by the right
//! one's pairs. That leaves two ways for `var[row, column] = a[row, depth] * tile[depth, column]`:
//!
//! * The tile has the depth along its fast axis (keys): as it lies in memory its columns are lines of a left operand, and the
//!   rows of the first factor become the pairs. The result is `[column][row]`, which is how variables lie anyway (see
//!   [`super::layout`]), with panels of 16 rows.
//! * The tile has the columns along its fast axis (values): two of its lines interleaved are pairs, and the rows of the
//!   first factor are lines. The result is `[row][column]`. That is used only for sums that nothing else reads
//!   along their rows, which is what accumulators are: they are cleared, rescaled, added to and stored.
//!
//! Every contraction of a tile is done in the same way, so that the tile has one form.

use super::isa::Isa;
use crate::plan::{Kernel, Layout, Operand, Plan, Span, Statement, Tile, TileAxis, Variable, visit};
use crate::term::{Term, Type};
use egg::{Id, Language};

/// How a tile lies in scratch memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// f32.
    Floats,
    /// bf16, a line of the fast axis per value of the slow axis: a left operand.
    Lines,
    /// bf16, pairs along the depth: a right operand.
    Pairs,
}

/// The forms of a kernel's tiles and variables for one instruction set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Forms {
    /// Per tile.
    pub tiles: Vec<Form>,
    /// Per variable: true for `[row][column]`, false for panels.
    pub lines: Vec<bool>,
}

/// A contraction, and where its operands go.
struct Contraction {
    var: usize,
    first: Operand,
    second: usize,
    /// The form of the second factor.
    form: Form,
}

impl Contraction {
    /// The form of the first factor.
    fn first_form(&self) -> Form {
        if self.form == Form::Lines { Form::Pairs } else { Form::Lines }
    }
}

impl Forms {
    pub fn new(plan: &Plan, kernel: &Kernel, isa: Isa) -> Self {
        let mut forms =
            Forms { tiles: vec![Form::Floats; kernel.tiles.len()], lines: vec![false; kernel.variables.len()] };
        if !isa.has_matrix_registers() || !matches!(kernel.layout, Layout::Fragments { .. }) {
            return forms;
        }
        let contractions = contractions(kernel);
        let halves = |tile: &Tile| tile.dtype == Type::Bf16 && reads_halves(plan, tile.element);
        let mut tiles: Vec<bool> = kernel.tiles.iter().map(halves).collect();
        let mut lines: Vec<bool> = (0..kernel.variables.len()).map(|var| accumulates(plan, kernel, var)).collect();
        // What one contraction cannot have, others over the same tiles and variables cannot have either.
        loop {
            let before = (tiles.clone(), lines.clone());
            for contraction in &contractions {
                restrict(kernel, contraction, &contractions, &mut tiles, &mut lines);
            }
            if before == (tiles.clone(), lines.clone()) {
                break;
            }
        }
        for contraction in contractions.iter().filter(|c| tiles[c.second]) {
            forms.tiles[contraction.second] = contraction.form;
            if let Operand::Tile(first) = contraction.first {
                forms.tiles[first as usize] = contraction.first_form();
            }
            if contraction.form == Form::Pairs {
                forms.lines[contraction.var] = true;
            }
        }
        forms
    }

    /// Whether any contraction runs in matrix registers.
    pub fn matrix(&self) -> bool {
        self.tiles.iter().any(|form| *form != Form::Floats)
    }
}

/// All contractions whose operands have the plan's shapes; others are refused when they are emitted.
fn contractions(kernel: &Kernel) -> Vec<Contraction> {
    let mut found = Vec::new();
    visit::statements(&kernel.body, &mut |statement| {
        let Statement::Dot { var, a, b, depth, .. } = statement else { return };
        let (var, second) = (*var as usize, *b as usize);
        let columns = kernel.variables.get(var).and_then(|v| v.columns.as_ref());
        let form = kernel.tiles.get(second).zip(columns).and_then(|(tile, columns)| match &tile.slow {
            TileAxis::Span(slow) if slow == columns && tile.fast == *depth => Some(Form::Lines),
            TileAxis::Span(slow) if slow == depth && tile.fast == *columns => Some(Form::Pairs),
            _ => None,
        });
        let known = match a {
            Operand::Var(v) => (*v as usize) < kernel.variables.len(),
            Operand::Tile(t) => (*t as usize) < kernel.tiles.len(),
        };
        if let (Some(form), true) = (form, known) {
            found.push(Contraction { var, first: *a, second, form });
        }
    });
    found
}

/// Takes away what a contraction cannot have.
fn restrict(kernel: &Kernel, own: &Contraction, all: &[Contraction], tiles: &mut [bool], lines: &mut [bool]) {
    let rows = |tile: usize| kernel.tiles[tile].slow == TileAxis::Rows;
    let conflicts = |tile: usize, form: Form| {
        all.iter().any(|other| match other.first {
            _ if other.second == tile => other.form != form,
            Operand::Tile(first) if first as usize == tile => other.first_form() != form,
            _ => false,
        })
    };
    let mut possible = kernel.variables[own.var].rows && tiles[own.second] && !conflicts(own.second, own.form);
    match own.first {
        Operand::Tile(first) => {
            let first = first as usize;
            possible &= tiles[first] && rows(first) && !conflicts(first, own.first_form());
        }
        // It is read along its rows.
        Operand::Var(first) => lines[first as usize] = false,
    }
    match own.form {
        Form::Pairs => possible &= lines[own.var],
        _ => lines[own.var] = false,
    }
    if !possible {
        tiles[own.second] = false;
        if let Operand::Tile(first) = own.first {
            tiles[first as usize] = false;
        }
        if own.form == Form::Pairs {
            lines[own.var] = false;
        }
    }
}

/// Whether a variable is only set to a constant, rescaled, contracted into, and stored.
fn accumulates(plan: &Plan, kernel: &Kernel, var: usize) -> bool {
    let number = var as u32;
    let variable: &Variable = &kernel.variables[var];
    let Some(columns) = variable.columns.as_ref().filter(|_| variable.rows) else { return false };
    let reads = |id: Id| reads(plan, id, number);
    let mut only = !kernel.tiles.iter().any(|tile| reads(tile.element));
    visit::statements(&kernel.body, &mut |statement| {
        only &= match statement {
            Statement::Set { var, expr } if *var == number => matches!(plan.terms[*expr], Term::Num(_)),
            Statement::Set { expr, .. } => !reads(*expr),
            Statement::Mask { var, keep, .. } => *var != number && !reads(*keep),
            Statement::Reduce { var, from, .. } => *var != number && *from != number,
            Statement::Online { score, max, .. } => *score != number && *max != number,
            Statement::Stage { from, .. } => *from != number,
            Statement::Insert { score, force, among, .. } => ![score, force, among].into_iter().any(|id| reads(*id)),
            Statement::StoreList { index, .. } => !index.iter().any(|id| reads(*id)),
            Statement::Store { index, value, rows, columns: stored, .. } => {
                let along = |stored: &Option<Span>| stored.as_ref().is_some_and(|s| s.axis == columns.axis);
                !index.iter().any(|id| reads(*id)) && (!reads(*value) || *rows && along(stored))
            }
            Statement::Fetch { .. } | Statement::Dot { .. } | Statement::Loop(_) => true,
        };
    });
    only
}

/// Whether a term reads no reals but bf16: a program whose elements are bf16 may have arguments in f32, which are not to be rounded.
fn reads_halves(plan: &Plan, root: Id) -> bool {
    let wider = |dtype: Type| !matches!(dtype, Type::Bf16 | Type::I32);
    !any(plan, root, &|term| match term {
        Term::Tensor(tensor) => plan.buffers.iter().any(|b| b.name == *tensor && wider(b.dtype)),
        _ => false,
    })
}

/// Whether a term reads anything that statements of the same kernel compute: variables or stages.
pub(super) fn reads_scratch(plan: &Plan, root: Id) -> bool {
    any(plan, root, &|term| match term {
        Term::Value(_) => true,
        Term::Tensor(name) => name.name().starts_with("stage:"),
        _ => false,
    })
}

/// Whether a term reads a variable.
pub(super) fn reads(plan: &Plan, root: Id, var: u32) -> bool {
    any(plan, root, &|term| matches!(term, Term::Value(v) if v.0 == var))
}

/// Whether a term has a part of some kind.
fn any(plan: &Plan, root: Id, wanted: &dyn Fn(&Term) -> bool) -> bool {
    let mut seen = vec![false; usize::from(root) + 1];
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut seen[usize::from(id)], true) {
            continue;
        }
        if wanted(&plan.terms[id]) {
            return true;
        }
        stack.extend(plan.terms[id].children());
    }
    false
}
