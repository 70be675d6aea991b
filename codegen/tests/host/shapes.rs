//! Native Sparse Attention over the shapes that kernels go wrong at: lengths around every tile and block, packed batches, head
//! groups, widths, types, branches, hard numbers. Everything against the reference evaluator in f64, on every instruction
//! set that the CPU has, twice, to the same bits.

use super::driver::{Machine, isas, relative_error};
use nsa_codegen::emit::host::{JitModule, jit};
use nsa_codegen::plan::{PlanExtent, Role};
use nsa_dsl::program::{DType, Program};
use nsa_dsl::{Evaluation, Inputs, Settings, compile_source};

/// The program with some of its branches: `c`, `s`, `w`; keys and values shared by them, or each its own.
fn source(branches: &str, shared: bool) -> String {
    let own = |branch: &str| if shared { String::new() } else { format!("_{branch}") };
    let (c, s, w) = (own("cmp"), own("slc"), own("win"));
    let mut arguments = String::from("q[t, g, r, d], ");
    let mut body = String::new();
    let mut terms = vec![];
    let mut pairs = vec![];
    if branches.contains(['c', 's']) {
        pairs.push(&c);
        body += &format!(
            "let kc[i, g, d] = block_mean(k{c}, i * STRIDE, L);
             let vc[i, g, e] = block_mean(v{c}, i * STRIDE, L);
             let seen = i * STRIDE + L - 1 <= pos(t);
             let (oc, lse) = attend(q, kc, vc, seen);\n"
        );
    }
    if branches.contains('c') {
        terms.push("gate[0] * oc".to_string());
    }
    if branches.contains('s') {
        pairs.push(&s);
        body += "let p[t, g, r, i] = exp(score(q, kc) - lse);
             let mass[t, g, b < ceil_div(len(s), BLOCK)] =
                 sum[r, i] p * overlap(i * STRIDE, L, b * BLOCK, BLOCK) / STRIDE
                     where seen && touches(i * STRIDE, L, b * BLOCK, BLOCK);
             let own = pos(t) / BLOCK;
             let chosen = top[b](mass, N, force = b < FIRST || b + LOCAL > own, among = b <= own);\n";
        terms.push(format!("gate[1] * attend(q, k{s}, v{s}, s / BLOCK in chosen && s <= pos(t))"));
    }
    if branches.contains('w') {
        pairs.push(&w);
        terms.push(format!("gate[2] * attend(q, k{w}, v{w}, window(s, pos(t), WINDOW))"));
    }
    pairs.dedup();
    for pair in pairs {
        arguments += &format!("k{pair}[s, g, d], v{pair}[s, g, e], ");
    }
    format!(
        "const g = 1; const r = 2; const d = 16; const e = 16; const L = 32; const STRIDE = 16; const BLOCK = 64;
         const N = 16; const FIRST = 1; const LOCAL = 2; const WINDOW = 512;
         kernel shapes({arguments}gate[t, g, r, 3]) -> o[t, g, r, e] {{ {body} {} }}",
        terms.join(" + ")
    )
}

fn program(text: &str, settings: Settings) -> Program {
    let compiled = compile_source("shapes.nsa", text, &settings);
    compiled.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{text}"))
}

fn whole(settings: Settings) -> Program {
    program(&source("csw", true), settings)
}

/// Small blocks, so that short sequences have many of them and the choice of blocks is one.
fn dense() -> Settings {
    Settings::default().set("L", 8).set("STRIDE", 4).set("BLOCK", 16).set("N", 4).set("WINDOW", 20)
}

fn f32s(settings: Settings) -> Settings {
    settings.element(DType::F32)
}

/// A program in machine code.
struct Code {
    program: Program,
    plan: nsa_codegen::plan::Plan,
    modules: Vec<JitModule>,
}

impl Code {
    fn new(program: Program) -> Self {
        let target = nsa_artifact::Target::this_host().expect("a host with code generation");
        let lowered = nsa_codegen::lower(&program, target, &nsa_codegen::Options::default()).expect("plans");
        let plan = lowered.variants.last().expect("a variant").plan.clone();
        let modules = isas().into_iter().map(|isa| jit(&plan, Some(isa)).expect("machine code")).collect();
        Code { program, plan, modules }
    }

