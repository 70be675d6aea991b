//! Every law on an instance: the graph must find the right side from the left one by this law alone, with explanations off
//! and on, and both sides must have the same value on random inputs: empty rows, masked elements and ties included.

use super::super::context::{Context, TensorFacts, TensorRole};
use super::super::eval::{Array, Environment, Value, value};
use super::super::facts::{Level, facts_of_nodes};
use super::super::{AxisName, Definition, TensorName, Terms, Type, saturate};
use super::*;
use crate::machine::H200;

/// Law, left side, right side. Axes: t, u, k, i, b at run time, d of 16, r of 2, long of 1024. Scores `s` are -inf in places.
#[rustfmt::skip]
const INSTANCES: &[(&str, &str, &str)] = &[
    ("normalise-last", "(fold add (all @k) (* (ratio (load $x @t @k) (load $z @t)) (load $v @k @u)))", "(ratio (fold add (all @k) (* (load $x @t @k) (load $v @k @u))) (load $z @t))"),
    ("normalise-last", "(fold add (all @k) (* (load $v @k @u) (ratio (load $x @t @k) (load $z @t))))", "(ratio (fold add (all @k) (* (load $x @t @k) (load $v @k @u))) (load $z @t))"),
    ("normalise-last", "(fold add (all @k) (ratio (load $x @t @k) (load $z @t)))", "(ratio (fold add (all @k) (load $x @t @k)) (load $z @t))"),
    ("factor-out", "(fold add (all @k) (* (load $z @t) (load $x @t @k)))", "(* (load $z @t) (fold add (all @k) (load $x @t @k)))"),
    ("factor-out", "(fold add (all @k) (* (* (load $x @t @k) (load $z @t)) (load $v @k @u)))", "(* (load $z @t) (fold add (all @k) (* (load $x @t @k) (load $v @k @u))))"),
    ("factor-out", "(fold add (all @k) (/ (load $x @t @k) 4.0))", "(/ (fold add (all @k) (load $x @t @k)) 4.0)"),
    ("sum-interchange", "(fold add (all @k) (fold add (upto (all @u) @t) (* (load $x @t @k) (load $v @k @u))))", "(fold add (upto (all @u) @t) (fold add (all @k) (* (load $x @t @k) (load $v @k @u))))"),
    ("online-weighted", "(fold add (upto (all @k) @t) (* (exp (shift (load $s @t @k) (fold max (upto (all @k) @t) (load $s @t @k)))) (load $v @k @u)))", "(snd (fold lse (upto (all @k) @t) (pair (load $s @t @k) (load $v @k @u))))"),
    ("online-unit", "(fold add (all @k) (exp (shift (load $s @t @k) (fold max (all @k) (load $s @t @k)))))", "(snd (fold lse (all @k) (pair (load $s @t @k) 1.0)))"),
    ("banana-split", "(ratio (snd (fold lse (all @k) (pair (load $s @t @k) (load $v @k @u)))) (snd (fold lse (all @k) (pair (load $s @t @k) 1.0))))", "(norm (snd (fold lse (all @k) (pair (load $s @t @k) (pair (load $v @k @u) 1.0)))))"),
    ("log-sum-exp", "(+ (log (snd (fold lse (all @k) (pair (load $s @t @k) 1.0)))) (fold max (all @k) (load $s @t @k)))", "(logsum (fold lse (all @k) (pair (load $s @t @k) 1.0)))"),
    ("share-sum", "(+ (norm (snd (fold lse (all @k) (pair (load $s @t @k) (pair (load $v @k @u) 1.0))))) (logsum (fold lse (all @k) (pair (load $s @t @k) 1.0))))", "(+ (norm (snd (fold lse (all @k) (pair (load $s @t @k) (pair (load $v @k @u) 1.0))))) (logsum (fold lse (all @k) (pair (load $s @t @k) (pair (load $v @k @u) 1.0)))))"),
    ("select-to-mask", "(fold lse (all @k) (pair (select (i<= @k @t) (load $s @t @k) -inf) (load $v @k @u)))", "(fold lse (mask (all @k) (i<= @k @t)) (pair (load $s @t @k) (load $v @k @u)))"),
    ("select-to-mask", "(fold max (all @k) (select (i<= @k @t) (load $s @t @k) -inf))", "(fold max (mask (all @k) (i<= @k @t)) (load $s @t @k))"),
    ("select-to-mask", "(fold min (all @k) (select (i<= @k @t) (load $x @t @k) inf))", "(fold min (mask (all @k) (i<= @k @t)) (load $x @t @k))"),
    ("select-to-mask", "(fold add (all @k) (select (i<= @k @t) (load $x @t @k) 0.0))", "(fold add (mask (all @k) (i<= @k @t)) (load $x @t @k))"),
    ("select-to-mask", "(fold add (all @k) (* (load $v @k @u) (select (i<= @k @t) (load $x @t @k) 0.0)))", "(fold add (mask (all @k) (i<= @k @t)) (* (load $x @t @k) (load $v @k @u)))"),
    ("split-conjunction", "(fold add (mask (all @k) (and (i<= @k @t) (in @k (list $list @t)))) (load $x @t @k))", "(fold add (mask (mask (all @k) (i<= @k @t)) (in @k (list $list @t))) (load $x @t @k))"),
    ("mask-to-domain", "(fold max (mask (all @k) (i<= (i+ (i* @k 2) 1) @t)) (load $s @t @k))", "(fold max (upto (all @k) (i/ (i+ @t -1) 2)) (load $s @t @k))"),
    ("mask-to-domain", "(fold add (mask (all @k) (i< @t (i+ @k 3))) (load $x @t @k))", "(fold add (from (all @k) (i+ @t -2)) (load $x @t @k))"),
    ("mask-to-domain", "(fold add (mask (all @k) (i== (i/ @k 3) @t)) (load $x @t @k))", "(fold add (from (upto (all @k) (i+ (i* @t 3) 2)) (i* @t 3)) (load $x @t @k))"),
    ("mask-to-domain", "(fold lse (mask (all @k) (i< (i/ @k 2) (load $n @t))) (pair (load $s @t @k) 1.0))", "(fold lse (upto (all @k) (i+ (i* (load $n @t) 2) -1)) (pair (load $s @t @k) 1.0))"),
    ("zero-to-domain", "(fold add (all @k) (* (load $x @t @k) (float (imax 0 (i- (imin (i+ (i* @k 2) 4) (i+ (i* @b 4) 4)) (imax (i* @k 2) (i* @b 4)))))))", "(fold add (from (upto (all @k) (i+ (i* @b 2) 1)) (i+ (i* @b 2) -1)) (* (load $x @t @k) (float (imax 0 (i- (imin (i+ (i* @k 2) 4) (i+ (i* @b 4) 4)) (imax (i* @k 2) (i* @b 4)))))))"),
    ("zero-to-domain", "(fold add (upto (all @k) @t) (/ (* (load $x @t @k) (float (imax 0 (i- 5 @k)))) 2.0))", "(fold add (upto (upto (all @k) @t) 4) (/ (* (load $x @t @k) (float (imax 0 (i- 5 @k)))) 2.0))"),
    ("walk-blocks", "(fold add (mask (upto (all @k) @t) (in (i/ @k 2) (list $list @t))) (load $x @t @k))", "(fold add (blocks (upto (all @k) @t) (list $list @t) 2) (load $x @t @k))"),
    ("walk-blocks", "(fold max (mask (all @k) (in @k (list $list @t))) (load $s @t @k))", "(fold max (blocks (all @k) (list $list @t) 1) (load $s @t @k))"),
    ("order-bounds", "(fold add (upto (mask (all @k) (in @k (list $list @t))) @t) (load $x @t @k))", "(fold add (mask (upto (all @k) @t) (in @k (list $list @t))) (load $x @t @k))"),
    ("order-bounds", "(fold add (from (mask (all @k) (in @k (list $list @t))) @t) (load $x @t @k))", "(fold add (mask (from (all @k) @t) (in @k (list $list @t))) (load $x @t @k))"),
    ("order-bounds", "(fold add (blocks (mask (all @k) (i!= @k @t)) (list $list @t) 2) (load $x @t @k))", "(fold add (mask (blocks (all @k) (list $list @t) 2) (i!= @k @t)) (load $x @t @k))"),
    ("order-bounds", "(fold add (upto (blocks (all @k) (list $list @t) 2) @t) (load $x @t @k))", "(fold add (blocks (upto (all @k) @t) (list $list @t) 2) (load $x @t @k))"),
    ("order-bounds", "(fold add (from (blocks (all @k) (list $list @t) 2) @t) (load $x @t @k))", "(fold add (blocks (from (all @k) @t) (list $list @t) 2) (load $x @t @k))"),
    ("order-bounds", "(fold add (upto (from (all @k) (i+ @t -2)) @t) (load $x @t @k))", "(fold add (from (upto (all @k) @t) (i+ @t -2)) (load $x @t @k))"),
    ("join-bounds", "(fold add (upto (upto (all @k) @t) 3) (load $x @t @k))", "(fold add (upto (all @k) (imin @t 3)) (load $x @t @k))"),
    ("join-bounds", "(fold add (from (from (all @k) @t) 2) (load $x @t @k))", "(fold add (from (all @k) (imax @t 2)) (load $x @t @k))"),
    ("split-disjunction", "(fold add (mask (all @k) (or (i< @k 3) (i<= @t @k))) (load $x @t @k))", "(fold add (union (mask (all @k) (i< @k 3)) (mask (mask (all @k) (i<= @t @k)) (i<= 3 @k))) (load $x @t @k))"),
    ("split-disjunction", "(fold lse (mask (all @k) (or (i< @k 3) (in @k (list $list @t)))) (pair (load $s @t @k) (load $v @k @u)))", "(fold lse (union (mask (all @k) (in @k (list $list @t))) (mask (mask (all @k) (i< @k 3)) (not (in @k (list $list @t))))) (pair (load $s @t @k) (load $v @k @u)))"),
    ("split-disjunction", "(fold max (mask (upto (all @k) @t) (or (i!= @k 2) (or (i< @k 1) (< (load $s @t @k) 0.0)))) (load $s @t @k))", "(fold max (union (mask (upto (all @k) @t) (or (i< @k 1) (< (load $s @t @k) 0.0))) (mask (mask (upto (all @k) @t) (i!= @k 2)) (and (i<= 1 @k) (not (< (load $s @t @k) 0.0))))) (load $s @t @k))"),
    ("join-alternatives", "(fold add (mask (all @k) (or (i<= @k @t) (i< @k (load $n @t)))) (load $x @t @k))", "(fold add (upto (all @k) (imax (i+ (load $n @t) -1) @t)) (load $x @t @k))"),
    ("join-alternatives", "(fold max (mask (all @k) (or (i<= @t @k) (i< 5 (i* @k 2)))) (load $s @t @k))", "(fold max (from (all @k) (imin @t 3)) (load $s @t @k))"),
    ("tile", "(fold max (upto (all @k) @t) (load $s @t @k))", "(fold max (outer (upto (all @k) @t)) (fold max (inner (upto (all @k) @t)) (load $s @t @k)))"),
    ("tile", "(fold add (blocks (all @k) (list $list @t) 2) (load $x @t @k))", "(fold add (outer (blocks (all @k) (list $list @t) 2)) (fold add (inner (blocks (all @k) (list $list @t) 2)) (load $x @t @k)))"),
    ("tile", "(fold add (union (upto (all @k) 1) (from (all @k) 3)) (load $x @t @k))", "(fold add (outer (union (upto (all @k) 1) (from (all @k) 3))) (fold add (inner (union (upto (all @k) 1) (from (all @k) 3))) (load $x @t @k)))"),
    ("tile", "(fold lse (all @k) (pair (load $s @t @k) (pair (load $v @k @u) 1.0)))", "(fold lse (outer (all @k)) (fold lse (inner (all @k)) (pair (load $s @t @k) (pair (load $v @k @u) 1.0))))"),
    ("tile", "(fold add (chunks (all @k)) (mat (fold add (chunk (all @k)) (load $x @t @k))))", "(fold add (chunks (all @k)) (mat (fold add (outer (chunk (all @k))) (fold add (inner (chunk (all @k))) (load $x @t @k)))))"),
    ("two-pass-inner", "(fold lse (outer (all @k)) (fold lse (inner (all @k)) (pair (load $s @t @k) 1.0)))", "(fold lse (outer (all @k)) (pair (fold max (inner (all @k)) (load $s @t @k)) (fold add (inner (all @k)) (exp (shift (load $s @t @k) (fold max (inner (all @k)) (load $s @t @k)))))))"),
    ("two-pass-inner", "(fold lse (outer (all @k)) (fold lse (inner (all @k)) (pair (load $s @t @k) (load $v @k @u))))", "(fold lse (outer (all @k)) (pair (fold max (inner (all @k)) (load $s @t @k)) (fold add (inner (all @k)) (* (exp (shift (load $s @t @k) (fold max (inner (all @k)) (load $s @t @k)))) (load $v @k @u)))))"),
    ("two-pass-inner", "(fold lse (outer (all @k)) (fold lse (inner (all @k)) (pair (load $s @t @k) (pair (load $v @k @u) 1.0))))", "(fold lse (outer (all @k)) (pair (fold max (inner (all @k)) (load $s @t @k)) (pair (fold add (inner (all @k)) (* (exp (shift (load $s @t @k) (fold max (inner (all @k)) (load $s @t @k)))) (load $v @k @u))) (fold add (inner (all @k)) (exp (shift (load $s @t @k) (fold max (inner (all @k)) (load $s @t @k))))))))"),
    ("split", "(fold lse (upto (all @k) @t) (pair (load $s @t @k) (load $v @k @u)))", "(fold lse (chunks (upto (all @k) @t)) (mat (fold lse (chunk (upto (all @k) @t)) (pair (load $s @t @k) (load $v @k @u)))))"),
    ("mma", "(fold add (all @d) (* (load $q @t @d) (load $key @k @d)))", "(mma (all @d) (load $q @t @d) (load $key @k @d))"),
    ("mma", "(fold add (outer (all @k)) (fold add (inner (all @k)) (* (exp (load $s @t @k)) (load $key @k @d))))", "(fold add (outer (all @k)) (mma (inner (all @k)) (exp (load $s @t @k)) (load $key @k @d)))"),
    ("mma-operands", "(mma (all @d) (load $q @t @d) (load $key @k @d))", "(mma (all @d) (load $key @k @d) (load $q @t @d))"),
];

