//! Views of the caller's memory: address, type, shape, strides.

use crate::Error;
use crate::batch::Dims;
use cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use nsa_artifact::{Buffer, DType, MAX_RANK, Role};
use std::fmt;
use std::marker::PhantomData;

/// Types that a view's elements may have.
pub trait Element: Copy + Send + Sync + sealed::Sealed + 'static {
    /// The same type as programs name it.
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($element:ty => $dtype:ident),*) => {
        $(impl sealed::Sealed for $element {}
        impl Element for $element {
            const DTYPE: DType = DType::$dtype;
        })*
    };
}
elements!(f32 => F32, half::f16 => F16, half::bf16 => Bf16, i32 => I32);

/// Where a view's memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Host,
    /// The number of the GPU.
    Cuda(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host => f.write_str("in host memory"),
            Place::Cuda(n) => write!(f, "in memory of cuda:{n}"),
        }
    }
}

/// Memory of the caller, as an argument or result of a launch. Elements are rows of a contiguous last axis; the other axes may
/// have any strides.
///
/// ```
/// use nsa::View;
/// let x = vec![0f32; 2 * 3 * 4];
/// let whole = View::host(&x, &[2, 3, 4]);
/// // The second of three heads: [2, 4], a row every 12 elements.
/// let head = View::host(&x[4..], &[2, 4]).strides(&[12, 1]);
/// # let _ = (whole, head);
/// ```
pub struct View<'a> {
    address: u64,
    /// Elements behind the address, where that is known.
    available: Option<usize>,
    dtype: DType,
    writable: bool,
    place: Place,
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [i64; MAX_RANK],
    /// How many strides the caller gave.
    stride_count: usize,
    /// Tells cudarc, when the view is dropped, that the memory was used.
    _used: Option<SyncOnDrop<'a>>,
    _memory: PhantomData<&'a mut ()>,
}

impl<'a> View<'a> {
    fn new(
        address: u64,
        available: Option<usize>,
        dtype: DType,
        writable: bool,
        place: Place,
        shape: &[usize],
    ) -> Self {
        let mut view = View {
            address,
            available,
            dtype,
            writable,
            place,
            // A rank beyond the limit is kept, so that the launch can complain about it.
            rank: shape.len(),
            shape: [1; MAX_RANK],
            strides: [1; MAX_RANK],
            stride_count: shape.len(),
            _used: None,
            _memory: PhantomData,
        };
        for (to, from) in view.shape.iter_mut().zip(shape) {
            *to = *from;
        }
        let mut stride = 1i64;
        for axis in (0..view.rank.min(MAX_RANK)).rev() {
            view.strides[axis] = stride;
            stride = stride.saturating_mul(i64::try_from(view.shape[axis]).unwrap_or(i64::MAX));
        }
        view
    }

    /// An argument in host memory, row-major.
    pub fn host<T: Element>(data: &'a [T], shape: &[usize]) -> Self {
        View::new(data.as_ptr() as u64, Some(data.len()), T::DTYPE, false, Place::Host, shape)
    }

    /// A result in host memory, row-major.
    pub fn host_mut<T: Element>(data: &'a mut [T], shape: &[usize]) -> Self {
        View::new(data.as_mut_ptr() as u64, Some(data.len()), T::DTYPE, true, Place::Host, shape)
    }

    /// An argument in a cudarc slice or view, row-major, to be read on `stream`: the stream that the launch gets.
    ///
    /// With several streams, cudarc makes the stream wait for earlier writes, by events; a stream that is being captured cannot
    /// wait for events from outside, so use [`View::device_address`] there.
    pub fn cuda<T: Element>(data: &'a impl DevicePtr<T>, shape: &[usize], stream: &'a CudaStream) -> Self {
        let available = data.len();
        let (address, used) = data.device_ptr(stream);
        let place = Place::Cuda(stream.context().ordinal());
        View { _used: Some(used), ..View::new(address, Some(available), T::DTYPE, false, place, shape) }
    }

    /// A result in a cudarc slice or view, row-major, to be written on `stream`: the stream that the launch gets.
    pub fn cuda_mut<T: Element>(data: &'a mut impl DevicePtrMut<T>, shape: &[usize], stream: &'a CudaStream) -> Self {
        let available = data.len();
        let (address, used) = data.device_ptr_mut(stream);
        let place = Place::Cuda(stream.context().ordinal());
        View { _used: Some(used), ..View::new(address, Some(available), T::DTYPE, true, place, shape) }
    }

    /// Memory of the GPU `ordinal` at an address, row-major: an argument or a result.
    ///
    /// # Safety
    /// The address must be that of enough elements of the type, properly aligned, until everything launched with it has been
    /// executed. Nothing else may write it meanwhile, and nothing may read it if it is a result.
    pub unsafe fn device_address(address: u64, dtype: DType, shape: &[usize], ordinal: usize) -> Self {
        View::new(address, None, dtype, true, Place::Cuda(ordinal), shape)
    }

