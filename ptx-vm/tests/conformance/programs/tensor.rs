//! Tensor copies, both ways: every rank, swizzle and element width, with tiles that hang over the edges.

use super::asynchronous::contents;
use super::{Argument, Program, Random, Tolerance, kernel};

const TARGET: &str = "sm_90a";

pub fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    for (i, swizzle) in SWIZZLES.into_iter().enumerate() {
        let row = [128, 16, 32, 64][i];
        programs.push(load(&format!("tma.load.2d.{swizzle}"), &Tensor::of(swizzle, &[96, 20], &[row, 16], &[8, -3])));
    }
    let shapes = [
        Tensor::of("none", &[200], &[64], &[160]),
        Tensor::of("64B", &[40, 5, 6], &[32, 4, 2], &[16, 3, 5]),
        Tensor::of("32B", &[24, 3, 4, 5], &[16, 2, 2, 2], &[16, -1, 3, 4]),
        Tensor::of("none", &[16, 3, 2, 3, 4], &[8, 2, 2, 2, 2], &[8, 2, 1, -1, 3]),
    ];
    for shape in &shapes {
        programs.push(load(&format!("tma.load.{}d", shape.at.len()), shape));
        // Stores take no coordinates below 0: an H100 calls that an illegal instruction.
        let at = shape.at.iter().map(|at| at.abs()).collect();
        let inside = Tensor { at, sizes: shape.sizes.clone(), tile: shape.tile.clone(), ..*shape };
        programs.push(store(&format!("tma.store.{}d", shape.at.len()), "cp.async.bulk", "", &inside));
    }
    for (i, swizzle) in SWIZZLES.into_iter().enumerate() {
        let row = [128, 16, 32, 64][i];
        let shape = Tensor::of(swizzle, &[96, 20], &[row, 16], &[40, 12]);
        programs.push(store(&format!("tma.store.2d.{swizzle}"), "cp.async.bulk", "", &shape));
    }
    for (element, width) in [("u8", 1), ("f16", 2), ("f32", 4), ("tf32", 4), ("s32", 4), ("f64", 8), ("u64", 8)] {
        let row = 64 / width;
        let shape = Tensor { element, ..Tensor::of("64B", &[2 * row, 12], &[row, 8], &[16 / width as i32, 6]) };
        programs.push(load(&format!("tma.load.{element}"), &shape));
    }
    for element in ["f16", "bf16", "f32"] {
        let shape = Tensor { element, nan: true, ..Tensor::of("none", &[40, 10], &[32, 8], &[24, -3]) };
        programs.push(load(&format!("tma.load.nan.{element}"), &shape));
    }
    for (element, op) in [
        ("f16", "add"),
        ("bf16", "add"),
        ("f32", "add"),
        ("f64", "add"),
        ("s32", "add"),
        ("u64", "add"),
        ("s32", "min"),
        ("u32", "max"),
        ("bf16", "max"),
        ("f16", "min"),
        ("u32", "inc"),
        ("u32", "dec"),
        ("u32", "and"),
        ("s32", "or"),
        ("u64", "xor"),
    ] {
        // Copies to global memory change whole chunks of 16 bytes, beyond the tensor's edge, too: these rows end with one.
        let width = if element.ends_with("f16") { 40 } else { 36 };
        let shape = Tensor { element, ..Tensor::of("none", &[width, 9], &[16, 8], &[24, 4]) };
        programs.push(store(&format!("tma.reduce.{op}.{element}"), "cp.reduce.async.bulk", op, &shape));
    }
    let ragged = Tensor::of("128B", &[50, 7, 5], &[64, 4, 2], &[8, 4, 4]);
    programs.push(store("tma.reduce.3d", "cp.reduce.async.bulk", "add", &ragged));
    // Edges within 16 bytes, of every width, and of rows of fewer. Tiles start at multiples of 16 bytes: an H100 calls all
    // other stores and reductions an illegal instruction.
    for (element, op, width) in [
        ("f16", "add", 37),
        ("bf16", "min", 37),
        ("f32", "add", 34),
        ("s32", "min", 34),
        ("u32", "xor", 35),
        ("f64", "add", 33),
        ("u64", "max", 33),
    ] {
        let shape = Tensor { element, ..Tensor::of("none", &[width, 9], &[16, 8], &[24, 4]) };
        programs.push(store(&format!("tma.reduce.edge.{op}.{element}"), "cp.reduce.async.bulk", op, &shape));
    }
    for element in ["bf16", "f32", "f64"] {
        let shape = Tensor { element, ..Tensor::of("none", &[37, 9], &[16, 8], &[24, 4]) };
        programs.push(store(&format!("tma.store.edge.{element}"), "cp.async.bulk", "", &shape));
    }
    let short = Tensor::of("none", &[5, 9], &[16, 8], &[0, 4]);
    programs.push(store("tma.reduce.short", "cp.reduce.async.bulk", "add", &short));
    programs
}

