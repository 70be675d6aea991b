//! Views of ndarray's arrays, with their strides.

use super::element::Type;
use super::{Element, Known, Place, View};
use ndarray::{Array, ArrayBase, ArrayView, ArrayViewMut, Data, Dimension};

/// A slice, transposition or broadcast keeps its strides; nothing is copied. The launch refuses what kernels cannot follow, such
/// as a last axis that is not contiguous.
///
/// ```
/// use nsa::View;
/// let x = ndarray::Array2::<f32>::zeros((6, 4));
/// let every_second_row = View::from(x.slice(ndarray::s![..;2, ..]));
/// # let _ = every_second_row;
/// ```
impl<'a, T: Element, D: Dimension> From<ArrayView<'a, T, D>> for View<'a> {
    fn from(array: ArrayView<'a, T, D>) -> Self {
        view::<T>(array.as_ptr() as u64, array.shape(), array.strides(), false)
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayViewMut<'a, T, D>> for View<'a> {
    fn from(mut array: ArrayViewMut<'a, T, D>) -> Self {
        view::<T>(array.as_mut_ptr() as u64, array.shape(), array.strides(), true)
    }
}

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D>> for View<'a> {
    fn from(array: &'a ArrayBase<S, D>) -> Self {
        array.view().into()
    }
}

/// For arrays that own their elements alone: shared ones would be copied before they are written.
impl<'a, T: Element, D: Dimension> From<&'a mut Array<T, D>> for View<'a> {
    fn from(array: &'a mut Array<T, D>) -> Self {
        array.view_mut().into()
    }
}

/// The array guarantees that every element its shape and strides reach is there, and nothing about those in between.
fn view<'a, T: Element>(address: u64, shape: &[usize], strides: &[isize], writable: bool) -> View<'a> {
    let mut view = View::new(address, Known::Strides, Type::of::<T>(), writable, Place::Host, shape);
    view.stride_count = strides.len();
    for (to, from) in view.strides.iter_mut().zip(strides) {
        *to = *from as i64;
    }
    view
}
