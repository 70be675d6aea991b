//! Laws of sums, and of the fold that softmax is.

use super::super::facts::Graph;
use super::super::{Monoid, Term};
use super::finite::{finite, number};
use super::{Law, Rule, any_node, computed, free_of, law, pattern, rule, var};
use egg::Subst;

const TOPIC: &str = "algebra";

#[rustfmt::skip]
pub(super) fn laws() -> Vec<Law> { vec![
    law(TOPIC, "normalise-last", "sum_D (e / z) v = (sum_D e v) / z, z free of D", vec![
        rule("(fold add ?D (*~ (ratio ?e ?z) ?v))", "(ratio (fold add ?D (* ?e ?v)) ?z)", &[free_of("?z", "?D")]),
        rule("(fold add ?D (ratio ?e ?z))",         "(ratio (fold add ?D ?e) ?z)",        &[free_of("?z", "?D")]),
    ]),
    law(TOPIC, "factor-out", "sum_D a b = a sum_D b, a finite and free of D", vec![
        rule("(fold add ?D (*~ ?a ?b))",          "(* ?a (fold add ?D ?b))",          &[free_of("?a", "?D"), finite("?a")]),
        rule("(fold add ?D (*~ (*~ ?a ?c) ?b))",  "(* ?a (fold add ?D (* ?c ?b)))",   &[free_of("?a", "?D"), finite("?a")]),
        rule("(fold add ?D (/ ?b ?a))",           "(/ (fold add ?D ?b) ?a)",          &[number("?a")]),
    ]),
    law(TOPIC, "sum-interchange", "sum_D sum_E e = sum_E sum_D e, D and E free of each other", vec![
        rule("(fold add ?D (fold add ?E ?e))", "(fold add ?E (fold add ?D ?e))", &[free_of("?E", "?D"), free_of("?D", "?E")]),
    ]),
    law(TOPIC, "online-weighted", "sum_D exp(s - max_D s) v = second of the lse fold over D of (s, v)", vec![
        rule("(fold add ?D (*~ (exp (shift ?s (fold max ?D ?s))) ?v))", "(snd (fold lse ?D (pair ?s ?v)))", &[super::whole("?D")]),
    ]),
    law(TOPIC, "online-unit", "sum_D exp(s - max_D s) = second of the lse fold over D of (s, 1)", vec![
        rule("(fold add ?D (exp (shift ?s (fold max ?D ?s))))", "(snd (fold lse ?D (pair ?s 1.0)))", &[super::whole("?D")]),
    ]),
    law(TOPIC, "banana-split", "two lse folds over D with one score = one lse fold of the pair", vec![
        rule("(ratio (snd (fold lse ?D (pair ?s ?v))) (snd (fold lse ?D (pair ?s 1.0))))", "(norm (snd (fold lse ?D (pair ?s (pair ?v 1.0)))))", &[]),
    ]),
    law(TOPIC, "log-sum-exp", "max_D s + log sum_D exp(s - max_D s) = log-sum-exp of the lse fold over D of (s, 1)", vec![
        rule("(+~ (fold max ?D ?s) (log (snd (fold lse ?D (pair ?s 1.0)))))", "(logsum (fold lse ?D (pair ?s 1.0)))", &[]),
    ]),
    law(TOPIC, "share-sum", "log-sum-exp of the lse fold of (s, 1) = that of a fold of (s, (v, 1)) over the same D that is there anyway", share_sum()),
] }

/// The weighted folds with the same domain and score are looked up in the graph: a pattern could not name their `v`.
fn share_sum() -> Vec<Vec<Rule>> {
    let (domain, score, value) = (var("?D"), var("?s"), var("?v"));
    let wide = pattern("(logsum (fold lse ?D (pair ?s (pair ?v 1.0))))");
    let find = move |graph: &Graph, subst: &Subst| {
        let mut values = Vec::new();
        for class in graph.classes() {
            for node in &class.nodes {
                let Term::Fold([monoid, over, body]) = *node else { continue };
                let lse = any_node(graph, monoid, |node| *node == Term::Monoid(Monoid::Lse));
                if !lse || graph.find(over) != graph.find(subst[domain]) {
                    continue;
                }
                for pair in &graph[body].nodes {
                    let Term::Pair([s, weights]) = *pair else { continue };
                    if graph.find(s) != graph.find(subst[score]) {
                        continue;
                    }
                    for weights in &graph[weights].nodes {
                        if let Term::Pair([v, one]) = *weights
                            && any_node(graph, one, |node| matches!(node, Term::Num(one) if one.get() == 1.0))
                        {
                            values.push(graph.find(v));
                        }
                    }
                }
            }
        }
        values.sort_unstable();
        values.dedup();
        let with = |v| {
            let mut subst = subst.clone();
            subst.insert(value, v);
            (wide.clone(), subst)
        };
        values.into_iter().map(with).collect()
    };
    vec![computed("(logsum (fold lse ?D (pair ?s 1.0)))", find)]
}
