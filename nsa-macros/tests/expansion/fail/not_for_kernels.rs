// Right as a program, but more than any kernel does: the place is the list's definition.
nsa::nsa_kernel!(mod f = {
    kernel f(x: f32[t, s]) -> y: i32[t, n = 600] { let y[t, n] = top[s](x, 600); y }
}, targets = ["host"]);

fn main() {}
