//! From a candidate of the optimiser to a plan: buffers, kernels, rows, columns, grids.

use super::arena::Arena;
use super::in_place::sums_in_place;
use super::lower::{Block, LONGEST, Lower, Sizes, Untileable, WIDEST};
use super::split::{CHUNK, Splitter, split};
use super::tiling::Tiling;
use super::*;
use crate::term::{LenName, Terms};
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
    /// A list that no kernel keeps.
    #[error("`{list}` lists {count} values; kernels keep lists of at most {LONGEST}")]
    LongList {
        /// The list.
        list: String,
        /// Its entries.
        count: i64,
    },
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
        sums_in_place(&mut self.arena, &mut roots, &mut self.buffers, &|name| declared.contains(&name));
        for mut root in roots {
            let parts = split(&mut self.arena, &mut root, &mut splitter);
            self.add_parts(&parts);
            for root in parts.into_iter().chain([root]) {
                match groups.iter_mut().find(|group| self.shares_fold(group, &root)) {
                    Some(group) => group.push(root),
                    None => groups.push(vec![root]),
                }
            }
        }
        let (mut kernels, mut untiled) = (vec![], vec![]);
        for group in &groups {
            match self.tiled(group) {
                Ok(kernel) => kernels.push(kernel),
                Err(Untileable(why)) => {
                    let contracts = |r: &Root| self.arena.contains(r.term, &|t| matches!(t, Term::Mma(_)));
                    if group.iter().any(contracts) {
                        untiled.push((kernel_name(group), why));
                    }
                    for root in group {
                        kernels.push(match self.arena[root.term] {
                            Term::Top([count, ..]) => self.list(root, count)?,
                            _ => self.elementwise(root)?,
                        });
                    }
                }
            }
        }
        let name = self.program.name.clone();
        let plan = Plan { name, axes: self.axes, buffers: self.buffers, kernels, terms: self.arena.finish() };
        Ok(Planned { plan, untiled })
    }

    /// Buffers for the values of chunks.
    fn add_parts(&mut self, parts: &[Root]) {
        let chunk = AxisName::new(CHUNK);
        if !parts.is_empty() && !self.extents.contains_key(&chunk) {
            self.extents.insert(chunk, Some(self.tiling.chunks));
            self.axes.push(PlanAxis { name: chunk, extent: PlanExtent::Const(self.tiling.chunks) });
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

    /// True if a definition needs the same tiled fold as one of a group, and none of the group's results.
    fn shares_fold(&self, group: &[Root], root: &Root) -> bool {
        let mine = self.tiled_folds(root.term);
        let shared = group.iter().any(|other| self.tiled_folds(other.term).intersection(&mine).next().is_some());
        let depends = group
            .iter()
            .any(|other| self.arena.contains(root.term, &|t| matches!(t, Term::Tensor(name) if *name == other.tensor)));
        shared && !depends
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

    /// A kernel whose rows and columns are those of its contractions, with as many columns at a time as a thread has
    /// registers for.
    fn tiled(&mut self, group: &[Root]) -> Result<Kernel, Untileable> {
        let mut wish = self.tiled_in(group, 4)?;
        let Some(limit) = self.tiling.registers else { return Ok(wish) };
        if resources::Resources::of(&wish).registers > limit {
            for quarters in [3, 2] {
                let narrow = self.tiled_in(group, quarters)?;
                if resources::Resources::of(&narrow).registers <= limit {
                    return Ok(narrow);
                }
            }
            spread(&mut wish, limit);
        }
        Ok(wish)
    }

    /// As `tiled`, with so many quarters of the columns that its kind of kernel walks at a time.
    fn tiled_in(&mut self, group: &[Root], quarters: u32) -> Result<Kernel, Untileable> {
        let mut firsts: Vec<BTreeSet<AxisName>> = vec![];
        let mut seconds: BTreeSet<AxisName> = BTreeSet::new();
        let mut rows: Option<BTreeSet<AxisName>> = None;
        let mut split: BTreeSet<AxisName> = BTreeSet::new();
        for root in group {
            contractions(&self.arena, root.term, &mut |_, a, b| {
                let (a, b) = (self.arena.free(a).clone(), self.arena.free(b).clone());
                let mine = &a - &b;
                rows = Some(rows.take().map_or_else(|| mine.clone(), |r| &r & &mine));
                firsts.push(a);
                seconds.extend(b);
            });
            self.list_axes(root.term, &mut split);
        }
        let is_top = matches!(self.arena[group[0].term], Term::Top(_));
        let defined: BTreeSet<AxisName> = group.iter().flat_map(|r| r.axes.iter().copied()).collect();
        let mut rows = match rows {
            Some(rows) => rows,
            None if is_top => BTreeSet::new(),
            None => return Err(Untileable("no contraction".into())),
        };
        // Row axes are the tensors' own, or constant ones that a sum folds away.
        rows.retain(|axis| defined.contains(axis) || self.constant(*axis).is_some());
        if rows.is_empty() && !is_top {
            return Err(Untileable("a contraction whose first factor has no rows of its own".into()));
        }
        // Where each of them walks a list of its own a block has one row: a query of one head.
        rows.retain(|axis| !split.contains(axis));
        if is_top && rows.is_empty() {
            // One warp per list: the run-time axis makes the rows.
            rows.extend(defined.iter().copied().filter(|a| self.constant(*a).is_none()));
        }
        let columns: Vec<AxisName> = group
            .iter()
            .flat_map(|r| r.axes.iter().copied())
            .filter(|axis| seconds.contains(axis) && firsts.iter().all(|f| !f.contains(axis)))
            .collect();

        let mut order: Vec<AxisName> = vec![];
        for axis in group.iter().flat_map(|r| r.axes.iter().copied()).chain(rows.iter().copied()) {
            if !order.contains(&axis) {
                order.push(axis);
            }
        }
        let row_axes: Vec<AxisName> = order.iter().copied().filter(|a| rows.contains(a)).collect();
        let runtime: Vec<AxisName> = row_axes.iter().copied().filter(|a| self.constant(*a).is_none()).collect();
        if runtime.len() > 1 {
            return Err(Untileable("rows over two run-time axes".into()));
        }
        let constant_rows: i64 = row_axes.iter().filter_map(|a| self.constant(*a)).product();
        if constant_rows > WIDEST {
            return Err(Untileable("more constant rows than a block can own".into()));
        }
        let shape = self.tiling.shape(constant_rows as u32, !runtime.is_empty(), is_top);
        let rows: Vec<Span> = row_axes
            .iter()
            .map(|axis| Span { axis: *axis, count: self.constant(*axis).map_or(shape.row_tile, |n| n as u32) })
            .collect();

        let mut grid: Vec<GridAxis> = vec![];
        let mut column_tiles = HashMap::new();
        for axis in order.iter().copied().filter(|a| defined.contains(a)) {
            let tile = if rows.iter().any(|s| s.axis == axis) {
                if self.constant(axis).is_some() {
                    continue;
                }
                shape.row_tile
            } else if columns.contains(&axis) {
                match self.constant(axis) {
                    Some(n) if n <= WIDEST => continue,
                    Some(_) => 128,
                    None => return Err(Untileable("a run-time column axis".into())),
                }
            } else {
                1
            };
            if columns.contains(&axis) {
                column_tiles.insert(axis, tile);
            }
            grid.push(GridAxis { axis, tile });
        }
        self.order_grid(&mut grid, &group[0]).map_err(|e| Untileable(e.to_string()))?;
        let uniform: BTreeSet<AxisName> = grid
            .iter()
            .map(|g| g.axis)
            .filter(|a| !rows.iter().any(|s| s.axis == *a) && !columns.contains(a))
            .collect();
        let tiled_rows = rows.iter().map(|s| s.axis).filter(|a| self.constant(*a).is_none()).collect();
        let block = Block { rows: rows.clone(), uniform, column_tiles, tiled_rows };
        let columns_at_a_time = (shape.columns * quarters / 4).next_multiple_of(16);
        let sizes = Sizes { columns: columns_at_a_time, stages: shape.stages, depth: self.tiling.depth };
        let mut lower = Lower::new(&mut self.arena, &self.extents, &self.lengths_of_lists, self.element, block, sizes);
        for root in group {
            if let Term::Top(_) = lower.arena[root.term] {
                let index: Vec<Id> = root.axes.iter().map(|a| lower.arena.axis(*a)).collect();
                let of_list: Vec<Span> = rows.iter().filter(|s| root.axes.contains(&s.axis)).cloned().collect();
                lower.top(root.term, root.tensor, index, of_list)?;
                continue;
            }
            lower.store(root.term, root.tensor, &root.axes, &columns)?;
        }
        let layout = Layout::Fragments { rows: shape.warps, repeat: shape.repeat, columns: shape.column_warps };
        Ok(lower.finish(kernel_name(group), grid, layout))
    }

    /// The axes that lists of blocks depend on: all rows of a block walk the same list.
    fn list_axes(&self, root: Id, into: &mut BTreeSet<AxisName>) {
        let (mut stack, mut seen) = (vec![root], BTreeSet::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Term::Blocks([_, list, _]) = self.arena[id] {
                into.extend(self.arena.free(list));
            }
            stack.extend(egg::Language::children(&self.arena[id]));
        }
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
    fn list(&mut self, root: &Root, count: Id) -> Result<Kernel, PlanError> {
        let list = root.tensor.name().to_string();
        if let Some(count) = self.arena.as_int(count).filter(|n| *n > LONGEST) {
            return Err(PlanError::LongList { list, count });
        }
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

/// Gives rows to more warps while a thread would need more registers than it can name.
fn spread(kernel: &mut Kernel, limit: u32) {
    while let Layout::Fragments { rows, repeat, columns } = kernel.layout
        && repeat.is_multiple_of(2)
        && 2 * rows * columns * 32 <= 1024
        && resources::Resources::of(kernel).registers > limit
    {
        kernel.layout = Layout::Fragments { rows: 2 * rows, repeat: repeat / 2, columns };
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
