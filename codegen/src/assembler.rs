//! NVIDIA's assembler, where there is one: what kernels take of a multiprocessor once registers are given out.
//!
//! Nothing depends on it: drivers assemble PTX themselves.

use crate::emit::nvptx::Target;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What one kernel takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Takes {
    /// The kernel's entry in the module.
    pub entry: String,
    /// 32-bit registers of each thread.
    pub registers: u32,
    /// Bytes of each thread that are stored to memory for want of registers.
    pub spilled: u32,
}

/// A module that was assembled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// Its kernels, in the assembler's order.
    pub kernels: Vec<Takes>,
    /// Everything that the assembler said.
    pub said: String,
}

/// Why a module was not assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The program does not run.
    #[error("{} cannot be run: {reason}", path.display())]
    Start {
        /// The assembler.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
    /// The assembler has objections, perhaps because it is older than the text.
    #[error("{} refuses the code: {said}", path.display())]
    Refused {
        /// The assembler.
        path: PathBuf,
        /// Its words.
        said: String,
    },
}

/// The assembler of this machine: the file that `NSA_PTXAS` names (none if that is empty), else `ptxas` in `PATH`.
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NSA_PTXAS") {
        return (!path.is_empty()).then(|| path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("ptxas")).find(|path| path.is_file())
}

/// Assembles the text of a module, and throws the machine code away.
///
/// # Errors
/// See [`AssembleError`].
pub fn assemble(ptxas: &Path, text: &str, target: Target) -> Result<Assembled, AssembleError> {
    let start = |reason| AssembleError::Start { path: ptxas.to_path_buf(), reason };
    let mut child = Command::new(ptxas)
        .args(["-v", "-warn-spills", &format!("-arch={}", target.name()), "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends before it has read everything says why.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    let said = String::from_utf8_lossy(&output.stderr).to_string() + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(AssembleError::Refused { path: ptxas.to_path_buf(), said: said.trim().to_string() });
    }
    Ok(Assembled { kernels: takes(&said), said })
}

/// The kernels in what the assembler says of a module.
fn takes(said: &str) -> Vec<Takes> {
    let (mut kernels, mut entry, mut spilled) = (vec![], String::new(), 0);
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            entry = rest.split('\'').next().unwrap_or_default().to_string();
            spilled = 0;
        }
        if let Some(stores) = line.split(',').find(|part| part.contains("bytes spill stores")) {
            spilled = number_before(stores, "bytes").unwrap_or(0);
        }
        if let Some(registers) = number_before(line, "registers") {
            kernels.push(Takes { entry: entry.clone(), registers, spilled });
        }
    }
    kernels
}

/// The number before a word, as in `96 registers`.
fn number_before(line: &str, word: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|w| w.trim_end_matches(',') == word)?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_assembler_says() {
        let said = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'a_o' for 'sm_90a'\n\
            ptxas info    : Function properties for a_o\n    \
            8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n\
            ptxas info    : Used 255 registers, used 1 barriers, 400 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'b' for 'sm_90a'\n\
            ptxas info    : Used 40 registers, used 0 barriers\n";
        let kernel = |entry: &str, registers, spilled| Takes { entry: entry.into(), registers, spilled };
        assert_eq!(takes(said), [kernel("a_o", 255, 12), kernel("b", 40, 0)]);
        assert_eq!(takes(""), []);
    }

    #[test]
    fn an_assembler_that_is_none_is_a_sentence() {
        let error = assemble(Path::new("/nowhere/ptxas"), "", Target::Sm80).expect_err("there is none");
        assert!(error.to_string().starts_with("/nowhere/ptxas cannot be run: "), "{error}");
    }
}
