//! `mbarrier` and bulk copies between global memory and one block's shared memory.

use super::{Argument, Program, Random, Tolerance, kernel};

const THREADS: u32 = 128;
/// Bytes that a program moves: sixteen a thread.
const BYTES: usize = 16 * THREADS as usize;

pub fn programs() -> Vec<Program> {
    let mut programs = vec![phases()];
    for kind in ["", ".noinc"] {
        programs.push(arrival_of_copies(kind));
    }
    for (name, hint) in [("bulk.load", false), ("bulk.load.hint", true)] {
        programs.push(load(name, hint));
    }
    for (name, wait) in [("bulk.store", ""), ("bulk.store.read", ".read")] {
        programs.push(store(name, "cp.async.bulk.global.shared::cta.bulk_group", wait, "bits"));
    }
    #[rustfmt::skip]
    let reductions = [
        ("add.u32", "bits"), ("add.s32", "bits"), ("add.u64", "bits"), ("min.s32", "bits"), ("max.u32", "bits"), ("min.s64", "bits"),
        ("max.u64", "bits"), ("inc.u32", "bits"), ("dec.u32", "bits"), ("and.b32", "bits"), ("or.b64", "bits"), ("xor.b32", "bits"),
        ("add.f32", "f32"), ("add.f64", "f64"), ("add.noftz.f16", "f16"), ("min.f16", "f16"), ("max.f16", "f16"),
        ("add.noftz.bf16", "bf16"), ("min.bf16", "bf16"), ("max.bf16", "bf16"),
    ];
    for (op, kind) in reductions {
        let instruction = format!("cp.reduce.async.bulk.global.shared::cta.bulk_group.{op}");
        programs.push(store(&format!("bulk.reduce.{op}"), &instruction, "", kind));
    }
    programs
}

fn finish(name: &str, ptx: String, threads: u32, input: usize, kind: &str, output: usize) -> Program {
    Program {
        ptx,
        name: name.into(),
        target: "sm_90",
        grid: 1,
        threads,
        shared: 128 + 2 * BYTES as u32,
        arguments: vec![Argument::Input(contents(name, input, kind)), Argument::Output(output)],
        tolerance: Tolerance::Exact,
    }
}

/// Random bytes; as floating-point numbers they are finite, some of them subnormal.
pub(super) fn contents(name: &str, count: usize, kind: &str) -> Vec<u8> {
    let mut random = Random::new(name);
    let (width, exponent, low, range): (usize, u32, u64, u64) = match kind {
        "f16" => (2, 10, 0, 30),
        "bf16" => (2, 7, 0, 250),
        "f32" => (4, 23, 0, 250),
        "f64" => (8, 52, 900, 200),
        _ => return (0..count).map(|_| random.next() as u8).collect(),
    };
    let mut bytes = Vec::with_capacity(count);
    for _ in 0..count / width {
        let sign = 1u64 << (8 * width - 1);
        let fraction = (1u64 << exponent) - 1;
        // Half of the exponents are close together, so that sums round.
        let power = if random.below(2) == 0 { low + random.below(range) } else { low + range / 2 + random.below(3) };
        let value = random.next() & (sign | fraction) | power << exponent;
        bytes.extend(&value.to_le_bytes()[..width]);
    }
    bytes
}

/// One thread arrives, announces and completes; the answers of the tests between are bits of the result.
fn phases() -> Program {
    let mut body = String::from(
        "    .reg .b64 %out, %s<6>;\n    .reg .b32 %t, %bar, %x, %y;\n    .reg .pred %p, %first;\n\
         \x20   ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n    mov.u32 %bar, dynamic;\n    mov.u32 %x, 0;\n\
         \x20   setp.ne.u32 %first, %t, 0;\n    @%first bra end;\n",
    );
    let mut bit = 0;
    let mut step = |line: &str| {
        body += &match line.strip_prefix("? ") {
            None => format!("    {line};\n"),
            Some(test) => {
                bit += 1;
                format!(
                    "    mbarrier.test_wait.{test};\n    selp.b32 %y, {}, 0, %p;\n    or.b32 %x, %x, %y;\n",
                    1u32 << (bit - 1)
                )
            }
        };
    };
    let parity = |n: u32| format!("? parity.shared::cta.b64 %p, [%bar], {n}");
    step("mbarrier.init.shared::cta.b64 [%bar], 2");
    step(&parity(0));
    step(&parity(1));
    step("mbarrier.arrive.shared::cta.b64 %s0, [%bar]");
    step(&parity(0));
    step("? shared::cta.b64 %p, [%bar], %s0");
    step("mbarrier.arrive.release.cta.shared::cta.b64 %s1, [%bar], 1");
    step(&parity(0));
    step(&parity(1));
    step("? shared::cta.b64 %p, [%bar], %s0");
    step("? acquire.cta.shared::cta.b64 %p, [%bar], %s1");
    // A phase after which one arrival fewer is awaited.
    step("mbarrier.arrive.noComplete.shared::cta.b64 %s2, [%bar], 1");
    step("? shared::cta.b64 %p, [%bar], %s2");
    step("mbarrier.arrive_drop.shared::cta.b64 %s3, [%bar]");
    step("? shared::cta.b64 %p, [%bar], %s2");
    step(&parity(1));
    step("mbarrier.arrive.shared::cta.b64 %s4, [%bar]");
    step("? shared::cta.b64 %p, [%bar], %s4");
    // Bytes that are announced must come, too.
    step("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%bar], 64");
    step("mbarrier.arrive.shared::cta.b64 %s5, [%bar]");
    step("? shared::cta.b64 %p, [%bar], %s5");
    step("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%bar], 48");
    step("? shared::cta.b64 %p, [%bar], %s5");
    step("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%bar], 16");
    step("? shared::cta.b64 %p, [%bar], %s5");
    step("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%bar], 32");
    step(&parity(0));
    step("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%bar], 32");
    step(&parity(0));
    step("mbarrier.inval.shared::cta.b64 [%bar]");
    body += "    st.global.b32 [%out], %x;\nend:";
    finish("mbarrier.phases", kernel("sm_90", &["input", "output"], 32, &body), 32, 16, "bits", 16)
}

