//! How a file is divided: a header zone, the hot ring, the cold ring.
//!
//! ```text
//! 0          superblock A
//! 32 KiB     superblock B
//! 64 KiB     hot ring    hot_count  segments of segment_size bytes
//!            cold ring   cold_count segments of segment_size bytes
//!            (a tail shorter than a segment, unused)
//! ```
//!
//! Geometry never changes after creation.

use crate::error::{Error, Result};

/// Bytes before the first segment. A multiple of every page size in use, so that the hot ring can
/// be mapped on its own.
pub const HEADER_ZONE: u64 = 64 * 1024;

/// The smallest recording.
pub const MIN_FILE_SIZE: u64 = 1024 * 1024;

/// The largest recording: beyond it the index of segments alone would not be small.
pub const MAX_FILE_SIZE: u64 = 1 << 40;

const MIN_SEGMENT: u64 = 64 * 1024;
const MAX_SEGMENT: u64 = 1024 * 1024;

/// Which ring a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Raw rows, written by stores into the mapping.
    Hot,
    /// Sealed, compressed blocks.
    Cold,
}

impl Ring {
    pub(crate) const fn code(self) -> u16 {
        match self {
            Ring::Hot => 1,
            Ring::Cold => 2,
        }
    }
}

/// The division of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The file's size in bytes, all of it allocated.
    pub file_size: u64,
    /// Bytes of every segment, a power of two.
    pub segment_size: u32,
    /// Segments of the hot ring.
    pub hot_count: u32,
    /// Segments of the cold ring.
    pub cold_count: u32,
}

impl Geometry {
    /// Divides a file of this size.
    ///
    /// # Errors
    ///
    /// [`Error::TooSmall`] below [`MIN_FILE_SIZE`].
    pub fn for_size(file_size: u64) -> Result<Geometry> {
        if file_size < MIN_FILE_SIZE {
            return Err(Error::TooSmall {
                given: file_size,
                minimum: MIN_FILE_SIZE,
            });
        }
        let file_size = file_size.min(MAX_FILE_SIZE);
        let segment = (file_size / 256)
            .next_power_of_two()
            .clamp(MIN_SEGMENT, MAX_SEGMENT);
        let slots = (file_size - HEADER_ZONE) / segment;
        let hot = (slots / 32).clamp(4, 64);
        let cold = slots - hot;
        Ok(Geometry {
            file_size,
            segment_size: u32::try_from(segment).expect("at most MAX_SEGMENT"),
            hot_count: u32::try_from(hot).expect("at most 64"),
            cold_count: u32::try_from(cold).expect("MAX_FILE_SIZE / MAX_SEGMENT fits"),
        })
    }

    /// True where the numbers fit together; what is read from a file must pass this.
    pub(crate) fn is_sound(&self) -> bool {
        let segment = u64::from(self.segment_size);
        let slots = u64::from(self.hot_count) + u64::from(self.cold_count);
        segment.is_power_of_two()
            && (512..=MAX_SEGMENT).contains(&segment)
            && self.hot_count >= 2
            && self.cold_count >= 1
            && self.file_size <= MAX_FILE_SIZE
            && HEADER_ZONE + slots * segment <= self.file_size
    }

    /// Segments of one ring.
    pub const fn count(&self, ring: Ring) -> u32 {
        match ring {
            Ring::Hot => self.hot_count,
            Ring::Cold => self.cold_count,
        }
    }

    /// How many slots of a ring begin within so many bytes of a file.
    pub(crate) fn slots_within(&self, ring: Ring, length: u64) -> u32 {
        let bytes = length.saturating_sub(self.offset(ring, 0));
        let slots = bytes.div_ceil(u64::from(self.segment_size));
        u32::try_from(slots).map_or(self.count(ring), |slots| slots.min(self.count(ring)))
    }

    /// The file offset of a slot.
    pub fn offset(&self, ring: Ring, slot: u32) -> u64 {
        let before = match ring {
            Ring::Hot => 0,
            Ring::Cold => u64::from(self.hot_count),
        };
        HEADER_ZONE + (before + u64::from(slot)) * u64::from(self.segment_size)
    }

    /// The slot that an offset lies in.
    pub(crate) fn slot_at(&self, offset: u64) -> Option<(Ring, u32)> {
        let index = offset.checked_sub(HEADER_ZONE)? / u64::from(self.segment_size);
        let index = u32::try_from(index).ok()?;
        match index.checked_sub(self.hot_count) {
            None => Some((Ring::Hot, index)),
            Some(slot) => (slot < self.cold_count).then_some((Ring::Cold, slot)),
        }
    }

    /// The slot that a segment sequence number belongs in.
    pub fn slot(&self, ring: Ring, seq: u64) -> u32 {
        let slot = seq % u64::from(self.count(ring));
        u32::try_from(slot).expect("smaller than a u32 count")
    }

    /// The bytes of the hot ring, offset and length.
    pub fn hot_range(&self) -> (u64, u64) {
        (
            HEADER_ZONE,
            u64::from(self.hot_count) * u64::from(self.segment_size),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_divides_soundly_and_never_exceeds_the_file() {
        for size in [
            MIN_FILE_SIZE,
            1_500_000,
            4 << 20,
            64 << 20,
            (1 << 30) + 12_345,
            1 << 40,
        ] {
            let geometry = Geometry::for_size(size).expect("large enough");
            assert!(geometry.is_sound(), "{geometry:?}");
            let last = geometry.offset(Ring::Cold, geometry.cold_count - 1);
            assert!(last + u64::from(geometry.segment_size) <= size);
        }
        assert!(matches!(
            Geometry::for_size(MIN_FILE_SIZE - 1),
            Err(Error::TooSmall { .. })
        ));
    }
}
