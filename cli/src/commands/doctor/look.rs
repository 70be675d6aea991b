//! Looking for what compiling and running needs.

use super::{Finding, State};
use nsa::cache::{Cache, Usage, VARIABLE};
use nsa_artifact::{PtxVersion, Target};
use nsa_codegen::assembler;
use nsa_codegen::emit::llvm::Machine;
use nsa_codegen::identity::{Llvm, llvm, rustc};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes in binary units.
pub fn binary(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) if bytes.is_multiple_of(1 << shift) => format!("{} {unit}", bytes >> shift),
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / f64::from(1u32 << shift)),
        None => format!("{bytes} bytes"),
    }
}

/// The PTX version of a GPU target's code.
pub fn ptx_version(target: Target) -> Option<PtxVersion> {
    let machine = match target {
        Target::Sm80 => Machine::Sm80,
        Target::Sm90a => Machine::Sm90a,
        Target::X86_64 | Target::Aarch64 => return None,
    };
    // LLVM's feature: `+ptx71` is PTX 7.1.
    let digits = machine.description().2.strip_prefix("+ptx")?;
    let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    Some(PtxVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// What a command writes to its standard output, if it succeeds.
fn output(command: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The compiler inside this command.
pub struct Compiler(Llvm);

impl Compiler {
    pub fn look() -> Compiler {
        Compiler(llvm())
    }

    pub fn finding(&self) -> Finding {
        let Compiler(llvm) = self;
        let whence =
            if llvm.embedded { "linked statically".to_string() } else { format!("the library in {}", llvm.folder) };
        let found = format!("nsa {}, {llvm} ({whence}), built by {}", env!("CARGO_PKG_VERSION"), rustc());
        Finding::new("compiler", State::Good, found)
    }

    pub fn json(&self) -> Value {
        let Compiler(llvm) = self;
        let (major, minor, patch) = llvm.version;
        json!({
            "llvm": format!("{major}.{minor}.{patch}"),
            "linked": if llvm.embedded { "static" } else { "shared" },
            "folder": llvm.folder,
            "rustc": rustc(),
        })
    }
}

/// The Rust toolchain that builds crates in the current folder.
pub struct Toolchain {
    /// Version of rustc.
    release: String,
    /// Version of its LLVM.
    llvm: String,
    sysroot: PathBuf,
    /// The LLVM library that it ships, if it is one that nsa can use.
    library: Option<PathBuf>,
    /// An installed LLVM of the right version: its llvm-config.
    installed: Option<String>,
}

impl Toolchain {
    pub fn look() -> Result<Toolchain, String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let about = output(&rustc, &["--version", "--verbose"]).ok_or("there is no rustc here")?;
        let line = |name: &str| {
            let value = about.lines().find_map(|line| line.strip_prefix(name));
            value.map_or_else(|| "unknown".to_string(), |value| value.trim().to_string())
        };
        let sysroot = PathBuf::from(output(&rustc, &["--print", "sysroot"]).ok_or("rustc does not say its sysroot")?);
        let library = library(&sysroot.join("lib"));
        let major = llvm().version.0;
        let configs = [format!("llvm-config-{major}"), format!("/usr/lib/llvm-{major}/bin/llvm-config")];
        let installed = configs.into_iter().find(|config| output(config, &["--version"]).is_some());
        Ok(Toolchain { release: line("release:"), llvm: line("LLVM version:"), sysroot, library, installed })
    }

    /// True if crates with programs in them build with it as it is.
    fn usable(&self) -> bool {
        self.library.is_some()
    }

    pub fn finding(&self) -> Finding {
        let major = llvm().version.0;
        let found = format!("rustc {}, LLVM {}, in {}", self.release, self.llvm, self.sysroot.display());
        if self.usable() {
            return Finding::new("toolchain", State::Good, format!("{found}: nsa_kernel! builds with it"));
        }
        let system = match &self.installed {
            Some(config) => format!("nsa's feature `system-llvm` builds with it, for {config} is there"),
            None => format!("with LLVM {major} installed, nsa's feature `system-llvm` builds with it"),
        };
        let advice = format!(
            "nsa_kernel! needs a toolchain that ships LLVM {major}: rustup toolchain install 1.95.0. {system}; prebuilt artifacts need no LLVM"
        );
        Finding::new("toolchain", State::Missing, found).advice(advice)
    }

    pub fn json(&self) -> Value {
        json!({
            "rustc": self.release,
            "llvm": self.llvm,
            "sysroot": self.sysroot,
            "library": self.library,
            "llvm_config": self.installed,
            "usable": self.usable(),
        })
    }
}

/// The LLVM library of the right version in a folder, as the compiler's build script looks for it.
fn library(folder: &Path) -> Option<PathBuf> {
    let prefix = format!("libLLVM-{}", llvm().version.0);
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let named = |file: &std::fs::DirEntry| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(".so")
    };
    files.filter(named).map(|file| file.path()).next()
}

/// NVIDIA's assembler.
pub struct Ptxas {
    path: PathBuf,
    version: String,
}

impl Ptxas {
    pub fn look() -> Option<Ptxas> {
        let path = assembler::find()?;
        let about = output(&path, &["--version"])?;
        let version = about.lines().find_map(|line| line.split(", V").nth(1)).unwrap_or("unknown").to_string();
        Some(Ptxas { path, version })
    }

    pub fn finding(found: Option<&Ptxas>) -> Finding {
        match found {
            Some(ptxas) => Finding::new("ptxas", State::Good, format!("{} in {}", ptxas.version, ptxas.path.display())),
            None => {
                let advice =
                    "nothing to do, the driver has its own; nsa explain asks one in PATH or NSA_PTXAS for registers";
                Finding::new("ptxas", State::Missing, "not found").advice(advice)
            }
        }
    }

    pub fn json(&self) -> Value {
        json!({"path": self.path, "version": self.version})
    }
}

/// The folder where programs are kept that were compiled at run time.
pub struct Folder {
    path: PathBuf,
    usage: Result<Usage, String>,
    /// What is in the way of writing.
    unwritable: Option<String>,
}

impl Folder {
    pub fn look() -> Option<Folder> {
        let cache = Cache::default();
        let path = cache.folder()?.to_path_buf();
        let usage = cache.usage().map_err(|e| e.to_string());
        Some(Folder { path, usage, unwritable: cache.writable().err().map(|e| e.to_string()) })
    }

    pub fn finding(found: Option<&Folder>) -> Finding {
        let elsewhere = format!("{VARIABLE}=FOLDER names another");
        let Some(Folder { path, usage, unwritable }) = found else {
            let found = "none: programs that are compiled at run time are compiled in each process anew";
            let why = match std::env::var(VARIABLE) {
                Ok(value) => format!("{VARIABLE}={value} switches it off"),
                Err(_) => "there is no home folder".to_string(),
            };
            return Finding::new("cache", State::Missing, found).advice(format!("{why}; {elsewhere}"));
        };
        match (usage, unwritable) {
            (Ok(usage), None) => {
                let found = format!("{}: {} programs, {}", path.display(), usage.entries, binary(usage.bytes));
                Finding::new("cache", State::Good, found)
            }
            (Err(reason), _) | (Ok(_), Some(reason)) => {
                let found = format!("{} cannot be used: {reason}", path.display());
                Finding::new("cache", State::Wrong, found).advice(format!(
                    "make it writable; {elsewhere}. Until then programs are compiled in each process anew"
                ))
            }
        }
    }

    pub fn json(&self) -> Value {
        let usage = self.usage.as_ref().ok();
        json!({
            "folder": self.path,
            "entries": usage.map(|u| u.entries),
            "bytes": usage.map(|u| u.bytes),
            "writable": self.unwritable.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let sizes = [0, 1023, 1024, 227 << 10, 1536, 40 << 20, 80 << 30].map(binary);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1 KiB", "227 KiB", "1.5 KiB", "40 MiB", "80 GiB"]);
    }

    #[test]
    fn versions_of_targets() {
        let versions = [Target::Sm80, Target::Sm90a].map(|t| ptx_version(t).expect("a GPU").to_string());
        assert_eq!(versions, ["7.1", "8.0"]);
        assert_eq!(ptx_version(Target::X86_64), None);
    }

    #[test]
    fn another_toolchain_is_no_dead_end() {
        let other = Toolchain {
            release: "1.85.0".into(),
            llvm: "19.1.7".into(),
            sysroot: "/toolchain".into(),
            library: library(Path::new("/nowhere")),
            installed: None,
        };
        let finding = other.finding();
        assert!(finding.state == State::Missing && finding.found == "rustc 1.85.0, LLVM 19.1.7, in /toolchain");
        let advice = finding.advice.expect("something to do");
        for part in ["rustup toolchain install 1.95.0", "`system-llvm`", "prebuilt"] {
            assert!(advice.contains(part), "{part:?} in {advice}");
        }
    }

    #[test]
    fn caches_in_any_state() {
        let folder = |usage, unwritable| Folder { path: "/folder".into(), usage, unwritable };
        let good = Folder::finding(Some(&folder(Ok(Usage { entries: 3, bytes: 2048 }), None)));
        assert!(good.state == State::Good && good.found == "/folder: 3 programs, 2 KiB");
        let read_only = Folder::finding(Some(&folder(Ok(Usage::default()), Some("read-only file system".into()))));
        assert!(read_only.state == State::Wrong && read_only.found.ends_with("read-only file system"));
        assert!(Folder::finding(None).advice.is_some_and(|advice| advice.contains("NSA_CACHE=FOLDER")));
    }
}
