//! Two blocks of a cluster and each other's shared memory.

use super::asynchronous::contents;
use super::{Argument, Program, Tolerance, kernel};

const THREADS: u32 = 64;
/// Bytes of a block's tile: sixteen a thread.
const BYTES: usize = 16 * THREADS as usize;

/// Name, and a body that ends with 16 bytes of each thread in `%w0..3`.
///
/// `%bar` is a barrier object of the block, made for one arrival, `%tile` its tile, `%own` this thread's 16 bytes of it, `%there`, `%theirs` and
/// `%far` the other block's `%bar`, `%tile` and `%own`; `%in` this thread's input, `%from` the block's, `%all` that of both, `%map` a tensor map
/// of the input as rows of 64 f32; `%rank` the block's rank, `%first` true in the first thread. Both blocks have met after the preamble.
#[rustfmt::skip]
const ROWS: &[(&str, &str)] = &[
    ("cluster.store", "@MOVE; st.shared::cluster.v4.b32 [%far], {%w0, %w1, %w2, %w3}; @MEET; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own];"),
    ("cluster.load", "@MOVE; st.shared.v4.b32 [%own], {%w0, %w1, %w2, %w3}; @MEET; ld.shared::cluster.v2.b64 {%l0, %l1}, [%far]; mov.b64 {%w0, %w1}, %l0; mov.b64 {%w2, %w3}, %l1; @MEET;"),
    ("cluster.generic", "@MOVE; cvt.u64.u32 %l0, %own; cvta.shared.u64 %l0, %l0; xor.b32 %i, %rank, 1; mapa.u64 %l1, %l0, %i; st.v4.b32 [%l1], {%w3, %w1, %w2, %w0}; getctarank.u64 %i, %l1; getctarank.shared::cluster.u32 %j, %own; @MEET; ld.v4.b32 {%w0, %w1, %w2, %w3}, [%l0]; mov.b32 %w0, %i; mov.b32 %w1, %j; isspacep.shared::cluster %p, %l1; selp.b32 %w2, 1, 2, %p; isspacep.shared::cta %p, %l1; selp.b32 %w3, 1, 2, %p;"),
    ("cluster.atomics", "@MOVE; st.shared.v4.b32 [%own], {%w0, %w1, %w2, %w3}; @MEET; atom.shared::cluster.add.u32 %i, [%far], 7; red.shared::cluster.max.s32 [%far+4], %i; atom.shared::cluster.exch.b64 %l0, [%far+8], 99; @MEET; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; mov.b64 {%w2, %i}, %l0;"),
    ("cluster.registers", "mov.u32 %w0, %cluster_ctarank; mov.u32 %w1, %cluster_nctarank; mov.u32 %w2, %cluster_ctaid.x; mov.u32 %i, %cluster_nctaid.x; mad.lo.u32 %w2, %w2, 16, %i; mov.u32 %i, %clusterid.x; mov.u32 %j, %nclusterid.x; mad.lo.u32 %w3, %i, 16, %j; mov.pred %p, %is_explicit_cluster; selp.b32 %i, 256, 0, %p; add.u32 %w3, %w3, %i;"),
    ("cluster.relaxed", "@MOVE; st.shared::cluster.v4.b32 [%far], {%w0, %w1, %w2, %w3}; fence.acq_rel.cluster; barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own];"),
    ("cluster.arrive", "@MOVE; st.shared::cluster.v4.b32 [%far], {%w0, %w1, %w2, %w3}; bar.sync 0; @%first mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.expect", "@%first mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, [%there], 16; @MEET; @%first mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%bar], 16; @WAIT; mov.u32 %w0, %rank; mov.u32 %w1, 1; mov.u32 %w2, 2; mov.u32 %w3, 3; @MEET;"),
    ("cluster.st.async", "@MOVE; @EXPECT 1024; st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%far], {%w0, %w1}, [%there]; mov.b64 %l0, {%w2, %w3}; st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [%far+8], %l0, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.st.async.rest", "@MOVE; @EXPECT 1024; st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.s32 [%far], {%w0, %w1, %w2, %w3}, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.red.async", "@MOVE; st.shared.v4.b32 [%own], {%w3, %w2, %w1, %w0}; @MEET; @EXPECT 1024; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%far], %w0, [%there]; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.min.s32 [%far+4], %w1, [%there]; mov.b64 %l0, {%w2, %w3}; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u64 [%far+8], %l0, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.red.async.rest", "@MOVE; st.shared.v4.b32 [%own], {%w3, %w2, %w1, %w0}; @MEET; @EXPECT 1024; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.xor.b32 [%far], %w0, [%there]; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.max.u32 [%far+4], %w1, [%there]; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.inc.u32 [%far+8], %w2, [%there]; red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.dec.u32 [%far+12], %w3, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.bulk.copy", "@MOVE; add.u32 %i, %own, 1024; st.shared.v4.b32 [%i], {%w0, %w1, %w2, %w3}; fence.proxy.async.shared::cta; bar.sync 0; @EXPECT 1024; add.u32 %i, %tile, 1024; @%first cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%theirs], [%i], 1024, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.bulk.reduce.add", "@MOVE; st.shared.v4.b32 [%own], {%w3, %w2, %w1, %w0}; add.u32 %i, %own, 1024; st.shared.v4.b32 [%i], {%w0, %w1, %w2, %w3}; fence.proxy.async.shared::cta; @MEET; @EXPECT 1024; add.u32 %i, %tile, 1024; @%first cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u32 [%theirs], [%i], 1024, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.bulk.reduce.min", "@MOVE; st.shared.v4.b32 [%own], {%w3, %w2, %w1, %w0}; add.u32 %i, %own, 1024; st.shared.v4.b32 [%i], {%w0, %w1, %w2, %w3}; fence.proxy.async.shared::cta; @MEET; @EXPECT 1024; add.u32 %i, %tile, 1024; @%first cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.min.s32 [%theirs], [%i], 1024, [%there]; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.bulk.multicast", "@EXPECT 1024; mad.lo.u32 %i, %rank, 512, %tile; mul.wide.u32 %l0, %rank, 512; add.s64 %l0, %all, %l0; mov.u16 %mask, 3; @%first cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%i], [%l0], 512, [%bar], %mask; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
    ("cluster.tma.multicast", "@EXPECT 1024; mad.lo.u32 %i, %rank, 512, %tile; shl.b32 %j, %rank, 1; mov.u16 %mask, 3; @%first cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%i], [%map, {0, %j}], [%bar], %mask; @WAIT; ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%own]; @MEET;"),
];

pub fn programs() -> Vec<Program> {
    ROWS.iter().map(program).collect()
}

/// The abbreviations of the table.
fn line(text: &str, waits: &mut usize) -> String {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("@MOVE", _) => "    ld.global.v4.b32 {%w0, %w1, %w2, %w3}, [%in];\n".into(),
        ("@MEET", _) => "    barrier.cluster.arrive.aligned;\n    barrier.cluster.wait.aligned;\n".into(),
        // Arrivals and announcements first: what the other block sends may come before.
        ("@EXPECT", bytes) => format!("    @%first mbarrier.arrive.expect_tx.shared::cta.b64 _, [%bar], {bytes};\n"),
        ("@WAIT", _) => {
            *waits += 1;
            format!(
                "wait{waits}:\n    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p, [%bar], 0;\n    @!%p bra wait{waits};\n"
            )
        }
        _ => format!("    {text};\n"),
    }
}

