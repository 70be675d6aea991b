//! Views of tensors in a safetensors file that is in memory, read or mapped.

use super::element::Type;
use super::{Known, Place, View};
use nsa_artifact::DType;
use safetensors::tensor::{Dtype, TensorView};

/// The tensor's bytes where they are. Files align tensors to 8 bytes only, whatever their types; where a kernel needs more, the
/// launch says so, and the tensor must be copied to aligned memory.
impl<'a> From<&TensorView<'a>> for View<'a> {
    fn from(tensor: &TensorView<'a>) -> Self {
        let element = match tensor.dtype() {
            Dtype::BF16 => Type::Known(DType::Bf16),
            Dtype::F16 => Type::Known(DType::F16),
            Dtype::F32 => Type::Known(DType::F32),
            Dtype::I32 => Type::Known(DType::I32),
            other => Type::Other(format!("{other:?}").to_lowercase().into()),
        };
        let data = tensor.data();
        let size = if let Type::Known(dtype) = &element { dtype.bytes() } else { 1 };
        // Files are little-endian, as are all targets.
        let known = Known::Elements(data.len() / size);
        View::new(data.as_ptr() as u64, known, element, false, Place::Host, tensor.shape())
    }
}
