//! `salvage` keeps everything that can be read, and leaves the source as it is.

use super::{csv, said};
use crate::recording::Recorded;
use crate::{dump, text};

fn read(recorded: &Recorded, name: &str) -> Vec<u8> {
    std::fs::read(recorded.folder().join(name)).expect("readable")
}

fn write(recorded: &Recorded, name: &str, bytes: &[u8]) {
    std::fs::write(recorded.folder().join(name), bytes).expect("writable");
}

fn names(recorded: &Recorded) -> Vec<String> {
    let entries = std::fs::read_dir(recorded.folder()).expect("a folder");
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry.expect("an entry")))
        .collect();
    names.sort();
    names
}

/// What a view prints of two files is the same.
fn assert_same(recorded: &Recorded, files: [&str; 2], view: &[&str]) {
    let [old, new] = files.map(|file| {
        let output = dump(recorded, &[&["-F", file], view].concat());
        text(&output.stdout).replace(file, "FILE")
    });
    assert_eq!(old, new, "{view:?}");
}

#[test]
fn a_sound_recording_is_copied_whole_with_numbers_epochs_and_runs() {
    for recorded in [Recorded::incident(), Recorded::long()] {
        let before = read(&recorded, "box.ktm");
        let told = said(&recorded, &["salvage", "new.ktm"], 0);
        assert!(told.contains("kept, in a sound file of "), "{told}");
        assert!(
            read(&recorded, "box.ktm") == before,
            "the source was changed"
        );
        assert_eq!(names(&recorded), ["box.ktm", "new.ktm"]);
        assert_eq!(csv(&recorded, "new.ktm"), csv(&recorded, "box.ktm"));
        assert_same(&recorded, ["box.ktm", "new.ktm"], &["runs", "--json"]);
        assert_same(&recorded, ["box.ktm", "new.ktm"], &["schema", "--json"]);
        let verified = dump(&recorded, &["-F", "new.ktm", "verify"]);
        assert_eq!(crate::told(&verified), (Some(0), String::new()));
        let events = |file| text(&dump(&recorded, &["-F", file, "events"]).stdout);
        let (old, new) = (events("box.ktm"), events("new.ktm"));
        let last = new.strip_prefix(&old).expect("all events, then one more");
        assert!(
            last.contains("salvaged") && last.lines().count() == 1,
            "{last}"
        );
    }
}

#[test]
fn what_is_lost_is_said_and_declared_and_the_rest_is_kept() {
    let recorded = Recorded::incident();
    recorded.damage();
    let told = said(&recorded, &["salvage", "new.ktm"], 4);
    assert!(told.contains("it was a row of iomonitor"), "{told}");
    assert!(
        told.contains("damaged in 1 place: 2 rows or events are lost"),
        "{told}"
    );
    let left = text(&dump(&recorded, &["-o", "csv"]).stdout);
    assert_eq!(csv(&recorded, "new.ktm"), left);
    let verified = dump(&recorded, &["-F", "new.ktm", "verify"]);
    assert_eq!(
        crate::told(&verified),
        (Some(0), String::new()),
        "declared, and so explained"
    );
    let events = text(&dump(&recorded, &["-F", "new.ktm", "events", "--json"]).stdout);
    assert!(events.contains("\"missing\": \"20-21\""), "{events}");
    // Once more: the declaration is kept, and nothing new is missing.
    said(&recorded, &["-F", "new.ktm", "salvage", "again.ktm"], 0);
    assert_eq!(csv(&recorded, "again.ktm"), left);
    said(&recorded, &["-F", "again.ktm", "verify"], 0);
}

#[test]
fn truncated_files_and_files_without_superblocks_are_salvaged() {
    let recorded = Recorded::incident();
    let whole = csv(&recorded, "box.ktm");
    let bytes = read(&recorded, "box.ktm");
    write(&recorded, "short.ktm", &bytes[..400_000]);
    said(&recorded, &["-F", "short.ktm", "salvage", "a.ktm"], 0);
    assert_eq!(csv(&recorded, "a.ktm"), whole);

    let mut one = bytes.clone();
    one[..512].fill(0);
    write(&recorded, "one.ktm", &one);
    let told = said(&recorded, &["-F", "one.ktm", "salvage", "b.ktm"], 0);
    assert!(told.contains("one superblock is damaged"), "{told}");
    assert_eq!(csv(&recorded, "b.ktm"), whole);

    let mut none = bytes.clone();
    none[..65_536].fill(0);
    write(&recorded, "none.ktm", &none);
    let told = said(&recorded, &["-F", "none.ktm", "salvage", "c.ktm"], 0);
    assert!(told.contains("both superblocks are damaged"), "{told}");
    assert_eq!(csv(&recorded, "c.ktm"), whole);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let recorded = Recorded::incident();
    write(&recorded, "text.ktm", b"This is not a recording.\n");
    let told = said(&recorded, &["salvage", "text.ktm"], 1);
    assert!(told.contains("text.ktm exists already"), "{told}");
    said(&recorded, &["salvage", "box.ktm"], 1);
    said(&recorded, &["-F", "text.ktm", "salvage", "new.ktm"], 5);
    recorded.copy_of_version("later.ktm", 2);
    said(&recorded, &["-F", "later.ktm", "salvage", "new.ktm"], 5);
    said(&recorded, &["-F", "missing.ktm", "salvage", "new.ktm"], 1);
    let told = said(&recorded, &["salvage", "no/such/folder/new.ktm"], 1);
    assert!(
        told.contains("no/such/folder/new.ktm: No such file"),
        "{told}"
    );
    assert_eq!(names(&recorded), ["box.ktm", "later.ktm", "text.ktm"]);
}

#[test]
fn an_empty_recording_is_salvaged_as_one() {
    let recorded = Recorded::empty();
    let told = said(&recorded, &["salvage", "new.ktm"], 0);
    assert!(told.contains("0 rows and 0 events kept"), "{told}");
    let output = dump(&recorded, &["-F", "new.ktm", "-o", "csv"]);
    assert_eq!(
        crate::told(&output).0,
        Some(3),
        "{:?}",
        crate::told(&output)
    );
    let _ = told;
}
