//! The one process that is watched.

mod cgroup;
mod discovery;
mod exit;
mod matcher;
mod process;

use std::fmt;
use std::path::PathBuf;

pub use cgroup::CgroupId;
pub use discovery::{Discovery, Observation};
pub use exit::Exit;
pub use matcher::Matcher;

/// A process that was chosen to be watched. Its identity is the pid together with the start time,
/// since pids are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Its pid, in the namespace that `/proc` shows.
    pub pid: u32,
    /// Its name when it was found: `comm` of its first thread.
    pub comm: String,
    /// Its executable, where that may be read.
    pub exe: Option<PathBuf>,
    /// When it started, in clock ticks since boot.
    pub start_time_ticks: u64,
    /// Its cgroup in the v2 hierarchy, `None` where that says nothing about the process.
    pub cgroup: Option<CgroupId>,
    /// By what its events are told from others'.
    pub scope: Scope,
    /// How many processes matched; this one had been running longest.
    pub matches: usize,
}

impl Target {
    /// When it started, in nanoseconds on the boot clock, to the resolution of a clock tick.
    pub fn started_boottime_ns(&self) -> u64 {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        self.start_time_ticks
            .saturating_mul(1_000_000_000 / per_second)
    }
}

/// By what events are attributed to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// By the process: events in the context of any of its threads.
    #[default]
    Process,
}

impl Scope {
    /// The name in events and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Process => "process",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
