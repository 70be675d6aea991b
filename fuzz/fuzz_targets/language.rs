//! Any text: parsed, printed, checked, evaluated.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| nsa_fuzz::exercise(text));
