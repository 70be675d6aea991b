//! Tensor maps: what the tensor copy engine knows about a tensor in global memory.

use crate::memory::BufferId;
use crate::types::Type;
use std::fmt;

/// Element types of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapElement {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    S32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    S64,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// TensorFloat-32, kept in 32 bits.
    Tf32,
}

impl MapElement {
    /// Width in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::S32 | Self::F32 | Self::Tf32 => 4,
            Self::U64 | Self::S64 | Self::F64 => 8,
        }
    }

    pub(crate) fn ty(self) -> Type {
        match self {
            Self::U8 => Type::U8,
            Self::U16 => Type::U16,
            Self::U32 => Type::U32,
            Self::S32 => Type::S32,
            Self::U64 => Type::U64,
            Self::S64 => Type::S64,
            Self::F16 => Type::F16,
            Self::Bf16 => Type::Bf16,
            Self::F32 | Self::Tf32 => Type::F32,
            Self::F64 => Type::F64,
        }
    }

    fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Option<Self> {
        use MapElement::*;
        [U8, U16, U32, S32, U64, S64, F16, Bf16, F32, F64, Tf32].into_iter().find(|e| e.code() == code)
    }
}

/// How 16-byte chunks are permuted in shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Swizzle {
    /// As they come.
    #[default]
    #[serde(rename = "none")]
    None,
    /// Within 32 bytes.
    #[serde(rename = "32B")]
    B32,
    /// Within 64 bytes.
    #[serde(rename = "64B")]
    B64,
    /// Within 128 bytes.
    #[serde(rename = "128B")]
    B128,
}

impl Swizzle {
    /// Which bits of the row number (address bits 7 and up) are xored into the chunk number (bits 4 and up).
    pub(crate) fn mask(self) -> usize {
        match self {
            Self::None => 0,
            Self::B32 => 1,
            Self::B64 => 3,
            Self::B128 => 7,
        }
    }

    /// Bytes that a row may have at most; unlimited without a swizzle.
    fn span(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::B32 => 32,
            Self::B64 => 64,
            Self::B128 => 128,
        }
    }
}

/// The permuted place of a shared address.
pub(crate) fn swizzled(address: usize, mask: usize) -> usize {
    address ^ ((address >> 7 & mask) << 4)
}

/// A tiled tensor map, as `cuTensorMapEncodeTiled` would make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub(crate) element: MapElement,
    pub(crate) base: u64,
    /// Elements along each axis, the contiguous one first.
    pub(crate) sizes: Vec<u32>,
    /// Bytes between neighbours along every axis but the first.
    pub(crate) strides: Vec<u64>,
    /// Elements of a copy along each axis.
    pub(crate) tile: Vec<u32>,
    pub(crate) swizzle: Swizzle,
    /// Elements outside the tensor read as NaN instead of zero.
    pub(crate) nan_fill: bool,
}

/// Why a tensor map cannot be made; the driver rejects the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMapError(String);

impl fmt::Display for TensorMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TensorMapError {}

/// Marks an encoded map, so that other bytes are not taken for one.
const MAGIC: u64 = 0x7074_782d_766d_746d;
/// Size of an encoded map: that of `CUtensorMap`.
pub(crate) const MAP_BYTES: usize = 128;

impl TensorMap {
    /// A map of the tensor that starts `offset` bytes into `buffer`.
    ///
    /// `sizes` and `tile` count elements along 1 to 5 axes, the contiguous axis first; `strides` are bytes, one fewer.
    ///
    /// # Errors
    /// What the driver rejects: misaligned bases or strides, tiles longer than 256 elements, rows that are not a
    /// multiple of 16 bytes or wider than the swizzle.
    pub fn tiled(
        element: MapElement,
        buffer: BufferId,
        offset: u64,
        sizes: &[u32],
        strides: &[u64],
        tile: &[u32],
        swizzle: Swizzle,
    ) -> Result<Self, TensorMapError> {
        let fail = |sentence: String| Err(TensorMapError(sentence));
        let rank = sizes.len();
        if !(1..=5).contains(&rank) || strides.len() != rank - 1 || tile.len() != rank {
            return fail(format!(
                "a tensor map has 1 to 5 axes with as many tile extents and one stride fewer, not {rank}, {} and {}",
                tile.len(),
                strides.len()
            ));
        }
        let base = buffer.address() + offset;
        if !base.is_multiple_of(16) {
            return fail("the tensor must start at a multiple of 16 bytes".into());
        }
        if let Some(stride) = strides.iter().find(|&&s| !s.is_multiple_of(16) || s >= 1 << 40) {
            return fail(format!("a stride must be a multiple of 16 bytes below 2^40, not {stride}"));
        }
        if let Some(extent) = tile.iter().find(|&&t| t == 0 || t > 256) {
            return fail(format!("a tile has 1 to 256 elements along an axis, not {extent}"));
        }
        if sizes.contains(&0) {
            return fail("a tensor has at least one element along each axis".into());
        }
        let row = tile[0] as usize * element.bytes();
        if !row.is_multiple_of(16) {
            return fail(format!("a tile row must be a multiple of 16 bytes, not {row}"));
        }
        if row > swizzle.span() {
            return fail(format!("a tile row of {row} bytes is wider than its swizzle of {} bytes", swizzle.span()));
        }
        Ok(Self {
            element,
            base,
            sizes: sizes.to_vec(),
            strides: strides.to_vec(),
            tile: tile.to_vec(),
            swizzle,
            nan_fill: false,
        })
    }

