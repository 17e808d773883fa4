//! The recorder beside its rivals, in one run on one machine.
//!
//! Every figure is a ratio of two measurements taken one after the other, again and again: a
//! machine that is slow or busy is so for both. `docs/benchmarks.md` is what this prints.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::workspace;

mod append;
mod bytes;
mod child;
mod day;
mod driven;
mod durability;
mod host;
mod machine;
mod query;
mod ratio;
mod recorders;
mod ring;
mod rivals;

use day::Day;
use rivals::Rivals;

/// Measures this recorder beside others, which are fetched from Debian, and prints ratios.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Measure this alone
    #[arg(long, value_enum)]
    only: Option<Subject>,
    /// Write everything that was measured into this file, too
    #[arg(long, conflicts_with = "only", value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Processor time of recorders for a day of samples
    Recorders,
    /// What is forced to the disk, and what a kill costs
    Durability,
    /// Time to append a row
    Append,
    /// Bytes on disk for the same table
    Bytes,
    /// Time to print the last hour of a day
    Query,
    /// Appending to, opening and scanning a full file of 1 GiB
    Ring,
}

/// A part of the document, in Markdown.
struct Section {
    title: &'static str,
    text: String,
}

/// What all measurements share.
struct Bench {
    folder: PathBuf,
    rivals: Rivals,
    sampler: host::Sampler,
    day: Option<Day>,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<()> {
        if cfg!(debug_assertions) {
            return self.run_optimised();
        }
        let begun = Instant::now();
        let beside = std::env::current_exe()?;
        let beside = beside.parent().context("a program is in a folder")?;
        let folder = tempfile::tempdir_in(beside)?;
        build()?;
        let mut bench = Bench {
            folder: folder.path().to_owned(),
            rivals: Rivals::fetch(beside)?,
            sampler: host::Sampler::start(),
            day: None,
        };
        let mut document = heading(&bench.rivals)?;
        print!("{document}");
        for subject in Subject::value_variants() {
            if self.only.is_some_and(|only| only != *subject) {
                continue;
            }
            eprintln!("xtask: {subject:?}");
            let section = subject.measure(&mut bench)?;
            let text = format!("\n## {}\n\n{}", section.title, section.text);
            print!("{text}");
            document.push_str(&text);
        }
        let end = format!(
            "\n---\n\nMeasured in {} s; load average at the end {}.\n",
            begun.elapsed().as_secs(),
            machine::load()?
        );
        print!("{end}");
        document.push_str(&end);
        if let Some(path) = &self.write {
            std::fs::write(path, document)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Runs this very command as an optimised program: it appends rows itself.
    fn run_optimised(&self) -> Result<()> {
        let mut cargo = cargo(&["run", "--quiet", "--release", "--package", "xtask"]);
        cargo.args(["--", "compare"]);
        if let Some(only) = self.only {
            let only = only.to_possible_value().context("it has a name")?;
            cargo.args(["--only", only.get_name()]);
        }
        if let Some(path) = &self.write {
            cargo.arg("--write").arg(std::path::absolute(path)?);
        }
        let status = cargo.status().context("running cargo")?;
        ensure!(status.success(), "the comparison ended with {status}");
        Ok(())
    }
}

impl Subject {
    fn measure(self, bench: &mut Bench) -> Result<Section> {
        match self {
            Subject::Recorders => recorders::measure(bench),
            Subject::Durability => durability::measure(bench),
            Subject::Append => append::measure(bench),
            Subject::Bytes => bytes::measure(bench),
            Subject::Query => query::measure(bench),
            Subject::Ring => ring::measure(bench),
        }
    }
}

impl Bench {
    /// A path in the folder of this run, which is on the disk that the build is on.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The day that files of all kinds were filled with; made when first asked for.
    fn day(&mut self) -> Result<&Day> {
        if self.day.is_none() {
            let table = self.sampler.table();
            self.day = Some(Day::make(&self.folder, &self.rivals, &table)?);
        }
        self.day.as_ref().context("made above")
    }
}

/// Cargo, in the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace());
    cargo
}

/// Builds the programs that are measured.
fn build() -> Result<()> {
    let status = cargo(&["build", "--quiet", "--release", "--bins"])
        .args(["--package", "ktm-recorder", "--package", "ktm-tools"])
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "the build ended with {status}");
    Ok(())
}

/// A program of this workspace, optimised: beside this one.
fn own(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} was not built", path.display());
    Ok(path)
}

fn heading(rivals: &Rivals) -> Result<String> {
    let mut text = String::from(
        "# Beside others\n\n\
        Written by `cargo xtask compare --write docs/benchmarks.md`; do not edit. It runs as root \
        on Debian, fetches the others from there and starts none of their services.\n\n\
        A ratio is ours to theirs: below 1 ours is smaller. Both sides are measured one after the \
        other, round after round, and the ratio is taken within a round; min, median and max are \
        of these. The figures beside a ratio are medians, and belong to this machine.\n\n",
    );
    text.push_str(&machine::describe()?);
    writeln!(text, "\n| program | version |\n| --- | --- |")?;
    writeln!(
        text,
        "| ktm-recorder, ktm-dump | {} |",
        env!("CARGO_PKG_VERSION")
    )?;
    for (name, version) in rivals.versions()? {
        writeln!(text, "| {name} | {version} |")?;
    }
    Ok(text)
}

/// Bytes of a file, or of all files below a folder.
fn size_of(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        sum += size_of(&entry?.path())?;
    }
    Ok(sum)
}
