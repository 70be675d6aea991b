//! Times the reference: `cargo run -p nsa-dsl --example reference_time FILE T [rows]`; with `rows` only that many queries.
use nsa_dsl::program::{DType, Extent};
use nsa_dsl::{Inputs, Settings, compile_source, evaluate, evaluate_rows};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, length, rest @ ..] = arguments.as_slice() else { return Err("usage: FILE T [rows]".into()) };
    let length: usize = length.parse()?;
    let program = compile_source(path, &std::fs::read_to_string(path)?, &Settings::default())?;
    let mut inputs = Inputs::new();
    for axis in program.runtime_axes() {
        inputs = inputs.length(&axis.name, length);
    }
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    };
    for (_, param) in program.params() {
        let size: usize = param
            .axes
            .iter()
            .map(|&axis| match program.axis(axis).extent {
                Extent::Const(n) => n as usize,
                _ => length,
            })
            .product();
        assert_ne!(param.dtype, Some(DType::I32), "integer arguments have no random values");
        inputs = inputs.real(&param.name, (0..size).map(|_| random()).collect());
    }
    let start = std::time::Instant::now();
    let outputs = match rest {
        [] => evaluate(&program, &inputs)?,
        [rows, ..] => {
            let rows: usize = rows.parse()?;
            let sampled: Vec<(usize, usize)> = (0..rows).map(|i| (0, length - 1 - i * (length / rows))).collect();
            evaluate_rows(&program, &inputs, "t", &sampled)?
        }
    };
    for array in outputs.iter() {
        println!("{} {:?} first {:?}", array.name, array.shapes, array.real().first());
    }
    println!("{:.2?}", start.elapsed());
    Ok(())
}
