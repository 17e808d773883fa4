//! What the guest does between boot and cut: says what it finds, then records until it is dead.
//!
//! Said to the host, one line each:
//!
//! - `held NAME CODE RANGES`: the code of `ktm-dump verify`, and which rows are there with the
//!   right values;
//! - `damage NAME TEXT`: what `ktm-dump verify` prints of a file that is not sound;
//! - `wrong NAME SEQ`: a row is there with wrong ones, or one given up before has come back;
//! - `samples TIMES`: the newest sampling instants in the recorder's file;
//! - `names NAMES`: what lies on the disk;
//! - `ready`: recording begins;
//! - `synced NAME SEQ`: a row whose sync has returned;
//! - `seen TIME`: a sampling instant of the recorder is in its file, for a reader at the time;
//! - `alive TIME`: the time.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ktm_format::{
    Clock as _, Error, Recording, Schema, Select, Series, SystemClock, SystemEntropy, Values,
    Writer,
};

use crate::guest::init::{self, Port};

const DISK: &str = "/disk";
/// The real recorder's file.
pub(crate) const BOX: &str = "box";
/// A writer that syncs every row before it acknowledges it.
pub(crate) const SYNCED: &str = "rows";
/// The known-bad one: it acknowledges what it has not synced.
pub(crate) const UNSYNCED: &str = "twin";
/// Who records in a life: the guest's one argument.
pub(crate) const NOBODY: &str = "nobody";
pub(crate) const RECORDER: &str = "recorder";
pub(crate) const EVERYBODY: &str = "everybody";
/// What both writers' files hold at least, by rows: nothing as new as that was overwritten.
pub(crate) const KEPT: u64 = 3000;

/// How often the recorder samples.
pub(crate) const INTERVAL_MILLIS: i64 = 500;

const SIZE: u64 = 4 << 20;
const WIDTH: u64 = 100;
const TOLD: usize = 64;

fn path(name: &str) -> PathBuf {
    Path::new(DISK).join(format!("{name}.ktm"))
}

/// Process 1 of a guest that will be cut off.
pub(crate) fn main() -> ! {
    if let Err(error) = run() {
        if let Ok(port) = Port::open() {
            port.say(format!("failed {error:#}").replace('\n', " "));
        }
        std::thread::sleep(Duration::from_secs(5));
    }
    init::power_off()
}

