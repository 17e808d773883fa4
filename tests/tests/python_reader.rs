//! `docs/format.md` is enough to read a recording: a reader written from it alone, in another
//! language, agrees with ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use ktm_tests::dump::{Said, run};
use ktm_tests::environment::{find, skip};
use ktm_tests::folder::Folder;
use ktm_tests::golden;

fn reader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reader/ktm_reader.py")
}

/// True where the reader can run.
fn has_python() -> bool {
    let Some(python) = find("python3") else {
        skip("the reader in Python", "python3 is not installed");
        return false;
    };
    let mut command = Command::new(python);
    let has_package = run(command.args(["-c", "import zstandard"])).code == Some(0);
    if !has_package && find("zstd").is_none() {
        skip(
            "the reader in Python",
            "neither zstandard for Python nor zstd is installed",
        );
        return false;
    }
    true
}

fn read(file: &Path) -> Said {
    run(Command::new("python3").arg(reader()).arg(file))
}

#[test]
fn a_reader_written_from_the_specification_agrees_on_every_golden_file() {
    if !has_python() {
        return;
    }
    for golden in golden::files() {
        let folder = Folder::new();
        let said = read(&golden.unpack(&folder));
        assert_eq!(
            said.code,
            Some(golden.code()),
            "{}: {}",
            golden.name,
            said.stderr
        );
        assert!(said.stdout == golden.csv, "{}: another CSV", golden.name);
    }
}

#[test]
fn it_refuses_what_is_no_recording_and_a_version_it_does_not_know() {
    if !has_python() {
        return;
    }
    let folder = Folder::new();
    let text = folder.write("text.ktm", "This is not a recording.\n".repeat(4000));
    let said = read(&text);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(5), ""),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("not a recording"), "{}", said.stderr);
    let empty = read(&folder.write("empty.ktm", ""));
    assert_eq!(empty.code, Some(5), "{}", empty.stderr);
}