/// What a law must leave alone: its condition does not hold.
#[rustfmt::skip]
const REFUSED: &[(&str, &str)] = &[
    ("normalise-last", "(fold add (all @k) (* (ratio (load $x @t @k) (load $s @t @k)) (load $v @k @u)))"),
    // a value of a tile is not free of the fold over the tiles
    ("factor-out", "(fold add (outer (all @k)) (* (fold max (inner (all @k)) (load $s @t @k)) (fold add (inner (all @k)) (load $x @t @k))))"),
    // a maximum over nothing is -inf, and 0 times that is not 0; nor is 0 / 0
    ("factor-out", "(fold add (all @k) (* (fold max (all @i) (load $x @t @i)) (load $x @t @k)))"),
    ("factor-out", "(fold add (all @k) (/ (load $x @t @k) (load $z @t)))"),
    ("sum-interchange", "(fold add (all @k) (fold add (upto (all @u) @k) (load $v @k @u)))"),
    ("mask-to-domain", "(fold add (mask (all @k) (i<= (load $n @k) @t)) (load $x @t @k))"),
    ("walk-blocks", "(fold add (mask (all @k) (in (i/ @k 2) (list $list @k))) (load $x @t @k))"),
    ("walk-blocks", "(fold add (mask (all @k) (in (i/ @t 2) (list $list @t))) (load $x @t @k))"),
    // bounds of both kinds, a predicate that is no bound
    ("join-alternatives", "(fold add (mask (all @k) (or (i<= @k @t) (i<= 3 @k))) (load $x @t @k))"),
    ("join-alternatives", "(fold add (mask (all @k) (or (i<= @k @t) (in @k (list $list @t)))) (load $x @t @k))"),
    ("tile", "(fold add (all @d) (load $q @t @d))"),
    ("split", "(fold add (outer (all @k)) (fold add (inner (all @k)) (load $x @t @k)))"),
    // f32 arguments, no axis of its own, not a multiple of 16
    ("mma", "(fold add (inner (all @k)) (* (load $x @t @k) (load $v @k @u)))"),
    ("mma", "(fold add (all @d) (* (load $q @t @d) (load $q @t @d)))"),
    ("mma", "(fold add (all @r) (* (load $a @t @r) (load $c @k @r)))"),
];

