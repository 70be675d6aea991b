//! A single-threaded runtime for tests: tables, buffers, launches.

use crate::sparse::Sparse;
use half::{bf16, f16};
use nsa_codegen::emit::host::{Isa, JitModule, jit};
use nsa_codegen::plan::{Buffer, Plan, PlanExtent, Role};
use nsa_codegen::term::{AxisName, Term, Type};
use std::collections::HashMap;

/// Lengths of the run-time axes in every sequence, by axis.
pub type Lengths<'a> = &'a [(&'a str, &'a [usize])];

/// A tensor in f64, row-major.
#[derive(Clone, Debug)]
pub struct Array {
    /// Extents, slowest first; the packed axis has all sequences.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f64>,
    /// Per sequence, what is added to the index of the packed axis, and that axis.
    offsets: Vec<usize>,
    packed: Option<usize>,
}

impl Array {
    /// Element `index` of a sequence.
    pub fn at(&self, sequence: usize, index: &[usize]) -> f64 {
        self.row(sequence, index)[0]
    }
    /// The elements whose indices begin with `index`.
    pub fn row(&self, sequence: usize, index: &[usize]) -> &[f64] {
        let mut flat = 0;
        for (dim, i) in index.iter().enumerate() {
            let i = if self.packed == Some(dim) { i + self.offsets[sequence] } else { *i };
            assert!(i < self.dims[dim], "index {index:?} of {:?}", self.dims);
            flat = flat * self.dims[dim] + i;
        }
        let width: usize = self.dims[index.len()..].iter().product();
        &self.data[flat * width..(flat + 1) * width]
    }
}

/// Where the rows of a tensor lie: along its last axis elements are consecutive.
struct Rows {
    /// Of one row.
    bytes: usize,
    /// In bytes, in row-major order.
    offsets: Vec<usize>,
}

/// Pseudo-random numbers in (-1, 1), the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A plan with memory.
pub struct Machine<'p> {
    plan: &'p Plan,
    sequences: usize,
    lengths: HashMap<AxisName, Vec<usize>>,
    memory: HashMap<String, Vec<u8>>,
}

fn encode(dtype: Type, x: f64) -> Vec<u8> {
    match dtype {
        Type::Bf16 => bf16::from_f32(x as f32).to_le_bytes().to_vec(),
        Type::F16 => f16::from_f32(x as f32).to_le_bytes().to_vec(),
        Type::F32 => (x as f32).to_le_bytes().to_vec(),
        Type::I32 => (x as i32).to_le_bytes().to_vec(),
    }
}

fn decode(dtype: Type, bytes: &[u8]) -> f64 {
    match dtype {
        Type::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        Type::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        Type::F32 => f32::from_le_bytes(bytes.try_into().expect("four bytes")).into(),
        Type::I32 => i32::from_le_bytes(bytes.try_into().expect("four bytes")).into(),
    }
}

/// Where the elements of a tensor lie: its first one, and strides of all axes.
struct Place {
    start: *mut u8,
    strides: Vec<usize>,
}

/// Strides of an axis that is not the last.
#[derive(Clone, Copy, Debug)]
pub struct Far {
    /// Its place among a buffer's axes; buffers without such an axis, or with it as their last, stay as they are.
    pub axis: usize,
    /// Elements from one of its values to the next.
    pub stride: usize,
}

impl Far {
    /// Strides of a buffer: as if the other axes alone were row-major. None if it has no such axis.
    fn strides(self, dims: &[usize]) -> Option<Vec<usize>> {
        if self.axis + 1 >= dims.len() {
            return None;
        }
        let mut others = dims.to_vec();
        others[self.axis] = 1;
        assert!(others.iter().product::<usize>() <= self.stride, "values of the axis lie on each other: {dims:?}");
        let mut strides = row_major(&others);
        strides[self.axis] = self.stride;
        Some(strides)
    }
}

/// Strides of a tensor without gaps.
fn row_major(dims: &[usize]) -> Vec<usize> {
    (0..dims.len()).map(|d| dims[d + 1..].iter().product()).collect()
}

impl<'p> Machine<'p> {
    /// Memory for a plan, filled with NaN (results must be written, arguments are to be set).
    pub fn new(plan: &'p Plan, lengths: Lengths<'_>) -> Self {
        let sequences = lengths.first().map_or(1, |l| l.1.len());
        let mut machine = Machine { plan, sequences, lengths: HashMap::new(), memory: HashMap::new() };
        for axis in &plan.axes {
            if axis.extent == PlanExtent::Runtime {
                let given = lengths.iter().find(|l| l.0 == axis.name.name());
                let given = given.unwrap_or_else(|| panic!("no lengths for {}", axis.name));
                assert_eq!(given.1.len(), sequences);
                machine.lengths.insert(axis.name, given.1.to_vec());
            }
        }
        for axis in &plan.axes {
            if let PlanExtent::Derived(term) = axis.extent {
                let lengths = (0..sequences).map(|q| machine.size(term, q).max(0) as usize).collect();
                machine.lengths.insert(axis.name, lengths);
            }
        }
        for buffer in &plan.buffers {
            let elements: usize = machine.dims(buffer).iter().product();
            let poison = encode(buffer.dtype, if buffer.dtype == Type::I32 { -77.0 } else { f64::NAN });
            machine.memory.insert(buffer.name.name().into(), poison.repeat(elements.max(1)));
        }
        machine
    }

