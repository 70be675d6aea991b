//! Folds in chunks: `(fold M (chunks D) (mat (fold M (chunk D) e)))` becomes two kernels, one that stores what each chunk
//! folds to, one that folds the chunks.
//!
//! The number of chunks is constant; their length follows the domain's axis, a whole number of tiles. What a chunk of a
//! fold of lse stores is its element: the maximum and the sums that refer to it, a buffer each.

use super::arena::Arena;
use super::planner::Root;
use crate::term::{AxisName, LenName, Monoid, TensorName, Term};
use egg::{Id, Language};
use std::collections::{BTreeSet, HashMap};

/// The axis that numbers chunks.
pub const CHUNK: &str = "chunk";

/// How folds are cut, and what has been cut already.
pub struct Splitter {
    /// Number of chunks.
    pub chunks: i64,
    /// A chunk is a multiple of this long.
    pub tile: i64,
    /// All axes, in the order in which the values of chunks are stored.
    pub axes: Vec<AxisName>,
    /// Those of them that are not constant.
    pub runtime: Vec<AxisName>,
    /// What replaces the folds of earlier roots: a fold that several definitions need is stored once.
    pub done: HashMap<Id, Id>,
}

/// Replaces every fold in chunks of a root. Returns the definitions of the chunks' values, to be computed first.
pub fn split(arena: &mut Arena, root: &mut Root, splitter: &mut Splitter) -> Vec<Root> {
    let Splitter { chunks, tile, axes: all_axes, runtime, done } = splitter;
    // What varies along no run-time axis still differs between the sequences of a packed batch: it is stored along the root's.
    let per_sequence = root.axes.iter().copied().find(|axis| runtime.contains(axis));
    let (name, root_axes) = (root.label.name(), root.axes.clone());
    let mut parts = vec![];
    let mut folds: Vec<(Id, Id, Id)> = vec![];
    let (mut stack, mut seen) = (vec![root.term], BTreeSet::new());
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        if let Term::Fold([monoid, domain, body]) = arena[id]
            && matches!(arena[domain], Term::Chunks(_))
            && let Term::Mat(inner) = arena[body]
        {
            folds.push((id, monoid, inner));
        }
        stack.extend(arena[id].children());
    }
    // A fold inside the body of another one is cut first: operands are older than what is made of them.
    folds.sort();
    for number in 0..folds.len() {
        let (fold, monoid, inner) = folds[number];
        let mut replace = |arena: &mut Arena, folds: &mut [(Id, Id, Id)], whole: Id| {
            root.term = arena.replace(root.term, fold, whole);
            for (outer, _, inner) in &mut folds[number + 1..] {
                *outer = arena.replace(*outer, fold, whole);
                *inner = arena.replace(*inner, fold, whole);
            }
        };
        let known = done.get(&fold).copied();
        let fits = |axis: &AxisName| root_axes.contains(axis) || arena.free(fold).contains(axis);
        if let Some(whole) = known.filter(|whole| arena.free(*whole).iter().all(fits)) {
            replace(arena, &mut folds, whole);
            continue;
        }
        let limited = Limit { chunks: *chunks, tile: *tile, done: HashMap::new() }.term(arena, inner);
        let chunk = AxisName::new(CHUNK);
        let walked = match arena[limited] {
            Term::Fold([_, domain, _]) => arena.domain_axis(domain),
            _ => None,
        };
        let prefix = format!("{name}_part{number}");
        // `term` is a component of the fold; `of` is what of the fold's body it depends on.
        let mut store = |arena: &mut Arena, suffix: &str, term: Id, of: &[Id]| {
            let tensor = TensorName::new(&format!("{prefix}{suffix}"));
            let mut axes = vec![chunk];
            let varies = |axis: &AxisName| {
                *axis != chunk && Some(*axis) != walked && of.iter().any(|id| arena.free(*id).contains(axis))
            };
            axes.extend(all_axes.iter().copied().filter(varies));
            if !axes.iter().any(|axis| runtime.contains(axis)) {
                axes.extend(per_sequence);
            }
            let mut load = vec![arena.add(Term::Tensor(tensor))];
            load.extend(axes.iter().map(|a| arena.axis(*a)));
            parts.push(Root { label: tensor, tensor, axes, term });
            arena.add(Term::Load(load.into()))
        };
        let merged = if arena[monoid] == Term::Monoid(Monoid::Lse) {
            let Some((domain, score, weights)) = lse_parts(arena, limited) else { continue };
            let max = arena.add(Term::Fst(limited));
            let max = store(arena, "_max", max, &[domain, score]);
            let sums = arena.add(Term::Snd(limited));
            let mut leaf = 0;
            let sums = components(arena, weights, sums, &mut |arena, term, weight| {
                leaf += 1;
                store(arena, &format!("_sum{leaf}"), term, &[domain, score, weight])
            });
            arena.add(Term::Pair([max, sums]))
        } else {
            store(arena, "", limited, &[limited])
        };
        let all = arena.axis(chunk);
        let all = arena.add(Term::All(all));
        let whole = arena.add(Term::Fold([monoid, all, merged]));
        done.insert(fold, whole);
        replace(arena, &mut folds, whole);
    }
    parts
}

