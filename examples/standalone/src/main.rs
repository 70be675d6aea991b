//! Sliding window attention in a crate of its own.
//!
//! `cargo run` in this folder: on the host. `cargo run -- cuda:0`: the same kernels on a GPU.

use nsa::{Device, Stream, View};
use std::error::Error;

nsa::nsa_kernel! {
    /// Each query sees the last `WINDOW` keys, its own included.
    const WINDOW = 8;
    kernel window(q: f32[t, d = 32], k: f32[s, d], v: f32[s, e = 16]) -> o: f32[t, e] {
        attend(q, k, v, window(s, pos(t), WINDOW))
    }
}

/// Width of queries and keys, width of values, and how many keys a query sees.
const SIZES: [usize; 3] = [32, 16, 8];

fn main() -> Result<(), Box<dyn Error>> {
    let device: Device = std::env::args().nth(1).as_deref().unwrap_or("host").parse()?;
    // Two sequences, one behind the other.
    let lengths = [20, 5];
    let error = largest_error(&device, &lengths)?;
    println!("window attention over sequences of {lengths:?} on {device}: largest error {error:.1e}");
    assert!(error < 1e-5, "f32 rounds to seven digits");
    Ok(())
}

/// Runs the kernel over sequences of these lengths; the largest difference from the formula.
fn largest_error(device: &Device, lengths: &[usize]) -> Result<f64, Box<dyn Error>> {
    let [d, e, _] = SIZES;
    let total: usize = lengths.iter().sum();
    let [q, k, v] = [(1, d), (2, d), (3, e)].map(|(seed, width)| numbers(total * width, seed));
    let mut o = vec![f32::NAN; total * e];
    let mut plan = window::load(device)?.plan(&window::Shape::new(lengths, lengths))?;
    match device.context() {
        None => {
            let args = window::Args {
                q: View::host(&q, &[total, d]),
                k: View::host(&k, &[total, d]),
                v: View::host(&v, &[total, e]),
                o: View::host_mut(&mut o, &[total, e]),
            };
            plan.launch(Stream::Host, &args)?;
        }
        Some(context) => {
            let stream = context.default_stream();
            let (q, k, v) = (stream.clone_htod(&q)?, stream.clone_htod(&k)?, stream.clone_htod(&v)?);
            let mut on_device = stream.alloc_zeros::<f32>(o.len())?;
            let args = window::Args {
                q: View::cuda(&q, &[total, d], &stream),
                k: View::cuda(&k, &[total, d], &stream),
                v: View::cuda(&v, &[total, e], &stream),
                o: View::cuda_mut(&mut on_device, &[total, e], &stream),
            };
            plan.launch(&stream, &args)?;
            drop(args);
            stream.memcpy_dtoh(&on_device, &mut o)?;
        }
    }
    let expected = formula(lengths, &q, &k, &v);
    Ok(o.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max))
}

/// What the kernel computes, in double precision: softmax(q k / sqrt(d)) v over the last keys.
fn formula(lengths: &[usize], q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let [d, e, window] = SIZES;
    let row = |x: &[f32], n: usize, width: usize| -> Vec<f64> {
        x[n * width..][..width].iter().map(|x| f64::from(*x)).collect()
    };
    let mut o = vec![];
    let mut start = 0;
    for length in lengths {
        for t in 0..*length {
            let query = row(q, start + t, d);
            let keys = (t + 1).saturating_sub(window)..=t;
            let weight = |s: usize| {
                let score: f64 = query.iter().zip(row(k, start + s, d)).map(|(q, k)| q * k).sum();
                (score / (d as f64).sqrt()).exp()
            };
            let sum: f64 = keys.clone().map(weight).sum();
            let value = |j: usize| keys.clone().map(|s| weight(s) / sum * row(v, start + s, e)[j]).sum::<f64>();
            o.extend((0..e).map(value));
        }
        start += length;
    }
    o
}

/// Numbers in (-1, 1) that look random.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as f64 / (1u64 << 30) as f64 - 1.0) as f32
    };
    (0..count).map(|_| next()).collect()
}
