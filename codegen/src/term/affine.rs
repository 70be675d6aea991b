//! Integer comparisons solved for one axis: the step from a predicate to the bounds of a domain.
//!
//! A comparison is brought to the form `c u + rest <= 0`, where `u` is the only part that contains the axis. Then
//! `u <= floor(-rest / c)` for positive `c` and `u >= ceil(rest / -c)` for negative `c`. If `u` is `v / B` (rounded
//! down) instead of the axis itself, `u <= x` is `v <= x B + B - 1` and `u >= x` is `v >= x B`, and `v` is solved in turn.

use super::build::Builder;
use super::{AxisName, Term};
use egg::{Id, Language};

/// A bound of an axis; the term is free of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The axis is at most this.
    Upper(Id),
    /// The axis is at least this.
    Lower(Id),
}

/// The bounds that together say the same as an integer comparison; None if it cannot be solved for the axis.
pub fn solve(builder: &mut Builder, comparison: Id, axis: AxisName) -> Option<Vec<Bound>> {
    match *builder.node(comparison) {
        Term::IntLe([a, b]) => Some(vec![at_most(builder, a, b, 0, axis)?]),
        Term::IntLt([a, b]) => Some(vec![at_most(builder, a, b, -1, axis)?]),
        Term::IntEq([a, b]) => Some(vec![at_most(builder, a, b, 0, axis)?, at_most(builder, b, a, 0, axis)?]),
        _ => None,
    }
}

/// The bounds of an axis outside which an integer is not positive: of `max(0, min(a, ..) - max(b, ..))` and its parts.
///
/// They may be wider than exact (parts that cannot be solved bound nothing), never narrower.
pub fn where_positive(builder: &mut Builder, weight: Id, axis: AxisName) -> Vec<Bound> {
    match *builder.node(weight) {
        Term::IntMax([a, b]) if *builder.node(b) == Term::Int(0) => where_positive(builder, a, axis),
        Term::IntMin([a, b]) => {
            let mut bounds = where_positive(builder, a, axis);
            bounds.extend(where_positive(builder, b, axis));
            bounds
        }
        Term::IntSub([a, b]) => {
            let (mut least, mut greatest) = (Vec::new(), Vec::new());
            leaves(builder, a, false, &mut least);
            leaves(builder, b, true, &mut greatest);
            let mut bounds = Vec::new();
            for high in &least {
                for low in &greatest {
                    bounds.extend(at_most(builder, *low, *high, -1, axis));
                }
            }
            bounds
        }
        _ => {
            let zero = builder.int(0);
            at_most(builder, zero, weight, -1, axis).into_iter().collect()
        }
    }
}

/// The operands of nested minima (or maxima).
fn leaves(builder: &Builder, id: Id, largest: bool, into: &mut Vec<Id>) {
    match *builder.node(id) {
        Term::IntMin([a, b]) if !largest => {
            leaves(builder, a, largest, into);
            leaves(builder, b, largest, into);
        }
        Term::IntMax([a, b]) if largest => {
            leaves(builder, a, largest, into);
            leaves(builder, b, largest, into);
        }
        _ => into.push(id),
    }
}

/// An integer term in normal form: a sum of products with constants, the order of their terms fixed, then the constant.
/// As it is, if it is no sum or its constants overflow.
pub fn normal(builder: &mut Builder, id: Id) -> Id {
    match builder.node(id) {
        Term::IntAdd(_) | Term::IntSub(_) | Term::IntMul(_) => {
            Affine::of(builder, id).map_or(id, |affine| affine.build(builder))
        }
        _ => id,
    }
}

/// Solves `a <= b + slack`.
fn at_most(builder: &mut Builder, a: Id, b: Id, slack: i64, axis: AxisName) -> Option<Bound> {
    let mut difference = Affine::of(builder, a)?;
    difference.add(&Affine::of(builder, b)?, -1)?;
    difference.constant = difference.constant.checked_sub(slack)?;
    not_positive(builder, difference, axis)
}

