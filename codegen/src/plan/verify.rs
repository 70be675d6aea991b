//! Checks that a plan means something, before any target lowers it: back ends need no checks of their own.

use super::*;
use egg::Language;
use std::collections::BTreeSet;

/// A fault of a plan: always the compiler's, never the user's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel {kernel}: {fault}")]
pub struct Fault {
    /// The kernel.
    pub kernel: String,
    /// What is wrong.
    pub fault: String,
}

/// Every fault of a plan.
pub fn verify(plan: &Plan) -> Vec<Fault> {
    let mut faults = vec![];
    let mut written: BTreeSet<TensorName> =
        plan.buffers.iter().filter(|b| b.role == Role::Argument).map(|b| b.name).collect();
    for kernel in &plan.kernels {
        let mut check = Check { plan, kernel, written: &written, scope: Scope::default(), faults: vec![] };
        check.grid();
        check.block(&kernel.body);
        faults.extend(check.faults.into_iter().map(|fault| Fault { kernel: kernel.name.clone(), fault }));
        let mut stores = BTreeSet::new();
        visit::stores(kernel, &mut |name| {
            stores.insert(name);
        });
        for name in stores {
            if !written.insert(name) && !accumulates(plan, kernel, name) {
                let fault = format!("{} is written twice, and not element by element", name.name());
                faults.push(Fault { kernel: kernel.name.clone(), fault });
            }
        }
    }
    for buffer in plan.buffers.iter().filter(|b| !written.contains(&b.name)) {
        let fault = format!("{} is never written", buffer.name.name());
        faults.push(Fault { kernel: plan.name.clone(), fault });
    }
    faults
}

/// Whether a kernel changes a buffer in place: it reads of it the very element that it is about to write, and no other.
fn accumulates(plan: &Plan, kernel: &Kernel, name: TensorName) -> bool {
    let loads = |root: Id| {
        let (mut found, mut stack, mut seen) = (BTreeSet::new(), vec![root], BTreeSet::new());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match &plan.terms[id] {
                Term::Load(xs) | Term::List(xs) if plan.terms[xs[0]] == Term::Tensor(name) => {
                    found.insert(xs[1..].to_vec());
                }
                node => stack.extend(node.children()),
            }
        }
        found
    };
    let (mut alone, mut values) = (true, BTreeSet::new());
    visit::statements(&kernel.body, &mut |statement| match statement {
        Statement::Store { buffer, index, value, .. } if *buffer == name => {
            alone &= loads(*value) == BTreeSet::from([index.clone()]);
            values.insert(*value);
        }
        Statement::StoreList { buffer, .. } if *buffer == name => alone = false,
        _ => {}
    });
    // A value that is computed for the whole block may be computed by several threads.
    visit::terms(kernel, &mut |id| alone &= values.contains(&id) || loads(id).is_empty());
    alone
}

/// What holds at a point of the program.
#[derive(Clone, Default)]
struct Scope {
    set: BTreeSet<Var>,
    fetched: BTreeSet<u32>,
    staged: BTreeSet<u32>,
    loops: Vec<(AxisName, u32)>,
}

