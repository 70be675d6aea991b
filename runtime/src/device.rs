//! Where kernels run.

use crate::Error;
use crate::cuda::Gpu;
use crate::driver::GpuRates;
use nsa_artifact::{HostIsa, Target};
use std::fmt;
use std::sync::Arc;

/// The host's processor, or a GPU. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Host(Host),
    Cuda(Arc<Gpu>),
    Described(Target),
}

/// The host: which instruction set to use at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    limit: Option<HostIsa>,
}

impl Device {
    /// The host's processor: all threads of the current rayon pool, the best instruction set that it has.
    pub fn host() -> Device {
        Device(Kind::Host(Host { limit: None }))
    }

    /// The host's processor, using no better instruction set than this one.
    pub fn host_with(limit: HostIsa) -> Device {
        Device(Kind::Host(Host { limit: Some(limit) }))
    }

    /// The GPU of this number, in its primary context (shared with the CUDA runtime and other libraries).
    ///
    /// # Errors
    /// A machine without driver, with an old one, without such a GPU, or with a GPU below compute capability 8.0.
    pub fn cuda(ordinal: usize) -> Result<Device, Error> {
        Gpu::open(ordinal).map(|gpu| Device(Kind::Cuda(Arc::new(gpu))))
    }

    /// No device: plans for it hold code of this target and say what a launch would do ([`crate::Plan::script`]), for others to execute.
    pub fn described(target: Target) -> Device {
        Device(Kind::Described(target))
    }

    /// A GPU in a context that the caller already has.
    ///
    /// # Errors
    /// A driver or GPU that is too old.
    pub fn from_context(context: &Arc<cudarc::driver::CudaContext>) -> Result<Device, Error> {
        Gpu::new(context.clone()).map(|gpu| Device(Kind::Cuda(Arc::new(gpu))))
    }

    /// The name of a GPU's model.
    pub fn model(&self) -> Option<&str> {
        if let Kind::Cuda(gpu) = &self.0 { Some(&gpu.name) } else { None }
    }

    /// The CUDA context, if this is a GPU: streams and memory come from it.
    pub fn context(&self) -> Option<&Arc<cudarc::driver::CudaContext>> {
        match &self.0 {
            Kind::Host(_) | Kind::Described(_) => None,
            Kind::Cuda(gpu) => Some(&gpu.context),
        }
    }

    /// The best instruction set that kernels on the host may use; None for a GPU.
    pub fn host_isa(&self) -> Option<HostIsa> {
        match &self.0 {
            Kind::Host(host) => host.isas().last().copied(),
            _ => None,
        }
    }

    /// The target of a device that is only described.
    pub fn described_target(&self) -> Option<Target> {
        if let Kind::Described(target) = self.0 { Some(target) } else { None }
    }

    /// How fast it is by what its driver says; None for what is no GPU.
    ///
    /// # Errors
    /// The driver fails.
    pub fn rates(&self) -> Result<Option<GpuRates>, Error> {
        match &self.0 {
            Kind::Cuda(gpu) => GpuRates::of(gpu.context.cu_device()).map(Some),
            Kind::Host(_) | Kind::Described(_) => Ok(None),
        }
    }

    /// How many threads run kernels on the host: those of the current rayon pool. None for what is no host.
    pub fn threads(&self) -> Option<usize> {
        matches!(self.0, Kind::Host(_)).then(rayon::current_num_threads)
    }

    /// True for a GPU.
    pub fn is_cuda(&self) -> bool {
        matches!(self.0, Kind::Cuda(_))
    }
}

impl std::str::FromStr for Device {
    type Err = Error;
    /// Opens the device of a name: `host`, `host:avx2` for no better instruction set than that, `cuda` or `cuda:1`.
    fn from_str(name: &str) -> Result<Device, Error> {
        let unknown = || Error::DeviceName(name.to_string());
        match name.split_once(':') {
            None if name == "host" => Ok(Device::host()),
            Some(("host", limit)) => {
                let level = HostIsa::ALL.into_iter().find(|isa| isa.name() == limit).ok_or_else(unknown)?;
                let device = Device::host_with(level);
                // An instruction set of another architecture would leave none.
                if device.host_isa() == Some(level) { Ok(device) } else { Err(Error::NoIsa(level)) }
            }
            None if name == "cuda" => Device::cuda(0),
            Some(("cuda", ordinal)) => Device::cuda(ordinal.parse().map_err(|_| unknown())?),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Host(host) => {
                write!(f, "the host ({})", host.isas().last().map_or("unknown processor", |isa| isa.name()))
            }
            Kind::Cuda(gpu) => f.write_str(&gpu.describe()),
            Kind::Described(target) => write!(f, "no device ({target})"),
        }
    }
}

impl Host {
    /// The instruction sets that may be used, best last.
    pub fn isas(self) -> Vec<HostIsa> {
        let mut isas = HostIsa::detected().to_vec();
        isas.retain(|isa| self.limit.is_none_or(|limit| *isa <= limit));
        isas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri loads no libraries")]
    fn without_a_driver_there_is_a_sentence() {
        // Where there is a driver this opens a device or says that there is none: no panic in either case.
        match Device::cuda(usize::MAX) {
            Ok(device) => panic!("there is no such device: {device}"),
            Err(e) => assert!(e.to_string().contains("CUDA"), "{e}"),
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_instruction_set_can_be_limited() {
        let isas = |device: Device| match device.0 {
            Kind::Host(host) => host.isas(),
            Kind::Cuda(_) | Kind::Described(_) => Vec::new(),
        };
        assert_eq!(isas(Device::host_with(HostIsa::X86_64)), [HostIsa::X86_64]);
        assert!(isas(Device::host()).contains(&HostIsa::X86_64));
        let named: Device = "host:x86_64".parse().expect("every x86-64 processor has it");
        assert_eq!(named.host_isa(), Some(HostIsa::X86_64));
        let reason = |name: &str| name.parse::<Device>().expect_err("no device").to_string();
        assert_eq!(reason("host:aarch64"), "this machine's processor does not have the instruction set aarch64");
        assert!(reason("host:mmx").starts_with("`host:mmx` is no device"));
    }
}
