//! A ring small enough to build each known-bad policy into it.
//!
//! Six segments, one behind the other: a header with number, nonce and CRC, then records of a
//! length, a CRC, a number and a payload that follows from the number and the life, then a zero
//! length. Built soundly it keeps the same promises as the recording; with any one of the policies
//! it must break one.

use std::collections::BTreeMap;

use ktm_format::Region;

use ktm_simulation::{Disk, Random};

/// How the ring is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Policy {
    /// Each life begins a segment, each segment seeds its CRCs.
    Sound,
    /// A life goes on behind the last record that the life before left intact.
    ResumeInPlace,
    /// The CRC of a record depends on the record alone.
    UnseededCrc,
    /// The place of the last record stands in a header, and is believed.
    HeaderIsTruth,
}

const SEGMENTS: usize = 6;
const SEGMENT_SIZE: usize = 4096;
const FIRST_SEGMENT: usize = 512;
const HEADER: usize = 24;
const RECORD: usize = 16;
/// Bytes of the disk.
pub(crate) const SIZE: usize = FIRST_SEGMENT + SEGMENTS * SEGMENT_SIZE;

/// What a row holds.
pub(crate) type Rows = BTreeMap<u64, Vec<u8>>;

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"))
}

fn base(seq: u64) -> usize {
    FIRST_SEGMENT + (seq as usize % SEGMENTS) * SEGMENT_SIZE
}

/// Number and nonce of a slot's segment.
fn header(image: &[u8], slot: usize) -> Option<(u64, u64)> {
    let at = FIRST_SEGMENT + slot * SEGMENT_SIZE;
    let is_intact = crc(&[&image[at..at + 16]]) == u32_at(image, at + 16);
    let (seq, nonce) = (u64_at(image, at), u64_at(image, at + 8));
    (is_intact && base(seq) == at && nonce != 0).then_some((seq, nonce))
}

/// The segments in force, oldest first.
fn segments(image: &[u8]) -> Vec<(u64, u64)> {
    let mut found: Vec<_> = (0..SEGMENTS)
        .filter_map(|slot| header(image, slot))
        .collect();
    found.sort_unstable();
    let newest = found.last().map_or(0, |(seq, _)| *seq);
    found.retain(|(seq, _)| seq + SEGMENTS as u64 > newest);
    found
}

/// The place of the last record, as the first sector has it: segment and end.
fn noted_end(image: &[u8]) -> (u64, usize) {
    (u64_at(image, 0), u64_at(image, 8) as usize)
}

/// The rows of a segment, and where they end.
fn walk(image: &[u8], policy: Policy, (seq, nonce): (u64, u64)) -> (Rows, usize) {
    let mut rows = Rows::new();
    let mut at = HEADER;
    let segment = &image[base(seq)..base(seq) + SEGMENT_SIZE];
    let (noted_seq, noted_end) = noted_end(image);
    let is_believed = policy == Policy::HeaderIsTruth && seq == noted_seq;
    loop {
        let length = u32_at(segment, at) as usize;
        let fits = length >= RECORD && at + length + 8 <= SEGMENT_SIZE;
        if !fits || is_believed && at >= noted_end {
            return (rows, at);
        }
        let record = &segment[at..at + length];
        let seed = if policy == Policy::UnseededCrc {
            0
        } else {
            nonce
        };
        let intact = crc(&[&seed.to_le_bytes(), &record[..4], &record[8..]]) == u32_at(record, 4);
        if !intact && !is_believed {
            return (rows, at);
        }
        rows.insert(u64_at(record, 8), record[RECORD..].to_vec());
        at += length;
    }
}

/// Every row on a disk. Numbers that go back are an error: records follow each other.
pub(crate) fn visible(policy: Policy, image: &[u8]) -> Result<Rows, String> {
    let mut all = Rows::new();
    for found in segments(image) {
        let (rows, _) = walk(image, policy, found);
        for (seq, payload) in rows {
            if all.last_key_value().is_some_and(|(last, _)| *last >= seq) {
                return Err(format!("row {seq} out of order"));
            }
            all.insert(seq, payload);
        }
    }
    Ok(all)
}

/// A life of the toy's writer.
pub(crate) struct Toy {
    policy: Policy,
    disk: Disk,
    segment: (u64, u64),
    at: usize,
    next: u64,
    random: Random,
}

impl Toy {
    /// Takes the ring up.
    pub(crate) fn open(policy: Policy, disk: Disk, mut random: Random) -> Toy {
        let image = disk.with(|platters| platters.live.clone());
        let found = segments(&image);
        let rows = visible(policy, &image).unwrap_or_default();
        let next = rows.last_key_value().map_or(1, |(last, _)| last + 1);
        let newest = found.last().copied();
        let nonce = random.number() | 1;
        let mut toy = Toy {
            policy,
            disk,
            segment: (newest.map_or(0, |(seq, _)| seq + 1), nonce),
            at: HEADER,
            next,
            random,
        };
        match newest.filter(|_| policy == Policy::ResumeInPlace) {
            Some(newest) => {
                toy.segment = newest;
                toy.at = walk(&image, policy, newest).1;
            }
            None => toy.begin(),
        }
        toy
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.disk
            .write(at as u64, bytes)
            .expect("this disk does not fail");
    }

    fn begin(&mut self) {
        let (seq, nonce) = self.segment;
        let numbers = [seq.to_le_bytes(), nonce.to_le_bytes()].concat();
        let crc = crc(&[&numbers]).to_le_bytes();
        self.write(base(seq) + HEADER, &[0; 8]);
        self.write(base(seq), &[&numbers[..], &crc, &[0; 4]].concat());
        self.at = HEADER;
    }

    /// Appends a row and gives its number. Most are of one size, so that places repeat.
    pub(crate) fn append(&mut self) -> u64 {
        let words = if self.random.one_in(16) { 5 } else { 12 };
        let payload: Vec<u8> = (0..words)
            .flat_map(|_| self.random.number().to_le_bytes())
            .collect();
        if self.at + RECORD + payload.len() + 8 > SEGMENT_SIZE {
            self.segment.0 += 1;
            self.begin();
        }
        let (segment, nonce) = self.segment;
        let seed = if self.policy == Policy::UnseededCrc {
            0
        } else {
            nonce
        };
        let length = (RECORD + payload.len()) as u32;
        let body = [&self.next.to_le_bytes()[..], &payload].concat();
        let sum = crc(&[&seed.to_le_bytes(), &length.to_le_bytes(), &body]);
        let record = [&length.to_le_bytes()[..], &sum.to_le_bytes(), &body].concat();
        let at = base(segment) + self.at;
        self.write(at + record.len(), &[0; 8]);
        self.write(at, &record);
        self.at += record.len();
        if self.policy == Policy::HeaderIsTruth {
            let end = self.at as u64;
            self.write(0, &[segment.to_le_bytes(), end.to_le_bytes()].concat());
        }
        self.next += 1;
        self.next - 1
    }
}
