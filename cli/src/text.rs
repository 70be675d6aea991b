//! Numbers as people read them.

/// Seconds in a fitting unit.
pub fn seconds(s: f64) -> String {
    match s {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}

/// Bytes in a fitting unit, powers of ten.
pub fn bytes(n: usize) -> String {
    let n = n as f64;
    match n {
        n if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        n => format!("{n} bytes"),
    }
}

/// A condition or a bound as the language says it: `pos(t)` for the position of query `t` among keys, whose lengths it is
/// computed from.
pub fn positions(text: &str, axes: &[&str]) -> String {
    let mut text = text.to_string();
    for query in axes {
        for key in axes {
            let position = format!("pos({query})");
            text = text.replace(&format!("({query} + (len({key}) - len({query})))"), &position);
            text = text.replace(&format!("{query} + (len({key}) - len({query}))"), &position);
            text = text.replace(&format!("{query} + len({key}) - len({query})"), &position);
        }
    }
    text
}
