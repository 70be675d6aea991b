//! Views of the caller's memory: address, type, shape, strides.
//!
//! A view never copies and never converts. What a kernel could only read after a copy (other strides, another type, another
//! device, an odd address) is refused by the launch, by the argument's name.

mod check;
#[cfg(feature = "dlpack")]
pub mod dlpack;
mod element;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(feature = "safetensors")]
mod safetensors;

pub use element::Element;

use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use element::Type;
use nsa_artifact::{DType, MAX_RANK};
use std::fmt;
use std::marker::PhantomData;

/// Where a view's memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Host,
    /// The number of the GPU.
    Cuda(usize),
    /// Memory that CUDA moves between the host and all GPUs as it is used.
    Managed,
}

impl Place {
    /// True if what runs at `other` can use memory here.
    fn reaches(self, other: Place) -> bool {
        self == Place::Managed || self == other
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host => f.write_str("host memory"),
            Place::Cuda(n) => write!(f, "memory of cuda:{n}"),
            Place::Managed => f.write_str("managed memory"),
        }
    }
}

/// What is known about the memory behind a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// Nothing: whoever made the view vouches for it.
    Nothing,
    /// So many elements from the address on, whatever the strides.
    Elements(usize),
    /// The elements that the given strides reach, and no others: neighbours may be somebody else's.
    Strides,
}

/// Memory of the caller, as an argument or result of a launch. Elements are rows of a contiguous last axis; the other axes may
/// have any strides, for arguments 0 and negative ones included.
///
/// ```
/// use nsa::View;
/// let x = vec![0f32; 2 * 3 * 4];
/// let whole = View::host(&x, &[2, 3, 4]);
/// // The second of three heads: [2, 4], a row every 12 elements.
/// let head = View::host(&x[4..], &[2, 4]).strides(&[12, 1]);
/// # let _ = (whole, head);
/// ```
///
/// Views borrow: memory cannot be freed, moved or otherwise used while a view of it is.
///
/// ```compile_fail,E0505
/// let x = vec![0f32; 12];
/// let view = nsa::View::host(&x, &[3, 4]);
/// drop(x);
/// println!("{view:?}");
/// ```
///
/// ```compile_fail,E0502
/// let mut y = vec![0f32; 12];
/// let result = nsa::View::host_mut(&mut y, &[3, 4]);
/// let first = y[0];
/// println!("{result:?} {first}");
/// ```
pub struct View<'a> {
    address: u64,
    known: Known,
    element: Type,
    writable: bool,
    place: Place,
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [i64; MAX_RANK],
    /// How many strides the caller gave.
    stride_count: usize,
    /// Why it cannot be used, if that was seen when it was made. The launch says so, because it knows the argument's name.
    fault: Option<Box<str>>,
    /// Tells cudarc, when the view is dropped, that the memory was used.
    _used: Option<SyncOnDrop<'a>>,
    _memory: PhantomData<&'a mut ()>,
}

impl<'a> View<'a> {
    fn new(address: u64, known: Known, element: Type, writable: bool, place: Place, shape: &[usize]) -> Self {
        let mut view = View {
            address,
            known,
            element,
            writable,
            place,
            // A rank beyond the limit is kept, so that the launch can complain about it.
            rank: shape.len(),
            shape: [1; MAX_RANK],
            strides: [1; MAX_RANK],
            stride_count: shape.len(),
            fault: None,
            _used: None,
            _memory: PhantomData,
        };
        for (to, from) in view.shape.iter_mut().zip(shape) {
            *to = *from;
        }
        let mut stride = 1i64;
        for (to, extent) in view.strides.iter_mut().zip(&view.shape).take(view.rank).rev() {
            *to = stride;
            stride = stride.saturating_mul(i64::try_from(*extent).unwrap_or(i64::MAX));
        }
        view
    }

