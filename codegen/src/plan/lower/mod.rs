//! Lowering the terms of one kernel to statements.
//!
//! A root term is walked from the outside. What one element can compute from memory and variables stays a scalar term;
//! folds over tiled domains become loops, contractions become [`Statement::Dot`], and both are replaced by the variables
//! that hold their values. Statements go to the innermost scope (kernel, loop, loop in a loop) whose loop axis the value
//! depends on, so that what does not change in a loop is computed before it.

mod contract;
mod folds;
mod top;

use super::arena::Arena;
use super::domain::Corners;
use super::*;
use crate::term::Monoid;
use std::collections::{BTreeSet, HashMap};

/// Why a term has no tiled form; the planner then computes it element by element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untileable(pub String);

pub(super) type Lowered<T> = Result<T, Untileable>;

/// Widest constant column or depth axis that is one tile.
pub(super) const WIDEST: i64 = 256;

/// Sizes that the planner chooses per kernel; see [`super::tiling`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Values per iteration of a loop over a run-time domain.
    pub columns: u32,
    /// Tiles in flight in such a loop.
    pub stages: u32,
    /// What the depth of a contraction is a multiple of.
    pub depth: u32,
    /// Whether tiles may be gathered from several blocks of a list.
    pub gathers: bool,
}

/// What the lowering needs to know about a block.
pub(super) struct Block {
    /// The block's rows, slowest first.
    pub rows: Vec<Span>,
    /// Axes with one value per block.
    pub uniform: BTreeSet<AxisName>,
    /// Grid axes that are tiled along columns, and their tile.
    pub column_tiles: HashMap<AxisName, u32>,
    /// Row axes that are tiled (their coordinate starts at the block's first value).
    pub tiled_rows: BTreeSet<AxisName>,
}

/// One level of nesting: the kernel itself or a loop.
struct Scope {
    /// The loop's axis; None for the kernel.
    axis: Option<AxisName>,
    statements: Vec<Statement>,
    /// Scalar forms of terms already lowered here.
    memo: HashMap<Id, Id>,
    /// Tiles fetched here, by what they hold.
    fetched: HashMap<(Id, AxisName, bool), u32>,
    /// Variables that only this scope uses.
    locals: Vec<Var>,
}

impl Scope {
    fn new(axis: Option<AxisName>) -> Self {
        Scope { axis, statements: vec![], memo: HashMap::new(), fetched: HashMap::new(), locals: vec![] }
    }
}

/// The state of lowering one kernel.
pub(super) struct Lower<'a> {
    pub arena: &'a mut Arena,
    pub extents: &'a HashMap<AxisName, Option<i64>>,
    /// Entries of the lists that the program's tensors hold.
    pub lengths_of_lists: &'a HashMap<TensorName, u32>,
    pub element: Type,
    pub block: Block,
    pub sizes: Sizes,
    pub variables: Vec<Variable>,
    pub tiles: Vec<Tile>,
    pub stages: Vec<super::Stage>,
    pub lists: Vec<ListState>,
    scopes: Vec<Scope>,
    /// Axes of open loops that are tiled, with their tile.
    open: HashMap<AxisName, u32>,
    /// Variables that an earlier loop of the same fold has left.
    free: Vec<Var>,
    /// States of the folds of lse lowered so far (all at kernel level), by term.
    online: HashMap<Id, folds::OnlineState>,
}

impl<'a> Lower<'a> {
    pub fn new(
        arena: &'a mut Arena,
        extents: &'a HashMap<AxisName, Option<i64>>,
        lengths_of_lists: &'a HashMap<TensorName, u32>,
        element: Type,
        block: Block,
        sizes: Sizes,
    ) -> Self {
        Lower {
            arena,
            extents,
            lengths_of_lists,
            element,
            block,
            sizes,
            variables: vec![],
            tiles: vec![],
            stages: vec![],
            lists: vec![],
            scopes: vec![Scope::new(None)],
            open: HashMap::new(),
            free: vec![],
            online: HashMap::new(),
        }
    }

    /// The finished kernel.
    pub fn finish(mut self, name: String, grid: Vec<GridAxis>, layout: Layout) -> Kernel {
        let body = std::mem::take(&mut self.scopes[0].statements);
        Kernel {
            name,
            grid,
            rows: self.block.rows,
            layout,
            variables: self.variables,
            tiles: self.tiles,
            stages: self.stages,
            lists: self.lists,
            body,
        }
    }

    #[expect(clippy::expect_used, reason = "the scope of the kernel stays until the end")]
    pub fn emit(&mut self, statement: Statement) {
        self.scopes.last_mut().expect("the kernel's scope").statements.push(statement);
    }

