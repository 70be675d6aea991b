//! Every law can be switched off: there are kernels all the same, whose order and reads are right.

use super::programs::example;
use nsa_artifact::Target;
use nsa_codegen::{Options, lower, term};
use nsa_dsl::{Settings, compile_source};

#[test]
fn each_law_can_be_missing() {
    let program =
        compile_source("nsa.nsa", &example("nsa"), &Settings::default()).unwrap_or_else(|errors| panic!("{errors}"));
    for target in [Target::X86_64, Target::Sm80, Target::Sm90a] {
        let all = lower(&program, target, &Options::default()).expect("plans");
        let laws = term::rules::laws(&all.variants[0].candidate.terms, &[]).expect("none is unknown");
        assert!(laws.len() > 20, "{} laws", laws.len());
        for law in laws {
            let options = Options { without: vec![law.name.to_string()], ..Options::default() };
            // What comes out is verified there.
            lower(&program, target, &options).unwrap_or_else(|error| panic!("{target} without {}: {error}", law.name));
        }
    }
}
