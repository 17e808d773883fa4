//! SIGKILL of the real recorder at any moment: while it makes its file, while it opens what the
//! last kill left, while it samples, and while it seals, for which a small file and storms of
//! SIGUSR1 turn the hot ring over again and again.
//!
//! Acknowledged is what HTTP tells: `/health` names the newest sample once its append has returned.
//!
//! `KILLS=3000 cargo test --release -p ktm-tests --test recorder_kills` kills more often.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ktm_tests::folder::Folder;
use ktm_tests::recorder::{Recorder, Running};
use ktm_tests::table::Table;
use ktm_tests::{dump, http};
use rustix::process::Signal;
use serde_json::Value;

const KILLS: u64 = 40;
/// The smallest there is: a few hundred samples fill a segment.
const SIZE: &str = "1MiB";
/// What counts the samples of a run.
const COUNT: &str = "ktm_samples_total";
/// The longest storm.
const STORM_MICROS: u64 = 250_000;

#[test]
fn samples_acknowledged_before_a_kill_are_all_there() {
    let kills = std::env::var("KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(KILLS);
    let folder = Folder::new();
    // With a target there are rows of hundreds of values, where BPF is to be had: a dozen or two
    // fill a segment.
    let target = std::process::id().to_string();
    let recorder = Recorder::new(&folder)
        .size(SIZE)
        .interval("100ms")
        .arguments(["--target-pid", &target]);
    let file = folder.join("box.ktm");
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let startup = time_to_start(&recorder, &file);
    let mut totals = Totals::default();
    for round in 0..kills {
        let phase = Phase::of(round);
        let life = match phase {
            Phase::Creation => {
                let _absent_if_creation_was_killed = std::fs::remove_file(&file);
                die_starting(&recorder, below(&mut random, startup / 4))
            }
            Phase::Recovery => die_starting(&recorder, below(&mut random, startup * 3 / 2)),
            Phase::Recording => die_recording(&recorder, &folder, below(&mut random, STORM_MICROS)),
        };
        totals.lives += u64::from(!life.is_empty());
        totals.acknowledged += life.len();
        if file.exists() {
            check(&file, &life).unwrap_or_else(|why| panic!("kill {round}, {phase:?}: {why}"));
            if round % 8 == 2 {
                totals.twins += u64::from(is_lost_sample_noticed(&folder, &file, &life));
            }
        } else {
            totals.without_file += 1;
            assert!(life.is_empty(), "kill {round}: the file is gone");
        }
        remove_logs(&folder);
    }
    println!("{kills} kills, {totals:?}, 0 lost");
    println!("the last file: {}", dump::dump(&file, ["verify"]).stdout);
    assert!(totals.lives > 0, "no life was long enough to sample");
    assert!(totals.twins > 0 || kills < 16, "no known-bad twin was made");
}

/// What the recorder is doing when it is killed.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It makes its file.
    Creation,
    /// It opens the file that the last kill left, or takes its first samples.
    Recovery,
    /// It samples and seals.
    Recording,
}

impl Phase {
    fn of(round: u64) -> Phase {
        match round % 8 {
            0 => Phase::Creation,
            1 | 4 => Phase::Recovery,
            _ => Phase::Recording,
        }
    }
}

/// What all rounds came to.
#[derive(Debug, Default)]
struct Totals {
    lives: u64,
    acknowledged: usize,
    /// Killed before the file had its name.
    without_file: u64,
    /// Known-bad files, each caught.
    twins: u64,
}

/// The samples that a life has acknowledged, oldest first.
type Life = Vec<String>;

/// How long a recorder takes from its start until it listens, in microseconds.
fn time_to_start(recorder: &Recorder, file: &Path) -> u64 {
    let begun = Instant::now();
    let running = recorder.start_and_wait();
    let micros = begun.elapsed().as_micros();
    running.kill();
    std::fs::remove_file(file).expect("it was recording into a file");
    u64::try_from(micros).expect("not that long")
}

/// Killed while it makes or opens its file, or takes its first samples.
fn die_starting(recorder: &Recorder, micros: u64) -> Life {
    let running = recorder.start();
    std::thread::sleep(Duration::from_micros(micros));
    running.kill();
    Vec::new()
}

/// Killed in a storm of samples. The start before it shows that nothing is left lying about.
fn die_recording(recorder: &Recorder, folder: &Folder, micros: u64) -> Life {
    let running = recorder.start_and_wait();
    let names = folder.names();
    let is_left_over = |name: &&String| name.contains("creating") || name.contains("set-aside");
    assert_eq!(
        names.iter().find(is_left_over),
        None,
        "left over: {names:?}"
    );
    let mut life = Life::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        running.signal(Signal::USR1);
        if let Some(told) = newest(&running)
            && life.last() != Some(&told)
        {
            life.push(told);
        }
    }
    running.kill();
    life
}

