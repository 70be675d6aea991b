//! Nothing that is typed makes the parser, the checker or the printers panic, hang or grow without bound.

use nsa_dsl::{Settings, compile_source, parse};
use proptest::prelude::*;

const EXAMPLES: [&str; 4] = [
    include_str!("../../examples/nsa.nsa"),
    include_str!("../../examples/nsa_mlp.nsa"),
    include_str!("../../examples/full_attention.nsa"),
    include_str!("../../examples/window.nsa"),
];

/// Words of the language and a few that are not.
const WORDS: &[&str] = &[
    "kernel",
    "const",
    "fn",
    "let",
    "element",
    "bf16",
    "i32",
    "f32",
    "if",
    "else",
    "in",
    "where",
    "sum",
    "max",
    "min",
    "mean",
    "softmax",
    "logsumexp",
    "top",
    "exp",
    "cast",
    "pos",
    "len",
    "attend",
    "score",
    "overlap",
    "block_mean",
    "force",
    "among",
    "true",
    "inf",
    "q",
    "k",
    "v",
    "t",
    "s",
    "g",
    "d",
    "o",
    "x",
    "y",
    "0",
    "1",
    "2",
    "16",
    "0.5",
    "9223372036854775807",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "=",
    "<",
    "<=",
    ">",
    "==",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "..",
    "->",
    ":",
    ".",
    "#",
    "'a",
    "\"text\"",
    "type",
    "é",
    "\\",
    "1e400",
    "// end\n",
    "/*",
    "*/",
];

/// Everything that can be done with a text; programs that compile are printed too.
fn exercise(text: &str) {
    if let Ok(file) = parse("program.nsa", text) {
        let printed = file.to_string();
        let again = parse("printed.nsa", &printed).unwrap_or_else(|errors| panic!("{errors}\nof\n{text}"));
        assert_eq!(again.to_string(), printed, "printing is stable");
    }
    match compile_source("program.nsa", text, &Settings::default()) {
        Ok(program) => assert!(program.to_string().len() < 10_000_000),
        Err(errors) => assert!(errors.iter().count() > 0 && !errors.to_string().is_empty()),
    }
    if let Ok(tokens) = text.parse::<proc_macro2::TokenStream>()
        && let Err(errors) = nsa_dsl::compile_tokens(tokens.clone(), &Settings::default())
    {
        assert_eq!(errors.locate(&tokens).len(), errors.iter().count());
    }
}

/// Splits a program into words and the spaces between.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    for c in text.chars() {
        let alphanumeric = c.is_alphanumeric() || c == '_';
        match words.last_mut() {
            Some(word) if alphanumeric && word.ends_with(|c: char| c.is_alphanumeric() || c == '_') => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    words
}

fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5u8, prop::sample::select(WORDS));
    (prop::sample::select(&EXAMPLES[..]), prop::collection::vec(edit, 1..6)).prop_map(|(example, edits)| {
        let mut words = words(example);
        for (at, other, kind, word) in edits {
            let (at, other) = (at.index(words.len()), other.index(words.len()));
            match kind {
                0 => words[at] = word.to_string(),
                1 => words.insert(at, format!(" {word} ")),
                2 => drop(words.remove(at)),
                3 => words.swap(at, other),
                _ => words[at] = words[other].clone(),
            }
            if words.is_empty() {
                words.push(String::new());
            }
        }
        words.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        exercise(&words.join(" "));
    }

    #[test]
    fn any_body(words in prop::collection::vec(prop::sample::select(WORDS), 0..25)) {
        exercise(&format!("kernel a(q[t, d = 4], k[s, d], v[s, e = 3]) -> o[t] {{ {} }}", words.join(" ")));
    }

    #[test]
    fn mutated_examples(text in mutated()) {
        exercise(&text);
    }

    #[test]
    fn any_settings(name in prop::sample::select(WORDS), value in any::<i64>(), size in -3..70i64) {
        for example in EXAMPLES {
            for constant in ["d", "L", "STRIDE", "BLOCK", "N", "WINDOW", name] {
                for value in [value, size] {
                    let settings = Settings::default().set(constant, value);
                    if let Ok(program) = compile_source("program.nsa", example, &settings) {
                        prop_assert!(!program.to_string().is_empty());
                    }
                }
            }
        }
    }
}

/// Deep and wide texts end in an error, soon.
#[test]
fn deep_texts() {
    for text in [
        "(".repeat(300_000),
        "[".repeat(100) + &"]".repeat(100),
        format!("kernel a(q[t]) -> o[t] {{ {} }}", "q[".repeat(50_000) + &"]".repeat(50_000)),
        format!("kernel a(q[t]) -> o[t] {{ {}q }}", "!".repeat(100_000)),
        format!("kernel a(q[t]) -> o[t] {{ {}q }}", "sum[t] ".repeat(50_000)),
        format!("kernel a(q[t]) -> o[t] {{ q{} }}", " * q".repeat(100_000)),
        format!("kernel a(q[t]) -> o[t] {{ {} q }}", "let x = q;".repeat(3_000)),
        format!("kernel a(q[t]) -> o[t] {{ {} {{ q }} else {{ q }} }}", "if t < 1 { q } else ".repeat(20_000)),
        "const A = 1;".repeat(20_000),
    ] {
        exercise(&text);
    }
}
