//! Whole programs on damaged recordings: the reader reads the rest and says so, the recorder starts
//! and keeps what was there. Every bit and every sector is the matter of `format/tests`; here is a
//! sample of each kind. `DAMAGES=n cargo test -p ktm-tests --test damage` takes more.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ktm_tests::dump::{Said, dump};
use ktm_tests::folder::Folder;
use ktm_tests::golden;
use ktm_tests::outcome::outcome;
use ktm_tests::recorder::Recorder;
use ktm_tests::table::Table;

const SOUND: i32 = 0;
const DAMAGED: i32 = 4;
const NOT_A_RECORDING: i32 = 5;
const SECTOR: usize = 512;
const HEADERS: usize = 65_536;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// A recording, its segments found by their headers.
struct Whole {
    bytes: Vec<u8>,
    segments: Vec<usize>,
    size: usize,
}

impl Whole {
    fn new(bytes: Vec<u8>) -> Whole {
        let is_header = |at: &usize| bytes[*at..].starts_with(b"KSEG");
        let headers: Vec<usize> = (HEADERS..bytes.len() - 4)
            .step_by(8)
            .filter(is_header)
            .collect();
        // Every segment has a second header in its last 128 bytes.
        let size = headers[1] + 128 - headers[0];
        let is_first = |at: &usize| (at - HEADERS).is_multiple_of(size);
        let segments = headers.into_iter().filter(is_first).collect();
        Whole {
            bytes,
            segments,
            size,
        }
    }

    fn golden(name: &str) -> Whole {
        let folder = Folder::new();
        let all = golden::files();
        let found = all.iter().find(|golden| golden.name.ends_with(name));
        let path = found.expect("a golden file").unpack(&folder);
        Whole::new(std::fs::read(path).expect("unpacked"))
    }

