//! Whole programs: compiled, executed by the interpreter, compared with the f64 reference.

use super::device::{Arrays, Random, error, rounded, run};
use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_codegen::plan::Role;
use nsa_codegen::{Options, lower};
use nsa_dsl::program::{DType, Extent, Program};
use nsa_dsl::{Evaluation, Inputs, Settings, compile_source, evaluate};

/// Arguments of a program over packed sequences, rounded as buffers hold them.
pub fn arguments(program: &Program, lengths: &[(&str, &[i64])], seed: u64) -> Arrays {
    let mut random = Random(seed);
    let mut arrays = Arrays::new();
    for (_, tensor) in program.params() {
        let dtype = nsa_codegen::plan::dtype(tensor.dtype.unwrap_or(program.element));
        let packed = tensor.axes.iter().any(|axis| !matches!(program.axis(*axis).extent, Extent::Const(_)));
        let sequences = if packed { lengths.first().map_or(1, |(_, l)| l.len()) } else { 1 };
        let mut count = 0;
        for sequence in 0..sequences {
            count += tensor
                .axes
                .iter()
                .map(|axis| match program.axis(*axis).extent {
                    Extent::Const(n) => n as usize,
                    _ => {
                        let name = &program.axis(*axis).name;
                        lengths.iter().find(|(n, _)| n == name).expect("a length").1[sequence] as usize
                    }
                })
                .product::<usize>();
        }
        let mut values = random.values(dtype, count);
        if tensor.name.starts_with('w') {
            // Weights of linear maps keep their inputs' magnitude.
            let inputs = tensor.axes[..tensor.axes.len() - 1].iter().map(|axis| match program.axis(*axis).extent {
                Extent::Const(n) => n as f64,
                _ => 1.0,
            });
            let scale = inputs.product::<f64>().sqrt();
            values.iter_mut().for_each(|x| *x = rounded(dtype, *x / scale));
        }
        arrays.insert(tensor.name.clone(), values);
    }
    arrays
}

/// Rows `(t, g)` whose list of blocks is not the reference's. Rounded scores may order near ties the other way: the
/// chosen mass must then be the same to 1e-3, and such rows must be few.
fn rows_with_other_blocks(evaluation: &Evaluation<'_>, found: &Arrays) -> Vec<bool> {
    let Some(lists) = found.get("chosen") else { return vec![] };
    let expected = evaluation.tensor("chosen").expect("the reference's lists");
    let mass = evaluation.tensor("mass").expect("the reference's scores");
    let count = *expected.shapes[0].last().expect("a list axis");
    let mut differs = vec![];
    let mut scores = mass.real();
    let mut rows = lists.chunks(count).zip(expected.integers().chunks(count));
    for shape in &mass.shapes {
        let width = shape[2];
        for _ in 0..shape[0] * shape[1] {
            let (mine, theirs) = rows.next().expect("a list per row");
            let (row, rest) = scores.split_at(width);
            scores = rest;
            let mine: Vec<i64> = mine.iter().map(|x| *x as i64).collect();
            let sum = |list: &[i64]| list.iter().filter(|b| **b >= 0).map(|b| row[*b as usize]).sum::<f64>();
            assert!((sum(&mine) - sum(theirs)).abs() <= 1e-3 * sum(theirs).abs(), "{mine:?} for {theirs:?} of {row:?}");
            differs.push(mine != theirs);
        }
    }
    let share = differs.iter().filter(|d| **d).count() as f64 / differs.len() as f64;
    assert!(share < 0.05, "{share} of the rows have other blocks");
    differs
}

pub const GPU_TARGETS: [Target; 2] = [Target::Sm80, Target::Sm90a];

pub fn gpu(target: Target) -> nvptx::Target {
    if target == Target::Sm90a { nvptx::Target::Sm90a } else { nvptx::Target::Sm80 }
}

/// Seeds of the interpreter's scheduler: each result must come out of each order of the warps.
const SEEDS: [u64; 3] = [1, 2, 3];

/// A batch: lengths of all run-time axes, per sequence.
type Sizes<'a> = &'a [(&'a str, &'a [i64])];

