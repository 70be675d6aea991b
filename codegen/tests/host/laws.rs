//! What the optimiser's laws decide reaches the plan: without one, Native Sparse Attention gets other kernels and the same
//! numbers. (That every law changes the terms of some program is tested beside the laws.)

use super::programs::{check_without, small_nsa};

fn changes_the_plan(law: &str) {
    let settings = || small_nsa(16).set("L", 8);
    let with = check_without(&[], "nsa.nsa", settings(), 1e-5);
    let without = check_without(&[law], "nsa.nsa", settings(), 1e-5);
    let text = without.join("\n");
    assert!(with.join("\n") != text, "{law} changes nothing");
    insta::with_settings!({ snapshot_path => "../../../snapshots/laws", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("nsa-x86_64-without-{law}"), text);
    });
}

macro_rules! laws {
    ($($name:ident $law:literal,)*) => { $(#[test] fn $name() { changes_the_plan($law); })* };
}

laws! {
    online_softmax "online-weighted",
    normalisation_last "normalise-last",
    one_pass "banana-split",
    mask_to_domain "mask-to-domain",
    block_walk "walk-blocks",
    branch_fusion_and_gates "fuse-epilogue",
    producer_fusion "fuse-producer",
    tiles "tile",
    two_passes "two-pass-inner",
    matrix_products "mma",
    operand_order "mma-operands",
}
