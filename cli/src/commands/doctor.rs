//! `nsa doctor`: what this machine has for compiling and running programs, what is missing, what to do about it.

mod look;

use crate::failure::{Failure, print};
use look::{Compiler, Folder, Ptxas, Toolchain};
use nsa::{Driver, Error, GpuLimits};
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Say what this machine has for compiling and running programs, what is missing, and what to do.
#[derive(clap::Args)]
pub struct Arguments {
    /// The same as one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let machine = Machine::look();
    if arguments.json {
        return print(&format!("{}\n", machine.json()));
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    print(&text(&machine.findings(), colour))
}

/// Everything that was looked for.
struct Machine {
    compiler: Compiler,
    toolchain: Result<Toolchain, String>,
    host: nsa::Device,
    driver: Result<Driver, Error>,
    gpus: Result<Vec<GpuLimits>, Error>,
    ptxas: Option<Ptxas>,
    cache: Option<Folder>,
}

/// How good what was found is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Good,
    /// Not there, or less than it could be; what does not need it works.
    Missing,
    /// In the way.
    Wrong,
}

/// A sentence about one thing.
struct Finding {
    topic: &'static str,
    state: State,
    found: String,
    /// What to do, if there is something to do.
    advice: Option<String>,
}

impl Finding {
    fn new(topic: &'static str, state: State, found: impl Into<String>) -> Finding {
        Finding { topic, state, found: found.into(), advice: None }
    }

    fn advice(self, advice: impl Into<String>) -> Finding {
        Finding { advice: Some(advice.into()), ..self }
    }
}

