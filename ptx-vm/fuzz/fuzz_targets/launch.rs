//! Any description of a launch: read and launched for a moment, or refused.
#![no_main]

#[path = "../../tests/hostile/launches.rs"]
mod launches;

libfuzzer_sys::fuzz_target!(|json: &str| launches::launch(json));
