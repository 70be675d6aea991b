//! Sliding window attention in a program of one's own: compiled while this is compiled, run on the host, checked against the formula.
//!
//! `cargo run -p nsa-example-embed`

mod formula;

use nsa::half::bf16;
use nsa::{Device, Error, Stream, View};

// The program is a file beside this crate; its sizes are set here, and in `formula` once more.
nsa::nsa_kernel!(mod window = "../window.nsa", targets = ["sm_80", "host"], set(g = 2, r = 3, d = 32, e = 64, WINDOW = 20));

// Or it stands right here.
nsa::nsa_kernel! {
    kernel scaled_sum(x[t, d = 64], y[t, d]) -> z: f32[t, d] {
        2 * x + y
    }
}

fn main() -> Result<(), Error> {
    let device = Device::host();
    println!("window attention on {device}: relative error {:.1e}", window_error(&device, &[100])?);
    println!("a packed batch with an empty sequence: {:.1e}", window_error(&device, &[31, 0, 64, 5])?);
    println!("2 x + y: largest error {:.1e}", sum_error(&device)?);
    Ok(())
}

/// Runs window attention over sequences of these lengths; the relative error against the formula.
fn window_error(device: &Device, lengths: &[usize]) -> Result<f64, Error> {
    use formula::{D, E, G, R};
    let total: usize = lengths.iter().sum();
    let (q, k, v) = (numbers(total * G * R * D, 1), numbers(total * G * D, 2), numbers(total * G * E, 3));
    let mut o = vec![bf16::NAN; total * G * R * E];

    let kernel = window::load(device)?;
    let mut plan = kernel.plan(&window::Shape::new(lengths, lengths))?;
    let args = window::Args {
        q: View::host(&q, &[total, G, R, D]),
        k: View::host(&k, &[total, G, D]),
        v: View::host(&v, &[total, G, E]),
        o: View::host_mut(&mut o, &[total, G, R, E]),
    };
    plan.launch(Stream::Host, &args)?;
    drop(args);

    let expected = formula::window_attention(lengths, &q, &k, &v);
    let square = |x: f64| x * x;
    let error: f64 = o.iter().zip(&expected).map(|(a, b)| square(a.to_f64() - b)).sum();
    Ok((error / expected.iter().map(|b| square(*b)).sum::<f64>()).sqrt())
}

/// Runs the small program; the largest absolute error.
fn sum_error(device: &Device) -> Result<f64, Error> {
    let (x, y) = (numbers(10 * 64, 4), numbers(10 * 64, 5));
    let mut z = vec![f32::NAN; 10 * 64];
    let mut plan = scaled_sum::load(device)?.plan(&scaled_sum::Shape::new(10))?;
    plan.launch(
        Stream::Host,
        &scaled_sum::Args {
            x: View::host(&x, &[10, 64]),
            y: View::host(&y, &[10, 64]),
            z: View::host_mut(&mut z, &[10, 64]),
        },
    )?;
    let error = |(z, (x, y)): (&f32, (&bf16, &bf16))| (f64::from(*z) - (2.0 * x.to_f64() + y.to_f64())).abs();
    Ok(z.iter().zip(x.iter().zip(&y)).map(error).fold(0.0, f64::max))
}

/// Numbers in (-1, 1) that look random.
fn numbers(count: usize, seed: u64) -> Vec<bf16> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bf16::from_f64((state >> 33) as f64 / (1u64 << 30) as f64 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsa::HostIsa;

    /// Every instruction set of this machine, each of them against the formula.
    #[test]
    fn kernels_follow_the_formula() {
        for limit in HostIsa::ALL {
            // A limit of another architecture is none.
            let device = Device::host_with(limit);
            for lengths in [&[1][..], &[100], &[31, 0, 64, 5]] {
                let error = window_error(&device, lengths).expect("runs");
                assert!(error < 5e-3, "{device}, {lengths:?}: {error}");
            }
            assert_eq!(sum_error(&device).expect("runs"), 0.0, "sums of bf16 are exact in f32");
        }
    }

    #[test]
    fn the_ptx_is_embedded() {
        let artifact = window::PROGRAM.artifact().expect("readable");
        let code = artifact.manifest().target(nsa::Target::Sm80).expect("was asked for");
        for variant in &code.variants {
            let ptx = artifact.text(variant.code.payload()).expect("text");
            for kernel in &variant.kernels {
                assert!(ptx.contains(&format!(".entry {}(", kernel.name)), "{} in the PTX", kernel.name);
            }
        }
    }
}
