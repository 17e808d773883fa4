//! Finding the target, noticing its end, following the next one.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::process::{self, Stat};
use super::{Exit, Matcher, Scope, Target, cgroup, exit};

/// What has become of the target since it was last asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Nothing matches yet, or nothing any more.
    Waiting,
    /// The target lives.
    Same,
    /// A target was found.
    Found(Target),
    /// The target has ended and nothing else matches.
    Lost {
        /// What it was.
        target: Target,
        /// How it ended.
        exit: Exit,
    },
    /// The target has ended and another process matches already.
    Replaced {
        /// What it was.
        old: Target,
        /// How it ended.
        exit: Exit,
        /// What is followed now.
        new: Target,
    },
}

/// Follows one process at a time.
#[derive(Debug)]
pub struct Discovery {
    matcher: Matcher,
    followed: Option<Followed>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Followed {
    target: Target,
    /// Readable once the process has ended. `None` where the kernel refuses pidfds.
    pidfd: Option<OwnedFd>,
}

impl Discovery {
    /// Follows nothing yet.
    pub fn new(matcher: Matcher) -> Discovery {
        Discovery {
            matcher,
            followed: None,
            buffer: Vec::new(),
        }
    }

    /// What the target is known by.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// The process that is followed. It may have ended since the last [`Discovery::poll`].
    pub fn target(&self) -> Option<&Target> {
        self.followed.as_ref().map(|followed| &followed.target)
    }

    /// Looks at the target; searches `/proc` only while there is none.
    pub fn poll(&mut self) -> Observation {
        let Some(followed) = self.followed.take() else {
            return self
                .search()
                .map_or(Observation::Waiting, Observation::Found);
        };
        if !followed.has_ended(&mut self.buffer) {
            self.followed = Some(followed);
            return Observation::Same;
        }
        let old = followed.target;
        let pidfd = followed.pidfd.as_ref().map(|pidfd| pidfd.as_fd());
        let exit = exit::of(old.pid, old.start_time_ticks, pidfd);
        match self.search() {
            Some(new) => Observation::Replaced { old, exit, new },
            None => Observation::Lost { target: old, exit },
        }
    }

    /// The matching process that has been running longest, so that the choice among several does
    /// not depend on the order of `/proc`.
    fn search(&mut self) -> Option<Target> {
        let mut candidates = self.candidates();
        candidates.sort_unstable_by_key(|(pid, stat)| (stat.start_time_ticks, *pid));
        let matches = candidates.len();
        for (pid, stat) in candidates {
            // One that has ended meanwhile is passed over.
            if let Some(followed) = follow(pid, stat, matches, &mut self.buffer) {
                let target = followed.target.clone();
                self.followed = Some(followed);
                return Some(target);
            }
        }
        None
    }

    fn candidates(&mut self) -> Vec<(u32, Stat)> {
        let ourselves = std::process::id();
        let buffer = &mut self.buffer;
        let matcher = &self.matcher;
        let mut check = |pid: u32| {
            let stat = process::read_stat(pid, buffer).ok()?;
            let is_candidate = pid != ourselves
                && !stat.is_dead()
                && !stat.is_kernel_thread()
                && matcher.matches(pid, &stat.comm, || process::read_exe(pid));
            is_candidate.then_some((pid, stat))
        };
        match matcher {
            Matcher::Pid(pid) => check(*pid).into_iter().collect(),
            _ => process::pids().filter_map(check).collect(),
        }
    }
}

impl Followed {
    fn has_ended(&self, buffer: &mut Vec<u8>) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
                let at_once = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
            }
            None => !is_alive(&self.target, buffer),
        }
    }
}

fn is_alive(target: &Target, buffer: &mut Vec<u8>) -> bool {
    process::read_stat(target.pid, buffer)
        .is_ok_and(|stat| !stat.is_dead() && stat.start_time_ticks == target.start_time_ticks)
}

/// Takes hold of a process. `None` if it is not the one that was looked at any more.
fn follow(pid: u32, stat: Stat, matches: usize, buffer: &mut Vec<u8>) -> Option<Followed> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok();
    let asked = pidfd
        .as_ref()
        .and_then(|pidfd| exit::cgroup_id(pidfd.as_fd()));
    let target = Target {
        pid,
        comm: stat.comm,
        exe: process::read_exe(pid),
        start_time_ticks: stat.start_time_ticks,
        cgroup: cgroup::of(pid, asked),
        scope: Scope::Process,
        matches,
    };
    // The pid may have gone to another process before it was held.
    is_alive(&target, buffer).then_some(Followed { target, pidfd })
}
