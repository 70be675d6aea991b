//! A program that was compiled beforehand, in a crate that builds without LLVM, with other toolchains too.
//!
//! The artifact is made by `nsa build`, from the repository's root:
//!
//! ```sh
//! cargo run --release -- build examples/window.nsa --set g=1 r=2 d=32 e=32 WINDOW=8 --element f32 -o examples/prebuilt/window.nsak
//! ```

use nsa::{Device, Error, Stream, View};

// Types and checks are the same as for a program that is compiled here; sizes come from the file.
nsa::nsa_kernel!(mod window = prebuilt "window.nsak");

fn main() -> Result<(), Error> {
    let device = Device::host();
    let (tokens, shape) = (20, window::Shape::new(20, 20));
    let q: Vec<f32> = (0..tokens * 2 * 32).map(|n| (n % 7) as f32 / 7.0).collect();
    let k: Vec<f32> = (0..tokens * 32).map(|n| (n % 5) as f32 / 5.0).collect();
    // Where all values are equal, every mixture of them is that value.
    let v = vec![0.75f32; tokens * 32];
    let mut o = vec![f32::NAN; tokens * 2 * 32];
    let args = window::Args {
        q: View::host(&q, &[tokens, 1, 2, 32]),
        k: View::host(&k, &[tokens, 1, 32]),
        v: View::host(&v, &[tokens, 1, 32]),
        o: View::host_mut(&mut o, &[tokens, 1, 2, 32]),
    };
    window::load(&device)?.plan(&shape)?.launch(Stream::Host, &args)?;
    drop(args);
    let error = o.iter().map(|x| (x - 0.75).abs()).fold(0.0, f32::max);
    println!("prebuilt window attention on {device}: largest error {error:.1e}");
    assert!(error < 1e-5, "f32 rounds to seven digits");
    Ok(())
}
