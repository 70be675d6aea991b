//! Aligned host memory for workspaces and scratch.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Bytes of a huge page on x86-64; on aarch64 mostly, too.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory of a fixed size and alignment.
#[derive(Debug)]
pub(crate) struct Memory {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain bytes, owned.
unsafe impl Send for Memory {}
// SAFETY: shared references give no access to the bytes.
unsafe impl Sync for Memory {}

impl Memory {
    /// None if there is no such memory, or the alignment is not a power of two.
    pub fn new(bytes: usize, align: usize) -> Option<Memory> {
        if bytes >= 2 * HUGE_PAGE {
            return Memory::huge(bytes, align.max(HUGE_PAGE));
        }
        let layout = Layout::from_size_align(bytes.max(1), align).ok()?;
        // SAFETY: the layout's size is not 0.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Memory { pointer, layout })
    }

    /// Memory that the system is asked to back with huge pages: what kernels read from all over then needs few translations of
    /// addresses.
    fn huge(bytes: usize, align: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the layout's size is not 0.
        let pointer = NonNull::new(unsafe { alloc(layout) })?;
        let mut memory = Memory { pointer, layout };
        #[cfg(target_os = "linux")]
        // SAFETY: the region is this allocation's; the advice changes nothing that it holds. Without huge pages it is refused,
        // which does no harm.
        unsafe {
            libc::madvise(pointer.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        memory.fill(0);
        Some(memory)
    }

    pub fn address(&self) -> u64 {
        self.pointer.as_ptr() as u64
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Writes bytes from the start on, as many as fit.
    pub fn copy_from(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.layout.size());
        // SAFETY: both regions are that large; the memory is exclusively borrowed, so they do not overlap.
        unsafe { self.pointer.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), count) }
    }

    /// A copy of all of it.
    pub fn to_vec(&self) -> Vec<u8> {
        // SAFETY: the memory is that large and initialised; nobody writes while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.layout.size()) }.to_vec()
    }

    /// Overwrites all of it.
    pub fn fill(&mut self, byte: u8) {
        // SAFETY: the memory is that large, and exclusively borrowed.
        unsafe { self.pointer.as_ptr().write_bytes(byte, self.layout.size()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.pointer.as_ptr(), self.layout) }
    }
}
