//! Every affine index stays inside its tensor, whatever the lengths are: proved, or an error.
//!
//! Kernels evaluate tiles, and leave out afterwards what a condition excludes. So an index that only a condition of the
//! program keeps inside is noted, for [`super::clamp`].

use super::Checker;
use crate::diagnostic::Diagnostic;
use crate::linear::{Linear, Prover};
use crate::program::*;
use std::collections::HashSet;

/// Most visits of an expression in some context: programs need a few hundred.
const MAX_VISITS: usize = 200_000;

struct Walk {
    /// Expressions whose loads are safe without any condition.
    safe: HashSet<ExprId>,
    visits: usize,
    failures: Vec<(ExprId, usize, TensorId, bool, usize)>,
    guarded: Guarded,
}

/// Loads and the places of their indices that are inside only where the program's conditions hold.
pub(super) type Guarded = HashSet<(ExprId, usize)>;

/// Forms that are not negative.
#[derive(Clone)]
struct Facts {
    /// Wherever values along the axes are looked at.
    shapes: Vec<Linear>,
    /// Those, and what conditions of the program say.
    all: Vec<Linear>,
}

impl Facts {
    fn shape(&mut self, fact: Option<Linear>) {
        for list in [&mut self.shapes, &mut self.all] {
            list.extend(fact.clone().filter(|fact| !list.contains(fact)));
        }
    }
}

