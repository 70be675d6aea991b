//! Instructions that work on one thread's registers.

use super::{Argument, Program, Random, Tolerance, kernel};

/// What an operand's patterns should look like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    B16,
    B32,
    B64,
    /// A shift amount or bit position.
    Small,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    F32,
    /// f32 of moderate magnitude, for approximate functions.
    Moderate,
    F64,
    Pred,
    E4m3x2,
}

use Kind::*;

impl Kind {
    fn register(self) -> &'static str {
        match self {
            B16 | F16 | Bf16 | E4m3x2 => "b16",
            B64 | F64 => "b64",
            Pred => "pred",
            _ => "b32",
        }
    }

    fn pattern(self, random: &mut Random) -> u64 {
        let special = random.below(3) == 0;
        let pick = |random: &mut Random, pool: &[u64]| pool[random.below(pool.len() as u64) as usize];
        match self {
            B16 if special => pick(random, &[0, 1, 0x7fff, 0x8000, 0xffff]),
            B32 if special => pick(random, &[0, 1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x8000_0001]),
            B64 if special => pick(random, &[0, 1, i64::MAX as u64, 1 << 63, u64::MAX, 0xffff_ffff]),
            Small => random.below(70),
            F16 if special => {
                pick(random, &[0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3c00, 0xbc00])
            }
            Bf16 if special => {
                pick(random, &[0, 0x8000, 1, 0x807f, 0x80, 0x7f7f, 0x7f80, 0xff80, 0x7fc0, 0x3f80, 0xbf80])
            }
            F16x2 => F16.pattern(random) | F16.pattern(random) << 16,
            Bf16x2 => Bf16.pattern(random) | Bf16.pattern(random) << 16,
            F32 if special => pick(
                random,
                &[
                    0,
                    0x8000_0000,
                    1,
                    0x8000_0001,
                    0x007f_ffff,
                    0x0080_0000,
                    0x7f7f_ffff,
                    0x7f80_0000,
                    0xff80_0000,
                    0x7fc0_0000,
                    0x3f80_0000,
                    0xbf80_0000,
                    0x4f00_0000,
                    0xcf00_0000,
                    0x5f80_0000,
                    0x3f00_0000,
                    0x4020_0000,
                ],
            ),
            F32 if random.below(2) == 0 => Moderate.pattern(random),
            Moderate => (random.next() & 0x807f_ffff) | (117 + random.below(14)) << 23,
            F64 if special => pick(random, &[0, 1 << 63, 1, 0x7ff0 << 48, 0x7ff8 << 48, 0x3ff0 << 48, 0x41e0 << 48]),
            F64 => (random.next() & 0x800f_ffff_ffff_ffff) | (1000 + random.below(60)) << 52,
            Pred => random.below(2),
            B64 => random.next(),
            B32 | F32 => random.next() & 0xffff_ffff,
            _ => random.next() & 0xffff,
        }
    }
}

/// `name`, `text` with `d`, `a`, `b`, `c`, `e` for the operands, their kinds, and the tolerance.
struct Row(&'static str, &'static [Kind], Tolerance);

const EXACT: Tolerance = Tolerance::Exact;

