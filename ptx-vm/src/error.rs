//! Errors in the text of a module: what is wrong, where, and the line itself.

use std::fmt;

/// A fault in the PTX text, found while parsing or while resolving a kernel.
///
/// `Display` prints the message, the position, the source line and a caret under the column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in one sentence.
    pub message: String,
    /// Line of the source text, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// The whole source line.
    pub text: String,
}

impl ParseError {
    pub(crate) fn new(message: impl Into<String>, source: &str, at: Position) -> Self {
        let text = source.lines().nth(at.line.saturating_sub(1) as usize).unwrap_or("").to_string();
        Self { message: message.into(), line: at.line, column: at.column, text }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        let number = self.line.to_string();
        writeln!(f, "{:>width$}--> line {}, column {}", "", self.line, self.column, width = number.len())?;
        writeln!(f, "{number} | {}", self.text)?;
        // Tabs are kept so that the caret stands under its column whatever the tab width.
        let lead: String =
            self.text.chars().take(self.column as usize - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "{:>width$} | {lead}^", "", width = number.len())
    }
}

impl std::error::Error for ParseError {}

/// A place in the source text; both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}
