//! The whole road: a checked program in, an artifact out.
//!
//! Every step is one function between two types that print; [`lower`] stops at plans, for those who want to look.

use crate::emit::{EmitError, host, llvm, nvptx};
use crate::machine::Machine;
use crate::package;
use crate::plan::{Fault, Plan, PlanError, Planned, Tiling, plan, verify, visit};
use crate::term::context::Context;
use crate::term::cost::CostTable;
use crate::term::{self, Candidate, Considered, Explanation, Optimised, translate};
use nsa_artifact::{Artifact, Bound, Measure, Target, symbol_name};
use nsa_dsl::{Diagnostic, Diagnostics, Program};
use std::collections::BTreeMap;

/// What to compile for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Targets, each once.
    pub targets: Vec<Target>,
    /// Expected lengths of run-time axes; they decide between candidates, not what is right.
    pub sizes: BTreeMap<String, i64>,
    /// Laws that are not to be used.
    pub without: Vec<String>,
    /// Sizes of blocks and tiles, for tuning; None: the target's own.
    pub tiling: Option<Tiling>,
    /// The machine whose costs decide between candidates; None: the one that stands for each target.
    pub machine: Option<&'static Machine>,
    /// What host symbols begin with; two programs in one binary need different ones.
    pub prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        let targets = [Target::Sm80, Target::Sm90a].into_iter().chain(Target::this_host()).collect();
        Options { targets, sizes: BTreeMap::new(), without: vec![], tiling: None, machine: None, prefix: "nsa".into() }
    }
}

/// Why a checked program was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The program says what no kernel can do, or a name in the options is not one of its; quotes the program.
    #[error(transparent)]
    Program(Diagnostics),
    /// LLVM could not make a target's code.
    #[error("{target}: {error}")]
    Emit {
        /// The target.
        target: Target,
        /// Why not.
        error: EmitError,
    },
    /// The artifact contradicts itself: a defect of the compiler.
    #[error("the artifact is inconsistent (this is a defect of the compiler, please report it): {0}")]
    Package(#[from] nsa_artifact::Invalid),
}

/// Names with commas between: on the line that is there if there are few, else on lines of their own.
fn in_lines(names: &[String]) -> String {
    const WIDTH: usize = 76;
    if names.iter().map(|name| name.len() + 2).sum::<usize>() <= WIDTH {
        return names.join(", ");
    }
    let (mut text, mut room) = (String::new(), 0);
    for (number, name) in names.iter().enumerate() {
        let comma = if number + 1 < names.len() { "," } else { "" };
        let taken = name.len() + comma.len() + 1;
        if taken > room {
            text += &format!("\n  {name}{comma}");
            room = WIDTH;
        } else {
            text += &format!(" {name}{comma}");
        }
        room = room.saturating_sub(taken);
    }
    text
}

