//! Shared memory of a block with a record, per 4-byte word, of who wrote and read it last.

/// Lane number of an access that belongs to the whole warp (`ldmatrix` and the like).
pub(crate) const ANY_LANE: u8 = 63;

/// The last write of a word, and its state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Word {
    pub clock: u32,
    pub line: u32,
    pub agent: u16,
    pub lane: u8,
    /// Bytes ever written.
    pub written: u8,
    /// Bytes of the last write.
    pub last: u8,
    pub flags: u8,
    /// Asynchronous operations in flight that read this word.
    pub readers: u16,
}

/// An asynchronous copy has claimed the word and not been waited for.
pub(crate) const PENDING: u8 = 1;
/// The last write went through the asynchronous proxy.
pub(crate) const ASYNC: u8 = 2;
/// The last write was an atomic operation.
pub(crate) const ATOMIC: u8 = 4;

/// A read as packed into 64 bits: stamp, lane, line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadStamp(pub u64);

impl ReadStamp {
    pub fn new(clock: u32, lane: u8, line: u32) -> Self {
        Self(u64::from(clock) << 32 | u64::from(lane & 63) << 26 | u64::from(line & 0x3ff_ffff))
    }
    pub fn clock(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub fn lane(self) -> u8 {
        (self.0 >> 26 & 63) as u8
    }
    pub fn line(self) -> u32 {
        (self.0 & 0x3ff_ffff) as u32
    }
}

/// Shared memory of one block.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub data: Vec<u8>,
    pub words: Vec<Word>,
    /// `reads[word * readers + agent]`.
    pub reads: Vec<u64>,
    pub readers: usize,
}

impl Shared {
    pub fn new(bytes: usize, readers: usize, track: bool) -> Self {
        let bytes = bytes.next_multiple_of(16);
        let words = if track { bytes / 4 } else { 0 };
        Self { data: vec![0; bytes], words: vec![Word::default(); words], reads: vec![0; words * readers], readers }
    }

    /// Bytes `at..at + n` as masks per word: `(word, mask)`.
    #[inline(always)]
    pub fn split(at: usize, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
        let end = at + bytes;
        (at / 4..end.div_ceil(4)).map(move |word| {
            let from = at.max(word * 4) - word * 4;
            let to = end.min(word * 4 + 4) - word * 4;
            (word, ((1u32 << to) - (1u32 << from)) as u8)
        })
    }
}
