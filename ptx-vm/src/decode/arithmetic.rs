//! Arithmetic, logic, comparisons, moves and conversions.

use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::syntax::Operand;
use crate::types::{Space, Type};

fn int_of(ty: Type) -> Option<Int> {
    Some(match ty {
        Type::U16 | Type::B16 | Type::U8 | Type::B8 => Int::U16,
        Type::S16 | Type::S8 => Int::S16,
        Type::U32 | Type::B32 => Int::U32,
        Type::S32 => Int::S32,
        Type::U64 | Type::B64 => Int::U64,
        Type::S64 => Int::S64,
        _ => return None,
    })
}

fn float_of(ty: Type) -> Option<Float> {
    Some(match ty {
        Type::F16 => Float::F16,
        Type::F16x2 => Float::F16x2,
        Type::Bf16 => Float::Bf16,
        Type::Bf16x2 => Float::Bf16x2,
        Type::F32 => Float::F32,
        Type::F32x2 => Float::F32x2,
        Type::F64 => Float::F64,
        _ => return None,
    })
}

fn compare_of(word: &str) -> Option<Compare> {
    Some(match word {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "lt" | "lo" => Compare::Lt,
        "le" | "ls" => Compare::Le,
        "gt" | "hi" => Compare::Gt,
        "ge" | "hs" => Compare::Ge,
        "equ" => Compare::EqU,
        "neu" => Compare::NeU,
        "ltu" => Compare::LtU,
        "leu" => Compare::LeU,
        "gtu" => Compare::GtU,
        "geu" => Compare::GeU,
        "num" => Compare::Num,
        "nan" => Compare::Nan,
        _ => return None,
    })
}

fn logic_of(word: &str) -> Option<Logic> {
    Some(match word {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        _ => return None,
    })
}

