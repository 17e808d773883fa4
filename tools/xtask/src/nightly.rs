//! The nightly compiler that fuzzing and Miri need, and how to get it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::toolchain::run;

/// Known to build every target and to have Miri.
const NIGHTLY: &str = "nightly-2026-05-20";

const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// Cargo of that toolchain.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", NIGHTLY, "cargo"]);
    command.current_dir(crate::workspace());
    command
}

/// The folder that cargo builds into, if it was told one.
pub(crate) fn target_folder() -> PathBuf {
    let told = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    told.unwrap_or_else(|| crate::workspace().join("target"))
}

/// Finds the compiler with these components. What is missing is installed if `install` is set;
/// otherwise the error says how.
pub(crate) fn find(components: &[&str], install: bool) -> Result<()> {
    let installed = Command::new("rustup")
        .args(["component", "list", "--installed", "--toolchain", NIGHTLY])
        .output();
    let installed = installed.map(|output| output.stdout).unwrap_or_default();
    let installed = String::from_utf8_lossy(&installed);
    let is_there = |component: &&str| installed.lines().any(|line| line.starts_with(*component));
    if !installed.is_empty() && components.iter().all(is_there) {
        return Ok(());
    }
    let mut arguments = vec!["toolchain", "install", NIGHTLY, "--profile", "minimal"];
    for component in components {
        arguments.extend(["--component", component]);
    }
    get("rustup", &arguments, install)
}

/// Finds cargo-fuzz, as [`find`] finds the compiler.
pub(crate) fn find_cargo_fuzz(install: bool) -> Result<()> {
    let version = Command::new("cargo-fuzz")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    get("cargo", &["install", "--locked", CARGO_FUZZ], install)
}

fn get(program: &str, arguments: &[&str], install: bool) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    if !install {
        bail!("this needs a nightly compiler and its tools; run\n  {line}\nor add --install");
    }
    eprintln!("xtask: {line}");
    run(Command::new(program).args(arguments))
}
