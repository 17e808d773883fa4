//! A week of rows at full speed: does the file keep its size, and the recorder its memory?
//!
//! The rows are as wide as `iomonitor`'s and move like those of a database node: nearly idle at
//! night, busy by day, latencies around a median with a long tail. They come from a fixed seed, so
//! that two runs write the same.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ktm_format::{
    Clock as _, Info, Kind, Recording, Schema, Select, Series, Stamp, SystemClock, ValueType,
    Values,
};
use ktm_recorder::flight::{FlightRecorder, Options, SyncPolicy};

use ktm_simulation::Random;

/// Writes a week of rows at full speed; prints the file's size and this process's memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    /// Rows to write: a week of them, at one every 10 s
    #[arg(long, default_value_t = WEEK)]
    rows: u64,
    /// Size of the recording in MiB, with or without the unit
    #[arg(long, default_value = "64MiB", value_parser = mebibytes)]
    size: u64,
    /// Where to write [default: a temporary folder beside the build's files]
    #[arg(long)]
    file: Option<PathBuf>,
}

const WEEK: u64 = 7 * 24 * 360;
const INTERVAL_NS: i64 = 10_000_000_000;
/// What the process may grow by between the first lap of the hot ring and the end. A segment being
/// sealed is held in memory, and the allocator keeps some of what it is given back.
const ALLOWED_GROWTH: u64 = 4 << 20;

fn mebibytes(text: &str) -> Result<u64, String> {
    let number = text
        .trim_end_matches("MiB")
        .parse::<u64>()
        .map_err(|error| error.to_string())?;
    number
        .checked_mul(1 << 20)
        .ok_or_else(|| "too large".to_owned())
}

impl Soak {
    pub(crate) fn run(&self) -> Result<()> {
        let beside = std::env::current_exe()?;
        let folder = tempfile::tempdir_in(beside.parent().context("a program is in a folder")?)?;
        let path = self
            .file
            .clone()
            .unwrap_or_else(|| folder.path().join("soak.ktm"));
        ensure!(!path.exists(), "{} exists already", path.display());
        let mut week = Week::begin(&path, self.size)?;
        println!(
            "{} rows of {} values, 10 s apart, into {} bytes, at full speed",
            self.rows,
            week.schema.series.len(),
            self.size
        );
        let sizes_before = Sizes::of(&path)?;
        let memory = week.write(self.rows)?;
        let took = week.begun.elapsed();
        week.recorder.stop(week.stamp, "soak")?;
        let sizes_after = Sizes::of(&path)?;
        println!("{} written in {:.1} s\n", self.rows, took.as_secs_f64());
        print_sizes(
            self.size,
            &[("first second", sizes_before), ("end", sizes_after)],
        );
        let grown = print_memory(&memory);
        print_contents(&path, self.rows, week.schema.series.len())?;
        ensure!(
            sizes_before.apparent == self.size,
            "the file has not the size configured"
        );
        ensure!(sizes_before.allocated >= self.size, "the file is sparse");
        ensure!(
            sizes_after == sizes_before,
            "the file's size on disk has changed"
        );
        ensure!(grown <= ALLOWED_GROWTH, "memory grew by {grown} bytes");
        println!("\nsize and memory: flat");
        Ok(())
    }
}

/// The recording under way.
struct Week {
    recorder: FlightRecorder,
    handle: ktm_recorder::flight::Handle,
    schema: Schema,
    node: Node,
    stamp: Stamp,
    begun: Instant,
    lap_bytes: u64,
}

/// The process's memory after so many rows.
#[derive(Clone, Copy)]
struct Memory {
    rows: u64,
    anonymous: u64,
    resident: u64,
}

impl Week {
    fn begin(path: &Path, size: u64) -> Result<Week> {
        let software = format!("xtask {}", env!("CARGO_PKG_VERSION"));
        // The disk's own speed is not what is looked at.
        let options = Options {
            size,
            sync: SyncPolicy::Never,
            software,
            ..Options::default()
        };
        let (mut recorder, _) = FlightRecorder::open_or_create(path, &options)?;
        let schema = schema();
        let handle = recorder.define(&schema)?;
        let geometry = Recording::open(path)?.snapshot()?.info().geometry;
        Ok(Week {
            recorder,
            handle,
            schema,
            node: Node::new(),
            stamp: SystemClock.now(),
            begun: Instant::now(),
            lap_bytes: geometry.hot_range().1,
        })
    }

