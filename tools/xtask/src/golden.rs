//! Golden files: small recordings that every later version has to read as it does today.
//!
//! A set is made once, by the writer of its time, and never edited: the task refuses a set that is
//! there. Everything in it is told here, so that the same writer makes the same bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use ktm_format::{
    Entropy, Event, Geometry, HeapRegion, Host, Kind, ReadAt as _, Recording, Schema, Series,
    Stamp, ValueType, Values, Writer,
};
use ktm_recorder::replay::{Format, Presentation, Query, QueryText, Replay, events, write_json};
use ktm_recorder::time::{Reference, Zone};

/// Writes a new set of golden files into tests/golden/SET, with what they have to read as.
#[derive(Debug, clap::Args)]
pub(crate) struct Golden {
    /// The set's name: the version and what is new in it
    set: String,
}

/// In git each has at most this many bytes.
const LARGEST: usize = 200 << 10;

/// 2026-11-20T14:23:21Z.
const START: i64 = 1_795_184_601;
const SECOND: i64 = 1_000_000_000;

impl Golden {
    pub(crate) fn run(&self) -> Result<()> {
        let folder = crate::workspace().join("tests/golden").join(&self.set);
        ensure!(
            !folder.exists(),
            "{} is there, and golden files are never made anew",
            folder.display()
        );
        fs::create_dir_all(&folder)?;
        let (blocks, cut) = damaged();
        for (name, bytes) in [
            ("sound", sound()),
            ("sealed-and-hot", sealed_and_hot()),
            ("values", values()),
            ("linked", linked()),
            ("incompressible", incompressible()),
            ("runs", runs()),
            ("lapped", lapped()),
            ("damaged", blocks),
            ("damaged-cut-short", cut),
        ] {
            write(&folder, name, bytes).with_context(|| name.to_owned())?;
        }
        Ok(())
    }
}

/// The recording, and the CSV and the events that it reads as.
fn write(folder: &Path, name: &str, bytes: Vec<u8>) -> Result<()> {
    let keep = |name: String, bytes: &[u8]| -> Result<()> {
        let small = zstd::bulk::compress(bytes, 19)?;
        ensure!(small.len() <= LARGEST, "{name} has {} bytes", small.len());
        println!(
            "{:10} bytes, unpacked {:8}  {name}",
            small.len(),
            bytes.len()
        );
        Ok(fs::write(folder.join(name + ".zst"), small)?)
    };
    keep(format!("{name}.ktm"), &bytes)?;
    let snapshot = Arc::new(Recording::over(bytes)?.snapshot()?);
    let damaged = name.contains("damaged");
    let told = snapshot.verify()?.is_sound();
    ensure!(damaged != told, "damaged is what is called so");
    let query = Query::parse(&QueryText::default(), &Reference::now(Zone::utc()))?;
    let mut csv = Vec::new();
    let replay = Replay::new(Arc::clone(&snapshot), query.clone())?;
    let outcome = replay.write(
        Format::Csv,
        &Presentation::plain(Zone::utc(), name),
        &mut csv,
    );
    outcome.map_err(|error| anyhow::anyhow!("{error}"))?;
    keep(format!("{name}.csv"), &csv)?;
    let mut json = Vec::new();
    write_json(&events(&snapshot, &query.range), &mut json)?;
    keep(format!("{name}.events.json"), &json)
}

/// Numbers that are the same on every machine.
struct Told(u64);

impl Told {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

impl Entropy for Told {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// A recording in memory, written run by run.
struct Making {
    region: HeapRegion,
    writer: Writer<HeapRegion>,
    told: Told,
    stamp: Stamp,
}

impl Making {
    fn new(geometry: Geometry, seed: u64) -> Making {
        let region = HeapRegion::new(geometry.file_size);
        let mut told = Told(seed);
        let stamp = Stamp {
            realtime_ns: START * SECOND,
            boottime_ns: 1_000 * SECOND.unsigned_abs(),
        };
        let writer = Writer::create(region.clone(), geometry, host(1), stamp, &mut told)
            .expect("a region of zeros");
        Making {
            region,
            writer,
            told,
            stamp,
        }
    }

    fn restart(&mut self, boot: u8) {
        self.writer = Writer::open(self.region.clone(), host(boot), &mut self.told)
            .expect("what was just written");
    }

    fn pass(&mut self, nanos: i64) {
        self.stamp.realtime_ns += nanos;
        self.stamp.boottime_ns += nanos.unsigned_abs();
    }

    fn row(&mut self, schema: &Schema, values: &Values) {
        let handle = self.writer.define(schema).expect("fits");
        self.writer
            .append(handle, self.stamp, values)
            .expect("room");
        self.writer.maintain().expect("memory does not fail");
    }

