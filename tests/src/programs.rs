//! Where the programs under test are.
//!
//! Cargo tells a test the path of its own package's binaries only. So the others are built once in
//! every test process, by the cargo that runs the tests, in the profile the test was built in, and
//! their paths are taken from what cargo reports. Nothing is ever stale; when all is built, it
//! costs cargo a fraction of a second. Cargo's own lock puts concurrent test processes in order.
//!
//! With `KTM_TEST_PROGRAMS=FOLDER` the tests run what is in that folder, and build nothing: to test
//! a release, or on a machine without cargo.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const RECORDER: &str = "ktm-recorder";
const DUMP: &str = "ktm-dump";
const WORKLOAD: &str = "ktm-workload";

/// The recorder.
pub fn recorder() -> PathBuf {
    program(RECORDER)
}

/// The reader.
pub fn dump() -> PathBuf {
    program(DUMP)
}

/// The workload.
pub fn workload() -> PathBuf {
    program(WORKLOAD)
}

/// An example of one of the libraries.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    built(&BUILT, "--examples", name)
}

fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    built(&BUILT, "--bins", name)
}

fn built(all: &OnceLock<BTreeMap<String, PathBuf>>, kind: &str, name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("KTM_TEST_PROGRAMS") {
        return PathBuf::from(folder).join(name);
    }
    all.get_or_init(|| build(kind))
        .get(name)
        .unwrap_or_else(|| panic!("cargo built no {name}"))
        .clone()
}

fn build(kind: &str) -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // All of them in one call, as `cargo test --workspace` does: another choice of packages would
    // choose other features of their dependencies and compile them once more.
    let output = Command::new(cargo)
        .args([
            "build",
            "--workspace",
            kind,
            "--message-format=json-render-diagnostics",
        ])
        .args(["--profile", &profile()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the programs under test do not build"
    );
    let text = String::from_utf8(output.stdout).expect("cargo reports in UTF-8");
    text.lines().filter_map(executable).collect()
}

/// The program that a line of cargo's report is about.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let report: Value = serde_json::from_str(line).ok()?;
    let name = report["target"]["name"].as_str()?;
    let path = report["executable"].as_str()?;
    Some((name.to_owned(), path.into()))
}

/// The profile this test was built in: the folder above `deps` is named after it.
fn profile() -> String {
    let ourselves = std::env::current_exe().expect("a process has an executable");
    let folder = ourselves
        .ancestors()
        .skip_while(|folder| !folder.ends_with("deps"))
        .nth(1)
        .and_then(|folder| folder.file_name()?.to_str());
    match folder {
        None | Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}
