//! Compiling a program for a device, and loading it there.

use crate::failure::Failure;
use crate::program::Chosen;
use nsa::{Artifact, Device, HostSymbols, Kernel};
use nsa_artifact::{Code, HostIsa, Manifest, Target};
use nsa_codegen::emit::host::{Isa, JitModule, jit};
use nsa_codegen::{Compiled, Lowered, Options};
use nsa_dsl::Program;
use std::sync::Arc;
use std::time::Instant;

/// A program on a device, and how it got there.
pub struct Loaded {
    /// The program on the device.
    pub kernel: Kernel,
    /// What was compiled for the device's target.
    pub lowered: Lowered,
    /// What compiling and loading took, in seconds.
    pub seconds: f64,
}

/// Compiles a program for the targets that fit a device, and loads it.
pub fn load(chosen: &Chosen, device: &Device) -> Result<Loaded, Failure> {
    let targets = match device.described_target() {
        Some(target) => vec![target],
        None if device.is_cuda() => vec![Target::Sm80, Target::Sm90a],
        None => vec![Target::this_host().ok_or("there is no code generation for this processor".to_string())?],
    };
    load_with(&chosen.program, &chosen.options(targets), device)
}

/// As [`load`], with all options given.
pub fn load_with(program: &Program, options: &Options, device: &Device) -> Result<Loaded, Failure> {
    let start = Instant::now();
    let Compiled { lowered, artifact } = nsa_codegen::compile(program, options)?;
    let kernel = if device.is_cuda() || device.described_target().is_some() {
        // SAFETY: the artifact comes straight out of the compiler.
        unsafe { Kernel::load(&artifact, device) }?
    } else {
        let (symbols, isa) = link(&artifact, &lowered, device)?;
        // SAFETY: as above, and so do the symbols.
        unsafe { Kernel::load_host(&artifact, &Device::host_with(isa), &symbols) }?
    };
    let seconds = start.elapsed().as_secs_f64();
    let lowered = lowered.into_iter().find(|l| l.target == kernel.target());
    let lowered = lowered.ok_or("the compiler left the device's target out".to_string())?;
    Ok(Loaded { kernel, lowered, seconds })
}

/// Machine code for all plans of the host's target, under the symbols that the artifact says.
fn link(artifact: &Artifact, lowered: &[Lowered], device: &Device) -> Result<(HostSymbols, HostIsa), Failure> {
    let mut symbols = Vec::new();
    let mut modules: Vec<JitModule> = Vec::new();
    let mut level = HostIsa::X86_64;
    let wanted = device.host_isa().and_then(|isa| Isa::ALL.into_iter().find(|known| known.name() == isa.name()));
    for way in lowered.iter().filter(|l| !l.target.is_gpu()) {
        let variants = artifact.manifest().target(way.target).map_or(&[][..], |t| &t.variants);
        for (variant, described) in way.variants.iter().zip(variants) {
            let Code::Host { prefix, isas, .. } = &described.code else { continue };
            let module = jit(&variant.plan, wanted)?;
            let Some(isa) = isas.iter().find(|isa| isa.name() == module.isa().name()) else { continue };
            level = *isa;
            for (kernel, function) in module.kernels().iter().zip(module.functions()) {
                symbols.push((Manifest::host_symbol(prefix, &kernel.name, *isa), *function));
            }
            modules.push(module);
        }
    }
    Ok((HostSymbols::new(symbols).keeping(Arc::new(modules)), level))
}
