//! Contractions: `(mma D a b)` to fetches and a dot.

use super::*;

impl Lower<'_> {
    /// Lowers `(mma D a b)` to a new variable.
    pub(super) fn contraction(&mut self, domain: Id, a: Id, b: Id) -> Lowered<Var> {
        let axis = self.arena.domain_axis(domain).ok_or_else(|| Untileable("a contraction over no axis".into()))?;
        let whole = self.width(axis).is_ok() && !self.block.column_tiles.contains_key(&axis);
        if !self.open.contains_key(&axis) && !whole {
            // A long contraction is a loop over tiles of its depth.
            return self.plain_fold_of(Monoid::Add, domain, Inner::Mma { a, b });
        }
        let columns = self.dot_columns(axis, b)?;
        let var = self.new_variable("dot", true, Some(columns))?;
        self.dot(domain, a, b, var, false)?;
        Ok(var)
    }

    /// The column axis of a contraction's result: what the second factor varies over besides the depth.
    pub(super) fn dot_columns(&self, depth: AxisName, b: Id) -> Lowered<AxisName> {
        let mut axes = self.column_axes(b);
        axes.remove(&depth);
        match (axes.len(), axes.first()) {
            (1, Some(axis)) if !self.has_rows(b) => Ok(*axis),
            _ => Err(Untileable("the second factor of a contraction does not have exactly one column axis".into())),
        }
    }

    /// `var (+)= sum over the domain's axis of a * b`.
    pub(super) fn dot(&mut self, domain: Id, a: Id, b: Id, var: Var, accumulate: bool) -> Lowered<()> {
        let depth = self.arena.domain_axis(domain).ok_or_else(|| Untileable("a contraction over no axis".into()))?;
        let depth = Span { axis: depth, count: self.width(depth)? };
        if !depth.count.is_multiple_of(self.sizes.depth) {
            let (count, multiple) = (depth.count, self.sizes.depth);
            return Err(Untileable(format!("{count} values of {} are no multiple of {multiple}", depth.axis.name())));
        }
        let a = self.first_operand(a, &depth)?;
        let b = self.second_operand(b, &depth)?;
        self.emit(Statement::Dot { var, a, b, depth, accumulate });
        Ok(())
    }

    fn first_operand(&mut self, a: Id, depth: &Span) -> Lowered<Operand> {
        let a = self.value(a)?;
        let mut computed = false;
        self.each_variable(a, &mut |_| computed = true);
        if computed {
            let var = self.as_variable("factor", a)?;
            return match &self.variables[var as usize].columns {
                Some(span) if span == depth => Ok(Operand::Var(var)),
                _ => Err(Untileable("the first factor of a contraction does not vary along its depth".into())),
            };
        }
        let mut columns = self.column_axes(a);
        columns.remove(&depth.axis);
        if !columns.is_empty() {
            return Err(Untileable("the first factor of a contraction has a column axis besides its depth".into()));
        }
        Ok(Operand::Tile(self.fetch(a, TileAxis::Rows, depth.clone())?))
    }

    fn second_operand(&mut self, b: Id, depth: &Span) -> Lowered<u32> {
        let b = self.value(b)?;
        let mut computed = false;
        self.each_variable(b, &mut |_| computed = true);
        if computed {
            return Err(Untileable("the second factor of a contraction is itself computed from tiles".into()));
        }
        let columns = self.dot_columns(depth.axis, b)?;
        let columns = Span { axis: columns, count: self.width(columns)? };
        // The axis that is contiguous in memory is the tile's fast one.
        match self.last_index(b) == Some(columns.axis) {
            true => self.fetch(b, TileAxis::Span(depth.clone()), columns),
            false => self.fetch(b, TileAxis::Span(columns), depth.clone()),
        }
    }

    /// The axis that is the last index of a load.
    fn last_index(&self, id: Id) -> Option<AxisName> {
        let Term::Load(xs) = &self.arena[id] else { return None };
        match self.arena[*xs.last()?] {
            Term::Axis(axis) => Some(axis),
            _ => None,
        }
    }

    /// A tile in the innermost scope that it depends on; the same tile is fetched once.
    #[expect(clippy::expect_used, reason = "the scope of the kernel stays until the end")]
    fn fetch(&mut self, element: Id, slow: TileAxis, fast: Span) -> Lowered<u32> {
        let key = (element, fast.axis, slow == TileAxis::Rows);
        if let Some(tile) = self.scopes.iter().rev().find_map(|s| s.fetched.get(&key)) {
            return Ok(*tile);
        }
        let copy = self.last_index(element) == Some(fast.axis)
            && match &self.arena[element] {
                Term::Load(xs) => xs[1..xs.len() - 1].iter().all(|i| !self.arena.free(*i).contains(&fast.axis)),
                _ => false,
            };
        let label = match &self.arena[element] {
            Term::Load(xs) => match self.arena[xs[0]] {
                Term::Tensor(name) => name.name().to_string(),
                _ => "tile".into(),
            },
            _ => "tile".into(),
        };
        let dtype = self.element;
        Ok(self.hoisted(element, |this| {
            let stages = if this.scopes.len() > 1 { this.sizes.stages } else { 1 };
            let tile = this.tiles.len() as u32;
            this.tiles.push(Tile { label, slow, fast, element, copy, dtype, stages });
            this.emit(Statement::Fetch { tile });
            this.scopes.last_mut().expect("a scope").fetched.insert(key, tile);
            tile
        }))
    }
}

/// What a tiled fold computes inside one tile.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inner {
    /// A contraction over the tile.
    Mma { a: Id, b: Id },
    /// A fold of a value along the tile.
    Fold { body: Id },
}
