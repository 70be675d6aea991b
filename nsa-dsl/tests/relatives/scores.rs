//! Relatives that change scores, or see keys by position alone.

use super::case::{Case, D, E, G, LENGTHS, R, run, run_with};
use nsa_dsl::Inputs;

fn causal(pos: usize, s: usize) -> bool {
    s <= pos
}

#[test]
fn window_with_sinks() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let (sinks, window) = (3, 8);
        let sees = |pos, s| causal(pos, s) && (pos - s < window || s < sinks);
        let (o, lse) = case.attend_to(|row, s| sees(row.pos, s));
        let sizes = [("SINKS", sinks as i64), ("WINDOW", window as i64)];
        case.check("window_with_sinks", &sizes, |inputs| inputs, &[("o", &o), ("lse", &lse)]);
    }
}

#[test]
fn a_shape() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let sees = |pos: usize, s| causal(pos, s) && (s < 2 * 4 || s / 4 >= (pos / 4).saturating_sub(3));
        let (o, _) = case.attend_to(|row, s| sees(row.pos, s));
        case.check("a_shape", &[("BLOCK", 4), ("FIRST", 2), ("LOCAL", 3)], |inputs| inputs, &[("o", &o)]);
    }
}

#[test]
fn alibi() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let slopes: Vec<f64> = (1..=G * R).map(|h| 2f64.powf(-8.0 * h as f64 / (G * R) as f64)).collect();
        let (o, _) = case.attend(|row, s| {
            let distance = row.pos as f64 - s as f64;
            (distance >= 0.0).then(|| case.score(row, s) - slopes[row.g * R + row.r] * distance)
        });
        case.check("alibi", &[], |inputs| inputs.real("slope", slopes.clone()), &[("o", &o)]);
    }
}

#[test]
fn softcap() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        // Scores on both sides of the cap.
        case.q.iter_mut().for_each(|x| *x *= 20.0);
        let (o, _) = case.attend(|row, s| {
            let (e, inverse) = ((case.score(row, s) / 50.0).exp(), (-case.score(row, s) / 50.0).exp());
            causal(row.pos, s).then_some(50.0 * (e - inverse) / (e + inverse))
        });
        case.check("softcap", &[], |inputs| inputs, &[("o", &o)]);
    }
}

#[test]
fn learned_bias() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        let reach = 6;
        let bias = case.random.normals(G * R * reach, 1.0);
        let (o, _) = case.attend(|row, s| {
            let distance = row.pos.checked_sub(s)?;
            Some(case.score(row, s) + bias[(row.g * R + row.r) * reach + distance.min(reach - 1)])
        });
        case.check(
            "learned_bias",
            &[("REACH", reach as i64)],
            |inputs| inputs.real("bias", bias.clone()),
            &[("o", &o)],
        );
    }
}

#[test]
fn cross_attention() {
    for (queries, keys) in [(0, 0), (0, 3), (4, 0), (1, 9), (9, 1), (12, 31), (31, 12)] {
        let case = Case::new(queries, keys);
        let (o, lse) = case.attend_to(|_, _| true);
        assert!(keys > 0 || o.iter().all(|&x| x == 0.0));
        case.check("cross_attention", &[], |inputs| inputs, &[("o", &o), ("lse", &lse)]);
    }
}

/// Sequences of queries and of keys in one batch, each pair with lengths of its own.
#[test]
fn ragged_cross_attention() {
    let cases: Vec<Case> = [(3, 7), (0, 2), (5, 0), (2, 9)].into_iter().map(|(t, s)| Case::new(t, s)).collect();
    let results: Vec<_> = cases.iter().map(|case| case.attend_to(|_, _| true)).collect();
    let (o, lse) = (results.iter().flat_map(|r| r.0.clone()), results.iter().flat_map(|r| r.1.clone()));
    let join = |part: fn(&Case) -> &Vec<f64>| cases.iter().flat_map(|case| part(case).clone()).collect();
    let inputs = Inputs::new().real("q", join(|c| &c.q)).real("k", join(|c| &c.k)).real("v", join(|c| &c.v));
    let inputs = inputs.cumulative("t", vec![0, 3, 3, 8, 10]).cumulative("s", vec![0, 7, 9, 9, 18]);
    run("cross_attention", &[], inputs, &[("o", &o.collect::<Vec<_>>()), ("lse", &lse.collect::<Vec<_>>())]);
}

