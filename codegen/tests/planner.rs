//! The planner on terms written by hand: what it makes of each shape of fold.

use nsa_codegen::plan::{Plan, Statement, Tiling, plan, verify};
use nsa_codegen::term::{AxisName, Definition, TensorName, Term, Terms};
use nsa_dsl::program::*;

/// The plan of a program's skeleton, as text.
fn planned(axes: &[(&str, i64)], params: &[(&str, &[&str])], definitions: &[(&str, &[&str], &str)]) -> String {
    plan_of(axes, params, definitions).to_string()
}

/// The plan of a program's skeleton: axes (a number is a constant extent), parameters, and definitions as terms.
fn plan_of(axes: &[(&str, i64)], params: &[(&str, &[&str])], definitions: &[(&str, &[&str], &str)]) -> Plan {
    let mut program = Program {
        name: "test".into(),
        element: DType::Bf16,
        axes: vec![],
        tensors: vec![],
        results: vec![],
        exprs: vec![Expr::Num(0.0)],
        constants: vec![],
        places: Default::default(),
    };
    for (name, n) in axes {
        let extent = if *n > 0 { Extent::Const(*n) } else { Extent::Runtime };
        program.axes.push(Axis { name: name.to_string(), extent });
    }
    let id = |name: &&str| AxisId(axes.iter().position(|a| a.0 == *name).expect("axis") as u32);
    for (name, axes) in params {
        program.tensors.push(Tensor {
            name: name.to_string(),
            axes: axes.iter().map(id).collect(),
            dtype: None,
            source: Source::Param,
        });
    }
    let mut terms = Terms { nodes: Default::default(), definitions: vec![] };
    for (i, (name, axes, text)) in definitions.iter().enumerate() {
        let parsed: egg::RecExpr<nsa_codegen::term::Term> = text.parse().expect("a term");
        let mut map = std::collections::HashMap::new();
        for (at, node) in parsed.as_ref().iter().enumerate() {
            let node = egg::Language::map_children(node.clone(), |c| map[&c]);
            let id = terms.nodes.add(node);
            map.insert(egg::Id::from(at), id);
        }
        let root = map[&egg::Id::from(parsed.as_ref().len() - 1)];
        let list = matches!(terms.nodes[root], nsa_codegen::term::Term::Top(_));
        let last = i + 1 == definitions.len();
        if last {
            program.results.push(TensorId(program.tensors.len() as u32));
        }
        let source = if list {
            Source::Top(Top { axis: AxisId(0), count: 0, score: ExprId(0), force: None, among: None })
        } else {
            Source::Value(ExprId(0))
        };
        program.tensors.push(Tensor {
            name: name.to_string(),
            axes: axes.iter().map(id).collect(),
            dtype: None,
            source,
        });
        let axes = if list { &axes[..axes.len() - 1] } else { axes };
        terms.definitions.push(Definition {
            tensor: TensorName::new(name),
            axes: axes.iter().map(|a| AxisName::new(a)).collect(),
            root,
            result: last,
        });
    }
    let plan = plan(&terms, &program, &Tiling::gpu()).expect("a plan").plan;
    assert_eq!(verify(&plan), []);
    plan
}

/// Snapshots of the whole workspace live in one folder.
fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "../../snapshots/planner", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

fn attend(k: &str, v: &str, axis: &str, domain: &str) -> String {
    let s = format!("(* (mma (all @d) (load $q @t @g @r @d) (load {k} @{axis} @g @d)) 0.08838834764831845)");
    let m = format!("(fold max (inner {domain}) {s})");
    let p = format!("(exp (shift {s} {m}))");
    let pv = format!("(mma (inner {domain}) {p} (load {v} @{axis} @g @e))");
    format!("(fold lse (outer {domain}) (pair {m} (pair {pv} (fold add (inner {domain}) {p}))))")
}

const AXES: &[(&str, i64)] = &[
    ("t", 0),
    ("s", 0),
    ("g", 4),
    ("r", 16),
    ("d", 128),
    ("e", 128),
    ("i", 0),
    ("b", 0),
    ("n", 16),
    ("j", 32),
    ("c", 3),
];

#[test]
fn causal_attention() {
    let f = attend("$k", "$v", "s", "(upto (all @s) (i+ @t (i- #s #t)))");
    let text = planned(
        AXES,
        &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("v", &["s", "g", "e"])],
        &[
            ("lse", &["t", "g", "r"], &format!("(logsum {f})")),
            ("o", &["t", "g", "r", "e"], &format!("(norm (snd {f}))")),
        ],
    );
    snapshot("causal_attention", &text);
}

