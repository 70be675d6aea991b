//! Memory of which only what is touched exists.

/// Bytes that are zero at first. Pages come into being when they are written, so that terabytes may be asked for.
pub struct Sparse {
    start: *mut u8,
    bytes: usize,
}

impl Sparse {
    /// So many bytes.
    ///
    /// # Panics
    /// If the system gives no addresses for them, as under a limit of address space (`ulimit -v`).
    pub fn new(bytes: usize) -> Sparse {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the system chooses the place.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert!(start != libc::MAP_FAILED, "no {bytes} bytes of addresses: {}", std::io::Error::last_os_error());
        // A huge page for each row would be memory in earnest.
        #[cfg(target_os = "linux")]
        // SAFETY: it is the mapping from above.
        unsafe {
            libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE);
        }
        Sparse { start: start.cast(), bytes }
    }
    /// The first byte.
    pub fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Sparse {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}
