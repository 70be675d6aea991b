//! How a program became kernels: as text, as data, as a picture.

mod cost;
mod held;
mod json;
mod listing;
mod paint;
mod phrase;
mod pipeline;
mod statement;
mod text;
mod words;

pub use held::{Taken, taken};
pub use json::json;
pub use paint::Paint;
pub use pipeline::pipeline;
pub use text::text;

use nsa_codegen::term::Explanation;
use nsa_codegen::{Lowered, Variant};
use nsa_dsl::Program;

/// One way of one target, with the laws that led there.
pub struct Way<'a> {
    /// The program.
    pub program: &'a Program,
    /// What the target runs.
    pub lowered: &'a Lowered,
    /// The way.
    pub variant: &'a Variant,
    /// For each stored definition.
    pub laws: Vec<Explanation>,
    /// What its kernels take by NVIDIA's assembler; why that is not known, if it is not.
    pub takes: Result<Vec<Taken>, String>,
}

impl Way<'_> {
    /// When it is taken, as a part of a sentence; nothing if always.
    pub fn when(&self) -> String {
        let bound = |bound: &nsa_artifact::Bound| {
            let measure = format!("{:?}", bound.measure).to_lowercase();
            let range = match (bound.at_least, bound.at_most) {
                (Some(least), Some(most)) => format!("from {least} to {most}"),
                (Some(least), None) => format!("{least} at least"),
                (None, Some(most)) => format!("{most} at most"),
                (None, None) => "anything".into(),
            };
            format!("the {measure} of `{}` is {range}", bound.axis)
        };
        self.variant.when.iter().map(bound).collect::<Vec<_>>().join(" and ")
    }

    /// The lengths that it was costed for: `t = 1, s = 65536`.
    pub fn sizes(&self) -> String {
        let lengths = nsa_codegen::term::context::Context::lengths(self.program, &self.variant.sizes);
        let runtime = self.program.runtime_axes();
        let length = |name: &str| lengths.get(&nsa_codegen::term::AxisName::new(name)).copied().unwrap_or(0);
        runtime.map(|axis| format!("{} = {}", axis.name, length(&axis.name))).collect::<Vec<_>>().join(", ")
    }
}
