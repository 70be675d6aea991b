//! Runs the PTX of a plan in the interpreter, by the rules that launchers follow.

use crate::banks;
use nsa_codegen::emit::nvptx::{PtxCode, Target, emit};
use nsa_codegen::plan::{Buffer, Kernel, Plan, PlanExtent, Role};
use nsa_codegen::term::{AxisName, Term, Type};
use ptx_vm::{Arg, BufferId, Memory, Module, Options, Report};
use std::collections::HashMap;

/// Values of tensors by name, one sequence after the other.
pub type Arrays = HashMap<String, Vec<f64>>;

/// Lengths of all axes, per sequence.
struct Batch<'p> {
    plan: &'p Plan,
    lengths: Vec<HashMap<AxisName, i64>>,
    far: Option<usize>,
}

/// What the interpreter's buffers lie apart, in bytes, as logarithm: values of an axis with this stride are a buffer each.
const APART: u32 = 40;

fn evaluate(plan: &Plan, id: egg::Id, lengths: &HashMap<AxisName, i64>) -> i64 {
    let at = |x: egg::Id| evaluate(plan, x, lengths);
    match &plan.terms[id] {
        Term::Int(n) => *n,
        Term::Len(name) => lengths[&AxisName::new(name.name())],
        Term::IntAdd([a, b]) => at(*a) + at(*b),
        Term::IntSub([a, b]) => at(*a) - at(*b),
        Term::IntMul([a, b]) => at(*a) * at(*b),
        Term::IntDiv([a, b]) => at(*a).div_euclid(at(*b)),
        Term::IntRem([a, b]) => at(*a).rem_euclid(at(*b)),
        Term::IntMin([a, b]) => at(*a).min(at(*b)),
        Term::IntMax([a, b]) => at(*a).max(at(*b)),
        other => panic!("an extent with {other}"),
    }
}

