//! Every kind of hazard in the smallest kernel that has it, and the same kernel mended.

mod micro;

use micro::Micro;
use ptx_vm::FindingKind::{self, *};

impl Micro {
    /// The kinds found, under several schedules.
    fn kinds(&self, body: &str) -> Vec<FindingKind> {
        let mut kinds: Vec<FindingKind> =
            (0..4).flat_map(|seed| Self { seed, ..*self }.run(body).0.findings).map(|f| f.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

/// The kernel as it stands is clean, and has `kind` once `remove` is taken out.
fn needs(micro: &Micro, body: &str, remove: &str, kind: FindingKind) {
    assert!(body.contains(remove), "{remove} is not in the kernel");
    let clean = micro.kinds(body);
    assert!(clean.is_empty(), "{clean:?} in the correct kernel\n{}", micro.run(body).0);
    let broken = body.replacen(remove, "", 1);
    let kinds = micro.kinds(&broken);
    assert!(kinds.contains(&kind), "{kinds:?} instead of {kind:?} without `{remove}`");
}

fn finds(body: &str, kind: FindingKind) {
    let kinds = Micro::default().kinds(body);
    assert_eq!(kinds, [kind], "{}", Micro::default().run(body).0);
}

/// `%r1`: the address of this thread's word in the tile; `%r2`: that of the word 32 threads away.
const WORDS: &str = "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; xor.b32 %r2, %r1, 128;\n";

#[test]
fn a_barrier_orders_a_write_before_reads() {
    needs(
        &Micro::default(),
        &format!(
            "{WORDS} st.shared.b32 [%r2], %r0; bar.sync 0; st.shared.b32 [%r1], %r0; bar.sync 1; ld.shared.b32 %r3, [%r2];"
        ),
        "bar.sync 1;",
        Race,
    );
}

#[test]
fn a_barrier_orders_a_read_before_writes() {
    needs(
        &Micro::default(),
        &format!(
            "{WORDS} st.shared.b32 [%r1], %r0; bar.sync 0; ld.shared.b32 %r3, [%r2]; bar.sync 1; st.shared.b32 [%r1], 7;"
        ),
        "bar.sync 1;",
        Race,
    );
}

#[test]
fn a_barrier_orders_two_writes() {
    needs(
        &Micro::default(),
        &format!("{WORDS} st.shared.b32 [%r1], %r0; bar.sync 0; st.shared.b32 [%r2], 99;"),
        "bar.sync 0;",
        Race,
    );
}

#[test]
fn lanes_of_a_warp_need_a_warp_barrier() {
    let one = Micro { threads: 32, ..Micro::default() };
    needs(
        &one,
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; xor.b32 %r2, %r1, 4;\
         st.shared.b32 [%r1], %r0; bar.warp.sync -1; ld.shared.b32 %r3, [%r2];",
        "bar.warp.sync -1;",
        Race,
    );
}

#[test]
fn equal_values_written_twice_are_harmless() {
    let kinds = Micro::default().kinds("mov.u32 %r1, tile; st.shared.b32 [%r1], 5;");
    assert!(kinds.is_empty());
    finds("mov.u32 %r1, tile; st.shared.b32 [%r1], %r0;", Race);
}

#[test]
fn a_named_barrier_for_some_warps_orders_only_them() {
    let body = format!(
        "{WORDS} setp.lt.u32 %p0, %r0, 64; @!%p0 bra skip; st.shared.b32 [%r1], %r0; bar.sync 3, 64; ld.shared.b32 %r3, [%r2]; skip:"
    );
    needs(&Micro { threads: 96, ..Micro::default() }, &body, "bar.sync 3, 64;", Race);
}

#[test]
fn arrive_and_sync_hand_data_over() {
    let body = format!(
        "{WORDS} setp.lt.u32 %p0, %r0, 32; @!%p0 bra consume;\
         st.shared.b32 [%r1], %r0; bar.arrive 2, 64; bra end;\
         consume: bar.sync 2, 64; ld.shared.b32 %r3, [%r2]; end:"
    );
    let micro = Micro::default();
    assert!(micro.kinds(&body).is_empty());
    // The other way round the data is not handed over: the consumer arrives and does not wait.
    let swapped = body
        .replace("bar.arrive 2, 64; bra end;", "bar.sync 2, 64; bra end;")
        .replace("consume: bar.sync 2, 64;", "consume: bar.arrive 2, 64;");
    assert!(!micro.kinds(&swapped).is_empty());
}

#[test]
fn uninitialised_bytes() {
    finds("mov.u32 %r1, tile; ld.shared.b32 %r2, [%r1];", UninitialisedRead);
    finds("mov.u32 %r1, tile; st.shared.b16 [%r1], 0; bar.sync 0; ld.shared.b32 %r2, [%r1];", UninitialisedRead);
}

#[test]
fn bounds_and_alignment() {
    finds("mov.u32 %r1, tile; ld.shared.b32 %r2, [%r1+1048576];", OutOfBounds);
    finds("mov.u32 %r1, 0; st.shared.b32 [%r1], 0;", OutOfBounds);
    finds("ld.global.b32 %r2, [%d0+4096];", OutOfBounds);
    finds("ld.global.b32 %r2, [%d0-4];", OutOfBounds);
    finds("ld.global.b32 %r2, [%d0+2];", Misaligned);
    finds("mov.u32 %r1, tile; st.shared.v4.b32 [%r1+8], {%r0, %r0, %r0, %r0};", Misaligned);
}

#[test]
fn blocks_that_write_one_word_race() {
    let two = Micro { grid: 2, threads: 32, ..Micro::default() };
    assert_eq!(two.kinds("mov.u32 %r1, %ctaid.x; st.global.b32 [%d0], %r1;"), [Race]);
    assert!(two.kinds("red.global.add.u32 [%d0], 1;").is_empty());
    assert_eq!(
        two.kinds(
            "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r1, %r1, 9, 1; red.global.add.u32 [%d0], 1; ld.global.b32 %r2, [%d0];"
        ),
        [Race]
    );
}

/// Block 0 writes a word and raises a flag; block 1 waits for the flag and reads the word.
const HANDOVER: &str = "setp.ne.u32 %p0, %r0, 0; @%p0 bra end; mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 0; @!%p1 bra reader;\
     st.global.b32 [%d0], 42; fence.acq_rel.gpu; st.relaxed.gpu.global.b32 [%d0+128], 1; bra end;\
     reader: ld.relaxed.gpu.global.b32 %r2, [%d0+128]; setp.eq.u32 %p2, %r2, 0; @%p2 bra reader; membar.gl;\
     ld.global.b32 %r3, [%d0]; st.global.b32 [%d0+256], %r3; end:";

#[test]
fn fences_and_flags_order_blocks() {
    let two = Micro { grid: 2, threads: 32, ..Micro::default() };
    needs(&two, HANDOVER, "fence.acq_rel.gpu;", Race);
    needs(&two, HANDOVER, "membar.gl;", Race);
    let short = HANDOVER
        .replace("fence.acq_rel.gpu; st.relaxed", "st.release")
        .replace("ld.relaxed", "ld.acquire")
        .replace("membar.gl;", "");
    assert!(two.kinds(&short).is_empty());
    assert_eq!(two.run(&short).1[64], 42);
}

#[test]
fn asynchronous_copies_need_their_wait_and_a_barrier() {
    let body = format!(
        "{WORDS} mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1; cp.async.ca.shared.global [%r1], [%d1], 4;\
         cp.async.commit_group; cp.async.wait_group 0; bar.sync 0; ld.shared.b32 %r3, [%r2];"
    );
    needs(&Micro::default(), &body, "cp.async.wait_group 0;", UseBeforeWait);
    needs(&Micro::default(), &body, "cp.async.commit_group;", UseBeforeWait);
    needs(&Micro::default(), &body, "bar.sync 0;", Race);
    let weak = body.replace("wait_group 0", "wait_group 1");
    assert!(Micro::default().kinds(&weak).contains(&UseBeforeWait));
    let overwritten = body.replace("cp.async.wait_group 0;", "st.shared.b32 [%r1], 1; cp.async.wait_group 0;");
    assert!(Micro::default().kinds(&overwritten).contains(&OverwriteInFlight));
}

#[test]
fn barriers_used_against_their_rules() {
    finds("bar.sync 16;", BarrierMisuse);
    finds("bar.sync 0, 48; bar.sync 1;", BarrierMisuse);
    let kinds = Micro::default().kinds("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0, 64; @!%p0 bar.sync 0, 32;");
    assert!(kinds.contains(&BarrierMisuse), "{kinds:?}");
}

#[test]
fn a_barrier_that_not_all_reach_is_a_deadlock() {
    finds("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0, 64;", Deadlock);
    finds("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0; @!%p0 bar.sync 1;", Deadlock);
    // Warps that exit are not waited for.
    assert!(Micro::default().kinds("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0;").is_empty());
}

#[test]
fn collectives_reached_by_some_lanes() {
    finds("setp.lt.u32 %p0, %r0, 7; @%p0 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;", DivergentCollective);
    let apart = "setp.lt.u32 %p0, %r0, 7; @%p0 bra on; bar.sync 0; bra end; on: nanosleep.u32 1; bar.sync 1; end:";
    assert!(Micro::default().kinds(apart).contains(&DivergentCollective));
    finds("shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xFFFF;", DivergentCollective);
    // Lanes that meet again are together again.
    assert!(
        Micro::default()
            .kinds(
                "setp.lt.u32 %p0, %r0, 7; @%p0 bra on; add.u32 %r1, %r0, 1; on: shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;"
            )
            .is_empty()
    );
}

#[test]
fn traps_and_endless_loops_end() {
    finds("trap;", Trap);
    finds("again: add.u32 %r1, %r1, 1; bra again;", Timeout);
}

/// One thread starts a bulk copy of 256 bytes to the tile; all wait for it and read.
const BULK: &str = "mov.u32 %r1, bar; mov.u32 %r2, tile; setp.eq.u32 %p0, %r0, 0; @!%p0 bra all;\
     mbarrier.init.shared::cta.b64 [%r1], 1; fence.mbarrier_init.release.cluster;\
     mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 256;\
     cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%d0], 256, [%r1];\
     all: bar.sync 0;\
     wait: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0; @!%p1 bra wait;\
     mad.lo.u32 %r3, %r0, 4, %r2; ld.shared.b32 %r4, [%r3];";

#[test]
fn bulk_copies_are_waited_for_by_barrier() {
    let micro = Micro::default();
    needs(&micro, BULK, "wait: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0; @!%p1 bra wait;", UseBeforeWait);
    needs(&micro, BULK, "fence.mbarrier_init.release.cluster;", MissingProxyFence);
    needs(&micro, BULK, "@!%p1 bra wait;", UseBeforeWait);
    assert!(
        micro.kinds(&BULK.replace("bar.sync 0;", "")).contains(&BarrierMisuse)
            || micro.kinds(&BULK.replace("bar.sync 0;", "")).contains(&Race)
    );
    assert!(
        micro
            .kinds(&BULK.replace("[%r1], 256;\\", "[%r1], 512;\\").replace("b64 _, [%r1], 256", "b64 _, [%r1], 512"))
            .contains(&ExpectedBytes)
    );
    let less = micro.kinds(&BULK.replace("b64 _, [%r1], 256", "b64 _, [%r1], 128"));
    assert!(less.contains(&ExpectedBytes) || less.contains(&UseBeforeWait), "{less:?}");
    let wrong_parity = micro.kinds(&BULK.replace("[%r1], 0; @!%p1", "[%r1], 1; @!%p1"));
    assert!(wrong_parity.contains(&UseBeforeWait), "{wrong_parity:?}");
    let no_arrival = micro.kinds(
        &BULK.replace("mbarrier.arrive.expect_tx.shared::cta.b64 _,", "mbarrier.expect_tx.relaxed.cta.shared::cta.b64"),
    );
    assert_eq!(no_arrival, [Deadlock]);
}

/// Threads write the tile, one of them stores it to global memory in bulk.
const STORE: &str = "mov.u32 %r2, tile; mad.lo.u32 %r3, %r0, 4, %r2; st.shared.b32 [%r3], %r0;\
     fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %p0, %r0, 0; @%p0 bra out;\
     cp.async.bulk.global.shared::cta.bulk_group [%d0], [%r2], 256; cp.async.bulk.commit_group;\
     cp.async.bulk.wait_group.read 0; out: bar.sync 1; st.shared.b32 [%r3], 9;";

#[test]
fn bulk_stores_need_fence_barrier_and_wait() {
    let micro = Micro::default();
    assert_eq!(micro.run(STORE).1[..64], (0..64).collect::<Vec<u32>>());
    needs(&micro, STORE, "fence.proxy.async.shared::cta;", MissingProxyFence);
    needs(&micro, STORE, "bar.sync 0;", Race);
    needs(&micro, STORE, "cp.async.bulk.wait_group.read 0;", OverwriteInFlight);
    needs(&micro, STORE, "cp.async.bulk.commit_group;", OverwriteInFlight);
    needs(&micro, STORE, "bar.sync 1;", Race);
}

/// A warpgroup multiplies two zero tiles of shared memory.
const WGMMA: &str = "mov.u32 %r2, tile; mad.lo.u32 %r3, %r0, 32, %r2; mov.u32 %r4, 0;\
     st.shared.v4.b32 [%r3], {%r4, %r4, %r4, %r4}; st.shared.v4.b32 [%r3+16], {%r4, %r4, %r4, %r4};\
     fence.proxy.async.shared::cta; bar.sync 0;\
     shr.u32 %r5, %r2, 4; cvt.u64.u32 %d1, %r5; add.s64 %d1, %d1, 0x1000080000; mov.b32 %f0, 0f3F800000; mov.b32 %f1, 0f3F800000;\
     mov.b32 %f2, 0f3F800000; mov.b32 %f3, 0f3F800000;\
     wgmma.fence.sync.aligned;\
     wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %d1, %d1, 1, 1, 1, 0, 0;\
     wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\
     add.f32 %f4, %f0, %f1; bar.sync 1; st.shared.v4.b32 [%r3], {%r0, %r0, %r0, %r0};";

#[test]
fn wgmma_needs_fences_waits_and_barriers() {
    let group = Micro { threads: 128, ..Micro::default() };
    needs(&group, WGMMA, "wgmma.fence.sync.aligned;", MissingWgmmaFence);
    needs(&group, WGMMA, "wgmma.wait_group.sync.aligned 0;", UseBeforeWait);
    needs(&group, WGMMA, "wgmma.commit_group.sync.aligned;", UseBeforeWait);
    needs(&group, WGMMA, "fence.proxy.async.shared::cta;", MissingProxyFence);
    needs(&group, WGMMA, "bar.sync 0;", Race);
    needs(&group, WGMMA, "bar.sync 1;", Race);
    let early = WGMMA.replace("wgmma.commit_group", "st.shared.b32 [%r3], %r0; wgmma.commit_group");
    assert!(group.kinds(&early).contains(&OverwriteInFlight));
    let late = WGMMA.replace("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned; mov.b32 %f2, 0f00000000;");
    assert_eq!(group.kinds(&late), [MissingWgmmaFence]);
    let written = WGMMA.replace("wgmma.wait_group", "mov.b32 %f2, 0f00000000; wgmma.wait_group");
    assert_eq!(group.kinds(&written), [OverwriteInFlight]);
}

#[test]
fn fragments_in_registers_must_not_change_in_flight() {
    let group = Micro { threads: 128, ..Micro::default() };
    let body = WGMMA
        .replace("%d1, %d1, 1, 1, 1, 0, 0;", "{%r10, %r11, %r12, %r13}, %d1, 1, 1, 1, 0;")
        .replace("wgmma.fence", "mov.u32 %r10, 0; mov.u32 %r11, 0; mov.u32 %r12, 0; mov.u32 %r13, 0; wgmma.fence");
    assert!(group.kinds(&body).is_empty(), "{}", group.run(&body).0);
    let early = body.replace("wgmma.wait_group", "mov.u32 %r12, 1; wgmma.wait_group");
    assert_eq!(group.kinds(&early), [OverwriteInFlight]);
}

#[test]
fn cluster_barriers_order_blocks_of_a_cluster() {
    let pair = Micro { grid: 2, cluster: 2, threads: 32, ..Micro::default() };
    let body = "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; mov.u32 %r2, %cluster_ctarank; xor.b32 %r3, %r2, 1;\
         mapa.shared::cluster.u32 %r4, %r1, %r3; mad.lo.u32 %r5, %r2, 100, %r0; st.shared::cluster.b32 [%r4], %r5;\
         barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned; ld.shared.b32 %r6, [%r1];\
         mad.lo.u32 %r7, %r2, 32, %r0; mul.wide.u32 %d1, %r7, 4; add.s64 %d1, %d0, %d1; st.global.b32 [%d1], %r6;";
    let (report, words) = pair.run(body);
    assert!(report.is_clean(), "{report}");
    assert_eq!((words[0], words[33]), (100, 1));
    let broken = pair.kinds(&body.replace("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;", ""));
    assert!(broken.contains(&Race) || broken.contains(&UninitialisedRead), "{broken:?}");
    let unarrived = pair.kinds(&body.replace("barrier.cluster.arrive.aligned;", ""));
    assert!(unarrived.contains(&BarrierMisuse), "{unarrived:?}");
}

#[test]
fn registers_cannot_be_taken_from_nowhere() {
    finds("setmaxnreg.inc.sync.aligned.u32 12;", InvalidOperand);
    // What one warpgroup gives back is all that the other can take; an H100 waits for more for ever.
    let pool = |takes: u32| {
        let body = format!(
            ".reg .pred %q; .reg .b32 %t; mov.u32 %t, %tid.x; setp.lt.u32 %q, %t, 128; @%q bra give;\
             setmaxnreg.inc.sync.aligned.u32 {takes}; bra end; give: setmaxnreg.dec.sync.aligned.u32 40; end:"
        );
        let kernel = idle("sm_90a", ".maxnreg 64", &body).expect("a kernel");
        let options = ptx_vm::Options::default();
        let report =
            kernel.launch(&mut ptx_vm::Memory::new(), [1; 3], [256, 1, 1], 0, &[], &options).expect("a launch");
        report.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>()
    };
    assert_eq!(pool(88), []);
    assert_eq!(pool(96), [Deadlock]);
    let full = Micro { threads: 512, ..Micro::default() };
    assert_eq!(full.kinds("setmaxnreg.inc.sync.aligned.u32 160;"), [Deadlock]);
    assert!(
        full.kinds(
            "setp.lt.u32 %p0, %r0, 128; @%p0 bra give; setmaxnreg.inc.sync.aligned.u32 160; bra end; give: setmaxnreg.dec.sync.aligned.u32 32; end:"
        )
        .is_empty()
    );
}

/// What a finding must name: its kind, parts of its instruction and of the other party's (empty: there is none), and where
/// its bytes lie and how many they are.
type Named = (FindingKind, &'static str, &'static str, Option<(&'static str, u32)>);

/// Runs the body, one statement a line, and looks for a finding that names all this; the report if there is none.
fn unnamed(micro: &Micro, body: &str, (kind, at, other, bytes): Named) -> Option<String> {
    let (report, _) = micro.run(&body.replace(';', ";\n"));
    let named = |finding: &&ptx_vm::Finding| {
        // An instruction belongs to its line: both are of the text.
        let fits = |party: &ptx_vm::Party, part: &str| party.line > 5 && party.instruction.contains(part);
        finding.kind == kind
            && finding.at.warp.is_some_and(|warp| warp < micro.threads / 32)
            && finding.at.block[0] < micro.grid
            && fits(&finding.at, at)
            && finding.other.as_ref().map_or(other.is_empty(), |party| !other.is_empty() && fits(party, other))
            && finding.bytes.map(|b| (b.space.to_string(), b.length)) == bytes.map(|(space, n)| (space.to_string(), n))
    };
    let found = report.findings.iter().any(|f| named(&f));
    (!found).then(|| format!("{kind:?} `{at}` against `{other}`, {bytes:?}:\n{report}"))
}

#[test]
fn every_kind_of_finding_names_its_parties_and_bytes() {
    let (two, group) = (Micro::default(), Micro { threads: 128, ..Micro::default() });
    let blocks = Micro { grid: 2, threads: 32, ..Micro::default() };
    let words = |rest: &str| format!("{WORDS} {rest}");
    let mut missing: Vec<String> = vec![];
    let mut names = |micro: &Micro, body: &str, named: Named| missing.extend(unnamed(micro, body, named));
    let without = |body: &str, part: &str| body.replacen(part, "", 1);
    names(
        &two,
        &words("st.shared.b32 [%r1], %r0; ld.shared.b32 %r3, [%r2];"),
        (Race, "ld.shared", "st.shared", Some(("shared", 4))),
    );
    names(
        &blocks,
        "mov.u32 %r1, %ctaid.x; st.global.b32 [%d0], %r1;",
        (Race, "st.global", "st.global", Some(("global", 4))),
    );
    names(
        &two,
        "mov.u32 %r1, tile; st.shared.b16 [%r1], 0; bar.sync 0; ld.shared.b32 %r2, [%r1];",
        (UninitialisedRead, "ld.shared", "", Some(("shared", 2))),
    );
    names(&two, "ld.global.v2.b32 {%r1, %r2}, [%d0+4096];", (OutOfBounds, "ld.global", "", Some(("global", 8))));
    names(&two, "st.global.b64 [%d0+4], %d0;", (Misaligned, "st.global", "", Some(("global", 8))));
    let copy = words("cp.async.ca.shared.global [%r1], [%d0], 4; cp.async.commit_group; ld.shared.b32 %r3, [%r1];");
    names(&two, &copy, (UseBeforeWait, "ld.shared", "cp.async.ca", Some(("shared", 4))));
    let stored = copy.replace("ld.shared.b32 %r3, [%r1]", "st.shared.b32 [%r1], 1");
    names(&two, &stored, (OverwriteInFlight, "st.shared", "cp.async.ca", Some(("shared", 4))));
    names(
        &two,
        &without(STORE, "fence.proxy.async.shared::cta;"),
        (MissingProxyFence, "cp.async.bulk.global", "st.shared", Some(("shared", 4))),
    );
    names(
        &two,
        &without(BULK, "fence.mbarrier_init.release.cluster;"),
        (MissingProxyFence, "cp.async.bulk.shared", "mbarrier.init", Some(("shared", 8))),
    );
    let later = WGMMA.replace("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned; mov.b32 %f2, 0f00000000;");
    names(&group, &later, (MissingWgmmaFence, "wgmma.mma_async", "mov.b32 %f2, 0f00000000", None));
    let early = without(WGMMA, "wgmma.wait_group.sync.aligned 0;");
    names(&group, &early, (UseBeforeWait, "add.f32 %f4", "wgmma.mma_async", None));
    let register = WGMMA.replace("wgmma.wait_group", "mov.b32 %f2, 0f00000000; wgmma.wait_group");
    names(&group, &register, (OverwriteInFlight, "mov.b32 %f2", "wgmma.mma_async", None));
    assert!(group.run(&register).0.to_string().contains("the accumulator %f2 of a wgmma"));
    let operand = WGMMA.replace("wgmma.wait_group", "st.shared.b32 [%r3], %r4; wgmma.wait_group");
    names(&group, &operand, (OverwriteInFlight, "st.shared.b32 [%r3], %r4", "st.shared", Some(("shared", 4))));
    names(
        &two,
        "setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0, 64; @!%p0 bar.sync 0, 96;",
        (BarrierMisuse, "bar.sync", "bar.sync", None),
    );
    let twice = BULK.replace("all: bar.sync 0;", "mbarrier.arrive.shared::cta.b64 _, [%r1], 2; all: bar.sync 0;");
    names(&two, &twice, (BarrierMisuse, "mbarrier.arrive.shared", "mbarrier.init", Some(("shared", 8))));
    names(
        &two,
        "setp.lt.u32 %p0, %r0, 7; @%p0 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;",
        (DivergentCollective, "shfl.sync", "", None),
    );
    let more = BULK.replace("b64 _, [%r1], 256", "b64 _, [%r1], 512");
    names(&two, &more, (ExpectedBytes, "mbarrier.try_wait", "mbarrier.init", Some(("shared", 8))));
    let fewer = BULK.replace("b64 [%r1], 1;", "b64 [%r1], 2;");
    names(&two, &fewer, (Deadlock, "mbarrier.try_wait", "mbarrier.init", Some(("shared", 8))));
    names(&two, "setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0, 64;", (Deadlock, "bar.sync 0, 64", "", None));
    names(&two, "setmaxnreg.inc.sync.aligned.u32 12;", (InvalidOperand, "setmaxnreg", "", None));
    names(&two, "trap;", (Trap, "trap", "", None));
    names(&two, "again: add.u32 %r1, %r1, 1; bra again;", (Timeout, "", "", None));
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn findings_name_both_parties() {
    let (report, _) = Micro::default().run(&format!("{WORDS}\nst.shared.b32 [%r1], %r0;\nld.shared.b32 %r3, [%r2];"));
    let races: Vec<_> = report.findings.iter().filter(|f| matches!(f.kind, Race | UninitialisedRead)).collect();
    assert!(!races.is_empty());
    for finding in races {
        assert!(finding.at.instruction.contains("shared.b32"), "{finding}");
        assert!(finding.bytes.is_some());
    }
}

/// Each thread sends a word to the other block of its cluster, whose barrier counts the bytes.
const SEND: &str = "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; mov.u32 %r2, bar; mov.u32 %r3, %cluster_ctarank; xor.b32 %r3, %r3, 1;\
     setp.ne.u32 %p0, %r0, 0; @%p0 bra made;\
     mbarrier.init.shared::cta.b64 [%r2], 1; fence.mbarrier_init.release.cluster;\
     mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 128;\
     made: barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\
     mapa.shared::cluster.u32 %r4, %r1, %r3; mapa.shared::cluster.u32 %r5, %r2, %r3; add.u32 %r6, %r0, 5;\
     st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r4], %r6, [%r5];\
     wait: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p1, [%r2], 0; @!%p1 bra wait;\
     ld.shared.b32 %r7, [%r1]; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\
     mov.u32 %r8, %ctaid.x; mad.lo.u32 %r8, %r8, 32, %r0; mul.wide.u32 %d1, %r8, 4; add.s64 %d1, %d0, %d1;\
     st.global.b32 [%d1], %r7;";

#[test]
fn words_sent_to_another_block_are_waited_for() {
    let pair = Micro { grid: 2, cluster: 2, threads: 32, ..Micro::default() };
    let (report, words) = pair.run(SEND);
    assert!(report.is_clean(), "{report}");
    assert_eq!(words[..64], (0..64).map(|i| i % 32 + 5).collect::<Vec<u32>>());
    let early = pair.kinds(&SEND.replace("@!%p1 bra wait;", ""));
    assert!(early.contains(&UseBeforeWait) || early.contains(&UninitialisedRead), "{early:?}");
    let fewer = pair.kinds(&SEND.replace("[%r2], 128;", "[%r2], 64;"));
    assert!(fewer.contains(&Deadlock) || fewer.contains(&ExpectedBytes), "{fewer:?}");
    // Sums arrive in any order, and none is lost.
    let added = SEND
        .replace("made: barrier", "made: st.shared.b32 [%r1], 100; barrier")
        .replace("st.async.shared::cluster", "red.async.relaxed.cluster.shared::cluster")
        .replace("bytes.b32 [%r4], %r6", "bytes.add.u32 [%r4], %r6");
    let (report, words) = pair.run(&added);
    assert!(report.is_clean(), "{report}");
    assert_eq!(words[..64], (0..64).map(|i| i % 32 + 105).collect::<Vec<u32>>());
    let unordered = pair.kinds(&added.replacen("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;", "", 1));
    assert!(!unordered.is_empty());
}

/// What is found in a store or a reduction of 16 elements from shared memory, all bytes of which are 2, to a row of `length`
/// elements, from element `at` on; the row's bytes, and those beyond up to the next multiple of 16, are 1.
fn tensor_copy(instruction: &str, element: ptx_vm::MapElement, length: u32, at: u32) -> ptx_vm::Report {
    let text = format!(
        ".version 8.3\n.target sm_90a\n.address_size 64\n\
         .entry tensor_copy(.param .align 64 .b8 map[128]) {{ .reg .b64 %map; .reg .b32 %r<4>; .reg .pred %p; .shared .align 128 .b8 tile[128];\n\
         mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1; st.shared.b32 [%r2], 0x02020202;\n\
         fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %p, %r0, 0; @%p bra end; mov.b64 %map, map; cvta.param.u64 %map, %map;\n\
         {instruction} [%map, {{{at}}}], [%r1];\n\
         cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; end: ret; }}\n"
    );
    let kernel = ptx_vm::Module::parse(&text).expect("a module").kernel("tensor_copy").expect("a kernel");
    let mut memory = ptx_vm::Memory::new();
    let row = memory.add(&vec![1; (length as usize * element.bytes()).next_multiple_of(16)]);
    let map = ptx_vm::TensorMap::tiled(element, row, 0, &[length], &[], &[16], ptx_vm::Swizzle::None).expect("a map");
    let options = ptx_vm::Options::default();
    kernel.launch(&mut memory, [1; 3], [32, 1, 1], 0, &[ptx_vm::Arg::TensorMap(map)], &options).expect("a launch")
}

#[test]
fn tensor_copies_to_global_memory_go_by_16_bytes() {
    use ptx_vm::MapElement::{Bf16, F16, F32, F64, U8};
    let store = "cp.async.bulk.tensor.1d.global.shared::cta.tile.bulk_group";
    let reduction = "cp.reduce.async.bulk.tensor.1d.global.shared::cta.add.tile.bulk_group";
    // As an H100 did: these end with an illegal instruction.
    for (instruction, element, at) in [(store, U8, 24), (store, F32, 26), (reduction, Bf16, 3), (reduction, F32, 26)] {
        let report = tensor_copy(instruction, element, 48, at);
        let kinds: Vec<FindingKind> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [Misaligned], "{instruction} at {at}: {report}");
        let bytes = at as usize * element.bytes();
        assert!(report.to_string().contains(&format!("is {at}, {bytes} bytes into the row")), "{report}");
        assert!(report.to_string().contains("illegal instruction"), "{report}");
        let aligned = at.next_multiple_of(16 / element.bytes() as u32);
        let report = tensor_copy(instruction, element, 48, aligned);
        assert!(report.is_clean(), "{instruction} at {aligned}: {report}");
    }
    // What shares 16 bytes with the row's last element changes as well, unless the tile ends before.
    for (instruction, element, length) in
        [(store, Bf16, 37), (store, F64, 33), (reduction, F32, 34), (reduction, F16, 37)]
    {
        let report = tensor_copy(instruction, element, length, 24);
        let kinds: Vec<FindingKind> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(kinds, [OutOfBounds], "{instruction} over {length}: {report}");
        assert!(report.to_string().contains("beyond the tensor's edge"), "{report}");
        let report = tensor_copy(instruction, element, length, 16);
        assert!(report.is_clean(), "{instruction} over {length}: {report}");
    }
}

/// A kernel that does nothing, with these directives.
fn idle(target: &str, directives: &str, body: &str) -> Result<ptx_vm::Kernel, ptx_vm::LoadError> {
    let text =
        format!(".version 8.3\n.target {target}\n.address_size 64\n.entry idle() {directives} {{ {body} ret; }}\n");
    ptx_vm::Module::parse(&text)?.kernel("idle")
}

#[test]
fn limits_of_the_target_are_kept() {
    let launch = |target: &str, grid: u32, threads: u32, shared: u32, cluster: u32| {
        let options = ptx_vm::Options { cluster: [cluster, 1, 1], ..ptx_vm::Options::default() };
        let kernel = idle(target, "", "").expect("a kernel");
        let mut memory = ptx_vm::Memory::new();
        kernel.launch(&mut memory, [grid, 1, 1], [threads, 1, 1], shared, &[], &options).map(|report| report.is_clean())
    };
    for (target, kibibytes) in [("sm_80", 163), ("sm_86", 99), ("sm_90a", 227)] {
        assert_eq!(launch(target, 1, 32, kibibytes << 10, 1), Ok(true));
        let error = launch(target, 1, 32, (kibibytes << 10) + 1, 1).expect_err("too much");
        assert!(error.to_string().contains(&format!("{target} has {}", kibibytes << 10)), "{error}");
    }
    assert_eq!(launch("sm_90a", 16, 1024, 0, 16), Ok(true));
    for (grid, threads, cluster, part) in [
        (1, 1025, 1, "1024 in all"),
        (32, 32, 32, "16 on sm_90a"),
        (3, 32, 2, "does not divide"),
        (0, 32, 1, "at least one"),
    ] {
        let error = launch("sm_90a", grid, threads, 0, cluster).expect_err("beyond a limit");
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = launch("sm_80", 2, 32, 0, 2).expect_err("no clusters");
    assert!(error.to_string().contains("1 on sm_80"), "{error}");
    let error = idle("sm_80", "", ".local .b8 stack[524289];").expect_err("too much local memory");
    assert!(error.to_string().contains("524288 bytes of local memory"), "{error}");
    assert!(idle("sm_75", "", "").is_err());
}
