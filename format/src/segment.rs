//! Segments: the fixed slots of both rings.
//!
//! ```text
//! 0                header          128 bytes
//! 128              records, then the end mark
//! size - 128       the header once more
//! ```
//!
//! A segment is written by one run and read alone: it carries the schemas its records use. Nothing
//! is ever appended to a segment that was found on open.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Stamp;
use crate::geometry::{Geometry, Ring};
use crate::record::{MAX_SEQ, RECORD_HEADER_SIZE, Walk};

/// The first four bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 4] = *b"KSEG";

/// Bytes of each of a segment's two headers.
pub const SEGMENT_HEADER_SIZE: usize = 128;

/// A segment's header as it lies in the file, twice.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`SEGMENT_MAGIC`].
    pub magic: [u8; 4],
    /// CRC-32 of the whole structure with this field zero.
    pub crc: U32,
    /// 1 for the hot ring, 2 for the cold ring.
    pub ring: U16,
    /// Format version.
    pub version: U16,
    /// The run that wrote the segment.
    pub run: U32,
    /// Number of the segment in its ring. The slot is this modulo the ring's segments.
    pub seq: U64,
    /// Random for every open of the file.
    pub nonce: U64,
    /// The file's uuid: a segment of another file is no segment of this one.
    pub uuid: [u8; 16],
    /// Boot id of the machine that wrote the segment.
    pub boot_id: [u8; 16],
    /// Hint: the newest CLOCK_REALTIME recorded before the segment was begun, nanoseconds, or 0.
    pub realtime_ns: I64,
    /// Hint: CLOCK_BOOTTIME of the same.
    pub boottime_ns: U64,
    /// Zero.
    pub unused: [u8; 48],
}

const _: () = assert!(size_of::<SegmentHeader>() == SEGMENT_HEADER_SIZE);

/// What sets one segment apart from the others of its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) ring: Ring,
    pub(crate) seq: u64,
    pub(crate) run: u32,
    pub(crate) nonce: u64,
    pub(crate) uuid: [u8; 16],
    pub(crate) boot_id: [u8; 16],
    pub(crate) begun: Stamp,
}

impl SegmentHeader {
    pub(crate) fn new(identity: &Identity) -> SegmentHeader {
        SegmentHeader {
            magic: SEGMENT_MAGIC,
            crc: 0.into(),
            ring: identity.ring.code().into(),
            version: crate::superblock::VERSION.into(),
            run: identity.run.into(),
            seq: identity.seq.into(),
            nonce: identity.nonce.into(),
            uuid: identity.uuid,
            boot_id: identity.boot_id,
            realtime_ns: identity.begun.realtime_ns.into(),
            boottime_ns: identity.begun.boottime_ns.into(),
            unused: [0; 48],
        }
        .sealed()
    }

    fn sealed(self) -> SegmentHeader {
        let blank = SegmentHeader {
            crc: 0.into(),
            ..self
        };
        SegmentHeader {
            crc: crc32fast::hash(blank.as_bytes()).into(),
            ..blank
        }
    }

    /// The steps that make an empty segment of a slot, whatever the slot held: offsets in the slot
    /// and bytes, each to become visible after those before it.
    ///
    /// A header without its first word counts as not written. So a death between any two steps, or
    /// words, leaves the old segment whole, a slot that says it is being begun, or the new segment.
    pub(crate) fn steps_to_begin(&self, segment_size: usize) -> [(usize, Vec<u8>); 6] {
        const WORD: usize = 8;
        let trailer = trailer_offset(segment_size);
        let (first, rest) = self.as_bytes().split_at(WORD);
        let mark = crate::record::end_mark(self.seed(), DATA_START);
        [
            (trailer, vec![0; WORD]),
            (0, vec![0; WORD]),
            (WORD, [rest, &mark].concat()),
            (trailer + WORD, rest.to_vec()),
            (0, first.to_vec()),
            (trailer, first.to_vec()),
        ]
    }

