nsa::nsa_kernel!(mod f = { kernel f(x[t]) -> y[t] { x } }, target = ["host"]);

fn main() {}
