//! Running `ktm-dump`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::programs;
use crate::table::Table;

/// What a program said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code, `None` if a signal ended it.
    pub code: Option<i32>,
    /// What a program is to read.
    pub stdout: String,
    /// What a person is to read.
    pub stderr: String,
}

/// Runs a command to its end, without what the environment would set.
///
/// # Panics
///
/// When it does not start, or writes what is no UTF-8.
pub fn run(command: &mut Command) -> Said {
    let output = without_settings(command)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Removes the variables that are settings of the programs under test.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KTM_") {
            command.env_remove(name);
        }
    }
    // Times are read as zoneless where a test does not say otherwise.
    command.env("TZ", "UTC")
}

/// Runs `ktm-dump` on a file.
pub fn dump<I: AsRef<OsStr>>(file: &Path, arguments: impl IntoIterator<Item = I>) -> Said {
    run(Command::new(programs::dump())
        .arg("-F")
        .arg(file)
        .args(arguments))
}

/// The whole recording as a table, as far as it can be read; what is no table is a failure.
///
/// # Panics
///
/// When the reader fails.
pub fn table(file: &Path) -> Table {
    let said = dump(file, ["-o", "csv"]);
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    Table::parse(&said.stdout).unwrap_or_else(|why| panic!("{why}"))
}

/// Whatever can be read of a file: of what is no recording, nothing.
///
/// # Panics
///
/// When what is printed is no table.
pub fn readable(file: &Path) -> Table {
    let said = dump(file, ["-o", "csv"]);
    Table::parse(&said.stdout).unwrap_or_else(|why| panic!("{why}"))
}

/// What `ktm-dump WHAT --json` prints.
///
/// # Errors
///
/// What it said instead.
pub fn json(file: &Path, what: &str) -> Result<Value, String> {
    let said = dump(file, [what, "--json"]);
    if said.code != Some(0) {
        return Err(format!("{what}: {said:?}"));
    }
    serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {}", said.stdout))
}

/// The recorded events, oldest first.
///
/// # Errors
///
/// As [`json`].
pub fn events(file: &Path) -> Result<Vec<Value>, String> {
    list(file, "events")
}

/// The recorded runs, oldest first.
///
/// # Errors
///
/// As [`json`].
pub fn runs(file: &Path) -> Result<Vec<Value>, String> {
    list(file, "runs")
}

fn list(file: &Path, what: &str) -> Result<Vec<Value>, String> {
    match json(file, what)? {
        Value::Array(list) => Ok(list),
        other => Err(format!("{what}: no list but {other}")),
    }
}