    /// The same map with NaN instead of zero for elements outside the tensor.
    #[must_use]
    pub fn fill_with_nan(mut self) -> Self {
        self.nan_fill = true;
        self
    }

    /// Bytes of one tile.
    pub(crate) fn tile_bytes(&self) -> usize {
        self.tile.iter().map(|&t| t as usize).product::<usize>() * self.element.bytes()
    }

    /// The 128 bytes a kernel receives; their layout is this crate's own.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAP_BYTES);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(self.base.to_le_bytes());
        let swizzle = match self.swizzle {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 2,
            Swizzle::B128 => 3,
        };
        bytes.extend([self.sizes.len() as u8, self.element.code(), swizzle, u8::from(self.nan_fill), 0, 0, 0, 0]);
        for axis in 0..5 {
            bytes.extend(self.sizes.get(axis).copied().unwrap_or(1).to_le_bytes());
        }
        for axis in 0..4 {
            bytes.extend(self.strides.get(axis).copied().unwrap_or(0).to_le_bytes());
        }
        for axis in 0..5 {
            bytes.extend((self.tile.get(axis).copied().unwrap_or(1) as u16).to_le_bytes());
        }
        bytes.resize(MAP_BYTES, 0);
        bytes
    }

    /// Reads an encoded map back.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        if word(0)? != MAGIC {
            return None;
        }
        let rank = usize::from(bytes[16]);
        if !(1..=5).contains(&rank) {
            return None;
        }
        let swizzle = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128];
        Some(Self {
            element: MapElement::from_code(bytes[17])?,
            base: word(8)?,
            sizes: (0..rank).map(|a| word(24 + 4 * a).map_or(1, |w| w as u32)).collect(),
            strides: (0..rank - 1).map(|a| word(44 + 8 * a).unwrap_or(0)).collect(),
            tile: (0..rank).map(|a| word(76 + 2 * a).map_or(1, |w| u32::from(w as u16))).collect(),
            swizzle: *swizzle.get(usize::from(bytes[18]))?,
            nan_fill: bytes[19] != 0,
        })
    }

    /// Calls `f` with the place of each 16-byte-or-smaller run of the tile: its offset in the unswizzled tile, the
    /// global address (`None` outside the tensor) and its length. Runs never straddle the tensor's edge.
    pub(crate) fn each_element_run(&self, start: &[i32], mut f: impl FnMut(usize, Option<u64>, usize)) {
        let size = self.element.bytes();
        let row = self.tile[0] as usize;
        let per_run = 16 / size;
        self.each_row(start, |offset, address, inside| {
            for run in 0..row.div_ceil(per_run) {
                let first = run * per_run;
                let count = per_run.min(row - first);
                let at = |i: usize| i64::from(start[0]) + (first + i) as i64;
                let here = |i: usize| inside && at(i) >= 0 && at(i) < i64::from(self.sizes[0]);
                let offset = offset + first * size;
                let global = |i: usize| (i128::from(address) + i128::from(at(i)) * size as i128) as u64;
                if (0..count).all(here) && global(0).is_multiple_of(16) {
                    f(offset, Some(global(0)), count * size);
                } else {
                    for i in 0..count {
                        f(offset + i * size, here(i).then(|| global(i)), size);
                    }
                }
            }
        });
    }

    /// Calls `f` with the tile offset and the global address of every element beyond the end of a row that shares its 16
    /// bytes of global memory with an element inside, the tile and the row both.
    ///
    /// Stores and reductions change them as well: an H100 writes in pieces of 16 bytes and clips whole pieces. Rows start at
    /// multiples of 16 bytes, as their tensor and its strides do.
    pub(crate) fn each_element_past_end(&self, start: &[i32], mut f: impl FnMut(usize, u64)) {
        let size = self.element.bytes();
        let (from, end) = (i64::from(start[0]), i64::from(self.sizes[0]));
        let piece_end = u64::from(self.sizes[0]).next_multiple_of(16 / size as u64) as i64;
        self.each_row(start, |first, row, inside| {
            // A tile that starts beyond the end shares nothing with an element inside.
            if inside && from < end {
                for at in end..piece_end.min(from + i64::from(self.tile[0])) {
                    f(first + (at - from) as usize * size, row.wrapping_add(at as u64 * size as u64));
                }
            }
        });
    }

    /// Calls `f` with every row of the tile: the offset of its first element in the tile, the global address of its
    /// coordinate 0, and whether all coordinates but the first lie inside.
    fn each_row(&self, start: &[i32], mut f: impl FnMut(usize, u64, bool)) {
        let rows = self.tile[1..].iter().map(|&t| t as usize).product::<usize>();
        for r in 0..rows {
            let mut rest = r;
            let mut address = i128::from(self.base);
            let mut inside = true;
            for axis in 1..self.tile.len() {
                let at = i64::from(start[axis]) + (rest % self.tile[axis] as usize) as i64;
                rest /= self.tile[axis] as usize;
                inside &= at >= 0 && at < i64::from(self.sizes[axis]);
                address += i128::from(at) * i128::from(self.strides[axis - 1]);
            }
            f(r * self.tile[0] as usize * self.element.bytes(), address as u64, inside);
        }
    }

    /// The bytes an element outside the tensor reads as: of the NaNs the one that an H100 fills in.
    pub(crate) fn fill(&self) -> [u8; 8] {
        let floating = matches!(
            self.element,
            MapElement::F16 | MapElement::Bf16 | MapElement::F32 | MapElement::Tf32 | MapElement::F64
        );
        if self.nan_fill && floating { [0xf7, 0x7f, 0xf7, 0x7f, 0xf7, 0x7f, 0xf7, 0x7f] } else { [0; 8] }
    }

    /// What a copy makes of the elements that it brings: those of a map of TensorFloat-32 are rounded to it.
    pub(crate) fn convert(&self, data: &mut [u8]) {
        if self.element != MapElement::Tf32 {
            return;
        }
        for element in data.chunks_exact_mut(4) {
            let bits = u32::from_le_bytes([element[0], element[1], element[2], element[3]]);
            let infinite = bits & 0x7f80_0000 == 0x7f80_0000;
            let up = u32::from(bits & 0x1fff > 0x1000 || bits & 0x3fff == 0x3000);
            let rounded = if infinite { bits } else { (bits & !0x1fff) + (up << 13) };
            element.copy_from_slice(&rounded.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(sizes: &[u32], tile: &[u32]) -> TensorMap {
        let strides: Vec<u64> = (1..sizes.len()).map(|a| 256 * a as u64).collect();
        TensorMap::tiled(MapElement::Bf16, BufferId(3), 32, sizes, &strides, tile, Swizzle::B64).unwrap()
    }

    #[test]
    fn encoding_round_trips() {
        for map in [map(&[100], &[8]), map(&[100, 7, 9, 2, 3], &[32, 1, 2, 1, 3]).fill_with_nan()] {
            assert_eq!(TensorMap::decode(&map.encode()), Some(map));
        }
        assert_eq!(TensorMap::decode(&[0; 128]), None);
    }

    #[test]
    fn runs_cover_the_tile_once_and_mark_the_outside() {
        let map = map(&[20, 3], &[16, 4]);
        let mut covered = vec![0; map.tile_bytes()];
        let mut outside = 0;
        map.each_element_run(&[8, 1], |offset, address, length| {
            covered[offset..offset + length].iter_mut().for_each(|c| *c += 1);
            outside += if address.is_none() { length } else { 0 };
        });
        assert!(covered.iter().all(|&c| c == 1));
        // Of 16 x 4 elements, 12 x 2 lie inside.
        assert_eq!(outside, (64 - 24) * 2);
    }

    #[test]
    fn what_shares_a_piece_with_the_end_of_a_row() {
        // Rows of 20 elements from byte 32 on, 256 bytes apart: their last 16 bytes hold elements 16 to 23.
        let map = map(&[20, 3], &[16, 4]);
        let past = |start: [i32; 2]| {
            let mut past = Vec::new();
            map.each_element_past_end(&start, |offset, address| past.push((offset, address - map.base)));
            past
        };
        assert_eq!(past([8, 1])[..4], [(24, 256 + 40), (26, 256 + 42), (28, 256 + 44), (30, 256 + 46)]);
        assert_eq!(past([8, 1]).len(), 8);
        // A tile that ends before, one that starts beyond, one that starts with the last piece.
        assert!(past([0, 0]).is_empty() && past([24, 0]).is_empty());
        assert_eq!(past([16, 2]), [(8, 512 + 40), (10, 512 + 42), (12, 512 + 44), (14, 512 + 46)]);
    }

    #[test]
    fn rules_of_the_driver() {
        let make = |sizes: &[u32], strides: &[u64], tile: &[u32], swizzle| {
            TensorMap::tiled(MapElement::F16, BufferId(0), 0, sizes, strides, tile, swizzle)
        };
        assert!(make(&[64, 64], &[24], &[64, 8], Swizzle::None).is_err());
        assert!(make(&[64, 64], &[128], &[128, 8], Swizzle::B128).is_err());
        assert!(make(&[64, 64], &[128], &[4, 8], Swizzle::None).is_err());
        assert!(make(&[64, 64], &[128], &[64, 257], Swizzle::None).is_err());
        assert!(make(&[64, 64], &[128], &[64, 8], Swizzle::B128).is_ok());
    }
}
