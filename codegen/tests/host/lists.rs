//! Lists of best values, with and without a staged score.

use super::driver::{Machine, isas};
use super::program::Text;
use nsa_dsl::program::DType;

/// The `n` best of the candidates (index, score, forced), as the language defines it.
fn best(mut candidates: Vec<(usize, f64, bool)>, n: usize) -> Vec<f64> {
    candidates.sort_by(|a, b| {
        let rank = |c: &(usize, f64, bool)| if c.2 { f64::INFINITY } else { c.1 };
        b.2.cmp(&a.2).then(rank(b).total_cmp(&rank(a))).then(a.0.cmp(&b.0))
    });
    candidates.truncate(n);
    candidates.sort_by_key(|c| c.0);
    let mut list: Vec<f64> = candidates.iter().map(|c| c.0 as f64).collect();
    list.resize(n, -1.0);
    list
}

#[test]
fn best_values_of_a_loaded_score() {
    let plan = Text {
        axes: &[("t", 0), ("b", 0), ("n", 6)],
        params: &[("x", &["t", "b"])],
        lists: &[],
        definitions: &[(
            "y",
            &["t", "n"],
            "(top 6 (upto (all @b) (i+ @t 3)) (load $x @t @b) (or (i< @b 1) (i== (i% (i+ @b @t) 17) 0)))".into(),
        )],
        element: DType::F32,
    }
    .plan();
    let (t_lens, b_lens) = ([9, 0, 40], [70, 5, 33]);
    for isa in isas() {
        let mut machine = Machine::new(&plan, &[("t", &t_lens), ("b", &b_lens)]);
        // Coarse scores give ties; some are infinite, some no number.
        machine.fill("x", |i| match (i[0] * 31 + i[1] * 7) % 23 {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => f64::NAN,
            x => (x % 5) as f64 - 2.0,
        });
        machine.run(isa);
        let (x, y) = (machine.array("x"), machine.array("y"));
        for (sequence, (t_len, b_len)) in t_lens.iter().zip(b_lens).enumerate() {
            for t in 0..*t_len {
                let candidates = (0..b_len).filter(|b| *b <= t + 3).map(|b| {
                    let score = x.at(sequence, &[t, b]);
                    let score = if score.is_nan() { f64::NEG_INFINITY } else { score };
                    (b, score, b < 1 || (b + t) % 17 == 0)
                });
                let expected = best(candidates.collect(), 6);
                let list: Vec<f64> = (0..6).map(|i| y.at(sequence, &[t, i])).collect();
                assert_eq!(list, expected, "{isa:?}: row {t} of sequence {sequence}");
            }
        }
    }
}

/// Mass of overlapping windows of keys on blocks: the score's contraction is staged, summed over heads.
fn staged(group: usize, width: i64) {
    let pos = "(i+ @t (i- #s #t))";
    let s = "(* (mma (all @d) (load $q @t @g @r @d) (load $kc @i @g @d)) 0.25)";
    let p = format!("(exp (- {s} (load $lse @t @g @r)))");
    let weight = "(float (imax 0 (i- (imin (i+ (i* @i 4) 8) (i+ (i* @b 16) 16)) (imax (i* @i 4) (i* @b 16)))))";
    let band = format!(
        "(upto (upto (from (all @i) (i/ (i+ (i* @b 16) -4) 4)) (i/ (i+ (i* @b 16) 15) 4)) (i/ (i- {pos} 7) 4))"
    );
    let score = format!("(fold add {band} (* (fold add (all @r) {p}) {weight}))");
    let plan = Text {
        axes: &[("t", 0), ("s", 0), ("i", 0), ("b", 0), ("g", 2), ("r", group as i64), ("d", width), ("n", 5)],
        params: &[("q", &["t", "g", "r", "d"]), ("kc", &["i", "g", "d"]), ("lse", &["t", "g", "r"])],
        lists: &[],
        definitions: &[(
            "y",
            &["t", "g", "n"],
            format!("(top 5 (upto (all @b) (i/ {pos} 16)) {score} (or (i< @b 1) (i== @b (i/ {pos} 16))))"),
        )],
        element: DType::F32,
    }
    .plan();
    assert_eq!(plan.kernels[0].stages.len(), 1, "{plan}");
    let (t_lens, s_lens) = ([7, 0, 150], [333, 3, 150]);
    let windows = s_lens.map(|s| if s < 8 { 0 } else { (s - 8) / 4 + 1 });
    let blocks = s_lens.map(|s: usize| s.div_ceil(16));
    for isa in isas() {
        let lengths = [("t", &t_lens[..]), ("s", &s_lens[..]), ("i", &windows[..]), ("b", &blocks[..])];
        let mut machine = Machine::new(&plan, &lengths);
        machine.randomise(23);
        machine.run(isa);
        let [q, kc, lse, y] = ["q", "kc", "lse", "y"].map(|n| machine.array(n));
        let mut clear = 0;
        for (sequence, (t_len, s_len)) in t_lens.iter().zip(s_lens).enumerate() {
            for (t, g) in (0..*t_len).flat_map(|t| [(t, 0), (t, 1)]) {
                let pos = s_len - t_len + t;
                let mass: Vec<f64> = (0..windows[sequence])
                    .map(|i| {
                        let p = |r: usize| {
                            let (q, k) = (q.row(sequence, &[t, g, r]), kc.row(sequence, &[i, g]));
                            let dot: f64 = q.iter().zip(k).map(|(a, b)| a * b).sum();
                            (dot * 0.25 - lse.at(sequence, &[t, g, r])).exp()
                        };
                        (0..group).map(p).sum()
                    })
                    .collect();
                let score = |b: usize| -> f64 {
                    let seen = mass.iter().enumerate().filter(|(i, _)| i * 4 + 7 <= pos);
                    let overlap =
                        |i: usize| ((i * 4 + 8).min(b * 16 + 16) as f64 - (i * 4).max(b * 16) as f64).max(0.0);
                    seen.map(|(i, m)| m * overlap(i)).sum()
                };
                let scored: Vec<(usize, f64, bool)> =
                    (0..=pos / 16).map(|b| (b, score(b), b < 1 || b == pos / 16)).collect();
                let expected = best(scored.clone(), 5);
                let list: Vec<f64> = (0..5).map(|i| y.at(sequence, &[t, g, i])).collect();
                // Where the reference's scores at the cut nearly tie, either choice is right.
                let mut free: Vec<f64> = scored.iter().filter(|c| !c.2).map(|c| c.1).collect();
                free.sort_by(|a, b| b.total_cmp(a));
                let cut = 5usize.saturating_sub(scored.iter().filter(|c| c.2).count());
                let close = cut > 0 && free.len() > cut && (free[cut - 1] - free[cut]).abs() < 1e-4 * free[cut];
                if !close {
                    clear += 1;
                    assert_eq!(list, expected, "{isa:?}: row {t}, group {g}, sequence {sequence}");
                }
            }
        }
        assert!(clear > 250, "only {clear} rows without a near tie");
    }
}

#[test]
fn staged_scores() {
    staged(16, 16);
}

#[test]
fn staged_scores_of_odd_groups() {
    staged(3, 32);
    staged(1, 16);
}
