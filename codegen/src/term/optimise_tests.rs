use super::*;
use crate::machine::{H200, X86_64};
use nsa_dsl::{Settings, compile_source};

fn program(name: &str) -> nsa_dsl::Program {
    let path = format!("{}/../examples/{name}.nsa", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    compile_source(&path, &text, &Settings::default()).unwrap_or_else(|d| panic!("{d:?}"))
}

#[test]
fn look() {
    for (name, machine) in [("nsa", &H200), ("nsa_mlp", &H200)] {
        let p = program(name);
        let terms = translate(&p);
        let start = std::time::Instant::now();
        let optimised = optimise(&terms, &p, machine, &Options::default()).unwrap();
        eprintln!("{name} {}: {optimised}\n{:?}", machine.name, start.elapsed());
        for candidate in optimised.candidates.iter().take(1) {
            eprintln!("{}", candidate.cost);
            for d in &candidate.terms.definitions {
                let e = extract::expression(&candidate.terms.nodes, d.root);
                eprintln!("{} {:?} =\n{}", d.tensor, d.axes, e.pretty(110));
            }
            break;
        }
    }
}
