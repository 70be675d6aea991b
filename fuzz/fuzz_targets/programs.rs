//! Programs that are nearly right: made from choices, then a few words changed.

#![no_main]

use nsa_fuzz::{exercise, generate};

/// Words that are put in.
const WORDS: &[&str] = &[
    "q", "k", "list", "id", "t", "s", "g", "d", "o", "chosen", "0", "1", "3", "0.5", "9223372036854775807", "-1", "len(s)", "pos(t)",
    "sum[j < 3]", "max[s]", "softmax[s]", "top[s]", "in", "where", "if", "else", "(", ")", "[", "]", "{", "}", ",", ";", "<", "<=",
    "==", "+", "*", "/", "%", "!", "&&", "..", "=", "->", "let", "fn f(x) { x }", "ceil_div(len(s), 4)", "inf", "true", "exp",
    "attend(q, k, v)", "cast(0.5, f16)", "stop_gradient(1.0)",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (edits, choices) = data.split_at(data.len().min(9));
    let choices: Vec<u16> = choices.chunks(2).map(|pair| u16::from(pair[0]) | u16::from(*pair.get(1).unwrap_or(&0)) << 8).collect();
    let text = generate::program(&choices).text;
    let mut words: Vec<String> = text.split_inclusive([' ', '(', ')', '[', ']', ',']).map(String::from).collect();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[0]) * 251 % words.len().max(1);
        let word = WORDS[usize::from(edit[1]) % WORDS.len()];
        match edit[2] % 5 {
            0 => words[at] = format!(" {word} "),
            1 => words.insert(at, format!(" {word} ")),
            2 if words.len() > 1 => drop(words.remove(at)),
            3 => {
                let other = usize::from(edit[1]) * 251 % words.len();
                words.swap(at, other);
            }
            // Not every program is to be wrong.
            _ => {}
        }
    }
    exercise(&words.concat());
});
