//! Launches of hand-made programs on the host.

mod arguments;
#[cfg(feature = "dlpack")]
mod dlpack;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(feature = "safetensors")]
mod safetensors;
mod threads;

use crate::testing::{compress_artifact, compress_manifest, gather, spread};
use crate::*;
use std::sync::OnceLock;

fn symbols() -> HostSymbols {
    let mut list: Vec<(String, HostEntry)> = Vec::new();
    for variant in ["few", "many"] {
        for isa in ["x86_64", "avx512", "aarch64"] {
            list.push((format!("{variant}_spread_{isa}"), spread));
            list.push((format!("{variant}_gather_{isa}"), gather));
        }
    }
    HostSymbols::new(list)
}

/// Loaded once: under Miri, reading the artifact takes longer than everything that is done with it.
fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    // SAFETY: the symbols are those of the manifest.
    KERNEL
        .get_or_init(|| unsafe { Kernel::load_host(&compress_artifact(), &Device::host(), &symbols()) }.expect("loads"))
}

/// The program of the tests, as a formula.
fn expected(lengths: &[usize], x: &[f32]) -> Vec<f32> {
    let (mut y, mut at) = (Vec::new(), 0);
    for &length in lengths {
        for i in 0..(length / 4).saturating_sub(1) {
            for d in 0..3 {
                y.push((at..at + length).map(|s| x[s * 3 + d] * i as f32).sum());
            }
        }
        at += length;
    }
    y
}

/// Small integers, so that sums are exact in any order.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|n| (n * 7 % 11) as f32 - 5.0).collect()
}

fn run(lengths: &[usize]) -> Vec<f32> {
    let mut plan = kernel().plan(&Shape::new().with("s", lengths)).expect("fits");
    let total: usize = lengths.iter().sum();
    let x = numbers(total * 3);
    let shape = plan.parameter("y").expect("exists").shape().to_vec();
    let mut y = vec![f32::NAN; shape.iter().product()];
    for poison in [0xff, 0x00, 0x7f] {
        plan.fill_workspaces(poison).expect("host");
        y.fill(f32::NAN);
        let (x, mut_y) = (View::host(&x, &[total, 3]), View::host_mut(&mut y, &shape));
        plan.launch(Stream::Host, &[("x", &x), ("y", &mut_y)]).expect("runs");
    }
    assert_eq!(y, expected(lengths, &x), "lengths {lengths:?}");
    y
}

#[test]
fn one_sequence_and_packed_batches() {
    assert_eq!(run(&[8]).len(), 3);
    run(&[21]);
    run(&[0, 15, 8, 0, if cfg!(miri) { 33 } else { 200 }, 3]);
    run(&[]);
    run(&[0, 0]);
    run(&[3]);
}

#[test]
fn variants_are_chosen_by_size() {
    let label =
        |lengths: &[usize]| kernel().plan(&Shape::new().with("s", lengths)).expect("fits").variant().label.clone();
    assert_eq!(label(&[4]), "few");
    assert_eq!(label(&[7, 5]), "few");
    assert_eq!(label(&[7, 8]), "many");
    assert_eq!(label(&[3]), "many");
}

#[test]
fn strides_are_followed() {
    let mut plan = kernel().plan(&Shape::new().with("s", 21)).expect("fits");
    let x = numbers(21 * 3);
    // Every row of 3 inside a row of 8, and results in every second row of a larger matrix.
    let mut wide = vec![f32::NAN; 21 * 8];
    for (to, from) in wide.chunks_mut(8).zip(x.chunks(3)) {
        to[2..5].copy_from_slice(from);
    }
    let mut y = [f32::NAN; 4 * 10];
    {
        let arguments = [
            ("y", &View::host_mut(&mut y[1..], &[4, 3]).strides(&[10, 1])),
            ("x", &View::host(&wide[2..], &[21, 3]).strides(&[8, 1])),
        ];
        plan.launch(Stream::Host, &arguments).expect("runs");
    }
    let expected = expected(&[21], &x);
    for (row, values) in y.chunks(10).enumerate() {
        assert_eq!(values[1..4], expected[row * 3..row * 3 + 3]);
        assert!(values[0].is_nan() && values[4..].iter().all(|v| v.is_nan()), "only results are written");
    }
}

#[test]
fn missing_code_is_a_sentence() {
    // SAFETY: nothing is loaded.
    let sentence = |artifact: &Artifact, symbols: &HostSymbols| unsafe {
        Kernel::load_host(artifact, &Device::host(), symbols).expect_err("must be refused").to_string()
    };
    let text = sentence(&compress_artifact(), &HostSymbols::default());
    assert!(text.starts_with("the host code of `compress` is not part of this process (symbol few_spread_"), "{text}");
    let mut manifest = compress_manifest();
    manifest.targets.clear();
    let artifact = Artifact::new(manifest, [("code.s", b"".as_slice())]).expect("consistent");
    let text = sentence(&artifact, &symbols());
    assert!(text.ends_with("it was compiled for nothing"), "{text}");
}
