//! Construction of terms: equal terms once, constants folded, operands of commutative operations in one order.
//!
//! The order stands in for commutativity rules: two source terms that differ by the order of operands are the same term
//! before the e-graph sees them. Computed parts come before loads, loads before axes, axes before constants.

use super::{Monoid, Real, TensorName, Term, Terms, Type, affine};
use egg::{Id, Language, RecExpr};
use std::cmp::Ordering;
use std::collections::HashMap;

/// An arena in which equal terms have equal ids.
#[derive(Clone, Default, Debug)]
pub struct Builder {
    nodes: RecExpr<Term>,
    index: HashMap<Term, Id>,
}

impl Builder {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// The finished arena.
    pub fn finish(self) -> RecExpr<Term> {
        self.nodes
    }

    /// The node at an id.
    pub fn node(&self, id: Id) -> &Term {
        &self.nodes[id]
    }

    /// Adds a node as it is.
    pub fn add(&mut self, term: Term) -> Id {
        if let Some(id) = self.index.get(&term) {
            return *id;
        }
        let id = self.nodes.add(term.clone());
        self.index.insert(term, id);
        id
    }

    /// Adds a term of another arena as it is.
    pub fn graft(&mut self, from: &RecExpr<Term>, root: Id) -> Id {
        let mut done = HashMap::new();
        self.graft_with(from, root, &mut done)
    }

    fn graft_with(&mut self, from: &RecExpr<Term>, root: Id, done: &mut HashMap<Id, Id>) -> Id {
        if let Some(id) = done.get(&root) {
            return *id;
        }
        let node = from[root].clone().map_children(|child| self.graft_with(from, child, done));
        let id = self.add(node);
        done.insert(root, id);
        id
    }

    /// An integer constant.
    pub fn int(&mut self, value: i64) -> Id {
        self.add(Term::Int(value))
    }

