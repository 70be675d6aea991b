//! What users type after a command, and what they are told where it cannot be meant.

use nsa::DType;
use nsa_measure::{Tensor, Tensors, write_tensors};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Attention that compiles quickly: the code for any x86-64 or ARM processor.
const SMALL: &str = "const W = 4;\nconst SCALE = 0.5;\nkernel small(q[t, d = 16], k[s, d], v[s, e = 16]) -> o[t, e] {\n    attend(q, k * SCALE, v, s <= pos(t) && pos(t) < s + W)\n}\n";

fn nsa(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nsa")).args(words).current_dir(ROOT).output().expect("started")
}

/// The same, with a text on the standard input.
fn nsa_reads(words: &[&str], text: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsa"));
    let command = command.args(words).current_dir(env!("CARGO_TARGET_TMPDIR"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(text).expect("read");
    child.wait_with_output().expect("ended")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

fn stdout(words: &[&str]) -> String {
    let output = nsa(words);
    assert!(output.status.success(), "{words:?}: {}", text(output.stderr));
    text(output.stdout)
}

/// Standard error of a command that must fail with this status.
fn fails(words: &[&str], status: i32) -> String {
    let output = nsa(words);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {}{}", text(output.stdout), text(output.stderr));
    text(output.stderr)
}

fn stderr(words: &[&str]) -> String {
    fails(words, 1)
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A program in a file, by the file's name.
fn program(name: &str, text: &str) -> String {
    let path = file(name);
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_string()
}

/// Tensors in a file, by the file's name.
fn tensors(name: &str, shapes: &[(&str, &[usize])]) -> String {
    let path = file(name);
    let tensor = |(name, shape): &(&str, &[usize])| {
        let count: usize = shape.iter().product();
        (name.to_string(), Tensor::from_f64(DType::Bf16, shape, (0..count).map(|n| (n % 7) as f64 / 8.0)))
    };
    write_tensors(&path, &shapes.iter().map(tensor).collect::<Tensors>()).expect("written");
    path.to_str().expect("text").to_string()
}

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&stdout(words)).expect("one object")
}

/// Sizes far beyond any memory are sentences about the argument, at once and whatever the machine has.
#[test]
fn sizes_beyond_memory_are_sentences() {
    let path = program("beyond.nsa", SMALL);
    for more in [&["--device", "host"][..], &["--device", "vm:sm_80"]] {
        let said = stderr(&[&["run", &path, "--set", "t=1", "s=30000000000000"][..], more].concat());
        let named = said.contains("argument `k`: bf16 [30000000000000, 16] is too large for this machine");
        assert!(named && said.contains("choose smaller lengths or widths"), "{said}");
    }
    let said = stderr(&["bench", &path, "--sizes", "30000000000000"]);
    assert!(said.contains("is too large for this machine"), "{said}");
    let said = stderr(&["draw", &path, "--set", "t=1", "s=4000000", "d=100000000"]);
    assert!(said.contains("argument `k`: f64 [4000000, 100000000] is too large for this machine"), "{said}");
    // A picture of which there is memory for the arguments, but a trillion pairs to look at.
    let narrow =
        program("pairs.nsa", "kernel f(q[t, d = 1], k[s, d]) -> o[t, d] { attend(q, k, k, s < 10 || pos(t) < s + 4) }");
    let said = stderr(&["draw", &narrow, "--set", "t=1000000"]);
    let pairs = "1000000000000 pairs of queries and keys (1000000 values of `t` times 1000000 values of `s`)";
    assert!(said.contains(pairs) && said.contains("choose smaller lengths"), "{said}");
}

/// A limit of the process counts as much as the machine's memory.
#[test]
#[cfg(target_os = "linux")]
fn limits_of_the_process_are_kept() {
    let path = program("limited.nsa", SMALL);
    let script = format!("ulimit -v 4000000; exec {} draw {path} --set t=60000000 s=1", env!("CARGO_BIN_EXE_nsa"));
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    let said = text(output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("argument `q`: f64 [60000000, 16] is too large for this machine: 8.43 GB"), "{said}");
}

/// What the reference has no number for, or one that f32 has not, is no error of the result.
#[test]
fn results_that_are_no_numbers() {
    let path = program(
        "peculiar.nsa",
        "kernel f(x: f32[t]) -> (r: f32[t], l: f32[t], h: f32[t]) { (sqrt(x), log(x), exp(x * 1000.0)) }",
    );
    let more = ["--set", "t=100", "--seconds", "0", "--device", "host"];
    let said = stdout(&[&["run", &path][..], &more].concat());
    for part in ["are expected to be no number: ok", "are beyond the range of the type: ok"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let value = json(&[&["run", &path, "--json"][..], &more].concat());
    let of = |name: &str, what: &str| value["differences"][name][what].as_f64().expect("a number");
    let negative = of("r", "undefined");
    assert!(negative > 20.0 && negative < 80.0 && of("l", "undefined") == negative, "{value}");
    assert!(of("h", "beyond") > 20.0 && of("h", "undefined") == 0.0, "{value}");
    assert!(["r", "l", "h"].iter().all(|name| of(name, "relative") < 1e-5 && of(name, "astray") == 0.0), "{value}");
}

/// The program's own errors, without one about a length that no constant has.
#[test]
fn errors_of_the_program_come_first() {
    let path = program("broken.nsa", "const W = 4;\nkernel f(x[t]) -> y[t] {\n    x + zz\n}\n");
    for set in [&["t=10", "s=12"][..], &["t=1,0,5"], &["t=-1", "W=3"], &["W=abc"]] {
        let said = stderr(&[&["run", &path, "--set"][..], set].concat());
        assert!(said.contains("there is no tensor, axis or constant `zz` here"), "{said}");
        assert!(!said.contains("could be set") && !said.contains("--set"), "{said}");
    }
    let path = program("unreadable.nsa", "kernel f(x[t]) -> y[t] {\n    x +\n");
    let said = stderr(&["run", &path, "--set", "t=1,2"]);
    assert!(said.contains("unreadable.nsa:") && !said.contains("--set"), "{said}");
    // A program that is right with other constants only.
    let path = program("repaired.nsa", "const N = 0;\nkernel f(x[t, d = N]) -> y[t] { sum[d] x }");
    assert!(stdout(&["check", &path, "--set", "N=3", "t=4"]).contains("axis d = 3"));
    assert!(stderr(&["check", &path, "--set", "t=4"]).contains("positive number"));
}

#[test]
fn names_that_nothing_has() {
    let path = program("names.nsa", SMALL);
    let said = |set: &str| stderr(&["check", &path, "--set", set]);
    let unknown = said("foo=3");
    assert!(unknown.contains("there is no constant and no run-time axis `foo` that could be set"), "{unknown}");
    let known = "the constants are W, SCALE, d, e; the run-time axes are t, s";
    assert!(unknown.contains(known), "{unknown}");
    assert!(said("SCALA=1").contains("did you mean `SCALE`?"));
    let path =
        program("named.nsa", "kernel f(x[tokens]) -> y[half] { let y[half = len(tokens) / 2] = x[half * 2]; y }");
    let said = |set: &str| stderr(&["check", &path, "--set", set]);
    assert!(said("token=3").contains("did you mean `tokens`?"));
    let derived = said("half=3");
    assert!(derived.contains("the length of axis `half` is len(tokens) / 2: it cannot be set"), "{derived}");
}

#[test]
fn values_that_cannot_be() {
    let path = program("values.nsa", SMALL);
    let said = |set: &[&str]| stderr(&[&["check", &path, "--set"][..], set].concat());
    let cases: [(&[&str], &str); 8] = [
        (&["t=-3"], "error: --set t=-3: lengths are 0 or more, -3 is less\n"),
        (&["t=abc"], "error: --set t=abc: `abc` is no length, which is a whole number, 0 or more\n"),
        (&["t=1,,2"], "error: --set t=1,,2: a length is missing\n"),
        (&["W=abc"], "error: --set W=abc: this is no number\n"),
        (&["W=1,2"], "error: --set W=1,2: a constant has one value\n"),
        (&["W=3", "W=4"], "error: --set gives `W` twice, 3 and 4: leave one out\n"),
        (&["W"], "error: --set W: expected NAME=VALUE\n"),
        (
            &["t=1,2", "s=1"],
            "error: --set gives lengths 1 of `s` and 2 of `t`: every sequence of a batch has one of each axis\n",
        ),
    ];
    for (set, expected) in cases {
        assert_eq!(said(set), expected);
    }
    let large = said(&["W=99999999999999999999999"]);
    assert!(large.contains("`W` is an integer, and cannot be set to 1e23, which is too large"), "{large}");
    assert!(large.contains("choose a number that is nearer to 0"), "{large}");
    assert!(said(&["W=2.5"]).contains("cannot be set to a fraction"));
    for (words, why) in [
        (["bench", "--sizes", "abc"], "`abc` is no length, which is a whole number, 0 or more"),
        (["run", "--lengths", "1,-2"], "lengths are 0 or more, -2 is less"),
    ] {
        let said = fails(&[&words[..1], &[&path], &words[1..]].concat(), 2);
        assert!(said.contains(why), "{said}");
    }
}

/// Lengths are those of the tensors in the file, of which none is forgotten.
#[test]
fn lengths_come_from_given_tensors() {
    let path = program("given.nsa", SMALL);
    let given = tensors("given.safetensors", &[("q", &[5, 16]), ("k", &[9, 16]), ("v", &[9, 16])]);
    let more = ["--seconds", "0", "--json"];
    let value = json(&[&["run", &path, "--inputs", &given][..], &more].concat());
    assert_eq!(value["lengths"], serde_json::json!({"s": [9], "t": [5]}));
    assert_eq!((&value["failed"], &value["differences"]["o"]["elements"]), (&serde_json::json!([]), &(5 * 16).into()));
    let value = json(&["draw", &path, "--inputs", &given, "--json"]);
    assert_eq!((&value["branches"][0]["queries"], &value["branches"][0]["length"]), (&5.into(), &9.into()));

    let said = stderr(&["run", &path, "--inputs", &given, "--set", "t=6"]);
    let expected = format!(
        "error: --set says that `t` has the length 6, but `q` in {given} is bf16 [5, 16] with the axes [t, d]\n"
    );
    assert_eq!(said, expected);
    assert_eq!(stderr(&["draw", &path, "--inputs", &given, "--set", "t=6"]), expected);
    let other = tensors("contradiction.safetensors", &[("k", &[9, 16]), ("v", &[8, 16])]);
    let said = stderr(&["run", &path, "--inputs", &other]);
    for part in ["`k` in ", "[9, 16]", "`v` in ", "[8, 16]", "`s` has two lengths"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let flat = tensors("flat.safetensors", &[("q", &[5, 4, 4])]);
    let said = stderr(&["run", &path, "--inputs", &flat]);
    assert!(said.contains("is bf16 [5, 4, 4], but has the axes [t, d] in the program"), "{said}");
}

/// Sequences with different numbers of cached keys, in one launch.
#[test]
fn batches_with_cached_keys() {
    let path = program("batch.nsa", SMALL);
    let run =
        |more: &[&str]| json(&[&["run", &path, "--seconds", "0", "--json", "--reference", "full"][..], more].concat());
    let value = run(&["--set", "t=1,0,5", "s=9,0,70"]);
    assert_eq!(value["lengths"], serde_json::json!({"s": [9, 0, 70], "t": [1, 0, 5]}));
    assert_eq!((&value["failed"], &value["differences"]["o"]["elements"]), (&serde_json::json!([]), &(6 * 16).into()));
    // The other axes take what --lengths says.
    let value = run(&["--set", "t=1,2", "--lengths", "3,4"]);
    assert_eq!(value["lengths"], serde_json::json!({"s": [3, 4], "t": [1, 2]}));
    let said = stderr(&["run", &path, "--set", "t=1,0,5"]);
    assert!(said.contains("the lengths of `s` are missing, 3 as of the other axes"), "{said}");
    let said = stderr(&["draw", &path, "--set", "t=1,2", "s=3,4"]);
    assert!(said.contains("a picture is about one sequence"), "{said}");
}

/// A sentence with the file's own type; f64 is not narrowed.
#[test]
fn types_of_files() {
    let header = r#"{"q":{"dtype":"F64","shape":[1, 16],"data_offsets":[0,128]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 128, 0);
    let given = file("wide.safetensors");
    std::fs::write(&given, bytes).expect("written");
    let path = program("wide.nsa", SMALL);
    let said = stderr(&["run", &path, "--inputs", given.to_str().expect("text")]);
    assert!(said.contains("`q` has type f64; programs have bf16, f16, f32 and i32: convert it first"), "{said}");
}

#[test]
fn programs_on_the_standard_input() {
    let output = nsa_reads(&["check", "-"], SMALL.as_bytes());
    assert!(output.status.success() && text(output.stdout).starts_with("small: no errors"));
    let output = nsa_reads(&["check", "-"], b"kernel f(x[t]) -> y[t] { z }");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("<stdin>:1:26"));
    let output = nsa_reads(&["run", "-", "--set", "t=3", "s=4", "--seconds", "0"], SMALL.as_bytes());
    assert!(output.status.success(), "{}", text(output.stderr));
    // Artifacts of such programs are called after the kernel.
    let output = nsa_reads(&["build", "-", "--target", "sm_80"], SMALL.as_bytes());
    assert!(output.status.success(), "{}", text(output.stderr));
    assert!(text(output.stdout).starts_with("small.nsak ") && file("small.nsak").exists());
    let output = nsa_reads(&["check", "-"], &[b'k', 0xff, 0x00]);
    assert_eq!(
        text(output.stderr),
        "error: <stdin>: this is no text: byte 1, counted from 0, begins no character of UTF-8\n"
    );
}

/// One object on the standard output, whatever is wrong.
#[test]
fn errors_of_every_kind_are_data() {
    let path = program("data.nsa", SMALL);
    let cases: [(&[&str], &str); 6] = [
        (&["check", "nowhere.nsa"], "nowhere.nsa: No such file"),
        (&["check", &path, "--set", "W=abc"], "--set W=abc: this is no number"),
        (&["check", &path, "--without", "mask-to-domian"], "there is no law `mask-to-domian`"),
        (&["draw", &path, "--at", "d=16"], "--at d=16: the values of axis `d` are 0 to 15"),
        (&["run", &path, "--device", "gpu"], "`gpu` is no device"),
        (&["explain", &path, "--target", "sm_75"], "`sm_75` is not a target"),
    ];
    for (words, message) in cases {
        let output = nsa(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {}", text(output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let said = value["diagnostics"][0]["message"].as_str().expect("text");
        assert!(said.contains(message), "{said}");
        assert_eq!((&value["diagnostics"][0]["severity"], &value["program"]), (&"error".into(), &Value::Null));
    }
    // Wrong results are results: the object is the one that right ones have.
    let words = ["run", &path, "--set", "t=3", "s=4", "--seconds", "0", "--tolerance", "1e-12", "--json"];
    let output = nsa(&words);
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(value["failed"], serde_json::json!(["o"]));
    assert!(text(output.stderr).contains("beyond the tolerance"));
}

#[test]
fn laws_that_are_none() {
    let path = program("laws.nsa", SMALL);
    let said = stderr(&["check", &path, "--without", "mask-to-domian"]);
    assert!(
        said.contains("there is no law `mask-to-domian`") && said.contains("did you mean `mask-to-domain`?"),
        "{said}"
    );
    stdout(&["check", &path, "--without", "mask-to-domain", "tile"]);
}

/// Targets are called the same everywhere.
#[test]
fn spellings_of_targets() {
    let path = program("targets.nsa", SMALL);
    let artifact = file("targets.nsak");
    let artifact = artifact.to_str().expect("text");
    for option in ["--arch", "--target", "--targets"] {
        assert!(stdout(&["ptx", &path, option, "sm_90a"]).contains(".target sm_90a"));
        assert!(stdout(&["lower", &path, option, "sm_90a"]).contains("plan small"));
        assert!(stdout(&["build", &path, option, "sm_90a", "-o", artifact]).contains("sm_90a"));
        assert!(stdout(&["explain", &path, option, "sm_90a", "--json"]).contains("sm_90a"));
    }
}

#[test]
fn devices() {
    let path = program("devices.nsa", SMALL);
    let said = stderr(&["run", &path, "--device", "gpu"]);
    for part in ["`gpu` is no device", "host:x86_64", "cuda:0", "vm:sm_90a"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let help = stdout(&["run", "--help"]);
    for part in ["host:x86_64", "cuda:0", "vm:sm_90a", "t=1,0,5"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    let said = text(nsa(&["run", &path, "--set", "t=1", "s=1", "--seconds", "0", "--device", "cuda:0"]).stderr);
    assert!(!said.contains("Device::"), "words of Rust: {said}");
}

/// Nothing, and what a launch takes longer for than for its work, is no part of a roofline.
#[test]
fn fractions_of_work_only() {
    let path = program("little.nsa", SMALL);
    for set in [["t=0", "s=0"], ["t=3", "s=5"]] {
        let said = stdout(&[&["run", &path, "--seconds", "0", "--set"][..], &set].concat());
        assert!(said.contains("median of") && !said.contains("roofline"), "{said}");
    }
}

#[test]
fn places_of_pictures() {
    let path = program("places.nsa", SMALL);
    let said = |at: &str, set: &str| stderr(&["draw", &path, "--at", at, "--set", set]);
    assert_eq!(said("d=-1", "t=4"), "error: --at d=-1: the values of axis `d` are 0 to 15\n");
    assert_eq!(said("t=4", "t=4"), "error: --at t=4: the values of axis `t` are 0 to 3\n");
    assert_eq!(said("t=0", "t=0"), "error: --at t=0: axis `t` has no values\n");
}

#[test]
fn demonstrations_of_nothing() {
    assert!(stderr(&["demo", "--bytes", "0", "--device", "host"]).contains("--bytes 0: two bytes are the least"));
    let said = stdout(&["demo", "--bytes", "64", "--device", "host"]);
    assert!(
        said.contains("keys for every one that full attention reads"),
        "short texts are no place for sparsity: {said}"
    );
}
