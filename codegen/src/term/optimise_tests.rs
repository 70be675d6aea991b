//! Whole programs: what they are optimised to, that every law matters, that the numbers stay.

use super::context::Context;
use super::eval::{Array, Environment, evaluate};
use super::*;
use crate::machine::{self, H200, Machine, MatrixUnit};
use nsa_dsl::{Inputs, Program, Settings, Values, compile_source};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// An H200 whose tensor cores contract any extent, so that heads can be small enough to interpret.
const SMALL_HEADS: Machine = Machine { matrix: MatrixUnit { depth: 1, ..H200.matrix }, ..H200 };

/// A weighted sum whose weights are the overlaps of ranges: nothing says where they are zero.
const OVERLAPS: &str = "kernel overlaps(x[t, i], y[i]) -> m: f32[t, b] {
    let m[t, b < ceil_div(len(i), 2)] = sum[i] x * y * overlap(i * 2, 4, b * 4, 4) / 2;
    m
}";

/// Masks that are alternatives: two ranges apart, and two that are one.
const ALTERNATIVES: &str =
    "kernel alternatives(q[t, d = 2], k[s, d], v[s, e = 2], reach: i32[t]) -> (o[t, e], m: f32[t]) {
    let o = attend(q, k, v, s <= pos(t) && (s < 2 || s + 3 > pos(t)));
    (o, max[s] (sum[d] q * k) where s < reach || s <= pos(t))
}";

/// Decoding sizes: one query.
fn decoding() -> Options {
    Options { sizes: BTreeMap::from([("t".into(), 1)]), ..Options::default() }
}

fn example(name: &str, settings: &Settings) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(format!("{name}.nsa"));
    let text = std::fs::read_to_string(&path).unwrap();
    compile_source(name, &text, settings).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Example programs with constants that an interpreter of terms can do.
fn small(name: &str) -> Program {
    let constants: &[(&str, i64)] = match name {
        "overlaps" => return compile_source(name, OVERLAPS, &Settings::default()).unwrap_or_else(|e| panic!("{e}")),
        "alternatives" => {
            return compile_source(name, ALTERNATIVES, &Settings::default()).unwrap_or_else(|e| panic!("{e}"));
        }
        "nsa" => {
            &[("g", 2), ("r", 2), ("d", 2), ("e", 2), ("L", 4), ("STRIDE", 2), ("BLOCK", 4), ("N", 3), ("WINDOW", 5)]
        }
        "nsa_mlp" => &[
            ("g", 1),
            ("r", 2),
            ("d", 2),
            ("e", 2),
            ("j", 4),
            ("STRIDE", 2),
            ("BLOCK", 4),
            ("N", 3),
            ("WINDOW", 5),
            ("u", 3),
        ],
        _ => &[("g", 2), ("r", 2), ("d", 2), ("e", 2)],
    };
    let settings = constants.iter().fold(Settings::default(), |settings, (name, value)| settings.set(*name, *value));
    example(name, &settings)
}

/// A small generator (xorshift64*), so that tests are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545F4914F6CDD1D) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Lengths and random arguments of a program; run-time axes have the given lengths, in order.
fn environment(program: &Program, lengths: &[(&str, i64)]) -> Environment {
    let given = lengths.iter().map(|(name, length)| (name.to_string(), *length)).collect();
    let mut environment = Environment::new();
    environment.lengths = Context::lengths(program, &given);
    let mut random = Random(7);
    for (_, tensor) in program.params() {
        let extent = |axis: &nsa_dsl::program::AxisId| environment.lengths[&AxisName::new(&program.axis(*axis).name)];
        let shape: Vec<usize> = tensor.axes.iter().map(|axis| extent(axis) as usize).collect();
        let data = (0..shape.iter().product()).map(|_| random.next()).collect();
        environment.tensors.insert(TensorName::new(&tensor.name), Array { shape, data });
    }
    environment
}

fn lengths(name: &str) -> &'static [(&'static str, i64)] {
    match name {
        "overlaps" => &[("t", 3), ("i", 9)],
        // queries after a cached prefix
        "nsa" => &[("t", 7), ("s", 14)],
        _ => &[("t", 5), ("s", 9)],
    }
}

