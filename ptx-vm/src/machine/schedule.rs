//! Which warp runs next, how lanes diverge and meet again, and what happens when nobody can run.

use super::warp::{State, Warp};
use super::{Cx, Machine};
use crate::exec::Flow;
use crate::finding::FindingKind;

/// Instructions a warp runs before another gets its turn; drawn anew each time.
const LONGEST_TURN: usize = 256;
/// A diverged group that runs this long lets the others of its warp go first: it may be waiting for them.
pub(super) const PATIENCE: u32 = 1024;
/// Instructions the others then have.
const DETOUR: u32 = 256;

/// How a slice of execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The slice is used up.
    Suspended,
}

impl Machine<'_> {
    /// Runs until all warps have exited or about `budget` warp instructions are spent.
    pub fn run(&mut self, budget: u64) -> Outcome {
        let end = self.warp_instructions.saturating_add(budget);
        let mut ready: Vec<usize> = Vec::new();
        loop {
            ready.clear();
            let progress = self.progress;
            ready.extend(
                (0..self.warps.len()).filter(|&w| self.warps[w].as_mut().is_some_and(|w| can_run(w, progress))),
            );
            // Copies in flight land at any moment: sometimes at once, at the latest when nobody can do without them.
            if !self.deliveries.is_empty() && (ready.is_empty() || self.random.below(4) == 0) {
                self.deliver_one();
                continue;
            }
            if ready.is_empty() {
                if self.warps.iter().flatten().all(|w| w.live == 0) || self.trapped {
                    self.finish();
                    return Outcome::Done;
                }
                if !self.unblock() {
                    return Outcome::Done;
                }
                continue;
            }
            // A few turns per look at the table.
            for _ in 0..ready.len() {
                let chosen = ready[self.random.below(ready.len())];
                let turn = 1 + self.random.below(LONGEST_TURN);
                self.turn(chosen, turn);
            }
            if self.trapped {
                return Outcome::Done;
            }
            if self.warp_instructions >= end {
                return Outcome::Suspended;
            }
        }
    }

    fn turn(&mut self, index: usize, turn: usize) {
        let Some(mut warp) = self.warps[index].take() else { return };
        let block = index / self.warps_per_block;
        let launch = self.launch;
        let code = &launch.program.code;
        let mut left = turn;
        while left > 0 && warp.live != 0 && !self.trapped {
            let Some(group) = pick(&mut warp) else { break };
            // While the warp moves as one, nothing below needs to look at the groups.
            loop {
                let pc = warp.groups[group].pc;
                let Some(inst) = code.get(pc as usize) else {
                    // Falling off the end of the text is an exit.
                    let mask = warp.groups[group].mask;
                    retire(&mut warp, group, mask);
                    self.exited(block, &mut warp, index);
                    break;
                };
                let mask = warp.groups[group].mask;
                let active = match inst.guard {
                    None => mask,
                    Some((p, negated)) => {
                        let bits = warp.regs.preds[p as usize];
                        mask & if negated { !bits } else { bits }
                    }
                };
                self.warp_instructions += 1;
                self.lane_instructions += u64::from(active.count_ones());
                warp.clock += 1;
                left -= 1;
                if active == 0 {
                    warp.groups[group].pc = pc + 1;
                    if left == 0 || warp.groups.len() > 1 {
                        break;
                    }
                    continue;
                }
                let cx = Cx { me: index, block, line: inst.line };
                if let Some(touched) = &launch.program.touched
                    && launch.options.race_detection
                {
                    let now = warp.clock;
                    self.check_registers(&mut warp.wgmma, cx, &touched[pc as usize], now);
                }
                let flow = crate::exec::execute(self, &mut warp, cx, group, active, &inst.op);
                match flow {
                    Flow::Next => warp.groups[group].pc = pc + 1,
                    Flow::Jump(target) => {
                        if active == mask {
                            warp.groups[group].pc = target;
                        } else {
                            warp.groups[group].pc = pc + 1;
                            warp.groups[group].mask = mask & !active;
                            warp.groups.push(super::warp::Group { pc: target, mask: active, state: State::Ready });
                        }
                    }
                    Flow::Exit => {
                        warp.groups[group].pc = pc + 1;
                        retire(&mut warp, group, active);
                        self.exited(block, &mut warp, index);
                        break;
                    }
                    // The instruction has set the group's state and runs again when it is ready.
                    Flow::Stay => break,
                    Flow::Yield => {
                        warp.groups[group].pc = pc + 1;
                        left = 0;
                        break;
                    }
                    // The instruction is done, but the group sleeps.
                    Flow::Sleep => {
                        warp.groups[group].pc = pc + 1;
                        break;
                    }
                }
                if left == 0 || warp.groups.len() > 1 || self.trapped {
                    break;
                }
            }
            if warp.groups.len() > 1 {
                merge(&mut warp);
            }
        }
        self.warps[index] = Some(warp);
    }

    /// After an exit the barriers of the block may be complete.
    fn exited(&mut self, block: usize, warp: &mut Warp, index: usize) {
        self.progress += 1;
        let local = index % self.warps_per_block;
        for id in 0..super::barrier::BARRIERS as u32 {
            self.settle_barrier(block, id, Some((local, &mut *warp)));
        }
        self.cluster_settle(Some((index, warp.live)));
    }

    /// Nobody can run: lanes that wait for others of their warp go on alone, with a finding; anything else is a
    /// deadlock.
    fn unblock(&mut self) -> bool {
        for index in 0..self.warps.len() {
            let Some(warp) = &mut self.warps[index] else { continue };
            let Some(group) = warp.groups.iter_mut().find(|g| matches!(g.state, State::Converge(_))) else {
                continue;
            };
            let State::Converge(wanted) = group.state else { continue };
            let missing = wanted & !group.mask & warp.live;
            group.state = State::Ready;
            warp.forced |= group.mask;
            let line = self.launch.program.code.get(group.pc as usize).map_or(0, |i| i.line);
            let cx = Cx { me: index, block: index / self.warps_per_block, line };
            self.find(FindingKind::DivergentCollective, cx, || {
                format!("lanes {missing:#010x} of the warp never come to this instruction")
            });
            return true;
        }
        self.report_deadlock();
        false
    }

    /// Everything has ended: what was announced must have come.
    fn finish(&mut self) {
        for (cx, object, bytes) in self.mbarriers_unbalanced() {
            self.find_at(FindingKind::ExpectedBytes, cx, object, || {
                if bytes > 0 {
                    format!("at the end the mbarrier still waits for {bytes} bytes")
                } else {
                    format!("{} bytes came that were not announced to the mbarrier", -bytes)
                }
            });
        }
    }

    /// The instruction budget is spent: says where the warps are.
    pub fn report_timeout(&mut self) {
        for index in 0..self.warps.len() {
            let Some(warp) = &self.warps[index] else { continue };
            let Some(group) = warp.groups.first() else { continue };
            let line = self.launch.program.code.get(group.pc as usize).map_or(0, |i| i.line);
            let cx = Cx { me: index, block: index / self.warps_per_block, line };
            self.find(FindingKind::Timeout, cx, || "the warp was still running here".into());
        }
    }

    /// A group that waits for an event that will not come: a transaction barrier as a rule.
    fn report_poll(&mut self, index: usize, pc: u32, mask: u32) {
        let launch = self.launch;
        let Some(inst) = launch.program.code.get(pc as usize) else { return };
        let cx = Cx { me: index, block: index / self.warps_per_block, line: inst.line };
        let mut missing = None;
        if let crate::code::Op::Mbarrier(op) = &inst.op
            && let crate::code::MbarrierOp::Wait { address, .. } = &**op
            && let Some(warp) = &self.warps[index]
        {
            let lane = mask.trailing_zeros().min(31) as usize;
            let address = warp.addresses(*address)[lane];
            let place = self.mbarrier_place(cx, address);
            missing =
                place.and_then(|place| self.mbarrier_missing(place).map(|(pending, bytes)| (place, pending, bytes)));
        }
        match missing {
            Some((place, pending, bytes)) if bytes != 0 => {
                self.find_mbarrier(FindingKind::ExpectedBytes, cx, place, || {
                    if bytes > 0 {
                        format!("the mbarrier waits for {bytes} bytes that no copy brings, and for {pending} arrivals")
                    } else {
                        format!("{} bytes came that were not announced to the mbarrier", -bytes)
                    }
                })
            }
            Some((place, pending, _)) => self.find_mbarrier(FindingKind::Deadlock, cx, place, || {
                format!("the mbarrier waits for {pending} arrivals that do not come")
            }),
            None => self.find(FindingKind::Deadlock, cx, || "what this waits for does not happen".into()),
        }
    }

    fn report_deadlock(&mut self) {
        for index in 0..self.warps.len() {
            let Some(warp) = &self.warps[index] else { continue };
            let block = index / self.warps_per_block;
            for group in warp.groups.clone() {
                // The group sleeps behind the instruction it waits at.
                let line = self.launch.program.code.get((group.pc as usize).saturating_sub(1)).map_or(0, |i| i.line);
                let cx = Cx { me: index, block, line };
                if let State::Poll(_) = group.state {
                    self.report_poll(index, group.pc, group.mask);
                }
                if let State::Barrier(id) = group.state {
                    let came = self.waiting_barriers(block).into_iter().find(|b| b.0 == id);
                    self.find(FindingKind::Deadlock, cx, || match came {
                        Some((_, arrived, Some(expected))) => {
                            format!("barrier {id} waits for {expected} threads, {arrived} came")
                        }
                        _ => format!("barrier {id} waits for threads that wait elsewhere"),
                    });
                }
            }
        }
    }
}

