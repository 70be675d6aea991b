//! Bulk copies in flight: the asynchronous proxy at work.

use super::shared::{ASYNC, ATOMIC, PENDING, Shared};
use super::warp::LANES;
use super::{Cx, Machine, bytes_of};
use crate::code::{AtomicOp, Order};
use crate::finding::{Bytes, FindingKind};
use crate::memory::{PAGE, Place};
use crate::types::{Space, Type};

/// A copy into shared memory that has been issued and not delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Block and offset of each run, with the bytes it will hold.
    pub runs: Vec<(usize, usize, Vec<u8>)>,
    /// The barrier that counts the bytes, and how many it counts.
    pub barrier: (usize, usize),
    pub bytes: u32,
    pub how: Landing,
}

/// How bytes arrive in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Landing {
    /// Through the asynchronous proxy.
    Proxy,
    /// As an ordinary write of a thread of another block would (`st.async`).
    Ordinary,
    /// Added, or combined otherwise, to what is there.
    Combined(AtomicOp, Type),
}

/// A copy out of shared memory that its thread has not waited for.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    pub lane: u8,
    pub group: u32,
    /// Block, offset and length of the source, for as long as it is being read.
    pub source: Vec<(usize, usize, usize)>,
    /// Source offset, destination address and length of each run still to be written.
    pub runs: Vec<(usize, u64, usize)>,
    /// The same of each element beyond the tensor's edge that is changed as well.
    pub beyond: Vec<(usize, u64, usize)>,
    pub block: usize,
    pub reduce: Option<(AtomicOp, Type)>,
    pub line: u32,
}

/// Copies out of shared memory by one warp's threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drains {
    pub pending: Vec<Drain>,
    committed: Vec<u32>,
}

/// The group number of an uncommitted copy.
pub(crate) const OPEN: u32 = u32::MAX;

impl Drains {
    pub fn commit(&mut self, mask: u32) {
        self.committed.resize(LANES, 0);
        for drain in &mut self.pending {
            if drain.group == OPEN && mask >> drain.lane & 1 != 0 {
                drain.group = self.committed[usize::from(drain.lane)];
            }
        }
        for (lane, committed) in self.committed.iter_mut().enumerate() {
            *committed += mask >> lane & 1;
        }
    }

    /// Indices of the copies that a wait for all but `left` groups covers.
    pub fn covered(&self, mask: u32, left: u32) -> Vec<usize> {
        let committed = |lane: u8| self.committed.get(usize::from(lane)).copied().unwrap_or(0);
        (0..self.pending.len())
            .filter(|&i| {
                let drain = &self.pending[i];
                mask >> drain.lane & 1 != 0 && drain.group != OPEN && drain.group + left < committed(drain.lane)
            })
            .collect()
    }
}

