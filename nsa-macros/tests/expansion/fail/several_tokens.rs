nsa::nsa_kernel! {
    kernel f(x[t, d = 4]) -> y[t] {
        sum[d] x * (t < 3)
    }
}

fn main() {}
