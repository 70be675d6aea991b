//! `nsa demo`
use crate::failure::Failure;
/// Run
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> Result<(), Failure> {
    Ok(())
}
