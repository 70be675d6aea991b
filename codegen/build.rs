//! Links the LLVM that the Rust toolchain itself ships, so that building needs no LLVM installation.
use std::path::{Path, PathBuf};
use std::process::Command;

/// The LLVM that `inkwell` and `llvm-sys` are built for in this workspace.
const LLVM_MAJOR: &str = "22";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    let lib = sysroot().join("lib");
    let Some(name) = llvm_library(&lib) else {
        fail(&format!(
            "no libLLVM-{LLVM_MAJOR} in {}: build with the toolchain pinned in rust-toolchain.toml (rustup toolchain install 1.95.0)",
            lib.display()
        ));
    };
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib={name}");
    // Only this package's own tests see a link argument; the metadata lets binaries that depend on it set theirs.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:lib={}", lib.display());
}

fn sysroot() -> PathBuf {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    match Command::new(&rustc).args(["--print", "sysroot"]).output() {
        Ok(out) if out.status.success() => PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()),
        _ => fail(&format!("cannot ask {rustc} for its sysroot")),
    }
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

fn fail(sentence: &str) -> ! {
    // Cargo shows what follows `cargo::error=` without the noise of a panic.
    println!("cargo::error=nsa: {sentence}");
    std::process::exit(1)
}
