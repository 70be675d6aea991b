//! Hand-made programs for this crate's tests: manifests, and host kernels as Rust functions that follow the calling convention.

use nsa_artifact::*;

fn axis(name: &str, extent: Extent) -> Axis {
    Axis { name: name.into(), extent }
}

fn buffer(name: &str, axes: &[&str], role: Role) -> Buffer {
    Buffer { name: name.into(), axes: axes.iter().map(|a| a.to_string()).collect(), dtype: DType::F32, role, align: 4 }
}

fn kernel(name: &str, grid: &[(&str, u32)], buffers: &[usize]) -> Kernel {
    Kernel {
        name: name.into(),
        grid: grid.iter().map(|(axis, tile)| GridAxis { axis: axis.to_string(), tile: *tile }).collect(),
        order: TileOrder::Forward,
        buffers: buffers.to_vec(),
        threads: 1,
        shared_bytes: 0,
        scratch_bytes: 64,
        gathered: vec![],
    }
}

/// `scratch[s, i, d] = x[s, d] * i`, then `y[i, d] = sum over s of scratch[s, i, d]`, with `i = s / 4 - 1` values, two variants: up to
/// 4 values of `s`, and more.
pub fn compress_manifest() -> Manifest {
    let blocks = Length::op(IntOp::Sub, Length::op(IntOp::Div, Length::Of("s".into()), Length::Int(4)), Length::Int(1));
    let axes = vec![axis("s", Extent::Runtime), axis("i", Extent::Derived(blocks)), axis("d", Extent::Const(3))];
    let signature = vec![buffer("x", &["s", "d"], Role::Argument), buffer("y", &["i", "d"], Role::Result)];
    let mut buffers = signature.clone();
    buffers.push(buffer("scratch", &["s", "i", "d"], Role::Workspace));
    let kernels = vec![kernel("spread", &[("d", 2), ("i", 2)], &[0, 2]), kernel("gather", &[("i", 1)], &[1, 2])];
    let code = |prefix: &str| Code::Host {
        payload: "code.s".into(),
        prefix: prefix.into(),
        isas: vec![HostIsa::X86_64, HostIsa::Avx512, HostIsa::Aarch64],
    };
    let variant = |label: &str, when, prefix: &str| Variant {
        label: label.into(),
        when,
        axes: axes.clone(),
        buffers: buffers.clone(),
        kernels: kernels.clone(),
        code: code(prefix),
    };
    let few = Bound { axis: "s".into(), measure: Measure::Longest, at_least: Some(4), at_most: Some(7) };
    let variants = vec![variant("many", vec![], "many")];
    let mut manifest = Manifest {
        name: "compress".into(),
        program: String::new(),
        compiler: "test".into(),
        constants: vec![],
        axes: axes.clone(),
        signature,
        targets: vec![
            TargetCode { target: Target::X86_64, variants: variants.clone() },
            TargetCode { target: Target::Aarch64, variants },
        ],
    };
    for target in &mut manifest.targets {
        target.variants.insert(0, variant("few", vec![few.clone()], "few"));
    }
    manifest
}

/// An artifact of [`compress_manifest`].
pub fn compress_artifact() -> Artifact {
    Artifact::new(compress_manifest(), [("code.s", b"".as_slice())]).expect("consistent")
}

/// What kernels read at the start of their words.
struct Call {
    words: *const u64,
}

impl Call {
    fn word(&self, n: usize) -> u64 {
        // SAFETY: the runtime passes as many words as the kernel's manifest says.
        unsafe { *self.words.add(n) }
    }
    fn tiles(&self) -> i64 {
        self.word(2) as i64
    }
    fn tile(&self, n: i64) -> [i64; 2] {
        // SAFETY: `n` is below the number of tiles.
        unsafe { (*(self.word(1) as *const [i32; 2]).add(n as usize)).map(i64::from) }
    }
    /// (offset, length) of a slot of two slots.
    fn sequence(&self, n: i64, slot: usize) -> [i64; 2] {
        // SAFETY: `n` comes from a tile.
        unsafe { *(self.word(0) as *const [i64; 2]).add(n as usize * 2 + slot) }
    }
    fn element(&self, word: usize, index: &[i64]) -> *mut f32 {
        let strides = (1..index.len()).map(|n| self.word(word + n) as i64).chain([1]);
        let offset: i64 = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
        (self.word(word) as *mut f32).wrapping_offset(offset as isize)
    }
}

/// `scratch[s, i, d] = x[s, d] * i` for a tile of `i` and a tile of `d`. Words: x at 3 (rank 2), scratch at 5 (rank 3).
pub unsafe extern "C" fn spread(words: *const u64, first: i64, end: i64, scratch: *mut u8) {
    let call = Call { words };
    for block in first..end {
        // SAFETY: 64 bytes of scratch were asked for; two threads sharing them would lose the mark.
        unsafe { scratch.cast::<i64>().write(block) };
        let [n, base] = call.tile(block % call.tiles());
        let ([at, s_len], [_, i_len]) = (call.sequence(n, 0), call.sequence(n, 1));
        let d0 = block / call.tiles() * 2;
        for (s, i, d) in triples(0..s_len, base..(base + 2).min(i_len), d0..(d0 + 2).min(3)) {
            // SAFETY: all indices are inside the sequence.
            unsafe { *call.element(5, &[at + s, i, d]) = *call.element(3, &[at + s, d]) * i as f32 };
        }
        // SAFETY: as above.
        assert_eq!(unsafe { scratch.cast::<i64>().read() }, block);
    }
}

/// `y[i, d] = sum over s of scratch[s, i, d]`. Words: y at 3 (rank 2), scratch at 5 (rank 3).
pub unsafe extern "C" fn gather(words: *const u64, first: i64, end: i64, _: *mut u8) {
    let call = Call { words };
    for block in first..end {
        let [n, i] = call.tile(block % call.tiles());
        let ([at, s_len], [i_at, _]) = (call.sequence(n, 0), call.sequence(n, 1));
        for d in 0..3 {
            // SAFETY: all indices are inside the sequence.
            unsafe { *call.element(3, &[i_at + i, d]) = (0..s_len).map(|s| *call.element(5, &[at + s, i, d])).sum() };
        }
    }
}

fn triples(
    a: std::ops::Range<i64>,
    b: std::ops::Range<i64>,
    c: std::ops::Range<i64>,
) -> impl Iterator<Item = (i64, i64, i64)> {
    a.flat_map(move |x| {
        let c = c.clone();
        b.clone().flat_map(move |y| c.clone().map(move |z| (x, y, z)))
    })
}