    /// The initial value of every CRC in the segment: a CRC of nonce and segment number.
    ///
    /// The number alone would not do: when a header was lost and its records survived, the next run
    /// uses the number again.
    pub(crate) fn seed(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.nonce.as_bytes());
        hasher.update(self.seq.as_bytes());
        hasher.finalize()
    }

    /// Whether magic, CRC and number are right, wherever the header may belong.
    pub(crate) fn is_intact(&self) -> bool {
        let is_possible = self.seq.get() <= MAX_SEQ;
        self.magic == SEGMENT_MAGIC && self.sealed().crc == self.crc && is_possible
    }

    /// What tells the later of two segments of one slot.
    fn order(&self) -> (u64, u32) {
        (self.seq.get(), self.run.get())
    }

    /// Whether this header belongs in this slot of this file.
    fn belongs(&self, geometry: &Geometry, uuid: &[u8; 16], ring: Ring, slot: u32) -> bool {
        self.is_intact()
            && self.ring.get() == ring.code()
            && self.uuid == *uuid
            && geometry.slot(ring, self.seq.get()) == slot
    }
}

/// First byte of the records.
pub(crate) const DATA_START: usize = SEGMENT_HEADER_SIZE;

/// First byte after the records and the end mark.
pub(crate) const fn data_limit(segment_size: usize) -> usize {
    segment_size - SEGMENT_HEADER_SIZE
}

/// Bytes that records may take in an empty segment, the end mark apart.
pub(crate) const fn data_capacity(segment_size: usize) -> usize {
    data_limit(segment_size) - DATA_START - 8
}

/// Offset of the second header.
pub(crate) const fn trailer_offset(segment_size: usize) -> usize {
    segment_size - SEGMENT_HEADER_SIZE
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// Never written.
    Empty,
    /// A segment was being begun in the slot, and nothing was in it yet.
    Begun,
    /// A segment.
    Used {
        seq: u64,
        seed: u32,
        run: u32,
        /// One header was unreadable: its offset in the segment.
        damaged_header: Option<usize>,
    },
    /// Bytes that are not a segment of this slot.
    Unreadable,
}

/// One of a slot's two headers.
enum Seen {
    /// Of this slot, and intact.
    Belongs(SegmentHeader),
    /// Zeros.
    Zero,
    /// Not zeros, but without its first word: it was being written.
    Unwritten,
    /// Anything else.
    Damaged,
}

/// Judges a slot by its two headers.
///
/// | first     | second    | verdict                                                          |
/// |-----------|-----------|------------------------------------------------------------------|
/// | belongs   | same      | the segment                                                      |
/// | belongs   | another   | the higher number, then run: a later lap had begun               |
/// | belongs   | unwritten, zero | the segment: it had just been begun                        |
/// | belongs   | damaged   | the segment, damage reported                                     |
/// | otherwise | belongs   | the segment, damage reported                                     |
/// | zero      | zero      | empty                                                            |
/// | unwritten, zero | unwritten, zero | being begun                                          |
/// | otherwise | otherwise | unreadable                                                       |
pub(crate) fn judge(
    first: &[u8],
    second: &[u8],
    geometry: &Geometry,
    uuid: &[u8; 16],
    ring: Ring,
    slot: u32,
) -> SlotState {
    let look = |bytes: &[u8]| match SegmentHeader::read_from_bytes(bytes) {
        Ok(header) if header.belongs(geometry, uuid, ring, slot) => Seen::Belongs(header),
        Ok(_) if bytes.iter().all(|byte| *byte == 0) => Seen::Zero,
        Ok(_) if bytes.iter().take(8).all(|byte| *byte == 0) => Seen::Unwritten,
        _ => Seen::Damaged,
    };
    let trailer = trailer_offset(geometry.segment_size as usize);
    let used = |header: SegmentHeader, damaged_header| SlotState::Used {
        seq: header.seq.get(),
        seed: header.seed(),
        run: header.run.get(),
        damaged_header,
    };
    match (look(first), look(second)) {
        (Seen::Belongs(a), Seen::Belongs(b)) if b.order() > a.order() => used(b, None),
        (Seen::Belongs(a), Seen::Belongs(_) | Seen::Unwritten | Seen::Zero) => used(a, None),
        (Seen::Belongs(a), Seen::Damaged) => used(a, Some(trailer)),
        (_, Seen::Belongs(b)) => used(b, Some(0)),
        (Seen::Zero, Seen::Zero) => SlotState::Empty,
        (Seen::Unwritten | Seen::Zero, Seen::Unwritten | Seen::Zero) => SlotState::Begun,
        (Seen::Damaged, _) | (_, Seen::Damaged) => SlotState::Unreadable,
    }
}

