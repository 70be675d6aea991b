//! From plans and code to an artifact.

use crate::compile::Variant;
use crate::emit::host::HostCode;
use crate::emit::nvptx::PtxCode;
use crate::plan::{self, Plan, PlanExtent, Role, Statement, visit};
use crate::term::{AxisName, Term, Type};
use egg::Id;
use nsa_artifact as artifact;
use nsa_artifact::{
    Artifact, Code, HostIsa, IntOp, Invalid, Length, Manifest, PtxVersion, Target, TargetCode, TileOrder,
};
use nsa_dsl::Program;

/// Collects the code of all targets.
pub(crate) struct Packer {
    manifest: Manifest,
    payloads: Vec<(String, Vec<u8>)>,
}

impl Packer {
    pub(crate) fn new(program: &Program, without: &[String]) -> Self {
        let text = format!("{program}\nwithout {}", without.join(" "));
        let manifest = Manifest {
            name: program.name.clone(),
            program: artifact::digest(text.as_bytes()),
            compiler: format!("nsa {}", env!("CARGO_PKG_VERSION")),
            constants: program.constants.clone(),
            axes: vec![],
            signature: vec![],
            targets: vec![],
        };
        Packer { manifest, payloads: vec![] }
    }

    /// Adds a variant's PTX.
    #[expect(clippy::expect_used, reason = "every PTX module that LLVM writes begins with its version")]
    pub(crate) fn ptx(&mut self, target: Target, variant: &Variant, code: &PtxCode) {
        let payload = self.payload(target, "ptx", &code.text);
        let version = PtxVersion::of_module(&code.text).expect("LLVM writes a version");
        let mut way = self.variant(variant, Code::Ptx { payload, version });
        for (kernel, made) in way.kernels.iter_mut().zip(&code.kernels) {
            kernel.name.clone_from(&made.entry);
            kernel.threads = made.threads;
            kernel.shared_bytes = made.shared_bytes;
            for name in &made.aligned {
                way.buffers.iter_mut().filter(|b| b.name == *name).for_each(|b| b.align = 16);
            }
        }
        self.push(target, way);
    }

    /// Adds a variant's host code.
    pub(crate) fn host(&mut self, target: Target, variant: &Variant, code: &HostCode, prefix: &str) {
        let payload = self.payload(target, "s", &code.text);
        let isas =
            code.kernels.first().map_or(vec![], |k| k.symbols.iter().map(|(isa, _)| host_isa(isa.name())).collect());
        let mut way = self.variant(variant, Code::Host { payload, prefix: prefix.to_string(), isas });
        for ((kernel, made), planned) in way.kernels.iter_mut().zip(&code.kernels).zip(&variant.plan.kernels) {
            kernel.scratch_bytes = made.scratch_bytes;
            kernel.gathered = gathered(&variant.plan, planned);
        }
        self.push(target, way);
    }

    pub(crate) fn finish(mut self) -> Result<Artifact, Invalid> {
        // The signature is the same for every target; alignment is the strictest one.
        let variants = || self.manifest.targets.iter().flat_map(|t| &t.variants);
        let mut signature: Vec<artifact::Buffer> = vec![];
        for buffer in variants().flat_map(|v| &v.buffers).filter(|b| b.role != artifact::Role::Workspace) {
            match signature.iter_mut().find(|b| b.name == buffer.name) {
                Some(known) => known.align = known.align.max(buffer.align),
                None => signature.push(buffer.clone()),
            }
        }
        signature.sort_by_key(|b| b.role == artifact::Role::Result);
        let used = |axis: &artifact::Axis| signature.iter().any(|b| b.axes.contains(&axis.name));
        let mut axes: Vec<artifact::Axis> = variants().next().map_or(vec![], |v| v.axes.clone());
        let mut wanted: Vec<String> = axes.iter().filter(|a| used(a)).map(|a| a.name.clone()).collect();
        // Lengths mention axes of their own.
        for axis in axes.iter().rev() {
            if let (true, artifact::Extent::Derived(length)) = (wanted.contains(&axis.name), &axis.extent) {
                mentioned(length, &mut wanted);
            }
        }
        axes.retain(|a| wanted.contains(&a.name));
        (self.manifest.axes, self.manifest.signature) = (axes, signature);
        Artifact::new(self.manifest, self.payloads)
    }

    fn payload(&mut self, target: Target, suffix: &str, text: &str) -> String {
        let name = format!("{target}.{}.{suffix}", self.payloads.len());
        self.payloads.push((name.clone(), text.as_bytes().to_vec()));
        name
    }

    fn push(&mut self, target: Target, way: artifact::Variant) {
        match self.manifest.targets.iter_mut().find(|t| t.target == target) {
            Some(code) => code.variants.push(way),
            None => self.manifest.targets.push(TargetCode { target, variants: vec![way] }),
        }
    }

    fn variant(&self, variant: &Variant, code: Code) -> artifact::Variant {
        let plan = &variant.plan;
        artifact::Variant {
            label: variant.label.to_string(),
            when: variant.when.clone(),
            axes: plan.axes.iter().map(|a| axis(plan, a)).collect(),
            buffers: plan.buffers.iter().map(buffer).collect(),
            kernels: plan.kernels.iter().map(|k| kernel(plan, k)).collect(),
            code,
        }
    }
}

fn mentioned(length: &Length, into: &mut Vec<String>) {
    match length {
        Length::Int(_) => {}
        Length::Of(name) => into.push(name.clone()),
        Length::Op(_, a, b) => {
            mentioned(a, into);
            mentioned(b, into);
        }
    }
}

