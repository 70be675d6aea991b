//! Tensors in the memory of a GPU.

use crate::{Error, Tensor, Tensors};
use nsa::cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};
use nsa::{DType, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tensors by name, and the stream that uses them.
pub struct GpuTensors {
    stream: Arc<CudaStream>,
    tensors: BTreeMap<String, GpuTensor>,
}

struct GpuTensor {
    dtype: DType,
    shape: Vec<usize>,
    memory: CudaSlice<u8>,
}

impl GpuTensors {
    /// Copies tensors to the GPU and waits for it.
    pub fn new(context: &Arc<CudaContext>, tensors: Tensors) -> Result<Self, Error> {
        let stream = context.default_stream();
        let mut copies = BTreeMap::new();
        for (name, tensor) in tensors {
            let memory = match tensor.bytes() {
                [] => stream.alloc_zeros(1)?,
                bytes => stream.clone_htod(bytes)?,
            };
            copies.insert(name, GpuTensor { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), memory });
        }
        stream.synchronize()?;
        Ok(GpuTensors { stream, tensors: copies })
    }

    /// The stream that launches go to.
    pub fn stream(&self) -> &CudaStream {
        &self.stream
    }

    /// All tensors as arguments or results, with the stream to launch on.
    pub fn views(&mut self) -> (&CudaStream, Vec<(&str, View<'_>)>) {
        let ordinal = self.stream.context().ordinal();
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let address = tensor.memory.device_ptr(&self.stream).0;
            // SAFETY: the memory has that type and shape; views borrow this exclusively, and memory is only freed behind the
            // launches, in the order of the stream.
            let view = unsafe { View::device_address(address, tensor.dtype, &tensor.shape, ordinal) };
            views.push((name.as_str(), view));
        }
        (&self.stream, views)
    }

    /// Overwrites a tensor, in the order of the stream.
    pub fn fill(&mut self, name: &str, byte: u8) -> Result<(), Error> {
        if let Some(tensor) = self.tensors.get_mut(name) {
            let bytes = vec![byte; tensor.memory.len()];
            self.stream.memcpy_htod(&bytes, &mut tensor.memory)?;
            self.stream.synchronize()?;
        }
        Ok(())
    }

    /// Copies a tensor to the host.
    pub fn download(&self, name: &str, to: &mut Tensor) -> Result<(), Error> {
        self.stream.synchronize()?;
        if let Some(tensor) = self.tensors.get(name)
            && to.elements() > 0
        {
            self.stream.memcpy_dtoh(&tensor.memory, to.bytes_mut())?;
            self.stream.synchronize()?;
        }
        Ok(())
    }
}
