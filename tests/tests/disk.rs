//! Disks that fail and files that somebody spoils while they are recorded into and read.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use ktm_tests::clock::COUNTED;
use ktm_tests::dump::{self, dump, readable};
use ktm_tests::folder::Folder;
use ktm_tests::recorder::{Recorder, Running};
use ktm_tests::table::Table;
use ktm_tests::wait::until;
use ktm_tests::{environment, http, programs};
use rustix::process::Signal;

const SIZE: u64 = 1 << 20;

fn recorder(folder: &Folder) -> Recorder {
    Recorder::new(folder)
        .interval("200ms")
        .size(SIZE.to_string())
        .arguments(["--target-comm", "no-such-process"])
}

/// Has system calls on this file fail with EIO, really, in the kernel's place.
fn failing(calls: &str, when: &str, file: &Path) -> Option<Vec<String>> {
    if environment::find("strace").is_none() {
        environment::skip("an error of the disk", "strace is not installed");
        return None;
    }
    let quiet = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P"];
    let mut words: Vec<String> = quiet.map(str::to_owned).into();
    words.push(file.display().to_string());
    for rule in [
        format!("trace={calls}"),
        format!("inject={calls}:error=EIO:when={when}"),
    ] {
        words.extend(["-e".to_owned(), rule]);
    }
    Some(words)
}

/// The numbers of the samples in a file.
fn counts(table: &Table) -> BTreeSet<u64> {
    let counts = table.instants.iter().map(|one| one.whole(COUNTED));
    counts.map(|count| count.expect("counted")).collect()
}

fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains("set-aside"))
        .collect()
}

fn wait_for_notice(running: &mut Running, words: &str) {
    until(words, || {
        running.assert_alive();
        match running.said() {
            said if said.contains(words) => Ok(()),
            said => Err(said),
        }
    });
}

/// After the failure the old file is kept, a new one is recorded into, and no sample is missing.
fn check_goes_on(mut running: Running, folder: &Folder, why: &str) {
    wait_for_notice(&mut running, "recording into a new file");
    running.wait_for_samples(2);
    let said = running.said();
    assert!(said.contains(why) && !said.contains("panicked"), "{said}");
    // The injection counts the calls of each thread: it fails on in every new file.
    running.kill();
    let aside = set_aside(folder.path());
    assert!(!aside.is_empty(), "{said}");
    let mut all = counts(&readable(&folder.join("box.ktm")));
    for old in aside {
        all.extend(counts(&readable(&old)));
    }
    let last = all.last().copied().expect("samples");
    let first = all.first().copied().expect("samples");
    assert_eq!(all.len() as u64, last - first + 1, "{all:?}");
    let events = dump(&folder.join("box.ktm"), ["events"]).stdout;
    assert!(events.contains("set-aside"), "{events}");
}

#[test]
fn a_sync_that_fails_costs_no_sample() {
    let folder = Folder::new();
    let file = folder.join("box.ktm");
    let Some(strace) = failing("fdatasync", "4", &file) else {
        return;
    };
    let running = recorder(&folder).wrapped(strace).start();
    check_goes_on(running, &folder, "Input/output error");
}

/// The second write of a run: the first is the superblock's, the second seals into the cold ring.
#[test]
fn a_seal_that_cannot_be_written_costs_no_sample() {
    let folder = Folder::new();
    let file = folder.join("box.ktm");
    let Some(strace) = failing("pwrite64", "2", &file) else {
        return;
    };
    let mut first = recorder(&folder).start();
    first.wait_for_samples(1);
    first.kill();
    let mut running = recorder(&folder).wrapped(strace).start();
    wait_for_notice(&mut running, "recording every");
    until("a seal", || {
        running.assert_alive();
        running.signal(Signal::USR1);
        match running.said().contains("recording into a new file") {
            true => Ok(()),
            false => Err(running.said().lines().count().to_string()),
        }
    });
    // The runs' counts begin anew: only the second is looked at.
    wait_for_notice(&mut running, "Input/output error");
    assert!(running.terminate().success());
    let aside = set_aside(folder.path());
    assert_eq!(aside.len(), 1);
    let old = readable(&aside[0]);
    let second = |one: &&ktm_tests::table::Instant| one.epoch > old.instants[0].epoch;
    let counted = |one: &ktm_tests::table::Instant| one.whole(COUNTED).expect("counted");
    let mut all: Vec<u64> = old.instants.iter().filter(second).map(counted).collect();
    all.extend(readable(&file).instants.iter().map(counted));
    assert!(all.iter().copied().eq(1..=all.len() as u64), "{all:?}");
}