/// Judges a whole segment's bytes.
pub(crate) fn judge_segment(
    bytes: &[u8],
    geometry: &Geometry,
    uuid: &[u8; 16],
    ring: Ring,
    slot: u32,
) -> SlotState {
    let trailer = trailer_offset(geometry.segment_size as usize);
    let first = bytes.get(..SEGMENT_HEADER_SIZE).unwrap_or_default();
    let second = bytes
        .get(trailer..trailer + SEGMENT_HEADER_SIZE)
        .unwrap_or_default();
    judge(first, second, geometry, uuid, ring, slot)
}

/// Walks a segment's records.
pub(crate) fn walk(bytes: &[u8], seed: u32) -> Walk<'_> {
    Walk::new(bytes, seed, DATA_START, data_limit(bytes.len()))
}

const _: () = assert!(DATA_START.is_multiple_of(8) && RECORD_HEADER_SIZE.is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u64, nonce: u64) -> [u8; SEGMENT_HEADER_SIZE] {
        let header = SegmentHeader::new(&Identity {
            ring: Ring::Hot,
            seq,
            run: 1,
            nonce,
            uuid: [3; 16],
            boot_id: [4; 16],
            begun: Stamp::default(),
        });
        header.as_bytes().try_into().expect("its size")
    }

    fn state(first: &[u8], second: &[u8], slot: u32) -> SlotState {
        let geometry = Geometry::for_size(1 << 20).expect("large enough");
        judge(first, second, &geometry, &[3; 16], Ring::Hot, slot)
    }

    #[test]
    fn every_pair_of_headers_has_its_verdict() {
        let mut unwritten = header(5, 6);
        unwritten[..8].fill(0);
        let [old, new, unwritten, zero, junk] =
            [header(1, 5), header(5, 6), unwritten, [0; 128], [0xee; 128]];
        let intact = |seq| Ok((seq, None));
        let with_damage = |at| Ok((1, Some(at)));
        let trailer = 65_536 - 128;
        let (empty, begun, lost) = (
            Err(SlotState::Empty),
            Err(SlotState::Begun),
            Err(SlotState::Unreadable),
        );
        let table = [
            (
                old,
                [
                    intact(1),
                    intact(5),
                    intact(1),
                    intact(1),
                    with_damage(trailer),
                ],
            ),
            (
                new,
                [
                    intact(5),
                    intact(5),
                    intact(5),
                    intact(5),
                    Ok((5, Some(trailer))),
                ],
            ),
            (
                unwritten,
                [with_damage(0), Ok((5, Some(0))), begun, begun, lost],
            ),
            (zero, [with_damage(0), Ok((5, Some(0))), begun, empty, lost]),
            (junk, [with_damage(0), Ok((5, Some(0))), lost, lost, lost]),
        ];
        for (row, (first, verdicts)) in table.into_iter().enumerate() {
            for (column, expected) in verdicts.into_iter().enumerate() {
                let second = [old, new, unwritten, zero, junk][column];
                let found = match state(&first, &second, 1) {
                    SlotState::Used {
                        seq,
                        damaged_header,
                        ..
                    } => Ok((seq, damaged_header)),
                    other => Err(other),
                };
                assert_eq!(found, expected, "row {row}, column {column}");
            }
        }
        let elsewhere = state(&old, &old, 2);
        assert_eq!(elsewhere, SlotState::Unreadable, "in the wrong slot");
    }

    #[test]
    fn seeds_differ_by_number_and_by_nonce() {
        let seed = |bytes: [u8; 128]| SegmentHeader::read_from_bytes(&bytes).expect("size").seed();
        assert_ne!(seed(header(1, 5)), seed(header(2, 5)));
        assert_ne!(seed(header(1, 5)), seed(header(1, 6)));
    }
}
