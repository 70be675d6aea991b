//! `nsa check`: reads a program and says what it is.

use crate::failure::{Failure, print};
use crate::program::Source;
use nsa_dsl::program::Extent;

/// Check a program: report its errors, or what its axes and constants are.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = arguments.source.load()?.program;
    let mut text = format!("{}: no errors\n", program.name);
    let tensor = |id: &nsa_dsl::program::TensorId| {
        let t = program.tensor(*id);
        let axes: Vec<&str> = t.axes.iter().map(|a| program.axis(*a).name.as_str()).collect();
        let dtype = t.dtype.map_or("", |d| d.name());
        format!("{}: {dtype}[{}]", t.name, axes.join(", "))
    };
    for (id, _) in program.params() {
        text += &format!("  argument {}\n", tensor(&id));
    }
    for id in &program.results {
        text += &format!("  result   {}\n", tensor(id));
    }
    for axis in &program.axes {
        match axis.extent {
            Extent::Const(n) => text += &format!("  axis {} = {n}\n", axis.name),
            Extent::Runtime => text += &format!("  axis {}, given at run time\n", axis.name),
            Extent::Derived(e) => text += &format!("  axis {} = {}\n", axis.name, program.expr_text(e)),
        }
    }
    for (name, value) in &program.constants {
        text += &format!("  constant {name} = {value}\n");
    }
    print(&text)
}
