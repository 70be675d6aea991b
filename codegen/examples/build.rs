use nsa_codegen::{Options, compile};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let mut settings = nsa_dsl::Settings::default();
    let _ = &mut settings;
    let program = nsa_dsl::compile_source(&args[1], &text, &settings).unwrap_or_else(|e| panic!("{e}"));
    let t = std::time::Instant::now();
    let mut o = Options::default();
    if args.len() > 3 {
        o.targets.retain(|t| t.name() == args[3]);
    }
    if let Ok(t) = std::env::var("TILING") {
        let mut tiling = nsa_codegen::plan::Tiling::gpu();
        for part in t.split(';') {
            let (k, v) = part.split_once('=').unwrap();
            let n: Vec<u32> = v.split(',').map(|x| x.parse().unwrap()).collect();
            let cut =
                nsa_codegen::plan::Cut { rows: n[0], columns: n[1], stages: n[2], repeat: n[3], column_warps: n[4] };
            match k {
                "many" => tiling.many = cut,
                "lists" => tiling.lists = cut,
                _ => tiling.few = cut,
            }
        }
        o.tiling = Some(tiling);
    }
    let c = compile(&program, &o).unwrap_or_else(|e| panic!("{e}"));
    println!("{:?}", t.elapsed());
    std::fs::create_dir_all(&args[2]).unwrap();
    for (n, p) in c.artifact.payloads() {
        std::fs::write(format!("{}/{n}", args[2]), p).unwrap();
    }
    std::fs::write(format!("{}/artifact.nsa", args[2]), c.artifact.to_bytes()).unwrap();
    for l in &c.lowered {
        for v in &l.variants {
            println!("{} {}: untiled {:?}", l.target, v.label, v.untiled);
        }
    }
    std::fs::write(format!("{}/manifest.json", args[2]), c.artifact.manifest_json()).unwrap();
}
