//! A program that keeps a black box of its own: what its job queue did, in a file that survives
//! whatever ends the program. Read it with `ktm-dump -F jobs.ktm`.
//!
//!     cargo run -p ktm-recorder --example embed -- jobs.ktm

use std::error::Error;
use std::time::{Duration, Instant};

use ktm_format::{
    Clock, Event, Kind, MIN_FILE_SIZE, Schema, Series, SystemClock, ValueType, Values,
};
use ktm_recorder::flight::{FlightRecorder, Options};

/// How often it looks at itself.
const INTERVAL: Duration = Duration::from_millis(50);

/// The series. Latencies are counted in nanoseconds and shown in seconds, exact in both.
fn schema() -> Schema {
    let latency = "job_latency_seconds";
    let bucket = |le: &str| {
        Series::new(
            format!("{latency}_bucket"),
            Kind::Bucket,
            ValueType::U64,
            "",
        )
        .label("le", le)
    };
    let sum = Series::new(
        format!("{latency}_sum"),
        Kind::Sum,
        ValueType::U64,
        "Time per job.",
    );
    Schema {
        module: "jobs".into(),
        labels: vec![("queue".into(), "mail".into())],
        series: vec![
            Series::gauge("job_queue_depth", "Jobs waiting."),
            bucket("0.001"),
            bucket("0.002"),
            bucket("+Inf"),
            sum.exponent(-9).unit("seconds"),
            Series::new(format!("{latency}_count"), Kind::Count, ValueType::U64, ""),
        ],
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "jobs.ktm".into());
    let options = Options {
        size: MIN_FILE_SIZE,
        software: "embed example".into(),
        ..Options::default()
    };
    // This always gives a recording: one that cannot be used is set aside under another name.
    let (mut recorder, report) = FlightRecorder::open_or_create(path, &options)?;
    let start = Event::new("start").with("interval", "50ms");
    recorder.start(SystemClock.now(), start, &report)?;
    let jobs = recorder.define(&schema())?;

    let (mut buckets, mut sum, mut values) = ([0_u64; 3], 0, Values::new());
    for waiting in (0_u64..20).rev() {
        let begun = Instant::now();
        std::thread::sleep(Duration::from_micros(200 * (waiting % 12)));
        let took = begun.elapsed().as_nanos();
        sum += u64::try_from(took)?;
        for (count, bound) in buckets.iter_mut().zip([1_000_000, 2_000_000, u128::MAX]) {
            *count += u64::from(took <= bound);
        }
        values.clear();
        values.push_u64(waiting);
        buckets.iter().for_each(|count| values.push_u64(*count));
        values.push_u64(sum);
        values.push_u64(buckets[2]);
        // Once this has returned, the sample survives the death of the program.
        recorder.append(jobs, SystemClock.now(), &values)?;
        std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
    }
    let drained = Event::new("queue_drained").with("jobs", buckets[2]);
    recorder.event(SystemClock.now(), &drained)?;
    recorder.stop(SystemClock.now(), "nothing left to do")?;
    Ok(())
}