impl CompileError {
    /// An error of the optimiser, at the definition that it is about.
    fn optimise(program: &Program, error: term::Error) -> Self {
        let unknown = |(what, all): (&str, &str), name: &str, known: &[String]| {
            let error = Diagnostic::without_place(format!("there is no {what} `{name}`"));
            match nsa_dsl::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("the {all} are {}", in_lines(known))),
            }
        };
        let diagnostic = match &error {
            term::Error::UnknownLaw { name, known } => unknown(("law", "laws"), name, known),
            term::Error::UnknownAxis { name, known } => unknown(("axis", "axes"), name, known),
            term::Error::Underivable { definition } => {
                defect(program, definition, "compiled", "no way was found to compute it")
            }
            term::Error::Malformed { message } => defect(program, "", "compiled", message),
        };
        CompileError::Program(program.diagnose(diagnostic))
    }

    /// An error of the planner, at the tensor that it is about.
    fn plan(program: &Program, error: PlanError) -> Self {
        let at = |tensor: &str, message: String| Diagnostic::new(program.place(tensor), message);
        let diagnostic = match &error {
            PlanError::SeveralRuntimeAxes { tensor, axes } => {
                at(tensor, format!("`{tensor}` varies over several axes whose lengths are given at run time"))
                    .label(format!("it varies over {axes}"))
                    .note("a kernel is spread over one of them only")
                    .help("fold over the others, or give them a constant extent")
            }
            PlanError::NoAxes(tensor) => at(tensor, format!("`{tensor}` is a single number; kernels store tensors"))
                .help(format!("give it an axis: `{tensor}[one = 1]`")),
            PlanError::List { list, .. } => at(list, format!("no kernel can be made that chooses `{list}`"))
                .label("its score is computed in a way that cannot be ranked while it is computed")
                .help("define the score first, `let score[...] = ...;`, and choose from that"),
            PlanError::NoCandidate => defect(program, "", "compiled", "no way was found to compute it"),
        };
        CompileError::Program(program.diagnose(diagnostic))
    }

    /// A plan that contradicts itself.
    fn faults(program: &Program, target: Target, plan: &Plan, faults: &[Fault]) -> Self {
        let tensor = faults.first().map_or("", |fault| stored(program, plan, &fault.kernel));
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let what = format!("compiled for {target}");
        CompileError::Program(program.diagnose(defect(program, tensor, &what, &faults.join("; "))))
    }

    /// An error of a target's emitter, at the definition that it is about.
    fn emit(program: &Program, target: Target, plan: &Plan, error: EmitError) -> Self {
        let (kernel, error) = match error {
            EmitError::Kernel { kernel, error } => (kernel, *error),
            error => (String::new(), error),
        };
        let tensor = stored(program, plan, &kernel);
        let diagnostic = match error {
            EmitError::Missing(_) => return CompileError::Emit { target, error },
            EmitError::Limit(why) => {
                let message = format!("no code for {target} can be made of `{}`", named(program, tensor));
                Diagnostic::new(program.place(tensor), message).label(why)
            }
            EmitError::Plan(words) | EmitError::Llvm(words) => {
                defect(program, tensor, &format!("compiled for {target}"), &words)
            }
            error => defect(program, tensor, &format!("compiled for {target}"), &error.to_string()),
        };
        CompileError::Program(program.diagnose(diagnostic))
    }
}

/// What the compiler did wrong, at the definition that it was about.
fn defect(program: &Program, tensor: &str, what: &str, details: &str) -> Diagnostic {
    let message = format!("`{}` could not be {what}, which is a defect of the compiler", named(program, tensor));
    Diagnostic::new(program.place(tensor), message)
        .note(format!("please report it, with the program and these words: {details}"))
}

/// A definition's name, or the program's.
fn named<'a>(program: &'a Program, tensor: &'a str) -> &'a str {
    if program.tensors.iter().any(|t| t.name == tensor) { tensor } else { &program.name }
}

/// The first definition of the program that a kernel stores; none if there is no such kernel.
fn stored(program: &Program, plan: &Plan, kernel: &str) -> &'static str {
    let mut found = None;
    if let Some(kernel) = plan.kernels.iter().find(|k| k.name == kernel) {
        visit::stores(kernel, &mut |name| {
            let is_definition = program.tensors.iter().any(|t| t.name == name.name());
            found = found.or(is_definition.then(|| name.name()));
        });
    }
    found.unwrap_or("")
}

/// A compiled program, with everything that led to it.
#[derive(Debug)]
pub struct Compiled {
    /// Per target, in the order of the options.
    pub lowered: Vec<Lowered>,
    /// What the runtime loads.
    pub artifact: Artifact,
}

/// What one target runs.
#[derive(Debug)]
pub struct Lowered {
    /// The target.
    pub target: Target,
    /// What the cost model assumed.
    pub machine: &'static Machine,
    /// What was considered.
    pub optimised: Optimised,
    /// Ways to run the program; the first whose bounds hold is taken. The last has none.
    pub variants: Vec<Variant>,
}

/// One way to run the program on a target.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it is, for readers.
    pub label: &'static str,
    /// Sizes that it is for.
    pub when: Vec<Bound>,
    /// The terms and their cost.
    pub candidate: Candidate,
    /// The kernels.
    pub plan: Plan,
    /// Kernels with contractions that have no tiled form, and why.
    pub untiled: Vec<(String, String)>,
    /// Everything that was costed for these sizes, cheapest first.
    pub considered: Vec<Considered>,
    /// Cheaper candidates that were not taken: what they store, and why.
    pub refused: Vec<(Vec<&'static str>, String)>,
    /// The expected lengths of run-time axes that it was costed for.
    pub sizes: BTreeMap<String, i64>,
}

