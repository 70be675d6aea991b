//! Plans: everything about a shape that can be prepared, and launches.

mod intermediate;
mod script;

pub use intermediate::Intermediate;
pub use script::{Script, ScriptLaunch, ScriptMemory, ScriptWord};

use crate::batch::{Batch, Dims};
use crate::cuda::{self, Gpu};
use crate::device::Kind;
use crate::gather::Gathered;
use crate::host::Threads;
use crate::kernel::{Loaded, LoadedCode, LoadedVariant};
use crate::memory::Memory;
use crate::view::{Place, View};
use crate::{Device, Error, Shape};
use cudarc::driver::{CudaSlice, CudaStream};
use nsa_artifact::{Buffer, DType, Role, Variant};
use std::ops::Range;
use std::sync::Arc;

/// A program prepared for one shape: launching it allocates nothing and waits for nothing on a GPU.
///
/// A plan owns the workspaces of its launches. Launches of one plan must therefore follow each other: on one stream, or on streams
/// that wait for each other. CUDA graphs that captured a launch use the plan's memory too: keep the plan as long as the graph.
/// Dropping a plan for a GPU waits for the device.
#[derive(Debug)]
pub struct Plan {
    loaded: Arc<Loaded>,
    variant: usize,
    /// The arguments and results, in the order of the signature.
    parameters: Vec<Parameter>,
    intermediates: Vec<Intermediate>,
    launches: Vec<Launch>,
    /// For each parameter, which of the caller's views it is; refilled by every launch.
    given: Vec<Option<usize>>,
    memory: Owned,
}

/// An argument or result of a plan.
#[derive(Clone, Debug)]
pub struct Parameter {
    buffer: Buffer,
    dims: Dims,
}

impl Parameter {
    /// Its name in the program.
    pub fn name(&self) -> &str {
        &self.buffer.name
    }
    /// Type of its elements.
    pub fn dtype(&self) -> DType {
        self.buffer.dtype
    }
    /// Argument or result.
    pub fn role(&self) -> Role {
        self.buffer.role
    }
    /// Names of its axes, slowest first.
    pub fn axes(&self) -> &[String] {
        &self.buffer.axes
    }
    /// Its extents: the slowest run-time axis has the total over all sequences, further ones the longest sequence.
    pub fn shape(&self) -> &[usize] {
        self.dims.as_slice()
    }
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims.elements()
    }
}

/// A kernel with its grid and the words it takes.
#[derive(Debug)]
struct Launch {
    /// Blocks; 0 means that there is nothing to do.
    blocks: i64,
    words: Vec<u64>,
    /// Where the parameters are: index of the first word, index of the parameter.
    patches: Vec<(usize, usize)>,
}

/// What a plan has allocated.
#[derive(Debug)]
enum Owned {
    Host {
        threads: Threads,
        tables: Vec<Memory>,
        workspaces: Vec<Memory>,
        /// Copies of arguments, and the kernels that read them.
        gathered: Vec<Gathered>,
    },
    Cuda {
        gpu: Arc<Gpu>,
        tables: Vec<CudaSlice<u8>>,
        workspaces: Vec<CudaSlice<u8>>,
    },
    /// Nothing: the tables' contents and the workspaces' sizes. Addresses are places in this list.
    Described(Vec<ScriptMemory>),
}

/// Where a launch goes.
#[derive(Clone, Copy, Debug)]
pub enum Stream<'a> {
    /// The host: the launch returns when it is done.
    Host,
    /// A stream of the plan's GPU: the launch returns at once.
    Cuda(&'a CudaStream),
}

impl<'a> From<&'a CudaStream> for Stream<'a> {
    fn from(stream: &'a CudaStream) -> Self {
        Stream::Cuda(stream)
    }
}

impl<'a> From<&'a Arc<CudaStream>> for Stream<'a> {
    fn from(stream: &'a Arc<CudaStream>) -> Self {
        Stream::Cuda(stream)
    }
}

