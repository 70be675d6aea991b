//! The commands as users type them.

use nsa_measure::{Case, Tensor, Tensors, read_tensors, write_tensors};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Window attention, small.
const WINDOW: [&str; 7] = ["examples/window.nsa", "--set", "g=1", "r=3", "d=32", "e=32", "WINDOW=20"];

fn nsa(words: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    Command::new(env!("CARGO_BIN_EXE_nsa"))
        .env("NSA_PTXAS", "")
        .args(words)
        .current_dir(root)
        .output()
        .expect("started")
}

/// Standard output of a command that must succeed.
fn stdout(words: &[&str]) -> String {
    let output = nsa(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Standard error of a command that must fail with status 1.
fn stderr(words: &[&str]) -> String {
    let output = nsa(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}

/// A file for one test.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn words<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command][..], &WINDOW, more].concat()
}

#[test]
fn check_says_what_a_program_is() {
    let text = stdout(&words("check", &[]));
    for part in
        ["window_attention: no errors", "argument q: bf16[t, g, r, d]", "result   o: bf16", "constant WINDOW = 20"]
    {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn errors_quote_the_source() {
    let path = file("wrong.nsa");
    std::fs::write(&path, "kernel f(x[t, d = 4]) -> y[t, d] {\n    x + z\n}\n").expect("written");
    let text = stderr(&["check", path.to_str().expect("text")]);
    for part in ["`z`", "wrong.nsa:2:9", "x + z", "^"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(stderr(&["check", "nowhere.nsa"]).starts_with("error: nowhere.nsa: "));
    assert!(stderr(&words("check", &["--set", "NOTHING=3"])).contains("NOTHING"));
    assert!(stderr(&words("explain", &["--without", "gravity"])).contains("gravity"));
    assert!(stderr(&words("ptx", &["--arch", "sm_75"])).contains("`sm_75` is not a target"));
    assert!(stderr(&words("run", &["--device", "gpu"])).contains("`gpu` is no device"));
}

/// What editors read: places with lines and columns, of characters and not of bytes.
#[test]
fn errors_as_json() {
    let path = file("wrong_for_editors.nsa");
    let text = "// \u{e4}\u{f6}\u{fc}\nkernel f(query[t, d = 4],\n    k[s, d]) -> y[t, d] {\n    /* \u{e9}\u{1d11e} */ query + querry\n}\n";
    std::fs::write(&path, text).expect("written");
    let output = nsa(&["check", "--json", path.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let [error] = value["diagnostics"].as_array().expect("a list").as_slice() else { panic!("one error: {value}") };
    assert_eq!(error["message"], "there is no tensor, axis or constant `querry` here");
    assert_eq!(error["severity"], "error");
    let place = &error["place"];
    assert_eq!(place["file"], path.to_str().expect("text"));
    let at = |name: &str| text.find(name).expect("is in the text");
    let position = |column: usize, utf16: usize, offset: usize| serde_json::json!({"line": 4, "column": column, "utf16": utf16, "offset": offset});
    // The comment has a character of two bytes, and one of two UTF-16 units.
    assert_eq!(place["start"], position(22, 22, at("querry")));
    assert_eq!(place["end"], position(28, 28, at("querry") + 6));
    assert_eq!(error["suggestion"], "query");
    assert_eq!(place["library"], false);
    assert_eq!(value["program"], Value::Null);

    // Errors without a place, and a right program.
    let output = nsa(&words("check", &["--json", "--set", "NOTHING=3"]));
    let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(value["diagnostics"][0]["place"], Value::Null);
    let value: Value = serde_json::from_str(&stdout(&words("check", &["--json"]))).expect("one object");
    assert_eq!(value["diagnostics"], serde_json::json!([]));
    let program = &value["program"];
    assert_eq!(program["name"], "window_attention");
    assert_eq!(program["arguments"][0], serde_json::json!({"name": "q", "type": "bf16", "axes": ["t", "g", "r", "d"]}));
    assert_eq!(program["axes"][0], serde_json::json!({"name": "t", "extent": null}));
    assert_eq!(program["constants"]["WINDOW"], 20.0);
}

#[test]
fn every_stage_prints() {
    let marks = [
        ("ast", "kernel window_attention("),
        ("program", "window_attention"),
        ("term", "chosen for"),
        ("plan", "plan window_attention"),
        ("llvm", "define"),
        ("ptx", ".visible .entry"),
    ];
    for (stage, mark) in marks {
        let text = stdout(&words("lower", &["--emit", stage]));
        assert!(text.contains(mark), "{stage}: {mark:?} in {}", &text[..text.len().min(400)]);
    }
    let text = stdout(&words("lower", &["--emit", "ptx", "--target", "aarch64"]));
    assert!(text.contains("_aarch64:"), "assembly for ARM");
    let explained = stdout(&words("explain", &[]));
    for part in ["# many queries", "online-weighted", "> ", "chosen", "occupancy", "plan window_attention"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert!(stdout(&words("explain", &["--steps"])).len() > 2 * explained.len() / 3);
}

/// Costs are those of the machine that is named; without one, of the target's.
#[test]
fn machines_have_names() {
    let costed = |more: &[&str]| stdout(&words("explain", more)).lines().next().unwrap_or_default().to_string();
    assert_eq!(costed(&["--target", "sm_90a"]), "sm_90a, costed as h200");
    assert_eq!(costed(&["--target", "sm_90a", "--machine", "h100"]), "sm_90a, costed as h100");
    assert_eq!(costed(&["--machine", "a100"]), "sm_80, costed as a100");
    let text = stderr(&words("explain", &["--machine", "h10"]));
    assert!(text.contains("there is no machine `h10`") && text.contains("did you mean `h100`?"), "{text}");
    let text = stderr(&words("build", &["--targets", "sm_80,sm_90a", "--machine", "a100"]));
    assert!(text.contains("the machine `a100` does not run code for sm_90a"), "{text}");
    let one = |more: &[&str]| stdout(&words("ptx", more));
    assert_eq!(one(&["--machine", "sm_80"]), one(&[]), "what stands for the target is the default");
}

/// Without the assembler registers are a lower bound, and the heading says so; with it they are counted.
#[test]
fn registers_are_the_assemblers() {
    let text = stdout(&words("explain", &[]));
    assert!(text.contains("registers >=") && text.contains("blocks <=") && text.contains("NSA_PTXAS"), "{text}");
    let asked = |ptxas: &str| -> Value {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nsa"));
        command.env("NSA_PTXAS", ptxas).args(words("explain", &["--json"])).current_dir(root);
        let output = command.output().expect("started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let kernel = |value: &Value| value[0]["occupancy"][0].clone();
    let least = kernel(&asked("/nowhere/ptxas"));
    assert_eq!((&least["assembled"], &least["spilled_bytes"]), (&Value::Bool(false), &Value::Null));
    let Ok(ptxas) = std::env::var("NSA_PTXAS") else {
        println!("skipped: no ptxas; NSA_PTXAS names one");
        return;
    };
    let counted = kernel(&asked(&ptxas));
    assert_eq!(counted["assembled"], Value::Bool(true));
    let registers = |value: &Value| value["registers"].as_u64().expect("a number");
    assert!((registers(&least)..=255).contains(&registers(&counted)), "{counted}, at least {least}");
}

#[test]
fn ptx_has_the_lowest_version() {
    for (arch, version) in [("sm_80", ".version 7.1"), ("sm_90a", ".version 8.0")] {
        let text = stdout(&words("ptx", &["--arch", arch]));
        assert!(text.contains(version) && text.contains(&format!(".target {arch}")), "{arch}");
    }
}

#[test]
fn artifacts_are_read_back() {
    let path = file("window.nsak");
    stdout(&words("build", &["--targets", "all", "-o", path.to_str().expect("text")]));
    let artifact = nsa::Artifact::from_bytes(&std::fs::read(&path).expect("written")).expect("an artifact");
    let targets: Vec<&str> = artifact.manifest().targets.iter().map(|t| t.target.name()).collect();
    assert_eq!(targets, ["sm_80", "sm_90a", "x86_64", "aarch64"]);
}

#[test]
fn runs_agree_with_the_reference() {
    let shapes = [(&["--set", "t=1", "s=1"][..], 1), (&["--set", "t=3", "s=40"], 3), (&["--lengths", "0,15,40"], 55)];
    for (more, rows) in shapes {
        let more = [more, &["--json", "--seconds", "0", "--reference", "full"]].concat();
        let value: Value = serde_json::from_str(&stdout(&words("run", &more))).expect("JSON");
        let error = value["differences"]["o"]["relative"].as_f64().expect("a number");
        assert!(error < 5e-3, "{more:?}: {error}");
        assert_eq!(value["differences"]["o"]["elements"], rows * 3 * 32, "{more:?}");
        assert_eq!(value["failed"], serde_json::json!([]));
    }
    let text = stderr(&words("run", &["--set", "t=30", "s=30", "--seconds", "0", "--tolerance", "1e-9"]));
    assert!(text.contains("beyond the tolerance of 1.0e-9: o"), "{text}");
}

/// Code for a weaker instruction set runs where it is asked for by name.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_instruction_set_can_be_chosen() {
    let more = ["--set", "t=40", "s=40", "--json", "--seconds", "0", "--device", "host:x86_64"];
    let value: Value = serde_json::from_str(&stdout(&words("run", &more))).expect("JSON");
    assert_eq!(value["isa"], "x86_64");
    assert_eq!(value["failed"], serde_json::json!([]));
    let text = stderr(&words("run", &["--device", "host:aarch64"]));
    assert!(text.contains("does not have the instruction set aarch64"), "{text}");
}

/// The branches of Native Sparse Attention are added up in the result: workspaces are a few percent of what the caller gives.
#[test]
fn workspaces_are_small() {
    let run = ["run", "examples/nsa.nsa", "--set", "t=512", "s=512", "--json", "--seconds", "0", "--reference", "none"];
    let value: Value = serde_json::from_str(&stdout(&run)).expect("JSON");
    let [own, given] = ["workspace_bytes", "argument_bytes"].map(|n| value[n].as_u64().expect("a number"));
    assert!(own > 0 && 10 * own <= given, "workspaces {own}, arguments and results {given}");
}

#[test]
fn tensors_come_from_files_and_go_to_files() {
    let [inputs, outputs, case] = ["in", "out", "case"].map(|n| file(&format!("{n}.safetensors")));
    // All values are equal, so that any mixture of them is the same.
    let v = Tensor::from_f64(nsa::DType::Bf16, &[25, 1, 32], std::iter::repeat_n(0.75, 25 * 32));
    write_tensors(&inputs, &Tensors::from([("v".to_string(), v)])).expect("written");
    let [i, o, c] = [&inputs, &outputs, &case].map(|p| p.to_str().expect("text"));
    let more = ["--set", "t=25", "s=25", "--seconds", "0", "--inputs", i, "--outputs", o, "--case", c];
    stdout(&words("run", &more));
    let results = read_tensors(&outputs).expect("read");
    assert_eq!(results["o"].to_f64(), vec![0.75; 25 * 3 * 32]);
    let case = Case::read(&case).expect("read");
    assert_eq!(case.lengths["t"], [25]);
    let differences = case.judge(&results).expect("all results are there");
    assert!(differences["o"].within(1e-6) && differences["o"].elements == 25 * 3 * 32);

    let short = Tensor::from_f64(nsa::DType::Bf16, &[24, 1, 32], []);
    write_tensors(&inputs, &Tensors::from([("v".to_string(), short)])).expect("written");
    let text = stderr(&words("run", &more));
    assert!(text.contains("--set says that `s` has the length 25, but `v` in"), "{text}");
    assert!(text.contains("is bf16 [24, 1, 32] with the axes [s, g, e]"), "{text}");

    let narrow = Tensor::from_f64(nsa::DType::Bf16, &[25, 1, 31], []);
    write_tensors(&inputs, &Tensors::from([("v".to_string(), narrow)])).expect("written");
    let text = stderr(&words("run", &more));
    assert!(text.contains("tensor `v`: it is bf16 [25, 1, 31], but must be bf16 [25, 1, 32]"), "{text}");
}

/// Warnings go beside what a program is, not in its place.
#[test]
fn warnings_are_said_and_the_program_is_right() {
    let path = file("doubtful.nsa");
    let text =
        "kernel doubtful(q[t, d = 4], k[s, d], v[s, e = 4]) -> o[t, e] {\n    attend(q, k, v, window(s, t, 9))\n}\n";
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text");
    let output = nsa(&["check", path]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("doubtful: no errors\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("warning: ") && said.contains("did you mean `pos(t)`?"), "{said}");
    let output = nsa(&["check", "--json", path]);
    assert!(output.status.success() && output.stderr.is_empty());
    let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(value["diagnostics"][0]["severity"], "warning");
    assert_eq!(value["diagnostics"][0]["suggestion"], "pos(t)");
    assert_eq!(value["program"]["name"], "doubtful");
    // Other commands say what they are asked for.
    assert!(!String::from_utf8_lossy(&nsa(&["lower", path]).stderr).contains("warning"));
}
