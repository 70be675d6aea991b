//! What `nsa_kernel!` makes of programs, and where its errors point.

#[test]
fn programs() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/fail/*.rs");
}
