//! Recorders that take a sample when a signal tells them to, and so a day of samples at once.
//!
//! `sadc` waits for SIGALRM between samples, atop and ktm-recorder take one at SIGUSR1. All of them
//! are given an interval that never ends, and the next signal when the last sample is written.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::child;

/// Between two looks at a recorder's file.
const LOOK: Duration = Duration::from_micros(100);
/// A signal that came too early was lost; it is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Left to ktm-recorder between samples: rows that come faster than they can be compressed are
/// refused.
const PAUSE: Duration = Duration::from_micros(500);
/// After a refusal.
const REST: Duration = Duration::from_millis(50);

/// A recorder that has been started and has taken its first sample.
pub(super) struct Driven {
    child: Child,
    is_over: bool,
    signal: Signal,
    progress: Progress,
}

/// How a sample shows.
enum Progress {
    /// The file grows, and the recorder sleeps again.
    Grows { file: PathBuf, size: u64 },
    /// It says so.
    Says(BufReader<ChildStderr>),
}

impl Driven {
    /// Starts a recorder whose file grows with every sample.
    pub(super) fn growing(command: &mut Command, file: &Path, signal: Signal) -> Result<Driven> {
        let child = quiet(command).stderr(Stdio::null()).spawn();
        let child = child.context("starting a recorder")?;
        let progress = Progress::Grows {
            file: file.to_owned(),
            size: 0,
        };
        let mut driven = Driven {
            child,
            is_over: false,
            signal,
            progress,
        };
        let begun = Instant::now();
        while !driven.has_written()? {
            ensure!(begun.elapsed() < PATIENCE, "no first sample");
            std::thread::sleep(LOOK);
        }
        Ok(driven)
    }

    /// Starts ktm-recorder, which says that it has taken a sample.
    pub(super) fn saying(command: &mut Command) -> Result<Driven> {
        let mut child = quiet(command).stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take().context("it was piped")?;
        let mut driven = Driven {
            child,
            is_over: false,
            signal: Signal::USR1,
            progress: Progress::Says(BufReader::new(said)),
        };
        driven.listen("recording every")?;
        Ok(driven)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes it take another sample. False if it has ended with the last one it was to take.
    pub(super) fn sample(&mut self) -> Result<bool> {
        if matches!(self.progress, Progress::Says(_)) {
            std::thread::sleep(PAUSE);
            self.send(self.signal)?;
            self.listen("sample taken at once")?;
            return Ok(true);
        }
        let begun = Instant::now();
        loop {
            self.send(self.signal)?;
            let sent = Instant::now();
            while sent.elapsed() < AGAIN {
                match child::state(self.pid()) {
                    None | Some('Z') => return Ok(false),
                    Some(_) if self.has_written()? => return Ok(true),
                    Some(_) => std::thread::sleep(LOOK),
                }
            }
            ensure!(begun.elapsed() < PATIENCE, "a recorder takes no samples");
        }
    }

    /// True once per sample: the file has grown and the recorder sleeps.
    fn has_written(&mut self) -> Result<bool> {
        let pid = self.pid();
        let Progress::Grows { file, size } = &mut self.progress else {
            bail!("it says so itself");
        };
        let now = fs::metadata(file).map_or(0, |metadata| metadata.len());
        let has_grown = now > *size && child::state(pid) == Some('S');
        if has_grown {
            *size = now;
        }
        Ok(has_grown)
    }

    fn listen(&mut self, words: &str) -> Result<()> {
        let Progress::Says(said) = &mut self.progress else {
            return Ok(());
        };
        let mut line = String::new();
        while said.read_line(&mut line)? > 0 {
            if line.contains("not recorded") {
                std::thread::sleep(REST);
            }
            if line.contains(words) {
                return Ok(());
            }
            line.clear();
        }
        bail!("ktm-recorder has ended; as root?")
    }

    fn send(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has a number")?, signal)?;
        Ok(())
    }

    /// Its processor time from start to end, once it has taken its last sample.
    pub(super) fn ended(mut self) -> Result<Duration> {
        self.is_over = true;
        child::processor_time(&self.child)
    }

    /// Asks it to end, and then the same.
    pub(super) fn end(self) -> Result<Duration> {
        self.send(Signal::TERM)?;
        self.ended()
    }
}

/// Ends it the hard way if it is still there.
impl Drop for Driven {
    fn drop(&mut self) {
        if !self.is_over {
            // It cannot have been waited for, so this is nobody else.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null())
}