impl<'p> Batch<'p> {
    fn new(plan: &'p Plan, given: &[(&str, &[i64])], far: Option<usize>) -> Self {
        let count = given.first().map_or(1, |(_, lengths)| lengths.len());
        let mut all = vec![];
        for sequence in 0..count {
            let mut lengths = HashMap::new();
            for axis in &plan.axes {
                let n = match &axis.extent {
                    PlanExtent::Const(n) => *n,
                    PlanExtent::Runtime => {
                        given.iter().find(|(name, _)| *name == axis.name.name()).expect("a length").1[sequence]
                    }
                    PlanExtent::Derived(id) => evaluate(plan, *id, &lengths).max(0),
                };
                lengths.insert(axis.name, n);
            }
            all.push(lengths);
        }
        Batch { plan, lengths: all, far }
    }
    fn constant(&self, axis: AxisName) -> bool {
        matches!(self.plan.axis(axis).expect("an axis").extent, PlanExtent::Const(_))
    }
    fn packed(&self, buffer: &Buffer) -> Option<usize> {
        buffer.axes.iter().position(|a| !self.constant(*a))
    }
    fn offset(&self, axis: AxisName, sequence: usize) -> i64 {
        self.lengths[..sequence].iter().map(|l| l[&axis]).sum()
    }
    fn extents(&self, buffer: &Buffer) -> Vec<i64> {
        let packed = self.packed(buffer);
        let extent = |(at, axis): (usize, &AxisName)| match packed == Some(at) {
            true => self.offset(*axis, self.lengths.len()),
            false => self.lengths.iter().map(|l| l[axis]).max().unwrap_or(0),
        };
        buffer.axes.iter().enumerate().map(extent).collect()
    }
    /// The axis of a buffer whose values lie far apart; the last one's never do.
    fn far(&self, buffer: &Buffer) -> Option<usize> {
        self.far.filter(|at| at + 1 < buffer.axes.len())
    }
    /// Extents of what is without gaps: of the whole buffer, or of one value of the axis whose values lie far apart.
    fn near(&self, buffer: &Buffer) -> Vec<i64> {
        let mut extents = self.extents(buffer);
        if let Some(at) = self.far(buffer) {
            extents[at] = 1;
        }
        extents
    }
    fn strides(&self, buffer: &Buffer) -> Vec<i64> {
        let near = self.near(buffer);
        let mut strides: Vec<i64> = (0..near.len()).map(|at| near[at + 1..].iter().product::<i64>().max(1)).collect();
        if let Some(at) = self.far(buffer) {
            strides[at] = (1 << APART) / buffer.dtype.bytes() as i64;
        }
        strides
    }
    /// Element offsets in the order of the reference: sequence by sequence, last axis fastest.
    fn elements(&self, buffer: &Buffer) -> Vec<usize> {
        let (strides, packed) = (self.strides(buffer), self.packed(buffer));
        let mut offsets = vec![];
        // What is along constant axes only is the same for all sequences.
        let own = if packed.is_some() { self.lengths.len() } else { 1 };
        for (sequence, lengths) in self.lengths.iter().take(own).enumerate() {
            let shape: Vec<i64> = buffer.axes.iter().map(|a| lengths[a]).collect();
            let start = packed.map_or(0, |at| self.offset(buffer.axes[at], sequence) * strides[at]);
            for flat in 0..shape.iter().product::<i64>() {
                let (mut rest, mut offset) = (flat, start);
                for at in (0..shape.len()).rev() {
                    offset += rest % shape[at] * strides[at];
                    rest /= shape[at];
                }
                offsets.push(offset as usize);
            }
        }
        offsets
    }
    fn sequences(&self) -> Vec<u8> {
        let mut bytes = vec![];
        for (sequence, lengths) in self.lengths.iter().enumerate() {
            for axis in self.plan.axes.iter().filter(|a| !self.constant(a.name)) {
                bytes.extend(self.offset(axis.name, sequence).to_le_bytes());
                bytes.extend(lengths[&axis.name].to_le_bytes());
            }
        }
        bytes
    }
    /// The tile table of a kernel, and its number of blocks.
    fn tiles(&self, kernel: &Kernel) -> (Vec<i32>, i64) {
        let mut table = vec![];
        let mut others = 1;
        let runtime = kernel.grid.iter().find(|g| !self.constant(g.axis));
        for (sequence, lengths) in self.lengths.iter().enumerate() {
            let count = runtime.map_or(1, |g| (lengths[&g.axis] as usize).div_ceil(g.tile as usize));
            for tile in 0..count {
                table.extend([sequence as i32, (tile * runtime.map_or(0, |g| g.tile as usize)) as i32]);
            }
        }
        for axis in kernel.grid.iter().filter(|g| self.constant(g.axis)) {
            others *= (self.lengths[0][&axis.axis] as usize).div_ceil(axis.tile as usize);
        }
        let blocks = (table.len() / 2 * others) as i64;
        (table, blocks)
    }
}

/// Which of a tensor's buffers a byte lies in, and where in it.
fn place(byte: usize) -> (usize, usize) {
    (byte >> APART, byte & ((1 << APART) - 1))
}

/// The bytes of `x` in a buffer of this type.
pub fn to_bits(dtype: Type, x: f64) -> Vec<u8> {
    match dtype {
        Type::Bf16 => half::bf16::from_f64(x).to_le_bytes().to_vec(),
        Type::F16 => half::f16::from_f64(x).to_le_bytes().to_vec(),
        Type::F32 => (x as f32).to_le_bytes().to_vec(),
        Type::I32 => (x as i32).to_le_bytes().to_vec(),
    }
}

fn from_bits(dtype: Type, bytes: &[u8]) -> f64 {
    match dtype {
        Type::Bf16 => half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        Type::F16 => half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        Type::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")).into(),
        Type::I32 => i32::from_le_bytes(bytes.try_into().expect("4 bytes")).into(),
    }
}

/// `x` as a buffer of this type holds it.
pub fn rounded(dtype: Type, x: f64) -> f64 {
    from_bits(dtype, &to_bits(dtype, x))
}

/// A plan with its arguments in memory, ready to run kernel by kernel.
pub struct Prepared<'p> {
    batch: Batch<'p>,
    /// PTX.
    pub text: String,
    /// Arguments, and room for everything else.
    pub memory: Memory,
    /// One for each value of an axis whose values lie far apart, which touch as strides say.
    buffers: HashMap<&'p str, Vec<BufferId>>,
    /// In their order.
    pub launches: Vec<Launch>,
}

