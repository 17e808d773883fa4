//! Rows through sealing and back: any schema, any values, absent ones, any times and epochs.
//!
//! Everything comes back bit for bit, all of it out of sealed blocks.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use ktm_format::{
    Event, Geometry, HEADER_ZONE, HeapRegion, Position, Recording, Schema, Stamp, Writer,
};

use crate::generate::{self, Course, bytes_of, host};
use crate::item::{Item, What, read};
use crate::{Target, Twin, Verdict, ensure, insist};
use ktm_simulation::Random;

/// This target.
pub const TARGET: Target = Target {
    name: "codec",
    check,
    twins: &[
        Twin {
            bug: "a not-a-number loses its payload",
            check: |data| {
                over(data, |word| match word {
                    Some(bits) if f64::from_bits(*bits).is_nan() => *bits = f64::NAN.to_bits(),
                    _ => {}
                })
            },
        },
        Twin {
            bug: "an absent value becomes a zero",
            check: |data| over(data, |word| *word = word.or(Some(0))),
        },
        Twin {
            bug: "a number of 64 bits is cut to 63",
            check: |data| {
                over(data, |word| {
                    *word = word.map(|word| word & (u64::MAX >> 1));
                })
            },
        },
    ],
};

const SEGMENT: u32 = 16 * 1024;

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
fn over(data: &[u8], tamper: impl Fn(&mut Option<u64>)) -> Verdict {
    let mut u = Unstructured::new(data);
    let Ok(rows) = rows(&mut u) else {
        return Ok(());
    };
    let region = record(&rows)?;
    let snapshot = Recording::over(bytes_of(&region))
        .and_then(|recording| recording.snapshot())
        .map_err(|error| format!("a sound recording is refused: {error}"))?;
    ensure(snapshot.damage().is_empty(), || {
        format!("damage in a sound file: {:?}", snapshot.damage())
    })?;
    let sealed = snapshot.info().sealed_rows;
    ensure(sealed == rows.len() as u64, || {
        format!("{sealed} of {} rows were sealed", rows.len())
    })?;
    let (mut found, unreadable) = read(&snapshot)?;
    ensure(unreadable == 0, || {
        format!("{unreadable} blocks cannot be decoded")
    })?;
    found.retain(|item| matches!(item.what, What::Row(..)));
    for item in &mut found {
        if let What::Row(_, words) = &mut item.what {
            words.iter_mut().for_each(&tamper);
        }
    }
    ensure(found.len() == rows.len(), || {
        format!("{} of {} rows came back", found.len(), rows.len())
    })?;
    let changed = rows.iter().zip(&found).find(|(row, found)| row != found);
    match changed {
        None => Ok(()),
        Some((row, found)) => Err(format!("{row:?} came back as {found:?}")),
    }
}

/// The rows of one or two schemas, in the order of their numbers.
fn rows(u: &mut Unstructured<'_>) -> Result<Vec<Item>> {
    let schemas = (0..u.int_in_range(1..=2)?).map(|number| {
        let types = generate::types(u, 24)?;
        let courses = types
            .iter()
            .map(|_| Course::new(u))
            .collect::<Result<_>>()?;
        Ok((Arc::new(generate::plain_schema(number, &types)), courses))
    });
    let mut schemas: Vec<(Arc<Schema>, Vec<Course>)> = schemas.collect::<Result<_>>()?;
    let mut realtime = Course::new(u)?;
    let mut boottime = Course::new(u)?;
    let mut at = Position {
        seq: u64::from(u.arbitrary::<u16>()?) + 1,
        stamp: Stamp::default(),
        epoch: 1 + u32::from(u.arbitrary::<u8>()?),
        run: 1 + u32::from(u.arbitrary::<u8>()?),
    };
    let widest = schemas.iter().map(|(_, courses)| courses.len()).max();
    // As many as the hot ring takes, and more than a block does.
    let most = (SEGMENT as usize * 3 / (56 + 9 * widest.unwrap_or(0))).min(400);
    let count = u.int_in_range(1..=most)?;
    let mut random = Random(u.arbitrary()?);
    let mut rows = Vec::new();
    for _ in 0..count {
        at.stamp = Stamp {
            realtime_ns: realtime.next().unwrap_or_default().cast_signed(),
            boottime_ns: boottime.next().unwrap_or_default(),
        };
        if random.one_in(20) {
            at.seq += random.below(1 << 40);
            at.epoch = at.epoch.wrapping_add(1);
            at.run = random.number() as u32;
        }
        let chosen = random.below(schemas.len() as u64) as usize;
        let (schema, courses) = &mut schemas[chosen];
        let words = courses.iter_mut().map(Course::next).collect();
        rows.push(Item {
            seq: at.seq,
            stamp: at.stamp,
            epoch: at.epoch,
            run: at.run,
            what: What::Row(Arc::clone(schema), words),
        });
        at.seq += 1;
    }
    Ok(rows)
}

/// Writes rows, and then so much else that all of them are sealed.
fn record(rows: &[Item]) -> std::result::Result<HeapRegion, String> {
    let geometry = Geometry {
        file_size: HEADER_ZONE + 24 * u64::from(SEGMENT),
        segment_size: SEGMENT,
        hot_count: 8,
        cold_count: 16,
    };
    let region = HeapRegion::new(geometry.file_size);
    let broken = |error: ktm_format::Error| format!("recording failed: {error}");
    let created = Stamp::default();
    let writer = Writer::create(region.clone(), geometry, host(), created, &mut Random(1));
    let mut writer = writer.map_err(broken)?;
    for row in rows {
        let What::Row(schema, words) = &row.what else {
            continue;
        };
        let at = Position {
            seq: row.seq,
            stamp: row.stamp,
            epoch: row.epoch,
            run: row.run,
        };
        let handle = writer.define(schema).map_err(broken)?;
        writer
            .adopt(handle, at, &generate::values(words))
            .map_err(broken)?;
        writer.maintain().map_err(broken)?;
    }
    let filler = Event::new("filler").with("text", "x".repeat(SEGMENT as usize / 2));
    for _ in 0..geometry.hot_count {
        writer.event(created, &filler).map_err(broken)?;
        writer.maintain().map_err(broken)?;
    }
    Ok(region)
}
