//! Tensor-core instructions, with operands that show how their sums are formed.

use super::{Argument, Program, Random, Tolerance, kernel};

/// How operand patterns are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spread {
    /// Exponents within a few binades: rounding in the last places.
    Near,
    /// Exponents all over the range: alignment and cutting.
    Wide,
    /// Zeroes, subnormals, infinities and NaNs among ordinary values.
    Special,
}

/// A pattern of a matrix element.
pub(super) fn element(ty: &str, spread: Spread, random: &mut Random) -> u32 {
    let bits = random.next() as u32;
    let (exponent_bits, fraction_bits, bias) = match ty {
        "f16" => (5, 10, 15),
        "bf16" => (8, 7, 127),
        "tf32" | "f32" => (8, 23, 127),
        "e4m3" => (4, 3, 7),
        "e5m2" => (5, 2, 15),
        _ => return bits & 0xff,
    };
    let top = (1u32 << exponent_bits) - 1;
    let sign = bits >> 31 << (exponent_bits + fraction_bits);
    let fraction = bits & ((1 << fraction_bits) - 1);
    let near = (bias - 2 + random.below(4) as i32) as u32;
    let exponent = match spread {
        Spread::Near => near,
        Spread::Wide => {
            let half = (bias / 4).max(4) as u64;
            (bias - half as i32 + random.below(2 * half) as i32) as u32
        }
        Spread::Special => match random.below(24) {
            0 => return sign,
            1 => 0,
            2 => return sign | top << fraction_bits,
            3 => return top << fraction_bits | 1 << (fraction_bits - 1),
            _ => near,
        },
    };
    sign | exponent.clamp(u32::from(spread != Spread::Special), top - 1) << fraction_bits | fraction
}

/// So many elements as little-endian bytes of their width.
pub(super) fn elements(ty: &str, spread: Spread, count: usize, random: &mut Random) -> Vec<u8> {
    let width = match ty {
        "f16" | "bf16" => 2,
        "tf32" | "f32" | "s32" => 4,
        _ => 1,
    };
    // Infinities are rare among many terms, or every sum would be one.
    (0..count).flat_map(|_| element(ty, spread, random).to_le_bytes()[..width].to_vec()).collect()
}

#[rustfmt::skip]
const SHAPES: &[(&str, usize, &str, &str, &str)] = &[
    // target, k, result, a, b
    ("sm_80", 8, "f32", "f16", "f16"),
    ("sm_80", 16, "f32", "f16", "f16"),
    ("sm_80", 16, "f16", "f16", "f16"),
    ("sm_80", 8, "f32", "bf16", "bf16"),
    ("sm_80", 16, "f32", "bf16", "bf16"),
    ("sm_80", 4, "f32", "tf32", "tf32"),
    ("sm_80", 8, "f32", "tf32", "tf32"),
    ("sm_80", 16, "s32", "s8", "s8"),
    ("sm_80", 32, "s32", "u8", "s8"),
    ("sm_89", 32, "f32", "e4m3", "e4m3"),
    ("sm_89", 32, "f32", "e5m2", "e4m3"),
    ("sm_80", 8, "f16", "f16", "f16"),
    ("sm_80", 16, "s32", "u8", "u8"),
    ("sm_80", 32, "s32", "s8", "s8"),
    ("sm_80", 32, "s32", "s8", "u8"),
    ("sm_89", 32, "f32", "e4m3", "e5m2"),
    ("sm_89", 32, "f32", "e5m2", "e5m2"),
];

/// Cases of each shape and spread: one a warp.
const WARPS: usize = 4;

pub fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for &(target, k, result, a, b) in SHAPES {
        for spread in [Spread::Near, Spread::Wide, Spread::Special] {
            if result == "s32" && spread != Spread::Near {
                continue;
            }
            programs.push(mma(target, k, result, a, b, spread));
        }
    }
    programs
}

fn mma(target: &'static str, k: usize, result: &str, a: &str, b: &str, spread: Spread) -> Program {
    let name = format!("mma.m16n8k{k}.{result}.{a}.{b}.{spread:?}").to_lowercase();
    let mut random = Random::new(&name);
    let width = match a {
        "f16" | "bf16" => 2,
        "tf32" => 4,
        _ => 1,
    };
    let depth = k * width / 16;
    let (na, nb, nc) = (2 * depth, depth, if result == "f16" { 2 } else { 4 });
    let threads = 32 * WARPS;
    let words = |count: usize, ty: &str, random: &mut Random| {
        let per_word = match ty {
            "f16" | "bf16" => 2,
            "tf32" | "f32" | "s32" => 1,
            _ => 4,
        };
        elements(ty, spread, count * per_word, random)
    };
    let inputs = [
        words(threads * na, a, &mut random),
        words(threads * nb, b, &mut random),
        words(threads * nc, if result == "s32" { "s32" } else { result }, &mut random),
    ];
    let list = |prefix: &str, n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("%{prefix}{i}")).collect();
        format!("{{{}}}", names.join(", "))
    };
    let mut body = String::from(
        "    .reg .b64 %pa, %pb, %pc, %out, %at;\n    .reg .b32 %t;\n    .reg .b32 %a<4>, %b<2>, %c<4>, %d<4>;\n\
         \x20   mov.u32 %t, %tid.x;\n",
    );
    for (register, parameter, n) in [("%pa", "a", na), ("%pb", "b", nb), ("%pc", "c", nc), ("%out", "output", nc)] {
        body += &format!(
            "    ld.param.u64 {register}, [{parameter}];\n    mul.wide.u32 %at, %t, {};\n    add.s64 {register}, {register}, %at;\n",
            4 * n
        );
    }
    for (register, pointer, n) in [("a", "%pa", na), ("b", "%pb", nb), ("c", "%pc", nc)] {
        for i in 0..n {
            body += &format!("    ld.global.b32 %{register}{i}, [{pointer}+{}];\n", 4 * i);
        }
    }
    body += &format!(
        "    mma.sync.aligned.m16n8k{k}.row.col.{result}.{a}.{b}.{result} {}, {}, {}, {};\n",
        list("d", nc),
        list("a", na),
        list("b", nb),
        list("c", nc)
    );
    for i in 0..nc {
        body += &format!("    st.global.b32 [%out+{}], %d{i};\n", 4 * i);
    }
    let [a, b, c] = inputs;
    let mut ptx = kernel(target, &["a", "b", "c", "output"], threads as u32, &body);
    if target == "sm_89" {
        ptx = ptx.replace(".version 8.3", ".version 8.4");
    }
    Program {
        name,
        target,
        ptx,
        grid: 1,
        threads: threads as u32,
        shared: 0,
        arguments: vec![Argument::Input(a), Argument::Input(b), Argument::Input(c), Argument::Output(threads * 4 * nc)],
        tolerance: Tolerance::Exact,
    }
}
