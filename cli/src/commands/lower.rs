//! `nsa lower`: a program at any station of its road.

use crate::failure::{Failure, print};
use crate::program::{Chosen, Source};
use nsa_artifact::Target;
use nsa_codegen::term::{Terms, translate};

/// Print a program at a stage of compilation.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The stage.
    #[arg(long, value_enum, default_value = "plan")]
    emit: Stage,
    /// The target, for stages that depend on it.
    #[arg(long, visible_aliases = ["targets", "arch"], default_value = "sm_80")]
    target: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// The syntax tree, printed as a program.
    Ast,
    /// The checked program: axes, tensors, expressions.
    Program,
    /// The definitions in the optimiser's language, as written and as chosen.
    Term,
    /// The kernels as pseudo-code.
    Plan,
    /// LLVM's intermediate representation, optimised.
    Llvm,
    /// The GPU's code, or the host's assembly.
    Ptx,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target: Target = arguments.target.parse()?;
    let chosen = arguments.source.load()?;
    let text = match arguments.emit {
        Stage::Ast => nsa_dsl::parse(&chosen.name, &chosen.text)?.to_string(),
        Stage::Program => chosen.program.to_string(),
        Stage::Term => {
            let lowered = nsa_codegen::lower(&chosen.program, target, &chosen.options(vec![target]))?;
            let mut text = String::from("as written:\n") + &terms(&translate(&chosen.program));
            for variant in &lowered.variants {
                text += &format!("\nchosen for {}:\n{}", variant.label, terms(&variant.candidate.terms));
            }
            text
        }
        Stage::Plan => {
            let lowered = nsa_codegen::lower(&chosen.program, target, &chosen.options(vec![target]))?;
            let plans: Vec<String> = lowered.variants.iter().map(|v| format!("// {}\n{}", v.label, v.plan)).collect();
            plans.join("\n")
        }
        Stage::Llvm => ir(&chosen, target)?,
        Stage::Ptx => {
            let artifact = nsa_codegen::compile(&chosen.program, &chosen.options(vec![target]))?.artifact;
            let texts: Vec<&str> = artifact.payloads().filter_map(|(name, _)| artifact.text(name)).collect();
            texts.join("\n")
        }
    };
    print(&text)
}

/// Definitions as s-expressions.
fn terms(terms: &Terms) -> String {
    let mut text = String::new();
    for definition in &terms.definitions {
        let axes: Vec<&str> = definition.axes.iter().map(|a| a.name()).collect();
        let role = if definition.result { "result" } else { "tensor" };
        let term = nsa_codegen::plan::print::show(&terms.nodes, definition.root);
        text += &format!("  {role} {}[{}] = {term}\n", definition.tensor.name(), axes.join(", "));
    }
    text
}

fn ir(chosen: &Chosen, target: Target) -> Result<String, Failure> {
    let lowered = nsa_codegen::lower(&chosen.program, target, &chosen.options(vec![target]))?;
    let mut text = String::new();
    for variant in &lowered.variants {
        text += &nsa_codegen::llvm_text(&variant.plan, target)?;
    }
    Ok(text)
}
