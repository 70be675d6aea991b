nsa::nsa_kernel! {
    kernel f(x: bf61[t, d = 4]) -> y[t, d] {
        x
    }
}

fn main() {}
