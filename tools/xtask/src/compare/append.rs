//! Time to append a row of 100 values.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ktm_format::{Clock as _, Schema, Series, SystemClock, Values};
use ktm_recorder::flight::{FlightRecorder, Options};

use super::child::output;
use super::ratio::{Side, digits, quantile, verdict};
use super::{Bench, Section};

const COLUMNS: u64 = 100;
const ROWS: u64 = 1_000;
const ROUNDS: usize = 5;
/// Between two rows.
const PAUSE: Duration = Duration::from_micros(200);
pub(super) const SCRIPT: &str = include_str!("append.py");

/// Nanoseconds of every append of a round.
type Appends = fn(&Bench) -> Result<Vec<f64>>;

const CONTENDERS: [(&str, Appends); 5] = [
    (
        "ktm, every row forced to the disk beside (the default)",
        ours,
    ),
    ("the same again: ideally 1", ours),
    ("sqlite3, WAL, `synchronous=NORMAL`", |bench| {
        sqlite(bench, "NORMAL")
    }),
    ("sqlite3, WAL, `synchronous=FULL`", |bench| {
        sqlite(bench, "FULL")
    }),
    ("rrdtool `update`", rrdtool),
];

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let mut text = format!(
        "One row of {COLUMNS} integers at a time, {ROWS} rows with a pause of {} us between, \
        {ROUNDS} rounds. When ours returns, the row survives the death of the process, and a \
        thread beside forces it to the disk; `synchronous=NORMAL` forces nothing until a \
        checkpoint, `FULL` waits for the disk before it returns, rrdtool forces nothing. sqlite3 \
        is called from Python, which costs it some microseconds a row; rrdtool is asked through a \
        pipe, and reads the numbers as text: these are the times a program would see, not those of \
        the storage alone.\n\n\
        | what | p50, us | p99, us | p50 ratio: min | median | max \
        | p99 ratio: min | median | max |\n\
        | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n",
        PAUSE.as_micros()
    );
    let mut typical = vec![Side::default(); CONTENDERS.len()];
    let mut slow = typical.clone();
    for _ in 0..ROUNDS {
        for (index, (name, run)) in CONTENDERS.iter().enumerate() {
            let mut nanos = run(bench).context(*name)?;
            ensure!(nanos.len() as u64 == ROWS, "{name}: {} rows", nanos.len());
            nanos.sort_unstable_by(f64::total_cmp);
            typical[index].push(quantile(&nanos, 0.5) / 1e3);
            slow[index].push(quantile(&nanos, 0.99) / 1e3);
        }
    }
    let mut verdicts = String::new();
    for (index, (name, _)) in CONTENDERS.iter().enumerate() {
        let ratios = [typical[0].over(&typical[index]), slow[0].over(&slow[index])];
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            digits(typical[index].median()),
            digits(slow[index].median()),
            ratios[0].cells(),
            ratios[1].cells()
        )?;
        if index > 1 {
            verdicts.extend(verdict("p50", name, ratios[0]));
            verdicts.extend(verdict("p99", name, ratios[1]));
        }
    }
    Ok(Section {
        title: "Appending a row",
        text: format!("{text}\n{verdicts}"),
    })
}

fn ours(bench: &Bench) -> Result<Vec<f64>> {
    let file = bench.path("append.ktm");
    let (mut recorder, _) = FlightRecorder::open_or_create(&file, &Options::default())?;
    let series = (0..COLUMNS).map(|n| Series::counter(format!("series_{n}_total"), ""));
    let schema = Schema {
        module: "append".to_owned(),
        labels: Vec::new(),
        series: series.collect(),
    };
    let handle = recorder.define(&schema)?;
    let mut values = Values::new();
    let mut nanos = Vec::new();
    for row in 0..ROWS {
        values.clear();
        (0..COLUMNS).for_each(|column| values.push_u64(row * column));
        std::thread::sleep(PAUSE);
        let begun = Instant::now();
        recorder.append(handle, SystemClock.now(), &values)?;
        nanos.push(begun.elapsed().as_nanos() as f64);
    }
    recorder.stop(SystemClock.now(), "measured")?;
    fs::remove_file(file)?;
    Ok(nanos)
}

fn sqlite(bench: &Bench, synchronous: &str) -> Result<Vec<f64>> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let mut python = bench.rivals.command("python3");
    python
        .args(["-c", SCRIPT])
        .arg(folder.path().join("append.sqlite"))
        .arg(synchronous);
    python.args([ROWS.to_string(), PAUSE.as_micros().to_string()]);
    let printed = output(&mut python)?;
    printed.lines().map(|line| Ok(line.parse()?)).collect()
}

/// From the command to the answer, line by line.
fn rrdtool(bench: &Bench) -> Result<Vec<f64>> {
    const START: u64 = 1_767_225_600;
    let file = bench.path("append.rrd");
    let mut child = bench
        .rivals
        .command("rrdtool")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it was piped")?;
    let mut answers = BufReader::new(child.stdout.take().context("it was piped")?).lines();
    let mut ask = |line: &str| -> Result<Duration> {
        let begun = Instant::now();
        input.write_all(line.as_bytes())?;
        let answer = answers.next().context("rrdtool has ended")??;
        let took = begun.elapsed();
        ensure!(answer.starts_with("OK "), "rrdtool: {answer}");
        Ok(took)
    };
    let mut create = format!("create {} --start {START} --step 1", file.display());
    for column in 0..COLUMNS {
        write!(create, " DS:c{column}:GAUGE:10:U:U")?;
    }
    ask(&format!("{create} RRA:LAST:0.5:1:{ROWS}\n"))?;
    let mut nanos = Vec::new();
    for row in 0..ROWS {
        let mut line = format!("update {} {}", file.display(), START + 1 + row);
        for column in 0..COLUMNS {
            write!(line, ":{}", row * column)?;
        }
        line.push('\n');
        std::thread::sleep(PAUSE);
        nanos.push(ask(&line)?.as_nanos() as f64);
    }
    drop(input);
    child.wait()?;
    fs::remove_file(file)?;
    Ok(nanos)
}