struct Check<'a> {
    plan: &'a Plan,
    kernel: &'a Kernel,
    /// Buffers that hold something when the kernel starts.
    written: &'a BTreeSet<TensorName>,
    scope: Scope,
    faults: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn grid(&mut self) {
        let constant = |axis| matches!(self.plan.axis(axis).map(|a| &a.extent), Some(PlanExtent::Const(_)));
        let runtime = self.kernel.grid.iter().filter(|g| !constant(g.axis)).count();
        if runtime > 1 {
            self.fault("more than one run-time axis in the grid".into());
        }
        if runtime == 1 && self.kernel.grid.last().is_some_and(|g| constant(g.axis)) {
            self.fault("the grid's run-time axis is not its last".into());
        }
        for span in &self.kernel.rows {
            let tile = self.kernel.grid.iter().find(|g| g.axis == span.axis).map(|g| g.tile);
            let whole = match self.plan.axis(span.axis).map(|a| &a.extent) {
                Some(PlanExtent::Const(n)) => *n == i64::from(span.count),
                _ => false,
            };
            if tile.is_some_and(|t| t != span.count) || (tile.is_none() && !whole) {
                self.fault(format!("row axis {} is neither whole nor the grid's tile", span.axis.name()));
            }
        }
        if let Layout::Fragments { rows, repeat, columns } = self.kernel.layout {
            if rows * repeat * 16 < self.kernel.row_count() {
                self.fault(format!("{} rows do not fit {rows} warps of {}", self.kernel.row_count(), repeat * 16));
            }
            if rows * columns > 32 {
                self.fault(format!("{} warps", rows * columns));
            }
        }
    }

    fn block(&mut self, body: &[Statement]) {
        for statement in body {
            self.statement(statement);
        }
    }

    fn columns(&self, var: Var) -> Option<Span> {
        self.kernel.variables.get(var as usize).and_then(|v| v.columns.clone())
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Set { var, expr } => {
                let columns = self.columns(*var);
                self.term(*expr, columns.as_ref());
                self.scope.set.insert(*var);
            }
            Statement::Fetch { tile } => {
                let Some(t) = self.kernel.tiles.get(*tile as usize) else {
                    return self.fault(format!("tile {tile} does not exist"));
                };
                if t.stages == 0 {
                    self.fault(format!("tile {} has no room", t.label));
                }
                self.scope.fetched.insert(*tile);
            }
            Statement::Dot { var, a, b, depth, accumulate } => self.dot(*var, *a, *b, depth, *accumulate),
            Statement::Mask { var, keep, .. } => {
                self.is_set(*var);
                let columns = self.columns(*var);
                self.term(*keep, columns.as_ref());
            }
            Statement::Reduce { var, from, .. } => {
                self.is_set(*var);
                self.is_set(*from);
                if self.columns(*var).is_some() || self.columns(*from).is_none() {
                    self.fault("a reduction is not from columns to none".into());
                }
            }
            Statement::Online { score, max, scale, rescale } => {
                [score, max].into_iter().chain(rescale).for_each(|v| self.is_set(*v));
                if self.columns(*score).is_none() || self.columns(*max).is_some() {
                    self.fault("an online softmax needs a score with columns and a maximum without".into());
                }
                if scale.is_nan() || *scale <= 0.0 {
                    self.fault(format!("an online softmax with scale {scale}"));
                }
            }
            Statement::Stage { stage, from, .. } => {
                self.is_set(*from);
                match self.kernel.stages.get(*stage as usize) {
                    None => self.fault(format!("stage {stage} does not exist")),
                    Some(s) if !s.columns.count.is_power_of_two() => self.fault(format!("stage {stage} is no ring")),
                    Some(_) => {}
                }
                self.scope.staged.insert(*stage);
            }
            Statement::Insert { list, columns, score, force, among } => {
                if self.kernel.lists.get(*list as usize).is_none() {
                    self.fault(format!("list {list} does not exist"));
                }
                [score, force, among].into_iter().for_each(|id| self.term(*id, Some(columns)));
            }
            Statement::StoreList { list, buffer, index } => {
                if self.kernel.lists.get(*list as usize).is_none() {
                    self.fault(format!("list {list} does not exist"));
                }
                self.store(*buffer, index.len() + 1);
                index.iter().for_each(|id| self.term(*id, None));
            }
            Statement::Store { buffer, index, value, columns, .. } => {
                self.store(*buffer, index.len());
                index.iter().chain([value]).for_each(|id| self.term(*id, columns.as_ref()));
            }
            Statement::Loop(inner) => self.looped(inner),
        }
    }

    fn looped(&mut self, inner: &Loop) {
        [inner.lo, inner.hi].into_iter().for_each(|id| self.term(id, None));
        if let Some(walk) = &inner.walk {
            self.term(walk.list, None);
            let gathered = walk.block > 0 && inner.tile.is_multiple_of(walk.block);
            if gathered && walk.block < inner.tile && inner.full.is_some() {
                self.fault("a gathered tile that needs no masks".into());
            }
            if !walk.block.is_multiple_of(inner.tile) && !gathered {
                self.fault(format!("tiles of {} in blocks of {}", inner.tile, walk.block));
            }
        }
        let outer = self.scope.clone();
        self.scope.loops.push((inner.axis, inner.tile));
        self.block(&inner.body);
        // Tiles fetched in a loop are gone after it; variables that only it sets may never have been set.
        self.scope = Scope { staged: self.scope.staged.clone(), ..outer };
    }

    fn dot(&mut self, var: Var, a: Operand, b: u32, depth: &Span, accumulate: bool) {
        if accumulate {
            self.is_set(var);
        }
        self.scope.set.insert(var);
        match a {
            Operand::Var(a) => {
                self.is_set(a);
                if self.columns(a).as_ref() != Some(depth) {
                    self.fault(format!("the first factor's columns are not {}:{}", depth.axis.name(), depth.count));
                }
            }
            Operand::Tile(a) => {
                self.is_fetched(a);
                let fits = |t: &Tile| t.slow == TileAxis::Rows && t.fast == *depth;
                if !self.kernel.tiles.get(a as usize).is_some_and(fits) {
                    self.fault(format!("the first factor is not rows by {}", depth.axis.name()));
                }
            }
        }
        self.is_fetched(b);
        let Some(columns) = self.columns(var) else { return self.fault("a contraction without columns".into()) };
        let fits = |t: &Tile| match &t.slow {
            TileAxis::Span(slow) => (*slow == columns && t.fast == *depth) || (*slow == *depth && t.fast == columns),
            TileAxis::Rows => false,
        };
        if !self.kernel.tiles.get(b as usize).is_some_and(fits) {
            self.fault(format!("the second factor is not {} by {}", depth.axis.name(), columns.axis.name()));
        }
    }

    fn is_set(&mut self, var: Var) {
        if !self.scope.set.contains(&var) {
            self.fault(format!("%{var} is read before it is set"));
        }
    }

    fn is_fetched(&mut self, tile: u32) {
        if !self.scope.fetched.contains(&tile) {
            self.fault(format!("tile {tile} is used where it is not fetched"));
        }
    }

    fn store(&mut self, name: TensorName, rank: usize) {
        match self.plan.buffer(name) {
            None => self.fault(format!("{} is no buffer", name.name())),
            Some(b) if b.role == Role::Argument => self.fault(format!("argument {} is written", name.name())),
            Some(b) if b.axes.len() != rank => self.fault(format!("{} has {} axes", name.name(), b.axes.len())),
            Some(_) => {}
        }
    }

    /// A term's variables are set, its buffers exist and hold something, its axes have a value.
    fn term(&mut self, root: Id, columns: Option<&Span>) {
        let mut stack = vec![(root, Vec::<AxisName>::new())];
        let mut seen = BTreeSet::new();
        while let Some((id, bound)) = stack.pop() {
            if !seen.insert((id, bound.clone())) {
                continue;
            }
            let node = &self.plan.terms[id];
            match node {
                Term::Value(v) => {
                    self.is_set(v.0);
                    if let Some(own) = self.columns(v.0)
                        && columns.is_none_or(|c| *c != own)
                    {
                        self.fault(format!("%{} has columns {} here", v.0, own.axis.name()));
                    }
                }
                Term::Axis(axis) => self.axis(*axis, columns, &bound),
                Term::Tensor(name) => self.tensor(*name),
                _ => {}
            }
            let mut inner = bound.clone();
            if let Term::Fold([_, domain, _]) = node {
                inner.extend(self.domain_axis(*domain));
            }
            stack.extend(node.children().iter().map(|c| (*c, inner.clone())));
        }
    }

    fn domain_axis(&self, id: Id) -> Option<AxisName> {
        match self.plan.terms[id] {
            Term::Axis(axis) => Some(axis),
            ref node => node.children().first().and_then(|c| self.domain_axis(*c)),
        }
    }

    fn axis(&mut self, axis: AxisName, columns: Option<&Span>, bound: &[AxisName]) {
        let known = bound.contains(&axis)
            || columns.is_some_and(|c| c.axis == axis)
            || self.kernel.rows.iter().any(|s| s.axis == axis)
            || self.kernel.grid.iter().any(|g| g.axis == axis)
            || self.scope.loops.iter().any(|l| l.0 == axis);
        if !known {
            self.fault(format!("axis {} has no value", axis.name()));
        }
    }

    fn tensor(&mut self, name: TensorName) {
        if let Some(stage) = name.name().strip_prefix("stage:") {
            if !stage.parse().is_ok_and(|n| self.scope.staged.contains(&n)) {
                self.fault(format!("{} is read before it is written", name.name()));
            }
        } else if self.plan.buffer(name).is_none() {
            self.fault(format!("{} is no buffer", name.name()));
        } else if !self.written.contains(&name) {
            self.fault(format!("{} is read before a kernel has written it", name.name()));
        }
    }
}
