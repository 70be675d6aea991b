//! A plan as text for readers: what [`nsa_codegen::plan`] prints, in the words of the language.

use super::phrase::Phrases;
use super::statement::{Step, steps, tile};
use nsa_codegen::plan::print::{head, list};
use nsa_codegen::plan::{Kernel, Plan, PlanExtent, TileAxis};

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
        text += &format!("  {buffer}\n");
    }
    for own in &plan.kernels {
        text += &format!("\n{}", kernel(plan, own));
    }
    text
}

fn kernel(plan: &Plan, kernel: &Kernel) -> String {
    let phrases = Phrases::new(plan, Some(kernel));
    let mut text = format!("{}\n", head(kernel));
    for (number, own) in kernel.tiles.iter().enumerate() {
        let slow = match &own.slow {
            TileAxis::Rows => "rows".to_string(),
            TileAxis::Span(span) => span.to_string(),
        };
        let flight = match own.stages {
            0 | 1 => String::new(),
            many => format!(", {many} in flight"),
        };
        text += &format!(
            "  tile {}[{slow}, {}] = {}, {}, {}{flight}\n",
            tile(kernel, number as u32),
            own.fast,
            phrases.show(own.element),
            own.dtype,
            if own.copy { "copied" } else { "computed" },
        );
    }
    for (number, stage) in kernel.stages.iter().enumerate() {
        let name = phrases.stage(number as u32);
        text += &format!("  ring {name}[{}; {}] in shared memory\n", list(&stage.rows), stage.columns);
    }
    for best in &kernel.lists {
        text += &format!("  the best {} for each of [{}]\n", best.count, list(&best.rows));
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