    /// Runs `f` in the innermost scope whose loop axis `id` depends on.
    fn hoisted<T>(&mut self, id: Id, f: impl FnOnce(&mut Self) -> T) -> T {
        let free = self.arena.free(id);
        let depth = self.scopes.iter().rposition(|s| s.axis.is_none_or(|axis| free.contains(&axis))).unwrap_or(0);
        let inner = self.scopes.split_off(depth + 1);
        let result = f(self);
        self.scopes.extend(inner);
        result
    }

    /// The statements of a loop body: a new scope around `f`.
    fn scoped<T>(
        &mut self,
        axis: AxisName,
        tile: u32,
        f: impl FnOnce(&mut Self) -> Lowered<T>,
    ) -> Lowered<(T, Vec<Statement>)> {
        self.scoped_with_locals(axis, tile, f).map(|(result, statements, _)| (result, statements))
    }

    /// As `scoped`; also the variables that only the loop uses.
    #[expect(clippy::expect_used, reason = "the scope was pushed above")]
    fn scoped_with_locals<T>(
        &mut self,
        axis: AxisName,
        tile: u32,
        f: impl FnOnce(&mut Self) -> Lowered<T>,
    ) -> Lowered<(T, Vec<Statement>, Vec<Var>)> {
        self.scopes.push(Scope::new(Some(axis)));
        let shadowed = if tile > 1 { self.open.insert(axis, tile) } else { self.open.remove(&axis) };
        let result = f(self);
        match shadowed {
            Some(tile) => self.open.insert(axis, tile),
            None => self.open.remove(&axis),
        };
        let scope = self.scopes.pop().expect("the loop's scope");
        Ok((result?, scope.statements, scope.locals))
    }

    pub fn corners(&mut self) -> Corners {
        let tiled = self.block.tiled_rows.clone();
        Corners::new(self.arena, &self.block.rows, &|axis| tiled.contains(&axis))
    }

    fn is_row(&self, axis: AxisName) -> bool {
        self.block.rows.iter().any(|s| s.axis == axis)
    }

    /// Width of the tile of a column axis here.
    pub fn width(&self, axis: AxisName) -> Lowered<u32> {
        if let Some(tile) = self.open.get(&axis).or_else(|| self.block.column_tiles.get(&axis)) {
            return Ok(*tile);
        }
        match self.extents.get(&axis) {
            Some(Some(n)) if *n <= WIDEST => Ok(*n as u32),
            _ => Err(Untileable(format!("axis {} is too wide for one tile", axis.name()))),
        }
    }

    /// The columns of a term's value: its free axes that are neither rows nor uniform, and those of its variables.
    fn column_axes(&self, id: Id) -> BTreeSet<AxisName> {
        let loops: BTreeSet<_> = self.scopes.iter().filter_map(|s| s.axis).collect();
        let is_column = |axis: &AxisName| {
            self.open.contains_key(axis)
                || !(self.is_row(*axis) || self.block.uniform.contains(axis) || loops.contains(axis))
        };
        let mut columns: BTreeSet<AxisName> = self.arena.free(id).iter().copied().filter(is_column).collect();
        self.each_variable(id, &mut |v| columns.extend(v.columns.iter().map(|c| c.axis)));
        columns
    }

    fn has_rows(&self, id: Id) -> bool {
        let mut rows = self.arena.free(id).iter().any(|axis| self.is_row(*axis));
        self.each_variable(id, &mut |v| rows |= v.rows);
        rows
    }