/// The results of terms for a program's random arguments.
fn results(program: &Program, terms: &Terms, name: &str) -> HashMap<TensorName, Array> {
    let context = Context::of_program(program, &BTreeMap::new()).unwrap();
    let mut environment = environment(program, lengths(name));
    evaluate(terms, &context, &mut environment).unwrap();
    let results = terms.definitions.iter().filter(|definition| definition.result);
    results.map(|definition| (definition.tensor, environment.tensors[&definition.tensor].clone())).collect()
}

fn assert_near(a: &HashMap<TensorName, Array>, b: &HashMap<TensorName, Array>, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (name, array) in a {
        assert_eq!(array.shape, b[name].shape, "{what}");
        for (x, y) in array.data.iter().zip(&b[name].data) {
            assert!(x == y || (x - y).abs() <= 1e-9 * (1.0 + x.abs()), "{what}: {name} is {x} and {y}");
        }
    }
}

const ALL: [&str; 5] = ["nsa", "nsa_mlp", "full_attention", "window", "overlaps"];

#[test]
fn terms_mean_what_the_program_means() {
    for name in ALL {
        let program = small(name);
        let found = results(&program, &translate(&program), name);
        let given = environment(&program, lengths(name));
        let mut inputs = Inputs::new();
        for (axis, length) in lengths(name) {
            inputs = inputs.length(*axis, *length as usize);
        }
        for (_, tensor) in program.params() {
            inputs = inputs.real(&tensor.name, given.tensors[&TensorName::new(&tensor.name)].data.clone());
        }
        let outputs = nsa_dsl::evaluate(&program, &inputs).unwrap();
        for (tensor, array) in found {
            let Values::Real(expected) = &outputs.get(tensor.name()).unwrap().values else { panic!("{tensor}") };
            assert_eq!(array.data.len(), expected.len());
            for (x, y) in array.data.iter().zip(expected) {
                assert!(x == y || (x - y).abs() <= 1e-9 * (1.0 + x.abs()), "{name}: {tensor} is {x}, expected {y}");
            }
        }
    }
}

#[test]
fn every_candidate_computes_the_program() {
    for name in ALL {
        let program = small(name);
        let terms = translate(&program);
        let expected = results(&program, &terms, name);
        for options in [Options { candidates: 2, ..Options::default() }, Options { candidates: 1, ..decoding() }] {
            if name == "overlaps" && !options.sizes.is_empty() {
                continue;
            }
            for machine in [&SMALL_HEADS, &machine::X86_64] {
                let optimised = optimise(&terms, &program, machine, &options).unwrap();
                for candidate in &optimised.candidates {
                    let what = format!("{name} on {} with {:?}\n{}", machine.name, candidate.stored(), candidate.terms);
                    assert_near(&expected, &results(&program, &candidate.terms, name), &what);
                }
            }
        }
    }
}

/// For each law a program whose best candidate needs it.
#[test]
fn without_a_law_the_candidate_is_another_and_the_numbers_are_the_same() {
    let laws = rules::laws(&translate(&small("nsa")), &[]).unwrap();
    let mut programs: HashMap<&str, (Program, Terms, HashMap<TensorName, Array>)> = HashMap::new();
    let mut baselines = HashMap::new();
    for law in laws.iter().map(|law| law.name) {
        let (name, options) = match law {
            // no surface syntax yields a select; the law's instances test it
            "select-to-mask" => continue,
            "zero-to-domain" => ("overlaps", Options::default()),
            "split" => ("full_attention", decoding()),
            "split-disjunction" | "join-alternatives" => ("alternatives", Options::default()),
            _ => ("nsa", Options::default()),
        };
        let (program, terms, expected) = programs.entry(name).or_insert_with(|| {
            let program = small(name);
            let terms = translate(&program);
            let expected = results(&program, &terms, name);
            (program, terms, expected)
        });
        let with = baselines.entry((name, options.sizes.len())).or_insert_with(|| {
            let optimised = optimise(terms, program, &SMALL_HEADS, &options).unwrap();
            optimised.candidates[0].terms.to_string()
        });
        let options = Options { without: vec![law.into()], ..options };
        let without = optimise(terms, program, &SMALL_HEADS, &options).unwrap();
        let without = &without.candidates[0];
        assert_ne!(*with, without.terms.to_string(), "{law} changes nothing");
        assert_near(expected, &results(program, &without.terms, name), &format!("without {law}\n{}", without.terms));
    }
}

