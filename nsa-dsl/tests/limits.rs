//! Sizes that nobody has memory for: errors, at once.

use nsa_dsl::{Inputs, Settings, compile_source, evaluate};

fn evaluated(text: &str, lengths: &[(&str, usize)]) -> String {
    let program = compile_source("program.nsa", text, &Settings::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let mut inputs = lengths.iter().fold(Inputs::new(), |inputs, (axis, n)| inputs.length(*axis, *n));
    for (_, tensor) in program.params() {
        inputs = inputs.real(&tensor.name, vec![0.0; 4]);
    }
    evaluate(&program, &inputs).expect_err("an error").to_string()
}

#[test]
fn enormous_tensors() {
    let too_large = "which is more than the reference evaluator keeps";
    // An argument whose size leaves 64 bits.
    let text = "kernel a(q[t, a = 2147483647, b = 2147483647, c = 2147483647]) -> o[t] { sum[a, b, c] q }";
    assert_eq!(
        evaluated(text, &[("t", 4)]),
        format!("`q` has shape [4, 2147483647, 2147483647, 2147483647], {too_large}")
    );
    // Definitions: too many rows, too long ones, an extent that is computed.
    let text = "kernel a(q[t]) -> o[i, t] { let x[i < 2147483647, t] = q + 0 * i; x }";
    assert_eq!(evaluated(text, &[("t", 4)]), format!("`o` has shape [2147483647, 4], {too_large}"));
    let text = "kernel a(q[t]) -> o[t] { let x[i < len(t) * 9000000000000] = 1.0 * i; q + max[i] x }";
    assert!(evaluated(text, &[("t", 4)]).ends_with(too_large));
    // A length that no argument has.
    let text = "kernel a(q[t]) -> o[t] { q }";
    let most = usize::MAX >> 1;
    assert!(evaluated(text, &[("t", most)]).contains("`q`"));
}

#[test]
fn enormous_constants() {
    for constant in [i64::MAX, i64::MAX - 1, i64::MIN, 1 << 40, 1 << 31, -1, 0] {
        for text in [
            "const N = 4;\nkernel a(q[t], k[s]) -> o[t] { q * N + sum[s] k where s / 4 < N - 1 && s + N < N * N }",
            "const N = 4;\nkernel a(q[t], k[s]) -> o[t] { let x[b < ceil_div(len(s), N)] = sum[j < N] k[b * N + j] where b * N + j < len(s); q + max[b] x }",
            "const N = 4;\nkernel a(q[t, N], k[s, N]) -> o[t] { attend(q, k, k[s, 0]) }",
        ] {
            // Either is right; neither panics, hangs or takes memory.
            let _ = compile_source("program.nsa", text, &Settings::default().set("N", constant)).map(|p| p.to_string());
        }
    }
}
