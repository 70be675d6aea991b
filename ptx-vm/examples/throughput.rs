//! Lane-instructions per second of a kernel from a file: `throughput FILE.ptx GRID THREADS SHARED BYTES_PER_BUFFER`.
//!
//! Every parameter of eight bytes gets a zeroed buffer, every other one the value 300.

use ptx_vm::{Arg, Memory, Module, Options};

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
        let start = std::time::Instant::now();
        let report =
            kernel.launch(&mut memory, [number(2)?, 1, 1], [number(3)?, 1, 1], number(4)?, &values, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "race detection {race_detection}: {:.1} M lane-instructions/s, {} warp instructions in {seconds:.2} s, {} findings",
            report.lane_instructions as f64 / seconds / 1e6,
            report.warp_instructions,
            report.findings.len()
        );
    }
    Ok(())
}
