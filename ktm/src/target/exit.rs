//! How the target ended, where the kernel tells.

use std::fmt;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::process;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It ended by itself with this status.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// True if the kernel meant to write a core dump.
        core: bool,
    },
    /// The kernel does not tell, and why.
    Unknown(String),
}

impl Exit {
    /// Reads a status as `wait` gives it.
    pub fn from_wait_status(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Code((status >> 8) & 0xff),
            signal => Exit::Signal {
                signal,
                core: status & 0x80 != 0,
            },
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited {code}"),
            Exit::Signal { signal, core } => {
                match signal_name(*signal) {
                    Some(name) => write!(f, "killed by {name}")?,
                    None => write!(f, "killed by signal {signal}")?,
                }
                f.write_str(if *core { " (core dumped)" } else { "" })
            }
            Exit::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// The names of signals 1 to 31 on x86-64 and arm64.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

fn signal_name(signal: i32) -> Option<&'static str> {
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    SIGNALS.get(index).copied()
}

/// How a process that has ended ended.
///
/// A zombie shows its status in `/proc`; one that was waited for tells it through its pidfd on
/// Linux 6.15 and newer. It can be waited for between the two questions, so the second is asked
/// last.
pub(super) fn of(pid: u32, start_time_ticks: u64, pidfd: Option<BorrowedFd<'_>>) -> Exit {
    match process::read_stat(pid, &mut Vec::new()) {
        Ok(stat) if stat.is_zombie() && stat.start_time_ticks == start_time_ticks => {
            return Exit::from_wait_status(stat.exit_code);
        }
        _ => {}
    }
    let Some(pidfd) = pidfd else {
        return Exit::Unknown("it was waited for, and there is no pidfd".to_owned());
    };
    match information(pidfd, libc::PIDFD_INFO_EXIT) {
        Ok(info) if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 => {
            Exit::from_wait_status(info.exit_code)
        }
        Ok(_) => Exit::Unknown("the kernel has no exit status of it".to_owned()),
        // Before 6.15 a process that was waited for is forgotten: ESRCH, or ENOTTY before 6.13.
        Err(error) => Exit::Unknown(format!("it was waited for, and its pidfd says: {error}")),
    }
}

/// The identifier of a live process's cgroup in the v2 hierarchy, on Linux 6.13 and newer.
pub(super) fn cgroup_id(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let info = information(pidfd, libc::PIDFD_INFO_CGROUPID).ok()?;
    (info.mask & u64::from(libc::PIDFD_INFO_CGROUPID) != 0).then_some(info.cgroupid)
}

fn information(pidfd: BorrowedFd<'_>, mask: u32) -> std::io::Result<libc::pidfd_info> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(mask);
    // SAFETY: the number of this ioctl carries the size of `info`, which the kernel keeps to.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_as_a_shell_user_would_say_them() {
        let text = |status| Exit::from_wait_status(status).to_string();
        assert_eq!(text(0), "exited 0");
        assert_eq!(text(3 << 8), "exited 3");
        assert_eq!(text(255 << 8), "exited 255");
        assert_eq!(text(9), "killed by SIGKILL");
        assert_eq!(text(15), "killed by SIGTERM");
        assert_eq!(text(11 | 0x80), "killed by SIGSEGV (core dumped)");
        assert_eq!(text(31), "killed by SIGSYS");
        assert_eq!(text(34), "killed by signal 34");
        assert_eq!(Exit::Unknown("why".into()).to_string(), "unknown: why");
    }

    #[test]
    fn the_structure_is_the_kernels_first_version() {
        assert_eq!(
            size_of::<libc::pidfd_info>(),
            libc::PIDFD_INFO_SIZE_VER0 as usize
        );
    }
}
