//! What a run can find wrong with a kernel.

use crate::types::Space;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// The kind of hazard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Two accesses to the same bytes, at least one a write, that nothing orders.
    Race,
    /// Bytes were read that nobody wrote.
    UninitialisedRead,
    /// An access outside every allocation.
    OutOfBounds,
    /// An address that is not a multiple of the access size.
    Misaligned,
    /// The result of an asynchronous operation was used before it was waited for.
    UseBeforeWait,
    /// The operand or destination of an asynchronous operation in flight was overwritten.
    OverwriteInFlight,
    /// Ordinary writes were read by the asynchronous proxy without `fence.proxy.async`.
    MissingProxyFence,
    /// Registers of a wgmma were touched without `wgmma.fence`.
    MissingWgmmaFence,
    /// A barrier was used against its rules.
    BarrierMisuse,
    /// An instruction that all lanes must reach together was reached by some.
    DivergentCollective,
    /// A transaction barrier was told to expect other bytes than arrived.
    ExpectedBytes,
    /// Threads wait for something that will never happen.
    Deadlock,
    /// An operand outside what the instruction allows.
    InvalidOperand,
    /// The kernel executed `trap`.
    Trap,
    /// The instruction budget of the run is spent.
    Timeout,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Race => "data race",
            Self::UninitialisedRead => "read of uninitialised memory",
            Self::OutOfBounds => "access out of bounds",
            Self::Misaligned => "misaligned access",
            Self::UseBeforeWait => "asynchronous result used before its wait",
            Self::OverwriteInFlight => "memory of an asynchronous operation in flight overwritten",
            Self::MissingProxyFence => "missing proxy fence",
            Self::MissingWgmmaFence => "missing wgmma.fence",
            Self::BarrierMisuse => "barrier misuse",
            Self::DivergentCollective => "divergent collective",
            Self::ExpectedBytes => "expected bytes mismatch",
            Self::Deadlock => "deadlock",
            Self::InvalidOperand => "invalid operand",
            Self::Trap => "trap",
            Self::Timeout => "instruction budget spent",
        })
    }
}

/// One side of a hazard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// Block index.
    pub block: [u32; 3],
    /// Warp of the block; `None` for an asynchronous engine.
    pub warp: Option<u32>,
    /// Line of the text, counted from 1.
    pub line: u32,
    /// The instruction as written.
    pub instruction: String,
}

/// One hazard; equal ones (same kind, same instructions) are counted, not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of hazard it is.
    pub kind: FindingKind,
    /// Who ran into it first.
    pub at: Party,
    /// The other side, where there is one.
    pub other: Option<Party>,
    /// What happened, in a sentence fragment.
    pub detail: String,
    /// The bytes concerned: where, address in the space, how many.
    pub bytes: Option<Bytes>,
    /// How often it happened.
    pub count: u64,
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// The state space.
    #[serde(serialize_with = "space_name")]
    pub space: Space,
    /// For global memory the buffer's index in [`crate::Memory`].
    pub buffer: Option<usize>,
    /// Offset in the buffer, or address in the space.
    pub offset: u64,
    /// Length in bytes.
    pub length: u32,
}

fn space_name<S: serde::Serializer>(space: &Space, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(space)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.buffer {
            Some(buffer) => write!(f, "{} bytes at offset {} of buffer {buffer}", self.length, self.offset),
            None => write!(f, "{} bytes at {:#x} of {} memory", self.length, self.offset, self.space),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        match self.warp {
            Some(warp) => write!(f, "block ({x}, {y}, {z}), warp {warp}")?,
            None => write!(f, "block ({x}, {y}, {z}), asynchronous")?,
        }
        write!(f, "\n    line {}: {}", self.line, self.instruction)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)?;
        if let Some(bytes) = self.bytes {
            write!(f, " ({bytes})")?;
        }
        write!(f, "\n  {}", self.at)?;
        if let Some(other) = &self.other {
            write!(f, "\n  against {other}")?;
        }
        if self.count > 1 {
            write!(f, "\n  {} times", self.count)?;
        }
        Ok(())
    }
}

/// A party before its text is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub block: [u32; 3],
    pub warp: Option<u32>,
    pub line: u32,
}

/// A finding before its texts are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub kind: FindingKind,
    pub at: Site,
    pub other: Option<Site>,
    pub detail: String,
    pub bytes: Option<Bytes>,
    pub count: u64,
}

/// The findings of a run, equal ones counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    seen: HashMap<(FindingKind, u32, u32), Raw>,
}

impl Findings {
    /// `detail` is only built the first time.
    pub fn add(
        &mut self,
        kind: FindingKind,
        at: Site,
        other: Option<Site>,
        bytes: Option<Bytes>,
        detail: impl FnOnce() -> String,
    ) {
        self.seen
            .entry((kind, at.line, other.map_or(0, |o| o.line)))
            .and_modify(|raw| raw.count += 1)
            .or_insert_with(|| Raw { kind, at, other, detail: detail(), bytes, count: 1 });
    }

    pub fn merge(&mut self, other: Self) {
        for (key, raw) in other.seen {
            self.seen.entry(key).and_modify(|mine| mine.count += raw.count).or_insert(raw);
        }
    }

    /// In the order of the text, with instructions quoted from `source`.
    pub fn finish(self, source: &str) -> Vec<Finding> {
        let lines: Vec<&str> = source.lines().collect();
        let party = |site: Site| Party {
            block: site.block,
            warp: site.warp,
            line: site.line,
            instruction: lines.get((site.line as usize).wrapping_sub(1)).map_or("", |l| l.trim()).to_string(),
        };
        let mut findings: Vec<Finding> = self
            .seen
            .into_values()
            .map(|raw| Finding {
                kind: raw.kind,
                at: party(raw.at),
                other: raw.other.map(party),
                detail: raw.detail,
                bytes: raw.bytes,
                count: raw.count,
            })
            .collect();
        findings.sort_by_key(|f| (f.at.line, f.kind, f.other.as_ref().map_or(0, |o| o.line)));
        findings
    }
}
