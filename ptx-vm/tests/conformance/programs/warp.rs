//! Instructions that a warp executes together.

use super::{Argument, Program, Random, Tolerance, kernel};

/// Name, instruction over `%a` and `%b` (the second input, different in each lane or not) into `%d` and `%p`.
#[rustfmt::skip]
const ROWS: &[(&str, &str)] = &[
    ("shfl.bfly", "shfl.sync.bfly.b32 %d|%p, %a, 5, 31, -1"),
    ("shfl.bfly.segment", "shfl.sync.bfly.b32 %d|%p, %a, 3, 0x181F, -1"),
    ("shfl.up", "shfl.sync.up.b32 %d|%p, %a, 3, 0, -1"),
    ("shfl.up.segment", "shfl.sync.up.b32 %d|%p, %a, 2, 0x1800, -1"),
    ("shfl.down", "shfl.sync.down.b32 %d|%p, %a, 7, 31, -1"),
    ("shfl.down.segment", "shfl.sync.down.b32 %d|%p, %a, 2, 0x1C1F, -1"),
    ("shfl.idx", "shfl.sync.idx.b32 %d|%p, %a, %b, 31, -1"),
    ("shfl.idx.segment", "shfl.sync.idx.b32 %d|%p, %a, %b, 0x181F, -1"),
    ("vote.ballot", "vote.sync.ballot.b32 %d, %odd, -1"),
    ("vote.any", "vote.sync.any.pred %p, %odd, -1"),
    ("vote.all", "vote.sync.all.pred %p, %odd, -1"),
    ("vote.uni", "vote.sync.uni.pred %p, %odd, -1"),
    ("match.any", "match.any.sync.b32 %d, %b, -1"),
    ("match.all", "match.all.sync.b32 %d|%p, %b, -1"),
    ("redux.add", "redux.sync.add.s32 %d, %a, -1"),
    ("redux.min.s32", "redux.sync.min.s32 %d, %a, -1"),
    ("redux.max.u32", "redux.sync.max.u32 %d, %a, -1"),
    ("redux.xor", "redux.sync.xor.b32 %d, %a, -1"),
    ("redux.and", "redux.sync.and.b32 %d, %a, -1"),
    ("activemask", "activemask.b32 %d"),
    ("lanemask.le", "mov.u32 %d, %lanemask_le"),
    ("lanemask.gt", "mov.u32 %d, %lanemask_gt"),
];

const TARGET: &str = "sm_80";

pub fn programs() -> Vec<Program> {
    let mut programs: Vec<Program> = ROWS
        .iter()
        .map(|(name, text)| {
            let mut random = Random::new(name);
            let mut input = Vec::new();
            for _ in 0..64 {
                input.extend((random.next() as u32).to_le_bytes());
                input.extend((random.below(8) as u32).to_le_bytes());
            }
            let body = format!(
                "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t, %a, %b, %d, %flag, %bit;\n    .reg .pred %p, %odd;\n\
                 \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
                 \x20   mul.wide.u32 %at, %t, 8;\n    add.s64 %in, %in, %at;\n    add.s64 %out, %out, %at;\n\
                 \x20   ld.global.v2.b32 {{%a, %b}}, [%in];\n    and.b32 %bit, %a, 1;\n    setp.ne.s32 %odd, %bit, 0;\n\
                 \x20   mov.u32 %d, 77;\n    setp.eq.s32 %p, %t, -1;\n\
                 \x20   {text};\n    selp.b32 %flag, 1, 0, %p;\n    st.global.v2.b32 [%out], {{%d, %flag}};"
            );
            Program {
                name: (*name).into(),
                target: TARGET,
                ptx: kernel(TARGET, &["input", "output"], 64, &body),
                grid: 1,
                threads: 64,
                shared: 0,
                arguments: vec![Argument::Input(input), Argument::Output(64 * 8)],
                tolerance: Tolerance::Exact,
            }
        })
        .collect();
    for count in [1, 2, 4] {
        for transpose in [false, true] {
            programs.push(matrix_load(count, transpose));
            programs.push(matrix_store(count, transpose));
        }
    }
    programs.push(matrix_transpose());
    for (bytes, valid) in [(4, 4), (8, 8), (16, 16), (16, 5), (16, 0), (8, 3), (4, 0)] {
        programs.push(asynchronous_copy(bytes, valid));
    }
    programs
}

/// Copies the input to shared memory, `bytes` a thread, with a barrier after it.
fn fill_shared(bytes: usize) -> String {
    let mut body = String::from(
        "    .reg .b64 %in, %out, %at, %from;\n    .reg .b32 %t, %base, %to, %w<4>;\n    .reg .b32 %d<4>;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mov.u32 %base, dynamic;\n",
    );
    for step in 0..bytes / 16 {
        body += &format!(
            "    mul.wide.u32 %at, %t, {bytes};\n    add.s64 %from, %in, %at;\n\
             \x20   ld.global.v4.b32 {{%w0, %w1, %w2, %w3}}, [%from+{0}];\n    mad.lo.u32 %to, %t, {bytes}, %base;\n\
             \x20   st.shared.v4.b32 [%to+{0}], {{%w0, %w1, %w2, %w3}};\n",
            16 * step
        );
    }
    body + "    bar.sync 0;\n"
}

