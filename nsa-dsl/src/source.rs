//! Texts and places in them.
//!
//! Every place is a byte range of a text, whatever the program was read from: plain data that outlives the parser, can be
//! sent between threads and compared. [`compile_tokens`](crate::compile_tokens) parses the printed tokens and finds the way
//! back from byte ranges to tokens only when an error is to be shown ([`Diagnostics::locate`](crate::Diagnostics::locate)).

use std::ops::Range;

/// Which text a [`Span`] lies in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct SourceId(pub u16);

impl SourceId {
    /// The program's own text; the library's files come after it.
    pub const USER: SourceId = SourceId(0);
}

/// A range of bytes of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `last`, which lies in the same text.
    pub fn to(self, last: Span) -> Span {
        Span { source: self.source, start: self.start.min(last.start), end: self.end.max(last.end) }
    }

    /// As a range for slicing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A place as people count: both from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Column in UTF-16 units, from 0: what editors use.
    pub utf16: usize,
}

/// Line and column of a byte of a text; past the end means the end.
pub fn line_column(text: &str, byte: usize) -> LineColumn {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = &before[line_start..];
    LineColumn {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        utf16: line.encode_utf16().count(),
    }
}
