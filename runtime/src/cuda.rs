//! GPUs: opening the driver, loading PTX, launching.

use crate::{Driver, Error};
use cudarc::driver::{CudaContext, CudaSlice, DevicePtr, DriverError, result, sys};
use nsa_artifact::{Kernel, PtxVersion};
use std::ffi::{CString, c_void};
use std::sync::Arc;

/// A GPU with an open context.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub context: Arc<CudaContext>,
    pub name: String,
    pub capability: (u32, u32),
    /// The highest PTX version that the driver reads.
    pub ptx: PtxVersion,
    /// Shared memory that a block can have if it asks for it, in bytes.
    pub shared_bytes: usize,
}

/// The lowest compute capability that there is code for.
pub(crate) const LEAST_CAPABILITY: (u32, u32) = (8, 0);

impl Gpu {
    /// Opens a GPU. Asks for libcuda first: cudarc panics without it.
    pub fn open(ordinal: usize) -> Result<Gpu, Error> {
        Driver::find()?;
        result::init().map_err(Error::cuda("starting the driver"))?;
        let count = CudaContext::device_count().map_err(Error::cuda("counting devices"))?;
        let count = usize::try_from(count).unwrap_or(0);
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        Gpu::new(CudaContext::new(ordinal).map_err(Error::cuda("opening the device"))?)
    }

    pub fn new(context: Arc<CudaContext>) -> Result<Gpu, Error> {
        let ptx = Driver::find()?.ptx;
        let name = context.name().map_err(Error::cuda("asking for the device's name"))?;
        let (major, minor) = context.compute_capability().map_err(Error::cuda("asking for the compute capability"))?;
        let capability = (major.max(0) as u32, minor.max(0) as u32);
        if capability < LEAST_CAPABILITY {
            return Err(Error::SmallGpu { name, capability });
        }
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared_bytes = context.attribute(attribute).map_err(Error::cuda("asking for shared memory"))?;
        Ok(Gpu { context, name, capability, ptx, shared_bytes: usize::try_from(shared_bytes).unwrap_or(0) })
    }

    pub fn describe(&self) -> String {
        let (major, minor) = self.capability;
        format!("cuda:{} ({}, compute capability {major}.{minor})", self.context.ordinal(), self.name)
    }
}

/// The CUDA version of the machine's driver, as it numbers them: 1000 * major + 10 * minor.
pub(crate) fn driver_cuda_version() -> Result<u32, Error> {
    // SAFETY: only looks for the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the call writes one integer and needs no initialisation.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(Error::cuda("asking for its version"))?;
    Ok(version.max(0) as u32)
}

/// An error of the driver in its own words.
pub(crate) fn describe(error: DriverError) -> String {
    let text = |part: Result<&std::ffi::CStr, DriverError>| part.map(|t| t.to_string_lossy().into_owned()).ok();
    match (text(error.error_name()), text(error.error_string())) {
        (Some(name), Some(sentence)) => format!("{sentence} ({name})"),
        (Some(name), None) => name,
        _ => format!("{:?}", error.0),
    }
}

/// A loaded PTX module and its entries, in the order of the kernels they were loaded for.
#[derive(Debug)]
pub(crate) struct Module {
    module: sys::CUmodule,
    pub functions: Vec<sys::CUfunction>,
    context: Arc<CudaContext>,
}

// SAFETY: handles of the driver may be used from any thread whose current context is theirs; every use binds it first.
unsafe impl Send for Module {}
// SAFETY: as above; nothing is changed after loading.
unsafe impl Sync for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        let unloaded = self.context.bind_to_thread().and_then(|()| {
            // SAFETY: the module was loaded in this context and nothing else unloads it.
            unsafe { result::module::unload(self.module) }
        });
        self.context.record_err(unloaded);
    }
}

impl Module {
    /// Hands the PTX to the driver and looks up one entry per kernel.
    pub fn load(gpu: &Gpu, program: &str, ptx: &str, kernels: &[Kernel]) -> Result<Module, Error> {
        for kernel in kernels {
            if kernel.shared_bytes as usize > gpu.shared_bytes {
                return Err(Error::SharedMemory {
                    kernel: kernel.name.clone(),
                    needed: kernel.shared_bytes as usize,
                    available: gpu.shared_bytes,
                    device: gpu.describe(),
                });
            }
        }
        gpu.context.bind_to_thread().map_err(Error::cuda("binding the context"))?;
        let mut module =
            Module { module: load_ptx(program, ptx)?, functions: Vec::new(), context: gpu.context.clone() };
        for kernel in kernels {
            let refused = |e: DriverError| Error::Load {
                program: program.to_string(),
                reason: format!("entry `{}`: {}", kernel.name, describe(e)),
                log: String::new(),
            };
            let name = c_string(program, &kernel.name)?;
            // SAFETY: the module is loaded and its context is current.
            let function = unsafe { result::module::get_function(module.module, name) }.map_err(refused)?;
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to a loaded module. Beyond 48 KiB the driver must be told before a launch.
            unsafe { result::function::set_function_attribute(function, attribute, kernel.shared_bytes as i32) }
                .map_err(refused)?;
            module.functions.push(function);
        }
        Ok(module)
    }
}

