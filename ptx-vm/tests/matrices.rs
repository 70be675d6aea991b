//! Matrix instructions and tensor copies against products and layouts written out here.

use ptx_vm::{Arg, MapElement, Memory, Module, Options, Swizzle, TensorMap};

fn bf16(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

/// Small integers, so that every sum is exact.
fn integers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as f32 % 17.0 - 8.0
        })
        .collect()
}

/// A warpgroup loads A (64 rows) and B (`n` rows), each `k` by TMA in the given layout, multiplies, and stores D.
struct Gemm {
    n: usize,
    k: usize,
    swizzle: Swizzle,
    /// Rows along k (false) or k along rows (true).
    transpose_a: bool,
    transpose_b: bool,
}

impl Gemm {
    /// Bytes of a swizzle row.
    fn span(&self) -> usize {
        match self.swizzle {
            Swizzle::None => 16,
            Swizzle::B32 => 32,
            Swizzle::B64 => 64,
            Swizzle::B128 => 128,
        }
    }

    /// The operand's tiles: how TMA lays them out, and the descriptor's offsets and step along k.
    fn operand(&self, rows: usize, transposed: bool) -> Operand {
        let span = self.span();
        let elements = span / 2;
        if transposed {
            // Stored k x rows; each box is a span of rows by all of k, boxes side by side.
            let boxes = rows / elements;
            let bytes = self.k * span;
            let (leading, stride) = if span == 16 { (128, bytes) } else { (bytes, 8 * span) };
            Operand {
                outer: self.k,
                inner: rows,
                tile: [elements, self.k],
                boxes,
                bytes,
                leading,
                stride,
                step: 16 * span,
            }
        } else {
            // Stored rows x k; each box is a span of k by all rows.
            let boxes = self.k / elements;
            let bytes = rows * span;
            let leading = if span == 16 { bytes } else { 16 };
            // A step of 16 along k: inside a box, or to the next boxes.
            let step = if span == 16 { 2 * bytes } else { 32 };
            Operand {
                outer: rows,
                inner: self.k,
                tile: [elements, rows],
                boxes,
                bytes,
                leading,
                stride: 8 * span,
                step,
            }
        }
    }

