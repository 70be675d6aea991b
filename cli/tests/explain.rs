//! How `nsa explain` speaks of kernels: in the words of the language, in text and in pictures alike.

use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn nsa(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nsa")).args(words).current_dir(ROOT).output().expect("started");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The plans of all ways of a program, and the text of its picture.
fn kernels(program: &str) -> (String, String) {
    let picture = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(program.replace('/', "_") + ".svg");
    let text = nsa(&["explain", program, "--svg", picture.to_str().expect("text")]);
    let plans = text.split("## The plan").skip(1).map(|part| part.split("\n# ").next().unwrap_or(""));
    let plans = plans.flat_map(|plan| plan.lines().skip_while(|line| !line.starts_with("plan "))).collect::<Vec<_>>();
    let svg = std::fs::read_to_string(&picture).expect("written");
    let svg = svg.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    (plans.join("\n"), svg)
}

#[test]
fn kernels_are_said_in_the_language() {
    let says = [
        ("examples/nsa.nsa", "kc = mean[j] k[i * 16 + j, g, d]"),
        ("examples/nsa.nsa", "axis i = (len(s) - 32) / 16 + 1"),
        ("examples/nsa.nsa", "lse = merge[chunk](oc_part0_max + log(oc_part0_sum2) by oc_part0_max)"),
        ("examples/nsa.nsa", "inverse = (1 / sum2, or 0 where sum2 is 0)"),
        ("examples/nsa.nsa", "sum2 += sum[i] dot"),
        ("examples/nsa.nsa", "no masks from max(0, pos(last(t)) - 511) to min(len(s), pos(t) + 1)"),
        ("examples/moba.nsa", "where j <= len(s) - b * 512 - 1"),
        ("examples/moba.nsa", "o = merge[chunk](o_part0_sum1 / o_part0_sum2 by o_part0_max)"),
        ("examples/moba.nsa", "bound1 = ceil_div(len(s), 2048) * 64"),
        ("examples/moba.nsa", "for s, 64 at a time, in the blocks of 512 that chosen lists"),
        ("examples/dsa.nsa", "for s, 64 at a time, of those that best lists"),
        ("examples/prefix_mask.nsa", "max(prefix - 1, pos(t))"),
        ("examples/prefix_mask.nsa", "max[t..last(t)] prefix[t]"),
    ];
    let terms = ["fold(", "norm(", "snd(", "pair(", "select(", "imin(", "imax(", "ratio(", "all(", "upto(", "+ -", "%"];
    let mut programs: Vec<&str> = says.iter().map(|(program, _)| *program).collect();
    programs.dedup();
    for program in programs {
        let (plans, svg) = kernels(program);
        for term in terms {
            assert!(!plans.contains(term), "{program}: {term} in {plans}");
            assert!(!svg.contains(term) || term == "%", "{program}: {term} in the picture");
        }
        for (_, part) in says.iter().filter(|(of, _)| *of == program) {
            assert!(plans.contains(part), "{program}: {part} in {plans}");
        }
    }
    let (_, svg) = kernels("examples/moba.nsa");
    assert!(svg.contains("centre = mean[j]") && svg.contains("where j <= len(s) - b *"), "{svg}");
}

/// What a bound is made of is said once.
#[test]
fn long_bounds_have_names() {
    let (plans, _) = kernels("examples/nsa.nsa");
    let kernel = plans.split("kernel ").find(|kernel| kernel.starts_with("oc_part0")).expect("a kernel");
    assert_eq!(kernel.matches("ceil_div(len(i), 2048)").count(), 1, "{kernel}");
    assert!(kernel.lines().all(|line| line.len() < 160), "{kernel}");
    // Where masks are needed at the ends only, their bounds are not said again.
    assert!(!kernel.contains("no masks"), "{kernel}");
}

/// All laws are listed where none is near, in lines that a terminal has room for.
#[test]
fn unknown_laws_are_answered_in_lines() {
    let words = ["explain", "examples/window.nsa", "--without", "gravity"];
    let output = Command::new(env!("CARGO_BIN_EXE_nsa")).args(words).current_dir(ROOT).output().expect("started");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && text.contains("there is no law `gravity`"), "{text}");
    let laws = nsa_codegen::term::rules::general();
    assert!(laws.iter().all(|law| text.contains(law.name)) && text.lines().count() > 5, "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
}
