//! How much memory tensors are going to take, compared with what there is, before any of it is taken: a length of a billion is a
//! sentence, and no machine that swaps or a process that is killed.

use crate::Error;
use nsa::Plan;
use nsa::artifact::Role;
use std::path::Path;

/// What is needed besides the tensors: stacks of threads, compiled code, and a sixteenth of the tensors' size, for what is computed from
/// them on the way.
const BESIDES: u128 = 256 << 20;

/// Memory of the host that will be in use at one time.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    bytes: u128,
    /// The largest tensor: its bytes and what it is.
    largest: Option<(u128, String)>,
}

impl Demand {
    /// Adds a tensor of which this many bytes an element are held, all copies together. `what` is what errors call it.
    pub fn tensor(&mut self, what: &str, shape: &[usize], bytes_each: usize) {
        let elements = shape.iter().fold(1u128, |product, extent| product.saturating_mul(*extent as u128));
        let bytes = elements.saturating_mul(bytes_each as u128);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.largest.as_ref().is_none_or(|(most, _)| bytes > *most) {
            self.largest = Some((bytes, format!("{what} {shape:?}")));
        }
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u128 {
        self.bytes
    }

    /// # Errors
    /// There is not as much memory, which names the largest tensor. Where the system does not say, everything passes.
    pub fn check(&self) -> Result<(), Error> {
        self.within(available())
    }

    fn within(&self, available: Option<u128>) -> Result<(), Error> {
        let needed = self.bytes.saturating_add(self.bytes / 16).saturating_add(BESIDES);
        match (available, &self.largest) {
            (Some(available), Some((_, largest))) if needed > available => {
                Err(Error::Space { largest: largest.clone(), needed, available })
            }
            _ => Ok(()),
        }
    }
}

/// What [`crate::fill`] and a run on the host's or a GPU's memory take in the host's: inputs and the copy that is launched on, results
/// and the copy that is read.
pub fn demand(plan: &Plan) -> Demand {
    let mut demand = Demand::default();
    for parameter in plan.parameters() {
        let role = if parameter.role() == Role::Argument { "argument" } else { "result" };
        let what = format!("{role} `{}`: {}", parameter.name(), parameter.dtype());
        demand.tensor(&what, parameter.shape(), 2 * parameter.dtype().bytes());
    }
    demand
}

/// Bytes that this process can still take; None where the system does not say.
fn available() -> Option<u128> {
    let machine = kilobytes(Path::new("/proc/meminfo"), "MemAvailable:");
    // What `ulimit -v` leaves.
    let limit = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| address_space(&limits));
    let own =
        limit.map(|limit| limit.saturating_sub(kilobytes(Path::new("/proc/self/status"), "VmSize:").unwrap_or(0)));
    [machine, own, group()].into_iter().flatten().min()
}

/// What the process's control group leaves, as far as it is limited: in containers.
fn group() -> Option<u128> {
    let number = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok()?;
        text.trim().parse::<u128>().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

/// The value in bytes of a line such as `MemAvailable:   123 kB`.
fn kilobytes(path: &Path, name: &str) -> Option<u128> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u128>().ok()?.checked_mul(1024)
}

/// The soft limit in the line `Max address space   SOFT   HARD   bytes`.
fn address_space(limits: &str) -> Option<u128> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_named() {
        let mut demand = Demand::default();
        demand.tensor("argument `q`: bf16", &[10, 4], 4);
        demand.tensor("argument `k`: bf16", &[30_000_000, 4, 128], 4);
        assert_eq!(demand.bytes(), 160 + 61_440_000_000);
        assert!(demand.within(Some(70_000_000_000)).is_ok() && demand.within(None).is_ok());
        let text = demand.within(Some(8_000_000_000)).expect_err("too large").to_string();
        let said = "argument `k`: bf16 [30000000, 4, 128] is too large for this machine: 65.55 GB of memory are needed in all, and 8.00 GB are free; choose smaller lengths or widths";
        assert_eq!(text, said);
    }

    /// Products beyond 64 and 128 bits stay the largest numbers that there are.
    #[test]
    fn sizes_do_not_wrap() {
        let mut demand = Demand::default();
        demand.tensor("x", &[usize::MAX, usize::MAX, usize::MAX], 8);
        demand.tensor("y", &[usize::MAX], 8);
        assert_eq!(demand.bytes(), u128::MAX);
        assert!(demand.within(Some(1 << 40)).is_err());
    }

    #[test]
    fn limits_are_read() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 4096                 files     \nMax address space         4194304000           unlimited            bytes     \n";
        assert_eq!(address_space(table), Some(4_194_304_000));
        assert_eq!(address_space("Max address space         unlimited            unlimited            bytes"), None);
        #[cfg(target_os = "linux")]
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
