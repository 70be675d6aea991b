//! Kernels over tiles: rows and columns from the contractions, sizes from the tiling.

use super::*;
use crate::plan::lower::{Block, Lower, Sizes};
use crate::plan::tiling::LIST_BYTES;

impl Planner<'_> {
    /// A kernel whose rows and columns are those of its contractions, with as many columns at a time as a thread has
    /// registers for.
    pub(super) fn tiled(&mut self, group: &[Root]) -> Result<Kernel, Untileable> {
        let mut wish = self.tiled_in(group, 4, None)?;
        let Some(limit) = self.tiling.registers else { return Ok(wish) };
        if resources::Resources::of(&wish).registers > limit {
            for quarters in [3, 2] {
                let narrow = self.tiled_in(group, quarters, None)?;
                if resources::Resources::of(&narrow).registers <= limit {
                    return Ok(narrow);
                }
            }
            spread(&mut wish, limit);
        }
        Ok(wish)
    }

    /// A kernel that walks the last axis of its tensor, a run-time one beside another, and stores tile by tile: for values
    /// over an axis that is no column of their contractions (what falls on each block of keys, from compressed keys).
    pub(super) fn walked(&mut self, group: &[Root]) -> Result<Kernel, Untileable> {
        let runtime = |axis: &AxisName| self.constant(*axis).is_none();
        match group {
            [root] => match root.axes.split_last() {
                Some((last, others)) if runtime(last) && others.iter().any(runtime) => {
                    let axes = self.axes.len();
                    let kernel = self.tiled_in(group, 4, Some(*last));
                    if kernel.is_err() {
                        // Of chunks that nobody needs nothing is left.
                        for axis in self.axes.drain(axes..) {
                            self.extents.remove(&axis.name);
                        }
                    }
                    kernel
                }
                _ => Err(Untileable("no axis to walk".into())),
            },
            _ => Err(Untileable("several tensors".into())),
        }
    }

    /// As `tiled`, with so many quarters of the columns that its kind of kernel walks at a time; `walked`: the axis of the
    /// tensor that a loop walks.
    fn tiled_in(&mut self, group: &[Root], quarters: u32, walked: Option<AxisName>) -> Result<Kernel, Untileable> {
        let mut firsts: Vec<BTreeSet<AxisName>> = vec![];
        let mut seconds: BTreeSet<AxisName> = BTreeSet::new();
        let mut rows: Option<BTreeSet<AxisName>> = None;
        let mut split: BTreeSet<AxisName> = BTreeSet::new();
        for root in group {
            contractions(&self.arena, root.term, &mut |depth, a, b| {
                let (mut a, b) = (self.arena.free(a).clone(), self.arena.free(b).clone());
                let mine = &a - &b;
                // What is summed over here may be a column elsewhere: keys that are values too.
                if let Some(depth) = self.arena.domain_axis(depth) {
                    a.remove(&depth);
                }
                rows = Some(rows.take().map_or_else(|| mine.clone(), |r| &r & &mine));
                firsts.push(a);
                seconds.extend(b);
            });
            self.list_axes(root.term, &mut split);
        }
        let is_top = matches!(self.arena[group[0].term], Term::Top(_));
        let grid_axes = || group.iter().flat_map(|r| r.axes.iter().copied()).filter(|axis| Some(*axis) != walked);
        let defined: BTreeSet<AxisName> = grid_axes().collect();
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
        let constants: Vec<AxisName> = rows.iter().copied().filter(|axis| self.constant(*axis).is_some()).collect();
        if self.list_bytes(&group[0], &constants).is_some_and(|bytes| bytes > LIST_BYTES) {
            // Long lists of many heads: a block has those of one.
            rows.retain(|axis| !constants.contains(axis) || !defined.contains(axis));
        }
        if is_top && rows.is_empty() {
            // One warp per list: the run-time axis makes the rows.
            rows.extend(defined.iter().copied().filter(|a| self.constant(*a).is_none()));
        }
        let columns: Vec<AxisName> =
            grid_axes().filter(|axis| seconds.contains(axis) && firsts.iter().all(|f| !f.contains(axis))).collect();

        let mut order: Vec<AxisName> = vec![];
        for axis in grid_axes().chain(rows.iter().copied()) {
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
        // What is walked is staged, as what lists are chosen by.
        let list_bytes = self.list_bytes(&group[0], &row_axes).or(walked.map(|_| 0));
        let shape = self.tiling.shape(constant_rows as u32, !runtime.is_empty(), list_bytes);
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
        // Unless blocks share the fold inside already.
        let shared = defined.contains(&AxisName::new(CHUNK));
        let chunks = (walked.is_some() && self.tiling.spread && !shared).then_some(self.tiling.chunks);
        if chunks.is_some() {
            grid.push(GridAxis { axis: self.chunk_axis(), tile: 1 });
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
        let sizes = Sizes {
            columns: columns_at_a_time,
            stages: shape.stages,
            depth: self.tiling.depth,
            gathers: self.tiling.gathers,
        };
        let mut lower = Lower::new(&mut self.arena, &self.extents, &self.lengths_of_lists, self.element, block, sizes);
        for root in group {
            if let Term::Top(_) = lower.arena[root.term] {
                let index: Vec<Id> = root.axes.iter().map(|a| lower.arena.axis(*a)).collect();
                let of_list: Vec<Span> = rows.iter().filter(|s| root.axes.contains(&s.axis)).cloned().collect();
                lower.top(root.term, root.tensor, index, of_list)?;
                continue;
            }
            match walked {
                Some(axis) => lower.walk(root.term, root.tensor, &root.axes, axis, chunks)?,
                None => lower.store(root.term, root.tensor, &root.axes, &columns)?,
            }
        }
        let layout = Layout::Fragments { rows: shape.warps, repeat: shape.repeat, columns: shape.column_warps };
        let mut kernel = lower.finish(kernel_name(group), grid, layout);
        if let Layout::Fragments { columns, .. } = &mut kernel.layout
            && folds_columns_inside(&kernel.variables, &kernel.body)
        {
            // Warps that share the columns of the outer loop cannot share the inner one's as well.
            *columns = 1;
        }
        Ok(kernel)
    }

    /// What the lists that a block builds take for one value of its run-time row axis, in bytes; None if it builds none.
    fn list_bytes(&self, root: &Root, row_axes: &[AxisName]) -> Option<u32> {
        let Term::Top([count, ..]) = self.arena[root.term] else { return None };
        let count = self.arena.as_int(count).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let varies = row_axes.iter().filter(|axis| root.axes.contains(axis));
        let lists: i64 = varies.filter_map(|axis| self.constant(*axis)).product();
        Some(ListState { rows: vec![], count }.bytes().saturating_mul(lists as u32))
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
}

/// Whether a loop inside another one folds into a variable whose columns the outer one walks: a contraction whose depth is
/// longer than a tile.
fn folds_columns_inside(variables: &[Variable], body: &[Statement]) -> bool {
    let mut found = false;
    visit::statements(body, &mut |statement| {
        let Statement::Loop(outer) = statement else { return };
        let walked = |var: &Var| variables[*var as usize].columns.as_ref().is_some_and(|c| c.axis == outer.axis);
        visit::statements(&outer.body, &mut |statement| {
            if let Statement::Loop(inner) = statement {
                found |= inner.tile > 1 && inner.merge.iter().any(|merge| merge.values.iter().any(walked));
            }
        });
    });
    found
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