    /// Memory of the host at an address, row-major: an argument or a result.
    ///
    /// # Safety
    /// As for [`View::device_address`]; a launch on the host is finished when it returns.
    pub unsafe fn host_address(address: *mut u8, dtype: DType, shape: &[usize]) -> Self {
        View::new(address as u64, None, dtype, true, Place::Host, shape)
    }

    /// Sets the strides, in elements, one per axis.
    pub fn strides(mut self, strides: &[i64]) -> Self {
        // A wrong number is reported by the launch, which knows the argument's name.
        self.stride_count = strides.len();
        for (to, from) in self.strides.iter_mut().zip(strides) {
            *to = *from;
        }
        self
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
        &self.strides[..self.rank.saturating_sub(1)]
    }

    /// Checks that the view can be passed for a buffer of these dimensions.
    pub(crate) fn check(&self, buffer: &Buffer, dims: &Dims, place: Place) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::Argument { name: buffer.name.clone(), reason });
        if self.dtype != buffer.dtype {
            return Err(Error::Type { name: buffer.name.clone(), expected: buffer.dtype, given: self.dtype });
        }
        if self.place != place {
            return wrong(format!("it is {}, but must be {}", self.place, place));
        }
        if buffer.role == Role::Result && !self.writable {
            return wrong("it is a result, but the view is read-only: use host_mut or cuda_mut".into());
        }
        if self.stride_count != self.rank {
            return wrong(format!("the view has {} axes and {} strides", self.rank, self.stride_count));
        }
        if self.rank > MAX_RANK || self.shape[..self.rank] != *dims.as_slice() {
            let given = &self.shape[..self.rank.min(MAX_RANK)];
            return wrong(format!("expected [{}], but it is {given:?}", expected(buffer, dims)));
        }
        if dims.elements() == 0 {
            return Ok(());
        }
        self.check_strides(buffer, dims).or_else(wrong)
    }

    fn check_strides(&self, buffer: &Buffer, dims: &Dims) -> Result<(), String> {
        let align = buffer.align;
        let size = buffer.dtype.bytes() as u64;
        let Some(last) = dims.rank.checked_sub(1) else {
            return self.check_bounds(0, 0).and(aligned(self.address, align));
        };
        if self.shape[last] > 1 && self.strides[last] != 1 {
            return Err(format!(
                "the last axis `{}` must be contiguous, but its stride is {}",
                buffer.axes[last], self.strides[last]
            ));
        }
        aligned(self.address, align)?;
        let (mut lowest, mut highest) = (0i128, 0i128);
        for axis in 0..dims.rank {
            let (extent, stride) = (self.shape[axis] as i128, i128::from(self.strides[axis]));
            if extent <= 1 {
                continue;
            }
            let bytes = self.strides[axis].unsigned_abs().wrapping_mul(size);
            if axis != last && !bytes.is_multiple_of(u64::from(align)) {
                let unit = u64::from(align) / size;
                return Err(format!(
                    "the stride of axis `{}` is {stride} elements, it must be a multiple of {unit}",
                    buffer.axes[axis]
                ));
            }
            if buffer.role == Role::Result && stride == 0 {
                return Err(format!("a result cannot have stride 0, as axis `{}` has", buffer.axes[axis]));
            }
            let reach = (extent - 1) * stride;
            if reach < 0 { lowest += reach } else { highest += reach }
        }
        self.check_bounds(lowest, highest)
    }

    /// Elements from `lowest` to `highest`, relative to the address, must exist.
    fn check_bounds(&self, lowest: i128, highest: i128) -> Result<(), String> {
        match self.available {
            Some(_) if lowest < 0 => Err("its strides reach before its first element".into()),
            Some(available) if highest >= available as i128 => {
                Err(format!("its shape and strides need {} elements, there are {available}", highest + 1))
            }
            _ => Ok(()),
        }
    }
}

fn aligned(address: u64, align: u32) -> Result<(), String> {
    if address.is_multiple_of(u64::from(align)) {
        return Ok(());
    }
    Err(format!("its address {address:#x} must be a multiple of {align} bytes"))
}

/// `t = 100, d = 64`.
fn expected(buffer: &Buffer, dims: &Dims) -> String {
    let parts = buffer.axes.iter().zip(dims.as_slice()).map(|(axis, n)| format!("{axis} = {n}"));
    parts.collect::<Vec<_>>().join(", ")
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank.min(MAX_RANK);
        write!(f, "{} {:?}, strides {:?}, {}", self.dtype, &self.shape[..rank], &self.strides[..rank], self.place)
    }
}