#[test]
fn a_reader_whose_disk_fails_says_so_and_tells_nothing_wrong() {
    let folder = Folder::new();
    let mut running = recorder(&folder).start();
    running.wait_for_samples(3);
    assert!(running.terminate().success());
    let file = folder.join("box.ktm");
    let whole = counts(&readable(&file));
    for when in ["1+", "3+", "5+", "4", "6"] {
        let Some(strace) = failing("pread64", when, &file) else {
            return;
        };
        for arguments in [&["-o", "csv"][..], &["info"], &["verify"]] {
            let mut command = std::process::Command::new(&strace[0]);
            command.args(&strace[1..]).arg(programs::dump());
            let said = dump::run(command.arg("-F").arg(&file).args(arguments));
            let what = format!("{when} {arguments:?}: {said:?}");
            assert!(matches!(said.code, Some(0 | 1 | 4 | 5)), "{what}");
            assert!(!said.stderr.contains("panicked"), "{what}");
            if arguments.contains(&"csv") {
                let told = counts(&Table::parse(&said.stdout).expect("a table"));
                assert!(told.is_subset(&whole), "{what}");
                assert!(told == whole || said.code != Some(0), "{what}");
            }
        }
    }
}

/// In a mount namespace of the recorder's own, where nobody else is short of space.
#[test]
fn a_full_disk_neither_stops_the_recorder_nor_ends_it() {
    let folder = Folder::new();
    let small = folder.join("small");
    fs::create_dir(&small).expect("made");
    let mount = format!(
        "mount -t tmpfs -o size=3m none {} && exec \"$@\"",
        small.display()
    );
    let unshare = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let allowed = std::process::Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .output();
    if !allowed.is_ok_and(|ended| ended.status.success()) {
        return environment::skip("a full disk", "no file system can be mounted");
    }
    let mut running = recorder(&folder)
        .file(small.join("box.ktm"))
        .wrapped(unshare)
        .start();
    wait_for_notice(&mut running, "recording every");
    let inside = format!("/proc/{}/root{}", running.pid(), small.display());
    let inside = PathBuf::from(inside);
    let (file, filler) = (inside.join("box.ktm"), inside.join("filler"));
    let full = fs::write(&filler, vec![1; 4 << 20]).expect_err("it is small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let samples = || readable(&file).instants.len();
    let before = samples();
    until("samples on a full disk", || match samples() {
        more if more > before + 2 => Ok(()),
        none => Err(format!("{none}; {}", running.said())),
    });
    // Without a file, and without the room for another: the old one still has its own.
    let kept = inside.join("kept");
    fs::hard_link(&file, &kept).expect("linked");
    fs::remove_file(&file).expect("removed");
    wait_for_notice(&mut running, "NOT RECORDING");
    fs::remove_file(&kept).expect("removed");
    wait_for_notice(&mut running, "recording again");
    assert!(samples() > 0);
    assert!(running.terminate().success());
}

/// Cut short, emptied, removed and replaced, at any moment, under a recorder that is busy, its
/// server and a reader.
#[test]
fn a_file_spoilt_under_recorder_server_and_reader_ends_none_of_them() {
    let folder = Folder::new();
    let mut running = recorder(&folder).start_and_wait();
    let file = folder.join("box.ktm");
    for round in 0..24_u64 {
        for _ in 0..=round % 7 * 5 {
            running.signal(Signal::USR1);
        }
        let cut = |length| {
            let opened = OpenOptions::new().write(true).open(&file);
            opened.and_then(|file| file.set_len(length))
        };
        let spoilt = match round % 6 {
            0 => cut(0),
            1 => cut(1000),
            2 => cut(70_000),
            3 => fs::remove_file(&file),
            4 => fs::write(folder.join("other"), "dear diary\n")
                .and_then(|()| fs::rename(folder.join("other"), &file)),
            _ => cut(SIZE - 1),
        };
        spoilt.expect("it is there");
        let said = dump(&file, ["-o", "csv"]);
        assert!(matches!(said.code, Some(0 | 1 | 3 | 4 | 5)), "{said:?}");
        assert!(!said.stderr.contains("panicked"), "{said:?}");
        let answer = http::get(running.address(), "/api/v1/replay?format=csv");
        assert!(answer.is_ok(), "{answer:?}");
        running.wait_for_samples(1);
    }
    let said = running.said();
    assert!(!said.contains("panicked"), "{said}");
    assert!(running.terminate().success());
}
