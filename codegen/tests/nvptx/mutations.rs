//! What the interpreter's findings are worth: every barrier, commit and wait of every example's kernels is deleted or weakened in turn.
//! A mutant is found by a finding or by a result that differs in a bit; one that is not found must be on the reviewed list of those
//! that change nothing, `equivalent_mutants.txt`, with the reason.

use super::device::{Prepared, prepare};
use super::programs::{GPU_TARGETS, arguments, example, gpu, mlp_nsa, small, small_nsa};
use nsa_codegen::{Options, lower};
use nsa_dsl::{Settings, compile_source};
use ptx_vm::{Memory, Module, Mutant};
use std::collections::{BTreeMap, BTreeSet};

/// Lines `program target variant kernel: mutant | reason`.
const EQUIVALENT: &str = include_str!("equivalent_mutants.txt");

/// A batch: lengths of all run-time axes, per sequence.
type Sizes<'a> = &'a [(&'a str, &'a [i64])];

/// Sizes at which a mutant must show: few queries, so that there are few blocks, of sequences so long that loops over keys go round
/// several times. What the first does not find the second may. Variants that split the keys need longer sequences for that.
fn sizes(program: &str, variant: &str) -> [Sizes<'static>; 2] {
    let short: Sizes<'_> = &[("t", &[9]), ("s", &[150])];
    let splits = variant == "few queries" || !program.starts_with("nsa");
    [short, if splits { &[("t", &[3]), ("s", &[2500])] } else { &[("t", &[3]), ("s", &[240])] }]
}

/// Seed of the scheduler: races are found because nothing orders two accesses, not because a schedule shows them.
const SEED: u64 = 1;

/// A plan at some sizes, with the memory before each kernel and the contents after it.
struct Stage<'p> {
    prepared: Prepared<'p>,
    before: Vec<Memory>,
    after: Vec<Vec<(Vec<u8>, Vec<bool>)>>,
}

impl<'p> Stage<'p> {
    fn new(prepared: Prepared<'p>) -> Self {
        let module = Module::parse(&prepared.text).expect("PTX that the interpreter reads");
        let (mut before, mut after) = (vec![], vec![]);
        let mut memory = prepared.memory.clone();
        for launch in &prepared.launches {
            before.push(memory.clone());
            let report = launch.run(&module, &mut memory, &ptx_vm::Options::default());
            assert!(report.is_clean(), "{}: {report}", launch.kernel);
            after.push(prepared.contents(&memory));
        }
        Stage { prepared, before, after }
    }

    /// Whether the mutant shows at these sizes.
    fn shows(&self, mutant: &Mutant, module: &Module) -> bool {
        let launches = self.prepared.launches.iter().enumerate().filter(|(_, l)| l.entry == mutant.kernel);
        for (at, launch) in launches {
            let mut memory = self.before[at].clone();
            let options = ptx_vm::Options { seed: SEED, instruction_limit: 1 << 24, ..Default::default() };
            let report = launch.run(module, &mut memory, &options);
            if !report.is_clean() || self.prepared.contents(&memory) != self.after[at] {
                return true;
            }
        }
        false
    }
}

/// What became of the mutants of one kind of statement.
#[derive(Default)]
struct Tally {
    found: usize,
    equivalent: usize,
    missed: usize,
}

#[test]
fn mutants_are_found() {
    let listed: BTreeSet<String> = EQUIVALENT
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").unwrap_or_else(|| panic!("`{line}` has no reason")).0.to_string())
        .collect();
    let programs: [(&str, Settings); 4] = [
        ("full_attention", small(4).set("g", 1)),
        ("window", small(4).set("g", 1).set("WINDOW", 140)),
        ("nsa", small_nsa(4).set("g", 1).set("WINDOW", 140)),
        ("nsa_mlp", mlp_nsa(4).set("g", 1).set("WINDOW", 140)),
    ];
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut missed, mut used) = (vec![], BTreeSet::new());
    for (name, settings) in &programs {
        let program = compile_source("test.nsa", &example(name), settings).unwrap_or_else(|e| panic!("{e}"));
        for target in GPU_TARGETS {
            let lowered = lower(&program, target, &Options::default()).expect("plans");
            for variant in &lowered.variants {
                let start = std::time::Instant::now();
                let stages = sizes(name, variant.label).map(|sizes| {
                    Stage::new(prepare(&variant.plan, gpu(target), sizes, &arguments(&program, sizes, 3)))
                });
                let kernel = |entry: &str| {
                    let launch = stages.iter().flat_map(|s| &s.prepared.launches).find(|l| l.entry == entry);
                    launch.map_or(entry, |l| &l.kernel).to_string()
                };
                for mutant in ptx_vm::mutants(&stages[0].prepared.text).expect("PTX that the interpreter reads") {
                    let module = Module::parse(&mutant.text).expect("a mutant that the interpreter reads");
                    let opcode = mutant.statement.split(' ').next().unwrap_or_default();
                    let tally = tallies.entry(format!("{opcode} {}", mutant.change)).or_default();
                    if stages.iter().any(|stage| stage.shows(&mutant, &module)) {
                        tally.found += 1;
                        continue;
                    }
                    let at = format!("{name} {target} {} {}: {}", variant.label, kernel(&mutant.kernel), mutant.name());
                    if listed.contains(&at) {
                        tally.equivalent += 1;
                        used.insert(at);
                    } else {
                        tally.missed += 1;
                        missed.push(format!("{at} (line {})", mutant.line));
                    }
                }
                println!("{name} {target} {}: {:.1} s", variant.label, start.elapsed().as_secs_f64());
            }
        }
    }
    println!("{:44} found  equivalent  missed", "");
    for (what, Tally { found, equivalent, missed }) in &tallies {
        println!("{what:44} {found:5}  {equivalent:10}  {missed:6}");
    }
    let found: usize = tallies.values().map(|t| t.found).sum();
    println!("{found} mutants found, {} equivalent, {} missed", used.len(), missed.len());
    let stale: Vec<&String> = listed.difference(&used).collect();
    // Kernels change: an entry that is found now, or gone, does no harm.
    let report = format!("missed:\n{}\nlisted, but found or gone:\n{stale:#?}", missed.join("\n"));
    println!("{report}");
    assert!(found > 0 && missed.len() * 19 <= found, "more than 5% are missed\n{report}");
}
