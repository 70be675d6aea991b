//! Indices that conditions keep inside are clamped: kernels evaluate whole tiles, also the values that are left out of them.

use super::bounds::Guarded;
use crate::arena::Arena;
use crate::program::*;
use std::collections::HashMap;

/// Clamps the indices at these places to their axes. No value that counts changes. None: the program becomes too large.
pub(super) fn add(program: &mut Program, guarded: &Guarded) -> Option<()> {
    if guarded.is_empty() {
        return Some(());
    }
    let mut arena = Arena::default();
    let mut moved: HashMap<ExprId, ExprId> = HashMap::new();
    for (old, expr) in program.exprs.iter().enumerate() {
        let old = ExprId(old as u32);
        let mut expr = expr.map_children(|child| moved[&child]);
        if let Expr::Load(tensor, index) | Expr::Member(_, tensor, index) = &mut expr {
            let axes = &program.tensor(*tensor).axes;
            for (place, (index, axis)) in index.iter_mut().zip(axes).enumerate() {
                if guarded.contains(&(old, place)) {
                    let extent = match program.axis(*axis).extent {
                        Extent::Const(extent) => arena.int(extent),
                        Extent::Derived(extent) => copied(program, &mut arena, &mut moved, extent),
                        Extent::Runtime => arena.add(Expr::Len(*axis)),
                    };
                    let (zero, one) = (arena.int(0), arena.int(1));
                    let last = arena.int_bin(IntBin::Sub, extent, one);
                    let below = arena.int_bin(IntBin::Min, *index, last);
                    *index = arena.int_bin(IntBin::Max, below, zero);
                }
            }
        }
        moved.insert(old, arena.add(expr));
    }
    if arena.trouble.is_some() {
        return None;
    }
    program.move_exprs(arena.into_exprs(), &moved);
    Some(())
}

/// An extent in the new arena; it may have been worked out after loads that it bounds.
fn copied(program: &Program, arena: &mut Arena, moved: &mut HashMap<ExprId, ExprId>, extent: ExprId) -> ExprId {
    if let Some(there) = moved.get(&extent) {
        return *there;
    }
    let expr = program.expr(extent).map_children(|child| copied(program, arena, moved, child));
    let there = arena.add(expr);
    moved.insert(extent, there);
    there
}
