//! Records: what lies between a segment's two headers.
//!
//! Every record is a 48-byte header and a payload, padded to a multiple of eight. Its CRC is seeded
//! with the segment's seed, so a record of an earlier lap, equal to the last byte, does not verify.
//! After the last record stands the end mark, a word that depends on its place and on the seed.

use std::sync::Arc;

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::Malformed;
use crate::clock::Stamp;
use crate::schema::Schema;

/// The highest number of a row, event or segment. More cannot be written in any life, and behind
/// each there is another one.
pub(crate) const MAX_SEQ: u64 = u64::MAX >> 1;

/// A row's values, raw.
pub(crate) const KIND_ROW: u16 = 1;
/// An event.
pub(crate) const KIND_EVENT: u16 = 2;
/// A schema that later records of the same segment refer to.
pub(crate) const KIND_SCHEMA: u16 = 3;
/// Rows of one schema, sealed together.
pub(crate) const KIND_BLOCK: u16 = 4;

/// Flag of a row: an absence bitmap follows its values.
pub(crate) const FLAG_ABSENT: u16 = 1;
/// Flag of a schema: its payload is compressed with zstd.
pub(crate) const FLAG_COMPRESSED: u16 = 2;

/// A record's header as it lies in the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the whole record, a multiple of eight. Written last, together with kind and flags,
    /// as the one word that makes the record visible.
    pub length: U32,
    /// What the record is.
    pub kind: U16,
    /// Flags of that kind.
    pub flags: U16,
    /// Seeded CRC-32 of every other byte of the record.
    pub crc: U32,
    /// The schema's id within the segment, 0 for an event.
    pub schema: U32,
    /// The row's or event's number in the file; of a block, its first row's; of a schema, 0.
    pub seq: U64,
    /// CLOCK_REALTIME, nanoseconds; of a block, its first row's.
    pub realtime_ns: I64,
    /// CLOCK_BOOTTIME, nanoseconds; of a block, its first row's.
    pub boottime_ns: U64,
    /// The epoch; of a block, its first row's.
    pub epoch: U32,
    /// The run; of a block, its first row's.
    pub run: U32,
}

/// Bytes of a record's header.
pub const RECORD_HEADER_SIZE: usize = 48;
const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_SIZE);
const _: () = assert!(std::mem::offset_of!(RecordHeader, crc) == 8);

impl RecordHeader {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            realtime_ns: self.realtime_ns.get(),
            boottime_ns: self.boottime_ns.get(),
        }
    }
}

/// What a record says of itself apart from its length and checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) schema: u32,
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
    pub(crate) epoch: u32,
    pub(crate) run: u32,
}

impl Label {
    pub(crate) fn of(header: &RecordHeader) -> Label {
        Label {
            kind: header.kind.get(),
            flags: header.flags.get(),
            schema: header.schema.get(),
            seq: header.seq.get(),
            stamp: header.stamp(),
            epoch: header.epoch.get(),
            run: header.run.get(),
        }
    }
}

/// Bytes of a record with this payload.
pub(crate) const fn record_length(payload: usize) -> usize {
    (RECORD_HEADER_SIZE + payload).next_multiple_of(8)
}

/// Lays a record out in `out`, replacing what was there.
pub(crate) fn build(out: &mut Vec<u8>, seed: u32, label: &Label, payload: &[&[u8]]) {
    let length = record_length(payload.iter().map(|part| part.len()).sum());
    let header = RecordHeader {
        length: u32::try_from(length)
            .expect("a record fits a segment")
            .into(),
        kind: label.kind.into(),
        flags: label.flags.into(),
        crc: 0.into(),
        schema: label.schema.into(),
        seq: label.seq.into(),
        realtime_ns: label.stamp.realtime_ns.into(),
        boottime_ns: label.stamp.boottime_ns.into(),
        epoch: label.epoch.into(),
        run: label.run.into(),
    };
    out.clear();
    out.reserve(length);
    out.extend_from_slice(header.as_bytes());
    for part in payload {
        out.extend_from_slice(part);
    }
    out.resize(length, 0);
    let crc = checksum(seed, out);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// The CRC of a record: every byte but its own four.
fn checksum(seed: u32, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(record.get(..8).unwrap_or_default());
    hasher.update(record.get(12..).unwrap_or_default());
    hasher.finalize()
}

/// Bytes of an end mark.
pub(crate) const END_MARK_SIZE: usize = 8;

/// The word after the last record at this offset of the segment: length zero, and a checksum of
/// place and seed, so that neither zeros nor an old lap's mark pass for it.
pub(crate) fn end_mark(seed: u32, offset: usize) -> [u8; END_MARK_SIZE] {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&(offset as u64).to_le_bytes());
    let mut mark = [0; END_MARK_SIZE];
    mark[4..].copy_from_slice(&hasher.finalize().to_le_bytes());
    mark
}