    /// A place where something is: damage to what was never used teaches little.
    fn used(&self, numbers: &mut Numbers) -> usize {
        loop {
            let at = numbers.below(self.bytes.len());
            if self.bytes[at] != 0 {
                return at;
            }
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        bytes
    }

    /// Damages of every kind, `each` of those that are a sample.
    fn damages(&self, each: usize) -> Vec<(String, Vec<u8>)> {
        let mut numbers = Numbers(each as u64);
        let mut all = Vec::new();
        for _ in 0..each {
            let (at, bit) = (self.used(&mut numbers), numbers.below(8));
            let flipped = self.changed(|bytes| bytes[at] ^= 1 << bit);
            all.push((format!("bit {bit} of byte {at}"), flipped));
            let sector = self.used(&mut numbers) / SECTOR * SECTOR;
            let end = (sector + SECTOR).min(self.bytes.len());
            let zeros = self.changed(|bytes| bytes[sector..end].fill(0));
            all.push((format!("zeros in the sector at {sector}"), zeros));
            let noise = self.changed(|bytes| {
                bytes[sector..end].fill_with(|| numbers.below(256) as u8);
            });
            all.push((format!("noise in the sector at {sector}"), noise));
            let length = numbers.below(self.bytes.len());
            let cut = self.bytes[..length].to_vec();
            all.push((format!("cut to {length}"), cut));
        }
        for length in [0, 1, 255, 256, 4096, 32_768, HEADERS, self.bytes.len() - 1] {
            all.push((format!("cut to {length}"), self.bytes[..length].to_vec()));
        }
        all.extend(self.moved());
        all.extend(self.spoilt(&mut numbers));
        all
    }

    /// Segments that stand where another should, as they are and as they once were.
    fn moved(&self) -> Vec<(String, Vec<u8>)> {
        let segment = |at: usize| at..at + self.size;
        let mut all = Vec::new();
        for pair in self
            .segments
            .windows(2)
            .step_by(self.segments.len() / 5 + 1)
        {
            let [first, second] = [pair[0], pair[1]].map(segment);
            let swapped = self.changed(|bytes| {
                let other = bytes[second.clone()].to_vec();
                bytes.copy_within(first.clone(), second.start);
                bytes[first.clone()].copy_from_slice(&other);
            });
            all.push((format!("segments {pair:?} swapped"), swapped));
            let twice = self.changed(|bytes| bytes.copy_within(first, second.start));
            all.push((format!("segments {pair:?} the same"), twice));
        }
        for at in self
            .segments
            .iter()
            .rev()
            .step_by(self.segments.len() / 5 + 1)
        {
            let zeros = self.changed(|bytes| bytes[segment(*at)].fill(0));
            all.push((format!("zeros in the segment at {at}"), zeros));
        }
        all
    }

    fn spoilt(&self, numbers: &mut Numbers) -> Vec<(String, Vec<u8>)> {
        let superblocks = self.changed(|bytes| bytes[..HEADERS].fill(0));
        let first = self.changed(|bytes| bytes[..4096].fill(0xff));
        let rest = self.changed(|bytes| {
            bytes[HEADERS..].fill_with(|| numbers.below(256) as u8);
        });
        let garbage = (0..self.bytes.len()).map(|_| numbers.below(256) as u8);
        [
            ("no superblocks", superblocks),
            ("one superblock", first),
            ("garbage behind the superblocks", rest),
            ("garbage", garbage.collect()),
            ("zeros", vec![0; self.bytes.len()]),
            ("a text", b"timestamp,epoch\n".repeat(9_000)),
            ("a program", std::fs::read("/proc/self/exe").expect("ours")),
        ]
        .map(|(what, bytes)| (what.to_owned(), bytes))
        .into()
    }
}

type Cell = (String, u32, String, String);

/// Every value with its time, epoch and series, in recorded order.
fn cells(csv: &str) -> Result<Vec<Cell>, String> {
    let table = Table::parse(csv)?;
    let cells = table.instants.iter().flat_map(|one| {
        let cell = |(series, value): (&String, &String)| {
            (
                one.timestamp.clone(),
                one.epoch,
                series.clone(),
                value.clone(),
            )
        };
        one.values.iter().map(cell).collect::<Vec<_>>()
    });
    Ok(cells.collect())
}

/// No program died or panicked, each ended with a code that the manual gives it here.
fn check_end(what: &str, said: &Said) -> Result<(), String> {
    match said.code {
        Some(SOUND | DAMAGED | NOT_A_RECORDING) if !said.stderr.contains("panicked") => Ok(()),
        // Nothing is left to print, and the damage came first.
        other => Err(format!("{what}: {other:?}: {}", said.stderr)),
    }
}

/// What was printed is part of what was recorded, and where it is not all of it the code says so.
///
/// `may_end` is true where a whole segment was taken away: what the newest one held has never been,
/// for all that is left. Then the last lines may be missing, and no others.
fn check_told(all: &[Cell], said: &Said, may_end: bool) -> Result<BTreeSet<Cell>, String> {
    let told: BTreeSet<Cell> = cells(&said.stdout)?.into_iter().collect();
    let whole: BTreeSet<Cell> = all.iter().cloned().collect();
    if let Some(invented) = told.difference(&whole).next() {
        return Err(format!("never recorded: {invented:?}"));
    }
    let first_lost = all.iter().position(|cell| !told.contains(cell));
    match (said.code, first_lost) {
        (Some(SOUND), Some(lost)) if !(may_end && is_the_end(all, &told, lost)) => {
            Err("a loss that nobody tells of".to_owned())
        }
        _ => Ok(told),
    }
}

fn is_the_end(all: &[Cell], told: &BTreeSet<Cell>, lost: usize) -> bool {
    let (time, rest) = (&all[lost].0, &all[lost..]);
    rest.len() < all.len()
        && rest
            .iter()
            .all(|cell| cell.0 == *time || !told.contains(cell))
}

/// All that `ktm-dump` does with a damaged file.
fn check_reader(all: &[Cell], file: &Path, may_end: bool) -> Result<(), String> {
    let csv = dump(file, ["-o", "csv"]);
    check_end("csv", &csv)?;
    let told = check_told(all, &csv, may_end)?;
    let info = dump(file, ["info"]);
    check_end("info", &info)?;
    let verify = dump(file, ["verify"]);
    check_end("verify", &verify)?;
    if verify.code == Some(SOUND) && csv.code != Some(SOUND) {
        return Err("verify calls it sound".to_owned());
    }
    let new = file.with_extension("new");
    let salvage = dump(file, ["salvage".as_ref(), new.as_os_str()]);
    check_end("salvage", &salvage)?;
    if salvage.code == Some(NOT_A_RECORDING) {
        let is_left = new.exists() || !told.is_empty();
        return if is_left {
            Err("not salvaged".to_owned())
        } else {
            Ok(())
        };
    }
    let salvaged = dump(&new, ["-o", "csv"]);
    let kept = check_told(
        all,
        &Said {
            code: Some(DAMAGED),
            ..salvaged.clone()
        },
        may_end,
    )?;
    match (salvaged.code, kept.is_superset(&told)) {
        (Some(SOUND | 3), true) => Ok(()),
        other => Err(format!("salvaged: {other:?}: {}", salvaged.stderr)),
    }
}

fn each_of_a_sample() -> usize {
    let asked = std::env::var("DAMAGES").ok();
    asked.map_or(4, |text| text.parse().expect("DAMAGES is a number"))
}

/// A few at a time.
fn for_each(damages: &[(String, Vec<u8>)], check: impl Fn(&str, &[u8]) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((what, bytes)) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(what, bytes);
                }
            });
        }
    });
}