fn axis(plan: &Plan, axis: &plan::PlanAxis) -> artifact::Axis {
    let extent = match axis.extent {
        PlanExtent::Const(n) => artifact::Extent::Const(n),
        PlanExtent::Runtime => artifact::Extent::Runtime,
        PlanExtent::Derived(id) => artifact::Extent::Derived(length(plan, id)),
    };
    artifact::Axis { name: axis.name.name().to_string(), extent }
}

#[expect(clippy::unreachable, reason = "the checker admits only lengths and integers in extents")]
fn length(plan: &Plan, id: Id) -> Length {
    let op = |op, x: &[Id; 2]| Length::op(op, length(plan, x[0]), length(plan, x[1]));
    match &plan.terms[id] {
        Term::Int(n) => Length::Int(*n),
        Term::Len(name) => Length::Of(name.name().to_string()),
        Term::IntAdd(x) => op(IntOp::Add, x),
        Term::IntSub(x) => op(IntOp::Sub, x),
        Term::IntMul(x) => op(IntOp::Mul, x),
        Term::IntDiv(x) => op(IntOp::Div, x),
        Term::IntRem(x) => op(IntOp::Rem, x),
        Term::IntMin(x) => op(IntOp::Min, x),
        Term::IntMax(x) => op(IntOp::Max, x),
        other => unreachable!("the checker admits only lengths and integers in extents, not {other}"),
    }
}

fn buffer(buffer: &plan::Buffer) -> artifact::Buffer {
    artifact::Buffer {
        name: buffer.name.name().to_string(),
        axes: buffer.axes.iter().map(|a| a.name().to_string()).collect(),
        dtype: dtype(buffer.dtype),
        role: match buffer.role {
            Role::Argument => artifact::Role::Argument,
            Role::Result => artifact::Role::Result,
            Role::Workspace => artifact::Role::Workspace,
        },
        align: buffer.dtype.bytes() as u32,
    }
}

fn dtype(t: Type) -> artifact::DType {
    match t {
        Type::Bf16 => artifact::DType::Bf16,
        Type::F16 => artifact::DType::F16,
        Type::F32 => artifact::DType::F32,
        Type::I32 => artifact::DType::I32,
    }
}

fn kernel(plan: &Plan, kernel: &plan::Kernel) -> artifact::Kernel {
    let used = kernel.buffers(plan);
    artifact::Kernel {
        name: kernel.name.clone(),
        grid: kernel
            .grid
            .iter()
            .map(|g| artifact::GridAxis { axis: g.axis.name().to_string(), tile: g.tile })
            .collect(),
        order: order(plan, kernel),
        buffers: used.iter().filter_map(|b| plan.buffers.iter().position(|p| p.name == b.name)).collect(),
        threads: 1,
        shared_bytes: 0,
        scratch_bytes: 0,
        gathered: vec![],
    }
}

/// Indices of the buffers that a kernel copies tiles from in walks through listed blocks.
fn gathered(plan: &Plan, kernel: &plan::Kernel) -> Vec<usize> {
    let mut tensors = std::collections::BTreeSet::new();
    visit::statements(&kernel.body, &mut |statement| {
        let Statement::Loop(inner) = statement else { return };
        let Some(_) = &inner.walk else { return };
        visit::statements(&inner.body, &mut |statement| {
            let Statement::Fetch { tile } = statement else { return };
            let tile = &kernel.tiles[*tile as usize];
            let walked = matches!(&tile.slow, plan::TileAxis::Span(span) if span.axis == inner.axis);
            if let (true, true, Term::Load(load)) = (walked, tile.copy, &plan.terms[tile.element])
                && let Term::Tensor(name) = plan.terms[load[0]]
            {
                tensors.insert(name);
            }
        });
    });
    (0..plan.buffers.len()).filter(|b| tensors.contains(&plan.buffers[*b].name)).collect()
}

/// Where loops end later for later values of the grid's run-time axis, blocks with large values have more to do.
fn order(plan: &Plan, kernel: &plan::Kernel) -> TileOrder {
    let runtime = kernel.grid.last().map(|g| g.axis).filter(|a| plan.slot(*a).is_some());
    let mut grows = false;
    visit::statements(&kernel.body, &mut |statement| {
        if let (Statement::Loop(inner), Some(axis)) = (statement, runtime) {
            grows |= inner.walk.is_none() && mentions(plan, inner.hi, axis) && !mentions(plan, inner.lo, axis);
        }
    });
    if grows { TileOrder::LargestFirst } else { TileOrder::Forward }
}

fn mentions(plan: &Plan, id: Id, axis: AxisName) -> bool {
    plan.terms[id] == Term::Axis(axis)
        || egg::Language::children(&plan.terms[id]).iter().any(|c| mentions(plan, *c, axis))
}

#[expect(clippy::expect_used, reason = "the lists of both crates are compared by a test")]
fn host_isa(name: &str) -> HostIsa {
    HostIsa::ALL
        .into_iter()
        .find(|isa| isa.name() == name)
        .expect("the emitter and the artifact name the same instruction sets")
}

#[cfg(test)]
mod tests {
    use super::host_isa;
    use crate::emit::host::Isa;

    #[test]
    fn instruction_sets_have_one_name() {
        for isa in Isa::ALL {
            assert_eq!(host_isa(isa.name()).name(), isa.name());
        }
    }
}
