//! The encodings measured against: MongoDB's FTDC (`src/mongo/db/ftdc/compressor.cpp`), and the
//! stages of codec 1.
//!
//! An FTDC chunk is a reference document, the numbers of metrics and of deltas, and for every
//! metric the differences from row to row as unsigned varints, in which runs of zeros, across
//! metrics too, are a zero and the run's length less one; zlib squeezes the whole. Doubles are cut
//! to integers. An absent value, which FTDC would have to begin a new chunk for, repeats the one
//! before.

use std::io::{Read as _, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use ktm_format::ValueType;

use crate::table::{Column, Table};

/// A chunk whose reference is the bare first row, eight bytes a metric.
pub(crate) fn encode(table: &Table, rows: &Range<usize>) -> Vec<u8> {
    let metrics = metrics(table, rows);
    let mut raw = Vec::new();
    for number in [metrics.len(), rows.len() - 1] {
        raw.extend_from_slice(&(number as u32).to_le_bytes());
    }
    for metric in &metrics {
        raw.extend_from_slice(&metric[0].to_le_bytes());
    }
    let mut runs = ZeroRuns::default();
    for metric in &metrics {
        for [a, b] in metric.array_windows() {
            runs.push(b.wrapping_sub(*a));
        }
    }
    raw.append(&mut runs.finish());
    zlib(&raw)
}

/// What MongoDB puts in the reference row's place beyond its eight bytes: the names, as BSON.
pub(crate) fn reference_document(table: &Table, _: &Range<usize>) -> Vec<u8> {
    let mut document = Vec::new();
    for column in &table.columns {
        document.push(0x12);
        document.extend_from_slice(column.name.as_bytes());
        document.push(0);
    }
    zlib(&document)
}

/// The sum of what a chunk holds.
pub(crate) fn decode(chunk: &[u8]) -> u64 {
    let mut raw = Vec::new();
    ZlibDecoder::new(chunk).read_to_end(&mut raw).expect("ours");
    let number = |at: usize| u32::from_le_bytes(raw[at..at + 4].try_into().expect("four")) as usize;
    let (metrics, deltas) = (number(0), number(4));
    let (reference, mut rest) = raw[8..].split_at(metrics * 8);
    let mut words = vec![0_u64; metrics * (deltas + 1)];
    let mut zeros = 0;
    for (metric, first) in reference.as_chunks::<8>().0.iter().enumerate() {
        let row = &mut words[metric * (deltas + 1)..][..=deltas];
        let mut word = u64::from_le_bytes(*first);
        row[0] = word;
        for cell in &mut row[1..] {
            if zeros > 0 {
                zeros -= 1;
            } else {
                let delta = varint(&mut rest);
                if delta == 0 {
                    zeros = varint(&mut rest);
                }
                word = word.wrapping_add(delta);
            }
            *cell = word;
        }
    }
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// The bytes that codec 1 took: zig-zag differences, doubles exact by exclusive or, zstd.
pub(crate) fn codec_1(table: &Table, rows: &Range<usize>) -> usize {
    let mut runs = ZeroRuns::default();
    for column in &table.columns {
        let mut before = 0;
        for word in filled(column, rows) {
            runs.push(match column.value_type {
                ValueType::F64 => (word ^ before).swap_bytes(),
                ValueType::U64 | ValueType::I64 => {
                    let difference = word.wrapping_sub(before);
                    difference << 1 ^ (difference.cast_signed() >> 63).cast_unsigned()
                }
            });
            before = word;
        }
    }
    let small = zstd::bulk::compress(&runs.finish(), 1);
    small.expect("a buffer of the needed size").len()
}

fn metrics(table: &Table, rows: &Range<usize>) -> Vec<Vec<u64>> {
    let milliseconds = table.times[rows.clone()].iter();
    let time = milliseconds
        .map(|time| (time / 1_000_000).cast_unsigned())
        .collect();
    let columns = table.columns.iter().map(|column| {
        let words = filled(column, rows);
        match column.value_type {
            ValueType::F64 => words
                .map(|word| f64::from_bits(word) as i64 as u64)
                .collect(),
            ValueType::U64 | ValueType::I64 => words.collect(),
        }
    });
    std::iter::once(time).chain(columns).collect()
}

fn filled(column: &Column, rows: &Range<usize>) -> impl Iterator<Item = u64> {
    let mut last = 0;
    column.words[rows.clone()].iter().map(move |word| {
        last = word.unwrap_or(last);
        last
    })
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[derive(Default)]
struct ZeroRuns {
    out: Vec<u8>,
    zeros: u64,
}

impl ZeroRuns {
    fn push(&mut self, number: u64) {
        if number == 0 {
            self.zeros += 1;
        } else {
            self.flush();
            self.varint(number);
        }
    }

    fn flush(&mut self) {
        if self.zeros > 0 {
            self.out.push(0);
            self.varint(self.zeros - 1);
            self.zeros = 0;
        }
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, behind) = rest.split_first().expect("ours");
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
