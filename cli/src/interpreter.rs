//! Running a plan's PTX in the interpreter, and writing it down for a GPU.

use crate::failure::{Failure, at};
use nsa::{DType, Plan, Script, ScriptMemory, ScriptWord, Target};
use nsa_measure::{Tensor, Tensors};
use ptx_vm::{Arg, BufferId, Finding, Memory, Module, Options};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// What the interpreter found in a plan.
#[derive(Serialize)]
pub struct Interpreted {
    /// Hazards, over all kernels and schedules.
    pub findings: Vec<Finding>,
    /// Schedules that were tried.
    pub schedules: u64,
    /// Instructions of a schedule, counted once a warp.
    pub warp_instructions: u64,
}

impl Interpreted {
    /// The findings, or that there are none.
    pub fn text(&self) -> String {
        let mut text: String = self.findings.iter().map(|finding| format!("{finding}\n")).collect();
        let schedules =
            if self.schedules == 1 { "one schedule".into() } else { format!("{} schedules", self.schedules) };
        let count = match self.findings.len() {
            0 => "no findings".to_string(),
            1 => "1 finding".to_string(),
            n => format!("{n} findings"),
        };
        text += &format!("  interpreter: {count} in {schedules} of {} warp instructions\n", self.warp_instructions);
        text
    }
}

/// The target that a device's name asks the interpreter for: `vm` or `vm:sm_90a`; nothing for other devices.
pub fn target(device: &str) -> Result<Option<Target>, Failure> {
    let target: Target = match device.strip_prefix("vm") {
        Some("") => Target::Sm80,
        Some(rest) if rest.starts_with(':') => rest[1..].parse()?,
        _ => return Ok(None),
    };
    if !target.is_gpu() {
        return Err(format!("{target} is no GPU: the interpreter runs sm_80 and sm_90a").into());
    }
    Ok(Some(target))
}

/// Bytes that the interpreter takes for one of a buffer: itself, whether it was written, and who accessed its word.
pub const BYTES: usize = 14;

/// That a name is no device's, with those that are the interpreter besides the runtime's.
pub fn unknown(error: nsa::Error) -> Failure {
    match error {
        nsa::Error::DeviceName(_) => {
            format!("{error}, or vm, vm:sm_80 and vm:sm_90a, the interpreter of GPU code").into()
        }
        other => other.into(),
    }
}

fn script(plan: &Plan) -> Result<Script, Failure> {
    plan.script().ok_or_else(|| "the plan is not one for the interpreter".to_string().into())
}

/// Runs a plan for a described device, under several schedules. The results, and what kernels
/// stored besides, are those of the last; what no kernel wrote is NaN or -1.
pub fn interpret(plan: &Plan, inputs: &Tensors, schedules: u64) -> Result<(Tensors, Interpreted), Failure> {
    let script = script(plan)?;
    let module = Module::parse(&script.code)?;
    let mut found = Interpreted { findings: vec![], schedules: schedules.max(1), warp_instructions: 0 };
    let mut results = Tensors::new();
    for seed in 0..schedules.max(1) {
        let mut memory = Memory::new();
        let buffers: Vec<BufferId> = script
            .memory
            .iter()
            .map(|block| match block {
                ScriptMemory::Table(bytes) => memory.add(bytes),
                ScriptMemory::Workspace(bytes) => memory.reserve(*bytes),
                ScriptMemory::Parameter(index) => {
                    let parameter = &plan.parameters()[*index];
                    match inputs.get(parameter.name()) {
                        Some(tensor) => memory.add(tensor.bytes()),
                        None => memory.reserve(parameter.elements() * parameter.dtype().bytes()),
                    }
                }
            })
            .collect();
        found.warp_instructions = 0;
        for launch in &script.launches {
            let word = |word: &ScriptWord| match word {
                ScriptWord::Value(value) => Arg::U64(*value),
                ScriptWord::Address(block) => Arg::Buffer(buffers[*block]),
            };
            let words: Vec<Arg> = launch.words.iter().map(word).collect();
            let report = module.kernel(&launch.entry)?.launch(
                &mut memory,
                [launch.blocks, 1, 1],
                [launch.threads, 1, 1],
                launch.shared_bytes,
                &words,
                &Options { seed, ..Options::default() },
            )?;
            found.warp_instructions += report.warp_instructions;
            for finding in report.findings {
                let known = |f: &Finding| (f.kind, f.at.line) == (finding.kind, finding.at.line);
                if !found.findings.iter().any(known) {
                    found.findings.push(finding);
                }
            }
        }
        results = read(plan, &script, &memory, &buffers, inputs);
    }
    Ok((results, found))
}