#[test]
fn the_reader_reads_the_rest_of_every_damaged_file_and_says_so() {
    for name in ["sealed-and-hot", "lapped"] {
        let whole = Whole::golden(name);
        let folder = Folder::new();
        let sound = dump(&folder.write("sound.ktm", &whole.bytes), ["-o", "csv"]);
        let all = cells(&sound.stdout).expect("a table");
        for_each(&whole.damages(each_of_a_sample()), |what, bytes| {
            let folder = Folder::new();
            let file = folder.write("damaged.ktm", bytes);
            check_reader(&all, &file, what.contains("segment"))
                .unwrap_or_else(|why| panic!("{name}, {what}: {why}"));
        });
    }
}

/// How long that took is printed and not judged.
#[test]
fn the_recorder_starts_on_every_damaged_file_and_keeps_what_was_there() {
    let whole = Whole::golden("sealed-and-hot");
    let slowest = Mutex::new((Duration::ZERO, String::new()));
    let damages = whole.damages(each_of_a_sample() / 2);
    for_each(&damages, |what, bytes| {
        let folder = Folder::new();
        std::fs::create_dir(folder.join("box")).expect("a folder");
        let file = folder.join("box/box.ktm");
        std::fs::write(&file, bytes).expect("written");
        let recorder = Recorder::new(&folder)
            .file(&file)
            .address("none")
            .size("1MiB")
            .arguments(["--target-comm", "no-such-process"]);
        let found = outcome(&recorder, &file, false).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(
            matches!(found.what, "go on" | "set aside"),
            "{what}: {found:?}"
        );
        let mut slowest = slowest.lock().expect("sound");
        if found.took > slowest.0 {
            *slowest = (found.took, what.to_owned());
        }
    });
    let (took, what) = slowest.into_inner().expect("sound");
    let count = damages.len();
    let said = format!("started on {count} damaged files, the slowest in {took:?}: {what}");
    let _ = writeln!(std::io::stderr(), "NOTE: {said}");
}

/// The judgements notice what they are for.
#[test]
fn an_invented_value_a_silent_loss_a_panic_and_a_signal_are_noticed() {
    let csv = "timestamp,epoch,a\n2026-11-20T18:30:00Z,1,5\n2026-11-20T18:30:01Z,1,6\n";
    let all = cells(csv).expect("a table");
    let said = |code, stdout: &str| Said {
        code: Some(code),
        stdout: stdout.to_owned(),
        stderr: String::new(),
    };
    assert!(check_told(&all, &said(SOUND, csv), false).is_ok());
    let part = "timestamp,epoch,a\n2026-11-20T18:30:01Z,1,6\n";
    let start = "timestamp,epoch,a\n2026-11-20T18:30:00Z,1,5\n";
    assert!(
        check_told(&all, &said(SOUND, start), true).is_ok(),
        "the end"
    );
    assert!(
        check_told(&all, &said(SOUND, start), false).is_err(),
        "silent"
    );
    assert!(check_told(&all, &said(DAMAGED, part), false).is_ok());
    assert!(
        check_told(&all, &said(SOUND, part), true).is_err(),
        "silent"
    );
    let invented = csv.replace(",5", ",7");
    assert!(check_told(&all, &said(DAMAGED, &invented), true).is_err());
    assert!(check_end("csv", &said(1, "")).is_err());
    assert!(check_end("csv", &said(101, "")).is_err());
    let killed = Said {
        code: None,
        ..said(0, "")
    };
    assert!(check_end("csv", &killed).is_err());
    let stderr = "thread 'main' panicked".to_owned();
    let panicked = Said {
        stderr,
        ..said(SOUND, "")
    };
    assert!(check_end("csv", &panicked).is_err());
}
