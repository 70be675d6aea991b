//! Types of elements.

use nsa_artifact::DType;
use std::fmt;

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

/// The type of the elements that a view was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Type {
    /// One that programs have.
    Known(DType),
    /// Another one, by its name: tensors from elsewhere may have any.
    #[cfg_attr(
        not(any(feature = "dlpack", feature = "safetensors")),
        expect(dead_code, reason = "slices have known types only")
    )]
    Other(Box<str>),
}

impl Type {
    pub fn of<T: Element>() -> Self {
        Type::Known(T::DTYPE)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Known(dtype) => dtype.fmt(f),
            Type::Other(name) => f.write_str(name),
        }
    }
}
