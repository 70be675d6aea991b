//! The library: functions written in the language, in `std/*.nsa`.

use crate::ast::{self, Item};
use crate::diagnostic::{Diagnostic, SourceText};
use crate::parse::parse_text;
use crate::source::SourceId;
use std::sync::OnceLock;

/// The files of the library, by name; their places have the ids from 1 on.
const FILES: [(&str, &str); 3] = [
    ("std/attention.nsa", include_str!("../std/attention.nsa")),
    ("std/compression.nsa", include_str!("../std/compression.nsa")),
    ("std/blocks.nsa", include_str!("../std/blocks.nsa")),
];

/// The texts of the library, in the order of their ids.
pub(crate) fn sources() -> impl Iterator<Item = SourceText> {
    FILES.iter().map(|(name, text)| SourceText { name: name.to_string(), text: text.to_string() })
}

/// The functions of the library; an error, of which a test makes sure that it never happens, says what is wrong with it.
pub(crate) fn functions() -> Result<impl Iterator<Item = &'static ast::Function>, Diagnostic> {
    static PARSED: OnceLock<Result<Vec<ast::File>, Diagnostic>> = OnceLock::new();
    let files = PARSED
        .get_or_init(|| {
            FILES.iter().enumerate().map(|(i, (_, text))| parse_text(text, SourceId(i as u16 + 1))).collect()
        })
        .as_ref()
        .map_err(Clone::clone)?;
    Ok(files.iter().flat_map(|file| &file.items).filter_map(|item| match item {
        Item::Function(function) => Some(function),
        _ => None,
    }))
}

/// Names and texts of the library's files, for documentation and for reading.
pub fn library_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.into_iter()
}
