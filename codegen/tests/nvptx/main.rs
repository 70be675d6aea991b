//! PTX of hand-written plans: assembled, and executed by an interpreter.
mod plans;

use nsa_codegen::emit::nvptx::{Target, emit};
use nsa_codegen::term::Type;

#[test]
fn attention_dump() {
    let cut = plans::Cut {
        tokens: 8,
        heads: 16,
        depth: 128,
        width: 128,
        warps: 4,
        repeat: 2,
        column_warps: 1,
        keys: 64,
        stages: 2,
        dtype: Type::Bf16,
    };
    let code = emit(&plans::attention(cut), Target::Sm80).unwrap();
    std::fs::write("/tmp/attention.ptx", &code.text).unwrap();
    println!("{:?}", code.kernels);
}
