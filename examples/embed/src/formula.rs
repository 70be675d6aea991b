//! Sliding window attention as a formula, in loops.

use nsa::half::bf16;

/// KV heads.
pub const G: usize = 2;
/// Query heads per KV head.
pub const R: usize = 3;
/// Width of queries and keys.
pub const D: usize = 32;
/// Width of values.
pub const E: usize = 64;
/// Keys that a query sees, its own included.
pub const WINDOW: usize = 20;

/// `o[t, g, r, e]` for sequences that lie one behind the other.
pub fn window_attention(lengths: &[usize], q: &[bf16], k: &[bf16], v: &[bf16]) -> Vec<f64> {
    let mut o = Vec::new();
    let mut start = 0;
    for length in lengths {
        for t in start..start + length {
            for head in 0..G * R {
                let g = head / R;
                let keys = start.max((t + 1).saturating_sub(WINDOW))..t + 1;
                let query = &q[(t * G * R + head) * D..][..D];
                let weights: Vec<f64> = keys
                    .clone()
                    .map(|s| {
                        let key = &k[(s * G + g) * D..][..D];
                        let dot: f64 = query.iter().zip(key).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
                        (dot / (D as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for e in 0..E {
                    let value = |s: usize| v[(s * G + g) * E + e].to_f64();
                    o.push(keys.clone().zip(&weights).map(|(s, w)| w * value(s)).sum::<f64>() / sum);
                }
            }
        }
        start += length;
    }
    o
}