/// The destination's kind comes first.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("add.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("add.sat.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("sub.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("sub.sat.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("add.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("sub.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("add.s16 d, a, b", &[B16, B16, B16], EXACT),
    Row("mul.lo.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("mul.hi.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("mul.hi.u32 d, a, b", &[B32, B32, B32], EXACT),
    Row("mul.lo.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("mul.hi.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("mul.hi.u64 d, a, b", &[B64, B64, B64], EXACT),
    Row("mul.lo.s16 d, a, b", &[B16, B16, B16], EXACT),
    Row("mul.wide.s16 d, a, b", &[B32, B16, B16], EXACT),
    Row("mul.wide.s32 d, a, b", &[B64, B32, B32], EXACT),
    Row("mul.wide.u32 d, a, b", &[B64, B32, B32], EXACT),
    Row("mad.lo.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("mad.hi.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("mad.hi.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("mad.wide.s32 d, a, b, c", &[B64, B32, B32, B64], EXACT),
    Row("mad.wide.u32 d, a, b, c", &[B64, B32, B32, B64], EXACT),
    Row("sad.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("sad.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("div.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("div.u32 d, a, b", &[B32, B32, B32], EXACT),
    Row("rem.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("rem.u32 d, a, b", &[B32, B32, B32], EXACT),
    Row("div.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("rem.u64 d, a, b", &[B64, B64, B64], EXACT),
    Row("min.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("max.u32 d, a, b", &[B32, B32, B32], EXACT),
    Row("min.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("abs.s32 d, a", &[B32, B32], EXACT),
    Row("neg.s32 d, a", &[B32, B32], EXACT),
    Row("not.b32 d, a", &[B32, B32], EXACT),
    Row("cnot.b32 d, a", &[B32, B32], EXACT),
    Row("and.b64 d, a, b", &[B64, B64, B64], EXACT),
    Row("or.b32 d, a, b", &[B32, B32, B32], EXACT),
    Row("xor.b16 d, a, b", &[B16, B16, B16], EXACT),
    Row("shl.b32 d, a, b", &[B32, B32, Small], EXACT),
    Row("shr.u32 d, a, b", &[B32, B32, Small], EXACT),
    Row("shr.s32 d, a, b", &[B32, B32, Small], EXACT),
    Row("shl.b64 d, a, b", &[B64, B64, Small], EXACT),
    Row("shr.s64 d, a, b", &[B64, B64, Small], EXACT),
    Row("shr.s16 d, a, b", &[B16, B16, Small], EXACT),
    Row("shf.l.wrap.b32 d, a, b, c", &[B32, B32, B32, Small], EXACT),
    Row("shf.r.clamp.b32 d, a, b, c", &[B32, B32, B32, Small], EXACT),
    Row("popc.b32 d, a", &[B32, B32], EXACT),
    Row("popc.b64 d, a", &[B32, B64], EXACT),
    Row("clz.b32 d, a", &[B32, B32], EXACT),
    Row("clz.b64 d, a", &[B32, B64], EXACT),
    Row("brev.b32 d, a", &[B32, B32], EXACT),
    Row("bfind.u32 d, a", &[B32, B32], EXACT),
    Row("bfind.s32 d, a", &[B32, B32], EXACT),
    Row("bfind.shiftamt.u32 d, a", &[B32, B32], EXACT),
    Row("bfe.u32 d, a, b, c", &[B32, B32, Small, Small], EXACT),
    Row("bfe.s32 d, a, b, c", &[B32, B32, Small, Small], EXACT),
    Row("bfe.s64 d, a, b, c", &[B64, B64, Small, Small], EXACT),
    Row("bfi.b32 d, a, b, c, e", &[B32, B32, B32, Small, Small], EXACT),
    Row("bfi.b64 d, a, b, c, e", &[B64, B64, B64, Small, Small], EXACT),
    Row("lop3.b32 d, a, b, c, 0xE2", &[B32, B32, B32, B32], EXACT),
    Row("lop3.b32 d, a, b, c, 0x96", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.f4e d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.ecl d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp4a.s32.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp4a.u32.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp2a.lo.s32.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("selp.b32 d, a, b, c", &[B32, B32, B32, Pred], EXACT),
    Row("setp.lt.s32 d, a, b", &[Pred, B32, B32], EXACT),
    Row("setp.hi.u32 d, a, b", &[Pred, B32, B32], EXACT),
    Row("setp.ge.u64 d, a, b", &[Pred, B64, B64], EXACT),
    Row("setp.lt.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.neu.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.ne.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.gtu.ftz.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.nan.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.ge.and.f32 d, a, b, c", &[Pred, F32, F32, Pred], EXACT),
    Row("setp.lt.f16 d, a, b", &[Pred, F16, F16], EXACT),
    Row("testp.subnormal.f32 d, a", &[Pred, F32], EXACT),
    Row("add.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("add.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("add.rz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("add.rm.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("add.sat.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("sub.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("mul.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("mul.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("mul.rp.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("fma.rn.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("fma.rn.ftz.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("fma.rz.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("fma.rn.relu.f16 d, a, b, c", &[F16, F16, F16, F16], EXACT),
    Row("min.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("max.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("max.NaN.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("min.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("neg.f32 d, a", &[F32, F32], EXACT),
    Row("abs.f32 d, a", &[F32, F32], EXACT),
    Row("neg.ftz.f32 d, a", &[F32, F32], EXACT),
    Row("copysign.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("div.rn.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("rcp.rn.f32 d, a", &[F32, F32], EXACT),
    Row("sqrt.rn.f32 d, a", &[F32, F32], EXACT),
    Row("add.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("fma.rn.f64 d, a, b, c", &[F64, F64, F64, F64], EXACT),
    Row("add.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("mul.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("fma.rn.f16 d, a, b, c", &[F16, F16, F16, F16], EXACT),
    Row("add.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("fma.rn.f16x2 d, a, b, c", &[F16x2, F16x2, F16x2, F16x2], EXACT),
    Row("fma.rn.bf16 d, a, b, c", &[Bf16, Bf16, Bf16, Bf16], EXACT),
    Row("fma.rn.bf16x2 d, a, b, c", &[Bf16x2, Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("max.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("min.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("max.NaN.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("neg.f16x2 d, a", &[F16x2, F16x2], EXACT),
    Row("abs.bf16x2 d, a", &[Bf16x2, Bf16x2], EXACT),
    Row("cvt.rn.f16.f32 d, a", &[F16, F32], EXACT),
    Row("cvt.rz.f16.f32 d, a", &[F16, F32], EXACT),
    Row("cvt.rn.bf16.f32 d, a", &[Bf16, F32], EXACT),
    Row("cvt.rz.bf16.f32 d, a", &[Bf16, F32], EXACT),
    Row("cvt.rn.f16x2.f32 d, a, b", &[F16x2, F32, F32], EXACT),
    Row("cvt.rn.bf16x2.f32 d, a, b", &[Bf16x2, F32, F32], EXACT),
    Row("cvt.rn.relu.bf16x2.f32 d, a, b", &[Bf16x2, F32, F32], EXACT),
    Row("cvt.rna.tf32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.f32.f16 d, a", &[F32, F16], EXACT),
    Row("cvt.f32.bf16 d, a", &[F32, Bf16], EXACT),
    Row("cvt.rn.f32.s32 d, a", &[F32, B32], EXACT),
    Row("cvt.rn.f32.u32 d, a", &[F32, B32], EXACT),
    Row("cvt.rz.f32.u32 d, a", &[F32, B32], EXACT),
    Row("cvt.rn.f32.s64 d, a", &[F32, B64], EXACT),
    Row("cvt.rn.f64.s64 d, a", &[F64, B64], EXACT),
    Row("cvt.rzi.s32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rni.s32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rmi.s32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rpi.u32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rzi.s64.f32 d, a", &[B64, F32], EXACT),
    Row("cvt.rzi.u64.f64 d, a", &[B64, F64], EXACT),
    Row("cvt.rzi.s32.f16 d, a", &[B32, F16], EXACT),
    Row("cvt.rni.f32.f32 d, a", &[F32, F32], EXACT),
    Row("cvt.rmi.ftz.f32.f32 d, a", &[F32, F32], EXACT),
    Row("cvt.sat.f32.f32 d, a", &[F32, F32], EXACT),
    Row("cvt.rn.f32.f64 d, a", &[F32, F64], EXACT),
    Row("cvt.f64.f32 d, a", &[F64, F32], EXACT),
    Row("cvt.s64.s32 d, a", &[B64, B32], EXACT),
    Row("cvt.u32.u64 d, a", &[B32, B64], EXACT),
    Row("cvt.s32.s16 d, a", &[B32, B16], EXACT),
    Row("cvt.s32.s8 d, a", &[B32, B32], EXACT),
    Row("cvt.sat.s8.s32 d, a", &[B32, B32], EXACT),
    Row("cvt.sat.u16.s32 d, a", &[B16, B32], EXACT),
    Row("ex2.approx.f32 d, a", &[F32, Moderate], Tolerance::Ulp32(2)),
    Row("ex2.approx.ftz.f32 d, a", &[F32, F32], Tolerance::Ulp32(2)),
    Row("lg2.approx.f32 d, a", &[F32, Moderate], Tolerance::Absolute32(4.8e-7 * 8.0)),
    Row("rcp.approx.ftz.f32 d, a", &[F32, Moderate], Tolerance::Ulp32(1)),
    Row("rsqrt.approx.ftz.f32 d, a", &[F32, Moderate], Tolerance::Ulp32(2)),
    Row("sqrt.approx.f32 d, a", &[F32, Moderate], Tolerance::Ulp32(2)),
    Row("div.full.f32 d, a, b", &[F32, Moderate, Moderate], Tolerance::Ulp32(2)),
    Row("div.approx.f32 d, a, b", &[F32, Moderate, Moderate], Tolerance::Ulp32(2)),
    Row("sin.approx.f32 d, a", &[F32, Moderate], Tolerance::Absolute32(1e-5)),
    Row("cos.approx.f32 d, a", &[F32, Moderate], Tolerance::Absolute32(1e-5)),
    Row("tanh.approx.f32 d, a", &[F32, Moderate], Tolerance::Absolute32(6e-4)),
    Row("add.u16 d, a, b", &[B16, B16, B16], EXACT),
    Row("mul.lo.u64 d, a, b", &[B64, B64, B64], EXACT),
    Row("mul.hi.s16 d, a, b", &[B16, B16, B16], EXACT),
    Row("mul.hi.u16 d, a, b", &[B16, B16, B16], EXACT),
    Row("mul.wide.u16 d, a, b", &[B32, B16, B16], EXACT),
    Row("mad.lo.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("mad.lo.s64 d, a, b, c", &[B64, B64, B64, B64], EXACT),
    Row("mad.hi.u64 d, a, b, c", &[B64, B64, B64, B64], EXACT),
    Row("mad.lo.s16 d, a, b, c", &[B16, B16, B16, B16], EXACT),
    Row("mad.wide.s16 d, a, b, c", &[B32, B16, B16, B32], EXACT),
    Row("mad.wide.u16 d, a, b, c", &[B32, B16, B16, B32], EXACT),
    Row("sad.s16 d, a, b, c", &[B16, B16, B16, B16], EXACT),
    Row("sad.u64 d, a, b, c", &[B64, B64, B64, B64], EXACT),
    Row("div.s16 d, a, b", &[B16, B16, B16], EXACT),
    Row("div.u64 d, a, b", &[B64, B64, B64], EXACT),
    Row("rem.s64 d, a, b", &[B64, B64, B64], EXACT),
    Row("rem.u16 d, a, b", &[B16, B16, B16], EXACT),
    Row("min.u32 d, a, b", &[B32, B32, B32], EXACT),
    Row("max.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("min.s16 d, a, b", &[B16, B16, B16], EXACT),
    Row("max.u16 d, a, b", &[B16, B16, B16], EXACT),
    Row("max.u64 d, a, b", &[B64, B64, B64], EXACT),
    Row("abs.s16 d, a", &[B16, B16], EXACT),
    Row("abs.s64 d, a", &[B64, B64], EXACT),
    Row("neg.s16 d, a", &[B16, B16], EXACT),
    Row("neg.s64 d, a", &[B64, B64], EXACT),
    Row("not.b64 d, a", &[B64, B64], EXACT),
    Row("not.b16 d, a", &[B16, B16], EXACT),
    Row("cnot.b16 d, a", &[B16, B16], EXACT),
    Row("and.b32 d, a, b", &[B32, B32, B32], EXACT),
    Row("or.b16 d, a, b", &[B16, B16, B16], EXACT),
    Row("xor.b64 d, a, b", &[B64, B64, B64], EXACT),
    Row("shl.b16 d, a, b", &[B16, B16, Small], EXACT),
    Row("shr.u16 d, a, b", &[B16, B16, Small], EXACT),
    Row("shr.u64 d, a, b", &[B64, B64, Small], EXACT),
    Row("shr.b32 d, a, b", &[B32, B32, B32], EXACT),
    Row("shf.l.clamp.b32 d, a, b, c", &[B32, B32, B32, Small], EXACT),
    Row("shf.r.wrap.b32 d, a, b, c", &[B32, B32, B32, Small], EXACT),
    Row("brev.b64 d, a", &[B64, B64], EXACT),
    Row("bfind.u64 d, a", &[B32, B64], EXACT),
    Row("bfind.s64 d, a", &[B32, B64], EXACT),
    Row("bfind.shiftamt.s64 d, a", &[B32, B64], EXACT),
    Row("bfe.u64 d, a, b, c", &[B64, B64, Small, Small], EXACT),
    Row("bmsk.clamp.b32 d, a, b", &[B32, Small, Small], EXACT),
    Row("lop3.b32 d, a, b, c, 0x1B", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.b4e d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.rc8 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.ecr d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("prmt.b32.rc16 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp4a.s32.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp4a.u32.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp2a.hi.s32.s32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("dp2a.hi.u32.u32 d, a, b, c", &[B32, B32, B32, B32], EXACT),
    Row("selp.b64 d, a, b, c", &[B64, B64, B64, Pred], EXACT),
    Row("selp.b16 d, a, b, c", &[B16, B16, B16, Pred], EXACT),
    Row("setp.eq.u16 d, a, b", &[Pred, B16, B16], EXACT),
    Row("setp.gt.s16 d, a, b", &[Pred, B16, B16], EXACT),
    Row("setp.le.s64 d, a, b", &[Pred, B64, B64], EXACT),
    Row("setp.lo.u32 d, a, b", &[Pred, B32, B32], EXACT),
    Row("setp.ls.u64 d, a, b", &[Pred, B64, B64], EXACT),
    Row("setp.hs.u32 d, a, b", &[Pred, B32, B32], EXACT),
    Row("setp.ne.b32 d, a, b", &[Pred, B32, B32], EXACT),
    Row("setp.num.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.equ.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.leu.f32 d, a, b", &[Pred, F32, F32], EXACT),
    Row("setp.geu.f64 d, a, b", &[Pred, F64, F64], EXACT),
    Row("setp.eq.f64 d, a, b", &[Pred, F64, F64], EXACT),
    Row("setp.ltu.f16 d, a, b", &[Pred, F16, F16], EXACT),
    Row("setp.gt.xor.s32 d, a, b, c", &[Pred, B32, B32, Pred], EXACT),
    Row("testp.finite.f32 d, a", &[Pred, F32], EXACT),
    Row("testp.infinite.f32 d, a", &[Pred, F32], EXACT),
    Row("testp.number.f64 d, a", &[Pred, F64], EXACT),
    Row("testp.notanumber.f32 d, a", &[Pred, F32], EXACT),
    Row("testp.normal.f32 d, a", &[Pred, F32], EXACT),
    Row("sub.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("sub.rp.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("mul.sat.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("mul.rz.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("fma.rm.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("fma.rp.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("fma.rn.sat.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("mad.rn.f32 d, a, b, c", &[F32, F32, F32, F32], EXACT),
    Row("min.NaN.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("max.ftz.NaN.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("abs.ftz.f32 d, a", &[F32, F32], EXACT),
    Row("copysign.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("div.rz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("div.rm.ftz.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("rcp.rp.f32 d, a", &[F32, F32], EXACT),
    Row("rcp.rn.ftz.f32 d, a", &[F32, F32], EXACT),
    Row("sqrt.rz.f32 d, a", &[F32, F32], EXACT),
    Row("sqrt.rn.ftz.f32 d, a", &[F32, F32], EXACT),
    Row("sub.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("add.rz.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("mul.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("mul.rm.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("fma.rp.f64 d, a, b, c", &[F64, F64, F64, F64], EXACT),
    Row("div.rn.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("rcp.rn.f64 d, a", &[F64, F64], EXACT),
    Row("sqrt.rn.f64 d, a", &[F64, F64], EXACT),
    Row("min.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("max.f64 d, a, b", &[F64, F64, F64], EXACT),
    Row("neg.f64 d, a", &[F64, F64], EXACT),
    Row("abs.f64 d, a", &[F64, F64], EXACT),
    Row("sub.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("add.sat.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("add.ftz.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("sub.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("mul.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("mul.ftz.sat.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("fma.rn.ftz.f16x2 d, a, b, c", &[F16x2, F16x2, F16x2, F16x2], EXACT),
    Row("fma.rn.relu.f16x2 d, a, b, c", &[F16x2, F16x2, F16x2, F16x2], EXACT),
    Row("fma.rn.relu.bf16x2 d, a, b, c", &[Bf16x2, Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("fma.rn.relu.bf16 d, a, b, c", &[Bf16, Bf16, Bf16, Bf16], EXACT),
    Row("max.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("min.ftz.f16 d, a, b", &[F16, F16, F16], EXACT),
    Row("max.NaN.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("max.NaN.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("min.bf16 d, a, b", &[Bf16, Bf16, Bf16], EXACT),
    Row("min.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("neg.f16 d, a", &[F16, F16], EXACT),
    Row("neg.bf16 d, a", &[Bf16, Bf16], EXACT),
    Row("neg.bf16x2 d, a", &[Bf16x2, Bf16x2], EXACT),
    Row("abs.f16 d, a", &[F16, F16], EXACT),
    Row("abs.f16x2 d, a", &[F16x2, F16x2], EXACT),
    Row("abs.bf16 d, a", &[Bf16, Bf16], EXACT),
    Row("cvt.rn.relu.f16.f32 d, a", &[F16, F32], EXACT),
    Row("cvt.rn.relu.bf16.f32 d, a", &[Bf16, F32], EXACT),
    Row("cvt.rz.relu.f16x2.f32 d, a, b", &[F16x2, F32, F32], EXACT),
    Row("cvt.rz.bf16x2.f32 d, a, b", &[Bf16x2, F32, F32], EXACT),
    Row("cvt.ftz.f32.f16 d, a", &[F32, F16], EXACT),
    Row("cvt.rm.f16.f32 d, a", &[F16, F32], EXACT),
    Row("cvt.rn.f16.s32 d, a", &[F16, B32], EXACT),
    Row("cvt.rp.f16.u64 d, a", &[F16, B64], EXACT),
    Row("cvt.rn.f16.f64 d, a", &[F16, F64], EXACT),
    Row("cvt.f64.f16 d, a", &[F64, F16], EXACT),
    Row("cvt.rni.f16.f16 d, a", &[F16, F16], EXACT),
    Row("cvt.rpi.f32.f32 d, a", &[F32, F32], EXACT),
    Row("cvt.rzi.f64.f64 d, a", &[F64, F64], EXACT),
    Row("cvt.rz.f32.f64 d, a", &[F32, F64], EXACT),
    Row("cvt.rn.ftz.f32.f64 d, a", &[F32, F64], EXACT),
    Row("cvt.rp.f32.s32 d, a", &[F32, B32], EXACT),
    Row("cvt.rn.f32.u64 d, a", &[F32, B64], EXACT),
    Row("cvt.rn.f32.s16 d, a", &[F32, B16], EXACT),
    Row("cvt.rn.f32.u8 d, a", &[F32, B16], EXACT),
    Row("cvt.rn.f64.u32 d, a", &[F64, B32], EXACT),
    Row("cvt.rz.f64.u64 d, a", &[F64, B64], EXACT),
    Row("cvt.rzi.u32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rzi.ftz.s32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rni.s64.f64 d, a", &[B64, F64], EXACT),
    Row("cvt.rzi.s32.f64 d, a", &[B32, F64], EXACT),
    Row("cvt.rzi.u16.f32 d, a", &[B16, F32], EXACT),
    Row("cvt.rzi.s16.f16 d, a", &[B16, F16], EXACT),
    Row("cvt.rmi.s64.f16 d, a", &[B64, F16], EXACT),
    Row("cvt.u16.s64 d, a", &[B16, B64], EXACT),
    Row("cvt.u64.s16 d, a", &[B64, B16], EXACT),
    Row("cvt.sat.u32.s64 d, a", &[B32, B64], EXACT),
    Row("cvt.sat.s16.u32 d, a", &[B16, B32], EXACT),
    Row("cvt.sat.u8.s16 d, a", &[B16, B16], EXACT),
    Row("cvt.rn.sat.f16.f32 d, a", &[F16, F32], EXACT),
    Row("lg2.approx.ftz.f32 d, a", &[F32, F32], Tolerance::Absolute32(4.8e-7 * 8.0)),
    Row("rcp.approx.f32 d, a", &[F32, F32], Tolerance::Ulp32(1)),
    Row("rsqrt.approx.f32 d, a", &[F32, F32], Tolerance::Ulp32(2)),
    Row("sqrt.approx.ftz.f32 d, a", &[F32, F32], Tolerance::Ulp32(2)),
    Row("div.approx.ftz.f32 d, a, b", &[F32, Moderate, Moderate], Tolerance::Ulp32(2)),
    Row("div.full.ftz.f32 d, a, b", &[F32, Moderate, Moderate], Tolerance::Ulp32(2)),
    Row("rsqrt.approx.ftz.f64 d, a", &[F64, F64], Tolerance::Relative64(1.0 / (1 << 20) as f64)),
    Row("rsqrt.approx.f64 d, a", &[F64, F64], Tolerance::Relative64(1.0 / (1 << 20) as f64)),
    Row("rcp.approx.ftz.f64 d, a", &[F64, F64], Tolerance::Relative64(1.0 / (1 << 20) as f64)),
    Row("ex2.approx.f16x2 d, a", &[F16x2, F16x2], Tolerance::UlpPairF16(2)),
    Row("tanh.approx.f16x2 d, a", &[F16x2, F16x2], Tolerance::UlpPairF16(3)),
    Row("ex2.approx.f16 d, a", &[F16, F16], Tolerance::Ulp16(2)),
    Row("tanh.approx.f16 d, a", &[F16, F16], Tolerance::Ulp16(3)),
];

/// The same for instructions that Hopper adds.
#[rustfmt::skip]
const HOPPER: &[Row] = &[
    Row("cvt.rn.satfinite.e4m3x2.f32 d, a, b", &[E4m3x2, F32, F32], EXACT),
    Row("cvt.rn.satfinite.e5m2x2.f32 d, a, b", &[E4m3x2, F32, F32], EXACT),
    Row("cvt.rn.f16x2.e4m3x2 d, a", &[F16x2, E4m3x2], EXACT),
    Row("cvt.rn.f16x2.e5m2x2 d, a", &[F16x2, E4m3x2], EXACT),
    Row("add.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("mul.bf16 d, a, b", &[Bf16, Bf16, Bf16], EXACT),
    Row("setp.lt.bf16 d, a, b", &[Pred, Bf16, Bf16], EXACT),
    Row("min.xorsign.abs.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("max.NaN.xorsign.abs.f32 d, a, b", &[F32, F32, F32], EXACT),
    Row("min.xorsign.abs.f16x2 d, a, b", &[F16x2, F16x2, F16x2], EXACT),
    Row("max.xorsign.abs.bf16 d, a, b", &[Bf16, Bf16, Bf16], EXACT),
    Row("sub.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("mul.bf16x2 d, a, b", &[Bf16x2, Bf16x2, Bf16x2], EXACT),
    Row("add.bf16 d, a, b", &[Bf16, Bf16, Bf16], EXACT),
    Row("sub.bf16 d, a, b", &[Bf16, Bf16, Bf16], EXACT),
    Row("setp.neu.bf16 d, a, b", &[Pred, Bf16, Bf16], EXACT),
    Row("min.relu.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("max.relu.s32 d, a, b", &[B32, B32, B32], EXACT),
    Row("min.relu.s16x2 d, a, b", &[B32, B32, B32], EXACT),
    Row("max.s16x2 d, a, b", &[B32, B32, B32], EXACT),
    Row("min.u16x2 d, a, b", &[B32, B32, B32], EXACT),
    Row("add.s16x2 d, a, b", &[B32, B32, B32], EXACT),
    Row("add.u16x2 d, a, b", &[B32, B32, B32], EXACT),
    Row("cvt.rn.bf16.s32 d, a", &[Bf16, B32], EXACT),
    Row("cvt.rz.bf16.u64 d, a", &[Bf16, B64], EXACT),
    Row("cvt.rn.bf16.f16 d, a", &[Bf16, F16], EXACT),
    Row("cvt.rn.f16.bf16 d, a", &[F16, Bf16], EXACT),
    Row("cvt.rn.bf16.f64 d, a", &[Bf16, F64], EXACT),
    Row("cvt.f64.bf16 d, a", &[F64, Bf16], EXACT),
    Row("cvt.rzi.s32.bf16 d, a", &[B32, Bf16], EXACT),
    Row("cvt.rni.bf16.bf16 d, a", &[Bf16, Bf16], EXACT),
    Row("cvt.rn.tf32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rz.relu.tf32.f32 d, a", &[B32, F32], EXACT),
    Row("cvt.rn.satfinite.relu.e4m3x2.f32 d, a, b", &[E4m3x2, F32, F32], EXACT),
    Row("cvt.rn.satfinite.e4m3x2.f16x2 d, a", &[E4m3x2, F16x2], EXACT),
    Row("cvt.rn.satfinite.relu.e5m2x2.f16x2 d, a", &[E4m3x2, F16x2], EXACT),
    Row("cvt.rn.relu.f16x2.e4m3x2 d, a", &[F16x2, E4m3x2], EXACT),
    Row("ex2.approx.ftz.bf16 d, a", &[Bf16, Bf16], Tolerance::UlpPairBf16(1)),
    Row("tanh.approx.bf16 d, a", &[Bf16, Bf16], Tolerance::UlpPairBf16(1)),
    Row("tanh.approx.bf16x2 d, a", &[Bf16x2, Bf16x2], Tolerance::UlpPairBf16(1)),
    Row("ex2.approx.ftz.bf16x2 d, a", &[Bf16x2, Bf16x2], Tolerance::UlpPairBf16(1)),
];

/// Cases of each instruction.
const CASES: usize = 128;

pub fn programs() -> Vec<Program> {
    let ampere = ROWS.iter().map(|row| program(row, "sm_80"));
    ampere.chain(HOPPER.iter().map(|row| program(row, "sm_90"))).collect()
}

/// Division by zero is undefined in PTX; its divisors avoid it.
fn divides(text: &str) -> bool {
    ["div.s", "div.u", "rem."].iter().any(|p| text.starts_with(p))
}

fn program(Row(text, kinds, tolerance): &Row, target: &'static str) -> Program {
    let mnemonic = text.split(' ').next().unwrap_or(text);
    let immediate = text.rsplit(", ").next().filter(|t| t.starts_with("0x")).unwrap_or("");
    let name = format!("{mnemonic}{immediate}");
    let mut random = Random::new(&name);
    // Each operand is 8 bytes; a case has four.
    let mut input = Vec::with_capacity(CASES * 32);
    for _ in 0..CASES {
        for slot in 0..4 {
            let mut value = kinds.get(slot + 1).map_or(0, |kind| kind.pattern(&mut random));
            if slot == 1 && divides(text) && value == 0 {
                value = 3;
            }
            input.extend(value.to_le_bytes());
        }
    }
    let mut body = String::from(
        "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t;\n    .reg .b64 %raw<4>;\n    .reg .b64 %result;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mul.wide.u32 %at, %t, 32;\n    add.s64 %in, %in, %at;\n    mul.wide.u32 %at, %t, 8;\n\
         \x20   add.s64 %out, %out, %at;\n",
    );
    let mut operands = text.to_string();
    let letters = ["d", "a", "b", "c", "e"];
    // Operands are single letters between separators.
    let replace = |operands: &mut String, letter: &str, register: &str| {
        let (head, tail) = operands.split_once(' ').unwrap_or((operands, ""));
        let parts: Vec<&str> = tail.split(", ").map(|p| if p == letter { register } else { p }).collect();
        *operands = format!("{head} {}", parts.join(", "));
    };
    for (i, kind) in kinds.iter().enumerate() {
        let register = format!("%{}", letters[i]);
        body += &format!("    .reg .{} {register};\n", kind.register());
        replace(&mut operands, letters[i], &register);
        if i == 0 {
            continue;
        }
        let raw = format!("%raw{}", i - 1);
        body += &format!("    ld.global.b64 {raw}, [%in+{}];\n", 8 * (i - 1));
        body += &match kind.register() {
            "b64" => format!("    mov.b64 {register}, {raw};\n"),
            "pred" => format!("    setp.ne.u64 {register}, {raw}, 0;\n"),
            "b32" => format!("    cvt.u32.u64 {register}, {raw};\n"),
            _ => format!("    cvt.u16.u64 {register}, {raw};\n"),
        };
    }
    body += &format!("    {operands};\n");
    body += match kinds[0].register() {
        "b64" => "    mov.b64 %result, %d;\n",
        "pred" => "    selp.b64 %result, 1, 0, %d;\n",
        "b32" => "    cvt.u64.u32 %result, %d;\n",
        _ => "    cvt.u64.u16 %result, %d;\n",
    };
    body += "    st.global.b64 [%out], %result;";
    Program {
        ptx: kernel(target, &["input", "output"], CASES as u32, &body),
        name,
        target,
        grid: 1,
        threads: CASES as u32,
        shared: 0,
        arguments: vec![Argument::Input(input), Argument::Output(CASES * 8)],
        tolerance: *tolerance,
    }
}
