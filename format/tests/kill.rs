//! SIGKILL of a writer at any instruction: every row whose append returned is read back, whole.
//!
//! The test executes itself as the writer, which opens (or creates) the file, appends rows whose
//! values follow from their number, seals as it goes, and acknowledges each row over a pipe. It is
//! killed after a random moment, often while still creating or recovering.
//!
//! `KILLS=n cargo test -p ktm-format --test kill` changes the number of rounds.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ktm_format::{
    Clock, MIN_FILE_SIZE, Recording, Schema, Select, Series, SystemClock, SystemEntropy, Values,
    Writer,
};

const WRITER: &str = "KTM_KILL_TEST_WRITER";
const WIDTH: u64 = 40;

fn schema() -> Schema {
    let series = (0..WIDTH).map(|n| Series::counter(format!("s{n}"), "Follows from the number."));
    Schema {
        module: "kill".into(),
        labels: vec![],
        series: series.collect(),
    }
}

/// The values of row `seq`: any mixture of two rows shows.
fn values(seq: u64) -> Values {
    let mut values = Values::new();
    for column in 0..WIDTH {
        values.push_u64((seq * 1_000_003).rotate_left(7) ^ column);
    }
    values
}

/// The child: appends until it is killed.
fn write_until_killed(path: &Path) {
    let opened = if path.exists() {
        Writer::open_file(path, &mut SystemEntropy)
    } else {
        Writer::create_file(
            path,
            MIN_FILE_SIZE,
            "kill",
            SystemClock.now(),
            &mut SystemEntropy,
        )
    };
    let mut writer = opened.expect("a file that was killed opens");
    let handle = writer.define(&schema()).expect("fits");
    let mut next = writer.recovery().last.map_or(1, |last| last.seq + 1);
    let mut stdout = std::io::stdout();
    loop {
        let seq = writer
            .append(handle, SystemClock.now(), &values(next))
            .expect("room");
        assert_eq!(seq, next);
        stdout
            .write_all(&seq.to_le_bytes())
            .expect("the parent listens");
        stdout.flush().expect("the parent listens");
        writer.maintain().expect("sealed");
        next += 1;
    }
}

/// Starts the child, kills it after a while, and gives the last row it acknowledged.
fn one_life(path: &Path, micros: u64) -> Option<u64> {
    let (mut ours, theirs) = std::io::pipe().expect("a pipe");
    let executable: PathBuf = std::env::current_exe().expect("we run");
    let mut child = Command::new(executable)
        .args([
            "--exact",
            "rows_acknowledged_before_a_kill_are_read_back",
            "--nocapture",
        ])
        .env(WRITER, path)
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    // The marker comes right before the file is opened, so the kill falls into opening or later.
    let mut said = Vec::new();
    while !said.ends_with(WARM) {
        let mut byte = [0];
        ours.read_exact(&mut byte)
            .expect("the child says the marker");
        said.extend(byte);
    }
    std::thread::sleep(Duration::from_micros(micros));
    // The pipe holds 64 KiB: a child that fills it waits, alive, to be killed.
    child.kill().expect("our child");
    child.wait().expect("our child");
    let mut numbers = Vec::new();
    ours.read_to_end(&mut numbers).expect("closed by the kill");
    numbers
        .chunks_exact(8)
        .next_back()
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

/// Separates the runner's words from the writer's numbers.
const WARM: &[u8] = b"\0acknowledged:\0";

fn check(path: &Path, acknowledged: Option<u64>) {
    let Some(acknowledged) = acknowledged else {
        return;
    };
    let snapshot = Recording::open(path)
        .and_then(|r| r.snapshot())
        .expect("readable");
    assert!(snapshot.damage().is_empty(), "{:?}", snapshot.damage());
    let rows: Vec<_> = snapshot
        .rows(&Select::all())
        .collect::<Result<_, _>>()
        .expect("every block decodes");
    for row in &rows {
        assert_eq!(*row.values(), values(row.seq), "row {} is torn", row.seq);
    }
    let first = rows.first().expect("rows").seq;
    let last = rows.last().expect("rows").seq;
    assert!(
        last >= acknowledged,
        "row {acknowledged} was acknowledged, {last} is the last"
    );
    assert!(
        last <= acknowledged + 1,
        "at most one row was appended and not yet acknowledged"
    );
    assert_eq!(rows.len() as u64, last - first + 1, "without a hole");
}

#[test]
fn rows_acknowledged_before_a_kill_are_read_back() {
    if let Some(path) = std::env::var_os(WRITER) {
        std::io::stdout()
            .write_all(WARM)
            .expect("the parent listens");
        write_until_killed(Path::new(&path));
        return;
    }
    let kills = std::env::var("KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(150_u64);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let (mut lives, mut rows) = (0, 0);
    for round in 0..kills {
        if round % 50 == 49 {
            // Now and then from the beginning, so that creation is killed too.
            let _absent_if_creation_was_killed = std::fs::remove_file(&path);
        }
        let micros = (round * 7919) % 12_000;
        let acknowledged = one_life(&path, micros);
        lives += u64::from(acknowledged.is_some());
        rows = rows.max(acknowledged.unwrap_or(0));
        check(&path, acknowledged);
    }
    println!("{kills} kills, {lives} after a row was acknowledged, {rows} rows in the last file");
    assert!(
        lives > kills / 10,
        "{lives} of {kills} lives were long enough to append"
    );
}
