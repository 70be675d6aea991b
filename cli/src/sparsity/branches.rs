//! Where a program folds a softmax over keys: found by structure, whatever things are called.
//!
//! A softmax, a log-sum-exp and a weighted sum of values by a softmax all hold `exp(shift(x, max[s](x where p)))`: a maximum of
//! scores over an axis whose length is not known when compiling, that the scores are then compared with. Each different
//! maximum is a branch; its conditions say which keys take part.

use nsa_dsl::Program;
use nsa_dsl::program::{AxisId, Binary, Expr, ExprId, Extent, Monoid, Source, TensorId, Unary};
use std::collections::BTreeSet;

/// A softmax over keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// The definition that it is in first.
    pub tensor: TensorId,
    /// What its picture is called: the definition's name.
    pub name: String,
    /// The axis of the keys.
    pub keys: AxisId,
    /// The axis of the queries; None if there is one query only.
    pub queries: Option<AxisId>,
    /// What must hold for a key to be seen; all of it.
    pub conditions: Vec<ExprId>,
    /// The parts of the conditions that ask whether something is in a list.
    pub members: Vec<ExprId>,
    /// The scores.
    pub score: ExprId,
}

/// All branches of a program, in the order of their definitions.
pub fn branches(program: &Program) -> Vec<Branch> {
    // Attention without a softmax: weighted sums over keys. Attention over a number of keys that is known, of a table say: the
    // axis is as constant as that of a width, so that only softmaxes count.
    let ways: [(Kind, Along); 3] = [(softmax, is_long), (weighted_sum, is_long), (softmax, |_, _| true)];
    let found = ways.into_iter().map(|(kind, along)| find(program, kind, along)).find(|found| !found.is_empty());
    let mut found = found.unwrap_or_default();
    // Several of one definition are told apart by numbers.
    let names: Vec<String> = found.iter().map(|branch| branch.name.clone()).collect();
    for (number, branch) in found.iter_mut().enumerate() {
        let before = names[..number].iter().filter(|name| **name == branch.name).count();
        if before > 0 {
            branch.name = format!("{} ({})", branch.name, before + 1);
        }
    }
    found
}

/// A fold over keys inside an expression, if it is the kind of fold that is looked for.
type Kind = fn(&Program, &Expr) -> Option<ExprId>;
/// Whether an axis can be that of the keys.
type Along = fn(&Program, AxisId) -> bool;

/// The maximum of a softmax.
fn softmax(program: &Program, expr: &Expr) -> Option<ExprId> {
    let Expr::Unary(Unary::Exp, power) = expr else { return None };
    let Expr::Binary(Binary::Shift, _, most) = program.expr(*power) else { return None };
    matches!(program.expr(*most), Expr::Fold { monoid: Monoid::Max, .. }).then_some(*most)
}

/// A sum over products.
fn weighted_sum(program: &Program, expr: &Expr) -> Option<ExprId> {
    let Expr::Fold { monoid: Monoid::Sum, body, .. } = expr else { return None };
    let product = matches!(program.expr(*body), Expr::Binary(Binary::Mul, ..));
    product.then(|| program.exprs.iter().position(|other| other == expr)).flatten().map(|at| ExprId(at as u32))
}

fn find(program: &Program, kind: Kind, along: Along) -> Vec<Branch> {
    let free = free_axes(program);
    let mut found: Vec<Branch> = vec![];
    for (number, tensor) in program.tensors.iter().enumerate() {
        let Source::Value(root) = tensor.source else { continue };
        let mut folds = vec![];
        each(program, &[root], |id| folds.extend(kind(program, program.expr(id))));
        // Those of the arena's order: operands before what uses them.
        folds.sort_unstable();
        for fold in folds {
            let Some((keys, conditions, score)) = keys(program, fold, along) else { continue };
            let known = |branch: &Branch| (branch.keys, &branch.conditions, branch.score) == (keys, &conditions, score);
            if found.iter().any(known) {
                continue;
            }
            let mut axes = free[fold.0 as usize].clone();
            conditions.iter().for_each(|condition| axes.extend(&free[condition.0 as usize]));
            let long: Vec<AxisId> = tensor.axes.iter().copied().filter(|axis| is_long(program, *axis)).collect();
            let long: Vec<AxisId> = long.into_iter().filter(|axis| axes.contains(axis) && *axis != keys).collect();
            let decides = |axis: &&AxisId| conditions.iter().any(|c| free[c.0 as usize].contains(axis));
            let queries = long.iter().find(decides).or(long.first()).copied();
            let mut members = vec![];
            each(program, &conditions, |id| {
                if matches!(program.expr(id), Expr::Member(..)) {
                    members.push(id);
                }
            });
            members.sort_unstable();
            let (tensor, name) = (TensorId(number as u32), tensor.name.clone());
            found.push(Branch { tensor, name, keys, queries, conditions, members, score });
        }
    }
    found
}

/// The axis, the conditions and the operand of a fold over keys. A fold along several axes is several, of which the keys' is
/// one.
fn keys(program: &Program, fold: ExprId, along: Along) -> Option<(AxisId, Vec<ExprId>, ExprId)> {
    let (mut keys, mut conditions, mut inner) = (None, vec![], fold);
    while let Expr::Fold { axis, guard, body, .. } = program.expr(inner) {
        conditions.extend(guard);
        inner = *body;
        if along(program, *axis) {
            keys = Some(*axis);
            break;
        }
    }
    // A score of -inf is as good as a condition.
    if let Expr::Select(p, score, other) = program.expr(inner)
        && *program.expr(*other) == Expr::Num(f64::NEG_INFINITY)
    {
        conditions.push(*p);
        inner = *score;
    }
    keys.map(|keys| (keys, conditions, inner))
}

/// Whether an axis has as many values as somebody says at run time.
fn is_long(program: &Program, axis: AxisId) -> bool {
    let extent = &program.axis(axis).extent;
    let one = matches!(extent, Extent::Derived(length) if matches!(program.expr(*length), Expr::Int(_)));
    !one && !matches!(extent, Extent::Const(_))
}

/// Calls `visit` once for every expression below some roots, other definitions left out.
pub fn each(program: &Program, roots: &[ExprId], mut visit: impl FnMut(ExprId)) {
    let mut seen = BTreeSet::new();
    let mut pending = roots.to_vec();
    while let Some(id) = pending.pop() {
        if seen.insert(id) {
            visit(id);
            program.expr(id).children(|child| pending.push(child));
        }
    }
}

/// The axes that each expression varies along.
fn free_axes(program: &Program) -> Vec<BTreeSet<AxisId>> {
    let mut free: Vec<BTreeSet<AxisId>> = vec![];
    for expr in &program.exprs {
        let mut axes = BTreeSet::new();
        expr.children(|child| axes.extend(&free[child.0 as usize]));
        match expr {
            Expr::Axis(axis) => {
                axes.insert(*axis);
            }
            Expr::Fold { axis, .. } => {
                axes.remove(axis);
            }
            _ => {}
        }
        free.push(axes);
    }
    free
}
