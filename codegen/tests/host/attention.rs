//! Tiled folds: causal attention, listed blocks, bands.

use super::driver::{Array, Lengths, Machine, isas, relative_error};
use super::program::{Text, attend};
use nsa_dsl::program::DType;

/// softmax(q . k scale) v over the visible keys; and the log-sum-exp.
fn reference(
    [q, k, v]: [&Array; 3],
    sequence: usize,
    [t, g, r]: [usize; 3],
    scale: f64,
    keys: impl Iterator<Item = usize>,
) -> (Vec<f64>, f64) {
    let query = q.row(sequence, &[t, g, r]);
    let mut scores = vec![];
    for s in keys {
        let dot: f64 = query.iter().zip(k.row(sequence, &[s, g])).map(|(a, b)| a * b).sum();
        scores.push((s, dot * scale));
    }
    let max = scores.iter().fold(f64::NEG_INFINITY, |m, (_, x)| m.max(*x));
    let mut sum = 0.0;
    let mut o = vec![0.0; v.dims[2]];
    for (s, x) in &scores {
        let p = (x - max).exp();
        sum += p;
        for (o, v) in o.iter_mut().zip(v.row(sequence, &[*s, g])) {
            *o += p * v;
        }
    }
    if sum > 0.0 {
        o.iter_mut().for_each(|o| *o /= sum);
    }
    (o, max + sum.ln())
}

struct Shape {
    group: i64,
    dk: i64,
    dv: i64,
    element: DType,
    tolerance: f64,
}

fn causal(shape: &Shape, lengths: Lengths<'_>) {
    let scale = 1.0 / (shape.dk as f64).sqrt();
    let f = attend("$k", "$v", "s", "(upto (all @s) (i+ @t (i- #s #t)))", scale);
    let plan = Text {
        axes: &[("t", 0), ("s", 0), ("g", 2), ("r", shape.group), ("d", shape.dk), ("e", shape.dv)],
        params: &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("v", &["s", "g", "e"])],
        lists: &[],
        definitions: &[
            ("lse", &["t", "g", "r"], format!("(logsum {f})")),
            ("o", &["t", "g", "r", "e"], format!("(norm (snd {f}))")),
        ],
        element: shape.element,
    }
    .plan();
    assert!(matches!(plan.kernels[0].layout, nsa_codegen::plan::Layout::Fragments { .. }), "{plan}");
    for isa in isas() {
        let mut machine = Machine::new(&plan, lengths);
        machine.randomise(7);
        machine.run(isa);
        let [q, k, v, lse, o] = ["q", "k", "v", "lse", "o"].map(|n| machine.array(n));
        let (mut outputs, mut sums) = (vec![], vec![]);
        let lengths_of = |axis: &str| lengths.iter().find(|l| l.0 == axis).expect("lengths").1;
        for (sequence, (t_len, s_len)) in lengths_of("t").iter().zip(lengths_of("s")).enumerate() {
            for t in 0..*t_len {
                for g in 0..2 {
                    for r in 0..shape.group as usize {
                        let keys = 0..s_len - t_len + t + 1;
                        let (expected, log) = reference([&q, &k, &v], sequence, [t, g, r], scale, keys);
                        outputs.extend(expected.iter().enumerate().map(|(x, b)| (o.at(sequence, &[t, g, r, x]), *b)));
                        sums.push((lse.at(sequence, &[t, g, r]), log));
                    }
                }
            }
        }
        let (a, b) = (relative_error(outputs), relative_error(sums));
        assert!(a < shape.tolerance && b < shape.tolerance, "{isa:?}: outputs {a}, log-sum-exp {b}");
    }
}

const F32: Shape = Shape { group: 16, dk: 64, dv: 64, element: DType::F32, tolerance: 3e-6 };

#[test]
fn causal_attention_in_f32() {
    causal(&F32, &[("t", &[70]), ("s", &[70])]);
}

#[test]
fn packed_sequences_with_a_cache() {
    causal(&F32, &[("t", &[0, 1, 15, 65, 3]), ("s", &[0, 1, 40, 65, 200])]);
}