fn run() -> Result<()> {
    init::prepare()?;
    init::wait_for("/dev/vda")?;
    init::attach("/dev/vda", "ext4", DISK)?;
    let port = Arc::new(Port::open()?);
    tell_names(&port)?;
    for name in [SYNCED, UNSYNCED, BOX] {
        tell_held(&port, name)?;
    }
    let mut seen = samples_after(0)?.last().copied().unwrap_or_default();
    port.say("ready");
    let who = std::env::args().nth(1).unwrap_or_default();
    if who == NOBODY {
        return Ok(());
    }
    let mut recorder = start_recorder()?;
    let writers = [SYNCED, UNSYNCED];
    for name in writers.into_iter().filter(|_| who == EVERYBODY) {
        let port = Arc::clone(&port);
        std::thread::spawn(move || {
            if let Err(error) = write_rows(&port, name) {
                port.say(format!("failed {name}: {error:#}"));
            }
        });
    }
    loop {
        if let Some(status) = recorder.try_wait()? {
            bail!("the recorder ended: {status}");
        }
        for instant in samples_after(seen)? {
            port.say(format!("seen {instant}"));
            seen = instant;
        }
        port.say(format!("alive {}", SystemClock.now().realtime_ns));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start_recorder() -> Result<std::process::Child> {
    Command::new("/ktm-recorder")
        .args(["--interval", &format!("{INTERVAL_MILLIS}ms")])
        .args(["--size", "2MiB", "--listen", "none"])
        // Ourselves: with a target, rows are as wide as they get.
        .args(["--target-pid", "1"])
        .arg("--file")
        .arg(path(BOX))
        .stdin(Stdio::null())
        .stdout(init::console()?)
        .stderr(init::console()?)
        .spawn()
        .context("the recorder cannot be run")
}

fn tell_names(port: &Port) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(DISK)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    port.say(format!("names {}", names.join(" ")));
    Ok(())
}

fn tell_held(port: &Port, name: &str) -> Result<()> {
    let path = path(name);
    if !path.exists() {
        return Ok(());
    }
    let verify = Command::new("/ktm-dump")
        .arg("-F")
        .arg(&path)
        .arg("verify")
        .output()
        .context("ktm-dump cannot be run")?;
    let code = verify.status.code().unwrap_or(-1);
    if code != 0 {
        for line in String::from_utf8_lossy(&verify.stdout).lines() {
            port.say(format!("damage {name} {line}"));
        }
    }
    let snapshot = Recording::open(&path)?.snapshot()?;
    let mut held = Vec::new();
    let mut instants = BTreeSet::new();
    let mut run = 0;
    for row in snapshot.rows(&Select::all()) {
        let row = row?;
        // A row of an earlier run behind one of a later is one that had been given up.
        if row.run < run || name != BOX && *row.values() != values(row.seq) {
            port.say(format!("wrong {name} {}", row.seq));
            continue;
        }
        run = row.run;
        held.push(row.seq);
        instants.insert(row.stamp.realtime_ns);
    }
    port.say(format!("held {name} {code} {}", ranges(&held)));
    if name == BOX {
        let newest = instants.iter().rev().take(TOLD).map(i64::to_string);
        port.say(format!("samples {}", newest.collect::<Vec<_>>().join(" ")));
    }
    Ok(())
}

/// `1-5,7-9` for the numbers, in order.
fn ranges(numbers: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => spans.push((*number, *number)),
        }
    }
    let texts = spans.iter().map(|(first, last)| format!("{first}-{last}"));
    texts.collect::<Vec<_>>().join(",")
}

/// The values of row `seq`: any mixture of two rows shows.
fn values(seq: u64) -> Values {
    let mut values = Values::new();
    for column in 0..WIDTH {
        values.push_u64((seq * 1_000_003).rotate_left(7) ^ column);
    }
    values
}

fn write_rows(port: &Port, name: &str) -> Result<()> {
    let path = path(name);
    let opened = if path.exists() {
        Writer::open_file(&path, &mut SystemEntropy)
    } else {
        Writer::create_file(
            &path,
            SIZE,
            "power cuts",
            SystemClock.now(),
            &mut SystemEntropy,
        )
    };
    let mut writer = opened?;
    let series = (0..WIDTH).map(|n| Series::counter(format!("s{n}"), "Follows from the number."));
    let handle = writer.define(&Schema {
        module: "power_cuts".into(),
        labels: vec![],
        series: series.collect(),
    })?;
    let syncer = writer.syncer()?;
    let mut next = writer.recovery().last.map_or(1, |last| last.seq + 1);
    loop {
        let seq = writer.append(handle, SystemClock.now(), &values(next))?;
        ensure!(seq == next, "row {seq} is not number {next}");
        if name == SYNCED {
            syncer.sync()?;
        }
        port.say(format!("synced {name} {seq}"));
        seal(&mut writer, name)?;
        next += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Seals what is full; the known-bad writer believes that it is durable at once.
fn seal(writer: &mut Writer<ktm_format::FileRegion>, name: &str) -> Result<(), Error> {
    if name == SYNCED {
        return writer.maintain();
    }
    if let Some(job) = writer.begin_seal() {
        let through = writer.commit_seal(job.encode())?;
        writer.seal_durable(through);
    }
    Ok(())
}

/// The sampling instants in the recorder's file after this one, as any reader sees them.
fn samples_after(time: i64) -> Result<Vec<i64>> {
    let snapshot = match Recording::open(path(BOX)).and_then(|recording| recording.snapshot()) {
        Ok(snapshot) => snapshot,
        Err(Error::Io(error)) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let select = Select {
        since_ns: Some(time + 1),
        ..Select::all()
    };
    let mut instants = BTreeSet::new();
    for row in snapshot.rows(&select) {
        instants.insert(row?.stamp.realtime_ns);
    }
    Ok(instants.into_iter().collect())
}