    /// Writes all rows. Returns the memory at the start, after the first lap of the hot ring, and
    /// ten times from there to the end.
    fn write(&mut self, rows: u64) -> Result<Vec<Memory>> {
        let row_bytes = self.schema.series.len() as u64 * 8;
        let lap = self.lap_bytes.div_ceil(row_bytes).min(rows);
        let step = ((rows - lap) / 10).max(1);
        let mut memory = vec![Memory::after(0)?];
        let mut values = Values::new();
        for row in 1..=rows {
            self.stamp.realtime_ns += INTERVAL_NS;
            self.stamp.boottime_ns += INTERVAL_NS.unsigned_abs();
            values.clear();
            self.node.sample(row, &mut values);
            self.recorder.append(self.handle, self.stamp, &values)?;
            if row >= lap && (row - lap).is_multiple_of(step) {
                memory.push(Memory::after(row)?);
            }
        }
        Ok(memory)
    }
}

impl Memory {
    fn after(rows: u64) -> Result<Memory> {
        let status = fs::read_to_string("/proc/self/status")?;
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        };
        let of = |name| {
            kibibytes(name)
                .map(|kib| kib << 10)
                .with_context(|| format!("no {name}"))
        };
        Ok(Memory {
            rows,
            anonymous: of("RssAnon")?,
            resident: of("VmRSS")?,
        })
    }
}

/// The sizes of a file: what it says, and what the disk has given it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sizes {
    apparent: u64,
    allocated: u64,
}

impl Sizes {
    fn of(path: &Path) -> Result<Sizes> {
        let metadata = fs::metadata(path)?;
        Ok(Sizes {
            apparent: metadata.len(),
            allocated: metadata.blocks() * 512,
        })
    }
}

fn print_sizes(configured: u64, sizes: &[(&str, Sizes)]) {
    println!(
        "{:14}{:>12}{:>12}{:>12}",
        "file, bytes", "configured", "apparent", "allocated"
    );
    for (
        when,
        Sizes {
            apparent,
            allocated,
        },
    ) in sizes
    {
        println!("{when:14}{configured:>12}{apparent:>12}{allocated:>12}");
    }
}

/// Returns what the process has grown by since the first lap.
fn print_memory(memory: &[Memory]) -> u64 {
    println!(
        "\n{:14}{:>12}{:>12}",
        "memory, KiB", "anonymous", "resident"
    );
    for Memory {
        rows,
        anonymous,
        resident,
    } in memory
    {
        println!(
            "{:14}{:>12}{:>12}",
            format!("{rows} rows"),
            anonymous >> 10,
            resident >> 10
        );
    }
    let after_lap = memory.get(1).map_or(0, |memory| memory.anonymous);
    let most = memory
        .iter()
        .map(|memory| memory.anonymous)
        .max()
        .unwrap_or(0);
    most.saturating_sub(after_lap)
}

fn print_contents(path: &Path, written: u64, columns: usize) -> Result<()> {
    let snapshot = Recording::open(path)?.snapshot()?;
    let Info {
        blocks,
        sealed_rows,
        sealed_bytes,
        cold_used,
        geometry,
        ..
    } = snapshot.info();
    let began = Instant::now();
    let (mut kept, mut last) = (0_u64, None);
    for row in snapshot.rows(&Select::all()) {
        let row = row?;
        if last.is_some_and(|last| row.seq != last + 1) {
            bail!("row {} follows row {last:?}", row.seq);
        }
        last = Some(row.seq);
        kept += 1;
    }
    ensure!(
        snapshot.damage().is_empty(),
        "damage: {:?}",
        snapshot.damage()
    );
    let read = began.elapsed().max(Duration::from_millis(1));
    let sealed_values = (*sealed_rows).max(1) as f64 * columns as f64;
    println!("\nrows written  {written:>12}");
    println!(
        "rows kept     {kept:>12}, read back in {:.1} s",
        read.as_secs_f64()
    );
    println!(
        "cold segments {cold_used:>12} of {}, {blocks} blocks",
        geometry.cold_count
    );
    println!(
        "bytes a value {:>12.4}",
        *sealed_bytes as f64 / sealed_values
    );
    println!(
        "bytes a row   {:>12.0}",
        *sealed_bytes as f64 / (*sealed_rows).max(1) as f64
    );
    std::io::stdout().flush()?;
    Ok(())
}