/// One kernel over its grid.
pub struct Launch {
    /// The kernel's name in the plan.
    pub kernel: String,
    /// Its entry in the module.
    pub entry: String,
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    words: Vec<Arg>,
}

impl Launch {
    /// Runs the kernel of this launch as `module` has it.
    pub fn run(&self, module: &Module, memory: &mut Memory, options: &Options) -> Report {
        module
            .kernel(&self.entry)
            .expect("a kernel of the module")
            .launch(memory, [self.blocks, 1, 1], [self.threads, 1, 1], self.shared_bytes, &self.words, options)
            .expect("a launch")
    }
}

/// A plan with its code, for any sizes.
pub struct Compiled<'p> {
    plan: &'p Plan,
    code: PtxCode,
    module: Module,
}

impl<'p> Compiled<'p> {
    /// Emits a plan.
    pub fn new(plan: &'p Plan, target: Target) -> Self {
        let code = emit(plan, target).expect("code for the plan");
        let module = Module::parse(&code.text).expect("PTX that the interpreter reads");
        Compiled { plan, code, module }
    }

    /// Lays arguments out in memory.
    pub fn prepare(&self, lengths: &[(&str, &[i64])], arguments: &Arrays) -> Prepared<'p> {
        self.lay_out(lengths, arguments, None)
    }

    /// The same, with values of one axis of every buffer a terabyte apart.
    fn lay_out(&self, lengths: &[(&str, &[i64])], arguments: &Arrays, far: Option<usize>) -> Prepared<'p> {
        let plan = self.plan;
        let batch = Batch::new(plan, lengths, far);
        let mut memory = Memory::new();
        let mut buffers: HashMap<&str, Vec<BufferId>> = HashMap::new();
        for buffer in &plan.buffers {
            let bytes = buffer.dtype.bytes() as usize;
            let size = batch.near(buffer).iter().product::<i64>().max(1) as usize * bytes;
            let count = batch.far(buffer).map_or(1, |at| batch.extents(buffer)[at].max(1));
            let ids: Vec<BufferId> = (0..count).map(|_| memory.reserve(size)).collect();
            if buffer.role == Role::Argument {
                let values = &arguments[buffer.name.name()];
                let mut contents = vec![vec![0; size]; ids.len()];
                let elements = batch.elements(buffer);
                assert_eq!(values.len(), elements.len(), "{}", buffer.name.name());
                for (element, x) in elements.into_iter().zip(values) {
                    let (which, at) = place(element * bytes);
                    contents[which][at..at + bytes].copy_from_slice(&to_bits(buffer.dtype, *x));
                }
                for (id, content) in ids.iter().zip(contents) {
                    memory.write(*id, 0, &content);
                }
            }
            buffers.insert(buffer.name.name(), ids);
        }
        let sequences = memory.add(&batch.sequences());
        let mut launches = vec![];
        for (kernel, made) in plan.kernels.iter().zip(&self.code.kernels) {
            let (table, blocks) = batch.tiles(kernel);
            if blocks == 0 {
                continue;
            }
            let table_bytes: Vec<u8> = table.iter().flat_map(|x| x.to_le_bytes()).collect();
            let tiles = memory.add(&table_bytes);
            let mut words = vec![Arg::Buffer(sequences), Arg::Buffer(tiles), Arg::U64(table.len() as u64 / 2)];
            for buffer in kernel.buffers(plan) {
                words.push(Arg::Buffer(buffers[buffer.name.name()][0]));
                let strides = batch.strides(buffer);
                words.extend(strides[..strides.len().saturating_sub(1)].iter().map(|s| Arg::I64(*s)));
            }
            assert_eq!(words.len(), made.words as usize);
            launches.push(Launch {
                kernel: kernel.name.clone(),
                entry: made.entry.clone(),
                blocks: blocks as u32,
                threads: made.threads,
                shared_bytes: made.shared_bytes,
                words,
            });
        }
        Prepared { batch, text: self.code.text.clone(), memory, buffers, launches }
    }

    /// Runs the plan under several seeds of the scheduler; gives what all results (and workspaces) hold.
    ///
    /// Every hazard that the interpreter reports, every element of a result that nobody wrote, every bit that differs between
    /// two seeds, and bank conflicts where there are to be none fail the test.
    pub fn run(&self, lengths: &[(&str, &[i64])], arguments: &Arrays, seeds: &[u64]) -> Arrays {
        self.run_prepared(&self.prepare(lengths, arguments), lengths, seeds)
    }

    /// The same with values of axis `far` of every buffer, workspaces as well, a terabyte apart: 2^38 elements or more. Buffers
    /// that do not have it, or as their last axis, stay as they are.
    pub fn run_far(&self, lengths: &[(&str, &[i64])], arguments: &Arrays, seeds: &[u64], far: usize) -> Arrays {
        self.run_prepared(&self.lay_out(lengths, arguments, Some(far)), lengths, seeds)
    }

    fn run_prepared(&self, prepared: &Prepared<'p>, lengths: &[(&str, &[i64])], seeds: &[u64]) -> Arrays {
        let run = |&seed: &u64| {
            let mut memory = prepared.memory.clone();
            for launch in &prepared.launches {
                // Which banks are met does not depend on the schedule.
                let options = Options { seed, bank_conflicts: seed == seeds[0], ..Options::default() };
                let report = launch.run(&self.module, &mut memory, &options);
                banks::check(self.plan, &launch.kernel, &report);
                assert!(report.is_clean(), "{} at {lengths:?}, seed {seed}: {report}\n{}", launch.kernel, self.plan);
            }
            memory
        };
        let (first, others) = seeds.split_first().expect("a seed");
        let memory = run(first);
        let contents = prepared.contents(&memory);
        for seed in others {
            assert!(prepared.contents(&run(seed)) == contents, "seeds {first} and {seed} differ at {lengths:?}");
        }
        prepared.results(&memory)
    }
}