/// Every thread copies, arrives when its copies are done, and reads its neighbour's bytes after the phase.
fn arrival_of_copies(kind: &str) -> Program {
    // With `.noinc` the arrival is one of those that the barrier was made for; otherwise each thread arrives as well.
    let also = if kind.is_empty() { "    mbarrier.arrive.shared::cta.b64 _, [%bar];\n" } else { "" };
    let body = format!(
        "{START}    @!%first bra made;\n    mbarrier.init.shared::cta.b64 [%bar], {THREADS};\nmade:\n    bar.sync 0;\n\
         \x20   cp.async.ca.shared.global [%own], [%in], 16;\n    cp.async.mbarrier.arrive{kind}.shared::cta.b64 [%bar];\n{also}\
         wait:\n    mbarrier.try_wait.parity.shared::cta.b64 %done, [%bar], 0;\n    @!%done bra wait;\n\
         \x20   xor.b32 %i, %t, 37;\n    shl.b32 %i, %i, 4;\n    add.u32 %i, %tile, %i;\n\
         \x20   ld.shared.v4.b32 {{%w0, %w1, %w2, %w3}}, [%i];\n    st.global.v4.b32 [%out], {{%w0, %w1, %w2, %w3}};"
    );
    finish(
        &format!("cp.async.mbarrier.arrive{kind}"),
        kernel("sm_90", &["input", "output"], THREADS, &body),
        THREADS,
        BYTES,
        "bits",
        BYTES,
    )
}

/// Registers, the barrier at `%bar`, the tile at `%tile`, this thread's sixteen bytes at `%in`, `%out` and `%own`.
const START: &str = "    .reg .b64 %in, %out, %at, %from, %to, %policy;\n    .reg .b32 %t, %bar, %tile, %own, %i, %w<4>;\n\
    \x20   .reg .pred %first, %done;\n\
    \x20   ld.param.u64 %from, [input];\n    ld.param.u64 %to, [output];\n    mov.u32 %t, %tid.x;\n    mov.u32 %bar, dynamic;\n\
    \x20   add.u32 %tile, %bar, 128;\n    shl.b32 %own, %t, 4;\n    cvt.u64.u32 %at, %own;\n    add.u32 %own, %tile, %own;\n\
    \x20   add.s64 %in, %from, %at;\n    add.s64 %out, %to, %at;\n    setp.eq.u32 %first, %t, 0;\n";

fn load(name: &str, hint: bool) -> Program {
    let (policy, word, operand) = if hint {
        ("    createpolicy.fractional.L2::evict_first.b64 %policy, 1.0;\n", ".L2::cache_hint", ", %policy")
    } else {
        ("", "", "")
    };
    let body = format!(
        "{START}{policy}    @!%first bra made;\n    mbarrier.init.shared::cta.b64 [%bar], 1;\n    fence.mbarrier_init.release.cluster;\n\
         \x20   cp.async.bulk.prefetch.L2.global [%from], {BYTES};\n\
         \x20   mbarrier.arrive.expect_tx.shared::cta.b64 _, [%bar], {BYTES};\n\
         \x20   cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{word} [%tile], [%from], {}, [%bar]{operand};\n\
         \x20   cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%tile+{}], [%from+{}], {}, [%bar];\n\
         made:\n    bar.sync 0;\n\
         wait:\n    mbarrier.try_wait.parity.shared::cta.b64 %done, [%bar], 0;\n    @!%done bra wait;\n\
         \x20   ld.shared.v4.b32 {{%w0, %w1, %w2, %w3}}, [%own];\n    st.global.v4.b32 [%out], {{%w0, %w1, %w2, %w3}};",
        BYTES - 48,
        BYTES - 48,
        BYTES - 48,
        48
    );
    finish(name, kernel("sm_90", &["input", "output"], THREADS, &body), THREADS, BYTES, "bits", BYTES)
}

/// The first half of the input goes to the output by ordinary stores, the second half over it by a bulk copy or reduction.
fn store(name: &str, instruction: &str, wait: &str, kind: &str) -> Program {
    let body = format!(
        "{START}    ld.global.v4.b32 {{%w0, %w1, %w2, %w3}}, [%in];\n    st.global.v4.b32 [%out], {{%w0, %w1, %w2, %w3}};\n\
         \x20   ld.global.v4.b32 {{%w0, %w1, %w2, %w3}}, [%in+{BYTES}];\n    st.shared.v4.b32 [%own], {{%w0, %w1, %w2, %w3}};\n\
         \x20   fence.proxy.async;\n    bar.sync 0;\n    @!%first bra end;\n\
         \x20   {instruction} [%to+32], [%tile+32], {};\n    cp.async.bulk.commit_group;\n    cp.async.bulk.wait_group{wait} 0;\nend:",
        BYTES - 64
    );
    finish(name, kernel("sm_90", &["input", "output"], THREADS, &body), THREADS, 2 * BYTES, kind, BYTES)
}
