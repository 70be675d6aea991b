//! `nsa check`: reads a program and says what it is.

use crate::failure::{Failure, print};
use crate::program::Source;
use nsa_dsl::program::{Extent, Program, TensorId};
use nsa_dsl::{Diagnostics, LineColumn, SourceId, Span};
use serde_json::{Value, json};

/// Check a program: report its errors, or what its axes and constants are.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Errors and what the program is as one JSON object, for editors.
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = arguments.source.load()?;
    if arguments.json {
        return print(&format!("{}\n", json!({"diagnostics": [], "program": described(&chosen.program)})));
    }
    print(&summary(&chosen.program))
}

/// A parameter or result as written: `q: bf16[t, d]`.
fn tensor(program: &Program, id: TensorId) -> String {
    let tensor = program.tensor(id);
    let axes: Vec<&str> = tensor.axes.iter().map(|axis| program.axis(*axis).name.as_str()).collect();
    format!("{}: {}[{}]", tensor.name, tensor.dtype.map_or("", |dtype| dtype.name()), axes.join(", "))
}

fn summary(program: &Program) -> String {
    let mut text = format!("{}: no errors\n", program.name);
    for (id, _) in program.params() {
        text += &format!("  argument {}\n", tensor(program, id));
    }
    for id in &program.results {
        text += &format!("  result   {}\n", tensor(program, *id));
    }
    for axis in &program.axes {
        match axis.extent {
            Extent::Const(n) => text += &format!("  axis {} = {n}\n", axis.name),
            Extent::Runtime => text += &format!("  axis {}, given at run time\n", axis.name),
            Extent::Derived(e) => text += &format!("  axis {} = {}\n", axis.name, program.expr_text(e)),
        }
    }
    for (name, value) in &program.constants {
        text += &format!("  constant {name} = {value}\n");
    }
    text
}

/// What a program is, as data: signature, axes, constants.
fn described(program: &Program) -> Value {
    let tensors = |ids: Vec<TensorId>| -> Vec<Value> {
        let tensors = ids.into_iter().map(|id| program.tensor(id));
        tensors
            .map(|tensor| {
                let axes: Vec<&str> = tensor.axes.iter().map(|axis| program.axis(*axis).name.as_str()).collect();
                json!({"name": tensor.name, "type": tensor.dtype.map(|dtype| dtype.name()), "axes": axes})
            })
            .collect()
    };
    let axes: Vec<Value> = program
        .axes
        .iter()
        .map(|axis| match axis.extent {
            Extent::Const(n) => json!({"name": axis.name, "extent": n}),
            Extent::Runtime => json!({"name": axis.name, "extent": null}),
            Extent::Derived(extent) => json!({"name": axis.name, "extent": program.expr_text(extent)}),
        })
        .collect();
    let constants: serde_json::Map<String, Value> =
        program.constants.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "name": program.name,
        "arguments": tensors(program.params().map(|(id, _)| id).collect()),
        "results": tensors(program.results.clone()),
        "axes": axes,
        "constants": constants,
    })
}

/// Every error with its places. Lines and columns count from 1, columns in characters; `utf16` is the column in UTF-16 units,
/// from 0, as the language server protocol counts; `offset` the byte in the file, from 0. An end is the place after the last
/// character. `suggestion` is what to write at the error's place instead, where one name is near.
pub fn diagnostics(errors: &Diagnostics) -> Vec<Value> {
    let place = |span: Option<Span>| match span {
        None => Value::Null,
        Some(span) => {
            let (start, end) = errors.lines(span);
            let position = |at: LineColumn, offset: u32| json!({"line": at.line, "column": at.column, "utf16": at.utf16, "offset": offset});
            json!({
                "file": errors.file_name(span.source),
                "library": span.source != SourceId::USER,
                "start": position(start, span.start),
                "end": position(end, span.end),
            })
        }
    };
    let one = |error: &nsa_dsl::Diagnostic| {
        let notes = error.notes.iter().map(|note| json!({"message": note.message, "place": place(note.span)}));
        json!({
            "severity": "error",
            "message": error.message,
            "label": error.label,
            "place": place(error.span),
            "notes": notes.collect::<Vec<_>>(),
            "help": error.help,
            "suggestion": error.suggestion,
        })
    };
    errors.iter().map(one).collect()
}