fn context() -> Context {
    let mut context = Context::new(Type::Bf16);
    context.matrix = Some(H200.matrix.clone());
    for axis in ["t", "u", "k", "b"] {
        context.axis(axis, None, 1024);
    }
    context.axis("d", Some(16), 0);
    context.axis("r", Some(2), 0);
    let tensors = [
        ("x", "t k", Type::F32),
        ("s", "t k", Type::F32),
        ("v", "k u", Type::F32),
        ("z", "t", Type::F32),
        ("n", "t", Type::I32),
        ("q", "t d", Type::Bf16),
        ("key", "k d", Type::Bf16),
        ("a", "t r", Type::Bf16),
        ("c", "k r", Type::Bf16),
    ];
    for (name, axes, dtype) in tensors {
        let axes = axes.split(' ').map(AxisName::new).collect();
        context.add_tensor(name, TensorFacts { role: TensorRole::Param, axes, dtype: Some(dtype), result: false });
    }
    let list = TensorFacts {
        role: TensorRole::List(3),
        axes: vec![AxisName::new("t")],
        dtype: Some(Type::I32),
        result: false,
    };
    context.add_tensor("list", list);
    context
}

/// Random lengths (0 among them) and tensors: integers small, a third of the scores -inf, lists ascending without duplicates.
fn environment(context: &Context, seed: u64) -> Environment {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut below = |limit: i64| (((random.next() + 1.0) / 2.0 * limit as f64) as i64).min(limit - 1);
    let mut environment = Environment::new();
    environment.tile = 1 + below(4) as usize;
    environment.chunks = 1 + below(4) as usize;
    for axis in &context.axes {
        environment.lengths.insert(axis.name, axis.constant.unwrap_or_else(|| below(8)));
    }
    for (name, facts) in context.tensors() {
        let mut shape: Vec<usize> = facts.axes.iter().map(|axis| environment.lengths[axis] as usize).collect();
        let rows: usize = shape.iter().product();
        let mut data = Vec::new();
        for _ in 0..rows {
            match (name.name(), facts.role) {
                (_, TensorRole::List(count)) => {
                    let first = below(3);
                    let step = 1 + below(2);
                    let there = below(count + 1);
                    data.extend((0..count).map(|at| if at < there { (first + at * step) as f64 } else { -1.0 }));
                }
                ("s", _) if below(3) == 0 => data.push(f64::NEG_INFINITY),
                _ if facts.dtype == Some(Type::I32) => data.push(below(6) as f64),
                _ => data.push(below(4001) as f64 / 1000.0 - 2.0),
            }
        }
        if let TensorRole::List(count) = facts.role {
            shape.push(count as usize);
        }
        environment.tensors.insert(name, Array { shape, data });
    }
    environment
}

