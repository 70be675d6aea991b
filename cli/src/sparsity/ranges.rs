//! Sets of numbers as ascending disjoint ranges.

use std::ops::Range;

/// A set of numbers.
pub type Ranges = Vec<Range<usize>>;

/// Ranges in any order as a set.
pub fn normal(mut ranges: Ranges) -> Ranges {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut set: Ranges = vec![];
    for range in ranges {
        match set.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => set.push(range),
        }
    }
    set
}

/// What is in either.
pub fn union(a: &Ranges, b: &Ranges) -> Ranges {
    normal(a.iter().chain(b).cloned().collect())
}

/// What is in both.
pub fn intersection(a: &Ranges, b: &Ranges) -> Ranges {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut set = vec![];
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if !both.is_empty() {
            set.push(both);
        }
        if x.end < y.end {
            a.next();
        } else {
            b.next();
        }
    }
    set
}

/// What is in the first and not in the second.
pub fn difference(a: &Ranges, b: &Ranges) -> Ranges {
    let mut set = vec![];
    let mut b = b.iter().peekable();
    for range in a {
        let mut start = range.start;
        while let Some(hole) = b.next_if(|hole| hole.end <= range.end) {
            if hole.start > start {
                set.push(start..hole.start);
            }
            start = start.max(hole.end);
        }
        let end = b.peek().map_or(range.end, |hole| hole.start.clamp(start, range.end));
        if start < end {
            set.push(start..end);
        }
    }
    set
}

/// How many numbers there are.
pub fn count(set: &Ranges) -> usize {
    set.iter().map(|range| range.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a set of one range")]
    fn operations_on_sets() {
        let (a, b) = (vec![0..3, 5..6, 8..12], vec![2..9, 11..20]);
        assert_eq!(union(&a, &b), [0..20]);
        assert_eq!(intersection(&a, &b), [2..3, 5..6, 8..9, 11..12]);
        assert_eq!(intersection(&a, &vec![]), []);
        assert_eq!(difference(&a, &b), [0..2, 9..11]);
        assert_eq!(difference(&b, &a), [3..5, 6..8, 12..20]);
        assert_eq!(difference(&vec![0..9], &vec![0..1, 3..4, 8..20]), [1..3, 4..8]);
        assert_eq!(difference(&a, &vec![]), a);
        assert_eq!(normal(vec![4..5, 7..7, 0..2, 1..4]), [0..5]);
        assert_eq!(count(&a), 8);
    }
}
