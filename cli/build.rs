//! The command runs LLVM in its own process: its rpath must name the toolchain's library folder.
fn main() {
    if let Ok(lib) = std::env::var("DEP_NSA_LLVM_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
