use nsa_codegen::{
    machine::Machine,
    plan::{Tiling, plan, verify},
    term::{self, translate},
};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let program = nsa_dsl::compile_source(&args[1], &text, &Default::default()).unwrap_or_else(|e| panic!("{e}"));
    let m = Machine::named(&args[2]).unwrap();
    let t1 = std::time::Instant::now();
    let terms = translate(&program);
    let mut o = nsa_codegen::term::Options { candidates: 12, ..Default::default() };
    for a in &args[3..] {
        if let Some((k, v)) = a.split_once('=') {
            o.sizes.insert(k.into(), v.parse().unwrap());
        } else {
            o.without.push(a.clone());
        }
    }
    let opt = term::optimise(&terms, &program, m, &o).unwrap();
    let t2 = std::time::Instant::now();
    println!("{opt}");
    println!("{:?}", t2 - t1);
    let tiling = if m.is_gpu() { Tiling::gpu() } else { Tiling::host() };
    let p = opt
        .candidates
        .iter()
        .map(|c| plan(&c.terms, &program, &tiling).unwrap())
        .min_by_key(|p| p.untiled.len())
        .unwrap();
    println!("{:?}", p.untiled);
    let p = p.plan;
    println!("{p}");
    println!("{:?}", verify(&p));
}
