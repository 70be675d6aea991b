//! `atom` and `red`, each thread on a place of its own: what is returned, and what is left.

use super::{Argument, Program, Random, Tolerance, kernel};

/// What the bytes of an operand look like.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bits,
    F16,
    Bf16,
    F32,
    F64,
}

use Kind::*;

/// Target, instruction (`d` result, `[m]` address, `b`, `c` operands; operands of vectors are lists), bits of an element, and its kind.
#[rustfmt::skip]
const ROWS: &[(&str, &str, usize, Kind)] = &[
    ("sm_80", "atom.global.add.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.add.u64 d, [m], b", 64, Bits),
    ("sm_80", "atom.global.min.s32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.max.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.min.u64 d, [m], b", 64, Bits),
    ("sm_80", "atom.global.max.s64 d, [m], b", 64, Bits),
    ("sm_80", "atom.global.and.b32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.or.b64 d, [m], b", 64, Bits),
    ("sm_80", "atom.global.xor.b32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.exch.b32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.exch.b64 d, [m], b", 64, Bits),
    ("sm_80", "atom.global.cas.b32 d, [m], b, c", 32, Bits),
    ("sm_80", "atom.global.cas.b64 d, [m], b, c", 64, Bits),
    ("sm_80", "atom.global.cas.b16 d, [m], b, c", 16, Bits),
    ("sm_80", "atom.global.inc.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.dec.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.global.add.f32 d, [m], b", 32, F32),
    ("sm_80", "atom.global.add.f64 d, [m], b", 64, F64),
    ("sm_80", "atom.global.add.noftz.f16 d, [m], b", 16, F16),
    ("sm_80", "atom.global.add.noftz.f16x2 d, [m], b", 32, F16),
    ("sm_90", "atom.global.add.noftz.bf16 d, [m], b", 16, Bf16),
    ("sm_90", "atom.global.add.noftz.bf16x2 d, [m], b", 32, Bf16),
    ("sm_90", "atom.global.v2.f32.add d, [m], b", 32, F32),
    ("sm_90", "atom.global.v4.f32.add d, [m], b", 32, F32),
    ("sm_80", "atom.acq_rel.gpu.global.add.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.acquire.sys.global.exch.b32 d, [m], b", 32, Bits),
    ("sm_80", "atom.release.cta.global.cas.b32 d, [m], b, c", 32, Bits),
    ("sm_80", "atom.shared.add.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.shared.add.u64 d, [m], b", 64, Bits),
    ("sm_80", "atom.shared.max.s32 d, [m], b", 32, Bits),
    ("sm_80", "atom.shared.cas.b32 d, [m], b, c", 32, Bits),
    ("sm_80", "atom.shared.cas.b64 d, [m], b, c", 64, Bits),
    ("sm_80", "atom.shared.exch.b64 d, [m], b", 64, Bits),
    ("sm_80", "atom.shared.inc.u32 d, [m], b", 32, Bits),
    ("sm_80", "atom.shared.add.f32 d, [m], b", 32, F32),
    ("sm_80", "atom.shared.add.f64 d, [m], b", 64, F64),
    ("sm_80", "atom.shared.add.noftz.f16x2 d, [m], b", 32, F16),
    ("sm_90", "atom.shared.add.noftz.bf16x2 d, [m], b", 32, Bf16),
    ("sm_80", "red.global.add.s32 [m], b", 32, Bits),
    ("sm_80", "red.global.min.s64 [m], b", 64, Bits),
    ("sm_80", "red.global.xor.b64 [m], b", 64, Bits),
    ("sm_80", "red.global.inc.u32 [m], b", 32, Bits),
    ("sm_80", "red.global.add.f32 [m], b", 32, F32),
    ("sm_80", "red.global.add.f64 [m], b", 64, F64),
    ("sm_80", "red.global.add.noftz.f16x2 [m], b", 32, F16),
    ("sm_90", "red.global.add.noftz.bf16 [m], b", 16, Bf16),
    ("sm_90", "red.global.v2.f32.add [m], b", 32, F32),
    ("sm_90", "red.global.v4.f32.add [m], b", 32, F32),
    ("sm_90", "red.global.v4.f16x2.add.noftz [m], b", 32, F16),
    ("sm_90", "red.global.v2.bf16x2.max.noftz [m], b", 32, Bf16),
    ("sm_90", "red.global.v8.f16.min.noftz [m], b", 16, F16),
    ("sm_80", "red.relaxed.gpu.global.or.b32 [m], b", 32, Bits),
    ("sm_80", "red.shared.add.u32 [m], b", 32, Bits),
    ("sm_80", "red.shared.and.b32 [m], b", 32, Bits),
    ("sm_80", "red.shared.add.f32 [m], b", 32, F32),
];

const THREADS: u32 = 64;

pub fn programs() -> Vec<Program> {
    ROWS.iter().map(program).collect()
}

