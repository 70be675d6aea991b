//! The assembly text itself.

use super::program::{Text, attend};
use nsa_artifact::Target;
use nsa_codegen::emit::host::{Isa, emit};
use nsa_codegen::emit::llvm::{Machine, assemble};
use nsa_codegen::plan::Plan;
use nsa_dsl::program::DType;

fn attention() -> Plan {
    attention_of(DType::F16)
}

fn attention_of(element: DType) -> Plan {
    let f = attend("$k", "$v", "s", "(upto (all @s) @t)", 0.25);
    Text {
        axes: &[("t", 0), ("s", 0), ("g", 2), ("r", 16), ("d", 32), ("e", 32)],
        params: &[("q", &["t", "g", "r", "d"]), ("k", &["s", "g", "d"]), ("v", &["s", "g", "e"])],
        lists: &[],
        definitions: &[("o", &["t", "g", "r", "e"], format!("(norm (snd {f}))"))],
        element,
    }
    .plan()
}

fn doubled() -> Plan {
    Text {
        axes: &[("t", 0), ("d", 16)],
        params: &[("x", &["t", "d"])],
        lists: &[],
        definitions: &[("y", &["t", "d"], "(* 2.0 (load $x @t @d))".into())],
        element: DType::Bf16,
    }
    .plan()
}

/// The instructions of a function.
fn function<'t>(text: &'t str, symbol: &str) -> Vec<&'t str> {
    let start = text.find(&format!("\n{symbol}:")).unwrap_or_else(|| panic!("no {symbol}"));
    let body = &text[start + 1..];
    let end = body.find(&format!(".size\t{symbol}")).expect("the size of the function");
    let lines = body[..end].lines().map(str::trim);
    lines.filter(|l| !l.starts_with('.') && !l.ends_with(':') && !l.is_empty()).collect()
}

#[test]
fn each_function_keeps_to_its_instruction_set() {
    let code = emit(&attention(), Machine::X86_64, "p").expect("assembly");
    let symbols = &code.kernels[0].symbols;
    assert_eq!(symbols.iter().map(|s| s.0).collect::<Vec<_>>(), [Isa::X86_64, Isa::Avx2, Isa::Avx512]);
    let wide = |line: &&str| line.contains("%ymm") || line.contains("%zmm") || line.starts_with('v');
    assert_eq!(symbols[0].1, "p_o_x86_64");
    let baseline = function(&code.text, &symbols[0].1);
    assert!(baseline.iter().any(|l| l.starts_with("mulps")));
    assert_eq!(baseline.iter().find(|l| wide(l)), None);
    let avx2 = function(&code.text, &symbols[1].1);
    assert!(avx2.iter().any(|l| l.starts_with("vfmadd") && l.contains("%ymm")));
    assert_eq!(avx2.iter().find(|l| l.contains("%zmm") || l.contains("%k1")), None);
    let avx512 = function(&code.text, &symbols[2].1);
    assert!(avx512.iter().any(|l| l.starts_with("vfmadd") && l.contains("%zmm")));
}

/// Contractions of bf16 run in matrix registers where there are some; the code is made and assembled whatever this CPU has.
#[test]
fn contractions_of_bf16_use_matrix_registers() {
    let code = emit(&attention_of(DType::Bf16), Machine::X86_64, "p").expect("assembly");
    let symbols = &code.kernels[0].symbols;
    assert_eq!(symbols.iter().map(|s| s.0).collect::<Vec<_>>(), [Isa::X86_64, Isa::Avx2, Isa::Avx512, Isa::Amx]);
    let matrix = |line: &&str| line.starts_with("tdp") || line.starts_with("tile") || line.starts_with("ldtilecfg");
    for (isa, symbol) in &symbols[..3] {
        assert_eq!(function(&code.text, symbol).iter().find(|l| matrix(l)), None, "{isa:?}");
    }
    let amx = function(&code.text, &symbols[3].1);
    let count = |name: &str| amx.iter().filter(|l| l.split_whitespace().next() == Some(name)).count();
    // Depth 32 is one register. 64 keys are 4 registers of scores; a depth of 64 keys is 2, for 2 of the width 32.
    assert_eq!((count("tdpbf16ps"), count("ldtilecfg"), count("tilerelease")), (4 + 2 * 2, 1, 1));
    assert_eq!(amx.iter().find(|l| l.starts_with("vfmadd") && l.contains("1to16") && !l.contains("(%rip)")), None);
    assemble(&code.text, Machine::X86_64).expect("an object file");
}

/// A kernel without contractions is the same with matrix registers, and its symbol another name for the same code.
#[test]
fn kernels_without_contractions_are_shared() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/nsa.nsa")).expect("the example");
    let program = nsa_dsl::compile_source("nsa.nsa", &text, &nsa_dsl::Settings::default()).expect("a program");
    let lowered = nsa_codegen::lower(&program, Target::X86_64, &nsa_codegen::Options::default()).expect("plans");
    let code = emit(&lowered.variants[0].plan, Machine::X86_64, "p").expect("assembly");
    let shared: Vec<&str> = code.text.lines().filter_map(|line| line.trim().strip_prefix(".set\t")).collect();
    assert_eq!(shared, ["p_kc_amx, p_kc_avx512", "p_vc_amx, p_vc_avx512"]);
    for kernel in code.kernels.iter().filter(|k| !["kc", "vc"].contains(&k.name.as_str())) {
        let body = function(&code.text, &kernel.symbols[3].1);
        assert!(body.iter().any(|l| l.starts_with("tdpbf16ps")), "{}", kernel.name);
    }
}

