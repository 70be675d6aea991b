//! Arguments and results in the memory of a device, and launches on them.

use crate::gpu::GpuTensors;
use crate::{Error, Tensor, Tensors};
use nsa::artifact::Role;
use nsa::{Device, Kernel, Plan, Shape, Stream, View};
use std::ops::Range;

/// The arguments and results of a plan, where its device can reach them.
pub struct Memory(Kind);

enum Kind {
    Host(Tensors),
    Cuda(GpuTensors),
}

/// What results are before a launch: NaN, and -1 in integers. What a kernel forgets to write is seen.
const POISON: u8 = 0xff;

impl Memory {
    /// Copies the inputs to the device and makes poisoned results.
    ///
    /// # Errors
    /// No memory on a GPU.
    pub fn new(plan: &Plan, device: &Device, inputs: &Tensors) -> Result<Memory, Error> {
        let mut tensors = inputs.clone();
        for parameter in plan.parameters().iter().filter(|p| p.role() == Role::Result) {
            tensors.insert(parameter.name().into(), Tensor::filled(parameter.dtype(), parameter.shape(), POISON));
        }
        match device.context() {
            None => Ok(Memory(Kind::Host(tensors))),
            Some(context) => Ok(Memory(Kind::Cuda(GpuTensors::new(context, tensors)?))),
        }
    }

    /// Overwrites results with NaN or -1.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn poison(&mut self, plan: &Plan) -> Result<(), Error> {
        for parameter in plan.parameters().iter().filter(|p| p.role() == Role::Result) {
            match &mut self.0 {
                Kind::Host(tensors) => {
                    if let Some(tensor) = tensors.get_mut(parameter.name()) {
                        tensor.bytes_mut().fill(POISON);
                    }
                }
                Kind::Cuda(tensors) => tensors.fill(parameter.name(), POISON)?,
            }
        }
        Ok(())
    }

    /// Launches some of the plan's kernels. On a GPU it does not wait.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn launch(&mut self, plan: &mut Plan, kernels: Range<usize>) -> Result<(), Error> {
        match &mut self.0 {
            Kind::Host(tensors) => {
                let views: Vec<(&str, View<'_>)> =
                    tensors.iter_mut().map(|(name, tensor)| (name.as_str(), tensor.view_mut())).collect();
                let arguments: Vec<_> = views.iter().map(|(name, view)| (*name, view)).collect();
                plan.launch_kernels(kernels, Stream::Host, &arguments)?;
            }
            Kind::Cuda(tensors) => {
                let (stream, views) = tensors.views();
                let arguments: Vec<_> = views.iter().map(|(name, view)| (*name, view)).collect();
                plan.launch_kernels(kernels, stream, &arguments)?;
            }
        }
        Ok(())
    }

    /// Waits for the device.
    ///
    /// # Errors
    /// A kernel that failed.
    pub fn wait(&self) -> Result<(), Error> {
        match &self.0 {
            Kind::Host(_) => Ok(()),
            Kind::Cuda(tensors) => Ok(tensors.stream().synchronize()?),
        }
    }

    /// The stream of launches, on a GPU.
    pub(crate) fn stream(&self) -> Option<&nsa::cudarc::driver::CudaStream> {
        match &self.0 {
            Kind::Host(_) => None,
            Kind::Cuda(tensors) => Some(tensors.stream()),
        }
    }

    /// The results, copied to the host.
    ///
    /// # Errors
    /// A kernel that failed.
    pub fn results(&self, plan: &Plan) -> Result<Tensors, Error> {
        let mut results = Tensors::new();
        for parameter in plan.parameters().iter().filter(|p| p.role() == Role::Result) {
            let mut tensor = Tensor::filled(parameter.dtype(), parameter.shape(), POISON);
            match &self.0 {
                Kind::Host(tensors) => {
                    if let Some(from) = tensors.get(parameter.name()) {
                        tensor = from.clone();
                    }
                }
                Kind::Cuda(tensors) => tensors.download(parameter.name(), &mut tensor)?,
            }
            results.insert(parameter.name().into(), tensor);
        }
        Ok(results)
    }
}

/// What the last launch of a plan stored besides the results, copied to the host; nothing where the plan's device is only described.
///
/// # Errors
/// If the driver fails.
pub fn intermediates(plan: &Plan) -> Result<Tensors, Error> {
    let mut tensors = Tensors::new();
    for intermediate in plan.intermediates() {
        let Some(bytes) = plan.read_intermediate(intermediate)? else { continue };
        let mut tensor = Tensor::filled(intermediate.dtype(), intermediate.shape(), POISON);
        tensor.bytes_mut().copy_from_slice(&bytes);
        tensors.insert(intermediate.name().into(), tensor);
    }
    Ok(tensors)
}

/// Runs a program once: plan, poisoned workspaces and results, launch, wait.
///
/// # Errors
/// A shape or inputs that do not fit, or what the device refuses.
pub fn execute(kernel: &Kernel, shape: &Shape, inputs: &Tensors) -> Result<Tensors, Error> {
    let mut plan = kernel.plan(shape)?;
    plan.fill_workspaces(POISON)?;
    let mut memory = Memory::new(&plan, kernel.device(), inputs)?;
    let all = 0..plan.variant().kernels.len();
    memory.launch(&mut plan, all)?;
    memory.results(&plan)
}
