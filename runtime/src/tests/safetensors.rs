//! Tensors of safetensors files that are in memory.

use super::{expected, kernel, numbers};
use crate::*;
use ::safetensors::tensor::{Dtype, TensorView};

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn tensors_are_read_where_they_are() {
    let numbers = numbers(21 * 3);
    let data = bytes(&numbers);
    let wide = vec![0u8; 21 * 3 * 8];
    let tensor = |dtype, data| TensorView::new(dtype, vec![21, 3], data).expect("consistent");
    let file = ::safetensors::serialize([("x", tensor(Dtype::F32, &data)), ("w", tensor(Dtype::F64, &wide))], None)
        .expect("fits");
    // Files align to 8 bytes; begin the file so that its tensors are aligned at all.
    let mut memory = vec![0u64; file.len().div_ceil(8)];
    // SAFETY: as many bytes, plainly copied.
    let memory = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), file.len()) };
    memory.copy_from_slice(&file);
    let file = ::safetensors::SafeTensors::deserialize(memory).expect("readable");
    let mut plan = kernel().plan(&Shape::new().with("s", 21)).expect("fits");
    let mut y = vec![f32::NAN; 12];
    let mut launch = |x: &View<'_>| plan.launch(Stream::Host, &[("x", x), ("y", &View::host_mut(&mut y, &[4, 3]))]);
    let x = file.tensor("x").expect("exists");
    launch(&View::from(&x)).expect("runs");
    let text = launch(&View::from(&file.tensor("w").expect("exists"))).expect_err("another type").to_string();
    assert_eq!(text, "`x` must be f32, but is f64: convert it first");
    let shifted = TensorView::new(Dtype::F32, vec![20, 3], &x.data()[1..241]).expect("consistent");
    let text = launch(&View::from(&shifted)).expect_err("another shape").to_string();
    assert!(text.starts_with("`x`: it must be [s = 21, d = 3], but is [20, 3]"), "{text}");
    let longer = [x.data(), &[0]].concat();
    let odd =
        TensorView::new(Dtype::F32, vec![21, 3], &longer[if longer.as_ptr().addr() % 4 == 0 { 1 } else { 0 }..][..252]);
    let text = launch(&View::from(&odd.expect("consistent"))).expect_err("an odd address").to_string();
    assert!(text.contains("which is no multiple of 4 bytes: begin it there, or copy it"), "{text}");
    assert_eq!(y, expected(&[21], &numbers));
}
