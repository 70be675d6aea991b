//! Arguments that do not fit: every refusal is a sentence with the argument's name, and nothing is copied to make it fit.

use super::{kernel, numbers, symbols};
use crate::testing::compress_manifest;
use crate::*;

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
        "`y`: it is a result, but the view is read-only: make it with host_mut or cuda_mut"
    );
    assert_eq!(
        refuse("x", View::host(&halves, &[21, 3])),
        "`x` must be f32, but is f16: convert it first, or declare `x: f16[s, d]` in the program"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[20, 3])),
        "`x`: it must be [s = 21, d = 3], but is [20, 3]: the plan has 21 for axis `s`, the view 20"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[3, 2])),
        "`x`: its last axis `d` must be contiguous, but has stride 2: make a row-major copy first, launches copy nothing"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[5, 1])),
        "`x`: its shape and strides need 103 elements, there are 100"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[-3, 1])),
        "`x`: its strides reach before its first element"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[21, 3]).strides(&[3])),
        "`x`: the view has 2 axes and 1 stride: give one stride per axis"
    );
    assert_eq!(refuse("x", View::host(&x, &[1; 9])), "`x`: it has 9 axes, but must have 2 axes: [s = 21, d = 3]");
    let mut z = [0f32; 12];
    assert_eq!(
        refuse("y", View::host_mut(&mut z, &[4, 3]).strides(&[0, 1])),
        "`y`: a result cannot have stride 0, as axis `i` has: its elements must be apart"
    );
    assert_eq!(
        refuse("y", View::host_mut(&mut z, &[4, 3]).strides(&[2, 1])),
        "`y`: a result's elements must be apart, but with its strides values of axis `i` lie on others"
    );
    assert_eq!(
        refuse("x", View::host(&x, &[3, 21])),
        "`x`: it must be [s = 21, d = 3], but is [3, 21]: the same extents in another order; its axes must be s, d"
    );
    // SAFETY: refused before anything is read.
    let foreign = unsafe { View::device_address(0x1000, DType::F32, &[21, 3], 0) };
    assert_eq!(
        refuse("x", foreign),
        "`x`: it is in memory of cuda:0, but the plan needs it in host memory: copy it there first"
    );

    let mut memory = numbers(100);
    let address = memory.as_mut_ptr();
    // SAFETY: refused before anything is read.
    let both = |shape: &[usize]| unsafe { View::host_address(address.cast(), DType::F32, shape) };
    let shared =
        plan.launch(Stream::Host, &[("x", &both(&[21, 3])), ("y", &both(&[4, 3]))]).expect_err("must be refused");
    assert_eq!(shared.to_string(), "`y`: it is a result, but begins where `x` does: give it memory of its own");

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
    assert_eq!(
        refuse(0, 3).as_deref(),
        Some("`x`: the stride of axis `s` is 3 elements, it must be a multiple of 4: pad its rows, or copy it first")
    );
    let sentence = refuse(1, 4).expect("refused");
    assert!(
        sentence.ends_with("no multiple of 16 bytes: begin it there, or copy it to memory that is aligned so"),
        "{sentence}"
    );
}

/// Products that leave 64 bits, extents at the edges of integer types: refused, never wrapped around.
#[test]
fn enormous_views_are_sentences() {
    let mut plan = kernel().plan(&Shape::new().with("s", 21)).expect("fits");
    let x = numbers(63);
    let mut y = [0f32; 12];
    let y = View::host_mut(&mut y, &[4, 3]);
    for extent in [1 << 31, 1 << 32, (1 << 62) + 1, usize::MAX / 4, usize::MAX] {
        for shape in [[21, extent], [extent, 3], [extent, extent]] {
            let text = plan.launch(Stream::Host, &[("x", &View::host(&x, &shape)), ("y", &y)]).expect_err("too large");
            assert!(text.to_string().starts_with("`x`: it must be [s = 21, d = 3], but is ["), "{text}");
        }
    }
    for stride in [i64::MAX, i64::MIN, i64::MAX / 20, 1 << 40] {
        let view = View::host(&x, &[21, 3]).strides(&[stride, 1]);
        let text = plan.launch(Stream::Host, &[("x", &view), ("y", &y)]).expect_err("too far").to_string();
        assert!(text.contains("its shape and strides need") || text.contains("reach before its first"), "{text}");
    }
}

/// Lengths near the limits of what is addressed: an error of a sentence, not an allocation of terabytes.
#[test]
#[cfg_attr(miri, ignore = "Miri stops where an allocator would give nothing")]
fn enormous_shapes_are_sentences() {
    let kernel = kernel();
    let sentence = |lengths: Vec<usize>| match kernel.plan(&Shape::new().with("s", lengths)) {
        Ok(plan) => panic!("{} bytes of workspaces", plan.workspace_bytes()),
        Err(e) => e.to_string(),
    };
    let limit = i32::MAX as usize;
    assert_eq!(
        sentence(vec![limit + 1]),
        "shape of `compress`: axis `s` has length 2147483648; lengths are from 0 to 2147483647"
    );
    assert!(sentence(vec![usize::MAX]).contains("lengths are from 0 to 2147483647"));
    // The workspace has s by s / 4 by 3 elements of 4 bytes: 844 TB, and beyond 64 bits.
    assert!(sentence(vec![1 << 24]).starts_with("no memory for "), "{}", sentence(vec![1 << 24]));
    assert!(sentence(vec![limit]).starts_with("buffer `scratch` is too large: "), "{}", sentence(vec![limit]));
    assert!(sentence(vec![limit; 64]).contains("too large"), "{}", sentence(vec![limit; 64]));
}
