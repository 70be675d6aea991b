//! Which random numbers arguments get, from how the program uses them.

use crate::layout::Lengths;
use nsa_dsl::Program;
use nsa_dsl::program::{AxisId, DType, Expr, ExprId, IntBin, Source, TensorId};
use nsa_measure::Fill;
use std::collections::BTreeMap;

/// Random numbers for the integer arguments, sets for those that `in` searches, else indices of the axis they address, counts and bounds
/// of what they are compared with.
pub fn fills(program: &Program, lengths: &Lengths) -> BTreeMap<String, Fill> {
    fills_for(program, &|axis| lengths.of(&program.axis(axis).name).iter().copied().max().unwrap_or(0) as i64)
}

/// The same, from the greatest length of each axis.
pub fn fills_for(program: &Program, longest: &dyn Fn(AxisId) -> i64) -> BTreeMap<String, Fill> {
    let mut fills = BTreeMap::new();
    let values = |axis: AxisId| (0, (longest(axis) - 1).max(0));
    for expr in &program.exprs {
        match expr {
            Expr::Member(searched, list, _) => {
                let most = range(program, *searched, &values, longest).map_or(0, |(_, most)| most);
                let bound = u64::try_from(most + 1).unwrap_or(0);
                for parameter in list_parameters(program, *list) {
                    fills.insert(program.tensor(parameter).name.clone(), Fill::List(bound));
                }
            }
            Expr::Compare(_, a, b) => {
                for (read, other) in [(a, b), (b, a)] {
                    if let Expr::Load(tensor, _) = program.expr(*read)
                        && is_integer_parameter(program, *tensor)
                    {
                        // A count or a bound falls anywhere in what it is compared with; identities repeat.
                        let bound = range(program, *other, &values, longest)
                            .map_or(IDENTITIES, |(_, most)| u64::try_from(most.saturating_add(2)).unwrap_or(1));
                        fills.entry(program.tensor(*tensor).name.clone()).or_insert(Fill::Below(bound));
                    }
                }
            }
            Expr::Load(tensor, index) => {
                let axes = &program.tensor(*tensor).axes;
                for (at, axis) in index.iter().zip(axes) {
                    if let Expr::Load(source, _) = program.expr(*at)
                        && is_integer_parameter(program, *source)
                    {
                        let name = program.tensor(*source).name.clone();
                        fills.entry(name).or_insert(Fill::Below(longest(*axis).max(0) as u64));
                    }
                }
            }
            _ => {}
        }
    }
    fills
}

/// How many different numbers an argument holds that is compared with other data: documents of a batch, say.
const IDENTITIES: u64 = 4;

/// The integer parameters whose rows are the lists of a tensor: itself, or what its definition reads along its last axis.
fn list_parameters(program: &Program, list: TensorId) -> Vec<TensorId> {
    let tensor = program.tensor(list);
    let Source::Value(root) = tensor.source else {
        return if is_integer_parameter(program, list) { vec![list] } else { vec![] };
    };
    let (mut found, mut pending) = (vec![], vec![root]);
    while let Some(id) = pending.pop() {
        let expr = program.expr(id);
        if let Expr::Load(read, _) = expr
            && is_integer_parameter(program, *read)
            && program.tensor(*read).axes.last() == tensor.axes.last()
        {
            found.push(*read);
        }
        expr.children(|child| pending.push(child));
    }
    found
}

/// Whether a tensor is an argument of integers.
pub fn is_integer_parameter(program: &Program, tensor: TensorId) -> bool {
    let tensor = program.tensor(tensor);
    tensor.source == Source::Param && tensor.dtype == Some(DType::I32)
}

/// Smallest and largest value of an integer expression, from those of axes and the greatest length of each; None if it reads
/// data.
pub fn range(
    program: &Program,
    id: ExprId,
    values: &dyn Fn(AxisId) -> (i64, i64),
    length: &dyn Fn(AxisId) -> i64,
) -> Option<(i64, i64)> {
    match program.expr(id) {
        Expr::Int(n) => Some((*n, *n)),
        Expr::Axis(axis) => Some(values(*axis)),
        Expr::Len(axis) => Some((0, length(*axis))),
        Expr::IntBin(op, a, b) => {
            let (a, b) = (range(program, *a, values, length)?, range(program, *b, values, length)?);
            let of = |x: i64, y: i64| match op {
                IntBin::Add => x.checked_add(y),
                IntBin::Sub => x.checked_sub(y),
                IntBin::Mul => x.checked_mul(y),
                IntBin::Div => (y > 0).then(|| x.div_euclid(y)),
                IntBin::Rem => (y > 0).then_some(y - 1),
                IntBin::Min => Some(x.min(y)),
                IntBin::Max => Some(x.max(y)),
            };
            // Each operation is monotonic in each operand, but for the remainder, whose bounds are 0 and the divisor.
            let corners = [of(a.0, b.0)?, of(a.0, b.1)?, of(a.1, b.0)?, of(a.1, b.1)?];
            let least = if *op == IntBin::Rem { 0 } else { *corners.iter().min()? };
            Some((least, *corners.iter().max()?))
        }
        _ => None,
    }
}
