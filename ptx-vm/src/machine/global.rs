//! Accesses to global memory, checked between warps, blocks and clusters.

use super::warp::{LANES, Lanes};
use super::{Cx, Machine, view::View};
use crate::code::Order;
use crate::finding::{Bytes, FindingKind, Site};
use crate::memory::{PAGE, Page, Place, Stamp, WordStamps, lock};
use crate::types::Space;
use std::sync::{Arc, MutexGuard};

/// What an access does to the words it touches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl<'l> Machine<'l> {
    /// Calls `act` with the page and offset of every valid lane; a page stays locked while lanes keep hitting it.
    fn each_page(
        &mut self,
        cx: Cx,
        mask: u32,
        addresses: &Lanes<u64>,
        bytes: usize,
        mut act: impl FnMut(&mut Self, usize, &mut Page, usize, Bytes),
    ) {
        let memory = self.launch.memory;
        let mut held: Option<(usize, usize, MutexGuard<'l, Page>)> = None;
        for lane in 0..LANES {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let address = addresses[lane];
            let (buffer, offset) = match memory.place(address, bytes as u64) {
                Place::Inside { buffer, offset } => (buffer, offset),
                Place::Outside { buffer, offset } => {
                    held = None;
                    self.report_outside(cx, buffer, offset, bytes);
                    continue;
                }
            };
            let place = Bytes { space: Space::Global, buffer: Some(buffer), offset, length: bytes as u32 };
            if offset & (bytes as u64 - 1) != 0 {
                self.find_at(FindingKind::Misaligned, cx, place, || {
                    format!("the address must be a multiple of {bytes}")
                });
                continue;
            }
            let (page, within) = (offset as usize / PAGE, offset as usize % PAGE);
            if !matches!(&held, Some((b, p, _)) if (*b, *p) == (buffer, page)) {
                // The old lock goes first: two warps that hold one page and want another would wait for each other.
                drop(held.take());
                held = Some((buffer, page, memory.page(buffer, page)));
            }
            if let Some((_, _, guard)) = &mut held {
                act(self, lane, guard, within, place);
            }
        }
    }

    #[cold]
    fn report_outside(&mut self, cx: Cx, buffer: Option<usize>, offset: u64, bytes: usize) {
        let place = Bytes { space: Space::Global, buffer, offset, length: bytes as u32 };
        self.find_at(FindingKind::OutOfBounds, cx, place, || match buffer {
            Some(_) => "the access lies beyond the end of its buffer".into(),
            None => "the address points into no buffer".into(),
        });
    }

    /// Reads `bytes` for every lane of `mask`.
    pub fn global_read(
        &mut self,
        cx: Cx,
        mask: u32,
        addresses: &Lanes<u64>,
        bytes: usize,
        order: Order,
        mut sink: impl FnMut(usize, &[u8]),
    ) {
        let tracks = self.tracks();
        self.each_page(cx, mask, addresses, bytes, |this, lane, page, at, place| {
            if tracks {
                this.track_global(cx, page, at, bytes, place, Kind::Read, order != Order::Weak, false);
                if !page.all_written(at, bytes) {
                    this.find_at(FindingKind::UninitialisedRead, cx, place, || {
                        "nobody wrote these bytes of global memory".into()
                    });
                }
            }
            sink(lane, &page.data[at..at + bytes]);
        });
        self.acquire(cx, mask, addresses, order);
    }

    /// Writes `bytes` for every lane of `mask`.
    pub fn global_write(
        &mut self,
        cx: Cx,
        mask: u32,
        addresses: &Lanes<u64>,
        bytes: usize,
        order: Order,
        source: impl Fn(usize) -> [u8; 16],
    ) {
        let tracks = self.tracks();
        self.release(cx, mask, addresses, order);
        self.each_page(cx, mask, addresses, bytes, |this, lane, page, at, place| {
            let value = source(lane);
            if tracks {
                let same = page.data[at..at + bytes] == value[..bytes] && page.all_written(at, bytes);
                this.track_global(cx, page, at, bytes, place, Kind::Write, order != Order::Weak, same);
            }
            page.mark_written(at, bytes);
            page.data[at..at + bytes].copy_from_slice(&value[..bytes]);
        });
    }

    /// Changes `bytes` (up to 16) for every lane of `mask`, one lane after the other, each step atomic.
    pub fn global_modify(
        &mut self,
        cx: Cx,
        mask: u32,
        addresses: &Lanes<u64>,
        bytes: usize,
        order: Order,
        mut change: impl FnMut(usize, &mut [u8]),
    ) {
        let tracks = self.tracks();
        self.release(cx, mask, addresses, order);
        self.each_page(cx, mask, addresses, bytes, |this, lane, page, at, place| {
            if tracks {
                this.track_global(cx, page, at, bytes, place, Kind::Write, true, false);
                if !page.all_written(at, bytes) {
                    this.find_at(FindingKind::UninitialisedRead, cx, place, || {
                        "an atomic operation on bytes of global memory that nobody wrote".into()
                    });
                }
            }
            page.mark_written(at, bytes);
            change(lane, &mut page.data[at..at + bytes]);
        });
        self.acquire(cx, mask, addresses, order);
    }

    /// Relaxed or stronger reads pick up what was released at their address.
    fn acquire(&mut self, cx: Cx, mask: u32, addresses: &Lanes<u64>, order: Order) {
        if order == Order::Weak || !self.tracks() {
            return;
        }
        let released = lock(&self.launch.memory.released);
        if released.is_empty() {
            return;
        }
        for lane in 0..LANES {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let Some(clock) = released.get(&addresses[lane]) else { continue };
            if order.acquires() {
                self.views[cx.me].join_foreign(Some(clock));
            } else {
                let mut seen = View { foreign: self.fences[cx.me].observed.take(), ..View::default() };
                seen.join_foreign(Some(clock));
                self.fences[cx.me].observed = seen.foreign;
            }
        }
    }

    /// Release writes publish what the warp knows; relaxed ones what it knew at its last fence.
    fn release(&mut self, cx: Cx, mask: u32, addresses: &Lanes<u64>, order: Order) {
        if order == Order::Weak || !self.tracks() {
            return;
        }
        let publish = if order.releases() {
            let exported = self.views[cx.me].exported(self.unit);
            self.views[cx.me].tick(cx.me);
            exported
        } else {
            match &self.fences[cx.me].publish {
                Some(publish) => Arc::clone(publish),
                None => return,
            }
        };
        let mut released = lock(&self.launch.memory.released);
        for lane in 0..LANES {
            if mask >> lane & 1 != 0 {
                let mut view = View { foreign: released.remove(&addresses[lane]), ..View::default() };
                view.join_foreign(Some(&publish));
                if let Some(joined) = view.foreign {
                    released.insert(addresses[lane], joined);
                }
            }
        }
    }

    /// A memory fence: later relaxed writes publish what is known now, and earlier relaxed reads take effect.
    pub fn fence(&mut self, me: usize) {
        if !self.tracks() {
            return;
        }
        let observed = self.fences[me].observed.take();
        self.views[me].join_foreign(observed.as_ref());
        self.fences[me].publish = Some(self.views[me].exported(self.unit));
        if self.blocks.len() > 1 {
            self.fences[me].view = Some(self.views[me].clone());
        }
        self.views[me].tick(me);
    }

    fn global_ordered(&self, cx: Cx, stamp: &Stamp) -> bool {
        if stamp.unit == 0 {
            return true;
        }
        let view = &self.views[cx.me];
        let agent = usize::from(stamp.agent);
        if stamp.unit == self.unit + 1 && (agent == cx.me || view.of(agent) >= stamp.clock) {
            return true;
        }
        view.knows_foreign(stamp.unit - 1, agent, stamp.clock)
    }

    #[allow(clippy::too_many_arguments)]
    fn track_global(
        &mut self,
        cx: Cx,
        page: &mut Page,
        at: usize,
        bytes: usize,
        place: Bytes,
        kind: Kind,
        atomic: bool,
        same: bool,
    ) {
        let clock = self.views[cx.me].of(cx.me);
        let stamps = page.stamps();
        for (index, mask) in super::shared::Shared::split(at, bytes) {
            let stamp = Stamp { unit: self.unit + 1, clock, line: cx.line, agent: cx.me as u16, mask, atomic };
            let word: &mut WordStamps = &mut stamps[index];
            let conflict = |old: &Stamp| {
                old.mask & mask != 0 && !same && (!atomic || !old.atomic) && !self.global_ordered(cx, old)
            };
            let mut found = None;
            if conflict(&word.write) {
                found = Some((
                    word.write,
                    if kind == Kind::Read { "this read and that write" } else { "this write and that write" },
                ));
            }
            if kind == Kind::Read {
                let slot = usize::from(!self.global_ordered(cx, &word.reads[0]));
                word.reads[slot] = stamp;
            } else {
                for read in &word.reads {
                    if conflict(read) {
                        found = Some((*read, "this write and that read"));
                    }
                }
                word.write = stamp;
                word.reads = [Stamp::default(); 2];
            }
            if let Some((old, what)) = found {
                self.report_global(cx, place, old, what);
            }
        }
    }

    #[cold]
    fn report_global(&mut self, cx: Cx, place: Bytes, old: Stamp, what: &str) {
        let at = self.site(cx.me, cx.line);
        let other = self.foreign_site(old.unit - 1, usize::from(old.agent), old.line);
        self.findings.add(FindingKind::Race, at, Some(other), Some(place), || {
            format!("{what} of global memory are not ordered")
        });
    }

    fn foreign_site(&self, unit: u32, agent: usize, line: u32) -> Site {
        let block = agent / self.warps_per_block;
        let index = super::start::block_index(self.launch, unit, block.min(self.blocks.len() - 1));
        Site { block: index, warp: (block < self.blocks.len()).then_some((agent % self.warps_per_block) as u32), line }
    }
}
