//! Relatives whose masks the caller gives as integers.

use super::case::{Case, G, LENGTHS, R, run};
use nsa_dsl::Inputs;

#[test]
fn prefix_mask() {
    for (queries, keys) in LENGTHS {
        for prefix in [0, 1, 3, keys / 2, keys] {
            let case = Case::new(queries, keys);
            let (o, _) = case.attend_to(|row, s| s <= row.pos || s < prefix);
            let given = vec![prefix as i64; queries];
            case.check("prefix_mask", &[], |inputs| inputs.integers("prefix", given), &[("o", &o)]);
        }
    }
}

#[test]
fn documents() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        // Numbers need not be in order.
        let document: Vec<i64> = (0..keys as i64).map(|s| [7, 2, 2, -5][s as usize * 4 / keys.max(1)]).collect();
        let (o, _) = case.attend_to(|row, s| s <= row.pos && document[s] == document[row.pos]);
        case.check("documents", &[], |inputs| inputs.integers("document", document.clone()), &[("o", &o)]);
    }
}

/// The pool's keys are those of the case; a query sees the first ones of its pages, in the order of its table.
#[test]
fn paged() {
    let (page, pages, room) = (4, 7, 3);
    for queries in [1, 6] {
        let case = Case::new(queries, pages * page);
        let table: Vec<i64> = (0..queries as i64).flat_map(|t| [t % 7, (t + 5) % 7, (t + 3) % 7]).collect();
        let used: Vec<i64> = (0..queries as i64).map(|t| (11 + t * 5) % 13).collect();
        let (o, lse) = case.attend_to(|row, place| {
            let own = table[row.t * room..][..room].iter().position(|&p| p as usize == place / page);
            own.is_some_and(|own| ((own * page + place % page) as i64) < used[row.t])
        });
        let inputs = Inputs::new()
            .real("q", case.q.clone())
            .real("keys", case.k.clone())
            .real("values", case.v.clone())
            .integers("table", table.clone())
            .integers("used", used.clone())
            .length("t", queries)
            .length("page", pages);
        let sizes = [("PAGE", page as i64), ("n", room as i64)];
        run("paged", &sizes, inputs, &[("o", &o), ("lse", &lse)]);
    }
}

#[test]
fn block_sparse() {
    for (queries, keys) in LENGTHS {
        let mut case = Case::new(queries, keys);
        let (block, full_room, partial_room) = (4, 5, 2);
        let (mut counts, mut indices) = ([vec![], vec![]], [vec![], vec![]]);
        for _ in 0..queries * G {
            // Some blocks in random order; the first few are full, the next partial, the others only fill the lists up.
            let mut blocks: Vec<i64> = (0..keys.div_ceil(block).max(full_room + partial_room) as i64).collect();
            for i in (1..blocks.len()).rev() {
                blocks.swap(i, (case.random.unit() * (i + 1) as f64) as usize);
            }
            for (part, room, start) in [(0, full_room, 0), (1, partial_room, full_room)] {
                counts[part].push((case.random.unit() * (room + 1) as f64) as i64);
                indices[part].extend(&blocks[start..start + room]);
            }
        }
        let listed = |part: usize, room: usize, row: usize, s: usize| {
            indices[part][row * room..][..counts[part][row] as usize].contains(&((s / block) as i64))
        };
        let (o, lse) = case.attend_to(|row, s| {
            let at = row.t * G + row.g;
            listed(0, full_room, at, s) || listed(1, partial_room, at, s) && s <= row.pos
        });
        let [full, partial] = indices.clone();
        let sizes = [("BLOCK", block as i64), ("n", full_room as i64), ("m", partial_room as i64)];
        case.check(
            "block_sparse",
            &sizes,
            |inputs| {
                let inputs = inputs.integers("full_count", counts[0].clone()).integers("full_index", full);
                inputs.integers("partial_count", counts[1].clone()).integers("partial_index", partial)
            },
            &[("o", &o), ("lse", &lse)],
        );
    }
}

#[test]
fn vertical_slash() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        // Per head; the columns of the second head are fewer.
        let column: Vec<[i64; 3]> =
            (0..G * R).map(|h| if h == 1 { [0, -1, -1] } else { [0, 3, 8 + h as i64] }).collect();
        let slash: Vec<[i64; 4]> = (0..G * R).map(|h| [0, 1, 2 + h as i64, 11]).collect();
        let (o, _) = case.attend_to(|row, s| {
            let head = row.g * R + row.r;
            let distance = row.pos as i64 - s as i64;
            distance >= 0 && (column[head].contains(&(s as i64)) || slash[head].contains(&distance))
        });
        case.check(
            "vertical_slash",
            &[("n", 3), ("m", 4)],
            |inputs| inputs.integers("column", column.concat()).integers("slash", slash.concat()),
            &[("o", &o)],
        );
    }
}

#[test]
fn bigbird() {
    for (queries, keys) in LENGTHS {
        let case = Case::new(queries, keys);
        let block = 4;
        // Global, near and far blocks, one behind the last key.
        let random: Vec<[i64; 2]> = (0..queries as i64).map(|t| [t % 11, if t % 3 == 0 { -1 } else { 12 }]).collect();
        let (o, _) = case.attend_to(|row, s| {
            let (own, block) = (row.pos / block, s / block);
            block < 2 || block.abs_diff(own) <= 1 || random[row.t].contains(&(block as i64))
        });
        let sizes = [("BLOCK", block as i64), ("GLOBAL", 2), ("WINDOW", 3), ("n", 2)];
        case.check("bigbird", &sizes, |inputs| inputs.integers("random", random.concat()), &[("o", &o)]);
    }
}

#[test]
fn tree() {
    for (queries, keys) in LENGTHS.into_iter().filter(|(queries, keys)| queries <= keys) {
        let case = Case::new(queries, keys);
        let cached = keys - queries;
        // Each draft's parent is the one before the last, so that there are two branches.
        let path: Vec<[i64; 3]> = (0..queries as i64).map(|t| [t, t - 2, t - 4].map(|i| i.max(-1))).collect();
        let (o, _) = case.attend_to(|row, s| s < cached || path[row.t].contains(&((s - cached) as i64)));
        case.check("tree", &[("n", 3)], |inputs| inputs.integers("path", path.concat()), &[("o", &o)]);
    }
}
