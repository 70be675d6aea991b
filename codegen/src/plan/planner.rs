//! From a candidate of the optimiser to a plan: buffers, kernels, rows, columns, grids.

mod tiled;

use super::arena::Arena;
use super::in_place::sums_in_place;
use super::lower::{Untileable, WIDEST};
use super::split::{CHUNK, Splitter, split};
use super::tiling::Tiling;
use super::*;
use crate::term::{LenName, Terms, sums};
use nsa_dsl::program::{DType, Program, Source};
use std::collections::{BTreeSet, HashMap};

/// Why a candidate has no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two axes of one tensor that the compiler stores are run-time axes of the grid.
    #[error(
        "`{tensor}` varies over several run-time axes ({axes}); a kernel can be spread over one of them only: fold over the \
         others, or give them a constant extent"
    )]
    SeveralRuntimeAxes {
        /// The tensor.
        tensor: String,
        /// The names of the axes, separated by commas.
        axes: String,
    },
    /// The optimiser offers nothing of the kind that was asked for.
    #[error("no way was found to compute the program (this is a defect of the compiler, please report it)")]
    NoCandidate,
    /// A stored tensor with no axes to spread.
    #[error("`{0}` is a single number; a kernel stores tensors: give it an axis, as in `{0}[one = 1]`")]
    NoAxes(String),
    /// A list that is chosen in a way that kernels have no form for.
    #[error("no kernel can be made that chooses `{list}`: {why}")]
    List {
        /// The list.
        list: String,
        /// What stands in the way.
        why: String,
    },
}

/// A plan, and what could not be tiled.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Kernels with contractions that are computed element by element, and why.
    pub untiled: Vec<(String, String)>,
    /// Kernels that keep more values at a time than a thread has registers for, and why.
    pub crowded: Vec<(String, String)>,
}

/// Makes a plan for a candidate. Kernels whose terms have no tiled form are planned element by element.
pub fn plan(candidate: &Terms, program: &Program, tiling: &Tiling) -> Result<Planned, PlanError> {
    Planner::new(candidate, program, tiling).run(candidate)
}

/// Calls `f(domain, a, b)` for every contraction inside a term.
pub(super) fn contractions(arena: &Arena, root: Id, f: &mut dyn FnMut(Id, Id, Id)) {
    let mut stack = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        if let Term::Mma([domain, a, b]) = arena[id] {
            f(domain, a, b);
        }
        stack.extend(egg::Language::children(&arena[id]));
    }
}

struct Planner<'a> {
    program: &'a Program,
    tiling: &'a Tiling,
    arena: Arena,
    extents: HashMap<AxisName, Option<i64>>,
    axes: Vec<PlanAxis>,
    buffers: Vec<Buffer>,
    lengths_of_lists: HashMap<TensorName, u32>,
    element: Type,
}

/// What a kernel stores, in the planner's arena.
pub(super) struct Root {
    /// The definition that it comes from: what its kernel is called.
    pub label: TensorName,
    /// Where it is stored.
    pub tensor: TensorName,
    pub axes: Vec<AxisName>,
    pub term: Id,
}

impl<'a> Planner<'a> {
    fn new(candidate: &Terms, program: &'a Program, tiling: &'a Tiling) -> Self {
        let constants = program.axes.iter().filter_map(|a| match a.extent {
            Extent::Const(n) => Some((AxisName::new(&a.name), n)),
            _ => None,
        });
        let mut planner = Planner {
            program,
            tiling,
            arena: Arena::new(constants.collect()),
            extents: HashMap::new(),
            axes: vec![],
            buffers: vec![],
            lengths_of_lists: HashMap::new(),
            element: dtype(program.element),
        };
        for axis in &program.axes {
            let extent = match &axis.extent {
                Extent::Const(n) => PlanExtent::Const(*n),
                Extent::Runtime => PlanExtent::Runtime,
                Extent::Derived(e) => PlanExtent::Derived(planner.extent_term(*e)),
            };
            let constant = match extent {
                PlanExtent::Const(n) => Some(n),
                _ => None,
            };
            planner.extents.insert(AxisName::new(&axis.name), constant);
            planner.axes.push(PlanAxis { name: AxisName::new(&axis.name), extent });
        }
        planner.add_buffers(candidate);
        planner
    }

