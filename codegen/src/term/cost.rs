//! The roofline cost of a candidate: what its kernels move and compute, and how long that takes.
//!
//! # How it reckons
//! * Definitions that share a fold and do not need each other are one kernel; every other stored definition is its own.
//! * A kernel is a grid over its definitions' axes. A thread block takes the rows of its contractions (the axes of first
//!   operands only) up to the machine's number of rows, and all columns. Where a fold walks the blocks of a list, the axes
//!   that the list varies over are one value per block: neighbours' lists differ, so they share no loads.
//! * A load costs cache bytes once per thread block and element. It costs memory bytes once per kernel: the grid is ordered
//!   so that what several blocks read at a time stays in the cache.
//! * What grows in a result's memory (`sums.rs`) is written and read as often as a workspace would be, in the result's type.
//! * How many values a restricted domain has is found by evaluating its bounds at a few sample points of the axes they
//!   vary over, at the expected sizes.
//! * Every other value is computed once per combination of the axes it varies over, by every thread block that needs it.
//! * Time is the largest of the five (memory, cache, matrix units, scalar units, exponentials) plus a part of the rest,
//!   which overlaps only partly; more if the grid does not fill the machine; plus the launches.

mod sample;

use super::context::{Context, TensorRole};
use super::facts::{Binding, Facts, Level, facts_of_nodes};
use super::price::{CHUNKS, TILE, combinations, list_length};
use super::stored::{each_node, kernels, stored_types};
use super::{AxisName, Definition, Monoid, TensorName, Term, Terms, Type};
use crate::machine::Machine;
use egg::{Id, Language};
use sample::{Point, fraction};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// The part of the other resources' time that is not hidden under the slowest: measured kernels reach 75-85% of their
/// binding limit.
const NOT_HIDDEN: f64 = 0.2;
/// Widest column tile of a thread block: accumulators of 64 rows by 512 columns fill two warpgroups' registers.
const COLUMNS: i64 = 512;
/// Sample points for bounds.
const SAMPLES: usize = 48;

/// What one kernel costs.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelCost {
    /// The definitions it stores.
    pub definitions: Vec<TensorName>,
    /// Bytes from and to memory.
    pub memory: f64,
    /// Bytes from the last-level cache.
    pub cache: f64,
    /// Operations of matrix units, a multiply-add as 2.
    pub matrix: f64,
    /// Scalar operations.
    pub scalar: f64,
    /// Exponentials and other elementary functions.
    pub exponentials: f64,
    /// Launches: 1, and 1 more for every stored fold inside.
    pub launches: u64,
    /// Thread blocks.
    pub blocks: f64,
    /// Seconds.
    pub seconds: f64,
}

/// What a candidate costs, kernel by kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct CostTable {
    /// In the order in which they run.
    pub kernels: Vec<KernelCost>,
}

impl KernelCost {
    /// Seconds on a machine, of its work and its launches.
    fn seconds_on(&self, machine: &Machine) -> f64 {
        let times = [
            self.memory / machine.memory,
            self.cache / machine.cache,
            self.matrix / machine.matrix_rate,
            self.scalar / machine.scalar_rate,
            self.exponentials / machine.exp_rate,
        ];
        let slowest = times.iter().copied().fold(0.0, f64::max);
        let sum: f64 = times.iter().sum();
        // a few blocks leave most units idle; they still share the memory and the cache, but cannot draw their full rate
        let idle = (machine.units as f64 / self.blocks).max(1.0);
        (slowest + NOT_HIDDEN * (sum - slowest)) * idle + self.launches as f64 * machine.launch
    }
}

impl CostTable {
    /// The same kernels over another batch as well, launched together: `count` times what `other` has.
    pub fn add(&mut self, other: &CostTable, count: usize, machine: &Machine) {
        let count = count as f64;
        for (kernel, more) in self.kernels.iter_mut().zip(&other.kernels) {
            kernel.memory += count * more.memory;
            kernel.cache += count * more.cache;
            kernel.matrix += count * more.matrix;
            kernel.scalar += count * more.scalar;
            kernel.exponentials += count * more.exponentials;
            kernel.blocks += count * more.blocks;
            kernel.seconds = kernel.seconds_on(machine);
        }
    }

    /// Seconds of all kernels.
    pub fn seconds(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.seconds).sum()
    }
}

