//! How long launches take.

use crate::{Error, Memory};
use cpu_time::ProcessTime;
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
    /// On the host, processor time of all threads in the launch that took least of it: what a machine that has other work as
    /// well does not distort. None on a GPU.
    pub processor: Option<f64>,
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
    let (whole, processor) = sample(plan, memories, 0..names.len(), budget.mul_f64(0.7))?;
    let mut kernels = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let part = budget.mul_f64(0.3 / names.len() as f64);
        kernels.push((name.clone(), median(&sample(plan, memories, index..index + 1, part)?.0)));
    }
    Ok(Timing {
        median: median(&whole),
        fastest: whole.first().copied().unwrap_or(f64::NAN),
        slowest: whole.last().copied().unwrap_or(f64::NAN),
        launches: whole.len(),
        processor,
        kernels,
    })
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Launches that take longer than this and than the budget are not repeated: what a first launch costs besides, some
/// milliseconds, is lost in them.
const LONG: Duration = Duration::from_secs(1);

/// Sorted times of launches, and the least processor time of one.
fn sample(
    plan: &mut Plan,
    memories: &mut [Memory],
    which: Range<usize>,
    budget: Duration,
) -> Result<(Vec<f64>, Option<f64>), Error> {
    let copies = memories.len();
    if copies == 0 {
        return Ok((Vec::new(), None));
    }
    let host = memories[0].stream().is_none();
    let mut launch = |index: usize| -> Result<(f64, f64), Error> {
        let memory = &mut memories[index % copies];
        let (start, processor) = (Instant::now(), ProcessTime::now());
        memory.launch(plan, which.clone())?;
        memory.wait()?;
        Ok((start.elapsed().as_secs_f64(), processor.elapsed().as_secs_f64()))
    };
    // The first launch loads code and wakes threads and clocks; the second one tells how long launches take.
    let warm_up = Instant::now();
    let first = launch(0)?;
    if host && warm_up.elapsed() > budget.max(LONG) {
        return Ok((vec![first.0], Some(first.1)));
    }
    let (each, _) = launch(1)?;
    let left = budget.saturating_sub(warm_up.elapsed()).as_secs_f64();
    let count = ((left / each.max(1e-7)) as usize).clamp(LEAST, MOST);
    let (mut times, mut processor) = (Vec::with_capacity(count), None);
    if host {
        for index in 0..count {
            let (wall, own) = launch(index)?;
            times.push(wall);
            processor = Some(processor.map_or(own, |least: f64| least.min(own)));
        }
    } else {
        times = events(plan, memories, &which, count)?;
    }
    times.sort_by(f64::total_cmp);
    Ok((times, processor))
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