#[test]
fn head_groups_and_widths() {
    for (group, dk, dv) in [(1, 16, 32), (2, 32, 16), (3, 96, 64), (5, 48, 112), (8, 80, 128), (32, 64, 16)] {
        causal(&Shape { group, dk, dv, ..F32 }, &[("t", &[3, 37]), ("s", &[67, 37])]);
    }
}

#[test]
fn sixteen_bit_types() {
    for element in [DType::Bf16, DType::F16] {
        causal(&Shape { group: 4, dk: 128, dv: 64, element, tolerance: 4e-3 }, &[("t", &[33, 65]), ("s", &[33, 129])]);
    }
}

/// Bands, listed blocks, gates, an intermediate that one kernel writes and the next reads.
#[test]
fn window_and_listed_blocks() {
    let pos = "(i+ @t (i- #s #t))";
    let scale = 0.25;
    let block = 32;
    let listed = format!("(upto (blocks (all @s) (list $chosen @t @g) {block}) {pos})");
    let a = attend("$k", "$v", "s", &listed, scale);
    let w = attend("$k", "$v", "s", &format!("(upto (from (all @s) (i+ {pos} -20)) {pos})"), scale);
    let plan = Text {
        axes: &[("t", 0), ("s", 0), ("g", 2), ("r", 6), ("d", 32), ("e", 48), ("n", 4), ("c", 3)],
        params: &[
            ("q", &["t", "g", "r", "d"]),
            ("k", &["s", "g", "d"]),
            ("v", &["s", "g", "e"]),
            ("gate", &["t", "g", "r", "c"]),
        ],
        lists: &[("chosen", &["t", "g", "n"])],
        definitions: &[
            ("ow", &["t", "g", "r", "e"], format!("(* (load $gate @t @g @r 2) (norm (snd {w})))")),
            (
                "o",
                &["t", "g", "r", "e"],
                format!("(+ (load $ow @t @g @r @e) (* (load $gate @t @g @r 1) (norm (snd {a}))))"),
            ),
        ],
        element: DType::F32,
    }
    .plan();
    let (t_lens, s_lens) = (&[5, 0, 40, 2][..], &[90, 10, 40, 2][..]);
    // Some lists are empty, some hold blocks beyond the sequence or the diagonal.
    let chosen = |row: usize, g: usize| -> [i32; 4] {
        match (row + 3 * g) % 4 {
            0 => [-1, -1, -1, -1],
            1 => [0, -1, -1, -1],
            2 => [0, 1, 2, -1],
            _ => [1, 2, -1, -1],
        }
    };
    for isa in isas() {
        let mut machine = Machine::new(&plan, &[("t", t_lens), ("s", s_lens)]);
        machine.randomise(3);
        machine.fill("chosen", |i| chosen(i[0], i[1])[i[2]].into());
        machine.run(isa);
        let [q, k, v, gate, o] = ["q", "k", "v", "gate", "o"].map(|n| machine.array(n));
        let mut pairs = vec![];
        for (sequence, (t_len, s_len)) in t_lens.iter().zip(s_lens).enumerate() {
            let packed: usize = t_lens[..sequence].iter().sum();
            for (t, g, r) in (0..*t_len).flat_map(|t| (0..12).map(move |x| (t, x / 6, x % 6))) {
                let p = s_len - t_len + t;
                let (ow, _) =
                    reference([&q, &k, &v], sequence, [t, g, r], scale, (0..*s_len).filter(|s| *s <= p && s + 20 >= p));
                let blocks = chosen(packed + t, g);
                let of_list = (0..*s_len).filter(|s| *s <= p && blocks.contains(&((s / block) as i32)));
                let (os, _) = reference([&q, &k, &v], sequence, [t, g, r], scale, of_list);
                for x in 0..48 {
                    let expected = gate.at(sequence, &[t, g, r, 2]) * ow[x] + gate.at(sequence, &[t, g, r, 1]) * os[x];
                    pairs.push((o.at(sequence, &[t, g, r, x]), expected));
                }
            }
        }
        let error = relative_error(pairs);
        assert!(error < 3e-6, "{isa:?}: {error}");
    }
}