impl fmt::Display for CostTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>9} {:>10}",
            "kernel", "memory GB", "cache GB", "matrix TF", "scalar TF", "exp G", "launches", "blocks", "ms"
        )?;
        for kernel in &self.kernels {
            let names: Vec<&str> = kernel.definitions.iter().map(|name| name.name()).collect();
            writeln!(
                f,
                "{:<16} {:>10.3} {:>10.2} {:>10.3} {:>10.3} {:>10.2} {:>8} {:>9.0} {:>10.4}",
                names.join("+"),
                kernel.memory / 1e9,
                kernel.cache / 1e9,
                kernel.matrix / 1e12,
                kernel.scalar / 1e12,
                kernel.exponentials / 1e9,
                kernel.launches,
                kernel.blocks,
                kernel.seconds * 1e3
            )?;
        }
        write!(f, "{:<16} {:>91.4}", "total", self.seconds() * 1e3)
    }
}

/// The cost of a candidate on a machine, at the context's expected sizes.
pub fn cost(terms: &Terms, context: &Context, machine: &Machine) -> CostTable {
    let facts = facts_of_nodes(context, &terms.nodes);
    let types = stored_types(terms, context);
    let kernels = kernels(terms)
        .into_iter()
        .map(|definitions| Kernel::new(terms, context, machine, &facts, &types, definitions).cost())
        .collect();
    CostTable { kernels }
}

/// A bound axis inside a kernel.
struct Frame {
    axis: u32,
    domain: Id,
    /// Which pass over the axis: 1 for a fold inside a fold over the same axis.
    pass: usize,
    size: f64,
    /// Frames that the domain varies over.
    depends: Vec<usize>,
    /// At every sample point the first and last value of the domain, and one in between.
    samples: Vec<[i64; 3]>,
}

/// A frame, and the axes that are taken together.
type VisitKey = (usize, Vec<u32>);

struct Kernel<'a> {
    terms: &'a Terms,
    context: &'a Context,
    machine: &'a Machine,
    facts: &'a [Facts],
    types: &'a HashMap<TensorName, Type>,
    definitions: Vec<&'a Definition>,
    /// Axes of the grid with the number of their values that one thread block has.
    tiles: BTreeMap<u32, f64>,
    /// Thread blocks of the grid.
    grid: f64,
    frames: Vec<Frame>,
    /// Numbers of values of frames, see `Kernel::visits`.
    visits: RefCell<HashMap<VisitKey, f64>>,
    seen: HashSet<(Id, Vec<usize>)>,
    loads: BTreeMap<&'static str, f64>,
    total: KernelCost,
}

impl<'a> Kernel<'a> {
    fn new(
        terms: &'a Terms,
        context: &'a Context,
        machine: &'a Machine,
        facts: &'a [Facts],
        types: &'a HashMap<TensorName, Type>,
        definitions: Vec<&'a Definition>,
    ) -> Self {
        let total = KernelCost {
            definitions: definitions.iter().map(|d| d.tensor).collect(),
            memory: 0.0,
            cache: 0.0,
            matrix: 0.0,
            scalar: 0.0,
            exponentials: 0.0,
            launches: 1,
            blocks: 1.0,
            seconds: 0.0,
        };
        let tiles = BTreeMap::new();
        let (frames, seen, loads) = (Vec::new(), HashSet::new(), BTreeMap::new());
        let (visits, grid) = (RefCell::default(), 1.0);
        Kernel { terms, context, machine, facts, types, definitions, tiles, grid, frames, visits, seen, loads, total }
    }

    fn cost(mut self) -> KernelCost {
        self.shape();
        for definition in self.definitions.clone() {
            self.visit(definition.root, &mut Vec::new());
            let elements: f64 = definition.axes.iter().map(|axis| self.context.size(*axis) as f64).product();
            let bytes = self.types[&definition.tensor].bytes() as f64;
            let count = match self.terms.nodes[definition.root] {
                Term::Top(_) => list_length(self.context, definition.tensor).unwrap_or(1.0),
                _ => 1.0,
            };
            self.total.memory += elements * bytes * count;
        }
        for (name, bytes) in &self.loads {
            self.total.memory += bytes.min(self.tensor_bytes(TensorName::new(name)));
            self.total.cache += bytes;
        }
        self.total.seconds = self.total.seconds_on(self.machine);
        self.total
    }