/// The address for views without elements. Kernels may read, and ignore, an element there, so it must be valid memory: at
/// least this many bytes, which is a row of 256 elements with room to spare.
const EMPTY_BYTES: usize = 4096;

impl Plan {
    pub(crate) fn new(loaded: Arc<Loaded>, shape: &Shape) -> Result<Plan, Error> {
        let (index, batch) = choose(&loaded, shape)?;
        let variant = &loaded.variants[index].variant;
        let parameters = parameters(&loaded, variant, &batch)?;

        let mut memory = Owned::new(&loaded.device, variant)?;
        let sequences = memory.table(bytes_of(batch.table().as_flattened()))?;
        let intermediates = intermediate::allocate(variant, &batch, &mut memory)?;
        let mut launches: Vec<Launch> = Vec::with_capacity(variant.kernels.len());
        for kernel in &variant.kernels {
            let tiles = batch.tiles(variant, kernel)?;
            let blocks = Batch::blocks(variant, kernel, tiles.len())?;
            let mut words = Vec::with_capacity(variant.words(kernel));
            words.extend([sequences, memory.table(bytes_of(tiles.as_flattened()))?, tiles.len() as u64]);
            let mut patches = Vec::new();
            for &b in &kernel.buffers {
                let rank = variant.buffers[b].axes.len();
                match intermediates.iter().find(|w| w.buffer() == b) {
                    Some(workspace) => {
                        words.push(workspace.address());
                        words.extend(workspace.outer_strides().iter().map(|s| *s as u64));
                    }
                    None => {
                        let name = &variant.buffers[b].name;
                        // Checked manifests have every buffer that is no workspace in the signature.
                        let parameter = parameters.iter().position(|p| p.buffer.name == *name).unwrap_or_default();
                        patches.push((words.len(), parameter));
                        words.extend(std::iter::repeat_n(0, rank.max(1)));
                    }
                }
            }
            launches.push(Launch { blocks, words, patches });
        }
        memory.finish()?;
        if let Owned::Host { gathered, .. } = &mut memory {
            *gathered = Gathered::plan(variant, &parameters)?;
        }
        let given = vec![None; parameters.len()];
        Ok(Plan { variant: index, parameters, intermediates, launches, given, memory, loaded })
    }