/// Stores every leaf of a weight; returns the weight made of what is read back.
fn components(arena: &mut Arena, weights: Id, value: Id, store: &mut dyn FnMut(&mut Arena, Id, Id) -> Id) -> Id {
    if let Term::Pair([a, b]) = arena[weights] {
        let (first, second) = (arena.add(Term::Fst(value)), arena.add(Term::Snd(value)));
        let a = components(arena, a, first, store);
        let b = components(arena, b, second, store);
        return arena.add(Term::Pair([a, b]));
    }
    store(arena, value, weights)
}

/// The domain, score and weights of a fold of lse.
fn lse_parts(arena: &Arena, fold: Id) -> Option<(Id, Id, Id)> {
    let Term::Fold([_, domain, body]) = arena[fold] else { return None };
    match arena[body] {
        Term::Pair([score, weights]) => Some((domain, score, weights)),
        _ => None,
    }
}

/// Cuts `(chunk D)` to the values of the chunk that the grid's chunk axis names.
struct Limit {
    chunks: i64,
    tile: i64,
    done: HashMap<Id, Id>,
}

impl Limit {
    fn term(&mut self, arena: &mut Arena, id: Id) -> Id {
        if let Some(done) = self.done.get(&id) {
            return *done;
        }
        let node = arena[id].clone().map_children(|child| self.term(arena, child));
        let new = match node {
            Term::Chunk(domain) => match arena.domain_axis(domain) {
                Some(axis) => cut(arena, domain, axis, self.chunks, self.tile),
                None => domain,
            },
            node => arena.add(node),
        };
        self.done.insert(id, new);
        new
    }
}

/// The part of a domain that lies in the chunk that the grid's chunk axis names: one of `chunks`, each a multiple of `tile`
/// long.
pub fn cut(arena: &mut Arena, domain: Id, axis: AxisName, chunks: i64, tile: i64) -> Id {
    let len = arena.add(Term::Len(LenName(axis.0)));
    let whole = chunks * tile;
    let rounded = arena.plus(len, whole - 1);
    let (whole, tile) = (arena.int(whole), arena.int(tile));
    let tiles = arena.add(Term::IntDiv([rounded, whole]));
    let length = arena.add(Term::IntMul([tiles, tile]));
    let chunk = arena.axis(AxisName::new(CHUNK));
    let first = arena.add(Term::IntMul([chunk, length]));
    let end = arena.add(Term::IntAdd([first, length]));
    let last = arena.plus(end, -1);
    let domain = arena.add(Term::From([domain, first]));
    arena.add(Term::Upto([domain, last]))
}