    fn axis_size(&self, axis: u32) -> f64 {
        self.context.axes.get(axis as usize).map_or(1.0, |axis| axis.size as f64)
    }

    fn tensor_bytes(&self, name: TensorName) -> f64 {
        let Some(tensor) = self.context.tensor(name) else { return 0.0 };
        let elements: f64 = tensor.axes.iter().map(|axis| self.context.size(*axis) as f64).product();
        let count = match tensor.role {
            TensorRole::List(count) => count as f64,
            _ => 1.0,
        };
        elements * count * self.bytes(name)
    }

    fn bytes(&self, name: TensorName) -> f64 {
        let declared = self.context.tensor(name).and_then(|tensor| tensor.dtype);
        self.types.get(&name).copied().or(declared).unwrap_or(self.context.element).bytes() as f64
    }

    /// Decides how many values of each grid axis one thread block has.
    fn shape(&mut self) {
        let elements = |id: Id| -> BTreeSet<u32> {
            let free = self.facts[usize::from(id)].free.iter();
            free.filter(|(_, level)| *level == Level::Element).map(|(axis, _)| *axis).collect()
        };
        let (mut rows, mut columns, mut alone) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // grid axes that only say which part of a fold's axis is visited: their values share what they load
        let mut bounds = BTreeSet::new();
        for definition in &self.definitions {
            each_node(self.terms, definition.root, &mut |id| {
                match self.terms.nodes[id] {
                    Term::Mma([_, a, b]) => {
                        let (a, b) = (elements(a), elements(b));
                        rows.extend(a.difference(&b).copied());
                        columns.extend(b.difference(&a).copied());
                    }
                    Term::Blocks([_, list, _]) => alone.extend(elements(list)),
                    Term::Upto([_, bound]) | Term::From([_, bound]) => bounds.extend(elements(bound)),
                    _ => {}
                }
                true
            });
        }
        let number = |axis: &AxisName| self.context.axis_number(*axis).map(|number| number as u32);
        let mut grid: Vec<u32> = Vec::new();
        for axis in self.definitions.iter().flat_map(|d| &d.axes).filter_map(number) {
            if !grid.contains(&axis) {
                grid.push(axis);
            }
        }
        // rows that a fold goes over are in the block as well (heads that are summed over)
        let inside: f64 = rows.iter().filter(|axis| !grid.contains(axis)).map(|axis| self.axis_size(*axis)).product();
        let mut room = (self.machine.rows as f64 / inside).max(1.0);
        let contracts = !rows.is_empty();
        let mut tiles = BTreeMap::new();
        for (place, axis) in grid.iter().rev().enumerate() {
            let size = self.axis_size(*axis);
            let column = if contracts { columns.contains(axis) && !rows.contains(axis) } else { place == 0 };
            let column = column || bounds.contains(axis) && !rows.contains(axis);
            let tile = if alone.contains(axis) {
                1.0
            } else if column {
                size.min(COLUMNS as f64)
            } else if rows.contains(axis) || !contracts {
                let tile = size.min(room.floor());
                room = (room / tile).max(1.0);
                tile
            } else {
                1.0
            };
            tiles.insert(*axis, tile);
        }
        self.grid = tiles.iter().map(|(axis, tile)| (self.axis_size(*axis) / tile).ceil()).product();
        self.total.blocks = self.grid;
        self.tiles = tiles;
    }

    /// How many combinations of values all thread blocks meet. What does not vary over a grid axis is computed by every
    /// block along it.
    fn count(&self, free: &BTreeSet<Binding>, stack: &[usize]) -> f64 {
        self.in_block(free, stack) * self.grid
    }

    /// How many combinations of values one thread block meets.
    fn in_block(&self, free: &BTreeSet<Binding>, stack: &[usize]) -> f64 {
        let mut product = 1.0;
        for (axis, level) in free {
            let frame = stack.iter().rposition(|frame| self.frames[*frame].axis == *axis);
            let all = match frame {
                None => self.tiles.get(axis).copied().unwrap_or(self.axis_size(*axis)),
                Some(place) => self.visits(stack[place], &stack[..place], free),
            };
            product *= combinations(*level, all, |level| free.contains(&(*axis, level)));
        }
        product
    }

