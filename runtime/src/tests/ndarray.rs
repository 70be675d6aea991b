//! Arrays of ndarray as arguments and results.

use super::{expected, kernel, numbers};
use crate::*;
use ::ndarray::{Array1, Array2, ArrayD, Axis, CowArray, IxDyn, ShapeBuilder, s};

fn launch(x: &View<'_>, y: &View<'_>) -> Result<(), Error> {
    kernel().plan(&Shape::new().with("s", 21)).expect("fits").launch(Stream::Host, &[("x", x), ("y", y)])
}

#[test]
fn slices_keep_their_strides() {
    let numbers = numbers(21 * 3);
    let expected = Array2::from_shape_vec((4, 3), expected(&[21], &numbers)).expect("as many");
    let rows = Array2::from_shape_vec((21, 3), numbers).expect("as many");
    // Every second row and the middle columns of something larger; rows from the last to the first.
    let mut wide = Array2::from_elem((42, 8), f32::NAN);
    wide.slice_mut(s![..;2, 2..5]).assign(&rows);
    let mut backwards = rows.clone();
    backwards.invert_axis(Axis(0));
    let backwards = backwards.as_standard_layout().into_owned();
    let shared = rows.clone().into_shared();
    let cow = CowArray::from(rows.view());
    let views = [
        View::from(&rows),
        View::from(rows.view()),
        View::from(&shared),
        View::from(&cow),
        View::from(wide.slice(s![..;2, 2..5])),
        View::from(backwards.slice(s![..;-1, ..])),
        View::from(rows.view().into_dyn()),
    ];
    for x in &views {
        let mut y = Array2::from_elem((4, 3), f32::NAN);
        launch(x, &View::from(&mut y)).expect("runs");
        assert_eq!(y, expected, "{x:?}");
        // A result inside of something larger, from the last row to the first.
        let mut large = Array2::from_elem((4, 6), f32::NAN);
        launch(x, &View::from(large.slice_mut(s![..;-1, 1..4]))).expect("runs");
        assert_eq!(large.slice(s![..;-1, 1..4]), expected, "{x:?}");
        assert_eq!(large.iter().filter(|y| y.is_nan()).count(), 12, "only results are written");
    }
    // One row for all: stride 0.
    let row = rows.row(0);
    let x = row.broadcast((21, 3)).expect("broadcasts");
    let mut y = Array2::from_elem((4, 3), f32::NAN);
    launch(&View::from(x), &View::from(&mut y)).expect("runs");
    assert_eq!(y, Array2::from_shape_fn((4, 3), |(i, d)| 21.0 * i as f32 * row[d]));
}

#[test]
fn what_would_need_a_copy_is_an_error() {
    let rows = Array2::<f32>::zeros((21, 3));
    let refuse = |x: View<'_>| {
        let mut y = Array2::from_elem((4, 3), f32::NAN);
        launch(&x, &View::from(&mut y)).expect_err("must be refused").to_string()
    };
    let columns = Array2::<f32>::zeros((21, 3).f());
    let contiguous = "make a row-major copy first, launches copy nothing";
    assert_eq!(
        refuse((&columns).into()),
        format!("`x`: its last axis `d` must be contiguous, but has stride 21: {contiguous}")
    );
    let reversed = refuse(rows.slice(s![.., ..;-1]).into());
    assert_eq!(reversed, format!("`x`: its last axis `d` must be contiguous, but has stride -1: {contiguous}"));
    let own = "`x`: its strides are those of the array that it views: slice or permute the array instead";
    assert_eq!(refuse(View::from(&rows).strides(&[1, 1])), own);
    assert_eq!(
        refuse(View::from(rows.t())),
        "`x`: it must be [s = 21, d = 3], but is [3, 21]: the same extents in another order; its axes must be s, d"
    );
    assert!(
        refuse((&Array2::<half::bf16>::zeros((21, 3))).into()).starts_with("`x` must be f32, but is bf16: convert")
    );
    assert_eq!(refuse((&Array1::<f32>::zeros(63)).into()), "`x`: it has 1 axis, but must have 2 axes: [s = 21, d = 3]");
    let many = ArrayD::<f32>::zeros(IxDyn(&[1; 11]));
    assert_eq!(refuse((&many).into()), "`x`: it has 11 axes, but must have 2 axes: [s = 21, d = 3]");
    let y = Array2::<f32>::zeros((4, 3));
    let text = launch(&View::from(&rows), &View::from(&y)).expect_err("read-only").to_string();
    assert_eq!(text, "`y`: it is a result, but the view is read-only: make it with host_mut or cuda_mut");
}

#[test]
fn nothing_to_view() {
    let mut plan = kernel().plan(&Shape::new().with("s", 0)).expect("fits");
    let (x, mut y) = (Array2::<f32>::zeros((0, 3)), Array2::<f32>::zeros((0, 3)));
    plan.launch(Stream::Host, &[("x", &View::from(&x)), ("y", &View::from(&mut y))]).expect("runs");
}
