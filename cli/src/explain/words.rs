//! What each law does, in words for those who read their first derivation. The equations are in `RULES.md`.

/// What a law does; None for a law that has no words, which a test excludes.
pub fn words(law: &str) -> Option<&'static str> {
    Some(match law {
        "normalise-last" => "a quotient inside a sum is taken once, after the sum",
        "factor-out" => "a factor that does not change along a sum is taken out of it",
        "sum-interchange" => "two sums change places",
        "online-weighted" => "a softmax and the sum it weights become one pass, with a running maximum",
        "online-unit" => "the denominator of a softmax becomes one pass, with a running maximum",
        "banana-split" => "two passes with the same scores become one",
        "log-sum-exp" => "a log-sum-exp is read off the running maximum and sum",
        "share-sum" => "a log-sum-exp is read off a pass that is made anyway",
        "select-to-mask" => "what a condition makes the fold's identity is left out of the fold",
        "split-conjunction" => "conditions that are joined by `and` restrict a loop one after the other",
        "mask-to-domain" => "a comparison becomes a bound of the loop: what is beyond is never visited",
        "zero-to-domain" => "where a factor is certainly 0, the loop does not go",
        "walk-blocks" => "membership in a list becomes a walk through the listed blocks",
        "order-bounds" => "the restrictions of a loop are put into one order",
        "join-bounds" => "two bounds become one, the tighter",
        "split-disjunction" => "alternatives become a loop for each, one after the other, that have no value in common",
        "join-alternatives" => "two bounds of which either will do become one, the looser",
        "tile" => "the loop goes in tiles: a loop over tiles around a loop inside of one",
        "two-pass-inner" => "inside a tile the maximum comes first, then the sum",
        "split" => "the loop is cut into chunks that run side by side, and are merged by another kernel",
        "mma" => "a sum of products runs on matrix units",
        "mma-operands" => "rows and columns of a matrix product change places",
        "fuse-producer" => "is computed where it is used, inside of a loop, and not stored",
        "fuse-epilogue" => "is computed where it is used, after the loops, and not stored",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_law_has_words() {
        for law in nsa_codegen::term::rules::general() {
            assert!(super::words(law.name).is_some(), "{}", law.name);
        }
        for law in ["fuse-producer", "fuse-epilogue"] {
            assert!(super::words(law).is_some(), "{law}");
        }
        assert_eq!(super::words("gravity"), None);
    }
}
