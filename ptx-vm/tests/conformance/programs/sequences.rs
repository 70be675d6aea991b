//! Short bodies over registers and memory of one thread or one block: what a single row of operands cannot say.

use super::{Argument, Program, Random, Tolerance, kernel};

/// Name, target, and a body that turns `%a`, `%b`, `%c`, `%e` (32 bits each, random) into `%x`, `%y`, `%z`, `%w`.
///
/// There are also `%l0..7` (64 bits), `%h0..7` (16 bits), `%q0..3` (8 bits), `%f0..7`, `%p0..3`, the thread's number `%t`, the address of its
/// 16 bytes of input `%in`, of 16 bytes of its own in shared memory `%own`, and a variable `stack` of 32 bytes in local memory.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str)] = &[
    ("carry.add", "sm_80", "add.cc.u32 %x, %a, %b; addc.cc.u32 %y, %c, %e; addc.u32 %z, 0, 0;"),
    ("carry.sub", "sm_80", "sub.cc.u32 %x, %a, %b; subc.cc.u32 %y, %c, %e; subc.u32 %z, 7, 0;"),
    ("carry.mad", "sm_80", "mad.lo.cc.u32 %x, %a, %b, %c; madc.hi.cc.u32 %y, %a, %b, %e; addc.u32 %z, 0, 0; madc.lo.u32 %w, %a, %c, %b;"),
    ("carry.add.s64", "sm_80", "mov.b64 %l0, {%a, %b}; mov.b64 %l1, {%c, %e}; add.cc.s64 %l2, %l0, %l1; addc.s64 %l3, 0, 0; mov.b64 {%x, %y}, %l2; mov.b64 {%z, %w}, %l3;"),
    ("pack.b64", "sm_80", "mov.b64 %l0, {%a, %b}; mov.b64 {%h0, %h1, %h2, %h3}, %l0; mov.b32 %x, {%h3, %h0}; mov.b32 %y, {%h1, %h2}; mov.b64 {%z, %w}, %l0;"),
    ("setp.two", "sm_80", "setp.lt.s32 %p0|%p1, %a, %b; selp.b32 %x, 1, 2, %p0; selp.b32 %y, 3, 4, %p1; setp.gt.or.u32 %p2|%p3, %a, %c, %p0; selp.b32 %z, 5, 6, %p2; selp.b32 %w, 7, 8, %p3;"),
    ("setp.f16x2", "sm_80", "setp.lt.f16x2 %p0|%p1, %a, %b; selp.b32 %x, 1, 2, %p0; selp.b32 %y, 3, 4, %p1; setp.geu.f16x2 %p2|%p3, %b, %c; selp.b32 %z, 5, 6, %p2; selp.b32 %w, 7, 8, %p3;"),
    ("setp.bf16x2", "sm_90", "setp.lt.bf16x2 %p0|%p1, %a, %b; selp.b32 %x, 1, 2, %p0; selp.b32 %y, 3, 4, %p1; setp.ne.bf16x2 %p2|%p3, %b, %c; selp.b32 %z, 5, 6, %p2; selp.b32 %w, 7, 8, %p3;"),
    ("predicates", "sm_80", "setp.lt.s32 %p0, %a, %b; setp.lt.u32 %p1, %c, %e; and.pred %p2, %p0, %p1; selp.b32 %x, 1, 2, %p2; or.pred %p2, %p0, %p1; selp.b32 %y, 1, 2, %p2; xor.pred %p2, %p0, %p1; selp.b32 %z, 1, 2, %p2; not.pred %p2, %p0; @%p2 add.u32 %w, %a, 5; @!%p2 sub.u32 %w, %a, 5;"),
    ("set.lt", "sm_80", "set.lt.u32.s32 %x, %a, %b; set.gt.f32.u32 %f0, %b, %c; mov.b32 %y, %f0; mov.b32 %f1, %a; mov.b32 %f2, %b; set.neu.u32.f32 %z, %f1, %f2; setp.eq.u32 %p0, %t, 9; set.eq.and.u32.u32 %w, %t, 9, %p0;"),
    ("ld.narrow", "sm_80", "ld.global.s8 %x, [%in+1]; ld.global.u8 %y, [%in+2]; ld.global.s16 %z, [%in+6]; ld.global.u16 %w, [%in+4];"),
    ("ld.vectors", "sm_80", "ld.global.v4.u8 {%h0, %h1, %h2, %h3}, [%in+4]; mov.b32 %x, {%h3, %h1}; ld.global.v2.s16 {%h4, %h5}, [%in+8]; mov.b32 %y, {%h5, %h4}; ld.global.v2.b64 {%l0, %l1}, [%in]; mov.b64 {%z, %c}, %l1; ld.global.v4.b16 {%h0, %h1, %h2, %h3}, [%in]; mov.b32 %w, {%h2, %h0};"),
    ("ld.nc.hints", "sm_80", "ld.global.nc.L1::no_allocate.L2::128B.v2.b32 {%x, %y}, [%in+8]; ld.global.ca.b32 %z, [%in]; ld.global.cv.b32 %w, [%in+4]; prefetch.global.L1 [%in]; prefetch.global.L2 [%in]; prefetch.global.L2::evict_last [%in];"),
    ("shared.vectors", "sm_80", "st.shared.v4.b32 [%own], {%e, %c, %b, %a}; ld.shared.v2.b64 {%l0, %l1}, [%own]; mov.b64 {%x, %y}, %l1; st.shared.v2.b16 [%own+4], {%h0, %h0}; cvt.u16.u32 %h1, %a; st.shared.b8 [%own+5], %h1; st.shared.b16 [%own+6], %h1; ld.shared.b32 %z, [%own+4]; ld.shared.s8 %w, [%own+5];"),
    ("local", "sm_80", "st.local.v4.b32 [stack], {%a, %b, %c, %e}; and.b32 %x, %a, 12; mov.u32 %y, stack; add.u32 %y, %y, %x; ld.local.b32 %z, [%y]; st.local.b16 [%y+2], 77; ld.local.v2.b32 {%x, %y}, [stack+8]; ld.local.s16 %w, [stack+2];"),
    ("generic", "sm_80", "cvt.u64.u32 %l0, %own; cvta.shared.u64 %l1, %l0; st.v2.b32 [%l1], {%a, %b}; ld.b32 %x, [%l1+4]; mov.b64 %l2, stack; cvta.local.u64 %l3, %l2; st.b32 [%l3], %c; ld.b32 %y, [%l3]; isspacep.shared %p0, %l1; isspacep.local %p1, %l1; isspacep.global %p2, %in; isspacep.local %p3, %l3; selp.b32 %z, 1, 2, %p0; @%p1 add.u32 %z, %z, 4; @%p2 add.u32 %z, %z, 8; @%p3 add.u32 %z, %z, 16; cvta.to.shared.u64 %l4, %l1; sub.s64 %l5, %l4, %l0; cvt.u32.u64 %w, %l5;"),
    ("const", "sm_80", "and.b32 %x, %a, 12; mov.u64 %l0, table; cvt.u64.u32 %l1, %x; add.s64 %l1, %l0, %l1; ld.const.b32 %x, [%l1]; ld.const.v2.b32 {%y, %z}, [table+8]; ld.const.s8 %w, [table+3];"),
    ("bar.red", "sm_80", "setp.lt.s32 %p0, %a, %b; bar.red.popc.u32 %x, 0, %p0; bar.red.and.pred %p1, 1, %p0; selp.b32 %y, 1, 2, %p1; bar.red.or.pred %p2, 2, 64, %p0; selp.b32 %z, 1, 2, %p2; setp.ge.u32 %p3, %t, 0; barrier.cta.red.and.pred %p3, 3, 64, %p3; selp.b32 %w, 1, 2, %p3;"),
    ("bar.named", "sm_80", "mov.u32 %x, dynamic; shl.b32 %y, %t, 4; setp.lt.u32 %p0, %t, 32; @!%p0 bra consume; st.shared.b32 [%own], %a; bar.arrive 5, 64; bar.sync 6; bra done; consume: barrier.cta.sync 5, 64; bar.sync 6; done: xor.b32 %y, %y, 512; add.u32 %y, %x, %y; mov.u32 %z, 0; @!%p0 ld.shared.b32 %z, [%y]; mov.u32 %w, 4;"),
    ("bar.warp", "sm_80", "st.shared.b32 [%own], %a; bar.warp.sync -1; xor.b32 %x, %t, 3; shl.b32 %x, %x, 4; mov.u32 %y, dynamic; add.u32 %y, %y, %x; ld.shared.b32 %x, [%y]; mov.u32 %z, 1; mov.u32 %w, 2;"),
    ("divergence", "sm_80", "and.b32 %x, %a, 7; mov.u32 %y, 0; more: setp.eq.u32 %p0, %x, 0; @%p0 bra out; mad.lo.u32 %y, %y, 3, %x; sub.u32 %x, %x, 1; bra.uni more; out: bar.warp.sync -1; vote.sync.ballot.b32 %z, %p0, -1; shfl.sync.idx.b32 %w, %y, 5, 31, -1;"),
    ("special.registers", "sm_80", "mov.u32 %x, %laneid; mov.u32 %y, %ntid.x; mov.u32 %z, %nctaid.x; mov.u32 %w, %lanemask_lt; mov.u32 %a, %lanemask_eq; mov.u32 %b, %lanemask_ge; xor.b32 %w, %w, %a; and.b32 %w, %w, %b; mov.u32 %a, %ctaid.x; add.u32 %z, %z, %a;"),
    ("shared.size", "sm_80", "mov.u32 %x, %dynamic_smem_size; mov.u32 %y, %tid.y; mov.u32 %z, %ctaid.z; mov.u32 %w, %ntid.z;"),
    ("elect", "sm_90", "elect.sync %x|%p0, -1; selp.b32 %y, 1, 2, %p0; setp.ge.u32 %p1, %t, 40; mov.u32 %z, 9; @!%p1 bra not; elect.sync %z|%p2, 0xFFFFFF00; selp.b32 %w, 1, 2, %p2; not: bar.warp.sync -1;"),
    ("griddepcontrol", "sm_90", "griddepcontrol.wait; griddepcontrol.launch_dependents; mov.u32 %x, %a; mov.u32 %y, %b; mov.u32 %z, %c; mov.u32 %w, %e;"),
    ("fences", "sm_90", "st.shared.b32 [%own], %a; fence.acq_rel.cta; membar.cta; fence.sc.gpu; membar.gl; membar.sys; fence.proxy.async; fence.proxy.async.shared::cta; fence.proxy.async.global; fence.proxy.alias; fence.mbarrier_init.release.cluster; ld.shared.b32 %x, [%own]; mov.u32 %y, 1; mov.u32 %z, 2; mov.u32 %w, 3;"),
    ("ordered", "sm_80", "st.relaxed.gpu.global.b32 [%mine], %a; ld.acquire.gpu.global.b32 %x, [%mine]; st.release.sys.global.b32 [%mine+4], %b; ld.relaxed.cta.global.b32 %y, [%mine+4]; st.volatile.global.b32 [%mine+8], %c; ld.volatile.global.b32 %z, [%mine+8]; st.weak.global.b32 [%mine+12], %e; ld.weak.global.b32 %w, [%mine+12];"),
    ("match.64", "sm_80", "and.b32 %x, %a, 1; mov.b64 %l0, {%x, 5}; match.any.sync.b64 %y, %l0, -1; mov.b64 %l1, {3, 4}; match.all.sync.b64 %z|%p0, %l1, -1; selp.b32 %w, 1, 2, %p0;"),
    ("redux.rest", "sm_80", "redux.sync.min.u32 %x, %a, -1; redux.sync.max.s32 %y, %a, -1; redux.sync.or.b32 %z, %a, -1; redux.sync.add.u32 %w, %b, -1;"),
    ("redux.members", "sm_80", "and.b32 %x, %t, 1; setp.eq.u32 %p0, %x, 0; @%p0 bra even; redux.sync.add.s32 %y, %a, 0xAAAAAAAA; bra joined; even: redux.sync.max.s32 %y, %a, 0x55555555; joined: bar.warp.sync -1; mov.u32 %z, 0; mov.u32 %w, 0;"),
    ("shfl.members", "sm_80", "mov.u32 %y, 0; setp.lt.u32 %p0, %t, 48; and.b32 %x, %t, 15; @!%p0 bra other; shfl.sync.down.b32 %y|%p1, %a, 4, 0x101F, -1; bra joined; other: shfl.sync.bfly.b32 %y|%p1, %a, 9, 31, 0xFFFF0000; joined: selp.b32 %z, 1, 2, %p1; mov.u32 %w, 0;"),
    ("nanosleep", "sm_80", "nanosleep.u32 20; mov.u32 %x, %a; mov.u32 %y, %b; mov.u32 %z, %c; mov.u32 %w, %e;"),
    ("cp.async.ignored", "sm_80", "and.b32 %x, %a, 1; setp.ne.u32 %p0, %x, 0; cp.async.ca.shared.global [%own], [%in], 16, %p0; cp.async.wait_all; ld.shared.v4.b32 {%x, %y, %z, %w}, [%own];"),
    ("cp.async.groups", "sm_80", "cp.async.ca.shared.global [%own], [%in+8], 8; cp.async.commit_group; cp.async.ca.shared.global [%own+8], [%in], 8; cp.async.commit_group; cp.async.wait_group 1; ld.shared.v2.b32 {%x, %y}, [%own]; cp.async.wait_group 0; ld.shared.v2.b32 {%z, %w}, [%own+8];"),
];

