//! Whole programs: compiled, executed by the interpreter, compared with the f64 reference.

use super::device::{Arrays, Compiled, Random, rounded};
use super::judged::{fits, judge};
use nsa_artifact::Target;
use nsa_codegen::emit::nvptx;
use nsa_codegen::{Options, Variant, lower};
use nsa_dsl::program::{DType, Extent, Program};
use nsa_dsl::{Inputs, Settings, compile_source};

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

pub const GPU_TARGETS: [Target; 2] = [Target::Sm80, Target::Sm90a];

pub fn gpu(target: Target) -> nvptx::Target {
    nvptx::Target::of(target).expect("a GPU")
}

/// Seeds of the interpreter's scheduler: each result must come out of each order of the warps.
const SEEDS: [u64; 3] = [1, 2, 3];

/// A batch: lengths of all run-time axes, per sequence.
type Sizes<'a> = &'a [(&'a str, &'a [i64])];

/// Runs all variants of a program on both targets, under three seeds, and compares every result with the reference.
fn check(source: &str, settings: Settings, batches: &[Sizes<'_>]) {
    check_with(source, settings, batches, |program, lengths| arguments(program, lengths, 11));
}

/// The same with other arguments.
fn check_with(
    source: &str,
    settings: Settings,
    batches: &[Sizes<'_>],
    arguments: impl Fn(&Program, Sizes<'_>) -> Arrays,
) {
    let program = compile_source("test.nsa", source, &settings).unwrap_or_else(|e| panic!("{e}"));
    for target in GPU_TARGETS {
        let lowered = lower(&program, target, &Options::default()).expect("plans");
        check_variants(&program, target, &lowered.variants, batches, &arguments);
    }
}

/// The same for plans of one target.
fn check_variants(
    program: &Program,
    target: Target,
    variants: &[Variant],
    batches: &[Sizes<'_>],
    arguments: &impl Fn(&Program, Sizes<'_>) -> Arrays,
) {
    for variant in variants {
        let mut compiled = None;
        for lengths in batches.iter().filter(|lengths| fits(&variant.when, lengths)) {
            let compiled = compiled.get_or_insert_with(|| Compiled::new(&variant.plan, gpu(target)));
            let arrays = arguments(program, lengths);
            let found = compiled.run(lengths, &arrays, &SEEDS);
            let mut inputs = Inputs::new();
            for (name, values) in arrays {
                inputs = inputs.real(name, values);
            }
            for (axis, own) in *lengths {
                inputs = inputs.cumulative(*axis, cumulative(own));
            }
            let limit = if program.element == DType::F32 { 1e-4 } else { 5e-3 };
            judge(program, &variant.plan, inputs, &found, limit, &format!("{target}, {}, {lengths:?}", variant.label));
        }
    }
}

/// Where sequences of these lengths begin, and where the last ends.
fn cumulative(lengths: &[i64]) -> Vec<usize> {
    let starts = lengths.iter().scan(0, |at, length| {
        *at += *length as usize;
        Some(*at)
    });
    std::iter::once(0).chain(starts).collect()
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

/// Packed sequences, one of them empty, and queries at the end of more keys. (Every example at every awkward length is in the tests
/// of relatives.)
const BATCHES: [Sizes<'static>; 2] =
    [&[("t", &[0, 15, 205]), ("s", &[0, 15, 205])], &[("t", &[1, 9]), ("s", &[150, 20])]];

#[test]
fn full_attention() {
    check(&example("full_attention"), small(4).set("g", 1), &BATCHES);
    check(&example("full_attention"), small(4), &[&[("t", &[30, 0, 3]), ("s", &[30, 0, 3])]]);
}

#[test]
fn window() {
    check(&example("window"), small(4).set("g", 1).set("WINDOW", 24), &BATCHES);
    check(&example("window"), Settings::default(), &tokens!(17));
}

#[test]
fn nsa() {
    check(&example("nsa"), small_nsa(2).set("g", 1), &BATCHES);
}

#[test]
fn nsa_with_mlp_compression() {
    check(&example("nsa_mlp"), mlp_nsa(2).set("g", 1), &BATCHES);
}

#[test]
fn nsa_with_several_groups_and_sequences() {
    check(&example("nsa"), small_nsa(4), &[&[("t", &[40, 0, 5]), ("s", &[40, 0, 5])]]);
}

/// Query heads that share a head of keys and values.
#[test]
fn groups_of_every_size() {
    for group in [1, 2, 3, 4, 5, 8, 16, 32] {
        check(&example("nsa"), small_nsa(group).set("g", 1), &tokens!(40));
    }
}

#[test]
fn widths() {
    for (d, e) in [(64, 64), (96, 96), (128, 128), (192, 128), (128, 64), (256, 256)] {
        let wide = |settings: Settings| settings.set("g", 1).set("d", d).set("e", e);
        check(&example("nsa"), wide(small_nsa(3)), &tokens!(40));
        check(&example("full_attention"), wide(small(3)), &tokens!(70));
    }
}

#[test]
fn other_types() {
    for element in [DType::F32, DType::F16] {
        check(&example("nsa"), small_nsa(4).set("g", 1).element(element), &tokens!(40));
        check(&example("nsa_mlp"), mlp_nsa(4).set("g", 1).element(element), &tokens!(40));
    }
}

/// Few queries fill a GPU only where the folds over keys are cut into chunks: without the law `split` the variant for them
/// has other kernels, or is none, and the numbers are the same.
#[test]
fn chunks_come_from_a_law() {
    let program =
        compile_source("test.nsa", &example("nsa"), &small_nsa(2).set("g", 1)).unwrap_or_else(|e| panic!("{e}"));
    for target in GPU_TARGETS {
        let plans = |without: &[&str]| {
            let without = without.iter().map(ToString::to_string).collect();
            let lowered = lower(&program, target, &Options { without, ..Default::default() }).expect("plans");
            let sizes: &[Sizes<'_>] = &[&[("t", &[2]), ("s", &[150])]];
            let first = lowered.variants.iter().position(|variant| fits(&variant.when, sizes[0])).expect("one for all");
            let taken = &lowered.variants[first..=first];
            check_variants(&program, target, taken, sizes, &|program, lengths| arguments(program, lengths, 11));
            taken[0].plan.to_string()
        };
        let (with, without) = (plans(&[]), plans(&["split"]));
        assert!(with.contains("axis chunk"), "{with}");
        assert!(!without.contains("axis chunk"), "{without}");
        insta::with_settings!({ snapshot_path => "../../../snapshots/laws", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("nsa-{target}-without-split"), without);
        });
    }
}

/// The branches of NSA, one and two at a time: the terms of the sum that stand for the others are left out.
#[test]
fn one_and_two_branches() {
    let source = example("nsa");
    let branches = ["gate[0] * oc", "gate[1] * os", "gate[2] * ow"];
    let sum = branches.join(" + ");
    assert!(source.contains(&sum), "the sum of the branches is not where it was");
    for kept in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]] {
        let part: Vec<&str> = kept.iter().map(|&branch: &usize| branches[branch]).collect();
        check(&source.replace(&sum, &part.join(" + ")), small_nsa(4).set("g", 1), &tokens!(70));
    }
}

/// Scores of about 1e4: softmax is one key's, and exponents of all others are far below the smallest number.
#[test]
fn large_scores() {
    let large = |program: &Program, lengths: Sizes<'_>| {
        let mut arrays = arguments(program, lengths, 5);
        for name in ["q", "k"] {
            let values = arrays.get_mut(name).expect("an argument");
            values.iter_mut().for_each(|x| *x = 75.0 * x.signum());
        }
        arrays
    };
    check_with(&example("full_attention"), small(4).set("g", 1), &tokens!(65), large);
    check_with(&example("nsa"), small_nsa(4).set("g", 1), &tokens!(65), large);
}

/// Equal scores: all keys weigh the same, and lists are chosen by position alone.
#[test]
fn ties() {
    let equal = |program: &Program, lengths: Sizes<'_>| {
        let mut arrays = arguments(program, lengths, 5);
        arrays.get_mut("k").expect("an argument").fill(0.5);
        arrays
    };
    check_with(&example("full_attention"), small(4).set("g", 1), &tokens!(65), equal);
    check_with(&example("nsa"), small_nsa(4).set("g", 1), &tokens!(65), equal);
}

/// No key to see for whole sequences, and for the first rows of a window that begins later.
#[test]
fn rows_that_see_nothing() {
    let lengths: Sizes<'_> = &[("t", &[5, 33]), ("s", &[0, 7])];
    check(&example("cross_attention"), small(2), &[lengths]);
    let source = "kernel late(q[t, r = 4, d = 32], k[s, d], v[s, e = 32]) -> (o[t, r, e], lse: f32[t, r]) {
        attend(q, k, v, causal(s, pos(t)) && s >= 40)
    }";
    check(source, Settings::default(), &tokens!(33, 65));
}

/// Lists in registers and in shared memory, of one head and of several; attention to keys gathered one by one.
#[test]
fn attention_to_the_best_keys() {
    let source = "const N = 20;\nconst h = 1;\n\
        kernel best_keys(q[t, h, d = 32], k[s, d], v[s, e = 16], x: f32[t, h, s]) -> o[t, h, e] {\n\
            let best = top[s](x, N, among = s <= pos(t) || s % 7 == 0);\n\
            attend(q, k, v, s in best)\n\
        }";
    for (n, h, keys) in [(20, 1, 530), (512, 2, 530), (2048, 1, 2100)] {
        let settings = Settings::default().set("N", n).set("h", h);
        check(source, settings, &[&[("t", &[2, 0, 3]), ("s", &[keys, 0, 40])]]);
    }
}
