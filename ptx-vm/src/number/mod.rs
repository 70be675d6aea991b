//! Arithmetic of the number formats that the host does not have.

pub(crate) mod convert;
pub(crate) mod float;
pub(crate) mod small;

pub(crate) use small::{bf16_to_f32, e4m3_to_f32, e5m2_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
