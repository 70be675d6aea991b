//! Kernels with one synchronising statement deleted or weakened: how to find out what a test sees.

use crate::error::{ParseError, Position};
use crate::syntax::Instruction;
use std::collections::HashMap;
use std::ops::Range;

/// What was done to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Change {
    /// The statement is gone; a wait on an `mbarrier` becomes a success without waiting.
    Deleted,
    /// A wait lets one more group stay in flight, an `mbarrier` counts one arrival more, an arrival announces no bytes, a wait for
    /// a bulk group waits for its reads only, a release or acquire becomes relaxed.
    Weakened,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Weakened => "weakened",
        })
    }
}

/// A text with one statement changed.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The kernel that the statement belongs to.
    pub kernel: String,
    /// Line of the statement, counted from 1; all lines keep their numbers.
    pub line: u32,
    /// The statement, its blanks made single ones, registers and all.
    pub statement: String,
    /// Which of the kernel's statements of this opcode and these immediate operands it is, counted from 1.
    pub number: usize,
    /// What was done to it.
    pub change: Change,
    /// The whole text.
    pub text: String,
}

impl Mutant {
    /// A name for the mutant that survives changes elsewhere in the text: `bar.sync 0 #2 deleted`. Registers are not part of it.
    pub fn name(&self) -> String {
        format!("{} #{} {}", without_registers(&self.statement), self.number, self.change)
    }
}

/// Every mutant of every kernel in a text, in the order of the text.
///
/// Mutated are barriers, fences, arrivals, commits and waits of every kind, initialisations and announcements of `mbarrier`s, and the
/// orders of memory accesses.
///
/// # Errors
/// If the text does not parse.
///
/// ```
/// let text = ".version 7.1\n.target sm_80\n.address_size 64\n.entry k() {\n  cp.async.wait_group 1;\n  bar.sync 0;\n  ret;\n}\n";
/// let names: Vec<String> = ptx_vm::mutants(text)?.iter().map(|m| m.name()).collect();
/// assert_eq!(names, ["cp.async.wait_group 1 #1 deleted", "cp.async.wait_group 1 #1 weakened", "bar.sync 0 #1 deleted"]);
/// # Ok::<(), ptx_vm::ParseError>(())
/// ```
pub fn mutants(text: &str) -> Result<Vec<Mutant>, ParseError> {
    let module = crate::parser::parse(text)?;
    let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut all = Vec::new();
    for kernel in &module.kernels {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for instruction in &kernel.code {
            if !synchronises(&instruction.parts) {
                continue;
            }
            let range = extent(text, &starts, instruction);
            let written = &text[range.clone()];
            let opcode = written.find(&instruction.parts[0]).unwrap_or(0);
            let (guard, bare) = written.split_at(opcode);
            let statement = bare.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ");
            let number = numbers.entry(without_registers(&statement)).or_default();
            *number += 1;
            for (change, replacement) in changes(&instruction.parts, &statement) {
                let kept = if replacement.is_empty() { String::new() } else { format!("{guard}{replacement}") };
                // Lines keep their numbers, so that findings can be compared.
                let breaks = "\n".repeat(written.matches('\n').count() - kept.matches('\n').count());
                all.push(Mutant {
                    kernel: kernel.name.clone(),
                    line: instruction.at.line,
                    statement: statement.clone(),
                    number: *number,
                    change,
                    text: format!("{}{kept}{breaks}{}", &text[..range.start], &text[range.end..]),
                });
            }
        }
    }
    Ok(all)
}

/// The bytes of a statement, from its guard to its semicolon.
fn extent(text: &str, starts: &[usize], instruction: &Instruction) -> Range<usize> {
    let Position { line, column } = instruction.at;
    let line_start = starts[line as usize - 1];
    let offset = text[line_start..].char_indices().nth(column as usize - 1).map_or(0, |(at, _)| at);
    let opcode = line_start + offset;
    let start = if instruction.guard.is_some() { text[..opcode].rfind('@').unwrap_or(opcode) } else { opcode };
    let end = text[opcode..].find(';').map_or(text.len(), |at| opcode + at + 1);
    start..end
}

fn synchronises(parts: &[String]) -> bool {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match &parts[..] {
        ["bar" | "barrier" | "fence" | "membar" | "mbarrier", ..] => !parts.contains(&"inval"),
        ["cp", "async", rest @ ..] => {
            rest.iter().any(|p| matches!(*p, "commit_group" | "wait_group" | "wait_all"))
                || rest.first() == Some(&"mbarrier")
        }
        ["wgmma", what, ..] => matches!(*what, "fence" | "commit_group" | "wait_group"),
        ["ld" | "st" | "atom" | "red", ..] => parts.iter().any(|p| matches!(*p, "acquire" | "release" | "acq_rel")),
        _ => false,
    }
}

