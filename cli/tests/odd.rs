//! Odd programs through the commands: an answer or a sentence about the program, never a panic or a word of the compiler's own.

use std::path::PathBuf;
use std::process::Command;

/// What a command prints to the error stream, and whether it ended well.
fn nsa(command: &str, file: &PathBuf, more: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_nsa"))
        .env("NSA_PTXAS", "")
        .arg(command)
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{command}: {output:?}");
    (String::from_utf8(output.stderr).unwrap(), output.status.success())
}

fn written(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("odd-{name}.nsa"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Words that are the compiler's, not the user's.
const INTERNAL: [&str; 12] = [
    "EmitError",
    "PlanError",
    "Untileable",
    "e-graph",
    "variable %",
    "Symbol",
    "Span",
    "lse",
    "mma",
    "elementwise",
    "panicked",
    "defect",
];

/// Every command on a program; those that fail say one of these.
fn every_command(name: &str, text: &str, sizes: &str, expected: &[&str]) {
    let file = written(name, text);
    let artifact = file.with_extension("nsak");
    let picture = file.with_extension("svg");
    let sizes: Vec<&str> = ["--set"].into_iter().chain(sizes.split(' ')).collect();
    let run: Vec<&str> = ["--device", "host:x86_64", "--seconds", "0"].into_iter().chain(sizes.clone()).collect();
    let draw: Vec<&str> = ["-o", picture.to_str().unwrap()].into_iter().chain(sizes).collect();
    let commands = [
        ("check", vec![]),
        ("build", vec!["-o", artifact.to_str().unwrap()]),
        ("run", run),
        ("draw", draw),
        ("explain", vec![]),
    ];
    for (command, more) in commands {
        let (words, well) = nsa(command, &file, &more);
        assert!(well || expected.iter().any(|text| words.contains(text)), "{command} {name}: {words}");
        if let Some(word) = INTERNAL.iter().find(|word| words.contains(**word)) {
            panic!("{command} {name} says `{word}`: {words}");
        }
        if expected.is_empty() {
            assert!(well, "{command} {name}: {words}");
        }
    }
}

/// Nothing to draw is no fault of the program's.
const NO_PICTURE: &str = "has nothing to draw";

#[test]
fn names_of_any_alphabet() {
    every_command(
        "unicode",
        "kernel große(größe[t], β[t]) -> (ö[t], σ[t]) { (größe + 1.0, größe * β) }",
        "t=5",
        &[NO_PICTURE],
    );
}

#[test]
fn too_large_for_a_kernel() {
    let long = "kernel f(x[t, d = 2147483648]) -> o[t] { sum[d] x }";
    every_command("long", long, "t=2", &["axis `d` has at most 2147483647 values", "an extent is at most 2147483647"]);
    let list = "kernel f(q[t, d = 16], k[s, d]) -> o: i32[t, n = 5000] { let m[t, s] = sum[d] q * k; let c = top[s](m, 5000); c }";
    every_command("list", list, "t=2 s=700", &["the count of `top` is a constant from 1 to 4096"]);
}

#[test]
fn not_written_well() {
    every_command("empty", "", "t=1", &["the program has no kernel"]);
    every_command(
        "crlf",
        "kernel f(x[t])\r\n -> o[t]\r\n{\r\n    x +\r\n  zz\r\n}\r\n",
        "t=1",
        &["there is no tensor, axis or constant `zz` here"],
    );
    every_command(
        "recursive",
        "fn f(x) { g(x) }\nfn g(x) { f(x) }\nkernel k(x[t]) -> o[t] { f(x) }",
        "t=1",
        &["`f` calls itself"],
    );
    every_command("zero", "kernel f(x[t, d = 0]) -> o[t] { sum[d] x }", "t=1", &["an extent is a positive number"]);
    every_command("type", "kernel f(x: f64[t]) -> o[t] { x }", "t=1", &["there is no type `f64`"]);
    let deep = format!("kernel f(x[t]) -> o[t] {{ {}x{} }}", "exp(".repeat(150), ")".repeat(150));
    every_command("deep", &deep, "t=1", &["brackets are nested too deeply"]);
    every_command(
        "large",
        &"x".repeat(1_100_000),
        "t=1",
        &["the program has 1100000 bytes; the most that is accepted is 1048576"],
    );
}

#[test]
fn unusual_but_right() {
    let bent = "kernel f(q[t, d = 16], k[s, d], v[s, e = 16]) -> o[t, e] { attend(q, k, v, s * s <= pos(t) * pos(t)) }";
    every_command("bent", bent, "t=5 s=7", &[]);
    every_command("two", "kernel f(x[t, s]) -> o[t, s] { x }", "t=5 s=7", &[NO_PICTURE]);
    every_command("number", "kernel f(x[t]) -> o { sum[t] x }", "t=5", &[NO_PICTURE]);
    every_command("gather", "kernel f(x[s], list: i32[t, n = 4]) -> o[t] { sum[n] x[list] }", "t=5 s=7", &[NO_PICTURE]);
    let high = format!("kernel f(x[t]) -> o[t] {{ x{} }}", " + x * 0.5".repeat(260));
    every_command("high", &high, "t=5", &[NO_PICTURE]);
}
