//! Compiling at run time: cold, warm, from a damaged cache, by several processes at once.

use nsa::jit::{Cache, Settings};
use nsa::{Device, Kernel, Shape, Stream, View};
use std::path::Path;
use std::process::{Command, Stdio};

const SOURCE: &str = "
    const FACTOR = 2.0;
    kernel scaled_sum(x: f32[t, d = 4], y: f32[t, d]) -> z: f32[t, d] { FACTOR * x + y }
";

fn settings(cache: &Path) -> Settings {
    Settings::default().cache(Cache::at(cache))
}

/// `factor * x + y` over three rows, by the program.
fn right(kernel: &Kernel, factor: f32) -> bool {
    let x: Vec<f32> = (0..12).map(|n| n as f32).collect();
    let y = vec![1f32; 12];
    let mut z = vec![f32::NAN; 12];
    let mut plan = kernel.plan(&Shape::new().with("t", 3)).expect("fits");
    let (a, b, c) = (View::host(&x, &[3, 4]), View::host(&y, &[3, 4]), View::host_mut(&mut z, &[3, 4]));
    plan.launch(Stream::Host, &[("x", &a), ("y", &b), ("z", &c)]).expect("runs");
    drop(c);
    z.iter().zip(&x).all(|(z, x)| *z == factor * x + 1.0)
}

fn entries(cache: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(cache).map_or(vec![], |files| files.map(|f| f.expect("listed").path()).collect())
}

#[test]
fn constants_and_types_make_programs_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let compile = |settings: &Settings| Kernel::compile(SOURCE, settings, &Device::host()).expect("compiles");
    assert!(right(&compile(&settings(folder.path())), 2.0));
    assert_eq!(entries(folder.path()).len(), 1);
    assert!(right(&compile(&settings(folder.path()).set("FACTOR", 0.5)), 0.5));
    assert_eq!(entries(folder.path()).len(), 2);
    // Again, now from the cache.
    assert!(right(&compile(&settings(folder.path())), 2.0));
    assert!(right(&compile(&settings(folder.path()).set("FACTOR", 0.5)), 0.5));
    assert_eq!(entries(folder.path()).len(), 2);
    // Without a cache.
    assert!(right(&compile(&Settings::default().cache(Cache::none())), 2.0));
}

/// The second time nothing is written.
#[test]
fn a_warm_start_compiles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    Kernel::compile(SOURCE, &settings, &Device::host()).expect("compiles");
    let [entry] = &entries(folder.path())[..] else { panic!("one entry") };
    let before = std::fs::read(entry).expect("readable");
    let written = std::fs::metadata(entry).expect("there").created().ok();
    let kernel = Kernel::compile(SOURCE, &settings, &Device::host()).expect("loads");
    assert!(right(&kernel, 2.0));
    assert_eq!(std::fs::read(entry).expect("readable"), before);
    // Compiling would have put a new file in its place.
    assert_eq!(std::fs::metadata(entry).expect("there").created().ok(), written);
}

#[test]
fn damaged_entries_are_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let compile = || Kernel::compile(SOURCE, &settings, &Device::host()).expect("compiles");
    compile();
    let [entry] = &entries(folder.path())[..] else { panic!("one entry") };
    let whole = std::fs::read(entry).expect("readable");
    for damaged in [&b""[..], &whole[..whole.len() - 1], &[&whole[..100], &[0; 100], &whole[200..]].concat()] {
        std::fs::write(entry, damaged).expect("writable");
        assert!(right(&compile(), 2.0));
        assert_eq!(std::fs::read(entry).expect("readable").len(), whole.len(), "the entry is mended");
    }
    // A well-formed entry whose machine code is none.
    let artifact = nsa::Artifact::from_bytes(&whole).expect("an artifact");
    let payloads = artifact.payloads().map(|(name, content)| {
        let content = if name == "cache key" { content.to_vec() } else { b"nonsense".to_vec() };
        (name.to_string(), content)
    });
    let broken = nsa::Artifact::new(artifact.manifest().clone(), payloads).expect("consistent");
    std::fs::write(entry, broken.to_bytes()).expect("writable");
    assert!(right(&compile(), 2.0));
    assert_eq!(std::fs::read(entry).expect("readable").len(), whole.len(), "the entry is mended");
}

