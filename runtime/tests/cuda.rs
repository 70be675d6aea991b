//! The runtime on a GPU, with a program written by hand in PTX: `y[t, d] = 2 x[t, d] + 1` in two kernels with a workspace between.
//! On a machine without a GPU each test says so and does nothing.

use nsa::artifact::*;
use nsa::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use nsa::{Artifact, DType, Device, Kernel, Plan, Shape, Target, View};
use std::sync::Mutex;

/// While one thread captures a graph, others may not copy or allocate on the device without a stream's order: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Columns.
const D: usize = 64;
/// Rows per block.
const TILE: u32 = 4;

/// A kernel with the calling convention of `nsa_artifact`: `to[t, d] = from[t, d] * factor + term` for the rows of a tile.
fn entry(name: &str, factor: f32, term: f32) -> String {
    let (factor, term) = (factor.to_bits(), term.to_bits());
    format!(
        "
.visible .entry {name}(.param .u64 seqs, .param .u64 tiles, .param .u64 count, .param .u64 from, .param .u64 from_stride,
                       .param .u64 to, .param .u64 to_stride)
.reqntid {D}
{{
  .reg .pred %p; .reg .b32 %b, %n, %t, %d; .reg .f32 %f; .reg .b64 %a, %c, %off, %len, %row, %end, %x, %q;
  mov.u32 %b, %ctaid.x;          mov.u32 %d, %tid.x;
  ld.param.u64 %a, [tiles];      mad.wide.u32 %a, %b, 8, %a;
  ld.global.u32 %n, [%a];        ld.global.u32 %t, [%a+4];
  ld.param.u64 %c, [seqs];       mad.wide.u32 %c, %n, 16, %c;
  ld.global.u64 %off, [%c];      ld.global.u64 %len, [%c+8];
  cvt.u64.u32 %row, %t;          add.u64 %end, %row, {TILE};
  min.u64 %end, %end, %len;
again:
  setp.ge.u64 %p, %row, %end;    @%p bra done;
  add.u64 %q, %row, %off;
  ld.param.u64 %x, [from_stride]; mul.lo.u64 %x, %x, %q; cvt.u64.u32 %c, %d; add.u64 %x, %x, %c; shl.b64 %x, %x, 2;
  ld.param.u64 %a, [from];       add.u64 %x, %x, %a;
  ld.global.f32 %f, [%x];        fma.rn.f32 %f, %f, 0f{factor:08X}, 0f{term:08X};
  ld.param.u64 %x, [to_stride];  mul.lo.u64 %x, %x, %q; add.u64 %x, %x, %c; shl.b64 %x, %x, 2;
  ld.param.u64 %a, [to];         add.u64 %x, %x, %a;
  st.global.f32 [%x], %f;
  add.u64 %row, %row, 1;         bra again;
done:
  ret;
}}
"
    )
}

fn artifact(ptx_version: PtxVersion, ptx: String) -> Artifact {
    let axes = vec![
        Axis { name: "t".into(), extent: Extent::Runtime },
        Axis { name: "d".into(), extent: Extent::Const(D as i64) },
    ];
    let buffer = |name: &str, role| Buffer {
        name: name.into(),
        axes: vec!["t".into(), "d".into()],
        dtype: DType::F32,
        role,
        align: 4,
    };
    let signature = vec![buffer("x", Role::Argument), buffer("y", Role::Result)];
    let kernel = |name: &str, buffers: [usize; 2]| nsa::artifact::Kernel {
        name: name.into(),
        grid: vec![GridAxis { axis: "t".into(), tile: TILE }],
        order: TileOrder::LargestFirst,
        buffers: buffers.to_vec(),
        threads: D as u32,
        // More than the 48 KiB that need no permission.
        shared_bytes: 100 << 10,
        scratch_bytes: 0,
        gathered: vec![],
    };
    let variant = Variant {
        label: "only".into(),
        when: vec![],
        axes: axes.clone(),
        buffers: vec![signature[0].clone(), buffer("half_way", Role::Workspace), signature[1].clone()],
        kernels: vec![kernel("double", [0, 1]), kernel("increment", [1, 2])],
        code: Code::Ptx { payload: "code.ptx".into(), version: ptx_version },
    };
    let manifest = Manifest {
        name: "scale".into(),
        program: String::new(),
        compiler: "test".into(),
        constants: vec![],
        axes,
        signature,
        targets: vec![TargetCode { target: Target::Sm80, variants: vec![variant] }],
    };
    Artifact::new(manifest, [("code.ptx", ptx.into_bytes())]).expect("consistent")
}