/// The replacements of a statement; nothing for its deletion.
fn changes(parts: &[String], statement: &str) -> Vec<(Change, String)> {
    let has = |what: &str| parts.iter().any(|p| p == what);
    let relaxed = |statement: &str| {
        ["acq_rel", "acquire", "release"].iter().fold(statement.to_string(), |s, order| s.replace(order, "relaxed"))
    };
    let mut all = Vec::new();
    match parts[0].as_str() {
        "ld" | "st" | "atom" | "red" => all.push((Change::Weakened, format!("{};", relaxed(statement)))),
        "mbarrier" if has("try_wait") || has("test_wait") => {
            // What follows must find the predicate of a wait that is over.
            let operand = statement.split_once(' ').map_or("", |(_, operands)| operands);
            let predicate = operand.split(',').next().unwrap_or_default();
            all.push((Change::Deleted, format!("setp.eq.u32 {predicate}, 0, 0;")));
        }
        _ => all.push((Change::Deleted, String::new())),
    }
    if has("wait_group") {
        let (wait, left) = statement.rsplit_once(' ').unwrap_or((statement, "0"));
        if let Ok(left) = left.parse::<u32>() {
            all.push((Change::Weakened, format!("{wait} {};", left + 1)));
        }
        if has("bulk") && !has("read") {
            all.push((Change::Weakened, format!("{};", statement.replacen("wait_group", "wait_group.read", 1))));
        }
    }
    if parts[0] == "mbarrier" && has("init") {
        let (init, count) = statement.rsplit_once(' ').unwrap_or((statement, "1"));
        if let Ok(count) = count.parse::<u32>() {
            all.push((Change::Weakened, format!("{init} {};", count + 1)));
        }
    }
    if parts[0] == "mbarrier" && has("arrive") && has("expect_tx") {
        let (arrive, _) = statement.rsplit_once(',').unwrap_or((statement, ""));
        all.push((Change::Weakened, format!("{};", arrive.replacen(".expect_tx", "", 1))));
    }
    all
}

/// A statement with `%` for every register, so that its name does not depend on how registers were numbered.
fn without_registers(statement: &str) -> String {
    let mut out = String::new();
    let mut characters = statement.chars().peekable();
    while let Some(c) = characters.next() {
        out.push(c);
        if c == '%' {
            while characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_').is_some() {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_statement_is_changed_and_still_parses() {
        let text = "
.version 8.3
.target sm_90a
.address_size 64
.entry k(.param .u64 out) {
    .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<2>;
    @%p1 mbarrier.init.shared::cta.b64 [%r1], 4;
    fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 64;
wait: mbarrier.try_wait.parity.shared::cta.b64 %p0, [%r1],
        0;
    @!%p0 bra wait;
    wgmma.fence.sync.aligned; wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 2;
    cp.async.bulk.wait_group 0;
    ld.acquire.gpu.global.b32 %r2, [%d1];
    barrier.cluster.arrive.aligned;
    ret;
}
";
        let all = mutants(text).expect("the text parses");
        let names: Vec<String> = all.iter().map(Mutant::name).collect();
        assert_eq!(
            names,
            [
                "mbarrier.init.shared::cta.b64 [%], 4 #1 deleted",
                "mbarrier.init.shared::cta.b64 [%], 4 #1 weakened",
                "fence.mbarrier_init.release.cluster #1 deleted",
                "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%], 64 #1 deleted",
                "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%], 64 #1 weakened",
                "mbarrier.try_wait.parity.shared::cta.b64 %, [%], 0 #1 deleted",
                "wgmma.fence.sync.aligned #1 deleted",
                "wgmma.commit_group.sync.aligned #1 deleted",
                "wgmma.wait_group.sync.aligned 2 #1 deleted",
                "wgmma.wait_group.sync.aligned 2 #1 weakened",
                "cp.async.bulk.wait_group 0 #1 deleted",
                "cp.async.bulk.wait_group 0 #1 weakened",
                "cp.async.bulk.wait_group 0 #1 weakened",
                "ld.acquire.gpu.global.b32 %, [%] #1 weakened",
                "barrier.cluster.arrive.aligned #1 deleted",
            ]
        );
        for mutant in &all {
            assert_eq!(mutant.text.lines().count(), text.lines().count(), "{}", mutant.text);
            let module = crate::Module::parse(&mutant.text).unwrap_or_else(|e| panic!("{}: {e}", mutant.name()));
            module.kernel("k").unwrap_or_else(|e| panic!("{}: {e}", mutant.name()));
        }
        assert!(all[1].text.contains("@%p1 mbarrier.init.shared::cta.b64 [%r1], 5;"));
        assert!(all[5].text.contains("wait: setp.eq.u32 %p0, 0, 0;\n\n    @!%p0 bra wait;"), "{}", all[5].text);
    }
}
