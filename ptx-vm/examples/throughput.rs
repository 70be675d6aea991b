//! Lane-instructions per second of processor time on one core, of
//!
//! - a kernel from a file: `throughput FILE.ptx GRID THREADS SHARED BYTES_PER_BUFFER`; every parameter of eight bytes gets a buffer of
//!   zeroes, every other one the value 300;
//! - the kernels of a run that `nsa run --device vm --record FOLDER` wrote down, each alone: `throughput FOLDER`.
//!
//! Launches are repeated for a second.

use ptx_vm::{Arg, BufferId, Kernel, Memory, Module, Options, Report};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Processor time of this thread where the system says it, so that a busy machine does not blur the figure; else time.
struct Clock {
    start: Instant,
    spent: Option<Duration>,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), spent: processor_time() }
    }

    fn elapsed(&self) -> Duration {
        match (self.spent, processor_time()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.start.elapsed(),
        }
    }
}

/// Linux's account of this thread, in nanoseconds.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// A kernel with everything that a launch takes.
struct Job {
    kernel: Kernel,
    grid: u32,
    threads: u32,
    shared: u32,
    args: Vec<Arg>,
}

impl Job {
    fn launch(&self, memory: &mut Memory, options: &Options) -> Result<Report, Failure> {
        Ok(self.kernel.launch(memory, [self.grid, 1, 1], [self.threads, 1, 1], self.shared, &self.args, options)?)
    }

    /// Launches for a second, with and without race detection.
    fn measure(&self, memory: &mut Memory) -> Result<(), Failure> {
        for race_detection in [true, false] {
            let options = Options { parallel: false, race_detection, ..Options::default() };
            let clock = Clock::start();
            let (mut lanes, mut warps, mut findings) = (0, 0, 0);
            while clock.elapsed() < Duration::from_secs(1) {
                let report = self.launch(memory, &options)?;
                lanes += report.lane_instructions;
                warps += report.warp_instructions;
                findings += report.findings.len();
            }
            let seconds = clock.elapsed().as_secs_f64();
            println!(
                "{}, race detection {race_detection}: {:.1} M lane-instructions/s, {warps} warp instructions in {seconds:.2} s, {findings} findings",
                self.kernel.name(),
                lanes as f64 / seconds / 1e6,
            );
        }
        Ok(())
    }
}

/// The first kernel of a file, over zeroes.
fn from_file(path: &str, numbers: &[String]) -> Result<(), Failure> {
    let number = |i: usize| numbers.get(i).and_then(|a| a.parse::<u32>().ok()).ok_or("a number is missing");
    let module = Module::parse(&std::fs::read_to_string(path)?)?;
    let name = module.kernel_names().next().ok_or("no kernel")?.to_string();
    let kernel = module.kernel(&name)?;
    let mut memory = Memory::new();
    let bytes = number(3)? as usize;
    let args = kernel
        .parameters()
        .iter()
        .map(|p| if p.size == 8 { Arg::Buffer(memory.add(&vec![0; bytes])) } else { Arg::U32(300) })
        .collect();
    let job = Job { kernel, grid: number(0)?, threads: number(1)?, shared: number(2)?, args };
    job.measure(&mut memory)
}

/// All kernels of a recorded run, in its order: each finds in memory what those before it left there.
fn from_folder(folder: &Path) -> Result<(), Failure> {
    let run: Value = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
    let module = Module::parse(&std::fs::read_to_string(folder.join("code.ptx"))?)?;
    let mut memory = Memory::new();
    let mut buffers: Vec<BufferId> = vec![];
    for block in run["memory"].as_array().ok_or("no memory")? {
        buffers.push(match block["input"].as_str() {
            Some(file) => memory.add(&std::fs::read(folder.join(file))?),
            None => {
                let bytes = block["workspace"].as_u64().or(block["bytes"].as_u64()).ok_or("a size is missing")?;
                memory.reserve(bytes.max(1) as usize)
            }
        });
    }
    for launch in run["launches"].as_array().ok_or("no launches")? {
        let number = |name: &str| launch[name].as_u64().ok_or("a number is missing");
        let word = |word: &Value| match word["address"].as_u64() {
            Some(block) => Arg::Buffer(buffers[block as usize]),
            None => Arg::U64(word["value"].as_u64().unwrap_or(0)),
        };
        let job = Job {
            kernel: module.kernel(launch["entry"].as_str().ok_or("no entry")?)?,
            grid: number("blocks")? as u32,
            threads: number("threads")? as u32,
            shared: number("shared")? as u32,
            args: launch["words"].as_array().ok_or("no words")?.iter().map(word).collect(),
        };
        job.launch(&mut memory, &Options::default())?;
        // What a kernel adds to its results does not matter here.
        job.measure(&mut memory)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let path = args.get(1).ok_or("a file or folder is missing")?;
    if Path::new(path).is_dir() { from_folder(Path::new(path)) } else { from_file(path, &args[2..]) }
}
