//! One example on one target: arguments, the run, the comparison.

use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_codegen::plan::{Plan, Role};
use nsa_codegen::{Options, lower};
use nsa_dsl::program::{DType, Expr, ExprId, Extent, Program, Source, TensorId};
use nsa_dsl::{Array, Evaluation, Inputs, Settings, compile_source};
use nsa_test_machines::device::{self, Arrays};
use nsa_test_machines::driver::{Machine, isas};
use std::collections::HashMap;

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

/// Runs an example on all targets and compares every result.
pub fn check(example: &Example) {
    let path = format!("{}/../examples/{}.nsa", env!("CARGO_MANIFEST_DIR"), example.name);
    check_text(example, &std::fs::read_to_string(&path).expect("the example"));
}

/// The same with another text than that of the file.
pub fn check_text(example: &Example, text: &str) {
    for (target, element) in [(Target::X86_64, DType::F32), (Target::Sm80, DType::Bf16), (Target::Sm90a, DType::Bf16)] {
        check_on(example, text, target, element);
    }
}

fn check_on(example: &Example, text: &str, target: Target, element: DType) {
    let usual = [("g", 2), ("r", 2), ("d", 32), ("e", 16)];
    let has = |name: &str| text.contains(&format!("const {name} ="));
    let sizes = usual
        .iter()
        .filter(|(name, _)| has(name))
        .chain(example.sizes)
        .fold(Settings::default(), |s, &(name, n)| s.set(name, n));
    let program = compile_source(example.name, text, &sizes.element(element)).unwrap_or_else(|e| panic!("{e}"));
    let arrays = arguments(&program, example);
    let mut inputs = Inputs::new();
    for (_, tensor) in program.params() {
        let values = arrays[&tensor.name].clone();
        inputs = match tensor.dtype {
            Some(DType::I32) => inputs.integers(&tensor.name, values.iter().map(|&x| x as i64).collect()),
            _ => inputs.real(&tensor.name, values),
        };
    }
    for (axis, lengths) in example.lengths {
        inputs = inputs.cumulative(*axis, (0..=lengths.len()).map(|n| lengths[..n].iter().sum()).collect());
    }
    let reference = Evaluation::new(&program, &inputs).expect("the arguments fit");
    let lowered = lower(&program, target, &Options::default()).unwrap_or_else(|error| panic!("{target}: {error}"));
    for variant in &lowered.variants {
        let what = format!("{}, {target}, {}", example.name, variant.label);
        let tolerance = if element == DType::F32 { 2e-5 } else { 8e-3 };
        for found in run(&variant.plan, target, example, &arrays) {
            compare(&program, &reference, &found, tolerance, &what, &variant.plan);
        }
    }
}

