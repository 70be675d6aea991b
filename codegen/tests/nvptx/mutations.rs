//! What the interpreter's findings are worth: every barrier, commit and wait of every example's kernels is deleted or weakened in turn.
//! A mutant is found by a finding or by a result that differs in a bit; one that is not found must be on the reviewed list of those
//! that change nothing, `equivalent_mutants.txt`, with the reason.

use super::device::{Compiled, Prepared};
use super::programs::{GPU_TARGETS, arguments, example, gpu, mlp_nsa, small, small_nsa};
use nsa_artifact::Target;
use nsa_codegen::{Options, Variant, lower};
use nsa_dsl::program::Program;
use nsa_dsl::{Settings, compile_source};
use ptx_vm::{Memory, Module, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lines `program target variant kernel: mutant | reason`.
const EQUIVALENT: &str = include_str!("equivalent_mutants.txt");

/// A batch: lengths of all run-time axes, per sequence.
type Sizes<'a> = &'a [(&'a str, &'a [i64])];

/// Sizes at which a mutant must show: few queries, so that there are few blocks, of sequences so long that loops over keys go round
/// several times. What the first does not find the second may. Variants that split the keys need longer sequences for that, the
/// more so where it is the compressed keys that are split.
fn sizes(program: &str, variant: &str) -> [Sizes<'static>; 2] {
    let short: Sizes<'_> = &[("t", &[9]), ("s", &[150])];
    let long: Sizes<'_> = match (program, variant) {
        ("nsa", "few queries") => &[("t", &[3]), ("s", &[8500])],
        ("full_attention" | "window", _) | (_, "few queries") => &[("t", &[3]), ("s", &[2500])],
        _ => &[("t", &[3]), ("s", &[600])],
    };
    [short, long]
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

/// What became of all mutants.
#[derive(Default)]
struct Outcome {
    tallies: BTreeMap<String, Tally>,
    missed: Vec<String>,
    /// Those on the list that were not found.
    used: BTreeSet<String>,
}

/// Tries all mutants of a program's variant.
fn try_all(name: &str, program: &Program, target: Target, variant: &Variant, listed: &BTreeSet<String>) -> Outcome {
    let start = std::time::Instant::now();
    let compiled = Compiled::new(&variant.plan, gpu(target));
    let stages =
        sizes(name, variant.label).map(|sizes| Stage::new(compiled.prepare(sizes, &arguments(program, sizes, 3))));
    let kernel = |entry: &str| {
        let launch = stages.iter().flat_map(|s| &s.prepared.launches).find(|l| l.entry == entry);
        launch.map_or(entry, |l| &l.kernel).to_string()
    };
    let mut outcome = Outcome::default();
    for mutant in ptx_vm::mutants(&stages[0].prepared.text).expect("PTX that the interpreter reads") {
        let module = Module::parse(&mutant.text).expect("a mutant that the interpreter reads");
        let opcode = mutant.statement.split(' ').next().unwrap_or_default();
        let tally = outcome.tallies.entry(format!("{opcode} {}", mutant.change)).or_default();
        if stages.iter().any(|stage| stage.shows(&mutant, &module)) {
            tally.found += 1;
            continue;
        }
        let at = format!("{name} {target} {} {}: {}", variant.label, kernel(&mutant.kernel), mutant.name());
        if listed.contains(&at) {
            tally.equivalent += 1;
            outcome.used.insert(at);
        } else {
            tally.missed += 1;
            outcome.missed.push(format!("{at} (line {})", mutant.line));
        }
    }
    println!("{name} {target} {}: {:.1} s", variant.label, start.elapsed().as_secs_f64());
    outcome
}

#[test]
fn mutants_are_found() {
    let listed: BTreeSet<String> = EQUIVALENT
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").unwrap_or_else(|| panic!("`{line}` has no reason")).0.to_string())
        .collect();
    // Twelve chosen blocks are three tiles of keys: two buffers are used again, and the last tile is in the first one, where
    // scratch memory begins. The longest come first: the others are done beside them.
    let programs: [(&str, Settings); 4] = [
        ("nsa_mlp", mlp_nsa(4).set("g", 1).set("WINDOW", 140).set("N", 12)),
        ("nsa", small_nsa(4).set("g", 1).set("WINDOW", 140).set("N", 12)),
        ("window", small(4).set("g", 1).set("WINDOW", 140)),
        ("full_attention", small(4).set("g", 1)),
    ];
    let programs = programs.map(|(name, settings)| {
        (name, compile_source("test.nsa", &example(name), &settings).unwrap_or_else(|e| panic!("{e}")))
    });
    let mut ways = vec![];
    for (name, program) in &programs {
        for target in GPU_TARGETS {
            let lowered = lower(program, target, &Options::default()).expect("plans");
            ways.extend(lowered.variants.into_iter().map(|variant| (*name, program, target, variant)));
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> Vec<Outcome> {
        let taken = std::iter::from_fn(|| ways.get(next.fetch_add(1, Ordering::Relaxed)));
        taken.map(|(name, program, target, variant)| try_all(name, program, *target, variant, &listed)).collect()
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("mutants that can be tried")).collect()
    });
    let (mut tallies, mut missed, mut used) = (BTreeMap::<String, Tally>::new(), vec![], BTreeSet::new());
    for outcome in outcomes {
        for (what, Tally { found, equivalent, missed }) in outcome.tallies {
            let all = tallies.entry(what).or_default();
            (all.found, all.equivalent, all.missed) =
                (all.found + found, all.equivalent + equivalent, all.missed + missed);
        }
        missed.extend(outcome.missed);
        used.extend(outcome.used);
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
