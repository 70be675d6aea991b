//! Every example compiled for every target, once for all tests, and the snapshots of it.

use nsa_artifact::Target;
use nsa_codegen::emit::nvptx::{self, PtxCode};
use nsa_codegen::plan::Plan;
use nsa_codegen::{Options, lower};
use nsa_dsl::{Settings, compile_source};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One way to run an example on a target.
pub struct Way {
    /// Example, target, variant, separated by hyphens.
    pub name: String,
    /// The chosen terms, printed.
    pub terms: String,
    pub plan: Plan,
    /// PTX, for a GPU.
    pub code: Option<(nvptx::Target, PtxCode)>,
}

/// All ways of all examples, by name.
pub static WAYS: LazyLock<Vec<Way>> = LazyLock::new(|| {
    let files = files();
    let half = files.len().div_ceil(2);
    let mut ways: Vec<Way> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            files.chunks(half).map(|part| scope.spawn(|| part.iter().flat_map(|f| at_default_sizes(f)))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("examples compile").collect::<Vec<_>>()).collect()
    });
    ways.sort_by(|a, b| a.name.cmp(&b.name));
    ways
});

fn files() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")).expect("the examples");
    let paths = folder.map(|entry| entry.expect("an example").path());
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "nsa")).collect();
    assert!(files.len() > 3, "{files:?}");
    files
}

fn at_default_sizes(file: &Path) -> Vec<Way> {
    ways(file, &Settings::default(), &Target::ALL)
}

/// All ways of one example at some sizes on these targets.
pub fn ways(file: &Path, settings: &Settings, targets: &[Target]) -> Vec<Way> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    let source = std::fs::read_to_string(file).expect("readable");
    let program = compile_source(stem, &source, settings).unwrap_or_else(|e| panic!("{e}"));
    let mut ways = vec![];
    for &target in targets {
        let lowered = lower(&program, target, &Options::default()).unwrap_or_else(|e| panic!("{stem} {target}: {e}"));
        let gpu = nvptx::Target::of(target);
        for variant in lowered.variants {
            let name = format!("{stem}-{target}-{}", variant.label.replace(' ', "-"));
            let emit = |gpu| (gpu, nvptx::emit(&variant.plan, gpu).unwrap_or_else(|e| panic!("{name}: {e}")));
            let code = gpu.map(emit);
            ways.push(Way { name, terms: variant.candidate.terms.to_string(), plan: variant.plan, code });
        }
    }
    ways
}

/// Compares a text with the file of that name in the repository's snapshots.
pub fn snapshot(folder: &str, name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => format!("../../../snapshots/{folder}"), prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn terms() {
    for way in WAYS.iter() {
        snapshot("term", &way.name, &way.terms);
    }
}

#[test]
fn plans() {
    for way in WAYS.iter() {
        snapshot("plan", &way.name, &way.plan.to_string());
    }
}

#[test]
fn ptx() {
    for way in WAYS.iter() {
        if let Some((_, code)) = &way.code {
            snapshot("ptx", &way.name, &code.text);
        }
    }
}
