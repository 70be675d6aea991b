//! A compiled program, loaded on a device.

use crate::cuda::{Gpu, Module};
use crate::device::{Device, Host, Kind};
use crate::host::{HostEntry, HostSymbols};
use crate::{Error, Plan, Shape};
use nsa_artifact::{Artifact, Code, HostIsa, Manifest, Target, TargetCode, Variant};
use std::sync::Arc;

/// A compiled program on a device, ready to be planned for shapes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kernel(pub(crate) Arc<Loaded>);

#[derive(Debug)]
pub(crate) struct Loaded {
    pub manifest: Manifest,
    pub device: Device,
    pub target: Target,
    /// One per variant of the target.
    pub variants: Vec<LoadedVariant>,
}

#[derive(Debug)]
pub(crate) struct LoadedVariant {
    pub variant: Variant,
    pub code: LoadedCode,
}

/// Callable code, one entry per kernel of the variant.
#[derive(Debug)]
pub(crate) enum LoadedCode {
    Host {
        entries: Vec<HostEntry>,
        isa: HostIsa,
        /// Keeps the entries' code in memory.
        _symbols: HostSymbols,
    },
    Cuda(Module),
    /// For a device that is only described.
    Text(String),
}

/// A program that `nsa_kernel!` compiled into the user's.
#[derive(Debug)]
pub struct Embedded {
    manifest: &'static str,
    payloads: &'static [(&'static str, &'static str)],
    symbols: &'static [(&'static str, HostEntry)],
}

impl Embedded {
    /// The manifest as JSON, the payloads by name, and the host kernels by symbol.
    ///
    /// # Safety
    /// The payloads and symbols must be the code that the manifest describes, as the compiler made them: they are executed, with
    /// addresses computed by what the manifest says.
    pub const unsafe fn new(
        manifest: &'static str,
        payloads: &'static [(&'static str, &'static str)],
        symbols: &'static [(&'static str, HostEntry)],
    ) -> Self {
        Embedded { manifest, payloads, symbols }
    }

    /// The artifact, without its host code, which is linked in.
    ///
    /// # Errors
    /// If the manifest was written by another version of the compiler.
    pub fn artifact(&self) -> Result<Artifact, Error> {
        Ok(Artifact::embedded(self.manifest, self.payloads)?)
    }
}

impl Kernel {
    /// Loads a GPU program from an artifact: the driver compiles its PTX now. For host code see [`Kernel::load_host`].
    ///
    /// # Errors
    /// No code for this device, a driver too old for its PTX, or a GPU too small for its shared memory.
    ///
    /// # Safety
    /// The artifact's code is executed. It must come from this compiler, unchanged, as any library that is loaded.
    pub unsafe fn load(artifact: &Artifact, device: &Device) -> Result<Kernel, Error> {
        Kernel::new(artifact, device, &HostSymbols::default())
    }

    /// Loads a program whose host code is part of this process.
    ///
    /// # Errors
    /// No code for this device, or a symbol that is missing.
    ///
    /// # Safety
    /// As for [`Kernel::load`]; the symbols must be those of this artifact.
    pub unsafe fn load_host(artifact: &Artifact, device: &Device, symbols: &HostSymbols) -> Result<Kernel, Error> {
        Kernel::new(artifact, device, symbols)
    }

    /// Loads a program that `nsa_kernel!` embedded.
    ///
    /// # Errors
    /// As for [`Kernel::load`].
    pub fn embedded(embedded: &Embedded, device: &Device) -> Result<Kernel, Error> {
        // The constructor of `Embedded` promises that code and manifest belong together.
        let symbols = HostSymbols::new(embedded.symbols.iter().copied());
        Kernel::new(&embedded.artifact()?, device, &symbols)
    }

