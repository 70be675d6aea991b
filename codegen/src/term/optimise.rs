//! From a program's terms to candidates: saturate, extract, compare.

use super::build::Builder;
use super::context::Context;
use super::cost::{CostTable, cost};
use super::extract::{Choice, Extracted, Extractor, expression};
use super::facts::{Graph, Knowledge};
use super::rules::{self, Law};
use super::stored::{loaded, needs};
use super::{Definition, Error, Term, Terms};
use crate::machine::Machine;
use egg::{Id, Rewrite, Runner, SimpleScheduler, StopReason};
use nsa_dsl::Program;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Nodes at which saturation stops; programs of the examples' size need a few thousand.
pub const NODE_LIMIT: usize = 50_000;
/// How many of the best ways are tried with their folds split.
const TO_SPLIT: usize = 4;
/// Iterations at which saturation stops.
pub const ITERATION_LIMIT: usize = 60;

/// What to optimise for.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Laws that are not to be used, by name.
    pub without: Vec<String>,
    /// Expected lengths of run-time axes, by name; others are expected to have
    /// [`DEFAULT_SIZE`](super::context::DEFAULT_SIZE) elements.
    pub sizes: BTreeMap<String, i64>,
    /// At most so many candidates; beside them always the best one whose folds are split, if the machine is not filled
    /// otherwise, and the one that stores every definition that is used.
    pub candidates: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { without: Vec::new(), sizes: BTreeMap::new(), candidates: 4 }
    }
}

/// How saturation went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saturation {
    /// Iterations.
    pub iterations: usize,
    /// Nodes of the e-graph.
    pub nodes: usize,
    /// Classes of the e-graph.
    pub classes: usize,
    /// Whether no law had anything left to add; if not, a limit was reached, and the candidates are right but may be
    /// worse than the laws allow.
    pub complete: bool,
}

/// One way to compute the program.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The stored definitions, each after those it loads.
    pub terms: Terms,
    /// What it costs.
    pub cost: CostTable,
    /// Definitions whose folds are split over thread blocks.
    pub split: Vec<String>,
}

impl Candidate {
    /// The names of what is stored, results included.
    pub fn stored(&self) -> Vec<&'static str> {
        self.terms.definitions.iter().map(|definition| definition.tensor.name()).collect()
    }
}

/// A way to compute the program that was looked at.
#[derive(Clone, PartialEq, Debug)]
pub struct Considered {
    /// The stored definitions.
    pub stored: Vec<&'static str>,
    /// Those whose folds are split.
    pub split: Vec<String>,
    /// What it costs.
    pub cost: CostTable,
}

/// What optimising gives.
#[derive(Clone, Debug)]
pub struct Optimised {
    /// The best candidates, structurally different, cheapest first; never empty.
    pub candidates: Vec<Candidate>,
    /// Everything that was costed, cheapest first.
    pub considered: Vec<Considered>,
    /// How saturation went.
    pub saturation: Saturation,
}

impl fmt::Display for Optimised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.saturation;
        let end = if s.complete { "saturated" } else { "stopped at a limit" };
        writeln!(f, "e-graph: {} nodes, {} classes, {} iterations, {end}", s.nodes, s.classes, s.iterations)?;
        writeln!(f, "{:>10} {:>10} {:>10} {:>8}  stored", "ms", "memory GB", "cache GB", "launches")?;
        for way in &self.considered {
            let sum = |of: fn(&super::cost::KernelCost) -> f64| way.cost.kernels.iter().map(of).sum::<f64>();
            let split = if way.split.is_empty() { String::new() } else { format!("; split {}", way.split.join(" ")) };
            writeln!(
                f,
                "{:>10.4} {:>10.3} {:>10.2} {:>8.0}  {}{split}",
                way.cost.seconds() * 1e3,
                sum(|k| k.memory) / 1e9,
                sum(|k| k.cache) / 1e9,
                sum(|k| k.launches as f64),
                way.stored.join(" ")
            )?;
        }
        Ok(())
    }
}