    /// An extent's expression as a term over lengths.
    #[expect(clippy::unreachable, reason = "the checker admits only lengths and integers in extents")]
    fn extent_term(&mut self, id: nsa_dsl::program::ExprId) -> Id {
        use nsa_dsl::program::{Expr, IntBin};
        match self.program.expr(id) {
            Expr::Len(axis) => {
                let name = LenName::new(&self.program.axis(*axis).name);
                self.arena.add(Term::Len(name))
            }
            Expr::IntBin(op, a, b) => {
                let (a, b) = (self.extent_term(*a), self.extent_term(*b));
                let x = [a, b];
                self.arena.add(match op {
                    IntBin::Add => Term::IntAdd(x),
                    IntBin::Sub => Term::IntSub(x),
                    IntBin::Mul => Term::IntMul(x),
                    IntBin::Div => Term::IntDiv(x),
                    IntBin::Rem => Term::IntRem(x),
                    IntBin::Min => Term::IntMin(x),
                    IntBin::Max => Term::IntMax(x),
                })
            }
            Expr::Int(n) => self.arena.int(*n),
            other => unreachable!("the checker admits only lengths and integers in extents, not {other:?}"),
        }
    }

    /// One buffer per parameter and per stored definition.
    fn add_buffers(&mut self, candidate: &Terms) {
        let factors = only_factors(candidate);
        for (index, tensor) in self.program.tensors.iter().enumerate() {
            let name = TensorName::new(&tensor.name);
            let id = nsa_dsl::program::TensorId(index as u32);
            let stored = candidate.definitions.iter().any(|d| d.tensor == name);
            let role = match tensor.source {
                Source::Param => Role::Argument,
                _ if !stored => continue,
                _ if self.program.results.contains(&id) => Role::Result,
                _ => Role::Workspace,
            };
            let declared = tensor.dtype.map(dtype);
            let dtype = match (&tensor.source, declared) {
                (_, Some(t)) => t,
                (Source::Value(_) | Source::Top(_), None) if self.program.holds_integers(id) => Type::I32,
                (Source::Param, None) => self.element,
                _ if role == Role::Result || factors.contains(&name) => self.element,
                _ => Type::F32,
            };
            let axes: Vec<AxisName> = tensor.axes.iter().map(|a| AxisName::new(&self.program.axis(*a).name)).collect();
            if let Some(Some(n)) = axes.last().and_then(|a| self.extents.get(a)) {
                self.lengths_of_lists.insert(name, *n as u32);
            }
            self.buffers.push(Buffer { name, axes, dtype, role });
        }
    }

    fn run(mut self, candidate: &Terms) -> Result<Planned, PlanError> {
        let mut imported = HashMap::new();
        let mut groups: Vec<Vec<Root>> = vec![];
        let mut splitter = Splitter {
            chunks: self.tiling.chunks,
            tile: i64::from(self.tiling.few.columns),
            axes: self.axes.iter().map(|a| a.name).collect(),
            runtime: self.axes.iter().map(|a| a.name).filter(|axis| self.constant(*axis).is_none()).collect(),
            done: HashMap::new(),
        };
        let mut roots = vec![];
        for definition in &candidate.definitions {
            let term = self.arena.import_with(&candidate.nodes, definition.root, &mut imported);
            let (label, axes) = (definition.tensor, definition.axes.clone());
            roots.push(Root { label, tensor: label, axes, term });
        }
        let typed = |t: &&nsa_dsl::program::Tensor| t.dtype.is_some();
        let declared: BTreeSet<TensorName> =
            self.program.tensors.iter().filter(typed).map(|t| TensorName::new(&t.name)).collect();
        let moved = sums::moved(candidate, &|name| declared.contains(&name));
        sums_in_place(&mut self.arena, &mut roots, &mut self.buffers, &moved);
        for mut root in roots {
            let parts = split(&mut self.arena, &mut root, &mut splitter);
            self.add_parts(&parts);
            for root in parts.into_iter().chain([root]) {
                self.place(&mut groups, root);
            }
        }
        let (mut kernels, mut untiled, mut crowded) = (vec![], vec![], vec![]);
        for group in &groups {
            match self.tiled(group).or_else(|error| self.walked(group).map_err(|_| error)) {
                Ok(kernel) => {
                    if self.tiling.registers.is_some()
                        && let Some(alive) = resources::crowded(&kernel, &|term| self.arena.variables(term))
                    {
                        crowded.push((kernel.name.clone(), format!("its values take {alive} registers of a thread")));
                    }
                    kernels.push(kernel);
                }
                Err(Untileable(why)) => {
                    let contracts = |r: &Root| self.arena.contains(r.term, &|t| matches!(t, Term::Mma(_)));
                    if group.iter().any(contracts) {
                        untiled.push((kernel_name(group), why));
                    }
                    for root in group {
                        kernels.push(match self.arena[root.term] {
                            Term::Top(_) => self.list(root)?,
                            _ => self.elementwise(root)?,
                        });
                    }
                }
            }
        }
        let name = self.program.name.clone();
        let plan = Plan { name, axes: self.axes, buffers: self.buffers, kernels, terms: self.arena.finish() };
        Ok(Planned { plan, untiled, crowded })
    }

