//! Links LLVM: the one that the Rust toolchain itself ships, so that building needs no LLVM installation; or, with the feature
//! `system-llvm`, the static libraries of an installed LLVM, for other toolchains and for programs that travel.
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The LLVM that `inkwell` and `llvm-sys` are built for in this workspace.
const LLVM_MAJOR: &str = "22";
/// Names of another `llvm-config`.
const LLVM_CONFIG: [&str; 2] = ["NSA_LLVM_CONFIG", "LLVM_CONFIG"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    println!("cargo:rerun-if-env-changed=DOCS_RS");
    identity();
    if std::env::var_os("DOCS_RS").is_some() {
        // Documentation links nothing.
        println!("cargo:rustc-env=NSA_LLVM=shared:");
        return;
    }
    if std::env::var_os("CARGO_FEATURE_SYSTEM_LLVM").is_some() { installed() } else { toolchain() }
}

/// The toolchain's own LLVM, as a shared library.
fn toolchain() {
    let lib = sysroot().join("lib");
    let Some(name) = llvm_library(&lib) else {
        fail(&format!(
            "no libLLVM-{LLVM_MAJOR} in {}: build with the toolchain pinned in rust-toolchain.toml (rustup toolchain install 1.95.0), \
             or install LLVM {LLVM_MAJOR} and switch nsa's feature `system-llvm` on, \
             or embed prebuilt artifacts, which need no LLVM (default-features = false)",
            lib.display()
        ));
    };
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib={name}");
    // Only this package's own tests see a link argument; the metadata lets binaries that depend on it set theirs.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:lib={}", lib.display());
    println!("cargo:rustc-env=NSA_LLVM=shared:{}", lib.display());
}

/// `LLVM-22-rust-1.95.0-stable` for `libLLVM-22-rust-1.95.0-stable.so`.
fn llvm_library(lib: &Path) -> Option<String> {
    let prefix = format!("libLLVM-{LLVM_MAJOR}");
    std::fs::read_dir(lib).ok()?.filter_map(Result::ok).find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.strip_suffix(".so")?;
        stem.starts_with(&prefix).then(|| stem.trim_start_matches("lib").to_string())
    })
}

fn sysroot() -> PathBuf {
    match output(&rustc(), &["--print", "sysroot"]) {
        Some(text) => PathBuf::from(text),
        None => fail(&format!("cannot ask {} for its sysroot", rustc())),
    }
}

fn rustc() -> String {
    std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into())
}

/// An installed LLVM, as static libraries. Shared ones would meet the toolchain's inside the macro: both export the same symbols.
fn installed() {
    for variable in LLVM_CONFIG {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let config = llvm_config();
    let ask = |arguments: &[&str]| {
        output(&config, &[&["--link-static"], arguments].concat()).unwrap_or_else(|| {
            fail(&format!(
                "`{config} --link-static {}` fails: the static libraries of LLVM {LLVM_MAJOR} are missing ({PACKAGES})",
                arguments.join(" ")
            ))
        })
    };
    let lib = ask(&["--libdir"]);
    println!("cargo:rustc-link-search=native={lib}");
    for file in ask(&["--libnames"]).split_whitespace() {
        let name = file.trim_start_matches("lib").trim_end_matches(".a");
        // Not copied into this crate's own library, which would have to be written with every build.
        println!("cargo:rustc-link-lib=static:-bundle={name}");
    }
    for flag in ask(&["--system-libs"]).split_whitespace() {
        // Names, and paths of shared libraries.
        let path = Path::new(flag);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix("lib"));
        match (flag.strip_prefix("-l"), stem, path.parent()) {
            (Some(name), _, _) => println!("cargo:rustc-link-lib=dylib={name}"),
            (None, Some(name), Some(folder)) => {
                println!("cargo:rustc-link-search=native={}", folder.display());
                println!("cargo:rustc-link-lib=dylib={name}");
            }
            (None, _, _) => {}
        }
    }
    // LLVM's interpreter, which inkwell refers to, calls through libffi; `--system-libs` does not say so. Debian's llvm-22-dev brings it.
    println!("cargo:rustc-link-lib=dylib=ffi");
    println!("cargo:rustc-link-lib=dylib=stdc++");
    println!("cargo:rustc-env=NSA_LLVM=static:{lib}");
}

/// What to install.
const PACKAGES: &str = "on Debian: apt-get install llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev";

/// The `llvm-config` of an LLVM of the right version.
fn llvm_config() -> String {
    let named = LLVM_CONFIG.into_iter().find_map(|variable| std::env::var(variable).ok());
    let candidates = match &named {
        Some(path) => vec![path.clone()],
        None => {
            let folder = format!("/usr/lib/llvm-{LLVM_MAJOR}/bin/llvm-config");
            vec![format!("llvm-config-{LLVM_MAJOR}"), folder, "llvm-config".into()]
        }
    };
    let mut seen = String::new();
    for candidate in candidates {
        match output(&candidate, &["--version"]) {
            Some(version) if version.split('.').next() == Some(LLVM_MAJOR) => return candidate,
            Some(version) => seen = format!("; {candidate} is LLVM {version}"),
            None if named.is_some() => seen = format!("; {candidate} does not run"),
            None => {}
        }
    }
    fail(&format!(
        "feature `system-llvm`, but no llvm-config of LLVM {LLVM_MAJOR}{seen} \
         ({PACKAGES}; NSA_LLVM_CONFIG=PATH names another llvm-config)"
    ))
}

/// What tells this compiler from others of the same version: a hash of its sources. Caches of compiled programs are keyed by it.
fn identity() {
    println!("cargo:rerun-if-changed=src");
    let mut files = Vec::new();
    collect(Path::new("src"), &mut files);
    files.sort();
    // The hash is for one machine's cache: it need not be the same for all versions of Rust.
    let mut hash = DefaultHasher::new();
    for file in files {
        file.hash(&mut hash);
        std::fs::read(&file).unwrap_or_default().hash(&mut hash);
    }
    println!("cargo:rustc-env=NSA_SOURCES={:016x}", hash.finish());
    let version = output(&rustc(), &["--version"]).unwrap_or_default();
    println!("cargo:rustc-env=NSA_RUSTC={version}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Standard output of a command that succeeds.
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn fail(sentence: &str) -> ! {
    // Cargo shows what follows `cargo::error=` without the noise of a panic.
    println!("cargo::error=nsa: {sentence}");
    std::process::exit(1)
}