fn scale() -> Artifact {
    let ptx = format!(
        ".version 7.1\n.target sm_80\n.address_size 64\n{}{}",
        entry("double", 2., 0.),
        entry("increment", 1., 1.)
    );
    artifact(PtxVersion { major: 7, minor: 1 }, ptx)
}

/// The first GPU, or None and a line on the terminal.
fn gpu() -> Option<Device> {
    Device::cuda(0).map_err(|e| eprintln!("skipped: {e}")).ok()
}

fn plan(device: &Device, lengths: &[usize]) -> Plan {
    // SAFETY: the code was written for this manifest.
    let kernel = unsafe { Kernel::load(&scale(), device) }.expect("loads");
    assert_eq!(kernel.target(), Target::Sm80);
    kernel.plan(&Shape::new().with("t", lengths)).expect("fits")
}

/// Every GPU of compute capability 8.0 has tens of multiprocessors, about a gigahertz, hundreds of gigabytes per second.
#[test]
fn the_driver_knows_how_fast_it_is() {
    let Some(device) = gpu() else { return };
    let rates = device.rates().expect("the driver answers").expect("a GPU");
    println!("{}: {rates:?}", device.model().expect("a GPU"));
    assert!(rates.capability >= (8, 0) && (10..1000).contains(&rates.multiprocessors), "{rates:?}");
    assert!(rates.clock == 0 || (500_000_000..5_000_000_000).contains(&rates.clock), "{rates:?}");
    assert!(rates.memory == 0 || (100_000_000_000..20_000_000_000_000).contains(&rates.memory), "{rates:?}");
    assert!(rates.level2 > 1 << 20, "{rates:?}");
    assert_eq!(device.threads(), None);
    let host = Device::host();
    assert!(host.rates().expect("no driver is asked").is_none() && host.threads() > Some(0) && host.model().is_none());
}

#[test]
fn launches_graphs_and_streams() {
    let Some(device) = gpu() else { return };
    let _turn = TURN.lock();
    let stream = device.context().expect("a GPU").new_stream().expect("stream");
    let lengths = [0, 15, 205, 0, 3];
    let total: usize = lengths.iter().sum();
    let mut plan = plan(&device, &lengths);
    plan.fill_workspaces(0xff).expect("filled");
    let numbers: Vec<f32> = (0..total * D).map(|n| n as f32).collect();
    let expected: Vec<f32> = numbers.iter().map(|x| 2. * x + 1.).collect();
    let x = stream.clone_htod(&numbers).expect("copied");
    // Rows of 96, of which 64 are written.
    let mut y = stream.clone_htod(&vec![f32::NAN; total * 96]).expect("copied");
    {
        let x = View::cuda(&x, &[total, D], &stream);
        let y = View::cuda_mut(&mut y, &[total, D], &stream).strides(&[96, 1]);
        plan.launch(&stream, &[("x", &x), ("y", &y)]).expect("launched");
    }
    let strided = stream.clone_dtoh(&y).expect("copied");
    for (row, values) in strided.chunks(96).enumerate() {
        assert_eq!(values[..D], expected[row * D..][..D], "row {row}");
        assert!(values[D..].iter().all(|v| v.is_nan()), "row {row}: only results are written");
    }

    let mut z = stream.alloc_zeros::<f32>(total * D).expect("allocated");
    stream.synchronize().expect("done");
    let address = |slice: &nsa::cudarc::driver::CudaSlice<f32>| {
        use nsa::cudarc::driver::DevicePtr;
        slice.device_ptr(&stream).0
    };
    let (from, to) = (address(&x), address(&z));
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).expect("capturing");
    {
        // SAFETY: both slices live until the end of the test.
        let view = |address| unsafe { View::device_address(address, DType::F32, &[total, D], 0) };
        plan.launch(&stream, &[("x", &view(from)), ("y", &view(to))]).expect("captured");
    }
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).expect("captured").expect("a graph");
    assert!(stream.clone_dtoh(&z).expect("copied").iter().all(|v| *v == 0.), "capturing runs nothing");
    for _ in 0..3 {
        stream.memset_zeros(&mut z).expect("cleared");
        graph.launch().expect("launched");
        assert_eq!(stream.clone_dtoh(&z).expect("copied"), expected);
    }
}

