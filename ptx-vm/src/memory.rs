//! Global memory: buffers with a record of which bytes were written and by whom.

use crate::machine::view::Foreign;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of a page; no access crosses one, since accesses are aligned.
pub(crate) const PAGE: usize = 4096;
/// Buffers lie this far apart, so that running off one never lands in another.
const SPACING: u32 = 40;

/// A buffer of [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub(crate) usize);

impl BufferId {
    /// Index of the buffer, in the order of allocation.
    pub fn index(self) -> usize {
        self.0
    }

    /// The device address of the buffer's first byte, a multiple of 2^40.
    pub fn address(self) -> u64 {
        (self.0 as u64 + 1) << SPACING
    }
}

/// Device memory: a list of buffers that do not touch.
///
/// ```
/// let mut memory = ptx_vm::Memory::new();
/// let x = memory.add(&[1.0f32, 2.0].map(f32::to_le_bytes).concat());
/// let y = memory.reserve(8); // not initialised: reading it before writing is a finding
/// assert_eq!(memory.f32s(x), [1.0, 2.0]);
/// assert!(!memory.initialised(y)[0]);
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    buffers: Vec<Buffer>,
    /// What releases left at an address, for acquires to pick up.
    pub(crate) released: Mutex<HashMap<u64, Arc<Foreign>>>,
}

#[derive(Debug)]
struct Buffer {
    length: usize,
    pages: Vec<Mutex<Page>>,
}

/// One access as remembered for race detection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    /// Cluster plus one; 0: no access.
    pub unit: u32,
    pub clock: u32,
    pub line: u32,
    pub agent: u16,
    /// Which of the word's four bytes.
    pub mask: u8,
    pub atomic: bool,
}

/// Accesses to one 4-byte word: the last write and two reads (the first unordered one and the last).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WordStamps {
    pub write: Stamp,
    pub reads: [Stamp; 2],
}

#[derive(Debug)]
pub(crate) struct Page {
    pub data: Box<[u8]>,
    /// One bit a byte.
    pub written: Box<[u8]>,
    pub stamps: Option<Box<[WordStamps]>>,
}

impl Page {
    pub fn stamps(&mut self) -> &mut [WordStamps] {
        self.stamps.get_or_insert_with(|| vec![WordStamps::default(); PAGE / 4].into())
    }

    pub fn all_written(&self, at: usize, bytes: usize) -> bool {
        (at..at + bytes).all(|i| self.written[i / 8] >> (i % 8) & 1 != 0)
    }

    pub fn mark_written(&mut self, at: usize, bytes: usize) {
        if at.is_multiple_of(8) && bytes.is_multiple_of(8) {
            self.written[at / 8..(at + bytes) / 8].fill(0xff);
            return;
        }
        for i in at..at + bytes {
            self.written[i / 8] |= 1 << (i % 8);
        }
    }
}

/// Where an address points.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Inside { buffer: usize, offset: u64 },
    Outside { buffer: Option<usize>, offset: u64 },
}

/// A copy has the contents and knows what was initialised; it has seen no accesses.
impl Clone for Memory {
    fn clone(&self) -> Self {
        let page = |page: &Mutex<Page>| {
            let page = lock(page);
            Mutex::new(Page { data: page.data.clone(), written: page.written.clone(), stamps: None })
        };
        let buffers = self.buffers.iter();
        let buffers = buffers.map(|b| Buffer { length: b.length, pages: b.pages.iter().map(page).collect() }).collect();
        Self { buffers, released: Mutex::default() }
    }
}

impl Memory {
    /// Memory without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer that holds `bytes`, all of them initialised.
    pub fn add(&mut self, bytes: &[u8]) -> BufferId {
        let id = self.reserve(bytes.len());
        self.write(id, 0, bytes);
        id
    }

    /// A buffer of `length` bytes that nobody has written yet.
    pub fn reserve(&mut self, length: usize) -> BufferId {
        let pages = (0..length.div_ceil(PAGE))
            .map(|_| Mutex::new(Page { data: vec![0; PAGE].into(), written: vec![0; PAGE / 8].into(), stamps: None }))
            .collect();
        self.buffers.push(Buffer { length, pages });
        BufferId(self.buffers.len() - 1)
    }

    /// A buffer of f32 values.
    pub fn add_f32s(&mut self, values: &[f32]) -> BufferId {
        self.add(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Overwrites part of a buffer from outside, as a host copy would; bytes beyond its end are dropped.
    pub fn write(&mut self, id: BufferId, offset: usize, bytes: &[u8]) {
        let buffer = &mut self.buffers[id.0];
        let end = buffer.length.min(offset.saturating_add(bytes.len()));
        let mut at = offset;
        while at < end {
            let within = at % PAGE;
            let count = (PAGE - within).min(end - at);
            let page = buffer.pages[at / PAGE].get_mut().unwrap_or_else(|e| e.into_inner());
            page.data[within..within + count].copy_from_slice(&bytes[at - offset..at - offset + count]);
            page.mark_written(within, count);
            at += count;
        }
    }

    /// Length of a buffer in bytes.
    pub fn len(&self, id: BufferId) -> usize {
        self.buffers[id.0].length
    }

    /// Whether there are no buffers.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// The bytes of a buffer; those never written are zero.
    pub fn bytes(&self, id: BufferId) -> Vec<u8> {
        let buffer = &self.buffers[id.0];
        let mut bytes = Vec::with_capacity(buffer.pages.len() * PAGE);
        for page in &buffer.pages {
            bytes.extend_from_slice(&lock(page).data);
        }
        bytes.truncate(buffer.length);
        bytes
    }

    /// A buffer as f32 values; a rest of fewer than four bytes is dropped.
    pub fn f32s(&self, id: BufferId) -> Vec<f32> {
        self.bytes(id).chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// For each byte of a buffer, whether anybody wrote it.
    pub fn initialised(&self, id: BufferId) -> Vec<bool> {
        let buffer = &self.buffers[id.0];
        let mut all = Vec::with_capacity(buffer.pages.len() * PAGE);
        for page in &buffer.pages {
            let page = lock(page);
            all.extend((0..PAGE).map(|i| page.all_written(i, 1)));
        }
        all.truncate(buffer.length);
        all
    }

    pub(crate) fn count(&self) -> usize {
        self.buffers.len()
    }

    /// Drops buffers from the end, those a launch added for itself.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.buffers.truncate(count);
    }

    /// Forgets who accessed what: a launch begins after everything before it has ended.
    pub(crate) fn forget_accesses(&mut self) {
        for page in self.buffers.iter_mut().flat_map(|b| &mut b.pages) {
            page.get_mut().unwrap_or_else(|e| e.into_inner()).stamps = None;
        }
        self.released.get_mut().unwrap_or_else(|e| e.into_inner()).clear();
    }

    pub(crate) fn place(&self, address: u64, bytes: u64) -> Place {
        let buffer = ((address >> SPACING) as usize).wrapping_sub(1);
        let offset = address & ((1 << SPACING) - 1);
        match self.buffers.get(buffer) {
            Some(b) if offset + bytes <= b.length as u64 => Place::Inside { buffer, offset },
            Some(_) => Place::Outside { buffer: Some(buffer), offset },
            None => Place::Outside { buffer: None, offset: address },
        }
    }

    pub(crate) fn page(&self, buffer: usize, page: usize) -> MutexGuard<'_, Page> {
        lock(&self.buffers[buffer].pages[page])
    }
}

/// A poisoned lock means that another worker panicked; its data is still bytes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