impl Variant {
    /// What its kernels cost on a machine for a batch of sequences, each with the lengths of its run-time axes; sequences without a
    /// single element cost nothing.
    ///
    /// # Errors
    /// A length of an axis that the program does not have.
    pub fn cost(
        &self,
        program: &Program,
        machine: &Machine,
        batch: &[BTreeMap<String, i64>],
    ) -> Result<CostTable, CompileError> {
        let mut different: BTreeMap<&BTreeMap<String, i64>, usize> = BTreeMap::new();
        for sizes in batch.iter().filter(|sizes| sizes.is_empty() || sizes.values().any(|n| *n > 0)) {
            *different.entry(sizes).or_default() += 1;
        }
        let mut together: Option<CostTable> = None;
        for (sizes, count) in different {
            let context = Context::of_program(program, sizes).map_err(|e| CompileError::optimise(program, e))?;
            let one = term::cost::cost(&self.candidate.terms, &context, machine);
            match &mut together {
                Some(all) => all.add(&one, count, machine),
                None => {
                    let mut all = one.clone();
                    all.add(&one, count - 1, machine);
                    together = Some(all);
                }
            }
        }
        Ok(together.unwrap_or(CostTable { kernels: vec![] }))
    }
}

/// Compiles a program for all targets of the options.
///
/// # Errors
/// See [`CompileError`]; a program that passed the checker fails only for what a target cannot do.
pub fn compile(program: &Program, options: &Options) -> Result<Compiled, CompileError> {
    let mut packer = package::Packer::new(program, &options.without);
    let work = |target: Target| {
        let way = lower(program, target, options)?;
        let codes = way.emit(program, options)?;
        Ok((way, codes))
    };
    // Targets have nothing in common but the program: each is compiled in a thread of its own, or here where there is none to be had.
    let ways: Vec<Result<(Lowered, Vec<Code>), CompileError>> = std::thread::scope(|scope| {
        let start = |&target: &Target| {
            let thread = std::thread::Builder::new().name(format!("nsa-{target}")).stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, move || work(target)).map_err(|_| target)
        };
        let threads: Vec<_> = options.targets.iter().map(start).collect();
        let finish = |thread: Result<std::thread::ScopedJoinHandle<'_, _>, Target>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(target) => work(target),
        };
        threads.into_iter().map(finish).collect()
    });
    let mut lowered = vec![];
    for way in ways {
        let (way, codes) = way?;
        for (variant, code) in way.variants.iter().zip(&codes) {
            match code {
                Code::Ptx(code) => packer.ptx(way.target, variant, code),
                Code::Host(code, prefix) => packer.host(way.target, variant, code, prefix),
            }
        }
        lowered.push(way);
    }
    Ok(Compiled { lowered, artifact: packer.finish()? })
}

/// Stack of a thread that compiles: terms are walked recursively, as deep as the checker lets expressions nest.
const STACK_BYTES: usize = 64 << 20;

/// What a variant runs.
enum Code {
    Ptx(nvptx::PtxCode),
    /// With what its symbols begin with.
    Host(host::HostCode, String),
}

impl Lowered {
    /// Code for all variants.
    fn emit(&self, program: &Program, options: &Options) -> Result<Vec<Code>, CompileError> {
        let target = self.target;
        let code = |(number, variant): (usize, &Variant)| {
            let code = match nvptx::Target::of(target) {
                Some(gpu) => nvptx::emit(&variant.plan, gpu).map(Code::Ptx),
                None => {
                    let prefix = format!("{}_{}_{number}", options.prefix, symbol_name(&program.name));
                    host::emit(&variant.plan, cpu(target), &prefix).map(|code| Code::Host(code, prefix))
                }
            };
            code.map_err(|error| CompileError::emit(program, target, &variant.plan, error))
        };
        self.variants.iter().enumerate().map(code).collect()
    }
}