    fn new(artifact: &Artifact, device: &Device, symbols: &HostSymbols) -> Result<Kernel, Error> {
        let manifest = artifact.manifest();
        let (code, variants) = match &device.0 {
            Kind::Cuda(gpu) => {
                let code = gpu_code(manifest, gpu)?;
                let load = |v: &Variant| load_ptx(artifact, v, gpu);
                (code, code.variants.iter().map(load).collect::<Result<_, _>>()?)
            }
            Kind::Host(host) => {
                let no_code = || no_code(manifest, device.to_string());
                let code = Target::this_host().and_then(|t| manifest.target(t)).ok_or_else(no_code)?;
                let load = |v: &Variant| link(manifest, v, *host, symbols);
                (code, code.variants.iter().map(load).collect::<Result<_, _>>()?)
            }
            Kind::Described(target) => {
                let code = manifest.target(*target).ok_or_else(|| no_code(manifest, device.to_string()))?;
                let load = |v: &Variant| {
                    let code = LoadedCode::Text(payload(artifact, v)?.to_string());
                    Ok(LoadedVariant { variant: v.clone(), code })
                };
                (code, code.variants.iter().map(load).collect::<Result<_, Error>>()?)
            }
        };
        let (manifest, target) = (manifest.clone(), code.target);
        Ok(Kernel(Arc::new(Loaded { manifest, device: device.clone(), target, variants })))
    }

    /// Prepares launches for these lengths: tables, workspaces, grids. Allocates on the device and waits for it.
    ///
    /// # Errors
    /// A shape that does not fit the program, or no memory.
    pub fn plan(&self, shape: &Shape) -> Result<Plan, Error> {
        Plan::new(self.0.clone(), shape)
    }

    /// What was compiled.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The device it is loaded on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The target whose code was chosen for the device.
    pub fn target(&self) -> Target {
        self.0.target
    }

    /// The instruction set that was chosen, on the host.
    pub fn host_isa(&self) -> Option<HostIsa> {
        self.0.variants.iter().find_map(|v| match &v.code {
            LoadedCode::Host { isa, .. } => Some(*isa),
            LoadedCode::Cuda(_) | LoadedCode::Text(_) => None,
        })
    }
}

fn no_code(manifest: &Manifest, device: String) -> Error {
    let targets = manifest.targets.iter().map(|t| t.target).collect();
    Error::NoCode { program: manifest.name.clone(), device, targets }
}

/// The best target that both the GPU and its driver take.
fn gpu_code<'m>(manifest: &'m Manifest, gpu: &Gpu) -> Result<&'m TargetCode, Error> {
    let version = |code: &TargetCode| {
        let versions = code.variants.iter().filter_map(|v| match &v.code {
            Code::Ptx { version, .. } => Some(*version),
            Code::Host { .. } => None,
        });
        versions.max()
    };
    let fitting = || manifest.targets.iter().filter(|t| t.target.runs_on(gpu.capability));
    if let Some(code) = fitting().filter(|t| version(t) <= Some(gpu.ptx)).max_by_key(|t| t.target) {
        return Ok(code);
    }
    match fitting().filter_map(version).min() {
        Some(needed) => Err(Error::OldDriver { program: manifest.name.clone(), needed, highest: gpu.ptx }),
        None => Err(no_code(manifest, gpu.describe())),
    }
}

fn load_ptx(artifact: &Artifact, variant: &Variant, gpu: &Gpu) -> Result<LoadedVariant, Error> {
    let module = Module::load(gpu, &artifact.manifest().name, payload(artifact, variant)?, &variant.kernels)?;
    Ok(LoadedVariant { variant: variant.clone(), code: LoadedCode::Cuda(module) })
}

/// The text of a variant's code.
fn payload<'a>(artifact: &'a Artifact, variant: &Variant) -> Result<&'a str, Error> {
    let payload = variant.code.payload();
    artifact.text(payload).ok_or_else(|| Error::Load {
        program: artifact.manifest().name.clone(),
        reason: format!("payload `{payload}` is not text"),
        log: String::new(),
    })
}

/// Finds the entries of a variant for the best instruction set of this processor.
fn link(manifest: &Manifest, variant: &Variant, host: Host, symbols: &HostSymbols) -> Result<LoadedVariant, Error> {
    let no_code = || no_code(manifest, Device(Kind::Host(host)).to_string());
    let Code::Host { prefix, isas, .. } = &variant.code else { return Err(no_code()) };
    let isa = host.isas().into_iter().rev().find(|isa| isas.contains(isa)).ok_or_else(no_code)?;
    let entry = |kernel: &nsa_artifact::Kernel| {
        let symbol = Manifest::host_symbol(prefix, &kernel.name, isa);
        symbols.get(&symbol).ok_or(Error::NotLinked { program: manifest.name.clone(), symbol })
    };
    let entries = variant.kernels.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(LoadedVariant { variant: variant.clone(), code: LoadedCode::Host { entries, isa, _symbols: symbols.clone() } })
}