    /// Arguments and results, in the order of the signature.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// An argument or result by name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name() == name)
    }

    /// The variant that was chosen for these sizes.
    pub fn variant(&self) -> &Variant {
        &self.chosen().variant
    }

    /// Number of blocks of each kernel, in launch order.
    pub fn blocks(&self) -> impl Iterator<Item = i64> + '_ {
        self.launches.iter().map(|l| l.blocks)
    }

    /// Memory that the plan holds for workspaces, in bytes.
    pub fn workspace_bytes(&self) -> usize {
        match &self.memory {
            Owned::Host { workspaces, gathered, .. } => {
                let copies: usize = gathered.iter().map(Gathered::bytes).sum();
                workspaces.iter().map(Memory::bytes).sum::<usize>() + copies
            }
            Owned::Cuda { workspaces, .. } => workspaces.iter().map(CudaSlice::num_bytes).sum(),
            Owned::Described(memory) => {
                memory.iter().map(|m| if let ScriptMemory::Workspace(bytes) = m { *bytes } else { 0 }).sum()
            }
        }
    }

    /// What the kernels store besides the results.
    pub fn intermediates(&self) -> &[Intermediate] {
        &self.intermediates
    }

    /// What the last launch stored in an intermediate, dense, last axis fastest. On a GPU it waits for the device. Nothing for an
    /// intermediate of another plan, or one of a [described](Device::described) device.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn read_intermediate(&self, intermediate: &Intermediate) -> Result<Option<Vec<u8>>, Error> {
        let index = intermediate.index();
        let bytes = match &self.memory {
            Owned::Host { workspaces, .. } => workspaces.get(index).map(Memory::to_vec),
            Owned::Cuda { gpu, workspaces, .. } => workspaces.get(index).map(|w| cuda::read(gpu, w)).transpose()?,
            Owned::Described(_) => None,
        };
        Ok(bytes.map(|bytes| intermediate.dense(&bytes)))
    }

    /// Overwrites the workspaces, and waits. Launches do not depend on what is in them; tests use this to prove it.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn fill_workspaces(&mut self, byte: u8) -> Result<(), Error> {
        match &mut self.memory {
            Owned::Host { workspaces, gathered, .. } => {
                workspaces.iter_mut().for_each(|w| w.fill(byte));
                gathered.iter_mut().for_each(|copy| copy.fill(byte));
            }
            Owned::Cuda { gpu, workspaces, .. } => {
                workspaces.iter_mut().try_for_each(|w| cuda::fill(gpu, w, byte))?;
            }
            Owned::Described(_) => {}
        }
        Ok(())
    }

    /// Runs the program. `arguments` are all arguments and results, by name, in any order.
    ///
    /// On a GPU everything is put on the stream, without allocation or synchronisation: the call may be captured in a CUDA graph.
    ///
    /// # Errors
    /// An argument that is missing, unknown, of another type, shape or device, or with strides that kernels cannot follow; a stream
    /// of another device; a failure of the driver.
    pub fn launch<'s>(&mut self, stream: impl Into<Stream<'s>>, arguments: &[(&str, &View<'_>)]) -> Result<(), Error> {
        self.launch_kernels(0..self.launches.len(), stream, arguments)
    }

    /// Runs some of the kernels, to measure them one by one. The others must have been run before, or results are meaningless.
    ///
    /// # Errors
    /// As [`Plan::launch`].
    pub fn launch_kernels<'s>(
        &mut self,
        which: Range<usize>,
        stream: impl Into<Stream<'s>>,
        arguments: &[(&str, &View<'_>)],
    ) -> Result<(), Error> {
        let stream = stream.into();
        self.check_stream(stream)?;
        self.match_arguments(arguments)?;
        let empty = self.memory.empty_address();
        let code = &self.loaded.variants[self.variant];
        if let Stream::Cuda(stream) = stream {
            stream.context().bind_to_thread().map_err(Error::cuda("binding the context"))?;
        }
        for (index, launch) in self.launches.iter_mut().enumerate() {
            if !which.contains(&index) || launch.blocks == 0 {
                continue;
            }
            for &(word, parameter) in &launch.patches {
                let Some(view) = self.given[parameter].map(|g| arguments[g].1) else { continue };
                let rank = view.outer_strides().len();
                if self.parameters[parameter].elements() == 0 {
                    launch.words[word] = empty;
                    launch.words[word + 1..word + 1 + rank].fill(0);
                } else {
                    launch.words[word] = view.address();
                    for (to, stride) in launch.words[word + 1..].iter_mut().zip(view.outer_strides()) {
                        *to = *stride as u64;
                    }
                }
            }
            match (&code.code, &mut self.memory, stream) {
                (LoadedCode::Host { entries, .. }, Owned::Host { threads, gathered, .. }, _) => {
                    let reads = &code.variant.kernels[index].gathered;
                    for copy in gathered.iter_mut() {
                        let name = &self.parameters[copy.parameter].buffer.name;
                        let own = reads.iter().any(|b| code.variant.buffers[*b].name == *name);
                        let Some(view) = self.given[copy.parameter].map(|g| arguments[g].1).filter(|_| own) else {
                            continue;
                        };
                        let patch = launch.patches.iter().find(|(_, parameter)| *parameter == copy.parameter);
                        if let Some(&(word, _)) = patch.filter(|_| !copy.is_needless(view)) {
                            // SAFETY: the view was checked above; the plan, and so the copy, is exclusively borrowed.
                            unsafe { copy.copy(view) };
                            let (address, strides) = copy.place();
                            launch.words[word] = address;
                            launch.words[word + 1..].iter_mut().zip(strides).for_each(|(to, from)| *to = *from as u64);
                        }
                    }
                    // SAFETY: the code belongs to the manifest (promised when it was loaded), whose convention the words follow;
                    // views vouch for their memory, and the plan is exclusively borrowed.
                    unsafe { threads.run(entries[index], launch.blocks, &launch.words) };
                }
                (LoadedCode::Cuda(module), Owned::Cuda { .. }, Stream::Cuda(stream)) => {
                    let kernel = &code.variant.kernels[index];
                    // SAFETY: as above; the grid was limited to i32 when planning.
                    unsafe {
                        cuda::launch(
                            module.functions[index],
                            stream.cu_stream(),
                            launch.blocks as u32,
                            kernel,
                            &mut launch.words,
                        )?
                    };
                }
                // check_stream has refused everything else.
                _ => {}
            }
        }
        Ok(())
    }

    fn chosen(&self) -> &LoadedVariant {
        &self.loaded.variants[self.variant]
    }

    fn check_stream(&self, stream: Stream<'_>) -> Result<(), Error> {
        let given = match (&self.loaded.device.0, stream) {
            (Kind::Host(_), Stream::Host) => return Ok(()),
            (Kind::Cuda(gpu), Stream::Cuda(stream)) if stream.context() == &gpu.context => return Ok(()),
            (_, Stream::Host) => "the host".to_string(),
            (_, Stream::Cuda(stream)) => format!("a stream of cuda:{}", stream.context().ordinal()),
        };
        Err(Error::WrongDevice { planned: self.loaded.device.to_string(), given })
    }

    /// Finds and checks the view of every parameter.
    fn match_arguments(&mut self, arguments: &[(&str, &View<'_>)]) -> Result<(), Error> {
        let place = match &self.memory {
            Owned::Host { .. } | Owned::Described(_) => Place::Host,
            Owned::Cuda { gpu, .. } => Place::Cuda(gpu.context.ordinal()),
        };
        self.given.fill(None);
        for (index, (name, view)) in arguments.iter().enumerate() {
            let Some(parameter) = self.parameters.iter().position(|p| p.buffer.name == *name) else {
                return Err(Error::Unknown {
                    name: name.to_string(),
                    program: self.loaded.manifest.name.clone(),
                    known: self.parameters.iter().map(|p| p.buffer.name.clone()).collect(),
                });
            };
            if self.given[parameter].replace(index).is_some() {
                return Err(Error::Twice(name.to_string()));
            }
            let Parameter { buffer, dims } = &self.parameters[parameter];
            view.check(buffer, dims, place)?;
        }
        self.check_results(arguments)?;
        match self.given.iter().position(Option::is_none) {
            Some(missing) => Err(Error::Missing(self.parameters[missing].buffer.name.clone())),
            None => Ok(()),
        }
    }

    /// A result begins where nothing else does: the same view could be given for two names.
    fn check_results(&self, arguments: &[(&str, &View<'_>)]) -> Result<(), Error> {
        let views = || {
            let given = self.parameters.iter().zip(&self.given).filter(|(p, _)| p.elements() > 0);
            given.filter_map(|(p, given)| Some((p, arguments.get((*given)?)?.1.address())))
        };
        for (result, address) in views().filter(|(p, _)| p.role() == Role::Result) {
            if let Some((other, _)) = views().find(|(p, at)| *at == address && p.name() != result.name()) {
                return Err(Error::Argument {
                    name: result.name().to_string(),
                    reason: format!(
                        "it is a result, but begins where `{}` does: give it memory of its own",
                        other.name()
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The first variant whose conditions hold, and the batch in its axes. The last one has no conditions.
fn choose(loaded: &Loaded, shape: &Shape) -> Result<(usize, Batch), Error> {
    let batch = |variant: &Variant| Batch::new(&loaded.manifest, variant, shape);
    let last = loaded.variants.len() - 1;
    for (index, LoadedVariant { variant, .. }) in loaded.variants[..last].iter().enumerate() {
        let batch = batch(variant)?;
        if batch.satisfies(variant, &variant.when) {
            return Ok((index, batch));
        }
    }
    Ok((last, batch(&loaded.variants[last].variant)?))
}

/// The signature's buffers with their dimensions, and the alignment that this variant's kernels need.
fn parameters(loaded: &Loaded, variant: &Variant, batch: &Batch) -> Result<Vec<Parameter>, Error> {
    let own = |wanted: &Buffer| variant.buffers.iter().find(|b| b.name == wanted.name).unwrap_or(wanted).clone();
    let parameter = |wanted: &Buffer| {
        let buffer = own(wanted);
        batch.dims(variant, &buffer).map(|dims| Parameter { buffer, dims })
    };
    loaded.manifest.signature.iter().map(parameter).collect()
}

/// Alignment of tables and workspaces on the host: a page, so that large ones can be given by the system untouched.
const PAGE: usize = 4096;

impl Owned {
    fn new(device: &Device, variant: &Variant) -> Result<Owned, Error> {
        let mut owned = match &device.0 {
            Kind::Host(_) => {
                let threads = Threads::new(&variant.kernels).ok_or_else(|| Error::Memory {
                    bytes: variant.kernels.iter().map(|k| k.scratch_bytes as usize).max().unwrap_or(0),
                    device: device.to_string(),
                })?;
                Owned::Host { threads, tables: Vec::new(), workspaces: Vec::new(), gathered: Vec::new() }
            }
            Kind::Cuda(gpu) => Owned::Cuda { gpu: gpu.clone(), tables: Vec::new(), workspaces: Vec::new() },
            Kind::Described(_) => Owned::Described(Vec::new()),
        };
        // The first table is what empty views point to.
        owned.table(&[0; EMPTY_BYTES])?;
        Ok(owned)
    }

    fn empty_address(&self) -> u64 {
        match self {
            Owned::Host { tables, .. } => tables[0].address(),
            Owned::Cuda { gpu, tables, .. } => cuda::address(gpu, &tables[0]),
            Owned::Described(_) => 0,
        }
    }

    /// A copy of these bytes where kernels can read them.
    fn table(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        match self {
            Owned::Host { tables, .. } => {
                let mut memory = host_memory(bytes.len())?;
                memory.copy_from(bytes);
                tables.push(memory);
                Ok(tables[tables.len() - 1].address())
            }
            Owned::Cuda { gpu, tables, .. } => {
                let memory = cuda::upload(gpu, bytes)?;
                let address = cuda::address(gpu, &memory);
                tables.push(memory);
                Ok(address)
            }
            Owned::Described(memory) => {
                memory.push(ScriptMemory::Table(bytes.to_vec()));
                Ok(memory.len() as u64 - 1)
            }
        }
    }

    fn workspace(&mut self, bytes: usize) -> Result<u64, Error> {
        match self {
            Owned::Host { workspaces, .. } => {
                let memory = host_memory(bytes)?;
                let address = memory.address();
                workspaces.push(memory);
                Ok(address)
            }
            Owned::Cuda { gpu, workspaces, .. } => {
                let memory = cuda::allocate(gpu, bytes)?;
                let address = cuda::address(gpu, &memory);
                workspaces.push(memory);
                Ok(address)
            }
            Owned::Described(memory) => {
                memory.push(ScriptMemory::Workspace(bytes));
                Ok(memory.len() as u64 - 1)
            }
        }
    }

    /// Waits until the tables are on the device, so that any stream can use them.
    fn finish(&self) -> Result<(), Error> {
        match self {
            Owned::Host { .. } | Owned::Described(_) => Ok(()),
            Owned::Cuda { gpu, .. } => {
                gpu.context.default_stream().synchronize().map_err(Error::cuda("copying tables to the device"))
            }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Owned::Cuda { gpu, .. } = self {
            // Launches may still be using the memory, on streams that nobody told the allocator about.
            gpu.context.record_err(gpu.context.synchronize());
        }
    }
}

pub(crate) fn host_memory(bytes: usize) -> Result<Memory, Error> {
    Memory::new(bytes, PAGE).ok_or_else(|| Error::Memory { bytes, device: "the host".into() })
}

/// Plain integers as bytes.
fn bytes_of<T: Copy + Into<i64>>(numbers: &[T]) -> &[u8] {
    // SAFETY: only integers convert into i64; they have no padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
