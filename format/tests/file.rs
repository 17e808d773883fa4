//! Real files: allocation, locking, refusal, reading while writing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use ktm_format::{
    Clock, Error, Event, MIN_FILE_SIZE, Recording, Schema, Select, Series, SystemClock,
    SystemEntropy, Values, Writer,
};

fn schema() -> Schema {
    Schema {
        module: "m".into(),
        labels: vec![],
        series: vec![Series::gauge("g", "Help.")],
    }
}

#[test]
fn the_whole_size_is_on_disk_from_the_start_and_never_grows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let size = MIN_FILE_SIZE + 12_345;
    let mut writer =
        Writer::create_file(&path, size, "test", SystemClock.now(), &mut SystemEntropy)
            .expect("created");
    let allocated = || {
        fs::metadata(&path)
            .map(|m| (m.len(), m.blocks() * 512))
            .expect("there")
    };
    assert_eq!(allocated().0, size);
    assert!(allocated().1 >= size, "{:?}", allocated());
    let handle = writer.define(&schema()).expect("fits");
    let mut values = Values::new();
    values.push_u64(1);
    for _ in 0..50_000 {
        writer
            .append(handle, SystemClock.now(), &values)
            .expect("room");
        writer.maintain().expect("sealed");
    }
    assert_eq!(allocated().0, size);
    assert!(allocated().1 < size + 65_536, "{:?}", allocated());
    assert_eq!(
        fs::read_dir(folder.path()).expect("there").count(),
        1,
        "nothing left beside it"
    );
}

#[test]
fn a_second_writer_is_refused_with_the_first_ones_pid() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let writer = Writer::create_file(
        &path,
        MIN_FILE_SIZE,
        "test",
        SystemClock.now(),
        &mut SystemEntropy,
    );
    let writer = writer.expect("created");
    match Writer::open_file(&path, &mut SystemEntropy) {
        Err(Error::InUse { pid: Some(pid) }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(writer);
    Writer::open_file(&path, &mut SystemEntropy).expect("free again");
}

#[test]
fn foreign_empty_and_truncated_files_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let open = || Writer::open_file(&path, &mut SystemEntropy).map(|_| ());
    fs::write(&path, b"").expect("written");
    assert!(matches!(open(), Err(Error::NotARecording(_))));
    fs::write(&path, vec![b'x'; 100_000]).expect("written");
    assert!(matches!(open(), Err(Error::NotARecording(_))));
    fs::remove_file(&path).expect("there");
    let mut writer = Writer::create_file(
        &path,
        MIN_FILE_SIZE,
        "t",
        SystemClock.now(),
        &mut SystemEntropy,
    )
    .expect("created");
    writer
        .event(SystemClock.now(), &Event::new("mark"))
        .expect("room");
    drop(writer);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("there");
    file.set_len(MIN_FILE_SIZE / 2).expect("cut");
    assert!(matches!(open(), Err(Error::Corrupt(_))));
    let snapshot = Recording::open(&path)
        .and_then(|r| r.snapshot())
        .expect("still readable");
    assert_eq!(snapshot.events().len(), 1, "what is left is read");
    assert!(!snapshot.damage().is_empty(), "and the cut is reported");
}

#[test]
fn a_file_cut_short_under_the_writer_poisons_it_instead_of_killing_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let mut writer = Writer::create_file(
        &path,
        MIN_FILE_SIZE,
        "t",
        SystemClock.now(),
        &mut SystemEntropy,
    )
    .expect("created");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("there");
    file.set_len(0).expect("cut");
    let refused = writer.event(SystemClock.now(), &Event::new("mark"));
    assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
}

#[test]
fn a_recording_with_holes_takes_its_space_when_it_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let now = SystemClock.now();
    let writer = Writer::create_file(&path, MIN_FILE_SIZE, "test", now, &mut SystemEntropy);
    drop(writer.expect("created"));
    let copy = folder.path().join("copy.ktm");
    let bytes = fs::read(&path).expect("read");
    let file = fs::File::create(&copy).expect("created");
    file.set_len(MIN_FILE_SIZE).expect("sparse");
    for (offset, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            let offset = offset as u64 * 4096;
            std::os::unix::fs::FileExt::write_all_at(&file, page, offset).expect("written");
        }
    }
    let allocated = || fs::metadata(&copy).expect("there").blocks() * 512;
    assert!(allocated() < MIN_FILE_SIZE, "it has holes");
    drop(Writer::open_file(&copy, &mut SystemEntropy).expect("sound"));
    assert!(allocated() >= MIN_FILE_SIZE);
}

#[test]
fn a_reader_beside_a_writer_sees_whole_rows_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    let mut writer = Writer::create_file(
        &path,
        MIN_FILE_SIZE,
        "t",
        SystemClock.now(),
        &mut SystemEntropy,
    )
    .expect("created");
    let handle = writer.define(&schema()).expect("fits");
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut values = Values::new();
            for n in 0..100_000 {
                values.clear();
                values.push_u64(n);
                writer
                    .append(handle, SystemClock.now(), &values)
                    .expect("room");
                writer.maintain().expect("sealed");
            }
        });
        while !writing.is_finished() {
            let snapshot = Recording::open(&path)
                .and_then(|r| r.snapshot())
                .expect("readable");
            let rows: Vec<_> = snapshot
                .rows(&Select::all())
                .filter_map(Result::ok)
                .collect();
            assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            assert!(
                rows.windows(2)
                    .all(|p| p[0].values().word(0) < p[1].values().word(0)),
                "values grow as they were written"
            );
        }
    });
}

#[test]
fn what_a_killed_creation_left_is_removed_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.ktm");
    fs::write(folder.path().join("box.ktm.creating-1"), b"half").expect("written");
    let at_work = folder.path().join("box.ktm.creating-2");
    let locked = fs::File::create(&at_work).expect("created");
    locked.lock().expect("locked");
    Writer::create_file(
        &path,
        MIN_FILE_SIZE,
        "t",
        SystemClock.now(),
        &mut SystemEntropy,
    )
    .expect("created");
    assert!(at_work.exists(), "somebody is still at it");
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2);
}
