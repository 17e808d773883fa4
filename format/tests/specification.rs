//! `docs/format.md` and the code say the same: every byte table is compared with the structure it
//! describes, and the check values with what the code computes.

use std::collections::BTreeMap;
use std::mem::offset_of;

use ktm_format::block::{BLOCK_HEADER_SIZE, BlockHeader, MAX_ROWS};
use ktm_format::record::{RECORD_HEADER_SIZE, RecordHeader};
use ktm_format::segment::{SEGMENT_HEADER_SIZE, SEGMENT_MAGIC, SegmentHeader};
use ktm_format::superblock::{MAGIC, SUPERBLOCK_OFFSETS, SUPERBLOCK_SIZE, Superblock, VERSION};
use ktm_format::{Geometry, HEADER_ZONE};

const DOCUMENT: &str = include_str!("../../docs/format.md");

type Fields = Vec<(usize, usize, String)>;

/// The byte tables by structure name: offset, size, field.
fn tables() -> BTreeMap<String, Fields> {
    let mut tables = BTreeMap::new();
    for part in DOCUMENT.split("<!-- struct ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("closed");
        let rows = rest
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .skip(2);
        let fields = rows.take_while(|line| line.starts_with('|')).map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let number = |cell: &str| cell.parse().expect("a number");
            (number(cells[1]), number(cells[2]), cells[3].to_owned())
        });
        tables.insert(name.to_owned(), fields.collect());
    }
    tables
}

/// What the compiler made of a structure.
macro_rules! layout {
    ($structure:ty, $($field:ident),+ $(,)?) => {{
        let mut fields: Fields = vec![$((
            offset_of!($structure, $field), 0, stringify!($field).to_owned(),
        )),+];
        let ends: Vec<usize> =
            fields.iter().skip(1).map(|f| f.0).chain([size_of::<$structure>()]).collect();
        for (field, end) in fields.iter_mut().zip(ends) {
            field.1 = end - field.0;
        }
        fields
    }};
}

#[test]
fn every_byte_table_is_the_structure() {
    let expected = BTreeMap::from([
        (
            "Superblock".to_owned(),
            layout!(
                Superblock,
                magic,
                version,
                reserved,
                crc,
                uuid,
                created_ns,
                file_size,
                segment_size,
                hot_count,
                cold_count,
                flags,
                generation,
                boot_id,
                pid,
                run,
                software,
                unused,
            ),
        ),
        (
            "SegmentHeader".to_owned(),
            layout!(
                SegmentHeader,
                magic,
                crc,
                ring,
                version,
                run,
                seq,
                nonce,
                uuid,
                boot_id,
                realtime_ns,
                boottime_ns,
                unused,
            ),
        ),
        (
            "RecordHeader".to_owned(),
            layout!(
                RecordHeader,
                length,
                kind,
                flags,
                crc,
                schema,
                seq,
                realtime_ns,
                boottime_ns,
                epoch,
                run,
            ),
        ),
        (
            "BlockHeader".to_owned(),
            layout!(
                BlockHeader,
                rows,
                columns,
                last_seq,
                min_realtime_ns,
                max_realtime_ns,
                raw_length,
                codec,
                flags,
                last_epoch,
                last_run,
            ),
        ),
    ]);
    assert_eq!(tables(), expected);
}

#[test]
fn constants_in_the_text_are_the_code_s() {
    let hex: Vec<String> = MAGIC.iter().map(|byte| format!("{byte:02X}")).collect();
    let says = |text: &str| assert!(DOCUMENT.contains(text), "the document lacks: {text}");
    says(&hex.join(" "));
    says(std::str::from_utf8(&SEGMENT_MAGIC).expect("ASCII"));
    says(&format!("# The recording, version {VERSION}"));
    says(&format!("offset {}    superblock B", SUPERBLOCK_OFFSETS[1]));
    says(&format!("offset {HEADER_ZONE}    hot ring"));
    says(&format!("superblock A       {SUPERBLOCK_SIZE} bytes"));
    says(&format!("at most {MAX_ROWS}"));
    says(&format!("offset segment_size - {SEGMENT_HEADER_SIZE}"));
    assert_eq!((RECORD_HEADER_SIZE, BLOCK_HEADER_SIZE), (48, 48));
    assert_eq!(crc32fast::hash(b"123456789"), 0xCBF4_3926);
    says("0xCBF43926");
}

#[test]
fn the_default_file_divides_as_the_text_says() {
    let geometry = Geometry::for_size(64 << 20).expect("large enough");
    assert_eq!((geometry.segment_size, geometry.hot_count), (256 * 1024, 7));
}
