//! Tensors of other libraries in, and memory of one's own out, by [DLPack](https://dmlc.github.io/dlpack/latest/): without copies.
//!
//! The C structures and who frees them are the crate [`dlpark`]'s. In: [`View::dlpack`], [`View::dlpack_mut`]. Out: [`share`], or
//! [`share_view`] for memory of any kind.
//!
//! DLPack says nothing about time. On a GPU, what the other library has in flight must be ordered before the launch, and the launch
//! before what the other library does next: by one common stream, or by events.

use super::element::Type;
use super::{Element, Known, Place, View};
use crate::Error;
use dlpark::ffi::{DLDataType, DLDevice, DLDeviceType, DLManagedTensorVersioned};
use dlpark::tensor::TensorRef;
use dlpark::{DlpackFlags, Managed, ManagedTensorBase, allocation::dynamic};
use nsa_artifact::{DType, MAX_RANK};

/// The crate whose tensors these are.
pub use dlpark;

/// A tensor in the current (versioned) form: what [`share`] makes.
pub type Tensor = Managed<DLManagedTensorVersioned>;

impl<'a> View<'a> {
    /// A tensor of another library as an argument, in the old or the versioned form. Its byte offset and its strides are followed.
    ///
    /// Memory of the host, pinned or not, of a CUDA device, or managed by CUDA. Anything else, and types that programs do not have,
    /// are refused by the launch.
    ///
    /// # Safety
    /// The tensor must describe memory that is there, and that nothing writes while launches with the view are executed.
    pub unsafe fn dlpack<M: ManagedTensorBase>(tensor: &'a Managed<M>) -> Self {
        match tensor.validate() {
            Ok(tensor) => view(&tensor, false),
            Err(e) => broken(&e),
        }
    }

    /// The same as a result. A tensor that is marked read-only is refused by the launch.
    ///
    /// # Safety
    /// As [`View::dlpack`]; besides, nothing else may read the memory meanwhile.
    pub unsafe fn dlpack_mut<M: ManagedTensorBase>(tensor: &'a mut Managed<M>) -> Self {
        let writable = !tensor.flags().contains(DlpackFlags::READ_ONLY);
        match tensor.validate() {
            Ok(tensor) => view(&tensor, writable),
            Err(e) => broken(&e),
        }
    }
}

/// The launch refuses it.
fn broken<'a>(error: &dlpark::tensor::Error) -> View<'a> {
    let nothing = View::new(0, Known::Strides, Type::Other("unknown".into()), false, Place::Host, &[]);
    fault(nothing, format!("its DLPack tensor is broken: {error}"))
}

fn fault<'a>(mut view: View<'a>, reason: String) -> View<'a> {
    view.fault.get_or_insert_with(|| reason.into());
    view
}

fn view<'a>(tensor: &TensorRef<'a>, writable: bool) -> View<'a> {
    let device = tensor.device();
    let place = match device.device_type {
        DLDeviceType::CPU | DLDeviceType::CUDAHOST => Some(Place::Host),
        DLDeviceType::CUDA => usize::try_from(device.device_id).ok().map(Place::Cuda),
        DLDeviceType::CUDAMANAGED => Some(Place::Managed),
        _ => None,
    };
    // Validation has refused negative extents; more axes than views have are kept as a number.
    let mut shape = [1usize; MAX_RANK];
    for (to, from) in shape.iter_mut().zip(tensor.shape()) {
        *to = usize::try_from(*from).unwrap_or(0);
    }
    let rank = tensor.ndim();
    let address = (tensor.data_ptr() as u64).wrapping_add(tensor.byte_offset());
    let shape = shape.get(..rank).unwrap_or(&shape);
    let mut view =
        View::new(address, Known::Strides, element(tensor.dtype()), writable, place.unwrap_or(Place::Host), shape);
    (view.rank, view.stride_count) = (rank, rank);
    // Without strides a tensor is row-major, as a view is.
    if let Some(strides) = tensor.strides() {
        view.set_strides(strides);
    }
    if place.is_none() {
        let (kind, id) = (device.device_type.0, device.device_id);
        let reason = format!(
            "its DLPack tensor is on a device of kind {kind}, number {id}: only host memory and memory of CUDA devices can be used"
        );
        return fault(view, reason);
    }
    if address == 0 && tensor.num_elements() > 0 {
        return fault(view, "its DLPack tensor has no memory: its address is null".into());
    }
    view
}

fn element(given: DLDataType) -> Type {
    let known = [DType::Bf16, DType::F16, DType::F32, DType::I32].into_iter().find(|dtype| code(*dtype) == given);
    known.map_or_else(|| Type::Other(name(given).into()), Type::Known)
}

fn code(dtype: DType) -> DLDataType {
    match dtype {
        DType::Bf16 => DLDataType::BF16,
        DType::F16 => DLDataType::F16,
        DType::F32 => DLDataType::F32,
        DType::I32 => DLDataType::I32,
    }
}

/// `f64`, `u8`, `i64`, `bool`; codes beyond those by their number.
fn name(given: DLDataType) -> String {
    use dlpark::ffi::DLDataTypeCode as Code;
    let kind = match given.code {
        Code::INT => "i",
        Code::UINT => "u",
        Code::FLOAT => "f",
        Code::BFLOAT => "bf",
        Code::COMPLEX => "complex",
        Code::BOOL if given.bits == 8 && given.lanes == 1 => return "bool".into(),
        other => return format!("of DLPack type {} with {} bits", other.0, given.bits),
    };
    match given.lanes {
        1 => format!("{kind}{}", given.bits),
        lanes => format!("{kind}{}x{lanes}", given.bits),
    }
}

