//! Blocks: rows of one schema, sealed and compressed together.
//!
//! The payload of a block record is a 48-byte header and a body. Three codecs have written bodies;
//! every one is read for ever, and the last one is written:
//!
//! - codec 0, the rows' words as they are, is used where codec 2 does not make them smaller;
//! - codec 1 took differences from row to row and left the rest to zstd;
//! - codec 2 also takes from a column's differences those of other columns that move like it.

mod coder;
mod decimal;
mod delta;
mod linked;
mod links;
mod model;

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::Malformed;
use crate::clock::Stamp;
use crate::position::Position;
use crate::record::{compress, decompress};
use crate::schema::{Schema, ValueType};
use crate::value::Values;

/// The rows' words as they are.
pub const CODEC_RAW: u16 = 0;
/// Columns, differences, zero runs, LEB128. No longer written.
pub const CODEC_DELTA: u16 = 1;
/// Columns, steps linked to other columns' steps, a range coder.
pub const CODEC_LINKED: u16 = 2;

/// Flag: the body is one zstd frame. Not with codec 2.
pub const BLOCK_ZSTD: u16 = 1;
/// Flag: an absence bitmap ends the body. Not with codec 2.
pub const BLOCK_ABSENT: u16 = 2;

/// Rows in a block at most.
pub const MAX_ROWS: usize = 300;

/// Cells (rows times columns) in a block at most: bounds what a reader allocates.
const MAX_CELLS: usize = 1 << 24;

/// Columns before the values: seq, realtime, boottime, epoch, run.
const FRAME_COLUMNS: usize = 5;

const ZSTD_LEVEL: i32 = 1;

/// The header of a block's payload as it lies in the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockHeader {
    /// Rows, at least 1.
    pub rows: U32,
    /// Columns, the schema's series.
    pub columns: U32,
    /// The last row's sequence number.
    pub last_seq: U64,
    /// The earliest CLOCK_REALTIME of the rows, nanoseconds.
    pub min_realtime_ns: I64,
    /// The latest CLOCK_REALTIME of the rows, nanoseconds.
    pub max_realtime_ns: I64,
    /// Bytes of the body before zstd.
    pub raw_length: U32,
    /// How the body encodes the rows.
    pub codec: U16,
    /// [`BLOCK_ZSTD`], [`BLOCK_ABSENT`].
    pub flags: U16,
    /// The last row's epoch.
    pub last_epoch: U32,
    /// The last row's run.
    pub last_run: U32,
}

/// Bytes of a block's header.
pub const BLOCK_HEADER_SIZE: usize = 48;
const _: () = assert!(size_of::<BlockHeader>() == BLOCK_HEADER_SIZE);

/// A row as the writer of a block sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRow {
    pub(crate) seq: u64,
    pub(crate) stamp: Stamp,
    pub(crate) epoch: u32,
    pub(crate) run: u32,
    pub(crate) values: Values,
}

/// A decoded block: where its rows stand, and their values.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) positions: Vec<Position>,
    pub(crate) cells: Cells,
}

impl Block {
    /// Where the rows stand, one after the other.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Position> {
        self.positions.iter()
    }
}

/// The values of rows of one schema, column by column: that is how blocks are written, and a scan
/// that wants few columns touches no others.
#[derive(Debug)]
pub(crate) struct Cells {
    rows: usize,
    columns: usize,
    /// Words in front of the first value's.
    frame: usize,
    words: Vec<u64>,
    /// Aligned with the words; empty where no value is absent.
    absent: Vec<bool>,
}

