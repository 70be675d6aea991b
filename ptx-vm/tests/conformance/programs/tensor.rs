//! `wgmma` with every operand layout, and tensor copies with every swizzle.

use super::matrix::{Spread, elements};
use super::{Argument, Program, Random, Tolerance, kernel};

const TARGET: &str = "sm_90a";

pub fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for (element, result) in [("f16", "f32"), ("f16", "f16"), ("bf16", "f32"), ("tf32", "f32"), ("e4m3", "f32")] {
        for spread in [Spread::Near, Spread::Wide] {
            programs.push(wgmma(&Wgmma { element, result, n: 16, spread, ..Wgmma::default() }));
        }
    }
    for swizzle in 0..4 {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false)] {
            programs.push(wgmma(&Wgmma { swizzle, transpose_a, transpose_b, n: 64, ..Wgmma::default() }));
        }
    }
    programs.push(wgmma(&Wgmma { registers: true, n: 24, ..Wgmma::default() }));
    programs.push(wgmma(&Wgmma { registers: true, transpose_b: true, swizzle: 1, n: 64, ..Wgmma::default() }));
    programs.push(wgmma(&Wgmma { n: 128, ..Wgmma::default() }));
    for (i, swizzle) in ["none", "32B", "64B", "128B"].into_iter().enumerate() {
        let row = [128, 16, 32, 64][i];
        programs.push(load(&format!("tma.load.2d.{swizzle}"), swizzle, &[96, 20], &[row, 16], &[8, -3]));
    }
    programs.push(load("tma.load.1d", "none", &[200], &[64], &[160]));
    programs.push(load("tma.load.3d", "64B", &[40, 5, 6], &[32, 4, 2], &[16, 3, 5]));
    programs.push(load("tma.load.4d", "32B", &[24, 3, 4, 5], &[16, 2, 2, 2], &[16, -1, 3, 4]));
    programs.push(load("tma.load.5d", "none", &[16, 3, 2, 3, 4], &[8, 2, 2, 2, 2], &[8, 2, 1, -1, 3]));
    programs
}

/// One `wgmma` over shared memory filled with random elements; strides are such that any layout stays inside.
#[derive(Clone, Debug)]
struct Wgmma {
    element: &'static str,
    result: &'static str,
    n: usize,
    spread: Spread,
    /// 0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes: the descriptor's code.
    swizzle: u64,
    transpose_a: bool,
    transpose_b: bool,
    registers: bool,
}

impl Default for Wgmma {
    fn default() -> Self {
        Self {
            element: "bf16",
            result: "f32",
            n: 32,
            spread: Spread::Near,
            swizzle: 0,
            transpose_a: false,
            transpose_b: false,
            registers: false,
        }
    }
}

/// Bytes of shared memory of each operand.
const OPERAND: usize = 16384;

impl Wgmma {
    /// Leading and stride byte offsets of an operand, distinct so that a mix-up shows.
    fn strides(&self, transposed: bool) -> (u64, u64) {
        match (self.swizzle, transposed) {
            (0, false) => (128, 256),
            (0, true) => (256, 128),
            (1, true) => (2048, 1024),
            (2, true) => (1024, 512),
            (3, true) => (512, 256),
            (1, false) => (16, 1024),
            (2, false) => (16, 512),
            _ => (16, 256),
        }
    }

    fn descriptor(&self, transposed: bool) -> u64 {
        let (leading, stride) = self.strides(transposed);
        leading >> 4 << 16 | stride >> 4 << 32 | self.swizzle << 62
    }
}