const SWIZZLES: [&str; 4] = ["none", "32B", "64B", "128B"];

/// A tensor in global memory, and a tile of it.
struct Tensor {
    element: &'static str,
    swizzle: &'static str,
    nan: bool,
    sizes: Vec<u32>,
    tile: Vec<u32>,
    at: Vec<i32>,
}

impl Tensor {
    fn of(swizzle: &'static str, sizes: &[u32], tile: &[u32], at: &[i32]) -> Self {
        Self { element: "bf16", swizzle, nan: false, sizes: sizes.into(), tile: tile.into(), at: at.into() }
    }

    fn width(&self) -> u32 {
        match self.element {
            "u8" => 1,
            "f16" | "bf16" => 2,
            "f64" | "u64" => 8,
            _ => 4,
        }
    }

    /// Bytes between neighbours along all axes but the first, and of the whole. Rows are padded, so that strides are not products of sizes.
    fn strides(&self) -> (Vec<u64>, u64) {
        let mut strides = Vec::new();
        let mut bytes = u64::from(self.sizes[0] * self.width());
        for &size in &self.sizes[1..] {
            bytes = bytes.next_multiple_of(16) + 16;
            strides.push(bytes);
            bytes *= u64::from(size);
        }
        (strides, bytes)
    }

    fn map(&self, over: usize) -> Argument {
        Argument::Map {
            over,
            element: self.element,
            sizes: self.sizes.clone(),
            strides: self.strides().0,
            tile: self.tile.clone(),
            swizzle: self.swizzle,
            nan: self.nan,
        }
    }

    /// Bytes of the tile.
    fn total(&self) -> u32 {
        self.tile.iter().product::<u32>() * self.width()
    }

    fn coordinates(&self) -> String {
        let list: Vec<String> = self.at.iter().map(i32::to_string).collect();
        list.join(", ")
    }
}

const START: &str = "    .reg .b64 %out, %at, %map, %in;\n    .reg .b32 %t, %base, %bar, %i, %w;\n    .reg .pred %first, %done, %more;\n\
    \x20   .shared .align 8 .b64 full;\n\
    \x20   ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n    mov.u32 %base, dynamic;\n    mov.u32 %bar, full;\n\
    \x20   mov.b64 %map, map;\n    cvta.param.u64 %map, %map;\n    setp.eq.s32 %first, %t, 0;\n";

