//! Launches an attention kernel of the corpus on random inputs and compares with the formula in f64.

use ptx_vm::{Arg, Memory, Module, Options, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F16,
    Bf16,
}

impl Element {
    fn encode(self, value: f32) -> u16 {
        match self {
            // Inputs are small multiples of 1/64, exact in both formats.
            Self::Bf16 => (value.to_bits() >> 16) as u16,
            Self::F16 => {
                let bits = value.to_bits();
                if value == 0.0 {
                    return 0;
                }
                let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
                assert!(exponent > 0 && bits & 0x1fff == 0, "{value} is not exact in f16");
                (bits >> 16 & 0x8000) as u16 | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16
            }
        }
    }

    fn decode(self, bits: u16) -> f64 {
        match self {
            Self::Bf16 => f64::from(f32::from_bits(u32::from(bits) << 16)),
            Self::F16 => {
                let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
                let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
                sign * match exponent {
                    0 => fraction * f64::exp2(-24.0),
                    31 => f64::NAN,
                    e => (1.0 + fraction / 1024.0) * f64::exp2(f64::from(e - 15)),
                }
            }
        }
    }
}

/// One compiled variant of attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub element: Element,
    pub causal: bool,
    /// Query rows of a block.
    pub rows: u32,
    /// Head width.
    pub width: usize,
    pub threads: u32,
    pub shared: u32,
}

const SCALE: f32 = 0.18;

impl Attention {
    /// Runs over `n` tokens and `heads` heads; returns the report and the largest absolute error of the output.
    pub fn run(&self, text: &str, n: usize, heads: usize, options: &Options) -> (Report, f64) {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let name = module.kernel_names().next().expect("a kernel").to_string();
        let kernel = module.kernel(&name).unwrap_or_else(|e| panic!("{e}"));
        let d = self.width;
        let mut state = 12345u32;
        let mut input = || -> Vec<f32> {
            (0..heads * n * d)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 24) as f32 - 128.0) / 64.0
                })
                .collect()
        };
        let inputs = [input(), input(), input()];
        let mut memory = Memory::new();
        let mut args: Vec<Arg> = inputs
            .iter()
            .map(|v| {
                let bytes: Vec<u8> = v.iter().flat_map(|&x| self.element.encode(x).to_le_bytes()).collect();
                Arg::Buffer(memory.add(&bytes))
            })
            .collect();
        let out = memory.reserve(heads * n * d * 2);
        let lse = memory.reserve(heads * n * 4);
        args.extend([Arg::Buffer(out), Arg::Buffer(lse), Arg::F32(SCALE), Arg::I32(n as i32)]);
        // Triton appends pointers to scratch memory that these kernels do not use.
        args.resize(kernel.parameters().len(), Arg::U64(0));
        let grid = [(n as u32).div_ceil(self.rows), heads as u32, 1];
        let report = kernel
            .launch(&mut memory, grid, [self.threads, 1, 1], self.shared, &args, options)
            .unwrap_or_else(|e| panic!("{e}"));
        let bytes = memory.bytes(out);
        let [q, k, v] = &inputs;
        let mut worst = 0f64;
        for head in 0..heads {
            for i in 0..n {
                let last = if self.causal { i + 1 } else { n };
                let row = |x: &Vec<f32>, j: usize, c: usize| f64::from(x[(head * n + j) * d + c]);
                let mut p: Vec<f64> = (0..last)
                    .map(|j| f64::from(SCALE) * (0..d).map(|c| row(q, i, c) * row(k, j, c)).sum::<f64>())
                    .collect();
                let top = p.iter().copied().fold(f64::MIN, f64::max);
                p.iter_mut().for_each(|x| *x = (*x - top).exp2());
                let mass: f64 = p.iter().sum();
                for c in 0..d {
                    let exact = p.iter().enumerate().map(|(j, x)| x * row(v, j, c)).sum::<f64>() / mass;
                    let at = ((head * n + i) * d + c) * 2;
                    let got = self.element.decode(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
                    let error = (got - exact).abs();
                    worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
                }
            }
        }
        (report, worst)
    }
}
