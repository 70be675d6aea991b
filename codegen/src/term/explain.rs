//! Why a candidate is what the program says: for each definition the laws that lead from its source term to what was chosen.

use super::context::Context;
use super::display::abbreviated;
use super::extract::expression;
use super::optimise::saturate;
use super::rules::{self, Law, law_of};
use super::{Error, Options, TensorName, Term, Terms};
use crate::machine::Machine;
use egg::{FlatTerm, Id, RecExpr};
use nsa_dsl::Program;
use std::fmt;

/// One application of a law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The law.
    pub law: &'static str,
    /// Its equation.
    pub equation: &'static str,
    /// For unfolding, the definition that is unfolded.
    pub of: Option<String>,
    /// Whether the equation is used from right to left.
    pub reversed: bool,
    /// The term before, abbreviated.
    pub before: String,
    /// The term after, abbreviated.
    pub after: String,
}

/// How one definition came to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The definition.
    pub definition: TensorName,
    /// The laws in their order; a law that is used for the same change in several places is there once.
    pub steps: Vec<Step>,
}

impl Explanation {
    /// The names of the laws, each once, in order of first use.
    pub fn laws(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for step in &self.steps {
            if !names.contains(&step.law) {
                names.push(step.law);
            }
        }
        names
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.definition, self.laws().join(" -> "))?;
        for step in &self.steps {
            let of = step.of.as_ref().map_or(String::new(), |of| format!(" of {of}"));
            let reversed = if step.reversed { ", right to left" } else { "" };
            writeln!(f, "  {}{of}: {}{reversed}", step.law, step.equation)?;
            writeln!(f, "      {}", step.before)?;
            writeln!(f, "   =  {}", step.after)?;
        }
        Ok(())
    }
}

/// How deep terms are shown in steps.
const DEPTH: usize = 3;

/// The laws that lead from each source definition to the candidate's, found by saturating once more with proofs kept.
///
/// # Errors
/// As [`optimise`](super::optimise); [`Error::Underivable`] if the candidate is none of this program's.
pub fn explain(
    terms: &Terms,
    candidate: &Terms,
    program: &Program,
    machine: &Machine,
    options: &Options,
) -> Result<Vec<Explanation>, Error> {
    let mut context = Context::of_program(program, &options.sizes)?;
    context.matrix = Some(machine.matrix.clone());
    let laws = rules::laws(terms, &options.without)?;
    let mut saturated = saturate(terms, &context, &laws, true);
    let mut explanations = Vec::new();
    for chosen in &candidate.definitions {
        let underivable = || Error::Underivable { definition: chosen.tensor.name().to_string() };
        let source = terms.definitions.iter().find(|d| d.tensor == chosen.tensor).ok_or_else(underivable)?;
        let source = expression(&terms.nodes, source.root);
        let chosen_term = expression(&candidate.nodes, chosen.root);
        let graph = &mut saturated.graph;
        let same = match (graph.lookup_expr(&source), graph.lookup_expr(&chosen_term)) {
            (Some(a), Some(b)) => graph.find(a) == graph.find(b),
            _ => false,
        };
        if !same {
            return Err(underivable());
        }
        let mut proof = graph.explain_equivalence(&source, &chosen_term);
        let flat = proof.make_flat_explanation();
        let mut steps: Vec<Step> = Vec::new();
        for (before, after) in flat.iter().zip(flat.iter().skip(1)) {
            if let Some(step) = step(&laws, before, after)
                && !steps.contains(&step)
            {
                steps.push(step);
            }
        }
        explanations.push(Explanation { definition: chosen.tensor, steps });
    }
    Ok(explanations)
}

/// What one step of a proof changed: the place is marked in the term after it.
fn step(laws: &[Law], before: &FlatTerm<Term>, after: &FlatTerm<Term>) -> Option<Step> {
    let rule = match (after.forward_rule, after.backward_rule) {
        (Some(rule), _) => Some((rule, false)),
        (None, Some(rule)) => Some((rule, true)),
        (None, None) => None,
    };
    let Some((rule, reversed)) = rule else {
        return before.children.iter().zip(&after.children).find_map(|(before, after)| step(laws, before, after));
    };
    let name = law_of(rule.as_str());
    let law = laws.iter().find(|law| law.name == name)?;
    let of = rule.as_str().split_once(':').map(|(_, of)| of.to_string());
    let (before, after) = (short(before), short(after));
    Some(Step { law: law.name, equation: law.equation, of, reversed, before, after })
}

fn short(term: &FlatTerm<Term>) -> String {
    let nodes: RecExpr<Term> = term.get_recexpr();
    abbreviated(&nodes, Id::from(nodes.len() - 1), DEPTH)
}
