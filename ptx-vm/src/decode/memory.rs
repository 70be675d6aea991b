//! Loads, stores, atomics, asynchronous copies and fences.

use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::syntax::Operand;
use crate::types::{Space, Type};

impl Decoder<'_> {
    pub(super) fn memory(&self, w: &Words<'_>) -> Decoded<Option<Op>> {
        Ok(Some(match w.name {
            "ld" | "ldu" => {
                w.count(2..=3)?;
                let (space, ty, order, lanes) = self.access(w)?;
                let d = self.vector_of_dst(&w.operands[0])?;
                self.check_vector(d.len(), lanes, ty)?;
                Op::Ld { space, ty, order, d, address: self.address(&w.operands[1])? }
            }
            "st" | "red" if w.has("async") => self.send(w)?,
            "st" => {
                w.count(2..=3)?;
                let (space, ty, order, lanes) = self.access(w)?;
                let values = self.vector_of_src(&w.operands[1], ty)?;
                self.check_vector(values.len(), lanes, ty)?;
                Op::St { space, ty, order, address: self.address(&w.operands[0])?, values }
            }
            "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                if w.name == "discard" {
                    return Err("`discard` is not supported".into());
                }
                w.ignore_hints();
                for word in ["L1", "L2", "tensormap"] {
                    w.has(word);
                }
                self.space(w);
                Op::Prefetch
            }
            "atom" | "red" => self.atomic(w)?,
            "cp" if w.has("async") && !w.has("bulk") && !w.has("mbarrier") => self.cp_async(w)?,
            "membar" => {
                for word in ["gl", "cta", "sys"] {
                    w.has(word);
                }
                Op::Fence { memory: true }
            }
            "fence" if !w.has("proxy") && !w.has("mbarrier_init") => {
                for word in ["sc", "acq_rel", "acquire", "release", "cta", "cluster", "gpu", "sys"] {
                    w.has(word);
                }
                Op::Fence { memory: true }
            }
            _ => return Ok(None),
        }))
    }

    fn check_vector(&self, given: usize, lanes: usize, ty: Type) -> Decoded<()> {
        if given != lanes {
            return Err(format!("a vector access of {lanes} elements names {given} registers"));
        }
        if given * ty.bytes() > 32 {
            return Err("an access has at most 32 bytes".into());
        }
        Ok(())
    }

    fn access(&self, w: &Words<'_>) -> Decoded<(Space, Type, Order, usize)> {
        w.ignore_hints();
        let ty = w.ty()?;
        let lanes = w.find(|word| match word {
            "v2" => Some(2),
            "v4" => Some(4),
            "v8" => Some(8),
            _ => None,
        });
        let order = self.order(w, Order::Weak);
        Ok((self.space(w), ty, order, lanes.unwrap_or(1)))
    }

    pub(super) fn order(&self, w: &Words<'_>, otherwise: Order) -> Order {
        for word in ["cta", "cluster", "gpu", "sys"] {
            w.has(word);
        }
        w.find(|word| {
            Some(match word {
                "weak" => Order::Weak,
                "relaxed" | "volatile" | "mmio" => Order::Relaxed,
                "acquire" => Order::Acquire,
                "release" => Order::Release,
                "acq_rel" => Order::AcquireRelease,
                _ => return None,
            })
        })
        .unwrap_or(otherwise)
    }

    fn atomic(&self, w: &Words<'_>) -> Decoded<Op> {
        let returns = w.name == "atom";
        w.ignore_hints();
        let types = w.types();
        let ty = *types.last().ok_or("an atomic operation needs a type")?;
        w.has("noftz");
        let lanes = w.find(|word| match word {
            "v2" => Some(2),
            "v4" => Some(4),
            "v8" => Some(8),
            _ => None,
        });
        let lanes: usize = lanes.unwrap_or(1);
        if ty.bytes() > 8 {
            return Err(format!("the type of `{}` is not supported", w.full()));
        }
        let op = w
            .find(|word| {
                Some(match word {
                    "add" => AtomicOp::Add,
                    "min" => AtomicOp::Min,
                    "max" => AtomicOp::Max,
                    "and" => AtomicOp::And,
                    "or" => AtomicOp::Or,
                    "xor" => AtomicOp::Xor,
                    "exch" => AtomicOp::Exch,
                    "cas" => AtomicOp::Cas,
                    "inc" => AtomicOp::Inc,
                    "dec" => AtomicOp::Dec,
                    _ => return None,
                })
            })
            .ok_or("an atomic operation needs an operator")?;
        let swap = op == AtomicOp::Cas;
        let wanted = usize::from(returns) + 2 + usize::from(swap);
        w.count(wanted..=wanted + 1)?;
        let at = usize::from(returns);
        let d = if returns { self.vector_of_dst(&w.operands[0])? } else { Vec::new() };
        let b = self.vector_of_src(&w.operands[at + 1], ty)?;
        if b.len() != lanes || lanes * ty.bytes() > 16 {
            return Err("the operands do not fit the vector".into());
        }
        let c = if swap { Some(self.src(&w.operands[at + 2], ty)?) } else { None };
        Ok(Op::Atom {
            space: self.space(w),
            op,
            ty,
            order: self.order(w, Order::Relaxed),
            d,
            address: self.address(&w.operands[at])?,
            b,
            c,
        })
    }

    /// `st.async` and `red.async`.
    fn send(&self, w: &Words<'_>) -> Decoded<Op> {
        for word in ["weak", "relaxed", "cluster", "shared::cluster", "mbarrier::complete_tx::bytes"] {
            w.has(word);
        }
        w.count(3..=3)?;
        let ty = w.ty()?;
        let lanes = w.find(|word| match word {
            "v2" => Some(2),
            "v4" => Some(4),
            _ => None,
        });
        let reduce = if w.name == "red" { Some(self.reduction(w)?) } else { None };
        let values = self.vector_of_src(&w.operands[1], ty)?;
        self.check_vector(values.len(), lanes.unwrap_or(1), ty)?;
        if !matches!(ty.bytes(), 4 | 8) || values.len() * ty.bytes() > 16 || (reduce.is_some() && values.len() > 1) {
            return Err(format!("the type of `{}` is not supported", w.full()));
        }
        let (to, barrier) = (self.address(&w.operands[0])?, self.address(&w.operands[2])?);
        Ok(Op::Bulk(Box::new(BulkCopy::Send { to, ty, values, barrier, reduce })))
    }

    fn cp_async(&self, w: &Words<'_>) -> Decoded<Op> {
        if w.has("commit_group") {
            w.count(0..=0)?;
            return Ok(Op::CpAsyncCommit);
        }
        if w.has("wait_all") {
            w.count(0..=0)?;
            return Ok(Op::CpAsyncWait(None));
        }
        if w.has("wait_group") {
            w.count(1..=1)?;
            let left = self.constant(&w.operands[0])?;
            return Ok(Op::CpAsyncWait(Some(
                u32::try_from(left).map_err(|_| "a group count cannot be negative".to_string())?,
            )));
        }
        w.ignore_hints();
        for word in ["shared", "shared::cta", "global"] {
            w.has(word);
        }
        w.count(3..=5)?;
        let bytes = self.constant(&w.operands[2])?;
        if !matches!(bytes, 4 | 8 | 16) {
            return Err(format!("`cp.async` copies 4, 8 or 16 bytes, not {bytes}"));
        }
        let mut source_bytes = None;
        let mut ignore = None;
        if let Some(operand) = w.operands.get(3) {
            match operand {
                Operand::Reg(r) if matches!(self.slots[*r as usize], Dst::Pred(_)) => {
                    ignore = Some(self.src(operand, Type::Pred)?);
                }
                Operand::NotReg(_) => ignore = Some(self.src(operand, Type::Pred)?),
                // A 64-bit fourth operand is a cache policy.
                Operand::Reg(r) if matches!(self.slots[*r as usize], Dst::Double(_)) => {}
                _ => source_bytes = Some(self.src(operand, Type::U32)?),
            }
        }
        Ok(Op::CpAsync {
            to: self.address(&w.operands[0])?,
            from: self.address(&w.operands[1])?,
            bytes: bytes as u32,
            source_bytes,
            ignore,
        })
    }
}