/// A record that verified: its header and payload, padding included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) offset: usize,
    pub(crate) header: RecordHeader,
    pub(crate) payload: &'a [u8],
}

/// One step of walking a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// A record that verified.
    Record(Record<'a>),
    /// Bytes that are no record, up to the next one or the end mark.
    Damaged {
        offset: usize,
        length: usize,
        /// True when neither a record nor an end mark follows: a torn tail, or worse.
        open_ended: bool,
    },
}

/// Walks the records of a segment's bytes, past whatever damage lies between them.
pub(crate) struct Walk<'a> {
    segment: &'a [u8],
    seed: u32,
    offset: usize,
    limit: usize,
}

impl<'a> Walk<'a> {
    /// Walks `segment[first..limit]`.
    pub(crate) fn new(segment: &'a [u8], seed: u32, first: usize, limit: usize) -> Walk<'a> {
        Walk {
            segment,
            seed,
            offset: first,
            limit: limit.min(segment.len()),
        }
    }

    fn is_end(&self, offset: usize) -> bool {
        self.segment.get(offset..offset + 8) == Some(&end_mark(self.seed, offset)[..])
    }

    fn record_at(&self, offset: usize) -> Option<Record<'a>> {
        let rest = self.segment.get(offset..self.limit)?;
        let (header, _) = RecordHeader::read_from_prefix(rest).ok()?;
        let length = header.length.get() as usize;
        let possible = length >= RECORD_HEADER_SIZE && length.is_multiple_of(8);
        if !possible || header.kind.get() == 0 {
            return None;
        }
        let record = rest.get(..length)?;
        let payload = record.get(RECORD_HEADER_SIZE..)?;
        (checksum(self.seed, record) == header.crc.get()).then_some(Record {
            offset,
            header,
            payload,
        })
    }

    /// The next record behind `from`, whatever lies in between.
    fn record_behind(&self, from: usize) -> Option<usize> {
        (from + 8..self.limit)
            .step_by(8)
            .find(|at| self.record_at(*at).is_some())
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let offset = self.offset;
        if offset >= self.limit {
            return None;
        }
        if let Some(record) = self.record_at(offset) {
            self.offset = offset + record.header.length.get() as usize;
            return Some(Step::Record(record));
        }
        // Not even an end mark is believed alone: a power cut can leave an early one in front of
        // records that reached the disk. What is passed over now must not turn up later, when the
        // next lap has torn the mark away.
        let next = self.record_behind(offset);
        self.offset = next.unwrap_or(self.limit);
        if next.is_none() && self.is_end(offset) {
            return None;
        }
        let mark = || {
            (offset + 8..self.limit)
                .step_by(8)
                .find(|at| self.is_end(*at))
        };
        let end = next.or_else(mark);
        let length = end.unwrap_or(self.limit) - offset;
        Some(Step::Damaged {
            offset,
            length,
            open_ended: end.is_none(),
        })
    }
}

/// A schema with the bytes that its record holds.
#[derive(Clone, Debug)]
pub(crate) struct StoredSchema {
    pub(crate) schema: Arc<Schema>,
    /// Identifies the schema within a segment: the CRC-32 of its encoding.
    pub(crate) id: u32,
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

impl StoredSchema {
    pub(crate) fn new(schema: Arc<Schema>) -> StoredSchema {
        let raw = schema.encode();
        let id = crc32fast::hash(&raw);
        let length = u32::try_from(raw.len()).expect("a schema is far below 4 GiB");
        let mut payload = length.to_le_bytes().to_vec();
        match compress(&raw, 3) {
            Some(small) => {
                payload.extend_from_slice(&small);
                StoredSchema {
                    schema,
                    id,
                    flags: FLAG_COMPRESSED,
                    payload,
                }
            }
            _ => {
                payload.extend_from_slice(&raw);
                StoredSchema {
                    schema,
                    id,
                    flags: 0,
                    payload,
                }
            }
        }
    }

    /// Bytes of the record.
    pub(crate) fn record_length(&self) -> usize {
        record_length(self.payload.len())
    }

