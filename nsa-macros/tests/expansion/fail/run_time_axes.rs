nsa::nsa_kernel! {
    kernel f(q[t, d = 8], k[s, d]) -> scores[t, s] {
        sum[d] q * k
    }
}

fn main() {}