    fn run(&self) {
        let (a, b) = (self.operand(64, self.transpose_a), self.operand(self.n, self.transpose_b));
        let code = match self.swizzle {
            Swizzle::None => 0u64,
            Swizzle::B128 => 1,
            Swizzle::B64 => 2,
            Swizzle::B32 => 3,
        };
        let bytes = |o: &Operand| o.boxes * o.bytes;
        let b_at = bytes(&a).next_multiple_of(1024);
        let mut loads = String::new();
        for (map, operand, base) in [("%d1", &a, 0), ("%d2", &b, b_at)] {
            for i in 0..operand.boxes {
                let start = i * operand.tile[0];
                loads += &format!(
                    "add.s32 %r4, %r1, {}; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r4], [{map}, {{{start}, 0}}], [%r2];\n",
                    base + i * operand.bytes
                );
            }
        }
        let accumulators: Vec<String> = (0..self.n / 2).map(|i| format!("%f{i}")).collect();
        let mut products = String::new();
        for step in 0..self.k / 16 {
            // Inside a swizzle row steps are 32 bytes; past its end the next box begins.
            let offset = |o: &Operand, transposed: bool| {
                if transposed || self.span() == 16 {
                    step * o.step
                } else {
                    let per_box = self.span() / 32;
                    step / per_box * o.bytes + step % per_box * 32
                }
            };
            products += &format!(
                "add.s64 %d6, %d4, {}; add.s64 %d7, %d5, {};\n\
                 wgmma.mma_async.sync.aligned.m64n{}k16.f32.bf16.bf16 {{{}}}, %d6, %d7, {}, 1, 1, {}, {};\n",
                offset(&a, self.transpose_a) / 16,
                offset(&b, self.transpose_b) / 16,
                self.n,
                accumulators.join(", "),
                u8::from(step > 0),
                u8::from(self.transpose_a),
                u8::from(self.transpose_b)
            );
        }
        let descriptor = |o: &Operand| (o.leading as u64 >> 4) << 16 | (o.stride as u64 >> 4) << 32 | code << 62;
        let stores: String =
            accumulators.iter().enumerate().map(|(i, f)| format!("st.global.f32 [%d8+{}], {f};\n", 4 * i)).collect();
        let text = format!(
            ".version 8.3\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 tiles[];\n\
             .entry gemm(.param .align 64 .b8 ma[128], .param .align 64 .b8 mb[128], .param .u64 out) .reqntid 128 {{\n\
             .reg .b32 %r<8>; .reg .b64 %d<10>; .reg .pred %p<3>; .reg .f32 %f<{}>; .shared .align 8 .b64 full;\n\
             mov.u32 %r0, %tid.x; mov.u32 %r1, tiles; mov.u32 %r2, full; ld.param.u64 %d8, [out];\n\
             mov.b64 %d1, ma; cvta.param.u64 %d1, %d1; mov.b64 %d2, mb; cvta.param.u64 %d2, %d2;\n\
             setp.ne.u32 %p0, %r0, 0; @%p0 bra ready; mbarrier.init.shared::cta.b64 [%r2], 1; fence.mbarrier_init.release.cluster;\n\
             mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], {};\n{loads}\
             ready: bar.sync 0; wait: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2], 0; @!%p1 bra wait;\n\
             shr.u32 %r3, %r1, 4; cvt.u64.u32 %d3, %r3; add.s64 %d4, %d3, {}; add.s64 %d5, %d3, {};\n\
             wgmma.fence.sync.aligned;\n{products}wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n\
             mul.wide.u32 %d9, %r0, {}; add.s64 %d8, %d8, %d9;\n{stores}ret;\n}}\n",
            self.n / 2,
            bytes(&a) + bytes(&b),
            descriptor(&a) as i64,
            (descriptor(&b) + (b_at as u64 >> 4)) as i64,
            2 * self.n
        );
        let kernel = Module::parse(&text)
            .map_err(|e| e.to_string())
            .and_then(|m| m.kernel("gemm").map_err(|e| e.to_string()))
            .unwrap_or_else(|e| panic!("{e}"));
        let (va, vb) = (integers(64 * self.k, 1), integers(self.n * self.k, 2));
        let store = |values: &[f32], o: &Operand, transposed: bool, rows: usize| {
            // `values` is rows x k.
            let placed: Vec<f32> = (0..o.outer * o.inner)
                .map(|i| {
                    let (y, x) = (i / o.inner, i % o.inner);
                    if transposed { values[x * self.k + y] } else { values[y * self.k + x] }
                })
                .collect();
            assert_eq!(placed.len(), rows * self.k);
            bf16(&placed)
        };
        let mut memory = Memory::new();
        let ba = memory.add(&store(&va, &a, self.transpose_a, 64));
        let bb = memory.add(&store(&vb, &b, self.transpose_b, self.n));
        let out = memory.reserve(128 * self.n / 2 * 4);
        let map = |buffer, o: &Operand| {
            let sizes = [o.inner as u32, o.outer as u32];
            let tile = [o.tile[0] as u32, o.tile[1] as u32];
            let map = TensorMap::tiled(MapElement::Bf16, buffer, 0, &sizes, &[o.inner as u64 * 2], &tile, self.swizzle);
            Arg::TensorMap(map.unwrap_or_else(|e| panic!("{e}")))
        };
        let args = [map(ba, &a), map(bb, &b), Arg::Buffer(out)];
        let shared = (b_at + bytes(&b)) as u32;
        let report = kernel
            .launch(&mut memory, [1; 3], [128, 1, 1], shared, &args, &Options::default())
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(report.is_clean(), "{report}");
        let d = memory.f32s(out);
        for row in 0..64 {
            for column in 0..self.n {
                let exact: f32 = (0..self.k).map(|k| va[row * self.k + k] * vb[column * self.k + k]).sum();
                let (warp, within) = (row / 16, row % 16);
                let lane = within % 8 * 4 + column % 8 / 2;
                let register = column / 8 * 4 + within / 8 * 2 + column % 2;
                assert_eq!(d[(warp * 32 + lane) * (self.n / 2) + register], exact, "row {row}, column {column}");
            }
        }
    }
}

