//! Offsets beyond 2^31 elements: tensors whose rows, or whose heads, lie a terabyte apart.

use super::device::Compiled;
use super::programs::{GPU_TARGETS, arguments, example, gpu, small_nsa};
use nsa_codegen::{Options, lower};
use nsa_dsl::compile_source;

/// Where rows lie makes no difference to any bit of any result or workspace, for few queries and for many. All kernels of NSA: pooled
/// keys, lists, listed blocks, windows, merged chunks.
#[test]
fn tensors_of_more_than_2_to_the_31_elements() {
    let program = compile_source("nsa.nsa", &example("nsa"), &small_nsa(2)).unwrap_or_else(|e| panic!("{e}"));
    for target in GPU_TARGETS {
        for variant in lower(&program, target, &Options::default()).expect("plans").variants {
            let lengths: [(&str, &[i64]); 2] = match variant.when.is_empty() {
                true => [("t", &[3, 37]), ("s", &[3, 37])],
                false => [("t", &[1, 1]), ("s", &[3, 70])],
            };
            let compiled = Compiled::new(&variant.plan, gpu(target));
            let arrays = arguments(&program, &lengths, 3);
            let near = compiled.run(&lengths, &arrays, &[1]);
            assert!(near["o"].iter().all(|x| x.is_finite()) && near["o"].iter().any(|x| *x != 0.0));
            for far in [0, 1] {
                let found = compiled.run_far(&lengths, &arrays, &[1], far);
                for (name, values) in &near {
                    let same = values.iter().zip(&found[name]).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{target}, {}: {name} with axis {far} far apart", variant.label);
                }
            }
        }
    }
}
