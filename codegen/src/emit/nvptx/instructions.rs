//! The instructions of an NVIDIA GPU that code generation uses, by the names of the PTX ISA.

use crate::emit::EmitError;
use crate::emit::llvm::{Emitter, Value};
use crate::term::Type;
use inkwell::types::BasicTypeEnum;

/// Every lane of a warp.
const ALL_LANES: i32 = -1;

/// Address space of global memory.
pub(super) const GLOBAL: u16 = 1;
/// Address space of shared memory.
pub(super) const SHARED: u16 = 3;

impl<'c> Emitter<'c> {
    /// A register that statements assign: promoted to SSA form by LLVM. Must be made in the entry block.
    #[expect(clippy::unreachable, reason = "LLVM refuses it only without a position, which the emitter has set")]
    pub(super) fn register(&self, ty: BasicTypeEnum<'c>) -> Value<'c> {
        match self.builder.build_alloca(ty, "") {
            Ok(pointer) => pointer.into(),
            Err(error) => unreachable!("registers are made while the builder stands in the entry block: {error}"),
        }
    }
    /// A special register, `tid.x` for instance.
    pub(super) fn special(&self, name: &str) -> Result<Value<'c>, EmitError> {
        self.intrinsic_value(&format!("llvm.nvvm.read.ptx.sreg.{name}"), &[], &[])
    }
    /// As [`Self::special`], but LLVM cannot know that it gives what it gave before: what is computed from it is computed
    /// here, and not kept in registers from elsewhere.
    pub(super) fn special_again(&self, name: &str) -> Result<Value<'c>, EmitError> {
        let call = self.assembly(Some(self.i32_type().into()), &[], &format!("mov.u32 $0, %{name};"), "=r");
        call.try_as_basic_value().basic().ok_or_else(|| EmitError::Missing(format!("register {name}")))
    }
    /// The same `i64`, of which LLVM does not know that it is: products with it are not moved out of loops.
    pub(super) fn unmoved(&self, x: Value<'c>) -> Value<'c> {
        let call = self.assembly(Some(self.i64_type().into()), &[x], "mov.b64 $0, $1;", "=l,l");
        call.try_as_basic_value().basic().unwrap_or(x)
    }
    /// The same `f32`, which LLVM computes before what follows.
    pub(super) fn settled(&self, x: Value<'c>) -> Value<'c> {
        let call = self.assembly(Some(self.f32_type().into()), &[x], "mov.b32 $0, $1;", "=f,f");
        call.try_as_basic_value().basic().unwrap_or(x)
    }
    /// `bar.sync 0`: all threads of the block.
    pub(super) fn barrier(&self) -> Result<(), EmitError> {
        self.intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", &[], &[self.i32(0)]).map(drop)
    }
    /// The value of the lane whose number differs by exclusive or with `mask`.
    pub(super) fn shuffle_xor(&self, x: Value<'c>, mask: u32) -> Result<Value<'c>, EmitError> {
        self.shuffle_by(x, self.i32(mask as i32))
    }
    /// The same with a mask that all lanes have in common.
    pub(super) fn shuffle_by(&self, x: Value<'c>, mask: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.shuffle_lanes("bfly", x, mask)
    }
    /// The value of lane `from`.
    pub(super) fn shuffle_from(&self, x: Value<'c>, from: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.shuffle_lanes("idx", x, from)
    }
    fn shuffle_lanes(&self, kind: &str, x: Value<'c>, lane: Value<'c>) -> Result<Value<'c>, EmitError> {
        let (i32_type, i64_type) = (self.i32_type().into(), BasicTypeEnum::from(self.i64_type()));
        let one = |x: Value<'c>, ty: &str| {
            let name = format!("llvm.nvvm.shfl.sync.{kind}.{ty}");
            self.intrinsic_value(&name, &[], &[self.i32(ALL_LANES), x, lane, self.i32(31)])
        };
        if x.is_float_value() {
            return one(x, "f32");
        }
        if x.get_type() != i64_type {
            return one(x, "i32");
        }
        let low = one(self.truncate(x, i32_type), "i32")?;
        let high = one(self.truncate(self.shift_right_logical(x, self.i64(32)), i32_type), "i32")?;
        let high = self.shift_left(self.zero_extend(high, i64_type), self.i64(32));
        Ok(self.or(high, self.zero_extend(low, i64_type)))
    }
    /// One bit per lane: where the condition holds.
    pub(super) fn ballot(&self, condition: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.intrinsic_value("llvm.nvvm.vote.ballot.sync", &[], &[self.i32(ALL_LANES), condition])
    }
    /// Number of zero bits of an `i32` above its highest one bit.
    pub(super) fn leading_zeros(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.intrinsic_value("llvm.ctlz", &[x.get_type()], &[x, self.bool(false)])
    }
    /// `ex2.approx.ftz.f32`: 2 to the x, 0 at -inf.
    pub(super) fn exp2(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.intrinsic_value("llvm.nvvm.ex2.approx.ftz", &[self.f32_type().into()], &[x])
    }
    /// `lg2.approx.f32`: base-2 logarithm, -inf at 0.
    pub(super) fn log2(&self, x: Value<'c>) -> Result<Value<'c>, EmitError> {
        self.intrinsic_value("llvm.nvvm.lg2.approx.ftz.f", &[], &[x])
    }
    /// Two floats as one `i32` of two 16-bit floats, `low` in the low half; rounded to nearest even.
    pub(super) fn pack(&self, dtype: Type, low: Value<'c>, high: Value<'c>) -> Result<Value<'c>, EmitError> {
        let name = if dtype == Type::Bf16 { "llvm.nvvm.ff2bf16x2.rn" } else { "llvm.nvvm.ff2f16x2.rn" };
        let pair = self.intrinsic_value(name, &[], &[high, low])?;
        Ok(self.cast_bits(pair, self.i32_type().into()))
    }
    /// The same bits as another type of the same size, vectors and scalars alike.
    #[expect(clippy::unreachable, reason = "LLVM refuses it only for types of different sizes, which no caller has")]
    pub(super) fn cast_bits(&self, x: Value<'c>, ty: BasicTypeEnum<'c>) -> Value<'c> {
        if x.get_type() == ty {
            return x;
        }
        match self.builder.build_bit_cast(x, ty, "") {
            Ok(value) => value,
            Err(error) => unreachable!("bit casts are between types of one size: {error}"),
        }
    }
    /// `mma.sync.m16n8k16` with f32 accumulation: `a` four, `b` two registers of packed pairs.
    pub(super) fn mma(
        &self,
        dtype: Type,
        a: [Value<'c>; 4],
        b: [Value<'c>; 2],
        c: [Value<'c>; 4],
    ) -> Result<[Value<'c>; 4], EmitError> {
        let halves = BasicTypeEnum::from(self.context.f16_type().vec_type(2));
        let (name, operand): (_, BasicTypeEnum<'c>) = match dtype {
            Type::Bf16 => ("llvm.nvvm.mma.m16n8k16.row.col.bf16", self.i32_type().into()),
            Type::F16 => ("llvm.nvvm.mma.m16n8k16.row.col.f32.f32", halves),
            other => return Err(EmitError::Plan(format!("tensor cores do not multiply {other}"))),
        };
        let factors = a.into_iter().chain(b).map(|x| self.cast_bits(x, operand));
        let arguments: Vec<_> = factors.chain(c).collect();
        let result = self.intrinsic_value(name, &[], &arguments)?;
        Ok([0, 1, 2, 3].map(|i| self.field(result, i)))
    }
    /// `ldmatrix`: `count` (2 or 4) matrices of 8 rows of 16 bytes, one row address per lane; transposed on the way
    /// if asked.
    pub(super) fn ldmatrix(
        &self,
        count: u32,
        transpose: bool,
        address: Value<'c>,
    ) -> Result<Vec<Value<'c>>, EmitError> {
        let trans = if transpose { ".trans" } else { "" };
        let name = format!("llvm.nvvm.ldmatrix.sync.aligned.m8n8.x{count}{trans}.b16");
        let result = self.intrinsic_value(&name, &[self.pointer_type(SHARED).into()], &[address])?;
        Ok((0..count).map(|i| self.field(result, i)).collect())
    }
    /// `cp.async.cg` of 16 bytes, of which the first `bytes` are read and the rest are zeros.
    pub(super) fn copy_async(&self, to: Value<'c>, from: Value<'c>, bytes: Value<'c>) -> Result<(), EmitError> {
        self.intrinsic("llvm.nvvm.cp.async.cg.shared.global.16.s", &[], &[to, from, bytes]).map(drop)
    }
    /// `cp.async.commit_group`.
    pub(super) fn commit_copies(&self) -> Result<(), EmitError> {
        self.intrinsic("llvm.nvvm.cp.async.commit.group", &[], &[]).map(drop)
    }
    /// `cp.async.wait_group`: until at most `in_flight` of the latest groups are incomplete.
    pub(super) fn wait_copies(&self, in_flight: u32) -> Result<(), EmitError> {
        self.intrinsic("llvm.nvvm.cp.async.wait.group", &[], &[self.i32(in_flight as i32)]).map(drop)
    }
    /// `pointer + bytes` for a constant.
    pub(super) fn offset_by(&self, pointer: Value<'c>, bytes: i64) -> Value<'c> {
        if bytes == 0 { pointer } else { self.offset(pointer, self.i64(bytes)) }
    }
    /// `pointer + bytes` for an `i32` that is not negative.
    pub(super) fn offset_u32(&self, pointer: Value<'c>, bytes: Value<'c>) -> Value<'c> {
        self.offset(pointer, self.zero_extend(bytes, self.i64_type().into()))
    }
}
