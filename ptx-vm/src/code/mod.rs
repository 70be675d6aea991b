//! Decoded instructions: every name resolved, every variant a thing the machine can do.

mod asynchronous;
mod special;

pub(crate) use asynchronous::{BulkCopy, BulkShape, MbarrierOp, Wgmma, WgmmaA};
pub(crate) use special::Special;

use crate::types::{Space, Type};

/// A register of one of the three files, as a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dst {
    /// 8- or 16-bit register; kept zero-extended in a 32-bit slot.
    Half(u32),
    Word(u32),
    Double(u32),
    Pred(u32),
    Sink,
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Src {
    Word(u32),
    Double(u32),
    Pred(u32),
    NotPred(u32),
    Imm(u64),
    Special(Special),
}

/// Width and signedness of integer arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Neg,
    Abs,
    Not,
    Cnot,
    Popc,
    Clz,
    Brev,
    /// Position of the highest significant bit.
    Bfind,
    /// The same as a shift amount to normalise.
    BfindShift,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    MulHi,
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    /// Signed, and 0 where that is negative.
    MinRelu,
    MaxRelu,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// Bit-field mask.
    Bmsk,
    AddSat,
    SubSat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ternary {
    Mad,
    MadHi,
    MadWide,
    Sad,
    Bfe,
    ShfLeftWrap,
    ShfLeftClamp,
    ShfRightWrap,
    ShfRightClamp,
    Lop3(u8),
    Prmt(PrmtMode),
    Dp4a { a_signed: bool, b_signed: bool },
    Dp2a { a_signed: bool, b_signed: bool, high: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrmtMode {
    Index,
    Forward4,
    Backward4,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}

/// The floating formats arithmetic works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F32x2,
    F64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    Nearest,
    /// Nearest, ties away from zero.
    NearestAway,
    Zero,
    Down,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatOp {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Min,
    Max,
    Neg,
    Abs,
    Ex2,
    Lg2,
    Rcp,
    Rsqrt,
    Sqrt,
    Sin,
    Cos,
    Tanh,
    CopySign,
}

/// Modifiers of floating arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatMode {
    pub format: Float,
    pub rounding: Rounding,
    /// Subnormal inputs and results become zero of the same sign.
    pub flush: bool,
    /// Clamp to 0..1, NaN to 0.
    pub saturate: bool,
    /// Clamp negative results to zero (`.relu`).
    pub relu: bool,
    /// `min` and `max` give NaN if an input is one.
    pub nan: bool,
    /// `min` and `max` of magnitudes, with the product of the signs (`.xorsign.abs`).
    pub xorsign: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    EqU,
    NeU,
    LtU,
    LeU,
    GtU,
    GeU,
    Num,
    Nan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// What `setp` and `set` compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Int(Int),
    /// 8-bit values do not occur; predicates do not compare.
    Float(Float, bool),
}

/// A conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convert {
    pub to: Type,
    pub from: Type,
    pub rounding: Option<Rounding>,
    /// Float to float of one size: round to an integral value.
    pub integral: bool,
    pub flush: bool,
    pub saturate: bool,
    /// Finite results only (`.satfinite`).
    pub finite: bool,
    pub relu: bool,
}

/// How strong an access is, and with it what it may synchronise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

impl Order {
    pub fn acquires(self) -> bool {
        matches!(self, Self::Acquire | Self::AcquireRelease)
    }
    pub fn releases(self) -> bool {
        matches!(self, Self::Release | Self::AcquireRelease)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

/// An address operand: base plus constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Address {
    pub base: Src,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// Element format of a matrix operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::Tf32 => 4,
            Self::E4m3 | Self::E5m2 | Self::S8 | Self::U8 => 1,
        }
    }
}

/// `mma.sync` of one shape.
#[derive(Clone, Debug)]
pub(crate) struct Mma {
    /// Depth: 4, 8, 16 or 32; the shape is always m16n8.
    pub k: usize,
    pub a_type: Element,
    pub b_type: Element,
    /// Results in f16 instead of f32.
    pub half_result: bool,
    /// Integer products: clamp instead of wrapping.
    pub saturate: bool,
    pub d: Vec<Dst>,
    pub a: Vec<Src>,
    pub b: Vec<Src>,
    pub c: Vec<Src>,
}

/// How many threads a barrier waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BarrierUse {
    pub id: Src,
    pub threads: Option<Src>,
    pub arrive_only: bool,
    pub aligned: bool,
    /// `bar.red`: combine a predicate into `(destination, operation, source)`.
    pub reduce: Option<(Dst, Reduction, Src)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    Popc,
    And,
    Or,
}

