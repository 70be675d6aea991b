//! Launches of hand-made programs on the host.

use crate::testing::{compress_artifact, compress_manifest, gather, spread};
use crate::*;

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

fn kernel() -> Kernel {
    // SAFETY: the symbols are those of the manifest.
    unsafe { Kernel::load_host(&compress_artifact(), &Device::host(), &symbols()) }.expect("loads")
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
    run(&[0, 15, 8, 0, 200, 3]);
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
fn wrong_arguments_are_sentences() {
    let mut plan = kernel().plan(&Shape::new().with("s", 21)).expect("fits");
    let x = numbers(100);
    let halves = vec![half::f16::ZERO; 100];
    let mut refuse = |name: &str, view: View<'_>| {
        let mut y = [0f32; 12];
        let good = View::host_mut(&mut y, &[4, 3]);
        let other = if name == "y" { ("x", &View::host(&x, &[21, 3])) } else { ("y", &good) };
        plan.launch(Stream::Host, &[(name, &view), other]).expect_err("must be refused").to_string()
    };
    assert_eq!(refuse("q", View::host(&x, &[21, 3])), "there is no argument `q`; `compress` has x, y");
    assert_eq!(
        refuse("y", View::host(&x, &[4, 3])),
        "`y`: it is a result, but the view is read-only: use host_mut or cuda_mut"
    );
    assert_eq!(refuse("x", View::host(&halves, &[21, 3])), "`x` must be f32, but is f16");
    assert_eq!(refuse("x", View::host(&x, &[20, 3])), "`x`: expected [s = 21, d = 3], but it is [20, 3]");
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[3, 2])),
        "`x`: the last axis `d` must be contiguous, but its stride is 2"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[5, 1])),
        "`x`: its shape and strides need 103 elements, there are 100"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[-3, 1])),
        "`x`: its strides reach before its first element"
    );
    assert_eq!(refuse("x", View::host(&x, &[21, 3]).strides(&[3])), "`x`: the view has 2 axes and 1 strides");
    assert_eq!(
        refuse("x", View::host(&x, &[1; 9])),
        "`x`: expected [s = 21, d = 3], but it is [1, 1, 1, 1, 1, 1, 1, 1]"
    );
    let mut z = [0f32; 12];
    assert_eq!(
        refuse("y", View::host_mut(&mut z, &[4, 3]).strides(&[0, 1])),
        "`y`: a result cannot have stride 0, as axis `i` has"
    );
    // SAFETY: refused before anything is read.
    let foreign = unsafe { View::device_address(0x1000, DType::F32, &[21, 3], 0) };
    assert_eq!(refuse("x", foreign), "`x`: it is in memory of cuda:0, but must be in host memory");

    let view = View::host(&x, &[21, 3]);
    let sentence = |r: Result<(), Error>| r.expect_err("must be refused").to_string();
    assert_eq!(sentence(plan.launch(Stream::Host, &[("x", &view)])), "argument `y` is missing");
    assert_eq!(sentence(plan.launch(Stream::Host, &[("x", &view), ("x", &view)])), "argument `x` is given twice");
}

#[test]
fn alignment_is_checked() {
    let mut manifest = compress_manifest();
    for variant in manifest.targets.iter_mut().flat_map(|t| &mut t.variants) {
        variant.buffers[0].align = 16;
    }
    let artifact = Artifact::new(manifest, [("code.s", b"".as_slice())]).expect("consistent");
    // SAFETY: the symbols are those of the manifest.
    let kernel = unsafe { Kernel::load_host(&artifact, &Device::host(), &symbols()) }.expect("loads");
    let mut plan = kernel.plan(&Shape::new().with("s", 4)).expect("fits");
    let x = numbers(100);
    let at = x.as_ptr().align_offset(16);
    let mut refuse = |offset: usize, stride: i64| {
        let view = View::host(&x[at + offset..], &[4, 3]).strides(&[stride, 1]);
        let y = View::host_mut::<f32>(&mut [], &[0, 3]);
        plan.launch(Stream::Host, &[("x", &view), ("y", &y)]).err().map(|e| e.to_string())
    };
    assert_eq!(refuse(0, 4), None);
    assert_eq!(refuse(0, 3).as_deref(), Some("`x`: the stride of axis `s` is 3 elements, it must be a multiple of 4"));
    let sentence = refuse(1, 4).expect("refused");
    assert!(sentence.ends_with("must be a multiple of 16 bytes"), "{sentence}");
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