#[test]
fn errors_are_sentences() {
    let Some(device) = gpu() else { return };
    let _turn = TURN.lock();
    let load = |artifact: &Artifact| {
        // SAFETY: refused before anything is executed.
        unsafe { Kernel::load(artifact, &device) }.expect_err("must be refused").to_string()
    };
    let future = artifact(PtxVersion { major: 99, minor: 0 }, ".version 99.0".into());
    assert!(load(&future).starts_with("`scale` is PTX 99.0, this machine's CUDA driver reads up to PTX"));
    let broken = artifact(PtxVersion { major: 7, minor: 1 }, ".version 7.1\n.target sm_80\nnonsense".into());
    let text = load(&broken);
    assert!(text.contains("CUDA_ERROR_INVALID_PTX") && text.contains("nonsense"), "with the assembler's log: {text}");

    let mut plan = plan(&device, &[5]);
    let (x, mut y) = ([0f32; 5 * D], [0f32; 5 * D]);
    let arguments = [("x", &View::host(&x, &[5, D])), ("y", &View::host_mut(&mut y, &[5, D]))];
    let text = plan.launch(nsa::Stream::Host, &arguments).expect_err("wrong device").to_string();
    assert!(text.ends_with("the launch is on the host"), "{text}");
    let stream = device.context().expect("a GPU").default_stream();
    let text = plan.launch(&stream, &arguments).expect_err("host memory").to_string();
    assert_eq!(text, "`x`: it is in host memory, but the plan needs it in memory of cuda:0: copy it there first");
    let text = Device::cuda(1000).expect_err("no such device").to_string();
    assert!(text.starts_with("there is no CUDA device 1000: this machine has "), "{text}");
}

#[test]
fn nothing_to_do() {
    let Some(device) = gpu() else { return };
    let _turn = TURN.lock();
    let stream = device.context().expect("a GPU").default_stream();
    for lengths in [&[][..], &[0, 0]] {
        let mut plan = plan(&device, lengths);
        let x = stream.alloc_zeros::<f32>(1).expect("allocated");
        let mut y = stream.alloc_zeros::<f32>(1).expect("allocated");
        let x = View::cuda(&x, &[0, D], &stream);
        let y = View::cuda_mut(&mut y, &[0, D], &stream);
        plan.launch(&stream, &[("x", &x), ("y", &y)]).expect("launched");
    }
    stream.synchronize().expect("no launch failed");
}

