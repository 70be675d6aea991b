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

/// Most pairs of queries and keys of a branch. Conditions without bounds are asked for every pair, which takes a processor some 100 ns:
/// this many take minutes.
const MOST_PAIRS: u128 = 1 << 32;

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

/// Whether the pairs of queries and keys of a program with axes of these lengths can be looked at.
///
/// # Errors
/// There are too many; names the branch and the axes.
pub fn affordable(program: &Program, lengths: &[usize]) -> Result<(), Failure> {
    for branch in branches::branches(program) {
        let axes: Vec<AxisId> = branch.queries.into_iter().chain([branch.keys]).collect();
        let pairs: u128 = axes.iter().map(|axis| lengths[axis.0 as usize] as u128).product();
        if pairs <= MOST_PAIRS {
            continue;
        }
        let named = |axis: &AxisId| format!("{} values of `{}`", lengths[axis.0 as usize], program.axis(*axis).name);
        let axes: Vec<String> = axes.iter().map(named).collect();
        return Err(format!(
            "`{}` has {pairs} pairs of queries and keys ({}), and at most {MOST_PAIRS} can be looked at: choose smaller lengths",
            branch.name,
            axes.join(" times ")
        )
        .into());
    }
    Ok(())
}