/// A tensor copy into shared memory, whose bytes are then the result.
fn load(name: &str, tensor: &Tensor) -> Program {
    let (total, at) = (tensor.total(), tensor.coordinates());
    let rank = tensor.at.len();
    let body = format!(
        "{START}    @!%first bra ready;\n    mbarrier.init.shared::cta.b64 [%bar], 1;\n    fence.mbarrier_init.release.cluster;\n\
         \x20   prefetch.param.tensormap [map];\n\
         \x20   cp.async.bulk.prefetch.tensor.{rank}d.L2.global.tile [%map, {{{at}}}];\n\
         \x20   mbarrier.arrive.expect_tx.shared::cta.b64 _, [%bar], {total};\n\
         \x20   cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%base], [%map, {{{at}}}], [%bar];\n\
         ready:\n    bar.sync 0;\n\
         wait:\n    mbarrier.try_wait.parity.shared::cta.b64 %done, [%bar], 0;\n    @!%done bra wait;\n\
         \x20   shl.b32 %i, %t, 2;\n\
         copy:\n    setp.lt.u32 %more, %i, {total};\n    @!%more bra end;\n    add.s32 %bar, %base, %i;\n\
         \x20   ld.shared.b32 %w, [%bar];\n    cvt.u64.u32 %at, %i;\n    add.s64 %at, %out, %at;\n    st.global.b32 [%at], %w;\n\
         \x20   add.s32 %i, %i, 512;\n    bra copy;\nend:"
    );
    let bytes = tensor.strides().1 as usize;
    // Random bytes, except where the copy might round.
    let input = if tensor.element == "tf32" {
        contents(name, bytes, "f32")
    } else {
        let mut random = Random::new(name);
        (0..bytes).map(|_| random.next() as u8).collect()
    };
    Program {
        name: name.into(),
        target: TARGET,
        ptx: kernel(TARGET, &["input", "#map", "output"], 128, &body),
        grid: 1,
        threads: 128,
        shared: total.max(1024),
        arguments: vec![Argument::Input(input), tensor.map(0), Argument::Output(total as usize)],
        tolerance: Tolerance::Exact,
    }
}

/// A tensor copy or reduction out of shared memory into the output, which the first half of the input fills before.
fn store(name: &str, instruction: &str, reduce: &str, tensor: &Tensor) -> Program {
    let (total, at) = (tensor.total(), tensor.coordinates());
    let rank = tensor.at.len();
    let whole = tensor.strides().1.next_multiple_of(16) as usize;
    let op = if reduce.is_empty() { String::new() } else { format!(".{reduce}") };
    let body = format!(
        "{START}    ld.param.u64 %in, [input];\n    shl.b32 %i, %t, 2;\n\
         fill:\n    setp.lt.u32 %more, %i, {whole};\n    @!%more bra filled;\n    cvt.u64.u32 %at, %i;\n    add.s64 %at, %in, %at;\n\
         \x20   ld.global.b32 %w, [%at];\n    cvt.u64.u32 %at, %i;\n    add.s64 %at, %out, %at;\n    st.global.b32 [%at], %w;\n\
         \x20   add.s32 %i, %i, 512;\n    bra fill;\n\
         filled:\n    add.s64 %in, %in, {whole};\n    shl.b32 %i, %t, 2;\n\
         copy:\n    setp.lt.u32 %more, %i, {total};\n    @!%more bra copied;\n    cvt.u64.u32 %at, %i;\n    add.s64 %at, %in, %at;\n\
         \x20   ld.global.b32 %w, [%at];\n    add.s32 %bar, %base, %i;\n    st.shared.b32 [%bar], %w;\n\
         \x20   add.s32 %i, %i, 512;\n    bra copy;\n\
         copied:\n    fence.proxy.async;\n    bar.sync 0;\n    @!%first bra end;\n\
         \x20   {instruction}.tensor.{rank}d.global.shared::cta{op}.tile.bulk_group [%map, {{{at}}}], [%base];\n\
         \x20   cp.async.bulk.commit_group;\n    cp.async.bulk.wait_group 0;\nend:"
    );
    let kind = if reduce.is_empty() { "bits" } else { tensor.element };
    Program {
        name: name.into(),
        target: TARGET,
        ptx: kernel(TARGET, &["input", "#map", "output"], 128, &body),
        grid: 1,
        threads: 128,
        shared: total.max(1024),
        arguments: vec![
            Argument::Input(contents(name, whole + total as usize, kind)),
            tensor.map(2),
            Argument::Output(whole),
        ],
        tolerance: Tolerance::Exact,
    }
}
