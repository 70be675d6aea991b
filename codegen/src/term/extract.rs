//! Extraction: of every class of equal terms the one node that makes the definitions cheapest, shared terms counted once.
//!
//! Greedy: every class keeps the best term found for it and the set of classes that this term uses; a node's price is the
//! sum over the union of its operands' sets. Prices are rough on purpose (every value over its full axes, see [`own`]):
//! they choose between forms of one definition. What is stored, and how kernels share loads, is decided by the cost model
//! on whole candidates.

use super::build::Builder;
use super::context::{Context, TensorRole, is_long};
use super::facts::{Graph, Level};
use super::{Definition, Monoid, TensorName, Term};
use crate::machine::Machine;
use egg::{Id, Language, RecExpr};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Elements of a tile as extraction and cost reckon with them: 64 keys, as the flash attention kernels take.
pub const TILE: f64 = 64.0;
/// Chunks of a split domain: enough blocks for a machine from one row.
pub const CHUNKS: f64 = 32.0;
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
            let mut nodes: Vec<Node> = class
                .nodes
                .iter()
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
        let price = |class: usize, node: usize| {
            if free.get(&class) == Some(&node) { 1e-15 } else { self.priced(context, definition, choice, class, node) }
        };
        for tree in [false, true] {
            let best = self.settle(&order, &place, definition, choice, &price, tree);
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
        let mut operands = node.operands.iter().map(|operand| self.build_class(from, *operand, builder, done));
        let operands: Vec<Id> = operands.by_ref().collect();
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
    fn priced(&self, context: &Context, definition: &Definition, choice: &Choice, class: usize, node: usize) -> f64 {
        let node = &self.classes[class].nodes[node];
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
    fn settle(
        &self,
        order: &[usize],
        place: &HashMap<usize, usize>,
        definition: &Definition,
        choice: &Choice,
        price: &dyn Fn(usize, usize) -> f64,
        tree: bool,
    ) -> Vec<Option<Best>> {
        let mut best: Vec<Option<Best>> = (0..order.len()).map(|_| None).collect();
        let words = order.len().div_ceil(64);
        // far more rounds than terms are deep in any order; a bound, not a tuning
        for _ in 0..order.len() + 8 {
            let mut changed = false;
            for (at, class) in order.iter().enumerate() {
                let mut found: Option<Best> = None;
                for (number, node) in self.classes[*class].nodes.iter().enumerate() {
                    if !self.allowed(node, definition, choice) {
                        continue;
                    }
                    let mut set = vec![0u64; words];
                    let mut sum = price(*class, number);
                    let mut known = true;
                    for operand in &node.operands {
                        match best[place[operand]].as_ref() {
                            Some(operand) => {
                                set.iter_mut().zip(&operand.set).for_each(|(a, b)| *a |= b);
                                sum += if tree { operand.total } else { 0.0 };
                            }
                            None => known = false,
                        }
                    }
                    if !known || set[at / 64] >> (at % 64) & 1 == 1 {
                        continue;
                    }
                    let again = self.again(order, node, &best, &set);
                    let own = price(*class, number) + again;
                    sum += again;
                    if !tree {
                        sum += members(&set).map(|other| best[other].as_ref().map_or(0.0, |b| b.own)).sum::<f64>();
                    }
                    // sums of the same prices in another order may differ in their last bits
                    if found.as_ref().is_none_or(|found| sum < found.total * (1.0 - 1e-12)) {
                        set[at / 64] |= 1 << (at % 64);
                        found = Some(Best { node: number, own, total: sum, set });
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
    fn again(&self, order: &[usize], node: &Node, best: &[Option<Best>], set: &[u64]) -> f64 {
        let Some(axis) = node.completes else { return 0.0 };
        let completes = |other: usize| {
            best[other].as_ref().is_some_and(|best| self.classes[order[other]].nodes[best.node].completes == Some(axis))
        };
        if !members(set).any(completes) {
            return 0.0;
        }
        let again = members(set).filter(|other| self.classes[order[*other]].elements.contains(&axis));
        again.map(|other| best[other].as_ref().map_or(0.0, |best| best.own)).sum()
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

/// The best term known for a class.
struct Best {
    node: usize,
    own: f64,
    total: f64,
    /// The classes it uses, itself included, as bits.
    set: Vec<u64>,
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> {
    set.iter()
        .enumerate()
        .flat_map(|(word, bits)| (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit))
}

/// Of equal prices: restrictions in their canonical order, masks outermost.
fn preference(term: &Term) -> u8 {
    match term {
        Term::Mask(_) => 0,
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

/// The long axis that a node folds over completely.
fn completes(graph: &Graph, node: &Term) -> Option<u32> {
    let (Term::Fold([_, domain, _]) | Term::Mma([domain, ..]) | Term::Top([_, domain, ..])) = *node else {
        return None;
    };
    let half = |node: &Term| matches!(node, Term::Inner(_) | Term::Chunks(_));
    let (axis, _) = graph[domain].data.binds?;
    (is_long(&graph.analysis.context, axis) && !graph[domain].nodes.iter().any(half)).then_some(axis)
}

/// Whether a domain is a chunk or the tiles of one.
fn is_chunk(graph: &Graph, domain: Id) -> bool {
    graph[domain].nodes.iter().any(|node| match *node {
        Term::Chunk(_) => true,
        Term::Outer(inner) => is_chunk(graph, inner),
        _ => false,
    })
}

/// How many values domains have, roughly.
///
/// Bodies are priced over whole axes, so folds are as well: a tiled fold, whose work is in its body, must compare fairly
/// with one that is not. The part of the axis that a domain visits (a bound leaves half, blocks what they list) moves a
/// fold's price between half and all of that.
struct Visits {
    /// Values, and the visited part of the axis.
    of: HashMap<Id, (f64, f64)>,
}

impl Visits {
    fn of(graph: &Graph, ids: &[Id]) -> Self {
        let context = &graph.analysis.context;
        let size = |id: Id| {
            graph[id]
                .data
                .binds
                .and_then(|(number, _)| context.axes.get(number as usize))
                .map_or(1.0, |axis| axis.size as f64)
        };
        let mut visits = Visits { of: HashMap::new() };
        let domains: Vec<Id> = ids.iter().copied().filter(|id| graph[*id].data.binds.is_some()).collect();
        // domains nest as deep as there are domains, at most
        for _ in 0..=domains.len() {
            let mut changed = false;
            for id in &domains {
                for node in &graph[*id].nodes {
                    let inner = |domain: Id| visits.of.get(&graph.find(domain)).copied();
                    let whole = size(*id);
                    let part = |part: f64| Some((whole, part.max(1.0 / whole)));
                    let found = match *node {
                        Term::All(_) => part(1.0),
                        Term::Mask([domain, _]) => inner(domain),
                        Term::Upto([domain, _]) | Term::From([domain, _]) => {
                            inner(domain).and_then(|(_, had)| part(had * 0.5))
                        }
                        Term::Blocks([domain, list, block]) => {
                            inner(domain).and_then(|(_, had)| part(had.min(listed(graph, list, block) / whole)))
                        }
                        Term::Outer(domain) => inner(domain).map(|(count, part)| ((count / TILE).max(1.0), part)),
                        Term::Inner(domain) => inner(domain).map(|(count, part)| (count.min(TILE), part)),
                        Term::Chunks(domain) => inner(domain).map(|(_, part)| (CHUNKS, part)),
                        Term::Chunk(domain) => inner(domain).map(|(count, part)| ((count / CHUNKS).max(1.0), part)),
                        _ => None,
                    };
                    if let Some(found) = found
                        && visits.of.get(id).is_none_or(|old| found.1 < old.1)
                    {
                        visits.of.insert(*id, found);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        visits
    }

    fn at(&self, graph: &Graph, domain: Id) -> f64 {
        self.of.get(&graph.find(domain)).map_or(1.0, |(count, part)| count * (1.0 + part) / 2.0)
    }
}

/// Elements of the listed blocks.
fn listed(graph: &Graph, list: Id, block: Id) -> f64 {
    let context = &graph.analysis.context;
    let block = graph[block].nodes.iter().find_map(|node| match node {
        Term::Int(block) => Some(*block as f64),
        _ => None,
    });
    let count = graph[list].nodes.iter().find_map(|node| match node {
        Term::List(operands) => graph[operands[0]].nodes.iter().find_map(|node| match node {
            Term::Tensor(name) => list_length(context, *name),
            _ => None,
        }),
        _ => None,
    });
    count.unwrap_or(1.0) * block.unwrap_or(1.0)
}

/// Entries of a list tensor.
pub(super) fn list_length(context: &Context, name: TensorName) -> Option<f64> {
    let tensor = context.tensor(name)?;
    match tensor.role {
        TensorRole::List(count) => Some(count as f64),
        _ => tensor.axes.last().map(|axis| context.size(*axis) as f64),
    }
}

/// How many values a class has: the product of the sizes of what it varies over.
fn values(graph: &Graph, class: Id) -> f64 {
    let context = &graph.analysis.context;
    let mut product = 1.0;
    let free = &graph[class].data.free;
    for (number, level) in free {
        let size = context.axes.get(*number as usize).map_or(1, |axis| axis.size) as f64;
        let finer = |level| free.contains(&(*number, level));
        product *= match level {
            Level::Element => size,
            // an element says in which tile it is, a tile in which chunk
            Level::Tile if finer(Level::Element) => 1.0,
            Level::Tile => (size / TILE).max(1.0),
            Level::Chunk if finer(Level::Element) || finer(Level::Tile) => 1.0,
            Level::Chunk => CHUNKS,
        };
    }
    product
}

/// The price of a node in seconds, without its operands: operations over the machine's rates.
fn own(graph: &Graph, machine: &Machine, visits: &Visits, class: Id, node: &Term) -> f64 {
    let count = values(graph, class);
    let scalar = |operations: f64| operations / machine.scalar_rate;
    let price = match *node {
        // leaves, and what only says where values are
        Term::Int(_)
        | Term::Num(_)
        | Term::Bool(_)
        | Term::Axis(_)
        | Term::Len(_)
        | Term::Tensor(_)
        | Term::Monoid(_)
        | Term::Type(_)
        | Term::Value(_)
        | Term::All(_)
        | Term::Pair(_)
        | Term::Fst(_)
        | Term::Snd(_) => 0.0,
        // a mask is a test per value of the domain inside
        Term::Mask([domain, _]) => scalar(count * visits.at(graph, domain)),
        // bounds and addresses are computed once per tile, or once
        Term::Blocks(_)
        | Term::Upto(_)
        | Term::From(_)
        | Term::Outer(_)
        | Term::Inner(_)
        | Term::Chunks(_)
        | Term::Chunk(_) => 1e-12,
        Term::IntAdd(_)
        | Term::IntSub(_)
        | Term::IntMul(_)
        | Term::IntDiv(_)
        | Term::IntRem(_)
        | Term::IntMin(_)
        | Term::IntMax(_) => 0.0,
        Term::Fold([monoid, domain, body]) => {
            let elements = count * visits.at(graph, domain);
            let lse = graph[monoid].nodes.contains(&Term::Monoid(Monoid::Lse));
            if lse {
                scalar(3.0 * elements) + 2.0 * values(graph, scores(graph, body)) / machine.exp_rate
            } else {
                scalar(elements)
            }
        }
        Term::Mma([domain, ..]) => 2.0 * count * visits.at(graph, domain) / machine.matrix_rate,
        Term::Top([_, domain, ..]) => scalar(4.0 * count * visits.at(graph, domain)),
        Term::Load(_) | Term::List(_) => scalar(0.25 * count),
        Term::Exp(_)
        | Term::Log(_)
        | Term::Tanh(_)
        | Term::Sigmoid(_)
        | Term::Silu(_)
        | Term::Gelu(_)
        | Term::Sqrt(_) => count / machine.exp_rate,
        Term::Mat(_) => machine.launch + count * 8.0 / machine.memory,
        _ => scalar(count),
    };
    // of equal prices the smaller term
    price + 1e-13
}

/// The class of the scores in an lse fold's body.
fn scores(graph: &Graph, body: Id) -> Id {
    let pair = graph[body].nodes.iter().find_map(|node| match *node {
        Term::Pair([score, _]) => Some(score),
        _ => None,
    });
    pair.unwrap_or(body)
}

/// A definition's term alone.
pub fn expression(nodes: &RecExpr<Term>, root: Id) -> RecExpr<Term> {
    nodes[root].build_recexpr(|id| nodes[id].clone())
}
