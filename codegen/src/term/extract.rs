//! Extraction: of every class of equal terms the one node that makes the definitions cheapest, shared terms counted once.
//!
//! Greedy: every class keeps the best term found for it and the set of classes that this term uses; a node's price is the
//! sum over the union of its operands' sets. Prices are rough on purpose (every value over its full axes, see `price.rs`):
//! they choose between forms of one definition. What is stored, and how kernels share loads, is decided by the cost model
//! on whole candidates.

use super::build::Builder;
use super::context::{Context, TensorRole};
use super::facts::{Graph, Level, facts};
use super::price::{Visits, completes, is_chunk, own};
use super::{Definition, TensorName, Term};
use crate::machine::Machine;
use egg::{Id, Language, RecExpr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Price of what is only taken if there is nothing else, in seconds: above that of any kernel.
const UNWANTED: f64 = 1e6;

/// A saturated graph, ready for extraction on one machine.
pub struct Extractor<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    classes: Vec<Class>,
    number: HashMap<Id, usize>,
}

/// A class: its size, its nodes and their prices.
struct Class {
    nodes: Vec<Node>,
    /// Axes that the value varies over, element by element.
    elements: Vec<u32>,
}

struct Node {
    term: Term,
    operands: Vec<usize>,
    price: f64,
    /// For a fold over all of a long axis: the axis. The halves inside a split fold are not such folds.
    completes: Option<u32>,
    /// For such a fold: it goes over a whole domain, not over a chunk of one.
    unsplit: bool,
}

/// What a definition may be made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Choice {
    /// Definitions that may be loaded: the stored ones before it.
    pub loads: BTreeSet<&'static str>,
    /// Whether long folds are split into chunks.
    pub split: bool,
}

/// An extracted definition.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// Price in seconds, rough.
    pub price: f64,
    /// Which node was taken for each class that it uses.
    taken: BTreeMap<usize, usize>,
    root: usize,
}

impl<'a> Extractor<'a> {
    /// Prices every node of a graph.
    pub fn new(graph: &'a Graph, machine: &'a Machine) -> Self {
        let mut ids: Vec<Id> = graph.classes().map(|class| class.id).collect();
        ids.sort_unstable();
        let number: HashMap<Id, usize> = ids.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        let visits = Visits::of(graph, &ids);
        let classes = ids.iter().map(|id| {
            let class = &graph[*id];
            // A term that mentions an axis over which its value does not vary (an equal term shows that) may stand where
            // the axis has no value: a law has moved it out of what binds the axis.
            let of_class = |id: Id| &graph[id].data;
            let bound = |term: &&Term| facts(&graph.analysis.context, term, of_class).free.is_subset(&class.data.free);
            let mut terms: Vec<&Term> = class.nodes.iter().filter(bound).collect();
            if terms.is_empty() {
                terms = class.nodes.iter().collect();
            }
            let mut nodes: Vec<Node> = terms
                .into_iter()
                .map(|term| Node {
                    term: term.clone(),
                    operands: term.children().iter().map(|child| number[&graph.find(*child)]).collect(),
                    price: own(graph, machine, &visits, *id, term),
                    completes: completes(graph, term),
                    unsplit: completes(graph, term).is_some()
                        && !is_chunk(graph, term.children()[usize::from(!matches!(term, Term::Mma(_)))]),
                })
                .collect();
            // equal prices: the first node; independent of how names were interned
            nodes.sort_by_key(|node| (preference(&node.term), leaf_name(&node.term), node.operands.clone()));
            let free = class.data.free.iter().filter(|(_, level)| *level == Level::Element);
            Class { nodes, elements: free.map(|(axis, _)| *axis).collect() }
        });
        let classes = classes.collect();
        Extractor { graph, machine, classes, number }
    }

    /// The machine that prices are for.
    pub fn machine(&self) -> &Machine {
        self.machine
    }

    /// The cheapest term for a class, `shared` being there for nothing; None if there is none under this choice.
    pub fn extract(
        &self,
        definition: &Definition,
        root: Id,
        choice: &Choice,
        shared: &[&Extracted],
    ) -> Option<Extracted> {
        let root = *self.number.get(&self.graph.find(root))?;
        let context = &self.graph.analysis.context;
        let order = self.reachable(root, definition, choice);
        let place: HashMap<usize, usize> = order.iter().enumerate().map(|(place, class)| (*class, place)).collect();
        let free: BTreeMap<usize, usize> = shared.iter().flat_map(|s| s.taken.iter().map(|(c, n)| (*c, *n))).collect();
        let takes = order.iter().map(|class| {
            let nodes = self.classes[*class].nodes.iter().enumerate();
            let nodes = nodes.filter(|(_, node)| self.allowed(node, definition, choice));
            let takes = nodes.map(|(number, node)| Take {
                node: number,
                price: if free.get(class) == Some(&number) {
                    1e-15
                } else {
                    self.priced(context, definition, choice, node)
                },
                operands: node.operands.iter().map(|operand| place[operand]).collect(),
                completes: node.completes,
            });
            takes.collect()
        });
        let takes: Vec<Vec<Take>> = takes.collect();
        for tree in [false, true] {
            let best = self.settle(&order, &takes, tree);
            best.get(place[&root])?.as_ref()?;
            if let Some(taken) = self.follow(root, &best, &place) {
                let price = taken.keys().map(|class| best[place[class]].as_ref().map_or(0.0, |best| best.own)).sum();
                return Some(Extracted { price, taken, root });
            }
        }
        None
    }

