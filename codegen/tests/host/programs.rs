//! The example programs, all the way from their source, against the reference evaluator.

use super::driver::{Machine, isas, relative_error};
use nsa_codegen::plan::{PlanExtent, Role};
use nsa_dsl::{Inputs, evaluate};
use nsa_dsl::{Settings, compile_source};

/// Lengths of queries and of keys, per sequence: a cached prefix, an empty sequence, one shorter than a block.
const T: [usize; 4] = [37, 0, 9, 70];
const S: [usize; 4] = [130, 0, 9, 70];

fn check(file: &str, settings: Settings, tolerance: f64) {
    check_without(&[], file, settings, tolerance);
}

/// Checks a program that is compiled without some laws, and says its plans.
pub fn check_without(laws: &[&str], file: &str, settings: Settings, tolerance: f64) -> Vec<String> {
    let path = format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the example");
    let mut settings = settings;
    settings.element.get_or_insert(nsa_dsl::program::DType::F32);
    let program = match compile_source(file, &text, &settings) {
        Ok(program) => program,
        Err(diagnostics) => panic!("{diagnostics}"),
    };
    let target = nsa_artifact::Target::X86_64;
    let without = laws.iter().map(ToString::to_string).collect();
    let options = nsa_codegen::Options { targets: vec![target], without, ..Default::default() };
    let lowered = nsa_codegen::lower(&program, target, &options).unwrap_or_else(|e| panic!("without {laws:?}: {e}"));
    for variant in &lowered.variants {
        let plan = &variant.plan;
        let lengths: Vec<(&str, &[usize])> = plan
            .axes
            .iter()
            .filter(|a| a.extent == PlanExtent::Runtime)
            .map(|a| (a.name.name(), if a.name.name() == "t" { &T[..] } else { &S[..] }))
            .collect();
        let mut inputs = Inputs::new();
        for (axis, lengths) in &lengths {
            let sums = (0..=lengths.len()).map(|n| lengths[..n].iter().sum()).collect();
            inputs = inputs.cumulative(*axis, sums);
        }
        let mut machine = Machine::new(plan, &lengths);
        machine.randomise(41);
        for buffer in plan.buffers.iter().filter(|b| b.role == Role::Argument) {
            inputs = inputs.real(buffer.name.name(), machine.array(buffer.name.name()).data);
        }
        let expected = evaluate(&program, &inputs).expect("the reference");
        for isa in isas() {
            machine.run(isa);
            for buffer in plan.buffers.iter().filter(|b| b.role == Role::Result) {
                let computed = machine.array(buffer.name.name());
                let reference = expected.get(buffer.name.name()).expect("the result");
                assert_eq!(computed.data.len(), reference.real().len());
                let error = relative_error(computed.data.iter().copied().zip(reference.real().iter().copied()));
                let place = format!("{isa:?}, {}, without {laws:?}: {}", variant.label, buffer.name);
                assert!(error < tolerance, "{place} is {error} off\n{plan}");
            }
        }
    }
    lowered.variants.iter().map(|variant| variant.plan.to_string()).collect()
}

/// Small widths and blocks, so that short sequences have many of them.
fn small(r: i64) -> Settings {
    Settings::default().set("g", 2).set("r", r).set("d", 32).set("e", 16)
}
pub fn small_nsa(r: i64) -> Settings {
    small(r).set("STRIDE", 4).set("BLOCK", 16).set("N", 4).set("WINDOW", 20)
}

#[test]
fn full_attention() {
    check("full_attention.nsa", small(4), 1e-5);
}

#[test]
fn window() {
    check("window.nsa", small(3).set("WINDOW", 20), 1e-5);
}

#[test]
fn native_sparse_attention() {
    check("nsa.nsa", small_nsa(16).set("L", 8), 1e-5);
    check("nsa.nsa", small_nsa(3).set("L", 8), 1e-5);
    check("nsa.nsa", small_nsa(1).set("L", 8), 1e-5);
}

#[test]
fn native_sparse_attention_with_learned_compression() {
    check("nsa_mlp.nsa", small_nsa(4).set("j", 8).set("u", 16), 1e-4);
}