    /// An argument in host memory, row-major.
    pub fn host<T: Element>(data: &'a [T], shape: &[usize]) -> Self {
        let known = Known::Elements(data.len());
        View::new(data.as_ptr() as u64, known, Type::of::<T>(), false, Place::Host, shape)
    }

    /// A result in host memory, row-major.
    pub fn host_mut<T: Element>(data: &'a mut [T], shape: &[usize]) -> Self {
        let known = Known::Elements(data.len());
        View::new(data.as_mut_ptr() as u64, known, Type::of::<T>(), true, Place::Host, shape)
    }

    /// An argument in a cudarc slice or view, row-major, to be read on `stream`: the stream that the launch gets.
    ///
    /// With several streams, cudarc makes the stream wait for earlier writes, by events; a stream that is being captured cannot
    /// wait for events from outside, so use [`View::device_address`] there.
    pub fn cuda<T: Element>(data: &'a impl DevicePtr<T>, shape: &[usize], stream: &'a CudaStream) -> Self {
        let known = Known::Elements(data.len());
        let (address, used) = data.device_ptr(stream);
        let place = Place::Cuda(stream.context().ordinal());
        View { _used: Some(used), ..View::new(address, known, Type::of::<T>(), false, place, shape) }
    }

    /// A result in a cudarc slice or view, row-major, to be written on `stream`: the stream that the launch gets.
    pub fn cuda_mut<T: Element>(data: &'a mut impl DevicePtrMut<T>, shape: &[usize], stream: &'a CudaStream) -> Self {
        let known = Known::Elements(data.len());
        let (address, used) = data.device_ptr_mut(stream);
        let place = Place::Cuda(stream.context().ordinal());
        View { _used: Some(used), ..View::new(address, known, Type::of::<T>(), true, place, shape) }
    }

    /// Memory of the GPU `ordinal` at an address, row-major unless [`View::strides`] says otherwise: an argument or a result.
    ///
    /// # Safety
    /// All elements that the shape and the strides reach must be there, of that type and properly aligned, until everything
    /// launched with the view has been executed. Nothing else may write them meanwhile, and nothing may read them if they are a
    /// result.
    pub unsafe fn device_address(address: u64, dtype: DType, shape: &[usize], ordinal: usize) -> Self {
        View::new(address, Known::Nothing, Type::Known(dtype), true, Place::Cuda(ordinal), shape)
    }

    /// Memory of the host at an address, row-major unless [`View::strides`] says otherwise: an argument or a result.
    ///
    /// # Safety
    /// As for [`View::device_address`]; a launch on the host is finished when it returns.
    pub unsafe fn host_address(address: *mut u8, dtype: DType, shape: &[usize]) -> Self {
        View::new(address as u64, Known::Nothing, Type::Known(dtype), true, Place::Host, shape)
    }

    /// Sets the strides, in elements, one per axis. For slices and addresses; arrays and tensors that have strides of their own
    /// keep them.
    pub fn strides(mut self, strides: &[i64]) -> Self {
        if self.known == Known::Strides {
            let own = "its strides are those of the array that it views: slice or permute the array instead";
            self.fault.get_or_insert_with(|| own.into());
            return self;
        }
        self.set_strides(strides);
        self
    }

    fn set_strides(&mut self, strides: &[i64]) {
        // A wrong number is reported by the launch, which knows the argument's name.
        self.stride_count = strides.len();
        for (to, from) in self.strides.iter_mut().zip(strides) {
            *to = *from;
        }
    }

    /// The same view, refused as a result.
    pub fn read_only(mut self) -> Self {
        self.writable = false;
        self
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Strides of all axes but the last, in elements: what kernels take.
    pub(crate) fn outer_strides(&self) -> &[i64] {
        self.strides.get(..self.rank.saturating_sub(1)).unwrap_or(&self.strides)
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank.min(MAX_RANK);
        write!(f, "{} {:?}, strides {:?}, in {}", self.element, &self.shape[..rank], &self.strides[..rank], self.place)
    }
}
