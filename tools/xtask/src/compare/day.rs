//! One day of this machine's counters, in a file of every kind.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::child::output;
use super::driven::Driven;
use super::host::Table;
use super::own;
use super::rivals::Rivals;

/// One every 10 s.
pub(super) const ROWS: usize = 8_640;
const STEP_S: i64 = 10;
/// 2026-01-01 00:00:00 UTC: sadf knows the time of day only, so its day is a whole one.
const DAY_OF_SADC_S: i64 = 1_767_225_600;

/// Where the files are.
pub(super) struct Day {
    pub(super) columns: usize,
    /// The rows that were sampled; the others repeat their increases.
    pub(super) sampled: usize,
    /// Seconds since 1970 of the last row.
    pub(super) last_s: i64,
    pub(super) ktm: PathBuf,
    pub(super) rrd: PathBuf,
    pub(super) sqlite: PathBuf,
    pub(super) prometheus: PathBuf,
    /// Not of the same counters: sadc's own of this machine.
    pub(super) sadc: PathBuf,
}

impl Day {
    pub(super) fn make(folder: &Path, rivals: &Rivals, table: &Table) -> Result<Day> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let last_s = i64::try_from(now.as_secs())? / STEP_S * STEP_S;
        let day = Day {
            columns: table.names.len(),
            sampled: table.rows.len(),
            last_s,
            ktm: folder.join("day.ktm"),
            rrd: folder.join("day.rrd"),
            sqlite: folder.join("day.sqlite"),
            prometheus: folder.join("day.prometheus"),
            sadc: folder.join("day.sa"),
        };
        let player = table.player();
        let rows: Vec<Vec<u64>> = (0..ROWS).map(|row| player.row(row).collect()).collect();
        day.make_ktm(&table.names, &rows)?;
        day.make_rrd(rivals, &rows)?;
        day.make_sqlite(rivals, &table.names, &rows)?;
        day.make_prometheus(rivals, &table.names, &rows)?;
        day.make_sadc(rivals, folder)?;
        Ok(day)
    }

    /// The time of a row.
    fn second(&self, row: usize) -> i64 {
        self.last_s - (ROWS - 1 - row) as i64 * STEP_S
    }

    /// The time of the first of the last 360 rows.
    pub(super) fn last_hour_s(&self) -> i64 {
        self.second(ROWS - 360)
    }

    fn make_ktm(&self, names: &[String], rows: &[Vec<u64>]) -> Result<()> {
        let csv = self.ktm.with_extension("csv");
        let mut out = BufWriter::new(File::create(&csv)?);
        writeln!(out, "timestamp,epoch,{}", names.join(","))?;
        for (index, row) in rows.iter().enumerate() {
            let time = ktm_recorder::time::rfc3339_nanos(self.second(index) * 1_000_000_000);
            writeln!(out, "{time},1,{}", joined(row, ","))?;
        }
        out.into_inner()?.sync_all()?;
        let mut dump = Command::new(own("ktm-dump")?);
        output(dump.arg("-F").arg(&self.ktm).arg("import").arg(&csv))?;
        Ok(fs::remove_file(csv)?)
    }

    fn make_rrd(&self, rivals: &Rivals, rows: &[Vec<u64>]) -> Result<()> {
        let file = self.rrd.display();
        let start = self.second(0) - STEP_S;
        let mut script = format!("create {file} --start {start} --step {STEP_S}");
        for column in 0..self.columns {
            write!(script, " DS:c{column}:GAUGE:{}:U:U", 2 * STEP_S)?;
        }
        writeln!(script, " RRA:LAST:0.5:1:{ROWS}")?;
        for (index, row) in rows.iter().enumerate() {
            writeln!(
                script,
                "update {file} {}:{}",
                self.second(index),
                joined(row, ":")
            )?;
        }
        feed(rivals.command("rrdtool").arg("-"), &script)?;
        let last = output(rivals.command("rrdtool").arg("last").arg(&self.rrd))?;
        ensure!(
            last.trim() == self.last_s.to_string(),
            "rrdtool took not all rows"
        );
        Ok(())
    }

    fn make_sqlite(&self, rivals: &Rivals, names: &[String], rows: &[Vec<u64>]) -> Result<()> {
        let mut script = String::from("PRAGMA journal_mode=WAL;\nBEGIN;\nCREATE TABLE day(");
        write!(script, "t INTEGER PRIMARY KEY")?;
        for name in names {
            write!(script, ", {name} INTEGER")?;
        }
        script.push_str(");\n");
        for (index, row) in rows.iter().enumerate() {
            let values = joined(row, ",");
            writeln!(
                script,
                "INSERT INTO day VALUES({},{values});",
                self.second(index)
            )?;
        }
        script.push_str("COMMIT;\nPRAGMA wal_checkpoint(TRUNCATE);\n");
        feed(
            rivals.command("sqlite3").arg("-bail").arg(&self.sqlite),
            &script,
        )
    }

    fn make_prometheus(&self, rivals: &Rivals, names: &[String], rows: &[Vec<u64>]) -> Result<()> {
        let text = self.prometheus.with_extension("om");
        let mut out = BufWriter::new(File::create(&text)?);
        for (column, name) in names.iter().enumerate() {
            writeln!(out, "# TYPE {name} gauge")?;
            for (index, row) in rows.iter().enumerate() {
                writeln!(out, "{name} {} {}", row[column], self.second(index))?;
            }
        }
        writeln!(out, "# EOF")?;
        out.flush()?;
        let mut promtool = rivals.command("promtool");
        promtool.args(["tsdb", "create-blocks-from", "openmetrics"]);
        output(promtool.arg(&text).arg(&self.prometheus))?;
        Ok(fs::remove_file(text)?)
    }

    /// A day in half a minute: sadc is shown another time for every sample.
    fn make_sadc(&self, rivals: &Rivals, folder: &Path) -> Result<()> {
        let clock = folder.join("clock");
        show_time(&clock, DAY_OF_SADC_S)?;
        let mut command = rivals.command("sadc");
        command
            .args(["-S", "ALL", "100000", &ROWS.to_string()])
            .arg(&self.sadc);
        command.env("LD_PRELOAD", rivals.faketime()?);
        command.env("FAKETIME_TIMESTAMP_FILE", &clock);
        command
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let mut recorder = Driven::growing(&mut command, &self.sadc, Signal::ALARM)?;
        for row in 1.. {
            show_time(&clock, DAY_OF_SADC_S + row * STEP_S)?;
            if !recorder.sample()? {
                break;
            }
        }
        recorder.ended()?;
        Ok(())
    }
}

/// Changes the time that a program sees, all at once.
fn show_time(clock: &Path, second: i64) -> Result<()> {
    let time = ktm_recorder::time::rfc3339_nanos(second * 1_000_000_000);
    let time = time
        .get(..19)
        .context("a time is longer")?
        .replace('T', " ");
    let new = clock.with_extension("new");
    fs::write(&new, format!("@{time}\n"))?;
    Ok(fs::rename(new, clock)?)
}

/// Lets a program read a script, and drops what it prints about every line of it.
fn feed(command: &mut Command, script: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().context("it was piped")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    ensure!(
        status.success(),
        "{:?} ended with {status}",
        command.get_program()
    );
    Ok(())
}

fn joined(row: &[u64], separator: &str) -> String {
    let mut text = String::with_capacity(row.len() * 8);
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        let _ = write!(text, "{value}");
    }
    text
}