    /// The mean number of values of a frame's axis that one thread block meets for one combination of values of the axes
    /// in `free`: for all of the block's values of the other axes that its domain varies over together. A value that
    /// several of them visit is counted once.
    fn visits(&self, frame: usize, stack: &[usize], free: &BTreeSet<Binding>) -> f64 {
        let domain = self.frames[frame].domain;
        let varies = self.facts[usize::from(domain)].free.iter().map(|(axis, _)| *axis);
        let together: Vec<u32> = varies.filter(|axis| !free.iter().any(|(other, _)| other == axis)).collect();
        let key = (frame, together);
        if let Some(known) = self.visits.borrow().get(&key) {
            return *known;
        }
        let together = &key.1;
        let mut mean = 0.0;
        for part in 0..self.parts(domain) {
            for sample in 0..SAMPLES {
                // bounds are monotone in practice: their extremes are at the corners
                let point = Point { part, sample, together, last: false };
                let (low, high, most) = self.range(domain, point, stack);
                let (last_low, last_high, _) = self.range(domain, Point { last: true, ..point }, stack);
                let count = (high.max(last_high) - low.min(last_low) + 1).max(0) as f64;
                mean += count.min(most) / SAMPLES as f64;
            }
        }
        let mean = mean.max(1e-3);
        self.visits.borrow_mut().insert(key.clone(), mean);
        mean
    }

    fn visit(&mut self, id: Id, stack: &mut Vec<usize>) {
        let facts = &self.facts[usize::from(id)];
        // the innermost frame of every axis that the value varies over
        let last = |(place, frame): &(usize, &usize)| {
            let axis = self.frames[**frame].axis;
            facts.varies_over(axis) && !stack[place + 1..].iter().any(|later| self.frames[*later].axis == axis)
        };
        let frames = stack.iter().enumerate().filter(last).map(|(_, frame)| *frame).collect();
        if !self.seen.insert((id, frames)) {
            return;
        }
        let node = &self.terms.nodes[id];
        match *node {
            Term::Fold([_, domain, _]) | Term::Mma([domain, ..]) | Term::Top([_, domain, ..]) => {
                let frame = self.enter(domain, stack);
                stack.push(frame);
                self.account(id, stack);
                for child in node.children() {
                    self.visit(*child, stack);
                }
                stack.pop();
            }
            _ => {
                self.account(id, stack);
                for child in node.children() {
                    self.visit(*child, stack);
                }
            }
        }
    }

    /// Adds what one node does to the totals; its own frame is on the stack already.
    fn account(&mut self, id: Id, stack: &[usize]) {
        let facts = self.facts;
        let free = |ids: &[Id]| -> BTreeSet<Binding> {
            ids.iter().flat_map(|id| facts[usize::from(*id)].free.iter().copied()).collect()
        };
        let bound = |domain: Id, ids: &[Id]| {
            let mut all = free(ids);
            all.extend(facts[usize::from(domain)].binds);
            all
        };
        let here = &self.facts[usize::from(id)].free;
        match self.terms.nodes[id] {
            Term::Load(ref operands) | Term::List(ref operands) => {
                let Term::Tensor(name) = self.terms.nodes[operands[0]] else { return };
                let in_block = self.in_block(here, stack);
                let count = if matches!(self.terms.nodes[id], Term::List(_)) {
                    list_length(self.context, name).unwrap_or(1.0)
                } else {
                    1.0
                };
                *self.loads.entry(name.name()).or_default() += in_block * count * self.grid * self.bytes(name);
            }
            Term::Mma([domain, a, b]) => {
                let rows = self.rows(a, b, stack);
                let padding = (self.machine.least_rows as f64 / rows).max(1.0);
                self.total.matrix += 2.0 * self.count(&bound(domain, &[a, b]), stack) * padding;
            }
            Term::Fold([monoid, domain, body]) => {
                let elements = self.count(&bound(domain, &[body]), stack);
                self.total.scalar += elements;
                if self.terms.nodes[monoid] == Term::Monoid(Monoid::Lse) {
                    // merging: two exponentials per element's score, one product per weight
                    let score = match self.terms.nodes[body] {
                        Term::Pair([score, _]) => score,
                        _ => body,
                    };
                    self.total.scalar += elements;
                    self.total.exponentials += 2.0 * self.count(&bound(domain, &[score]), stack);
                }
            }
            Term::Top([_, domain, score, _]) => self.total.scalar += 4.0 * self.count(&bound(domain, &[score]), stack),
            Term::Exp(_)
            | Term::Log(_)
            | Term::Tanh(_)
            | Term::Sigmoid(_)
            | Term::Silu(_)
            | Term::Gelu(_)
            | Term::Sqrt(_) => {
                self.total.exponentials += self.count(here, stack);
            }
            Term::Mat(_) => {
                let count = self.count(here, stack);
                self.total.memory += 2.0 * 4.0 * count;
                self.total.launches += 1;
                self.total.blocks *= self.chunks(here, stack);
            }
            ref node if node.is_integer_arithmetic() => {
                // addresses and bounds: mostly constant along a lane's work
                self.total.scalar += 0.25 * self.count(here, stack);
            }
            // a search through the list
            Term::In([_, list]) => {
                let name = match &self.terms.nodes[list] {
                    Term::List(operands) => self.terms.nodes[operands[0]].clone(),
                    other => other.clone(),
                };
                let entries = match name {
                    Term::Tensor(name) => list_length(self.context, name),
                    _ => None,
                };
                self.total.scalar += self.count(here, stack) * entries.unwrap_or(1.0);
            }
            ref node if node.is_leaf() => {}
            Term::Pair(_) | Term::Fst(_) | Term::Snd(_) => {}
            _ if facts[usize::from(id)].binds.is_some() => {}
            _ => self.total.scalar += self.count(here, stack),
        }
    }

