//! Compiling while the program runs (feature `jit`): constants that are known only then, programs that users write.
//!
//! ```
//! use nsa::jit::{Cache, Settings};
//! use nsa::{Device, Kernel, Shape, Stream, View};
//!
//! # fn main() -> Result<(), nsa::Error> {
//! let source = "
//!     const FACTOR = 2.0;
//!     kernel scaled_sum(x: f32[t], y: f32[t]) -> z: f32[t] { FACTOR * x + y }
//! ";
//! # let folder = std::env::temp_dir().join(format!("nsa-example-{}", std::process::id()));
//! # let somewhere = Cache::at(&folder);
//! // By default the cache is in the user's folder for caches; NSA_CACHE names another, or `off`.
//! let settings = Settings::default().set("FACTOR", 0.5).cache(somewhere);
//! let kernel = Kernel::compile(source, &settings, &Device::host())?;
//!
//! let (x, y, mut z) = ([2f32, 4.0, 6.0], [1f32; 3], [0f32; 3]);
//! let mut plan = kernel.plan(&Shape::new().with("t", 3))?;
//! let args = [("x", &View::host(&x, &[3])), ("y", &View::host(&y, &[3])), ("z", &View::host_mut(&mut z, &[3]))];
//! plan.launch(Stream::Host, &args)?;
//! assert_eq!(z, [2.0, 3.0, 4.0]);
//! # let _ = std::fs::remove_dir_all(folder);
//! # Ok(())
//! # }
//! ```
//!
//! With `Device::cuda(0)` the same call compiles for that GPU. The first call for a program takes the compiler's time; later ones,
//! in other processes too, take what is in the [`Cache`].
//!
//! # Where LLVM comes from
//! A program with this feature contains the compiler, and the compiler needs LLVM. By default that is the shared library in the Rust
//! toolchain's folder: `cargo run` and `cargo test` find it, a binary that is started by itself needs that folder in its rpath, by a
//! line `println!("cargo:rustc-link-arg=-Wl,-rpath,FOLDER")` of its build script, FOLDER being `lib` in what `rustc --print sysroot`
//! says. For programs that travel there is the feature `system-llvm`, which links LLVM statically.

use crate::device::Kind;
use crate::{Device, Error, HostSymbols, Kernel};
use nsa_artifact::{Artifact, Code, DType, Manifest, Target};
use nsa_codegen::emit::host::Linked;
use nsa_codegen::emit::llvm::assemble;
use nsa_codegen::{CompileError, Options, compile as generate};
use nsa_dsl::Program;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::cache::{Cache, Usage};
pub use nsa_dsl::Constant;

/// How a program is compiled.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: nsa_dsl::Settings,
    lengths: BTreeMap<String, i64>,
    name: Option<String>,
    cache: Cache,
}

impl Settings {
    /// Another value for one of the program's constants, or for a size in its signature: an integer or a number.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Constant>) -> Settings {
        self.values = self.values.set(name, value);
        self
    }

    /// Another element type: bf16, f16 or f32.
    pub fn element(mut self, element: DType) -> Settings {
        use nsa_dsl::program::DType as Element;
        self.values = self.values.element(match element {
            DType::Bf16 => Element::Bf16,
            DType::F16 => Element::F16,
            DType::F32 => Element::F32,
            DType::I32 => Element::I32,
        });
        self
    }

    /// The length that a run-time axis is expected to have. It decides between ways to compute the same, not what can be run.
    pub fn expect_length(mut self, axis: impl Into<String>, length: usize) -> Settings {
        self.lengths.insert(axis.into(), i64::try_from(length).unwrap_or(i64::MAX));
        self
    }

    /// What errors call the source: the name of its file, say.
    pub fn named(mut self, name: impl Into<String>) -> Settings {
        self.name = Some(name.into());
        self
    }

    /// Another cache than the user's, or none.
    pub fn cache(mut self, cache: Cache) -> Settings {
        self.cache = cache;
        self
    }
}