/// What the machine does for one instruction.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Mov(Dst, Src),
    /// Several registers into one wide one.
    Pack {
        d: Dst,
        parts: Vec<Src>,
        bits: u32,
    },
    /// One wide register into several.
    Unpack {
        parts: Vec<Dst>,
        a: Src,
        bits: u32,
    },
    /// Two 64-bit values into a 128-bit register, a pair of 64-bit slots.
    PackWide {
        low: u32,
        parts: [Src; 2],
    },
    UnpackWide {
        parts: [Dst; 2],
        low: u32,
    },
    Int1(Unary, Int, Dst, Src),
    Int2(Binary, Int, Dst, Src, Src),
    Int3(Ternary, Int, Dst, [Src; 3]),
    /// `add`, `min` or `max` on both 16-bit halves.
    IntHalves {
        op: Binary,
        signed: bool,
        d: Dst,
        a: Src,
        b: Src,
    },
    /// Bit-field insert: `a` into `b` at `position`, `length` bits.
    Bfi(Int, Dst, [Src; 4]),
    /// Logic on predicate registers.
    Pred(Logic, Dst, Src, Src),
    PredNot(Dst, Src),
    /// 32-bit add or subtract through the carry flag.
    Carry {
        subtract: bool,
        carry_in: bool,
        carry_out: bool,
        mad: Option<(bool, Src)>,
        ty: Int,
        d: Dst,
        a: Src,
        b: Src,
    },
    Float1(FloatOp, FloatMode, Dst, Src),
    Float2(FloatOp, FloatMode, Dst, Src, Src),
    Float3(FloatOp, FloatMode, Dst, [Src; 3]),
    /// `testp`-style classification: finite, infinite, number, not a number, normal, subnormal.
    Testp(TestProperty, Float, Dst, Src),
    Setp {
        compare: Compare,
        what: Compared,
        combine: Option<(Logic, Src)>,
        p: Dst,
        q: Dst,
        a: Src,
        b: Src,
    },
    /// Like `Setp` with a value of all ones, or 1.0 when `float`.
    Set {
        compare: Compare,
        what: Compared,
        combine: Option<(Logic, Src)>,
        float: bool,
        d: Dst,
        a: Src,
        b: Src,
    },
    Selp(Dst, Src, Src, Src),
    Cvt(Convert, Dst, Src),
    /// Two floats into one packed register; the first source is the upper half.
    CvtPack(Convert, Dst, Src, Src),
    /// Both halves of a packed source into both halves of the result.
    CvtHalves(Convert, Dst, Src),
    /// Shared, local and parameter addresses to generic ones (`to` false) and back.
    Cvta {
        space: Space,
        to: bool,
        d: Dst,
        a: Src,
    },
    Isspacep {
        space: Space,
        /// Shared memory of the block itself, not of its cluster.
        own: bool,
        d: Dst,
        a: Src,
    },
    Ld {
        space: Space,
        ty: Type,
        order: Order,
        d: Vec<Dst>,
        address: Address,
    },
    St {
        space: Space,
        ty: Type,
        order: Order,
        address: Address,
        values: Vec<Src>,
    },
    Prefetch,
    Atom {
        space: Space,
        op: AtomicOp,
        ty: Type,
        order: Order,
        d: Vec<Dst>,
        address: Address,
        b: Vec<Src>,
        c: Option<Src>,
    },
    Bra(u32),
    Exit,
    Trap,
    Bar(BarrierUse),
    WarpSync(Src),
    Fence {
        /// Orders everything between threads (`membar`, `fence.sc`, `fence.acq_rel`).
        memory: bool,
    },
    Shfl {
        mode: Shuffle,
        d: Dst,
        p: Dst,
        a: Src,
        b: Src,
        c: Src,
        members: Src,
    },
    Vote {
        mode: Vote,
        d: Dst,
        a: Src,
        members: Src,
    },
    Match {
        all: bool,
        wide: bool,
        d: Dst,
        p: Dst,
        a: Src,
        members: Src,
    },
    Redux {
        op: Binary,
        ty: Int,
        d: Dst,
        a: Src,
        members: Src,
    },
    ActiveMask(Dst),
    Elect {
        d: Dst,
        p: Dst,
        members: Src,
    },
    Ldmatrix {
        d: Vec<Dst>,
        address: Address,
        transpose: bool,
    },
    Stmatrix {
        address: Address,
        values: Vec<Src>,
        transpose: bool,
    },
    Movmatrix(Dst, Src),
    Mma(Box<Mma>),
    CpAsync {
        to: Address,
        from: Address,
        bytes: u32,
        source_bytes: Option<Src>,
        /// Copy nothing, write zeroes.
        ignore: Option<Src>,
    },
    CpAsyncCommit,
    /// Wait until at most so many groups of the thread are pending; `None`: until nothing is, committed or not.
    CpAsyncWait(Option<u32>),
    Nop,
    Nanosleep,
    Mbarrier(Box<MbarrierOp>),
    Bulk(Box<BulkCopy>),
    BulkCommit,
    BulkWait(u32),
    /// `fence.proxy.async`, and with it the fences of tensor maps.
    FenceProxy,
    /// `fence.mbarrier_init`.
    FenceMbarrierInit,
    Wgmma(Box<Wgmma>),
    WgmmaFence,
    WgmmaCommit,
    WgmmaWait(u32),
    /// Registers a thread may use from now on.
    SetMaxRegisters {
        count: u32,
        increase: bool,
    },
    ClusterArrive {
        releases: bool,
    },
    ClusterWait {
        acquires: bool,
    },
    /// `mapa`: an address in another block of the cluster.
    Mapa {
        d: Dst,
        a: Src,
        rank: Src,
    },
    /// `getctarank`.
    CtaRank(Dst, Src),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestProperty {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// An instruction ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Inst {
    pub op: Op,
    /// Guard predicate register and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// Line of the source text, counted from 1.
    pub line: u32,
}