/// Optimises and plans a program for one target.
///
/// # Errors
/// As [`compile`], but for emission.
pub fn lower(program: &Program, target: Target, options: &Options) -> Result<Lowered, CompileError> {
    let machine = options.machine.unwrap_or(machine(target));
    let own = || match target {
        Target::Sm80 => Tiling::sm_80(),
        Target::Sm90a => Tiling::gpu(),
        Target::X86_64 | Target::Aarch64 => Tiling::host(),
    };
    let tiling = options.tiling.clone().unwrap_or_else(own);
    let terms = translate(program);
    let query =
        term::Options { without: options.without.clone(), sizes: options.sizes.clone(), candidates: CANDIDATES };
    let refused = |error| CompileError::optimise(program, error);
    let optimised = term::optimise(&terms, program, machine, &query).map_err(refused)?;
    let whole = optimised.candidates.iter().filter(|c| c.split.is_empty());
    let many = best(whole, program, &tiling).map_err(|error| CompileError::plan(program, error))?;
    let mut variants = vec![];
    if let Some(when) = few_rows(&many.planned.plan, machine) {
        let mut few = query.clone();
        few.sizes.insert(when.axis.clone(), 1);
        let found = term::optimise(&terms, program, machine, &few).map_err(refused)?;
        let split = found.candidates.iter().filter(|c| !c.split.is_empty());
        if let Ok(best) = best(split, program, &tiling.clone().few_rows()) {
            variants.push(best.variant("few queries", vec![when], found.considered, few.sizes));
        }
    }
    variants.push(many.variant("many queries", vec![], optimised.considered.clone(), query.sizes));
    for variant in &variants {
        let faults = verify(&variant.plan);
        if !faults.is_empty() {
            return Err(CompileError::faults(program, target, &variant.plan, &faults));
        }
    }
    Ok(Lowered { target, machine, optimised, variants })
}

/// The LLVM module of a plan for a target, optimised, as text.
///
/// # Errors
/// What the target's emitter refuses.
pub fn llvm_text(plan: &Plan, target: Target) -> Result<String, CompileError> {
    let text = match nvptx::Target::of(target) {
        Some(gpu) => nvptx::ir(plan, gpu),
        None => host::ir(plan, cpu(target), &plan.name),
    };
    text.map_err(|error| CompileError::Emit { target, error })
}

/// How many candidates go on to planning.
const CANDIDATES: usize = 16;

/// A candidate with its plan, and what was cheaper but not taken.
struct Best {
    candidate: Candidate,
    planned: Planned,
    refused: Vec<(Vec<&'static str>, String)>,
}

impl Best {
    fn variant(
        self,
        label: &'static str,
        when: Vec<Bound>,
        considered: Vec<Considered>,
        sizes: BTreeMap<String, i64>,
    ) -> Variant {
        let Best { candidate, planned: Planned { plan, untiled, .. }, refused } = self;
        Variant { label, when, candidate, plan, untiled, considered, refused, sizes }
    }
}

/// The first candidate of those with the fewest contractions that have no tiled form, and of those with the fewest kernels that
/// spill: such kernels cost far more than the model's differences between candidates.
fn best<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    program: &Program,
    tiling: &Tiling,
) -> Result<Best, PlanError> {
    let faults = |planned: &Planned| (planned.untiled.len(), planned.crowded.len());
    let mut best: Option<Best> = None;
    let (mut failure, mut refused) = (None, vec![]);
    for candidate in candidates {
        match plan(&candidate.terms, program, tiling) {
            Ok(planned) if best.as_ref().is_none_or(|b| faults(&planned) < faults(&b.planned)) => {
                if let Some(Best { candidate, planned, .. }) = best.take() {
                    let untiled =
                        planned.untiled.iter().map(|(kernel, why)| format!("{kernel} has no tiled form: {why}"));
                    let crowded = planned.crowded.iter().map(|(kernel, why)| format!("{kernel} spills: {why}"));
                    refused.push((candidate.stored(), untiled.chain(crowded).collect::<Vec<_>>().join("; ")));
                }
                best = Some(Best { candidate: candidate.clone(), planned, refused: refused.clone() });
            }
            Ok(_) => {}
            Err(error) => {
                refused.push((candidate.stored(), error.to_string()));
                failure.get_or_insert(error);
            }
        }
    }
    best.ok_or_else(|| failure.unwrap_or(PlanError::NoCandidate))
}

