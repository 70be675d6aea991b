//! How long launches take.

use crate::{Error, Memory};
use nsa::Plan;
use nsa::cudarc::driver::CudaStream;
use nsa::cudarc::driver::sys::CUevent_flags;
use serde::Serialize;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Times of many launches, in seconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Timing {
    /// The middle one.
    pub median: f64,
    /// The fastest one.
    pub fastest: f64,
    /// The slowest one.
    pub slowest: f64,
    /// How many were timed, after a warm-up.
    pub launches: usize,
    /// Median of each kernel, timed by itself, in launch order.
    pub kernels: Vec<(String, f64)>,
}

/// No more launches than this, however fast: medians do not get better.
const MOST: usize = 200;
/// At least this many, however slow.
const LEAST: usize = 3;

/// Times launches of a plan for about `budget`, after a warm-up. Launches take turns among the memories: with enough of them no
/// launch finds its arguments in a cache.
///
/// # Errors
/// What the runtime or the device refuses; no memories.
pub fn time(plan: &mut Plan, memories: &mut [Memory], budget: Duration) -> Result<Timing, Error> {
    let names: Vec<String> = plan.variant().kernels.iter().map(|k| k.name.clone()).collect();
    let whole = sample(plan, memories, 0..names.len(), budget.mul_f64(0.7))?;
    let mut kernels = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let part = budget.mul_f64(0.3 / names.len() as f64);
        kernels.push((name.clone(), median(&sample(plan, memories, index..index + 1, part)?)));
    }
    Ok(Timing {
        median: median(&whole),
        fastest: whole.first().copied().unwrap_or(f64::NAN),
        slowest: whole.last().copied().unwrap_or(f64::NAN),
        launches: whole.len(),
        kernels,
    })
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Sorted times of launches.
fn sample(plan: &mut Plan, memories: &mut [Memory], which: Range<usize>, budget: Duration) -> Result<Vec<f64>, Error> {
    let warm_up = Instant::now();
    // The first launch loads code and wakes threads and clocks; the second one tells how long launches take.
    let mut each = 0.0;
    let copies = memories.len();
    if copies == 0 {
        return Ok(Vec::new());
    }
    for index in 0..2 {
        let memory = &mut memories[index % copies];
        let start = Instant::now();
        memory.launch(plan, which.clone())?;
        memory.wait()?;
        each = start.elapsed().as_secs_f64();
    }
    let left = budget.saturating_sub(warm_up.elapsed()).as_secs_f64();
    let count = ((left / each.max(1e-7)) as usize).clamp(LEAST, MOST);
    let mut times = Vec::with_capacity(count);
    if memories[0].stream().is_some() {
        times = events(plan, memories, &which, count)?;
    } else {
        for index in 0..count {
            let memory = &mut memories[index % copies];
            let start = Instant::now();
            memory.launch(plan, which.clone())?;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Times on a GPU, by events around each launch. Nothing waits in between, so that launching itself only counts where kernels
/// are shorter than it.
fn events(plan: &mut Plan, memories: &mut [Memory], which: &Range<usize>, count: usize) -> Result<Vec<f64>, Error> {
    let record = |stream: &CudaStream| stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
    let mut pairs = Vec::with_capacity(count);
    for index in 0..count {
        let memory = &mut memories[index % memories.len()];
        let Some(start) = memory.stream().map(record).transpose()? else { break };
        memory.launch(plan, which.clone())?;
        let Some(end) = memory.stream().map(record).transpose()? else { break };
        pairs.push((start, end));
    }
    let mut times = Vec::with_capacity(count);
    for (start, end) in &pairs {
        end.synchronize()?;
        times.push(f64::from(start.elapsed_ms(end)?) / 1e3);
    }
    Ok(times)
}