    /// Runs a batch, filled by `fill(name, flat index, random number)`; every element within the tolerance of the reference.
    /// At most half of the (query, KV head) pairs may be left out because their choice of blocks is too close to call.
    fn check(&self, t: &[usize], s: &[usize], fill: &dyn Fn(&str, &[usize], f64) -> f64, tolerance: f64) {
        let Code { program, plan, modules } = self;
        let runtime = plan.axes.iter().filter(|a| a.extent == PlanExtent::Runtime).map(|a| a.name.name());
        let lengths: Vec<(&str, &[usize])> = runtime.map(|axis| (axis, if axis == "t" { t } else { s })).collect();
        let mut machine = Machine::new(plan, &lengths);
        let mut random = super::driver::Random(t.iter().sum::<usize>() as u64 + 1);
        let mut inputs = Inputs::new();
        for (axis, lengths) in &lengths {
            inputs = inputs.cumulative(*axis, (0..=lengths.len()).map(|n| lengths[..n].iter().sum()).collect());
        }
        for buffer in plan.buffers.iter().filter(|b| b.role == Role::Argument) {
            let name = buffer.name.name();
            machine.fill(name, |index| fill(name, index, random.next()));
            inputs = inputs.real(name, machine.array(name).data);
        }
        let evaluation = Evaluation::new(program, &inputs).expect("arguments that fit");
        let expected = evaluation.tensor("o").expect("the reference");
        let close = close_calls(program, &evaluation, t, s, if program.element == DType::F32 { 1e-4 } else { 5e-3 });
        let width = expected.real().len() / close.len().max(1);
        assert!(2 * close.iter().filter(|c| **c).count() <= close.len(), "most choices of blocks are close");
        for module in modules {
            let mut twice = vec![];
            // Blocks that walk lists are worked on together; what else is in a call must not change a bit.
            for portion in [1, 90] {
                machine.run_portions(module, portion);
                twice.push(machine.array("o").data);
            }
            let bits = |data: &[f64]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&twice[0]), bits(&twice[1]), "two runs in portions of 1 and 90 blocks differ");
            assert_eq!(twice[0].len(), expected.real().len());
            let rows = twice[0].chunks(width).zip(expected.real().chunks(width)).zip(&close);
            let sure =
                rows.filter(|(_, close)| !**close).flat_map(|((a, b), _)| a.iter().copied().zip(b.iter().copied()));
            let error = relative_error(sure);
            assert!(error < tolerance, "{:?}: t = {t:?}, s = {s:?}: {error} off\n{plan}", module.isa());
        }
    }

    /// The same with random numbers, queries and keys of one batch.
    fn random(&self, lengths: &[usize], tolerance: f64) {
        self.check(lengths, lengths, &|_, _, x| x, tolerance);
    }
}

/// For each (query, KV head), whether the last chosen block and the best one left out have nearly the same mass: rounding may
/// then choose the other one.
fn close_calls(program: &Program, evaluation: &Evaluation<'_>, t: &[usize], s: &[usize], margin: f64) -> Vec<bool> {
    let constant = |name: &str| {
        let found = program.constants.iter().find(|c| c.0 == name);
        found.unwrap_or_else(|| panic!("no constant {name}")).1 as usize
    };
    let mut close = vec![];
    let masses = program.tensors.iter().any(|t| t.name == "mass").then(|| evaluation.tensor("mass").expect("masses"));
    let mut at = 0;
    for (t, s) in t.iter().zip(s) {
        for row in 0..t * constant("g") {
            let Some(masses) = &masses else {
                close.push(false);
                continue;
            };
            let (n, block) = (constant("N"), constant("BLOCK"));
            let (blocks, own) = (s.div_ceil(block), (s - t + row / constant("g")) / block);
            let mass = &masses.real()[at..at + blocks];
            at += blocks;
            let forced = |b: usize| b < constant("FIRST") || b + constant("LOCAL") > own;
            let mut free: Vec<f64> = (0..=own).filter(|b| !forced(*b)).map(|b| mass[b]).collect();
            free.sort_by(|a, b| b.total_cmp(a));
            let places = n - (0..=own).filter(|b| forced(*b)).count().min(n);
            close.push(match free.get(places) {
                Some(out) if places > 0 => {
                    // Equal masses are no close call: the lower index wins.
                    let last = free[places - 1];
                    last != *out && last - out < margin * last
                }
                _ => false,
            });
        }
    }
    close
}

/// Lengths around every tile and block size.
const LENGTHS: [usize; 15] = [1, 2, 15, 31, 32, 33, 63, 64, 65, 127, 200, 333, 1000, 1024, 2047];

#[test]
fn lengths_in_f32() {
    let code = Code::new(whole(f32s(Settings::default())));
    for length in LENGTHS {
        code.random(&[length], 1e-5);
    }
}

#[test]
fn lengths_in_sixteen_bits() {
    for (element, tolerance) in [(DType::Bf16, 5e-3), (DType::F16, 1e-3)] {
        let code = Code::new(whole(Settings::default().element(element)));
        for length in LENGTHS {
            code.random(&[length], tolerance);
        }
        let code = Code::new(whole(dense().element(element)));
        for length in LENGTHS.into_iter().filter(|n| *n <= 333) {
            code.random(&[length], tolerance);
        }
    }
}

