//! What `nsa_kernel!` makes of programs, where its errors point, and when it is expanded anew: in crates outside the workspace.

mod prebuilt;
mod rebuild;
mod user;

use std::path::PathBuf;
use user::Crate;

/// The files of a folder beside this one: name and text.
fn cases(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/expansion").join(folder);
    let entries = std::fs::read_dir(folder).expect("the cases").map(|entry| entry.expect("an entry").path());
    let mut cases: Vec<(String, String)> = entries
        .map(|path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_string();
            (name, std::fs::read_to_string(path).expect("readable"))
        })
        .collect();
    cases.sort();
    cases
}

/// Programs in a user's source compile and run.
#[test]
fn programs_in_place() {
    let user = Crate::new("pass");
    for (name, text) in cases("pass") {
        user.write("src/main.rs", &text);
        let output = user.cargo("run");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Errors point at the tokens that they are about, in rustc's own drawing.
#[test]
fn errors_in_place() {
    let user = Crate::new("fail");
    let mut all = String::new();
    for (name, text) in cases("fail") {
        user.write("src/main.rs", &text);
        // `check` would compile everything below once more.
        let output = user.cargo("build");
        assert!(!output.status.success(), "{name} compiles");
        let errors = String::from_utf8_lossy(&output.stderr).replace("src/main.rs", &format!("{name}.rs"));
        let errors = errors.split("error: could not compile").next().unwrap_or_default().trim_end().to_string();
        all += &format!("{errors}\n\n");
    }
    insta::with_settings!({snapshot_path => "../../../snapshots/errors", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("macro", all);
    });
}
