//! What every description of a launch must survive; `fuzz/fuzz_targets/launch.rs` calls it, too.

use ptx_vm::LaunchDescription;

/// A kernel that writes its block's number, for launches of any description.
pub const KERNEL: &str = ".version 8.3\n.target sm_90a\n.address_size 64\n.entry k(.param .u64 out, .param .align 64 .b8 map[128], .param .u32 n) {\n\
    .reg .b32 %r<4>; .reg .b64 %d<4>; ld.param.u64 %d0, [out]; mov.u32 %r0, %ctaid.x; mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1;\n\
    st.global.b32 [%d1], %r0; mov.b64 %d2, map; cvta.param.u64 %d2, %d2; mov.u32 %r1, 0;\n\
    prefetch.param.tensormap [map]; cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%d2, {%r1, %r1}]; ret; }";

/// Reads a description of a launch and launches it, unless it asks for so much memory that this alone would take long.
pub fn launch(json: &str) {
    let Ok(mut description) = LaunchDescription::from_json(json) else { return };
    description.instruction_limit = Some(description.instruction_limit.map_or(2000, |limit| limit.min(2000)));
    description.seeds.truncate(2);
    let asked = description.buffers.values().fold(0, |sum: usize, buffer| sum.saturating_add(buffer.length));
    if (1 << 20..1 << 34).contains(&asked) {
        return;
    }
    if let Ok(outcome) = description.run(KERNEL) {
        let _ = outcome.to_string();
    }
}
