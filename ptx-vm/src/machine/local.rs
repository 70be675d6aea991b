//! Memory private to each thread: stack frames and spills.

use super::warp::LANES;

/// The local memory of a warp, one slice of `size` bytes a lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalMemory {
    size: usize,
    data: Vec<u8>,
    written: Vec<bool>,
}

/// Why an access failed.
pub(crate) enum LocalFault {
    OutOfBounds,
    Uninitialised,
}

impl LocalMemory {
    pub fn new(size: usize) -> Self {
        Self { size, data: vec![0; size * LANES], written: vec![false; size * LANES] }
    }

    fn range(&self, lane: usize, address: u64, bytes: usize) -> Option<std::ops::Range<usize>> {
        let address = usize::try_from(address).ok()?;
        (address.checked_add(bytes)? <= self.size).then(|| {
            let start = lane * self.size + address;
            start..start + bytes
        })
    }

    pub fn read(&self, lane: usize, address: u64, into: &mut [u8]) -> Result<(), LocalFault> {
        let range = self.range(lane, address, into.len()).ok_or(LocalFault::OutOfBounds)?;
        into.copy_from_slice(&self.data[range.clone()]);
        if self.written[range].iter().all(|&w| w) { Ok(()) } else { Err(LocalFault::Uninitialised) }
    }

    pub fn write(&mut self, lane: usize, address: u64, from: &[u8]) -> Result<(), LocalFault> {
        let range = self.range(lane, address, from.len()).ok_or(LocalFault::OutOfBounds)?;
        self.data[range.clone()].copy_from_slice(from);
        self.written[range].fill(true);
        Ok(())
    }
}
