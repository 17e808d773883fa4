//! Schemas through a file and back, and any bytes as a schema.
//!
//! A schema that the writer takes comes back equal. Bytes that pass the checksum of a schema record
//! are refused, or encode to the same bytes again.

use std::sync::Arc;

use arbitrary::Unstructured;
use ktm_format::{
    Error, Geometry, HEADER_ZONE, HeapRegion, Recording, Schema, Snapshot, Stamp, Writer,
};

use crate::generate::{self, bytes_of, host};
use crate::layout::{self, Layout, RECORD_HEADER};
use crate::{Target, Twin, Verdict, ensure, insist};
use ktm_simulation::Random;

/// This target.
pub const TARGET: Target = Target {
    name: "schema",
    check,
    twins: &[
        Twin {
            bug: "a label's value is dropped",
            check: |data| {
                over(data, |schema| {
                    let labels = schema
                        .series
                        .iter_mut()
                        .flat_map(|series| &mut series.labels);
                    labels.for_each(|(_, value)| value.clear());
                })
            },
        },
        Twin {
            bug: "an exponent loses its sign",
            check: |data| {
                over(data, |schema| {
                    for series in &mut schema.series {
                        series.exponent = series.exponent.abs();
                    }
                })
            },
        },
        Twin {
            bug: "the last series is not read",
            check: |data| over(data, |schema| drop(schema.series.pop())),
        },
    ],
};

const SEGMENT: u32 = 64 * 1024;
/// The longest text that a file keeps.
const LONGEST: usize = 65_535;

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, |_| ())
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

/// `tamper` stands between the decoder and the oracle.
fn over(data: &[u8], tamper: impl Fn(&mut Schema)) -> Verdict {
    match data.split_first() {
        Some((mode, bytes)) if mode.is_multiple_of(2) => forged(bytes, tamper),
        Some((_, bytes)) => written(bytes, tamper),
        None => Ok(()),
    }
}

fn create() -> (HeapRegion, Writer<HeapRegion>) {
    let geometry = Geometry {
        file_size: HEADER_ZONE + 4 * u64::from(SEGMENT),
        segment_size: SEGMENT,
        hot_count: 2,
        cold_count: 2,
    };
    let region = HeapRegion::new(geometry.file_size);
    let created = Stamp::default();
    let writer = Writer::create(region.clone(), geometry, host(), created, &mut Random(1));
    (
        region,
        writer.expect("a region of zeros becomes a recording"),
    )
}

fn snapshot(image: Vec<u8>) -> Result<Snapshot, String> {
    Recording::over(image)
        .and_then(|recording| recording.snapshot())
        .map_err(|error| format!("a sound recording is refused: {error}"))
}

fn written(bytes: &[u8], tamper: impl Fn(&mut Schema)) -> Verdict {
    let mut u = Unstructured::new(bytes);
    let Ok(schema) = generate::schema(&mut u, 12) else {
        return Ok(());
    };
    let (region, mut writer) = create();
    let handle = match writer.define(&schema) {
        Ok(handle) => handle,
        Err(Error::RowTooLarge { .. }) => return Ok(()),
        Err(error) => return Err(format!("a schema is refused: {error}")),
    };
    let words = vec![None; schema.series.len()];
    writer
        .append(handle, Stamp::default(), &generate::values(&words))
        .map_err(|error| format!("a row of a schema that was taken is refused: {error}"))?;
    let snapshot = snapshot(bytes_of(&region))?;
    let mut found: Vec<Schema> = snapshot.schemas().map(|found| (**found).clone()).collect();
    found.iter_mut().for_each(tamper);
    ensure(found == [shortened(&schema)], || {
        format!("{schema:?} came back as {found:?}")
    })
}

/// The schema as a file keeps it: texts that are too long end at a character.
fn shortened(schema: &Schema) -> Schema {
    let text = |text: &mut String| text.truncate(text.floor_char_boundary(LONGEST));
    let pairs = |pairs: &mut Vec<(String, String)>| {
        for (name, value) in pairs {
            text(name);
            text(value);
        }
    };
    let mut schema = schema.clone();
    text(&mut schema.module);
    pairs(&mut schema.labels);
    for series in &mut schema.series {
        text(&mut series.name);
        text(&mut series.unit);
        text(&mut series.help);
        pairs(&mut series.labels);
    }
    schema
}

/// Bytes as the payload of a schema record with its checksums right.
fn forged(bytes: &[u8], tamper: impl Fn(&mut Schema)) -> Verdict {
    let (region, writer) = create();
    drop(writer);
    let mut image = bytes_of(&region);
    let mut header = [0; RECORD_HEADER];
    header[4] = 3;
    header[12..16].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let payload = [&length.to_le_bytes()[..], bytes].concat();
    let layout = Layout {
        segment: SEGMENT as usize,
        segments: 4,
    };
    layout::append_record(&mut image, &layout.segment_at(0), &header, &payload);
    let snapshot = snapshot(image)?;
    snapshot.schemas().try_for_each(|schema: &Arc<Schema>| {
        let mut schema = (**schema).clone();
        tamper(&mut schema);
        ensure(encoded(&schema) == bytes, || {
            format!("{bytes:?} were read as {schema:?}")
        })
    })
}

/// A schema's bytes as `docs/format.md` has them.
fn encoded(schema: &Schema) -> Vec<u8> {
    fn string(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u16).to_le_bytes());
        out.extend(text.as_bytes());
    }
    fn pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
        out.extend((pairs.len() as u16).to_le_bytes());
        for (name, value) in pairs {
            string(out, name);
            string(out, value);
        }
    }
    let mut out = Vec::new();
    string(&mut out, &schema.module);
    pairs(&mut out, &schema.labels);
    out.extend((schema.series.len() as u32).to_le_bytes());
    for series in &schema.series {
        out.extend([series.kind as u8, series.value_type as u8]);
        out.extend(series.exponent.to_le_bytes());
        string(&mut out, &series.name);
        string(&mut out, &series.unit);
        string(&mut out, &series.help);
        pairs(&mut out, &series.labels);
    }
    out
}
