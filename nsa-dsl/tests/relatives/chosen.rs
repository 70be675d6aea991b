//! Relatives that choose their keys themselves.

use super::case::{Case, D, G, LENGTHS, R, Row, best, run_with};
use nsa_dsl::Inputs;

/// A channel of the keys of a block, over the keys there are.
fn channel(case: &Case, g: usize, c: usize, block: usize, size: usize) -> Vec<f64> {
    (block * size..((block + 1) * size).min(case.keys)).map(|s| case.k[(s * G + g) * D + c]).collect()
}

fn query(case: &Case, row: Row, c: usize) -> f64 {
    case.q[((row.t * G + row.g) * R + row.r) * D + c]
}

#[test]
fn moba() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let (block, n) = (4, 3);
        let chosen = |row: Row| {
            let scores: Vec<f64> = (0..keys.div_ceil(block))
                .map(|b| {
                    (0..D)
                        .map(|c| {
                            let column = channel(&case, row.g, c, b, block);
                            query(&case, row, c) * column.iter().sum::<f64>() / column.len() as f64
                        })
                        .sum()
                })
                .collect();
            // n - 1 blocks of the past, and the query's own.
            let own = row.pos / block;
            let mut list = best(&scores, n - 1, |_| false, |b| b < own);
            list.push(own);
            list
        };
        let (o, _) = case.attend_to(|row, s| s <= row.pos && chosen(row).contains(&(s / block)));
        case.check("moba", &[("BLOCK", block as i64), ("N", n as i64)], |inputs| inputs, &[("o", &o)]);
    }
}

#[test]
fn quest() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let (page, n) = (4, 3);
        let chosen = |row: Row| {
            let bounds: Vec<f64> = (0..keys.div_ceil(page))
                .map(|b| {
                    (0..D)
                        .map(|c| {
                            // The largest product that any key of the page has.
                            let products =
                                channel(&case, row.g, c, b, page).into_iter().map(|k| query(&case, row, c) * k);
                            products.fold(f64::NEG_INFINITY, f64::max)
                        })
                        .sum()
                })
                .collect();
            best(&bounds, n, |_| false, |b| b <= row.pos / page)
        };
        let (o, _) = case.attend_to(|row, s| s <= row.pos && chosen(row).contains(&(s / page)));
        case.check("quest", &[("PAGE", page as i64), ("N", n as i64)], |inputs| inputs, &[("o", &o)]);
    }
}

#[test]
fn infllm_v2() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let (length, stride, block, n, first, local) = (4, 2, 8, 4, 1, 2);
        let compressed = if keys < length { 0 } else { (keys - length) / stride + 1 };
        // Probabilities of the compressed keys, summed over a group's heads.
        let probabilities = |t: usize, g: usize, pos: usize| {
            let mut sums = vec![0.0; compressed];
            for r in 0..R {
                let row = Row { t, g, r, pos };
                let score = |i: usize| -> f64 {
                    (i * stride..i * stride + length).map(|s| case.score(row, s)).sum::<f64>() / length as f64
                };
                let weights: Vec<f64> = (0..compressed)
                    .map(|i| if i * stride + length - 1 <= pos { score(i).exp() } else { 0.0 })
                    .collect();
                let total: f64 = weights.iter().sum();
                sums.iter_mut().zip(&weights).for_each(|(sum, w)| *sum += if total > 0.0 { w / total } else { 0.0 });
            }
            sums
        };
        let chosen = |row: Row| {
            let p = probabilities(row.t, row.g, row.pos);
            let weights: Vec<f64> = (0..keys.div_ceil(block))
                .map(|b| {
                    let touching = (0..compressed).filter(|i| {
                        let seen = i * stride + length - 1 <= row.pos;
                        seen && (i * stride..i * stride + length).any(|s| s / block == b)
                    });
                    touching.map(|i| p[i]).fold(f64::NEG_INFINITY, f64::max)
                })
                .collect();
            let own = row.pos / block;
            best(&weights, n, |b| b < first || b + local > own, |b| b <= own)
        };
        let (o, _) = case.attend_to(|row, s| s <= row.pos && chosen(row).contains(&(s / block)));
        let sizes = [("L", length), ("STRIDE", stride), ("BLOCK", block), ("N", n), ("FIRST", first), ("LOCAL", local)]
            .map(|(name, size)| (name, size as i64));
        case.check("infllm_v2", &sizes, |inputs| inputs, &[("o", &o)]);
    }
}