impl Checker<'_> {
    /// Checks all loads of all definitions.
    pub(super) fn check_bounds(&mut self) -> Guarded {
        let mut walk = Walk { safe: HashSet::new(), visits: 0, failures: vec![], guarded: Guarded::new() };
        for (number, tensor) in self.tensors.iter().enumerate() {
            let given = self.given();
            let mut facts = Facts { shapes: given.clone(), all: given };
            let roots: Vec<(ExprId, Option<ExprId>)> = match &tensor.source {
                Source::Param => continue,
                Source::Value(root) => vec![(*root, None)],
                Source::Top(top) => {
                    self.assume_axis(top.axis, &mut facts);
                    // Scores and forces are asked for of candidates only.
                    let rest = [Some(top.score), top.force].into_iter().flatten().map(|root| (root, top.among));
                    top.among.map(|among| (among, None)).into_iter().chain(rest).collect()
                }
            };
            for &axis in &tensor.axes {
                self.assume_axis(axis, &mut facts);
            }
            for (root, condition) in roots {
                let mut facts = facts.clone();
                if let Some(condition) = condition {
                    self.assume(condition, &mut facts.all);
                }
                self.walk(root, &facts, number, &mut walk);
            }
        }
        if walk.visits >= MAX_VISITS {
            self.report(Diagnostic::without_place("the program is too large for its indices to be checked"));
        }
        for (load, place, tensor, above, number) in walk.failures {
            self.report_failure(load, place, tensor, above, number);
        }
        walk.guarded
    }

    /// What holds everywhere: no more queries than keys where `pos` was taken.
    fn given(&self) -> Vec<Linear> {
        let len = |axis| self.arena.find(&Expr::Len(axis)).and_then(|len| Linear::of(&self.arena, len));
        self.positions.iter().filter_map(|&(queries, keys)| len(keys)?.plus(&len(queries)?, -1)).collect()
    }

    /// An axis has at least one value where something is evaluated for it.
    fn assume_axis(&self, axis: AxisId, facts: &mut Facts) {
        let len = match &self.axes[axis.0 as usize].extent {
            Some(Extent::Runtime) => self.arena.find(&Expr::Len(axis)),
            Some(Extent::Derived(extent)) => Some(*extent),
            _ => None,
        };
        facts.shape(len.and_then(|len| Linear::of(&self.arena, len)?.offset(-1)));
    }

    /// What a condition says about integers.
    fn assume(&self, condition: ExprId, facts: &mut Vec<Linear>) {
        match *self.arena.get(condition) {
            Expr::And(a, b) => {
                self.assume(a, facts);
                self.assume(b, facts);
            }
            Expr::Not(inner) => {
                // !(a < b) is b <= a for integers; `difference` is None for others.
                if let Expr::Compare(op @ (Compare::Lt | Compare::Le), a, b) = *self.arena.get(inner) {
                    let slack = if op == Compare::Lt { 0 } else { -1 };
                    facts.extend(self.difference(a, b).and_then(|form| form.offset(slack)));
                }
            }
            Expr::Compare(op, a, b) => match op {
                Compare::Lt => facts.extend(self.difference(b, a).and_then(|form| form.offset(-1))),
                Compare::Le => facts.extend(self.difference(b, a)),
                Compare::Eq => {
                    facts.extend(self.difference(b, a));
                    facts.extend(self.difference(a, b));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn difference(&self, a: ExprId, b: ExprId) -> Option<Linear> {
        if self.kind(a) != Kind::Int {
            return None;
        }
        Linear::of(&self.arena, a)?.plus(&Linear::of(&self.arena, b)?, -1)
    }

    /// Integer, floating or boolean.
    pub(super) fn kind(&self, expr: ExprId) -> Kind {
        match self.arena.get(expr) {
            Expr::Int(_) | Expr::Axis(_) | Expr::Len(_) | Expr::IntBin(..) => Kind::Int,
            Expr::Load(tensor, _) => self.tensor_kinds[tensor.0 as usize],
            Expr::Select(_, a, _) => self.kind(*a),
            Expr::Bool(_) | Expr::Compare(..) | Expr::And(..) | Expr::Or(..) | Expr::Not(_) | Expr::Member(..) => {
                Kind::Bool
            }
            Expr::Num(_)
            | Expr::ToFloat(_)
            | Expr::Unary(..)
            | Expr::Binary(..)
            | Expr::Cast(..)
            | Expr::Fold { .. }
            | Expr::StopGradient(_) => Kind::Float,
        }
    }

    /// Checks an expression where `facts` hold; true if it would be safe without any condition of the program's.
    fn walk(&self, expr: ExprId, facts: &Facts, number: usize, walk: &mut Walk) -> bool {
        if walk.safe.contains(&expr) {
            return true;
        }
        if walk.visits >= MAX_VISITS {
            return false;
        }
        walk.visits += 1;
        let safe = match self.arena.get(expr) {
            Expr::Fold { axis, guard, body, .. } => {
                let mut inner = facts.clone();
                self.assume_axis(*axis, &mut inner);
                let mut safe = true;
                if let Some(guard) = guard {
                    safe = self.walk(*guard, &inner, number, walk);
                    self.assume(*guard, &mut inner.all);
                }
                self.walk(*body, &inner, number, walk) && safe
            }
            Expr::Select(p, a, b) => {
                let safe = self.walk(*p, facts, number, walk);
                let mut yes = facts.clone();
                self.assume(*p, &mut yes.all);
                let mut no = facts.clone();
                if let Some(not) = self.arena.find(&Expr::Not(*p)) {
                    self.assume(not, &mut no.all);
                } else if let Expr::Compare(op @ (Compare::Lt | Compare::Le), a, b) = *self.arena.get(*p) {
                    let slack = if op == Compare::Lt { 0 } else { -1 };
                    no.all.extend(self.difference(a, b).and_then(|form| form.offset(slack)));
                }
                let safe = self.walk(*a, &yes, number, walk) && safe;
                self.walk(*b, &no, number, walk) && safe
            }
            Expr::And(a, b) => {
                let safe = self.walk(*a, facts, number, walk);
                let mut both = facts.clone();
                self.assume(*a, &mut both.all);
                self.walk(*b, &both, number, walk) && safe
            }
            Expr::Load(tensor, index) => self.load(expr, *tensor, index, facts, number, walk),
            Expr::Member(x, tensor, index) => {
                let safe = self.walk(*x, facts, number, walk);
                self.load(expr, *tensor, index, facts, number, walk) && safe
            }
            other => {
                let mut safe = true;
                other.children(|child| safe &= self.walk(child, facts, number, walk));
                safe
            }
        };
        if safe {
            walk.safe.insert(expr);
        }
        safe
    }

    fn load(
        &self,
        expr: ExprId,
        tensor: TensorId,
        index: &[ExprId],
        facts: &Facts,
        number: usize,
        walk: &mut Walk,
    ) -> bool {
        let axes = &self.tensors[tensor.0 as usize].axes;
        let mut safe = true;
        for (place, &index) in index.iter().enumerate() {
            safe &= self.walk(index, facts, number, walk);
            let axis = axes[place];
            // An axis itself never leaves the extent it was made for. Data is the caller's business.
            if *self.arena.get(index) == Expr::Axis(axis) || self.reads_data(index) {
                continue;
            }
            let Some(form) = Linear::of(&self.arena, index) else { continue };
            let len = match &self.axes[axis.0 as usize].extent {
                Some(Extent::Const(n)) => Some(Linear::constant(*n)),
                Some(Extent::Runtime) => self.arena.find(&Expr::Len(axis)).and_then(|len| Linear::of(&self.arena, len)),
                Some(Extent::Derived(extent)) => Linear::of(&self.arena, *extent),
                None => None,
            };
            let room = len.and_then(|len| len.offset(-1)?.plus(&form, -1));
            for (above, form) in [(false, Some(form)), (true, room)] {
                let Some(form) = form else { continue };
                let extents = |axis: AxisId| self.axes[axis.0 as usize].extent.clone();
                if Prover::new(&self.arena, &extents, &[]).nonnegative(&form) {
                    continue;
                }
                // Lengths that are not zero depend on where the expression stands, but so does every use of it.
                safe = false;
                if Prover::new(&self.arena, &extents, &facts.shapes).nonnegative(&form) {
                    continue;
                }
                walk.guarded.insert((expr, place));
                if !Prover::new(&self.arena, &extents, &facts.all).nonnegative(&form) {
                    let failure = (expr, place, tensor, above, number);
                    if !walk.failures.contains(&failure) {
                        walk.failures.push(failure);
                    }
                }
            }
        }
        safe
    }

    fn reads_data(&self, expr: ExprId) -> bool {
        let node = self.arena.get(expr);
        let mut reads = matches!(node, Expr::Load(..) | Expr::Member(..));
        if !reads {
            node.children(|child| reads |= self.reads_data(child));
        }
        reads
    }

    fn report_failure(&mut self, load: ExprId, place: usize, tensor: TensorId, above: bool, number: usize) {
        let span = self.places.get(&load).copied().unwrap_or(self.definitions[number]);
        let index = match self.arena.get(load) {
            Expr::Load(_, index) | Expr::Member(_, _, index) => index[place],
            _ => return,
        };
        let axis = self.tensors[tensor.0 as usize].axes[place];
        let names = crate::display::Names {
            axes: &|axis| self.axis_name(axis).to_string(),
            exprs: &|e| self.arena.get(e).clone(),
        };
        let constant = self.arena.as_int(index).is_some();
        let (fixed, extent) = match self.axes[axis.0 as usize].extent {
            Some(Extent::Const(n)) => (true, n),
            _ => (false, 0),
        };
        let index = names.integer(index);
        let words = self.axis_words(axis, tensor);
        let len = match (self.axes[axis.0 as usize].anonymous, fixed) {
            (true, true) => extent.to_string(),
            _ => format!("len({})", self.axis_name(axis)),
        };
        let (where_to, condition) = if above {
            (format!("past the end of {words}"), format!("{index} < {len}"))
        } else {
            (format!("before the start of {words}"), format!("{index} >= 0"))
        };
        let diagnostic = if constant && fixed {
            Diagnostic::new(span, format!("index `{index}` lies {where_to}")).label(format!(
                "the axis has {}, counted from 0",
                super::index::count(extent as usize, "value", "values")
            ))
        } else {
            Diagnostic::new(span, format!("index `{index}` can lie {where_to}"))
                .label(if fixed { format!("the axis has {extent} values") } else { "for some lengths".to_string() })
                .help(format!("leave such values out: `where {condition}`"))
        };
        self.report(diagnostic);
    }
}
