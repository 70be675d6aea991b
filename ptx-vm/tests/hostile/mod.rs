//! What every text must survive; `fuzz/fuzz_targets/module.rs` calls it, too.

use ptx_vm::{Arg, Memory, Module, Options};

/// Parses, and if the text is good runs it for a moment, and changes what synchronises it.
pub fn exercise(text: &str) {
    let Ok(module) = Module::parse(text) else { return };
    for mutant in ptx_vm::mutants(text).unwrap_or_default().iter().take(8) {
        // Deleting a statement leaves a text.
        let _ = Module::parse(&mutant.text);
    }
    let names: Vec<String> = module.kernel_names().map(str::to_string).collect();
    for name in names {
        let Ok(kernel) = module.kernel(&name) else { continue };
        let mut memory = Memory::new();
        let out = memory.reserve(256);
        let args: Vec<Arg> = kernel
            .parameters()
            .iter()
            .map(|p| if p.size == 8 { Arg::Buffer(out) } else { Arg::Bytes(vec![0xa5; p.size as usize]) })
            .collect();
        let options = Options { instruction_limit: 2000, parallel: false, ..Options::default() };
        let launched = kernel.launch(&mut memory, [2, 1, 1], [40, 1, 1], 64, &args, &options);
        if let Ok(report) = launched {
            let _ = report.to_string();
        }
    }
}
