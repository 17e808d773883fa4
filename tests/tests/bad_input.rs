//! Every wrong input gets a message that says what to do and the right exit code, and costs nothing
//! that was recorded.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use ktm_tests::check::all_kept;
use ktm_tests::dump::{self, Said};
use ktm_tests::folder::Folder;
use ktm_tests::recorder::Recorder;
use ktm_tests::wait::until;

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_DATA: i32 = 3;
const DAMAGED: i32 = 4;
const NOT_A_RECORDING: i32 = 5;

/// Nothing of this name runs, so the tests have no target and need no permission.
const NOBODY: [&str; 2] = ["--target-comm", "no-such-process"];

/// A folder with a recording of two samples or more.
fn recorded() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let mut running = Recorder::new(&folder).arguments(NOBODY).start_and_wait();
    running.sample_now();
    running.sample_now();
    assert!(running.terminate().success());
    let file = folder.join("box.ktm");
    (folder, file)
}

/// The recorder refuses: this code, all of these words, and the recording as it was.
fn assert_recorder_refuses(arguments: &[&str], code: i32, words: &[&str]) {
    let (folder, file) = recorded();
    let before = std::fs::read(&file).expect("the recording");
    let names = folder.names();
    let said = Recorder::new(&folder)
        .arguments(NOBODY)
        .arguments(arguments)
        .run();
    assert_said(&said, code, words);
    assert!(
        std::fs::read(&file).expect("the recording") == before,
        "the recording was changed"
    );
    assert_eq!(folder.names(), names, "no file was made, none was renamed");
}

fn assert_said(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(
        said.stdout, "",
        "what is said to a person goes to standard error"
    );
    assert!(!said.stderr.contains("panicked"), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?} is not said: {said:?}");
    }
}

fn config(folder: &Folder, text: &str) -> String {
    folder.write("ktm.yaml", text).display().to_string()
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let folder = Folder::new();
    let config = config(&folder, "collector:\n  interval: 1s\n  intervall: 2s\n");
    let words = [
        "ktm.yaml",
        "line 3",
        "collector.intervall",
        "did you mean collector.interval?",
    ];
    assert_recorder_refuses(&["--config", &config], USAGE, &words);
}

#[test]
fn a_bad_duration_is_named_wherever_it_was_given() {
    assert_recorder_refuses(&["--sync", "10 parsecs"], USAGE, &["--sync", "10 parsecs"]);
    let folder = Folder::new();
    // The flag of the harness would beat the file, so the file sets something else as well.
    let config = config(&folder, "recorder:\n  sync: 5x\n");
    let words = ["ktm.yaml", "line 2", "recorder.sync", "5x"];
    assert_recorder_refuses(&["--config", &config], USAGE, &words);
}

#[test]
fn a_size_below_the_minimum_is_refused_with_the_minimum() {
    let folder = Folder::new();
    let file = folder.join("new.ktm");
    let said = dump::run(
        std::process::Command::new(ktm_tests::programs::recorder())
            .args(["--size", "10KiB", "--listen", "none", "--file"])
            .arg(&file),
    );
    assert_said(&said, USAGE, &["--size", "10KiB", "1MiB"]);
    assert!(!file.exists(), "no file was made");
}

#[test]
fn a_bad_regex_is_refused_and_shown() {
    let folder = Folder::new();
    let recorder = Recorder::new(&folder).arguments(["--target-comm-regex", "banyand("]);
    assert_said(&recorder.run(), USAGE, &["--target-comm-regex", "banyand("]);
    assert!(folder.names().is_empty(), "no file was made");
}

#[test]
fn a_port_that_is_taken_is_named_before_any_file_is_touched() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (folder, file) = recorded();
    let before = std::fs::read(&file).expect("the recording");
    let said = Recorder::new(&folder)
        .arguments(NOBODY)
        .address(&address)
        .run();
    assert_said(&said, FAILED, &[&address, "--listen"]);
    assert!(
        std::fs::read(&file).expect("the recording") == before,
        "the recording was changed"
    );
}

#[test]
fn a_file_that_another_recorder_writes_is_refused_with_its_pid_and_both_are_well() {
    let folder = Folder::new();
    let mut first = Recorder::new(&folder).arguments(NOBODY).start_and_wait();
    let told = first.sample_now();
    let said = Recorder::new(&folder).arguments(NOBODY).run();
    let pid = format!("pid {}", first.pid());
    assert_said(&said, FAILED, &["box.ktm", &pid]);
    let more = first.sample_now();
    all_kept(&told, &more).expect("what was told before is still there");
    assert!(first.terminate().success());
    all_kept(&more, &dump::table(&folder.join("box.ktm"))).expect("nothing was lost");
}

