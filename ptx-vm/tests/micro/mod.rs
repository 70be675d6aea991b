//! Small kernels around a body, for tests of single rules.

use ptx_vm::{Arg, Memory, Module, Options, Report};

/// A kernel with registers `%r0..31`, `%d0..15` (64-bit), `%p0..7`, `%f0..63`, a shared array `tile` of 8 KiB, a shared
/// barrier object `bar` and a buffer of 4 KiB whose address is in `%d0`; `%r0` is the thread's number.
pub struct Micro {
    pub target: &'static str,
    pub grid: u32,
    pub threads: u32,
    pub cluster: u32,
    pub seed: u64,
}

impl Default for Micro {
    fn default() -> Self {
        Self { target: "sm_90a", grid: 1, threads: 64, cluster: 1, seed: 0 }
    }
}

impl Micro {
    /// Runs the body; the buffer starts as zeroes.
    pub fn run(&self, body: &str) -> (Report, Vec<u32>) {
        let text = format!(
            ".version 8.3\n.target {}\n.address_size 64\n.entry micro(.param .u64 out) {{\n\
             .reg .b32 %r<32>; .reg .b64 %d<16>; .reg .pred %p<8>; .reg .f32 %f<64>; .reg .b16 %h<8>;\n\
             .shared .align 1024 .b8 tile[8192]; .shared .align 8 .b64 bar;\n\
             ld.param.u64 %d0, [out]; mov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n",
            self.target
        );
        let kernel = Module::parse(&text)
            .map_err(|e| e.to_string())
            .and_then(|m| m.kernel("micro").map_err(|e| e.to_string()))
            .unwrap_or_else(|e| panic!("{e}"));
        let mut memory = Memory::new();
        let out = memory.add(&[0; 4096]);
        let options = Options {
            seed: self.seed,
            cluster: [self.cluster, 1, 1],
            instruction_limit: 1 << 20,
            ..Options::default()
        };
        let report = kernel
            .launch(&mut memory, [self.grid, 1, 1], [self.threads, 1, 1], 0, &[Arg::Buffer(out)], &options)
            .unwrap_or_else(|e| panic!("{e}"));
        let words = memory.bytes(out).chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (report, words)
    }
}
