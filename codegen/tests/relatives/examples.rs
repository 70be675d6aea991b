//! The examples, with sizes that an interpreter can do: several tiles, blocks, warps and sequences still.

use super::compare::{Example, check, example_text, names, survives};

/// Values of an integer argument by its name and the number of the element.
type Integers = fn(&str, usize) -> i64;

const NO_INTEGERS: Integers = |name, _| panic!("no values for the integer argument {name}");

/// Queries at the end of as many keys or more; an empty sequence, one that is shorter than a block.
const CAUSAL: &[(&str, &[usize])] = &[("t", &[37, 0, 9]), ("s", &[70, 0, 9])];

/// The table of all examples; a test below sees that none is forgotten.
const EXAMPLES: &[Example] = &[
    Example {
        name: "a_shape",
        sizes: &[("BLOCK", 8), ("FIRST", 2), ("LOCAL", 3)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
    Example { name: "alibi", sizes: &[], lengths: CAUSAL, integers: NO_INTEGERS },
    Example {
        name: "bigbird",
        sizes: &[("g", 1), ("BLOCK", 8), ("GLOBAL", 1), ("n", 2)],
        lengths: CAUSAL,
        // Some of them near the query, some global, some behind the last key.
        integers: |_, at| if at % 6 == 1 { -1 } else { [2, 4, 5, 3, 0, 7, 9][at * 3 % 7] },
    },
    Example {
        name: "block_sparse",
        sizes: &[("BLOCK", 16), ("n", 3), ("m", 2)],
        lengths: CAUSAL,
        // Full blocks are even and partial ones odd, none twice, some behind the last key.
        integers: |name, at| match name {
            "full_count" => at as i64 % 4,
            "full_index" => 2 * ((at / 3 + at % 3) as i64 % 3),
            "partial_count" => at as i64 % 3,
            _ => 2 * ((at / 2 + at % 2) as i64 % 2) + 1,
        },
    },
    Example {
        name: "cross_attention",
        sizes: &[],
        lengths: &[("t", &[33, 0, 5]), ("s", &[40, 3, 0])],
        integers: NO_INTEGERS,
    },
    Example { name: "decode", sizes: &[], lengths: &[("s", &[150])], integers: NO_INTEGERS },
    Example { name: "differential", sizes: &[], lengths: CAUSAL, integers: NO_INTEGERS },
    Example { name: "documents", sizes: &[], lengths: CAUSAL, integers: |_, at| [4, 1, -7][at / 17 % 3] },
    Example {
        name: "dsa",
        sizes: &[("c", 32), ("p", 16), ("h", 4), ("i", 16), ("N", 20)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
    Example { name: "full_attention", sizes: &[], lengths: CAUSAL, integers: NO_INTEGERS },
    Example { name: "h2o", sizes: &[("HEAVY", 5), ("RECENT", 12)], lengths: CAUSAL, integers: NO_INTEGERS },
    Example {
        name: "infllm_v2",
        sizes: &[("L", 8), ("STRIDE", 4), ("BLOCK", 16), ("N", 3), ("LOCAL", 2)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
    Example { name: "learned_bias", sizes: &[("REACH", 20)], lengths: CAUSAL, integers: NO_INTEGERS },
    // The latent is wider than a tile: it is cut along the result, and whole in the scores.
    Example {
        name: "mla",
        sizes: &[("p", 16)],
        lengths: &[("t", &[9, 0, 3]), ("s", &[30, 0, 3])],
        integers: NO_INTEGERS,
    },
    Example { name: "moba", sizes: &[("BLOCK", 16), ("N", 2)], lengths: CAUSAL, integers: NO_INTEGERS },
    Example {
        name: "nsa",
        sizes: &[("L", 8), ("STRIDE", 4), ("BLOCK", 16), ("N", 4), ("WINDOW", 20)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
    Example {
        name: "nsa_mlp",
        sizes: &[("g", 1), ("j", 8), ("STRIDE", 4), ("BLOCK", 16), ("N", 4), ("WINDOW", 20), ("u", 16)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
    Example {
        name: "paged",
        sizes: &[("g", 1), ("PAGE", 16), ("n", 3)],
        lengths: &[("t", &[9, 0, 3]), ("page", &[7, 7, 7])],
        integers: |name, at| if name == "used" { at as i64 * 11 % 49 } else { at as i64 * 5 % 7 },
    },
    Example { name: "prefix_mask", sizes: &[], lengths: CAUSAL, integers: |_, at| at as i64 * 7 % 23 },
    Example { name: "quest", sizes: &[("g", 1), ("PAGE", 16), ("N", 2)], lengths: CAUSAL, integers: NO_INTEGERS },
    Example { name: "softcap", sizes: &[], lengths: CAUSAL, integers: NO_INTEGERS },
    Example {
        name: "tree",
        sizes: &[("n", 3)],
        lengths: CAUSAL,
        integers: |_, at| if at % 3 < 2 { at as i64 / 3 % 37 / (1 + at as i64 % 3) } else { -1 },
    },
    Example {
        name: "vertical_slash",
        sizes: &[("n", 3), ("m", 4)],
        lengths: CAUSAL,
        integers: |name, at| match name {
            "column" => [0, 11, -1][at % 3] + (at / 3) as i64 % 2,
            _ => [0, 1, 9, 30][at % 4],
        },
    },
    Example { name: "window", sizes: &[("WINDOW", 20)], lengths: CAUSAL, integers: NO_INTEGERS },
    Example {
        name: "window_with_sinks",
        sizes: &[("SINKS", 3), ("WINDOW", 20)],
        lengths: CAUSAL,
        integers: NO_INTEGERS,
    },
];

#[test]
fn none_is_forgotten() {
    let listed: Vec<&str> = EXAMPLES.iter().map(|example| example.name).collect();
    assert_eq!(listed, names());
}

/// Integers that point nowhere: a kernel reads nothing outside of its arguments all the same.
#[test]
fn wrong_integers() {
    let wrong: fn(&str, usize) -> i64 =
        |_, at| [i64::from(i32::MAX), -2, i64::from(i32::MIN), 1_000_003, 2, -1, 1 << 26][at % 7];
    for example in EXAMPLES {
        if example_text(example).contains(": i32[") {
            survives(&Example { integers: wrong, ..*example });
        }
    }
}

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let name = stringify!($name);
            check(EXAMPLES.iter().find(|example| example.name == name).expect("an example"));
        }
    )*};
}

tests! {
    a_shape alibi bigbird block_sparse cross_attention decode differential documents dsa full_attention h2o infllm_v2 learned_bias mla moba
    nsa nsa_mlp paged prefix_mask quest softcap tree vertical_slash window window_with_sinks
}