/// Combines elements with those that are there.
fn combine_all(op: AtomicOp, ty: Type, place: &mut [u8], data: &[u8]) {
    let word = |bytes: &[u8]| {
        let mut word = [0u8; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    for (old, new) in place.chunks_exact_mut(ty.bytes()).zip(data.chunks_exact(ty.bytes())) {
        let result = crate::exec::combine(op, ty, word(old), word(new), 0);
        let width = old.len();
        old.copy_from_slice(&result.to_le_bytes()[..width]);
    }
}

impl Machine<'_> {
    /// Claims the destination of a copy into shared memory on behalf of warp `cx.me`.
    pub fn claim(&mut self, cx: Cx, lane: u8, block: usize, offset: usize, bytes: usize, how: Landing) {
        if matches!(how, Landing::Combined(..)) {
            if self.tracks() {
                self.track_read(cx, lane, block, offset, bytes, true);
                self.track_write(cx, lane, block, offset, bytes, false, ATOMIC);
            }
            return;
        }
        self.blocks[block].shared.data[offset..offset + bytes].fill(0xff);
        if !self.tracks() {
            return;
        }
        for (index, mask) in Shared::split(offset, bytes) {
            let word = self.blocks[block].shared.words[index];
            self.check_write(cx, lane, block, index, mask, false, false);
            if how == Landing::Proxy
                && word.last & mask != 0
                && word.flags & (ASYNC | PENDING) == 0
                && self.views[cx.me].fenced_of(word.agent as usize) < word.clock
                && self.write_ordered(cx.me, lane, &word)
            {
                self.report_proxy(cx, block, index, "this copy overwrites");
            }
            let stamp = self.views[cx.me].of(cx.me);
            let word = &mut self.blocks[block].shared.words[index];
            word.flags = if how == Landing::Proxy { PENDING | ASYNC } else { PENDING };
            word.agent = cx.me as u16;
            word.lane = lane;
            word.clock = stamp;
            word.line = cx.line;
            word.last |= mask;
            word.written |= mask;
        }
    }

    #[cold]
    pub fn report_proxy(&mut self, cx: Cx, block: usize, index: usize, what: &str) {
        let word = self.blocks[block].shared.words[index];
        let at = self.site(cx.me, cx.line);
        let other = self.site(word.agent as usize, word.line);
        let bytes = bytes_of(Space::Shared, index as u64 * 4, 4);
        self.findings.add(FindingKind::MissingProxyFence, at, Some(other), Some(bytes), || {
            format!("{what} shared memory that an ordinary write wrote, with no fence.proxy.async in between")
        });
    }

    /// A read of shared memory by the asynchronous proxy on behalf of warp `cx.me`: it must be ordered after the
    /// write, and a proxy fence must lie between if the write was an ordinary one.
    #[inline(always)]
    pub fn check_async_read(&mut self, cx: Cx, lane: u8, block: usize, offset: usize, bytes: usize) {
        for (index, mask) in Shared::split(offset, bytes) {
            let word = self.blocks[block].shared.words[index];
            let plain = word.written & mask == mask && word.flags & PENDING == 0;
            if !plain || !self.write_ordered_async(cx.me, &word) {
                // The ordinary check says what is wrong, and records nothing that a later one would misread.
                let slot = index * self.blocks[block].shared.readers + cx.me;
                let before = self.blocks[block].shared.reads[slot];
                self.track_read(cx, lane, block, index * 4, 4, false);
                self.blocks[block].shared.reads[slot] = before;
            } else if word.flags & ASYNC == 0 && self.views[cx.me].fenced_of(word.agent as usize) < word.clock {
                self.report_proxy(cx, block, index, "the asynchronous proxy reads");
            }
        }
    }

    /// The same for the 16 aligned bytes of one row of an operand, which stay held until [`Self::unhold`].
    #[inline(always)]
    pub fn hold_async_read(&mut self, cx: Cx, block: usize, offset: usize) {
        let view = &self.views[cx.me];
        let mut plain = true;
        for word in &mut self.blocks[block].shared.words[offset / 4..offset / 4 + 4] {
            let agent = usize::from(word.agent);
            plain &= word.written == 0xf
                && word.flags & PENDING == 0
                && (agent == cx.me || word.clock <= view.of(agent))
                && (word.flags & ASYNC != 0 || word.clock <= view.fenced_of(agent));
            word.readers = word.readers.saturating_add(1);
        }
        if !plain {
            self.check_async_read(cx, 0, block, offset, 16);
        }
    }

    fn write_ordered_async(&self, me: usize, word: &super::shared::Word) -> bool {
        // Lanes of one warp: the proxy fence that must follow is what orders them.
        word.agent as usize == me || self.write_ordered(me, super::shared::ANY_LANE, word)
    }

    /// Marks words as being read by an operation in flight.
    pub fn hold(&mut self, block: usize, offset: usize, bytes: usize) {
        if self.tracks() {
            for (index, _) in Shared::split(offset, bytes) {
                let word = &mut self.blocks[block].shared.words[index];
                word.readers = word.readers.saturating_add(1);
            }
        }
    }

    /// The operation is over and its warp knows: from now on it is an ordinary read of the past.
    pub fn unhold(&mut self, cx: Cx, block: usize, offset: usize, bytes: usize) {
        if self.tracks() {
            let now = self.views[cx.me].of(cx.me);
            let readers = self.blocks[block].shared.readers;
            for (index, _) in Shared::split(offset, bytes) {
                let shared = &mut self.blocks[block].shared;
                let word = &mut shared.words[index];
                word.readers = word.readers.saturating_sub(1);
                shared.reads[index * readers + cx.me] =
                    super::shared::ReadStamp::new(now, super::shared::ANY_LANE, cx.line).0;
            }
        }
    }

    /// Delivers one of the copies in flight, any of them; `false` if there is none.
    pub fn deliver_one(&mut self) -> bool {
        if self.deliveries.is_empty() {
            return false;
        }
        let chosen = self.random.below(self.deliveries.len());
        let delivery = self.deliveries.swap_remove(chosen);
        let stamp = self.mbarrier_stamp(delivery.barrier);
        let tracks = self.tracks();
        for (block, offset, data) in &delivery.runs {
            let shared = &mut self.blocks[*block].shared;
            let place = &mut shared.data[*offset..offset + data.len()];
            match delivery.how {
                Landing::Combined(op, ty) => combine_all(op, ty, place, data),
                Landing::Proxy | Landing::Ordinary => place.copy_from_slice(data),
            }
            if tracks && let Some((agent, phase)) = stamp {
                for (index, _) in Shared::split(*offset, data.len()) {
                    let word = &mut shared.words[index];
                    word.flags = match delivery.how {
                        Landing::Proxy => ASYNC,
                        Landing::Ordinary => 0,
                        Landing::Combined(..) => ATOMIC,
                    };
                    word.agent = agent as u16;
                    word.clock = phase;
                }
            }
        }
        self.mbarrier_complete(delivery.barrier, delivery.bytes);
        self.progress += 1;
        true
    }

    /// Writes what a copy out of shared memory has read to its destination.
    pub fn drain(&mut self, me: usize, drain: &mut Drain) {
        let cx = Cx { me, block: drain.block, line: drain.line };
        for (offset, address, length) in std::mem::take(&mut drain.runs) {
            let mut data = [0u8; 16];
            data[..length].copy_from_slice(&self.blocks[drain.block].shared.data[offset..offset + length]);
            let addresses = [address; LANES];
            match drain.reduce {
                None => {
                    // Lengths are powers of two save at ragged edges, which go byte by byte.
                    if length.is_power_of_two() && address % length as u64 == 0 {
                        self.global_write(cx, 1, &addresses, length, Order::Weak, |_| data);
                    } else {
                        for i in 0..length {
                            let one = [address + i as u64; LANES];
                            self.global_write(cx, 1, &one, 1, Order::Weak, |_| [data[i]; 16]);
                        }
                    }
                }
                Some(reduction) => {
                    let size = reduction.1.bytes();
                    for (i, element) in data[..length].chunks_exact(size).enumerate() {
                        self.reduce(cx, reduction, address + (i * size) as u64, element);
                    }
                }
            }
        }
        for run in std::mem::take(&mut drain.beyond) {
            self.write_beyond(cx, drain.reduce, run);
        }
    }

    /// An element at `offset` of shared memory that belongs beyond the tensor's edge, and is written or added there.
    fn write_beyond(&mut self, cx: Cx, reduce: Option<(AtomicOp, Type)>, (offset, address, size): (usize, u64, usize)) {
        let mut element = [0u8; 16];
        element[..size].copy_from_slice(&self.blocks[cx.block].shared.data[offset..offset + size]);
        let memory = self.launch.memory;
        let (place, changed) = match memory.place(address, size as u64) {
            Place::Inside { buffer, offset } => {
                let (page, within) = (memory.page(buffer, offset as usize / PAGE), offset as usize % PAGE);
                // Padding that nobody wrote is nobody's.
                let written = page.all_written(within, size);
                let differs = page.data[within..within + size] != element[..size];
                drop(page);
                let changed = match reduce {
                    _ if !written => false,
                    Some(reduction) => self.reduce(cx, reduction, address, &element[..size]),
                    None => {
                        self.global_write(cx, 1, &[address; LANES], size, Order::Weak, |_| element);
                        differs
                    }
                };
                ((Some(buffer), offset), changed)
            }
            // What lies outside all buffers is not known; sums with zero leave it as it is.
            Place::Outside { buffer, offset } => {
                let neutral = reduce.is_some_and(|(op, ty)| {
                    let sign = if ty.integer() { 0 } else { 1 << (8 * size - 1) };
                    let zero = u128::from_le_bytes(element) & !sign == 0;
                    zero && matches!(op, AtomicOp::Add | AtomicOp::Or | AtomicOp::Xor)
                });
                ((buffer, offset), !neutral)
            }
        };
        if changed {
            let place = Bytes { space: Space::Global, buffer: place.0, offset: place.1, length: size as u32 };
            self.find_at(FindingKind::OutOfBounds, cx, place, || {
                "this tensor copy changes what lies beyond the tensor's edge: all elements that share their 16 bytes with \
                 one inside are written, as measured on an H100"
                    .into()
            });
        }
    }

    /// Combines one element with that at `address`; whether that changed it.
    fn reduce(&mut self, cx: Cx, (op, ty): (AtomicOp, Type), address: u64, element: &[u8]) -> bool {
        let word = |bytes: &[u8]| {
            let mut word = [0u8; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let operand = word(element);
        let mut changed = false;
        self.global_modify(cx, 1, &[address; LANES], element.len(), Order::Relaxed, |_, slot| {
            let new = crate::exec::combine_in_global(op, ty, word(slot), operand, 0);
            changed |= new != word(slot);
            slot.copy_from_slice(&new.to_le_bytes()[..slot.len()]);
        });
        changed
    }
}