    /// An integer term over lengths, in a sequence.
    fn size(&self, term: egg::Id, sequence: usize) -> i64 {
        let pair = |x: &[egg::Id; 2]| (self.size(x[0], sequence), self.size(x[1], sequence));
        match &self.plan.terms[term] {
            Term::Int(n) => *n,
            Term::Len(name) => self.lengths[&AxisName(name.0)][sequence] as i64,
            Term::IntAdd(x) => pair(x).0 + pair(x).1,
            Term::IntSub(x) => pair(x).0 - pair(x).1,
            Term::IntMul(x) => pair(x).0 * pair(x).1,
            Term::IntDiv(x) => pair(x).0.div_euclid(pair(x).1),
            Term::IntRem(x) => pair(x).0.rem_euclid(pair(x).1),
            Term::IntMin(x) => pair(x).0.min(pair(x).1),
            Term::IntMax(x) => pair(x).0.max(pair(x).1),
            other => panic!("{other} in an extent"),
        }
    }
    fn packed(&self, buffer: &Buffer) -> Option<usize> {
        buffer.axes.iter().position(|a| self.lengths.contains_key(a))
    }
    fn dims(&self, buffer: &Buffer) -> Vec<usize> {
        let packed = self.packed(buffer);
        let extent = |(dim, axis): (usize, &AxisName)| match &self.plan.axis(*axis).expect("an axis").extent {
            PlanExtent::Const(n) => *n as usize,
            _ if Some(dim) == packed => self.lengths[axis].iter().sum(),
            _ => self.lengths[axis].iter().copied().max().unwrap_or(0),
        };
        buffer.axes.iter().enumerate().map(extent).collect()
    }
    fn offsets(&self, axis: AxisName) -> Vec<usize> {
        let lengths = &self.lengths[&axis];
        (0..lengths.len()).map(|i| lengths[..i].iter().sum()).collect()
    }
    fn buffer(&self, name: &str) -> &'p Buffer {
        self.plan.buffers.iter().find(|b| b.name.name() == name).unwrap_or_else(|| panic!("no buffer {name}"))
    }

    /// Sets an argument element by element: `f` gets the indices into the packed buffer.
    pub fn fill(&mut self, name: &str, mut f: impl FnMut(&[usize]) -> f64) {
        let buffer = self.buffer(name);
        let dims = self.dims(buffer);
        let mut bytes = vec![];
        for flat in 0..dims.iter().product() {
            let (mut rest, mut index) = (flat, vec![0; dims.len()]);
            for (i, n) in dims.iter().enumerate().rev() {
                index[i] = rest % n;
                rest /= n;
            }
            bytes.extend(encode(buffer.dtype, f(&index)));
        }
        self.memory.insert(name.into(), bytes);
    }
    /// Sets every floating argument to random numbers.
    pub fn randomise(&mut self, seed: u64) {
        let mut random = Random(seed);
        for buffer in self.plan.buffers.iter().filter(|b| b.role == Role::Argument && b.dtype != Type::I32) {
            self.fill(buffer.name.name(), |_| random.next());
        }
    }
    /// A tensor, as it lies in memory.
    pub fn array(&self, name: &str) -> Array {
        let buffer = self.buffer(name);
        let size = buffer.dtype.bytes() as usize;
        let dims = self.dims(buffer);
        let elements: usize = dims.iter().product();
        let data = self.memory[name].chunks(size).take(elements).map(|b| decode(buffer.dtype, b)).collect();
        let packed = self.packed(buffer);
        let offsets = packed.map_or(vec![0; self.sequences], |dim| self.offsets(buffer.axes[dim]));
        Array { dims, data, offsets, packed }
    }

    /// Runs all kernels on one instruction set.
    pub fn run(&mut self, isa: Isa) {
        self.run_module(&jit(self.plan, Some(isa)).expect("machine code"));
    }

    /// Runs all kernels of the plan's machine code, each block on its own so that blocks are independent.
    pub fn run_module(&mut self, module: &JitModule) {
        self.run_portions(module, 1);
    }
    /// The same with so many blocks per call, which must not make a difference.
    pub fn run_portions(&mut self, module: &JitModule, portion: i64) {
        let mut places = HashMap::new();
        for buffer in &self.plan.buffers {
            let strides = row_major(&self.dims(buffer));
            let bytes = self.memory.get_mut(buffer.name.name()).expect("memory");
            places.insert(buffer.name.name(), Place { start: bytes.as_mut_ptr(), strides });
        }
        self.launch(module, portion, &places);
    }
    /// The same with values of one axis of each buffer, workspaces as well, far apart.
    pub fn run_far(&mut self, module: &JitModule, far: Far) {
        let (mut regions, mut places) = (vec![], HashMap::new());
        for buffer in &self.plan.buffers {
            let (dims, size) = (self.dims(buffer), buffer.dtype.bytes() as usize);
            let strides = far.strides(&dims).unwrap_or_else(|| row_major(&dims));
            let last: usize = dims.iter().zip(&strides).map(|(n, stride)| n.saturating_sub(1) * stride).sum();
            let region = Sparse::new((last + 1) * size);
            let start = region.start();
            let rows = Self::rows(&dims, &strides, size);
            let bytes = self.memory.get_mut(buffer.name.name()).expect("memory");
            for (row, at) in bytes.chunks(rows.bytes).zip(rows.offsets.iter().copied()) {
                // SAFETY: the row lies inside the region.
                unsafe { start.add(at).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
            }
            places.insert(buffer.name.name(), Place { start, strides });
            regions.push((buffer, region, rows));
        }
        self.launch(module, 1, &places);
        for (buffer, region, rows) in regions {
            let bytes = self.memory.get_mut(buffer.name.name()).expect("memory");
            for (row, at) in bytes.chunks_mut(rows.bytes).zip(rows.offsets) {
                // SAFETY: as above.
                unsafe { region.start().add(at).copy_to_nonoverlapping(row.as_mut_ptr(), row.len()) };
            }
        }
    }
    fn rows(dims: &[usize], strides: &[usize], size: usize) -> Rows {
        let Some((width, outer)) = dims.split_last() else { return Rows { bytes: size, offsets: vec![0] } };
        let offset = |flat: usize| {
            let mut rest = flat;
            let along = outer.iter().zip(strides).rev().map(|(n, stride)| {
                let index = rest % n;
                rest /= n;
                index * stride
            });
            along.sum::<usize>() * size
        };
        Rows { bytes: (width * size).max(1), offsets: (0..outer.iter().product()).map(offset).collect() }
    }
    fn launch(&self, module: &JitModule, portion: i64, places: &HashMap<&str, Place>) {
        let plan = self.plan;
        let slots: Vec<AxisName> =
            plan.axes.iter().filter(|a| !matches!(a.extent, PlanExtent::Const(_))).map(|a| a.name).collect();
        let mut table: Vec<i64> = vec![];
        for sequence in 0..self.sequences {
            for axis in &slots {
                table.push(self.offsets(*axis)[sequence] as i64);
                table.push(self.lengths[axis][sequence] as i64);
            }
        }
        for (kernel, (made, function)) in plan.kernels.iter().zip(module.kernels().iter().zip(module.functions())) {
            let mut tiles: Vec<[i32; 2]> = vec![];
            let mut constant = 1;
            let mut runtime = None;
            for axis in &kernel.grid {
                match plan.axis(axis.axis).expect("an axis").extent {
                    PlanExtent::Const(n) => constant *= (n as u64).div_ceil(axis.tile.into()) as i64,
                    _ => runtime = Some(axis),
                }
            }
            for sequence in 0..self.sequences {
                match runtime {
                    None => tiles.push([sequence as i32, 0]),
                    Some(axis) => {
                        let length = self.lengths[&axis.axis][sequence];
                        tiles.extend((0..length).step_by(axis.tile as usize).map(|t| [sequence as i32, t as i32]));
                    }
                }
            }
            let mut words = vec![table.as_ptr() as u64, tiles.as_ptr() as u64, tiles.len() as u64];
            for buffer in kernel.buffers(plan) {
                let Place { start, strides } = &places[buffer.name.name()];
                words.push(*start as u64);
                words.extend(strides.iter().take(strides.len().saturating_sub(1)).map(|stride| *stride as u64));
            }
            // Scratch memory begins with a cache line.
            let mut scratch = vec![f32::NAN; made.scratch_bytes as usize / 4 + 16];
            let skip = scratch.as_ptr().align_offset(64);
            let blocks = constant * tiles.len() as i64;
            for first in (0..blocks).step_by(portion as usize).collect::<Vec<_>>().into_iter().rev() {
                let end = blocks.min(first + portion);
                unsafe { function(words.as_ptr(), first, end, scratch[skip..].as_mut_ptr().cast()) };
            }
        }
    }
}

/// The instruction sets that this CPU has.
pub fn isas() -> Vec<Isa> {
    let best = Isa::detect();
    match best {
        Isa::Aarch64 => vec![best],
        _ => Isa::ALL.into_iter().filter(|i| *i <= best).collect(),
    }
}

/// `||a - b|| / ||b||` over pairs (computed, expected); both must be infinite alike.
pub fn relative_error(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in pairs {
        if b.is_infinite() {
            assert_eq!(a, b);
            continue;
        }
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    if norm == 0.0 { f64::sqrt(difference) } else { f64::sqrt(difference / norm) }
}
