//! Branches, barriers and the instructions that lanes of a warp execute together.

use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::syntax::Operand;
use crate::types::Type;

impl Decoder<'_> {
    pub(super) fn control(&self, w: &Words<'_>) -> Decoded<Option<Op>> {
        Ok(Some(match w.name {
            "bra" => {
                w.count(1..=1)?;
                w.has("uni");
                Op::Bra(self.label(&w.operands[0], w.scope)?)
            }
            "ret" | "exit" => {
                w.count(0..=0)?;
                w.has("uni");
                Op::Exit
            }
            "trap" => Op::Trap,
            "brkpt" | "pmevent" => Op::Nop,
            "nanosleep" => {
                w.types();
                Op::Nanosleep
            }
            "bar" | "barrier" if !w.has("cluster") => self.barrier(w)?,
            "shfl" => {
                w.count(5..=5)?;
                w.types();
                if !w.has("sync") {
                    return Err("only `shfl.sync` is supported".into());
                }
                let mode = w
                    .find(|word| {
                        Some(match word {
                            "up" => Shuffle::Up,
                            "down" => Shuffle::Down,
                            "bfly" => Shuffle::Butterfly,
                            "idx" => Shuffle::Index,
                            _ => return None,
                        })
                    })
                    .ok_or("`shfl` needs a mode")?;
                let (d, p) = self.pair(&w.operands[0])?;
                let s = |i: usize| self.src(&w.operands[i], Type::B32);
                Op::Shfl { mode, d, p, a: s(1)?, b: s(2)?, c: s(3)?, members: s(4)? }
            }
            "vote" => {
                w.count(3..=3)?;
                w.types();
                w.has("sync");
                let mode = w
                    .find(|word| {
                        Some(match word {
                            "all" => Vote::All,
                            "any" => Vote::Any,
                            "uni" => Vote::Uniform,
                            "ballot" => Vote::Ballot,
                            _ => return None,
                        })
                    })
                    .ok_or("`vote` needs a mode")?;
                Op::Vote {
                    mode,
                    d: self.dst(&w.operands[0])?,
                    a: self.src(&w.operands[1], Type::Pred)?,
                    members: self.src(&w.operands[2], Type::B32)?,
                }
            }
            "match" => {
                w.count(3..=3)?;
                let ty = w.ty()?;
                w.has("sync");
                let all = w.has("all");
                if !all && !w.has("any") {
                    return Err("`match` needs `.any` or `.all`".into());
                }
                let (d, p) = self.pair(&w.operands[0])?;
                Op::Match {
                    all,
                    wide: ty.bytes() == 8,
                    d,
                    p,
                    a: self.src(&w.operands[1], ty)?,
                    members: self.src(&w.operands[2], Type::B32)?,
                }
            }
            "redux" => {
                w.count(3..=3)?;
                w.has("sync");
                let ty = w.ty()?;
                let op = w
                    .find(|word| {
                        Some(match word {
                            "add" => Binary::Add,
                            "min" => Binary::Min,
                            "max" => Binary::Max,
                            "and" => Binary::And,
                            "or" => Binary::Or,
                            "xor" => Binary::Xor,
                            _ => return None,
                        })
                    })
                    .ok_or("`redux` needs an operator")?;
                let ty = match ty {
                    Type::S32 => Int::S32,
                    Type::U32 | Type::B32 => Int::U32,
                    _ => return Err(format!("the type of `{}` is not supported", w.full())),
                };
                Op::Redux {
                    op,
                    ty,
                    d: self.dst(&w.operands[0])?,
                    a: self.src(&w.operands[1], Type::B32)?,
                    members: self.src(&w.operands[2], Type::B32)?,
                }
            }
            "activemask" => {
                w.count(1..=1)?;
                w.types();
                Op::ActiveMask(self.dst(&w.operands[0])?)
            }
            "elect" => {
                w.count(2..=2)?;
                w.has("sync");
                let (d, p) = self.pair(&w.operands[0])?;
                Op::Elect { d, p, members: self.src(&w.operands[1], Type::B32)? }
            }
            _ => return Ok(None),
        }))
    }

    fn barrier(&self, w: &Words<'_>) -> Decoded<Op> {
        w.has("cta");
        if w.has("warp") {
            w.has("sync");
            w.count(1..=1)?;
            return Ok(Op::WarpSync(self.src(&w.operands[0], Type::B32)?));
        }
        // `bar` is `barrier.aligned`.
        let aligned = w.has("aligned") || w.name == "bar";
        let number = |operand: &Operand| self.src(operand, Type::U32);
        if w.has("red") {
            let op = w
                .find(|word| {
                    Some(match word {
                        "popc" => Reduction::Popc,
                        "and" => Reduction::And,
                        "or" => Reduction::Or,
                        _ => return None,
                    })
                })
                .ok_or("`bar.red` needs an operator")?;
            w.types();
            w.count(3..=4)?;
            let threads = if w.operands.len() == 4 { Some(number(&w.operands[2])?) } else { None };
            let last = w.operands.len() - 1;
            let p = self.src(&w.operands[last], Type::Pred)?;
            return Ok(Op::Bar(BarrierUse {
                id: number(&w.operands[1])?,
                threads,
                arrive_only: false,
                aligned,
                reduce: Some((self.dst(&w.operands[0])?, op, p)),
            }));
        }
        let arrive_only = w.has("arrive");
        if !arrive_only && !w.has("sync") {
            return Err("a barrier needs `.sync`, `.arrive` or `.red`".into());
        }
        w.count(1..=2)?;
        let threads = w.operands.get(1).map(number).transpose()?;
        Ok(Op::Bar(BarrierUse { id: number(&w.operands[0])?, threads, arrive_only, aligned, reduce: None }))
    }
}