/// Runs all variants of a program on both targets, under three seeds, and compares every result with the reference.
fn check(source: &str, settings: Settings, batches: &[Sizes<'_>]) {
    let program = compile_source("test.nsa", source, &settings).unwrap_or_else(|e| panic!("{e}"));
    let lowered = GPU_TARGETS.map(|target| lower(&program, target, &Options::default()).expect("plans"));
    for lengths in batches {
        let arrays = arguments(&program, lengths, 11);
        let mut inputs = Inputs::new();
        for (name, values) in &arrays {
            inputs = inputs.real(name, values.clone());
        }
        for (axis, own) in *lengths {
            let mut cumulative = vec![0];
            for length in *own {
                cumulative.push(cumulative[cumulative.len() - 1] + *length as usize);
            }
            inputs = inputs.cumulative(*axis, cumulative);
        }
        let expected = evaluate(&program, &inputs).expect("the reference");
        let evaluation = Evaluation::new(&program, &inputs).expect("the reference");
        for (target, lowered) in GPU_TARGETS.iter().zip(&lowered) {
            // A variant is never launched for sizes that it is not for.
            let fits = |bound: &nsa_artifact::Bound| {
                let total =
                    lengths.iter().find(|(axis, _)| *axis == bound.axis).map_or(0, |(_, own)| own.iter().sum::<i64>());
                bound.at_most.is_none_or(|most| total <= most)
            };
            for variant in lowered.variants.iter().filter(|v| v.when.iter().all(fits)) {
                for seed in SEEDS {
                    let found = run(&variant.plan, gpu(*target), lengths, &arrays, seed);
                    let skipped = rows_with_other_blocks(&evaluation, &found);
                    for buffer in variant.plan.buffers.iter().filter(|b| b.role == Role::Result) {
                        let name = buffer.name.name();
                        let reference = expected.get(name).expect("a result").real();
                        let limit = if program.element == DType::F32 { 1e-4 } else { 5e-3 };
                        let (mut mine, mut theirs) = (vec![], vec![]);
                        let per_row = if skipped.is_empty() { 1 } else { reference.len() / skipped.len() };
                        for (at, (x, y)) in found[name].iter().zip(reference).enumerate() {
                            if !skipped.get(at / per_row).is_some_and(|s| *s) {
                                mine.push(*x);
                                theirs.push(*y);
                            }
                        }
                        let error = error(&mine, &theirs);
                        assert!(
                            error < limit,
                            "{name} of {} on {target}, {lengths:?}: error {error}\n{}",
                            variant.label,
                            variant.plan
                        );
                    }
                }
            }
        }
    }
}

pub fn example(name: &str) -> String {
    let path = format!("{}/../examples/{name}.nsa", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("an example")
}

/// Sizes that an interpreter can do: still several tiles, blocks and warps.
pub fn small(group: i64) -> Settings {
    Settings::default().set("g", 2).set("r", group).set("d", 32).set("e", 16)
}
pub fn small_nsa(group: i64) -> Settings {
    small(group).set("L", 8).set("STRIDE", 4).set("BLOCK", 16).set("N", 4).set("WINDOW", 24)
}
pub fn mlp_nsa(group: i64) -> Settings {
    small(group).set("j", 8).set("STRIDE", 4).set("BLOCK", 16).set("N", 4).set("WINDOW", 24).set("u", 32)
}

/// One sequence of so many tokens, queries and keys alike.
macro_rules! tokens {
    ($($n:expr),*) => { [$(&[("t", &[$n as i64][..]), ("s", &[$n as i64][..])][..]),*] };
}

#[test]
fn full_attention() {
    let settings = || small(4).set("g", 1);
    check(&example("full_attention"), settings(), &tokens!(1, 2, 15, 31, 32, 33, 63, 64, 65, 127));
    check(&example("full_attention"), small(4), &[&[("t", &[30, 0, 3]), ("s", &[30, 0, 3])]]);
    check(&example("full_attention"), settings(), &[&[("t", &[1, 9]), ("s", &[150, 20])]]);
}

#[test]
fn window() {
    let settings = || small(4).set("g", 1).set("WINDOW", 24);
    check(&example("window"), settings(), &tokens!(1, 2, 15, 31, 32, 33, 63, 64, 65, 127));
    check(&example("window"), Settings::default(), &tokens!(17));
}

#[test]
fn nsa_in_short_sequences() {
    check(&example("nsa"), small_nsa(4).set("g", 1), &tokens!(1, 2, 15, 31, 32, 33));
}

#[test]
fn nsa_in_longer_sequences() {
    check(&example("nsa"), small_nsa(2).set("g", 1), &tokens!(63, 64, 65, 127));
}

#[test]
fn nsa_in_batches() {
    check(&example("nsa"), small_nsa(4), &[&[("t", &[40, 0, 5]), ("s", &[40, 0, 5])]]);
    check(&example("nsa"), small_nsa(16).set("g", 1), &[&[("t", &[1, 9]), ("s", &[110, 20])]]);
}

#[test]
fn nsa_with_other_groups() {
    for group in [1, 3, 5] {
        check(&example("nsa"), small_nsa(group).set("g", 1), &tokens!(40));
    }
}

#[test]
fn nsa_in_other_types() {
    check(&example("nsa"), small_nsa(4).set("g", 1).element(DType::F32), &tokens!(40));
    check(&example("nsa"), small_nsa(4).set("g", 1).element(DType::F16), &tokens!(40));
}

#[test]
fn nsa_with_mlp_compression() {
    check(&example("nsa_mlp"), mlp_nsa(2).set("g", 1), &tokens!(1, 33, 65));
}

/// Lists in registers and in shared memory, of one head and of several; attention to keys gathered one by one.
#[test]
fn attention_to_the_best_keys() {
    let source = "const N = 20;\nconst h = 1;\n\
        kernel best_keys(q[t, h, d = 32], k[s, d], v[s, e = 16], x: f32[t, h, s]) -> o[t, h, e] {\n\
            let best = top[s](x, N, among = s <= pos(t) || s % 7 == 0);\n\
            attend(q, k, v, s in best)\n\
        }";
    for (n, h) in [(20, 1), (512, 2)] {
        let settings = Settings::default().set("N", n).set("h", h);
        check(source, settings, &[&[("t", &[2, 0, 3]), ("s", &[530, 0, 40])]]);
    }
}
