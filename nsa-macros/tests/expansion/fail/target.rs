nsa::nsa_kernel!(mod f = { kernel f(x[t]) -> y[t] { x } }, targets = ["sm_80", "sm_75"]);

fn main() {}
