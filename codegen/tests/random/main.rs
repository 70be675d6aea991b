//! Programs that nobody wrote: random ones over the grammar, kernels against the f64 reference: on the host, and those of half
//! types also on the GPU targets, in the interpreter.
//!
//! `NSA_RANDOM_PROGRAMS=1000 cargo test -p nsa-codegen --test random` tries more of them than the default.

mod generate;

use generate::Generated;
use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_codegen::plan::{Plan, Role, dtype};
use nsa_codegen::{Options, lower};
use nsa_dsl::program::{DType, Extent, Program};
use nsa_dsl::{Inputs, Settings, compile_source, evaluate};
use nsa_test_machines::device::{Arrays, Compiled, rounded};
use nsa_test_machines::driver::{Machine, Random, isas};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::time::{Duration, Instant};

/// Lengths of queries and keys, per sequence.
const LENGTHS: [(&str, &[usize]); 2] = [("t", &[5, 0, 9]), ("s", &[5, 0, 21])];

/// New programs are begun for so long. What is not tried in that time on a slow machine is tried on a faster one.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn kernels_agree_with_the_reference() {
    let programs = std::env::var("NSA_RANDOM_PROGRAMS").ok().and_then(|n| n.parse().ok());
    let config = Config {
        cases: programs.unwrap_or(150),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    // The same programs every time: a failure is no surprise to whoever changed something else.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let choices = prop::collection::vec(any::<u16>(), 10..90);
    let (start, tried) = (Instant::now(), std::cell::Cell::new(0));
    let result = runner.run(&choices, |choices| {
        if programs.is_none() && start.elapsed() > PATIENCE {
            return Ok(());
        }
        tried.set(tried.get() + 1);
        check(&generate::program(&choices))
    });
    println!("{} programs in {:.1?}", tried.get(), start.elapsed());
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(tried.get() >= 10, "only {} programs were tried", tried.get());
}

/// Compiles a program for the host, and for a GPU if its elements are of a half type, and compares what its kernels compute.
fn check(Generated { text, element }: &Generated) -> Result<(), TestCaseError> {
    let fail = |what: String| TestCaseError::fail(format!("{what}\nof\n{text}"));
    let settings = Settings::default().element(*element);
    let program = compile_source("random.nsa", text, &settings).map_err(|errors| fail(format!("{errors}")))?;
    let mut inputs = Inputs::new();
    for (axis, lengths) in LENGTHS {
        inputs = inputs.cumulative(axis, (0..=lengths.len()).map(|n| lengths[..n].iter().sum()).collect());
    }
    let mut random = Random(77);
    let mut arguments = Arrays::new();
    for (_, param) in program.params() {
        let count = size(&program, &param.axes);
        let held = dtype(param.dtype.unwrap_or(*element));
        let values: Vec<f64> = match param.dtype {
            // -1 is a list's padding; one id is no block.
            Some(DType::I32) => (0..count).map(|i| [2.0, -1.0, 0.0, 7.0, 1.0][i * 3 % 5]).collect(),
            _ => (0..count).map(|_| rounded(held, random.next())).collect(),
        };
        inputs = match param.dtype {
            Some(DType::I32) => inputs.integers(&param.name, values.iter().map(|x| *x as i64).collect()),
            _ => inputs.real(&param.name, values.clone()),
        };
        arguments.insert(param.name.clone(), values);
    }
    let expected = evaluate(&program, &inputs).map_err(|error| fail(error.to_string()))?;
    let halves = *element != DType::F32;
    let targets: &[Target] = if halves { &[Target::X86_64, Target::Sm80, Target::Sm90a] } else { &[Target::X86_64] };
    for &target in targets {
        let lowered = lower(&program, target, &Options::default()).map_err(|error| fail(error.to_string()))?;
        for variant in &lowered.variants {
            for found in run(&variant.plan, target, &arguments) {
                for buffer in variant.plan.buffers.iter().filter(|buffer| buffer.role == Role::Result) {
                    let name = buffer.name.name();
                    let reference = expected.get(name).expect("a result").real();
                    let agree = if halves { nearly(&found[name], reference) } else { close(&found[name], reference) };
                    let wrong = |why| fail(format!("{target}, {}: {name}{why}\n{}", variant.label, variant.plan));
                    agree.map_err(wrong)?;
                }
            }
        }
    }
    Ok(())
}

/// All results, once per way to run a plan on a target.
fn run(plan: &Plan, target: Target, arguments: &Arrays) -> Vec<Arrays> {
    if let Some(gpu) = nvptx::Target::of(target) {
        let lengths = LENGTHS.map(|(axis, lengths)| (axis, lengths.iter().map(|n| *n as i64).collect::<Vec<_>>()));
        let lengths: Vec<(&str, &[i64])> = lengths.iter().map(|(axis, n)| (*axis, n.as_slice())).collect();
        return vec![Compiled::new(plan, gpu).run(&lengths, arguments, &[3])];
    }
    let mut machine = Machine::new(plan, &LENGTHS);
    for buffer in plan.buffers.iter().filter(|buffer| buffer.role == Role::Argument) {
        let mut values = arguments[buffer.name.name()].iter();
        machine.fill(buffer.name.name(), |_| *values.next().expect("as many values as elements"));
    }
    let of_isa = |isa| {
        machine.run(isa);
        let results = plan.buffers.iter().filter(|buffer| buffer.role == Role::Result);
        results.map(|buffer| (buffer.name.name().to_string(), machine.array(buffer.name.name()).data)).collect()
    };
    isas().into_iter().map(of_isa).collect()
}

/// Whether two arrays agree to what f32 can be expected to.
fn close(found: &[f64], expected: &[f64]) -> Result<(), String> {
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let close = x == y || (x - y).abs() <= 1e-4 * (1.0 + y.abs());
        if !close {
            return Err(format!("[{at}] is {x}, not {y}"));
        }
    }
    Ok(())
}

/// Whether two arrays agree on the whole, where factors and results were rounded to eight bits.
fn nearly(found: &[f64], expected: &[f64]) -> Result<(), String> {
    let mean = |sum: f64| (sum / expected.len().max(1) as f64).sqrt();
    let off = mean(found.iter().zip(expected).map(|(x, y)| (x - y) * (x - y)).sum());
    let size = mean(expected.iter().map(|y| y * y).sum());
    if off <= 0.02 * (1.0 + size) { Ok(()) } else { Err(format!(" is {off} off, of {size}")) }
}

/// Elements of an argument over all sequences.
fn size(program: &Program, axes: &[nsa_dsl::program::AxisId]) -> usize {
    let (mut constant, mut total) = (1, 1);
    for &axis in axes {
        match program.axis(axis).extent {
            Extent::Const(n) => constant *= n as usize,
            _ => {
                let name = &program.axis(axis).name;
                total = LENGTHS.iter().find(|(axis, _)| axis == name).expect("a length").1.iter().sum();
            }
        }
    }
    constant * total
}
