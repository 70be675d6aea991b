//! The laws: every rewrite of the e-graph, by topic. `RULES.md` says how to write one and lists them all.
//!
//! A law is an equation that holds for all values; a rule is one direction of it, as a pattern and what replaces it. Rules
//! with the mark `*~` or `+~` hold for both orders of the operands and stand for two rewrites.

mod algebra;
mod alternatives;
mod finite;
mod schedule;
mod sparsity;
mod unfold;

use super::facts::{Graph, Knowledge};
use super::{Error, Term, Terms};
use egg::{Applier, Id, Pattern, PatternAst, RecExpr, Rewrite, Subst, Symbol, Var};
use std::sync::Arc;

pub use unfold::unfolding;

/// One law.
pub struct Law {
    /// Its name, by which it is switched off.
    pub name: &'static str,
    /// Its equation and what it needs, in one line.
    pub equation: &'static str,
    /// Its file.
    pub topic: &'static str,
    rules: Vec<Rule>,
}

impl Law {
    /// The rewrites of the law. Their names are the law's and, after a `#` or `:`, which of them.
    #[expect(clippy::expect_used, reason = "rules are part of this crate, and built in every test")]
    pub fn rewrites(&self) -> Vec<Rewrite<Term, Knowledge>> {
        let single = self.rules.len() == 1;
        let rewrites = self.rules.iter().enumerate().map(|(number, rule)| {
            let name = match (&rule.of, single) {
                (Some(of), _) => format!("{}:{of}", self.name),
                (None, true) => self.name.to_string(),
                (None, false) => format!("{}#{}", self.name, number + 1),
            };
            let right = Right { make: rule.right.clone(), when: rule.when.clone() };
            Rewrite::new(name, Pattern::new(rule.left.clone()), right)
                .expect("a rule's right side uses its left side's variables")
        });
        rewrites.collect()
    }

    /// The left and right sides, as text; a computed right side is described by the equation only.
    pub fn sides(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.rules.iter().map(|rule| {
            let right = match &rule.right {
                Make::Pattern(ast) => Some(ast.to_string()),
                Make::Computed(_) => None,
            };
            (rule.left.to_string(), right)
        })
    }
}

/// The law that a rewrite's name belongs to.
pub fn law_of(rewrite: &str) -> &str {
    rewrite.split(['#', ':']).next().unwrap_or(rewrite)
}

/// The laws that hold for every program, without those that are switched off.
///
/// `terms` is what the unfolding of definitions is made from.
///
/// # Errors
/// [`Error::UnknownLaw`] for a name in `without` that is no law.
pub fn laws(terms: &Terms, without: &[String]) -> Result<Vec<Law>, Error> {
    let mut laws = general();
    laws.extend(unfolding(terms));
    if let Some(unknown) = without.iter().find(|name| !laws.iter().any(|law| law.name == name.as_str())) {
        let known = laws.iter().map(|law| law.name.to_string()).collect();
        return Err(Error::UnknownLaw { name: unknown.clone(), known });
    }
    laws.retain(|law| !without.iter().any(|name| name == law.name));
    Ok(laws)
}

/// The laws that do not depend on the program.
pub fn general() -> Vec<Law> {
    [algebra::laws(), sparsity::laws(), alternatives::laws(), schedule::laws()].into_iter().flatten().collect()
}

/// One direction of a law.
struct Rule {
    left: PatternAst<Term>,
    right: Make,
    when: Vec<Condition>,
    of: Option<String>,
}

type Condition = Arc<dyn Fn(&Graph, &Subst) -> bool + Send + Sync>;
type Compute = Arc<dyn Fn(&Graph, &Subst) -> Vec<(PatternAst<Term>, Subst)> + Send + Sync>;

#[derive(Clone)]
enum Make {
    Pattern(PatternAst<Term>),
    Computed(Compute),
}

/// The right side of a rule: what is made equal to the match, if the conditions hold.
struct Right {
    make: Make,
    when: Vec<Condition>,
}

impl Applier<Term, Knowledge> for Right {
    fn get_pattern_ast(&self) -> Option<&PatternAst<Term>> {
        match &self.make {
            Make::Pattern(ast) => Some(ast),
            Make::Computed(_) => None,
        }
    }

