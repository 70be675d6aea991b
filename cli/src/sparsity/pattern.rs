//! Which keys each query sees in one branch, by evaluating the program's conditions.

use super::branches::Branch;
use super::footprint::footprint;
use super::ranges::{Ranges, count, intersection, normal};
use crate::failure::Failure;
use crate::text::positions;
use nsa_dsl::program::AxisId;
use nsa_dsl::{Evaluation, Program};

/// What one branch computes.
pub struct Pattern {
    /// What the branch is called.
    pub name: String,
    /// Its conditions, as the program says them.
    pub condition: String,
    /// The name of the axis of the queries, if there are several.
    pub queries: Option<String>,
    /// The name of the axis that is folded over.
    pub axis: String,
    /// The number of its values.
    pub folded: usize,
    /// The name of the axis that is drawn: the same, or that of the keys which its values stand for.
    pub keys: String,
    /// The number of its values.
    pub length: usize,
    /// For each query the keys that it sees, those of a list included.
    pub seen: Vec<Ranges>,
    /// For each query those that a list chose.
    pub chosen: Vec<Ranges>,
    /// Names of the lists.
    pub lists: Vec<String>,
    /// How many scores are computed.
    pub computed: usize,
}

impl Pattern {
    /// Whether what is folded over stands for keys of another axis.
    pub fn is_compressed(&self) -> bool {
        self.axis != self.keys
    }

    /// Scores computed, of all pairs of queries and keys.
    pub fn computed_share(&self) -> f64 {
        share(self.computed, self.seen.len() * self.length)
    }

    /// Pairs of queries and keys that are seen, of all.
    pub fn seen_share(&self) -> f64 {
        share(self.seen.iter().map(count).sum(), self.seen.len() * self.length)
    }

    /// Pairs that are seen because a list chose them, of all.
    pub fn chosen_share(&self) -> f64 {
        share(self.chosen.iter().map(count).sum(), self.seen.len() * self.length)
    }
}

/// A part of a whole; 0 of nothing.
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Evaluates a branch of a program; `at` gives the values of its other axes.
///
/// # Errors
/// What the evaluator refuses.
pub fn pattern(
    program: &Program,
    branch: &Branch,
    evaluation: &Evaluation,
    at: &[(AxisId, usize)],
) -> Result<Pattern, Failure> {
    let extent = |axis: AxisId| evaluation.extent(0, axis).unwrap_or(0);
    let at: Vec<_> =
        at.iter().copied().filter(|(axis, _)| Some(*axis) != branch.queries && *axis != branch.keys).collect();
    let ask = |condition| evaluation.satisfying(0, condition, branch.keys, branch.queries, &at);
    let (queries, folded) = (branch.queries.map_or(1, extent), extent(branch.keys));
    let mut seen: Vec<Ranges> = vec![normal(std::iter::once(0..folded).collect()); queries];
    for condition in &branch.conditions {
        seen = seen.iter().zip(ask(*condition)?).map(|(a, b)| intersection(a, &b)).collect();
    }
    let mut listed: Vec<Ranges> = vec![vec![]; queries];
    for member in &branch.members {
        listed.iter_mut().zip(ask(*member)?).for_each(|(all, more)| all.extend(more));
    }
    let chosen: Vec<Ranges> = seen.iter().zip(listed).map(|(seen, all)| intersection(seen, &normal(all))).collect();
    let computed = seen.iter().map(count).sum();
    let mut pattern = Pattern {
        name: branch.name.clone(),
        condition: condition(program, branch),
        queries: branch.queries.map(|axis| program.axis(axis).name.clone()),
        axis: program.axis(branch.keys).name.clone(),
        folded,
        keys: program.axis(branch.keys).name.clone(),
        length: folded,
        seen,
        chosen,
        lists: lists(program, branch),
        computed,
    };
    if let Some(footprint) = footprint(program, branch).filter(|footprint| footprint.axis != branch.keys) {
        let spans: Option<Vec<_>> = (0..folded).map(|value| footprint.of(program, value, &extent)).collect();
        if let Some(spans) = spans {
            let keys = |values: &Ranges| normal(values.iter().flat_map(|r| spans[r.clone()].iter().cloned()).collect());
            pattern.seen = pattern.seen.iter().map(keys).collect();
            pattern.chosen = pattern.chosen.iter().map(keys).collect();
            pattern.keys = program.axis(footprint.axis).name.clone();
            pattern.length = extent(footprint.axis);
        }
    }
    Ok(pattern)
}

/// The names of the lists that a branch's conditions search.
fn lists(program: &Program, branch: &Branch) -> Vec<String> {
    let mut names = vec![];
    for member in &branch.members {
        if let nsa_dsl::program::Expr::Member(_, list, _) = program.expr(*member)
            && !names.contains(&program.tensor(*list).name)
        {
            names.push(program.tensor(*list).name.clone());
        }
    }
    names
}

/// The conditions of a branch in the language, positions as `pos(t)`.
fn condition(program: &Program, branch: &Branch) -> String {
    let parts: Vec<String> = branch.conditions.iter().map(|condition| program.expr_text(*condition)).collect();
    let axes: Vec<&str> = program.axes.iter().map(|axis| axis.name.as_str()).collect();
    positions(&parts.join(" && "), &axes)
}
