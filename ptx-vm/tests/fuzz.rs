//! Hostile texts: whatever comes in, an answer comes out, without a panic and in bounded time.

mod hostile;
#[path = "hostile/launches.rs"]
mod launches;

use hostile::exercise;
use proptest::prelude::*;
use ptx_vm::Module;

/// Real statements to mix and damage.
const STATEMENTS: &[&str] = &[
    ".reg .b32 %r<8>;",
    ".reg .b64 %d<8>;",
    ".reg .pred %p<4>;",
    ".shared .align 16 .b8 tile[1024];",
    ".local .align 8 .b8 stack[64];",
    "ld.param.u64 %d0, [out];",
    "mov.u32 %r0, %tid.x;",
    "add.s32 %r1, %r0, 4;",
    "div.s32 %r1, -2147483648, -1;",
    "rem.u64 %d1, %d2, 0;",
    "shl.b32 %r1, %r0, 4294967295;",
    "cvt.rzi.s64.f32 %d1, 0fFF800000;",
    "mad.wide.u32 %d1, %r0, 4, %d0;",
    "st.global.b32 [%d1], %r0;",
    "ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%d0+16];",
    "mov.u32 %r2, tile;",
    "st.shared.b32 [%r2+8], %r1;",
    "ld.shared.b64 %d3, [%r2];",
    "atom.global.add.u32 %r3, [%d0], 1;",
    "atom.shared.cas.b32 %r3, [%r2], %r1, %r4;",
    "setp.lt.u32 %p1, %r0, 13;",
    "@%p1 bra again;",
    "again:",
    "@!%p1 bar.sync 0;",
    "bar.sync 1, 64;",
    "barrier.cta.arrive 2, 32;",
    "bar.warp.sync -1;",
    "shfl.sync.bfly.b32 %r1|%p2, %r0, 3, 31, -1;",
    "vote.sync.ballot.b32 %r1, %p1, 0xFF;",
    "redux.sync.add.s32 %r1, %r0, 0;",
    "elect.sync %r1|%p0, -1;",
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r2];",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1, %r2, %r3, %r4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r1, %r2, %r3, %r4};",
    "cp.async.ca.shared.global [%r2], [%d0], 8, %r1;",
    "cp.async.commit_group;",
    "cp.async.wait_group 1;",
    "mbarrier.init.shared::cta.b64 [%r2], 3;",
    "mbarrier.arrive.expect_tx.shared::cta.b64 %d2, [%r2], %r1;",
    "mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r2], %r1;",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d0], %r1, [%r2];",
    "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r2], [%d0, {%r0, %r1}], [%r2];",
    "cp.async.bulk.global.shared::cta.bulk_group [%d0], [%r2], 4096;",
    "cp.async.bulk.wait_group.read 0;",
    "fence.proxy.async;",
    "wgmma.fence.sync.aligned;",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%r1, %r2, %r3, %r4}, %d1, %d2, %p1, 1, -1, 0, 1;",
    "wgmma.wait_group.sync.aligned 0;",
    "setmaxnreg.inc.sync.aligned.u32 232;",
    "mapa.shared::cluster.u32 %r1, %r2, %r0;",
    "barrier.cluster.arrive.aligned;",
    "barrier.cluster.wait.aligned;",
    "cvta.shared.u64 %d4, %d3;",
    "ld.b32 %r1, [%d4+1152921504606846976];",
    "{ .reg .b32 %r1; mov.b32 %r1, 5; }",
    "mov.b64 {%r1, %r2}, %d1;",
    "atom.global.exch.b128 %d1, [%d0], %d2;",
    "atom.global.v4.f32.add {%r1, %r2, %r3, %r4}, [%d0], {%r1, %r2, %r3, %r4};",
    "red.shared.add.noftz.bf16x2 [%r2], %r1;",
    "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%r2+64], {%r0, %r1}, [%r2];",
    "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.inc.u32 [%r2+64], %r1, [%r2];",
    "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.noftz.f16 [%d0], [%r2], 32;",
    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.dec.u32 [%r2+64], [%r2+128], 64, [%r2];",
    "cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%d0, {%r0, %r1, %r2}];",
    "cp.async.bulk.wait_group 0;",
    "createpolicy.fractional.L2::evict_first.b64 %d3, 0.5;",
    "ld.global.nc.L1::no_allocate.L2::cache_hint.v4.b64 {%d1, %d2, %d3, %d4}, [%d0], %d5;",
    "min.xorsign.abs.f32 %r1, %r2, %r3;",
    "fma.rp.f64 %d1, %d2, %d3, %d4;",
    "add.s16x2 %r1, %r2, %r3;",
    "mad.hi.s16 %r1, %r2, %r3, %r4;",
    "cvt.rn.satfinite.e5m2x2.f16x2 %r1, %r2;",
    "bar.red.popc.u32 %r1, 0, %p1;",
    "barrier.cta.red.and.pred %p1, 1, 64, %p2;",
    "stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%r2], {%r1, %r3};",
    "match.all.sync.b64 %r1|%p1, %d1, -1;",
    "griddepcontrol.wait;",
    "trap;",
    "ret;",
];

