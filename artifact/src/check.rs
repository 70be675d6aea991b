//! What must hold for a manifest before anything relies on it.

use crate::{Axis, Buffer, Code, DType, Extent, Kernel, MAX_RANK, Manifest, Role, TargetCode, Variant};
use std::collections::HashSet;

/// A manifest contradicts itself; the text says where and how.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// Threads per block that every GPU allows (CUDA C programming guide, "Features and technical specifications").
const MAX_THREADS: u32 = 1024;
/// The largest dynamic shared memory of any GPU so far, 227 KiB (same source, compute capability 9.0).
const MAX_SHARED_BYTES: u32 = 227 * 1024;
/// More scratch memory than this per thread is a mistake.
const MAX_SCRATCH_BYTES: u64 = 1 << 30;

/// Most axes, buffers, kernels or variants in one list. Programs have dozens; with more, a forged manifest of some megabytes would
/// keep whoever checks it busy for hours.
const MAX_LIST: usize = 1024;
/// Most operations and operands in the length of a derived axis.
const MAX_LENGTH: usize = 4096;

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(Invalid(format!($($message)*)));
        }
    };
}

impl Manifest {
    /// Checks that names resolve, extents are positive, sizes are within limits and variants have the signature's buffers.
    /// `payload` says whether a payload exists. The runtime relies on this and never panics on a checked manifest.
    pub fn check(&self, payload: &dyn Fn(&str) -> bool) -> Result<(), Invalid> {
        identifier(&self.name, "program")?;
        axes(&self.axes)?;
        for (name, value) in &self.constants {
            ensure!(value.is_finite(), "constant `{name}` is {value}, which JSON cannot hold");
        }
        buffers(&self.signature, &self.axes)?;
        ensure!(
            self.signature.iter().all(|b| b.role != Role::Workspace),
            "the signature of `{}` contains a workspace",
            self.name
        );
        few(self.constants.len(), "constants")?;
        unique(self.targets.iter().map(|t| t.target.name()), "target")?;
        for code in &self.targets {
            self.check_target(code, payload).map_err(|Invalid(e)| Invalid(format!("target {}: {e}", code.target)))?;
        }
        Ok(())
    }

    fn check_target(&self, code: &TargetCode, payload: &dyn Fn(&str) -> bool) -> Result<(), Invalid> {
        let Some(last) = code.variants.last() else { return Err(Invalid("no variants".into())) };
        ensure!(last.when.is_empty(), "the last variant has a condition, so that some sizes have no code");
        few(code.variants.len(), "variants")?;
        for variant in &code.variants {
            let context = |Invalid(e)| Invalid(format!("variant `{}`: {e}", variant.label));
            variant.check(self).map_err(context)?;
            ensure!(
                payload(variant.code.payload()),
                "variant `{}`: no payload `{}`",
                variant.label,
                variant.code.payload()
            );
            let gpu = matches!(variant.code, Code::Ptx { .. });
            ensure!(gpu == code.target.is_gpu(), "variant `{}`: code of another kind of target", variant.label);
        }
        Ok(())
    }
}

impl Variant {
    fn check(&self, manifest: &Manifest) -> Result<(), Invalid> {
        axes(&self.axes)?;
        buffers(&self.buffers, &self.axes)?;
        for axis in &manifest.axes {
            // Buffers of the signature are measured with its axes, so both lists must agree on them.
            ensure!(self.axis(&axis.name) == Some(axis), "axis `{}` differs from the signature's", axis.name);
        }
        for axis in &self.axes {
            let known = axis.extent != Extent::Runtime || manifest.axes.contains(axis);
            ensure!(known, "the length of axis `{}` is in no argument", axis.name);
        }
        for wanted in &manifest.signature {
            let same = |b: &&Buffer| {
                b.name == wanted.name && b.axes == wanted.axes && b.dtype == wanted.dtype && b.role == wanted.role
            };
            ensure!(self.buffers.iter().any(|b| same(&b)), "`{}` differs from the signature's", wanted.name);
        }
        for buffer in self.buffers.iter().filter(|b| b.role != Role::Workspace) {
            let known = manifest.signature.iter().any(|b| b.name == buffer.name);
            ensure!(known, "`{}` is not in the signature", buffer.name);
        }
        for bound in &self.when {
            ensure!(self.slot(&bound.axis).is_some(), "a condition on `{}`, no run-time axis", bound.axis);
        }
        ensure!(!self.kernels.is_empty(), "no kernels");
        few(self.kernels.len(), "kernels")?;
        few(self.when.len(), "conditions")?;
        unique(self.kernels.iter().map(|k| k.name.as_str()), "kernel")?;
        for kernel in &self.kernels {
            self.check_kernel(kernel).map_err(|Invalid(e)| Invalid(format!("kernel `{}`: {e}", kernel.name)))?;
        }
        match &self.code {
            Code::Ptx { .. } => Ok(()),
            Code::Host { prefix, isas, .. } => {
                ensure!(!isas.is_empty(), "no instruction set");
                ensure!(prefix.is_ascii(), "symbol prefix {prefix:?} is not ASCII");
                identifier(prefix, "symbol prefix")
            }
        }
    }

