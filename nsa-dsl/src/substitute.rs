//! Index expressions in the place of axes.

use crate::arena::Arena;
use crate::program::*;
use std::collections::HashMap;

/// `expr` with every free axis of `map` replaced. A fold whose axis occurs in a replacement gets a fresh axis, so that
/// nothing is captured; `fresh` makes one like the axis it is given.
pub(crate) fn substitute(
    arena: &mut Arena,
    expr: ExprId,
    map: &[(AxisId, ExprId)],
    fresh: &mut dyn FnMut(AxisId) -> AxisId,
) -> ExprId {
    walk(arena, expr, map, fresh, &mut HashMap::new())
}

fn walk(
    arena: &mut Arena,
    expr: ExprId,
    map: &[(AxisId, ExprId)],
    fresh: &mut dyn FnMut(AxisId) -> AxisId,
    done: &mut HashMap<ExprId, ExprId>,
) -> ExprId {
    if !map.iter().any(|&(axis, _)| arena.depends(expr, axis)) {
        return expr;
    }
    if let Some(&known) = done.get(&expr) {
        return known;
    }
    let node = arena.get(expr).clone();
    let result = match node {
        Expr::Axis(axis) => map.iter().find(|&&(from, _)| from == axis).map_or(expr, |&(_, to)| to),
        Expr::Fold { monoid, axis, guard, body } => {
            // The fold's own axis is bound here: free occurrences of it in `map` are another matter.
            let mut inner: Vec<_> =
                map.iter().copied().filter(|&(from, _)| from != axis && arena.depends(expr, from)).collect();
            let mut axis = axis;
            if inner.iter().any(|&(_, to)| arena.depends(to, axis)) {
                let renamed = fresh(axis);
                let value = arena.axis(renamed);
                inner.push((axis, value));
                axis = renamed;
            }
            let done = &mut HashMap::new();
            let guard = guard.map(|guard| walk(arena, guard, &inner, fresh, done));
            let body = walk(arena, body, &inner, fresh, done);
            arena.rebuild(Expr::Fold { monoid, axis, guard, body })
        }
        other => {
            let mapped = other.map_children(|child| walk(arena, child, map, fresh, done));
            arena.rebuild(mapped)
        }
    };
    done.insert(expr, result);
    result
}
