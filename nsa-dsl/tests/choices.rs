//! Lists that somebody else chose: used instead of the best ones, and judged.

use nsa_dsl::{Choices, EvalError, Inputs, Outputs, Program, Settings, compile_source, evaluate, evaluate_rows};

const SCORES: [f64; 8] = [0.5, 4.0, 3.0, 2.996, 0.0, 1.0, f64::NEG_INFINITY, 2.0];

fn program() -> Program {
    let text = "
        const N = 3;
        kernel pick(x: f32[t, b = 8]) -> y: f32[t] {
            let list = top[b](x, N, force = b == 4, among = b <= t + 5);
            sum[b] x where b in list
        }";
    compile_source("pick.nsa", text, &Settings::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Two rows with the same scores; row 0 has the candidates 0 to 5, row 1 also 6.
fn inputs(lists: [i64; 6]) -> Inputs {
    let scores = SCORES.iter().chain(&SCORES).copied().collect();
    Inputs::new().length("t", 2).real("x", scores).chosen("list", lists.to_vec())
}

fn judged(lists: [i64; 6]) -> (Outputs, Choices) {
    let outputs = evaluate(&program(), &inputs(lists)).expect("arguments that fit");
    let choices = outputs.choices()["list"];
    (outputs, choices)
}

#[test]
fn the_best_lists_are_as_good_as_none_given() {
    let (outputs, choices) = judged([1, 2, 4, 1, 2, 4]);
    assert_eq!(choices, Choices { lists: 2, ..Choices::default() });
    assert_eq!(outputs.get("y").expect("y").real(), [7.0, 7.0]);
}

#[test]
fn near_ties_are_followed_and_judged() {
    let (outputs, choices) = judged([1, 2, 4, 1, 3, 4]);
    assert_eq!(outputs.get("y").expect("y").real(), [7.0, 6.996]);
    assert_eq!((choices.lists, choices.different, choices.invalid), (2, 1, 0));
    assert!((choices.shortfall - 0.004 / 7.0).abs() < 1e-12, "{choices:?}");
    assert!(choices.within(1e-3) && !choices.within(1e-4));
}

#[test]
fn worse_lists_fall_short() {
    let (_, choices) = judged([1, 2, 4, 0, 4, 5]);
    assert!((choices.shortfall - 5.5 / 7.0).abs() < 1e-12, "{choices:?}");
    // A candidate of score -inf where there are others.
    let (_, choices) = judged([1, 2, 4, 1, 4, 6]);
    assert_eq!(choices.shortfall, f64::INFINITY);
}

#[test]
fn what_is_no_choice_is_said_to_be_none() {
    for list in [[1, 2, 7], [1, 2, 3], [2, 1, 4], [1, 1, 4], [1, 4, -1], [-1, 1, 4], [1, 4, 8]] {
        let (_, choices) = judged([1, 2, 4, list[0], list[1], list[2]]);
        assert_eq!((choices.different, choices.invalid), (1, 1), "{list:?}");
        assert!(!choices.within(f64::INFINITY));
    }
}

#[test]
fn only_rows_that_are_asked_for_are_judged() {
    let outputs = evaluate_rows(&program(), &inputs([7, 7, 7, 1, 3, 4]), "t", &[(0, 1)]).expect("arguments that fit");
    assert_eq!(outputs.get("y").expect("y").real(), [6.996]);
    assert_eq!((outputs.choices()["list"].lists, outputs.choices()["list"].invalid), (1, 0));
}

#[test]
fn lists_must_fit() {
    let short = inputs([0; 6]).chosen("list", vec![1, 2, 4]);
    assert!(matches!(evaluate(&program(), &short), Err(EvalError::WrongSize { .. })));
    let long = inputs([0; 6]).chosen("list", vec![1; 9]);
    assert!(matches!(evaluate(&program(), &long), Err(EvalError::WrongSize { .. })));
    let other = inputs([1, 2, 4, 1, 2, 4]).chosen("y", vec![0, 0]);
    assert_eq!(evaluate(&program(), &other), Err(EvalError::UnknownTensor("y".into())));
}