const CALLS: [&str; 5] = ["read", "pread", "write", "pwrite", "fsync"];
const BUCKETS: usize = 202;
const SINGLES: usize = 26;

/// As wide as what `iomonitor` records: five latency histograms with their outcomes, and some
/// single counters.
fn schema() -> Schema {
    let mut series = Vec::new();
    for call in CALLS {
        let family = format!("ktm_sys_{call}_latency_seconds");
        for bucket in 0..BUCKETS {
            let name = format!("{family}_bucket");
            let bucket =
                Series::new(name, Kind::Bucket, ValueType::U64, "").label("le", bucket.to_string());
            series.push(bucket);
        }
        let sum = Series::new(format!("{family}_sum"), Kind::Sum, ValueType::U64, "");
        series.push(sum.exponent(-9));
        series.push(Series::new(
            format!("{family}_count"),
            Kind::Count,
            ValueType::U64,
            "",
        ));
        for outcome in ["bytes", "errors", "again"] {
            series.push(Series::counter(
                format!("ktm_sys_{call}_{outcome}_total"),
                "",
            ));
        }
    }
    for single in 0..SINGLES {
        series.push(Series::counter(format!("ktm_single_{single}_total"), ""));
    }
    Schema {
        module: "iomonitor".to_owned(),
        labels: Vec::new(),
        series,
    }
}

/// A database node that never was.
struct Node {
    cells: [[u64; BUCKETS]; CALLS.len()],
    sums: [u64; CALLS.len()],
    outcomes: [[u64; 3]; CALLS.len()],
    singles: [u64; SINGLES],
    random: Random,
}

impl Node {
    fn new() -> Node {
        Node {
            cells: [[0; BUCKETS]; CALLS.len()],
            sums: [0; CALLS.len()],
            outcomes: [[0; 3]; CALLS.len()],
            singles: [0; SINGLES],
            random: Random(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// Lives on for one interval and pushes all counters.
    fn sample(&mut self, row: u64, out: &mut Values) {
        // Busy for ten hours of every day; at night a compaction now and then.
        let hour = row / 360 % 24;
        let busy = (8..18).contains(&hour) || self.random.below(40) == 0;
        for call in 0..CALLS.len() {
            if busy || self.random.below(8) == 0 {
                let calls = if busy {
                    200 + self.random.below(2_000)
                } else {
                    self.random.below(20)
                };
                self.make_calls(call, calls);
            }
            self.push_call(call, out);
        }
        for (index, single) in self.singles.iter_mut().enumerate() {
            // Many of them hardly ever move.
            if busy && index % 3 == 0 {
                *single += self.random.below(5_000);
            }
            out.push_u64(*single);
        }
    }

    fn make_calls(&mut self, call: usize, calls: u64) {
        for _ in 0..calls {
            // The sum of some dice, around a bucket of some microseconds, and a tail.
            let mut bucket =
                8 + 2 * call as u64 + (0..6).map(|_| self.random.below(5)).sum::<u64>();
            if self.random.below(200) == 0 {
                bucket += self.random.below(60);
            }
            let bucket = (bucket as usize).min(BUCKETS - 1);
            self.cells[call][bucket] += 1;
            self.sums[call] += 1_000 * (bucket as u64 + 1) + self.random.below(1_000);
        }
        self.outcomes[call][0] += calls * 4096 + self.random.below(4096);
        self.outcomes[call][2] += u64::from(self.random.below(500) == 0);
    }

    fn push_call(&self, call: usize, out: &mut Values) {
        let mut cumulative = 0;
        for cell in self.cells[call] {
            cumulative += cell;
            out.push_u64(cumulative);
        }
        out.push_u64(self.sums[call]);
        out.push_u64(cumulative);
        self.outcomes[call]
            .iter()
            .for_each(|outcome| out.push_u64(*outcome));
    }
}
