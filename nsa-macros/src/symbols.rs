//! Names in assembly texts.

/// Gives every assembler-local label (`.L...`) a prefix. All `global_asm!` texts of a crate may end up in one assembler file, where
/// the compiler's numbered labels would meet those of other texts.
pub fn with_local_labels(assembly: &str, prefix: &str) -> String {
    let label = |word: &str| {
        let after = word.strip_prefix(".L")?;
        after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_').then_some(".L".len())
    };
    replaced(assembly, label, &format!(".L{prefix}$"))
}

/// Puts `new` in the place of `old` at the start of every symbol `old_...`.
pub fn renamed(assembly: &str, old: &str, new: &str) -> String {
    let symbol = |word: &str| word.strip_prefix(old)?.starts_with('_').then_some(old.len());
    replaced(assembly, symbol, new)
}

/// Puts `new` in the place of what begins words: as many bytes as `begins` says of a text that starts with a word. Text inside quotes
/// stays as it is.
fn replaced(assembly: &str, begins: impl Fn(&str) -> Option<usize>, new: &str) -> String {
    let mut out = String::with_capacity(assembly.len() + assembly.len() / 4);
    let mut in_string = false;
    let mut previous = ' ';
    let mut rest = assembly;
    while let Some(c) = rest.chars().next() {
        let starts_word = !(previous.is_ascii_alphanumeric() || matches!(previous, '_' | '$' | '.'));
        if c == '"' && previous != '\\' {
            in_string = !in_string;
        }
        match if starts_word && !in_string { begins(rest) } else { None } {
            Some(length) => {
                out.push_str(new);
                // Inside a word.
                previous = '_';
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                previous = c;
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_labels_change() {
        let text =
            "f:\n.LBB0_1:\n  jne .LBB0_1\n  leaq .LCPI0_0(%rip), %rax\n  .asciz \"say .LBB0\"\n  a.Lb\n.Lfunc_end0-f\n";
        let expected = "f:\n.Lp$BB0_1:\n  jne .Lp$BB0_1\n  leaq .Lp$CPI0_0(%rip), %rax\n  .asciz \"say .LBB0\"\n  a.Lb\n.Lp$func_end0-f\n";
        assert_eq!(with_local_labels(text, "p"), expected);
    }

    #[test]
    fn only_symbols_with_the_prefix_are_renamed() {
        let text = ".globl\tf_0_k_avx2\nf_0_k_avx2:\n  leaq .Lf_0_avx2$C(%rip), %rax\n  .asciz \"f_0_k\"\n  xf_0_k, f_01, f_0\n.size f_0_k_avx2, .-f_0_k_avx2";
        let expected = ".globl\tq_k_avx2\nq_k_avx2:\n  leaq .Lf_0_avx2$C(%rip), %rax\n  .asciz \"f_0_k\"\n  xf_0_k, f_01, f_0\n.size q_k_avx2, .-q_k_avx2";
        assert_eq!(renamed(text, "f_0", "q"), expected);
    }
}
