//! Bytes as queries, keys and values.
//!
//! A *context* is what stands before a position: its last 2, 4 and 7 bytes. Each of the three is hashed to a vector of random signs,
//! and the three vectors side by side are the context's embedding. Two contexts with the same last 7 bytes have equal embeddings;
//! with the same last 2, equal in the first part; otherwise they are nearly orthogonal. A query is the embedding of the context that
//! ends at its position, a key that of the context before its position, a value a code of the byte at its position. So a query
//! matches the positions whose context was the same, and the attention's output is a mixture of the codes of what followed.

use nsa::DType;
use nsa_measure::{Random, Tensor, Tensors};

/// Width of queries, keys and values.
pub const WIDTH: usize = 128;
/// Query heads; all share one head of keys and values.
pub const HEADS: usize = 4;

/// Lengths of hashed contexts, with the columns of each.
const CONTEXTS: [(usize, usize); 3] = [(2, 24), (4, 44), (7, 60)];
/// What a full match adds to the score of each head, in nats: from a mixture of many matches to the best ones only.
const SHARPNESS: [f64; HEADS] = [8.0, 12.0, 16.0, 24.0];
/// How much the compressed, the selected and the window branch count.
const GATES: [f64; 3] = [0.1, 0.6, 0.3];

/// Arguments of the programs, by name.
pub struct Embedded {
    /// q, k, v and gate.
    pub tensors: Tensors,
}

/// Embeds every position of a text.
pub fn embed(text: &[u8], element: DType) -> Embedded {
    let count = text.len();
    let mut q = Vec::with_capacity(count * HEADS * WIDTH);
    let mut k = Vec::with_capacity(count * WIDTH);
    let mut v = Vec::with_capacity(count * WIDTH);
    for t in 0..count {
        let query = context(&text[..=t]);
        for sharpness in SHARPNESS {
            // Scores are divided by the square root of the width, and a full match has the width as its product.
            let factor = sharpness / (WIDTH as f64).sqrt();
            q.extend(query.iter().map(|x| x * factor));
        }
        k.extend(context(&text[..t]));
        v.extend(code(text[t]));
    }
    let gates = GATES.iter().copied().cycle().take(count * HEADS * GATES.len());
    let tensors = Tensors::from([
        ("q".to_string(), Tensor::from_f64(element, &[count, 1, HEADS, WIDTH], q)),
        ("k".to_string(), Tensor::from_f64(element, &[count, 1, WIDTH], k)),
        ("v".to_string(), Tensor::from_f64(element, &[count, 1, WIDTH], v)),
        ("gate".to_string(), Tensor::from_f64(element, &[count, 1, HEADS, GATES.len()], gates)),
    ]);
    Embedded { tensors }
}

/// The embedding of what stands before a position.
fn context(before: &[u8]) -> Vec<f64> {
    let mut embedding = Vec::with_capacity(WIDTH);
    for (length, columns) in CONTEXTS {
        let bytes = &before[before.len().saturating_sub(length)..];
        // FNV-1a, with the length so that short texts differ from zeros.
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ length as u64;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        signs(hash, columns, &mut embedding);
    }
    embedding
}

/// The code of a byte.
fn code(byte: u8) -> Vec<f64> {
    let mut code = Vec::with_capacity(WIDTH);
    signs(u64::from(byte), WIDTH, &mut code);
    code
}

/// Random signs that only depend on the seed.
fn signs(seed: u64, count: usize, into: &mut Vec<f64>) {
    let mut random = Random::new(seed);
    let mut bits = 0;
    for n in 0..count {
        if n % 64 == 0 {
            bits = random.bits();
        }
        into.push(if bits >> (n % 64) & 1 == 1 { 1.0 } else { -1.0 });
    }
}

/// The fraction of positions whose output is closest to the code of the byte that comes next. The last position has none.
pub fn accuracy(text: &[u8], output: &Tensor) -> f64 {
    let codes: Vec<Vec<f64>> = (0..=255).map(code).collect();
    let values = output.to_f64();
    let row = HEADS * WIDTH;
    let right = |t: usize| {
        let mut sum = vec![0.0; WIDTH];
        for head in values[t * row..(t + 1) * row].chunks(WIDTH) {
            sum.iter_mut().zip(head).for_each(|(s, x)| *s += x);
        }
        let closeness = |code: &Vec<f64>| code.iter().zip(&sum).map(|(c, s)| c * s).sum::<f64>();
        let closeness: Vec<f64> = codes.iter().map(closeness).collect();
        let best = (0..256).max_by(|a, b| closeness[*a].total_cmp(&closeness[*b]));
        best == Some(usize::from(text[t + 1]))
    };
    let positions = text.len().saturating_sub(1);
    let count = (0..positions).filter(|t| right(*t)).count();
    count as f64 / positions.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With attention computed by its formula, a repeated text is predicted after its first round.
    #[test]
    fn repetitions_are_predicted() {
        let text = b"the quick brown fox jumps over a lazy dog; ".repeat(3);
        let embedded = embed(&text, DType::F32);
        let [q, k, v] = ["q", "k", "v"].map(|name| embedded.tensors[name].to_f64());
        let mut output = Vec::new();
        for t in 0..text.len() {
            for query in q[t * HEADS * WIDTH..(t + 1) * HEADS * WIDTH].chunks(WIDTH) {
                let score = |s: usize| query.iter().zip(&k[s * WIDTH..]).map(|(a, b)| a * b).sum::<f64>();
                let weights: Vec<f64> = (0..=t).map(|s| (score(s) / (WIDTH as f64).sqrt()).exp()).collect();
                let sum: f64 = weights.iter().sum();
                output.extend(
                    (0..WIDTH)
                        .map(|e| weights.iter().enumerate().map(|(s, w)| w * v[s * WIDTH + e]).sum::<f64>() / sum),
                );
            }
        }
        let output = Tensor::from_f64(DType::F32, &[text.len(), 1, HEADS, WIDTH], output);
        let got = accuracy(&text, &output);
        // Two of three rounds, and what repeats inside the first.
        assert!((0.63..0.85).contains(&got), "{got}");
    }
}