/// One kernel; threads that each have a stream, a plan and memory of their own get the same bits as one thread alone.
#[test]
fn many_threads_and_streams() {
    let Some(device) = gpu() else { return };
    let _turn = TURN.lock();
    let context = device.context().expect("a GPU");
    // SAFETY: the code was written for this manifest.
    let kernel = unsafe { Kernel::load(&scale(), &device) }.expect("loads");
    let run = |lengths: &[usize]| {
        let total: usize = lengths.iter().sum();
        let stream = context.new_stream().expect("stream");
        let mut plan = kernel.plan(&Shape::new().with("t", lengths)).expect("fits");
        let numbers: Vec<f32> = (0..total * D).map(|n| n as f32 / 3.).collect();
        let x = stream.clone_htod(&numbers).expect("copied");
        let mut y = stream.alloc_zeros::<f32>(total * D).expect("allocated");
        for _ in 0..20 {
            let (x, y) = (View::cuda(&x, &[total, D], &stream), View::cuda_mut(&mut y, &[total, D], &stream));
            plan.launch(&stream, &[("x", &x), ("y", &y)]).expect("launched");
        }
        stream.clone_dtoh(&y).expect("copied").iter().map(|y| y.to_bits()).collect::<Vec<_>>()
    };
    let batches: Vec<Vec<usize>> = (1..9).map(|n| vec![n, 0, 100 * n]).collect();
    let alone: Vec<Vec<u32>> = batches.iter().map(|lengths| run(lengths)).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = batches.iter().cycle().take(16).map(|lengths| scope.spawn(|| run(lengths))).collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().expect("no panic"), alone[n % batches.len()], "thread {n}");
        }
    });
}

/// Device memory as DLPack tensors, there and back, without a copy.
#[test]
#[cfg(feature = "dlpack")]
fn tensors_of_other_libraries() {
    use nsa::cudarc::driver::DevicePtr;
    use nsa::dlpack::dlpark::ffi::{DLDevice, DLDeviceType};
    use nsa::dlpack::share_view;
    let Some(device) = gpu() else { return };
    let _turn = TURN.lock();
    let stream = device.context().expect("a GPU").new_stream().expect("stream");
    let mut plan = plan(&device, &[5]);
    let numbers: Vec<f32> = (0..5 * D).map(|n| n as f32).collect();
    let x = stream.clone_htod(&numbers).expect("copied");
    let y = stream.alloc_zeros::<f32>(5 * D).expect("allocated");
    stream.synchronize().expect("done");
    let share = |slice: nsa::cudarc::driver::CudaSlice<f32>| {
        let address = slice.device_ptr(&stream).0;
        // SAFETY: the slice is the tensor's owner, and nothing else uses it.
        unsafe { share_view(&View::device_address(address, DType::F32, &[5, D], 0), slice) }.expect("describable")
    };
    let (x, mut y) = (share(x), share(y));
    let place = y.validate().expect("consistent").device();
    assert_eq!(place, DLDevice { device_type: DLDeviceType::CUDA, device_id: 0 });
    {
        // SAFETY: the tensors own their memory, and the launch is waited for below.
        let views = unsafe { (View::dlpack(&x), View::dlpack_mut(&mut y)) };
        plan.launch(&stream, &[("x", &views.0), ("y", &views.1)]).expect("launched");
    }
    let address = y.validate().expect("consistent").data_ptr() as u64;
    let mut result = vec![0f32; 5 * D];
    // SAFETY: as large, and the copy is waited for.
    unsafe { nsa::cudarc::driver::result::memcpy_dtoh_async(&mut result, address, stream.cu_stream()) }
        .expect("copied");
    stream.synchronize().expect("done");
    assert_eq!(result, numbers.iter().map(|x| 2. * x + 1.).collect::<Vec<_>>());
    // A plan for the host refuses it by name; this one refuses the host's.
    let host = nsa::dlpack::share(numbers, &[5, D]).expect("large enough");
    // SAFETY: refused before anything is read.
    let text = unsafe { plan.launch(&stream, &[("x", &View::dlpack(&host)), ("y", &View::dlpack_mut(&mut y))]) };
    let text = text.expect_err("host memory").to_string();
    assert_eq!(text, "`x`: it is in host memory, but the plan needs it in memory of cuda:0: copy it there first");
}
