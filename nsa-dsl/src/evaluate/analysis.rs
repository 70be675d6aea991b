//! What is known about expressions before any sequence is: dependences, bounds of folds, what is worth remembering.

use crate::linear::Linear;
use crate::program::*;

/// A set of axes.
type Axes = Box<[u64]>;

/// A condition that bounds the axis of a fold: `coefficient * axis + rest >= 0`, the rest free of the axis.
pub(super) struct Bound {
    pub coefficient: i64,
    pub constant: i64,
    pub rest: Vec<(ExprId, i64)>,
}

/// How a fold runs.
pub(super) struct FoldPlan {
    /// Conditions that became bounds of the loop.
    pub bounds: Vec<Bound>,
    /// The others.
    pub conditions: Vec<ExprId>,
    /// The fold sums the products of two loads in each of which the axis is one plain index.
    pub dot: Option<(ExprId, ExprId)>,
}

/// How a definition is computed.
pub(super) struct Plan {
    /// The place of the axis whose values are computed apart, each a row; None for a definition without axes.
    pub row: Option<usize>,
    /// The axis along which a row is computed as vectors: the last other one.
    pub vector: Option<AxisId>,
    /// For each expression the number of its memory, or none.
    pub memory: Vec<Option<u32>>,
    /// For each memory: the axes that stand still while a vector is computed, and those that run.
    pub memories: Vec<(Vec<AxisId>, Vec<AxisId>)>,
}

/// All of it.
pub(super) struct Analysis {
    depends: Vec<Axes>,
    pub folds: Vec<Option<FoldPlan>>,
    pub plans: Vec<Plan>,
    pub integer: Vec<bool>,
}

impl Analysis {
    pub fn new(program: &Program) -> Self {
        let words = program.axes.len().div_ceil(64).max(1);
        let mut depends: Vec<Axes> = vec![];
        for expr in &program.exprs {
            let mut axes: Axes = vec![0; words].into();
            expr.children(|child| {
                for (word, other) in axes.iter_mut().zip(&depends[child.0 as usize]) {
                    *word |= other;
                }
            });
            match expr {
                Expr::Axis(axis) => axes[axis.0 as usize / 64] |= 1 << (axis.0 % 64),
                Expr::Fold { axis, .. } => axes[axis.0 as usize / 64] &= !(1 << (axis.0 % 64)),
                _ => {}
            }
            depends.push(axes);
        }
        let mut analysis = Analysis { depends, folds: vec![], plans: vec![], integer: vec![] };
        for tensor in &program.tensors {
            let integer = match &tensor.source {
                Source::Param => tensor.dtype == Some(DType::I32),
                Source::Value(expr) => analysis.is_integer(program, *expr),
                Source::Top(_) => true,
            };
            analysis.integer.push(integer);
        }
        for expr in &program.exprs {
            let plan = match expr {
                Expr::Fold { monoid, axis, guard, body } => {
                    Some(analysis.fold_plan(program, *monoid, *axis, *guard, *body))
                }
                _ => None,
            };
            analysis.folds.push(plan);
        }
        for tensor in &program.tensors {
            let plan = analysis.plan(program, tensor);
            analysis.plans.push(plan);
        }
        analysis
    }

    /// Whether an expression depends on the value of an axis.
    pub fn depends(&self, expr: ExprId, axis: AxisId) -> bool {
        self.depends[expr.0 as usize][axis.0 as usize / 64] >> (axis.0 % 64) & 1 == 1
    }

    fn is_integer(&self, program: &Program, expr: ExprId) -> bool {
        match program.expr(expr) {
            Expr::Int(_) | Expr::Axis(_) | Expr::Len(_) | Expr::IntBin(..) => true,
            Expr::Load(tensor, _) => self.integer[tensor.0 as usize],
            Expr::Select(_, a, _) => self.is_integer(program, *a),
            _ => false,
        }
    }

    /// Whether comparison operands are integers.
    pub fn compares_integers(&self, program: &Program, a: ExprId) -> bool {
        self.is_integer(program, a)
    }

    fn fold_plan(
        &self,
        program: &Program,
        monoid: Monoid,
        axis: AxisId,
        guard: Option<ExprId>,
        body: ExprId,
    ) -> FoldPlan {
        let mut plan = self.guarded(program, axis, guard);
        if let (Monoid::Sum, Expr::Binary(Binary::Mul, a, b)) = (monoid, program.expr(body))
            && plan.conditions.is_empty()
            && self.is_lane(program, *a, axis)
            && self.is_lane(program, *b, axis)
        {
            plan.dot = Some((*a, *b));
        }
        plan
    }

    /// A fold over an axis where a condition holds, but for what it folds.
    pub fn guarded(&self, program: &Program, axis: AxisId, guard: Option<ExprId>) -> FoldPlan {
        let mut plan = FoldPlan { bounds: vec![], conditions: vec![], dot: None };
        let mut pending: Vec<ExprId> = guard.into_iter().collect();
        while let Some(condition) = pending.pop() {
            match program.expr(condition) {
                Expr::And(a, b) => pending.extend([*b, *a]),
                Expr::Compare(op, a, b) if self.is_integer(program, *a) => {
                    match self.bounds(program, axis, *op, *a, *b) {
                        Some(bounds) => plan.bounds.extend(bounds),
                        None => plan.conditions.push(condition),
                    }
                }
                _ => plan.conditions.push(condition),
            }
        }
        plan
    }

