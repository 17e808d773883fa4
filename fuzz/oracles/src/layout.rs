//! Where things are in a file, and their checksums: written from `docs/format.md` alone, so that
//! what is damaged can be sealed again and gets past the checksums.

use std::ops::Range;

pub(crate) const HEADER_ZONE: usize = 65_536;
pub(crate) const SUPERBLOCKS: [usize; 2] = [0, 32_768];
pub(crate) const SUPERBLOCK: usize = 256;
pub(crate) const SEGMENT_HEADER: usize = 128;
pub(crate) const RECORD_HEADER: usize = 48;

/// How the segments lie in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) segment: usize,
    pub(crate) segments: usize,
}

impl Layout {
    /// Where a segment begins; the number may be any.
    pub(crate) fn segment_at(&self, number: usize) -> Range<usize> {
        let base = HEADER_ZONE + number % self.segments * self.segment;
        base..base + self.segment
    }
}

fn get<const N: usize>(image: &[u8], at: usize) -> [u8; N] {
    let bytes = image
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.unwrap_or([0; N])
}

/// Writes as much as there is room for.
pub(crate) fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    let room = image.get_mut(at..).unwrap_or_default();
    let count = room.len().min(bytes.len());
    room[..count].copy_from_slice(&bytes[..count]);
}

/// Puts right the CRC of a structure that has it at `crc` and is summed with that field zero.
fn seal_structure(image: &mut [u8], range: Range<usize>, crc: usize) {
    let Some(bytes) = image.get_mut(range) else {
        return;
    };
    bytes[crc..crc + 4].fill(0);
    let sum = crc32fast::hash(bytes);
    put(bytes, crc, &sum.to_le_bytes());
}

pub(crate) fn seal_superblock(image: &mut [u8], copy: usize) {
    let at = SUPERBLOCKS[copy % 2];
    seal_structure(image, at..at + SUPERBLOCK, 12);
}

pub(crate) fn seal_segment_header(image: &mut [u8], at: usize) {
    seal_structure(image, at..at + SEGMENT_HEADER, 4);
}

/// The seed of a segment that begins at `base`: the CRC of its nonce and its number.
pub(crate) fn seed(image: &[u8], base: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&get::<8>(image, base + 24));
    hasher.update(&get::<8>(image, base + 16));
    hasher.finalize()
}

fn record_crc(seed: u32, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&record[..8]);
    hasher.update(&record[12..]);
    hasher.finalize()
}

/// The mark behind the last record, at this offset of the segment.
pub(crate) fn end_mark(seed: u32, offset: usize) -> [u8; 8] {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&(offset as u64).to_le_bytes());
    let mut mark = [0; 8];
    mark[4..].copy_from_slice(&hasher.finalize().to_le_bytes());
    mark
}

/// The records of a segment, up to the first place that is none.
pub(crate) fn records(image: &[u8], segment: &Range<usize>) -> Vec<Range<usize>> {
    let limit = segment.end.min(image.len()).saturating_sub(SEGMENT_HEADER);
    let mut records = Vec::new();
    let mut at = segment.start + SEGMENT_HEADER;
    while at + RECORD_HEADER <= limit {
        let length = u32::from_le_bytes(get(image, at)) as usize;
        let is_possible = length >= RECORD_HEADER && length.is_multiple_of(8);
        if !is_possible || length > limit - at {
            break;
        }
        records.push(at..at + length);
        at += length;
    }
    records
}

/// Puts right a record's CRC.
pub(crate) fn seal_record(image: &mut [u8], seed: u32, record: &Range<usize>) {
    let Some(bytes) = image.get_mut(record.clone()) else {
        return;
    };
    if bytes.len() >= RECORD_HEADER {
        let crc = record_crc(seed, bytes);
        put(bytes, 8, &crc.to_le_bytes());
    }
}

/// Puts a record with this header behind the last one of a segment, if there is room.
pub(crate) fn append_record(
    image: &mut [u8],
    segment: &Range<usize>,
    header: &[u8; RECORD_HEADER],
    payload: &[u8],
) {
    let limit = segment.end.min(image.len()).saturating_sub(SEGMENT_HEADER);
    let start = segment.start + SEGMENT_HEADER;
    let at = records(image, segment)
        .last()
        .map_or(start, |last| last.end);
    let length = (RECORD_HEADER + payload.len()).next_multiple_of(8);
    if at + length + 8 > limit {
        return;
    }
    let record = at..at + length;
    image[record.clone()].fill(0);
    put(image, at, header);
    put(image, at, &u32::try_from(length).unwrap_or(0).to_le_bytes());
    put(image, at + RECORD_HEADER, payload);
    let seed = seed(image, segment.start);
    seal_record(image, seed, &record);
    put(
        image,
        record.end,
        &end_mark(seed, record.end - segment.start),
    );
}
