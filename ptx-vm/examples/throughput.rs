//! Lane-instructions per second of processor time on one core, of a kernel from a file:
//! `throughput FILE.ptx GRID THREADS SHARED BYTES_PER_BUFFER`.
//!
//! Every parameter of eight bytes gets a buffer of zeroes, every other one the value 300. Launches are repeated for a second.

use ptx_vm::{Arg, Memory, Module, Options};
use std::time::{Duration, Instant};

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u32>().ok()).ok_or("a number is missing");
    let module = Module::parse(&std::fs::read_to_string(args.get(1).ok_or("a file is missing")?)?)?;
    let name = module.kernel_names().next().ok_or("no kernel")?.to_string();
    let kernel = module.kernel(&name)?;
    for race_detection in [true, false] {
        let mut memory = Memory::new();
        let values: Vec<Arg> = kernel
            .parameters()
            .iter()
            .map(|p| match p.size {
                8 => number(5).map(|n| Arg::Buffer(memory.add(&vec![0; n as usize]))),
                _ => Ok(Arg::U32(300)),
            })
            .collect::<Result<_, _>>()?;
        let options = Options { parallel: false, race_detection, ..Options::default() };
        let clock = Clock::start();
        let (mut lanes, mut warps, mut findings) = (0, 0, 0);
        while clock.elapsed() < Duration::from_secs(1) {
            let report =
                kernel.launch(&mut memory, [number(2)?, 1, 1], [number(3)?, 1, 1], number(4)?, &values, &options)?;
            lanes += report.lane_instructions;
            warps += report.warp_instructions;
            findings += report.findings.len();
        }
        let seconds = clock.elapsed().as_secs_f64();
        println!(
            "race detection {race_detection}: {:.1} M lane-instructions/s, {warps} warp instructions in {seconds:.2} s, {findings} findings",
            lanes as f64 / seconds / 1e6,
        );
    }
    Ok(())
}
