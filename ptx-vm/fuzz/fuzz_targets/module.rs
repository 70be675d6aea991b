//! Any text: parsed, decoded and run for a moment, or refused.
#![no_main]

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|text: &str| hostile::exercise(text));