/// The e-graph of a program, saturated, with the class of every definition's body.
pub struct Saturated {
    /// The graph.
    pub graph: Graph,
    /// The class of each definition's body, in the order of the terms.
    pub roots: Vec<Id>,
    /// How it went.
    pub saturation: Saturation,
}

/// Applies the laws until nothing changes.
pub fn saturate(terms: &Terms, context: &Context, laws: &[Law], explanations: bool) -> Saturated {
    let rewrites: Vec<Rewrite<Term, Knowledge>> = laws.iter().flat_map(Law::rewrites).collect();
    let mut runner: Runner<Term, Knowledge> = Runner::new(Knowledge { context: Arc::new(context.clone()) });
    if explanations {
        runner = runner.with_explanations_enabled();
    }
    for definition in &terms.definitions {
        runner = runner.with_expr(&expression(&terms.nodes, definition.root));
    }
    // no limit of time and no scheduler that drops matches: the outcome must not depend on the machine or the moment
    let runner = runner
        .with_scheduler(SimpleScheduler)
        .with_node_limit(NODE_LIMIT)
        .with_iter_limit(ITERATION_LIMIT)
        .with_time_limit(Duration::MAX)
        .run(&rewrites);
    let saturation = Saturation {
        iterations: runner.iterations.len(),
        nodes: runner.egraph.total_number_of_nodes(),
        classes: runner.egraph.number_of_classes(),
        complete: matches!(runner.stop_reason, Some(StopReason::Saturated)),
    };
    Saturated { graph: runner.egraph, roots: runner.roots, saturation }
}

/// The best ways to compute a program on a machine.
///
/// # Errors
/// [`Error::UnknownLaw`] and [`Error::UnknownAxis`] for names in the options that do not exist;
/// [`Error::Underivable`] if a definition cannot be computed, which only laws that are switched off can cause.
pub fn optimise(terms: &Terms, program: &Program, machine: &Machine, options: &Options) -> Result<Optimised, Error> {
    let mut context = Context::of_program(program, &options.sizes)?;
    context.matrix = Some(machine.matrix.clone());
    optimise_in(terms, &context, machine, options)
}

/// As [`optimise`], for terms with a context of their own.
///
/// # Errors
/// As [`optimise`].
pub fn optimise_in(terms: &Terms, context: &Context, machine: &Machine, options: &Options) -> Result<Optimised, Error> {
    let laws = rules::laws(terms, &options.without)?;
    let saturated = saturate(terms, context, &laws, false);
    let extractor = Extractor::new(&saturated.graph, machine);
    let needs = needs(terms);
    let mut search =
        Search { terms, context, roots: &saturated.roots, needs, extractor, alone: HashMap::new(), ways: Vec::new() };
    let plainest = search.climb()?;
    search.split();
    let Search { mut ways, .. } = search;
    ways.sort_by(|a, b| a.cost.seconds().total_cmp(&b.cost.seconds()));
    let considered = ways
        .iter()
        .map(|way| Considered { stored: way.stored(), split: way.split.clone(), cost: way.cost.clone() })
        .collect();
    // a planner may be asked for a split one, and last of all there is what asks least of it
    let split = ways.iter().position(|way| !way.split.is_empty());
    let plainest = ways.iter().position(|way| way.split.is_empty() && way.stored() == plainest);
    let count = options.candidates.max(1);
    let mut kept: Vec<usize> = (0..count.min(ways.len())).collect();
    kept.extend([split, plainest].into_iter().flatten().filter(|place| *place >= count));
    kept.dedup();
    let ways = kept.into_iter().map(|place| ways[place].clone()).collect();
    Ok(Optimised { candidates: ways, considered, saturation: saturated.saturation })
}

