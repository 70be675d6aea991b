//! Where conditions hold, compared with loops written by hand.

use nsa_dsl::program::{AxisId, Expr, ExprId, Program, Source};
use nsa_dsl::{Evaluation, Inputs, Settings, Values, compile_source};
use std::ops::Range;

/// The guard of a program's last definition's outermost fold with a guard, and the fold's axis.
fn guard(program: &Program) -> (ExprId, AxisId) {
    let Source::Value(root) = program.tensors.last().expect("a definition").source else { panic!("a value") };
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        if let Expr::Fold { axis, guard: Some(guard), .. } = program.expr(id) {
            return (*guard, *axis);
        }
        program.expr(id).children(|child| pending.push(child));
    }
    panic!("no guarded fold");
}

fn axis(program: &Program, name: &str) -> AxisId {
    AxisId(program.axes.iter().position(|axis| axis.name == name).expect("an axis") as u32)
}

fn members(ranges: &[Range<usize>]) -> Vec<usize> {
    ranges.iter().cloned().flatten().collect()
}

#[test]
fn bounds_and_tests_together() {
    let text = "kernel f(x[t], y[s]) -> o[t] { sum[s] x * y where s <= pos(t) && pos(t) < s + 5 && s % 3 != 1 }";
    let program = compile_source("f.nsa", text, &Settings::default()).expect("a program");
    // Two sequences, in the second of which there are more keys than queries.
    let inputs = Inputs::new()
        .cumulative("t", vec![0, 6, 10])
        .cumulative("s", vec![0, 6, 17])
        .real("x", vec![1.0; 10])
        .real("y", vec![1.0; 17]);
    let evaluation = Evaluation::new(&program, &inputs).expect("arguments");
    let (condition, keys) = guard(&program);
    let queries = axis(&program, "t");
    for (sequence, (t_length, s_length)) in [(6, 6), (4, 11)].into_iter().enumerate() {
        assert_eq!(evaluation.extent(sequence, keys), Some(s_length));
        let rows = evaluation.satisfying(sequence, condition, keys, Some(queries), &[]).expect("rows");
        assert_eq!(rows.len(), t_length);
        for (t, ranges) in rows.iter().enumerate() {
            let position = t + s_length - t_length;
            let expected: Vec<usize> =
                (0..s_length).filter(|s| *s <= position && position < s + 5 && s % 3 != 1).collect();
            assert_eq!(members(ranges), expected, "{sequence} {t}");
            assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "ranges touch: {ranges:?}");
            let one = evaluation.satisfying(sequence, condition, keys, None, &[(queries, t)]).expect("a row");
            assert_eq!(one, std::slice::from_ref(ranges));
        }
    }
    assert_eq!(evaluation.extent(2, keys), None);
    let unknown = evaluation.satisfying(2, condition, keys, None, &[]).expect_err("there are two sequences");
    assert!(unknown.to_string().contains('2'), "{unknown}");
    let outside = evaluation.satisfying(0, condition, keys, None, &[(queries, 6)]).expect_err("there are six queries");
    assert!(outside.to_string().contains("`t`"), "{outside}");
}

#[test]
fn lists_are_evaluated() {
    let text = "
        kernel f(x[t], y[s], heat[t, s]) -> o[t] {
            let hot = top[s](heat, 3);
            sum[s] x * y where s in hot
        }";
    let program = compile_source("f.nsa", text, &Settings::default()).expect("a program");
    let heat: Vec<f64> = (0..5 * 8).map(|n| f64::from(n * 7 % 11)).collect();
    let inputs =
        Inputs::new().length("t", 5).length("s", 8).real("x", vec![1.0; 5]).real("y", vec![1.0; 8]).real("heat", heat);
    let evaluation = Evaluation::new(&program, &inputs).expect("arguments");
    let (condition, keys) = guard(&program);
    let rows = evaluation.satisfying(0, condition, keys, Some(axis(&program, "t")), &[]).expect("rows");
    let Values::Integer(lists) = evaluation.tensor("hot").expect("lists").values else { panic!("integers") };
    for (ranges, list) in rows.iter().zip(lists.chunks(3)) {
        let list: Vec<usize> = list.iter().map(|entry| *entry as usize).collect();
        assert_eq!(members(ranges), list);
    }
    assert_eq!(rows.len(), 5);
}
