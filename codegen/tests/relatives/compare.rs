//! One example on one target: arguments, the run, the comparison.

use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_codegen::plan::{Plan, Role};
use nsa_codegen::{Options, lower};
use nsa_dsl::program::{DType, Extent, Program};
use nsa_dsl::{Inputs, Settings, compile_source};
use nsa_test_machines::device::{self, Arrays, Compiled};
use nsa_test_machines::driver::{Lengths, Machine, isas};
use nsa_test_machines::judged::{fits, judge};

/// An example and what it runs on.
pub struct Example {
    pub name: &'static str,
    /// Constants besides the usual ones.
    pub sizes: &'static [(&'static str, i64)],
    /// Lengths of the run-time axes, per sequence.
    pub lengths: &'static [(&'static str, &'static [usize])],
    /// Elements of integer arguments, by name and number.
    pub integers: fn(&str, usize) -> i64,
}

/// The examples there are, in order.
pub fn names() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let files = std::fs::read_dir(folder).expect("the examples").map(|entry| entry.expect("an entry").path());
    let programs = files.filter(|path| path.extension().is_some_and(|extension| extension == "nsa"));
    let mut names: Vec<String> =
        programs.map(|path| path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_string()).collect();
    names.sort();
    names
}

/// Numbers of tokens at the edges of tiles, warps and blocks.
const ALONE: [usize; 10] = [1, 2, 15, 31, 32, 33, 63, 64, 65, 127];

/// A batch with an empty sequence and one longer than any tile.
const PACKED: [usize; 3] = [0, 15, 140];

/// Seeds of the interpreter's scheduler: each result must come out of each order of the warps.
const SEEDS: [u64; 3] = [1, 2, 3];

/// Other orders for each of the awkward lengths, which are many: two that must give the same, one where the target's code is
/// nearly that of the other.
fn other_seeds(shape: usize, target: Target) -> Vec<u64> {
    let first = 2 * shape as u64 + 4;
    if target == Target::Sm80 { vec![first] } else { vec![first, first + 1] }
}

/// Runs an example at its own lengths on all targets, at the awkward ones on the GPU targets, and compares every result.
pub fn check(example: &Example) {
    let alone = ALONE.map(|n| [n]);
    let mut awkward: Vec<&[usize]> = alone.iter().map(|own| &own[..]).collect();
    // Where nothing but the keys is long there is one result, and so one sequence.
    if example.lengths[0].1.len() > 1 {
        awkward.push(&PACKED);
    }
    // What is neither queries nor keys has as many values as ever, in each sequence.
    let others = |axis: &(&'static str, &'static [usize])| vec![axis.1[0]; PACKED.len()];
    let others: Vec<Vec<usize>> = example.lengths.iter().map(others).collect();
    let shapes: Vec<Vec<(&str, &[usize])>> = awkward
        .iter()
        .map(|own| {
            let all = example.lengths.iter().zip(&others);
            all.map(|((axis, _), others)| (*axis, if ["t", "s"].contains(axis) { own } else { &others[..own.len()] }))
                .collect()
        })
        .collect();
    let shapes: Vec<Lengths<'_>> = shapes.iter().map(|shape| &shape[..]).collect();
    check_text(example, &example_text(example), &shapes);
}