fn program(&(name, text): &(&str, &str)) -> Program {
    let mut waits = 0;
    let text: String = text.split("; ").map(|part| line(part.trim_end_matches(';'), &mut waits)).collect();
    let body = format!(
        "    .reg .b64 %in, %out, %from, %all, %map, %at, %l<4>;\n    .reg .b16 %mask;\n    .reg .pred %first, %p;\n\
         \x20   .reg .b32 %t, %bar, %tile, %own, %there, %theirs, %far, %rank, %i, %j, %w<4>;\n\
         \x20   ld.param.u64 %all, [input];\n    ld.param.u64 %out, [output];\n    mov.b64 %map, map;\n    cvta.param.u64 %map, %map;\n\
         \x20   mov.u32 %t, %tid.x;\n    mov.u32 %rank, %cluster_ctarank;\n\
         \x20   mov.u32 %bar, dynamic;\n    add.u32 %tile, %bar, 1024;\n    shl.b32 %own, %t, 4;\n    mul.wide.u32 %at, %rank, {BYTES};\n\
         \x20   add.s64 %from, %all, %at;\n    add.s64 %out, %out, %at;\n    cvt.u64.u32 %at, %own;\n    add.s64 %in, %from, %at;\n\
         \x20   add.s64 %out, %out, %at;\n    add.u32 %own, %tile, %own;\n    setp.eq.u32 %first, %t, 0;\n    xor.b32 %i, %rank, 1;\n\
         \x20   mapa.shared::cluster.u32 %there, %bar, %i;\n    mapa.shared::cluster.u32 %theirs, %tile, %i;\n\
         \x20   mapa.shared::cluster.u32 %far, %own, %i;\n    @%first mbarrier.init.shared::cta.b64 [%bar], 1;\n\
         \x20   @%first fence.mbarrier_init.release.cluster;\n    barrier.cluster.arrive.aligned;\n    barrier.cluster.wait.aligned;\n\
         {text}    st.global.v4.b32 [%out], {{%w0, %w1, %w2, %w3}};"
    );
    let clustered = format!("{THREADS}, 1, 1\n.explicitcluster\n.reqnctapercluster 2, 1, 1\n{{");
    Program {
        ptx: kernel("sm_90", &["input", "#map", "output"], THREADS, &body)
            .replace(&format!("{THREADS}, 1, 1\n{{"), &clustered),
        name: name.into(),
        target: "sm_90",
        grid: 2,
        threads: THREADS,
        shared: 1024 + 2 * BYTES as u32,
        arguments: vec![
            Argument::Input(contents(name, 2 * BYTES, "bits")),
            Argument::Map {
                over: 0,
                element: "f32",
                sizes: vec![64, 8],
                strides: vec![256],
                tile: vec![64, 2],
                swizzle: "none",
                nan: false,
            },
            Argument::Output(2 * BYTES),
        ],
        tolerance: Tolerance::Exact,
    }
}