/// One 16-byte operand: special patterns among ordinary ones. NaNs have the payload that the hardware gives them.
fn pattern(kind: Kind, random: &mut Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (width, specials): (usize, &[u64]) = match kind {
        Bits => (8, &[0, 1, u64::MAX, 1 << 63 | 1 << 31, 0x7fff_ffff_7fff_ffff]),
        F16 => (2, &[0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0x7c00, 0xfc00, 0x3c00]),
        Bf16 => (2, &[0, 0x8000, 1, 0x807f, 0x80, 0x7f7f, 0x7f80, 0xff80, 0x3f80]),
        F32 => (
            4,
            &[
                0,
                0x8000_0000,
                1,
                0x8000_0001,
                0x007f_ffff,
                0x0080_0000,
                0x8080_0001,
                0x7f7f_ffff,
                0x7f80_0000,
                0x3f80_0000,
            ],
        ),
        F64 => (8, &[0, 1 << 63, 1, 0x7ff0 << 48, 0x3ff0 << 48, 0x000f << 48, 0x0010 << 48]),
    };
    for part in bytes.chunks_exact_mut(width) {
        let value = match random.below(3) {
            0 => specials[random.below(specials.len() as u64) as usize],
            _ => match kind {
                Bits => random.next(),
                F16 => random.next() & 0x83ff | (8 + random.below(12)) << 10,
                Bf16 => random.next() & 0x807f | (120 + random.below(12)) << 7,
                F32 => random.next() & 0x807f_ffff | (110 + random.below(30)) << 23,
                F64 => random.next() & 0x800f_ffff_ffff_ffff | (1000 + random.below(60)) << 52,
            },
        };
        part.copy_from_slice(&value.to_le_bytes()[..width]);
    }
    bytes
}

fn program(&(target, text, bits, kind): &(&'static str, &str, usize, Kind)) -> Program {
    let (mnemonic, operands) = text.split_once(' ').expect("operands");
    let lanes = mnemonic.split('.').find_map(|w| w.strip_prefix('v')?.parse::<usize>().ok()).unwrap_or(1);
    let mut random = Random::new(mnemonic);
    let mut input = Vec::new();
    for _ in 0..THREADS {
        let old = pattern(kind, &mut random);
        let mut b = pattern(kind, &mut random);
        if mnemonic.contains("cas") && random.below(2) == 0 {
            b = old;
        }
        input.extend(old);
        input.extend(b);
        input.extend(pattern(kind, &mut random));
    }
    let shared = mnemonic.contains(".shared");
    let list = |letter: &str| {
        let names: Vec<String> = (0..lanes).map(|i| format!("%{letter}{i}")).collect();
        if lanes == 1 { names.concat() } else { format!("{{{}}}", names.join(", ")) }
    };
    let mut body = format!(
        "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t, %base, %w<4>;\n    .reg .b{bits} %d<8>, %b<8>, %c<8>;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mul.wide.u32 %at, %t, 48;\n    add.s64 %in, %in, %at;\n    mul.wide.u32 %at, %t, 32;\n    add.s64 %out, %out, %at;\n\
         \x20   mov.u32 %base, dynamic;\n    mad.lo.u32 %base, %t, 16, %base;\n    ld.global.v4.b32 {{%w0, %w1, %w2, %w3}}, [%in];\n"
    );
    let place = if shared { "%base" } else { "%out" };
    body += &format!("    st.{}.v4.b32 [{place}], {{%w0, %w1, %w2, %w3}};\n", if shared { "shared" } else { "global" });
    for i in 0..lanes {
        body += &format!(
            "    ld.global.b{bits} %b{i}, [%in+{}];\n    ld.global.b{bits} %c{i}, [%in+{}];\n    mov.b{bits} %d{i}, 0;\n",
            16 + i * bits / 8,
            32 + i * bits / 8
        );
    }
    let operands: Vec<String> = operands
        .split(", ")
        .map(|operand| match operand {
            "[m]" => format!("[{place}]"),
            letter => list(letter),
        })
        .collect();
    body += &format!("    {mnemonic} {};\n", operands.join(", "));
    for i in 0..lanes {
        body += &format!("    st.global.b{bits} [%out+{}], %d{i};\n", 16 + i * bits / 8);
    }
    if shared {
        body +=
            "    ld.shared.v4.b32 {%w0, %w1, %w2, %w3}, [%base];\n    st.global.v4.b32 [%out], {%w0, %w1, %w2, %w3};\n";
    }
    Program {
        ptx: kernel(target, &["input", "output"], THREADS, &body),
        name: mnemonic.into(),
        target,
        grid: 1,
        threads: THREADS,
        shared: 16 * THREADS,
        arguments: vec![Argument::Input(input), Argument::Output(32 * THREADS as usize)],
        tolerance: Tolerance::Exact,
    }
}