/// The same with another text than that of the file, and other awkward lengths.
pub fn check_text(example: &Example, text: &str, awkward: &[Lengths<'_>]) {
    check_on(example, text, Target::X86_64, DType::F32, &[]);
    for target in [Target::Sm80, Target::Sm90a] {
        check_on(example, text, target, DType::Bf16, awkward);
    }
}

/// Runs an example's own lengths on all targets, with integers that no caller should give: the interpreter finds whatever is read
/// or written where it should not be. Results are of no interest, only that there are any.
pub fn survives(example: &Example) {
    let text = example_text(example);
    for target in [Target::X86_64, Target::Sm80, Target::Sm90a] {
        let program = compiled(example, &text, DType::Bf16);
        let lowered = lower(&program, target, &Options::default()).unwrap_or_else(|error| panic!("{target}: {error}"));
        let arrays = arguments(&program, example, example.lengths);
        for variant in &lowered.variants {
            match nvptx::Target::of(target).map(|gpu| Compiled::new(&variant.plan, gpu)) {
                None => drop(on_host(&variant.plan, example.lengths, &arrays)),
                Some(compiled) => {
                    let owned = signed(example.lengths);
                    let lengths: Vec<(&str, &[i64])> = owned.iter().map(|(axis, l)| (*axis, l.as_slice())).collect();
                    drop(compiled.run(&lengths, &arrays, &SEEDS[..1]));
                }
            }
        }
    }
}

/// The example's file.
pub fn example_text(example: &Example) -> String {
    let path = format!("{}/../examples/{}.nsa", env!("CARGO_MANIFEST_DIR"), example.name);
    std::fs::read_to_string(&path).expect("the example")
}

fn compiled(example: &Example, text: &str, element: DType) -> Program {
    let usual = [("g", 2), ("r", 2), ("d", 32), ("e", 16)];
    let has = |name: &str| text.contains(&format!("const {name} ="));
    let sizes = usual
        .iter()
        .filter(|(name, _)| has(name))
        .chain(example.sizes)
        .fold(Settings::default(), |s, &(name, n)| s.set(name, n));
    let program = compile_source(example.name, text, &sizes.element(element)).unwrap_or_else(|e| panic!("{e}"));
    // All of them are meant as they are.
    assert_eq!(program.warnings(), None);
    program
}

fn check_on(example: &Example, text: &str, target: Target, element: DType, awkward: &[Lengths<'_>]) {
    let program = compiled(example, text, element);
    let tolerance = if element == DType::F32 { 2e-5 } else { 8e-3 };
    let lowered = lower(&program, target, &Options::default()).unwrap_or_else(|error| panic!("{target}: {error}"));
    for variant in &lowered.variants {
        let compiled = nvptx::Target::of(target).map(|gpu| Compiled::new(&variant.plan, gpu));
        // An example's own lengths are for every variant, whether it would be taken for them or not.
        let shapes = std::iter::once(example.lengths).chain(awkward.iter().copied());
        for (number, lengths) in shapes.enumerate() {
            let owned: Vec<(&str, Vec<i64>)> = signed(lengths);
            let signed: Vec<(&str, &[i64])> = owned.iter().map(|(axis, l)| (*axis, l.as_slice())).collect();
            if number > 0 && !fits(&variant.when, &signed) {
                continue;
            }
            let seeds = if number == 0 { SEEDS.to_vec() } else { other_seeds(number, target) };
            let arrays = arguments(&program, example, lengths);
            let results = match &compiled {
                None => on_host(&variant.plan, lengths, &arrays),
                Some(compiled) => vec![compiled.run(&signed, &arrays, &seeds)],
            };
            let what = format!("{}, {target}, {}, {lengths:?}", example.name, variant.label);
            for found in results {
                judge(&program, &variant.plan, inputs(&program, lengths, &arrays), &found, tolerance, &what);
            }
        }
    }
}

/// Lengths as the interpreter takes them.
fn signed<'a>(lengths: Lengths<'a>) -> Vec<(&'a str, Vec<i64>)> {
    lengths.iter().map(|(axis, l)| (*axis, l.iter().map(|&n| n as i64).collect())).collect()
}

/// Arguments as the reference takes them.
fn inputs(program: &Program, lengths: Lengths<'_>, arrays: &Arrays) -> Inputs {
    let mut inputs = Inputs::new();
    for (_, tensor) in program.params() {
        let values = arrays[&tensor.name].clone();
        inputs = match tensor.dtype {
            Some(DType::I32) => inputs.integers(&tensor.name, values.iter().map(|x| *x as i64).collect()),
            _ => inputs.real(&tensor.name, values),
        };
    }
    for (axis, own) in lengths {
        inputs = inputs.cumulative(*axis, (0..=own.len()).map(|n| own[..n].iter().sum()).collect());
    }
    inputs
}

/// Arguments, rounded as buffers hold them.
fn arguments(program: &Program, example: &Example, lengths: Lengths<'_>) -> Arrays {
    let mut random = device::Random(23);
    let mut arrays = Arrays::new();
    let sequences = lengths[0].1.len();
    for (_, tensor) in program.params() {
        let dtype = nsa_codegen::plan::dtype(tensor.dtype.unwrap_or(program.element));
        let extent =
            |name: &str, sequence: usize| lengths.iter().find(|(axis, _)| *axis == name).expect("a length").1[sequence];
        let size = |sequence: usize| -> usize {
            let axes = tensor.axes.iter().map(|&axis| match &program.axis(axis).extent {
                Extent::Const(n) => *n as usize,
                _ => extent(&program.axis(axis).name, sequence),
            });
            axes.product()
        };
        let packed = tensor.axes.iter().any(|&axis| program.axis(axis).extent == Extent::Runtime);
        let count = if packed { (0..sequences).map(size).sum() } else { size(0) };
        let values = match tensor.dtype {
            Some(DType::I32) => (0..count).map(|at| (example.integers)(&tensor.name, at) as f64).collect(),
            // Weights of linear maps and slopes stay small.
            _ if tensor.name.starts_with('w') || ["a", "b", "slope"].contains(&tensor.name.as_str()) => {
                random.values(dtype, count).into_iter().map(|x| device::rounded(dtype, x / 16.0)).collect()
            }
            _ => random.values(dtype, count),
        };
        arrays.insert(tensor.name.clone(), values);
    }
    arrays
}

/// All buffers that kernels wrote, once per instruction set.
fn on_host(plan: &Plan, lengths: Lengths<'_>, arrays: &Arrays) -> Vec<Arrays> {
    let mut machine = Machine::new(plan, lengths);
    for buffer in plan.buffers.iter().filter(|buffer| buffer.role == Role::Argument) {
        // The run-time axis of every argument is its first: the packed order is the reference's.
        let mut values = arrays[buffer.name.name()].iter();
        machine.fill(buffer.name.name(), |_| *values.next().expect("as many values as elements"));
    }
    let of_isa = |isa| {
        machine.run(isa);
        let written = plan.buffers.iter().filter(|buffer| buffer.role != Role::Argument);
        let stored = written.filter(|buffer| runtime_axes(plan, buffer) <= 1);
        stored.map(|buffer| (buffer.name.name().to_string(), machine.array(buffer.name.name()).data)).collect()
    };
    isas().into_iter().map(of_isa).collect()
}

/// Buffers with several are padded, and lie otherwise than the reference's arrays.
fn runtime_axes(plan: &Plan, buffer: &nsa_codegen::plan::Buffer) -> usize {
    buffer.axes.iter().filter(|axis| plan.constant(**axis).is_none()).count()
}
