//! A program between the macro's braces, run on the host.

use nsa::{Device, Stream, View};

nsa::nsa_kernel!(pub(crate) mod scaled = {
    const FACTOR = 3;
    kernel scaled(x: f32[t, d = 4], y: f32[t, d]) -> z: f32[t, d] {
        FACTOR * x + y
    }
}, targets = ["host"]);

fn main() -> Result<(), nsa::Error> {
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let y = vec![0.5f32; 12];
    let mut z = vec![f32::NAN; 12];
    let mut plan = scaled::load(&Device::host())?.plan(&scaled::Shape::new(3))?;
    let args = scaled::Args {
        x: View::host(&x, &[3, 4]),
        y: View::host(&y, &[3, 4]),
        z: View::host_mut(&mut z, &[3, 4]),
    };
    plan.launch(Stream::Host, &args)?;
    drop(args);
    assert!(z.iter().zip(&x).all(|(z, x)| *z == 3.0 * x + 0.5));
    Ok(())
}