/// The reference's tensor and the elements that one value of each of its axes makes, by the names of the axes.
fn of(reference: &Evaluation<'_>, name: &str) -> Array {
    reference.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Arguments, rounded as buffers hold them.
fn arguments(program: &Program, example: &Example) -> Arrays {
    let mut random = device::Random(23);
    let mut arrays = Arrays::new();
    let sequences = example.lengths[0].1.len();
    for (_, tensor) in program.params() {
        let dtype = nsa_codegen::plan::dtype(tensor.dtype.unwrap_or(program.element));
        let extent = |name: &str, sequence: usize| {
            example.lengths.iter().find(|(axis, _)| *axis == name).expect("a length").1[sequence]
        };
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

/// All buffers that kernels wrote, once per way to run them.
fn run(plan: &Plan, target: Target, example: &Example, arrays: &Arrays) -> Vec<Arrays> {
    if target != Target::X86_64 {
        let lengths: Vec<(&str, Vec<i64>)> =
            example.lengths.iter().map(|(axis, l)| (*axis, l.iter().map(|&n| n as i64).collect())).collect();
        let lengths: Vec<(&str, &[i64])> = lengths.iter().map(|(axis, l)| (*axis, l.as_slice())).collect();
        let gpu = if target == Target::Sm90a { nvptx::Target::Sm90a } else { nvptx::Target::Sm80 };
        return vec![device::run(plan, gpu, &lengths, arrays, 1)];
    }
    let mut machine = Machine::new(plan, example.lengths);
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

/// Compares all results. Where a list was chosen differently, because rounded scores order near ties the other way, the
/// scores must be near ties indeed, such rows few, and what is computed from them is left out.
fn compare(program: &Program, reference: &Evaluation<'_>, found: &Arrays, tolerance: f64, what: &str, plan: &Plan) {
    let mut left_out: HashMap<TensorId, Vec<bool>> = HashMap::new();
    for (number, tensor) in program.tensors.iter().enumerate() {
        let (Source::Top(top), Some(lists)) = (&tensor.source, found.get(&tensor.name)) else { continue };
        let expected = of(reference, &tensor.name);
        let count = top.count as usize;
        let rows = lists.chunks(count).zip(expected.integers().chunks(count));
        let differs: Vec<bool> = rows.map(|(a, b)| a.iter().zip(b).any(|(a, b)| *a as i64 != *b)).collect();
        let share = differs.iter().filter(|d| **d).count() as f64 / differs.len().max(1) as f64;
        // Kernels in f32 have the reference's order but for scores that are equal to seven digits.
        let most = if tolerance < 1e-4 { 0.01 } else { 0.12 };
        assert!(share <= most, "{what}: {share} of the lists of {} differ\n{plan}", tensor.name);
        left_out.insert(TensorId(number as u32), differs);
    }
    for &result in &program.results {
        let name = &program.tensor(result).name;
        let expected = of(reference, name);
        let theirs: Vec<f64> = match expected.integers() {
            [] => expected.real().to_vec(),
            integers => integers.iter().map(|&x| x as f64).collect(),
        };
        let mine = &found[name];
        assert_eq!(mine.len(), theirs.len(), "{what}: {name}");
        let skip = affected(program, reference, result, &left_out, theirs.len());
        let kept = |values: &[f64]| {
            values.iter().zip(&skip).filter(|(_, skip)| !**skip).map(|(x, _)| *x).collect::<Vec<f64>>()
        };
        let (mine, theirs) = (kept(mine), kept(&theirs));
        assert!(theirs.len() * 2 > skip.len() || skip.is_empty(), "{what}: most of {name} is left out");
        let error = device::error(&mine, &theirs);
        assert!(error < tolerance, "{what}: {name} is {error} off\n{plan}");
    }
}

/// Elements of a tensor that depend on a list that was chosen differently.
fn affected(
    program: &Program,
    reference: &Evaluation<'_>,
    result: TensorId,
    left_out: &HashMap<TensorId, Vec<bool>>,
    size: usize,
) -> Vec<bool> {
    let mut skip = vec![false; size];
    let expected = of(reference, &program.tensor(result).name);
    for (&list, differs) in left_out {
        if !reads(program, result, list) {
            continue;
        }
        let lists = of(reference, &program.tensor(list).name);
        let (mut at, mut first) = (0, 0);
        for (shape, list_shape) in expected.shapes.iter().zip(&lists.shapes) {
            let free = &list_shape[..list_shape.len() - 1];
            for flat in 0..shape.iter().product::<usize>() {
                let (mut rest, mut index) = (flat, HashMap::new());
                for (axis, n) in expected.axes.iter().zip(shape).rev() {
                    index.insert(axis.as_str(), rest % n);
                    rest /= n;
                }
                // A list whose axes the result lacks was folded over: any difference counts.
                let own =
                    lists.axes.iter().zip(free).try_fold(0, |row, (axis, n)| Some(row * n + index.get(axis.as_str())?));
                let rows = free.iter().product::<usize>();
                skip[at] |= match own {
                    Some(row) => differs[first + row],
                    None => differs[first..first + rows].contains(&true),
                };
                at += 1;
            }
            first += free.iter().product::<usize>();
        }
    }
    skip
}

/// Whether a definition is computed from another tensor, directly or not.
fn reads(program: &Program, tensor: TensorId, wanted: TensorId) -> bool {
    let mut pending: Vec<ExprId> = match &program.tensor(tensor).source {
        Source::Param => vec![],
        Source::Value(root) => vec![*root],
        Source::Top(top) => [Some(top.score), top.force, top.among].into_iter().flatten().collect(),
    };
    while let Some(id) = pending.pop() {
        let expr = program.expr(id);
        if let Expr::Load(other, _) | Expr::Member(_, other, _) = expr
            && (*other == wanted || reads(program, *other, wanted))
        {
            return true;
        }
        expr.children(|child| pending.push(child));
    }
    false
}