fn wgmma(case: &Wgmma) -> Program {
    let Wgmma { element, result, n, spread, swizzle, transpose_a, transpose_b, registers } = case;
    let source = if *registers { "registers" } else { "shared" };
    let flags = (usize::from(*transpose_a), usize::from(*transpose_b));
    let name = format!("wgmma.n{n}.{result}.{element}.{source}.swizzle{swizzle}.t{}{}.{spread:?}", flags.0, flags.1)
        .to_lowercase();
    let mut random = Random::new(&name);
    let (width, depth) = match *element {
        "f16" | "bf16" => (2, 16),
        "tf32" => (4, 8),
        _ => (1, 32),
    };
    let d = if *result == "f16" { n / 4 } else { n / 2 };
    let operands = elements(element, *spread, 2 * OPERAND / width, &mut random);
    let start = elements(result, *spread, 128 * d * if *result == "f16" { 2 } else { 1 }, &mut random);
    let names: Vec<String> = (0..d).map(|i| format!("%d{i}")).collect();
    let mut body = format!(
        "    .reg .b64 %in, %start, %out, %at, %from, %da, %db, %low;\n    .reg .b32 %t, %base, %to, %w<4>, %d<{d}>;\n\
         \x20   .reg .pred %p, %more;\n    .reg .b32 %i;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %start, [start];\n    ld.param.u64 %out, [output];\n\
         \x20   mov.u32 %t, %tid.x;\n    mov.u32 %base, dynamic;\n    shl.b32 %i, %t, 4;\n\
         fill:\n    cvt.u64.u32 %at, %i;\n    add.s64 %from, %in, %at;\n    add.s32 %to, %base, %i;\n\
         \x20   ld.global.v4.b32 {{%w0, %w1, %w2, %w3}}, [%from];\n    st.shared.v4.b32 [%to], {{%w0, %w1, %w2, %w3}};\n\
         \x20   add.s32 %i, %i, 2048;\n    setp.lt.s32 %more, %i, {};\n    @%more bra fill;\n\
         \x20   fence.proxy.async.shared::cta;\n    bar.sync 0;\n\
         \x20   mul.wide.u32 %at, %t, {};\n    add.s64 %start, %start, %at;\n    add.s64 %out, %out, %at;\n",
        2 * OPERAND,
        4 * d
    );
    for (i, register) in names.iter().enumerate() {
        body += &format!("    ld.global.b32 {register}, [%start+{}];\n", 4 * i);
    }
    if *registers {
        // The fragment is simply the first bytes of the input, sixteen a thread.
        body += "    shl.b32 %i, %t, 4;\n    cvt.u64.u32 %at, %i;\n    add.s64 %from, %in, %at;\n\
                 \x20   ld.global.v4.b32 {%w0, %w1, %w2, %w3}, [%from];\n";
    }
    body += &format!(
        "    and.b32 %to, %base, 0x3FFFF;\n    shr.u32 %to, %to, 4;\n    cvt.u64.u32 %low, %to;\n\
         \x20   add.s64 %da, %low, {};\n    add.s64 %db, %low, {};\n    add.s64 %db, %db, {};\n    setp.ne.s32 %p, %base, 0;\n\
         \x20   wgmma.fence.sync.aligned;\n",
        case.descriptor(*transpose_a) as i64,
        case.descriptor(*transpose_b) as i64,
        OPERAND >> 4
    );
    let a = if *registers { "{%w0, %w1, %w2, %w3}" } else { "%da" };
    let transposes = match (width, registers) {
        (2, false) => format!(", {}, {}", flags.0, flags.1),
        (2, true) => format!(", {}", flags.1),
        _ => String::new(),
    };
    body += &format!(
        "    wgmma.mma_async.sync.aligned.m64n{n}k{depth}.{result}.{element}.{element} {{{}}}, {a}, %db, %p, 1, 1{transposes};\n\
         \x20   wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n",
        names.join(", ")
    );
    for (i, register) in names.iter().enumerate() {
        body += &format!("    st.global.b32 [%out+{}], {register};\n", 4 * i);
    }
    Program {
        name,
        target: TARGET,
        ptx: kernel(TARGET, &["input", "start", "output"], 128, &body),
        threads: 128,
        shared: 2 * OPERAND as u32,
        arguments: vec![Argument::Input(operands), Argument::Input(start), Argument::Output(128 * 4 * d)],
        tolerance: Tolerance::Exact,
    }
}

/// A tensor copy into shared memory, whose bytes are then the result.
fn load(name: &str, swizzle: &'static str, sizes: &[u32], tile: &[u32], at: &[i32]) -> Program {
    let mut random = Random::new(name);
    let mut strides = Vec::new();
    let mut bytes = u64::from(sizes[0]) * 2;
    for &size in &sizes[1..] {
        // Rows are padded, so that strides are not products of sizes.
        bytes = bytes.next_multiple_of(16) + 16;
        strides.push(bytes);
        bytes *= u64::from(size);
    }
    let total: u32 = tile.iter().product::<u32>() * 2;
    let input: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
    let coordinates: Vec<String> = at.iter().map(i32::to_string).collect();
    let body = format!(
        "    .reg .b64 %out, %at, %map;\n    .reg .b32 %t, %base, %bar, %i, %w;\n    .reg .pred %first, %done, %more;\n\
         \x20   .shared .align 8 .b64 full;\n\
         \x20   ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n    mov.u32 %base, dynamic;\n    mov.u32 %bar, full;\n\
         \x20   mov.b64 %map, map;\n    cvta.param.u64 %map, %map;\n    setp.eq.s32 %first, %t, 0;\n\
         \x20   @!%first bra ready;\n    mbarrier.init.shared::cta.b64 [%bar], 1;\n    fence.mbarrier_init.release.cluster;\n\
         \x20   mbarrier.arrive.expect_tx.shared::cta.b64 _, [%bar], {total};\n\
         \x20   cp.async.bulk.tensor.{}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%base], [%map, {{{}}}], [%bar];\n\
         ready:\n    bar.sync 0;\n\
         wait:\n    mbarrier.try_wait.parity.shared::cta.b64 %done, [%bar], 0;\n    @!%done bra wait;\n\
         \x20   shl.b32 %i, %t, 2;\n\
         copy:\n    setp.lt.u32 %more, %i, {total};\n    @!%more bra end;\n    add.s32 %bar, %base, %i;\n\
         \x20   ld.shared.b32 %w, [%bar];\n    cvt.u64.u32 %at, %i;\n    add.s64 %at, %out, %at;\n    st.global.b32 [%at], %w;\n\
         \x20   add.s32 %i, %i, 512;\n    bra copy;\nend:",
        at.len(),
        coordinates.join(", ")
    );
    Program {
        name: name.into(),
        target: TARGET,
        ptx: kernel(TARGET, &["input", "#map", "output"], 128, &body),
        threads: 128,
        shared: total.max(1024),
        arguments: vec![
            Argument::Input(input),
            Argument::Map { over: 0, element: "bf16", sizes: sizes.to_vec(), strides, tile: tile.to_vec(), swizzle },
            Argument::Output(total as usize),
        ],
        tolerance: Tolerance::Exact,
    }
}
