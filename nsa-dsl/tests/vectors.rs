//! NSA against vectors from an independent implementation: every branch, the chosen blocks, the output.

use nsa_dsl::{Evaluation, Inputs, Settings, compile_source};
use safetensors::SafeTensors;
use std::collections::HashMap;

const PROGRAM: &str = include_str!("../../examples/nsa.nsa");
/// f32 inputs and outputs: what rounding the stored outputs to f32 may cost.
const TOLERANCE: f64 = 1e-6;

struct Case {
    bytes: Vec<u8>,
    parameters: HashMap<String, String>,
}

impl Case {
    fn read(name: &str) -> Case {
        let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        Case { parameters: metadata.metadata().clone().expect("parameters"), bytes }
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        tensors.tensor(name).expect(name).shape().to_vec()
    }

    fn real(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let tensor = tensors.tensor(name).expect(name);
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")) as f64).collect()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        tensors.tensor(name).expect(name).data().to_vec()
    }

    fn settings(&self) -> Settings {
        let (q, v) = (self.shape("q"), self.shape("v"));
        let mut settings = Settings::default();
        for (name, size) in [("g", q[1]), ("r", q[2]), ("d", q[3]), ("e", v[2])] {
            settings = settings.set(name, size as i64);
        }
        for (name, value) in &self.parameters {
            settings = settings.set(name, value.parse::<i64>().expect("an integer"));
        }
        settings
    }

    fn inputs(&self) -> Inputs {
        Inputs::new()
            .real("q", self.real("q"))
            .real("k", self.real("k"))
            .real("v", self.real("v"))
            .real("gate", self.real("gate"))
            .length("t", self.shape("q")[0])
            .length("s", self.shape("k")[0])
    }
}

/// ||a - b|| / ||b||.
fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    let norm: f64 = b.iter().map(|y| y * y).sum();
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}

fn check(name: &str) {
    let case = Case::read(name);
    let program = compile_source("nsa.nsa", PROGRAM, &case.settings()).expect("nsa.nsa compiles");
    let inputs = case.inputs();
    let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");

    // The chosen blocks, wherever the cut is not a tie.
    let count: usize = case.parameters["N"].parse().expect("N");
    let blocks = case.shape("chosen")[2];
    let expected = case.bytes("chosen");
    let margin = case.real("margin");
    let chosen = evaluation.tensor("chosen").expect("chosen");
    let mut compared = 0;
    for (row, list) in chosen.integers().chunks_exact(count).enumerate() {
        let entries: Vec<i64> = list.iter().copied().filter(|&entry| entry >= 0).collect();
        assert!(entries.windows(2).all(|pair| pair[0] < pair[1]), "ascending: {list:?}");
        assert!(list[entries.len()..].iter().all(|&entry| entry == -1), "padded at the end: {list:?}");
        if margin[row] > 1e-9 {
            let set: Vec<u8> = (0..blocks).map(|b| u8::from(entries.contains(&(b as i64)))).collect();
            assert_eq!(set, expected[row * blocks..(row + 1) * blocks], "{name}: row {row}");
            compared += 1;
        }
    }
    assert!(compared * 10 >= margin.len() * 9, "{name}: only {compared} of {} rows have a clear cut", margin.len());

    for (ours, theirs) in [("oc", "o_compressed"), ("os", "o_selected"), ("ow", "o_window"), ("o", "o")] {
        let ours = evaluation.tensor(ours).expect(ours);
        let theirs_values = case.real(theirs);
        let error = relative_error(ours.real(), &theirs_values);
        assert!(error < TOLERANCE, "{name}: {theirs} differs by {error:e}");
    }
}

#[test]
fn paper_defaults() {
    check("paper_defaults");
}

#[test]
fn small_blocks() {
    check("small_blocks");
}

#[test]
fn shorter_than_a_block() {
    check("shorter_than_a_block");
}

#[test]
fn wide_values_odd_group() {
    check("wide_values_odd_group");
}

#[test]
fn cached_prefix() {
    check("cached_prefix");
}