#[test]
fn h2o() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        let (heavy, recent) = (5, 6);
        let heat: Vec<f64> = case.random.normals(keys * G * R, 1.0).into_iter().map(f64::abs).collect();
        let kept = |g: usize, r: usize| {
            let own: Vec<f64> = (0..keys).map(|s| heat[(s * G + g) * R + r]).collect();
            best(&own, heavy, |_| false, |_| true)
        };
        let sees = |row: Row, s: usize| s <= row.pos && (row.pos - s < recent || kept(row.g, row.r).contains(&s));
        let (o, _) = case.attend_to(sees);
        let mut warmer = heat.clone();
        for row in case.rows() {
            let (p, _) = case.softmax(|s| sees(row, s).then(|| case.score(row, s)));
            p.iter().enumerate().for_each(|(s, p)| warmer[(s * G + row.g) * R + row.r] += p);
        }
        let sizes = [("HEAVY", heavy as i64), ("RECENT", recent as i64)];
        case.check("h2o", &sizes, |inputs| inputs.real("heat", heat.clone()), &[("o", &o), ("warmer", &warmer)]);
    }
}

/// An indexer with heads of its own chooses the keys; the attention is multi-head latent attention.
#[test]
fn dsa() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        let (heads, c, p, width, h, i, n) = (3, 4, 2, 7.0_f64, 3, 4, 6);
        let mut normals = |count: usize| case.random.normals(count, 1.0);
        let (q, rotary_q) = (normals(queries * heads * c), normals(queries * heads * p));
        let (latent, rotary_k) = (normals(keys * c), normals(keys * p));
        let (index_q, index_k, a) = (normals(queries * h * i), normals(keys * i), normals(queries * h));
        let dot = |a: &[f64], row: usize, b: &[f64], s: usize, n: usize| -> f64 {
            a[row * n..][..n].iter().zip(&b[s * n..][..n]).map(|(x, y)| x * y).sum()
        };
        let mut o = vec![];
        for t in 0..queries {
            let pos = t + keys.saturating_sub(queries);
            let fit = |s| (t * h..(t + 1) * h).map(|row| a[row] * dot(&index_q, row, &index_k, s, i).max(0.0)).sum();
            let chosen = best(&(0..keys).map(fit).collect::<Vec<f64>>(), n, |_| false, |s| s <= pos);
            for row in t * heads..(t + 1) * heads {
                let score = |s| (dot(&q, row, &latent, s, c) + dot(&rotary_q, row, &rotary_k, s, p)) / width.sqrt();
                let (weights, _) = case.softmax(|s| chosen.contains(&s).then(|| score(s)));
                o.extend((0..c).map(|i| weights.iter().enumerate().map(|(s, w)| w * latent[s * c + i]).sum::<f64>()));
            }
        }
        let reals = [
            ("q", q),
            ("rotary_q", rotary_q),
            ("latent", latent),
            ("rotary_k", rotary_k),
            ("index_q", index_q),
            ("index_k", index_k),
            ("a", a),
        ];
        let inputs = Inputs::new().length("t", queries).length("s", keys);
        let inputs = reals.into_iter().fold(inputs, |inputs, (name, values)| inputs.real(name, values));
        let sizes = [("r", heads), ("c", c), ("p", p), ("WIDTH", width as usize), ("h", h), ("i", i), ("N", n)];
        let sizes = sizes.map(|(name, n)| (name, n as i64));
        run_with("dsa", &sizes, inputs, &[("o", &o)]);
    }
}
