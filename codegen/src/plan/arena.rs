//! A growing, hash-consed arena of terms: what the planner builds scalar expressions in.

use crate::term::{AxisName, Real, Term};
use egg::{Id, Language, RecExpr};
use std::collections::{BTreeSet, HashMap};

/// Terms by value: adding an equal node twice gives the same id.
#[derive(Default)]
pub struct Arena {
    nodes: RecExpr<Term>,
    index: HashMap<Term, Id>,
    free: Vec<BTreeSet<AxisName>>,
    /// Constant extents: lengths of these axes fold to integers.
    lengths: HashMap<AxisName, i64>,
}

impl std::ops::Index<Id> for Arena {
    type Output = Term;
    fn index(&self, id: Id) -> &Term {
        &self.nodes[id]
    }
}

impl Arena {
    /// An arena in which the lengths of these axes are constants.
    pub fn new(lengths: HashMap<AxisName, i64>) -> Self {
        Arena { lengths, ..Arena::default() }
    }

    /// Everything that was added.
    pub fn finish(self) -> RecExpr<Term> {
        self.nodes
    }

    /// Adds a node; integer arithmetic on constants is folded.
    pub fn add(&mut self, node: Term) -> Id {
        let node = self.fold_constants(node);
        if let Some(id) = self.index.get(&node) {
            return *id;
        }
        let mut free: BTreeSet<AxisName> = BTreeSet::new();
        match &node {
            Term::Axis(a) => {
                free.insert(*a);
            }
            Term::Fold([_, domain, body]) => {
                free = self.bound_by(*domain, *body);
            }
            Term::Mma([domain, a, b]) => {
                free = &self.bound_by(*domain, *a) | &self.bound_by(*domain, *b);
            }
            Term::Top([_, domain, score, force]) => {
                free = &self.bound_by(*domain, *score) | &self.bound_by(*domain, *force);
            }
            _ => node.for_each(|child| free.extend(&self.free[usize::from(child)])),
        }
        let id = self.nodes.add(node.clone());
        self.free.push(free);
        self.index.insert(node, id);
        id
    }

    /// Free axes of a fold's domain and body, without the axis that the domain binds.
    fn bound_by(&self, domain: Id, body: Id) -> BTreeSet<AxisName> {
        let mut axes: BTreeSet<_> = self.free(domain) | self.free(body);
        if let Some(axis) = self.domain_axis(domain) {
            axes.remove(&axis);
        }
        axes
    }

    /// The axis that a domain ranges over.
    pub fn domain_axis(&self, domain: Id) -> Option<AxisName> {
        match &self[domain] {
            Term::All(axis) => match self[*axis] {
                Term::Axis(name) => Some(name),
                _ => None,
            },
            Term::Mask([d, _])
            | Term::Upto([d, _])
            | Term::From([d, _])
            | Term::Union([d, _])
            | Term::Blocks([d, ..]) => self.domain_axis(*d),
            Term::Outer(d) | Term::Inner(d) | Term::Chunks(d) | Term::Chunk(d) => self.domain_axis(*d),
            _ => None,
        }
    }

    /// The axes that a term's value depends on (through axes; lengths do not count).
    pub fn free(&self, id: Id) -> &BTreeSet<AxisName> {
        &self.free[usize::from(id)]
    }

