//! `wgmma` with every operand source, type and layout.

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
    programs.extend(types());
    programs.extend(layouts());
    programs
}

/// The other pairs of types, special values, signs, and sums that start from nothing.
fn types() -> Vec<Program> {
    let small = Wgmma { n: 16, ..Wgmma::default() };
    let pairs = [
        ("e5m2", "e5m2", "f32"),
        ("e4m3", "e5m2", "f32"),
        ("e5m2", "e4m3", "f16"),
        ("e4m3", "e4m3", "f16"),
        ("s8", "s8", "s32"),
        ("u8", "u8", "s32"),
        ("s8", "u8", "s32"),
        ("u8", "s8", "s32"),
    ];
    let mut programs: Vec<Program> =
        pairs.map(|(element, b, result)| wgmma(&Wgmma { element, b, result, ..small.clone() })).into();
    programs.push(wgmma(&Wgmma { element: "s8", b: "s8", result: "s32", saturate: true, ..small.clone() }));
    for (element, result) in
        [("f16", "f32"), ("f16", "f16"), ("bf16", "f32"), ("tf32", "f32"), ("e4m3", "f32"), ("e5m2", "f32")]
    {
        programs.push(wgmma(&Wgmma { element, b: element, result, spread: Spread::Special, ..small.clone() }));
    }
    for (element, result) in [("f16", "f32"), ("f16", "f16"), ("tf32", "f32"), ("e4m3", "f32"), ("s8", "s32")] {
        programs.push(wgmma(&Wgmma { element, b: element, result, registers: true, ..small.clone() }));
        programs.push(wgmma(&Wgmma { element, b: element, result, from_zero: true, ..small.clone() }));
    }
    for negate in [(true, false), (false, true), (true, true)] {
        programs.push(wgmma(&Wgmma { negate, ..small.clone() }));
    }
    programs.push(wgmma(&Wgmma { element: "f16", b: "f16", result: "f16", negate: (true, false), ..small.clone() }));
    programs.push(wgmma(&Wgmma { registers: true, negate: (true, false), ..small }));
    programs
}

/// The other widths, and swizzles of elements that are not two bytes wide.
fn layouts() -> Vec<Program> {
    let mut programs = Vec::new();
    for n in [8, 40, 96, 256] {
        programs.push(wgmma(&Wgmma { n, ..Wgmma::default() }));
    }
    for (element, result) in [("tf32", "f32"), ("e4m3", "f32"), ("s8", "s32")] {
        for swizzle in 1..4 {
            programs.push(wgmma(&Wgmma { element, b: element, result, swizzle, ..Wgmma::default() }));
        }
    }
    for swizzle in 0..4 {
        programs.push(wgmma(&Wgmma {
            element: "f16",
            b: "f16",
            swizzle,
            transpose_a: true,
            transpose_b: true,
            ..Wgmma::default()
        }));
        programs.push(wgmma(&Wgmma { swizzle, registers: true, transpose_b: true, n: 32, ..Wgmma::default() }));
    }
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
    /// The type of the second operand; nothing for that of the first.
    b: &'static str,
    saturate: bool,
    /// Without the accumulator's contents.
    from_zero: bool,
    negate: (bool, bool),
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
            b: "",
            saturate: false,
            from_zero: false,
            negate: (false, false),
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
    let Wgmma { element, result, n, spread, swizzle, transpose_a, transpose_b, registers, b, .. } = case;
    let second = if b.is_empty() { element } else { b };
    let source = if *registers { "registers" } else { "shared" };
    let flags = (usize::from(*transpose_a), usize::from(*transpose_b));
    let mut name =
        format!("wgmma.n{n}.{result}.{element}.{source}.swizzle{swizzle}.t{}{}.{spread:?}", flags.0, flags.1)
            .to_lowercase();
    if second != element {
        name += &format!(".by.{second}");
    }
    for (given, suffix) in [
        (case.saturate, ".satfinite"),
        (case.from_zero, ".zero"),
        (case.negate.0, ".negative.a"),
        (case.negate.1, ".negative.b"),
    ] {
        name += if given { suffix } else { "" };
    }
    let mut random = Random::new(&name);
    let (width, depth) = match *element {
        "f16" | "bf16" => (2, 16),
        "tf32" => (4, 8),
        _ => (1, 32),
    };
    let d = if *result == "f16" { n / 4 } else { n / 2 };
    let mut operands = elements(element, *spread, OPERAND / width, &mut random);
    operands.extend(elements(second, *spread, OPERAND / width, &mut random));
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
    let sign = |negative: bool| if negative { -1 } else { 1 };
    let signs = match *result {
        "s32" => String::new(),
        _ => format!(", {}, {}", sign(case.negate.0), sign(case.negate.1)),
    };
    let saturate = if case.saturate { ".satfinite" } else { "" };
    let whether = if case.from_zero { "0" } else { "%p" };
    body += &format!(
        "    wgmma.mma_async.sync.aligned.m64n{n}k{depth}.{result}.{element}.{second}{saturate} {{{}}}, {a}, %db, {whether}{signs}{transposes};\n\
         \x20   wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n",
        names.join(", ")
    );
    for (i, register) in names.iter().enumerate() {
        body += &format!("    st.global.b32 [%out+{}], {register};\n", 4 * i);
    }
    let mut ptx = kernel(TARGET, &["input", "start", "output"], 128, &body);
    if *result == "s32" && second != element {
        ptx = ptx.replace(".version 8.3", ".version 8.4");
    }
    Program {
        name,
        target: TARGET,
        ptx,
        grid: 1,
        threads: 128,
        shared: 2 * OPERAND as u32,
        arguments: vec![Argument::Input(operands), Argument::Input(start), Argument::Output(128 * 4 * d)],
        tolerance: Tolerance::Exact,
    }
}