/// Whether some group can run; those that wait for events look again if there was one.
fn can_run(warp: &mut Warp, progress: u64) -> bool {
    let mut ready = false;
    for group in &mut warp.groups {
        if matches!(group.state, State::Poll(seen) if seen != progress) {
            group.state = State::Ready;
        }
        ready |= group.state == State::Ready;
    }
    ready
}

/// The ready group that is furthest behind: it is the one others may be waiting for. When it has run long, it may itself
/// be waiting for one that is ahead, which then runs for a while.
fn pick(warp: &mut Warp) -> Option<usize> {
    if let [only] = &warp.groups[..] {
        warp.patience = PATIENCE;
        return (only.state == State::Ready).then_some(0);
    }
    if warp.patience == 0 {
        warp.patience = PATIENCE + DETOUR;
    }
    warp.patience -= 1;
    let ready = (0..warp.groups.len()).filter(|&g| warp.groups[g].state == State::Ready);
    if warp.patience >= PATIENCE {
        ready.max_by_key(|&g| warp.groups[g].pc)
    } else {
        ready.min_by_key(|&g| warp.groups[g].pc)
    }
}

/// Groups at one instruction become one; those that waited there for others may look again.
fn merge(warp: &mut Warp) {
    let mut i = 0;
    while i < warp.groups.len() {
        let mut j = i + 1;
        while j < warp.groups.len() {
            let (a, b) = (&warp.groups[i], &warp.groups[j]);
            let mergeable = |s: State| matches!(s, State::Ready | State::Converge(_));
            if a.pc == b.pc && mergeable(a.state) && mergeable(b.state) {
                let mask = b.mask;
                warp.groups[i].mask |= mask;
                warp.groups[i].state = State::Ready;
                warp.groups.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
}

fn retire(warp: &mut Warp, group: usize, mask: u32) {
    warp.live &= !mask;
    warp.groups[group].mask &= !mask;
    if warp.groups[group].mask == 0 {
        warp.groups.swap_remove(group);
    }
    // A lane that left cannot be waited for: those who do look again.
    for group in &mut warp.groups {
        if matches!(group.state, State::Converge(_)) {
            group.state = State::Ready;
        }
    }
}