/// Folders that cannot be written to, or cannot be at all.
#[test]
fn a_cache_that_cannot_be_used_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a file");
    std::fs::write(&file, "").expect("writable");
    // `/proc` takes no files, from root neither.
    for cache in [file.join("below"), file.clone(), "/proc/nsa".into(), "/dev/null/nsa".into()] {
        assert!(
            right(&Kernel::compile(SOURCE, &settings(&cache), &Device::host()).expect("compiles"), 2.0),
            "{cache:?}"
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let full = folder.path().join("read only");
        let compile = || Kernel::compile(SOURCE, &settings(&full), &Device::host()).expect("compiles");
        compile();
        let mode = |mode| std::fs::set_permissions(&full, std::fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o500);
        let kernel = compile();
        let other = Kernel::compile(SOURCE, &settings(&full).set("FACTOR", 3.0), &Device::host()).expect("compiles");
        mode(0o700);
        assert!(right(&kernel, 2.0) && right(&other, 3.0));
    }
}

/// The variable under which this test starts itself again.
const CHILD: &str = "NSA_TEST_JIT_FOLDER";

#[test]
fn several_processes_at_once() {
    if let Some(folder) = std::env::var_os(CHILD) {
        for factor in [1.0, 2.0] {
            let settings = settings(Path::new(&folder)).set("FACTOR", factor);
            let kernel = Kernel::compile(SOURCE, &settings, &Device::host()).expect("compiles");
            assert!(right(&kernel, factor as f32));
        }
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let this = std::env::current_exe().expect("this test");
    let start = || {
        let mut command = Command::new(&this);
        command.args(["--exact", "several_processes_at_once"]).env(CHILD, folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let left = entries(folder.path());
    assert_eq!(left.len(), 2, "two programs, no unfinished files: {left:?}");
}

/// Errors quote the source by the name that it was given.
#[test]
fn errors_are_sentences() {
    let settings = Settings::default().cache(Cache::none()).named("mine.nsa");
    let reason = |source: &str| Kernel::compile(source, &settings, &Device::host()).expect_err("wrong").to_string();
    let text = reason("kernel f(x: f32[t]) -> y: f32[t] {\n    x + zz\n}");
    for part in ["there is no tensor, axis or constant `zz` here", "mine.nsa:2:9", "x + zz", "^^"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let unknown = Kernel::compile(SOURCE, &settings.clone().set("NOTHING", 3), &Device::host());
    let text = unknown.expect_err("no such constant").to_string();
    assert!(text.contains("NOTHING"), "{text}");
}

/// A device that is only described has text, from the cache as well.
#[test]
fn code_for_other_devices() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let device = Device::described(nsa::Target::Sm80);
        let kernel = Kernel::compile(SOURCE, &settings(folder.path()), &device).expect("compiles");
        assert_eq!(kernel.target(), nsa::Target::Sm80);
        kernel.plan(&Shape::new().with("t", 3)).expect("fits");
    }
    assert_eq!(entries(folder.path()).len(), 1);
}

/// On a machine without a GPU this says so and does nothing.
#[test]
fn on_a_gpu() {
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(e) => return println!("skipped: {e}"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let stream = device.context().expect("a GPU").new_stream().expect("a stream");
    let x: Vec<f32> = (0..12).map(|n| n as f32).collect();
    // Cold, then warm.
    for _ in 0..2 {
        let kernel = Kernel::compile(SOURCE, &settings(folder.path()), &device).expect("compiles");
        let (a, b) = (stream.clone_htod(&x).expect("copied"), stream.clone_htod(&[1f32; 12]).expect("copied"));
        let mut z = stream.alloc_zeros::<f32>(12).expect("memory");
        let mut plan = kernel.plan(&Shape::new().with("t", 3)).expect("fits");
        let [a, b] = [&a, &b].map(|x| View::cuda(x, &[3, 4], &stream));
        plan.launch(&stream, &[("x", &a), ("y", &b), ("z", &View::cuda_mut(&mut z, &[3, 4], &stream))]).expect("runs");
        let z = stream.clone_dtoh(&z).expect("copied");
        assert!(z.iter().zip(&x).all(|(z, x)| *z == 2.0 * x + 1.0), "{z:?}");
        assert_eq!(entries(folder.path()).len(), 1);
    }
}
