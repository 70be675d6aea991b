//! Emphasis on a terminal, and nowhere else.

use std::io::IsTerminal;

/// Whether text is in colour.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// In colour if standard output is a terminal and `NO_COLOR` is not set.
    pub fn for_output() -> Paint {
        Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// What begins a section.
    pub fn heading(self, text: &str) -> String {
        self.with("1;36", text)
    }

    /// What is read first.
    pub fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What explains.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What was chosen.
    pub fn chosen(self, text: &str) -> String {
        self.with("1;32", text)
    }
}
