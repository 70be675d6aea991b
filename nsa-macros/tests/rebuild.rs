//! Editing a program's file rebuilds the crate that embeds it: a crate outside the workspace, as a user has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MAIN: &str = r#"
use nsa::{Device, Stream, View};

nsa::nsa_kernel!(mod program = "programs/line.nsa", targets = ["host"]);

fn main() -> Result<(), nsa::Error> {
    let x = [1.0f32, 2.0, 3.0];
    let mut y = [0.0f32; 3];
    let args = program::Args { x: View::host(&x, &[3]), y: View::host_mut(&mut y, &[3]) };
    program::load(&Device::host())?.plan(&program::Shape::new(3))?.launch(Stream::Host, &args)?;
    drop(args);
    println!("{y:?}");
    Ok(())
}
"#;

/// A crate in a folder of its own, removed at the end.
struct Crate {
    folder: PathBuf,
}

impl Drop for Crate {
    fn drop(&mut self) {
        // Nothing depends on it: what cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Crate {
    fn new() -> Crate {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let folder = std::env::temp_dir().join(format!("nsa-rebuild-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).expect("a folder for temporary files");
        std::fs::create_dir_all(folder.join("programs")).expect("a folder");
        // The same profiles and versions, so that what the workspace has built is built for this crate as well.
        let root = std::fs::read_to_string(workspace.join("Cargo.toml")).expect("the workspace's manifest");
        let profiles = root.find("[profile").map_or("", |at| &root[at..]);
        let manifest = format!(
            "[package]\nname = \"nsa-rebuild\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\nnsa = {{ path = {:?} }}\n\n[workspace]\n\n{profiles}",
            workspace.join("runtime")
        );
        let it = Crate { folder };
        it.write("Cargo.toml", &manifest);
        std::fs::copy(workspace.join("Cargo.lock"), it.folder.join("Cargo.lock")).expect("the lock file");
        std::fs::copy(workspace.join("rust-toolchain.toml"), it.folder.join("rust-toolchain.toml")).expect("copied");
        it.write("src/main.rs", MAIN);
        it
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("written");
    }

    fn run(&self) -> Output {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
        Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--offline"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .expect("cargo starts")
    }

    fn prints(&self, expected: &str) {
        let output = self.run();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    }

    fn fails(&self, expected: &[&str]) {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[test]
fn editing_a_program_rebuilds() {
    let user = Crate::new();
    user.fails(&["error: ", "programs/line.nsa", "paths are relative to the folder of Cargo.toml", "src/main.rs:4:33"]);
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] { 2 * x }");
    user.prints("[2.0, 4.0, 6.0]");
    user.write("programs/line.nsa", "const AT_0 = 0.5;\nkernel line(x: f32[t]) -> y: f32[t] { 2 * x + AT_0 }");
    user.prints("[2.5, 4.5, 6.5]");
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] {\n    2 * x + AT_0\n}");
    user.fails(&["there is no tensor, axis or constant `AT_0` here", "programs/line.nsa:2:13", "2 * x + AT_0", "^^^^"]);
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] { x }");
    user.prints("[1.0, 2.0, 3.0]");
}