/// Memory that can be given away: it stays where it is while its owner moves.
///
/// # Safety
/// [`Owner::view`] must describe memory that stays valid, at this address, until the owner is dropped, wherever it is moved.
pub unsafe trait Owner: Send + 'static {
    /// The memory, row-major.
    fn view(&mut self, shape: &[usize]) -> View<'_>;
}

// SAFETY: a vector's elements are on the heap, and stay there.
unsafe impl<T: Element> Owner for Vec<T> {
    fn view(&mut self, shape: &[usize]) -> View<'_> {
        View::host_mut(self, shape)
    }
}

// SAFETY: as for a vector.
unsafe impl<T: Element> Owner for Box<[T]> {
    fn view(&mut self, shape: &[usize]) -> View<'_> {
        View::host_mut(self, shape)
    }
}

/// Gives memory to another library, which frees it when it needs it no longer. Nothing is copied.
///
/// ```
/// let tensor = nsa::dlpack::share(vec![0f32; 12], &[3, 4])?;
/// // What a function in C, or a capsule of Python, takes; its deleter frees the vector.
/// let raw = tensor.into_raw();
/// # unsafe { (*raw).deleter.expect("ours has one")(raw) };
/// # Ok::<(), nsa::Error>(())
/// ```
///
/// # Errors
/// Memory that has fewer elements than the shape needs, or more than 8 axes.
pub fn share(mut owner: impl Owner, shape: &[usize]) -> Result<Tensor, Error> {
    let view = owner.view(shape);
    if let Known::Elements(available) = view.known
        && shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent)).is_none_or(|n| n > available)
    {
        return Err(Error::Share(format!("a tensor of shape {shape:?} needs more than {available} elements")));
    }
    let described = Described::of(&view)?;
    drop(view);
    // SAFETY: the memory is as large, and `Owner` promises that it stays where it is.
    unsafe { described.export(Box::new(owner)) }
}

/// Gives the memory behind a view to another library, whatever owns it. `owner` is dropped, exactly once and on any thread, when the
/// other library needs the memory no longer. A view that is read-only is marked so.
///
/// For a cudarc slice: keep its address, wait for the stream that wrote it, and give the slice as the owner.
///
/// # Errors
/// A view that no launch would take, or with more than 8 axes.
///
/// # Safety
/// The memory must stay valid, at the view's address, until `owner` is dropped; until then nothing else may use it in ways that
/// conflict with the other library.
pub unsafe fn share_view(view: &View<'_>, owner: impl Send + 'static) -> Result<Tensor, Error> {
    // SAFETY: the caller's promise.
    unsafe { Described::of(view)?.export(Box::new(owner)) }
}

/// A view without its lifetime.
struct Described {
    address: u64,
    dtype: DType,
    writable: bool,
    device: DLDevice,
    /// Extents, then strides.
    numbers: Vec<i64>,
}

impl Described {
    fn of(view: &View<'_>) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::Share(reason));
        let Type::Known(dtype) = view.element else { return refuse(format!("elements cannot be {}", view.element)) };
        if let Some(fault) = &view.fault {
            return refuse(fault.to_string());
        }
        let (Some(shape), Some(strides)) = (view.shape.get(..view.rank), view.strides.get(..view.rank)) else {
            return refuse(format!("{} axes are more than {MAX_RANK}", view.rank));
        };
        if view.stride_count != view.rank {
            return refuse(format!("the view has {} axes and {} strides", view.rank, view.stride_count));
        }
        let (device_type, id) = match view.place {
            Place::Host => (DLDeviceType::CPU, 0),
            Place::Cuda(ordinal) => (DLDeviceType::CUDA, ordinal),
            Place::Managed => (DLDeviceType::CUDAMANAGED, 0),
        };
        let too_large = || Error::Share("an extent is too large".into());
        let device = DLDevice { device_type, device_id: i32::try_from(id).map_err(|_| too_large())? };
        let mut numbers = Vec::with_capacity(2 * view.rank);
        for extent in shape {
            numbers.push(i64::try_from(*extent).map_err(|_| too_large())?);
        }
        numbers.extend(strides);
        Ok(Described { address: view.address, dtype, writable: view.writable, device, numbers })
    }

    /// # Safety
    /// As [`share_view`].
    unsafe fn export<O: Send + 'static>(self, owner: Box<O>) -> Result<Tensor, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Share(e.to_string());
        let rank = self.numbers.len() / 2;
        let mut allocation =
            dynamic::Allocation::<DLManagedTensorVersioned>::allocate(self.numbers.len()).map_err(|e| failed(&e))?;
        allocation.extra_mut().copy_from_slice(&self.numbers);
        let mut tensor = allocation.initialize(owner, rank).map_err(|e| failed(&e))?;
        let numbers = tensor.extra_mut().as_mut_ptr();
        let fields = tensor.tensor_mut();
        fields.shape = numbers;
        // The strides lie behind the extents.
        fields.strides = numbers.wrapping_add(rank);
        let empty = self.numbers.iter().take(rank).any(|extent| *extent == 0);
        let address = if empty { 0 } else { self.address };
        tensor
            .set_data(std::ptr::with_exposed_provenance_mut(address as usize))
            .set_device(self.device)
            .set_dtype(code(self.dtype));
        let flags = if self.writable { DlpackFlags::empty() } else { DlpackFlags::READ_ONLY };
        tensor.set_flags(flags).map_err(|e| failed(&e))?;
        // SAFETY: the extents and strides are part of the tensor's own allocation; the rest is the caller's promise.
        Ok(unsafe { tensor.finish() })
    }
}
