//! `cargo bench -p ktm-format`: the cost of appending, opening and scanning.
//!
//! Prints one line a figure. The file lies in `$BENCH_DIR` or the temporary folder; `$BENCH_SIZE`
//! is its size in MiB, 1024 by default.

use std::path::Path;
use std::time::{Duration, Instant};

use ktm_format::{
    Clock, FileRegion, Recording, Schema, Select, Series, SystemClock, SystemEntropy, Values,
    Writer,
};

const COLUMNS: u64 = 100;
const APPENDS: usize = 10_000;
/// Between two appends.
const PAUSE: Duration = Duration::from_millis(1);

fn schema() -> Schema {
    let series = (0..COLUMNS).map(|n| Series::counter(format!("series_{n}_total"), "A counter."));
    Schema {
        module: "bench".into(),
        labels: vec![],
        series: series.collect(),
    }
}

/// A host's counters: half idle, most of the rest slow, a few busy.
fn fill(values: &mut Values, counters: &mut [u64], row: u64) {
    values.clear();
    for (column, counter) in counters.iter_mut().enumerate() {
        let mixed = (row * COLUMNS + column as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56;
        *counter += match column % 10 {
            0..=4 => 0,
            5..=7 => u64::from(noise < 16),
            8 => noise,
            _ => noise * 1000,
        };
        values.push_u64(*counter);
    }
}

struct Filler {
    writer: Writer<FileRegion>,
    handle: ktm_format::SchemaHandle,
    values: Values,
    counters: Vec<u64>,
    row: u64,
}

impl Filler {
    fn append(&mut self) -> Duration {
        fill(&mut self.values, &mut self.counters, self.row);
        self.row += 1;
        let stamp = SystemClock.now();
        let start = Instant::now();
        self.writer
            .append(self.handle, stamp, &self.values)
            .expect("room");
        start.elapsed()
    }
}

/// How often this thread was put off the processor, against its will and waiting for something.
#[derive(Clone, Copy, PartialEq)]
struct Switches {
    involuntary: i64,
    voluntary: i64,
}

impl Switches {
    fn of_this_thread() -> Switches {
        // SAFETY: all zeros is a value of this structure of integers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a structure of the right kind that lives on.
        let code = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        assert_eq!(code, 0, "getrusage knows this thread");
        Switches {
            involuntary: usage.ru_nivcsw,
            voluntary: usage.ru_nvcsw,
        }
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    let (half, most, nearly_all) = (at(0.5), at(0.99), at(0.999));
    let max = times.last().expect("some");
    format!("p50 {half:?}, p99 {most:?}, p99.9 {nearly_all:?}, max {max:?}")
}

/// Appends while another thread syncs without a pause. Appends in which the scheduler gave the
/// processor to somebody else say how busy the machine is, and are shown apart; waiting is ours.
fn append(filler: &mut Filler) {
    let syncer = filler.writer.syncer().expect("a file");
    let (wish, wishes) = std::sync::mpsc::sync_channel(1);
    let (mut times, mut preempted, mut waited) = (Vec::new(), Vec::new(), Vec::new());
    let mut syncs = 0;
    std::thread::scope(|scope| {
        let syncs = &mut syncs;
        scope.spawn(move || {
            for () in wishes {
                syncer.sync().expect("the disk works");
                *syncs += 1;
            }
        });
        for _ in 0..APPENDS {
            let before = Switches::of_this_thread();
            let time = filler.append();
            let after = Switches::of_this_thread();
            if after.involuntary > before.involuntary {
                preempted.push(time);
            } else {
                times.push(time);
            }
            if after.voluntary > before.voluntary {
                waited.push(time);
            }
            filler.writer.maintain().expect("sealed");
            // While one sync runs, all further wishes are one.
            let _is_pending = wish.try_send(());
            std::thread::sleep(PAUSE);
        }
        drop(wish);
    });
    let longest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    println!(
        "append, {COLUMNS} values, {syncs} syncs beside: {}; waited {} times, at most {:?}; \
         preempted {} times, at most {:?}",
        percentiles(times),
        waited.len(),
        longest(&waited),
        preempted.len(),
        longest(&preempted),
    );
}

fn lap(filler: &mut Filler, size: u64) {
    let started = Instant::now();
    let mut rows = 0_u64;
    let mut stored = 0;
    while stored < size {
        for _ in 0..10_000 {
            filler.append();
            filler.writer.maintain().expect("sealed");
        }
        rows += 10_000;
        // The rows cost about 29 bytes each sealed; the ring is full some time after that.
        stored = rows * 25;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "fill: {rows} rows in {seconds:.1} s, {:.0} rows/s",
        rows as f64 / seconds
    );
}

fn open(path: &Path) {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        drop(Writer::open_file(path, &mut SystemEntropy).expect("opens"));
        best = best.min(start.elapsed());
    }
    println!("open for writing, warm: {best:?}");
}

fn scan(path: &Path) {
    let start = Instant::now();
    let snapshot = Recording::open(path)
        .and_then(|r| r.snapshot())
        .expect("readable");
    println!("index: {:?}", start.elapsed());
    let (start, start_cpu) = (Instant::now(), cpu_seconds());
    let (mut rows, mut sum) = (0_u64, 0_u64);
    for row in snapshot.rows(&Select::all()).flatten() {
        rows += 1;
        sum = row.words().flatten().fold(sum, u64::wrapping_add);
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - start_cpu);
    let info = snapshot.info();
    let speed = |seconds: f64| (rows * COLUMNS) as f64 / seconds / 1e6;
    println!(
        "scan: every value of {rows} rows in {seconds:.2} s, {:.0} million values/s; \
         {:.0} million values/s of CPU time (checksum {sum:x})",
        speed(seconds),
        speed(cpu),
    );
    println!(
        "size: {:.3} bytes a value sealed, {} blocks",
        info.sealed_bytes as f64 / (info.sealed_rows * COLUMNS) as f64,
        info.blocks
    );
}

/// CPU time of this thread: what other load on the machine changes least.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() {
    let folder = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let size = std::env::var("BENCH_SIZE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1024)
        << 20;
    let path = folder.join(format!("ktm-bench-{}.ktm", std::process::id()));
    let mut writer =
        Writer::create_file(&path, size, "bench", SystemClock.now(), &mut SystemEntropy)
            .expect("there is room");
    let handle = writer.define(&schema()).expect("fits");
    let counters = vec![0; COLUMNS as usize];
    let mut filler = Filler {
        writer,
        handle,
        values: Values::new(),
        counters,
        row: 0,
    };
    append(&mut filler);
    lap(&mut filler, size);
    drop(filler);
    open(&path);
    scan(&path);
    std::fs::remove_file(&path).expect("ours");
}