impl Kernel {
    /// Compiles a program for a device, or takes it from the cache, and loads it (feature `jit`; see [the module](crate::jit)).
    ///
    /// # Errors
    /// Errors in the program or in the settings, with the source quoted; a device that there is no code for; what [`Kernel::load`] says.
    pub fn compile(source: &str, settings: &Settings, device: &Device) -> Result<Kernel, Error> {
        let name = settings.name.as_deref().unwrap_or("program");
        let program = nsa_dsl::compile_source(name, source, &settings.values)
            .map_err(|errors| Error::Program(errors.render(false)))?;
        let mut old_driver = None;
        for target in targets(device) {
            match compile_for(&program, settings, target, device) {
                // The driver may read what an older target needs.
                Err(error @ Error::OldDriver { .. }) => old_driver = old_driver.or(Some(error)),
                result => return result,
            }
        }
        let nothing = || Error::NoCode { program: program.name.clone(), device: device.to_string(), targets: vec![] };
        Err(old_driver.unwrap_or_else(nothing))
    }
}

/// The targets that run on a device, best first.
fn targets(device: &Device) -> Vec<Target> {
    match &device.0 {
        Kind::Host(_) => Target::this_host().into_iter().collect(),
        Kind::Described(target) => vec![*target],
        Kind::Cuda(gpu) => Target::ALL.into_iter().rev().filter(|t| t.runs_on(gpu.capability)).collect(),
    }
}

fn compile_for(program: &Program, settings: &Settings, target: Target, device: &Device) -> Result<Kernel, Error> {
    let linked = matches!(device.0, Kind::Host(_));
    let key = key(program, settings, target, linked);
    // An entry that was damaged in a way that nobody sees before it is loaded is as good as none.
    if let Some(kernel) = settings.cache.get(&key).and_then(|artifact| load(&artifact, device).ok()) {
        return Ok(kernel);
    }
    let options = Options { targets: vec![target], sizes: settings.lengths.clone(), ..Options::default() };
    let mut artifact = generate(program, &options).map_err(failed)?.artifact;
    if linked {
        artifact = assembled(&artifact)?;
    }
    let kernel = load(&artifact, device)?;
    settings.cache.put(&key, &artifact);
    Ok(kernel)
}

fn failed(error: impl Into<CompileError>) -> Error {
    Error::Compile(error.into().to_string())
}

/// Everything that the code depends on. The checked program stands beside the settings because the language's own library is part of it.
fn key(program: &Program, settings: &Settings, target: Target, linked: bool) -> String {
    let compiler = nsa_codegen::identity::compiler();
    let form = if linked { "object files" } else { "text" };
    format!("{compiler}\n{target}, {form}\n{:?}\n{:?}\n{program}", settings.values, settings.lengths)
}

/// The artifact with object files in place of assembly, which the process can link.
fn assembled(artifact: &Artifact) -> Result<Artifact, Error> {
    let mut payloads = vec![];
    for code in &artifact.manifest().targets {
        for variant in &code.variants {
            let payload = variant.code.payload();
            let text = artifact.text(payload).unwrap_or_default();
            let machine = nsa_codegen::compile::cpu(code.target);
            let object =
                assemble(text, machine).map_err(|error| failed(CompileError::Emit { target: code.target, error }))?;
            payloads.push((payload.to_string(), object));
        }
    }
    Artifact::new(artifact.manifest().clone(), payloads).map_err(failed)
}

fn load(artifact: &Artifact, device: &Device) -> Result<Kernel, Error> {
    if !matches!(device.0, Kind::Host(_)) {
        // SAFETY: the artifact comes out of the compiler, now or when it was put into the user's own cache.
        return unsafe { Kernel::load(artifact, device) };
    }
    let manifest = artifact.manifest();
    let variants = || manifest.targets.iter().flat_map(|t| &t.variants);
    let refused = |e: nsa_codegen::emit::EmitError| Error::Load {
        program: manifest.name.clone(),
        reason: e.to_string(),
        log: String::new(),
    };
    let linked = Linked::new(variants().filter_map(|v| artifact.payload(v.code.payload()))).map_err(refused)?;
    let mut symbols = vec![];
    for variant in variants() {
        let Code::Host { prefix, isas, .. } = &variant.code else { continue };
        for kernel in &variant.kernels {
            for isa in isas {
                let symbol = Manifest::host_symbol(prefix, &kernel.name, *isa);
                // SAFETY: the manifest says which symbols are kernels; see above for whose it is.
                let entry = unsafe { linked.function(&symbol) }.map_err(refused)?;
                symbols.push((symbol, entry));
            }
        }
    }
    let symbols = HostSymbols::new(symbols).keeping(Arc::new(linked));
    // SAFETY: as above.
    unsafe { Kernel::load_host(artifact, device, &symbols) }
}
