nsa::nsa_kernel!(mod f = { const WINDOW = 8; kernel f(x[t]) -> y[t] { x * WINDOW } }, set(WIDNOW = 9));

fn main() {}