    /// The variables that a term reads.
    pub fn variables(&self, id: Id) -> Vec<u32> {
        let found = std::cell::RefCell::new(vec![]);
        self.contains(id, &|term| {
            if let Term::Value(name) = term {
                found.borrow_mut().push(name.0);
            }
            false
        });
        found.into_inner()
    }
    /// True if the term contains a node that satisfies `p`.
    pub fn contains(&self, id: Id, p: &dyn Fn(&Term) -> bool) -> bool {
        let mut seen = vec![false; usize::from(id) + 1];
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[usize::from(id)], true) {
                continue;
            }
            if p(&self[id]) {
                return true;
            }
            stack.extend(self[id].children());
        }
        false
    }

    /// Copies a term of another arena, remembering what was copied.
    pub fn import_with(&mut self, from: &RecExpr<Term>, root: Id, map: &mut HashMap<Id, Id>) -> Id {
        if let Some(id) = map.get(&root) {
            return *id;
        }
        // Children precede parents in a RecExpr, so depth is bounded by the term's own depth.
        let node = from[root].clone().map_children(|child| self.import_with(from, child, map));
        let id = self.add(node);
        map.insert(root, id);
        id
    }

    /// Replaces axes by integer terms.
    pub fn substitute(&mut self, id: Id, by: &HashMap<AxisName, Id>) -> Id {
        if by.keys().all(|axis| !self.free(id).contains(axis)) {
            return id;
        }
        if let Term::Axis(name) = self[id] {
            return by.get(&name).copied().unwrap_or(id);
        }
        let node = self[id].clone();
        let node = node.map_children(|child| self.substitute(child, by));
        self.add(node)
    }

    /// Replaces one subterm by another.
    pub fn replace(&mut self, id: Id, old: Id, new: Id) -> Id {
        if id == old {
            return new;
        }
        if usize::from(id) < usize::from(old) {
            return id;
        }
        let node = self[id].clone();
        let node = node.map_children(|child| self.replace(child, old, new));
        self.add(node)
    }

    /// An integer constant.
    pub fn int(&mut self, n: i64) -> Id {
        self.add(Term::Int(n))
    }
    /// A real constant.
    pub fn num(&mut self, x: f64) -> Id {
        self.add(Term::Num(Real::new(x)))
    }
    /// The value of an axis.
    pub fn axis(&mut self, name: AxisName) -> Id {
        self.add(Term::Axis(name))
    }
    /// `a + n`.
    pub fn plus(&mut self, a: Id, n: i64) -> Id {
        let n = self.int(n);
        self.add(Term::IntAdd([a, n]))
    }
    /// Both, where None is true.
    pub fn and(&mut self, a: Option<Id>, b: Id) -> Id {
        match a {
            Some(a) => self.add(Term::And([a, b])),
            None => b,
        }
    }
    /// The value of a constant integer term.
    pub fn as_int(&self, id: Id) -> Option<i64> {
        match self[id] {
            Term::Int(n) => Some(n),
            _ => None,
        }
    }
    /// The value of a constant real term.
    pub fn as_num(&self, id: Id) -> Option<f64> {
        match self[id] {
            Term::Num(x) => Some(x.get()),
            _ => None,
        }
    }

    fn fold_constants(&self, node: Term) -> Term {
        let ints = |x: &[Id; 2]| self.as_int(x[0]).zip(self.as_int(x[1]));
        let folded = match &node {
            Term::Len(name) => self.lengths.get(&AxisName(name.0)).copied(),
            Term::IntAdd(x) => match (self.as_int(x[0]), self.as_int(x[1])) {
                (Some(a), Some(b)) => a.checked_add(b),
                (Some(0), None) => return self[x[1]].clone(),
                (None, Some(0)) => return self[x[0]].clone(),
                (None, Some(n)) => return self.add_to_sum(x[0], n).unwrap_or(node),
                _ => None,
            },
            Term::IntSub(x) => match (self.as_int(x[0]), self.as_int(x[1])) {
                (Some(a), Some(b)) => a.checked_sub(b),
                (None, Some(0)) => return self[x[0]].clone(),
                _ => None,
            },
            Term::IntMul(x) => match (self.as_int(x[0]), self.as_int(x[1])) {
                (Some(a), Some(b)) => a.checked_mul(b),
                (Some(1), None) => return self[x[1]].clone(),
                (None, Some(1)) => return self[x[0]].clone(),
                _ => None,
            },
            Term::IntDiv(x) => ints(x).filter(|(_, b)| *b > 0).map(|(a, b)| a.div_euclid(b)),
            Term::IntRem(x) => ints(x).filter(|(_, b)| *b > 0).map(|(a, b)| a.rem_euclid(b)),
            Term::IntMin(x) if x[0] == x[1] => return self[x[0]].clone(),
            Term::IntMax(x) if x[0] == x[1] => return self[x[0]].clone(),
            Term::IntMin(x) => ints(x).map(|(a, b)| a.min(b)),
            Term::IntMax(x) => ints(x).map(|(a, b)| a.max(b)),
            _ => None,
        };
        folded.map_or(node, Term::Int)
    }

    /// `(a + m) + n` with both constant, as one addition.
    fn add_to_sum(&self, sum: Id, n: i64) -> Option<Term> {
        let Term::IntAdd([a, m]) = self[sum] else { return None };
        let total = self.as_int(m)?.checked_add(n)?;
        if total == 0 {
            return Some(self[a].clone());
        }
        self.index.get(&Term::Int(total)).map(|t| Term::IntAdd([a, *t]))
    }
}