/// Solves `e <= 0`.
fn not_positive(builder: &mut Builder, mut e: Affine, axis: AxisName) -> Option<Bound> {
    let (with, rest): (Vec<_>, Vec<_>) = e.terms.drain(..).partition(|(_, atom)| contains(builder, *atom, axis));
    let &[(coefficient, atom)] = with.as_slice() else { return None };
    let rest = Affine { terms: rest, constant: e.constant };
    if coefficient > 0 {
        let limit = rest.scaled(-1)?.floor_div(builder, coefficient)?;
        upper(builder, atom, limit, axis)
    } else {
        let positive = coefficient.checked_neg()?;
        let mut rest = rest;
        rest.constant = rest.constant.checked_add(positive - 1)?;
        let limit = rest.floor_div(builder, positive)?;
        lower(builder, atom, limit, axis)
    }
}

/// `atom <= limit` as a bound.
fn upper(builder: &mut Builder, atom: Id, limit: Affine, axis: AxisName) -> Option<Bound> {
    match *builder.node(atom) {
        Term::Axis(name) if name == axis => Some(Bound::Upper(limit.build(builder))),
        Term::IntDiv([inner, block]) => {
            let block = positive_constant(builder, block)?;
            let mut limit = limit.scaled(block)?;
            limit.constant = limit.constant.checked_add(block - 1)?;
            let mut e = Affine::of(builder, inner)?;
            e.add(&limit, -1)?;
            not_positive(builder, e, axis)
        }
        _ => None,
    }
}

/// `atom >= limit` as a bound.
fn lower(builder: &mut Builder, atom: Id, limit: Affine, axis: AxisName) -> Option<Bound> {
    match *builder.node(atom) {
        Term::Axis(name) if name == axis => Some(Bound::Lower(limit.build(builder))),
        Term::IntDiv([inner, block]) => {
            let block = positive_constant(builder, block)?;
            let mut e = limit.scaled(block)?;
            e.add(&Affine::of(builder, inner)?, -1)?;
            not_positive(builder, e, axis)
        }
        _ => None,
    }
}

fn positive_constant(builder: &Builder, id: Id) -> Option<i64> {
    match *builder.node(id) {
        Term::Int(value) if value > 0 => Some(value),
        _ => None,
    }
}

fn contains(builder: &Builder, id: Id, axis: AxisName) -> bool {
    match builder.node(id) {
        Term::Axis(name) => *name == axis,
        node => node.children().iter().any(|child| contains(builder, *child, axis)),
    }
}

/// A sum of integer terms with constant factors. Overflow makes it None: nothing is solved then.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Affine {
    /// Factors, none of them 0, and the terms that they multiply, each term once.
    terms: Vec<(i64, Id)>,
    constant: i64,
}

impl Affine {
    fn constant(constant: i64) -> Self {
        Affine { terms: Vec::new(), constant }
    }

    fn of(builder: &Builder, id: Id) -> Option<Self> {
        match *builder.node(id) {
            Term::Int(value) => Some(Affine::constant(value)),
            Term::IntAdd([a, b]) | Term::IntSub([a, b]) => {
                let sign = if matches!(builder.node(id), Term::IntAdd(_)) { 1 } else { -1 };
                let mut sum = Affine::of(builder, a)?;
                sum.add(&Affine::of(builder, b)?, sign)?;
                Some(sum)
            }
            Term::IntMul([a, b]) => match (builder.node(a), builder.node(b)) {
                (_, Term::Int(factor)) => Affine::of(builder, a)?.scaled(*factor),
                (Term::Int(factor), _) => Affine::of(builder, b)?.scaled(*factor),
                _ => Some(Affine { terms: vec![(1, id)], constant: 0 }),
            },
            _ => Some(Affine { terms: vec![(1, id)], constant: 0 }),
        }
    }

