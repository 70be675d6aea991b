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
use nsa_measure::{Demand, Memory};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
    pub json: bool,
}

/// The programs, and what people call them.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("Native Sparse Attention", "nsa.nsa", include_str!("../../programs/nsa.nsa")),
    ("full attention", "full_attention.nsa", include_str!("../../programs/full_attention.nsa")),
];

/// Most bytes in the picture, whose reference is evaluated in double precision on the host: seconds.
const DRAWN: usize = 4096;

/// Launches that take longer are not repeated.
const LONG: Duration = Duration::from_secs(1);

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
    if arguments.bytes < 2 {
        return Err(format!("--bytes {}: two bytes are the least in which one follows another", arguments.bytes).into());
    }
    let (text, origin) = text(arguments.text.as_deref(), arguments.bytes)?;
    if text.len() < 2 {
        return Err(format!("{origin}: the text needs two bytes at least").into());
    }
    if !arguments.json {
        print(&format!("{} bytes of {origin}, {HEADS} heads of {WIDTH}, on {device}\n\n", text.len()))?;
    }
    // The numbers, what is made of them, and the copies that are launched on.
    let mut demand = Demand::default();
    let bytes = size_of::<f64>() + 4 * DType::Bf16.bytes();
    demand.tensor("the embedded text: bf16", &[text.len(), HEADS + 2, WIDTH], bytes);
    demand.check()?;
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
        "\nThe sparse program {} and {}.\n",
        speed(sparse.seconds, full.seconds),
        keys(sparse.keys, full.keys)
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
    let mut launch = || -> Result<Duration, Failure> {
        let start = Instant::now();
        memory.launch(&mut plan, kernels.clone())?;
        memory.wait()?;
        Ok(start.elapsed())
    };
    // The first launch loads code, and wakes threads and clocks. In one of seconds that does not count.
    let first = launch()?;
    let seconds = if first < LONG { launch()? } else { first }.as_secs_f64();
    let results = memory.results(&plan)?;
    let output = results.get("o").ok_or("the program has no result `o`".to_string())?;
    let keys = Sparsity::of(&program.constants).map_or_else(|| full_keys(length), |s| s.average(length));
    Ok(Row { name, accuracy: accuracy(text, output), seconds, compile_seconds: loaded.seconds, keys })
}

/// How the sparse program's time compares with the other's.
fn speed(sparse: f64, full: f64) -> String {
    match full / sparse {
        ratio if ratio >= 1.05 => format!("is {ratio:.1} times as fast"),
        ratio if ratio > 0.95 => "is about as fast".to_string(),
        ratio => format!("takes {:.1} times as long", ratio.recip()),
    }
}

/// How many keys it reads of those that full attention reads.
fn keys(sparse: f64, full: f64) -> String {
    match full / sparse {
        ratio if ratio >= 1.0 => format!("reads one key for every {ratio:.1} that full attention reads"),
        ratio => format!("reads {:.1} keys for every one that full attention reads", ratio.recip()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_in_words() {
        assert_eq!(speed(1.0, 3.24), "is 3.2 times as fast");
        assert_eq!(speed(1.0, 1.01), "is about as fast");
        assert_eq!(speed(2.0, 1.0), "takes 2.0 times as long");
        assert_eq!(keys(100.0, 190.0), "reads one key for every 1.9 that full attention reads");
        assert_eq!(keys(150.0, 100.0), "reads 1.5 keys for every one that full attention reads");
    }
}
