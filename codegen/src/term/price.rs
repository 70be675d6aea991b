//! Prices of nodes for extraction: operations over a machine's rates.
//!
//! A value counts once for every combination of the axes it varies over, at their full expected sizes.

use super::Monoid;
use super::context::{Context, TensorRole, is_long};
use super::facts::{Graph, Level};
use super::{TensorName, Term};
use crate::machine::Machine;
use egg::Id;
use std::collections::HashMap;

/// Elements of a tile as extraction and cost reckon with them: 64 keys, as the flash attention kernels take.
pub const TILE: f64 = 64.0;
/// Chunks of a split domain: enough blocks for a machine from one row.
pub const CHUNKS: f64 = 32.0;
/// The long axis that a node folds over completely.
pub(super) fn completes(graph: &Graph, node: &Term) -> Option<u32> {
    let (Term::Fold([_, domain, _]) | Term::Mma([domain, ..]) | Term::Top([_, domain, ..])) = *node else {
        return None;
    };
    let half = |node: &Term| matches!(node, Term::Inner(_) | Term::Chunks(_));
    let (axis, _) = graph[domain].data.binds?;
    (is_long(&graph.analysis.context, axis) && !graph[domain].nodes.iter().any(half)).then_some(axis)
}

/// Whether a domain is a chunk or the tiles of one.
pub(super) fn is_chunk(graph: &Graph, domain: Id) -> bool {
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
pub(super) struct Visits {
    /// Values, and the visited part of the axis.
    of: HashMap<Id, (f64, f64)>,
}

impl Visits {
    pub(super) fn of(graph: &Graph, ids: &[Id]) -> Self {
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
                        Term::Union([one, other]) => match (inner(one), inner(other)) {
                            (Some((_, one)), Some((_, other))) => part((one + other).min(1.0)),
                            _ => None,
                        },
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

    pub(super) fn at(&self, graph: &Graph, domain: Id) -> f64 {
        self.of.get(&graph.find(domain)).map_or(1.0, |(count, part)| count * (1.0 + part) / 2.0)
    }
}

/// Elements of the listed blocks.
fn listed(graph: &Graph, list: Id, block: Id) -> f64 {
    let block = graph[block].nodes.iter().find_map(|node| match node {
        Term::Int(block) => Some(*block as f64),
        _ => None,
    });
    listed_values(graph, list) * block.unwrap_or(1.0)
}

/// Entries of a list.
fn listed_values(graph: &Graph, list: Id) -> f64 {
    let context = &graph.analysis.context;
    let count = graph[list].nodes.iter().find_map(|node| match node {
        Term::List(operands) => graph[operands[0]].nodes.iter().find_map(|node| match node {
            Term::Tensor(name) => list_length(context, *name),
            _ => None,
        }),
        _ => None,
    });
    count.unwrap_or(1.0)
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
        product *= combinations(*level, size, |level| free.contains(&(*number, level)));
    }
    product
}

/// By how much varying over an axis at a level multiplies the values there are, if `size` values of the axis are met;
/// `has`: at which levels it varies over the axis.
pub(super) fn combinations(level: Level, size: f64, has: impl Fn(Level) -> bool) -> f64 {
    match level {
        Level::Element => size,
        // an element says in which tile it is, a tile in which chunk
        Level::Tile if has(Level::Element) => 1.0,
        Level::Tile => (size / TILE).max(1.0),
        Level::Chunk if has(Level::Element) || has(Level::Tile) => 1.0,
        Level::Chunk => CHUNKS,
    }
}

/// The price of a node in seconds, without its operands: operations over the machine's rates.
pub(super) fn own(graph: &Graph, machine: &Machine, visits: &Visits, class: Id, node: &Term) -> f64 {
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
        | Term::Union(_)
        | Term::Upto(_)
        | Term::From(_)
        | Term::Outer(_)
        | Term::Inner(_)
        | Term::Chunks(_)
        | Term::Chunk(_) => 1e-12,
        ref node if node.is_integer_arithmetic() => 0.0,
        Term::Fold([monoid, domain, body]) => {
            let elements = count * visits.at(graph, domain);
            let lse = graph[monoid].nodes.contains(&Term::Monoid(Monoid::Lse));
            if lse {
                scalar(3.0 * elements) + 2.0 * values(graph, scores(graph, body)) / machine.exp_rate
            } else {
                scalar(elements)
            }
        }
        // a search through the list
        Term::In([_, list]) => scalar(count * listed_values(graph, list)),
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
