//! The others: where their programs are, and how to get them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::child::output;

/// Packages that are installed where a program of theirs is missing.
const INSTALLED: &[(&str, &str)] = &[
    ("rrdtool", "rrdtool"),
    ("sqlite3", "sqlite3"),
    ("python3", "python3"),
    ("strace", "strace"),
];
/// Packages that are only unpacked: installing them would start a service, or wants half a desktop.
const UNPACKED: &[&str] = &["sysstat", "atop", "collectl", "prometheus", "libfaketime"];
/// Libraries that what is unpacked needs.
const LIBRARIES: &[(&str, &str)] = &[("libsensors5", "libsensors.so.5")];

/// Programs, by name.
pub(super) struct Rivals {
    root: PathBuf,
}

impl Rivals {
    /// Fetches what is missing into a folder that is kept from run to run.
    pub(super) fn fetch(beside: &Path) -> Result<Rivals> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "the comparison runs as root: it installs packages, and the recorder loads kernel \
             programs"
        );
        let folder = beside.join("rivals");
        let root = folder.join("root");
        fs::create_dir_all(&root)?;
        let library = |name: &str| {
            output(Command::new("ldconfig").arg("-p")).is_ok_and(|known| known.contains(name))
        };
        let programs = INSTALLED.iter().filter(|(_, program)| !is_there(program));
        let libraries = LIBRARIES.iter().filter(|(_, file)| !library(file));
        let install: Vec<_> = programs
            .chain(libraries)
            .map(|(package, _)| *package)
            .collect();
        let marker = |package: &str| folder.join(format!("{package}.unpacked"));
        let unpack: Vec<_> = UNPACKED
            .iter()
            .filter(|name| !marker(name).exists())
            .collect();
        if !install.is_empty() || !unpack.is_empty() {
            apt(&["update"], &folder)?;
        }
        if !install.is_empty() {
            let arguments = ["install", "-y", "--no-install-recommends"];
            apt(&[&arguments[..], &install[..]].concat(), &folder)?;
        }
        for package in unpack {
            apt(&["download", package], &folder)?;
            let archive = archive(&folder, package)?;
            output(Command::new("dpkg").arg("-x").arg(archive).arg(&root))?;
            fs::write(marker(package), "")?;
        }
        Ok(Rivals { root })
    }

    /// A program that was unpacked, or that the machine has.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        let places = ["usr/bin", "usr/lib/sysstat"];
        places
            .iter()
            .map(|place| self.root.join(place).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| name.into())
    }

    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.program(name));
        command.env("LC_ALL", "C").env("TZ", "UTC");
        // An empty name: it shall not switch on the kernel's accounting of processes.
        command.env("ATOPACCT", "").env("TERM", "dumb");
        command
    }

    /// The library that shows a program another time.
    pub(super) fn faketime(&self) -> Result<PathBuf> {
        find(&self.root.join("usr/lib"), "libfaketime.so.1").context("no libfaketime")
    }

    /// Names and versions, for the document.
    pub(super) fn versions(&self) -> Result<Vec<(&'static str, String)>> {
        let sqlite = "import sqlite3; print(sqlite3.sqlite_version)";
        Ok(vec![
            ("sysstat (sadc, sadf)", self.version("sadc", &["-V"])?),
            ("collectl", self.version("collectl", &["--version"])?),
            ("atop", self.version("atop", &["-V"])?),
            ("rrdtool", self.version("rrdtool", &["--version"])?),
            ("sqlite3", self.version("sqlite3", &["--version"])?),
            (
                "sqlite3 in Python",
                self.version("python3", &["-c", sqlite])?,
            ),
            (
                "promtool (prometheus)",
                self.version("promtool", &["--version"])?,
            ),
        ])
    }

    /// Some print it on standard error, and some then fail.
    fn version(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let said = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| program.to_owned())?;
        let text = [said.stdout, said.stderr].concat();
        first_version(&String::from_utf8_lossy(&text))
            .with_context(|| format!("{program} does not tell its version"))
    }
}

/// The first word that begins with a number and a point.
fn first_version(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words
        .map(|word| word.trim_start_matches(['V', 'v']))
        .find(|word| {
            let mut parts = word.splitn(2, '.');
            let is_number = |part: &str| part.parse::<u32>().is_ok();
            let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
            parts.next().is_some_and(is_number) && parts.next().is_some_and(begins)
        })
        .map(str::to_owned)
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn apt(arguments: &[&str], folder: &Path) -> Result<()> {
    eprintln!("xtask: apt-get {}", arguments.join(" "));
    let said = Command::new("apt-get")
        .args(["-q", "-o", "Acquire::Retries=3"])
        .args(arguments)
        .current_dir(folder)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("running apt-get")?;
    if !said.status.success() {
        bail!("apt-get: {}", String::from_utf8_lossy(&said.stderr).trim());
    }
    Ok(())
}

/// The package's file, which carries its version in its name.
fn archive(folder: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(".deb") {
            return Ok(path);
        }
    }
    bail!("{package} was not downloaded")
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        let path = entry.path();
        let found = if path.is_dir() {
            find(&path, name)
        } else {
            (entry.file_name() == name).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let version = |text| first_version(text).expect("there is one");
        assert_eq!(version("sysstat version 12.6.1\n(C) Sebastien"), "12.6.1");
        assert_eq!(version("collectl V4.3.1-1 (zlib:2.204)"), "4.3.1-1");
        assert_eq!(version("Version: 2.8.1 - 2023/01/07"), "2.8.1");
        assert_eq!(version("3.40.1 2022-12-28 14:03:47 df5c25"), "3.40.1");
        assert_eq!(version("promtool, version 2.42.0+ds (branch"), "2.42.0+ds");
        assert_eq!(first_version("no number in 12 words."), None);
    }

    #[test]
    fn a_program_that_is_nowhere_is_not_there() {
        assert!(is_there("sh"));
        assert!(!is_there("a-program-that-nobody-has"));
    }
}
