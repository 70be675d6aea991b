//! Every example program: its syntax tree printed, its checked program printed.

use nsa_dsl::{Settings, compile_source, parse};

#[test]
fn trees_and_programs() {
    insta::with_settings!({snapshot_path => "../../snapshots/program", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::glob!("../../examples", "*.nsa", |path| {
            let text = std::fs::read_to_string(path).expect("readable");
            let name = path.file_name().and_then(|name| name.to_str()).expect("a file name");
            let stem = name.trim_end_matches(".nsa");
            let tree = parse(name, &text).unwrap_or_else(|errors| panic!("{errors}"));
            let program = compile_source(name, &text, &Settings::default()).unwrap_or_else(|errors| panic!("{errors}"));
            insta::with_settings!({snapshot_suffix => ""}, {
                insta::assert_snapshot!(format!("{stem}_tree"), tree.to_string());
                insta::assert_snapshot!(format!("{stem}_program"), program.to_string());
            });

            // What is printed is the same program again.
            let again = compile_source(name, &tree.to_string(), &Settings::default()).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(again, program);
        });
    });
}

/// A macro's tokens give the same program as the text.
#[test]
fn tokens() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "nsa") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let tokens: proc_macro2::TokenStream = text.parse().expect("tokens");
            let from_text = compile_source("file", &text, &Settings::default()).expect("compiles");
            let from_tokens = nsa_dsl::compile_tokens(tokens, &Settings::default()).expect("compiles");
            assert_eq!(from_tokens, from_text, "{}", path.display());
        }
    }
}

/// Errors about tokens find the tokens.
#[test]
fn errors_in_tokens() {
    let text = "kernel a(q[t],\n  k[s]) -> o[t] {\n  q * sum[s] keyz\n}";
    let tokens: proc_macro2::TokenStream = text.parse().expect("tokens");
    let errors = nsa_dsl::compile_tokens(tokens.clone(), &Settings::default()).expect_err("an error");
    let located = errors.locate(&tokens);
    let [(message, first, last)] = located.as_slice() else { panic!("one error: {errors}") };
    assert!(message.starts_with("there is no tensor, axis or constant `keyz` here"), "{message}");
    let (start, end) = (first.start(), last.end());
    assert_eq!((start.line, start.column, end.line, end.column), (3, 13, 3, 17));

    // A place of several tokens.
    let tokens: proc_macro2::TokenStream = "kernel a(q[t]) -> o[t] { q * (t < 3) }".parse().expect("tokens");
    let errors = nsa_dsl::compile_tokens(tokens.clone(), &Settings::default()).expect_err("an error");
    let (_, first, last) = &errors.locate(&tokens)[0];
    assert_eq!((first.start().column, last.end().column), (29, 36));
}
