//! Elementwise kernels: functions, conversions, scalar folds over every kind of domain.

use super::driver::{Array, Machine, Random, isas, relative_error};
use super::program::Text;
use nsa_codegen::plan::Plan;
use nsa_dsl::program::DType;

const AXES: &[(&str, i64)] = &[("t", 0), ("s", 0), ("d", 37), ("j", 5), ("n", 3), ("m", 64)];

/// A plan with one elementwise kernel per definition of `y`.
fn plan(element: DType, definitions: &[(&str, &[&str], String)]) -> Plan {
    let plan = Text {
        axes: AXES,
        params: &[("x", &["t", "d"]), ("k", &["s", "d"]), ("w", &["s"]), ("z", &["t", "m"]), ("ts", &["t", "s"])],
        lists: &[("list", &["t", "n"]), ("columns", &["d", "n"])],
        definitions,
        element,
    }
    .plan();
    assert!(plan.kernels.iter().all(|k| matches!(k.layout, nsa_codegen::plan::Layout::Elements { .. })), "{plan}");
    plan
}

/// Arguments: `t` rows of numbers, lists of blocks of 4 values of `s`.
fn machine<'p>(plan: &'p Plan, t: &[usize], s: &[usize]) -> Machine<'p> {
    let mut machine = Machine::new(plan, &[("t", t), ("s", s)]);
    machine.randomise(11);
    machine.fill("list", |i| [[0, 2, -1], [1, -1, -1], [-1, -1, -1], [0, 1, 2]][i[0] % 4][i[1]].into());
    machine.fill("columns", |i| [[0, 2, -1], [-1, -1, -1], [1, 2, -1]][i[0] % 3][i[1]].into());
    machine
}

/// Checks `y[t, d]` element by element: computed minus expected, relative to the expected value's size plus `floor`.
fn pointwise(text: &str, scale: f64, tolerance: f64, expected: impl Fn(f64) -> f64) {
    let plan = plan(DType::F32, &[("y", &["t", "d"], text.to_string())]);
    for isa in isas() {
        let mut machine = machine(&plan, &[90], &[4]);
        let mut random = Random(5);
        machine.fill("x", |_| random.next() * scale);
        machine.run(isa);
        let (x, y) = (machine.array("x"), machine.array("y"));
        for (x, y) in x.data.iter().zip(&y.data) {
            let b = expected(*x);
            let error = (y - b).abs() / b.abs().max(1e-30);
            assert!(error < tolerance || y == &b, "{isa:?}: {text} at {x}: {y}, not {b}");
        }
    }
}

#[test]
fn functions() {
    let x = "(load $x @t @d)";
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    pointwise(&format!("(exp {x})"), 80.0, 8e-6, f64::exp);
    pointwise(&format!("(exp {x})"), 1.0, 5e-7, f64::exp);
    pointwise(&format!("(log (abs {x}))"), 1e4, 1e-5, |x| x.abs().ln());
    pointwise(&format!("(sqrt (abs {x}))"), 1e4, 2e-7, |x| x.abs().sqrt());
    pointwise(&format!("(tanh {x})"), 3.0, 1e-6, f64::tanh);
    pointwise(&format!("(tanh {x})"), 1e-3, 1e-6, f64::tanh);
    pointwise(&format!("(tanh {x})"), 100.0, 1e-6, f64::tanh);
    pointwise(&format!("(sigmoid {x})"), 20.0, 4e-6, sigmoid);
    pointwise(&format!("(silu {x})"), 20.0, 4e-6, |x| x * sigmoid(x));
    pointwise(&format!("(relu {x})"), 20.0, 1e-7, |x| x.max(0.0));
    pointwise(&format!("(+ 1.0 (neg (fmin {x} 0.5)))"), 2.0, 1e-6, |x| 1.0 - x.min(0.5));
    let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    pointwise(&format!("(gelu {x})"), 3.0, 2e-4, |x| 0.5 * x * (1.0 + inner(x).tanh()));
    pointwise(&format!("(select (< {x} 0.0) (* {x} 2.0) (/ {x} 3.0))"), 3.0, 2e-7, |x| {
        if x < 0.0 { x * 2.0 } else { x / 3.0 }
    });
}

