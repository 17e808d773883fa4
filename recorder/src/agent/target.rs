//! What is recorded and said about the target.

use std::time::Duration;

use ktm::{Exit, Target};
use ktm_format::Event;

use super::clock::Reading;
use super::say::rough;
use crate::time::rfc3339_seconds;

/// `target_found`, or `target_restarted` if another process was followed before.
pub(super) fn found_event(target: &Target, last_pid: Option<u32>, now: Reading) -> Event {
    let event = match last_pid {
        Some(old) => Event::new("target_restarted").with("old_pid", old),
        None => Event::new("target_found"),
    };
    let age = i64::try_from(age(target, now).as_nanos()).unwrap_or(i64::MAX);
    let event = event
        .with("pid", target.pid)
        .with("comm", &target.comm)
        .with("exe", exe(target))
        .with(
            "start_time",
            rfc3339_seconds(now.stamp.realtime_ns.saturating_sub(age)),
        );
    let event = match &target.cgroup {
        Some(cgroup) => event
            .with("cgroup", &cgroup.path)
            .with("cgroup_id", cgroup.id),
        None => event,
    };
    let event = event.with("scope", target.scope);
    if target.matches > 1 {
        event.with("matches", target.matches)
    } else {
        event
    }
}

/// `target_lost`. A SIGKILL while the kernel was killing for memory is likely one of those.
pub(super) fn lost_event(target: &Target, exit: &Exit, oom: bool, now: Reading) -> Event {
    let event = Event::new("target_lost")
        .with("pid", target.pid)
        .with("comm", &target.comm)
        .with("lived", rough(age(target, now)))
        .with("exit", exit);
    let killed = matches!(exit, Exit::Signal { signal: 9, .. } | Exit::Unknown(_));
    if oom && killed {
        event.with("oom", "likely")
    } else {
        event
    }
}

/// `banyand (pid 812, /usr/bin/banyand), started 3h05m ago`
pub(super) fn describe(target: &Target, now: Reading) -> String {
    let exe = match exe(target) {
        exe if exe.is_empty() => String::new(),
        exe => format!(", {exe}"),
    };
    let others = match target.matches {
        0 | 1 => String::new(),
        matches => format!("; the oldest of {matches} that match"),
    };
    let age = rough(age(target, now));
    format!(
        "{} (pid {}{exe}), started {age} ago{others}",
        target.comm, target.pid
    )
}

fn exe(target: &Target) -> String {
    target
        .exe
        .as_ref()
        .map(|exe| exe.display().to_string())
        .unwrap_or_default()
}

fn age(target: &Target, now: Reading) -> Duration {
    Duration::from_nanos(
        now.boottime_ns()
            .saturating_sub(target.started_boottime_ns()),
    )
}

/// The pauses between searches while there is no target: short at first, for a process that is
/// restarting, then no longer than the interval.
#[derive(Debug)]
pub(super) struct Pause {
    next: Option<u64>,
    pause_ns: u64,
    longest_ns: u64,
}

const FIRST_NS: u64 = 250_000_000;

impl Pause {
    pub(super) fn new(interval: Duration) -> Pause {
        let longest_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Pause {
            next: None,
            pause_ns: FIRST_NS,
            longest_ns,
        }
    }

    /// When to search next, on the boot clock; at the end of time if there is nothing to look for.
    pub(super) fn at_ns(&self) -> u64 {
        self.next.unwrap_or(u64::MAX)
    }

    pub(super) fn begin(&mut self, now_ns: u64) {
        self.pause_ns = FIRST_NS;
        self.again(now_ns);
    }

    /// Once the pauses are as long as the interval, the samples themselves are the searches.
    pub(super) fn again(&mut self, now_ns: u64) {
        self.next = (self.pause_ns < self.longest_ns).then(|| now_ns.saturating_add(self.pause_ns));
        self.pause_ns = self.pause_ns.saturating_mul(2);
    }

    pub(super) fn end(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_begin_close_together_and_end_in_step_with_the_samples() {
        let mut pause = Pause::new(Duration::from_secs(2));
        assert_eq!(pause.at_ns(), u64::MAX);
        pause.begin(0);
        let mut times = Vec::new();
        while pause.at_ns() < u64::MAX {
            times.push(pause.at_ns() / 1_000_000);
            pause.again(pause.at_ns());
        }
        assert_eq!(times, [250, 750, 1750]);
        pause.begin(0);
        pause.end();
        assert_eq!(pause.at_ns(), u64::MAX);
    }
}