/// The recorder keeps a file it cannot write on under another name, says so, and records.
fn assert_set_aside(spoil: impl FnOnce(&Path)) {
    let (folder, file) = recorded();
    spoil(&file);
    let spoilt = std::fs::read(&file).expect("the spoilt file");
    let mut running = Recorder::new(&folder).arguments(NOBODY).start_and_wait();
    let told = running.sample_now();
    let names = folder.names();
    let kept = names
        .iter()
        .find(|name| name.starts_with("box.ktm.set-aside-"));
    let kept = kept.unwrap_or_else(|| panic!("nothing was kept: {names:?}, {}", running.said()));
    assert!(
        std::fs::read(folder.join(kept)).expect("kept") == spoilt,
        "kept as it was"
    );
    let said = running.said();
    let lines = said
        .lines()
        .filter(|line| line.contains(kept.as_str()))
        .count();
    assert_eq!(lines, 1, "said in one line: {said}");
    assert!(running.terminate().success());
    all_kept(&told, &dump::table(&file)).expect("it records");
}

#[test]
fn a_file_that_is_no_recording_is_set_aside_and_not_read() {
    assert_set_aside(|file| std::fs::write(file, "dear diary\n").expect("written"));
    assert_set_aside(|file| std::fs::write(file, "").expect("written"));

    let folder = Folder::new();
    let file = folder.write("diary.txt", "dear diary\n".repeat(10_000));
    for arguments in [
        &["-o", "csv"][..],
        &["info"],
        &["runs"],
        &["events"],
        &["schema"],
    ] {
        let said = dump::dump(&file, arguments);
        assert_said(
            &said,
            NOT_A_RECORDING,
            &["diary.txt", "not a KTM recording"],
        );
    }
}

#[test]
fn a_truncated_file_is_set_aside_and_read_as_far_as_it_goes() {
    let cut = |file: &Path, length: u64| {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .expect("the recording");
        file.set_len(length).expect("cut");
    };
    assert_set_aside(|file| cut(file, 8 << 20));

    // The rows are at the beginning: they are still read, and the exit code says what is missing.
    let (_folder, file) = recorded();
    let whole = dump::table(&file);
    cut(&file, 8 << 20);
    let said = dump::dump(&file, ["-o", "csv"]);
    assert_eq!(said.code, Some(DAMAGED), "{said:?}");
    assert!(said.stderr.contains("cut short"), "{said:?}");
    let table = ktm_tests::table::Table::parse(&said.stdout).expect("a table");
    assert_eq!(table, whole);

    cut(&file, 100);
    let said = dump::dump(&file, ["-o", "csv"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(NOT_A_RECORDING), ""),
        "{said:?}"
    );
}

/// Opening a pipe would wait for ever for somebody to write.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = Folder::new();
    let pipe = folder.join("pipe.ktm");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("made");
    for file in [&pipe, Path::new("/dev/null")] {
        for arguments in [
            &["-o", "csv"][..],
            &["info"],
            &["verify"],
            &["salvage", "new.ktm"],
        ] {
            let said = dump::dump(file, arguments);
            assert_said(&said, FAILED, &["it is not a file"]);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    let said = dump::dump(&folder.join("absent.ktm"), ["-o", "csv"]);
    assert_said(&said, FAILED, &["absent.ktm"]);
}

#[test]
fn a_range_without_data_says_where_the_data_is() {
    let (_folder, file) = recorded();
    for range in [
        ["--since", "2099-01-01T00:00:00Z"],
        ["--until", "1999-01-01T00:00:00Z"],
    ] {
        for output in ["table", "csv", "json", "ndjson"] {
            let arguments = [range[0], range[1], "-o", output];
            let said = dump::dump(&file, arguments);
            assert_eq!(said.code, Some(NO_DATA), "{arguments:?}: {said:?}");
            assert!(!said.stderr.is_empty(), "{arguments:?}: {said:?}");
            assert!(!said.stderr.contains("panicked"), "{said:?}");
        }
    }
}

#[test]
fn a_metric_that_is_not_recorded_and_a_bad_time_are_usage_errors() {
    let (_folder, file) = recorded();
    let said = dump::dump(&file, ["-m", "ktm_sampels_total", "-o", "csv"]);
    assert_said(&said, USAGE, &["ktm_sampels_total"]);
    let said = dump::dump(&file, ["-m", "ktm_[", "-o", "csv"]);
    assert_said(&said, USAGE, &["ktm_["]);
    let said = dump::dump(&file, ["--since", "yesterdayish", "-o", "csv"]);
    assert_said(&said, USAGE, &["--since", "yesterdayish"]);
    let said = dump::dump(&file, ["--since", "1h", "--until", "2h", "-o", "csv"]);
    assert_said(&said, USAGE, &["--until", "before its beginning"]);
}

#[test]
fn a_bad_parameter_over_http_is_named_in_json() {
    let folder = Folder::new();
    let running = Recorder::new(&folder).arguments(NOBODY).start_and_wait();
    for (query, parameter) in [
        ("since=yesterdayish", "since"),
        ("metric=ktm_sampels_total", "metric"),
        ("step=5x", "step"),
        ("format=xml", "format"),
        ("sinse=1h", "sinse"),
    ] {
        let path = format!("/api/v1/replay?{query}");
        let answer = until("an answer", || {
            ktm_tests::http::get(running.address(), &path)
        });
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body["parameter"], parameter, "{query}: {body}");
        assert!(body["error"].is_string(), "{query}: {body}");
    }
}
