nsa::nsa_kernel! {
    kernel f(x[t, d = 4], w[c = 5]) -> y[t] {
        let a = sum[e] x;
        let b = sum[d] x * w[d];
        a + b
    }
}

fn main() {}
