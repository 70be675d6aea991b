//! Local labels that several modules in one assembly can keep apart.

/// Gives every assembler-local label (`.L...`) a prefix. Text inside quotes stays as it is.
///
/// All `global_asm!` blocks of a codegen unit are assembled as one file, where LLVM's `.LBB0_1` of two modules would clash.
pub(super) fn prefixed(text: &str, prefix: &str) -> String {
    let mut result = String::with_capacity(text.len() + text.len() / 4);
    let mut quoted = false;
    let mut before = '\n';
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let part_of_name = before.is_ascii_alphanumeric() || matches!(before, '_' | '$' | '.');
        let label = !quoted
            && !part_of_name
            && rest
                .strip_prefix(".L")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        if label {
            result.push_str(".L");
            result.push_str(prefix);
            result.push('$');
            before = '$';
            rest = &rest[2..];
            continue;
        }
        if c == '"' && before != '\\' {
            quoted = !quoted;
        }
        result.push(c);
        before = c;
        rest = &rest[c.len_utf8()..];
    }
    result
}

#[cfg(test)]
mod tests {
    use super::prefixed;

    #[test]
    fn labels_get_the_prefix() {
        let text = ".LBB0_1:\n\tjmp\t.LBB0_1\n\tleaq\t.LCPI0_0(%rip), %rax\n";
        assert_eq!(prefixed(text, "m"), ".Lm$BB0_1:\n\tjmp\t.Lm$BB0_1\n\tleaq\t.Lm$CPI0_0(%rip), %rax\n");
    }

    #[test]
    fn names_and_strings_do_not() {
        let text = "\t.ascii\t\".LBB0_1\"\nfoo.Lbar:\n\t.Lx-.Ly\n\t.long\t1\n\t.L\n";
        assert_eq!(prefixed(text, "p"), "\t.ascii\t\".LBB0_1\"\nfoo.Lbar:\n\t.Lp$x-.Lp$y\n\t.long\t1\n\t.L\n");
    }
}
