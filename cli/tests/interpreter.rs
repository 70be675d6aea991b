//! `nsa vm` and `nsa run --device vm`.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Each thread writes its number to shared memory and reads its neighbour's in the other warp.
const ROTATE: &str = "\
.version 7.1
.target sm_80
.address_size 64
.visible .entry rotate(.param .u64 out, .param .u32 step) {
    .reg .b32 %r<7>;
    .reg .b64 %rd<4>;
    .shared .align 4 .b8 tile[256];
    mov.u32 %r1, %tid.x;
    shl.b32 %r2, %r1, 2;
    mov.u32 %r3, tile;
    add.s32 %r4, %r3, %r2;
    st.shared.b32 [%r4], %r1;
    bar.sync 0;
    ld.param.u32 %r6, [step];
    xor.b32 %r2, %r2, %r6;
    add.s32 %r4, %r3, %r2;
    ld.shared.b32 %r5, [%r4];
    ld.param.b64 %rd1, [out];
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.b32 [%rd3], %r5;
    ret;
}
";

const LAUNCH: &str = r#"{
    "grid": [1], "block": [64], "seeds": [1, 2, 3],
    "buffers": { "out": { "element": "u32", "length": 64 } },
    "args": [ { "buffer": "out" }, { "u32": 128 } ]
}"#;

fn nsa(words: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    Command::new(env!("CARGO_BIN_EXE_nsa")).args(words).current_dir(root).output().expect("started")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// A file for one test.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn word(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_correct_kernel_is_clean() {
    let (ptx, launch) = (file("rotate.ptx", ROTATE), file("rotate.json", LAUNCH));
    let output = nsa(&["vm", word(&ptx), "--launch", word(&launch)]);
    let said = text(output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("rotate, seed 3: 0 findings"), "{said}");
    assert!(said.contains("out: [32.0, 33.0, 34.0"), "{said}");
}

#[test]
fn a_race_is_told_and_fails() {
    let (ptx, launch) = (file("race.ptx", &ROTATE.replace("bar.sync 0;", "")), file("race.json", LAUNCH));
    let output = nsa(&["vm", word(&ptx), "--launch", word(&launch)]);
    let said = text(output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["data race", "line 17: ld.shared.b32 %r5, [%r4];", "line 12: st.shared.b32 [%r4], %r1;"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(text(output.stderr), "error: the kernel has hazards\n");
    let output = nsa(&["vm", word(&ptx), "--launch", word(&launch), "--json"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome["kernel"], "rotate");
    let findings = outcome["reports"].as_array().expect("a list").iter().flat_map(|r| r["findings"].as_array());
    assert!(findings.flatten().any(|f| f["kind"] == "race"), "{outcome}");
}

#[test]
fn errors_name_the_file_and_the_place() {
    let launch = file("errors.json", LAUNCH);
    let wrong = file("wrong.ptx", &ROTATE.replace("st.shared.b32", "st.shred.b32"));
    let said = text(nsa(&["vm", word(&wrong), "--launch", word(&launch)]).stderr);
    for part in ["wrong.ptx: ", "line 12", "st.shred.b32", "^"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let ptx = file("errors.ptx", ROTATE);
    let few = file("few.json", &LAUNCH.replace(", { \"u32\": 128 }", ""));
    let said = text(nsa(&["vm", word(&ptx), "--launch", word(&few)]).stderr);
    assert!(said.contains("takes 2 arguments, 1 were given"), "{said}");
    let odd = file("odd.json", "{ \"grid\": [1] ");
    let said = text(nsa(&["vm", word(&ptx), "--launch", word(&odd)]).stderr);
    assert!(said.contains("odd.json: "), "{said}");
}

/// Window attention, small.
const WINDOW: [&str; 9] = ["examples/window.nsa", "--set", "g=1", "r=3", "d=32", "e=32", "WINDOW=20", "t=37", "s=37"];

fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["run"][..], &WINDOW, more].concat()
}

#[test]
fn programs_run_in_the_interpreter() {
    for target in ["sm_80", "sm_90a"] {
        let device = format!("vm:{target}");
        let output = nsa(&run(&["--device", &device, "--schedules", "2"]));
        let said = text(output.stdout);
        assert!(output.status.success(), "{said}{}", text(output.stderr));
        for part in [
            format!("window_attention on the interpreter: code for {target}"),
            "of 3552 elements compared: ok".into(),
            "interpreter: no findings in 2 schedules".into(),
        ] {
            assert!(said.contains(&part), "{part:?} in {said}");
        }
    }
}

#[test]
fn a_wrong_expectation_fails_there_too() {
    let output = nsa(&run(&["--device", "vm", "--tolerance", "1e-9", "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["failed"], serde_json::json!(["o"]));
    assert_eq!(report["interpreter"]["findings"], serde_json::json!([]));
    assert!(text(output.stderr).contains("beyond the tolerance"));
}

#[test]
fn only_gpus_are_interpreted() {
    let said = text(nsa(&run(&["--device", "vm:x86_64"])).stderr);
    assert!(said.contains("x86_64 is no GPU: the interpreter runs sm_80 and sm_90a"), "{said}");
    let said = text(nsa(&run(&["--device", "vm:sm_75"])).stderr);
    assert!(said.contains("`sm_75` is not a target"), "{said}");
}

#[test]
fn runs_are_recorded_for_a_gpu() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    let output = nsa(&run(&["--device", "vm", "--record", word(&folder)]));
    assert!(output.status.success(), "{}", text(output.stderr));
    let read = |name: &str| std::fs::read(folder.join(name)).expect("written");
    let recorded: Value = serde_json::from_slice(&read("run.json")).expect("JSON");
    let memory = recorded["memory"].as_array().expect("a list");
    let result = memory.iter().find(|m| m["output"] == "o").expect("the result");
    assert_eq!(result["bytes"], 37 * 3 * 32 * 2);
    assert_eq!(read("o.bin").len(), 37 * 3 * 32 * 2);
    assert!(String::from_utf8(read("code.ptx")).expect("text").contains(".visible .entry"));
    for launch in recorded["launches"].as_array().expect("a list") {
        for word in launch["words"].as_array().expect("a list") {
            let address = word["address"].as_u64();
            assert!(word["value"].is_u64() || address.is_some_and(|a| (a as usize) < memory.len()), "{word}");
        }
    }
}