    /// The axis that numbers chunks.
    fn chunk_axis(&mut self) -> AxisName {
        let chunk = AxisName::new(CHUNK);
        if self.extents.insert(chunk, Some(self.tiling.chunks)).is_none() {
            self.axes.push(PlanAxis { name: chunk, extent: PlanExtent::Const(self.tiling.chunks) });
        }
        chunk
    }

    /// Buffers for the values of chunks.
    fn add_parts(&mut self, parts: &[Root]) {
        if !parts.is_empty() {
            self.chunk_axis();
        }
        for part in parts {
            self.buffers.push(Buffer {
                name: part.tensor,
                axes: part.axes.clone(),
                dtype: Type::F32,
                role: Role::Workspace,
            });
        }
    }

    /// Adds a definition to the kernel of a group with the same tiled fold, where the order of what is stored allows it, or gives it
    /// a group of its own. Groups are in the order of their kernels.
    fn place(&self, groups: &mut Vec<Vec<Root>>, root: Root) {
        let folds = self.tiled_folds(root.term);
        let follows = |group: &[Root], other: &[Root]| group.iter().any(|a| other.iter().any(|b| self.follows(a, b)));
        let own = std::slice::from_ref(&root);
        let last = groups.iter().rposition(|group| follows(own, group));
        for at in 0..groups.len() {
            if groups[at].iter().all(|other| self.tiled_folds(other.term).is_disjoint(&folds)) {
                continue;
            }
            // A group before what the definition needs moves behind it, if nothing between needs the group.
            let to = last.map_or(at, |last| last.max(at));
            if last == Some(at) || groups[at + 1..=to].iter().any(|between| follows(between, &groups[at])) {
                continue;
            }
            groups[at..=to].rotate_left(1);
            groups[to].push(root);
            return;
        }
        groups.push(vec![root]);
    }

    /// True if `later`, behind `earlier` in the order of definitions, has to stay behind it: one reads what the other stores, or
    /// both store to one tensor.
    fn follows(&self, later: &Root, earlier: &Root) -> bool {
        let reads = |root: &Root, tensor| self.arena.contains(root.term, &|t| *t == Term::Tensor(tensor));
        later.tensor == earlier.tensor || reads(later, earlier.tensor) || reads(earlier, later.tensor)
    }

    fn tiled_folds(&self, root: Id) -> BTreeSet<Id> {
        let (mut found, mut stack, mut seen) = (BTreeSet::new(), vec![root], BTreeSet::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Term::Fold([_, domain, _]) = self.arena[id]
                && matches!(self.arena[domain], Term::Outer(_))
            {
                found.insert(id);
            }
            stack.extend(egg::Language::children(&self.arena[id]));
        }
        found
    }

    fn constant(&self, axis: AxisName) -> Option<i64> {
        self.extents.get(&axis).copied().flatten()
    }

    /// Constant axes first, the one run-time axis last.
    fn order_grid(&self, grid: &mut [GridAxis], root: &Root) -> Result<(), PlanError> {
        let runtime: Vec<_> = grid.iter().map(|g| g.axis).filter(|a| self.constant(*a).is_none()).collect();
        if runtime.len() > 1 {
            return Err(PlanError::SeveralRuntimeAxes {
                tensor: root.tensor.name().into(),
                axes: runtime.iter().map(|a| a.name()).collect::<Vec<_>>().join(", "),
            });
        }
        grid.sort_by_key(|g| self.constant(g.axis).is_none());
        Ok(())
    }