#[test]
fn listed_blocks_and_gate() {
    let pos = "(i+ @t (i- #s #t))";
    let a = attend("$k", "$v", "s", &format!("(upto (blocks (all @s) (list $chosen @t @g) 64) {pos})"));
    let w = attend("$k", "$v", "s", &format!("(upto (from (all @s) (i+ {pos} -511)) {pos})"));
    let text = planned(
        AXES,
        &[
            ("q", &["t", "g", "r", "d"]),
            ("k", &["s", "g", "d"]),
            ("v", &["s", "g", "e"]),
            ("gate", &["t", "g", "r", "c"]),
            ("chosen", &["t", "g", "n"]),
        ],
        &[
            ("ow", &["t", "g", "r", "e"], &format!("(* (load $gate @t @g @r 2) (norm (snd {w})))")),
            (
                "o",
                &["t", "g", "r", "e"],
                &format!("(+ (load $ow @t @g @r @e) (* (load $gate @t @g @r 1) (norm (snd {a}))))"),
            ),
        ],
    );
    snapshot("listed_blocks_and_gate", &text);
}

#[test]
fn best_blocks() {
    let pos = "(i+ @t (i- #s #t))";
    let s = "(* (mma (all @d) (load $q @t @g @r @d) (load $kc @i @g @d)) 0.08838834764831845)";
    let p = format!("(exp (- {s} (load $lse @t @g @r)))");
    let w = "(float (imax 0 (i- (imin (i+ (i* @i 16) 32) (i+ (i* @b 64) 64)) (imax (i* @i 16) (i* @b 64)))))";
    let di = format!(
        "(upto (upto (from (all @i) (i/ (i+ (i* @b 64) -16) 16)) (i/ (i+ (i* @b 64) 63) 16)) (i/ (i- {pos} 31) 16))"
    );
    // The sum over heads inside or outside of the band: the stage holds the sum either way.
    let inside = format!("(fold add {di} (* (fold add (all @r) {p}) {w}))");
    let outside = format!("(fold add (all @r) (fold add {di} (* {p} {w})))");
    assert_eq!(best_of(&inside), best_of(&outside));
    snapshot("best_blocks", &best_of(&inside));
}

fn best_of(score: &str) -> String {
    let pos = "(i+ @t (i- #s #t))";
    planned(
        AXES,
        &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("kc", &["i", "g", "d"]), ("lse", &["t", "g", "r"])],
        &[
            ("mean", &["i", "g", "d"], "(* (fold add (all @j) (load $k (i+ (i* @i 16) @j) @g @d)) 0.03125)"),
            ("chosen", &["t", "g", "n"], &format!("(top 16 (upto (all @b) (i/ {pos} 64)) {score} (i< @b 1))")),
        ],
    )
}

#[test]
fn split_over_blocks() {
    let f = attend("$k", "$v", "s", "(chunk (upto (all @s) (i+ @t (i- #s #t))))");
    let f = format!("(fold lse (chunks (upto (all @s) (i+ @t (i- #s #t)))) (mat {f}))");
    let text = planned(
        AXES,
        &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("v", &["s", "g", "e"])],
        &[("o", &["t", "g", "r", "e"], &format!("(norm (snd {f}))"))],
    );
    snapshot("split_over_blocks", &text);
}

/// Two loops with one set of variables, the second over single keys of a list.
#[test]
fn a_fold_over_a_union() {
    let pos = "(i+ @t (i- #s #t))";
    let near = format!("(from (upto (all @s) {pos}) (i+ {pos} -511))");
    let listed = format!("(blocks (upto (all @s) (i+ {pos} -512)) (list $chosen @t @g) 1)");
    let f = attend("$k", "$v", "s", &format!("(union {near} {listed})"));
    let text = planned(
        AXES,
        &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("v", &["s", "g", "e"]), ("chosen", &["t", "g", "n"])],
        &[("o", &["t", "g", "r", "e"], &format!("(norm (snd {f}))"))],
    );
    assert_eq!(text.matches("sum%1[rows, e:128] = 0.0").count(), 1, "{text}");
    assert_eq!(text.matches("sum%1[rows, e:128] += ").count(), 2, "{text}");
    snapshot("a_fold_over_a_union", &text);
}

