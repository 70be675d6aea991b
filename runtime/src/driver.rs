//! What the machine has: its CUDA driver, and its GPUs' limits. Opens no context, so that looking takes no memory on a GPU.

use crate::Error;
use crate::cuda::{LEAST_CAPABILITY, driver_cuda_version};
use cudarc::driver::{result, sys};
use nsa_artifact::{PtxVersion, Target};
use sys::CUdevice_attribute as Attribute;

/// The machine's CUDA driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Driver {
    /// The CUDA version that it is for, as (major, minor).
    pub cuda: (u32, u32),
    /// The highest version of PTX that it reads.
    pub ptx: PtxVersion,
}

/// A GPU and what it can hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GpuLimits {
    /// Its number: `cuda:0`, `cuda:1`, ...
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability, as (major, minor).
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// Shared memory that a block can have if it asks for it, in bytes.
    pub shared_per_block: usize,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: usize,
    /// 32-bit registers of a multiprocessor.
    pub registers_per_multiprocessor: usize,
    /// Level-2 cache, in bytes.
    pub level2: usize,
    /// Memory, in bytes.
    pub memory: usize,
}

/// How fast a GPU is, by what its driver says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuRates {
    /// Its compute capability, as (major, minor).
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// Their cycles per second at most; 0 if the driver does not say.
    pub clock: u64,
    /// Bytes per second from and to memory, by its clock and the width of its bus; 0 if the driver does not say.
    pub memory: u64,
    /// Level-2 cache, in bytes.
    pub level2: usize,
}

impl GpuRates {
    pub(crate) fn of(device: sys::CUdevice) -> Result<GpuRates, Error> {
        let ask = |attribute| {
            // SAFETY: the device comes from the driver.
            let value = unsafe { result::device::get_attribute(device, attribute) };
            value.map(|n| u64::try_from(n).unwrap_or(0)).map_err(Error::cuda("asking for a device's rates"))
        };
        let small = |n: u64| u32::try_from(n).unwrap_or(0);
        let large = |n: u64| usize::try_from(n).unwrap_or(0);
        // Clocks are in kilohertz, the bus in bits; memory moves data at both edges of its clock.
        let memory = ask(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?
            * 1000
            * 2
            * (ask(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)? / 8);
        Ok(GpuRates {
            capability: (
                small(ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?),
                small(ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
            ),
            multiprocessors: large(ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?),
            clock: ask(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)? * 1000,
            memory,
            level2: large(ask(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        })
    }
}

impl Driver {
    /// Looks for the driver.
    ///
    /// # Errors
    /// There is none, or one that is older than CUDA 11.0.
    pub fn find() -> Result<Driver, Error> {
        let version = driver_cuda_version()?;
        let cuda = (version / 1000, version % 1000 / 10);
        let ptx = PtxVersion::of_driver(version).ok_or(Error::AncientDriver { major: cuda.0, minor: cuda.1 })?;
        Ok(Driver { cuda, ptx })
    }

    /// All GPUs that it shows, those that are too old included.
    ///
    /// # Errors
    /// The driver does not start: without a GPU it says so, too.
    pub fn gpus(&self) -> Result<Vec<GpuLimits>, Error> {
        result::init().map_err(Error::cuda("starting the driver"))?;
        let count = result::device::get_count().map_err(Error::cuda("counting devices"))?;
        (0..count).map(GpuLimits::of).collect()
    }
}

impl GpuLimits {
    fn of(ordinal: i32) -> Result<GpuLimits, Error> {
        let wrong = Error::cuda("asking for a device's limits");
        let device = result::device::get(ordinal).map_err(&wrong)?;
        let ask = |attribute| {
            // SAFETY: the device comes from the driver.
            let value = unsafe { result::device::get_attribute(device, attribute) };
            value.map(|n| usize::try_from(n).unwrap_or(0)).map_err(&wrong)
        };
        let number = |n: usize| u32::try_from(n).unwrap_or(0);
        Ok(GpuLimits {
            ordinal: usize::try_from(ordinal).unwrap_or(0),
            name: result::device::get_name(device).map_err(&wrong)?,
            capability: (
                number(ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?),
                number(ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
            ),
            multiprocessors: ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_per_block: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            shared_per_multiprocessor: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
            registers_per_multiprocessor: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
            level2: ask(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            // SAFETY: the device comes from the driver.
            memory: unsafe { result::device::total_mem(device) }.map_err(&wrong)?,
        })
    }

    /// True if there can be code for it.
    pub fn supported(&self) -> bool {
        self.capability >= LEAST_CAPABILITY
    }

    /// The targets whose code it runs, best last, as far as the driver reads their PTX.
    pub fn targets(&self) -> Vec<Target> {
        Target::ALL.into_iter().filter(|target| target.runs_on(self.capability)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the machine has: an answer or a sentence, no panic.
    #[test]
    #[cfg_attr(miri, ignore = "Miri loads no libraries")]
    fn looking_never_panics() {
        match Driver::find() {
            Err(e) => assert!(e.to_string().contains("CUDA"), "{e}"),
            Ok(driver) => match driver.gpus() {
                Err(e) => assert!(e.to_string().starts_with("CUDA, while"), "{e}"),
                Ok(gpus) => {
                    for gpu in gpus {
                        assert!(gpu.multiprocessors > 0 && gpu.memory > 0, "{gpu:?}");
                        assert_eq!(gpu.supported(), !gpu.targets().is_empty(), "{gpu:?}");
                    }
                }
            },
        }
    }
}
