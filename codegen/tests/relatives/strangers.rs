//! Attentions that are no example: forms that nothing was made for.

use super::compare::{Example, check_text};

const CAUSAL: &[(&str, &[usize])] = &[("t", &[37, 0, 9]), ("s", &[70, 0, 9])];

fn check(text: &str, integers: fn(&str, usize) -> i64) {
    check_text(&Example { name: "stranger", sizes: &[], lengths: CAUSAL, integers }, text, &[]);
}

/// No argument of integers.
const NONE: fn(&str, usize) -> i64 = |name, _| panic!("no values for the integer argument {name}");

#[test]
fn linear_attention() {
    check(
        "kernel linear(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16]) -> o[t, g, r, e] {
            let w = sum[d] sigmoid(q) * sigmoid(k);
            let z[t, g, r] = sum[s] w where s <= pos(t);
            ratio(sum[s] w * v where s <= pos(t), z)
        }",
        NONE,
    );
}

#[test]
fn sigmoid_attention() {
    check(
        "kernel weights(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], bias: f32[g, r]) -> o[t, g, r, e] {
            sum[s] sigmoid(score(q, k) + bias) * v where s <= pos(t)
        }",
        NONE,
    );
}

#[test]
fn cosine_attention() {
    check(
        "kernel cosine(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], slope: f32[g, r]) -> o[t, g, r, e] {
            let nq[t, g, r] = 1 / sqrt(sum[d] q * q);
            let nk[s, g] = 1 / sqrt(sum[d] k * k);
            attend_scores((sum[d] q * k) * nq * nk * (1 + slope), v, s <= pos(t))
        }",
        NONE,
    );
}

#[test]
fn dilated_window() {
    check(
        "kernel dilated(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16]) -> o[t, g, r, e] {
            attend(q, k, v, window(s, pos(t), 40) && (pos(t) - s) % 3 == 0)
        }",
        NONE,
    );
}

/// The best keys of each query by an indexer with heads of its own, one by one (DeepSeek-V3.2's sparse attention).
#[test]
fn chosen_keys() {
    check(
        "kernel indexed(q[t, r = 4, d = 32], k[s, d], v[s, e = 16], qi[t, h = 2, c = 16], ki[s, c], a: f32[t, h]) -> o[t, r, e] {
            let fit[t, s] = sum[h] a * relu(sum[c] qi * ki);
            let best = top[s](fit, 6, among = s <= pos(t));
            attend(q, k, v, s in best)
        }",
        NONE,
    );
}

/// The best keys of those near the query, by scores summed over heads: their range begins anywhere, not at a tile's edge.
#[test]
fn chosen_keys_nearby() {
    check(
        "kernel nearby(q[t, g = 2, r = 16, d = 32], k[s, g, d], v[s, g, e = 16]) -> o[t, g, r, e] {
            let fit[t, g, s] = sum[r] exp(score(q, k));
            let best = top[s](fit, 6, among = window(s, pos(t), 40));
            attend(q, k, v, s in best)
        }",
        NONE,
    );
}

/// Two heads of queries and keys mixed into each head of scores, and a bias by clipped distance (T5): distances of keys
/// that are masked would lie before its start.
#[test]
fn mixed_heads_with_relative_bias() {
    check(
        "kernel mixed(q[t, h = 2, d = 32], k[s, h, d], v[s, i = 3, e = 16], mix: f32[h, i], bias: f32[b = 20, i]) -> o[t, i, e] {
            attend_scores((sum[h] mix * score(q, k)) + bias[min(pos(t) - s, 19), i], v, s <= pos(t))
        }",
        NONE,
    );
}

/// Keys and queries are turned by tables of angles, those of queries by their position; a learned share of the denominator
/// goes to nobody (gpt-oss).
#[test]
fn rotated_with_learned_sinks() {
    check(
        "kernel turned(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], co: f32[s, d], si: f32[s, d], sink: f32[g, r]) -> o[t, g, r, e] {
            let p = pos(t);
            let kr = k * co + k[s, g, (d + 16) % 32] * si;
            let (o, lse) = attend(q * co[p, d] + q[t, g, r, (d + 16) % 32] * si[p, d], kr, v, window(s, p, 20));
            o * sigmoid(lse - sink)
        }",
        NONE,
    );
}

/// Scores without a softmax, damped by distance (RetNet).
#[test]
fn damped_sums() {
    check(
        "kernel damped(q[t, g = 2, d = 32], k[s, g, d], v[s, g, e = 16], a: f32[g]) -> o[t, g, e] {
            sum[s] score(q, k) * exp(float(s - pos(t)) * abs(a)) * v where s <= pos(t)
        }",
        NONE,
    );
}

/// The loss of each token over a vocabulary, without its scores in memory.
#[test]
fn cross_entropy() {
    check_text(
        &Example {
            name: "loss",
            sizes: &[],
            lengths: &[("t", &[37, 9]), ("word", &[90, 90])],
            integers: |_, at| at as i64 * 17 % 90,
        },
        "kernel loss(x[t, d = 32], w[word, d], label: i32[t]) -> loss: f32[t] {
            logsumexp[word](sum[d] x * w) - sum[d] x * w[label[t], d]
        }",
        &[],
    );
}

/// The nearest neighbours of each query, and how near they are.
#[test]
fn nearest_neighbours() {
    check(
        "kernel nearest(q[t, d = 32], k[s, d]) -> (ids: i32[t, n = 5], value: f32[t, n]) {
            let fit[t, s] = sum[d] q * k;
            let best[t, n] = top[s](fit, 5);
            (best, fit[t, best])
        }",
        NONE,
    );
}

/// Blocks of keys per block of queries and head, given as lists.
#[test]
fn blocks_per_head() {
    check(
        "kernel blocks(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], rows: i32[t, g, r, n = 3]) -> o[t, g, r, e] {
            attend(q, k, v, (s / 8 in rows || s < 2) && s <= pos(t))
        }",
        |_, at| if at % 5 == 4 { -1 } else { [0, 3, 1][at % 3] + 4 * (at as i64 / 3 % 2) },
    );
}

/// Two softmaxes over different parts of the keys, gated; the second one's mask has three alternatives.
#[test]
fn two_softmaxes() {
    check(
        "kernel two(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], gate[t, g, r], from: i32[t]) -> o[t, g, r, e] {
            let a = attend(q, k, v, s <= pos(t) && (s < from || s + 5 > pos(t)));
            let b = attend(q, k, v, s < 4 || s == pos(t) || s % 11 == 0);
            sigmoid(gate) * a - 0.5 * b
        }",
        |_, at| at as i64 * 5 % 31,
    );
}

/// Two attentions, and the log-sum-exp of the first beside what is made of both: the kernels' order is not that of the results.
#[test]
fn first_sum_is_a_result() {
    for result in ["(a - 2 * b, la, lb)", "(a * b[t, g, 0, e], la)"] {
        let types =
            if result.ends_with("lb)") { "lse: f32[t, g, r], other: f32[t, g, r]" } else { "lse: f32[t, g, r]" };
        check(
            &format!(
                "kernel both(q[t, g = 2, r = 2, d = 32], k[s, g, d], v[s, g, e = 16], rows: i32[t, g, n = 3]) -> (o[t, g, r, e], {types}) {{
                    let (a, la) = attend(q, k, v, s <= pos(t));
                    let (b, lb) = attend(q, k, v, s / 8 in rows && s <= pos(t));
                    {result}
                }}"
            ),
            |_, at| if at % 5 == 4 { -1 } else { [0, 3, 1][at % 3] + 4 * (at as i64 / 3 % 2) },
        );
    }
}
