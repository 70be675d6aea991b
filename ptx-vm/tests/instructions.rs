//! Values of instructions against arithmetic written out here.

mod micro;

use micro::Micro;

/// Runs `body`, which leaves a word of each of 32 lanes in `%r9`.
fn lanes(body: &str) -> Vec<u32> {
    let one = Micro { threads: 32, ..Micro::default() };
    let (report, words) =
        one.run(&format!("{body}\nmul.wide.u32 %d9, %r0, 4; add.s64 %d9, %d0, %d9; st.global.b32 [%d9], %r9;"));
    assert!(report.is_clean(), "{report}\n{body}");
    words[..32].to_vec()
}

fn each(body: &str, expected: impl Fn(u32) -> u32) {
    let got = lanes(body);
    for (lane, &value) in got.iter().enumerate() {
        assert_eq!(value, expected(lane as u32), "lane {lane} of {body}");
    }
}

#[test]
fn integers() {
    each("mad.lo.u32 %r9, %r0, %r0, 7;", |x| x * x + 7);
    each("sub.s32 %r1, %r0, 16; shr.s32 %r9, %r1, 2;", |x| ((x as i32 - 16) >> 2) as u32);
    each("mul.wide.u32 %d1, %r0, -1; shr.u64 %d1, %d1, 32; cvt.u32.u64 %r9, %d1;", |x| {
        ((u64::from(x) * 0xffff_ffff) >> 32) as u32
    });
    each(
        "not.b32 %r1, %r0; clz.b32 %r2, %r0; bfind.u32 %r3, %r0; add.u32 %r2, %r2, %r3; xor.b32 %r9, %r1, %r2;",
        |x| !x ^ if x == 0 { 32u32.wrapping_add(u32::MAX) } else { 31 },
    );
    each("bfi.b32 %r9, %r0, 0xFFFFFFFF, 8, 4;", |x| 0xffff_f0ff | (x & 15) << 8);
    each("prmt.b32 %r1, %r0, 0x11223344, 0x0654; mov.b32 %r9, %r1;", |x| x << 24 | 0x0022_3344);
    each("rem.u32 %r9, 1000, %r0;", |x| if x == 0 { 1000 } else { 1000 % x });
    each("add.cc.u32 %r1, %r0, 0xFFFFFFF0; addc.u32 %r9, 0, 0;", |x| u32::from(x >= 16));
    each("mov.b64 %d1, {%r0, 5}; mov.b64 {%r1, %r2}, %d1; add.u32 %r9, %r1, %r2;", |x| x + 5);
    each("cvt.u16.u32 %h0, %r0; mul.lo.s16 %h1, %h0, -3; cvt.s32.s16 %r9, %h1;", |x| (x as i32 * -3) as u32);
}

#[test]
fn floats() {
    let f = |x: f32| x.to_bits();
    each("cvt.rn.f32.u32 %f0, %r0; fma.rn.f32 %f1, %f0, 0f3F000000, 0fBF800000; mov.b32 %r9, %f1;", |x| {
        f(x as f32 * 0.5 - 1.0)
    });
    each(
        "cvt.rn.f32.u32 %f0, %r0; sub.f32 %f0, %f0, 0f41800000; ex2.approx.ftz.f32 %f1, %f0; mov.b32 %r9, %f1;",
        |x| f((x as f32 - 16.0).exp2()),
    );
    each(
        "cvt.rn.f32.u32 %f0, %r0; cvt.rn.bf16x2.f32 %r1, %f0, 1.0; shr.u32 %r2, %r1, 16; shl.b32 %r3, %r1, 16; mov.b32 %f1, %r3; setp.eq.f32 %p0, %f1, 1.0; selp.b32 %r9, %r2, 0, %p0;",
        |x| (x as f32).to_bits() >> 16,
    );
    each(
        "cvt.rn.f32.u32 %f0, %r0; setp.gt.f32 %p0|%p1, %f0, 10.5; selp.b32 %r1, 1, 0, %p0; selp.b32 %r2, 2, 0, %p1; or.b32 %r9, %r1, %r2;",
        |x| {
            if x > 10 { 1 } else { 2 }
        },
    );
}

