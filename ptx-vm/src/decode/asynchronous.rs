//! Transaction barriers, bulk copies, proxies and clusters.

use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::syntax::Operand;
use crate::types::Type;

/// Words that say where something is or who may see it, and change nothing here.
const PLACES: [&str; 8] = ["shared", "shared::cta", "shared::cluster", "global", "cta", "cluster", "gpu", "sys"];

impl Decoder<'_> {
    pub(super) fn asynchronous(&self, w: &Words<'_>) -> Decoded<Option<Op>> {
        Ok(Some(match w.name {
            "mbarrier" => self.mbarrier(w)?,
            "cp" if w.has("async") && w.has("mbarrier") => {
                w.count(1..=1)?;
                self.places(w);
                w.types();
                if !w.has("arrive") {
                    return Err("`cp.async.mbarrier` only arrives".into());
                }
                Op::Mbarrier(Box::new(MbarrierOp::CopiesArrive {
                    address: self.address(&w.operands[0])?,
                    counted: !w.has("noinc"),
                }))
            }
            "cp" if w.has("async") && w.has("bulk") => self.bulk(w)?,
            "fence" if w.has("mbarrier_init") => {
                for word in ["release", "cluster"] {
                    w.has(word);
                }
                Op::FenceMbarrierInit
            }
            "fence" if w.has("proxy") => {
                self.places(w);
                if w.has("alias") {
                    return Ok(Some(Op::Nop));
                }
                let mut known = false;
                for word in ["async", "async::generic", "tensormap::generic"] {
                    known |= w.has(word);
                }
                if !known {
                    return Err(format!("instruction `{}` is not supported", w.full()));
                }
                for word in ["release", "acquire", "sync_restrict::shared::cta", "sync_restrict::shared::cluster"] {
                    w.has(word);
                }
                Op::FenceProxy
            }
            "setmaxnreg" => {
                w.count(1..=1)?;
                for word in ["sync", "aligned", "u32"] {
                    w.has(word);
                }
                let increase = w.has("inc");
                if !increase && !w.has("dec") {
                    return Err("`setmaxnreg` needs `.inc` or `.dec`".into());
                }
                let count = u32::try_from(self.constant(&w.operands[0])?).unwrap_or(u32::MAX);
                Op::SetMaxRegisters { count, increase }
            }
            // One kernel runs at a time here: what it depends on has ended, and nobody waits for it.
            "griddepcontrol" => {
                if !w.has("wait") && !w.has("launch_dependents") {
                    return Err("`griddepcontrol` needs `.wait` or `.launch_dependents`".into());
                }
                Op::Nop
            }
            "barrier" if w.has("cluster") => {
                w.has("aligned");
                let relaxed = w.has("relaxed");
                for word in ["acquire", "release"] {
                    w.has(word);
                }
                if w.has("arrive") {
                    Op::ClusterArrive { releases: !relaxed }
                } else if w.has("wait") {
                    Op::ClusterWait { acquires: !relaxed }
                } else {
                    return Err("`barrier.cluster` needs `.arrive` or `.wait`".into());
                }
            }
            "mapa" => {
                w.count(3..=3)?;
                self.places(w);
                let ty = w.ty()?;
                Op::Mapa {
                    d: self.dst(&w.operands[0])?,
                    a: self.src(&w.operands[1], ty)?,
                    rank: self.src(&w.operands[2], Type::U32)?,
                }
            }
            "getctarank" => {
                w.count(2..=2)?;
                self.places(w);
                let ty = w.ty()?;
                Op::CtaRank(self.dst(&w.operands[0])?, self.src(&w.operands[1], ty)?)
            }
            _ => return Ok(None),
        }))
    }

    fn places(&self, w: &Words<'_>) {
        for word in PLACES {
            w.has(word);
        }
    }

    fn mbarrier(&self, w: &Words<'_>) -> Decoded<Op> {
        self.places(w);
        w.types();
        let number = |i: usize| self.src(&w.operands[i], Type::U32);
        let (relaxed, acquire, release) = (w.has("relaxed"), w.has("acquire"), w.has("release"));
        let op = if w.has("init") {
            w.count(2..=2)?;
            MbarrierOp::Init { address: self.address(&w.operands[0])?, count: number(1)? }
        } else if w.has("inval") {
            w.count(1..=1)?;
            MbarrierOp::Invalidate { address: self.address(&w.operands[0])? }
        } else if w.has("arrive") || w.has("arrive_drop") {
            if acquire {
                return Err("an arrival does not acquire".into());
            }
            let drop = w.has("arrive_drop");
            let announces = w.has("expect_tx");
            w.has("noComplete");
            // Remote arrivals may leave the token out.
            let bare = matches!(w.operands.first(), Some(Operand::Address(..)));
            let at = usize::from(!bare);
            w.count(at + 1 + usize::from(announces)..=at + 2)?;
            let d = if bare { Dst::Sink } else { self.dst(&w.operands[0])? };
            let last = w.operands.get(at + 1).map(|operand| self.src(operand, Type::U32)).transpose()?;
            let (count, bytes) = if announces { (None, last) } else { (last, None) };
            MbarrierOp::Arrive { address: self.address(&w.operands[at])?, d, count, bytes, releases: !relaxed, drop }
        } else if w.has("expect_tx") {
            w.count(2..=2)?;
            MbarrierOp::Expect { address: self.address(&w.operands[0])?, bytes: number(1)? }
        } else if w.has("complete_tx") {
            w.count(2..=2)?;
            MbarrierOp::Complete { address: self.address(&w.operands[0])?, bytes: number(1)? }
        } else if w.has("test_wait") || w.has("try_wait") {
            if release {
                return Err("a wait does not release".into());
            }
            w.count(3..=4)?;
            MbarrierOp::Wait {
                address: self.address(&w.operands[1])?,
                d: self.dst(&w.operands[0])?,
                state: self.src(&w.operands[2], Type::B64)?,
                parity: w.has("parity"),
                blocks: w.has("try_wait"),
                acquires: !relaxed,
            }
        } else {
            return Err(format!("instruction `{}` is not supported", w.full()));
        };
        Ok(Op::Mbarrier(Box::new(op)))
    }

    /// The operator of a reduction.
    pub(super) fn reduction(&self, w: &Words<'_>) -> Decoded<AtomicOp> {
        let op = w.find(|word| {
            Some(match word {
                "add" => AtomicOp::Add,
                "min" => AtomicOp::Min,
                "max" => AtomicOp::Max,
                "and" => AtomicOp::And,
                "or" => AtomicOp::Or,
                "xor" => AtomicOp::Xor,
                "inc" => AtomicOp::Inc,
                "dec" => AtomicOp::Dec,
                _ => return None,
            })
        });
        op.ok_or_else(|| "a reduction needs an operator".into())
    }

    fn bulk(&self, w: &Words<'_>) -> Decoded<Op> {
        if w.has("commit_group") {
            return Ok(Op::BulkCommit);
        }
        if w.has("wait_group") {
            w.count(1..=1)?;
            w.has("read");
            let left = self.constant(&w.operands[0])?;
            return Ok(Op::BulkWait(u32::try_from(left).map_err(|_| "a group count cannot be negative".to_string())?));
        }
        if w.has("prefetch") {
            w.ignore_hints();
            self.places(w);
            for word in ["tensor", "1d", "2d", "3d", "4d", "5d", "tile", "L2"] {
                w.has(word);
            }
            w.count(1..=3)?;
            return Ok(Op::Prefetch);
        }
        let tensor = w.has("tensor");
        let reduce = w.has("reduce");
        let to_global = w.has("bulk_group");
        let multicast = w.has("multicast::cluster");
        let hint = w.has("L2::cache_hint");
        w.has("tile");
        let between = !tensor && !to_global && w.modifiers.iter().filter(|(m, _)| m.starts_with("shared")).count() == 2;
        self.places(w);
        w.find(|word| (word == "mbarrier::complete_tx::bytes").then_some(()));
        let dimensions = w.find(|word| {
            let digits = word.strip_suffix('d')?;
            digits.parse::<usize>().ok().filter(|d| (1..=5).contains(d))
        });
        if tensor && dimensions.is_none() {
            return Err("a tensor copy has 1 to 5 dimensions".into());
        }
        let reduce = if reduce {
            let op = self.reduction(w)?;
            w.has("noftz");
            // A tensor reduction takes its type from the map, which only the run knows.
            Some((op, w.types().last().copied()))
        } else {
            None
        };
        let extra = usize::from(hint);
        if between {
            w.count(4..=4)?;
            return Ok(Op::Bulk(Box::new(BulkCopy::Between {
                to: self.address(&w.operands[0])?,
                from: self.address(&w.operands[1])?,
                bytes: self.src(&w.operands[2], Type::U32)?,
                barrier: self.address(&w.operands[3])?,
                reduce: match reduce {
                    None => None,
                    Some((op, Some(ty))) => Some((op, ty)),
                    Some((_, None)) => return Err("a reduction needs a type".into()),
                },
            })));
        }
        let shape = |operand: &Operand, bytes: Option<&Operand>| -> Decoded<BulkShape> {
            match (operand, bytes) {
                (Operand::Address(base, offset, Some(at)), None) => {
                    let at = self.vector_of_src(at, Type::S32)?;
                    if Some(at.len()) != dimensions {
                        return Err("the number of coordinates is not that of the dimensions".into());
                    }
                    Ok(BulkShape::Tensor { map: Address { base: self.src(base, Type::U64)?, offset: *offset }, at })
                }
                (operand, Some(bytes)) => {
                    Ok(BulkShape::Linear { global: self.address(operand)?, bytes: self.src(bytes, Type::U32)? })
                }
                _ => Err("a tensor copy takes `[map, {coordinates}]`".into()),
            }
        };
        if to_global {
            let base = if tensor { 2 } else { 3 };
            w.count(base..=base + extra)?;
            let shape = shape(&w.operands[0], if tensor { None } else { Some(&w.operands[2]) })?;
            return Ok(Op::Bulk(Box::new(BulkCopy::Store { from: self.address(&w.operands[1])?, shape, reduce })));
        }
        let base = (if tensor { 3 } else { 4 }) + usize::from(multicast);
        w.count(base..=base + extra)?;
        let barrier = self.address(&w.operands[if tensor { 2 } else { 3 }])?;
        let mask = if multicast { Some(self.src(&w.operands[base - 1], Type::U16)?) } else { None };
        let shape = shape(&w.operands[1], if tensor { None } else { Some(&w.operands[2]) })?;
        Ok(Op::Bulk(Box::new(BulkCopy::Load { to: self.address(&w.operands[0])?, shape, barrier, multicast: mask })))
    }
}
