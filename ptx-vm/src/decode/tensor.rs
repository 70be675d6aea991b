//! Matrix instructions.

use super::{Decoded, Decoder, Words};
use crate::code::*;
use crate::types::Type;

pub(super) fn element_of(word: &str) -> Option<Element> {
    Some(match word {
        "f16" => Element::F16,
        "bf16" => Element::Bf16,
        "tf32" => Element::Tf32,
        "e4m3" => Element::E4m3,
        "e5m2" => Element::E5m2,
        "s8" => Element::S8,
        "u8" => Element::U8,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn tensor(&self, w: &Words<'_>) -> Decoded<Option<Op>> {
        Ok(Some(match w.name {
            "ldmatrix" | "stmatrix" => self.matrix_move(w)?,
            "movmatrix" => {
                w.count(2..=2)?;
                for word in ["sync", "aligned", "m8n8", "trans", "b16"] {
                    if !w.has(word) {
                        return Err("`movmatrix` is `movmatrix.sync.aligned.m8n8.trans.b16`".into());
                    }
                }
                Op::Movmatrix(self.dst(&w.operands[0])?, self.src(&w.operands[1], Type::B32)?)
            }
            "mma" => self.mma(w)?,
            "wgmma" => self.wgmma(w)?,
            _ => return Ok(None),
        }))
    }

    fn matrix_move(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(2..=2)?;
        let count = w.find(|word| match word {
            "x1" => Some(1),
            "x2" => Some(2),
            "x4" => Some(4),
            _ => None,
        });
        let count = count.ok_or_else(|| format!("`{}` needs a count", w.name))?;
        for word in ["sync", "aligned", "m8n8", "b16", "shared", "shared::cta"] {
            w.has(word);
        }
        let transpose = w.has("trans");
        if w.name == "ldmatrix" {
            let d = self.vector_of_dst(&w.operands[0])?;
            if d.len() != count {
                return Err(format!("{count} matrices need {count} registers"));
            }
            return Ok(Op::Ldmatrix { d, address: self.address(&w.operands[1])?, transpose });
        }
        let values = self.vector_of_src(&w.operands[1], Type::B32)?;
        if values.len() != count {
            return Err(format!("{count} matrices need {count} registers"));
        }
        Ok(Op::Stmatrix { address: self.address(&w.operands[0])?, values, transpose })
    }

    fn mma(&self, w: &Words<'_>) -> Decoded<Op> {
        w.count(4..=4)?;
        for word in ["sync", "aligned", "row", "col"] {
            if !w.has(word) {
                return Err(format!("`mma` without `.{word}` is not supported"));
            }
        }
        let k: usize = w
            .find(|word| word.strip_prefix("m16n8k").and_then(|k| k.parse().ok()))
            .ok_or("only the m16n8 shapes of `mma` are supported")?;
        // d, a, b, c in this order; c and d are not operand formats unless f16.
        let last: Vec<&str> = w
            .modifiers
            .iter()
            .filter(|(m, _)| matches!(*m, "f32" | "s32") || element_of(m).is_some())
            .map(|(m, used)| {
                used.set(true);
                *m
            })
            .collect();
        let [d_type, a_type, b_type, c_type] = last[..] else {
            return Err("`mma` needs four types".into());
        };
        let (Some(a_type), Some(b_type)) = (element_of(a_type), element_of(b_type)) else {
            return Err("the operand types of this `mma` are not supported".into());
        };
        if d_type != c_type || a_type.bytes() != b_type.bytes() {
            return Err("the types of this `mma` do not go together".into());
        }
        let integer = matches!(a_type, Element::S8 | Element::U8);
        let half_result = d_type == "f16";
        if (integer != (d_type == "s32")) || !(half_result || integer || d_type == "f32") {
            return Err("the types of this `mma` do not go together".into());
        }
        let bits = a_type.bytes() * k;
        if !matches!(bits, 16 | 32) {
            return Err(format!("depth {k} is not supported for these operand types"));
        }
        if matches!(a_type, Element::E4m3 | Element::E5m2) && (half_result || k != 32) {
            // Hopper emulates these, in an order of additions that nobody has published.
            return Err("of the `mma` on elements of one byte only m16n8k32 with f32 sums is supported".into());
        }
        let saturate = w.has("satfinite");
        let d = self.vector_of_dst(&w.operands[0])?;
        let a = self.vector_of_src(&w.operands[1], Type::B32)?;
        let b = self.vector_of_src(&w.operands[2], Type::B32)?;
        let c = self.vector_of_src(&w.operands[3], if integer { Type::S32 } else { Type::F32 })?;
        let (results, depth) = (if half_result { 2 } else { 4 }, bits / 16);
        if (d.len(), a.len(), b.len(), c.len()) != (results, 2 * depth, depth, results) {
            return Err(format!(
                "this `mma` takes vectors of {results}, {}, {depth} and {results} registers",
                2 * depth
            ));
        }
        Ok(Op::Mma(Box::new(Mma { k, a_type, b_type, half_result, saturate, d, a, b, c })))
    }
}
