//! Accesses to shared memory, each checked against what happened before.

use super::shared::{ANY_LANE, ATOMIC, PENDING, ReadStamp, Shared, Word};
use super::{Cx, Machine, RANK_SHIFT, RESERVED_SHARED, bytes_of};
use crate::finding::{Bytes, FindingKind};
use crate::types::Space;

impl Machine<'_> {
    /// Block and offset of a shared address, or a finding.
    #[inline(always)]
    pub fn shared_place(&mut self, cx: Cx, address: u64, bytes: usize, align: usize) -> Option<(usize, usize)> {
        let (block, offset) = if self.blocks.len() == 1 {
            (0, address as usize)
        } else {
            ((address >> RANK_SHIFT) as usize, (address & ((1 << RANK_SHIFT) - 1)) as usize)
        };
        let limit = self.launch.shared_bytes as usize;
        if block >= self.blocks.len() || offset < RESERVED_SHARED as usize || offset + bytes > limit {
            self.find_at(FindingKind::OutOfBounds, cx, bytes_of(Space::Shared, address, bytes), || {
                format!("the block has shared memory from {RESERVED_SHARED:#x} (below lies the system's) to {limit:#x}")
            });
            return None;
        }
        if offset & (align - 1) != 0 {
            self.find_at(FindingKind::Misaligned, cx, bytes_of(Space::Shared, address, bytes), || {
                format!("the address must be a multiple of {align}")
            });
            return None;
        }
        Some((block, offset))
    }

    /// Reads shared bytes; `false` if there are none to read.
    #[inline(always)]
    pub fn shared_read(&mut self, cx: Cx, lane: u8, address: u64, into: &mut [u8], align: usize) -> bool {
        let Some((block, offset)) = self.shared_place(cx, address, into.len(), align) else { return false };
        if self.tracks() {
            self.track_read(cx, lane, block, offset, into.len(), false);
        }
        into.copy_from_slice(&self.blocks[block].shared.data[offset..offset + into.len()]);
        true
    }

    /// Writes shared bytes.
    #[inline(always)]
    pub fn shared_write(&mut self, cx: Cx, lane: u8, address: u64, from: &[u8], align: usize) -> bool {
        let Some((block, offset)) = self.shared_place(cx, address, from.len(), align) else { return false };
        let range = offset..offset + from.len();
        if self.tracks() {
            let same = self.blocks[block].shared.data[range.clone()] == *from;
            self.track_write(cx, lane, block, offset, from.len(), same, 0);
        }
        self.blocks[block].shared.data[range].copy_from_slice(from);
        true
    }

    /// Reads, changes and writes shared bytes as one atomic step; returns the old ones.
    pub fn shared_modify(
        &mut self,
        cx: Cx,
        lane: u8,
        address: u64,
        bytes: usize,
        change: impl FnOnce(u64) -> u64,
    ) -> u64 {
        let Some((block, offset)) = self.shared_place(cx, address, bytes, bytes) else { return 0 };
        if self.tracks() {
            self.track_read(cx, lane, block, offset, bytes, true);
            self.track_write(cx, lane, block, offset, bytes, false, ATOMIC);
        }
        let data = &mut self.blocks[block].shared.data[offset..offset + bytes];
        let mut old = [0u8; 8];
        old[..bytes].copy_from_slice(data);
        let old = u64::from_le_bytes(old);
        data.copy_from_slice(&change(old).to_le_bytes()[..bytes]);
        old
    }

    /// Whether the write recorded in a word happened before warp `me` now.
    #[inline(always)]
    pub fn write_ordered(&self, me: usize, lane: u8, word: &Word) -> bool {
        let agent = word.agent as usize;
        let view = &self.views[me];
        if agent == me {
            // Within a warp, lanes are ordered by a warp barrier only; a lane is ordered with itself.
            return word.clock < view.of(me) || (word.lane == lane && lane != ANY_LANE);
        }
        word.clock <= view.of(agent) || view.knows_foreign(self.unit, agent, word.clock)
    }

    #[inline(always)]
    pub fn track_read(&mut self, cx: Cx, lane: u8, block: usize, offset: usize, bytes: usize, atomic: bool) {
        let now = self.views[cx.me].of(cx.me);
        for (index, mask) in Shared::split(offset, bytes) {
            let shared = &self.blocks[block].shared;
            let word = shared.words[index];
            let slot = index * shared.readers + cx.me;
            let clean = word.written & mask == mask
                && word.flags & PENDING == 0
                && (word.last & mask == 0
                    || (atomic && word.flags & ATOMIC != 0)
                    || self.write_ordered(cx.me, lane, &word));
            if !clean {
                self.report_read(cx, lane, block, index, mask, word);
            }
            let shared = &mut self.blocks[block].shared;
            let old = ReadStamp(shared.reads[slot]);
            let lane = if old.clock() == now && old.lane() != lane { ANY_LANE } else { lane };
            shared.reads[slot] = ReadStamp::new(now, lane, cx.line).0;
        }
    }

    #[cold]
    fn report_read(&mut self, cx: Cx, lane: u8, block: usize, index: usize, mask: u8, word: Word) {
        let missing = mask & !word.written;
        let bytes = self.word_bytes(block, index, if missing == 0 { mask } else { missing });
        let at = self.site(cx.me, cx.line);
        let other = Some(self.site(word.agent as usize, word.line));
        if word.flags & PENDING != 0 {
            self.findings.add(FindingKind::UseBeforeWait, at, other, Some(bytes), || {
                "shared memory was read while an asynchronous copy into it was not waited for".into()
            });
        } else if missing != 0 {
            self.findings.add(FindingKind::UninitialisedRead, at, None, Some(bytes), || {
                "nobody wrote these bytes of shared memory".into()
            });
        } else {
            let how = self.relation(cx, lane, word.agent as usize);
            self.findings.add(FindingKind::Race, at, other, Some(bytes), || {
                format!("this read and that write of shared memory are not ordered{how}")
            });
        }
    }

    fn relation(&self, cx: Cx, _lane: u8, agent: usize) -> &'static str {
        if agent == cx.me { ": lanes of one warp without a warp barrier between them" } else { "" }
    }

    fn word_bytes(&self, block: usize, index: usize, mask: u8) -> Bytes {
        let first = mask.trailing_zeros();
        let address = (index as u64) * 4 + u64::from(first) + ((block as u64) << RANK_SHIFT);
        bytes_of(Space::Shared, address, (8 - mask.leading_zeros() - first) as usize)
    }

    /// Records a write of warp `cx.me`. `same`: the bytes keep their value, which makes overlapping writes harmless.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn track_write(&mut self, cx: Cx, lane: u8, block: usize, offset: usize, bytes: usize, same: bool, flags: u8) {
        let now = self.views[cx.me].of(cx.me);
        for (index, mask) in Shared::split(offset, bytes) {
            self.check_write(cx, lane, block, index, mask, same, flags & ATOMIC != 0);
            let word = &mut self.blocks[block].shared.words[index];
            *word = Word {
                clock: now,
                line: cx.line,
                agent: cx.me as u16,
                lane,
                written: word.written | mask,
                last: mask,
                flags,
                readers: word.readers,
            };
        }
    }

    /// Looks for accesses that a write of these bytes now would conflict with.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn check_write(&mut self, cx: Cx, lane: u8, block: usize, index: usize, mask: u8, same: bool, atomic: bool) {
        let shared = &self.blocks[block].shared;
        let word = shared.words[index];
        if word.flags & PENDING != 0 || word.readers != 0 {
            self.report_in_flight(cx, block, index, mask, word);
        }
        let both_atomic = atomic && word.flags & ATOMIC != 0;
        if word.last & mask != 0 && !same && !both_atomic && !self.write_ordered(cx.me, lane, &word) {
            self.report_write(cx, lane, block, index, mask, word.agent as usize, word.line, "writes");
        }
        if same || both_atomic {
            return;
        }
        let readers = self.blocks[block].shared.readers;
        let view = &self.views[cx.me];
        let row = &self.blocks[block].shared.reads[index * readers..(index + 1) * readers];
        for (agent, &read) in row.iter().enumerate() {
            let read = ReadStamp(read);
            if read.clock() <= view.of(agent) && agent != cx.me {
                continue;
            }
            let ordered = if agent == cx.me {
                read.clock() < view.of(agent) || read.lane() == lane
            } else {
                view.knows_foreign(self.unit, agent, read.clock())
            };
            if !ordered {
                self.report_write(cx, lane, block, index, mask, agent, read.line(), "write and that read");
                return;
            }
        }
    }

    #[cold]
    fn report_in_flight(&mut self, cx: Cx, block: usize, index: usize, mask: u8, word: Word) {
        let bytes = self.word_bytes(block, index, mask);
        let at = self.site(cx.me, cx.line);
        let other = Some(self.site(word.agent as usize, word.line));
        let reading = word.flags & PENDING == 0;
        self.findings.add(FindingKind::OverwriteInFlight, at, other, Some(bytes), || {
            if reading {
                "an asynchronous operation that nobody waited for still reads this shared memory".into()
            } else {
                "an asynchronous copy that nobody waited for will still write this shared memory".into()
            }
        });
    }

    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn report_write(
        &mut self,
        cx: Cx,
        lane: u8,
        block: usize,
        index: usize,
        mask: u8,
        agent: usize,
        line: u32,
        what: &str,
    ) {
        let bytes = self.word_bytes(block, index, mask);
        let at = self.site(cx.me, cx.line);
        let other = Some(self.site(agent, line));
        let how = self.relation(cx, lane, agent);
        let what = if what == "writes" { "this write and that write" } else { "this write and that read" };
        self.findings
            .add(FindingKind::Race, at, other, Some(bytes), || format!("{what} of shared memory are not ordered{how}"));
    }
}