/// The inner loops of contractions hold their sums in registers.
#[test]
fn register_blocks_do_not_spill() {
    let code = emit(&attention(), Machine::X86_64, "p").expect("assembly");
    for (isa, symbol) in &code.kernels[0].symbols[1..] {
        let body = function(&code.text, symbol);
        let fused: Vec<usize> = (0..body.len()).filter(|i| body[*i].starts_with("vfmadd231ps")).collect();
        // Between neighbouring multiply-adds of a loop nothing is moved to or from the stack.
        let mut close = 0;
        for pair in fused.windows(2).filter(|p| p[1] - p[0] < 6) {
            close += 1;
            let between = &body[pair[0]..pair[1]];
            assert_eq!(between.iter().find(|l| l.contains("(%rsp)")), None, "{isa:?}");
        }
        assert!(close > 50, "{isa:?}: {close} multiply-adds in loops");
    }
}

#[test]
fn local_labels_carry_the_prefix() {
    let code = emit(&attention(), Machine::X86_64, "some_module").expect("assembly");
    let labels = code
        .text
        .match_indices(".L")
        .filter(|(at, _)| !code.text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    for (at, _) in labels {
        assert!(code.text[at..].starts_with(".Lsome_module_"), "{}", &code.text[at..at + 20]);
    }
    let mut defined: Vec<&str> = code.text.lines().filter(|l| l.starts_with(".L") && l.ends_with(':')).collect();
    let count = defined.len();
    defined.sort_unstable();
    defined.dedup();
    assert_eq!(defined.len(), count, "a label is defined twice");
    assert!(count > 10);
}

#[test]
fn calls_nothing_but_memory_functions() {
    for (machine, element) in [
        (Machine::X86_64, DType::F16),
        (Machine::X86_64, DType::Bf16),
        (Machine::Aarch64, DType::F16),
        (Machine::Aarch64, DType::Bf16),
    ] {
        let code = emit(&attention_of(element), machine, "p").expect("assembly");
        for line in code.text.lines().map(str::trim) {
            let Some(target) = line.strip_prefix("callq\t").or_else(|| line.strip_prefix("bl\t")) else { continue };
            let target = target.trim_end_matches("@PLT");
            assert!(["memset", "memcpy", "memmove"].contains(&target), "{line}");
        }
    }
}

#[test]
fn aarch64_text() {
    let code = emit(&doubled(), Machine::Aarch64, "twice").expect("assembly");
    insta::with_settings!({ snapshot_path => "../../../snapshots/host", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("aarch64_doubled", code.text);
    });
}

/// Assembles the text of every kernel of the examples; their functions are in the object file.
#[test]
fn examples_are_assembled() {
    // ELF specification, e_machine: 62 is x86-64, 183 AArch64.
    for (target, machine, number) in [(Target::Aarch64, Machine::Aarch64, 183), (Target::X86_64, Machine::X86_64, 62)] {
        for file in ["nsa.nsa", "nsa_mlp.nsa", "full_attention.nsa", "window.nsa"] {
            let path = format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).expect("the example");
            let program = nsa_dsl::compile_source(file, &text, &nsa_dsl::Settings::default()).expect("a program");
            let lowered = nsa_codegen::lower(&program, target, &nsa_codegen::Options::default()).expect("plans");
            for variant in &lowered.variants {
                let code = emit(&variant.plan, machine, "p").expect("assembly");
                let object = assemble(&code.text, machine).unwrap_or_else(|e| panic!("{file} for {target}: {e}"));
                assert_eq!(object[..4], *b"\x7fELF");
                assert_eq!(u16::from_le_bytes([object[18], object[19]]), number);
                for (isa, symbol) in code.kernels.iter().flat_map(|k| &k.symbols) {
                    let name = [b"\0", symbol.as_bytes(), b"\0"].concat();
                    let found = object.windows(name.len()).any(|window| window == name);
                    assert!(found, "{file}: no {symbol} for {isa:?} in the object");
                }
            }
        }
    }
}

#[test]
fn the_assembler_reports_faults() {
    for machine in [Machine::Aarch64, Machine::X86_64] {
        let message = assemble("\tfrobnicate x0, x1\n", machine).expect_err("no instruction").to_string();
        assert!(message.contains("frobnicate") || message.contains("mnemonic"), "{message}");
    }
    assemble("\tret\n", Machine::Sm80).expect_err("no assembler for a GPU");
}

#[test]
fn text_is_the_same_every_time() {
    let texts = [(); 2].map(|()| emit(&attention(), Machine::X86_64, "p").expect("assembly").text);
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn faults_are_values() {
    let plan = doubled();
    let message = emit(&plan, Machine::Sm80, "p").expect_err("no CPU").to_string();
    assert_eq!(message, "cannot emit kernel code: Sm80 is no CPU (this is a defect of the compiler, please report it)");
    let message = emit(&plan, Machine::X86_64, "no-name").expect_err("a bad prefix").to_string();
    assert!(message.contains("`no-name` cannot begin symbols: letters, digits and _ can"), "{message}");
    let mut broken = plan.clone();
    broken.buffers.clear();
    emit(&broken, Machine::X86_64, "p").expect_err("a buffer is missing");
}
