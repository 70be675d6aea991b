//! `(top N D score force)`: a running list over tiles of the searched axis.
//!
//! Where the score contains a contraction, its columns lie on another axis than the searched one (compressed keys against
//! blocks of keys, say): a band of them for every searched value. That part is computed in tiles of its own, staged, and
//! read back by the scalar term that scores one value. Bands of neighbouring values overlap; the stage is a ring, so a
//! column is computed once.

use super::*;
use crate::plan::domain::Domain;

/// What a score reads through a stage.
struct Staged {
    /// The term that is staged, without a sum over a row axis around it.
    body: Id,
    /// That sum's axis.
    sum: Option<AxisName>,
    /// The term in the score that the stage replaces.
    replaced: Id,
    /// The domain of the fold that reads the stage.
    domain: Domain,
}

/// Candidates per step: one per lane of a warp.
const LANES: i64 = 32;

impl Lower<'_> {
    /// Lowers a list and its store. `rows` are the row axes of the list's tensor.
    pub(in crate::plan) fn top(&mut self, top: Id, buffer: TensorName, index: Vec<Id>, rows: Vec<Span>) -> Lowered<()> {
        let Term::Top([count, domain, score, force]) = self.arena[top].clone() else {
            return Err(Untileable("a list that is not a top".into()));
        };
        let count = self.arena.as_int(count).filter(|n| (1..=128).contains(n));
        let count = count.ok_or_else(|| Untileable("a list longer than 128".into()))? as u32;
        let domain = Domain::read(self.arena, domain)
            .filter(|d| d.blocks.is_none())
            .ok_or_else(|| Untileable("the best of listed blocks".into()))?;
        let list = self.lists.len() as u32;
        self.lists.push(ListState { rows, count });
        let corners = self.corners();
        let bounds = domain.bounds(self.arena, &corners);
        let staged = self.find_staged(domain.axis, score)?;
        let (tile, ring) = match &staged {
            None => (LANES, None),
            Some(staged) => self.band(&domain, staged)?,
        };
        let ((), body) = self.scoped(domain.axis, tile as u32, |this| {
            let score = match (&staged, ring) {
                (Some(staged), Some(ring)) => this.stage(domain.axis, tile, staged, ring, score)?,
                _ => this.value(score)?,
            };
            let columns = Span { axis: domain.axis, count: tile as u32 };
            this.emit(Statement::Insert { list, columns, score, force, among: bounds.keep });
            Ok(())
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
        self.emit(Statement::StoreList { list, buffer, index });
        Ok(())
    }

    /// The part of a score that is computed in tiles.
    fn find_staged(&mut self, searched: AxisName, score: Id) -> Lowered<Option<Staged>> {
        if !self.arena.contains(score, &|t| matches!(t, Term::Mma(_))) {
            return Ok(None);
        }
        // Down to the fold whose axis gives the columns of the contraction inside it.
        let mut at = score;
        let domain = loop {
            let children: Vec<Id> = egg::Language::children(&self.arena[at])
                .iter()
                .copied()
                .filter(|c| self.arena.contains(*c, &|t| matches!(t, Term::Mma(_))))
                .collect();
            let [child] = children[..] else {
                return Err(Untileable("a score with contractions in several places".into()));
            };
            if let Term::Fold([monoid, domain, _]) = self.arena[at].clone()
                && self.arena[monoid] == Term::Monoid(Monoid::Add)
                && let Some(axis) = self.arena.domain_axis(domain)
                && self.is_column_in(axis, child)
            {
                at = child;
                break Domain::read(self.arena, domain)
                    .filter(|d| d.blocks.is_none())
                    .ok_or_else(|| Untileable("a score over listed blocks".into()))?;
            }
            at = child;
        };
        // Down to the largest part that does not depend on the searched axis.
        while self.arena.free(at).contains(&searched) {
            let next = egg::Language::children(&self.arena[at])
                .iter()
                .copied()
                .find(|c| self.arena.contains(*c, &|t| matches!(t, Term::Mma(_))));
            at = next.ok_or_else(|| Untileable("a contraction that depends on the searched axis".into()))?;
        }
        let mut staged = Staged { body: at, sum: None, replaced: at, domain };
        if let Term::Fold([monoid, rows, body]) = self.arena[at].clone()
            && self.arena[monoid] == Term::Monoid(Monoid::Add)
            && let Term::All(_) = self.arena[rows]
            && let Some(axis) = self.arena.domain_axis(rows).filter(|axis| self.is_row(*axis))
        {
            staged.body = body;
            staged.sum = Some(axis);
        }
        let kept: Vec<AxisName> =
            self.block.rows.iter().map(|s| s.axis).filter(|axis| Some(*axis) != staged.sum).collect();
        for e in staged.domain.upto.iter().chain(&staged.domain.from).chain(&staged.domain.masks) {
            if self.arena.free(*e).iter().any(|axis| self.is_row(*axis) && !kept.contains(axis)) {
                return Err(Untileable("a band that differs between summed rows".into()));
            }
        }
        Ok(Some(staged))
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
    fn band(&mut self, searched: &Domain, staged: &Staged) -> Lowered<(i64, Option<u32>)> {
        let fits = || Untileable("a score whose columns are no fixed band of the searched axis".into());
        if !searched.from.is_empty() {
            return Err(fits());
        }
        let upper = self.moving(&staged.domain.upto, searched.axis);
        let lower = self.moving(&staged.domain.from, searched.axis);
        let ([upper], [lower]) = (&upper[..], &lower[..]) else { return Err(fits()) };
        // Integer functions of one axis, evaluated far from 0 where no clamp acts.
        let at = |this: &mut Self, e: Id, x: i64| -> Lowered<i64> {
            let x = this.arena.int(x);
            let e = this.arena.substitute(e, &HashMap::from([(searched.axis, x)]));
            this.arena.as_int(e).ok_or_else(fits)
        };
        const FAR: i64 = 1 << 20;
        let widest = i64::from(self.sizes.columns.max(64));
        for tile in [32, 16, 8, 4, 2, 1] {
            let new = at(self, *upper, FAR + tile - 1)? - at(self, *upper, FAR - 1)?;
            let old = at(self, *upper, FAR - 1)? + 1 - at(self, *lower, FAR)?;
            if new < 1 || old < 0 || new > widest {
                continue;
            }
            // The last tile of columns is computed whole, so it needs its room in the ring as well.
            let width = i64::from(self.sizes.columns);
            let ring = u32::try_from((new + width - 1) / width * width + old).map_err(|_| fits())?.next_power_of_two();
            return Ok((tile, Some(ring)));
        }
        Err(fits())
    }

    /// The bounds that move with the searched axis.
    fn moving(&self, bounds: &[Id], axis: AxisName) -> Vec<Id> {
        bounds.iter().copied().filter(|e| self.arena.free(*e).contains(&axis)).collect()
    }

    /// Computes the new columns of a tile of searched values into a stage; returns the score that reads it.
    fn stage(&mut self, searched: AxisName, tile: i64, staged: &Staged, ring: u32, score: Id) -> Lowered<Id> {
        let axis = staged.domain.axis;
        let corners = self.corners();
        let here = self.arena.axis(searched);
        let last = self.arena.plus(here, tile - 1);
        let before = self.arena.plus(here, -1);
        let upper = self.moving(&staged.domain.upto, searched)[0];
        let end = self.arena.substitute(upper, &HashMap::from([(searched, last)]));
        let end = self.arena.plus(end, 1);
        let start = self.arena.substitute(upper, &HashMap::from([(searched, before)]));
        let start = self.arena.plus(start, 1);
        // Columns that no row sees are never read.
        let mut seen = staged.domain.clone();
        seen.upto.retain(|e| !self.arena.free(*e).contains(&searched));
        seen.from.retain(|e| !self.arena.free(*e).contains(&searched));
        let bounds = seen.bounds(self.arena, &corners);
        let zero = self.arena.int(0);
        let lo = self.arena.add(Term::IntMax([start, zero]));
        let hi = self.arena.add(Term::IntMin([bounds.hi, end]));

        let rows: Vec<Span> = self.block.rows.iter().filter(|s| Some(s.axis) != staged.sum).cloned().collect();
        let stage = self.stages.len() as u32;
        let mut read = vec![self.arena.add(Term::Tensor(TensorName::new(&format!("stage:{stage}"))))];
        for span in &rows {
            read.push(self.arena.axis(span.axis));
        }
        read.push(self.arena.axis(axis));
        let read = self.arena.add(Term::Load(read.into()));
        let width = self.sizes.columns;
        self.stages.push(super::super::Stage { rows, columns: Span { axis, count: ring } });
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
        let replaced = self.arena.replace(score, staged.replaced, read);
        self.value(replaced)
    }
}
