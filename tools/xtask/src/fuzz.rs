//! Fuzzing: every target for some time, two side by side.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::nightly;
use crate::toolchain::run;

/// Runs the fuzz targets, each for some time, and says how far each got
#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// The targets; all, unless some are named
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where to begin, to go the same way again; anywhere, unless given
    #[arg(long)]
    seed: Option<u32>,
    /// How many run side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Keep only the smallest inputs that cover as much, in fuzz/corpus, instead of fuzzing
    #[arg(long)]
    minimise: bool,
    /// Install the compiler and cargo-fuzz where they are missing
    #[arg(long)]
    install: bool,
}

/// Without an address sanitizer: what is fuzzed is safe Rust, and it makes everything slow.
const PLAIN: [&str; 2] = ["--sanitizer", "none"];

/// Memory that the process may take, and after how many seconds an input hangs. How much one
/// allocation may take, `fuzz/oracles/src/memory.rs` says.
const BOUNDS: [&str; 2] = ["-rss_limit_mb=2048", "-timeout=20"];

impl Fuzz {
    pub(crate) fn run(&self) -> Result<()> {
        nightly::find(&[], self.install)?;
        nightly::find_cargo_fuzz(self.install)?;
        let targets = self.targets()?;
        let begun = Instant::now();
        run(nightly::cargo().args(["fuzz", "build"]).args(PLAIN))?;
        println!("  * built in {} s", begun.elapsed().as_secs());
        let waiting = Mutex::new(VecDeque::from(targets));
        let failed = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    let next = || {
                        waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front()
                    };
                    while let Some(target) = next() {
                        match self.one(&target) {
                            Ok(report) => println!("  * {target}: {report}"),
                            Err(error) => {
                                println!("{target}: {error:#}");
                                failed
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .push(target);
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        ensure!(failed.is_empty(), "findings in {}", failed.join(", "));
        Ok(())
    }

    /// The targets named, or all there are.
    fn targets(&self) -> Result<Vec<String>> {
        let folder = crate::workspace().join("fuzz/fuzz_targets");
        let mut known = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            known.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
        known.sort();
        for target in &self.targets {
            ensure!(
                known.contains(target),
                "{target} is no target; there are {}",
                known.join(", ")
            );
        }
        Ok(if self.targets.is_empty() {
            known
        } else {
            self.targets.clone()
        })
    }

    /// Fuzzes one target, or minimises its corpus, and tells how it went.
    fn one(&self, target: &str) -> Result<String> {
        let folders = Folders::of(target)?;
        if self.minimise {
            return folders.minimise(target);
        }
        let log = folders.found.with_extension("log");
        let file = fs::File::create(&log)?;
        let status = nightly::cargo()
            .args(["fuzz", "run"])
            .args(PLAIN)
            .arg(target)
            .args(folders.all())
            .arg("--")
            .arg(format!("-max_total_time={}", self.seconds))
            // 0 is any.
            .arg(format!("-seed={}", self.seed.unwrap_or(0)))
            .args(BOUNDS)
            .arg("-print_final_stats=1")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("running cargo-fuzz")?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() {
            bail!(
                "a finding ({status}); put the input that is named below into \
                 fuzz/regressions/{target}/ with its fix; all of it is in {}\n{}",
                log.display(),
                finding(&text)
            );
        }
        Ok(report(&text))
    }
}

/// Where the inputs of a target are.
struct Folders {
    /// What fuzzing finds, kept between runs and not committed.
    found: PathBuf,
    corpus: PathBuf,
    regressions: PathBuf,
}

impl Folders {
    fn of(target: &str) -> Result<Folders> {
        let fuzz = crate::workspace().join("fuzz");
        let folders = Folders {
            found: nightly::target_folder().join("fuzz-corpus").join(target),
            corpus: fuzz.join("corpus").join(target),
            regressions: fuzz.join("regressions").join(target),
        };
        fs::create_dir_all(&folders.found)?;
        fs::create_dir_all(&folders.corpus)?;
        Ok(folders)
    }

    /// The first is the one that new inputs go into.
    fn all(&self) -> Vec<&Path> {
        let known = [&self.found, &self.corpus, &self.regressions];
        known
            .into_iter()
            .map(PathBuf::as_path)
            .filter(|folder| folder.exists())
            .collect()
    }

    /// Puts in the corpus, of all inputs there are, few and small ones that cover most.
    fn minimise(&self, target: &str) -> Result<String> {
        let small = self.found.with_extension("small");
        let _ = fs::remove_dir_all(&small);
        fs::create_dir_all(&small)?;
        run(nightly::cargo()
            .args(["fuzz", "run"])
            .args(PLAIN)
            .arg(target)
            .arg(&small)
            .args(self.all())
            .args(["--", "-set_cover_merge=1", "-max_len=512"])
            .stdout(Stdio::null())
            .stderr(Stdio::null()))?;
        let mut inputs = Vec::new();
        for entry in fs::read_dir(&small)? {
            let path = entry?.path();
            inputs.push((fs::metadata(&path)?.len(), path));
        }
        inputs.sort();
        fs::remove_dir_all(&self.corpus)?;
        fs::create_dir_all(&self.corpus)?;
        let mut bytes = 0;
        let mut count = 0;
        for (length, path) in inputs {
            if bytes + length > LARGEST_CORPUS || count == MOST_INPUTS {
                break;
            }
            let name = path.file_name().context("an input has a name")?;
            fs::copy(&path, self.corpus.join(name))?;
            bytes += length;
            count += 1;
        }
        fs::remove_dir_all(&small)?;
        Ok(format!("{count} inputs of {bytes} bytes"))
    }
}

/// What is committed of a target's corpus: so many bytes and inputs at most.
const LARGEST_CORPUS: u64 = 4096;
const MOST_INPUTS: usize = 40;

/// The lines that tell what was found and with which input, of all that a failed run printed.
fn finding(text: &str) -> String {
    const TELLING: [&str; 5] = ["==", "SUMMARY:", "MS: ", "artifact_prefix=", "Base64:"];
    let lines: Vec<&str> = text.lines().collect();
    let told = lines.iter().enumerate().filter(|(at, line)| {
        // What a panic says is on the lines after that.
        let panic = |line: &&str| line.contains(" panicked at ");
        let is_panic = lines[at.saturating_sub(3)..=*at].iter().any(panic);
        is_panic || TELLING.iter().any(|telling| line.starts_with(telling))
    });
    let told: Vec<&str> = told.map(|(_, line)| *line).collect();
    if told.is_empty() {
        return lines[lines.len().saturating_sub(20)..].join("\n");
    }
    told.join("\n")
}

/// What libFuzzer says at the end.
fn report(text: &str) -> String {
    let number = |name: &str| {
        let line = text.lines().rev().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().last());
        value.unwrap_or("?").to_owned()
    };
    let progress = text.lines().rev().find(|line| line.contains(" cov: "));
    let word_behind = |name: &str| {
        let mut words = progress.unwrap_or_default().split_whitespace();
        words.find(|word| *word == name);
        words.next().unwrap_or("?").to_owned()
    };
    format!(
        "{} executions, {} a second, cov {}, ft {}, {} inputs, no finding",
        number("stat::number_of_executed_units"),
        number("stat::average_exec_per_sec"),
        word_behind("cov:"),
        word_behind("ft:"),
        word_behind("corp:"),
    )
}
