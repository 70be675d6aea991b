//! Offsets beyond 2^31 elements: tensors with such strides, in memory of which only the rows exist.

use super::driver::{Far, Machine, isas};
use nsa_codegen::emit::host::jit;
use nsa_codegen::plan::Role;
use nsa_dsl::program::DType;
use nsa_dsl::{Settings, compile_source};

/// Strides that are no 32-bit number, and some whose products with an index are none.
const FAR: [Far; 3] = [
    Far { axis: 0, stride: (1 << 31) + 64 },
    Far { axis: 1, stride: (1 << 32) + 64 },
    Far { axis: 0, stride: (1 << 26) + 64 },
];

/// Where rows lie makes no difference to any bit of any result. All kernels of NSA: pooled keys, lists, gathered blocks, windows.
#[test]
fn tensors_of_more_than_2_to_the_31_elements() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nsa.nsa");
    let source = std::fs::read_to_string(path).expect("an example");
    let small =
        [("g", 2), ("r", 2), ("d", 16), ("e", 16), ("L", 8), ("STRIDE", 4), ("BLOCK", 16), ("N", 4), ("WINDOW", 20)];
    let settings = small.into_iter().fold(Settings::default(), |settings, (name, n)| settings.set(name, n));
    for element in [DType::F32, DType::Bf16] {
        let settings = settings.clone().element(element);
        let program = compile_source("nsa.nsa", &source, &settings).unwrap_or_else(|e| panic!("{e}"));
        let target = nsa_artifact::Target::this_host().expect("a host with code generation");
        let lowered = nsa_codegen::lower(&program, target, &nsa_codegen::Options::default()).expect("plans");
        let plan = &lowered.variants.last().expect("a variant").plan;
        let lengths: &[(&str, &[usize])] = &[("t", &[3, 67]), ("s", &[3, 67])];
        for isa in isas() {
            let module = jit(plan, Some(isa)).expect("machine code");
            let results = |far: Option<Far>| -> Vec<Vec<u64>> {
                let mut machine = Machine::new(plan, lengths);
                machine.randomise(5);
                match far {
                    Some(far) => machine.run_far(&module, far),
                    None => machine.run_module(&module),
                }
                let results = plan.buffers.iter().filter(|b| b.role == Role::Result);
                let bits = results.map(|b| machine.array(b.name.name()).data.iter().map(|x| x.to_bits()).collect());
                bits.collect()
            };
            let near = results(None);
            assert!(near.iter().flatten().all(|x| f64::from_bits(*x).is_finite()), "{isa:?}: results are numbers");
            for far in FAR {
                assert!(results(Some(far)) == near, "{isa:?}, {element:?}: {far:?} makes a difference");
            }
        }
    }
}