    /// Adds an extracted term to an arena.
    pub fn build(&self, extracted: &Extracted, builder: &mut Builder) -> Id {
        let mut done = HashMap::new();
        self.build_class(extracted, extracted.root, builder, &mut done)
    }

    /// Whether two extracted terms fold over one long domain: only then can they share a fold.
    pub fn meet(&self, a: &Extracted, b: &Extracted) -> bool {
        !self.domains(a).is_disjoint(&self.domains(b))
    }

    /// The classes of the domains that an extracted term folds over completely.
    fn domains(&self, extracted: &Extracted) -> BTreeSet<usize> {
        let nodes = extracted.taken.iter().map(|(class, node)| &self.classes[*class].nodes[*node]);
        let folds = nodes.filter(|node| node.completes.is_some());
        let domain = |node: &Node| self.whole(node.operands[usize::from(!matches!(node.term, Term::Mma(_)))]);
        folds.map(domain).collect()
    }

    /// The class of the domain that a half of a split domain is of.
    fn whole(&self, domain: usize) -> usize {
        let split = self.classes[domain].nodes.iter().find_map(|node| match node.term {
            Term::Outer(_) | Term::Inner(_) | Term::Chunks(_) | Term::Chunk(_) => Some(node.operands[0]),
            _ => None,
        });
        split.map_or(domain, |domain| self.whole(domain))
    }

    fn build_class(&self, from: &Extracted, class: usize, builder: &mut Builder, done: &mut HashMap<usize, Id>) -> Id {
        if let Some(id) = done.get(&class) {
            return *id;
        }
        let node = &self.classes[class].nodes[from.taken[&class]];
        let operands: Vec<Id> =
            node.operands.iter().map(|operand| self.build_class(from, *operand, builder, done)).collect();
        let mut next = operands.into_iter();
        let term = node.term.clone().map_children(|child| next.next().unwrap_or(child));
        let id = builder.add(term);
        done.insert(class, id);
        id
    }

    /// The classes that a definition can be made of, operands first.
    fn reachable(&self, root: usize, definition: &Definition, choice: &Choice) -> Vec<usize> {
        let (mut order, mut seen) = (Vec::new(), BTreeSet::from([root]));
        let mut stack = vec![(root, false)];
        while let Some((class, done)) = stack.pop() {
            if done {
                order.push(class);
                continue;
            }
            stack.push((class, true));
            for node in &self.classes[class].nodes {
                if self.allowed(node, definition, choice) {
                    for operand in &node.operands {
                        if seen.insert(*operand) {
                            stack.push((*operand, false));
                        }
                    }
                }
            }
        }
        order
    }

    fn allowed(&self, node: &Node, definition: &Definition, choice: &Choice) -> bool {
        match &node.term {
            Term::Load(_) | Term::List(_) => {
                let tensor = node.operands.first().and_then(|tensor| match self.classes[*tensor].nodes[0].term {
                    Term::Tensor(name) => Some(name),
                    _ => None,
                });
                tensor.is_some_and(|name| self.loadable(name, definition, choice))
            }
            Term::Chunks(_) | Term::Chunk(_) | Term::Mat(_) => choice.split,
            _ => true,
        }
    }

    fn loadable(&self, name: TensorName, definition: &Definition, choice: &Choice) -> bool {
        let param = |name| self.graph.analysis.context.tensor(name).is_some_and(|t| t.role == TensorRole::Param);
        name != definition.tensor && (param(name) || choice.loads.contains(name.name()))
    }

    /// The price of a node in a definition: a contraction must have the definition's rows as its own, and long folds
    /// are split if that is asked for.
    fn priced(&self, context: &Context, definition: &Definition, choice: &Choice, node: &Node) -> f64 {
        if choice.split && node.unsplit {
            return UNWANTED;
        }
        let Term::Mma([_, a, b]) = node.term else { return node.price };
        let wrong = definition.axes.iter().find_map(|axis| {
            let number = context.axis_number(*axis)? as u32;
            let (in_a, in_b) = (self.graph[a].data.varies_over(number), self.graph[b].data.varies_over(number));
            (in_a != in_b).then_some(in_b)
        });
        if wrong == Some(true) { UNWANTED } else { node.price }
    }