    /// Adds `factor * other`.
    fn add(&mut self, other: &Affine, factor: i64) -> Option<()> {
        self.constant = self.constant.checked_add(other.constant.checked_mul(factor)?)?;
        for (coefficient, atom) in &other.terms {
            let more = coefficient.checked_mul(factor)?;
            match self.terms.iter_mut().find(|(_, have)| have == atom) {
                Some((coefficient, _)) => *coefficient = coefficient.checked_add(more)?,
                None => self.terms.push((more, *atom)),
            }
        }
        self.terms.retain(|(coefficient, _)| *coefficient != 0);
        Some(())
    }

    fn scaled(&self, factor: i64) -> Option<Self> {
        let mut product = Affine::constant(0);
        product.add(self, factor)?;
        Some(product)
    }

    /// The quotient by a positive constant, rounded down. Exact where every factor is a multiple of the divisor.
    fn floor_div(self, builder: &mut Builder, divisor: i64) -> Option<Self> {
        if self.terms.iter().all(|(coefficient, _)| coefficient % divisor == 0) {
            let terms = self.terms.iter().map(|(coefficient, atom)| (coefficient / divisor, *atom)).collect();
            return Some(Affine { terms, constant: self.constant.div_euclid(divisor) });
        }
        let dividend = self.build(builder);
        let divisor = builder.int(divisor);
        let quotient = builder.int_div(dividend, divisor);
        Some(Affine { terms: vec![(1, quotient)], constant: 0 })
    }

