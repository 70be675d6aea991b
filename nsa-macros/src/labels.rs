//! Local labels of assembly texts.

/// Gives every assembler-local label (`.L...`) a prefix. All `global_asm!` texts of a crate may end up in one assembler file, where
/// the compiler's numbered labels would meet those of other texts.
pub fn with_prefix(assembly: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(assembly.len() + assembly.len() / 4);
    let mut in_string = false;
    let mut previous = ' ';
    let mut rest = assembly;
    while let Some(c) = rest.chars().next() {
        let starts_word = !(previous.is_ascii_alphanumeric() || matches!(previous, '_' | '$' | '.'));
        if c == '"' && previous != '\\' {
            in_string = !in_string;
        }
        let label = rest.strip_prefix(".L").filter(|after| {
            starts_word && !in_string && after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        });
        if let Some(after) = label {
            out.push_str(".L");
            out.push_str(prefix);
            out.push('$');
            previous = '$';
            rest = after;
        } else {
            out.push(c);
            previous = c;
            rest = &rest[c.len_utf8()..];
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
        assert_eq!(with_prefix(text, "p"), expected);
    }
}