impl Prepared<'_> {
    /// What all results (and workspaces) hold in `memory`; an element that nobody wrote fails the test.
    pub fn results(&self, memory: &Memory) -> Arrays {
        let mut results = Arrays::new();
        for buffer in self.batch.plan.buffers.iter().filter(|b| b.role != Role::Argument) {
            let bytes = buffer.dtype.bytes() as usize;
            let ids = &self.buffers[buffer.name.name()];
            let contents: Vec<_> = ids.iter().map(|id| (memory.bytes(*id), memory.initialised(*id))).collect();
            let mut values = vec![];
            for element in self.batch.elements(buffer) {
                let (which, at) = place(element * bytes);
                let (content, written) = &contents[which];
                assert!(written[at], "element {element} of {} was never written", buffer.name.name());
                values.push(from_bits(buffer.dtype, &content[at..at + bytes]));
            }
            results.insert(buffer.name.name().into(), values);
        }
        results
    }

    /// The bytes of all results and workspaces, with which of them were written.
    pub fn contents(&self, memory: &Memory) -> Vec<(Vec<u8>, Vec<bool>)> {
        let buffers = self.batch.plan.buffers.iter().filter(|b| b.role != Role::Argument);
        let ids = buffers.flat_map(|b| &self.buffers[b.name.name()]);
        ids.map(|id| (memory.bytes(*id), memory.initialised(*id))).collect()
    }
}

/// Relative RMS error; infinities must agree.
pub fn error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut difference, mut norm) = (0.0, 0.0);
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        if y.is_infinite() {
            assert_eq!(x, y, "element {i}");
            continue;
        }
        assert!(x.is_finite(), "element {i} is {x}, not {y}");
        difference += (x - y) * (x - y);
        norm += y * y;
    }
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// Numbers that look normally distributed, from a seed.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as f64 / (1u64 << 31) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }
    /// `count` numbers as a buffer of this type holds them.
    pub fn values(&mut self, dtype: Type, count: usize) -> Vec<f64> {
        (0..count).map(|_| rounded(dtype, self.next())).collect()
    }
}
