//! What each part of the language means, on small programs with numbers one can follow.

use nsa_dsl::program::{DType, Extent};
use nsa_dsl::{EvalError, Evaluation, Inputs, Settings, compile_source, evaluate, parse};

/// The results of a program as one list each.
fn run(text: &str, inputs: &Inputs) -> Vec<Vec<f64>> {
    let program = compile_source("test.nsa", text, &Settings::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let outputs = evaluate(&program, inputs).unwrap_or_else(|error| panic!("{error}"));
    outputs
        .iter()
        .map(|array| {
            if array.integers().is_empty() {
                array.real().to_vec()
            } else {
                array.integers().iter().map(|&x| x as f64).collect()
            }
        })
        .collect()
}

fn x(values: &[f64]) -> Inputs {
    Inputs::new().real("x", values.to_vec()).length("t", values.len())
}

/// The value of an expression of `t` and `x[t]`.
fn each(expression: &str, values: &[f64]) -> Vec<f64> {
    run(&format!("kernel f(x[t]) -> o: f32[t] {{ {expression} }}"), &x(values)).remove(0)
}

/// The value of an expression without axes.
fn one(expression: &str, values: &[f64]) -> f64 {
    run(&format!("kernel f(x[t]) -> o: f32 {{ {expression} }}"), &x(values))[0][0]
}

const INF: f64 = f64::INFINITY;

#[test]
fn integers() {
    assert_eq!(each("1.0 * ((t - 3) / 2)", &[0.0; 6]), [-2.0, -1.0, -1.0, 0.0, 0.0, 1.0]);
    assert_eq!(each("1.0 * ((t - 3) % 2)", &[0.0; 6]), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(each("1.0 * ceil_div(t, 2)", &[0.0; 4]), [0.0, 1.0, 1.0, 2.0]);
    assert_eq!(each("1.0 * (min(t, 2) + max(t, 1) - abs(1 - t))", &[0.0; 4]), [0.0, 2.0, 3.0, 3.0]);
    assert_eq!(each("x + t", &[0.5; 3]), [0.5, 1.5, 2.5]);
    assert_eq!(each("x * (1 / 2)", &[3.0; 1]), [0.0]);
    assert_eq!(each("1.0 * len(t)", &[0.0; 3]), [3.0; 3]);
    assert_eq!(each("-x - -t", &[2.0; 2]), [-2.0, -1.0]);
}

#[test]
fn functions_of_one_value() {
    for (name, at_one) in [
        ("exp", 1f64.exp()),
        ("log", 0.0),
        ("sqrt", 1.0),
        ("tanh", 1f64.tanh()),
        ("sigmoid", 1.0 / (1.0 + (-1f64).exp())),
        ("relu", 1.0),
        ("silu", 1.0 / (1.0 + (-1f64).exp())),
        ("gelu", 0.841_191_990_607_958),
        ("abs", 1.0),
    ] {
        let value = each(&format!("{name}(x)"), &[1.0])[0];
        assert!((value - at_one).abs() < 1e-12, "{name}(1) is {value}");
    }
    assert_eq!(each("relu(x)", &[-2.0, 3.0]), [0.0, 3.0]);
    assert_eq!(each("log(x)", &[0.0]), [-INF]);
}

#[test]
fn shift_and_ratio() {
    assert_eq!(each("shift(x, -inf)", &[-INF, 1.0]), [-INF, INF]);
    assert_eq!(each("shift(x, 2)", &[-INF, 1.0]), [-INF, -1.0]);
    assert_eq!(each("ratio(x, 0)", &[0.0, 1.0]), [0.0, INF]);
    assert_eq!(each("ratio(x, 4)", &[2.0]), [0.5]);
}

#[test]
fn folds() {
    let values = [3.0, -1.0, 4.0, 1.5];
    assert_eq!(one("sum[t] x", &values), 7.5);
    assert_eq!(one("max[t] x", &values), 4.0);
    assert_eq!(one("min[t] x", &values), -1.0);
    assert_eq!(one("mean[t] x", &values), 1.875);
    assert_eq!(one("sum[t] x where t % 2 == 0", &values), 7.0);
    assert_eq!(one("mean[t] x where t >= 1 && t < 3", &values), 1.5);
    assert_eq!(one("sum[t] x * t + 100", &values), 111.5);
    assert_eq!(one("sum[j < 3] x[j] * j where j < len(t)", &values), 7.0);
    assert_eq!(one("sum[t] sum[j < 2] j * x where t != 0", &values), 4.5);
    assert_eq!(one("sum[t, j < 2] x where j <= t && t < 2", &values), 3.0 - 2.0);
    let expected = values.iter().map(|x| x.exp()).sum::<f64>().ln();
    assert!((one("logsumexp[t](x)", &values) - expected).abs() < 1e-12);
}

#[test]
fn folds_over_nothing() {
    for values in [&[][..], &[1.0, 2.0]] {
        for (fold, expected) in [
            ("sum[t] x where t < 0", 0.0),
            ("max[t] x where t < 0", -INF),
            ("min[t] x where t < 0", INF),
            ("mean[t] x where t < 0", 0.0),
            ("logsumexp[t](x where t < 0)", -INF),
            ("sum[t] softmax[t](x where t < 0) * x", 0.0),
            // Scores that are all -inf are as good as none.
            ("sum[t] softmax[t](-inf * (t + 1)) * x", 0.0),
        ] {
            assert_eq!(one(fold, values), expected, "{fold}");
        }
    }
    assert_eq!(one("mean[t] x", &[]), 0.0);
}

#[test]
fn softmax_is_zero_where_it_is_masked() {
    let p = each("softmax[t](x where t != 1)", &[0.0, 5.0, 0.0]);
    assert_eq!(p, [0.5, 0.0, 0.5]);
    // Inside of a sum the mask is the sum's guard, however it is written.
    let program = |body: &str| {
        compile_source("test.nsa", &format!("kernel f(x[t], v[t]) -> o {{ {body} }}"), &Settings::default())
            .unwrap_or_else(|errors| panic!("{errors}"))
            .to_string()
    };
    let masked = program("sum[t] softmax[t](x where t != 1) * v");
    assert_eq!(masked, program("sum[t] softmax[t](x where t != 1) * v where t != 1"));
    assert!(!masked.contains("if "), "{masked}");
}

#[test]
fn what_a_guard_leaves_out_is_not_evaluated() {
    // 0 / 0 and an index that would be outside.
    assert_eq!(one("sum[t] x / t where t > 0", &[7.0, 1.0, 4.0]), 3.0);
    assert_eq!(each("if t > 0 { x[t - 1] } else { 0.0 }", &[1.0, 2.0, 3.0]), [0.0, 1.0, 2.0]);
    assert_eq!(one("sum[t] x[t + 1] where t + 1 < len(t)", &[1.0, 2.0, 3.0]), 5.0);
}

#[test]
fn conditions() {
    assert_eq!(each("if !(x < 2) || t == 0 && x != 1 { 1.0 } else { 0.0 }", &[0.0, 1.0, 2.0]), [1.0, 0.0, 1.0]);
    assert_eq!(each("if if t < 1 { x > 0 } else { x < 0 } { 1.0 } else { 0.0 }", &[1.0, 1.0, -1.0]), [1.0, 0.0, 1.0]);
    assert_eq!(each("if x < 1 { 1 } else if x < 2 { 2 } else { 3.0 }", &[0.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
    // Nothing but != holds for NaN.
    assert_eq!(each("if x < 1 || x >= 1 { 1.0 } else { 0.0 }", &[f64::NAN]), [0.0]);
}

#[test]
fn casts() {
    assert_eq!(
        each("cast(x, bf16)", &[1.00390625, 1.01171875, -3e-41, 1e39]),
        [1.0, 1.015625, -3.0305e-41, INF].map(|x| {
            if x == -3.0305e-41 {
                f64::from(f32::from_bits(0x8000_0000 | ((3e-41f32.to_bits() + 0x8000) & 0xffff_0000)))
            } else {
                x
            }
        })
    );
    assert_eq!(each("cast(x, f16)", &[1.00048828125, 65519.0, 65520.0, 2.9e-8]), [1.0, 65504.0, INF, 0.0]);
    assert_eq!(each("cast(x, f16)", &[6.0e-8]), [2f64.powi(-24)]);
    assert_eq!(each("cast(x, f32)", &[0.1]), [f64::from(0.1f32)]);
}

#[test]
fn top_lists() {
    let list = |arguments: &str, values: &[f64]| -> Vec<f64> {
        run(&format!("kernel f(x[t]) -> o: i32[n = 3] {{ let c[n] = top[t]({arguments}); c }}"), &x(values)).remove(0)
    };
    assert_eq!(list("x, 3", &[1.0, 5.0, 2.0, 4.0]), [1.0, 2.0, 3.0]);
    assert_eq!(list("x, 3", &[1.0, 1.0, 1.0, 1.0]), [0.0, 1.0, 2.0]);
    assert_eq!(list("x, 3", &[1.0, 2.0]), [0.0, 1.0, -1.0]);
    assert_eq!(list("x, 3", &[]), [-1.0; 3]);
    assert_eq!(list("x, 3, force = t == 0", &[1.0, 5.0, 2.0, 4.0]), [0.0, 1.0, 3.0]);
    assert_eq!(list("x, 3, force = t >= 0", &[1.0, 5.0, 2.0, 4.0]), [0.0, 1.0, 2.0]);
    assert_eq!(list("x, 3, among = t != 1", &[1.0, 5.0, 2.0, 4.0]), [0.0, 2.0, 3.0]);
    assert_eq!(list("x, 3, force = t == 1, among = t > 1", &[1.0, 5.0, 2.0, 4.0]), [2.0, 3.0, -1.0]);
    assert_eq!(list("x, 3", &[f64::NAN, -INF, 0.0, 1.0]), [0.0, 2.0, 3.0]);
    assert_eq!(list("x, 3", &[-0.0, 0.0, 0.0, 0.0]), [0.0, 1.0, 2.0]);
}

#[test]
fn membership_ignores_padding() {
    let text = "kernel f(list: i32[t, n = 3], w[s]) -> o: f32[t] { sum[s] w where s - 1 in list }";
    let inputs = Inputs::new()
        .integers("list", vec![-1, -1, -1, 0, 2, -1, 1, 1, 9])
        .real("w", vec![1.0, 10.0, 100.0, 1000.0])
        .length("t", 3)
        .length("s", 4);
    // s - 1 is -1 for s = 0, which no -1 entry matches; an entry twice is one member.
    assert_eq!(run(text, &inputs), [[0.0, 1010.0, 100.0]]);
}

#[test]
fn block_sparse_attention_from_given_indices() {
    let text = "kernel f(q[t, d = 2], k[s, d], v[s, e = 1], idx: i32[t, n = 2]) -> (o[t, e], lse: f32[t]) {
        attend(q, k, v, s / 2 in idx[t] && s <= pos(t), scale = 1)
    }";
    let inputs = Inputs::new()
        .real("q", vec![0.0; 4])
        .real("k", vec![1.0; 10])
        .real("v", vec![1.0, 2.0, 4.0, 8.0, 16.0])
        .integers("idx", vec![0, 2, -1, -1])
        .length("t", 2)
        .length("s", 5);
    let results = run(text, &inputs);
    assert_eq!(results[0], [1.5, 0.0]);
    assert!((results[1][0] - 2f64.ln()).abs() < 1e-12 && results[1][1] == -INF);
}

#[test]
fn gathers() {
    let text = "kernel f(ids: i32[t], table[w = 3, c = 2]) -> o: f32[t, c] { table[ids[t], c] }";
    let inputs = |ids: Vec<i64>| {
        let length = ids.len();
        Inputs::new().integers("ids", ids).real("table", vec![0.0, 1.0, 10.0, 11.0, 20.0, 21.0]).length("t", length)
    };
    assert_eq!(run(text, &inputs(vec![2, 0])), [[20.0, 21.0, 0.0, 1.0]]);
    let program = compile_source("test.nsa", text, &Settings::default()).expect("compiles");
    let error = evaluate(&program, &inputs(vec![0, 3])).expect_err("outside");
    let expected = EvalError::OutOfRange { name: "table".into(), axis: "w".into(), index: 3, extent: 3 };
    assert_eq!(error, expected);
}

#[test]
fn definitions_and_indices() {
    // Shadowing, abbreviations, tensors at other places.
    let text = "kernel f(x[t, c = 2]) -> (o: f32[t], p: f32[c, t]) {
        let y = x * 2;
        let y[c, t] = y + c;
        let late = t > 0;
        let z = sum[c] y where late;
        (z + y[1, t], y)
    }";
    let inputs = Inputs::new().real("x", vec![1.0, 2.0, 3.0, 4.0]).length("t", 2);
    assert_eq!(run(text, &inputs), [vec![5.0, 24.0], vec![2.0, 6.0, 5.0, 9.0]]);
    let program = compile_source("test.nsa", text, &Settings::default()).expect("compiles");
    let names: Vec<&str> = program.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["x", "y", "p", "z", "o"]);
}

#[test]
fn extents_are_inferred() {
    let text = "kernel f(x[t]) -> (o: f32[i], p: f32[j], r: f32[h]) {
        let o[i] = sum[m < 4] x[i * 3 + m];
        let p[j] = x[j + 2] - x[2 * j];
        let r[h] = x[h];
        (o, p, r)
    }";
    for length in [0, 1, 2, 3, 4, 5, 6, 7, 10] {
        let values: Vec<f64> = (0..length).map(|i| (i * i) as f64).collect();
        let at = |i: usize| values[i];
        let o: Vec<f64> =
            (0..).take_while(|i| i * 3 + 3 < length).map(|i| (0..4).map(|m| at(i * 3 + m)).sum()).collect();
        let p: Vec<f64> =
            (0..).take_while(|j| j + 2 < length && 2 * j < length).map(|j| at(j + 2) - at(2 * j)).collect();
        assert_eq!(run(text, &x(&values)), [o, p, values.clone()], "length {length}");
    }
    let fixed = "kernel f(x[c = 10]) -> o: f32[i] { let o[i] = x[i * 4 + 1]; o }";
    let program = compile_source("test.nsa", fixed, &Settings::default()).expect("compiles");
    let axis = program.axes.iter().find(|axis| axis.name == "i").expect("i");
    assert_eq!(axis.extent, Extent::Const(3));
}

#[test]
fn renamed_axes_are_not_captured() {
    // The fold's own `j`, and an index that mentions the caller's `j`.
    let text = "fn shifted_sum(x[s], at) { sum[j < 2] x[at + j] * j }
    kernel f(x[c = 8]) -> o: f32 { sum[j < 3] shifted_sum(x, j * 2) * (j + 1) }";
    let inputs = Inputs::new().real("x", (0..8).map(f64::from).collect());
    let expected: f64 = (0..3).map(|j| f64::from(2 * j + 1) * f64::from(j + 1)).sum();
    assert_eq!(run(text, &inputs), [[expected]]);
    // An argument that folds over the axis by which it is indexed.
    let text = "fn twice(y[a], at) { sum[j < 2] y[j + at] }
    kernel f(x[c = 8]) -> o: f32[c] { let y = sum[j < 3] x * j; if c < 7 { twice(y, c) } else { 0.0 } }";
    let inputs = Inputs::new().real("x", (0..8).map(f64::from).collect());
    let expected: Vec<f64> = (0..8).map(|c| if c < 7 { 3.0 * f64::from(2 * c + 1) } else { 0.0 }).collect();
    assert_eq!(run(text, &inputs), [expected]);
}

#[test]
fn element_types() {
    let text = "element f16; kernel f(x[t], y: f32[t], i: i32[t]) -> (o[t], p: bf16[t], n[t]) { (x + y, x, i + 1) }";
    let program = compile_source("test.nsa", text, &Settings::default()).expect("compiles");
    let types = |program: &nsa_dsl::Program| -> Vec<Option<DType>> {
        let params = program.params().map(|(_, tensor)| tensor.dtype);
        params.chain(program.results.iter().map(|&id| program.tensor(id).dtype)).collect()
    };
    use DType::*;
    assert_eq!(types(&program), [F16, F32, I32, F16, Bf16, I32].map(Some));
    let program = compile_source("test.nsa", text, &Settings::default().element(F32)).expect("compiles");
    assert_eq!(types(&program), [F32, F32, I32, F32, Bf16, I32].map(Some));
}

#[test]
fn arguments_are_checked() {
    let program = compile_source("test.nsa", "kernel f(x[t], w[c = 2]) -> o[t, c] { x * w }", &Settings::default())
        .expect("compiles");
    let good = Inputs::new().real("x", vec![1.0; 3]).real("w", vec![1.0, 2.0]).cumulative("t", vec![0, 1, 1, 3]);
    assert_eq!(evaluate(&program, &good).expect("evaluates").get("o").expect("o").shapes, [[1, 2], [0, 2], [2, 2]]);
    for (inputs, expected) in [
        (good.clone().real("y", vec![]), "the program has no parameter `y`"),
        (good.clone().real("x", vec![1.0; 4]), "parameter `x` has 4 elements; its axes' lengths say 3"),
        (good.clone().real("x", vec![1.0; 2]), "parameter `x` has 2 elements; its axes' lengths say 3"),
        (good.clone().integers("x", vec![1; 3]), "parameter `x` holds floating values"),
        (good.clone().length("c", 2), "there is no such axis here: `c`"),
        (
            good.clone().cumulative("t", vec![0, 3, 1]),
            "the cumulative lengths of axis `t` must begin with 0 and never decrease",
        ),
        (
            good.clone().cumulative("t", vec![]),
            "the cumulative lengths of axis `t` must begin with 0 and never decrease",
        ),
        (Inputs::new().real("x", vec![]), "the lengths of axis `t` are not given"),
        (Inputs::new().real("x", vec![1.0; 3]).length("t", 3), "parameter `w` is not given"),
    ] {
        assert_eq!(evaluate(&program, &inputs).expect_err("an error").to_string(), expected);
    }
    let evaluation = Evaluation::new(&program, &good).expect("fits");
    assert_eq!(evaluation.tensor("z").expect_err("unknown"), EvalError::UnknownTensor("z".into()));
    assert!(evaluation.rows("o", "t", &[(2, 2)]).is_err());
    assert!(evaluation.rows("o", "t", &[(3, 0)]).is_err());
    assert_eq!(evaluation.rows("o", "c", &[(2, 1), (0, 1)]).map(|a| a.shapes).expect("rows").len(), 1);
}

/// What is printed reads as what was printed: a condition stays with the fold that it was written for.
#[test]
fn a_condition_stays_with_its_fold_when_it_is_printed() {
    let program = |value: &str| format!("kernel f(q[t, d = 4], k[s, d]) -> o[t] {{\n    {value}\n}}\n");
    let values = [
        "sum[s]((sum[d](q * k)) where s <= 3)",
        "sum[s](sum[d](q * k where s <= 3))",
        "sum[s]((max[d](q * k where d < 2)) where s <= 3)",
        "sum[s](sum[d](q * k) + 1.0 where s <= 3)",
    ];
    let printed: Vec<String> =
        values.iter().map(|value| parse("p.nsa", &program(value)).unwrap().to_string()).collect();
    for (text, value) in printed.iter().zip(values) {
        assert_eq!(parse("printed.nsa", text).unwrap().to_string(), *text, "{value}");
    }
    assert_ne!(printed[0], printed[1], "the first condition is the outer sum's, the second the inner one's");
}