fn parse(text: &str) -> RecExpr<Term> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A small generator (xorshift64*), so that tests are the same everywhere.
struct Random(u64);

impl Random {
    /// The next number, between -1 and 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545F4914F6CDD1D) >> 11;
        bits as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Num(a), Value::Num(b)) => a == b || (a - b).abs() <= 1e-9 * (1.0 + a.abs()),
        (Value::Pair(a), Value::Pair(b)) => near(&a.0, &b.0) && near(&a.1, &b.1),
        (a, b) => a == b,
    }
}

/// Compares two terms for all values of the first's free axes in random environments; how many values were compared.
fn compare(context: &Context, left: &RecExpr<Term>, right: &RecExpr<Term>) -> usize {
    let mut compared = 0;
    let facts = facts_of_nodes(context, left);
    let free: Vec<u32> = facts
        .last()
        .unwrap()
        .free
        .iter()
        .map(|(axis, level)| {
            assert_eq!(*level, Level::Element, "an instance must be closed");
            *axis
        })
        .collect();
    for seed in 0..20 {
        let environment = environment(context, seed);
        let mut rows: Vec<Vec<(AxisName, i64)>> = vec![vec![]];
        for axis in &free {
            let name = context.axes[*axis as usize].name;
            rows = rows
                .iter()
                .flat_map(|row| (0..environment.lengths[&name]).map(move |at| [row.clone(), vec![(name, at)]].concat()))
                .collect();
        }
        for row in rows {
            let of =
                |nodes: &RecExpr<Term>| value(nodes, Id::from(nodes.len() - 1), context, &environment, row.clone());
            let (a, b) = (of(left).unwrap(), of(right).unwrap());
            assert!(near(&a, &b), "{left}\n= {a:?}\n{right}\n= {b:?}\nat {row:?}, seed {seed}");
            compared += 1;
        }
    }
    compared
}

