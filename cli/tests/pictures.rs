//! What `nsa draw` draws, and what of it can be counted.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn nsa(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nsa"))
        .env("NSA_PTXAS", "")
        .args(words)
        .current_dir(ROOT)
        .output()
        .expect("started")
}

fn stdout(words: &[&str]) -> String {
    let output = nsa(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What a program's branches are, as data.
fn branches(words: &[&str]) -> Vec<Value> {
    let text = stdout(&[&["draw"], words, &["--json"]].concat());
    let value: Value = serde_json::from_str(&text).expect("one object");
    value["branches"].as_array().expect("a list").clone()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The pairs of a causal window, counted by a formula: full rows after a triangle.
#[test]
fn a_window_has_as_many_pairs_as_the_formula_says() {
    let small = ["examples/window.nsa", "--set", "g=1", "r=1", "d=4", "e=4"];
    for (length, window) in [(100usize, 17usize), (64, 64), (33, 50), (1, 1)] {
        let (t, w) = (format!("t={length}"), format!("WINDOW={window}"));
        let branches = branches(&[&small[..], &[&t, &w]].concat());
        let w = window.min(length);
        let pairs = w * (w + 1) / 2 + (length - w) * w;
        assert_eq!(branches.len(), 1);
        assert_eq!(branches[0]["computed"], pairs, "{length} {window}");
        assert_eq!(branches[0]["queries"], length);
        let share = pairs as f64 / (length * length) as f64;
        assert!((branches[0]["computed_share"].as_f64().expect("a number") - share).abs() < 1e-12);
    }
    // Queries stand at the end of the keys.
    let branches = branches(&[&small[..], &["t=10", "s=100", "WINDOW=30"]].concat());
    assert_eq!((&branches[0]["computed"], &branches[0]["length"]), (&300.into(), &100.into()));
}

/// Every picture's pixels, where a cell is a pair: a PNG of a causal program has as many blue pixels as pairs, times those
/// of a cell.
#[test]
fn pixels_are_pairs() {
    let path = file("causal.png");
    let name = path.to_str().expect("text");
    stdout(&["draw", "examples/full_attention.nsa", "--set", "g=1", "r=1", "d=4", "e=4", "t=70", "-o", name]);
    let picture = tiny_skia::Pixmap::load_png(&path).expect("a picture");
    let count = |red, green, blue| {
        picture.pixels().iter().filter(|p| (p.red(), p.green(), p.blue()) == (red, green, blue)).count()
    };
    // 280 pixels of an edge for 70 keys, at twice the resolution: 8 x 8 pixels per pair. The legend has a swatch of each
    // colour, 28 pixels wide with round corners.
    let swatch = 28 * 28;
    let (computed, skipped) = (count(57, 112, 184), count(238, 240, 244));
    for (pixels, pairs) in [(computed, 70 * 71 / 2), (skipped, 70 * 69 / 2)] {
        let over = pixels.checked_sub(pairs * 64).expect("as many pixels as pairs");
        assert!(over > swatch / 2 && over <= swatch, "{pixels} pixels for {pairs} pairs");
    }
}

/// Nested compression: the keys of NSA's compressed branch stand for blocks, in both of its variants.
#[test]
fn compressed_keys_stand_for_the_keys_they_are_made_of() {
    for program in ["examples/nsa.nsa", "examples/nsa_mlp.nsa"] {
        let branches = branches(&[program, "--set", "g=1", "r=2", "d=16", "e=16", "t=100"]);
        let names: Vec<_> = branches.iter().map(|b| b["name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["oc", "os", "ow"]);
        let compressed = &branches[0];
        assert_eq!(compressed["axis"], "i");
        assert!(compressed["keys"].as_str().expect("a name").starts_with('s'));
        // Blocks of 32 keys every 16: five in 100 keys. Query t sees block i once its last key is there.
        let blocks = |t: usize| (0..5).filter(|i| i * 16 + 31 <= t).count();
        let scores: usize = (0..100).map(blocks).sum();
        let keys: usize = (0..100).map(blocks).filter(|n| *n > 0).map(|n| (n - 1) * 16 + 32).sum();
        assert_eq!(compressed["computed"], scores);
        let seen = compressed["seen_share"].as_f64().expect("a number");
        assert!((seen - keys as f64 / 1e4).abs() < 1e-12, "{seen}");
        assert_eq!(branches[1]["lists"], serde_json::json!(["chosen"]));
        assert_eq!(branches[1]["chosen_share"], branches[1]["seen_share"]);
    }
}

#[test]
fn every_example_is_drawn() {
    let examples = std::fs::read_dir(Path::new(ROOT).join("examples")).expect("examples");
    let mut count = 0;
    for path in examples.map(|entry| entry.expect("an entry").path()) {
        if path.extension().is_none_or(|ending| ending != "nsa") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_str().expect("text").to_string();
        let out = file(&format!("{name}.svg"));
        // Not every example's keys are along `s`.
        let sizes = if name == "paged" { "page=64" } else { "s=64" };
        let text = stdout(&["draw", path.to_str().expect("text"), "--set", sizes, "-o", out.to_str().expect("text")]);
        assert!(text.contains("of the pairs computed"), "{name}: {text}");
        let svg = std::fs::read_to_string(&out).expect("a picture");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        assert!(svg.contains("crispEdges"), "{name} has no cells");
        count += 1;
    }
    assert!(count >= 20, "{count} examples");
}

#[test]
fn many_pairs_share_cells() {
    let path = file("long.svg");
    let name = path.to_str().expect("text");
    let small = ["g=1", "r=1", "d=4", "e=4"];
    stdout(&[&["draw", "examples/window.nsa", "-o", name, "--set", "t=4096"], &small[..]].concat());
    let svg = std::fs::read_to_string(&path).expect("a picture");
    assert!(svg.len() < 30_000, "{} bytes", svg.len());
}

#[test]
fn a_small_picture() {
    let path = file("small.svg");
    let name = path.to_str().expect("text");
    let settings = ["g=1", "r=2", "d=8", "e=8", "L=4", "STRIDE=2", "BLOCK=4", "N=3", "LOCAL=1", "WINDOW=6", "t=24"];
    stdout(&[&["draw", "examples/nsa.nsa", "-o", name, "--set"], &settings[..]].concat());
    let svg = std::fs::read_to_string(&path).expect("a picture");
    insta::with_settings!({ snapshot_path => "../../snapshots/draw", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("nsa-24", svg);
    });
}

/// Programs that are written in other ways are found as well: by structure, not by names.
#[test]
fn branches_are_found_by_structure() {
    let path = file("structure.nsa");
    let name = path.to_str().expect("text");
    let draw = |text: &str| {
        std::fs::write(&path, text).expect("written");
        branches(&[name, "--set", "n=20"])
    };
    // A mask written as a score of -inf, over axes with other names, two softmaxes in one expression.
    let found = draw(
        "kernel f(a[n, c = 4], b[m, c], x[m, c]) -> y[n, c] {
            let w[n, m] = if m <= pos(n) { sum[c] a * b } else { -inf };
            attend_scores(if m <= pos(n) { sum[c] a * b } else { -inf }, x) + attend(a, b, x, m % 2 == 0)
        }",
    );
    let names: Vec<_> = found.iter().map(|b| b["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["y", "y (2)"]);
    let mut pairs: Vec<_> = found.iter().map(|b| b["computed"].as_u64().expect("a count")).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [200, 210]);
    // Attention without a softmax.
    let found = draw("kernel f(a[n, c = 4], b[m, c], x[m, c]) -> y[n, c] { sum[m] score(a, b) * x where m <= pos(n) }");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["computed"], 210);
    // Nothing to draw.
    std::fs::write(&path, "kernel f(a[n, c = 4]) -> y[n] { sum[c] a }").expect("written");
    let output = nsa(&["draw", name]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("nothing to draw"), "{error}");
}

#[test]
fn heads_and_arguments_are_chosen() {
    let nsa_small = ["examples/quest.nsa", "--set", "g=2", "r=2", "d=8", "e=8", "N=3", "t=128"];
    let text = |at: &str| stdout(&[&["draw"], &nsa_small[..], &["--at", at]].concat());
    assert!(text("g=1,r=1").contains("g = 1"), "{}", text("g=1,r=1"));
    let svg = |at: &str| {
        let path = file(&format!("quest-{at}.svg"));
        stdout(&[&["draw"], &nsa_small[..], &["--at", at, "-o", path.to_str().expect("text")]].concat());
        std::fs::read_to_string(path)
            .expect("a picture")
            .lines()
            .filter(|l| l.contains("crispEdges"))
            .collect::<String>()
    };
    assert_ne!(svg("g=0"), svg("g=1"), "heads choose differently");
    for (words, part) in [
        (["--at", "g=2"], "`g`"),
        (["--at", "h=0"], "there is no axis `h`"),
        (["--at", "g"], "expected AXIS=VALUE"),
        (["-o", "x.pdf"], "pictures are .svg or .png"),
    ] {
        let output = nsa(&[&["draw"], &nsa_small[..], &words[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(part), "{words:?}: {error}");
    }
    // Given documents instead of random ones.
    let path = file("documents.safetensors");
    let numbers = (0..32).map(|n| f64::from(n / 8));
    let document = nsa_measure::Tensor::from_f64(nsa::DType::I32, &[32], numbers);
    nsa_measure::write_tensors(&path, &[("document".to_string(), document)].into()).expect("written");
    let given = ["--inputs", path.to_str().expect("text")];
    let words = ["examples/documents.nsa", "--set", "g=1", "r=1", "d=4", "e=4", "s=32"];
    assert_eq!(branches(&[&words[..], &given].concat())[0]["computed"], 4 * (8 * 9 / 2));
    let output = nsa(&[&["draw"], &words[..words.len() - 1], &["s=33"], &given].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("`document`") && error.contains("[32]") && error.contains("length 33"), "{error}");
}

/// Numbers along the edges of long and thin panels: none over another, and the condition is there to be read.
#[test]
fn thin_panels_have_room_for_what_is_written() {
    let attention: &[&str] = &["examples/full_attention.nsa", "--set", "g=1", "r=1", "d=4", "e=4"];
    let paged: &[&str] = &["examples/paged.nsa", "--set", "g=1", "r=1", "d=4", "e=4"];
    let shapes: [(&[&str], &[&str]); 5] = [
        (paged, &["t=256"]),
        (attention, &["t=16", "s=4096"]),
        (attention, &["t=4096", "s=16"]),
        (attention, &["t=1", "s=4096"]),
        (attention, &["t=3000", "s=700"]),
    ];
    for (number, (program, shape)) in shapes.into_iter().enumerate() {
        let path = file(&format!("thin-{number}.svg"));
        stdout(&[&["draw"], program, shape, &["-o", path.to_str().expect("text")]].concat());
        let svg = std::fs::read_to_string(&path).expect("a picture");
        // Of all numbers: where they stand and how wide they are, a digit for 6.5 pixels.
        let numbers: Vec<(f64, f64, f64)> = svg
            .lines()
            .filter(|line| line.starts_with("<text") && line.contains("font-size=\"10\""))
            .filter_map(|line| {
                let text = line.split('>').nth(1)?.split('<').next()?;
                text.parse::<u64>().ok()?;
                let attribute = |name: &str| line.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok();
                let wide = 6.5 * text.len() as f64;
                let x: f64 = attribute("x")?;
                let left = if line.contains("text-anchor=\"end\"") { x - wide } else { x - wide / 2.0 };
                Some((left, left + wide, attribute("y")?))
            })
            .collect();
        assert!(numbers.len() >= 4, "{shape:?}: {numbers:?}");
        for (at, a) in numbers.iter().enumerate() {
            for b in &numbers[at + 1..] {
                let apart = a.1 <= b.0 || b.1 <= a.0 || (a.2 - b.2).abs() >= 10.0;
                assert!(apart, "{shape:?}: {a:?} {b:?}");
            }
        }
        assert!(svg.contains("pos(t)</text>") || svg.contains("used[t]</text>"), "{shape:?}: {svg}");
    }
}
