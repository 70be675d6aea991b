//! What the checker warns about, as the user sees it; and that it is silent about programs that mean what they say.

use nsa_dsl::{Settings, Severity, compile_source};
use std::path::Path;

fn warnings(program: &str) -> Option<String> {
    let compiled = compile_source("program.nsa", program.trim(), &Settings::default());
    let compiled = compiled.unwrap_or_else(|errors| panic!("{program}\n{errors}"));
    let warnings = compiled.warnings()?;
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning), "{warnings}");
    Some(warnings.to_string())
}

/// A kernel with queries and keys around a body.
fn kernel(body: &str) -> String {
    format!("kernel test(q[t, g = 2, d = 8], k[s, g, d], v[s, g, e = 8]) -> o[t, g, e] {{\n    {body}\n}}")
}

const ATTEND: &str = "attend(q, k, v, s <= pos(t))";

/// Scores of blocks of keys.
const BLOCKS: &str =
    "let b_mean[b < ceil_div(len(s), 64), g, d] = mean[j < 64] k[b * 64 + j, g, d] where b * 64 + j < len(s);
    let fit[t, g, b] = sum[d] q * b_mean;";

#[test]
fn what_hardly_is_meant() {
    let bodies = [
        format!("let x = sum[d] q; {ATTEND}"),
        format!("let (x, y) = attend(q, k, v); {ATTEND}"),
        format!("let x[t, g] = sum[s, d] q; x * {ATTEND}"),
        format!("let x[t, g] = max[s, d] q; x * {ATTEND}"),
        "let x[t, g, s] = softmax[s](sum[d] q); attend_scores(x, v)".to_string(),
        "attend(q, k, v, window(s, t, 512))".to_string(),
        "attend(q, k, v, causal(s, t))".to_string(),
        "let fit[t, s] = sum[g, d] q * k; let c = top[s](fit, 64); attend(q, k, v, s / 64 in c && s <= pos(t))"
            .to_string(),
        format!("{BLOCKS} let c = top[b](fit, 4); attend(q, k, v, s in c && s <= pos(t))"),
    ];
    let mut programs: Vec<String> = bodies.iter().map(|body| kernel(body)).collect();
    programs.push("kernel a(q[t], x[t]) -> o[t] { q }".into());
    programs.push("fn f(x, y) { let z = x * x; x }\nkernel a(q[t]) -> o[t] { f(q, q) }".into());
    programs.push("kernel a(q[t], k[s], h[u]) -> o[t] { sum[s] q * k where window(s, t, 4) && s < len(u) }".into());
    let texts: Vec<String> = programs
        .iter()
        .map(|program| warnings(program).unwrap_or_else(|| panic!("nothing is said about\n{program}")))
        .collect();
    insta::with_settings!({snapshot_path => "../../snapshots/errors", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("warnings", texts.join("\n\n"));
    });
}

/// Near what is warned about, and of use.
#[test]
fn what_may_well_be_meant() {
    let bodies = [
        ATTEND.to_string(),
        format!("let _x = sum[d] q; {ATTEND}"),
        // The log-sum-exp is not always of interest.
        "let (o, lse) = attend(q, k, v, s <= pos(t)); o".to_string(),
        // Counts.
        format!("let n[t] = sum[s] 1.0 where s <= pos(t); n * {ATTEND}"),
        format!("(sum[s] 1.0) * {ATTEND}"),
        // What a condition varies along is varied along.
        format!("let x[t, g] = sum[s, d] q where s <= pos(t); x * {ATTEND}"),
        // Functions mean something else at every call.
        "attend(q, k, v, window(s, pos(t), 512))".to_string(),
        "attend(q, k, v, s <= t)".to_string(),
        "let fit[t, s] = sum[g, d] q * k; let c = top[s](fit, 64); attend(q, k, v, s in c && s <= pos(t))".to_string(),
        format!("{BLOCKS} let c = top[b](fit, 4); attend(q, k, v, s / 64 in c && s <= pos(t))"),
        // Blocks of listed blocks, and other widths.
        format!("{BLOCKS} let c = top[b](fit, 4); attend(q, k, v, s / 32 in c && s <= pos(t))"),
    ];
    let mut programs: Vec<String> = bodies.iter().map(|body| kernel(body)).collect();
    // A parameter that gives an axis its length, and one whose axes say what goes together.
    programs.push("kernel a(q[t], k[s]) -> o[t] { q * len(s) }".into());
    programs.push("kernel a(q[t], k[s]) -> o[t, s] { q }".into());
    programs.push("fn f(x[a], y[a]) { x }\nkernel a(q[t]) -> o[t] { f(q, q) }".into());
    programs.push("fn total(x) { sum[t] x }\nkernel a(q[t], w[d = 4]) -> o[d] { w * (sum[t] q) }".into());
    for program in programs {
        assert_eq!(warnings(&program), None, "{program}");
    }
}

/// Every program of the repository.
#[test]
fn nothing_is_said_about_the_examples() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut pending = vec![root.join("examples")];
    let mut count = 0;
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                pending.push(path);
            } else if path.extension().is_some_and(|ending| ending == "nsa") {
                let text = std::fs::read_to_string(&path).expect("a text");
                assert_eq!(warnings(&text), None, "{}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}
