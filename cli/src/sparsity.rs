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
/// A program without branches, more pairs of queries and keys than can be looked at, and what the evaluator refuses.
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
    for branch in &branches {
        work(program, branch, &evaluation)?;
    }
    branches.iter().map(|branch| pattern::pattern(program, branch, &evaluation, at)).collect()
}

fn work(program: &Program, branch: &branches::Branch, evaluation: &Evaluation) -> Result<(), Failure> {
    let axes: Vec<AxisId> = branch.queries.into_iter().chain([branch.keys]).collect();
    let lengths: Vec<usize> = axes.iter().map(|axis| evaluation.extent(0, *axis).unwrap_or(0)).collect();
    let pairs: u128 = lengths.iter().map(|n| *n as u128).product();
    if pairs <= MOST_PAIRS {
        return Ok(());
    }
    let named = |(axis, length): (&AxisId, &usize)| format!("{length} values of `{}`", program.axis(*axis).name);
    let axes: Vec<String> = axes.iter().zip(&lengths).map(named).collect();
    Err(format!(
        "`{}` has {} pairs of queries and keys ({}), of which at most {MOST_PAIRS} can be looked at: choose smaller lengths",
        branch.name,
        pairs,
        axes.join(" times ")
    )
    .into())
}
