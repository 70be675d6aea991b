//! Survey (not committed).
use nsa_artifact::Target;
use nsa_codegen::{Options, lower, emit::{host, nvptx}};
fn main() {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).unwrap();
        let program = nsa_dsl::compile_source(&path, &text, &nsa_dsl::Settings::default()).unwrap_or_else(|e| panic!("{e}"));
        for target in [Target::X86_64, Target::Sm80, Target::Sm90a] {
            let start = std::time::Instant::now();
            match lower(&program, target, &Options::default()) {
                Err(e) => println!("{path} {target}: ERROR {e} ({:?})", start.elapsed()),
                Ok(low) => {
                    let planned = start.elapsed();
                    for v in &low.variants {
                        if !v.untiled.is_empty() { println!("  {path} {target} {}: untiled {:?}", v.label, v.untiled); }
                        if std::env::var("PLAN").is_ok() { println!("{}", v.plan); }
                        let r = match target {
                            Target::X86_64 => host::emit(&v.plan, nsa_codegen::compile::cpu(target), "x").map(|_| ()),
                            t => nvptx::emit(&v.plan, if t == Target::Sm80 { nvptx::Target::Sm80 } else { nvptx::Target::Sm90a }).map(|_| ()),
                        };
                        if let Err(e) = r { println!("{path} {target} {}: EMIT ERROR {e}", v.label); }
                    }
                    println!("{path} {target}: kernels {:?} plan {planned:?} all {:?}", low.variants.iter().map(|v| v.plan.kernels.len()).collect::<Vec<_>>(), start.elapsed());
                }
            }
        }
    }
}
