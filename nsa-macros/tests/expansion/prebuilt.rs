//! Artifacts that were compiled beforehand: embedded, checked, and read again when they change.

use super::user::Crate;
use nsa_artifact::{Artifact, Code, Target};
use nsa_codegen::Options;

const MAIN: &str = r#"
mod a {
    nsa::nsa_kernel!(prebuilt = "programs/line.nsak");
    pub fn run() -> Result<(), nsa::Error> { super::run(|d| Ok(line::load(d)?.untyped().clone())) }
}
mod b {
    use nsa::{Device, Stream, View};
    nsa::nsa_kernel!(pub mod same = prebuilt "programs/line.nsak", targets = ["host"]);
    pub fn run() -> Result<(), nsa::Error> {
        let (x, mut y) = ([1.0f32, 2.0, 3.0], [0.0f32; 3]);
        let args = same::Args { x: View::host(&x, &[3]), y: View::host_mut(&mut y, &[3]) };
        same::load(&Device::host())?.plan(&same::Shape::new(3))?.launch(Stream::Host, &args)?;
        drop(args);
        println!("{y:?}");
        Ok(())
    }
}
fn run(load: impl Fn(&nsa::Device) -> Result<nsa::Kernel, nsa::Error>) -> Result<(), nsa::Error> {
    use nsa::{Shape, Stream, View};
    let (x, mut y) = ([5.0f32], [0.0f32]);
    let mut plan = load(&nsa::Device::host())?.plan(&Shape::new().with("t", 1))?;
    plan.launch(Stream::Host, &[("x", &View::host(&x, &[1])), ("y", &View::host_mut(&mut y, &[1]))])?;
    println!("{y:?}");
    Ok(())
}
fn main() -> Result<(), nsa::Error> {
    a::run()?;
    b::run()
}
"#;

fn build(source: &str, targets: &[Target]) -> Artifact {
    let program = nsa_dsl::compile_source("line.nsa", source, &nsa_dsl::Settings::default()).expect("a program");
    let options = Options { targets: targets.to_vec(), ..Options::default() };
    nsa_codegen::compile(&program, &options).expect("compiles").artifact
}

#[test]
fn prebuilt_programs() {
    let host = Target::this_host().expect("a host that there is code for");
    let both = [Target::Sm80, host];
    let user = Crate::new("prebuilt");
    user.write("src/main.rs", MAIN);
    let at = ["src/main.rs:3:33", "src/main.rs:8:46"];
    user.fails(&[&["programs/line.nsak: ", "paths are relative to the folder of Cargo.toml"][..], &at].concat());

    // One file twice in one program, and under two names: symbols do not meet.
    let twice = build("kernel line(x: f32[t]) -> y: f32[t] { 2 * x }", &both);
    user.write_bytes("programs/line.nsak", &twice.to_bytes());
    user.prints("[10.0]\n[2.0, 4.0, 6.0]");
    // Another file rebuilds.
    let thrice = build("kernel line(x: f32[t]) -> y: f32[t] { 3 * x }", &both);
    user.write_bytes("programs/line.nsak", &thrice.to_bytes());
    user.prints("[15.0]\n[3.0, 6.0, 9.0]");

    let refused = |bytes: &[u8], expected: &str| {
        user.write_bytes("programs/line.nsak", bytes);
        user.fails(&[&["programs/line.nsak", expected][..], &at].concat());
    };
    let whole = twice.to_bytes();
    refused(b"kernel line", "this is not an nsa artifact; artifacts are written by `nsa build PROGRAM -o FILE`");
    refused(&whole[..whole.len() - 1], "its checksum does not fit its content; write it once more with `nsa build`");
    let mut later = whole.clone();
    later[8] = 2;
    refused(&later, "the artifact has format 2, this version reads format 1");

    // Code that lacks a kernel would only be found by the linker, without saying whose it is.
    let without_code = twice.payloads().map(|(name, _)| (name.to_string(), b"\t.text\n".to_vec()));
    let hollow = Artifact::new(twice.manifest().clone(), without_code).expect("consistent");
    refused(&hollow.to_bytes(), "the code of kernel `y` for ");
    // A name that Rust has no identifier for.
    let mut manifest = twice.manifest().clone();
    let rename = |name: &mut String| *name = "a b".into();
    rename(&mut manifest.signature[0].name);
    for variant in manifest.targets.iter_mut().flat_map(|t| &mut t.variants) {
        let buffer = variant.buffers.iter_mut().find(|b| b.name == "x").expect("the argument");
        rename(&mut buffer.name);
    }
    let payloads = twice.payloads().map(|(name, content)| (name.to_string(), content.to_vec()));
    let odd = Artifact::new(manifest, payloads).expect("consistent");
    refused(&odd.to_bytes(), "\"a b\" is no name for an argument or an axis");

    // A target that is not in the file: at the target.
    user.write_bytes(
        "programs/line.nsak",
        &build("kernel line(x: f32[t]) -> y: f32[t] { x }", &[Target::Sm80]).to_bytes(),
    );
    let name = host.name();
    user.fails(&[
        &format!("programs/line.nsak has no code for {name}, only for sm_80: write it anew with `nsa build --targets sm_80,{name}`"),
        "src/main.rs:8:79",
    ]);
}

/// Host code in the artifact has the symbols that its manifest says, in the form that the macro renames.
#[test]
fn symbols_of_artifacts() {
    let host = Target::this_host().expect("a host that there is code for");
    let artifact = build("kernel line(x: f32[t]) -> y: f32[t] { 2 * x }", &[host]);
    let variant = &artifact.manifest().targets[0].variants[0];
    let Code::Host { payload, prefix, .. } = &variant.code else { panic!("host code") };
    let text = artifact.text(payload).expect("text");
    assert!(text.lines().any(|line| line.starts_with(&format!("{prefix}_y_")) && line.ends_with(':')));
}