#[test]
fn decode() {
    for keys in [0, 1, 2, 37] {
        let case = Case::new(1, keys);
        let (o, lse) = case.attend_to(|_, _| true);
        let inputs = Inputs::new().real("q", case.q.clone()).real("k", case.k.clone()).real("v", case.v.clone());
        run("decode", &[], inputs.length("s", keys), &[("o", &o), ("lse", &lse)]);
    }
}

#[test]
fn differential() {
    for (queries, keys) in LENGTHS {
        // Queries and keys have two halves: keep them as two cases over the same values.
        let (first, mut second) = (Case::new(queries, keys), Case::new(queries, keys));
        second.q = second.random.normals(first.q.len(), 1.0);
        second.k = second.random.normals(first.k.len(), 1.0);
        let (a, b) = (second.random.normals(G * R * 2 * D, 0.4), second.random.normals(G * R * 2 * D, 0.4));
        let dot = |head: usize, half: usize| -> f64 {
            (0..D).map(|c| a[(head * 2 + half) * D + c] * b[(head * 2 + half) * D + c]).sum()
        };
        let mut o = vec![];
        for row in first.rows() {
            let head = row.g * R + row.r;
            let factor = dot(head, 0).exp() - dot(head, 1).exp() + 0.8;
            let (p, _) = first.softmax(|s| causal(row.pos, s).then(|| first.score(row, s)));
            let (n, _) = second.softmax(|s| causal(row.pos, s).then(|| second.score(row, s)));
            let weights: Vec<f64> = p.iter().zip(&n).map(|(p, n)| p - factor * n).collect();
            let x = first.mix(row.g, &weights);
            let norm = (x.iter().map(|x| x * x).sum::<f64>() / E as f64 + 1e-5).sqrt();
            o.extend(x.iter().map(|x| (1.0 - 0.8) * x / norm));
        }
        let interleave = |x: &[f64], y: &[f64]| -> Vec<f64> {
            x.chunks(D).zip(y.chunks(D)).flat_map(|(x, y)| [x, y].concat()).collect()
        };
        let inputs = Inputs::new()
            .real("q", interleave(&first.q, &second.q))
            .real("k", interleave(&first.k, &second.k))
            .real("v", first.v.clone())
            .real("a", a.clone())
            .real("b", b.clone());
        run("differential", &[], inputs.length("t", queries).length("s", keys), &[("o", &o)]);
    }
}

/// One latent for all heads, wider queries beside it: a score of two parts.
#[test]
fn mla() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        let (heads, c, p, width) = (3, 4, 2, 7.0_f64);
        let q = case.random.normals(queries * heads * c, 1.5);
        let rotary_q = case.random.normals(queries * heads * p, 1.0);
        let latent = case.random.normals(keys * c, 1.0);
        let rotary_k = case.random.normals(keys * p, 1.0);
        let (mut o, mut lse) = (vec![], vec![]);
        for t in 0..queries {
            for h in 0..heads {
                let dot = |a: &[f64], b: &[f64], n: usize, s: usize| -> f64 {
                    a[(t * heads + h) * n..][..n].iter().zip(&b[s * n..][..n]).map(|(x, y)| x * y).sum()
                };
                let score = |s| (dot(&q, &latent, c, s) + dot(&rotary_q, &rotary_k, p, s)) / width.sqrt();
                let pos = t + keys.saturating_sub(queries);
                let (weights, own) = case.softmax(|s| causal(pos, s).then(|| score(s)));
                o.extend((0..c).map(|i| weights.iter().enumerate().map(|(s, w)| w * latent[s * c + i]).sum::<f64>()));
                lse.push(own);
            }
        }
        let sizes = [("r", heads as i64), ("c", c as i64), ("p", p as i64), ("WIDTH", width as i64)];
        let inputs =
            Inputs::new().real("q", q).real("rotary_q", rotary_q).real("latent", latent).real("rotary_k", rotary_k);
        run_with("mla", &sizes, inputs.length("t", queries).length("s", keys), &[("o", &o), ("lse", &lse)]);
    }
}