fn module(body: &str) -> String {
    format!(".version 8.3\n.target sm_90a\n.address_size 64\n.entry k(.param .u64 out) {{\n{body}\n}}\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,400}") {
        exercise(&text);
    }

    #[test]
    fn mixed_statements_run_or_are_refused(picks in prop::collection::vec(0..STATEMENTS.len(), 0..24)) {
        // Declarations first, so that most mixtures get as far as running.
        let body: Vec<&str> = STATEMENTS[..8].iter().copied().chain(picks.iter().map(|&i| STATEMENTS[i])).collect();
        exercise(&module(&body.join("\n")));
    }

    #[test]
    fn damaged_texts_are_refused_or_run(
        picks in prop::collection::vec(0..STATEMENTS.len(), 1..10),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[a-z0-9.%{}\\[\\]<>;:,@!+=-]{0,3}"), 1..4),
    ) {
        let body: Vec<&str> = STATEMENTS[..8].iter().copied().chain(picks.iter().map(|&i| STATEMENTS[i])).collect();
        let mut text = module(&body.join("\n"));
        for (at, with) in cuts {
            let at = at.index(text.len());
            text.replace_range(at..at + 1, &with);
        }
        exercise(&text);
    }
}

#[test]
fn nesting_and_sizes_are_bounded() {
    exercise(&module(&"{".repeat(100_000)));
    exercise(&module(&format!("mov.b32 %r1, {};", "{".repeat(100_000))));
    exercise(&module(".reg .b32 %r<4000000000>;"));
    exercise(&module(&".reg .b32 %r<200000>;".repeat(3)));
    exercise(&module(".shared .b8 a[67108864]; .shared .b8 b[67108864]; ret;"));
    exercise(&module(".local .b8 a[67108864]; ret;"));
    exercise(".version 8.0\n.target sm_80\n.global .b8 x[99999999999999999999];");
    exercise(&format!(".version 8.0\n.target sm_80\n.global .b8 x[4] = {};", "{".repeat(100_000)));
}

/// A description that is well-formed, with something else in place of a part.
#[test]
fn descriptions_are_bounded() {
    let good = include_str!("hostile/launch.json");
    let description = ptx_vm::LaunchDescription::from_json(good).expect("a description");
    assert_eq!(description.grid, [4]);
    launches::launch(good);
    for (part, with) in [
        ("\"length\": 16", "\"length\": 18446744073709551615"),
        ("\"length\": 16", "\"length\": 99999999999"),
        ("\"length\": 16", "\"length\": 0"),
        ("[4]", "[4294967295]"),
        ("[4]", "[65535, 65535, 65535]"),
        ("[4]", "[]"),
        ("[32]", "[1024, 1024]"),
        ("\"shared_bytes\": 0", "\"shared_bytes\": 4294967295"),
        ("\"strides\": [32]", "\"strides\": [18446744073709551600]"),
        ("\"sizes\": [8, 2]", "\"sizes\": [4294967295, 4294967295]"),
        ("\"values\": [1, 2]", "\"values\": []"),
    ] {
        assert!(good.contains(part), "{part}");
        launches::launch(&good.replace(part, with));
    }
    let mut huge = description;
    huge.buffers.values_mut().for_each(|buffer| buffer.length = 1 << 33);
    let error = huge.run(launches::KERNEL).expect_err("too much").to_string();
    assert!(error.contains("more than 17179869184 bytes"), "{error}");
}

/// The seeds of `cargo fuzz`, and what it once found.
#[test]
fn the_corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/module");
    // The published crate has no corpus.
    let Ok(files) = std::fs::read_dir(folder) else { return };
    let mut kernels = 0;
    for file in files {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        exercise(&text);
        let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<&str> = module.kernel_names().collect();
        for name in names {
            module.kernel(name).unwrap_or_else(|error| panic!("{error}"));
            kernels += 1;
        }
    }
    assert!(kernels >= 6, "a seed that does not decode leads nowhere");
}

/// Time and memory grow with the text, not with what it says.
#[test]
fn long_texts_take_time_in_proportion() {
    let body = ".reg .b32 %r<4>;\n".to_string() + &"add.s32 %r1, %r2, %r3;\n".repeat(20_000);
    let start = std::time::Instant::now();
    let parsed = Module::parse(&module(&body)).expect("a long kernel");
    parsed.kernel("k").expect("it decodes");
    let deep = "{".repeat(20_000) + &"}".repeat(20_000);
    let _ = Module::parse(&module(&deep)).map(|m| m.kernel("k").map(|_| ()));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn errors_point_at_the_place() {
    let error = Module::parse(&module("  add.s32 %r1, %r1, 1;")).unwrap_err();
    assert_eq!((error.line, error.column), (5, 11));
    // The message, the place, the line itself, a caret under the column.
    assert_eq!(
        error.to_string(),
        "register `%r1` is not declared\n --> line 5, column 11\n5 |   add.s32 %r1, %r1, 1;\n  |           ^"
    );
    let unknown = Module::parse(&module(".reg .b32 %r<2>;\n frobnicate.b32 %r1, %r0;")).unwrap();
    let error = unknown.kernel("k").unwrap_err().to_string();
    assert!(error.contains("instruction `frobnicate.b32` is not supported"), "{error}");
    assert!(error.ends_with("6 |  frobnicate.b32 %r1, %r0;\n  |  ^"), "{error}");
    let modifier = Module::parse(&module(".reg .b32 %r<2>;\n add.wobble.s32 %r1, %r0, 1;")).unwrap();
    let error = modifier.kernel("k").unwrap_err().to_string();
    assert!(error.contains("`.wobble` of `add.wobble.s32` is not supported"), "{error}");
}