    fn check_kernel(&self, kernel: &Kernel) -> Result<(), Invalid> {
        identifier(&kernel.name, "kernel")?;
        unique(kernel.grid.iter().map(|g| g.axis.as_str()), "grid axis")?;
        for (i, grid) in kernel.grid.iter().enumerate() {
            let Some(axis) = self.axis(&grid.axis) else { return Err(Invalid(format!("no axis `{}`", grid.axis))) };
            ensure!(grid.tile > 0 && i32::try_from(grid.tile).is_ok(), "tile {} of `{}`", grid.tile, grid.axis);
            let last = i + 1 == kernel.grid.len();
            ensure!(axis.extent.constant().is_some() || last, "run-time grid axis `{}` is not the last", grid.axis);
        }
        let mut seen = HashSet::new();
        for &index in &kernel.buffers {
            ensure!(index < self.buffers.len(), "no buffer {index}");
            ensure!(seen.insert(index), "buffer {index} appears twice");
        }
        let known = kernel.gathered.iter().all(|index| kernel.buffers.contains(index));
        ensure!(known, "it gathers from buffers that it does not take");
        ensure!((1..=MAX_THREADS).contains(&kernel.threads), "{} threads", kernel.threads);
        ensure!(kernel.shared_bytes <= MAX_SHARED_BYTES, "{} bytes of shared memory", kernel.shared_bytes);
        ensure!(kernel.scratch_bytes <= MAX_SCRATCH_BYTES, "{} bytes of scratch memory", kernel.scratch_bytes);
        Ok(())
    }
}

fn few(count: usize, what: &str) -> Result<(), Invalid> {
    ensure!(count <= MAX_LIST, "{count} {what}, at most {MAX_LIST}");
    Ok(())
}

fn axes(list: &[Axis]) -> Result<(), Invalid> {
    few(list.len(), "axes")?;
    unique(list.iter().map(|a| a.name.as_str()), "axis")?;
    let mut known: HashSet<&str> = HashSet::new();
    let mut waiting = Vec::new();
    for axis in list {
        match &axis.extent {
            Extent::Const(n) => ensure!(*n > 0, "axis `{}` has extent {n}", axis.name),
            Extent::Runtime => {}
            Extent::Derived(length) => {
                let nodes = length.nodes();
                ensure!(nodes <= MAX_LENGTH, "the length of axis `{}` has {nodes} parts", axis.name);
                waiting.push((axis.name.as_str(), length));
                continue;
            }
        }
        known.insert(&axis.name);
    }
    // Derived axes may need each other, but not in a circle.
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|(name, length)| {
            let mut ready = true;
            length.axes(&mut |axis| ready &= known.contains(axis));
            if ready {
                known.insert(name);
            }
            !ready
        });
        ensure!(waiting.len() < before, "the length of axis `{}` needs axes that are not known", waiting[0].0);
    }
    Ok(())
}

