//! The example programs against loops written straight from the equations of arXiv 2502.11089, sharing no code with the
//! evaluator: every branch, the importance of blocks, the choice.

mod random;

use nsa_dsl::{Array, Evaluation, Inputs, Program, Settings, compile_source};
use random::Random;

const NSA: &str = include_str!("../../examples/nsa.nsa");
const FULL: &str = include_str!("../../examples/full_attention.nsa");
const WINDOW: &str = include_str!("../../examples/window.nsa");
const MLP: &str = include_str!("../../examples/nsa_mlp.nsa");

/// Sizes of a case, and one sequence's arguments. `tq` queries stand at the end of `tk` keys.
#[derive(Clone)]
struct Case {
    g: usize,
    r: usize,
    d: usize,
    e: usize,
    block_length: usize,
    stride: usize,
    block: usize,
    n: usize,
    first: usize,
    local: usize,
    window: usize,
    tq: usize,
    tk: usize,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    gate: Vec<f64>,
}

impl Case {
    fn new(seed: u64, tq: usize, tk: usize) -> Case {
        Case {
            g: 2,
            r: 3,
            d: 8,
            e: 5,
            block_length: 8,
            stride: 4,
            block: 16,
            n: 4,
            first: 1,
            local: 2,
            window: 11,
            tq,
            tk,
            q: vec![],
            k: vec![],
            v: vec![],
            gate: vec![],
        }
        .fill(seed)
    }

    fn fill(mut self, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let heads = self.g * self.r;
        self.q = random.normals(self.tq * heads * self.d, 2.0);
        self.k = random.normals(self.tk * self.g * self.d, 1.0);
        self.v = random.normals(self.tk * self.g * self.e, 1.0);
        self.gate = (0..self.tq * heads * 3).map(|_| random.unit()).collect();
        self
    }

    fn settings(&self) -> Settings {
        let sizes = [
            ("g", self.g),
            ("r", self.r),
            ("d", self.d),
            ("e", self.e),
            ("L", self.block_length),
            ("STRIDE", self.stride),
            ("BLOCK", self.block),
            ("N", self.n),
            ("FIRST", self.first),
            ("LOCAL", self.local),
            ("WINDOW", self.window),
        ];
        sizes.into_iter().fold(Settings::default(), |settings, (name, size)| settings.set(name, size as i64))
    }

