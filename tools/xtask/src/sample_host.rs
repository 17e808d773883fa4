//! A recording of this host's own counters, as a CSV, for
//! `cargo bench -p ktm-format --bench codec`. Run it beside real work.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Samples this host's counters into a CSV, for the codec's bench
#[derive(Debug, clap::Args)]
pub(crate) struct SampleHost {
    /// The CSV to write
    out: PathBuf,
    /// Seconds between two rows
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    /// Rows to write
    #[arg(long, default_value_t = 600)]
    rows: usize,
    /// A process whose counters are to be sampled too; more than one may be given
    #[arg(long, default_values_t = [1])]
    pid: Vec<u32>,
}

/// What every host has; a file that is not there is left out.
const FILES: [&str; 17] = [
    "/proc/stat",
    "/proc/vmstat",
    "/proc/meminfo",
    "/proc/diskstats",
    "/proc/net/dev",
    "/proc/net/snmp",
    "/proc/net/netstat",
    "/proc/softirqs",
    "/proc/interrupts",
    "/proc/loadavg",
    "/proc/buddyinfo",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/sys/fs/file-nr",
    "/proc/sys/fs/inode-nr",
    "/proc/sys/fs/dentry-state",
];

const FILES_OF_PROCESS: [&str; 4] = ["stat", "io", "status", "schedstat"];

impl SampleHost {
    pub(crate) fn run(&self) -> Result<()> {
        let mut files = FILES.map(str::to_owned).to_vec();
        for pid in &self.pid {
            files.extend(FILES_OF_PROCESS.map(|name| format!("/proc/{pid}/{name}")));
        }
        let out = File::create(&self.out).with_context(|| self.out.display().to_string())?;
        let mut out = BufWriter::new(out);
        let names: Vec<String> = sample(&files).into_keys().collect();
        let quoted = names
            .iter()
            .map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        writeln!(out, "timestamp,{}", quoted.collect::<Vec<_>>().join(","))?;
        let start = Instant::now();
        for row in 0..self.rows {
            let due = start + Duration::from_secs_f64(self.interval * row as f64);
            sleep(due.saturating_duration_since(Instant::now()));
            let time = jiff::Timestamp::now();
            let mut sample = sample(&files);
            let cells = names
                .iter()
                .map(|name| sample.remove(name).unwrap_or_default());
            writeln!(out, "{time:.9},{}", cells.collect::<Vec<_>>().join(","))?;
            out.flush()?;
        }
        println!("{} rows of {} columns", self.rows, names.len());
        Ok(())
    }
}

/// Every number in the files as it stands there, by the words of its line and its place in it.
fn sample(files: &[String]) -> BTreeMap<String, String> {
    let mut numbers = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines() {
            // In front of the numbers of a process's stat are its name and state.
            let line = match line.rsplit_once(") ") {
                Some((_, behind)) if file.ends_with("/stat") => &behind[1..],
                _ => line,
            };
            let parts = line
                .split([' ', '\t', '=', '/'])
                .filter(|part| !part.is_empty());
            let (values, words): (Vec<_>, Vec<_>) = parts.partition(|part| is_number(part));
            for (place, value) in values.into_iter().enumerate() {
                let name = format!("{file} {} {place}", words.join(" "));
                numbers.insert(name, value.to_owned());
            }
        }
    }
    numbers
}

fn is_number(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit() || c == '-') && part.parse::<f64>().is_ok()
}
