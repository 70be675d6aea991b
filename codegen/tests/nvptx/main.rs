//! PTX of plans: assembled where there is a `ptxas`, and executed by the interpreter, whose race detection is on.
mod assembler;
mod examples;
mod laws;
mod mutations;
mod offsets;
mod plans;
mod programs;

use device::{Arrays, Compiled, Random, error};
use nsa_codegen::emit::nvptx::Target;
use nsa_codegen::term::Type;
use nsa_test_machines::{device, judged};
use plans::Cut;

const BASE: Cut = Cut {
    tokens: 4,
    heads: 4,
    depth: 32,
    width: 32,
    warps: 1,
    repeat: 1,
    column_warps: 1,
    keys: 32,
    stages: 2,
    dtype: Type::Bf16,
};

/// Attention of two groups over packed sequences, in f64.
fn reference(cut: &Cut, lengths: &[i64], arrays: &Arrays) -> (Vec<f64>, Vec<f64>) {
    let (groups, heads, d, e) = (2, cut.heads as usize, cut.depth as usize, cut.width as usize);
    let (q, k, v) = (&arrays["q"], &arrays["k"], &arrays["v"]);
    let (mut o, mut lse) = (vec![], vec![]);
    let mut start = 0;
    for length in lengths.iter().map(|n| *n as usize) {
        for t in 0..length {
            for g in 0..groups {
                for r in 0..heads {
                    let row = ((start + t) * groups + g) * heads + r;
                    let score = |s: usize| {
                        let key = ((start + s) * groups + g) * d;
                        (0..d).map(|i| q[row * d + i] * k[key + i]).sum::<f64>() / (d as f64).sqrt()
                    };
                    let scores: Vec<f64> = (0..=t).map(score).collect();
                    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                    lse.push(max + sum.ln());
                    for c in 0..e {
                        let value = |s: usize| v[((start + s) * groups + g) * e + c];
                        o.push((0..=t).map(|s| (scores[s] - max).exp() * value(s)).sum::<f64>() / sum);
                    }
                }
            }
        }
        start += length;
    }
    (o, lse)
}

fn check_attention(cut: Cut, lengths: &[i64]) {
    let tokens = lengths.iter().sum::<i64>() as usize;
    let mut random = Random(5);
    let mut arrays = Arrays::new();
    for (name, width) in [("q", cut.heads * cut.depth), ("k", cut.depth), ("v", cut.width)] {
        arrays.insert(name.into(), random.values(cut.dtype, tokens * 2 * width as usize));
    }
    let plan = plans::attention(cut);
    let results = Compiled::new(&plan, Target::Sm80).run(&[("t", lengths), ("s", lengths)], &arrays, &[7]);
    let (o, lse) = reference(&cut, lengths, &arrays);
    let limit = if cut.dtype == Type::F32 { 1e-5 } else { 5e-3 };
    let found = (error(&results["o"], &o), error(&results["lse"], &lse));
    assert!(found.0 < limit && found.1 < 1e-5, "{cut:?}: {found:?}");
}

#[test]
fn attention() {
    check_attention(BASE, &[5, 0, 70]);
}

#[test]
fn attention_of_every_width() {
    for (depth, width) in [(16, 16), (48, 80), (64, 64), (96, 96), (128, 128), (192, 128), (256, 256)] {
        check_attention(Cut { depth, width, ..BASE }, &[37]);
    }
}

#[test]
fn attention_of_every_group() {
    for heads in [1, 2, 3, 5, 8, 16, 32] {
        let tokens = (32 / heads).max(1);
        check_attention(Cut { heads, tokens, warps: 2, ..BASE }, &[41]);
    }
}

#[test]
fn attention_over_warps() {
    for (warps, repeat, column_warps, keys, stages) in
        [(4, 1, 1, 64, 2), (2, 2, 1, 64, 3), (1, 1, 4, 64, 2), (1, 1, 2, 32, 3), (1, 1, 4, 32, 1), (2, 1, 3, 48, 2)]
    {
        let tokens = 16 * warps * repeat / 4;
        check_attention(Cut { tokens, warps, repeat, column_warps, keys, stages, ..BASE }, &[90]);
    }
}

#[test]
fn attention_in_other_types() {
    check_attention(Cut { dtype: Type::F16, ..BASE }, &[50]);
    check_attention(Cut { dtype: Type::F32, ..BASE }, &[50]);
    check_attention(Cut { dtype: Type::F32, column_warps: 2, depth: 48, ..BASE }, &[50]);
}
