//! A file that is cut short under its mapping: a store meets a page that has no file behind it.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ktm_format::{
    Clock, FileRegion, MIN_FILE_SIZE, ReadAt, Region, SystemClock, SystemEntropy, Writer,
};
use memmap2::MmapOptions;

const CHILD: &str = "KTM_BUS_ERROR_TEST_CHILD";

/// Where the hot ring begins, in every geometry.
const HOT: u64 = 65_536;
const PAGE: usize = 4096;

fn recording(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let now = SystemClock.now();
    Writer::create_file(&path, MIN_FILE_SIZE, "test", now, &mut SystemEntropy).expect("created");
    path
}

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("there");
    file.set_len(length).expect("cut");
}

/// The moment between the question for the length and the store.
#[test]
fn a_store_into_a_file_cut_short_goes_nowhere_and_the_file_is_known_to_be_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = recording(folder.path(), "cut.ktm");
    let other = recording(folder.path(), "other.ktm");
    let region = FileRegion::open(&path).expect("sound");
    let bystander = FileRegion::open(&other).expect("sound");
    for page in 0..4 {
        cut(&path, HOT + page * PAGE as u64);
        region.store(HOT, &[7; 5 * PAGE]);
        region.publish(HOT + 8, [9; 8]);
        assert!(region.check().is_err());
    }
    cut(&path, MIN_FILE_SIZE);
    let said = region.check().expect_err("its stores are gone").to_string();
    assert!(said.contains("under the mapping"), "{said}");

    bystander.store(HOT, &[5; PAGE]);
    bystander.check().expect("another file is another matter");
    let mut bytes = [0; PAGE];
    bystander.read_at(HOT, &mut bytes).expect("read");
    assert_eq!(bytes, [5; PAGE]);
}

#[test]
fn what_is_mapped_in_the_place_of_a_lost_file_is_well() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..20_u8 {
        let path = recording(folder.path(), &format!("{round}.ktm"));
        let region = FileRegion::open(&path).expect("sound");
        region.store(HOT, &[round; 16]);
        region.check().expect("sound");
        let mut bytes = [0; 16];
        region.read_at(HOT, &mut bytes).expect("read");
        assert_eq!(bytes, [round; 16]);
        cut(&path, 0);
        region.store(HOT, &[round; 16]);
        assert!(region.check().is_err());
    }
}

/// A bus error that is none of ours still ends the process, and as a bus error.
#[test]
fn a_bus_error_elsewhere_is_not_swallowed() {
    let name = "a_bus_error_elsewhere_is_not_swallowed";
    if let Some(folder) = std::env::var_os(CHILD) {
        return store_into_somebody_elses_mapping(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ourselves = std::env::current_exe().expect("a process has an executable");
    let ended = Command::new(ourselves)
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .expect("started");
    const SIGBUS: i32 = 7;
    assert_eq!(ended.status.signal(), Some(SIGBUS), "{ended:?}");
}

fn store_into_somebody_elses_mapping(folder: &Path) {
    let path = recording(folder, "guarded.ktm");
    let _region = FileRegion::open(&path).expect("sound");
    let theirs = folder.join("theirs");
    std::fs::write(&theirs, [0; PAGE]).expect("written");
    let file = OpenOptions::new().read(true).write(true).open(&theirs);
    let map = MmapOptions::new().len(PAGE).map_raw(&file.expect("there"));
    let map = map.expect("mapped");
    cut(&theirs, 0);
    // SAFETY: inside the mapping; that it faults is what is tested.
    unsafe { map.as_mut_ptr().write_volatile(1) };
}