    /// The best node of every class, by repeated improvement. Counted as a tree, shared terms are paid every time: rougher,
    /// but then no term can contain itself.
    fn settle(&self, order: &[usize], takes: &[Vec<Take>], tree: bool) -> Vec<Option<Best>> {
        let mut best: Vec<Option<Best>> = order.iter().map(|_| None).collect();
        let mut set = vec![0u64; order.len().div_ceil(64)];
        // far more rounds than terms are deep in any order; a bound, not a tuning
        for _ in 0..order.len() + 8 {
            let mut changed = false;
            for (at, takes) in takes.iter().enumerate() {
                let mut found: Option<Best> = None;
                for take in takes {
                    if !take.operands.iter().all(|operand| best[*operand].is_some()) {
                        continue;
                    }
                    set.fill(0);
                    let mut sum = take.price;
                    for operand in take.operands.iter().filter_map(|operand| best[*operand].as_ref()) {
                        set.iter_mut().zip(&operand.set).for_each(|(a, b)| *a |= b);
                        sum += if tree { operand.total } else { 0.0 };
                    }
                    if set[at / 64] >> (at % 64) & 1 == 1 {
                        continue;
                    }
                    let again = self.again(order, take, &best, &set);
                    sum += again;
                    if !tree {
                        members(&set, |other| sum += best[other].as_ref().map_or(0.0, |best| best.own));
                    }
                    // sums of the same prices in another order may differ in their last bits
                    if found.as_ref().is_none_or(|found| sum < found.total * (1.0 - 1e-12)) {
                        set[at / 64] |= 1 << (at % 64);
                        let own = take.price + again;
                        found = Some(Best {
                            node: take.node,
                            completes: take.completes,
                            own,
                            total: sum,
                            set: set.clone(),
                        });
                    }
                }
                let same = match (&best[at], &found) {
                    (Some(old), Some(new)) => {
                        old.node == new.node && old.set == new.set && (old.total - new.total).abs() <= 1e-12 * old.total
                    }
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    changed = true;
                    best[at] = found;
                }
            }
            if !changed {
                break;
            }
        }
        best
    }

    /// The price of another pass: a fold that needs a complete fold over the same long axis for its elements has to wait
    /// for it, and by then the axis's elements are gone; what varies over the axis is computed again.
    fn again(&self, order: &[usize], take: &Take, best: &[Option<Best>], set: &[u64]) -> f64 {
        let Some(axis) = take.completes else { return 0.0 };
        let (mut waits, mut again) = (false, 0.0);
        members(set, |other| {
            let Some(best) = &best[other] else { return };
            waits |= best.completes == Some(axis);
            if self.classes[order[other]].elements.contains(&axis) {
                again += best.own;
            }
        });
        if waits { again } else { 0.0 }
    }

    /// The choices from the root on; None if a term would contain itself.
    fn follow(
        &self,
        root: usize,
        best: &[Option<Best>],
        place: &HashMap<usize, usize>,
    ) -> Option<BTreeMap<usize, usize>> {
        let mut taken = BTreeMap::new();
        let mut open = BTreeSet::new();
        let mut stack = vec![(root, false)];
        while let Some((class, done)) = stack.pop() {
            if done {
                open.remove(&class);
                continue;
            }
            if open.contains(&class) {
                return None;
            }
            if taken.contains_key(&class) {
                continue;
            }
            let node = best[place[&class]].as_ref()?.node;
            taken.insert(class, node);
            open.insert(class);
            stack.push((class, true));
            stack.extend(self.classes[class].nodes[node].operands.iter().map(|operand| (*operand, false)));
        }
        Some(taken)
    }
}

/// A node that a definition may be made of, by places in the order of its classes.
struct Take {
    node: usize,
    price: f64,
    operands: Vec<usize>,
    completes: Option<u32>,
}

/// The best term known for a class.
struct Best {
    node: usize,
    completes: Option<u32>,
    own: f64,
    total: f64,
    /// The places of the classes it uses, its own included, as bits.
    set: Vec<u64>,
}

/// Calls `each` with the members of a set, in order.
fn members(set: &[u64], mut each: impl FnMut(usize)) {
    for (word, bits) in set.iter().enumerate() {
        let mut bits = *bits;
        while bits != 0 {
            each(word * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// Of equal prices: restrictions in their canonical order, unions outermost, then masks.
fn preference(term: &Term) -> u8 {
    match term {
        Term::Union(_) | Term::Mask(_) => 0,
        Term::Blocks(_) => 1,
        Term::From(_) => 2,
        Term::Upto(_) => 3,
        Term::Load(_) => 5,
        _ => 4,
    }
}

fn leaf_name(term: &Term) -> String {
    if term.is_leaf() { term.to_string() } else { format!("{:?}", term.discriminant()) }
}

/// A definition's term alone.
pub fn expression(nodes: &RecExpr<Term>, root: Id) -> RecExpr<Term> {
    nodes[root].build_recexpr(|id| nodes[id].clone())
}