fn graph_of(context: &Context, law: &Law, left: &RecExpr<Term>, explanations: bool) -> (Graph, Id) {
    let root = Id::from(left.len() - 1);
    let definition = Definition { tensor: TensorName::new("it"), axes: Vec::new(), root, result: true };
    let terms = Terms { nodes: left.clone(), definitions: vec![definition] };
    let saturated = saturate(&terms, context, std::slice::from_ref(law), explanations);
    assert!(saturated.saturation.complete, "{} does not saturate", law.name);
    (saturated.graph, saturated.roots[0])
}

#[test]
fn laws_rewrite_their_instances() {
    let context = context();
    let laws = general();
    for (name, left, right) in INSTANCES {
        let law = laws.iter().find(|law| law.name == *name).unwrap_or_else(|| panic!("{name} is no law"));
        let (left, right) = (parse(left), parse(right));
        assert_ne!(left, right, "{name}");
        for explanations in [false, true] {
            let (mut graph, root) = graph_of(&context, law, &left, explanations);
            let found = graph.lookup_expr(&right);
            assert_eq!(
                found.map(|id| graph.find(id)),
                Some(graph.find(root)),
                "{name}: {left} does not become {right}"
            );
            if explanations {
                let text = graph.explain_equivalence(&left, &right).get_flat_string();
                assert!(text.contains(name), "{name} is not in\n{text}");
            }
        }
    }
}