#[test]
fn special_values() {
    let inf = f64::INFINITY;
    let values = [0.0, -0.0, inf, -inf, f64::NAN, 1e-40, -1e-40, 3e38, -3e38, 1.0, -1.0, 200.0, -200.0];
    type Case = (&'static str, fn(f64) -> f64);
    let cases: &[Case] = &[
        ("(exp (load $x @t @d))", |x| {
            if x > 88.0 {
                f64::MAX
            } else if x < -87.0 {
                0.0
            } else {
                x.exp()
            }
        }),
        ("(log (load $x @t @d))", f64::ln),
        ("(tanh (load $x @t @d))", f64::tanh),
        ("(shift (load $x @t @d) (load $x @t @d))", |x| if x == -f64::INFINITY { x } else { x - x }),
        ("(ratio (load $x @t @d) (load $x @t @d))", |x| if x == 0.0 { 0.0 } else { x / x }),
    ];
    for (text, expected) in cases {
        let plan = plan(DType::F32, &[("y", &["t", "d"], text.to_string())]);
        for isa in isas() {
            let mut machine = machine(&plan, &[3], &[4]);
            machine.fill("x", |i| values[(i[0] * 37 + i[1]) % values.len()]);
            machine.run(isa);
            let (x, y) = (machine.array("x"), machine.array("y"));
            for (x, y) in x.data.iter().zip(&y.data) {
                let b = expected(*x);
                // Overflow of exp saturates a little below the largest number.
                let same = (y.is_nan() && b.is_nan()) || y == &b || (b == f64::MAX && *y > 1e38);
                assert!(same || (y - b).abs() <= 2e-6 * b.abs(), "{isa:?}: {text} at {x}: {y}, not {b}");
            }
        }
    }
}

/// Every 16-bit pattern comes back from f32, and f32 values round to nearest, ties to even.
#[test]
fn conversions() {
    let copy = [("y", &["t", "m"][..], "(load $z @t @m)".to_string())];
    for element in [DType::Bf16, DType::F16] {
        let plan = plan(element, &copy);
        for isa in isas() {
            let mut machine = machine(&plan, &[1024], &[4]);
            machine.fill("z", |i| match element {
                DType::F16 => half::f16::from_bits((i[0] * 64 + i[1]) as u16).to_f64(),
                _ => half::bf16::from_bits((i[0] * 64 + i[1]) as u16).to_f64(),
            });
            machine.run(isa);
            let (z, y) = (machine.array("z"), machine.array("y"));
            for (z, y) in z.data.iter().zip(&y.data) {
                assert!(z.to_bits() == y.to_bits() || z.is_nan() && y.is_nan(), "{isa:?} {element:?}: {z} became {y}");
            }
        }
    }
    for (word, round) in [
        ("bf16", (|x| half::bf16::from_f32(x).to_f64()) as fn(f32) -> f64),
        ("f16", |x| half::f16::from_f32(x).to_f64()),
    ] {
        let plan = plan(DType::F32, &[("y", &["t", "m"], format!("(cast {word} (load $z @t @m))"))]);
        for isa in isas() {
            let mut machine = machine(&plan, &[1000], &[4]);
            let mut random = Random(17);
            // All exponents; every fourth number lies exactly between two neighbours.
            machine.fill("z", |i| {
                let exponent = ((random.next() + 1.0) * 127.0) as i32 - 127;
                let steps = if word == "bf16" { 128.0 } else { 1024.0 };
                let mantissa = match i[1] % 4 {
                    0 => 1.0 + ((random.next().abs() * steps).floor() + 0.5) / steps,
                    _ => 1.0 + random.next().abs(),
                };
                let narrowed = if word == "f16" { exponent / 5 } else { exponent };
                mantissa * 2f64.powi(narrowed) * random.next().signum()
            });
            machine.run(isa);
            let (z, y) = (machine.array("z"), machine.array("y"));
            for (z, y) in z.data.iter().zip(&y.data) {
                assert_eq!(*y, round(*z as f32), "{isa:?}: {z} to {word}");
            }
        }
    }
}

/// Compares `y[t, d]` with a formula over (sequence, t, d) for two sequences, and an empty one.
fn folds(text: &str, expected: impl Fn(&[Array; 6], usize, usize, usize, usize) -> f64) {
    let (t_lens, s_lens) = ([7, 0, 3], [11, 4, 2]);
    let plan = plan(DType::F32, &[("y", &["t", "d"], text.to_string())]);
    for isa in isas() {
        let mut machine = machine(&plan, &t_lens, &s_lens);
        machine.run(isa);
        let arrays = ["x", "k", "w", "list", "columns", "ts"].map(|n| machine.array(n));
        let y = machine.array("y");
        let mut pairs = vec![];
        for (sequence, t_len) in t_lens.iter().enumerate() {
            for t in 0..*t_len {
                for d in 0..37 {
                    let b = expected(&arrays, sequence, s_lens[sequence], t, d);
                    let a = y.at(sequence, &[t, d]);
                    assert!(
                        a == b || (a - b).abs() < 1e-5 * (1.0 + b.abs()),
                        "{isa:?}: {text} at {t} {d}: {a}, not {b}"
                    );
                    pairs.push((a, b));
                }
            }
        }
        assert!(relative_error(pairs) < 1e-6, "{isa:?}: {text}");
    }
}

#[test]
fn folds_over_ranges() {
    folds("(fold add (all @s) (load $k @s @d))", |[_, k, ..], q, n, _, d| (0..n).map(|s| k.at(q, &[s, d])).sum());
    folds("(fold max (upto (all @s) @t) (load $k @s @d))", |[_, k, ..], q, n, t, d| {
        (0..n).filter(|s| *s <= t).map(|s| k.at(q, &[s, d])).fold(f64::NEG_INFINITY, f64::max)
    });
    folds("(fold min (from (all @s) (i+ @t 1)) (load $k @s @d))", |[_, k, ..], q, n, t, d| {
        (0..n).filter(|s| *s > t).map(|s| k.at(q, &[s, d])).fold(f64::INFINITY, f64::min)
    });
    // Bounds that differ from lane to lane, and a mask.
    folds(
        "(fold add (mask (upto (from (all @s) (i/ @d 8)) (i- @d 20)) (i!= (i% @s 3) 1)) (load $k @s @d))",
        |[_, k, ..], q, n, _, d| {
            let inside = |s: &usize| *s >= d / 8 && *s as i64 <= d as i64 - 20 && s % 3 != 1;
            (0..n).filter(inside).map(|s| k.at(q, &[s, d])).sum()
        },
    );
    // A sum of products; a fold inside a fold, one factor of which does not change.
    folds("(mma (all @s) (load $w @s) (load $k @s @d))", |[_, k, w, ..], q, n, _, d| {
        (0..n).map(|s| w.at(q, &[s]) * k.at(q, &[s, d])).sum()
    });
    folds(
        "(fold add (all @s) (* (load $w @s) (fold max (all @j) (* (float (i- @j 2)) (load $k @s @d)))))",
        |[_, k, w, ..], q, n, _, d| {
            let inner = |s| (0..5).map(|j| (j as f64 - 2.0) * k.at(q, &[s, d])).fold(f64::NEG_INFINITY, f64::max);
            (0..n).map(|s| w.at(q, &[s]) * inner(s)).sum()
        },
    );
    folds(
        "(fold add (outer (all @s)) (fold add (inner (all @s)) (* (load $ts @t @s) (load $k @s @d))))",
        |[_, k, _, _, _, ts], q, n, t, d| (0..n).map(|s| ts.at(q, &[t, s]) * k.at(q, &[s, d])).sum(),
    );
}

#[test]
fn folds_over_lists() {
    folds("(fold add (blocks (all @s) (list $list @t) 4) (load $k @s @d))", |[_, k, _, list, ..], q, n, t, d| {
        let listed = |s: &usize| (0..3).any(|i| list.at(q, &[t, i]) == (s / 4) as f64);
        (0..n).filter(listed).map(|s| k.at(q, &[s, d])).sum()
    });
    // A list that differs from lane to lane.
    folds(
        "(fold max (upto (blocks (all @s) (list $columns @d) 4) @t) (load $k @s @d))",
        |[_, k, _, _, columns, _], q, n, t, d| {
            let listed = |s: &usize| *s <= t && (0..3).any(|i| columns.at(q, &[d, i]) == (s / 4) as f64);
            (0..n).filter(listed).map(|s| k.at(q, &[s, d])).fold(f64::NEG_INFINITY, f64::max)
        },
    );
    folds(
        "(fold add (mask (all @s) (or (in (i/ @s 4) (list $list @t)) (in @d (list $columns @d)))) (load $k @s @d))",
        |[_, k, _, list, columns, _], q, n, t, d| {
            let inside =
                |s: &usize| (0..3).any(|i| list.at(q, &[t, i]) == (s / 4) as f64 || columns.at(q, &[d, i]) == d as f64);
            (0..n).filter(inside).map(|s| k.at(q, &[s, d])).sum()
        },
    );
}

#[test]
fn weighted_log_sum_exp() {
    let terms = |[x, k, w, ..]: &[Array; 6], q: usize, n: usize, t: usize, d: usize| -> Vec<(f64, f64)> {
        (0..n).filter(|s| *s <= t).map(|s| (x.at(q, &[t, d]) * 9.0 * k.at(q, &[s, d]), w.at(q, &[s]))).collect()
    };
    let score = "(* (* (load $x @t @d) 9.0) (load $k @s @d))";
    folds(
        &format!("(norm (snd (fold lse (upto (all @s) @t) (pair {score} (pair (load $w @s) 1.0)))))"),
        |arrays, q, n, t, d| {
            let terms = terms(arrays, q, n, t, d);
            let z: f64 = terms.iter().map(|(s, _)| s.exp()).sum();
            terms.iter().map(|(s, w)| s.exp() * w).sum::<f64>() / z
        },
    );
    folds(&format!("(logsum (fold lse (upto (all @s) @t) (pair {score} 1.0)))"), |arrays, q, n, t, d| {
        terms(arrays, q, n, t, d).iter().map(|(s, _)| s.exp()).sum::<f64>().ln()
    });
    // Nobody takes part: the identity, 0 and -inf.
    folds(&format!("(norm (snd (fold lse (upto (all @s) -1) (pair {score} (pair 2.0 1.0)))))"), |_, _, _, _, _| 0.0);
    folds(&format!("(logsum (fold lse (upto (all @s) -1) (pair {score} 1.0)))"), |_, _, _, _, _| f64::NEG_INFINITY);
}

/// Columns over a run-time axis: whole vectors, single elements, a padded second run-time axis.
#[test]
fn run_time_columns() {
    for (axes, text) in [
        (&["t", "s"][..], "(+ (load $w @s) (load $x @t 5))"),
        (&["s"][..], "(* 2.0 (load $w @s))"),
        (&["d", "s"][..], "(+ (load $w @s) (load $k @s @d))"),
    ] {
        let plan = plan(DType::F32, &[("y", axes, text.to_string())]);
        let (t_lens, s_lens) = ([3, 0, 18], [150, 9, 33]);
        for isa in isas() {
            let mut machine = machine(&plan, &t_lens, &s_lens);
            machine.run(isa);
            let [x, k, w, y] = ["x", "k", "w", "y"].map(|n| machine.array(n));
            for (sequence, (t_len, s_len)) in t_lens.iter().zip(&s_lens).enumerate() {
                for s in 0..*s_len {
                    let weight = w.at(sequence, &[s]);
                    let rows: Vec<(Vec<usize>, f64)> = match axes.len() {
                        1 => vec![(vec![s], 2.0 * weight)],
                        _ if axes[0] == "t" => {
                            (0..*t_len).map(|t| (vec![t, s], weight + x.at(sequence, &[t, 5]))).collect()
                        }
                        _ => (0..37).map(|d| (vec![d, s], weight + k.at(sequence, &[s, d]))).collect(),
                    };
                    for (index, b) in rows {
                        let a = y.at(sequence, &index);
                        assert!((a - b).abs() < 1e-6, "{isa:?}: {text} at {index:?}: {a}, not {b}");
                    }
                }
            }
        }
    }
}
