//! `nsa demo`: sparse and full attention predict the next byte of a real text.

use crate::demo::{Embedded, HEADS, Sparsity, WIDTH, accuracy, embed, full_keys, text};
use crate::failure::{Failure, print};
use crate::loading::load_with;
use crate::sparsity::{figure, lengths, patterns, random};
use crate::text::seconds;
use nsa::{DType, Device, Shape};
use nsa_artifact::Target;
use nsa_codegen::Options;
use nsa_dsl::Settings;
use nsa_measure::Memory;
use std::path::PathBuf;
use std::time::Instant;

/// Compile Native Sparse Attention and full attention, and let both predict the next byte of a text.
///
/// Attention over a text answers "what followed the last time these bytes were seen". The demonstration prints how often that is right,
/// how long it takes, and how many keys are read.
#[derive(clap::Args)]
pub struct Arguments {
    /// The text; by default this repository's documents and sources.
    text: Option<PathBuf>,
    /// How many bytes of it.
    #[arg(long, default_value_t = 65536)]
    bytes: usize,
    /// Where: host, cuda:0, ...; by default the first GPU, or the host if there is none.
    #[arg(long)]
    device: Option<String>,
    /// Where to draw which bytes Native Sparse Attention sees of the text's beginning: a file that ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// The programs, and what people call them.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("Native Sparse Attention", "nsa.nsa", include_str!("../../programs/nsa.nsa")),
    ("full attention", "full_attention.nsa", include_str!("../../programs/full_attention.nsa")),
];

/// Most bytes in the picture, whose reference is evaluated in double precision on the host: seconds.
const DRAWN: usize = 4096;

/// How one program did.
struct Row {
    name: &'static str,
    accuracy: f64,
    seconds: f64,
    compile_seconds: f64,
    keys: f64,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let device: Device = match &arguments.device {
        Some(name) => name.parse()?,
        None => Device::cuda(0).unwrap_or_else(|_| Device::host()),
    };
    let (text, origin) = text(arguments.text.as_deref(), arguments.bytes)?;
    if text.len() < 2 {
        return Err("the text needs two bytes at least".to_string().into());
    }
    if !arguments.json {
        print(&format!("{} bytes of {origin}, {HEADS} heads of {WIDTH}, on {device}\n\n", text.len()))?;
    }
    let embedded = embed(&text, DType::Bf16);
    let mut rows = Vec::new();
    for (name, file, source) in PROGRAMS {
        let row = measure(name, file, source, &text, &embedded, &device)?;
        if !arguments.json {
            print(&line(&row))?;
        }
        rows.push(row);
    }
    if let Some(path) = &arguments.draw {
        draw(path, &text[..text.len().min(DRAWN)], &origin)?;
    }
    if arguments.json {
        return print(&json(&rows, &text, &origin, &device));
    }
    let (sparse, full) = (&rows[0], &rows[1]);
    print(&format!(
        "\nThe sparse program is {:.1} times as fast and reads {:.1} times fewer keys.\n",
        full.seconds / sparse.seconds,
        full.keys / sparse.keys
    ))?;
    match &arguments.draw {
        Some(path) => print(&format!("{} shows what it sees.\n", path.display())),
        None => Ok(()),
    }
}

/// A program with the heads of the demonstration.
fn compiled(file: &str, source: &str) -> Result<nsa_dsl::Program, Failure> {
    let width = WIDTH as i64;
    let settings = Settings::default().set("g", 1).set("r", HEADS as i64).set("d", width).set("e", width);
    Ok(nsa_dsl::compile_source(file, source, &settings)?)
}

/// Draws which bytes of a text Native Sparse Attention sees from each.
fn draw(path: &std::path::Path, text: &[u8], origin: &str) -> Result<(), Failure> {
    let (name, file, source) = PROGRAMS[0];
    let program = compiled(file, source)?;
    let lengths = lengths(&program, &[("t".to_string(), text.len())].into());
    let inputs = random(&program, &lengths, 0, embed(text, DType::Bf16).tensors)?;
    let about = format!("the first {} bytes of {origin}", text.len());
    figure(name, &about, &patterns(&program, &inputs, &[])?).write(path)
}

fn measure(
    name: &'static str,
    file: &str,
    source: &str,
    text: &[u8],
    embedded: &Embedded,
    device: &Device,
) -> Result<Row, Failure> {
    let program = compiled(file, source)?;
    let targets = match device.is_cuda() {
        true => vec![Target::Sm80, Target::Sm90a],
        false => Target::this_host().into_iter().collect(),
    };
    let length = text.len();
    let sizes = [("t".to_string(), length as i64), ("s".to_string(), length as i64)].into();
    let loaded = load_with(&program, &Options { targets, sizes, ..Options::default() }, device)?;
    let mut plan = loaded.kernel.plan(&Shape::new().with("t", length).with("s", length))?;
    let mut inputs = embedded.tensors.clone();
    inputs.retain(|name, _| plan.parameter(name).is_some());
    let mut memory = Memory::new(&plan, device, &inputs)?;
    let kernels = 0..plan.variant().kernels.len();
    let start = Instant::now();
    memory.launch(&mut plan, kernels)?;
    memory.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    let results = memory.results(&plan)?;
    let output = results.get("o").ok_or("the program has no result `o`".to_string())?;
    let keys = Sparsity::of(&program.constants).map_or_else(|| full_keys(length), |s| s.average(length));
    Ok(Row { name, accuracy: accuracy(text, output), seconds, compile_seconds: loaded.seconds, keys })
}

fn line(row: &Row) -> String {
    format!(
        "{:24} next byte right {:.1}%   {:>9}   {:>8.0} keys per query   (compiled in {})\n",
        row.name,
        100.0 * row.accuracy,
        seconds(row.seconds),
        row.keys,
        seconds(row.compile_seconds)
    )
}

fn json(rows: &[Row], text: &[u8], origin: &str, device: &Device) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|r| {
            serde_json::json!({
                "program": r.name, "accuracy": r.accuracy, "seconds": r.seconds, "keys_per_query": r.keys,
                "compile_seconds": r.compile_seconds,
            })
        })
        .collect();
    let value = serde_json::json!({
        "text": origin, "bytes": text.len(), "heads": HEADS, "width": WIDTH, "device": device.to_string(), "programs": rows,
    });
    format!("{value}\n")
}
