//! Which compiler this is, and whose LLVM it uses.

use std::fmt;

/// The LLVM that this compiler links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Llvm {
    /// Its version, as (major, minor, patch).
    pub version: (u32, u32, u32),
    /// The folder of its libraries when this was built.
    pub folder: &'static str,
    /// True if it is part of this program; false if it is a shared library, the Rust toolchain's.
    pub embedded: bool,
}

impl fmt::Display for Llvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "LLVM {major}.{minor}.{patch}")
    }
}

/// The LLVM that is linked.
pub fn llvm() -> Llvm {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: writes three numbers.
    unsafe { llvm_sys::core::LLVMGetVersion(&mut major, &mut minor, &mut patch) };
    // The build script writes `shared:FOLDER` or `static:FOLDER`.
    let (kind, folder) = env!("NSA_LLVM").split_once(':').unwrap_or_default();
    Llvm { version: (major, minor, patch), folder, embedded: kind == "static" }
}

/// The Rust compiler that built this one, in its own words: `rustc 1.95.0 (...)`.
pub fn rustc() -> &'static str {
    env!("NSA_RUSTC")
}

/// A line that differs between compilers that may make different code: version, sources, LLVM.
pub fn compiler() -> String {
    format!("nsa {} ({}), {}", env!("CARGO_PKG_VERSION"), env!("NSA_SOURCES"), llvm())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_knows_itself() {
        let llvm = llvm();
        assert_eq!(llvm.version.0, 22, "what inkwell is built for");
        assert!(std::path::Path::new(llvm.folder).is_dir(), "{llvm:?}");
        assert!(rustc().starts_with("rustc 1."), "{}", rustc());
        assert!(compiler().contains(env!("CARGO_PKG_VERSION")) && compiler().ends_with(&llvm.to_string()));
    }
}
