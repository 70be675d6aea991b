//! A crate outside the workspace that depends on `nsa`, as users have it.
//!
//! Cargo builds it into the workspace's target folder: what is built there already is not built again, as it would be in a
//! folder of the crate's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// A crate in a folder of its own, removed at the end.
pub struct Crate {
    folder: PathBuf,
}

impl Drop for Crate {
    fn drop(&mut self) {
        // Nothing depends on it: what cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Crate {
    /// An empty one. The name says which: binaries of several lie in one folder.
    pub fn new(name: &str) -> Crate {
        let workspace = workspace();
        let folder = std::env::temp_dir().join(format!("nsa-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).expect("a folder for temporary files");
        std::fs::create_dir_all(folder.join("programs")).expect("a folder");
        // The macro's profile and all versions, so that what the workspace has built of other people's crates is this crate's as well.
        let root = std::fs::read_to_string(workspace.join("Cargo.toml")).expect("the workspace's manifest");
        let profile = root.find("[profile.dev.build-override]").map_or("", |at| &root[at..]);
        let profile = profile.split_inclusive("\n[").next().unwrap_or_default().trim_end_matches('[');
        let manifest = format!(
            "[package]\nname = \"user-{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\nnsa = {{ package = \"nsa-kernels\", path = {:?} }}\n\n[workspace]\n\n{profile}",
            workspace.join("runtime")
        );
        let it = Crate { folder };
        it.write("Cargo.toml", &manifest);
        std::fs::copy(workspace.join("Cargo.lock"), it.folder.join("Cargo.lock")).expect("the lock file");
        std::fs::copy(workspace.join("rust-toolchain.toml"), it.folder.join("rust-toolchain.toml")).expect("copied");
        it
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, text: &str) {
        self.write_bytes(file, text.as_bytes());
    }

    /// Writes one of its files that is no text.
    pub fn write_bytes(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.folder.join(file), bytes).expect("written");
    }

    fn run(&self) -> Output {
        self.cargo("run")
    }

    /// What a command of cargo gives; what the workspace has built is used again.
    pub fn cargo(&self, command: &str) -> Output {
        let workspace = workspace();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
        Command::new(env!("CARGO"))
            .args([command, "--quiet", "--offline"])
            // Crates in a folder for temporary files have not the workspace's settings by themselves.
            .args(["--config".as_ref(), workspace.join(".cargo/config.toml").as_os_str()])
            .args(["--config".as_ref(), workspace.join(".ci/unoptimised.toml").as_os_str()])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .expect("cargo starts")
    }

    /// It runs, and this is its output.
    pub fn prints(&self, expected: &str) {
        let output = self.run();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    }

    /// It does not compile, and these are parts of the reason.
    pub fn fails(&self, expected: &[&str]) {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
