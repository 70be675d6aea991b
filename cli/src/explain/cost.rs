//! What ways cost, and what the dearer ones lose by.

use nsa_codegen::machine::Machine;
use nsa_codegen::term::cost::{CostTable, KernelCost};

/// A resource: its name, the unit it is printed in, how much of it a kernel takes, and seconds per unit of it.
pub struct Resource {
    /// What is used up.
    pub name: &'static str,
    /// What it is counted in, for a sentence.
    pub unit: &'static str,
    /// How many of the kernel's own units that is.
    pub scale: f64,
    /// How much of it a kernel takes.
    pub of: fn(&KernelCost) -> f64,
    /// How long a machine takes for one.
    pub seconds: fn(&Machine) -> f64,
}

/// Everything that takes time.
pub const RESOURCES: [Resource; 6] = [
    Resource { name: "memory", unit: "GB of memory", scale: 1e9, of: |k| k.memory, seconds: |m| 1.0 / m.memory },
    Resource { name: "cache", unit: "GB of cache", scale: 1e9, of: |k| k.cache, seconds: |m| 1.0 / m.cache },
    Resource {
        name: "matrix units",
        unit: "TFLOP in matrix units",
        scale: 1e12,
        of: |k| k.matrix,
        seconds: |m| 1.0 / m.matrix_rate,
    },
    Resource {
        name: "scalar units",
        unit: "T scalar operations",
        scale: 1e12,
        of: |k| k.scalar,
        seconds: |m| 1.0 / m.scalar_rate,
    },
    Resource {
        name: "exponentials",
        unit: "G exponentials",
        scale: 1e9,
        of: |k| k.exponentials,
        seconds: |m| 1.0 / m.exp_rate,
    },
    Resource { name: "launches", unit: "launches", scale: 1.0, of: |k| k.launches as f64, seconds: |m| m.launch },
];

/// How much of a resource all kernels take, in its unit.
pub fn total(table: &CostTable, resource: &Resource) -> f64 {
    table.kernels.iter().map(resource.of).sum::<f64>() / resource.scale
}

/// The resource that a kernel waits for longest.
pub fn limit(kernel: &KernelCost, machine: &Machine) -> &'static str {
    let time = |resource: &Resource| (resource.of)(kernel) * (resource.seconds)(machine);
    RESOURCES.iter().max_by(|a, b| time(a).total_cmp(&time(b))).map_or("", |resource| resource.name)
}

/// What a way takes most time more of than another: `+0.52 GB of memory`. Where it takes more of nothing, it uses the
/// machine worse.
pub fn loses_by(way: &CostTable, chosen: &CostTable, machine: &Machine) -> String {
    let more = |resource: &Resource| total(way, resource) - total(chosen, resource);
    let time = |resource: &Resource| more(resource) * resource.scale * (resource.seconds)(machine);
    let worst = RESOURCES.iter().max_by(|a, b| time(a).total_cmp(&time(b)));
    match worst.filter(|worst| time(worst) > 1e-3 * (way.seconds() - chosen.seconds()).abs()) {
        Some(worst) if more(worst) == 1.0 => format!("+1 {}", worst.unit.trim_end_matches("es")),
        Some(worst) => format!("+{} {}", figures(more(worst)), worst.unit),
        None => "fewer thread blocks".into(),
    }
}

/// A number with three figures that say something.
pub fn figures(x: f64) -> String {
    match x.abs() {
        size if size >= 100.0 || x == x.trunc() => format!("{x:.0}"),
        size if size >= 10.0 => format!("{x:.1}"),
        size if size >= 1.0 => format!("{x:.2}"),
        size if size >= 0.1 => format!("{x:.3}"),
        _ => format!("{x:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::figures;

    #[test]
    fn three_figures() {
        let texts = [1234.5, 12.345, 1.2345, 0.12345, 0.012345, 7.0, 0.0].map(figures);
        assert_eq!(texts, ["1234", "12.3", "1.23", "0.123", "0.0123", "7", "0"]);
    }
}
