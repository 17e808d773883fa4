//! The geometry of a file without superblocks, by where its segments stand.

use std::collections::BTreeMap;

use super::header_in;
use crate::error::{Damage, DamageKind, Error, Result};
use crate::geometry::{Geometry, HEADER_ZONE, Ring};
use crate::segment::{SEGMENT_HEADER_SIZE, SEGMENT_MAGIC, SegmentHeader};
use crate::source::ReadAt;
use crate::superblock::{SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE, Superblock, VERSION};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Bytes read at once where the disk does not give back a chunk.
const PIECE: usize = 4096;

/// Lengths of a ring that are tried at most.
const MOST_TRIED: u32 = 4096;

/// Segment headers of one file and where they stand, counted from the hot ring's begin.
struct Sightings {
    /// Bytes behind the header zone.
    length: u64,
    headers: Vec<(u64, SegmentHeader)>,
}

/// What the superblock must have been, and its damage; `None` when there is no segment.
pub(super) fn superblock(source: &impl ReadAt) -> Result<Option<(Superblock, Vec<Damage>)>> {
    let file_size = source.len()?;
    let mut sightings = Sightings {
        length: file_size.saturating_sub(HEADER_ZONE),
        headers: sight(source, file_size),
    };
    let Some(uuid) = sightings.keep_most_frequent() else {
        return Ok(None);
    };
    let versions = sightings
        .headers
        .iter()
        .map(|(_, header)| header.version.get());
    let found = versions.max().unwrap_or(VERSION);
    if found > VERSION {
        return Err(Error::UnsupportedVersion {
            found,
            supported: VERSION,
        });
    }
    let geometry = sightings.geometry(file_size);
    let damage = SUPERBLOCK_OFFSETS.map(|offset| Damage {
        offset,
        length: SUPERBLOCK_SIZE as u64,
        what: DamageKind::Superblocks,
    });
    let superblock = Superblock::new(geometry, uuid, 0, "");
    Ok(Some((superblock, damage.to_vec())))
}

/// Every whole segment header in the file. Both of a segment's are at multiples of their own size.
fn sight(source: &impl ReadAt, file_size: u64) -> Vec<(u64, SegmentHeader)> {
    let mut headers = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = HEADER_ZONE;
    while offset < file_size {
        let length = usize::try_from(file_size - offset)
            .unwrap_or(CHUNK)
            .min(CHUNK);
        let chunk = &mut buffer[..length];
        if source.read_at(offset, chunk).is_err() {
            chunk.fill(0);
            for (index, piece) in chunk.chunks_mut(PIECE).enumerate() {
                // What does not come back stays zero and holds no header.
                let _ = source.read_at(offset + (index * PIECE) as u64, piece);
            }
        }
        for (index, bytes) in chunk.chunks_exact(SEGMENT_HEADER_SIZE).enumerate() {
            if bytes.starts_with(&SEGMENT_MAGIC)
                && let Some(header) = header_in(bytes)
            {
                let at = offset - HEADER_ZONE + (index * SEGMENT_HEADER_SIZE) as u64;
                headers.push((at, header));
            }
        }
        offset += length as u64;
    }
    headers
}

impl Sightings {
    /// Keeps the headers of the file that most of them belong to.
    fn keep_most_frequent(&mut self) -> Option<[u8; 16]> {
        let mut counts = BTreeMap::new();
        for (_, header) in &self.headers {
            *counts.entry(header.uuid).or_insert(0_usize) += 1;
        }
        let (uuid, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        self.headers.retain(|(_, header)| header.uuid == uuid);
        Some(uuid)
    }

    /// The division that most headers agree with. Among several, the one that our writer gives a
    /// file of this size, then the one of the largest segments.
    fn geometry(&self, file_size: u64) -> Geometry {
        let ours = Geometry::for_size(file_size).ok();
        let sizes = (9..=20).map(|power| 1_u32 << power);
        let segment_size = sizes
            .max_by_key(|size| {
                let is_ours = ours.is_some_and(|ours| ours.segment_size == *size);
                (self.agree_on_size(u64::from(*size)), is_ours, *size)
            })
            .unwrap_or(1 << 16);
        let size = u64::from(segment_size);
        let slots = u32::try_from(self.length.div_ceil(size)).unwrap_or(u32::MAX);
        let most = self.most_hot(size, slots);
        let hot_count = (1..=most)
            .max_by_key(|hot| {
                let is_ours = ours.is_some_and(|ours| ours.hot_count == *hot);
                (self.agree_on_border(size, *hot), is_ours, u32::MAX - hot)
            })
            .unwrap_or(1);
        let cold_count = self.cold_count(size, hot_count, slots);
        let least = HEADER_ZONE + (u64::from(hot_count) + u64::from(cold_count)) * size;
        let is_cut_short = hot_count + cold_count > slots;
        Geometry {
            file_size: if is_cut_short { least } else { file_size },
            segment_size,
            hot_count,
            cold_count,
        }
    }

    /// How many headers stand at the begin or the end of a segment of this size.
    fn agree_on_size(&self, size: u64) -> usize {
        let trailer = size - SEGMENT_HEADER_SIZE as u64;
        let agree = |at: &u64| matches!(at % size, at if at == 0 || at == trailer);
        self.headers.iter().filter(|(at, _)| agree(at)).count()
    }

    /// The hot ring is at most what lies before the last cold segment.
    fn most_hot(&self, size: u64, slots: u32) -> u32 {
        let cold = Ring::Cold.code();
        let cold = self
            .headers
            .iter()
            .filter(|(_, header)| header.ring.get() == cold);
        let last_cold = cold
            .map(|(at, _)| u32::try_from(at / size).unwrap_or(u32::MAX))
            .max();
        last_cold.unwrap_or(slots).min(slots).clamp(1, MOST_TRIED)
    }

    /// How many headers stand on their ring's side of the border, and how many of the hot ring's in
    /// the slot of their number.
    fn agree_on_border(&self, size: u64, hot: u32) -> (usize, usize) {
        let hot = u64::from(hot);
        let (mut sides, mut slots) = (0, 0);
        for (at, header) in &self.headers {
            let slot = at / size;
            let is_hot = header.ring.get() == Ring::Hot.code();
            sides += usize::from(is_hot == (slot < hot));
            slots += usize::from(is_hot && slot == header.seq.get() % hot);
        }
        (sides, slots)
    }

    /// The length of the cold ring that most of its numbers agree with: what is left of the file,
    /// or more where it was cut short.
    fn cold_count(&self, size: u64, hot: u32, slots: u32) -> u32 {
        let left = slots.saturating_sub(hot).max(1);
        let agree = |count: u32| {
            let cold = self
                .headers
                .iter()
                .filter(|(_, h)| h.ring.get() == Ring::Cold.code());
            let in_slot = cold.filter(|(at, header)| {
                (at / size).checked_sub(u64::from(hot)) == Some(header.seq.get() % u64::from(count))
            });
            in_slot.count()
        };
        (left..left.saturating_add(MOST_TRIED))
            .max_by_key(|count| (agree(*count), u32::MAX - count))
            .unwrap_or(left)
    }
}
