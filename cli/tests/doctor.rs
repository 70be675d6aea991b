//! `nsa doctor` on whatever machine the tests run.

use serde_json::Value;
use std::process::{Command, Output};

fn doctor(arguments: &[&str], cache: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nsa"));
    command.arg("doctor").args(arguments).env("NSA_CACHE", cache).output().expect("started")
}

/// Every topic has a line, without colours where nobody sees them.
#[test]
fn a_line_for_everything() {
    let folder = format!("{}/doctor", env!("CARGO_TARGET_TMPDIR"));
    let output = doctor(&[], &folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["ok compiler   nsa ", "LLVM 22.", " toolchain  rustc ", " host ", " driver ", " ptxas ", "ok cache "] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(text.contains(&folder) && !text.contains('\x1b'), "{text}");
}

#[test]
fn the_same_as_json() {
    let output = doctor(&["--json"], "off");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(value["nsa"], env!("CARGO_PKG_VERSION"));
    assert!(value["compiler"]["llvm"].as_str().is_some_and(|version| version.starts_with("22.")), "{value}");
    assert_eq!(value["toolchain"]["usable"], true, "what built this: {value}");
    assert!(value["host"]["threads"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(value["cache"], Value::Null);
    assert!(value["gpus"].is_array() && (value["driver"].is_null() || value["driver"]["ptx"].is_string()), "{value}");
    let findings = value["findings"].as_array().expect("a list");
    for finding in findings {
        let [topic, state, found] = ["topic", "state", "found"].map(|name| finding[name].as_str().expect("text"));
        assert!(!topic.is_empty() && !found.is_empty() && ["good", "missing", "wrong"].contains(&state), "{finding}");
        assert!(state == "good" || finding["advice"].is_string(), "what is missing has something to do: {finding}");
    }
}

/// Why there is no cache is told, not guessed.
#[test]
fn a_cache_that_is_switched_off() {
    let text = String::from_utf8(doctor(&[], "off").stdout).expect("text");
    assert!(text.contains("NSA_CACHE=off switches it off") && !text.contains("home folder"), "{text}");
}
