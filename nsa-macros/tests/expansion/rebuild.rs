//! Editing a program's file rebuilds the crate that embeds it.

use super::user::Crate;

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

#[test]
fn editing_a_program_rebuilds() {
    let user = Crate::new("rebuild");
    user.write("src/main.rs", MAIN);
    user.fails(&["error: ", "programs/line.nsa", "paths are relative to the folder of Cargo.toml", "src/main.rs:4:32"]);
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] { 2 * x }");
    user.prints("[2.0, 4.0, 6.0]");
    user.write("programs/line.nsa", "const AT_0 = 0.5;\nkernel line(x: f32[t]) -> y: f32[t] { 2 * x + AT_0 }");
    user.prints("[2.5, 4.5, 6.5]");
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] {\n    2 * x + AT_0\n}");
    user.fails(&["there is no tensor, axis or constant `AT_0` here", "programs/line.nsa:2:13", "2 * x + AT_0", "^^^^"]);
    user.write("programs/line.nsa", "kernel line(x: f32[t]) -> y: f32[t] { x }");
    user.prints("[1.0, 2.0, 3.0]");
}
