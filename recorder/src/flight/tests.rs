//! The recorder over real files.

use std::fs;
use std::path::Path;

use ktm_format::{Clock as _, Event, Recording, Schema, Select, Series, SystemClock, Values};

use super::*;

fn schema() -> Schema {
    Schema {
        module: "m".into(),
        labels: vec![],
        series: vec![Series::counter("x_total", "X.")],
    }
}

fn options() -> Options {
    Options {
        size: 1 << 20,
        ..Options::default()
    }
}

fn one(value: u64) -> Values {
    let mut values = Values::new();
    values.push_u64(value);
    values
}

fn open(path: &Path) -> (FlightRecorder, StartReport) {
    FlightRecorder::open_or_create(path, &options()).expect("always starts")
}

fn run(path: &Path, values: std::ops::Range<u64>, clean: bool) -> StartReport {
    let (mut recorder, report) = open(path);
    recorder
        .start(SystemClock.now(), Event::new(events::START), &report)
        .expect("started");
    let handle = recorder.define(&schema()).expect("defined");
    for value in values {
        recorder
            .append(handle, SystemClock.now(), &one(value))
            .expect("appended");
    }
    if clean {
        recorder.stop(SystemClock.now(), "test").expect("stopped");
    }
    report
}

fn read(path: &Path) -> (Vec<u64>, Vec<String>) {
    let snapshot = Recording::open(path)
        .expect("ours")
        .snapshot()
        .expect("readable");
    let values = snapshot
        .rows(&Select::all())
        .map(|row| row.expect("sound").values().word(0).expect("present"))
        .collect();
    (
        values,
        snapshot
            .events()
            .iter()
            .map(|event| event.event.kind.clone())
            .collect(),
    )
}

#[test]
fn runs_that_stop_and_runs_that_do_not_are_told_apart() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("new/folder/box.ktm");
    let first = run(&path, 0..3, true);
    assert_eq!(
        (first.origin, first.previous),
        (FileOrigin::Created, Previous::None)
    );
    let second = run(&path, 3..5, false);
    assert_eq!(second.origin, FileOrigin::Continued);
    assert_eq!((second.previous.name(), second.rows), ("clean", Some(3)));
    let third = run(&path, 5..6, true);
    assert_eq!((third.previous.name(), third.rows), ("unclean", Some(5)));
    let (values, events) = read(&path);
    assert_eq!(values, [0, 1, 2, 3, 4, 5]);
    let expected = [
        "start",
        "stop",
        "start",
        "gap",
        "start",
        "unclean_end",
        "gap",
        "stop",
    ];
    assert_eq!(events, expected);
}

#[test]
fn whatever_lies_in_the_files_place_is_kept_and_recording_begins() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    run(&path, 0..3, true);
    let sound = fs::read(&path).expect("read");
    let damaged: Vec<u8> = sound.iter().map(|_| 0x5a).collect();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("foreign", b"#!/bin/sh\necho not a recording\n".to_vec()),
        ("zeros", vec![0; 1 << 20]),
        ("damaged", damaged),
        ("cut short", sound[..sound.len() / 2].to_vec()),
        ("cut to nothing but a superblock", sound[..4096].to_vec()),
    ] {
        fs::write(&path, &bytes).expect("written");
        let report = run(&path, 7..8, true);
        let FileOrigin::SetAside { to, why } = report.origin else {
            panic!("{what}: continued")
        };
        assert_eq!(
            fs::read(&to).expect("kept"),
            bytes,
            "{what}: kept as it was"
        );
        assert!(!why.is_empty());
        let (values, events) = read(&path);
        assert_eq!(values, [7], "{what}: a new recording");
        assert_eq!(events, ["start", "file_replaced", "stop"], "{what}");
        assert_eq!(fs::metadata(&path).expect("made").len(), 1 << 20);
    }
}

#[test]
fn a_file_in_use_is_left_alone_and_its_user_named() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    let (_theirs, _) = open(&path);
    let said = FlightRecorder::open_or_create(&path, &options())
        .expect_err("in use")
        .to_string();
    assert!(
        said.contains(&format!("(pid {})", std::process::id())),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).expect("listed").count(),
        1,
        "nothing else was made"
    );
}