fn rounding_of(word: &str) -> Option<Rounding> {
    Some(match word {
        "rn" | "rni" => Rounding::Nearest,
        "rna" => Rounding::NearestAway,
        "rz" | "rzi" => Rounding::Zero,
        "rm" | "rmi" => Rounding::Down,
        "rp" | "rpi" => Rounding::Up,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn arithmetic(&self, w: &Words<'_>) -> Decoded<Option<Op>> {
        Ok(Some(match w.name {
            "mov" => self.mov(w)?,
            "add" | "sub" | "mul" | "min" | "max" | "div" | "rem" => self.two(w)?,
            "and" | "or" | "xor" => self.logic(w)?,
            "shl" | "shr" => {
                w.count(3..=3)?;
                let ty = w.ty()?;
                let op = if w.name == "shl" { Binary::Shl } else { Binary::Shr };
                let amount = self.src(&w.operands[2], Type::U32)?;
                Op::Int2(op, self.int(w, ty)?, self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?, amount)
            }
            "neg" | "abs" | "not" | "cnot" => self.one(w)?,
            "popc" | "clz" | "brev" | "bfind" => {
                w.count(2..=2)?;
                let ty = w.ty()?;
                let op = match w.name {
                    "popc" => Unary::Popc,
                    "clz" => Unary::Clz,
                    "brev" => Unary::Brev,
                    _ if w.has("shiftamt") => Unary::BfindShift,
                    _ => Unary::Bfind,
                };
                Op::Int1(op, self.int(w, ty)?, self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?)
            }
            "mad" | "fma" | "sad" | "bfe" | "shf" | "lop3" | "prmt" | "dp4a" | "dp2a" => self.three(w)?,
            "bfi" => {
                w.count(5..=5)?;
                let ty = w.ty()?;
                let s = [
                    self.src(&w.operands[1], ty)?,
                    self.src(&w.operands[2], ty)?,
                    self.src(&w.operands[3], Type::U32)?,
                    self.src(&w.operands[4], Type::U32)?,
                ];
                Op::Bfi(self.int(w, ty)?, self.dst(&w.operands[0])?, s)
            }
            "bmsk" => {
                w.count(3..=3)?;
                if !w.has("clamp") {
                    return Err("only `bmsk.clamp` is supported".into());
                }
                let ty = w.ty()?;
                let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
                Op::Int2(Binary::Bmsk, Int::U32, self.dst(&w.operands[0])?, a, b)
            }
            "addc" | "subc" | "madc" => self.carry(w)?,
            "ex2" | "lg2" | "rcp" | "rsqrt" | "sqrt" | "sin" | "cos" | "tanh" => {
                w.count(2..=2)?;
                let ty = w.ty()?;
                let op = match w.name {
                    "ex2" => FloatOp::Ex2,
                    "lg2" => FloatOp::Lg2,
                    "rcp" => FloatOp::Rcp,
                    "rsqrt" => FloatOp::Rsqrt,
                    "sqrt" => FloatOp::Sqrt,
                    "sin" => FloatOp::Sin,
                    "cos" => FloatOp::Cos,
                    _ => FloatOp::Tanh,
                };
                w.has("approx");
                Op::Float1(op, self.mode(w, ty)?, self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?)
            }
            // Policies say what to keep in the level-2 cache: a value that hints take and nothing depends on.
            "createpolicy" => {
                w.types();
                if !w.has("fractional") && !w.has("range") {
                    return Err("`createpolicy` is `.fractional` or `.range`".into());
                }
                w.ignore_hints();
                w.has("global");
                w.count(1..=4)?;
                Op::Mov(self.dst(&w.operands[0])?, Src::Imm(0))
            }
            "copysign" => {
                w.count(3..=3)?;
                let ty = w.ty()?;
                let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
                Op::Float2(FloatOp::CopySign, self.mode(w, ty)?, self.dst(&w.operands[0])?, a, b)
            }
            "testp" => {
                w.count(2..=2)?;
                let ty = w.ty()?;
                let property = w
                    .find(|word| {
                        Some(match word {
                            "finite" => TestProperty::Finite,
                            "infinite" => TestProperty::Infinite,
                            "number" => TestProperty::Number,
                            "notanumber" => TestProperty::NotANumber,
                            "normal" => TestProperty::Normal,
                            "subnormal" => TestProperty::Subnormal,
                            _ => return None,
                        })
                    })
                    .ok_or("`testp` needs a property")?;
                Op::Testp(property, self.float(w, ty)?, self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?)
            }
            "setp" | "set" => self.compare(w)?,
            "selp" => {
                w.count(4..=4)?;
                let ty = w.ty()?;
                let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
                Op::Selp(self.dst(&w.operands[0])?, a, b, self.src(&w.operands[3], Type::Pred)?)
            }
            "cvt" => self.convert(w)?,
            "cvta" => {
                w.count(2..=2)?;
                w.types();
                let to = w.has("to");
                let space = self.space(w);
                let a = match &w.operands[1] {
                    // `cvta.param` of a parameter's name, `cvta.shared` of a variable's.
                    Operand::Address(base, ..) => self.src(base, Type::U64)?,
                    other => self.src(other, Type::U64)?,
                };
                Op::Cvta { space, to, d: self.dst(&w.operands[0])?, a }
            }
            "isspacep" => {
                w.count(2..=2)?;
                Op::Isspacep {
                    own: w.has("shared") || w.has("shared::cta"),
                    space: self.space(w),
                    d: self.dst(&w.operands[0])?,
                    a: self.src(&w.operands[1], Type::U64)?,
                }
            }
            _ => return Ok(None),
        }))
    }

    fn int(&self, w: &Words<'_>, ty: Type) -> Decoded<Int> {
        int_of(ty).ok_or_else(|| format!("the type of `{}` is not supported", w.full()))
    }

    fn float(&self, w: &Words<'_>, ty: Type) -> Decoded<Float> {
        float_of(ty).ok_or_else(|| format!("the type of `{}` is not supported", w.full()))
    }

    fn mode(&self, w: &Words<'_>, ty: Type) -> Decoded<FloatMode> {
        Ok(FloatMode {
            format: self.float(w, ty)?,
            rounding: w.find(rounding_of).unwrap_or(Rounding::Nearest),
            flush: w.has("ftz"),
            saturate: w.has("sat"),
            relu: w.has("relu"),
            nan: w.has("NaN"),
            xorsign: self.xorsign(w)?,
        })
    }

    fn xorsign(&self, w: &Words<'_>) -> Decoded<bool> {
        match (w.has("xorsign"), matches!(w.name, "min" | "max") && w.has("abs")) {
            (false, false) => Ok(false),
            (true, true) => Ok(true),
            _ => Err("`.xorsign` and `.abs` go together, on `min` and `max`".into()),
        }
    }

    pub(super) fn space(&self, w: &Words<'_>) -> Space {
        w.find(|word| {
            Some(match word {
                "param" | "param::entry" => Space::Param,
                "global" => Space::Global,
                "const" => Space::Const,
                "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
                "local" => Space::Local,
                _ => return None,
            })
        })
        .unwrap_or(Space::Generic)
    }

    fn mov(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(2..=2)?;
        let ty = w.ty()?;
        Ok(match (&w.operands[0], &w.operands[1]) {
            (Operand::Vector(parts), source) => {
                let bits = self.part_bits(ty, parts.len())?;
                let parts = parts.iter().map(|p| self.dst(p)).collect::<Decoded<Vec<_>>>()?;
                if ty == Type::B128 {
                    let Src::Double(low) = self.src(source, ty)? else {
                        return Err("a 128-bit source must be a register".into());
                    };
                    if parts.len() != 2 {
                        return Err("a 128-bit register splits into two".into());
                    }
                    return Ok(Op::UnpackWide { parts: [parts[0], parts[1]], low });
                }
                Op::Unpack { parts, a: self.src(source, ty)?, bits }
            }
            (d, Operand::Vector(parts)) => {
                let bits = self.part_bits(ty, parts.len())?;
                let d = self.dst(d)?;
                let parts = parts.iter().map(|p| self.src(p, ty)).collect::<Decoded<Vec<_>>>()?;
                if ty == Type::B128 {
                    let (Dst::Double(low), [a, b]) = (d, &parts[..]) else {
                        return Err("a 128-bit register is made of two".into());
                    };
                    return Ok(Op::PackWide { low, parts: [*a, *b] });
                }
                Op::Pack { d, parts, bits }
            }
            (d, a) => Op::Mov(self.dst(d)?, self.src(a, ty)?),
        })
    }

    fn part_bits(&self, ty: Type, parts: usize) -> Decoded<u32> {
        match (ty.bytes() * 8).checked_div(parts) {
            Some(bits) if bits >= 8 && bits * parts == ty.bytes() * 8 => Ok(bits as u32),
            _ => Err(format!("a register does not split into {parts} parts")),
        }
    }

    fn one(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(2..=2)?;
        let ty = w.ty()?;
        let (d, a) = (self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?);
        if ty == Type::Pred {
            return Ok(Op::PredNot(d, a));
        }
        if let Some(_format) = float_of(ty) {
            let op = if w.name == "neg" { FloatOp::Neg } else { FloatOp::Abs };
            return Ok(Op::Float1(op, self.mode(w, ty)?, d, a));
        }
        let op = match w.name {
            "neg" => Unary::Neg,
            "abs" => Unary::Abs,
            "not" => Unary::Not,
            _ => Unary::Cnot,
        };
        Ok(Op::Int1(op, self.int(w, ty)?, d, a))
    }

    fn two(&self, w: &Words<'_>) -> Decoded<Op> {
        if w.operands.len() == 4 && matches!(w.name, "min" | "max") {
            return Err("three-input min and max are not supported".into());
        }
        w.count(3..=3)?;
        let ty = w.ty()?;
        if matches!(w.name, "add" | "sub") && w.has("cc") {
            return self.carry(w);
        }
        let d = self.dst(&w.operands[0])?;
        let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
        if float_of(ty).is_some() {
            let op = match w.name {
                "add" => FloatOp::Add,
                "sub" => FloatOp::Sub,
                "mul" => FloatOp::Mul,
                "div" => FloatOp::Div,
                "min" => FloatOp::Min,
                "max" => FloatOp::Max,
                _ => return Err(format!("`{}` has no floating form", w.name)),
            };
            if op == FloatOp::Div {
                w.has("approx");
                w.has("full");
            }
            return Ok(Op::Float2(op, self.mode(w, ty)?, d, a, b));
        }
        if matches!(ty, Type::Pred) {
            return Err(format!("`{}` does not work on predicates", w.name));
        }
        if matches!(ty, Type::S16x2 | Type::U16x2) {
            let op = match w.name {
                "add" => Binary::Add,
                "min" if w.has("relu") => Binary::MinRelu,
                "max" if w.has("relu") => Binary::MaxRelu,
                "min" => Binary::Min,
                "max" => Binary::Max,
                _ => return Err(format!("`{}` has no packed form", w.name)),
            };
            return Ok(Op::IntHalves { op, signed: ty == Type::S16x2, d, a, b });
        }
        let op = match w.name {
            "add" if w.has("sat") => Binary::AddSat,
            "sub" if w.has("sat") => Binary::SubSat,
            "add" => Binary::Add,
            "sub" => Binary::Sub,
            "mul" if w.has("wide") => Binary::MulWide,
            "mul" if w.has("hi") => Binary::MulHi,
            "mul" => {
                w.has("lo");
                Binary::Mul
            }
            "min" if w.has("relu") => Binary::MinRelu,
            "max" if w.has("relu") => Binary::MaxRelu,
            "min" => Binary::Min,
            "max" => Binary::Max,
            "div" => Binary::Div,
            _ => Binary::Rem,
        };
        Ok(Op::Int2(op, self.int(w, ty)?, d, a, b))
    }

    fn logic(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(3..=3)?;
        let ty = w.ty()?;
        let d = self.dst(&w.operands[0])?;
        let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
        if ty == Type::Pred {
            return Ok(Op::Pred(logic_of(w.name).unwrap_or(Logic::And), d, a, b));
        }
        let op = match w.name {
            "and" => Binary::And,
            "or" => Binary::Or,
            _ => Binary::Xor,
        };
        Ok(Op::Int2(op, self.int(w, ty)?, d, a, b))
    }

    fn three(&self, w: &Words<'_>) -> Decoded<Op> {
        let ty = w.ty()?;
        if w.name == "lop3" {
            w.count(5..=5)?;
            let table = self.constant(&w.operands[4])? as u8;
            let s = self.sources(w, [ty; 3])?;
            return Ok(Op::Int3(Ternary::Lop3(table), Int::U32, self.dst(&w.operands[0])?, s));
        }
        w.count(4..=4)?;
        let d = self.dst(&w.operands[0])?;
        if float_of(ty).is_some() {
            // `mad.f32` is `fma` on every target that is supported.
            return Ok(Op::Float3(FloatOp::Fma, self.mode(w, ty)?, d, self.sources(w, [ty; 3])?));
        }
        let wide = w.has("wide");
        let (op, types) = match w.name {
            "mad" if w.has("cc") => return self.carry(w),
            "mad" if wide => {
                let double = match ty.bytes() {
                    2 => Type::U32,
                    _ => Type::U64,
                };
                (Ternary::MadWide, [ty, ty, double])
            }
            "mad" if w.has("hi") => (Ternary::MadHi, [ty; 3]),
            "mad" => {
                w.has("lo");
                (Ternary::Mad, [ty; 3])
            }
            "sad" => (Ternary::Sad, [ty; 3]),
            "bfe" => (Ternary::Bfe, [ty, Type::U32, Type::U32]),
            "shf" => {
                let wrap = w.has("wrap");
                let clamp = w.has("clamp");
                let op = match (w.has("l"), wrap, w.has("r"), clamp) {
                    (true, true, _, _) => Ternary::ShfLeftWrap,
                    (true, false, _, true) => Ternary::ShfLeftClamp,
                    (false, true, true, _) => Ternary::ShfRightWrap,
                    (false, false, true, true) => Ternary::ShfRightClamp,
                    _ => return Err("`shf` needs a direction and `.wrap` or `.clamp`".into()),
                };
                (op, [Type::U32; 3])
            }
            "prmt" => {
                let mode = w.find(|word| {
                    Some(match word {
                        "f4e" => PrmtMode::Forward4,
                        "b4e" => PrmtMode::Backward4,
                        "rc8" => PrmtMode::Replicate8,
                        "ecl" => PrmtMode::EdgeLeft,
                        "ecr" => PrmtMode::EdgeRight,
                        "rc16" => PrmtMode::Replicate16,
                        _ => return None,
                    })
                });
                (Ternary::Prmt(mode.unwrap_or(PrmtMode::Index)), [Type::U32; 3])
            }
            "dp4a" | "dp2a" => {
                let types = w.types();
                let [a, b] = types[..] else { return Err(format!("`{}` needs two types", w.name)) };
                let (a_signed, b_signed) = (a.signed(), b.signed());
                let op = if w.name == "dp4a" {
                    Ternary::Dp4a { a_signed, b_signed }
                } else {
                    w.has("lo");
                    Ternary::Dp2a { a_signed, b_signed, high: w.has("hi") }
                };
                (op, [Type::U32; 3])
            }
            _ => return Err(format!("the type of `{}` is not supported", w.full())),
        };
        Ok(Op::Int3(op, self.int(w, ty)?, d, self.sources(w, types)?))
    }

    fn sources(&self, w: &Words<'_>, types: [Type; 3]) -> Decoded<[Src; 3]> {
        Ok([
            self.src(&w.operands[1], types[0])?,
            self.src(&w.operands[2], types[1])?,
            self.src(&w.operands[3], types[2])?,
        ])
    }

    fn carry(&self, w: &Words<'_>) -> Decoded<Op> {
        let ty = w.ty()?;
        let multiply = w.name.starts_with("mad");
        w.count(if multiply { 4..=4 } else { 3..=3 })?;
        let mad = if multiply {
            let high = w.has("hi");
            w.has("lo");
            Some((high, self.src(&w.operands[3], ty)?))
        } else {
            None
        };
        Ok(Op::Carry {
            subtract: w.name.starts_with("sub"),
            carry_in: w.name.ends_with('c'),
            carry_out: w.has("cc"),
            mad,
            ty: self.int(w, ty)?,
            d: self.dst(&w.operands[0])?,
            a: self.src(&w.operands[1], ty)?,
            b: self.src(&w.operands[2], ty)?,
        })
    }

    fn compare(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(3..=4)?;
        let types = w.types();
        let ty = *types.last().ok_or("a comparison needs a type")?;
        let compare = w.find(compare_of).ok_or("a comparison needs an operator")?;
        let combine = match (w.find(logic_of), w.operands.get(3)) {
            (Some(logic), Some(operand)) => Some((logic, self.src(operand, Type::Pred)?)),
            (None, None) => None,
            _ => return Err("a combined comparison needs an operator and a predicate".into()),
        };
        let what = match (int_of(ty), float_of(ty)) {
            (Some(int), _) => {
                // `lo`, `ls`, `hi`, `hs` compare as unsigned whatever the type says.
                Compared::Int(int)
            }
            (_, Some(format)) => Compared::Float(format, w.has("ftz")),
            _ => return Err(format!("the type of `{}` is not supported", w.full())),
        };
        let [a, b] = [self.src(&w.operands[1], ty)?, self.src(&w.operands[2], ty)?];
        if w.name == "set" {
            let float = types.first() == Some(&Type::F32);
            return Ok(Op::Set { compare, what, combine, float, d: self.dst(&w.operands[0])?, a, b });
        }
        let (p, q) = self.pair(&w.operands[0])?;
        Ok(Op::Setp { compare, what, combine, p, q, a, b })
    }

    fn convert(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(2..=3)?;
        let types = w.types();
        let [to, from] = types[..] else { return Err("`cvt` needs two types".into()) };
        let integral = w.find(|word| matches!(word, "rni" | "rzi" | "rmi" | "rpi").then_some(())).is_some();
        let how = Convert {
            to,
            from,
            rounding: w.find(rounding_of),
            integral: integral && !to.integer(),
            flush: w.has("ftz"),
            saturate: w.has("sat"),
            finite: w.has("satfinite"),
            relu: w.has("relu"),
        };
        let d = self.dst(&w.operands[0])?;
        if w.operands.len() == 3 {
            let packed = matches!(to, Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2);
            if !packed {
                return Err(format!("`{}` takes one source", w.full()));
            }
            let [a, b] = [self.src(&w.operands[1], from)?, self.src(&w.operands[2], from)?];
            return Ok(Op::CvtPack(how, d, a, b));
        }
        let a = self.src(&w.operands[1], from)?;
        Ok(match (to, from) {
            // Both halves of a packed source.
            (Type::F16x2, Type::E4m3x2 | Type::E5m2x2) | (Type::E4m3x2 | Type::E5m2x2, Type::F16x2 | Type::Bf16x2) => {
                Op::CvtHalves(how, d, a)
            }
            _ => Op::Cvt(how, d, a),
        })
    }
}
