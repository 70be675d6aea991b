nsa::nsa_kernel!(mod f = {
    kernel f(x[t]) -> y[t] {
        let z = x
        z + 1
    }
}, targets = ["host"]);

fn main() {}
