//! Folds: to loops over tiles, with an online softmax for lse and plain accumulators for the other monoids.

use super::contract::Inner;
use super::*;
use crate::plan::domain::Domain;

/// Tiles inside one block that are narrower than this give way to gathered ones: they would leave warps idle.
const GATHERED_BELOW: u32 = 32;

/// The variables that a fold of lse leaves behind.
#[derive(Clone, Debug)]
pub(super) struct OnlineState {
    /// Running maximum of the unscaled score.
    pub max: Var,
    /// `log2(e)` times the factor between the unscaled score and the score.
    pub scale: f64,
    /// Running sums, one per leaf of the weight, left to right.
    pub leaves: Vec<Var>,
}

impl Lower<'_> {
    /// Lowers `(fold lse (outer D) (pair (fold max (inner D) s) weights))`; once per term and kernel.
    pub(super) fn online_fold(&mut self, fold: Id) -> Lowered<OnlineState> {
        if let Some(state) = self.online.get(&fold) {
            return Ok(state.clone());
        }
        let shape = || Untileable("a fold of lse that is not split into tiles".into());
        let Term::Fold([monoid, outer, body]) = self.arena[fold].clone() else { return Err(shape()) };
        let (Term::Monoid(Monoid::Lse), Term::Outer(_)) = (&self.arena[monoid], &self.arena[outer]) else {
            return Err(shape());
        };
        let Term::Pair([max, weights]) = self.arena[body] else { return Err(shape()) };
        let Term::Fold([inner_monoid, _, score]) = self.arena[max].clone() else { return Err(shape()) };
        if !matches!(self.arena[inner_monoid], Term::Monoid(Monoid::Max)) {
            return Err(shape());
        }
        let mut leaves = vec![];
        self.weight_leaves(weights, &mut leaves)?;
        let (raw, factor) = self.split_scale(score);
        let scale = factor * std::f64::consts::LOG2_E;

        let max_var = self.new_variable("max", true, None)?;
        let lowest = self.arena.num(f64::NEG_INFINITY);
        self.emit(Statement::Set { var: max_var, expr: lowest });
        let mut sums = vec![];
        for (domain, leaf) in &leaves {
            sums.push(self.accumulator(Monoid::Add, *domain, *leaf)?);
        }
        let parts = Domain::read(self.arena, outer).ok_or_else(shape)?;
        let axis = self.arena.domain_axis(outer).ok_or_else(shape)?;
        let shifted = self.arena.add(Term::Shift([score, max]));
        let weight = self.arena.add(Term::Exp(shifted));
        let merge = Merge { max: Some((max_var, scale)), monoid: Monoid::Add, values: sums.clone() };
        self.tiled_loops(&parts, vec![merge], |this, keep| {
            let raw = this.value(raw)?;
            let score_var = this.column_variable("score", raw, axis)?;
            // From here on the variable holds weights: whoever needs the score again computes it again.
            this.forget(score_var);
            this.emit(Statement::Mask { var: score_var, keep, otherwise: f64::NEG_INFINITY });
            this.emit(Statement::Online { score: score_var, max: max_var, scale, rescale: sums.clone() });
            let read = this.read(score_var);
            this.remember(weight, read);
            for ((inner, leaf), sum) in leaves.iter().zip(&sums) {
                this.accumulate(Monoid::Add, *inner, *leaf, *sum, None)?;
            }
            Ok(())
        })?;
        let state = OnlineState { max: max_var, scale, leaves: sums };
        if self.scopes.len() == 1 {
            self.online.insert(fold, state.clone());
        }
        Ok(state)
    }

    /// Lowers `(fst F)`, the maximum of a fold of lse, or a path of `fst` and `snd` to one of its sums.
    pub(super) fn component(&mut self, id: Id) -> Lowered<Id> {
        let shape = || Untileable("a component of something that is no fold of lse".into());
        let (mut path, mut at) = (vec![], id);
        loop {
            at = match self.arena[at] {
                Term::Fst(x) => {
                    path.push(false);
                    x
                }
                Term::Snd(x) => {
                    path.push(true);
                    x
                }
                _ => break,
            };
        }
        let state = self.online_fold(at)?;
        if path.pop() == Some(false) {
            if !path.is_empty() {
                return Err(shape());
            }
            let factor = self.arena.num(state.scale / std::f64::consts::LOG2_E);
            let max = self.read(state.max);
            return Ok(self.arena.add(Term::Mul([max, factor])));
        }
        let Term::Fold([_, _, body]) = self.arena[at] else { return Err(shape()) };
        let Term::Pair([_, mut weights]) = self.arena[body] else { return Err(shape()) };
        let mut leaf = 0;
        while let Some(second) = path.pop() {
            let Term::Pair([a, b]) = self.arena[weights] else { return Err(shape()) };
            if second {
                leaf += self.count_leaves(a);
            }
            weights = if second { b } else { a };
        }
        match self.arena[weights] {
            Term::Pair(_) => Err(shape()),
            _ => Ok(self.read(state.leaves[leaf])),
        }
    }

    fn count_leaves(&self, id: Id) -> usize {
        match self.arena[id] {
            Term::Pair([a, b]) => self.count_leaves(a) + self.count_leaves(b),
            _ => 1,
        }
    }

    /// The leaves of a weight `(pair w1 (pair w2 ..))`, each a fold over the tile.
    fn weight_leaves(&self, id: Id, into: &mut Vec<(Id, Inner)>) -> Lowered<()> {
        if let Term::Pair([a, b]) = self.arena[id] {
            self.weight_leaves(a, into)?;
            return self.weight_leaves(b, into);
        }
        into.push(self.inner_fold(Monoid::Add, id)?);
        Ok(())
    }

    /// Reads a fold over `(inner D)`, or a contraction over it.
    fn inner_fold(&self, monoid: Monoid, id: Id) -> Lowered<(Id, Inner)> {
        match self.arena[id] {
            Term::Mma([domain, a, b]) if monoid == Monoid::Add => Ok((domain, Inner::Mma { a, b })),
            Term::Fold([m, domain, body]) if self.arena[m] == Term::Monoid(monoid) => {
                Ok((domain, Inner::Fold { body }))
            }
            _ => Err(Untileable("a tile of a fold that is not a fold itself".into())),
        }
    }

    /// `x * c` with a positive constant `c` as `(x, c)`; anything else as `(x, 1)`.
    fn split_scale(&self, id: Id) -> (Id, f64) {
        if let Term::Mul([a, b]) = self.arena[id] {
            for (x, c) in [(a, b), (b, a)] {
                if let Some(c) = self.arena.as_num(c).filter(|c| *c > 0.0 && c.is_finite()) {
                    return (x, c);
                }
            }
        }
        (id, 1.0)
    }

    /// `expr` in a variable with this column axis, even where it does not vary along it.
    fn column_variable(&mut self, label: &str, expr: Id, axis: AxisName) -> Lowered<Var> {
        if let Term::Value(v) = self.arena[expr]
            && self.variables[v.0 as usize].columns.as_ref().is_some_and(|c| c.axis == axis)
        {
            return Ok(v.0);
        }
        if self.column_axes(expr).iter().any(|c| *c != axis) {
            return Err(Untileable(format!("a fold over {} of a value with another column axis", axis.name())));
        }
        let var = self.new_variable(label, true, Some(axis))?;
        self.emit(Statement::Set { var, expr });
        Ok(var)
    }

    /// Terms whose value is this variable are no longer.
    fn forget(&mut self, var: Var) {
        let read = self.read(var);
        for scope in &mut self.scopes {
            scope.memo.retain(|_, done| *done != read);
        }
    }

    /// A fresh accumulator for a fold over a tile, at the identity.
    fn accumulator(&mut self, monoid: Monoid, domain: Id, inner: Inner) -> Lowered<Var> {
        let columns = match inner {
            Inner::Mma { b, .. } => {
                let depth = self.arena.domain_axis(domain).ok_or_else(|| Untileable("no depth".into()))?;
                // The depth is not an open loop yet; it is no column of the result either way.
                Some(self.dot_columns(depth, b)?)
            }
            Inner::Fold { .. } => None,
        };
        let var = self.new_variable("sum", true, columns)?;
        let expr = self.arena.num(identity(monoid));
        self.emit(Statement::Set { var, expr });
        Ok(var)
    }

    /// Adds one tile to an accumulator. `keep` masks what does not take part (None: the weights already are 0 there).
    fn accumulate(&mut self, monoid: Monoid, domain: Id, inner: Inner, sum: Var, keep: Option<Id>) -> Lowered<()> {
        match inner {
            Inner::Mma { mut a, b } => {
                if let Some(keep) = keep {
                    a = self.masked_factor(a, keep)?;
                }
                self.dot(domain, a, b, sum, true)
            }
            Inner::Fold { body } => {
                let axis = self.arena.domain_axis(domain).ok_or_else(|| Untileable("a fold over no axis".into()))?;
                let body = self.value(body)?;
                let mut from = self.column_variable("value", body, axis)?;
                if let Some(keep) = keep {
                    // The mask changes the variable, which another term may share.
                    if self.read(from) == body {
                        from = self.new_variable("value", true, Some(axis))?;
                        self.emit(Statement::Set { var: from, expr: body });
                    }
                    self.emit(Statement::Mask { var: from, keep, otherwise: identity(monoid) });
                }
                self.emit(Statement::Reduce { var: sum, from, monoid });
                Ok(())
            }
        }
    }

    /// The first factor of a contraction, 0 where `keep` is false.
    fn masked_factor(&mut self, a: Id, keep: Id) -> Lowered<Id> {
        let a = self.value(a)?;
        let zero = self.arena.num(0.0);
        let mut computed = false;
        self.each_variable(a, &mut |_| computed = true);
        if !computed {
            return Ok(self.arena.add(Term::Select([keep, a, zero])));
        }
        let var = self.set("factor", a)?;
        self.emit(Statement::Mask { var, keep, otherwise: 0.0 });
        Ok(self.read(var))
    }

    /// Lowers a fold of add, max or min to an accumulator.
    pub(super) fn plain_fold(&mut self, monoid: Monoid, domain: Id, body: Id) -> Lowered<Var> {
        if monoid == Monoid::Lse {
            return Err(Untileable("a fold of lse outside of norm and logsum".into()));
        }
        if matches!(self.arena[domain], Term::Outer(_)) {
            let (inner_domain, inner) = self.inner_fold(monoid, body)?;
            if self.arena.domain_axis(inner_domain) != self.arena.domain_axis(domain) {
                return Err(Untileable("a tiled fold over two axes".into()));
            }
            return self.plain_fold_of(monoid, domain, inner);
        }
        let axis = self.arena.domain_axis(domain).ok_or_else(|| Untileable("a fold over no axis".into()))?;
        if self.is_row(axis) {
            return Err(Untileable(format!("a fold over {}, which makes the rows", axis.name())));
        }
        if self.is_dot_column(axis, body) {
            return self.plain_fold_of(monoid, domain, Inner::Fold { body });
        }
        self.sequential_fold(monoid, domain, body)
    }

    /// True if `axis` is a column axis of a contraction inside `body`.
    fn is_dot_column(&self, axis: AxisName, body: Id) -> bool {
        let mut found = false;
        super::super::contractions(self.arena, body, &mut |domain, a, b| {
            found |= self.arena.domain_axis(domain) != Some(axis)
                && self.arena.free(b).contains(&axis)
                && !self.arena.free(a).contains(&axis);
        });
        found
    }

    /// A fold over tiles.
    pub(super) fn plain_fold_of(&mut self, monoid: Monoid, domain: Id, inner: Inner) -> Lowered<Var> {
        let parts =
            Domain::read(self.arena, domain).ok_or_else(|| Untileable("a domain with two lists of blocks".into()))?;
        let sum = self.accumulator(monoid, domain, inner)?;
        // Tiles read zeros past the end of an axis, so a contraction over a whole axis needs no mask.
        let whole = parts.iter().all(Domain::is_whole);
        let unmasked = whole && matches!(inner, Inner::Mma { .. });
        let merge = Merge { max: None, monoid, values: vec![sum] };
        self.tiled_loops(&parts, vec![merge], |this, keep| {
            this.accumulate(monoid, domain, inner, sum, (!unmasked).then_some(keep))
        })?;
        Ok(sum)
    }

    /// A fold over an axis of which each value is one iteration: its body has contractions with columns of their own.
    #[expect(clippy::expect_used, reason = "the axis was asked for above")]
    fn sequential_fold(&mut self, monoid: Monoid, domain: Id, body: Id) -> Lowered<Var> {
        let parts = Domain::read_one(self.arena, domain)
            .filter(|d| d.blocks.is_none() && d.masks.is_empty())
            .ok_or_else(|| Untileable("a sequential fold over blocks or with a mask".into()))?;
        let corners = self.corners();
        let bounds = parts.bounds(self.arena, &corners);
        let rowwise = parts.upto.iter().chain(&parts.from).any(|e| self.has_rows(*e));
        if rowwise {
            return Err(Untileable("a sequential fold whose bounds differ between rows".into()));
        }
        let direct = match self.arena[body] {
            Term::Mma([depth, a, b]) if monoid == Monoid::Add => Some((depth, a, b)),
            _ => None,
        };
        let early = match direct {
            Some((depth, _, b)) if self.arena.domain_axis(depth).is_some_and(|axis| self.width(axis).is_ok()) => {
                let axis = self.arena.domain_axis(depth).expect("just asked");
                // The sequential axis is a column of nothing: it is a scalar in the loop.
                let (columns, _) = self.scoped(parts.axis, 1, |this| this.dot_columns(axis, b))?;
                Some(self.new_variable("sum", true, Some(columns))?)
            }
            _ => None,
        };
        let ((sum, expr), mut statements) = self.scoped(parts.axis, 1, |this| {
            if let (Some(sum), Some((depth, a, b))) = (early, direct) {
                this.dot(depth, a, b, sum, true)?;
                return Ok((sum, None));
            }
            let value = this.value(body)?;
            let columns = this.column_axes(value);
            if columns.len() > 1 {
                return Err(Untileable("a sequential fold of a value with two column axes".into()));
            }
            let sum = this.new_variable("sum", this.has_rows(value), columns.first().copied())?;
            let read = this.read(sum);
            let expr = this.arena.add(combine(monoid, read, value));
            Ok((sum, Some(expr)))
        })?;
        statements.extend(expr.map(|expr| Statement::Set { var: sum, expr }));
        let start = self.arena.num(identity(monoid));
        self.emit(Statement::Set { var: sum, expr: start });
        self.emit(Statement::Loop(Box::new(Loop {
            axis: parts.axis,
            tile: 1,
            lo: bounds.lo,
            hi: bounds.hi,
            full: None,
            walk: None,
            merge: vec![],
            body: statements,
        })));
        Ok(sum)
    }

    /// Loops over the tiles of a domain's parts, one after the other, that fold into the same variables; `body` gets the
    /// predicate that masks edge tiles. Variables that only one loop uses the next one may have.
    fn tiled_loops(
        &mut self,
        parts: &[Domain],
        merge: Vec<Merge>,
        mut body: impl FnMut(&mut Self, Id) -> Lowered<()>,
    ) -> Lowered<()> {
        let outer = std::mem::take(&mut self.free);
        let mut result = Ok(());
        for part in parts {
            match self.tiled_loop(part, merge.clone(), &mut body) {
                Ok(locals) => self.free = locals,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.free = outer;
        result
    }

    /// A loop over the tiles of a domain without unions.
    fn tiled_loop(
        &mut self,
        domain: &Domain,
        merge: Vec<Merge>,
        body: &mut impl FnMut(&mut Self, Id) -> Lowered<()>,
    ) -> Lowered<Vec<Var>> {
        let corners = self.corners();
        let bounds = domain.bounds(self.arena, &corners);
        let tile = self.tile_of(domain)?;
        let walk = match domain.blocks {
            Some((list, block)) => Some(Walk { list, count: self.list_length(list)?, block: block as u32 }),
            None => None,
        };
        let ((), statements, locals) = self.scoped_with_locals(domain.axis, tile, |this| {
            let keep = this.value(bounds.keep)?;
            body(this, keep)
        })?;
        // Which values a gathered tile has nobody knows before.
        let gathered = walk.as_ref().is_some_and(|walk| walk.block < tile);
        self.emit(Statement::Loop(Box::new(Loop {
            axis: domain.axis,
            tile,
            lo: bounds.lo,
            hi: bounds.hi,
            full: bounds.full.filter(|_| !gathered),
            walk,
            merge,
            body: statements,
        })));
        Ok(locals)
    }

    /// Values per iteration.
    fn tile_of(&self, domain: &Domain) -> Lowered<u32> {
        let (wanted, depth) = (self.sizes.columns, self.sizes.depth);
        match domain.blocks {
            None => match self.extents.get(&domain.axis) {
                Some(Some(n)) if *n < i64::from(wanted) && n % i64::from(depth) == 0 => Ok(*n as u32),
                _ => Ok(wanted),
            },
            // A tile lies inside one block, so that it is contiguous in memory; or it is gathered from several small ones.
            Some((_, block)) => {
                let inside = (1..=wanted.max(64)).rev().find(|t| t.is_multiple_of(depth) && block % i64::from(*t) == 0);
                let gathers = self.sizes.gathers && block > 0 && i64::from(wanted) % block == 0;
                match inside {
                    Some(tile) if (!gathers && tile > 1) || tile >= GATHERED_BELOW => Ok(tile),
                    _ if gathers => Ok(wanted),
                    _ => Err(Untileable(format!("blocks of {block} are no multiple of {depth}"))),
                }
            }
        }
    }

    /// Number of entries of a list: the extent of its tensor's last axis.
    fn list_length(&self, list: Id) -> Lowered<u32> {
        let name = match &self.arena[list] {
            Term::List(xs) => match self.arena[xs[0]] {
                Term::Tensor(name) => Some(name),
                _ => None,
            },
            _ => None,
        };
        name.and_then(|name| self.lengths_of_lists.get(&name).copied())
            .ok_or_else(|| Untileable("a list of unknown length".into()))
    }
}

/// The identity of a monoid.
pub(super) fn identity(monoid: Monoid) -> f64 {
    match monoid {
        Monoid::Add => 0.0,
        Monoid::Max | Monoid::Lse => f64::NEG_INFINITY,
        Monoid::Min => f64::INFINITY,
    }
}

fn combine(monoid: Monoid, a: Id, b: Id) -> Term {
    match monoid {
        Monoid::Max | Monoid::Lse => Term::Max([a, b]),
        Monoid::Min => Term::Min([a, b]),
        Monoid::Add => Term::Add([a, b]),
    }
}
