//! DLPack tensors as arguments and results, and memory given away.

use super::{expected, kernel, numbers};
use crate::dlpack::dlpark::ffi::{DLDataType, DLDataTypeCode, DLDevice, DLDeviceType, DLManagedTensor, DLTensor};
use crate::dlpack::dlpark::{DlpackFlags, Managed};
use crate::dlpack::{Tensor, share, share_view};
use crate::*;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn launch(x: &View<'_>, y: &View<'_>) -> Result<(), Error> {
    kernel().plan(&Shape::new().with("s", 21)).expect("fits").launch(Stream::Host, &[("x", x), ("y", y)])
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What another library would hand over in the old form: its own allocation, with a deleter in C's convention.
struct Foreign {
    tensor: DLManagedTensor,
    shape: Vec<i64>,
    strides: Vec<i64>,
    _counted: Counted,
}

unsafe extern "C" fn free(tensor: *mut DLManagedTensor) {
    // SAFETY: the context is the box that `foreign` leaked.
    drop(unsafe { Box::from_raw((*tensor).manager_ctx.cast::<Foreign>()) });
}

fn foreign(
    data: *mut c_void,
    change: impl FnOnce(&mut DLTensor, &mut Vec<i64>),
) -> (Managed<DLManagedTensor>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let tensor = DLTensor {
        data,
        device: DLDevice::CPU,
        ndim: 2,
        dtype: DLDataType::F32,
        shape: std::ptr::null_mut(),
        strides: std::ptr::null_mut(),
        byte_offset: 0,
    };
    let owner = Box::into_raw(Box::new(Foreign {
        tensor: DLManagedTensor { dl_tensor: tensor, manager_ctx: std::ptr::null_mut(), deleter: Some(free) },
        shape: vec![21, 3],
        strides: vec![3, 1],
        _counted: Counted(count.clone()),
    }));
    // SAFETY: the box was leaked for this tensor alone, whose deleter frees it.
    let tensor = unsafe {
        let all = &mut *owner;
        change(&mut all.tensor.dl_tensor, &mut all.strides);
        all.tensor.dl_tensor.shape = all.shape.as_mut_ptr();
        let strides = &mut all.strides;
        all.tensor.dl_tensor.strides = if strides.is_empty() { std::ptr::null_mut() } else { strides.as_mut_ptr() };
        all.tensor.manager_ctx = owner.cast();
        Managed::from_raw(&raw mut (*owner).tensor).expect("not null")
    };
    (tensor, count)
}

#[test]
fn tensors_of_others_are_followed() {
    let numbers = numbers(21 * 3);
    let expected = expected(&[21], &numbers);
    // Rows of 8, of which 3 are the tensor's, behind 2 others.
    let mut wide = vec![f32::NAN; 21 * 8];
    for (to, from) in wide.chunks_mut(8).zip(numbers.chunks(3)) {
        to[2..5].copy_from_slice(from);
    }
    let mut dense = numbers.clone();
    let tensors = [
        foreign(dense.as_mut_ptr().cast(), |_, _| ()),
        // Without strides a tensor is row-major.
        foreign(dense.as_mut_ptr().cast(), |_, strides| strides.clear()),
        foreign(dense.as_mut_ptr().cast(), |tensor, _| tensor.device.device_type = DLDeviceType::CUDAHOST),
        foreign(dense.as_mut_ptr().cast(), |tensor, _| tensor.device.device_type = DLDeviceType::CUDAMANAGED),
        foreign(wide.as_mut_ptr().cast(), |tensor, strides| {
            tensor.byte_offset = 8;
            strides[0] = 8;
        }),
    ];
    for (tensor, count) in tensors {
        let mut y = vec![f32::NAN; 12];
        // SAFETY: the tensors describe the vectors above.
        launch(&unsafe { View::dlpack(&tensor) }, &View::host_mut(&mut y, &[4, 3])).expect("runs");
        assert_eq!(y, expected);
        assert_eq!(count.load(Ordering::SeqCst), 0, "a view frees nothing");
        drop(tensor);
        assert_eq!(count.load(Ordering::SeqCst), 1, "freed once");
    }
    // A result, given as a tensor in the versioned form.
    let mut result = share(vec![f32::NAN; 12], &[4, 3]).expect("large enough");
    // SAFETY: the tensor owns its memory.
    launch(&View::host(&dense, &[21, 3]), &unsafe { View::dlpack_mut(&mut result) }).expect("runs");
    // SAFETY: it is on the host, row-major.
    assert_eq!(unsafe { result.validate().expect("consistent").cpu_slice::<f32>() }.expect("f32"), expected);
}

#[test]
fn unusable_tensors_are_sentences() {
    let mut x = numbers(21 * 3);
    let mut refuse = |change: &dyn Fn(&mut DLTensor, &mut Vec<i64>)| {
        let (tensor, count) = foreign(x.as_mut_ptr().cast(), change);
        let mut y = vec![f32::NAN; 12];
        // SAFETY: refused before anything is read.
        let text = launch(&unsafe { View::dlpack(&tensor) }, &View::host_mut(&mut y, &[4, 3]))
            .expect_err("refused")
            .to_string();
        drop(tensor);
        assert_eq!(count.load(Ordering::SeqCst), 1, "freed once");
        text
    };
    let dtype = |code, bits, lanes| DLDataType { code, bits, lanes };
    let known = "convert it first, or declare `x: bf16[s, d]` in the program";
    assert_eq!(refuse(&|t, _| t.dtype = DLDataType::BF16), format!("`x` must be f32, but is bf16: {known}"));
    for (given, name) in [
        (DLDataType::F64, "f64"),
        (DLDataType::I64, "i64"),
        (DLDataType::U8, "u8"),
        (dtype(DLDataTypeCode::BOOL, 8, 1), "bool"),
        (dtype(DLDataTypeCode::FLOAT, 32, 4), "f32x4"),
        (dtype(DLDataTypeCode(200), 8, 1), "of DLPack type 200 with 8 bits"),
    ] {
        assert_eq!(refuse(&|t, _| t.dtype = given), format!("`x` must be f32, but is {name}: convert it first"));
    }
    let device = |kind, id| DLDevice { device_type: DLDeviceType(kind), device_id: id };
    assert_eq!(
        refuse(&|t, _| t.device = device(2, 3)),
        "`x`: it is in memory of cuda:3, but the plan needs it in host memory: copy it there first"
    );
    for (kind, id) in [(10, 0), (2, -1), (77, 5)] {
        assert_eq!(
            refuse(&|t, _| t.device = device(kind, id)),
            format!(
                "`x`: its DLPack tensor is on a device of kind {kind}, number {id}: only host memory and memory of CUDA devices \
                 can be used"
            )
        );
    }
    assert_eq!(
        refuse(&|_, strides| strides.copy_from_slice(&[1, 21])),
        "`x`: its last axis `d` must be contiguous, but has stride 21: make a row-major copy first, launches copy nothing"
    );
    assert_eq!(refuse(&|t, _| t.ndim = 1), "`x`: it has 1 axis, but must have 2 axes: [s = 21, d = 3]");
    assert!(refuse(&|t, _| t.ndim = -1).starts_with("`x`: its DLPack tensor is broken: ndim is negative"));
    assert!(refuse(&|t, _| t.byte_offset = 2).contains("which is no multiple of 4 bytes"));
    assert_eq!(
        refuse(&|t, _| t.data = std::ptr::null_mut()),
        "`x`: its DLPack tensor has no memory: its address is null"
    );
}

#[test]
fn memory_is_freed_once_by_whoever_has_it() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut numbers = numbers(12);
    // SAFETY: the vector outlives the tensor.
    let give = |view: &View<'_>| unsafe { share_view(view, Counted(count.clone())) };
    let tensor = give(&View::host_mut(&mut numbers, &[4, 3])).expect("describable");
    let seen = tensor.validate().expect("consistent");
    assert_eq!((seen.shape(), seen.strides()), (&[4, 3][..], Some(&[3, 1][..])));
    assert_eq!((seen.dtype(), seen.device(), tensor.flags()), (DLDataType::F32, DLDevice::CPU, DlpackFlags::empty()));
    assert_eq!(seen.data_ptr().addr(), numbers.as_ptr().addr(), "no copy");
    // Through a pointer, to another thread, and back: whoever has it last frees it.
    let raw = tensor.into_raw() as usize;
    assert_eq!(count.load(Ordering::SeqCst), 0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let raw =
                std::ptr::with_exposed_provenance_mut::<crate::dlpack::dlpark::ffi::DLManagedTensorVersioned>(raw);
            // SAFETY: the pointer is the tensor's, whose deleter takes it.
            unsafe { (*raw).deleter.expect("ours has one")(raw) };
        });
    });
    assert_eq!(count.load(Ordering::SeqCst), 1);

    // What is read-only stays so, and is refused as a result.
    let mut tensor = give(&View::host(&numbers, &[4, 3])).expect("describable");
    assert_eq!(tensor.flags(), DlpackFlags::READ_ONLY);
    let x = vec![0f32; 63];
    // SAFETY: refused before anything is written.
    let text = launch(&View::host(&x, &[21, 3]), &unsafe { View::dlpack_mut(&mut tensor) })
        .expect_err("read-only")
        .to_string();
    assert_eq!(text, "`y`: it is a result, but the view is read-only: make it with host_mut or cuda_mut");
    drop(tensor);
    assert_eq!(count.load(Ordering::SeqCst), 2);

    // Refused: the owner is dropped all the same.
    let refused = |r: Result<Tensor, Error>| r.err().expect("must be refused").to_string();
    let nine = refused(give(&View::host(&numbers, &[1; 9])));
    assert_eq!(nine, "this cannot be given away as a DLPack tensor: 9 axes are more than 8");
    assert_eq!(count.load(Ordering::SeqCst), 3);
    let text = refused(share(vec![0f32; 12], &[5, 3]));
    assert_eq!(
        text,
        "this cannot be given away as a DLPack tensor: a tensor of shape [5, 3] needs more than 12 elements"
    );
    assert!(refused(share(vec![0f32; 12], &[usize::MAX, 3])).contains("needs more than 12 elements"));
    let empty = share(Vec::<f32>::new(), &[0, 3]).expect("nothing is enough");
    assert!(empty.validate().expect("consistent").data_ptr().is_null(), "as the standard has it");
}
