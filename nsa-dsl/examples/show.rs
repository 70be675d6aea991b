//! Prints the checked program of a file, or its errors: `cargo run -p nsa-dsl --example show FILE`.
fn main() {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: show FILE");
        std::process::exit(2);
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{path}: {error}");
            std::process::exit(1);
        }
    };
    match nsa_dsl::compile_source(&path, &text, &nsa_dsl::Settings::default()) {
        Ok(program) => print!("{program}"),
        Err(errors) => {
            eprintln!("{}", errors.render(true));
            std::process::exit(1);
        }
    }
}
