//! Which keys each query of a program sees, and pictures of it.

mod branches;
mod figure;
mod footprint;
mod inputs;
mod pattern;
mod ranges;

pub use figure::{figure, percent};
pub use inputs::{lengths, random};
pub use pattern::Pattern;

use crate::failure::Failure;
use nsa_dsl::program::AxisId;
use nsa_dsl::{Evaluation, Inputs, Program};

/// What every branch of a program sees with some arguments; `at` gives the values of axes that are neither queries nor keys.
///
/// # Errors
/// A program without branches, and what the evaluator refuses.
pub fn patterns(program: &Program, inputs: &Inputs, at: &[(AxisId, usize)]) -> Result<Vec<Pattern>, Failure> {
    let evaluation = Evaluation::new(program, inputs)?;
    let branches = branches::branches(program);
    if branches.is_empty() {
        let name = &program.name;
        return Err(format!(
            "`{name}` has nothing to draw: no softmax, and no fold over an axis whose length is given at run time"
        )
        .into());
    }
    branches.iter().map(|branch| pattern::pattern(program, branch, &evaluation, at)).collect()
}
