//! Bank conflicts that kernels may have.

use nsa_codegen::plan::{Plan, Role};
use nsa_codegen::term::Type;
use ptx_vm::{Report, SharedAccess};

/// Which accesses may conflict, and how much.
///
/// Fragments (`ldmatrix`) and tiles of 16-bit types (`cp.async`, stores and loads of 16 bytes) never do: that is what the swizzle is for.
/// Rows of f32 tiles have 16 bytes of padding instead, which sets the rows that one lane each reads apart; a copy of 16 bytes a lane may find
/// two of them in one place. Scores that are staged to be ranked are written one number a lane, from fragments that hold eight rows at
/// once: of those at most four begin in one bank. Numbers that warps exchange, and lists, are single words as well.
pub fn check(plan: &Plan, kernel: &str, report: &Report) {
    let single = plan.buffers.iter().any(|b| b.role == Role::Argument && b.dtype == Type::F32);
    for access in &report.shared_accesses {
        let SharedAccess { instruction, least, .. } = access;
        let is = |part: &str| instruction.contains(part);
        let allowed = if is("ldmatrix") || is(".shared.v") {
            0
        } else if is("cp.async") {
            if single { *least } else { 0 }
        } else {
            3 * least
        };
        assert!(access.conflicts() <= allowed, "{kernel}: {access:?}\n{plan}");
    }
}