fn registers(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|i| format!("%d{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

fn random_bytes(name: &str, count: usize) -> Vec<u8> {
    let mut random = Random::new(name);
    (0..count).map(|_| random.next() as u8).collect()
}

fn matrix_load(count: usize, transpose: bool) -> Program {
    let trans = if transpose { ".trans" } else { "" };
    let name = format!("ldmatrix.x{count}{trans}");
    // Rows are taken in a scrambled order, so that every address matters.
    let body = fill_shared(16)
        + &format!(
            "    xor.b32 %to, %t, 5;\n    mad.lo.u32 %to, %to, 16, %base;\n\
             \x20   ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {}, [%to];\n\
             \x20   mul.wide.u32 %at, %t, {};\n    add.s64 %out, %out, %at;\n",
            registers(count),
            4 * count
        )
        + &(0..count).map(|i| format!("    st.global.b32 [%out+{}], %d{i};\n", 4 * i)).collect::<String>();
    Program {
        ptx: kernel(TARGET, &["input", "output"], 32, &body),
        arguments: vec![Argument::Input(random_bytes(&name, 512)), Argument::Output(32 * 4 * count)],
        name,
        target: TARGET,
        grid: 1,
        threads: 32,
        shared: 1024,
        tolerance: Tolerance::Exact,
    }
}

fn matrix_store(count: usize, transpose: bool) -> Program {
    let trans = if transpose { ".trans" } else { "" };
    let name = format!("stmatrix.x{count}{trans}");
    let body = fill_shared(16)
        + "    mad.lo.u32 %to, %t, 16, %base;\n    ld.shared.v4.b32 {%d0, %d1, %d2, %d3}, [%to];\n    bar.sync 0;\n"
        + &format!(
            "    xor.b32 %w0, %t, 9;\n    mad.lo.u32 %w1, %w0, 16, %base;\n\
             \x20   stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%w1], {};\n    bar.sync 0;\n\
             \x20   ld.shared.v4.b32 {{%d0, %d1, %d2, %d3}}, [%to];\n    mul.wide.u32 %at, %t, 16;\n\
             \x20   add.s64 %out, %out, %at;\n    st.global.v4.b32 [%out], {{%d0, %d1, %d2, %d3}};",
            registers(count)
        );
    Program {
        ptx: kernel("sm_90", &["input", "output"], 32, &body),
        arguments: vec![Argument::Input(random_bytes(&name, 512)), Argument::Output(512)],
        name,
        target: "sm_90",
        grid: 1,
        threads: 32,
        shared: 1024,
        tolerance: Tolerance::Exact,
    }
}

fn matrix_transpose() -> Program {
    let name = "movmatrix".to_string();
    let body = "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t, %a, %d;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mul.wide.u32 %at, %t, 4;\n    add.s64 %in, %in, %at;\n    add.s64 %out, %out, %at;\n\
         \x20   ld.global.b32 %a, [%in];\n    movmatrix.sync.aligned.m8n8.trans.b16 %d, %a;\n\
         \x20   st.global.b32 [%out], %d;";
    Program {
        ptx: kernel(TARGET, &["input", "output"], 32, body),
        arguments: vec![Argument::Input(random_bytes(&name, 128)), Argument::Output(128)],
        name,
        target: TARGET,
        grid: 1,
        threads: 32,
        shared: 0,
        tolerance: Tolerance::Exact,
    }
}

fn asynchronous_copy(bytes: usize, valid: usize) -> Program {
    let name = format!("cp.async.{bytes}.{valid}");
    let cache = if bytes == 16 { "cg" } else { "ca" };
    let body = format!(
        "    .reg .b64 %in, %out, %at;\n    .reg .b32 %t, %base, %n, %d;\n\
         \x20   ld.param.u64 %in, [input];\n    ld.param.u64 %out, [output];\n    mov.u32 %t, %tid.x;\n\
         \x20   mov.u32 %base, dynamic;\n    mad.lo.u32 %base, %t, {bytes}, %base;\n\
         \x20   mul.wide.u32 %at, %t, {bytes};\n    add.s64 %in, %in, %at;\n    add.s64 %out, %out, %at;\n\
         \x20   mov.u32 %n, {valid};\n    cp.async.{cache}.shared.global [%base], [%in], {bytes}, %n;\n\
         \x20   cp.async.commit_group;\n    cp.async.wait_group 0;\n"
    ) + &(0..bytes / 4)
        .map(|i| format!("    ld.shared.b32 %d, [%base+{0}];\n    st.global.b32 [%out+{0}], %d;\n", 4 * i))
        .collect::<String>();
    Program {
        ptx: kernel(TARGET, &["input", "output"], 32, &body),
        arguments: vec![Argument::Input(random_bytes(&name, 32 * bytes)), Argument::Output(32 * bytes)],
        name,
        target: TARGET,
        grid: 1,
        threads: 32,
        shared: 1024,
        tolerance: Tolerance::Exact,
    }
}