    /// The sum as a term: what is added, in order, then what is subtracted, then the constant.
    fn build(&self, builder: &mut Builder) -> Id {
        let mut terms = self.terms.clone();
        terms.sort_by(|(_, a), (_, b)| builder.compare(*a, *b));
        let mut sum = None;
        for (coefficient, atom) in terms.iter().filter(|(coefficient, _)| *coefficient > 0) {
            let factor = builder.int(*coefficient);
            let term = builder.int_mul(*atom, factor);
            sum = Some(sum.map_or(term, |sum| builder.int_add(sum, term)));
        }
        let subtracted: Vec<_> = terms.iter().filter(|(coefficient, _)| *coefficient < 0).collect();
        // with nothing added the constant is what is subtracted from
        let mut constant = self.constant;
        let mut sum = sum.unwrap_or_else(|| builder.int(std::mem::take(&mut constant)));
        for (coefficient, atom) in subtracted {
            // `unsigned_abs` of i64::MIN would not fit; such a factor stays a product with a negative constant
            let (negated, factor) = match coefficient.checked_neg() {
                Some(factor) => (true, factor),
                None => (false, *coefficient),
            };
            let factor = builder.int(factor);
            let term = builder.int_mul(*atom, factor);
            sum = if negated { builder.int_sub(sum, term) } else { builder.int_add(sum, term) };
        }
        let constant = builder.int(constant);
        builder.int_add(sum, constant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egg::RecExpr;

    fn parse(text: &str, builder: &mut Builder) -> Id {
        let nodes: RecExpr<Term> = text.parse().unwrap();
        let mut ids: Vec<Id> = Vec::new();
        for node in nodes.as_ref() {
            let id = builder.tidy(node.clone().map_children(|child| ids[usize::from(child)]));
            ids.push(id);
        }
        *ids.last().unwrap()
    }

    fn show(builder: &Builder, bounds: &[Bound]) -> String {
        let show = |id: &Id| builder.node(*id).build_recexpr(|id| builder.node(id).clone()).to_string();
        let texts = bounds.iter().map(|bound| match bound {
            Bound::Upper(id) => format!("<= {}", show(id)),
            Bound::Lower(id) => format!(">= {}", show(id)),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    fn solved(text: &str) -> String {
        let mut builder = Builder::new();
        let comparison = parse(text, &mut builder);
        match solve(&mut builder, comparison, AxisName::new("k")) {
            Some(bounds) => show(&builder, &bounds),
            None => "-".into(),
        }
    }

    #[test]
    fn comparisons_become_bounds() {
        for (given, expected) in [
            ("(i<= @k @t)", "<= @t"),
            ("(i< @k @t)", "<= (i+ @t -1)"),
            ("(i<= @t @k)", ">= @t"),
            ("(i< @t (i+ @k 512))", ">= (i+ @t -511)"),
            ("(i<= (i+ (i* @k 16) 31) @t)", "<= (i/ (i+ @t -31) 16)"),
            ("(i<= @t (i* @k 16))", ">= (i/ (i+ @t 15) 16)"),
            ("(i<= (i- @t @k) 3)", ">= (i+ @t -3)"),
            ("(i<= (i- 100 (i* @k 3)) @t)", ">= (i/ (i- 102 @t) 3)"),
            ("(i<= (i/ @k 64) @b)", "<= (i+ (i* @b 64) 63)"),
            ("(i< @b (i/ @k 64))", ">= (i+ (i* @b 64) 64)"),
            ("(i== (i/ @k 64) @b)", "<= (i+ (i* @b 64) 63), >= (i* @b 64)"),
            ("(i== @k (load $x @t))", ">= (load $x @t), <= (load $x @t)"),
            ("(i<= (i* @k @k) @t)", "-"),
            ("(i<= (i* @k #s) @t)", "-"),
            ("(i<= (load $x @k) @t)", "-"),
            ("(i<= (i% @k 8) @t)", "-"),
            ("(i<= @b @t)", "-"),
            ("(i<= @k (i+ @k @t))", "-"),
            ("(i!= @k @t)", "-"),
        ] {
            assert_eq!(solved(given), expected, "{given}");
        }
    }

    #[test]
    fn an_overlap_is_positive_in_a_band() {
        let mut builder = Builder::new();
        let overlap = "(imax 0 (i- (imin (i+ (i* @k 16) 32) (i+ (i* @b 64) 64)) (imax (i* @k 16) (i* @b 64))))";
        let overlap = parse(overlap, &mut builder);
        let bounds = where_positive(&mut builder, overlap, AxisName::new("k"));
        assert_eq!(show(&builder, &bounds), "<= (i+ (i* @b 4) 3), >= (i+ (i* @b 4) -1)");
    }

    /// Every solvable comparison of small coefficients, against trying all values.
    #[test]
    fn bounds_say_what_the_comparison_says() {
        for divisor in [1, 2, 5] {
            for factor in [-3i64, -1, 1, 2, 16] {
                for offset in [-17, 0, 4] {
                    for (name, strict) in [("i<=", 0), ("i<", 1)] {
                        let text = format!("({name} (i+ (i* (i/ @k {divisor}) {factor}) {offset}) @t)");
                        let mut builder = Builder::new();
                        let comparison = parse(&text, &mut builder);
                        let bounds = solve(&mut builder, comparison, AxisName::new("k")).expect("solvable");
                        for t in -40i64..40 {
                            for k in -40i64..40 {
                                let says = k.div_euclid(divisor) * factor + offset + strict <= t;
                                let bound = bounds.iter().all(|bound| match bound {
                                    Bound::Upper(id) => k <= value(&builder, *id, t),
                                    Bound::Lower(id) => k >= value(&builder, *id, t),
                                });
                                assert_eq!(says, bound, "{text} at k = {k}, t = {t}");
                            }
                        }
                    }
                }
            }
        }
    }

    fn value(builder: &Builder, id: Id, t: i64) -> i64 {
        let of = |id: &Id| value(builder, *id, t);
        match builder.node(id) {
            Term::Int(value) => *value,
            Term::Axis(_) => t,
            Term::IntAdd([a, b]) => of(a) + of(b),
            Term::IntSub([a, b]) => of(a) - of(b),
            Term::IntMul([a, b]) => of(a) * of(b),
            Term::IntDiv([a, b]) => of(a).div_euclid(of(b)),
            other => panic!("{other} in a bound"),
        }
    }
}
