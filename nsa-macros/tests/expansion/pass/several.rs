//! Two programs of one name in modules of their own, with other sizes; a name for the module from the kernel.

mod a {
    nsa::nsa_kernel!(pub mod program = { kernel total(x: f32[t, d = 4]) -> y: f32[t] { sum[d] x } }, targets = ["host"]);
}
mod b {
    nsa::nsa_kernel!(
        pub mod program = { kernel total(x: f32[t, d = 4]) -> y: f32[t] { sum[d] x } },
        targets = ["host"],
        set(d = 2),
        element = "f16",
    );
}
nsa::nsa_kernel! {
    kernel shifted(x: f32[t]) -> y: f32[t] { x + 1 }
}

fn main() -> Result<(), nsa::Error> {
    use nsa::{Device, Stream, View};
    let x = [1.0f32, 2.0, 3.0, 4.0];
    let (mut y, mut pairs, mut more) = ([0.0f32; 1], [0.0f32; 2], [0.0f32; 4]);
    let device = Device::host();
    let args = a::program::Args { x: View::host(&x, &[1, 4]), y: View::host_mut(&mut y, &[1]) };
    a::program::load(&device)?.plan(&a::program::Shape::new(1))?.launch(Stream::Host, &args)?;
    drop(args);
    let args = b::program::Args { x: View::host(&x, &[2, 2]), y: View::host_mut(&mut pairs, &[2]) };
    b::program::load(&device)?.plan(&b::program::Shape::new(2))?.launch(Stream::Host, &args)?;
    drop(args);
    let args = shifted::Args { x: View::host(&x, &[4]), y: View::host_mut(&mut more, &[4]) };
    shifted::load(&device)?.plan(&shifted::Shape::new(4))?.launch(Stream::Host, &args)?;
    drop(args);
    assert_eq!((y, pairs, more), ([10.0], [3.0, 7.0], [2.0, 3.0, 4.0, 5.0]));
    Ok(())
}