fn read(plan: &Plan, script: &Script, memory: &Memory, buffers: &[BufferId], inputs: &Tensors) -> Tensors {
    let mut results = Tensors::new();
    let written = |buffer: BufferId| {
        let bytes = memory.bytes(buffer).into_iter().zip(memory.initialised(buffer));
        bytes.map(|(byte, written)| if written { byte } else { 0xff }).collect::<Vec<u8>>()
    };
    for (block, buffer) in script.memory.iter().zip(buffers) {
        let ScriptMemory::Parameter(index) = block else { continue };
        let parameter = &plan.parameters()[*index];
        if inputs.contains_key(parameter.name()) {
            continue;
        }
        let mut tensor = Tensor::filled(parameter.dtype(), parameter.shape(), 0xff);
        for (to, byte) in tensor.bytes_mut().iter_mut().zip(written(*buffer)) {
            *to = byte;
        }
        results.insert(parameter.name().into(), tensor);
    }
    for intermediate in plan.intermediates() {
        let mut tensor = Tensor::filled(intermediate.dtype(), intermediate.shape(), 0xff);
        let dense = intermediate.dense(&written(buffers[intermediate.address() as usize]));
        for (to, byte) in tensor.bytes_mut().iter_mut().zip(dense) {
            *to = byte;
        }
        results.insert(intermediate.name().into(), tensor);
    }
    results
}

/// Writes everything that `ptx-vm/tests/conformance/replay.py` needs to run a plan on a GPU and to compare it with these results.
pub fn record(folder: &Path, plan: &Plan, inputs: &Tensors, results: &Tensors) -> Result<(), Failure> {
    let script = script(plan)?;
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(at(&path))
    };
    write("code.ptx", script.code.as_bytes())?;
    let mut memory = vec![];
    for (index, block) in script.memory.iter().enumerate() {
        memory.push(match block {
            ScriptMemory::Table(bytes) => {
                let file = format!("table{index}.bin");
                write(&file, bytes)?;
                json!({ "input": file })
            }
            ScriptMemory::Workspace(bytes) => json!({ "workspace": bytes }),
            ScriptMemory::Parameter(index) => {
                let parameter = &plan.parameters()[*index];
                let name = parameter.name();
                let file = format!("{name}.bin");
                match inputs.get(name).or(results.get(name)) {
                    Some(tensor) => write(&file, tensor.bytes())?,
                    None => write(&file, &[])?,
                }
                if inputs.contains_key(name) {
                    json!({ "input": file })
                } else {
                    let bytes = parameter.elements() * parameter.dtype().bytes();
                    json!({ "output": name, "expected": file, "bytes": bytes, "type": type_name(parameter.dtype()) })
                }
            }
        });
    }
    let launches: Vec<_> = script
        .launches
        .iter()
        .map(|launch| {
            let word = |word: &ScriptWord| match word {
                ScriptWord::Value(value) => json!({ "value": value }),
                ScriptWord::Address(block) => json!({ "address": block }),
            };
            let words: Vec<_> = launch.words.iter().map(word).collect();
            json!({
                "entry": launch.entry, "blocks": launch.blocks, "threads": launch.threads, "shared": launch.shared_bytes,
                "words": words,
            })
        })
        .collect();
    write("run.json", json!({ "memory": memory, "launches": launches }).to_string().as_bytes())
}

fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bf16 => "bf16",
        DType::F16 => "f16",
        DType::F32 => "f32",
        DType::I32 => "i32",
    }
}
