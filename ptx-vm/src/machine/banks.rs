//! Banks of shared memory: how often an access has to go there.
//!
//! Shared memory has 32 banks of 4 bytes; a word's bank is its number modulo 32. Going there once (a wavefront) gives any one word of each
//! bank, to as many lanes as want it. An access of up to 4 bytes a lane is served for the whole warp at once, one of 8 bytes for half
//! of it, one of 16 bytes for a quarter; each matrix of `ldmatrix` and `stmatrix` is eight lanes of 16 bytes. Words of one such part that
//! share a bank are fetched one after the other.

use super::warp::{LANES, Lanes};
use super::{Cx, Machine};
use std::collections::BTreeMap;

const BANKS: usize = 32;

/// What the accesses of one line took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    pub accesses: u64,
    pub wavefronts: u64,
    pub least: u64,
}

/// Accesses by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Banks(pub BTreeMap<u32, Served>);

impl Banks {
    pub fn merge(&mut self, other: Self) {
        for (line, served) in other.0 {
            let mine = self.0.entry(line).or_default();
            mine.accesses += served.accesses;
            mine.wavefronts += served.wavefronts;
            mine.least += served.least;
        }
    }
}

/// How often shared memory has to be asked for these words, and how often it would be if they were spread over all banks.
fn rounds(words: &mut [u64]) -> (u64, u64) {
    // Mostly no bank is asked for two words.
    let mut banks = [None; BANKS];
    if words.iter().all(|word| *banks[*word as usize % BANKS].get_or_insert(*word) == *word) {
        let any = u64::from(!words.is_empty());
        return (any, any);
    }
    words.sort_unstable();
    let (mut counts, mut different) = ([0u64; BANKS], 0u64);
    for (at, word) in words.iter().enumerate() {
        if at == 0 || words[at - 1] != *word {
            counts[*word as usize % BANKS] += 1;
            different += 1;
        }
    }
    (counts.into_iter().max().unwrap_or(0), different.div_ceil(BANKS as u64))
}

/// Wavefronts of an access of `bytes` a lane, and how many it would take without conflicts.
fn serve(mask: u32, addresses: &Lanes<u64>, bytes: usize) -> (u64, u64) {
    let lanes = (BANKS * 4 / bytes.max(4)).clamp(1, LANES);
    let (mut wavefronts, mut least) = (0, 0);
    for first in (0..LANES).step_by(lanes) {
        // Aligned accesses of one part have 32 words at most; others are a finding by themselves.
        let (mut words, mut count) = ([0u64; 2 * BANKS], 0);
        for lane in (first..first + lanes).filter(|lane| mask >> lane & 1 != 0) {
            for word in addresses[lane] / 4..addresses[lane].saturating_add(bytes as u64).div_ceil(4) {
                if count < words.len() {
                    words[count] = word;
                    count += 1;
                }
            }
        }
        let (own, fewest) = rounds(&mut words[..count]);
        wavefronts += own;
        least += fewest;
    }
    (wavefronts, least)
}

impl Machine<'_> {
    /// Counts an access to shared memory, if that was asked for.
    #[inline(always)]
    pub fn count_banks(&mut self, cx: Cx, mask: u32, addresses: &Lanes<u64>, bytes: usize) {
        if self.launch.options.bank_conflicts && mask != 0 {
            let (wavefronts, least) = serve(mask, addresses, bytes);
            let served = self.banks.0.entry(cx.line).or_default();
            served.accesses += 1;
            served.wavefronts += wavefronts;
            served.least += least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u32 = u32::MAX;

    fn strided(stride: u64) -> Lanes<u64> {
        std::array::from_fn(|lane| 1024 + lane as u64 * stride)
    }

    #[test]
    fn words_of_one_bank_come_one_after_the_other() {
        assert_eq!(serve(ALL, &strided(4), 4), (1, 1));
        assert_eq!(serve(ALL, &strided(8), 4), (2, 1));
        assert_eq!(serve(ALL, &strided(128), 4), (32, 1));
        assert_eq!(serve(ALL, &strided(132), 4), (1, 1));
        assert_eq!(serve(ALL, &strided(0), 4), (1, 1), "all lanes want one word");
        assert_eq!(serve(ALL, &strided(2), 2), (1, 1), "two lanes a word");
        assert_eq!(serve(0b11, &strided(128), 4), (2, 1));
        assert_eq!(serve(0, &strided(4), 4), (0, 0));
    }

    #[test]
    fn wide_accesses_are_served_in_parts() {
        assert_eq!(serve(ALL, &strided(8), 8), (2, 2));
        assert_eq!(serve(ALL, &strided(16), 16), (4, 4));
        assert_eq!(serve(ALL, &strided(32), 16), (8, 4), "every other 16 bytes");
        assert_eq!(serve(0xff, &strided(128), 16), (8, 1), "a matrix whose rows lie in the same banks");
        assert_eq!(serve(0xff, &strided(144), 16), (1, 1));
    }
}