    fn program(&self) -> Program {
        compile_source("nsa.nsa", NSA, &self.settings()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn inputs(&self) -> Inputs {
        Inputs::new()
            .real("q", self.q.clone())
            .real("k", self.k.clone())
            .real("v", self.v.clone())
            .real("gate", self.gate.clone())
            .length("t", self.tq)
            .length("s", self.tk)
    }

    fn position(&self, t: usize) -> usize {
        self.tk - self.tq + t
    }

    /// How many compressed blocks there are: those that fit.
    fn blocks(&self) -> usize {
        if self.tk < self.block_length { 0 } else { (self.tk - self.block_length) / self.stride + 1 }
    }

    /// Equation 7 with the mean.
    fn compress(&self, x: &[f64], width: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.blocks() * self.g * width];
        for i in 0..self.blocks() {
            for row in 0..self.block_length {
                for c in 0..self.g * width {
                    out[i * self.g * width + c] +=
                        x[(i * self.stride + row) * self.g * width + c] / self.block_length as f64;
                }
            }
        }
        out
    }

    /// Softmax attention of one row over the keys in `seen`: output, log-sum-exp, probabilities.
    fn attend(&self, t: usize, h: usize, k: &[f64], v: &[f64], seen: &[usize]) -> (Vec<f64>, f64, Vec<f64>) {
        let g = h / self.r;
        let q = &self.q[(t * self.g * self.r + h) * self.d..][..self.d];
        let score = |s: usize| -> f64 {
            let key = &k[(s * self.g + g) * self.d..][..self.d];
            q.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() / (self.d as f64).sqrt()
        };
        let mut out = vec![0.0; self.e];
        if seen.is_empty() {
            return (out, f64::NEG_INFINITY, vec![]);
        }
        let largest = seen.iter().map(|&s| score(s)).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = seen.iter().map(|&s| (score(s) - largest).exp()).sum();
        let p: Vec<f64> = seen.iter().map(|&s| (score(s) - largest).exp() / total).collect();
        for (&s, p) in seen.iter().zip(&p) {
            for c in 0..self.e {
                out[c] += p * v[(s * self.g + g) * self.e + c];
            }
        }
        (out, largest + total.ln(), p)
    }

    /// Compressed branch: output, log-sum-exp, and equation 9 and 10's importance of each block for each (t, g).
    fn compressed(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (kc, vc) = (self.compress(&self.k, self.d), self.compress(&self.v, self.e));
        let count = self.tk.div_ceil(self.block);
        let (mut out, mut lse, mut mass) = (vec![], vec![], vec![0.0; self.tq * self.g * count]);
        for t in 0..self.tq {
            let last = |i: usize| i * self.stride + self.block_length - 1;
            let seen: Vec<usize> = (0..self.blocks()).filter(|&i| last(i) <= self.position(t)).collect();
            for h in 0..self.g * self.r {
                let (o, l, p) = self.attend(t, h, &kc, &vc, &seen);
                out.extend(o);
                lse.push(l);
                for (&i, p) in seen.iter().zip(&p) {
                    // Key by key: each of the block's keys carries 1 / stride of its probability.
                    for key in i * self.stride..i * self.stride + self.block_length {
                        mass[(t * self.g + h / self.r) * count + key / self.block] += p / self.stride as f64;
                    }
                }
            }
        }
        (out, lse, mass)
    }

    /// Equation 11 for one (t, g): forced blocks, then the most important, ties to the lower.
    fn choose(&self, t: usize, mass: &[f64]) -> Vec<usize> {
        let own = self.position(t) / self.block;
        let mut chosen: Vec<usize> = vec![];
        for b in 0..=own {
            if (b < self.first || b + self.local > own) && chosen.len() < self.n {
                chosen.push(b);
            }
        }
        while chosen.len() < self.n {
            let mut best: Option<usize> = None;
            for b in (0..=own).filter(|b| !chosen.contains(b)) {
                if best.is_none_or(|best| mass[b] > mass[best]) {
                    best = Some(b);
                }
            }
            match best {
                Some(best) => chosen.push(best),
                None => break,
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// Any branch over the keys themselves.
    fn branch(&self, sees: impl Fn(usize, usize, usize) -> bool) -> Vec<f64> {
        let mut out = vec![];
        for t in 0..self.tq {
            for h in 0..self.g * self.r {
                let seen: Vec<usize> = (0..self.tk).filter(|&s| sees(t, h / self.r, s)).collect();
                out.extend(self.attend(t, h, &self.k, &self.v, &seen).0);
            }
        }
        out
    }

    fn check(&self) {
        let program = self.program();
        let inputs = self.inputs();
        let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");
        let get = |name: &str| -> Array { evaluation.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")) };

        let (compressed, lse, mass) = self.compressed();
        close("compressed", get("oc").real(), &compressed);
        close("lse", get("lse").real(), &lse);
        close("mass", get("mass").real(), &mass);
        let count = self.tk.div_ceil(self.block);
        let chosen: Vec<Vec<usize>> =
            (0..self.tq * self.g).map(|row| self.choose(row / self.g, &mass[row * count..(row + 1) * count])).collect();
        for (row, list) in get("chosen").integers().chunks_exact(self.n).enumerate() {
            let mut expected: Vec<i64> = chosen[row].iter().map(|&b| b as i64).collect();
            expected.resize(self.n, -1);
            assert_eq!(list, expected, "row {row}");
        }
        let selected =
            self.branch(|t, g, s| s <= self.position(t) && chosen[t * self.g + g].contains(&(s / self.block)));
        close("selected", get("os").real(), &selected);
        let window = self.branch(|t, _, s| s <= self.position(t) && s + self.window > self.position(t));
        close("window", get("ow").real(), &window);
        let output: Vec<f64> = (0..compressed.len())
            .map(|i| {
                let gate = &self.gate[i / self.e * 3..][..3];
                gate[0] * compressed[i] + gate[1] * selected[i] + gate[2] * window[i]
            })
            .collect();
        close("output", get("o").real(), &output);
    }
}

/// Equal but for the rounding of f64 sums; infinities equal.
fn close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!(a == b || (a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{what}[{i}]: {a} instead of {b}");
    }
}

#[test]
fn lengths() {
    for length in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100] {
        Case::new(length as u64, length, length).check();
    }
}

#[test]
fn cached_prefixes() {
    for (tq, tk) in [(1, 1), (1, 7), (1, 64), (3, 70), (5, 100), (16, 17)] {
        Case::new(7, tq, tk).check();
    }
}

#[test]
fn group_sizes() {
    for r in [1, 2, 3, 5, 8, 16, 64] {
        let mut case = Case::new(3, 40, 40);
        case.r = r;
        case.fill(r as u64).check();
    }
}

#[test]
fn widths_of_keys_and_values_are_independent() {
    for (d, e) in [(16, 16), (24, 16), (16, 32), (1, 7)] {
        let mut case = Case::new(3, 30, 30);
        (case.d, case.e) = (d, e);
        case.fill(11).check();
    }
}

#[test]
fn paper_block_sizes() {
    let mut case = Case::new(1, 4, 300);
    (case.block_length, case.stride, case.block, case.n, case.window) = (32, 16, 64, 3, 50);
    case.check();
}

#[test]
fn large_scores() {
    let mut case = Case::new(5, 60, 60);
    case.q.iter_mut().for_each(|x| *x *= 5e3);
    case.check();
}

#[test]
fn ties_go_to_the_lowest_block() {
    let mut case = Case::new(5, 120, 120);
    // All keys alike: all blocks are equally important but for their share of compressed blocks.
    case.k.fill(0.0);
    case.local = 1;
    let program = case.program();
    let inputs = case.inputs();
    let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");
    let chosen = evaluation.tensor("chosen").expect("chosen");
    // Block 0 has less mass than its neighbours but is forced; 1 and 2 tie with 3, 4, ...; 7 is the query's own.
    let last = &chosen.integers()[(case.tq * case.g - 1) * case.n..];
    assert_eq!(last, [0, 1, 2, 7]);
    case.check();
}

#[test]
fn rows_that_see_no_compressed_block_are_zero() {
    let case = Case::new(9, 12, 12);
    let (program, inputs) = (case.program(), case.inputs());
    let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");
    let (oc, lse) = (evaluation.tensor("oc").expect("oc"), evaluation.tensor("lse").expect("lse"));
    let heads = case.g * case.r;
    let blind = case.block_length - 1;
    assert!(oc.real()[..blind * heads * case.e].iter().all(|&x| x == 0.0));
    assert!(lse.real()[..blind * heads].iter().all(|&x| x == f64::NEG_INFINITY));
    assert!(lse.real()[blind * heads..].iter().all(|x| x.is_finite()));
    assert!(evaluation.tensor("o").expect("o").real().iter().all(|x| x.is_finite()));
}

#[test]
fn importance_of_equation_9() {
    // (32, 16, 64): block j takes compressed blocks 4j - 1 .. 4j + 3 with weights 1, 2, 2, 2, 1.
    let mut case = Case::new(2, 1, 512);
    (case.g, case.r, case.block_length, case.stride, case.block) = (1, 1, 32, 16, 64);
    let case = case.fill(3);
    let (program, inputs) = (case.program(), case.inputs());
    let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");
    let (p, mass) = (evaluation.tensor("p").expect("p"), evaluation.tensor("mass").expect("mass"));
    let p = |i: i64| usize::try_from(i).ok().and_then(|i| p.real().get(i)).copied().unwrap_or(0.0);
    let expected: Vec<f64> = (0..8)
        .map(|j| p(4 * j - 1) + 2.0 * p(4 * j) + 2.0 * p(4 * j + 1) + 2.0 * p(4 * j + 2) + p(4 * j + 3))
        .collect();
    close("mass", mass.real(), &expected);
    // Both overlaps together count every key of the compressed blocks: the mass is L / STRIDE in all.
    assert!((mass.real().iter().sum::<f64>() - 2.0).abs() < 1e-12);
}

#[test]
fn the_window_has_exactly_its_width() {
    let mut case = Case::new(4, 40, 40);
    case.k.fill(0.0);
    // Equal scores, and values that name their key: the output is the mean of the keys seen.
    let width = case.g * case.e;
    case.v.iter_mut().enumerate().for_each(|(i, v)| *v = (i / width) as f64);
    let settings = ["g", "r", "d", "e", "WINDOW"]
        .into_iter()
        .zip([case.g, case.r, case.d, case.e, case.window])
        .fold(Settings::default(), |settings, (name, size)| settings.set(name, size as i64));
    let program = compile_source("window.nsa", WINDOW, &settings).expect("window.nsa compiles");
    let inputs = Inputs::new()
        .real("q", case.q.clone())
        .real("k", case.k.clone())
        .real("v", case.v.clone())
        .length("t", 40)
        .length("s", 40);
    let outputs = nsa_dsl::evaluate(&program, &inputs).expect("evaluates");
    let o = outputs.get("o").expect("o").real();
    for t in 0..40 {
        let first = (t + 1_usize).saturating_sub(case.window);
        let mean = (first + t) as f64 / 2.0;
        assert!((o[t * case.g * case.r * case.e] - mean).abs() < 1e-12, "query {t}");
    }
}

#[test]
fn full_attention() {
    let case = Case::new(8, 20, 33);
    let settings = ["g", "r", "d", "e"]
        .into_iter()
        .zip([case.g, case.r, case.d, case.e])
        .fold(Settings::default(), |settings, (name, size)| settings.set(name, size as i64));
    let program = compile_source("full_attention.nsa", FULL, &settings).expect("full_attention.nsa compiles");
    let inputs = Inputs::new()
        .real("q", case.q.clone())
        .real("k", case.k.clone())
        .real("v", case.v.clone())
        .length("t", 20)
        .length("s", 33);
    let outputs = nsa_dsl::evaluate(&program, &inputs).expect("evaluates");
    close("full", outputs.get("o").expect("o").real(), &case.branch(|t, _, s| s <= case.position(t)));
    let lse: Vec<f64> = (0..case.tq)
        .flat_map(|t| (0..case.g * case.r).map(move |h| (t, h)))
        .map(|(t, h)| case.attend(t, h, &case.k, &case.v, &(0..=case.position(t)).collect::<Vec<_>>()).1)
        .collect();
    close("lse", outputs.get("lse").expect("lse").real(), &lse);
}

/// A packed batch gives what its sequences give one by one, empty ones included.
#[test]
fn packed_batch() {
    let lengths = [(0, 0), (15, 15), (3, 40), (0, 9), (70, 70), (1, 33)];
    let cases: Vec<Case> = lengths.iter().enumerate().map(|(i, &(tq, tk))| Case::new(i as u64, tq, tk)).collect();
    let join = |part: fn(&Case) -> &Vec<f64>| cases.iter().flat_map(|case| part(case).clone()).collect::<Vec<_>>();
    let sums = |part: fn(&Case) -> usize| {
        let mut sums = vec![0];
        cases.iter().for_each(|case| sums.push(sums[sums.len() - 1] + part(case)));
        sums
    };
    let inputs = Inputs::new()
        .real("q", join(|case| &case.q))
        .real("k", join(|case| &case.k))
        .real("v", join(|case| &case.v))
        .real("gate", join(|case| &case.gate))
        .cumulative("t", sums(|case| case.tq))
        .cumulative("s", sums(|case| case.tk));
    let program = cases[0].program();
    let packed = nsa_dsl::evaluate(&program, &inputs).expect("evaluates");
    let mut expected = vec![];
    for case in &cases {
        case.check();
        let inputs = case.inputs();
        expected
            .extend_from_slice(nsa_dsl::evaluate(&program, &inputs).expect("evaluates").get("o").expect("o").real());
    }
    assert_eq!(packed.get("o").expect("o").real(), expected);

    // Single rows of it are the same again.
    let rows = [(4, 69), (2, 0), (5, 0), (4, 3)];
    let sampled = nsa_dsl::evaluate_rows(&program, &inputs, "t", &rows).expect("evaluates");
    let size = cases[0].g * cases[0].r * cases[0].e;
    let starts = sums(|case| case.tq);
    let picked: Vec<f64> =
        rows.iter().flat_map(|&(sequence, t)| expected[(starts[sequence] + t) * size..][..size].to_vec()).collect();
    assert_eq!(sampled.get("o").expect("o").real(), picked);
}

/// Compression by the perceptron, with keys and values of their own in each branch.
#[test]
fn perceptron_compression() {
    let (g, r, d, e, length, stride, hidden) = (2, 2, 4, 6, 8, 4, 5);
    let (tq, tk) = (30, 30);
    let mut random = Random::new(77);
    let mut inputs = Inputs::new().length("t", tq).length("s", tk);
    let mut arrays = std::collections::HashMap::new();
    for (name, size) in [
        ("q", tq * g * r * d),
        ("k_cmp", tk * g * d),
        ("v_cmp", tk * g * e),
        ("k_slc", tk * g * d),
        ("v_slc", tk * g * e),
        ("k_win", tk * g * d),
        ("v_win", tk * g * e),
        ("gate", tq * g * r * 3),
        ("place_k", length * d),
        ("w1_k", length * d * hidden),
        ("b1_k", hidden),
        ("w2_k", hidden * d),
        ("b2_k", d),
        ("place_v", length * e),
        ("w1_v", length * e * hidden),
        ("b1_v", hidden),
        ("w2_v", hidden * e),
        ("b2_v", e),
    ] {
        let values = random.normals(size, 0.5);
        inputs = inputs.real(name, values.clone());
        arrays.insert(name, values);
    }
    let sizes =
        [("g", g), ("r", r), ("d", d), ("e", e), ("j", length), ("STRIDE", stride), ("BLOCK", 8), ("u", hidden)];
    let settings = sizes.into_iter().fold(Settings::default(), |settings, (name, n)| settings.set(name, n as i64));
    let program = compile_source("nsa_mlp.nsa", MLP, &settings).unwrap_or_else(|errors| panic!("{errors}"));
    let evaluation = Evaluation::new(&program, &inputs).expect("inputs fit");
    for (ours, suffix, width) in [("kc", "k", d), ("vc", "v", e)] {
        let get = |name: &str| &arrays[format!("{name}_{suffix}").as_str()];
        let (x, place) = (&arrays[format!("{suffix}_cmp").as_str()], get("place"));
        let mut expected = vec![];
        for i in 0..(tk - length) / stride + 1 {
            for head in 0..g {
                let h: Vec<f64> = (0..hidden)
                    .map(|u| {
                        let mut sum = get("b1")[u];
                        for row in 0..length {
                            for c in 0..width {
                                sum += get("w1")[(row * width + c) * hidden + u]
                                    * (x[((i * stride + row) * g + head) * width + c] + place[row * width + c]);
                            }
                        }
                        let inner = (2.0 / std::f64::consts::PI).sqrt() * (sum + 0.044715 * sum.powi(3));
                        0.5 * sum * (1.0 + inner.tanh())
                    })
                    .collect();
                for c in 0..width {
                    expected.push(get("b2")[c] + (0..hidden).map(|u| h[u] * get("w2")[u * width + c]).sum::<f64>());
                }
            }
        }
        close(ours, evaluation.tensor(ours).expect(ours).real(), &expected);
    }
    assert!(evaluation.tensor("o").expect("o").real().iter().all(|x| x.is_finite()));
}
