//! Random queries, keys and values, and softmax attention over them one row at a time.

use super::random::Random;
use nsa_dsl::{Inputs, Settings, compile_source, evaluate};

pub const G: usize = 2;
pub const R: usize = 3;
pub const D: usize = 4;
pub const E: usize = 5;

/// One sequence: queries at the end of the keys.
pub struct Case {
    pub queries: usize,
    pub keys: usize,
    pub q: Vec<f64>,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    pub random: Random,
}

/// A query of a head.
#[derive(Clone, Copy)]
pub struct Row {
    pub t: usize,
    pub g: usize,
    pub r: usize,
    /// Its position among the keys; of no meaning where there are more queries than keys.
    pub pos: usize,
}

/// Lengths that have an empty side, one key, prefixes in a cache, several blocks.
pub const LENGTHS: [(usize, usize); 7] = [(0, 0), (1, 1), (5, 5), (0, 4), (1, 33), (7, 40), (50, 50)];

impl Case {
    pub fn new(queries: usize, keys: usize) -> Case {
        let mut random = Random::new((queries * 1000 + keys) as u64);
        let q = random.normals(queries * G * R * D, 1.5);
        let k = random.normals(keys * G * D, 1.0);
        let v = random.normals(keys * G * E, 1.0);
        Case { queries, keys, q, k, v, random }
    }

    /// Every query of every head, in the order of the result's axes.
    pub fn rows(&self) -> Vec<Row> {
        let (queries, shift) = (self.queries, self.keys.saturating_sub(self.queries));
        let heads = (0..G).flat_map(|g| (0..R).map(move |r| (g, r)));
        let heads: Vec<(usize, usize)> = heads.collect();
        (0..queries).flat_map(|t| heads.iter().map(move |&(g, r)| Row { t, g, r, pos: t + shift })).collect()
    }

    /// q . k without a scale.
    pub fn dot(&self, row: Row, s: usize) -> f64 {
        let q = &self.q[((row.t * G + row.g) * R + row.r) * D..][..D];
        let k = &self.k[(s * G + row.g) * D..][..D];
        q.iter().zip(k).map(|(a, b)| a * b).sum()
    }

    /// q . k / sqrt(width).
    pub fn score(&self, row: Row, s: usize) -> f64 {
        self.dot(row, s) / (D as f64).sqrt()
    }

    /// Probabilities of all keys, 0 for those without a score, and the log-sum-exp.
    pub fn softmax(&self, score: impl Fn(usize) -> Option<f64>) -> (Vec<f64>, f64) {
        let scores: Vec<Option<f64>> = (0..self.keys).map(score).collect();
        let largest = scores.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |x: &Option<f64>| x.map_or(0.0, |x| (x - largest).exp());
        let total: f64 = scores.iter().map(weight).sum();
        if total == 0.0 {
            return (vec![0.0; self.keys], f64::NEG_INFINITY);
        }
        (scores.iter().map(|x| weight(x) / total).collect(), largest + total.ln())
    }

    /// Values of a head's keys, weighted.
    pub fn mix(&self, g: usize, weights: &[f64]) -> Vec<f64> {
        (0..E).map(|c| weights.iter().enumerate().map(|(s, p)| p * self.v[(s * G + g) * E + c]).sum()).collect()
    }

    /// Output and log-sum-exp of all rows, given the scores of the keys that a row sees.
    pub fn attend(&self, score: impl Fn(Row, usize) -> Option<f64>) -> (Vec<f64>, Vec<f64>) {
        let (mut o, mut lse) = (vec![], vec![]);
        for row in self.rows() {
            let (p, own) = self.softmax(|s| score(row, s));
            o.extend(self.mix(row.g, &p));
            lse.push(own);
        }
        (o, lse)
    }

    /// The same where only the choice of keys is special.
    pub fn attend_to(&self, sees: impl Fn(Row, usize) -> bool) -> (Vec<f64>, Vec<f64>) {
        self.attend(|row, s| sees(row, s).then(|| self.score(row, s)))
    }

    /// Evaluates an example on this case and compares all of its results.
    pub fn check(
        &self,
        example: &str,
        sizes: &[(&str, i64)],
        more: impl FnOnce(Inputs) -> Inputs,
        expected: &[(&str, &[f64])],
    ) {
        let inputs = Inputs::new().real("q", self.q.clone()).real("k", self.k.clone()).real("v", self.v.clone());
        run(example, sizes, more(inputs.length("t", self.queries).length("s", self.keys)), expected);
    }
}

/// Evaluates an example with the usual heads and widths and compares all of its results.
pub fn run(example: &str, sizes: &[(&str, i64)], inputs: Inputs, expected: &[(&str, &[f64])]) {
    let usual = [("g", G), ("r", R), ("d", D), ("e", E)].map(|(name, n)| (name, n as i64));
    run_with(example, &[&usual, sizes].concat(), inputs, expected);
}

/// Evaluates an example and compares all of its results.
pub fn run_with(example: &str, sizes: &[(&str, i64)], inputs: Inputs, expected: &[(&str, &[f64])]) {
    let path = format!("{}/../examples/{example}.nsa", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let settings = sizes.iter().fold(Settings::default(), |s, &(name, n)| s.set(name, n));
    let program = compile_source(example, &text, &settings).unwrap_or_else(|errors| panic!("{errors}"));
    let outputs = evaluate(&program, &inputs).unwrap_or_else(|error| panic!("{example}: {error}"));
    assert_eq!(program.results.len(), expected.len());
    for (name, theirs) in expected {
        let ours = outputs.get(name).unwrap_or_else(|| panic!("{example} gives {name}")).real();
        assert_eq!(ours.len(), theirs.len(), "{example}: {name}");
        for (i, (a, b)) in ours.iter().zip(*theirs).enumerate() {
            assert!(a == b || (a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{example}: {name}[{i}] is {a}, not {b}");
        }
    }
}

/// The `n` highest scores among candidates, those that are forced first, ties to the lower index.
pub fn best(scores: &[f64], n: usize, forced: impl Fn(usize) -> bool, among: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut candidates: Vec<usize> = (0..scores.len()).filter(|&b| among(b)).collect();
    candidates.sort_by(|&a, &b| forced(b).cmp(&forced(a)).then(scores[b].total_cmp(&scores[a])).then(a.cmp(&b)));
    candidates.truncate(n);
    candidates
}