    /// A real constant.
    pub fn num(&mut self, value: f64) -> Id {
        self.add(Term::Num(Real::new(value)))
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> Id {
        self.add(Term::Bool(value))
    }

    /// A monoid.
    pub fn monoid(&mut self, monoid: Monoid) -> Id {
        self.add(Term::Monoid(monoid))
    }

    /// A type.
    pub fn dtype(&mut self, dtype: Type) -> Id {
        self.add(Term::Type(dtype))
    }

    /// A tensor.
    pub fn tensor(&mut self, tensor: TensorName) -> Id {
        self.add(Term::Tensor(tensor))
    }

    fn as_int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Term::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn as_num(&self, id: Id) -> Option<f64> {
        match self.node(id) {
            Term::Num(value) => Some(value.get()),
            _ => None,
        }
    }

    fn as_bool(&self, id: Id) -> Option<bool> {
        match self.node(id) {
            Term::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Two operands of a commutative operation in their order.
    pub fn ordered(&self, a: Id, b: Id) -> [Id; 2] {
        if self.compare(a, b) == Ordering::Greater { [b, a] } else { [a, b] }
    }

    /// `a + b`.
    pub fn int_add(&mut self, a: Id, b: Id) -> Id {
        let [a, b] = self.ordered(a, b);
        match (self.as_int(a), self.as_int(b)) {
            (Some(x), Some(y)) if x.checked_add(y).is_some() => self.int(x + y),
            (_, Some(0)) => a,
            (_, Some(y)) => {
                // (x + c) + y = x + (c + y)
                if let Term::IntAdd([x, c]) = *self.node(a)
                    && let Some(sum) = self.as_int(c).and_then(|c| c.checked_add(y))
                {
                    let sum = self.int(sum);
                    return self.int_add(x, sum);
                }
                self.add(Term::IntAdd([a, b]))
            }
            _ => self.add(Term::IntAdd([a, b])),
        }
    }

    /// `a - b`; a constant that is subtracted becomes one that is added.
    pub fn int_sub(&mut self, a: Id, b: Id) -> Id {
        if a == b {
            return self.int(0);
        }
        match self.as_int(b).and_then(i64::checked_neg) {
            Some(minus) => {
                let minus = self.int(minus);
                self.int_add(a, minus)
            }
            None => self.add(Term::IntSub([a, b])),
        }
    }

    /// `a * b`.
    pub fn int_mul(&mut self, a: Id, b: Id) -> Id {
        let [a, b] = self.ordered(a, b);
        match (self.as_int(a), self.as_int(b)) {
            (Some(x), Some(y)) if x.checked_mul(y).is_some() => self.int(x * y),
            (_, Some(0)) => b,
            (_, Some(1)) => a,
            _ => self.add(Term::IntMul([a, b])),
        }
    }

    /// `a / b`, rounded down.
    pub fn int_div(&mut self, a: Id, b: Id) -> Id {
        match (self.as_int(a), self.as_int(b)) {
            (Some(x), Some(y)) if y > 0 => self.int(x.div_euclid(y)),
            (_, Some(1)) => a,
            _ => self.add(Term::IntDiv([a, b])),
        }
    }

    /// `a % b`, the remainder of the division rounded down.
    pub fn int_rem(&mut self, a: Id, b: Id) -> Id {
        match (self.as_int(a), self.as_int(b)) {
            (Some(x), Some(y)) if y > 0 => self.int(x.rem_euclid(y)),
            (_, Some(1)) => self.int(0),
            _ => self.add(Term::IntRem([a, b])),
        }
    }

    /// The smaller (`largest` false) or the larger of two integers.
    pub fn int_extreme(&mut self, largest: bool, a: Id, b: Id) -> Id {
        let [a, b] = self.ordered(a, b);
        match (self.as_int(a), self.as_int(b)) {
            _ if a == b => a,
            (Some(x), Some(y)) => self.int(if largest { x.max(y) } else { x.min(y) }),
            _ if largest => self.add(Term::IntMax([a, b])),
            _ => self.add(Term::IntMin([a, b])),
        }
    }

    /// `a + b` of reals.
    pub fn num_add(&mut self, a: Id, b: Id) -> Id {
        let [a, b] = self.ordered(a, b);
        match (self.as_num(a), self.as_num(b)) {
            (Some(x), Some(y)) => self.num(x + y),
            (_, Some(0.0)) => a,
            _ => self.add(Term::Add([a, b])),
        }
    }

    /// `a * b` of reals.
    pub fn num_mul(&mut self, a: Id, b: Id) -> Id {
        let [a, b] = self.ordered(a, b);
        match (self.as_num(a), self.as_num(b)) {
            (Some(x), Some(y)) => self.num(x * y),
            (_, Some(1.0)) => a,
            _ => self.add(Term::Mul([a, b])),
        }
    }

    /// `p and q`.
    pub fn and(&mut self, p: Id, q: Id) -> Id {
        let [p, q] = self.ordered(p, q);
        match self.as_bool(q) {
            Some(true) => p,
            Some(false) => q,
            None if p == q => p,
            None => self.add(Term::And([p, q])),
        }
    }

    /// `p or q`.
    pub fn or(&mut self, p: Id, q: Id) -> Id {
        let [p, q] = self.ordered(p, q);
        match self.as_bool(q) {
            Some(true) => q,
            Some(false) => p,
            None if p == q => p,
            None => self.add(Term::Or([p, q])),
        }
    }

    /// `not p`, moved into integer comparisons (not into real ones: both sides are false on NaN).
    pub fn not(&mut self, p: Id) -> Id {
        match *self.node(p) {
            Term::Bool(value) => self.bool(!value),
            Term::Not(inner) => inner,
            Term::IntLt([a, b]) => self.add(Term::IntLe([b, a])),
            Term::IntLe([a, b]) => self.add(Term::IntLt([b, a])),
            Term::IntEq(ab) => self.add(Term::IntNe(ab)),
            Term::IntNe(ab) => self.add(Term::IntEq(ab)),
            _ => self.add(Term::Not(p)),
        }
    }

    /// Adds a node whose operands may be in any order, by the smart constructor of its kind.
    pub fn tidy(&mut self, term: Term) -> Id {
        match term {
            Term::IntAdd([a, b]) => {
                let sum = self.int_add(a, b);
                affine::normal(self, sum)
            }
            Term::IntSub([a, b]) => {
                let difference = self.int_sub(a, b);
                affine::normal(self, difference)
            }
            Term::IntMul([a, b]) => {
                let product = self.int_mul(a, b);
                affine::normal(self, product)
            }
            Term::IntDiv([a, b]) => self.int_div(a, b),
            Term::IntRem([a, b]) => self.int_rem(a, b),
            Term::IntMin([a, b]) => self.int_extreme(false, a, b),
            Term::IntMax([a, b]) => self.int_extreme(true, a, b),
            Term::Add([a, b]) => self.num_add(a, b),
            Term::Mul([a, b]) => self.num_mul(a, b),
            Term::And([p, q]) => self.and(p, q),
            Term::Or([p, q]) => self.or(p, q),
            Term::Not(p) => self.not(p),
            Term::Min([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::Min(ab))
            }
            Term::Max([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::Max(ab))
            }
            Term::IntEq([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::IntEq(ab))
            }
            Term::IntNe([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::IntNe(ab))
            }
            Term::Eq([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::Eq(ab))
            }
            Term::Ne([a, b]) => {
                let ab = self.ordered(a, b);
                self.add(Term::Ne(ab))
            }
            other => self.add(other),
        }
    }

    /// The order of terms: by rank, then name, then operands from the left. Independent of ids and of interning.
    pub fn compare(&self, a: Id, b: Id) -> Ordering {
        compare_terms(&self.nodes, a, b)
    }
}

/// The order of terms in an arena: computed parts, loads, axes, lengths, constants; then by name and operands.
pub fn compare_terms(nodes: &RecExpr<Term>, a: Id, b: Id) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (x, y) = (&nodes[a], &nodes[b]);
    let by_node = rank(x).cmp(&rank(y)).then_with(|| match (x, y) {
        (Term::Int(i), Term::Int(j)) => i.cmp(j),
        (Term::Num(i), Term::Num(j)) => i.get().total_cmp(&j.get()),
        _ => x.to_string().cmp(&y.to_string()),
    });
    by_node.then_with(|| x.children().len().cmp(&y.children().len())).then_with(|| {
        let pairs = x.children().iter().zip(y.children());
        pairs.map(|(i, j)| compare_terms(nodes, *i, *j)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    })
}

fn rank(term: &Term) -> u8 {
    match term {
        Term::Int(_) | Term::Num(_) | Term::Bool(_) => 5,
        Term::Len(_) => 4,
        Term::Axis(_) => 3,
        Term::Load(_) | Term::List(_) => 2,
        Term::Fold(_) | Term::Mma(_) | Term::Top(_) => 1,
        _ => 0,
    }
}

/// The same terms with every node tidied (see [`Builder`]): constants folded, operands in order, nothing twice, nothing
/// that no definition needs.
pub fn tidy_terms(terms: &Terms) -> Terms {
    let mut builder = Builder::new();
    let mut done: HashMap<Id, Id> = HashMap::new();
    let mut needed = vec![false; terms.nodes.len()];
    for definition in &terms.definitions {
        needed[usize::from(definition.root)] = true;
    }
    let nodes: &[Term] = terms.nodes.as_ref();
    for i in (0..nodes.len()).rev() {
        if needed[i] {
            nodes[i].for_each(|child| needed[usize::from(child)] = true);
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        if needed[i] {
            let id = builder.tidy(node.clone().map_children(|child| done[&child]));
            done.insert(Id::from(i), id);
        }
    }
    let mut definitions = terms.definitions.clone();
    for definition in &mut definitions {
        definition.root = done[&definition.root];
    }
    Terms { nodes: builder.finish(), definitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidy(text: &str) -> String {
        let nodes: RecExpr<Term> = text.parse().unwrap();
        let mut builder = Builder::new();
        let mut ids: Vec<Id> = Vec::new();
        for node in nodes.as_ref() {
            let id = builder.tidy(node.clone().map_children(|child| ids[usize::from(child)]));
            ids.push(id);
        }
        let root = *ids.last().unwrap();
        let nodes = builder.finish();
        nodes[root].build_recexpr(|id| nodes[id].clone()).to_string()
    }

    #[test]
    fn constants_fold_and_operands_have_an_order() {
        for (given, expected) in [
            ("(i+ 2 (i+ @i 3))", "(i+ @i 5)"),
            ("(i- (i+ @i 3) 3)", "@i"),
            ("(i/ (i- 1 2) 2)", "-1"),
            ("(i% (i- 1 2) 16)", "15"),
            ("(i* 1 @i)", "@i"),
            ("(imin 3 7)", "3"),
            ("(* 0.5 (load $q @t))", "(* (load $q @t) 0.5)"),
            ("(* (load $v @s) (exp (load $x @s)))", "(* (exp (load $x @s)) (load $v @s))"),
            ("(+ @b @a)", "(+ @a @b)"),
            ("(not (i< @a @b))", "(i<= @b @a)"),
            ("(and true (i< @a 3))", "(i< @a 3)"),
        ] {
            assert_eq!(tidy(given), expected, "{given}");
        }
    }
}