    fn apply_one(
        &self,
        graph: &mut Graph,
        class: Id,
        subst: &Subst,
        left: Option<&PatternAst<Term>>,
        rule: Symbol,
    ) -> Vec<Id> {
        if !self.when.iter().all(|condition| condition(graph, subst)) {
            return Vec::new();
        }
        let made = match &self.make {
            Make::Pattern(ast) => vec![(ast.clone(), subst.clone())],
            Make::Computed(compute) => compute(graph, subst),
        };
        let mut changed = Vec::new();
        for (ast, subst) in made {
            // with explanations on, the proof must name the terms on both sides, not only their classes
            let did = match left {
                Some(left) => graph.union_instantiations(left, &ast, &subst, rule).1,
                None => {
                    let new = graph.add_instantiation(&ast, &subst);
                    graph.union(class, new)
                }
            };
            if did {
                changed.push(class);
            }
        }
        changed
    }

    fn vars(&self) -> Vec<Var> {
        match &self.make {
            Make::Pattern(ast) => Pattern::new(ast.clone()).vars(),
            Make::Computed(_) => Vec::new(),
        }
    }
}

/// A law of a topic's file.
fn law(topic: &'static str, name: &'static str, equation: &'static str, rules: Vec<Vec<Rule>>) -> Law {
    Law { name, equation, topic, rules: rules.into_iter().flatten().collect() }
}

/// A rule from pattern to pattern. The texts are constants of this program, so they parse.
fn rule(left: &str, right: &str, when: &[Condition]) -> Vec<Rule> {
    let right = Make::Pattern(pattern(right));
    both_orders(left)
        .iter()
        .map(|left| Rule { left: pattern(left), right: right.clone(), when: when.to_vec(), of: None })
        .collect()
}

/// A rule whose right sides are computed from the match.
fn computed(
    left: &str,
    compute: impl Fn(&Graph, &Subst) -> Vec<(PatternAst<Term>, Subst)> + Send + Sync + 'static,
) -> Vec<Rule> {
    vec![Rule { left: pattern(left), right: Make::Computed(Arc::new(compute)), when: Vec::new(), of: None }]
}

#[expect(clippy::panic, reason = "patterns are part of this crate, and parsed in every test")]
fn pattern(text: &str) -> PatternAst<Term> {
    text.parse().unwrap_or_else(|error| panic!("the pattern {text} does not parse: {error}"))
}

#[expect(clippy::panic, reason = "patterns are part of this crate, and parsed in every test")]
fn var(name: &str) -> Var {
    name.parse().unwrap_or_else(|_| panic!("{name} is no pattern variable"))
}

/// The texts for both orders of every operation marked with `~`.
fn both_orders(text: &str) -> Vec<String> {
    let Some(mark) = text.find('~') else { return vec![text.to_string()] };
    let (head, tail) = (&text[..mark], text[mark + 1..].trim_start());
    let first = operand(tail);
    let rest = tail[first.len()..].trim_start();
    let second = operand(rest);
    let end = &rest[second.len()..];
    [format!("{head} {first} {second}{end}"), format!("{head} {second} {first}{end}")]
        .iter()
        .flat_map(|text| both_orders(text))
        .collect()
}

/// The first operand of a list of operands.
fn operand(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return &text[..=at],
            ')' | ' ' if depth == 0 => return &text[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

/// `x` does not vary over what the domain `domain` binds.
fn free_of(x: &str, domain: &str) -> Condition {
    let (x, domain) = (var(x), var(domain));
    Arc::new(move |graph, subst| graph[subst[x]].data.free_of(&graph[subst[domain]].data))
}

/// The class has a node for which this holds.
fn any_node(graph: &Graph, class: Id, is: impl Fn(&Term) -> bool) -> bool {
    graph[class].nodes.iter().any(is)
}

/// The domain is not one half of a split domain.
fn whole(domain: &str) -> Condition {
    let domain = var(domain);
    Arc::new(move |graph, subst| is_whole(graph, subst[domain]))
}

fn is_whole(graph: &Graph, domain: Id) -> bool {
    let half = |node: &Term| matches!(node, Term::Outer(_) | Term::Inner(_) | Term::Chunks(_) | Term::Chunk(_));
    !any_node(graph, domain, half)
}

/// A term of the graph or of an arena as a pattern without variables.
fn ground(nodes: &RecExpr<Term>) -> PatternAst<Term> {
    let mut ast = PatternAst::default();
    for node in nodes.as_ref() {
        ast.add(egg::ENodeOrVar::ENode(node.clone()));
    }
    ast
}

#[cfg(test)]
mod tests;