const THREADS: u32 = 64;

pub fn programs() -> Vec<Program> {
    let mut programs: Vec<Program> = ROWS.iter().map(program).collect();
    programs.push(registers());
    programs
}

fn program(&(name, target, text): &(&str, &'static str, &str)) -> Program {
    let mut random = Random::new(name);
    let input: Vec<u8> = (0..THREADS * 16).map(|_| random.next() as u8).collect();
    let text: String = text.split("; ").map(|line| format!("    {};\n", line.trim_end_matches(';'))).collect();
    let body = format!(
        "    .reg .b64 %in, %out, %mine, %at, %l<8>;\n    .reg .b32 %t, %own, %a, %b, %c, %e, %x, %y, %z, %w;\n\
         \x20   .reg .b16 %h<8>;\n    .reg .f32 %f<8>;\n    .reg .pred %p<4>;\n    .local .align 16 .b8 stack[32];\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n    mov.b16 %h0, 258;\n\
         \x20   mul.wide.u32 %at, %t, 16;\n    add.s64 %in, %in, %at;\n    mul.wide.u32 %at, %t, 16;\n    add.s64 %mine, %out, %at;\n\
         \x20   shl.b32 %own, %t, 4;\n    mov.u32 %x, dynamic;\n    add.u32 %own, %x, %own;\n\
         \x20   ld.global.v4.b32 {{%a, %b, %c, %e}}, [%in];\n    mov.u32 %x, 0;\n    mov.u32 %y, 0;\n    mov.u32 %z, 0;\n    mov.u32 %w, 0;\n\
         {text}    st.global.v4.b32 [%mine], {{%x, %y, %z, %w}};"
    );
    let table = ".const .align 8 .b32 table[4] = {305419896, 2596069104, 2147483647, 4042322160};\n.visible .entry";
    Program {
        ptx: kernel(target, &["input", "output"], THREADS, &body).replace(".visible .entry", table),
        name: name.into(),
        target,
        grid: 1,
        threads: THREADS,
        shared: 16 * THREADS,
        arguments: vec![Argument::Input(input), Argument::Output(16 * THREADS as usize)],
        tolerance: Tolerance::Exact,
    }
}

/// `setmaxnreg` in two warpgroups, of which one gives registers and one takes them.
fn registers() -> Program {
    let body = "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t, %a;\n    .reg .pred %p;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mul.wide.u32 %at, %t, 4;\n    add.s64 %in, %in, %at;\n    add.s64 %out, %out, %at;\n    ld.global.b32 %a, [%in];\n\
         \x20   setp.lt.u32 %p, %t, 128;\n    @!%p bra takes;\n    setmaxnreg.dec.sync.aligned.u32 40;\n    add.u32 %a, %a, 1;\n    bra join;\n\
         takes:\n    setmaxnreg.inc.sync.aligned.u32 88;\n    mul.lo.u32 %a, %a, 3;\n\
         join:\n    st.global.b32 [%out], %a;";
    let mut random = Random::new("setmaxnreg");
    let input: Vec<u8> = (0..1024).map(|_| random.next() as u8).collect();
    Program {
        ptx: kernel("sm_90a", &["input", "output"], 256, body).replace("256, 1, 1\n{", "256, 1, 1\n.maxnreg 64\n{"),
        name: "setmaxnreg".into(),
        target: "sm_90a",
        grid: 1,
        threads: 256,
        shared: 0,
        arguments: vec![Argument::Input(input), Argument::Output(1024)],
        tolerance: Tolerance::Exact,
    }
}