    fn event(&mut self, event: Event) {
        self.writer.event(self.stamp, &event).expect("room");
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.region.len().expect("known");
        let mut bytes = vec![0; usize::try_from(length).expect("small")];
        self.region.read_at(0, &mut bytes).expect("in range");
        bytes
    }
}

fn host(boot: u8) -> Host {
    Host {
        boot_id: [boot; 16],
        pid: 4711,
    }
}

/// The smallest that our recorder makes.
fn usual() -> Geometry {
    Geometry::for_size(ktm_format::MIN_FILE_SIZE).expect("the minimum")
}

/// Smaller than ours: a reader takes the numbers from the superblock.
fn small() -> Geometry {
    Geometry {
        file_size: (64 << 10) + 20 * 8192 + 104,
        segment_size: 8192,
        hot_count: 5,
        cold_count: 15,
    }
}

fn counters(module: &str, count: usize) -> Schema {
    let series = (0..count).map(|n| Series::counter(format!("{module}_{n}_total"), "Help."));
    Schema {
        module: module.into(),
        labels: vec![("pod_name".into(), "data-0".into())],
        series: series.collect(),
    }
}

/// Samples of two modules ten seconds apart, and an event now and then.
fn sample(making: &mut Making, seconds: std::ops::Range<u64>) {
    for second in seconds {
        making.pass(10 * SECOND);
        for (module, count) in [("wide", 20), ("narrow", 3)] {
            let mut values = Values::new();
            for column in 0..count as u64 {
                values.push_u64(second * column * column + making.told.next() % (column + 1));
            }
            making.row(&counters(module, count), &values);
        }
        if second.is_multiple_of(17) {
            making.event(Event::new("mark").with("second", second));
        }
    }
}

fn sound() -> Vec<u8> {
    let mut making = Making::new(usual(), 1);
    making.event(Event::new("start").with("interval", "10s"));
    sample(&mut making, 0..40);
    making.event(Event::new("stop").with("reason", "SIGTERM"));
    making.bytes()
}

fn sealed_and_hot() -> Vec<u8> {
    let mut making = Making::new(usual(), 2);
    sample(&mut making, 0..700);
    making.bytes()
}

/// Every type and exponent, doubles that are hard to print, values that are absent.
fn values() -> Vec<u8> {
    let mut making = Making::new(small(), 3);
    let series = |name: &str, kind, value_type| Series::new(name, kind, value_type, "");
    let schema = Schema {
        module: "values".into(),
        labels: vec![],
        series: vec![
            series("u_total", Kind::Counter, ValueType::U64),
            series("nanos_seconds_sum", Kind::Sum, ValueType::U64).exponent(-9),
            series("kilo", Kind::Gauge, ValueType::I64).exponent(3),
            series("tiny", Kind::Gauge, ValueType::I64).exponent(-18),
            series("double", Kind::Gauge, ValueType::F64),
            series("bits", Kind::Untyped, ValueType::F64),
            series("q", Kind::Quantile, ValueType::F64).label("quantile", "0.99"),
            series("q", Kind::Gauge, ValueType::U64).label("path", "/x,\"y\"\\\n\u{e9}"),
        ],
    };
    const DOUBLES: [f64; 16] = [
        0.0,
        -0.0,
        0.1,
        1e-7,
        9.999_999e-8,
        1e16,
        1e17,
        1e22,
        5e-324,
        f64::MAX,
        f64::MIN_POSITIVE,
        1.0 / 3.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        123_456_789.125,
        -2.5e-300,
    ];
    for n in 0_u64..600 {
        making.pass(SECOND / 3);
        let bits = making.told.next();
        let mut values = Values::new();
        values.push_u64(if n < 300 { n } else { u64::MAX - 600 + n });
        values.push_u64(bits >> (n % 64));
        values.push_i64(bits.cast_signed() >> (n % 60));
        values.push_i64(-(n.cast_signed()));
        values.push_f64(DOUBLES[(n % 16) as usize]);
        values.push_f64(f64::from_bits(if n % 5 == 0 {
            0x7ff8_dead_beef_0000 + n
        } else {
            bits
        }));
        values.push_f64((n as f64 / 7.0).sin());
        if n % 3 == 0 {
            values.push_absent();
        } else {
            values.push_u64(0);
        }
        making.row(&schema, &values);
    }
    making.bytes()
}

/// Columns that follow each other, steady ones, doubles that are short decimals, a column that
/// comes and goes.
fn linked() -> Vec<u8> {
    let mut making = Making::new(small(), 8);
    let unsigned = |name: &str| Series::new(name, Kind::Untyped, ValueType::U64, "");
    let double = |name: &str| Series::new(name, Kind::Gauge, ValueType::F64, "");
    let schema = Schema {
        module: "linked".into(),
        labels: vec![],
        series: vec![
            unsigned("pages"),
            unsigned("kibibytes"),
            unsigned("free"),
            unsigned("other"),
            unsigned("sum"),
            unsigned("ticks"),
            unsigned("huge"),
            unsigned("seldom"),
            Series::new("signed", Kind::Gauge, ValueType::I64, ""),
            double("cents"),
            double("thirds"),
            double("load").label("minutes", "1"),
        ],
    };
    let (mut pages, mut other, mut load) = (1_000_000_u64, 77, 0_u64);
    for n in 0_u64..700 {
        let jitter = making.told.next() >> 44;
        making.pass(SECOND + jitter.cast_signed());
        let noise = making.told.next();
        pages += noise % 4096;
        other += u64::from(noise >> 60 == 0) * (noise >> 20 & 0xffff);
        load = (load * 15 + (noise >> 50) % 400) / 16;
        let mut values = Values::new();
        values.push_u64(pages);
        values.push_u64(pages * 4);
        values.push_u64(10_000_000 - pages + u64::from(n % 50 == 0));
        values.push_u64(other);
        values.push_u64(pages + other);
        values.push_u64(n * 100);
        values.push_u64(if n % 3 == 0 { noise } else { u64::MAX - n });
        if (n / 40) % 3 == 1 {
            values.push_absent();
        } else {
            values.push_u64(n / 7);
        }
        values.push_i64((noise >> 32).cast_signed() % 1000 - 500);
        values.push_f64((n as f64) / 100.0);
        values.push_f64((n as f64) / 3.0);
        values.push_f64(if n == 650 { -0.0 } else { load as f64 / 100.0 });
        making.row(&schema, &values);
    }
    making.bytes()
}

/// Nothing to find for a codec: its blocks hold the rows as they are.
fn incompressible() -> Vec<u8> {
    let mut making = Making::new(small(), 4);
    for n in 0..90 {
        let step = making.told.next() >> 20;
        making.pass(1 + step.cast_signed());
        let mut values = Values::new();
        for column in 0..40 {
            match making.told.next() % 9 {
                0 if column == n % 40 => values.push_absent(),
                _ => values.push_u64(making.told.next()),
            }
        }
        making.row(&counters("noise", 40), &values);
    }
    making.bytes()
}

/// Restarts, epochs, a clock that is set back, a module whose series change.
fn runs() -> Vec<u8> {
    let mut making = Making::new(small(), 5);
    for run in 0..6_u64 {
        if run > 0 {
            making.restart(if run < 4 { 1 } else { 2 });
        }
        making.event(Event::new("start").with("interval", "10s").with("run", run));
        sample(&mut making, run * 30..run * 30 + 10);
        making.writer.begin_epoch();
        making.event(Event::new("target_found").with("pid", 100 + run));
        sample(&mut making, run * 30 + 10..run * 30 + 20);
        if run % 2 == 0 {
            making.stamp.realtime_ns -= 3600 * SECOND;
            making.event(Event::new("clock_step").with("seconds", "-3600"));
        }
        let mut schema = counters("changing", 2 + run as usize);
        schema.series.reverse();
        let mut values = Values::new();
        (0..2 + run).for_each(|n| values.push_u64(n + run));
        making.row(&schema, &values);
    }
    making.bytes()
}

fn lapped() -> Vec<u8> {
    let mut making = Making::new(small(), 6);
    sample(&mut making, 0..3000);
    making.restart(2);
    sample(&mut making, 3000..3100);
    making.bytes()
}

/// One of each: a superblock, a header, a schema, a block, a row; and a file cut short.
fn damaged() -> (Vec<u8>, Vec<u8>) {
    let mut making = Making::new(small(), 7);
    sample(&mut making, 0..2000);
    let whole = making.bytes();
    let Geometry {
        segment_size,
        hot_count,
        ..
    } = small();
    let slot = |index: u32| (64 << 10) + (index * segment_size) as usize;
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    bytes[slot(0) + 20] ^= 4;
    // The sector with the first schema of the first cold segment, and the tail of its first block.
    bytes[slot(hot_count) + 128 + 60] ^= 1;
    bytes[slot(hot_count) + 2000] ^= 128;
    bytes[slot(2) + 4096..slot(2) + 4608].fill(0);
    bytes[slot(hot_count + 1)..slot(hot_count + 1) + 128].fill(0xa5);
    bytes[slot(hot_count + 2) - 128..slot(hot_count + 2)].fill(0x5a);
    let cut = slot(hot_count + 1) + 3000;
    (bytes, whole[..cut].to_vec())
}
