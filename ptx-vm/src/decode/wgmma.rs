//! `wgmma`.

use super::tensor::element_of;
use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::machine::wgmma::Touched;
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

/// Instructions whose first operand is not a result.
const WITHOUT_RESULT: [&str; 13] = [
    "st",
    "red",
    "stmatrix",
    "bar",
    "barrier",
    "bra",
    "ret",
    "cp",
    "fence",
    "membar",
    "prefetch",
    "nanosleep",
    "setmaxnreg",
];

impl Decoder<'_> {
    pub(super) fn wgmma(&self, w: &Words<'_>) -> Decoded<Op> {
        for word in ["sync", "aligned"] {
            w.has(word);
        }
        if w.has("fence") {
            return Ok(Op::WgmmaFence);
        }
        if w.has("commit_group") {
            return Ok(Op::WgmmaCommit);
        }
        if w.has("wait_group") {
            w.count(1..=1)?;
            let left = self.constant(&w.operands[0])?;
            return Ok(Op::WgmmaWait(u32::try_from(left).map_err(|_| "a group count cannot be negative".to_string())?));
        }
        if !w.has("mma_async") {
            return Err(format!("instruction `{}` is not supported", w.full()));
        }
        let shape = w.find(|word| {
            let (n, k) = word.strip_prefix("m64n")?.split_once('k')?;
            Some((n.parse::<usize>().ok()?, k.parse::<usize>().ok()?))
        });
        let (n, k) = shape.ok_or("`wgmma.mma_async` needs a shape m64nNkK")?;
        let names: Vec<&str> = w
            .modifiers
            .iter()
            .filter(|(m, _)| matches!(*m, "f32" | "s32") || element_of(m).is_some())
            .map(|(m, used)| {
                used.set(true);
                *m
            })
            .collect();
        let [d_type, a_type, b_type] = names[..] else { return Err("`wgmma.mma_async` needs three types".into()) };
        let (Some(a_type), Some(b_type)) = (element_of(a_type), element_of(b_type)) else {
            return Err("the operand types of this `wgmma` are not supported".into());
        };
        let integer = matches!(a_type, Element::S8 | Element::U8);
        let half_result = d_type == "f16";
        if a_type.bytes() != b_type.bytes() || k * a_type.bytes() != 32 || integer != (d_type == "s32") {
            return Err("the types and the depth of this `wgmma` do not go together".into());
        }
        if n % 8 != 0 || !(8..=256).contains(&n) {
            return Err(format!("`wgmma` has 8 to 256 columns in steps of 8, not {n}"));
        }
        let saturate = w.has("satfinite");
        w.count(4..=8)?;
        let d = self.vector_of_dst(&w.operands[0])?;
        let wanted = if half_result { n / 4 } else { n / 2 };
        if d.len() != wanted || !d.iter().all(|d| matches!(d, Dst::Word(_))) {
            return Err(format!("this `wgmma` accumulates in {wanted} 32-bit registers, not {}", d.len()));
        }
        let in_registers = matches!(w.operands[1], Operand::Vector(_));
        // Integer forms have no signs; only 16-bit types can be transposed.
        let signs = if integer { 0 } else { 2 };
        let transposes = match (a_type.bytes(), in_registers) {
            (2, true) => 1,
            (2, false) => 2,
            _ => 0,
        };
        w.count(4 + signs + transposes..=4 + signs + transposes)?;
        let flag = |i: usize| -> Decoded<bool> {
            match self.constant(&w.operands[i])? {
                0 => Ok(false),
                1 => Ok(true),
                other => Err(format!("a transpose flag is 0 or 1, not {other}")),
            }
        };
        let sign = |i: usize| -> Decoded<bool> {
            match self.constant(&w.operands[i])? {
                1 => Ok(false),
                -1 => Ok(true),
                other => Err(format!("an operand's scale is 1 or -1, not {other}")),
            }
        };
        let a = if in_registers {
            let a = self.vector_of_src(&w.operands[1], Type::B32)?;
            if a.len() != 4 {
                return Err(format!("the A fragment has 4 registers, not {}", a.len()));
            }
            WgmmaA::Registers(a)
        } else {
            WgmmaA::Shared(self.src(&w.operands[1], Type::B64)?, transposes == 2 && flag(4 + signs)?)
        };
        Ok(Op::Wgmma(Box::new(Wgmma {
            n,
            a_type,
            b_type,
            half_result,
            saturate,
            d,
            a,
            b: self.src(&w.operands[2], Type::B64)?,
            transpose_b: transposes > 0 && flag(4 + signs + transposes - 1)?,
            scale_d: self.src(&w.operands[3], Type::Pred)?,
            negate_a: signs > 0 && sign(4)?,
            negate_b: signs > 0 && sign(5)?,
        })))
    }

    /// The 32-bit registers an instruction reads and writes; `wgmma` itself counts as touching none.
    pub(super) fn touched(&self, instruction: &Instruction) -> Touched {
        let mut touched = Touched::default();
        let name = instruction.parts[0].as_str();
        if name == "wgmma" {
            return touched;
        }
        for (i, operand) in instruction.operands.iter().enumerate() {
            let result = i == 0 && !WITHOUT_RESULT.contains(&name) && !matches!(operand, Operand::Address(..));
            let into = if result { &mut touched.writes } else { &mut touched.reads };
            self.collect(operand, into);
        }
        touched
    }

    fn collect(&self, operand: &Operand, into: &mut Vec<u32>) {
        match operand {
            Operand::Reg(register) => {
                if let Dst::Word(r) = self.slots[*register as usize] {
                    into.push(r);
                }
            }
            Operand::Vector(parts) => parts.iter().for_each(|p| self.collect(p, into)),
            Operand::Pair(a, b) => {
                self.collect(a, into);
                self.collect(b, into);
            }
            Operand::Address(base, _, at) => {
                self.collect(base, into);
                if let Some(at) = at {
                    self.collect(at, into);
                }
            }
            _ => {}
        }
    }
}