impl Cells {
    /// The values of a single row.
    pub(crate) fn of_row(words: Vec<u64>, absent: Vec<bool>) -> Cells {
        Cells {
            rows: 1,
            columns: words.len(),
            frame: 0,
            words,
            absent,
        }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The recorded bits of one value, `None` where it is absent or out of range.
    #[inline]
    pub(crate) fn word(&self, row: usize, column: usize) -> Option<u64> {
        if row >= self.rows || column >= self.columns {
            return None;
        }
        let cell = self.frame + column * self.rows + row;
        match self.absent.get(cell) {
            Some(true) => None,
            _ => self.words.get(cell).copied(),
        }
    }
}

/// Encodes rows, at least one and at most [`MAX_ROWS`], all of this schema.
pub(crate) fn encode(schema: &Schema, rows: &[RawRow]) -> Vec<u8> {
    let columns = schema.series.len();
    let linked = linked::encode(columns_of(schema, rows));
    let raw_size = rows.len() * (columns + FRAME_COLUMNS) * 8;
    let (codec, flags, raw_length, body) = if linked.len() < raw_size {
        (CODEC_LINKED, 0, linked.len(), linked)
    } else {
        encode_raw(rows, columns)
    };
    let times = || rows.iter().map(|row| row.stamp.realtime_ns);
    let header = BlockHeader {
        rows: u32::try_from(rows.len()).expect("at most MAX_ROWS").into(),
        columns: u32::try_from(columns).expect("a row fits a segment").into(),
        last_seq: rows.last().map_or(0, |row| row.seq).into(),
        min_realtime_ns: times().min().unwrap_or(0).into(),
        max_realtime_ns: times().max().unwrap_or(0).into(),
        raw_length: u32::try_from(raw_length)
            .expect("a block is far below 4 GiB")
            .into(),
        codec: codec.into(),
        flags: flags.into(),
        last_epoch: rows.last().map_or(0, |row| row.epoch).into(),
        last_run: rows.last().map_or(0, |row| row.run).into(),
    };
    let mut payload = header.as_bytes().to_vec();
    payload.extend_from_slice(&body);
    payload
}

/// The five numbers in front of a row's values. Boot time is kept as its distance from real time,
/// which only moves when a clock steps.
fn frame(row: &RawRow) -> [u64; FRAME_COLUMNS] {
    let realtime = row.stamp.realtime_ns as u64;
    [
        row.seq,
        realtime,
        row.stamp.boottime_ns.wrapping_sub(realtime),
        u64::from(row.epoch),
        u64::from(row.run),
    ]
}

fn unframe(
    [seq, realtime, distance, epoch, run]: [u64; FRAME_COLUMNS],
) -> Result<Position, Malformed> {
    Ok(Position {
        seq,
        stamp: Stamp {
            realtime_ns: realtime as i64,
            boottime_ns: distance.wrapping_add(realtime),
        },
        epoch: u32::try_from(epoch).map_err(|_| Malformed)?,
        run: u32::try_from(run).map_err(|_| Malformed)?,
    })
}

/// The types of a block's columns, those in front of the values first.
fn types(schema: &Schema) -> impl ExactSizeIterator<Item = ValueType> {
    let frames = FRAME_COLUMNS;
    (0..frames + schema.series.len()).map(move |column| match column.checked_sub(frames) {
        None => ValueType::U64,
        Some(column) => schema.series[column].value_type,
    })
}

fn columns_of(schema: &Schema, rows: &[RawRow]) -> impl Iterator<Item = linked::Column> {
    let frames: Vec<_> = rows.iter().map(frame).collect();
    types(schema).enumerate().map(move |(at, value_type)| {
        let cell = |row: usize| match at.checked_sub(FRAME_COLUMNS) {
            None => Some(frames[row][at]),
            Some(column) => rows[row].values.word(column),
        };
        linked::Column::new(value_type, (0..rows.len()).map(cell))
    })
}

fn encode_raw(rows: &[RawRow], columns: usize) -> (u16, u16, usize, Vec<u8>) {
    let mut body = Vec::new();
    for row in rows {
        body.extend_from_slice(frame(row).map(U64::new).as_bytes());
        body.extend_from_slice(row.values.bytes());
    }
    let mut flags = 0;
    if rows.iter().any(|row| row.values.absent().is_some()) {
        flags |= BLOCK_ABSENT;
        put_absence(&mut body, rows, columns);
    }
    let length = body.len();
    if let Some(small) = compress(&body, ZSTD_LEVEL) {
        flags |= BLOCK_ZSTD;
        body = small;
    }
    (CODEC_RAW, flags, length, body)
}

fn put_absence(out: &mut Vec<u8>, rows: &[RawRow], columns: usize) {
    let start = out.len();
    out.resize(start + (rows.len() * columns).div_ceil(8), 0);
    for (index, row) in rows.iter().enumerate() {
        for column in 0..columns {
            if row.values.word(column).is_none() {
                let cell = index * columns + column;
                out[start + cell / 8] |= 1 << (cell % 8);
            }
        }
    }
}

/// A block's header with its numbers checked against each other and the schema.
pub(crate) fn parse_header(payload: &[u8]) -> Result<(BlockHeader, &[u8]), Malformed> {
    let (header, body) = BlockHeader::read_from_prefix(payload).map_err(|_| Malformed)?;
    let rows = header.rows.get() as usize;
    let cells = rows.checked_mul(header.columns.get() as usize + FRAME_COLUMNS);
    let cells = cells.filter(|cells| *cells <= MAX_CELLS).ok_or(Malformed)?;
    // Ten bytes for the longest varint, one bit for absence.
    let most = cells * 10 + cells.div_ceil(8);
    if rows == 0 || rows > MAX_ROWS || header.raw_length.get() as usize > most {
        return Err(Malformed);
    }
    Ok((header, body))
}

/// Decodes a block.
pub(crate) fn decode(schema: &Schema, payload: &[u8]) -> Result<Block, Malformed> {
    let (header, body) = parse_header(payload)?;
    let rows = header.rows.get() as usize;
    let columns = schema.series.len();
    if header.columns.get() as usize != columns {
        return Err(Malformed);
    }
    let (length, flags) = (header.raw_length.get() as usize, header.flags.get());
    let (words, absent) = if header.codec.get() == CODEC_LINKED {
        let body = body.get(..length).ok_or(Malformed)?;
        linked::decode(body, types(schema), rows)?
    } else {
        let decompressed;
        let body = if flags & BLOCK_ZSTD != 0 {
            decompressed = decompress(body, length)?;
            &decompressed
        } else {
            body.get(..length).ok_or(Malformed)?
        };
        let bitmap = (rows * columns).div_ceil(8);
        let bitmap = if flags & BLOCK_ABSENT != 0 { bitmap } else { 0 };
        let split = body.len().checked_sub(bitmap).ok_or(Malformed)?;
        let (body, bitmap) = body.split_at(split);
        let words = match header.codec.get() {
            CODEC_RAW => decode_raw(body, rows, columns)?,
            CODEC_DELTA => delta::decode(body, types(schema), rows)?,
            _ => return Err(Malformed),
        };
        (words, absence(bitmap, rows, columns))
    };
    let position = |row| unframe(std::array::from_fn(|column| words[column * rows + row]));
    let positions: Result<_, _> = (0..rows).map(position).collect();
    Ok(Block {
        positions: positions?,
        cells: Cells {
            rows,
            columns,
            frame: FRAME_COLUMNS * rows,
            words,
            absent,
        },
    })
}

/// The words column by column.
fn decode_raw(body: &[u8], rows: usize, columns: usize) -> Result<Vec<u64>, Malformed> {
    let width = columns + FRAME_COLUMNS;
    if body.len() != rows * width * 8 {
        return Err(Malformed);
    }
    let mut words = vec![0; rows * width];
    for (cell, bytes) in body.as_chunks::<8>().0.iter().enumerate() {
        words[cell % width * rows + cell / width] = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}

/// Absences aligned with the words, from a bitmap by rows; empty where there is none.
fn absence(bitmap: &[u8], rows: usize, columns: usize) -> Vec<bool> {
    if bitmap.is_empty() {
        return Vec::new();
    }
    let mut absent = vec![false; rows * (columns + FRAME_COLUMNS)];
    for cell in 0..rows * columns {
        let column = FRAME_COLUMNS + cell % columns;
        absent[column * rows + cell / columns] = bitmap[cell / 8] >> (cell % 8) & 1 == 1;
    }
    absent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::schema::{Kind, Series};

    fn schema(types: &[ValueType]) -> Schema {
        let series = types
            .iter()
            .enumerate()
            .map(|(n, t)| Series::new(format!("s{n}"), Kind::Untyped, *t, ""))
            .collect();
        Schema {
            module: "test".into(),
            labels: vec![],
            series,
        }
    }

    fn decoded(schema: &Schema, payload: &[u8]) -> Result<Vec<RawRow>, Malformed> {
        let block = decode(schema, payload)?;
        let rows = block.iter().enumerate().map(|(row, at)| {
            let mut values = Values::new();
            for column in 0..block.cells.columns() {
                match block.cells.word(row, column) {
                    Some(word) => values.push(word, false),
                    None => values.push_absent(),
                }
            }
            RawRow {
                seq: at.seq,
                stamp: at.stamp,
                epoch: at.epoch,
                run: at.run,
                values,
            }
        });
        Ok(rows.collect())
    }

    fn steady_rows(count: u64) -> Vec<RawRow> {
        (0..count)
            .map(|n| {
                let mut values = Values::new();
                values.push_u64(n * 1000);
                values.push_u64(42);
                values.push_f64(n as f64 / 8.0);
                RawRow {
                    seq: 10 + 2 * n,
                    stamp: Stamp {
                        realtime_ns: 1_000_000_000 * n as i64,
                        boottime_ns: 1_000_000_000 * n + 77,
                    },
                    epoch: 3,
                    run: 2,
                    values,
                }
            })
            .collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "calls zstd, which is C")]
    fn steady_rows_take_under_a_byte_a_value_and_come_back() {
        let schema = schema(&[ValueType::U64, ValueType::U64, ValueType::F64]);
        let rows = steady_rows(300);
        let payload = encode(&schema, &rows);
        assert!(
            payload.len() < 900,
            "{} bytes for 900 values",
            payload.len()
        );
        assert_eq!(decoded(&schema, &payload), Ok(rows));
    }

    #[test]
    fn a_block_with_any_bit_flipped_is_decoded_or_refused() {
        let schema = schema(&[ValueType::U64, ValueType::U64, ValueType::F64]);
        let payload = encode(&schema, &steady_rows(50));
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&schema, &damaged);
        }
    }

    #[test]
    fn a_block_cut_anywhere_is_refused_without_panic() {
        let schema = schema(&[ValueType::U64, ValueType::U64, ValueType::F64]);
        let payload = encode(&schema, &steady_rows(20));
        for length in 0..payload.len() {
            assert!(
                decode(&schema, &payload[..length]).is_err(),
                "cut to {length}"
            );
        }
    }

    fn any_row(columns: usize) -> impl Strategy<Value = RawRow> {
        let cell = prop_oneof![
            3 => any::<u64>().prop_map(Some),
            3 => (0_u64..100).prop_map(Some),
            1 => Just(None),
            1 => Just(Some(f64::NAN.to_bits())),
        ];
        let cells = proptest::collection::vec(cell, columns);
        (
            any::<u64>(),
            any::<i64>(),
            any::<u64>(),
            any::<u32>(),
            any::<u32>(),
            cells,
        )
            .prop_map(|(seq, realtime_ns, boottime_ns, epoch, run, cells)| {
                let mut values = Values::new();
                for cell in cells {
                    values.push(cell.unwrap_or(0), cell.is_none());
                }
                RawRow {
                    seq,
                    stamp: Stamp {
                        realtime_ns,
                        boottime_ns,
                    },
                    epoch,
                    run,
                    values,
                }
            })
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn any_rows_come_back_bit_for_bit(
            rows in (1_usize..6).prop_flat_map(|columns| {
                proptest::collection::vec(any_row(columns), 1..40)
            })
        ) {
            let types = [ValueType::U64, ValueType::I64, ValueType::F64];
            let columns = rows[0].values.len();
            let types: Vec<_> = types.into_iter().cycle().take(columns).collect();
            let schema = schema(&types);
            prop_assert_eq!(decoded(&schema, &encode(&schema, &rows)), Ok(rows));
        }

        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn columns_that_follow_each_other_come_back_bit_for_bit(
            noise in proptest::collection::vec((any::<u32>(), any::<i16>(), 0_u8..8), 2..300),
            unit in 1_u64..10_000,
        ) {
            let types = [ValueType::U64, ValueType::U64, ValueType::I64, ValueType::F64];
            let (mut sum, mut seconds) = (0_u64, 0_u64);
            let rows: Vec<_> = (0..).zip(&noise).map(|(seq, (more, signed, kind))| {
                sum += u64::from(*more);
                seconds += 10;
                let mut values = Values::new();
                values.push_u64(sum);
                values.push_u64((sum + seconds) * unit);
                values.push_i64(i64::from(*signed) - sum.cast_signed());
                match kind {
                    0 => values.push_absent(),
                    1 => values.push_f64(-0.0),
                    _ => values.push_f64(sum as f64 / 100.0),
                }
                RawRow {
                    seq,
                    stamp: Stamp {
                        realtime_ns: seconds.cast_signed(),
                        boottime_ns: seconds,
                    },
                    epoch: 1,
                    run: 1,
                    values,
                }
            }).collect();
            let schema = schema(&types);
            let payload = encode(&schema, &rows);
            let header = parse_header(&payload).map(|(header, _)| header.codec.get());
            prop_assert_eq!(header, Ok(CODEC_LINKED));
            prop_assert_eq!(decoded(&schema, &payload), Ok(rows));
        }

        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn any_body_is_decoded_or_refused(
            codec in 0_u16..4,
            rows in 1_u32..300,
            flags in 0_u16..4,
            body in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let header = BlockHeader {
                rows: rows.into(),
                columns: 3.into(),
                raw_length: u32::try_from(body.len()).expect("short").into(),
                codec: codec.into(),
                flags: flags.into(),
                ..BlockHeader::new_zeroed()
            };
            let payload = [header.as_bytes(), &body].concat();
            let types = [ValueType::U64, ValueType::I64, ValueType::F64];
            let _ = decode(&schema(&types), &payload);
        }

        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn any_bytes_are_decoded_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..400)
        ) {
            let _ = decode(&schema(&[ValueType::U64, ValueType::F64]), &bytes);
        }
    }
}
