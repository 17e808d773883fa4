//! `ktm-dump` as a whole process over small recordings made here, with a clock that is told.
//!
//! The expected output is under `golden/`. `KTM_BLESS=1 cargo test -p ktm-tools` writes it anew;
//! read the difference before committing it.

mod recording;
mod repair;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use recording::Recorded;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ktm-dump"));
    command
        .args(arguments)
        .env_clear()
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
}

/// Runs it over a recording, which it sees as `box.ktm`.
fn dump(recorded: &Recorded, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command
        .current_dir(recorded.folder())
        .env("KTM_FILE", "box.ktm");
    command.output().expect("ktm-dump runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Exit status and what was said, for a readable failure.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), text(&output.stderr))
}

/// Holds the output about the incident against `golden/NAME`.
fn golden(name: &str, arguments: &[&str]) {
    let output = dump(&Recorded::incident(), arguments);
    assert_eq!(told(&output), (Some(0), String::new()), "{arguments:?}");
    assert_golden(name, &text(&output.stdout));
}

/// Holds text against `golden/NAME`.
fn assert_golden(name: &str, text: &str) {
    // The writer of the test's recording is the test.
    let pid = std::process::id();
    let found = text
        .replace(&format!("last was pid {pid}\n"), "last was pid PID\n")
        .replace(&format!("\"writer_pid\": {pid},"), "\"writer_pid\": PID,");
    assert!(!found.contains('\u{1b}'), "no colour into a pipe");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("KTM_BLESS").is_some() {
        std::fs::write(&path, &found).expect("golden/ can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "differs from {}", path.display());
}

#[test]
fn the_table_is_what_a_person_sees_first() {
    golden("table.txt", &[]);
    golden("table-raw.txt", &["--raw", "-S", "@1795184630"]);
    golden(
        "table-chosen.txt",
        &[
            "-m",
            "ktm_status",
            "-m",
            "*pread_latency_seconds",
            "--tz",
            "+01:00",
        ],
    );
    golden("table-thinned.txt", &["--interval", "1m"]);
}

#[test]
fn machine_formats_give_recorded_values() {
    golden("samples.csv", &["-o", "csv"]);
    golden(
        "samples.json",
        &["-o", "json", "-m", "ktm_sys_pread_latency_seconds_sum"],
    );
    golden("samples.ndjson", &["-o", "ndjson", "-U", "@1795184630"]);
    golden("samples.openmetrics", &["-o", "openmetrics"]);
}

#[test]
fn rates_and_intervals_do_not_cross_epochs() {
    golden("rates.csv", &["-o", "csv", "--rate", "-m", "*_total"]);
    golden(
        "rates-interval.csv",
        &["-o", "csv", "--rate", "--interval", "30s", "-m", "*_total"],
    );
}

#[test]
fn views_are_for_people_and_for_programs() {
    for view in ["info", "runs", "events", "schema"] {
        golden(&format!("{view}.txt"), &[view]);
        golden(&format!("{view}.json"), &[view, "--json"]);
    }
    golden(
        "events-range.txt",
        &["events", "-S", "@1795184640", "--tz", "-05:00"],
    );
    golden("schema-chosen.txt", &["schema", "-m", "ktm_cache_*"]);
}

#[test]
fn a_wrong_option_time_or_glob_is_a_usage_error_that_names_it() {
    let recorded = Recorded::incident();
    for (arguments, words) in [
        (
            &["--since", "1x"][..],
            &["--since: \"1x\"", "\"x\" is not a unit", "accepted"][..],
        ),
        (&["-U", "25:00"], &["--until: ", "there is no time 25:00"]),
        (
            &["-S", "1h", "-U", "2h"],
            &["--until: ", "is before its beginning"],
        ),
        (
            &["-m", "ktm_statos"],
            &["--metric: ", "ktm_statos", "ktm_status", "ktm-dump schema"],
        ),
        (&["schema", "-m", "nothing*"], &["--metric: ", "nothing*"]),
        (&["-m", "[", "-o", "csv"], &["--metric: ", "is not a glob"]),
        (
            &["-o", "xml"],
            &["--output: ", "table, csv, json, ndjson, openmetrics"],
        ),
        (&["-o", "openmetrics", "--rate"], &["--rate: "]),
        (&["--interval", "0s"], &["--interval: "]),
        (&["--tz", "Mars/Olympus"], &["--tz: ", "Europe/Berlin"]),
        (&["--utc", "--tz", "UTC"], &["cannot be used with"]),
        (&["--rate", "--raw"], &["cannot be used with"]),
        (&["-o", "csv", "runs"], &["`runs` does not take --output"]),
        (
            &["info", "--since", "1h"],
            &["`info` does not take --since"],
        ),
        (&["--nonsense"], &["--nonsense"]),
    ] {
        let output = dump(&recorded, arguments);
        let (status, said) = told(&output);
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        for word in words {
            assert!(
                said.contains(word),
                "{arguments:?} must say {word:?}: {said}"
            );
        }
    }
}

#[test]
fn no_data_in_the_range_is_status_3_and_says_what_there_is() {
    let recorded = Recorded::incident();
    for (arguments, words) in [
        (
            &["--since", "2200-01-01"][..],
            "the range begins in the future: 2200-01-01 00:00:00",
        ),
        (
            &["-U", "2020-01-01", "-o", "csv"],
            "the recording holds 2026-11-20 14:23:31 to ",
        ),
        (&["events", "-U", "2020-01-01"], "no samples in the range"),
        (
            &["runs", "-U", "2020-01-01", "--json"],
            "no samples in the range",
        ),
    ] {
        let (status, said) = told(&dump(&recorded, arguments));
        assert_eq!(status, Some(3), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let (status, said) = told(&dump(&Recorded::empty(), &[]));
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("holds no samples at all"), "{said}");
}

#[test]
fn data_that_begins_much_later_than_asked_is_worth_a_word() {
    let recorded = Recorded::incident();
    let (status, said) = told(&dump(&recorded, &["-S", "2026-11-20 14:00"]));
    assert_eq!(status, Some(0));
    assert_eq!(
        said,
        "ktm-dump: the data begins at 2026-11-20 14:23:31 (UTC), 23m31s later than asked\n"
    );
}

#[test]
fn damage_is_skipped_said_and_status_4() {
    let recorded = Recorded::incident();
    recorded.damage();
    for arguments in [
        &[][..],
        &["-o", "csv"],
        &["runs"],
        &["info"],
        &["events"],
        &["schema"],
    ] {
        let (status, said) = told(&dump(&recorded, arguments));
        assert_eq!(status, Some(4), "{arguments:?}: {said}");
        assert!(
            said.contains("damage at offset") || arguments == ["info"],
            "{said}"
        );
    }
    let whole = text(&dump(&Recorded::incident(), &["-o", "csv"]).stdout);
    let left = text(&dump(&recorded, &["-o", "csv"]).stdout);
    assert_eq!(
        left.lines().count() + 1,
        whole.lines().count(),
        "one row is lost"
    );
    assert!(
        left.lines().all(|line| whole.contains(line)),
        "all others are as they were"
    );
}

#[test]
fn what_is_not_a_recording_is_status_5() {
    let recorded = Recorded::incident();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(recorded.folder().join(name), bytes).expect("a file");
    };
    write("text.ktm", b"This is not a recording.\n");
    write("nothing.ktm", b"");
    write("zeros.ktm", &[0; 4096]);
    recorded.copy_of_version("later.ktm", 2);
    for (file, words) in [
        ("text.ktm", "not a KTM recording"),
        ("nothing.ktm", "not a KTM recording"),
        ("zeros.ktm", "not a KTM recording"),
        ("later.ktm", "format version 2"),
    ] {
        for view in [&[][..], &["info"], &["runs", "--json"]] {
            let output = dump(&recorded, &[&["-F", file], view].concat());
            let (status, said) = told(&output);
            assert_eq!(status, Some(5), "{file}: {said}");
            assert!(said.contains(file) && said.contains(words), "{said}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_status_1() {
    let recorded = Recorded::incident();
    let (status, said) = told(&dump(&recorded, &["-F", "missing.ktm"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("missing.ktm: No such file"), "{said}");
    let mut command = command(&["info"]);
    let (status, said) = told(&command.output().expect("runs"));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("/var/lib/ktm/blackbox.ktm"),
        "the default file: {said}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_not_a_failure() {
    let recorded = Recorded::long();
    let mut command = command(&["-F", "box.ktm", "-o", "csv"]);
    command
        .current_dir(recorded.folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("ktm-dump runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(told(&output), (Some(0), String::new()));
}

#[test]
fn help_lists_the_exit_statuses_and_version_the_format() {
    let help = command(&["--help"]).output().expect("runs");
    let help = text(&help.stdout);
    for word in [
        "Exit status:",
        "5  not a recording",
        "Examples:",
        "m is minutes",
        "KTM_FILE",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let version = text(&command(&["--version"]).output().expect("runs").stdout);
    assert!(version.contains("reads format version 1"), "{version}");
}