    /// A comparison as bounds of an axis, if it is linear in it.
    fn bounds(&self, program: &Program, axis: AxisId, op: Compare, a: ExprId, b: ExprId) -> Option<Vec<Bound>> {
        let get = |id| program.expr(id);
        let (a, b) = (Linear::among(&get, a)?, Linear::among(&get, b)?);
        let (up, down) = (b.plus(&a, -1)?, a.plus(&b, -1)?);
        let forms = match op {
            Compare::Lt => vec![up.offset(-1)?],
            Compare::Le => vec![up],
            Compare::Gt => vec![down.offset(-1)?],
            Compare::Ge => vec![down],
            Compare::Eq => vec![up, down],
            Compare::Ne => return None,
        };
        let mut bounds = vec![];
        for form in forms {
            let mut bound = Bound { coefficient: 0, constant: form.constant, rest: vec![] };
            for (atom, coefficient) in form.terms {
                if *program.expr(atom) == Expr::Axis(axis) {
                    bound.coefficient = coefficient;
                } else if self.depends(atom, axis) {
                    return None;
                } else {
                    bound.rest.push((atom, coefficient));
                }
            }
            bounds.push(bound);
        }
        Some(bounds)
    }

    /// A floating load in which the axis is one index as it is, and occurs in no other.
    pub fn is_lane(&self, program: &Program, expr: ExprId, axis: AxisId) -> bool {
        let Expr::Load(tensor, index) = program.expr(expr) else { return false };
        if self.integer[tensor.0 as usize] {
            return false;
        }
        let dependent: Vec<usize> = (0..index.len()).filter(|&i| self.depends(index[i], axis)).collect();
        let [place] = dependent.as_slice() else { return false };
        *program.expr(index[*place]) == Expr::Axis(axis) && self.row(program, program.tensor(*tensor)) != Some(*place)
    }

    /// The place of a definition's row axis: its first run-time axis, else its first. The entries of a list are computed
    /// together, so that their axis is none.
    fn row(&self, program: &Program, tensor: &Tensor) -> Option<usize> {
        let axes = match tensor.source {
            Source::Param => &[],
            Source::Value(_) => tensor.axes.as_slice(),
            Source::Top(_) => &tensor.axes[..tensor.axes.len() - 1],
        };
        let runtime = axes.iter().position(|&axis| program.axis(axis).extent == Extent::Runtime);
        if axes.is_empty() { None } else { Some(runtime.unwrap_or(0)) }
    }

    fn plan(&self, program: &Program, tensor: &Tensor) -> Plan {
        let row = self.row(program, tensor);
        let mut others: Vec<AxisId> = tensor.axes.clone();
        if let Some(row) = row {
            others.remove(row);
        }
        let roots: Vec<ExprId> = match &tensor.source {
            Source::Param => vec![],
            Source::Value(expr) => vec![*expr],
            Source::Top(top) => {
                // The entries' axis is no axis of the expressions.
                others.pop();
                [Some(top.score), top.force, top.among].into_iter().flatten().collect()
            }
        };
        let vector = match &tensor.source {
            Source::Value(_) => others.last().copied(),
            _ => None,
        };
        let mut plan = Plan { row, vector, memory: vec![None; program.exprs.len()], memories: vec![] };
        let mut parents = vec![0u32; program.exprs.len()];
        let mut seen = vec![false; program.exprs.len()];
        let mut pending = roots;
        let mut found = vec![];
        while let Some(expr) = pending.pop() {
            if std::mem::replace(&mut seen[expr.0 as usize], true) {
                continue;
            }
            found.push(expr);
            program.expr(expr).children(|child| {
                parents[child.0 as usize] += 1;
                pending.push(child);
            });
        }
        // Children have smaller ids.
        found.sort_unstable();
        let mut costly = vec![false; program.exprs.len()];
        for expr in found {
            let node = program.expr(expr);
            // What is remembered costs those who use it nothing.
            let mut heavy =
                matches!(node, Expr::Fold { .. } | Expr::Member(..) | Expr::Unary(Unary::Exp | Unary::Log, _));
            node.children(|child| heavy |= costly[child.0 as usize] && plan.memory[child.0 as usize].is_none());
            costly[expr.0 as usize] = heavy;
            let number = match node {
                Expr::Fold { .. } | Expr::Member(..) => true,
                Expr::Int(_) | Expr::Bool(_) | Expr::IntBin(..) => false,
                Expr::Compare(..) | Expr::And(..) | Expr::Or(..) | Expr::Not(_) => false,
                _ => heavy && parents[expr.0 as usize] > 1 && !self.is_integer(program, expr),
            };
            if !number {
                continue;
            }
            let all = (0..program.axes.len() as u32).map(AxisId).filter(|&axis| self.depends(expr, axis));
            let (still, running) = all.partition(|axis| tensor.axes.contains(axis) && Some(*axis) != vector);
            plan.memory[expr.0 as usize] = Some(plan.memories.len() as u32);
            plan.memories.push((still, running));
        }
        plan
    }
}