impl Machine {
    fn look() -> Machine {
        let driver = Driver::find();
        let gpus = driver.as_ref().map_or(Ok(vec![]), Driver::gpus);
        Machine {
            compiler: Compiler::look(),
            toolchain: Toolchain::look(),
            host: nsa::Device::host(),
            driver,
            gpus,
            ptxas: Ptxas::look(),
            cache: Folder::look(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.compiler.finding()];
        findings.push(match &self.toolchain {
            Ok(toolchain) => toolchain.finding(),
            Err(reason) => Finding::new("toolchain", State::Missing, reason.clone()).advice(
                "install rustup (https://rustup.rs) to build crates that use nsa; compiled programs run without",
            ),
        });
        findings.push(match self.host.host_isa() {
            Some(isa) => {
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                Finding::new("host", State::Good, format!("{isa} code, {threads} threads"))
            }
            None => Finding::new("host", State::Missing, "there is no code generation for this processor")
                .advice("programs run on its GPUs"),
        });
        self.gpu_findings(&mut findings);
        findings.push(Ptxas::finding(self.ptxas.as_ref()));
        findings.push(Folder::finding(self.cache.as_ref()));
        findings
    }

    fn gpu_findings(&self, findings: &mut Vec<Finding>) {
        match &self.driver {
            Ok(driver) => {
                let (major, minor) = driver.cuda;
                let found = format!("CUDA {major}.{minor}, reads up to PTX {}", driver.ptx);
                findings.push(Finding::new("driver", State::Good, found));
            }
            // The sentence ends with what to do.
            Err(e @ Error::NoDriver) => {
                let text = e.to_string();
                let (found, advice) = text.split_once(": ").unwrap_or((&text, "install NVIDIA's driver"));
                findings.push(Finding::new("driver", State::Missing, found).advice(advice));
                return;
            }
            Err(e) => {
                let update = "update NVIDIA's driver; programs run on the host meanwhile";
                findings.push(Finding::new("driver", State::Wrong, e.to_string()).advice(update));
                return;
            }
        }
        match &self.gpus {
            Ok(gpus) if gpus.is_empty() => {
                let see = "see whether CUDA_VISIBLE_DEVICES hides it, and what nvidia-smi says";
                findings.push(Finding::new("gpu", State::Missing, "the driver shows no GPU").advice(see));
            }
            Ok(gpus) => findings.extend(gpus.iter().map(|gpu| self.gpu_finding(gpu))),
            Err(e) => {
                let see =
                    "see what nvidia-smi says; in a container, whether GPUs are passed to it; after an update, restart";
                findings.push(Finding::new("gpu", State::Wrong, e.to_string()).advice(see));
            }
        }
    }

    fn gpu_finding(&self, gpu: &GpuLimits) -> Finding {
        let (major, minor) = gpu.capability;
        let found = format!(
            "cuda:{} {}, compute capability {major}.{minor}, {} multiprocessors, {} of memory; shared memory {} a block, {} a multiprocessor; level-2 cache {}",
            gpu.ordinal,
            gpu.name,
            gpu.multiprocessors,
            look::binary(gpu.memory as u64),
            look::binary(gpu.shared_per_block as u64),
            look::binary(gpu.shared_per_multiprocessor as u64),
            look::binary(gpu.level2 as u64),
        );
        if !gpu.supported() {
            let advice = "nsa needs compute capability 8.0 (A100) or later: use another GPU, or the host";
            return Finding::new("gpu", State::Missing, found).advice(advice);
        }
        let reads = |needed| self.driver.as_ref().is_ok_and(|driver| driver.ptx >= needed);
        let unread = gpu.targets().into_iter().rev().find_map(|target| {
            let needed = look::ptx_version(target).filter(|needed| !reads(*needed))?;
            let (major, minor) = needed.first_cuda();
            Some(format!(
                "its best code ({target}) is PTX {needed}: update the driver to one for CUDA {major}.{minor} or later"
            ))
        });
        match unread {
            Some(advice) => Finding::new("gpu", State::Missing, found).advice(advice),
            None => Finding::new("gpu", State::Good, found),
        }
    }

    fn json(&self) -> Value {
        let findings = self.findings();
        let findings = findings.iter().map(|f| {
            let state = match f.state {
                State::Good => "good",
                State::Missing => "missing",
                State::Wrong => "wrong",
            };
            json!({"topic": f.topic, "state": state, "found": f.found, "advice": f.advice})
        });
        let gpus = self.gpus.iter().flatten().map(|gpu| {
            let (major, minor) = gpu.capability;
            json!({
                "device": format!("cuda:{}", gpu.ordinal),
                "name": gpu.name,
                "compute_capability": format!("{major}.{minor}"),
                "targets": gpu.targets().iter().map(|t| t.name()).collect::<Vec<_>>(),
                "multiprocessors": gpu.multiprocessors,
                "shared_bytes_per_block": gpu.shared_per_block,
                "shared_bytes_per_multiprocessor": gpu.shared_per_multiprocessor,
                "registers_per_multiprocessor": gpu.registers_per_multiprocessor,
                "level2_bytes": gpu.level2,
                "memory_bytes": gpu.memory,
            })
        });
        let driver = self.driver.as_ref().ok().map(|driver| {
            let (major, minor) = driver.cuda;
            json!({"cuda": format!("{major}.{minor}"), "ptx": driver.ptx.to_string()})
        });
        json!({
            "nsa": env!("CARGO_PKG_VERSION"),
            "compiler": self.compiler.json(),
            "toolchain": self.toolchain.as_ref().ok().map(Toolchain::json),
            "host": {
                "architecture": std::env::consts::ARCH,
                "instruction_set": self.host.host_isa().map(|isa| isa.name()),
                "threads": std::thread::available_parallelism().map_or(1, usize::from),
            },
            "driver": driver,
            "gpus": gpus.collect::<Vec<_>>(),
            "ptxas": self.ptxas.as_ref().map(Ptxas::json),
            "cache": self.cache.as_ref().map(Folder::json),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

/// One line per finding, and one for what to do.
fn text(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (mark, code) = match finding.state {
            State::Good => ("ok", "32"),
            State::Missing => ("--", "33"),
            State::Wrong => ("!!", "1;31"),
        };
        let mark = if colour { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.to_string() };
        text += &format!("{mark} {:9}  {}\n", finding.topic, finding.found);
        if let Some(advice) = &finding.advice {
            text += &format!("{:12}  -> {advice}\n", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsa_artifact::PtxVersion;

    fn machine(driver: Result<Driver, Error>, gpus: Result<Vec<GpuLimits>, Error>) -> Machine {
        Machine { driver, gpus, ..Machine::look() }
    }

    fn gpu(capability: (u32, u32)) -> GpuLimits {
        GpuLimits {
            ordinal: 1,
            name: "NVIDIA Example".into(),
            capability,
            multiprocessors: 108,
            shared_per_block: 163 << 10,
            shared_per_multiprocessor: 164 << 10,
            registers_per_multiprocessor: 64 << 10,
            level2: 40 << 20,
            memory: 80 << 30,
        }
    }

    fn driver(cuda: (u32, u32)) -> Result<Driver, Error> {
        let ptx = PtxVersion::of_driver(cuda.0 * 1000 + cuda.1 * 10).expect("in the table");
        Ok(Driver { cuda, ptx })
    }

    #[test]
    fn without_a_driver_there_is_something_to_do() {
        let text = text(&machine(Err(Error::NoDriver), Ok(vec![])).findings(), false);
        assert!(text.contains("-- driver     no CUDA driver on this machine (libcuda was not found)\n"), "{text}");
        assert!(text.contains("-> install NVIDIA's driver, or run on the host\n"), "{text}");
        assert!(!text.contains("gpu ") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn gpus_and_their_limits() {
        let lines = |driver, gpus| text(&machine(driver, gpus).findings(), false);
        let good = lines(driver((12, 4)), Ok(vec![gpu((9, 0))]));
        assert!(good.contains("ok driver     CUDA 12.4, reads up to PTX 8.4\n"), "{good}");
        let limits = "ok gpu        cuda:1 NVIDIA Example, compute capability 9.0, 108 multiprocessors, 80 GiB of memory; shared memory 163 KiB a block, 164 KiB a multiprocessor; level-2 cache 40 MiB\n";
        assert!(good.contains(limits), "{good}");
        let old = lines(driver((11, 4)), Ok(vec![gpu((9, 0))]));
        assert!(
            old.contains("-> its best code (sm_90a) is PTX 8.0: update the driver to one for CUDA 12.0 or later"),
            "{old}"
        );
        let small = lines(driver((12, 4)), Ok(vec![gpu((7, 5))]));
        assert!(small.contains("-- gpu") && small.contains("-> nsa needs compute capability 8.0"), "{small}");
        let none = lines(driver((12, 4)), Ok(vec![]));
        assert!(
            none.contains("-- gpu        the driver shows no GPU\n") && none.contains("CUDA_VISIBLE_DEVICES"),
            "{none}"
        );
        let broken = Error::Cuda { doing: "starting the driver", reason: "system not yet initialized".into() };
        let broken = lines(driver((12, 4)), Err(broken));
        assert!(
            broken.contains("!! gpu        CUDA, while starting the driver: system not yet initialized\n"),
            "{broken}"
        );
        assert!(broken.contains("nvidia-smi"), "{broken}");
    }

    #[test]
    fn colours_are_for_terminals() {
        let findings = [Finding::new("gpu", State::Good, "there")];
        assert_eq!(text(&findings, false), "ok gpu        there\n");
        assert_eq!(text(&findings, true), "\x1b[32mok\x1b[0m gpu        there\n");
    }

    #[test]
    fn all_of_it_as_data() {
        let value = machine(driver((12, 4)), Ok(vec![gpu((8, 0))])).json();
        assert_eq!(value["driver"], json!({"cuda": "12.4", "ptx": "8.4"}));
        assert_eq!(value["gpus"][0]["device"], "cuda:1");
        assert_eq!(value["gpus"][0]["targets"], json!(["sm_80"]));
        assert_eq!(value["gpus"][0]["shared_bytes_per_block"], 163 << 10);
        let none = machine(Err(Error::NoDriver), Ok(vec![])).json();
        assert_eq!((&none["driver"], &none["gpus"]), (&Value::Null, &json!([])));
    }
}