/// Two stored terms of a result, then its last one: all three kernels work in the result.
#[test]
fn sums_grow_in_their_result() {
    let text = sum_of("(+ (load $a @t @d) (+ (load $b @t @d) (* 2.0 (load $x @t @d))))", "");
    assert!(!text.contains("workspace"), "{text}");
    let kernels: Vec<&str> = text.lines().filter(|l| l.contains(" = ") && l.contains("o[")).map(str::trim).collect();
    assert_eq!(
        kernels,
        ["o[t, d] = exp(x[t, d])", "o[t, d] = o[t, d] + log(x[t, d])", "o[t, d] = o[t, d] + 2.0 * x[t, d]",]
    );
}

/// What is left of a difference keeps its sign.
#[test]
fn differences_grow_in_their_result() {
    let text = sum_of("(- (load $x @t @d) (- (load $a @t @d) (load $b @t @d)))", "");
    assert!(!text.contains("workspace"), "{text}");
    for line in ["o[t, d] = neg(exp(x[t, d]))", "o[t, d] = o[t, d] + log(x[t, d])", "o[t, d] = o[t, d] + x[t, d]"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// A kernel that changes a result may read the element that it writes, and nothing else of it.
#[test]
fn reading_other_elements_of_a_result_is_a_fault() {
    let axes: &[&str] = &["t", "d"];
    let definitions: &[(&str, &[&str], &str)] =
        &[("a", axes, "(exp (load $x @t @d))"), ("o", axes, "(+ (load $a @t @d) (load $x @t @d))")];
    let whole = plan_of(AXES, &[("x", axes)], definitions);
    let changed = |change: fn(&mut Plan, egg::Id, &mut Vec<egg::Id>) -> egg::Id| {
        let mut plan = whole.clone();
        let mut kernel = plan.kernels[1].clone();
        let Statement::Store { index, value, .. } = &mut kernel.body[0] else { panic!("{whole}") };
        *value = change(&mut plan, *value, index);
        plan.kernels[1] = kernel;
        verify(&plan).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let fault = "kernel o: o is written twice, and not element by element";
    assert_eq!(changed(|_, value, _| value), [] as [&str; 0]);
    // Another element: (o[t, 3] + ...).
    let other = |plan: &mut Plan, value, _: &mut Vec<egg::Id>| {
        let Term::Add([load, rest]) = plan.terms[value].clone() else { panic!("{plan}") };
        let Term::Load(mut operands) = plan.terms[load].clone() else { panic!("{plan}") };
        operands[2] = plan.terms.add(Term::Int(3));
        let load = plan.terms.add(Term::Load(operands));
        plan.terms.add(Term::Add([load, rest]))
    };
    assert_eq!(changed(other), [fault]);
    // Nothing of it: what was there is lost.
    let overwrite = |plan: &mut Plan, value, _: &mut Vec<egg::Id>| {
        let Term::Add([_, rest]) = plan.terms[value] else { panic!("{plan}") };
        rest
    };
    assert_eq!(changed(overwrite), [fault]);
}

/// What is read elsewhere, or at another element, or inside of something that is no sum, keeps its memory.
#[test]
fn other_intermediates_are_stored() {
    for (sum, other) in [
        ("(+ (load $a @t @d) (+ (load $b @t @d) (load $x @t @d)))", "(+ (load $a @t @d) (load $b @t @d))"),
        ("(+ (load $a @t 3) (+ (load $b @t @d) (load $x @t @d)))", ""),
        ("(+ (* (load $a @t @d) (load $b @t @d)) (load $x @t @d))", ""),
        ("(* (+ (load $a @t @d) (load $b @t @d)) (load $x @t @d))", ""),
    ] {
        let text = sum_of(sum, other);
        assert!(text.contains("workspace a"), "{sum}\n{text}");
    }
}

/// `a = exp x`, `b = log x`, the result, and perhaps another tensor between them.
fn sum_of(sum: &str, other: &str) -> String {
    let axes: &[&str] = &["t", "d"];
    let mut definitions = vec![("a", axes, "(exp (load $x @t @d))"), ("b", axes, "(log (load $x @t @d))")];
    if !other.is_empty() {
        definitions.push(("c", axes, other));
    }
    definitions.push(("o", axes, sum));
    planned(AXES, &[("x", axes)], &definitions)
}