    /// Chunks of the innermost fold that have something to do: chunks are parts of the axis, of which a block may visit few
    /// values.
    fn chunks(&self, free: &BTreeSet<Binding>, stack: &[usize]) -> f64 {
        let Some((frame, outside)) = stack.split_last() else { return CHUNKS };
        let part = self.visits(*frame, outside, free) / self.frames[*frame].size.max(1.0);
        (part * CHUNKS).ceil().clamp(1.0, CHUNKS)
    }

    /// Rows of one thread block in a contraction.
    fn rows(&self, a: Id, b: Id, stack: &[usize]) -> f64 {
        let (a, b) = (&self.facts[usize::from(a)], &self.facts[usize::from(b)]);
        let own = a.free.iter().filter(|(axis, level)| *level == Level::Element && !b.varies_over(*axis));
        let of = |axis: u32| match self.tiles.get(&axis) {
            Some(tile) => *tile,
            None => stack
                .iter()
                .find(|frame| self.frames[**frame].axis == axis)
                .map_or(1.0, |frame| self.frames[*frame].size.min(TILE)),
        };
        own.map(|(axis, _)| of(*axis)).product::<f64>().max(1.0)
    }

    /// The frame of a domain's axis; the two halves of a split domain share one.
    fn enter(&mut self, domain: Id, stack: &[usize]) -> usize {
        let mut whole = domain;
        while let Term::Outer(inner) | Term::Inner(inner) | Term::Chunks(inner) | Term::Chunk(inner) =
            self.terms.nodes[whole]
        {
            whole = inner;
        }
        let axis = self.facts[usize::from(whole)].binds.map_or(u32::MAX, |(axis, _)| axis);
        let depends = |this: &Self, frame: usize| this.facts[usize::from(whole)].varies_over(this.frames[frame].axis);
        let depends: Vec<usize> = stack.iter().copied().filter(|frame| depends(self, *frame)).collect();
        // a tile's fold goes over what the fold over the tiles has at hand; any other one inside it is another pass
        let around = stack.iter().rev().find(|frame| self.frames[**frame].axis == axis);
        let part = matches!(self.terms.nodes[domain], Term::Inner(_) | Term::Chunk(_));
        let pass = around.map_or(0, |frame| self.frames[*frame].pass + usize::from(!part));
        let same = |frame: &Frame| {
            frame.axis == axis && frame.domain == whole && frame.depends == depends && frame.pass == pass
        };
        if let Some(known) = self.frames.iter().position(same) {
            return known;
        }
        let size = self.axis_size(axis);
        let parts = self.parts(whole);
        let sample = |sample| {
            let point = Point { part: sample % parts, sample, together: &[], last: false };
            let (low, high, _) = self.range(whole, point, stack);
            // somewhere inside, elsewhere for every sample and axis
            [low, high, low + ((high - low).max(0) as f64 * fraction(sample, axis as usize + 5)) as i64]
        };
        let samples = (0..SAMPLES).map(sample).collect();
        self.frames.push(Frame { axis, domain: whole, pass, size, depends, samples });
        self.frames.len() - 1
    }
}
