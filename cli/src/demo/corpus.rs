//! The text: a file of the user's, or this repository's own sources and documents.

use crate::failure::{Failure, at};
use std::path::{Path, PathBuf};

/// What comes before the sources.
const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "RULES.md"];

/// The first `limit` bytes of a file; without one, of the repository's documents and sources.
pub fn text(file: Option<&Path>, limit: usize) -> Result<(Vec<u8>, String), Failure> {
    if let Some(file) = file {
        let mut bytes = std::fs::read(file).map_err(at(file))?;
        bytes.truncate(limit);
        return Ok((bytes, file.display().to_string()));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut bytes = Vec::new();
    let mut files: Vec<PathBuf> = DOCUMENTS.iter().map(|name| root.join(name)).collect();
    for folder in ["nsa-dsl/src", "artifact/src", "runtime/src", "measure/src"] {
        collect(&root.join(folder), &mut files);
    }
    files[DOCUMENTS.len()..].sort();
    for path in files {
        if bytes.len() >= limit {
            break;
        }
        bytes.extend(std::fs::read(&path).map_err(at(&path))?);
    }
    bytes.truncate(limit);
    if bytes.is_empty() {
        return Err("this repository's sources are not here any more: name a text file".to_string().into());
    }
    Ok((bytes, "this repository's documents and sources".into()))
}

/// All Rust sources below a folder; folders that cannot be read are left out.
fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}
