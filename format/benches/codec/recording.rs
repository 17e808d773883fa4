//! The rows in a recording, and what a file full of such rows holds.

use ktm_format::block::{BLOCK_HEADER_SIZE, BlockHeader};
use ktm_format::record::{RECORD_HEADER_SIZE, RecordHeader};
use ktm_format::{
    Geometry, HeapRegion, Host, Kind, ReadAt as _, Recording, Ring, Schema, Select, Series, Stamp,
    SystemEntropy, Values, Writer,
};
use zerocopy::FromBytes as _;

use crate::table::Table;
use crate::timed;

const BLOCK: u16 = 4;
const SCHEMA: u16 = 3;

pub(crate) struct Made {
    pub(crate) rows_a_block: usize,
    /// Of the blocks with their record headers.
    pub(crate) bytes_a_value: f64,
    /// Of a full file, by all of its bytes.
    pub(crate) bytes_a_value_full: f64,
    /// Sealing included: reading the hot ring, encoding, writing.
    pub(crate) seal_seconds: f64,
    /// Reading every value of every row.
    pub(crate) scan_seconds: f64,
}

/// Writes the rows, reads them back and compares.
pub(crate) fn make(table: &Table, size: u64) -> Made {
    let geometry = Geometry::for_size(size).expect("a size that the recorder takes");
    let region = HeapRegion::new(size);
    let seal_seconds = append(table, &region, geometry);
    let bytes = everything(&region);
    let records = Records::of(&bytes, &geometry);
    let snapshot = Recording::over(bytes)
        .and_then(|recording| recording.snapshot())
        .expect("sound");
    let (scan_seconds, sum) = timed(|| {
        let rows = snapshot.rows(&Select::all());
        rows.fold(0, |sum, row| {
            row.expect("sound")
                .words()
                .flatten()
                .fold(sum, u64::wrapping_add)
        })
    });
    std::hint::black_box(sum);
    let mut rows = 0;
    for (at, row) in snapshot.rows(&Select::all()).enumerate() {
        let row = row.expect("sound");
        assert!(row.words().eq(table.row(at)), "row {at} comes back");
        rows += 1;
    }
    assert_eq!(rows, table.rows(), "every row comes back");
    Made {
        rows_a_block: records.rows / records.blocks.len().max(1),
        bytes_a_value: records.bytes() as f64 / table.values() as f64,
        bytes_a_value_full: size as f64 / full_rows(&geometry, &records) * rows as f64
            / table.values() as f64,
        seal_seconds,
        scan_seconds,
    }
}

fn schema(table: &Table) -> Schema {
    let series = table
        .columns
        .iter()
        .map(|column| Series::new(&column.name, Kind::Untyped, column.value_type, ""));
    Schema {
        module: "bench".into(),
        labels: vec![],
        series: series.collect(),
    }
}

/// Appends every row and seals them all; the seconds that sealing took.
fn append(table: &Table, region: &HeapRegion, geometry: Geometry) -> f64 {
    let host = Host {
        boot_id: [1; 16],
        pid: 1,
    };
    let stamp = |row: usize| Stamp {
        realtime_ns: table.times[row],
        boottime_ns: table.times[row].abs_diff(table.times[0]),
    };
    let mut writer = Writer::create(
        region.clone(),
        geometry,
        host.clone(),
        stamp(0),
        &mut SystemEntropy,
    )
    .expect("memory");
    let handle = writer.define(&schema(table)).expect("a row fits a segment");
    let mut seconds = 0.0;
    for row in 0..table.rows() {
        let values: Values = table.row(row).collect();
        writer.append(handle, stamp(row), &values).expect("room");
        seconds += timed(|| writer.maintain().expect("memory")).0;
    }
    drop(writer);
    // A run that finds rows unsealed seals them.
    let open = || Writer::open(region.clone(), host, &mut SystemEntropy).expect("sound");
    seconds + timed(|| open().maintain().expect("memory")).0
}

fn everything(region: &HeapRegion) -> Vec<u8> {
    let length = region.len().expect("known");
    let mut bytes = vec![0; usize::try_from(length).expect("fits memory")];
    region.read_at(0, &mut bytes).expect("in range");
    bytes
}

/// What the cold ring holds.
#[derive(Default)]
struct Records {
    /// Length and rows of each block.
    blocks: Vec<(usize, usize)>,
    rows: usize,
    /// Bytes of schemas in a segment.
    schemas: usize,
}

impl Records {
    fn of(bytes: &[u8], geometry: &Geometry) -> Records {
        let size = geometry.segment_size as usize;
        let mut records = Records::default();
        for slot in 0..geometry.count(Ring::Cold) {
            let base = geometry.offset(Ring::Cold, slot) as usize;
            let mut rest = &bytes[base + 128..base + size - 128];
            let mut schemas = 0;
            while let Ok((header, _)) = RecordHeader::read_from_prefix(rest) {
                let length = header.length.get() as usize;
                if length == 0 {
                    break;
                }
                if header.kind.get() == BLOCK {
                    let block = &rest[RECORD_HEADER_SIZE..][..BLOCK_HEADER_SIZE];
                    let block = BlockHeader::read_from_bytes(block).expect("its size");
                    let rows = block.rows.get() as usize;
                    records.blocks.push((length, rows));
                    records.rows += rows;
                } else if header.kind.get() == SCHEMA {
                    schemas += length;
                }
                rest = &rest[length..];
            }
            records.schemas = records.schemas.max(schemas);
        }
        records
    }

    fn bytes(&self) -> usize {
        self.blocks.iter().map(|(length, _)| length).sum()
    }
}

/// Rows in a cold ring filled with such blocks, as the writer fills it: each segment its headers
/// and schemas, then blocks while they fit.
fn full_rows(geometry: &Geometry, records: &Records) -> f64 {
    let room = geometry.segment_size as usize - 2 * 128 - 8 - records.schemas;
    let mut blocks = records.blocks.iter().cycle().peekable();
    let mut total = 0;
    for _ in 0..geometry.count(Ring::Cold) {
        let mut left = room;
        while let Some((length, rows)) = blocks.next_if(|(length, _)| *length <= left) {
            left -= length;
            total += rows;
        }
    }
    total as f64
}
