//! Misspelt names.

/// The known name that is nearest to a misspelt one, if any is near: a third of its letters may differ. Of names of one
/// letter, one that the misspelt name has a letter too many of, if no other is as near.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (name.chars().count().max(3) / 3).min(3);
    let known: Vec<&str> = known.filter(|other| !other.contains("..") && *other != name).collect();
    let near = known
        .iter()
        .map(|other| (distance(name, other), *other))
        .filter(|&(distance, other)| distance <= limit && distance < other.chars().count())
        .min_by_key(|&(distance, _)| distance);
    near.map(|(_, other)| other).or_else(|| {
        let one_more = |other: &str| {
            let mut letters = name.chars();
            other.chars().count() == 1 && name.chars().count() == 2 && letters.any(|letter| other.starts_with(letter))
        };
        let mut single = known.into_iter().filter(|other| one_more(other));
        let first = single.next()?;
        single.all(|other| other == first).then_some(first)
    })
}

/// Letters to insert, remove, replace or swap with their neighbour; another case of the same letter counts as nothing but breaks no
/// tie.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    // The last three rows of the table of distances between beginnings of both.
    let mut rows = [vec![], vec![], (0..=b.len()).collect::<Vec<usize>>()];
    for (i, &x) in a.iter().enumerate() {
        let [_, above_last, last] = rows;
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(above_last[j - 1] + 1);
            }
            row.push(best);
        }
        rows = [above_last, last, row];
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        assert_eq!(nearest("STRYDE", ["BLOCK", "STRIDE"].into_iter()), Some("STRIDE"));
        assert_eq!(nearest("l", ["L", "x"].into_iter()), Some("L"));
        assert_eq!(nearest("kk", ["q", "k", "v"].into_iter()), Some("k"));
        assert_eq!(nearest("ss", ["q", "t", "s", "s"].into_iter()), Some("s"));
        assert_eq!(nearest("k2", ["k", "g"].into_iter()), Some("k"));
        // Which of the two was meant cannot be told; and a name of one letter is near to none of the others.
        assert_eq!(nearest("qk", ["q", "k"].into_iter()), None);
        assert_eq!(nearest("x", ["q", "k"].into_iter()), None);
        assert_eq!(nearest("window", ["gate", "chosen"].into_iter()), None);
        assert_eq!(nearest("bf61", ["bf16", "f16"].into_iter()), Some("bf16"));
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("ab", "ba")), (3, 3, 1));
    }
}
