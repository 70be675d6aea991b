//! Programs that nobody wrote: random ones over the grammar, host kernels against the f64 reference.
//!
//! `NSA_RANDOM_PROGRAMS=1000 cargo test -p nsa-codegen --test random` tries more of them than the default.

#[allow(dead_code)]
#[path = "../host/driver.rs"]
mod driver;

mod generate;

use driver::{Machine, Random, isas};
use nsa_artifact::Target;
use nsa_codegen::plan::Role;
use nsa_codegen::{Options, lower};
use nsa_dsl::program::{DType, Extent, Program};
use nsa_dsl::{Inputs, Settings, compile_source, evaluate};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::time::{Duration, Instant};

/// Lengths of queries and keys, per sequence.
const LENGTHS: [(&str, &[usize]); 2] = [("t", &[5, 0, 9]), ("s", &[5, 0, 21])];

/// New programs are begun for so long. What is not tried in that time on a slow machine is tried on a faster one.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn host_kernels_agree_with_the_reference() {
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

/// Compiles a program and compares what its kernels compute.
fn check(text: &str) -> Result<(), TestCaseError> {
    let fail = |what: String| TestCaseError::fail(format!("{what}\nof\n{text}"));
    let settings = Settings::default().element(DType::F32);
    let program = compile_source("random.nsa", text, &settings).map_err(|errors| fail(format!("{errors}")))?;
    let options = Options { targets: vec![Target::X86_64], ..Options::default() };
    let lowered = lower(&program, Target::X86_64, &options).map_err(|error| fail(error.to_string()))?;
    for variant in &lowered.variants {
        let mut machine = Machine::new(&variant.plan, &LENGTHS);
        let mut inputs = Inputs::new();
        for (axis, lengths) in LENGTHS {
            inputs = inputs.cumulative(axis, (0..=lengths.len()).map(|n| lengths[..n].iter().sum()).collect());
        }
        let mut random = Random(77);
        for (_, param) in program.params() {
            let count = size(&program, &param.axes);
            let values: Vec<f64> = match param.dtype {
                // -1 is a list's padding; one id is no block.
                Some(DType::I32) => (0..count).map(|i| [2.0, -1.0, 0.0, 7.0, 1.0][i * 3 % 5]).collect(),
                _ => (0..count).map(|_| f64::from(random.next() as f32)).collect(),
            };
            if variant.plan.buffers.iter().any(|buffer| buffer.name.name() == param.name) {
                let mut next = values.iter();
                machine.fill(&param.name, |_| *next.next().expect("as many values as elements"));
            }
            inputs = match param.dtype {
                Some(DType::I32) => inputs.integers(&param.name, values.iter().map(|x| *x as i64).collect()),
                _ => inputs.real(&param.name, values),
            };
        }
        let expected = evaluate(&program, &inputs).map_err(|error| fail(error.to_string()))?;
        for isa in isas() {
            machine.run(isa);
            for buffer in variant.plan.buffers.iter().filter(|buffer| buffer.role == Role::Result) {
                let name = buffer.name.name();
                let reference = expected.get(name).expect("a result").real();
                for (at, (x, y)) in machine.array(name).data.iter().zip(reference).enumerate() {
                    let close = x == y || (x - y).abs() <= 1e-4 * (1.0 + y.abs());
                    if !close {
                        return Err(fail(format!("{isa:?}: {name}[{at}] is {x}, not {y}\n{}", variant.plan)));
                    }
                }
            }
        }
    }
    Ok(())
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
