//! A plan as text for readers: what [`nsa_codegen::plan`] prints, in the words of the language.

use super::phrase::Phrases;
use super::statement::{Step, steps, tile};
use nsa_codegen::plan::{Kernel, Layout, Plan, PlanExtent, Role, Span, TileAxis};
use nsa_codegen::term::AxisName;

/// Axes, buffers, kernels.
pub fn listing(plan: &Plan) -> String {
    let phrases = Phrases::new(plan, None);
    let mut text = format!("plan {}\n", plan.name);
    for axis in &plan.axes {
        let name = axis.name.name();
        text += &match &axis.extent {
            PlanExtent::Const(length) => format!("  axis {name} = {length}\n"),
            PlanExtent::Runtime => format!("  axis {name} at run time\n"),
            PlanExtent::Derived(id) => format!("  axis {name} = {}\n", phrases.show(*id)),
        };
    }
    for buffer in &plan.buffers {
        let role = match buffer.role {
            Role::Argument => "argument",
            Role::Result => "result",
            Role::Workspace => "workspace",
        };
        text += &format!("  {role} {}: {}[{}]\n", buffer.name.name(), buffer.dtype, names(&buffer.axes));
    }
    for own in &plan.kernels {
        text += &format!("\n{}", kernel(plan, own));
    }
    text
}

fn names(axes: &[AxisName]) -> String {
    axes.iter().map(|axis| axis.name()).collect::<Vec<_>>().join(", ")
}

fn spans(spans: &[Span]) -> String {
    spans.iter().map(|span| format!("{}:{}", span.axis.name(), span.count)).collect::<Vec<_>>().join(", ")
}

fn kernel(plan: &Plan, kernel: &Kernel) -> String {
    let phrases = Phrases::new(plan, Some(kernel));
    let grid = kernel.grid.iter().map(|axis| match axis.tile {
        1 => axis.axis.name().to_string(),
        tile => format!("{}/{tile}", axis.axis.name()),
    });
    let layout = match kernel.layout {
        Layout::Elements { threads } => format!("{threads} threads"),
        Layout::Fragments { rows, repeat, columns } => format!("{rows} x {columns} warps of {} rows", 16 * repeat),
    };
    let grid = grid.collect::<Vec<_>>().join(", ");
    let mut text = format!("kernel {}: grid [{grid}], rows [{}], {layout}\n", kernel.name, spans(&kernel.rows));
    for (number, own) in kernel.tiles.iter().enumerate() {
        let slow = match &own.slow {
            TileAxis::Rows => "rows".to_string(),
            TileAxis::Span(span) => spans(std::slice::from_ref(span)),
        };
        let flight = match own.stages {
            0 | 1 => String::new(),
            many => format!(", {many} in flight"),
        };
        text += &format!(
            "  tile {}[{slow}, {}] = {}, {}, {}{flight}\n",
            tile(kernel, number as u32),
            spans(std::slice::from_ref(&own.fast)),
            phrases.show(own.element),
            own.dtype,
            if own.copy { "copied" } else { "computed" },
        );
    }
    for (number, stage) in kernel.stages.iter().enumerate() {
        let (name, columns) = (phrases.stage(number as u32), spans(std::slice::from_ref(&stage.columns)));
        text += &format!("  ring {name}[{}; {columns}] in shared memory\n", spans(&stage.rows));
    }
    for list in &kernel.lists {
        text += &format!("  the best {} for each of [{}]\n", list.count, spans(&list.rows));
    }
    block(&steps(plan, kernel), 1, &mut text);
    text
}

fn block(steps: &[Step], depth: usize, text: &mut String) {
    let pad = "  ".repeat(depth);
    for step in steps {
        match step {
            Step::Line(_, line) => *text += &format!("{pad}{line}\n"),
            Step::Loop { head, bounds, body } => {
                *text += &format!("{pad}{head}, {bounds}\n");
                block(body, depth + 1, text);
            }
        }
    }
}
