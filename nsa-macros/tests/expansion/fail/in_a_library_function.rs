nsa::nsa_kernel! {
    kernel f(q[t, d = 4], k[s, c = 8], v[s, c]) -> o[t, c] {
        attend(q, k, v)
    }
}

fn main() {}