/// Which definitions are stored if they are used, and which are split.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Layout {
    stored: BTreeSet<usize>,
    split: BTreeSet<usize>,
}

struct Search<'a> {
    terms: &'a Terms,
    context: &'a Context,
    roots: &'a [Id],
    /// Which definitions each needs, directly or not.
    needs: Vec<BTreeSet<usize>>,
    extractor: Extractor<'a>,
    /// Definitions extracted by themselves, by number and choice.
    alone: HashMap<(usize, Choice), Option<Extracted>>,
    ways: Vec<Candidate>,
}

impl Search<'_> {
    /// From everything stored, drops or takes back one stored definition at a time as long as that helps. What the first
    /// way stored.
    fn climb(&mut self) -> Result<Vec<&'static str>, Error> {
        let all: BTreeSet<usize> = (0..self.terms.definitions.len()).collect();
        let optional: Vec<usize> = all.iter().copied().filter(|number| !self.fixed(*number)).collect();
        let mut layout = Layout { stored: all, split: BTreeSet::new() };
        let mut best = self.look_at(&layout).map_err(|definition| Error::Underivable { definition })?;
        let plainest = self.ways[0].stored();
        loop {
            let mut next: Option<(f64, Layout)> = None;
            for number in &optional {
                let mut other = layout.clone();
                if !other.stored.remove(number) {
                    other.stored.insert(*number);
                }
                // a definition that cannot be unfolded has to be stored
                let Ok(seconds) = self.look_at(&other) else { continue };
                if seconds < best * (1.0 - 1e-9) && next.as_ref().is_none_or(|(least, _)| seconds < *least) {
                    next = Some((seconds, other));
                }
            }
            let Some((seconds, other)) = next else { return Ok(plainest) };
            (best, layout) = (seconds, other);
        }
    }

    /// Results and lists are always stored.
    fn fixed(&self, number: usize) -> bool {
        let definition = &self.terms.definitions[number];
        definition.result || matches!(self.terms.nodes[definition.root], Term::Top(_))
    }

    /// For the best ways, also those in which the kernels that do not fill the machine split their folds.
    fn split(&mut self) {
        self.ways.sort_by(|a, b| a.cost.seconds().total_cmp(&b.cost.seconds()));
        let number = |name| self.terms.definitions.iter().position(|definition| definition.tensor == name);
        let mut layouts = Vec::new();
        for way in self.ways.iter().take(TO_SPLIT) {
            let stored = way.terms.definitions.iter().filter_map(|definition| number(definition.tensor)).collect();
            let small = way.cost.kernels.iter().filter(|kernel| kernel.blocks < self.extractor.machine().units as f64);
            let split: BTreeSet<usize> =
                small.flat_map(|kernel| &kernel.definitions).filter_map(|name| number(*name)).collect();
            if !split.is_empty() {
                layouts.push(Layout { stored, split });
            }
        }
        for layout in layouts {
            // no way to split it: nothing is added
            let _ = self.look_at(&layout);
        }
    }

    /// Extracts and costs a layout; its seconds, or the name of the definition that cannot be computed.
    fn look_at(&mut self, layout: &Layout) -> Result<f64, String> {
        let candidate = self.candidate(layout)?;
        let seconds = candidate.cost.seconds();
        let same = |way: &Candidate| way.stored() == candidate.stored() && way.split == candidate.split;
        if !self.ways.iter().any(same) {
            self.ways.push(candidate);
        }
        Ok(seconds)
    }

    fn candidate(&mut self, layout: &Layout) -> Result<Candidate, String> {
        let definitions = &self.terms.definitions;
        // what the results need, from the last definition to the first
        let mut chosen: BTreeMap<usize, Extracted> = BTreeMap::new();
        let mut needed: BTreeSet<usize> = (0..definitions.len()).filter(|number| definitions[*number].result).collect();
        while let Some(number) = needed.iter().rev().find(|number| !chosen.contains_key(number)).copied() {
            let extracted =
                self.extract(number, layout, &[]).ok_or_else(|| definitions[number].tensor.name().to_string())?;
            needed.extend(self.loads(&extracted));
            chosen.insert(number, extracted);
        }
        self.share(layout, &mut chosen);
        let mut builder = Builder::new();
        let mut kept = Vec::new();
        for (number, extracted) in &chosen {
            let root = self.extractor.build(extracted, &mut builder);
            kept.push(Definition { root, ..definitions[*number].clone() });
        }
        let terms = Terms { nodes: builder.finish(), definitions: kept };
        let cost = cost(&terms, self.context, self.extractor.machine());
        let has_chunks = |definition: &Definition| {
            expression(&terms.nodes, definition.root).as_ref().iter().any(|node| matches!(node, Term::Chunks(_)))
        };
        let split = terms.definitions.iter().filter(|d| has_chunks(d)).map(|d| d.tensor.name().to_string()).collect();
        Ok(Candidate { terms, cost, split })
    }

    /// Extracts again what could share a fold with a more expensive definition that is independent of it: a value and its
    /// log-sum-exp then come from one fold.
    fn share(&mut self, layout: &Layout, chosen: &mut BTreeMap<usize, Extracted>) {
        let mut needs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (number, extracted) in chosen.iter() {
            let mut all: BTreeSet<usize> = self.loads(extracted).into_iter().collect();
            for other in all.clone() {
                all.extend(needs.get(&other).into_iter().flatten().copied());
            }
            needs.insert(*number, all);
        }
        let mut order: Vec<usize> = chosen.keys().copied().collect();
        order.sort_by(|a, b| chosen[b].price.total_cmp(&chosen[a].price).then(a.cmp(b)));
        for (place, number) in order.iter().enumerate() {
            let independent = |other: &&usize| !needs[number].contains(other) && !needs[other].contains(number);
            let with: Vec<Extracted> = order[..place]
                .iter()
                .filter(independent)
                .map(|other| chosen[other].clone())
                .filter(|other| self.extractor.meet(other, &chosen[number]))
                .collect();
            if with.is_empty() {
                continue;
            }
            let with: Vec<&Extracted> = with.iter().collect();
            if let Some(extracted) = self.extract(*number, layout, &with)
                && self.loads(&extracted).iter().all(|load| chosen.contains_key(load))
            {
                chosen.insert(*number, extracted);
            }
        }
    }

    fn extract(&mut self, number: usize, layout: &Layout, shared: &[&Extracted]) -> Option<Extracted> {
        let definition = &self.terms.definitions[number];
        let split = layout.split.contains(&number);
        let names = |numbers: &mut dyn Iterator<Item = &usize>| {
            numbers.map(|other| self.terms.definitions[*other].tensor.name()).collect()
        };
        if !shared.is_empty() {
            // a shared fold may load what this definition alone does not need
            let loads = names(&mut layout.stored.range(..number));
            return self.extractor.extract(definition, self.roots[number], &Choice { loads, split }, shared);
        }
        let loads = names(&mut layout.stored.intersection(&self.needs[number]));
        let key = (number, Choice { loads, split });
        if let Some(known) = self.alone.get(&key) {
            return known.clone();
        }
        let extracted = self.extractor.extract(definition, self.roots[number], &key.1, &[]);
        self.alone.insert(key, extracted.clone());
        extracted
    }

    /// The definitions that an extracted term loads.
    fn loads(&self, extracted: &Extracted) -> Vec<usize> {
        let mut builder = Builder::new();
        let root = self.extractor.build(extracted, &mut builder);
        let terms = Terms { nodes: builder.finish(), definitions: Vec::new() };
        let names = loaded(&terms, root);
        let definitions = self.terms.definitions.iter().enumerate();
        definitions.filter(|(_, definition)| names.contains(&definition.tensor)).map(|(number, _)| number).collect()
    }
}
