//! One kernel, many threads: each plans and launches for itself, and all get the same bits.

use super::{kernel, numbers};
use crate::*;

#[test]
fn what_threads_share() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Device>();
    shared::<Kernel>();
    shared::<Artifact>();
    shared::<HostSymbols>();
    shared::<Shape>();
    shared::<Error>();
    shared::<View<'_>>();
    moved::<Plan>();
}

/// The bits of the program's result for one batch.
fn run(kernel: &Kernel, lengths: &[usize], x: &[f32]) -> Vec<u32> {
    let mut plan = kernel.plan(&Shape::new().with("s", lengths)).expect("fits");
    plan.fill_workspaces(0xff).expect("host");
    let shape = plan.parameter("y").expect("exists").shape().to_vec();
    let mut y = vec![f32::NAN; shape.iter().product()];
    for _ in 0..3 {
        y.fill(f32::NAN);
        let (x, result) = (View::host(x, &[x.len() / 3, 3]), View::host_mut(&mut y, &shape));
        plan.launch(Stream::Host, &[("x", &x), ("y", &result)]).expect("runs");
    }
    y.iter().map(|y| y.to_bits()).collect()
}

#[test]
fn many_threads_one_kernel() {
    let kernel = kernel();
    // Few under Miri, which is ten thousand times as slow.
    let (different, threads) = if cfg!(miri) { (2, 4) } else { (8, 24) };
    let batches: Vec<Vec<usize>> = (0..different).map(|n| vec![8 + n, 0, 3 * n, 21]).collect();
    // Not small integers: sums depend on their order.
    let x: Vec<f32> = numbers(400 * 3).iter().map(|x| x / 3.0 + 0.01).collect();
    let of = |batch: &Vec<usize>| &x[..batch.iter().sum::<usize>() * 3];
    let alone: Vec<Vec<u32>> = batches.iter().map(|batch| run(kernel, batch, of(batch))).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = batches
            .iter()
            .cycle()
            .take(threads)
            .map(|batch| {
                let kernel: Kernel = kernel.clone();
                scope.spawn(move || run(&kernel, batch, of(batch)))
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().expect("no panic"), alone[n % batches.len()], "thread {n}");
        }
    });
}

/// A plan moves between threads; launches inside of a pool of the user's own use that pool.
#[test]
fn plans_move_and_pools_nest() {
    let kernel = kernel();
    let x = numbers(21 * 3);
    let alone = run(kernel, &[21], &x);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    assert_eq!(pool.install(|| run(kernel, &[21], &x)), alone);
    let mut plan = kernel.plan(&Shape::new().with("s", 21)).expect("fits");
    let mut y = vec![f32::NAN; 12];
    let y = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (x, result) = (View::host(&x, &[21, 3]), View::host_mut(&mut y, &[4, 3]));
            plan.launch(Stream::Host, &[("x", &x), ("y", &result)]).expect("runs");
            drop(result);
            y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
        });
        thread.join().expect("no panic")
    });
    assert_eq!(y, alone);
}
