//! Waiting: for a deadline, for a request, or for the end of the target, whichever comes first.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// What other threads ask of the sampling thread.
#[derive(Debug)]
pub(crate) struct Requests {
    bell: OwnedFd,
    pending: Mutex<Pending>,
}

/// Requests not yet seen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    /// End the recording; the signal's name.
    pub(super) stop: Option<&'static str>,
    /// Take a sample now.
    pub(super) sample: bool,
}

impl Requests {
    pub(super) fn new() -> std::io::Result<Requests> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Requests {
            bell,
            pending: Mutex::default(),
        })
    }

    /// Asks for a clean end. True for the first who asks.
    pub(crate) fn stop(&self, reason: &'static str) -> bool {
        let mut pending = self.pending();
        let first = pending.stop.is_none();
        pending.stop.get_or_insert(reason);
        drop(pending);
        self.ring();
        first
    }

    /// Asks for a sample at once.
    pub(crate) fn sample(&self) {
        self.pending().sample = true;
        self.ring();
    }

    /// What is asked for. A wish to stop stays.
    pub(super) fn take(&self) -> Pending {
        // Silence first: what is asked for after this rings again.
        let _ = read(&self.bell, &mut [0_u8; 8]);
        let mut pending = self.pending();
        Pending {
            stop: pending.stop,
            sample: std::mem::take(&mut pending.sample),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Any number but zero rings, so the byte order is no matter; a counter about to overflow
        // refuses more, and rings already.
        let _ = write(&self.bell, &[1, 0, 0, 0, 0, 0, 0, 0]);
    }
}

/// The sampling thread's alarm clock.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    target: Option<OwnedFd>,
}

impl Alarm {
    /// The timer runs on the boot clock: after a suspend it rings at once.
    pub(super) fn new() -> std::io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Alarm {
            timer: timerfd_create(TimerfdClockId::Boottime, flags)?,
            target: None,
        })
    }

    /// Wakes when this process ends, too. A kernel or a sandbox without pidfds notices at the next
    /// deadline.
    pub(super) fn watch(&mut self, pid: Option<u32>) {
        self.target = pid
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    }

    /// Sleeps until the deadline on the boot clock, a request, or the target's end, which is true
    /// once.
    pub(super) fn sleep(&mut self, deadline_ns: u64, requests: &Requests) -> std::io::Result<bool> {
        let nothing = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would disarm the timer.
        let value = timespec(deadline_ns.max(1));
        let spec = Itimerspec {
            it_interval: nothing,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        let mut waiting: Vec<BorrowedFd<'_>> = vec![self.timer.as_fd(), requests.bell.as_fd()];
        waiting.extend(self.target.as_ref().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = waiting
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = fds
            .get(2)
            .is_some_and(|target| !target.revents().is_empty());
        drop(fds);
        if ended {
            // It stays readable for ever.
            self.target = None;
        }
        Ok(ended)
    }
}

fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).expect("less than a second"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::clock::Reading;
    use super::*;

    const FAR: Duration = Duration::from_secs(60);

    fn in_future(duration: Duration) -> u64 {
        Reading::now().boottime_ns() + u64::try_from(duration.as_nanos()).expect("short")
    }

    #[test]
    fn a_deadline_wakes_and_one_that_has_passed_does_not_wait() {
        let (mut alarm, requests) = (Alarm::new().expect("made"), Requests::new().expect("made"));
        let begun = Instant::now();
        alarm
            .sleep(in_future(Duration::from_millis(30)), &requests)
            .expect("slept");
        assert!(begun.elapsed() >= Duration::from_millis(30));
        alarm.sleep(0, &requests).expect("slept");
        assert!(begun.elapsed() < FAR);
    }

    #[test]
    fn a_request_wakes_and_is_seen_once() {
        let (mut alarm, requests) = (Alarm::new().expect("made"), Requests::new().expect("made"));
        requests.sample();
        let begun = Instant::now();
        alarm.sleep(in_future(FAR), &requests).expect("slept");
        assert!(begun.elapsed() < FAR);
        assert_eq!(
            requests.take(),
            Pending {
                stop: None,
                sample: true
            }
        );
        assert_eq!(requests.take(), Pending::default());
        assert!(requests.stop("SIGTERM"));
        assert!(!requests.stop("SIGINT"), "the first reason stays");
        assert_eq!(requests.take().stop, Some("SIGTERM"));
    }

    #[test]
    fn the_end_of_the_target_wakes() {
        let mut child = std::process::Command::new("sleep")
            .arg("0.05")
            .spawn()
            .expect("spawned");
        let (mut alarm, requests) = (Alarm::new().expect("made"), Requests::new().expect("made"));
        alarm.watch(Some(child.id()));
        let begun = Instant::now();
        assert!(alarm.sleep(in_future(FAR), &requests).expect("slept"));
        assert!(begun.elapsed() < FAR);
        assert!(!alarm.sleep(0, &requests).expect("slept"), "said once");
        child.wait().expect("reaped");
    }
}