    pub(crate) fn label(&self) -> Label {
        Label {
            kind: KIND_SCHEMA,
            flags: self.flags,
            schema: self.id,
            ..Label::default()
        }
    }
}

/// A decoded schema may take at most this many bytes: about 300,000 series.
const SCHEMA_LIMIT: usize = 64 << 20;

/// Reads a schema record. The payload may carry up to seven bytes of padding.
pub(crate) fn decode_schema(header: &RecordHeader, payload: &[u8]) -> Result<Schema, Malformed> {
    let (length, body) = payload.split_first_chunk::<4>().ok_or(Malformed)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > SCHEMA_LIMIT {
        return Err(Malformed);
    }
    let raw = if header.flags.get() & FLAG_COMPRESSED != 0 {
        decompress(body, length)?
    } else {
        body.get(..length).ok_or(Malformed)?.to_vec()
    };
    if raw.len() != length || crc32fast::hash(&raw) != header.schema.get() {
        return Err(Malformed);
    }
    Schema::decode(&raw)
}

/// Compresses into one zstd frame, where that makes it smaller.
pub(crate) fn compress(raw: &[u8], level: i32) -> Option<Vec<u8>> {
    // Miri cannot call C. What is not compressed is as good a file.
    if cfg!(miri) {
        return None;
    }
    let small = zstd::bulk::compress(raw, level).ok()?;
    (small.len() < raw.len()).then_some(small)
}

/// Decompresses one zstd frame of exactly `length` bytes, followed by at most padding.
pub(crate) fn decompress(body: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let frame = zstd::zstd_safe::find_frame_compressed_size(body).map_err(|_| Malformed)?;
    let frame = body.get(..frame).ok_or(Malformed)?;
    let raw = zstd::bulk::decompress(frame, length).map_err(|_| Malformed)?;
    if raw.len() == length {
        Ok(raw)
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 0x1234_5678;

    fn segment_with(records: usize) -> Vec<u8> {
        let mut segment = Vec::new();
        let mut record = Vec::new();
        for seq in 0..records as u64 {
            let label = Label {
                kind: KIND_EVENT,
                seq,
                ..Label::default()
            };
            build(&mut record, SEED, &label, &[b"payload"]);
            segment.extend_from_slice(&record);
        }
        segment.extend_from_slice(&end_mark(SEED, segment.len()));
        segment.resize(segment.len() + 256, 0xaa);
        segment
    }

    fn seqs(segment: &[u8], seed: u32) -> (Vec<u64>, usize) {
        let (mut seqs, mut damaged) = (Vec::new(), 0);
        for step in Walk::new(segment, seed, 0, segment.len()) {
            match step {
                Step::Record(record) => seqs.push(record.header.seq.get()),
                Step::Damaged { .. } => damaged += 1,
            }
        }
        (seqs, damaged)
    }

    #[test]
    fn a_walk_ends_at_the_end_mark_and_not_in_what_lies_behind_it() {
        assert_eq!(seqs(&segment_with(3), SEED), (vec![0, 1, 2], 0));
        assert_eq!(seqs(&segment_with(0), SEED), (vec![], 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn any_flipped_bit_costs_at_most_its_own_record_and_is_seen() {
        let whole = segment_with(3);
        let used = whole.len() - 256;
        for bit in 0..used * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (seqs, damage) = seqs(&damaged, SEED);
            assert_eq!(damage, 1, "bit {bit}");
            assert!(seqs.len() >= 2, "bit {bit} lost {:?}", 3 - seqs.len());
        }
    }

    #[test]
    fn records_of_another_lap_do_not_verify() {
        let (seqs, damage) = seqs(&segment_with(3), SEED + 1);
        assert!(seqs.is_empty());
        assert_eq!(damage, 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls zstd, which is C")]
    fn a_schema_record_reads_back_and_refuses_another_id() {
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series: (0..50)
                .map(|n| crate::schema::Series::counter(format!("series_{n}_total"), "Help."))
                .collect(),
        };
        let stored = StoredSchema::new(Arc::new(schema.clone()));
        assert_eq!(stored.flags, FLAG_COMPRESSED);
        let mut record = Vec::new();
        build(&mut record, SEED, &stored.label(), &[&stored.payload]);
        let step = Walk::new(&record, SEED, 0, record.len()).next();
        let Some(Step::Record(record)) = step else {
            panic!("verifies")
        };
        assert_eq!(decode_schema(&record.header, record.payload), Ok(schema));
        let other = RecordHeader {
            schema: 1.into(),
            ..record.header
        };
        assert_eq!(decode_schema(&other, record.payload), Err(Malformed));
    }
}
