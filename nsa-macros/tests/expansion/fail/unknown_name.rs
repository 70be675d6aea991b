nsa::nsa_kernel! {
    const WINDOW = 8;
    kernel f(q[t, d = 4], k[s, d], v[s, d]) -> o[t, d] {
        attend(q, k, v, window(s, pos(t), WINDOV))
    }
}

fn main() {}