struct Operand {
    outer: usize,
    inner: usize,
    tile: [usize; 2],
    boxes: usize,
    bytes: usize,
    leading: usize,
    stride: usize,
    step: usize,
}

#[test]
fn wgmma_reads_what_tensor_copies_lay_down() {
    for swizzle in [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            Gemm { n: 64, k: 64, swizzle, transpose_a, transpose_b }.run();
        }
    }
    Gemm { n: 128, k: 128, swizzle: Swizzle::B128, transpose_a: false, transpose_b: true }.run();
    Gemm { n: 8, k: 64, swizzle: Swizzle::B128, transpose_a: false, transpose_b: false }.run();
}

/// A warp multiplies one tile; operands come through `ldmatrix`, as compilers do it.
#[test]
fn mma_multiplies_what_ldmatrix_loads() {
    let text = ".version 7.8\n.target sm_80\n.address_size 64\n.shared .align 16 .b8 tile[768];\n\
        .entry k(.param .u64 a, .param .u64 b, .param .u64 out) {\n\
        .reg .b64 %d<6>; .reg .b32 %r<12>; .reg .b32 %a<4>, %b<2>; .reg .f32 %f<4>;\n\
        ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; ld.param.u64 %d2, [out]; mov.u32 %r0, %tid.x; mov.u32 %r1, tile;\n\
        mul.wide.u32 %d3, %r0, 16; add.s64 %d0, %d0, %d3; ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%d0];\n\
        mad.lo.u32 %r6, %r0, 16, %r1; st.shared.v4.b32 [%r6], {%r2, %r3, %r4, %r5};\n\
        mul.wide.u32 %d3, %r0, 8; add.s64 %d1, %d1, %d3; ld.global.v2.b32 {%r2, %r3}, [%d1];\n\
        mad.lo.u32 %r7, %r0, 8, %r1; st.shared.v2.b32 [%r7+512], {%r2, %r3}; bar.warp.sync -1;\n\
        // A is 16 x 16 (rows of 32 bytes), B is 16 x 8 stored by k (rows of 16 bytes).\n\
        and.b32 %r8, %r0, 15; shr.u32 %r9, %r0, 4; mad.lo.u32 %r8, %r8, 32, %r1; mad.lo.u32 %r8, %r9, 16, %r8;\n\
        ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%a0, %a1, %a2, %a3}, [%r8];\n\
        and.b32 %r8, %r0, 15; mad.lo.u32 %r8, %r8, 16, %r1;\n\
        ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%b0, %b1}, [%r8+512];\n\
        mov.b32 %f0, 0f3F800000; mov.b32 %f1, %f0; mov.b32 %f2, %f0; mov.b32 %f3, %f0;\n\
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, {%b0, %b1}, {%f0, %f1, %f2, %f3};\n\
        mul.wide.u32 %d3, %r0, 16; add.s64 %d2, %d2, %d3; st.global.v4.f32 [%d2], {%f0, %f1, %f2, %f3}; ret;\n}";
    let (a, b) = (integers(256, 3), integers(128, 4));
    let mut memory = Memory::new();
    let args = [memory.add(&bf16(&a)), memory.add(&bf16(&b)), memory.reserve(512)];
    let kernel = Module::parse(text).unwrap().kernel("k").unwrap();
    let report =
        kernel.launch(&mut memory, [1; 3], [32, 1, 1], 0, &args.map(Arg::Buffer), &Options::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    let d = memory.f32s(args[2]);
    for row in 0..16 {
        for column in 0..8 {
            let exact: f32 = 1.0 + (0..16).map(|k| a[row * 16 + k] * b[k * 8 + column]).sum::<f32>();
            let lane = row % 8 * 4 + column / 2;
            assert_eq!(d[lane * 4 + row / 8 * 2 + column % 2], exact, "row {row}, column {column}");
        }
    }
}