/// Checks the names of laws that are to be left out.
///
/// # Errors
/// A name that is no law's, with the nearest one that is.
pub fn known_laws(program: &Program, without: &[String]) -> Result<(), CompileError> {
    if without.is_empty() {
        return Ok(());
    }
    let laws = term::rules::laws(&term::translate(program), without);
    laws.map(drop).map_err(|error| CompileError::optimise(program, error))
}

/// The laws that lead from a program to a variant, definition by definition.
///
/// # Errors
/// The options are not those that the variant was made with.
pub fn derivation(
    program: &Program,
    lowered: &Lowered,
    variant: &Variant,
    options: &Options,
) -> Result<Vec<Explanation>, CompileError> {
    let sizes = variant.sizes.clone();
    let query = term::Options { without: options.without.clone(), sizes, candidates: CANDIDATES };
    let (terms, chosen) = (translate(program), &variant.candidate.terms);
    term::explain(&terms, chosen, program, lowered.machine, &query)
        .map_err(|error| CompileError::optimise(program, error))
}

/// When a plan's widest grid leaves most of a machine idle: few values of the run-time axis that its rows are cut from.
fn few_rows(plan: &Plan, machine: &Machine) -> Option<Bound> {
    if !machine.is_gpu() {
        return None;
    }
    let kernel = plan.kernels.last()?;
    let runtime = kernel.grid.last().filter(|g| plan.slot(g.axis).is_some())?;
    let constant: i64 = kernel.grid.iter().filter_map(|g| plan.constant(g.axis)).product();
    // As many values as would fill the machine with one block each.
    let at_most = (machine.units as i64 / constant).max(1);
    let axis = runtime.axis.name().to_string();
    Some(Bound { axis, measure: Measure::Total, at_least: None, at_most: Some(at_most) })
}

/// The machine that stands for a target in the cost model.
pub fn machine(target: Target) -> &'static Machine {
    match target {
        Target::Sm80 => &crate::machine::SM_80,
        Target::Sm90a => &crate::machine::H200,
        Target::X86_64 => &crate::machine::X86_64,
        Target::Aarch64 => &crate::machine::AARCH64,
    }
}

/// The emitter's name for a CPU target.
pub fn cpu(target: Target) -> llvm::Machine {
    if target == Target::Aarch64 { llvm::Machine::Aarch64 } else { llvm::Machine::X86_64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{A100, H200};

    /// What was costed for some sizes costs the same when it is asked for again; other sizes and machines cost something else.
    #[test]
    fn costs_of_any_lengths_on_any_machine() {
        let source = include_str!("../../examples/nsa.nsa");
        let program = nsa_dsl::compile_source("nsa", source, &nsa_dsl::Settings::default()).unwrap();
        let lowered = lower(&program, Target::Sm90a, &Options::default()).unwrap();
        for variant in &lowered.variants {
            let cost = |machine, batch: &[BTreeMap<String, i64>]| variant.cost(&program, machine, batch).unwrap();
            let again = cost(lowered.machine, std::slice::from_ref(&variant.sizes));
            assert_eq!(again, variant.candidate.cost, "{}", variant.label);
            let slower = cost(&A100, std::slice::from_ref(&variant.sizes));
            assert!(slower.seconds() > again.seconds(), "{} on an A100", variant.label);
        }
        let general = lowered.variants.last().unwrap();
        let of = |t: i64, s: i64| BTreeMap::from([("t".to_string(), t), ("s".to_string(), s)]);
        let cost = |batch: &[BTreeMap<String, i64>]| general.cost(&program, &H200, batch).unwrap();
        let (one, three) = (cost(&[of(4096, 4096)]), cost(&[of(4096, 4096), of(0, 0), of(4096, 4096), of(4096, 4096)]));
        for (one, three) in one.kernels.iter().zip(&three.kernels) {
            assert!((three.memory / one.memory - 3.0).abs() < 1e-9 && (three.blocks / one.blocks - 3.0).abs() < 1e-9);
            assert_eq!(three.launches, one.launches, "a batch is one launch");
        }
        assert!(three.seconds() < 3.0 * one.seconds() && three.seconds() > one.seconds());
        assert_eq!(cost(&[of(0, 0)]).seconds(), 0.0);
        let unknown = general.cost(&program, &H200, &[BTreeMap::from([("x".to_string(), 1)])]);
        assert!(unknown.unwrap_err().to_string().contains("there is no axis `x`"));
    }
}