/// The newest sample that the recorder tells of.
fn newest(running: &Running) -> Option<String> {
    let answer = http::get(running.address(), "/health").ok()?;
    let health: Value = serde_json::from_str(&answer.body).ok()?;
    // Otherwise it says that samples are not recorded.
    if answer.status != 200 {
        return None;
    }
    health["last_sample"].as_str().map(str::to_owned)
}

/// Everything acknowledged is there, whole, once, and nothing is damaged.
fn check(file: &Path, life: &Life) -> Result<(), String> {
    let verify = dump::dump(file, ["verify"]);
    if verify.code != Some(0) || !verify.stdout.ends_with("sound\n") {
        return Err(format!("verify: {verify:?}"));
    }
    let Some(first) = life.first() else {
        return Ok(());
    };
    let said = dump::dump(file, ["-o", "csv", "-S", first]);
    if said.code != Some(0) {
        return Err(format!(
            "reading back gives {:?}: {}",
            said.code, said.stderr
        ));
    }
    let table = Table::parse(&said.stdout)?;
    let there: BTreeSet<&str> = table
        .instants
        .iter()
        .map(|instant| instant.timestamp.as_str())
        .collect();
    if let Some(lost) = life.iter().find(|told| !there.contains(told.as_str())) {
        let place = life.iter().position(|told| told == lost);
        return Err(format!(
            "the sample of {lost} was acknowledged and is lost: number {place:?} of {life:?}; \
             {}\nthere are {there:?}",
            verify.stdout
        ));
    }
    counted_upwards(&table, life)
}

/// The recorder counts its samples, and a value of another row would show. What it refused, because
/// a storm had filled the hot ring faster than the disk takes it, is counted and not recorded. A
/// sample that was not acknowledged may lack the row of the recorder's own series, its last.
fn counted_upwards(table: &Table, life: &Life) -> Result<(), String> {
    let mut before = 0;
    for instant in &table.instants {
        let count = instant.values.get(COUNT);
        let count = count.and_then(|count| count.parse::<u64>().ok());
        let time = &instant.timestamp;
        let Some(count) = count else {
            if life.contains(time) {
                return Err(format!("the sample of {time} has no {COUNT}"));
            }
            continue;
        };
        if count <= before {
            return Err(format!("at {time} sample {count} follows sample {before}"));
        }
        before = count;
    }
    Ok(())
}

/// The known-bad twin: the same file without the last acknowledged sample. True if there is one:
/// a sample that was sealed already is in the file twice.
fn is_lost_sample_noticed(folder: &Folder, file: &Path, life: &Life) -> bool {
    let Some(last) = life.last() else {
        return false;
    };
    let mut bytes = std::fs::read(file).expect("our file");
    for (start, end) in rows_of(&bytes, last) {
        bytes[start..end].fill(0);
    }
    let twin = folder.write("twin.ktm", bytes);
    let left = dump::dump(&twin, ["-o", "csv", "-S", last]).stdout;
    if left.contains(last) {
        return false;
    }
    check(&twin, life).expect_err("the last acknowledged sample is gone");
    true
}

/// Where the rows of this time stand, raw.
fn rows_of(bytes: &[u8], time: &str) -> Vec<(usize, usize)> {
    // Of a record's header: its length, its kind, its time.
    const KIND: usize = 4;
    const TIME: usize = 24;
    const ROW: [u8; 2] = [1, 0];
    let time: jiff::Timestamp = time.parse().expect("a time of ours");
    let time = i64::try_from(time.as_nanosecond()).expect("a time of our days");
    let time = time.to_le_bytes();
    let places = bytes.windows(8).enumerate();
    places
        .filter(|(_, window)| *window == time)
        .filter_map(|(place, _)| {
            let start = place.checked_sub(TIME)?;
            let length = bytes[start..start + KIND].try_into().ok()?;
            let end = start + u32::from_le_bytes(length) as usize;
            (bytes[start + KIND..].starts_with(&ROW) && end <= bytes.len()).then_some((start, end))
        })
        .collect()
}

/// Every start leaves a log, and looking through thousands of names takes time.
fn remove_logs(folder: &Folder) {
    for name in folder.names() {
        if name.ends_with(".log") {
            std::fs::remove_file(folder.join(name)).expect("our log");
        }
    }
}

/// Splitmix64: the moments are the same in every run, as far as the machine's speed allows.
fn below(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % bound.max(1)
}
