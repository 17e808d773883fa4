//! Bytes on disk for the same numbers.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use ktm_format::{Recording, Schema, Select, Series, Stamp, Values};
use ktm_recorder::flight::{FlightRecorder, Options, SyncPolicy};

use super::day::ROWS;
use super::host::Table;
use super::ratio::digits;
use super::{Bench, Section, size_of};

/// Of the recording whose ring comes round.
const RING: u64 = 16 << 20;
const INTERVAL_NS: i64 = 10_000_000_000;

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let kept = kept_in_ring(&bench.sampler.table(), &bench.path("ring.ktm"))?;
    let day = bench.day()?;
    let values = (day.columns * ROWS) as f64;
    let mut text = format!(
        "{} counters and gauges of this machine (`/proc/stat`, `vmstat`, `meminfo`, `diskstats`), \
        sampled {} times, once a second, while it ran what is measured above; the increases are \
        repeated up to {ROWS} rows, which are stored 10 s apart, in each kind of file. None \
        compresses across as many rows as are repeated. Our file has a fixed size, so the first \
        figure is that of a recording of {} MiB to which the same rows are written until its ring \
        has come round: the whole file over the values that can be read from it. Only the size of \
        files is compared here, so there is one round.\n\n\
        | file | bytes a value | ratio | values are |\n| --- | --: | --: | --- |\n",
        day.columns,
        day.sampled,
        RING >> 20
    );
    let ours = RING as f64 / (kept * day.columns as u64) as f64;
    let a_value = |path: &Path| -> Result<f64> { Ok(size_of(path)? as f64 / values) };
    let files = [
        ("ktm, a full recording, everything in it", ours, "exact"),
        (
            "ktm, the compressed blocks of the day alone",
            sealed_bytes(&day.ktm)? as f64 / values,
            "exact",
        ),
        (
            "ktm, the day as `ktm-dump import` makes it, with room left",
            a_value(&day.ktm)?,
            "exact",
        ),
        (
            "Prometheus blocks of the day, with their index",
            a_value(&day.prometheus)?,
            "doubles",
        ),
        (
            "sqlite3, a row of integers a sample",
            a_value(&day.sqlite)?,
            "exact",
        ),
        (
            "rrdtool, one archive of the same resolution",
            a_value(&day.rrd)?,
            "doubles",
        ),
    ];
    for (name, bytes, exact) in files {
        let (bytes, ratio) = (digits(bytes), digits(ours / bytes));
        writeln!(text, "| {name} | {bytes} | **{ratio}** | {exact} |")?;
    }
    for (name, bytes, _) in &files[3..] {
        if ours > *bytes {
            let times = digits(ours / bytes);
            writeln!(
                text,
                "\nOurs is worse here: {times} times the bytes of {name}."
            )?;
        }
    }
    text.push_str(
        "\nThe comparison with the encoding of MongoDB's FTDC is a benchmark of its own.\n",
    );
    Ok(Section {
        title: "Bytes on disk",
        text,
    })
}

/// Writes rows until the oldest are overwritten; how many there are then.
fn kept_in_ring(table: &Table, file: &Path) -> Result<u64> {
    const AT_ONCE: usize = 10_000;
    const MOST: usize = 1_000_000;
    let options = Options {
        size: RING,
        // Sizes are compared, not disks.
        sync: SyncPolicy::Never,
        ..Options::default()
    };
    let (mut recorder, _) = FlightRecorder::open_or_create(file, &options)?;
    let handle = recorder.define(&Schema {
        module: "host".to_owned(),
        labels: Vec::new(),
        series: table
            .names
            .iter()
            .map(|name| Series::gauge(name, ""))
            .collect(),
    })?;
    let player = table.player();
    let mut values = Values::new();
    for row in 0..MOST {
        let elapsed = row as i64 * INTERVAL_NS;
        let stamp = Stamp {
            realtime_ns: elapsed,
            boottime_ns: elapsed.unsigned_abs(),
        };
        values.clear();
        player.row(row).for_each(|value| values.push_u64(value));
        recorder.append(handle, stamp, &values)?;
        if (row + 1) % AT_ONCE == 0 {
            let snapshot = Recording::open(file)?.snapshot()?;
            let kept = snapshot.rows(&Select::all()).count();
            if kept + AT_ONCE / 2 < row {
                ensure!(snapshot.damage().is_empty(), "{:?}", snapshot.damage());
                return Ok(kept as u64);
            }
        }
    }
    anyhow::bail!("the ring has not come round in {MOST} rows")
}

fn sealed_bytes(file: &Path) -> Result<u64> {
    Ok(Recording::open(file)?.snapshot()?.info().sealed_bytes)
}