#[test]
fn the_examples_saturate_far_below_the_limits() {
    for name in ["nsa", "nsa_mlp", "full_attention", "window", "vertical_slash", "h2o", "bigbird", "prefix_mask"] {
        let program = example(name, &Settings::default());
        let optimised = optimise(&translate(&program), &program, &H200, &Options::default()).unwrap();
        let saturation = &optimised.saturation;
        assert!(saturation.complete, "{name}: {saturation:?}");
        assert!(saturation.nodes < NODE_LIMIT / 20, "{name}: {saturation:?}");
        assert!(saturation.iterations < ITERATION_LIMIT / 2, "{name}: {saturation:?}");
    }
}

#[test]
fn optimising_twice_gives_the_same() {
    let program = example("nsa", &Settings::default());
    let terms = translate(&program);
    let text = || {
        let optimised = optimise(&terms, &program, &H200, &Options::default()).unwrap();
        let candidates: Vec<String> = optimised.candidates.iter().map(|c| format!("{}\n{}", c.terms, c.cost)).collect();
        format!("{optimised}\n{}", candidates.join("\n"))
    };
    assert_eq!(text(), text());
}

#[test]
fn the_best_nsa_stores_no_scores_and_shares_its_folds() {
    let program = example("nsa", &Settings::default());
    let optimised = optimise(&translate(&program), &program, &H200, &Options::default()).unwrap();
    let best = &optimised.candidates[0];
    let stored = best.stored();
    // scores and block masses of all queries would be T * T / 16 and T * T / 64 elements
    assert!(!stored.contains(&"p") && !stored.contains(&"mass"), "{stored:?}");
    assert!(stored.contains(&"kc") && stored.contains(&"vc"), "{stored:?}");
    // a value and its log-sum-exp come from one kernel
    let together = |kernel: &cost::KernelCost| {
        let names: Vec<&str> = kernel.definitions.iter().map(|name| name.name()).collect();
        names.contains(&"oc") && names.contains(&"lse")
    };
    assert!(best.cost.kernels.iter().any(together), "{}", best.cost);
    // the walk over listed blocks, one query at a time, does not drag the window's keys along
    let fused = optimised.considered.iter().find(|way| !way.stored.contains(&"os") && !way.stored.contains(&"ow"));
    assert!(fused.unwrap().cost.seconds() > best.cost.seconds());
}

#[test]
fn unknown_sizes_are_named() {
    let program = example("window", &Settings::default());
    let options = Options { sizes: BTreeMap::from([("x".into(), 1)]), ..Options::default() };
    let error = optimise(&translate(&program), &program, &H200, &options).unwrap_err();
    assert!(error.to_string().starts_with("there is no axis `x`; the axes are "), "{error}");
}

#[test]
fn explanations_name_the_laws() {
    let program = example("nsa", &Settings::default());
    let terms = translate(&program);
    let optimised = optimise(&terms, &program, &H200, &Options::default()).unwrap();
    let best = &optimised.candidates[0].terms;
    let explanations = explain(&terms, best, &program, &H200, &Options::default()).unwrap();
    assert_eq!(explanations.len(), best.definitions.len());
    let laws = |name: &str| explanations.iter().find(|e| e.definition.name() == name).unwrap().laws();
    for law in ["normalise-last", "online-weighted", "banana-split", "mask-to-domain", "tile", "two-pass-inner", "mma"]
    {
        assert!(laws("oc").contains(&law), "{law} in {:?}", laws("oc"));
    }
    assert!(laws("lse").contains(&"log-sum-exp"), "{:?}", laws("lse"));
    assert!(laws("chosen").contains(&"fuse-producer"), "{:?}", laws("chosen"));
    let walked = explanations.iter().any(|e| e.laws().contains(&"walk-blocks"));
    assert!(walked && explanations.iter().any(|e| e.laws().contains(&"fuse-epilogue")));
}

fn snapshot(name: &str, text: String) {
    insta::with_settings!({ snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn snapshot_of_the_cost_table() {
    let program = example("nsa", &Settings::default());
    let optimised = optimise(&translate(&program), &program, &H200, &Options::default()).unwrap();
    snapshot("cost-nsa-h200", format!("{optimised}\n{}", optimised.candidates[0].cost));
}
