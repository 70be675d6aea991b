nsa::nsa_kernel! {
    const WINDOW = 8;
    kernel f(x[t, d = 4]) -> y[t, d] {
        sum[j < WINDOW] x[t + j, d]
    }
}

fn main() {}
