//! Lists that somebody else chose, judged by the scores here.

use super::rows::{Ranked, rank};
use super::walk::Walk;
use crate::program::Top;

/// What is to be said of the lists of one `top` definition.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Choices {
    /// Lists that were looked at.
    pub lists: usize,
    /// Those that are not the best ones, candidate for candidate.
    pub different: usize,
    /// Those that are no choice at all: not ascending, not all of candidates, too short or too long, without a forced candidate.
    pub invalid: usize,
    /// Of the others, the largest part of the best lists' sum of scores that is missing: `1 - sum of chosen / sum of best` for
    /// scores that are not negative. 0 where all lists are the best ones.
    pub shortfall: f64,
}

impl Choices {
    /// Both together.
    pub fn and(self, other: Choices) -> Choices {
        Choices {
            lists: self.lists + other.lists,
            different: self.different + other.different,
            invalid: self.invalid + other.invalid,
            shortfall: self.shortfall.max(other.shortfall),
        }
    }

    /// Whether every list is a choice, and misses at most this part of the best sum of scores.
    pub fn within(&self, tolerance: f64) -> bool {
        self.invalid == 0 && self.shortfall <= tolerance
    }
}

/// Judges one list.
pub(super) fn judge(walk: &mut Walk, top: &Top, given: &[i64]) -> Choices {
    let ranked = rank(walk, top);
    let best = ranked.list(top.count as usize);
    let one = Choices { lists: 1, ..Choices::default() };
    if given == best {
        return one;
    }
    match shortfall(&ranked, given, best.iter().filter(|value| **value >= 0).count()) {
        Some(shortfall) => Choices { different: 1, shortfall, ..one },
        None => Choices { different: 1, invalid: 1, ..one },
    }
}

/// The missing part of the sum of scores; nothing if the list is no choice of `count` candidates.
fn shortfall(ranked: &Ranked, given: &[i64], count: usize) -> Option<f64> {
    let (chosen, padding) = given.split_at_checked(count)?;
    let ascending = chosen.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || padding.iter().any(|value| *value != -1) {
        return None;
    }
    let forced = &ranked.forced[..ranked.forced.len().min(count)];
    if !forced.iter().all(|value| chosen.contains(value)) {
        return None;
    }
    let free: Vec<i64> = chosen.iter().copied().filter(|value| !forced.contains(value)).collect();
    let score = |value: &i64| ranked.others.iter().find(|(_, other)| other == value).map(|(score, _)| *score);
    let mine: Vec<f64> = free.iter().map(score).collect::<Option<_>>()?;
    let best: Vec<f64> = ranked.others[..free.len()].iter().map(|(score, _)| *score).collect();
    // What both have of the infinities says nothing about the rest.
    let finite = |scores: &[f64]| -> (usize, usize, f64, f64) {
        let count = |infinity: f64| scores.iter().filter(|score| **score == infinity).count();
        let sum = |of: fn(f64) -> f64| scores.iter().filter(|score| score.is_finite()).map(|score| of(*score)).sum();
        (count(f64::INFINITY), count(f64::NEG_INFINITY), sum(|x| x), sum(f64::abs))
    };
    let (mine, best) = (finite(&mine), finite(&best));
    if (mine.0, mine.1) != (best.0, best.1) {
        return Some(f64::INFINITY);
    }
    let missing = best.2 - mine.2;
    Some(if missing <= 0.0 { 0.0 } else { missing / best.3.max(mine.3) })
}