#[test]
fn a_recording_of_another_size_keeps_its_size() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    run(&path, 0..3, true);
    let larger = Options {
        size: 2 << 20,
        ..options()
    };
    let (_recorder, report) = FlightRecorder::open_or_create(&path, &larger).expect("opened");
    assert_eq!(
        (report.size, report.size_asked, report.rows),
        (1 << 20, 2 << 20, Some(3))
    );
}

#[test]
fn what_is_no_file_is_neither_written_nor_renamed() {
    let folder = tempfile::tempdir().expect("a directory");
    for path in [folder.path(), Path::new("/dev/null")] {
        let refused = FlightRecorder::open_or_create(path, &options()).expect_err("refused");
        assert!(refused.to_string().contains("it is "), "{refused}");
        assert!(path.exists());
    }
}

/// A link is how an operator says which disk a recording belongs on.
#[test]
fn a_link_stays_and_what_it_leads_to_is_made_and_set_aside() {
    let folder = tempfile::tempdir().expect("a directory");
    let (link, disk) = (folder.path().join("box.ktm"), folder.path().join("disk"));
    let place = disk.join("real.ktm");
    std::os::unix::fs::symlink("disk/real.ktm", &link).expect("linked");
    let first = run(&link, 0..3, true);
    assert_eq!(first.origin, FileOrigin::Created);
    assert_eq!(read(&place).0, [0, 1, 2]);
    fs::write(&place, "not a recording").expect("written");
    let FileOrigin::SetAside { to, .. } = run(&link, 7..8, true).origin else {
        panic!("continued")
    };
    assert_eq!(to.parent(), Some(disk.as_path()));
    assert_eq!(read(&place).0, [7]);
    // And while it runs.
    let (mut recorder, _) = open(&link);
    let handle = recorder.define(&schema()).expect("defined");
    let file = fs::OpenOptions::new().write(true).open(&place);
    file.and_then(|file| file.set_len(1000)).expect("cut");
    recorder
        .append(handle, SystemClock.now(), &one(9))
        .expect("into a new file");
    assert_eq!(read(&place).0, [9]);
    assert!(fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink()));
    assert_eq!(fs::read_dir(&disk).expect("listed").count(), 3);

    std::os::unix::fs::symlink("loop", folder.path().join("loop")).expect("linked");
    let refused = FlightRecorder::open_or_create(folder.path().join("loop"), &options());
    assert!(refused.is_err());
}

#[test]
fn a_removed_file_is_noticed_and_another_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    let (mut recorder, report) = open(&path);
    recorder
        .start(SystemClock.now(), Event::new(events::START), &report)
        .expect("started");
    let handle = recorder.define(&schema()).expect("defined");
    recorder
        .append(handle, SystemClock.now(), &one(1))
        .expect("appended");
    fs::remove_file(&path).expect("removed");
    recorder
        .append(handle, SystemClock.now(), &one(2))
        .expect("into the new file");
    assert_eq!(
        read(&path),
        (vec![2], vec!["start".into(), "file_replaced".into()])
    );
    assert_eq!(recorder.take_notices().len(), 1);
    assert_eq!(recorder.take_notices().len(), 0, "said once");
}

#[test]
fn a_file_cut_short_under_the_recorder_is_set_aside_and_no_row_after_it_is_lost() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("box.ktm");
    let (mut recorder, _) = open(&path);
    let handle = recorder.define(&schema()).expect("defined");
    recorder
        .append(handle, SystemClock.now(), &one(1))
        .expect("appended");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(1000))
        .expect("cut");
    recorder
        .append(handle, SystemClock.now(), &one(2))
        .expect("into a new file");
    assert_eq!(read(&path).0, [2]);
    let notices = recorder.take_notices().join("\n");
    assert!(
        notices.contains("cut short") && notices.contains("set-aside"),
        "{notices}"
    );
}