#[test]
fn divergence_and_reconvergence() {
    // Lanes leave a loop at different times and are counted together afterwards.
    each(
        "mov.u32 %r1, 0; mov.u32 %r2, 0; loop: add.u32 %r2, %r2, %r1; add.u32 %r1, %r1, 1; setp.le.u32 %p0, %r1, %r0; @%p0 bra loop;\
         redux.sync.add.u32 %r3, %r1, -1; add.u32 %r9, %r2, %r3;",
        |x| x * (x + 1) / 2 + (1..=32).sum::<u32>(),
    );
    // A lock taken by one lane after the other.
    let body = "mov.u32 %r1, 0; try: atom.global.cas.b32 %r2, [%d0+1024], 0, 1; setp.ne.u32 %p0, %r2, 0; @%p0 bra try;\
        ld.volatile.global.b32 %r3, [%d0+1028]; add.u32 %r3, %r3, %r0; st.volatile.global.b32 [%d0+1028], %r3;\
        membar.gl; atom.global.exch.b32 %r2, [%d0+1024], 0; mov.u32 %r9, 3;";
    each(body, |_| 3);
}

#[test]
fn shuffles_votes_and_reductions() {
    each("shfl.sync.bfly.b32 %r9, %r0, 16, 31, -1;", |x| x ^ 16);
    each("shfl.sync.up.b32 %r9|%p0, %r0, 1, 0, -1;", |x| x.saturating_sub(1));
    each("shfl.sync.idx.b32 %r9, %r0, 3, 0x181F, -1;", |x| x & 24 | 3);
    each("setp.lt.u32 %p0, %r0, 5; vote.sync.ballot.b32 %r9, %p0, -1;", |_| 31);
    each("and.b32 %r1, %r0, 3; match.any.sync.b32 %r9, %r1, -1;", |x| 0x1111_1111 << (x & 3));
    each("redux.sync.max.s32 %r9, %r0, -1;", |_| 31);
    each("elect.sync %r1|%p0, -1; selp.b32 %r9, 7, 0, %p0;", |x| if x == 0 { 7 } else { 0 });
}

#[test]
fn local_memory_and_generic_addresses() {
    each(
        ".local .align 4 .b8 stack[16]; mov.b64 %d1, stack; cvta.local.u64 %d2, %d1; st.local.b32 [%d1+4], %r0; ld.b32 %r9, [%d2+4];",
        |x| x,
    );
    each(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; st.shared.b32 [%r1], %r0; cvt.u64.u32 %d1, %r1; cvta.shared.u64 %d2, %d1; ld.b32 %r9, [%d2];",
        |x| x,
    );
    each(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1; st.shared.v2.b32 [%r1], {%r0, 9}; ld.shared.v2.b32 {%r2, %r3}, [%r1]; mad.lo.u32 %r9, %r2, 100, %r3;",
        |x| x * 100 + 9,
    );
}

#[test]
fn atomics_return_what_was_there() {
    let mut got = lanes("atom.global.add.u32 %r9, [%d0+2048], 1;");
    got.sort_unstable();
    assert_eq!(got, (0..32).collect::<Vec<_>>());
    each(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1; st.shared.b32 [%r1], 5; atom.shared.max.s32 %r9, [%r1], %r0; ld.shared.b32 %r2, [%r1]; mad.lo.u32 %r9, %r9, 100, %r2;",
        |x| 500 + x.max(5),
    );
}

#[test]
fn module_variables_are_initialised() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n\
        .const .align 4 .u32 table[4] = {10, 20, 30, 0x28};\n.global .align 4 .f32 scale = 0f40000000;\n\
        .entry k(.param .u64 out) { .reg .b64 %d<4>; .reg .b32 %r<6>; .reg .f32 %f<3>;\n\
        ld.param.u64 %d0, [out]; ld.const.u32 %r1, [table+12]; ld.global.f32 %f0, [scale]; cvt.rn.f32.u32 %f1, %r1;\n\
        mul.f32 %f1, %f1, %f0; st.global.f32 [%d0], %f1; ret; }";
    let kernel = ptx_vm::Module::parse(text).unwrap().kernel("k").unwrap();
    let mut memory = ptx_vm::Memory::new();
    let out = memory.reserve(4);
    let options = ptx_vm::Options::default();
    let report = kernel.launch(&mut memory, [1; 3], [1; 3], 0, &[ptx_vm::Arg::Buffer(out)], &options).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(memory.f32s(out), [80.0]);
}
