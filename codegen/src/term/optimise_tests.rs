use super::programs::{PAPER, SMALL, nsa};
use super::*;
use crate::machine::H200;

#[test]
fn look() {
    let written = nsa(&PAPER).on(&H200);
    let start = std::time::Instant::now();
    let optimised = optimise_in(&written.terms, &written.context, &H200, &Options::default()).unwrap();
    eprintln!("{optimised}\n{:?}", start.elapsed());
    for candidate in &optimised.candidates {
        eprintln!("{}", candidate.cost);
        for d in &candidate.terms.definitions {
            let e = extract::expression(&candidate.terms.nodes, d.root);
            eprintln!("{} {:?} =\n{}", d.tensor, d.axes, e.pretty(110));
        }
        break;
    }
}
