//! One value per sequence: definitions without a run-time axis, in a program that has such axes.
//!
//! A packed batch runs the program once per sequence, so that a definition along constant axes only (the keys that are kept
//! of a sequence, say) has as many values as there are sequences. Their place is an axis like any other: `sequence`, of one
//! value in each sequence, which comes first. Whoever reads the definition reads its only value.

use crate::program::*;
use std::collections::HashMap;

/// Name of the axis, if the program has none of this name.
const NAME: &str = "sequence";

/// Adds the axis to all such definitions.
pub(super) fn add(program: &mut Program) {
    let constant = |axis: &AxisId| matches!(program.axis(*axis).extent, Extent::Const(_));
    let single = |tensor: &Tensor| tensor.source != Source::Param && tensor.axes.iter().all(constant);
    let singles: Vec<bool> = program.tensors.iter().map(single).collect();
    if program.runtime_axes().next().is_none() || !singles.contains(&true) {
        return;
    }
    // The arena again, with an index more in every load of such a definition. 0 and 1 come first: all others may use them.
    let mut exprs = vec![Expr::Int(0), Expr::Int(1)];
    let mut moved: HashMap<ExprId, ExprId> = HashMap::new();
    for (old, expr) in program.exprs.iter().enumerate() {
        let expr = expr.clone().map_children(|child| moved[&child]);
        let new = match expr {
            Expr::Int(value @ (0 | 1)) => ExprId(value as u32),
            expr => {
                exprs.push(match expr {
                    Expr::Load(tensor, index) => Expr::Load(tensor, at_first(&singles, tensor, index)),
                    Expr::Member(x, tensor, index) => Expr::Member(x, tensor, at_first(&singles, tensor, index)),
                    other => other,
                });
                ExprId(exprs.len() as u32 - 1)
            }
        };
        moved.insert(ExprId(old as u32), new);
    }
    program.move_exprs(exprs, &moved);
    let taken = |name: &str| program.axes.iter().any(|axis| axis.name == name);
    let name = std::iter::once(NAME.to_string()).chain((1..).map(|n| format!("{NAME}_{n}"))).find(|name| !taken(name));
    let sequence = AxisId(program.axes.len() as u32);
    program.axes.push(Axis { name: name.unwrap_or_default(), extent: Extent::Derived(ExprId(1)) });
    for (tensor, single) in program.tensors.iter_mut().zip(singles) {
        if single {
            tensor.axes.insert(0, sequence);
        }
    }
}

fn at_first(singles: &[bool], tensor: TensorId, mut index: Vec<ExprId>) -> Vec<ExprId> {
    if singles[tensor.0 as usize] {
        index.insert(0, ExprId(0));
    }
    index
}