#[test]
fn both_sides_have_the_same_value() {
    let context = context();
    for (name, left, right) in INSTANCES {
        let compared = compare(&context, &parse(left), &parse(right));
        assert!(compared >= 20, "{name}: only {compared} values");
    }
}

#[test]
fn conditions_refuse() {
    let context = context();
    let laws = general();
    for (name, left) in REFUSED {
        let law = laws.iter().find(|law| law.name == *name).unwrap_or_else(|| panic!("{name} is no law"));
        let left = parse(left);
        let nothing = Law { rules: Vec::new(), ..*law };
        let nodes = |law| graph_of(&context, law, &left, false).0.total_number_of_nodes();
        assert_eq!(nodes(law), nodes(&nothing), "{name} rewrites {left}");
    }
}

#[test]
fn every_law_has_an_instance() {
    for law in general() {
        assert!(INSTANCES.iter().any(|(name, ..)| *name == law.name), "{} has no instance", law.name);
    }
}

/// The table of laws in `RULES.md`.
fn table() -> String {
    let mut laws = general();
    laws.extend(unfolding(&Terms { nodes: RecExpr::default(), definitions: Vec::new() }));
    let mut table = String::from("| law | equation | file |\n|---|---|---|\n");
    for law in laws {
        table.push_str(&format!("| `{}` | {} | {} |\n", law.name, law.equation.replace('|', "\\|"), law.topic));
    }
    table
}

#[test]
fn the_document_lists_the_laws() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../RULES.md");
    let text = std::fs::read_to_string(path).expect("RULES.md at the top of the repository");
    assert!(text.contains(&table()), "RULES.md lacks this table:\n\n{}", table());
}

#[test]
fn unknown_laws_are_named() {
    let terms = Terms { nodes: RecExpr::default(), definitions: Vec::new() };
    let error = laws(&terms, &["tile".into(), "tiles".into()]).err().unwrap().to_string();
    assert!(error.starts_with("there is no law `tiles`; the laws are normalise-last, "), "{error}");
    let all = laws(&terms, &[]).unwrap().len();
    assert_eq!(laws(&terms, &["tile".into()]).unwrap().len(), all - 1);
}

#[test]
fn a_tilde_stands_for_both_orders() {
    assert_eq!(both_orders("(f (*~ (g ?a) ?b) ?c)"), ["(f (* (g ?a) ?b) ?c)", "(f (* ?b (g ?a)) ?c)"]);
    assert_eq!(both_orders("(*~ (+~ ?a ?b) ?c)").len(), 4);
    assert_eq!(both_orders("(f ?a)"), ["(f ?a)"]);
}

#[test]
fn names_are_unique_and_rules_parse() {
    let mut names: Vec<String> = Vec::new();
    for law in general() {
        assert!(!names.contains(&law.name.to_string()), "{} twice", law.name);
        names.push(law.name.into());
        for rewrite in law.rewrites() {
            assert_eq!(law_of(rewrite.name.as_str()), law.name);
        }
    }
}