#[test]
fn packed_batches_and_cached_prefixes() {
    for settings in [f32s(Settings::default()), f32s(dense())] {
        let code = Code::new(whole(settings));
        code.random(&[0, 15, 205, 550, 800], 1e-5);
        code.check(&[1, 0, 3, 64], &[700, 0, 40, 129], &|_, _, x| x, 1e-5);
    }
}

#[test]
fn head_groups() {
    for group in [1, 2, 3, 4, 5, 8, 16, 32] {
        Code::new(whole(f32s(dense().set("r", group).set("g", 2)))).random(&[205], 1e-5);
    }
}

#[test]
fn widths() {
    for (d, e) in [(64, 64), (96, 96), (128, 128), (192, 128), (128, 64), (256, 256)] {
        Code::new(whole(f32s(dense().set("d", d).set("e", e)))).random(&[33, 130], 1e-5);
        Code::new(whole(dense().set("d", d).set("e", e).element(DType::Bf16))).random(&[130], 5e-3);
    }
}

#[test]
fn branches_with_shared_and_separate_keys() {
    for branches in ["c", "s", "w", "cs", "cw", "sw", "csw"] {
        for shared in [true, false] {
            let code = Code::new(program(&source(branches, shared), f32s(dense())));
            code.random(&[0, 5, 150], 1e-5);
        }
    }
}

/// Scores up to 1e4. Numbers are whole, so that scores are exact and what is tested is the softmax.
#[test]
fn large_magnitudes() {
    let large = |name: &str, _: &[usize], x: f64| match name {
        "q" | "k" => (100.0 * x).round(),
        _ => x,
    };
    for element in [DType::F32, DType::Bf16] {
        let tolerance = if element == DType::F32 { 1e-4 } else { 5e-3 };
        let code = Code::new(program(&source("cw", true), dense().set("d", 64).element(element)));
        code.check(&[200], &[200], &large, tolerance);
        let code = Code::new(whole(f32s(dense().set("d", 64))));
        code.check(&[200], &[200], &large, 1e-3);
    }
}

/// Keys that are all alike: every block has the mass of its neighbours, and the lowest ones are chosen.
#[test]
fn ties() {
    let alike = |name: &str, index: &[usize], x: f64| if name == "k" { index[2] as f64 / 8.0 - 1.0 } else { x };
    let code = Code::new(whole(f32s(dense())));
    code.check(&[200, 33], &[200, 33], &alike, 1e-5);
}

/// Rows that see nothing give 0 and -inf, whatever lies in memory.
#[test]
fn rows_that_see_nothing() {
    let text = "const r = 3; const d = 16; const e = 32;
        kernel late(q[t, r, d], k[s, d], v[s, e]) -> (o[t, r, e], lse: f32[t, r]) {
            attend(q, k, v, s + 50 <= pos(t))
        }";
    for element in [DType::F32, DType::Bf16, DType::F16] {
        let code = Code::new(program(text, Settings::default().element(element)));
        for module in &code.modules {
            let mut machine = Machine::new(&code.plan, &[("t", &[90, 20]), ("s", &[90, 20])]);
            machine.randomise(3);
            machine.run_module(module);
            let (o, lse) = (machine.array("o"), machine.array("lse"));
            for (sequence, length) in [(0, 90), (1, 20)] {
                for t in 0..length {
                    for r in 0..3 {
                        let (row, log) = (o.row(sequence, &[t, r]), lse.at(sequence, &[t, r]));
                        match t < 50 {
                            true => {
                                assert!(row.iter().all(|x| *x == 0.0), "row {t} is {row:?}");
                                assert_eq!(log, f64::NEG_INFINITY);
                            }
                            false => assert!(log.is_finite() && row.iter().any(|x| *x != 0.0)),
                        }
                    }
                }
            }
        }
    }
    // All keys beyond the first block of a batch whose sequences are shorter than a compressed block.
    let code = Code::new(program(&source("c", true), f32s(Settings::default())));
    code.random(&[31, 1, 0, 40], 1e-5);
}

/// Arguments may have another type than the program's elements: none is rounded, whatever the instruction set.
#[test]
fn arguments_in_f32_among_sixteen_bits() {
    let text = "kernel window(q: f32[t, g = 2, d = 32], k: f32[s, g, d], v: f32[s, g, e = 16]) -> o: f32[t, g, e] {
        attend(q, k, v, s <= pos(t) && pos(t) < s + 8)
    }";
    Code::new(program(text, Settings::default().element(DType::Bf16))).random(&[50, 3], 1e-5);
}
