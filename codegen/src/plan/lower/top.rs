//! `(top N D score force)`: a running list over tiles of the searched axis.
//!
//! Where the score contains a contraction, its columns lie on another axis than the searched one (compressed keys against
//! blocks of keys, say): a band of them for every searched value. That part is computed in tiles of its own, staged, and
//! read back by the scalar term that scores one value. Bands of neighbouring values overlap; the stage is a ring, so a
//! column is computed once.

use super::*;
use crate::plan::domain::Domain;
use crate::plan::split::cut;
use nsa_dsl::program::LONGEST_LIST;

/// What a score reads through a stage.
struct Staged {
    /// The term that is staged, without a sum over a row axis around it.
    body: Id,
    /// That sum's axis.
    sum: Option<AxisName>,
    /// The term in the score that the stage replaces.
    replaced: Id,
    /// The score without that sum, where it was further out.
    scored: Id,
    /// The domain of the fold that reads the stage; None if the stage's columns are the searched values.
    band: Option<Domain>,
}

/// Candidates per step: one per lane of a warp.
const LANES: i64 = 32;

/// Chunks of a walked axis are a multiple of this long: of every tile.
const CHUNK_OF: i64 = 64;

impl Lower<'_> {
    /// Lowers a list and its store. `rows` are the row axes of the list's tensor.
    pub(in crate::plan) fn top(&mut self, top: Id, buffer: TensorName, index: Vec<Id>, rows: Vec<Span>) -> Lowered<()> {
        let Term::Top([count, domain, score, force]) = self.arena[top].clone() else {
            return Err(Untileable("a list that is not a top".into()));
        };
        let count = self.arena.as_int(count).filter(|n| (1..=LONGEST_LIST).contains(n));
        let count = count.ok_or_else(|| Untileable(format!("a list longer than {LONGEST_LIST}")))? as u32;
        let parts =
            Domain::read(self.arena, domain).ok_or_else(|| Untileable("the best of two lists of blocks".into()))?;
        let list = self.lists.len() as u32;
        self.lists.push(ListState { rows, count });
        for part in parts {
            self.candidates(part, list, score, force)?;
        }
        self.emit(Statement::StoreList { list, buffer, index });
        Ok(())
    }

    /// A loop over the candidates of a domain without unions.
    fn candidates(&mut self, mut domain: Domain, list: u32, score: Id, force: Id) -> Lowered<()> {
        // Candidates are looked at one by one: whether one is in a listed block is asked of each.
        if let Some((list, size)) = domain.blocks.take() {
            let (here, size) = (self.arena.axis(domain.axis), self.arena.int(size));
            let block = self.arena.add(Term::IntDiv([here, size]));
            domain.masks.push(self.arena.add(Term::In([block, list])));
        }
        self.each_tile(&domain, score, &mut |this, columns, score, keep| {
            this.emit(Statement::Insert { list, columns, score, force, among: keep });
            Ok(())
        })
    }

    /// Computes a tensor along one of its axes, tile by tile; `chunks`: by so many blocks, each a part of the axis.
    pub(in crate::plan) fn walk(
        &mut self,
        root: Id,
        buffer: TensorName,
        axes: &[AxisName],
        axis: AxisName,
        chunks: Option<i64>,
    ) -> Lowered<()> {
        let here = self.arena.axis(axis);
        let mut domain = self.arena.add(Term::All(here));
        if let Some(chunks) = chunks {
            domain = cut(self.arena, domain, axis, chunks, CHUNK_OF);
        }
        let domain = Domain::read_one(self.arena, domain).ok_or_else(|| Untileable("a walk over no axis".into()))?;
        if self.find_staged(axis, root)?.is_none() {
            return Err(Untileable("no contraction".into()));
        }
        let index: Vec<Id> = axes.iter().map(|a| self.arena.axis(*a)).collect();
        self.each_tile(&domain, root, &mut |this, columns, value, _| {
            let (index, columns) = (index.clone(), Some(columns));
            this.emit(Statement::Store { buffer, index, value, rows: true, columns });
            Ok(())
        })
    }

    /// A loop over tiles of a domain; `body` gets the tile, what remains to be computed at one value once the contraction in
    /// `score` has been staged, and the predicate that values of the domain satisfy.
    fn each_tile(
        &mut self,
        domain: &Domain,
        score: Id,
        body: &mut dyn FnMut(&mut Self, Span, Id, Id) -> Lowered<()>,
    ) -> Lowered<()> {
        let corners = self.corners();
        let bounds = domain.bounds(self.arena, &corners);
        let staged = self.find_staged(domain.axis, score)?;
        let (tile, ring) = match &staged {
            None => (LANES, None),
            Some(Staged { band: None, .. }) => {
                let width = self.sizes.columns.next_power_of_two();
                (i64::from(width), Some(width))
            }
            Some(Staged { band: Some(band), .. }) => self.band(domain, band)?,
        };
        let ((), body) = self.scoped(domain.axis, tile as u32, |this| {
            let score = match (&staged, ring) {
                (Some(staged), Some(ring)) => match &staged.band {
                    Some(band) => this.stage_band(domain.axis, (tile, bounds.lo), staged, band, ring)?,
                    None => this.stage_tile(domain.axis, staged, ring)?,
                },
                _ => this.value(score)?,
            };
            let columns = Span { axis: domain.axis, count: tile as u32 };
            body(this, columns, score, bounds.keep)
        })?;
        self.emit(Statement::Loop(Box::new(Loop {
            axis: domain.axis,
            tile: tile as u32,
            lo: bounds.lo,
            hi: bounds.hi,
            full: None,
            walk: None,
            merge: vec![],
            body,
        })));
        Ok(())
    }

    /// The part of a score that is computed in tiles.
    #[expect(clippy::unreachable, reason = "the same place of the path was matched above")]
    fn find_staged(&mut self, searched: AxisName, score: Id) -> Lowered<Option<Staged>> {
        let Some(path) = self.path_to_contraction(score)? else { return Ok(None) };
        // The fold whose axis gives the columns of the contraction inside it.
        let banded = path.windows(2).position(|pair| match self.arena[pair[0]] {
            Term::Fold([_, domain, _]) => {
                self.arena.domain_axis(domain).is_some_and(|axis| self.is_column_in(axis, pair[1]))
            }
            _ => false,
        });
        let Some(banded) = banded else {
            let contraction = *path.last().unwrap_or(&score);
            if !self.is_column_in(searched, contraction) {
                return Err(Untileable("a score whose contraction no fold reads".into()));
            }
            let mut staged = Staged { body: contraction, sum: None, replaced: contraction, scored: score, band: None };
            let outer = |id: &Id| self.sum_over(*id).is_some_and(|(axis, whole)| whole && self.is_row(axis));
            if let Some(outer) = path.iter().position(outer) {
                staged.sum = self.sum_over(path[outer]).map(|(axis, _)| axis);
                (staged.body, staged.replaced) = (path[outer + 1], path[outer]);
            }
            return Ok(Some(staged));
        };
        let Term::Fold([_, domain, _]) = self.arena[path[banded]] else { unreachable!("it was one above") };
        let domain = Domain::read_one(self.arena, domain)
            .filter(|d| d.blocks.is_none())
            .ok_or_else(|| Untileable("a score over listed blocks".into()))?;
        // The largest part of its body that does not depend on the searched axis.
        let body = path[banded + 1..].iter().position(|id| !self.arena.free(*id).contains(&searched));
        let body = banded + 1 + body.ok_or_else(|| Untileable("a contraction of the searched axis".into()))?;
        let mut staged = Staged { body: path[body], sum: None, replaced: path[body], scored: score, band: None };

        // A sum over a row axis, directly around that part or further out, is taken before the value is staged.
        if let Some((axis, true)) = self.sum_over(path[body])
            && self.is_row(axis)
        {
            staged.body = path[body + 1];
            staged.sum = Some(axis);
        } else if let Some(outer) = self.linear_row_sum(&path[..=body]) {
            staged.sum = self.sum_over(path[outer]).map(|(axis, _)| axis);
            staged.scored = self.arena.replace(score, path[outer], path[outer + 1]);
        }
        for e in domain.upto.iter().chain(&domain.from).chain(&domain.masks) {
            if staged.sum.is_some_and(|axis| self.arena.free(*e).contains(&axis)) {
                return Err(Untileable("a band that differs between summed rows".into()));
            }
        }
        staged.band = Some(domain);
        Ok(Some(staged))
    }

    /// The terms from a score down to its only contraction; None if it has none.
    fn path_to_contraction(&self, score: Id) -> Lowered<Option<Vec<Id>>> {
        let holds = |id: &Id| self.arena.contains(*id, &|t| matches!(t, Term::Mma(_)));
        if !holds(&score) {
            return Ok(None);
        }
        let mut path = vec![score];
        while let Some(at) = path.last().filter(|at| !matches!(self.arena[**at], Term::Mma(_))) {
            let children: Vec<Id> = egg::Language::children(&self.arena[*at]).iter().copied().filter(holds).collect();
            match children[..] {
                [child] => path.push(child),
                _ => return Err(Untileable("a score with contractions in several places".into())),
            }
        }
        Ok(Some(path))
    }

    /// The axis of a sum, and whether it is over all of the axis.
    fn sum_over(&self, id: Id) -> Option<(AxisName, bool)> {
        match self.arena[id] {
            Term::Fold([monoid, domain, _]) if self.arena[monoid] == Term::Monoid(Monoid::Add) => {
                Some((self.arena.domain_axis(domain)?, matches!(self.arena[domain], Term::All(_))))
            }
            _ => None,
        }
    }

    /// A sum over a whole row axis above the end of a path, if everything between is linear in that end and does not
    /// otherwise depend on the axis: `sum_r f(x_r) = f(sum_r x_r)`.
    fn linear_row_sum(&self, path: &[Id]) -> Option<usize> {
        let outer = path.iter().position(|id| self.sum_over(*id).is_some_and(|(a, all)| all && self.is_row(a)))?;
        let (axis, _) = self.sum_over(path[outer])?;
        let linear = path[outer + 1..].windows(2).all(|pair| {
            let others_free = |x: &[Id]| x.iter().all(|c| *c == pair[1] || !self.arena.free(*c).contains(&axis));
            match &self.arena[pair[0]] {
                Term::Mul(x) => others_free(x) && x[0] != x[1],
                Term::Div(x) => x[0] == pair[1] && others_free(x),
                Term::Fold(x) => self.sum_over(pair[0]).is_some() && others_free(x),
                _ => false,
            }
        });
        linear.then_some(outer)
    }

    fn is_column_in(&self, axis: AxisName, body: Id) -> bool {
        let mut found = false;
        crate::plan::contractions(self.arena, body, &mut |depth, a, b| {
            found |= self.arena.domain_axis(depth) != Some(axis)
                && self.arena.free(b).contains(&axis)
                && !self.arena.free(a).contains(&axis);
        });
        found
    }

    /// How many searched values make a tile so that their new columns fit one, and the width of the ring.
    fn band(&mut self, searched: &Domain, band: &Domain) -> Lowered<(i64, Option<u32>)> {
        let fits = || Untileable("a score whose columns are no fixed band of the searched axis".into());
        let upper = self.moving(&band.upto, searched.axis);
        let lower = self.moving(&band.from, searched.axis);
        let upper = upper.into_iter().reduce(|a, b| self.arena.add(Term::IntMin([a, b]))).ok_or_else(fits)?;
        let lower = lower.into_iter().reduce(|a, b| self.arena.add(Term::IntMax([a, b]))).ok_or_else(fits)?;
        // Integer functions of one axis, evaluated far from 0 where no clamp acts.
        let at = |this: &mut Self, e: Id, x: i64| -> Lowered<i64> {
            let x = this.arena.int(x);
            let e = this.arena.substitute(e, &HashMap::from([(searched.axis, x)]));
            this.arena.as_int(e).ok_or_else(fits)
        };
        const FAR: i64 = 1 << 20;
        let widest = i64::from(self.sizes.columns.max(64));
        for tile in [32, 16, 8, 4, 2, 1] {
            let new = at(self, upper, FAR + tile - 1)? - at(self, upper, FAR - 1)?;
            let old = at(self, upper, FAR - 1)? + 1 - at(self, lower, FAR)?;
            if new < 1 || old < 0 || new > widest {
                continue;
            }
            // The last tile of columns is computed whole, so it needs its room in the ring as well.
            let width = i64::from(self.sizes.columns);
            let mut ring = (new + width - 1) / width * width + old;
            if !searched.from.is_empty() {
                // Its first tile starts with no columns.
                ring = ring.max((new + old + width - 1) / width * width);
            }
            let ring = u32::try_from(ring).map_err(|_| fits())?.next_power_of_two();
            return Ok((tile, Some(ring)));
        }
        Err(fits())
    }

    /// The bounds that move with the searched axis.
    fn moving(&self, bounds: &[Id], axis: AxisName) -> Vec<Id> {
        bounds.iter().copied().filter(|e| self.arena.free(*e).contains(&axis)).collect()
    }

    /// Computes the new columns of a tile of searched values into a stage, all columns for the first tile; returns the score
    /// that reads it.
    fn stage_band(
        &mut self,
        searched: AxisName,
        (tile, first): (i64, Id),
        staged: &Staged,
        band: &Domain,
        ring: u32,
    ) -> Lowered<Id> {
        let axis = band.axis;
        let corners = self.corners();
        let here = self.arena.axis(searched);
        let last = self.arena.plus(here, tile - 1);
        let before = self.arena.plus(here, -1);
        let upper = self.moving(&band.upto, searched);
        let upper = upper
            .into_iter()
            .reduce(|a, b| self.arena.add(Term::IntMin([a, b])))
            .ok_or_else(|| Untileable("a band without an upper bound".into()))?;
        let end = self.arena.substitute(upper, &HashMap::from([(searched, last)]));
        let end = self.arena.plus(end, 1);
        let start = self.arena.substitute(upper, &HashMap::from([(searched, before)]));
        let mut start = self.arena.plus(start, 1);
        if self.arena.as_int(first) != Some(0) {
            let lower = self.moving(&band.from, searched);
            let lower = lower.into_iter().reduce(|a, b| self.arena.add(Term::IntMax([a, b])));
            let lower = lower.ok_or_else(|| Untileable("a band without a lower bound".into()))?;
            let is_first = self.arena.add(Term::IntEq([here, first]));
            start = self.arena.add(Term::Select([is_first, lower, start]));
        }
        // Columns that no row sees are never read.
        let mut seen = band.clone();
        seen.upto.retain(|e| !self.arena.free(*e).contains(&searched));
        seen.from.retain(|e| !self.arena.free(*e).contains(&searched));
        let bounds = seen.bounds(self.arena, &corners);
        let zero = self.arena.int(0);
        let lo = self.arena.add(Term::IntMax([start, zero]));
        let hi = self.arena.add(Term::IntMin([bounds.hi, end]));

        let (stage, read) = self.new_stage(axis, staged.sum, ring);
        let width = self.sizes.columns;
        let ((), body) = self.scoped(axis, width, |this| {
            let value = this.value(staged.body)?;
            let from = this.as_variable("staged", value)?;
            this.emit(Statement::Stage { stage, from, sum: staged.sum });
            Ok(())
        })?;
        self.emit(Statement::Loop(Box::new(Loop {
            axis,
            tile: width,
            lo,
            hi,
            full: None,
            walk: None,
            merge: vec![],
            body,
        })));
        let replaced = self.arena.replace(staged.scored, staged.replaced, read);
        self.value(replaced)
    }

    /// Computes the columns of one tile of searched values into a stage; returns the score that reads it.
    fn stage_tile(&mut self, searched: AxisName, staged: &Staged, ring: u32) -> Lowered<Id> {
        let (stage, read) = self.new_stage(searched, staged.sum, ring);
        let value = self.value(staged.body)?;
        let from = self.as_variable("staged", value)?;
        self.emit(Statement::Stage { stage, from, sum: staged.sum });
        let replaced = self.arena.replace(staged.scored, staged.replaced, read);
        self.value(replaced)
    }

    /// A stage of the block's rows but for the one that is summed, and the term that reads it at one element.
    fn new_stage(&mut self, columns: AxisName, sum: Option<AxisName>, ring: u32) -> (u32, Id) {
        let rows: Vec<Span> = self.block.rows.iter().filter(|s| Some(s.axis) != sum).cloned().collect();
        let stage = self.stages.len() as u32;
        let mut read = vec![self.arena.add(Term::Tensor(TensorName::new(&format!("stage:{stage}"))))];
        for axis in rows.iter().map(|span| span.axis).chain([columns]) {
            read.push(self.arena.axis(axis));
        }
        self.stages.push(super::super::Stage { rows, columns: Span { axis: columns, count: ring } });
        (stage, self.arena.add(Term::Load(read.into())))
    }
}