fn buffers(list: &[Buffer], axes: &[Axis]) -> Result<(), Invalid> {
    few(list.len(), "buffers")?;
    unique(list.iter().map(|b| b.name.as_str()), "buffer")?;
    for buffer in list {
        ensure!(buffer.axes.len() <= MAX_RANK, "`{}` has more than {MAX_RANK} axes", buffer.name);
        for name in &buffer.axes {
            ensure!(axes.iter().any(|a| a.name == *name), "`{}` has an unknown axis `{name}`", buffer.name);
        }
        let size = dtype_bytes(buffer.dtype);
        let sensible = buffer.align.is_power_of_two() && (size..=256).contains(&buffer.align);
        ensure!(sensible, "`{}` has alignment {}", buffer.name, buffer.align);
    }
    Ok(())
}

fn dtype_bytes(dtype: DType) -> u32 {
    dtype.bytes() as u32
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for name in names {
        ensure!(seen.insert(name), "{what} `{name}` appears twice");
    }
    Ok(())
}

/// Names of programs and kernels are those of the language; symbols are made from them.
fn identifier(name: &str, what: &str) -> Result<(), Invalid> {
    let first = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    let rest = name.chars().all(|c| match c.is_ascii() {
        true => c.is_ascii_alphanumeric() || c == '_',
        false => !c.is_whitespace() && !c.is_control(),
    });
    ensure!(first && rest, "{what} name {name:?} is not an identifier");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample;

    fn reason(change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = sample().manifest().clone();
        change(&mut manifest);
        manifest.check(&|name| name == "scale.ptx").expect_err("the change must be refused").to_string()
    }

    #[test]
    fn contradictions_are_refused() {
        let variant = |m: &mut Manifest, change: fn(&mut Variant)| change(&mut m.targets[0].variants[0]);
        assert_eq!(reason(|m| m.axes[0].name = "u".into()), "`x` has an unknown axis `t`");
        assert_eq!(
            reason(|m| variant(m, |v| v.kernels[0].buffers.push(9))),
            "target sm_80: variant `only`: kernel `scale`: no buffer 9"
        );
        assert_eq!(
            reason(|m| variant(m, |v| v.kernels[0].name = "a b".into())),
            "target sm_80: variant `only`: kernel `scale`: kernel name \"a b\" is not an identifier"
                .replace("`scale`", "`a b`")
        );
        assert_eq!(
            reason(|m| variant(m, |v| v.kernels[0].grid.swap(0, 1))),
            "target sm_80: variant `only`: kernel `scale`: run-time grid axis `t` is not the last"
        );
        assert_eq!(
            reason(|m| variant(m, |v| v.buffers[0].dtype = DType::I32)),
            "target sm_80: variant `only`: `x` differs from the signature's"
        );
        assert_eq!(
            reason(|m| variant(m, |v| v.axes[1].extent = Extent::Const(7))),
            "target sm_80: variant `only`: axis `d` differs from the signature's"
        );
        assert_eq!(
            reason(|m| m.targets[0].variants[0].code =
                Code::Host { payload: "scale.ptx".into(), prefix: "p".into(), isas: vec![crate::HostIsa::X86_64] }),
            "target sm_80: variant `only`: code of another kind of target"
        );
        let circle = |m: &mut Manifest| {
            let of = |axis: &str| Extent::Derived(crate::Length::Of(axis.into()));
            m.axes.push(Axis { name: "a".into(), extent: of("b") });
            m.axes.push(Axis { name: "b".into(), extent: of("a") });
        };
        let many = |m: &mut Manifest| {
            let axis = |n| Axis { name: format!("a{n}"), extent: Extent::Const(1) };
            m.axes.extend((0..1023).map(axis));
        };
        assert_eq!(reason(many), "1025 axes, at most 1024");
        let long = |m: &mut Manifest| {
            let one = || crate::Length::Of("t".into());
            let sum = (0..2048).fold(one(), |sum, _| crate::Length::op(crate::IntOp::Add, sum, one()));
            m.axes.push(Axis { name: "a".into(), extent: Extent::Derived(sum) });
        };
        assert_eq!(reason(long), "the length of axis `a` has 4097 parts");
        assert_eq!(reason(circle), "the length of axis `a` needs axes that are not known");
        assert_eq!(reason(|m| m.targets[0].variants.clear()), "target sm_80: no variants");
        assert_eq!(
            reason(|m| variant(m, |v| v.axes.push(Axis { name: "z".into(), extent: Extent::Runtime }))),
            "target sm_80: variant `only`: the length of axis `z` is in no argument"
        );
    }
}