    /// A kernel that chooses a list by scores that are computed one by one.
    fn list(&mut self, root: &Root) -> Result<Kernel, PlanError> {
        let list = root.tensor.name().to_string();
        let term = super::untile::untile(&mut self.arena, root.term);
        let scalar = Root { tensor: root.tensor, label: root.label, axes: root.axes.clone(), term };
        self.tiled(&[scalar]).map_err(|Untileable(why)| PlanError::List { list, why })
    }

    /// A kernel in which every element of a tensor is computed on its own.
    fn elementwise(&mut self, root: &Root) -> Result<Kernel, PlanError> {
        let Some(&last) = root.axes.last() else { return Err(PlanError::NoAxes(root.tensor.name().into())) };
        let term = super::untile::untile(&mut self.arena, root.term);
        let others = &root.axes[..root.axes.len() - 1];
        let runtime = others.iter().copied().find(|a| self.constant(*a).is_none());
        let mut grid: Vec<GridAxis> = vec![];
        let mut rows = vec![];
        for axis in others.iter().copied() {
            let tile = if Some(axis) == runtime { self.tiling.element_rows } else { 1 };
            if tile > 1 {
                rows.push(Span { axis, count: tile });
            }
            grid.push(GridAxis { axis, tile });
        }
        // Columns: a constant axis whole or in grid tiles; a run-time axis in grid tiles, or in a loop beside another one.
        let looped = self.constant(last).is_none() && runtime.is_some();
        let count = match self.constant(last) {
            Some(n) if n <= WIDEST => n as u32,
            _ => 128,
        };
        if !looped && self.constant(last).is_none_or(|n| n > WIDEST) {
            grid.push(GridAxis { axis: last, tile: count });
        }
        self.order_grid(&mut grid, root)?;
        let columns = Span { axis: last, count };
        let index: Vec<Id> = root.axes.iter().map(|a| self.arena.axis(*a)).collect();
        let store = Statement::Store {
            buffer: root.tensor,
            index,
            value: term,
            rows: !rows.is_empty(),
            columns: Some(columns),
        };
        let body = match looped {
            false => vec![store],
            true => {
                let lo = self.arena.int(0);
                let hi = self.arena.add(Term::Len(LenName(last.0)));
                vec![Statement::Loop(Box::new(Loop {
                    axis: last,
                    tile: count,
                    lo,
                    hi,
                    full: None,
                    walk: None,
                    merge: vec![],
                    body: vec![store],
                }))]
            }
        };
        Ok(Kernel {
            name: root.label.name().to_string(),
            grid,
            rows,
            layout: Layout::Elements { threads: self.tiling.element_threads },
            variables: vec![],
            tiles: vec![],
            stages: vec![],
            lists: vec![],
            body,
        })
    }
}

fn kernel_name(group: &[Root]) -> String {
    // The values of one chunk are stored together: the name is what theirs have in common.
    let first = group[0].label.name();
    if let Some((part, _)) = first.rsplit_once('_').filter(|(part, _)| part.contains("_part")) {
        return part.to_string();
    }
    group.iter().map(|r| r.label.name()).collect::<Vec<_>>().join("_")
}

/// The language's type as the terms' type.
pub fn dtype(t: DType) -> Type {
    match t {
        DType::Bf16 => Type::Bf16,
        DType::F16 => Type::F16,
        DType::F32 => Type::F32,
        DType::I32 => Type::I32,
    }
}

/// Stored definitions that are loaded only as factors of contractions: they are stored in the element type.
fn only_factors(candidate: &Terms) -> BTreeSet<TensorName> {
    let nodes = &candidate.nodes;
    let name_of = |id: Id| match &nodes[id] {
        Term::Load(xs) => match nodes[xs[0]] {
            Term::Tensor(name) => Some(name),
            _ => None,
        },
        _ => None,
    };
    let mut live = vec![false; nodes.as_ref().len()];
    let mut stack: Vec<Id> = candidate.definitions.iter().map(|d| d.root).collect();
    let (mut factors, mut others) = (BTreeSet::new(), BTreeSet::new());
    while let Some(id) = stack.pop() {
        if std::mem::replace(&mut live[usize::from(id)], true) {
            continue;
        }
        let factor = matches!(nodes[id], Term::Mma(_));
        for child in egg::Language::children(&nodes[id]) {
            if let Some(name) = name_of(*child) {
                if factor {
                    factors.insert(name)
                } else {
                    others.insert(name)
                };
            }
            stack.push(*child);
        }
    }
    others.extend(candidate.definitions.iter().filter_map(|d| name_of(d.root)));
    &factors - &others
}
