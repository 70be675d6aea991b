//! The `nsa` command.
fn main() {}
