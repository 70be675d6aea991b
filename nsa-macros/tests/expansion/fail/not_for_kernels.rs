// Right as a program, but more than any kernel does: the place is the result's.
nsa::nsa_kernel!(mod f = {
    kernel f(x: f32[a], y: f32[b], z: f32[c]) -> w: f32[a, b, c] { x * y * z }
}, targets = ["host"]);

fn main() {}
