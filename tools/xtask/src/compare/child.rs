//! Running programs, and what they cost.
#![allow(
    unsafe_code,
    reason = "only wait4 tells the processor time of one child"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Waits for a child; its processor time, of all its threads and of its own children.
pub(super) fn processor_time(child: &Child) -> Result<Duration> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: all zeros are a value of this type, which is numbers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are writable, and the call keeps neither.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(std::io::Error::last_os_error()).context("waiting for a child");
    }
    let is_good = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    ensure!(is_good, "a program that is measured ended with {status:#x}");
    duration(usage.ru_utime)
        .zip(duration(usage.ru_stime))
        .map(|(user, system)| user + system)
        .context("a negative time")
}

fn duration(time: libc::timeval) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let micros = u64::try_from(time.tv_usec).ok()?;
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// How long a program runs, from the start of its process to the end. What it prints is dropped.
pub(super) fn wall_time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().with_context(|| name(command))?;
    let took = begun.elapsed();
    ensure!(status.success(), "{} ended with {status}", name(command));
    Ok(took)
}

/// What a program prints.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| name(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {said}", name(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The processor time that a living process has used, of all its threads.
pub(super) fn used_so_far(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += first_number(&statistics).context("schedstat has no number")?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The state of a process: `S` while it sleeps; nothing if there is none.
pub(super) fn state(pid: u32) -> Option<char> {
    state_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name may hold spaces and brackets.
fn state_in(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_behind_any_name() {
        assert_eq!(state_in("12 (sadc) S 1 12"), Some('S'));
        assert_eq!(state_in("12 (a) R (b)) Z 1 12"), Some('Z'));
        assert_eq!(state_in("12 sadc"), None);
    }

    #[test]
    fn the_time_on_the_processor_is_the_first_number() {
        assert_eq!(first_number("123456 789 10\n"), Some(123_456));
        assert_eq!(first_number("\n"), None);
    }

    #[test]
    fn a_child_that_works_costs_more_than_one_that_does_not() {
        let cost = |script: &str| {
            let child = Command::new("sh").args(["-c", script]).spawn();
            processor_time(&child.expect("spawned")).expect("it ends well")
        };
        let idle = cost("true");
        assert!(cost("i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done") > idle);
    }

    #[test]
    fn a_child_that_fails_is_an_error() {
        let child = Command::new("false").spawn();
        assert!(processor_time(&child.expect("spawned")).is_err());
    }
}