fn c_string(program: &str, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Load {
        program: program.to_string(),
        reason: "the text contains a zero byte".into(),
        log: String::new(),
    })
}

/// `cuModuleLoadDataEx` with the error log of the driver's assembler.
fn load_ptx(program: &str, ptx: &str) -> Result<sys::CUmodule, Error> {
    let image = c_string(program, ptx)?;
    let mut log = vec![0u8; 16 << 10];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // Option values that are numbers travel in the pointer itself.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(log.len())];
    let mut module = std::ptr::null_mut();
    // SAFETY: image and log outlive the call; the arrays have the stated length.
    let loaded = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            image.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match loaded.result() {
        Ok(()) => Ok(module),
        Err(e) => {
            let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
            Err(Error::Load {
                program: program.to_string(),
                reason: describe(e),
                log: String::from_utf8_lossy(&log[..end]).into_owned(),
            })
        }
    }
}

/// Puts one kernel on a stream. No allocation, no synchronisation.
///
/// # Safety
/// `words` must be what the kernel takes, with addresses that stay valid until the stream has executed it. The context must be
/// current.
pub(crate) unsafe fn launch(
    function: sys::CUfunction,
    stream: sys::CUstream,
    blocks: u32,
    kernel: &Kernel,
    words: &mut [u64],
) -> Result<(), Error> {
    let mut bytes = size_of_val(words);
    // All parameters are 64-bit words, so the words are the parameter buffer. Keys of `extra` from cuda.h:
    // CU_LAUNCH_PARAM_BUFFER_POINTER 1, CU_LAUNCH_PARAM_BUFFER_SIZE 2, CU_LAUNCH_PARAM_END 0.
    let mut extra: [*mut c_void; 5] = [
        std::ptr::without_provenance_mut(1),
        words.as_mut_ptr().cast(),
        std::ptr::without_provenance_mut(2),
        (&raw mut bytes).cast(),
        std::ptr::null_mut(),
    ];
    // SAFETY: the driver copies the words during the call; the rest is the caller's promise.
    unsafe {
        sys::cuLaunchKernel(
            function,
            blocks,
            1,
            1,
            kernel.threads,
            1,
            1,
            kernel.shared_bytes,
            stream,
            std::ptr::null_mut(),
            extra.as_mut_ptr(),
        )
    }
    .result()
    .map_err(Error::cuda("launching a kernel"))
}

/// Uninitialised device memory, ordered on the context's default stream.
pub(crate) fn allocate(gpu: &Gpu, bytes: usize) -> Result<CudaSlice<u8>, Error> {
    let stream = gpu.context.default_stream();
    // SAFETY: only kernels read it, and they write every element before they read it.
    unsafe { stream.alloc::<u8>(bytes.max(1)) }.map_err(|_| Error::Memory { bytes, device: gpu.describe() })
}

/// Device memory with a copy of these bytes, once the default stream has been waited for.
pub(crate) fn upload(gpu: &Gpu, bytes: &[u8]) -> Result<CudaSlice<u8>, Error> {
    let mut memory = allocate(gpu, bytes.len())?;
    if !bytes.is_empty() {
        let stream = gpu.context.default_stream();
        stream.memcpy_htod(bytes, &mut memory).map_err(Error::cuda("copying tables to the device"))?;
    }
    Ok(memory)
}

/// Overwrites memory, and waits.
pub(crate) fn fill(gpu: &Gpu, memory: &mut CudaSlice<u8>, byte: u8) -> Result<(), Error> {
    let stream = gpu.context.default_stream();
    let bytes = memory.num_bytes();
    gpu.context.synchronize().map_err(Error::cuda("waiting for the device"))?;
    // SAFETY: the memory has that many bytes, and nothing runs on the device.
    unsafe { result::memset_d8_async(address(gpu, memory), byte, bytes, stream.cu_stream()) }
        .and_then(|()| stream.synchronize())
        .map_err(Error::cuda("filling workspaces"))
}

/// Waits for the device, and copies memory to the host.
pub(crate) fn read(gpu: &Gpu, memory: &CudaSlice<u8>) -> Result<Vec<u8>, Error> {
    gpu.context.synchronize().map_err(Error::cuda("waiting for the device"))?;
    gpu.context.default_stream().clone_dtoh(memory).map_err(Error::cuda("copying from the device"))
}

/// The address of device memory.
pub(crate) fn address(gpu: &Gpu, memory: &CudaSlice<u8>) -> u64 {
    memory.device_ptr(&gpu.context.default_stream()).0
}