    fn each_variable(&self, id: Id, f: &mut dyn FnMut(&Variable)) {
        let mut stack = vec![id];
        let mut seen = BTreeSet::new();
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Term::Value(v) = self.arena[id] {
                f(&self.variables[v.0 as usize]);
            }
            stack.extend(egg::Language::children(&self.arena[id]));
        }
    }

    #[expect(clippy::expect_used, reason = "the scope of the kernel stays until the end")]
    pub fn new_variable(&mut self, label: &str, rows: bool, columns: Option<AxisName>) -> Lowered<Var> {
        let columns = match columns {
            Some(axis) => Some(Span { axis, count: self.width(axis)? }),
            None => None,
        };
        let variable = Variable { label: label.into(), rows, columns };
        let var = match self.free.iter().position(|var| self.variables[*var as usize] == variable) {
            Some(place) => self.free.remove(place),
            None => {
                self.variables.push(variable);
                self.variables.len() as Var - 1
            }
        };
        self.scopes.last_mut().expect("a scope").locals.push(var);
        Ok(var)
    }

    pub fn read(&mut self, var: Var) -> Id {
        self.arena.add(Term::Value(crate::term::ValueName(var)))
    }

    /// A variable that holds `expr`, in the current scope.
    pub fn set(&mut self, label: &str, expr: Id) -> Lowered<Var> {
        let columns = self.column_axes(expr);
        if columns.len() > 1 {
            let names: Vec<_> = columns.iter().map(|a| a.name()).collect();
            return Err(Untileable(format!("a value over two column axes ({})", names.join(", "))));
        }
        let var = self.new_variable(label, self.has_rows(expr), columns.first().copied())?;
        self.emit(Statement::Set { var, expr });
        Ok(var)
    }

    /// Lowers the term of a tensor and stores it.
    pub fn store(&mut self, root: Id, buffer: TensorName, axes: &[AxisName], columns: &[AxisName]) -> Lowered<()> {
        let index: Vec<Id> = axes.iter().map(|a| self.arena.axis(*a)).collect();
        let value = self.value(root)?;
        let column = axes.iter().copied().find(|a| columns.contains(a));
        if self.column_axes(value).iter().any(|axis| Some(*axis) != column) {
            return Err(Untileable(format!("`{}` has a column axis that it is not stored over", buffer.name())));
        }
        let columns = match column {
            Some(axis) => Some(Span { axis, count: self.width(axis)? }),
            None => None,
        };
        self.emit(Statement::Store { buffer, index, value, rows: true, columns });
        Ok(())
    }

    /// The variable that an expression is, or a new one that holds it.
    fn as_variable(&mut self, label: &str, expr: Id) -> Lowered<Var> {
        match self.arena[expr] {
            Term::Value(v) => Ok(v.0),
            _ => self.set(label, expr),
        }
    }

    fn needs_tiles(&self, id: Id) -> bool {
        self.arena.contains(id, &|t| matches!(t, Term::Mma(_) | Term::Outer(_) | Term::Inner(_)))
    }

    /// The scalar form of a term: contractions and tiled folds become variables.
    pub fn value(&mut self, id: Id) -> Lowered<Id> {
        for scope in self.scopes.iter().rev() {
            if let Some(done) = scope.memo.get(&id) {
                return Ok(*done);
            }
        }
        if !self.needs_tiles(id) {
            return Ok(id);
        }
        self.hoisted(id, |this| {
            let done = this.lower(id)?;
            this.remember(id, done);
            Ok(done)
        })
    }

    #[expect(clippy::expect_used, reason = "the scope of the kernel stays until the end")]
    fn remember(&mut self, id: Id, done: Id) {
        self.scopes.last_mut().expect("a scope").memo.insert(id, done);
    }

    #[expect(clippy::expect_used, reason = "terms of log-sum-exp folds are pairs")]
    fn lower(&mut self, id: Id) -> Lowered<Id> {
        match self.arena[id].clone() {
            Term::Norm(sums) => {
                let Term::Snd(fold) = self.arena[sums] else {
                    return Err(Untileable("a quotient of a pair that is no sum of a fold of lse".into()));
                };
                let state = self.online_fold(fold)?;
                let [value, weight] = state.leaves[..] else {
                    return Err(Untileable("norm of a fold of more than a value and its weight".into()));
                };
                self.normalised(value, weight)
            }
            Term::Logsum(fold) => {
                let state = self.online_fold(fold)?;
                let weight = *state.leaves.last().expect("a fold of lse has a weight");
                let (max, weight) = (self.read(state.max), self.read(weight));
                let scale = self.arena.num(state.scale * std::f64::consts::LN_2);
                let scaled = self.arena.add(Term::Mul([max, scale]));
                let log = self.arena.add(Term::Log(weight));
                Ok(self.arena.add(Term::Add([scaled, log])))
            }
            Term::Mma([domain, a, b]) => {
                let var = self.contraction(domain, a, b)?;
                Ok(self.read(var))
            }
            Term::Fold([monoid, domain, body]) => {
                let Term::Monoid(monoid) = self.arena[monoid] else {
                    return Err(Untileable("a fold without a monoid".into()));
                };
                let var = self.plain_fold(monoid, domain, body)?;
                Ok(self.read(var))
            }
            Term::Fst(_) | Term::Snd(_) => self.component(id),
            Term::Pair(_) => Err(Untileable("a pair outside of a fold".into())),
            node => {
                let mut failed = None;
                let node = egg::Language::map_children(node, |child| match self.value(child) {
                    Ok(done) => done,
                    Err(e) => {
                        failed.get_or_insert(e);
                        child
                    }
                });
                match failed {
                    Some(e) => Err(e),
                    None => Ok(self.arena.add(node)),
                }
            }
        }
    }

    /// `value / weight`, 0 where the weight is 0, with one division per row.
    fn normalised(&mut self, value: Var, weight: Var) -> Lowered<Id> {
        let (v, w) = (self.read(value), self.read(weight));
        let (zero, one) = (self.arena.num(0.0), self.arena.num(1.0));
        let empty = self.arena.add(Term::Eq([w, zero]));
        let inverse = self.arena.add(Term::Div([one, w]));
        let inverse = self.arena.add(Term::Select([empty, zero, inverse]));
        let inverse = self.set("inverse", inverse)?;
        let inverse = self.read(inverse);
        Ok(self.arena.add(Term::Mul([v, inverse])))
    }
}
