//! What the fuzz targets share: everything that can be done with a text, and programs from choices.

/// Programs from a list of choices, as the compiler's own tests make them.
#[path = "../../codegen/tests/random/generate.rs"]
pub mod generate;

use nsa_dsl::program::{DType, Expr, ExprId, Extent, Program};
use nsa_dsl::{Inputs, Settings, compile_source, compile_tokens, evaluate, parse};

/// Most values of all axes together for which a program is evaluated: some milliseconds.
const MAX_POINTS: i64 = 20_000;
/// Most expressions of a program that is evaluated.
const MAX_EXPRESSIONS: usize = 300;

/// Parses, prints, checks and evaluates a text; nothing of it may panic, hang or grow without bound.
pub fn exercise(text: &str) {
    if let Ok(file) = parse("program.nsa", text) {
        let printed = file.to_string();
        let again = parse("printed.nsa", &printed).unwrap_or_else(|errors| panic!("{errors}\nof\n{text}"));
        assert_eq!(again.to_string(), printed, "printing is stable");
    }
    match compile_source("program.nsa", text, &Settings::default()) {
        Ok(program) => {
            assert!(program.to_string().len() < 10_000_000);
            assert_eq!(program.places.tensors.len(), program.tensors.len(), "every tensor has a place");
            for length in [0, 1, 3] {
                evaluate_small(&program, length);
            }
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0 && !errors.to_string().is_empty());
            for error in errors.iter() {
                if let Some(span) = error.span {
                    let (start, end) = errors.lines(span);
                    assert!(start <= end, "{errors}");
                }
            }
        }
    }
    if let Ok(tokens) = text.parse::<proc_macro2::TokenStream>()
        && let Err(errors) = compile_tokens(tokens.clone(), &Settings::default())
    {
        assert_eq!(errors.locate(&tokens).len(), errors.iter().count());
    }
}

/// Evaluates a program whose run-time axes all have one length, if that is little work.
fn evaluate_small(program: &Program, length: i64) {
    let extents: Vec<Option<i64>> = program.axes.iter().map(|axis| extent(program, &axis.extent, length)).collect();
    let points = extents.iter().try_fold(1i64, |product, extent| product.checked_mul((*extent)?.max(1)));
    if program.exprs.len() > MAX_EXPRESSIONS || points.is_none_or(|points| points > MAX_POINTS) {
        return;
    }
    let mut inputs = Inputs::new();
    for axis in program.runtime_axes() {
        inputs = inputs.length(&axis.name, length as usize);
    }
    for (_, tensor) in program.params() {
        let size: i64 = tensor.axes.iter().map(|axis| extents[axis.0 as usize].unwrap_or(0)).product();
        let numbers = (0..size).map(|n| n % 5 - 1);
        inputs = match tensor.dtype {
            Some(DType::I32) => inputs.integers(&tensor.name, numbers.collect()),
            _ => inputs.real(&tensor.name, numbers.map(|n| n as f64 * 0.75).collect()),
        };
    }
    // Indices that are read from data may lie outside; that is an error, and the only one.
    match evaluate(program, &inputs) {
        Ok(_) | Err(nsa_dsl::EvalError::OutOfRange { .. }) => {}
        Err(error) => panic!("{error}\nof\n{program}"),
    }
}

/// The number of values of an axis if all run-time axes have this length; None beyond 64 bits.
fn extent(program: &Program, extent: &Extent, length: i64) -> Option<i64> {
    fn value(program: &Program, id: ExprId, length: i64) -> Option<i64> {
        match program.expr(id) {
            Expr::Int(n) => Some(*n),
            Expr::Len(_) => Some(length),
            Expr::IntBin(op, a, b) => Some(op.apply(value(program, *a, length)?, value(program, *b, length)?)),
            _ => None,
        }
    }
    match extent {
        Extent::Const(n) => Some(*n),
        Extent::Runtime => Some(length),
        Extent::Derived(id) => value(program, *id, length).map(|n| n.max(0)),
    }
}
