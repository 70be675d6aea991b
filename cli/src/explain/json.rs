//! `nsa explain` as data.

use super::Way;
use super::held::{Held, held, limits};
use super::text::stored;
use nsa_codegen::term::cost::CostTable;
use serde_json::{Value, json};

/// Everything about one way.
pub fn json(way: &Way) -> Value {
    let variant = way.variant;
    let chosen = &variant.candidate;
    let definitions: Vec<Value> = way
        .laws
        .iter()
        .map(|explanation| {
            let step = |step: &nsa_codegen::term::Step| {
                json!({
                    "law": step.law, "of": step.of, "equation": step.equation, "reversed": step.reversed,
                    "before": step.before, "after": step.after,
                })
            };
            let steps: Vec<Value> = explanation.steps.iter().map(step).collect();
            json!({"definition": explanation.definition.name(), "steps": steps})
        })
        .collect();
    let considered: Vec<Value> = variant
        .considered
        .iter()
        .map(|other| {
            let is_chosen = other.stored == chosen.stored() && other.split == chosen.split;
            json!({
                "stored": other.stored, "split": other.split, "text": stored(other), "chosen": is_chosen,
                "seconds": other.cost.seconds(), "kernels": kernels(&other.cost),
            })
        })
        .collect();
    let occupancy: Vec<Value> = variant
        .plan
        .kernels
        .iter()
        .enumerate()
        .map(|(number, kernel)| {
            let held = limits(way.lowered.target).and_then(|limits| held(way, number, &limits));
            let Some(Held { takes, spilled, blocks, share }) = held else { return json!({"kernel": kernel.name}) };
            json!({
                "kernel": kernel.name, "threads": takes.threads, "registers": takes.registers,
                "spilled_bytes": spilled, "shared_bytes": takes.shared, "blocks": blocks, "occupancy": share,
                "assembled": spilled.is_some(),
            })
        })
        .collect();
    let refused: Vec<Value> =
        variant.refused.iter().map(|(stored, why)| json!({"stored": stored, "why": why})).collect();
    json!({
        "target": way.lowered.target.name(),
        "machine": way.lowered.machine.name,
        "variant": variant.label,
        "when": way.when(),
        "sizes": way.sizes(),
        "definitions": definitions,
        "considered": considered,
        "refused": refused,
        "seconds": chosen.cost.seconds(),
        "kernels": kernels(&chosen.cost),
        "occupancy": occupancy,
        "untiled": variant.untiled,
        "plan": variant.plan.to_string(),
    })
}

fn kernels(cost: &CostTable) -> Vec<Value> {
    let one = |kernel: &nsa_codegen::term::cost::KernelCost| {
        json!({
            "definitions": kernel.definitions.iter().map(|name| name.name()).collect::<Vec<_>>(),
            "memory_bytes": kernel.memory, "cache_bytes": kernel.cache, "matrix_operations": kernel.matrix,
            "scalar_operations": kernel.scalar, "exponentials": kernel.exponentials, "launches": kernel.launches,
            "blocks": kernel.blocks, "seconds": kernel.seconds,
        })
    };
    cost.kernels.iter().map(one).collect()
}
