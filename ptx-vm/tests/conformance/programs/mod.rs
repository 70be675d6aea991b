//! Micro-programs, one an instruction, whose results were or can be recorded on a GPU.
//!
//! The same programs are written to files for the recorder (`examples/conformance.rs`) and run in the interpreter by
//! `tests/conformance.rs`.

mod asynchronous;
mod atomics;
mod cluster;
mod elementwise;
mod matrix;
mod sequences;
mod tensor;
mod warp;
mod wgmma;

/// How a result is compared with the recorded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Bit by bit.
    Exact,
    /// f32 values within so many units in the last place, or both NaN.
    Ulp32(u32),
    /// f32 values within this absolute error, or two units in the last place where these are more, or both NaN.
    Absolute32(f32),
    /// f16 values within so many units in the last place, or both NaN.
    Ulp16(u32),
    /// Both f16 values of a pair within so many units in the last place, or both NaN.
    UlpPairF16(u32),
    /// f64 values within this relative error, or equal, or both NaN.
    Relative64(f64),
    /// Both bf16 values of a pair within so many units in the last place, or both NaN.
    UlpPairBf16(u32),
}

/// An argument of a program's kernel.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A buffer with contents.
    Input(Vec<u8>),
    /// A buffer of so many zero bytes, whose contents afterwards are the result; there is one a program.
    Output(usize),
    /// A tensor map over argument `over`.
    Map {
        over: usize,
        element: &'static str,
        sizes: Vec<u32>,
        strides: Vec<u64>,
        tile: Vec<u32>,
        swizzle: &'static str,
        /// What lies outside reads as NaN instead of zero.
        nan: bool,
    },
}

/// One program: a kernel named `program`, launched with one block or one cluster.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub target: &'static str,
    pub ptx: String,
    pub grid: u32,
    pub threads: u32,
    pub shared: u32,
    pub arguments: Vec<Argument>,
    pub tolerance: Tolerance,
}

/// All programs.
pub fn all() -> Vec<Program> {
    let mut programs = elementwise::programs();
    programs.extend(warp::programs());
    programs.extend(matrix::programs());
    programs.extend(wgmma::programs());
    programs.extend(tensor::programs());
    programs.extend(sequences::programs());
    programs.extend(atomics::programs());
    programs.extend(asynchronous::programs());
    programs.extend(cluster::programs());
    programs
}

/// A kernel's text around its body; parameters are 64-bit, or tensor maps where marked.
pub(crate) fn kernel(target: &str, parameters: &[&str], threads: u32, body: &str) -> String {
    let version = if target == "sm_80" { "7.8" } else { "8.3" };
    let list: Vec<String> = parameters
        .iter()
        .map(|p| match p.strip_prefix('#') {
            Some(name) => format!(".param .align 64 .b8 {name}[128]"),
            None => format!(".param .u64 {p}"),
        })
        .collect();
    format!(
        ".version {version}\n.target {target}\n.address_size 64\n\
         .extern .shared .align 1024 .b8 dynamic[];\n\
         .visible .entry program({})\n.reqntid {threads}, 1, 1\n{{\n{body}\n    ret;\n}}\n",
        list.join(", ")
    )
}

/// A small generator, so that inputs are the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(name: &str) -> Self {
        // FNV-1a of the program's name: adding a program changes no other's inputs.
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ self.0 >> 33;
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ x >> 29
    }

    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}
