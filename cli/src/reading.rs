//! Texts that the user names: files, or the standard input.

use crate::failure::{Failure, at};
use std::io::Read;
use std::path::Path;

/// What a text on the standard input is called.
const STANDARD_INPUT: &str = "<stdin>";

/// Whether a file's name means the standard input.
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What errors call a file, and its text; `-` is the standard input.
///
/// # Errors
/// A file that cannot be read, or is no text.
pub fn read(path: &Path) -> Result<(String, String), Failure> {
    let (name, bytes) = if is_standard_input(path) {
        let mut bytes = vec![];
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(at(Path::new(STANDARD_INPUT)))?;
        (STANDARD_INPUT.to_string(), bytes)
    } else {
        (path.display().to_string(), std::fs::read(path).map_err(at(path))?)
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            Err(format!("{name}: this is no text: byte {valid}, counted from 0, begins no character of UTF-8").into())
        }
    }
}
