//! Every error of the parser and the checker, as the user sees it. Each program here is wrong in one way.

use nsa_dsl::{Settings, compile_source};

/// Runs a topic's programs and keeps their errors as one snapshot.
fn check(topic: &str, programs: &[&str]) {
    check_with(topic, programs, &Settings::default());
}

fn check_with(topic: &str, programs: &[&str], settings: &Settings) {
    let mut out = String::new();
    for program in programs {
        let program = program.trim();
        match compile_source("program.nsa", program, settings) {
            Ok(_) => panic!("this should be an error:\n{program}"),
            Err(errors) => {
                let text = errors.to_string();
                assert!(!text.contains("Failed") && !text.contains("ExprId"), "internal names:\n{text}");
                out.push_str(&text);
                out.push_str("\n\n");
            }
        }
    }
    insta::with_settings!({snapshot_path => "../../snapshots/errors", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(topic, out);
    });
}

/// A kernel with queries and keys around a body.
fn kernel(body: &str) -> String {
    format!(
        "const g = 2;\nconst d = 8;\nkernel test(q[t, g, d], k[s, g, d], idx: i32[t, n = 4]) -> o[t, g] {{\n    {body}\n}}"
    )
}

fn bodies(topic: &str, bodies: &[&str]) {
    let programs: Vec<String> = bodies.iter().map(|body| kernel(body)).collect();
    check(topic, &programs.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn syntax() {
    check(
        "syntax",
        &[
            "",
            "kernel",
            "kernel a(q[t]) -> o[t] { q",
            "kernel a(q[t]) o[t] { q }",
            "kernel a(q[t]) -> o[t] { q } extra",
            "kernel a(q[t]) -> () { q }",
            "kernel a(q[t) -> o[t] { q }",
            "kernel a(q: f64[t]) -> o[t] { q }",
            "kernel type(q[t]) -> o[t] { q }",
            "kernel a(q[t]) -> o[t] { }",
            "kernel a(q[t]) -> o[t] { q q }",
            "kernel a(q[t]) -> o[t] { let x = 1 q }",
            "kernel a(q[t]) -> o[t] { let () = q; q }",
            "kernel a(q[t]) -> o[t] { q + }",
            "kernel a(q[t]) -> o[t] { (q + 1 }",
            "kernel a(q[t]) -> o[t] { q * 99999999999999999999 }",
            "kernel a(q[t]) -> o[t] { q * 1e999 }",
            "kernel a(q[t]) -> o[t] { q * 2f32 }",
            "kernel a(q[t]) -> o[t] { q * \"two\" }",
            "kernel a(q[t]) -> o[t] { if 1 < t < 2 { q } else { 0 } }",
            "kernel a(q[t]) -> o[t] { if t < 2 { q } }",
            "kernel a(q[t]) -> o[t] { q; }",
            "kernel a(q[t]) -> o[t] { if t = 2 { q } else { 0 } }",
            "kernel a(q[t]) -> o[t] { if t < 2 & t > 0 { q } else { 0 } }",
            "kernel a(q[t]) -> o[t] { sum[] q }",
            "kernel a(q[t]) -> o[t] { sum[j <= 4] q }",
            "kernel a(q[t]) -> o[t] { sum[4] q }",
            "kernel a(q[t]) -> o[t] { softmax[t] q }",
            "kernel a(q[t]) -> o[t] { cast(q) }",
            "const A = 1\nkernel a(q[t]) -> o[t] { q }",
            "fn f(x[.., .., d]) { x }\nkernel a(q[t]) -> o[t] { q }",
            "#[inline]\nkernel a(q[t]) -> o[t] { q }",
            "let x = 1;",
            "kernl a(q[t]) -> o[t] { q }",
            "kernel a(q[t]) -> o[t] { q } }",
            "kernel a(q[t]) -> o[t] { q /* as it is }",
            "kernel a(q[t]) -> o[t] { q * \"two }",
            "kernel a(q[t]) -> o[t] { q × 2 }",
            "kernel a(q[t]) -> o[t] { q \\ 2 }",
            "kernel a(q: bf61[t]) -> o[t] { q }",
            "kernel a(q[t]) -> o[t] { cast(q, float) }",
            "kernel a(q[t]) { q }",
            "kernel a(q[t]) -> o[t] { logsumexp[t] q }",
            "kernel a(q[t]) -> o[t] { 1.5bf16 * q }",
            "# a kernel\nkernel a(q[t]) -> o[t] { q }",
            "# it's a kernel\nkernel a(q[t]) -> o[t] { q }",
            "kernel a(q[t]) -> o[t] { q # as it is\n }",
            "kernel a(q[t]) -> o[t] { q @ k.T }",
            "kernel a(q[t]) -> o[t] { q * k.T }",
            "kernel a(q[t]) -> o[t] { t < 2 ? q : 0 }",
            "kernel a(q[t]) -> o[t] { q ^ 2 }",
            "kernel a(q[t]) -> o[t] { q ** 2 }",
            "kernel a(q[t]) -> o[t] { if t < 2 and t > 0 { q } else { 0 } }",
            "kernel a(q[t]) -> o[t] { if t < 2 or t > 4 { q } else { 0 } }",
            "kernel a(q[t]) -> o[t] { if not t < 2 { q } else { 0 } }",
        ],
    );
}

#[test]
fn too_large() {
    let nested = format!("kernel a(q[t]) -> o[t] {{ {}q{} }}", "(".repeat(100), ")".repeat(100));
    let chain = format!("kernel a(q[t]) -> o[t] {{ q{} }}", " + q".repeat(700));
    let prefixes = format!("kernel a(q[t]) -> o[t] {{ {}q }}", "- ".repeat(300));
    let mut deep = String::from("kernel a(q[t]) -> o[t] { let x0 = t;");
    for i in 0..1000 {
        deep.push_str(&format!(" let x{} = x{i} * t + x{i};", i + 1));
    }
    deep.push_str(" q * x1000 }");
    for (program, expected) in [
        (nested, "brackets are nested too deeply"),
        (chain, "this expression is too long"),
        (prefixes, "this expression is nested too deeply"),
        (deep, "the program is too large"),
        (" ".repeat(2 << 20), "the most that is accepted"),
    ] {
        let errors = compile_source("program.nsa", &program, &Settings::default()).expect_err("an error");
        let message = &errors.iter().next().expect("one").message;
        assert!(message.contains(expected), "{message}");
    }
    // Doubling functions: 2^40 calls.
    let mut doubling = String::from("fn f0(x) { x + 1 }\n");
    for i in 0..40 {
        doubling.push_str(&format!("fn f{}(x) {{ f{i}(x) + f{i}(x * 2.0) }}\n", i + 1));
    }
    doubling.push_str("kernel a(q[t]) -> o[t] { f40(q) }");
    let errors = compile_source("program.nsa", &doubling, &Settings::default()).expect_err("an error");
    assert!(errors.iter().any(|error| error.message.contains("calls") || error.message.contains("large")), "{errors}");
}

#[test]
fn names() {
    bodies(
        "names",
        &[
            "sum[d] q * keys",
            "sum[d] q * kk",
            "sum[c] q",
            "sum[dd] q",
            "sum[q] k",
            "exp + sum[d] q",
            "attend + sum[d] q",
            "expp(sum[d] q)",
            "atend(q, k, k)",
            "sum[d] q(t, g, d)",
            "let t = 1; sum[d] q",
            "let x = y; let z = x; sum[d] q * z",
            "len(e) * sum[d] q",
            "len(q) * sum[d] q",
            "len() * sum[d] q",
            "pos(t + 1) * sum[d] q",
            "causal_window(s, pos(t), 8)",
            "sum[gg] q",
            "sum[s] q * K",
            "sum[s, d] q * kk * (ss + 1)",
            "sum[s, d] q * k * (ss + 1)",
            "sum[s, d] q * k * (somewhere + 1)",
            "not(t < 2) * sum[d] q",
            "select(t < 2, sum[d] q, 0.0)",
        ],
    );
    check(
        "names_of_declarations",
        &[
            "const A = 1;\nconst A = 2;\nkernel a(q[t]) -> o[t] { q }",
            "fn f(x) { x }\nfn f(x) { x }\nkernel a(q[t]) -> o[t] { q }",
            "fn exp(x) { x }\nkernel a(q[t]) -> o[t] { q }",
            "kernel a(q[t]) -> o[t] { q }\nkernel b(q[t]) -> o[t] { q }",
            "fn f(x) { x }",
            "kernel a(q[t], q[t]) -> o[t] { q }",
            "kernel a(q[t]) -> q[t] { q }",
            "kernel a(q[t]) -> (o[t], o[t]) { (q, q) }",
            "kernel a(q[t], t) -> o[t] { q }",
            "kernel a(q[t], k[q]) -> o[t] { q }",
            "element i32;\nkernel a(q[t]) -> o[t] { q }",
            "element f16;\nelement bf16;\nkernel a(q[t]) -> o[t] { q }",
        ],
    );
}

#[test]
fn axes() {
    bodies(
        "axes",
        &[
            "q",
            "sum[d, d] q",
            "q[t, g]",
            "q[t, g, 0, 0]",
            "q[.., 0, ..]",
            "sum[d] q[.., t * 0.5]",
            "sum[d] q[t, d, d]",
            "let x[t, g, t] = sum[d] q; x[t, g, t]",
            "let x[t] = sum[d] q; x",
            "let x[t, b] = sum[d, g] q; x",
            "let x[t, b < t] = sum[d, g] q; x",
            "let x[t, b < 0] = sum[d, g] q; x",
            "let x[i] = sum[g, d] k[i * 2, g, d] * len(i); x",
            "let x[i < 3, g] = sum[d] k[0, g, d] where len(s) > 0; let y[i < 4] = 1.0 * i; sum[d] q",
            "softmax[j < 4](sum[d] q)",
            "let x[k] = 1.0; sum[d] q",
        ],
    );
    check(
        "axes_of_declarations",
        &[
            "const d = 0;\nkernel a(q[t, d]) -> o[t] { sum[d] q }",
            "const d = 1.5;\nkernel a(q[t, d]) -> o[t] { sum[d] q }",
            "const A = exp;\nkernel a(q[t]) -> o[t] { q }",
            "const A = B;\nkernel a(q[t]) -> o[t] { q }",
            "kernel a(q[t, t]) -> o[t] { q }",
            "kernel a(q[t, d = 4], k[s, d = 5]) -> o[t] { sum[d] q }",
            "const d = 4;\nkernel a(q[t, d = 4]) -> o[t] { sum[d] q }",
            "kernel a(q[t, d = 4.5]) -> o[t] { sum[d] q }",
            "kernel a(q[t, d = D]) -> o[t] { sum[d] q }",
            "const D = -3;\nkernel a(q[t, d = D]) -> o[t] { sum[d] q }",
            "const D = 3.5;\nkernel a(q[t, d = D]) -> o[t] { sum[d] q }",
            "const D = 4000000000;\nkernel a(q[t, D]) -> o[t] { q[0] }",
            "kernel a(q[t, d = 4000000000]) -> o[t] { sum[d] q }",
            "kernel a(q[t, d = 4], y[t, 3]) -> o[t] { y[0, t, 3] }",
            "kernel a(q[t, d = 4], y[d, t, 3]) -> o[t, d] { q + y }",
            "kernel a(q[t, d = 4], y[t, 3]) -> o[t] { let x[t] = y; x }",
            "kernel a(q[t, 0]) -> o[t] { q[0] }",
            "kernel a(q[t, 2147483649]) -> o[t] { q[0] }",
            "const d = 3000000000;\nkernel a(q[t, d]) -> o[t] { sum[d] q }",
            "kernel a(q[t, 3]) -> o[t] { sum[j < 4] q[j] }",
            "kernel a(q[t, 3]) -> o[t] { q[t - t - 1] }",
            "kernel a(q[t, 1.5]) -> o[t] { q[0] }",
            "kernel a(q[t, 3]) -> o[t] { q[3] }",
            "kernel a(q[t]) -> o[u] { q }",
            "kernel a(q[t]) -> o[t, t] { q }",
            "kernel a(q[t, d = 4]) -> o[t] { q }",
        ],
    );
}

#[test]
fn kinds() {
    bodies(
        "kinds",
        &[
            "(sum[d] q) + (t < 3)",
            "(sum[d] q) && t < 3",
            "!(sum[d] q)",
            "-(t < 3) + sum[d] q",
            "sum[d] (t < 3)",
            "sum[d] q where d",
            "sum[d] q where q",
            "sum[d] q[t, g, q]",
            "min[d] (t < 3)",
            "if t { 1.0 } else { sum[d] q }",
            "if t < 3 { t < 2 } else { sum[d] q }",
            "(sum[d] q) % 2",
            "t / g + sum[d] q",
            "t % 0 + sum[d] q",
            "t / -2 + sum[d] q",
            "exp(t < 3)",
            "exp(1.0, 2.0)",
            "exp(x = 1.0)",
            "max(1.0)",
            "sum(q)",
            "cast(t < 3, f16)",
            "cast(sum[d] q, i32)",
            "cast",
            "q where t < 3",
            "if t in q { 1.0 } else { sum[d] q }",
            "if t in 3 { 1.0 } else { sum[d] q }",
            "if 0.5 in idx { 1.0 } else { sum[d] q }",
            "(9223372036854775807 + 1) * sum[d] q",
            "t < 3",
        ],
    );
    check(
        "kinds_of_results",
        &[
            "kernel a(q[t]) -> o: i32[t] { q }",
            "kernel a(q[t]) -> (o[t], p[t]) { q }",
            "kernel a(q[t]) -> o[t] { (q, q) }",
        ],
    );
}

#[test]
fn calls() {
    bodies(
        "calls",
        &[
            "attend(q)",
            "attend(q, k, k, true, 1.0, 2.0)",
            "attend(q, k, k, visibel = true)",
            "attend(q, k, k, mask = true)",
            "attend(q, k, q = k, v = k)",
            "attend(k, q, k, s <= pos(t))",
            "attend(q = q, k, k)",
            "attend(1.0, k, k)",
            "attend(q, k, 1.0)",
            "score(q, k[s, g, t])",
            "attend(q, k, k, q)",
            "let (a, b) = q; sum[d] q",
            "let (a, b, c) = attend(q, k, k); sum[d] q",
            "let (a, b) = exp(q); sum[d] q",
        ],
    );
    check(
        "calls_of_functions",
        &[
            "fn f(x) { g(x) }\nfn g(x) { f(x) }\nkernel a(q[t]) -> o[t] { f(q) }",
            "fn f(x) { x + y }\nkernel a(q[t]) -> o[t] { f(q) }",
            "fn f(x[a, b]) { x }\nkernel a(q[t]) -> o[t] { f(q) }",
            "fn f(x[x]) { x }\nkernel a(q[t]) -> o[t] { f(q) }",
            "fn f(x[a], y[x]) { x }\nkernel a(q[t]) -> o[t] { f(q, q) }",
            "fn f(x) { let y[t] = x; y }\nkernel a(q[t]) -> o[t] { f(q) }",
            "fn f(x[a], y[a]) { x * y }\nkernel a(q[t], k[s]) -> o[t] { f(q, k) }",
        ],
    );
}

#[test]
fn top() {
    let base = "let m[t, g, b < 9] = b * sum[d] q;";
    let programs: Vec<String> = [
        "sum[d] q * (top[b](m, 2))",
        "let c = top[b](m); sum[d] q",
        "let c = top[b](m, 0); sum[d] q",
        "let c = top[b](m, t); sum[d] q",
        "let c = top[b](m, 2, 3); sum[d] q",
        "let c = top[b](m, 2, forced = true); sum[d] q",
        "let c = top[b](m, 2, mask = true); sum[d] q",
        "let c = top[b](m, 2, true, true, true); sum[d] q",
        "let c = top[b](m, 5000); sum[d] q",
        "let c = top[b](m, 2, score = m); sum[d] q",
        "let c = top[z](m, 2); sum[d] q",
        "let c = top[b](b < 3, 2); sum[d] q",
        "let c[t, g, b] = top[b](m, 2); sum[d] q",
        "let c[t, x] = top[b](m, 2); sum[d] q",
        "let c[t, g, b, x] = top[b](m, 2); sum[d] q",
        "let c[y, t, g, x] = top[b](m, 2); sum[d] q",
        "let c[] = top[b](m, 2); sum[d] q",
    ]
    .iter()
    .map(|body| kernel(&format!("{base}\n    {body}")))
    .collect();
    check("top", &programs.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn bounds() {
    bodies(
        "bounds",
        &[
            "sum[d] k[t, g, d]",
            "sum[d] q[t + 1, g, d]",
            "sum[d] q[t - 1, g, d]",
            "sum[s, d] k[s + 1, g, d]",
            "sum[s, d] k[s + 1, g, d] where s < len(s)",
            "sum[j < 9] q[t, g, j]",
            "sum[d] q[t, 1 - 2 * g, d]",
            "sum[d] k[0, g, d]",
            "let x[b < ceil_div(len(s), 4), g] = sum[j < 4, d] k[b * 4 + j, g, d]; sum[d] q",
        ],
    );
}

#[test]
fn positions() {
    check(
        "positions",
        &[
            "kernel a(q[t], k[s], x[u]) -> o[t] { q * pos(t) }",
            "kernel a(q[t], k[s], x[u]) -> o[t] { sum[u] q * x where u <= pos(t) }",
            "kernel a(q[t, d = 4], k[s]) -> o[t] { sum[d] q * pos(d) }",
            "kernel a(q[t], k[s]) -> o[t] { q * pos(t, s, t) }",
            "kernel a(q[t], k[s]) -> o[t] { q * pos(p) }",
        ],
    );
}

#[test]
fn settings() {
    let program =
        "const BLOCK = 4;\nconst SCALE = 0.5;\nkernel a(q[t, d = 8]) -> o[t] { SCALE * sum[j < BLOCK] q[t, j] }";
    for (topic, settings) in [
        ("settings_unknown", Settings::default().set("BLOK", 8)),
        ("settings_far", Settings::default().set("window", 8)),
        ("settings_fraction", Settings::default().set("BLOCK", 2.5)),
        ("settings_element", Settings::default().element(nsa_dsl::program::DType::I32)),
        ("settings_too_far", Settings::default().set("BLOCK", 9)),
        ("settings_negative", Settings::default().set("d", -1)),
    ] {
        check_with(topic, &[program], &settings);
    }
    let good = Settings::default().set("BLOCK", 8.0).set("SCALE", 2).set("d", 16);
    let compiled = compile_source("program.nsa", program, &good).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(compiled.constants, [("BLOCK".into(), 8.0), ("SCALE".into(), 2.0), ("d".into(), 16.0)]);
    check_with("settings_no_constants", &["kernel a(q[t]) -> o[t] { q }"], &Settings::default().set("x", 8));
}

/// Several independent errors are all reported, and none of their consequences.
#[test]
fn several() {
    bodies("several", &["let a = sum[x] q; let b = kk; let c = a + b; sum[d] q * c"]);
}

/// A chain of operators is not inside itself, however long it is; the place where it is too long is one of its operands.
#[test]
fn chains_may_be_long() {
    let chain = |length: usize| format!("kernel a(q[t]) -> o[t] {{ q{} }}", " + q".repeat(length));
    compile_source("program.nsa", &chain(500), &Settings::default()).expect("as long as a program may be");
    let conditions = " && t < 9".repeat(400);
    let program = format!("kernel a(q[t]) -> o[t] {{ if t < 9{conditions} {{ q }} else {{ 0.0 }} }}");
    compile_source("program.nsa", &program, &Settings::default()).expect("conditions as well");
    let program = chain(700);
    let errors = compile_source("program.nsa", &program, &Settings::default()).expect_err("too long");
    let span = errors.iter().next().and_then(|error| error.span).expect("a place");
    assert_eq!(&program[span.start as usize..span.end as usize], "q");
}
