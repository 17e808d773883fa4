//! Whether the kernel's out-of-memory killer has been at work.
//!
//! A process that was killed by it and one that somebody killed by hand end with the same signal.
//! The kernel counts its own kills for the whole machine; a count that rose just before a SIGKILL
//! makes the cause likely, and one that did not rules it out.

use std::fs::File;
use std::io::{Read as _, Seek as _};

/// Compares the count with the one of a while before.
#[derive(Debug, Default)]
pub(super) struct OomWatch {
    kills: Option<u64>,
    /// CLOCK_BOOTTIME of that count.
    read_ns: Option<u64>,
    /// Kept open: the file is read again and again.
    vmstat: Option<File>,
    text: Vec<u8>,
}

/// The kernel adds up all its counters anew for every read call, so there should be few of them.
const READ_SIZE: usize = 4096;

/// A kill this long ago is no explanation any more. Reading the count costs more than the rest of a
/// sample's procfs, so it is not read more often either.
const WHILE_NS: u64 = 10_000_000_000;

impl OomWatch {
    /// While all is well: takes the count to compare with, where the last one is old.
    pub(super) fn keep_up(&mut self, boottime_ns: u64) {
        let is_recent = |read: u64| boottime_ns.saturating_sub(read) < WHILE_NS;
        if self.read_ns.is_some_and(is_recent) {
            return;
        }
        self.read_ns = Some(boottime_ns);
        self.has_killed();
    }

    /// True if processes were killed for memory since the count was last taken.
    pub(super) fn has_killed(&mut self) -> bool {
        let kills = self.read().ok().flatten();
        self.compare(kills)
    }

    /// Reads no further than the count.
    fn read(&mut self) -> std::io::Result<Option<u64>> {
        let vmstat = match &mut self.vmstat {
            Some(vmstat) => {
                vmstat.rewind()?;
                vmstat
            }
            none => none.insert(File::open("/proc/vmstat")?),
        };
        self.text.clear();
        loop {
            let kept = self.text.len();
            self.text.resize(kept + READ_SIZE, 0);
            let read = vmstat.read(&mut self.text[kept..])?;
            self.text.truncate(kept + read);
            let kills = count(&self.text);
            if read == 0 || kills.is_some() {
                return Ok(kills);
            }
        }
    }

    fn compare(&mut self, kills: Option<u64>) -> bool {
        let before = std::mem::replace(&mut self.kills, kills);
        matches!((before, kills), (Some(before), Some(now)) if now > before)
    }
}

/// The count, if its line is there to the end.
fn count(vmstat: &[u8]) -> Option<u64> {
    vmstat
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n")?.strip_prefix(b"oom_kill "))
        .find_map(|number| str::from_utf8(number).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_count_that_rose_is_a_kill() {
        let mut watch = OomWatch::default();
        let mut see = |text: &str| watch.compare(count(text.as_bytes()));
        assert!(
            !see("nr_free_pages 1\noom_kill 3\n"),
            "kills before our time"
        );
        assert!(!see("oom_kill 3\n"));
        assert!(see("pgfault 9\noom_kill 5\nx 1\n"));
        assert!(!see("nothing of the kind\n"));
        assert!(!see("oom_kill 9\n"), "nothing to compare with");
    }

    #[test]
    fn the_count_is_taken_again_after_a_while_and_not_before() {
        let mut watch = OomWatch::default();
        let mut taken_at = |now| {
            watch.keep_up(now);
            watch.read_ns
        };
        assert_eq!(taken_at(5), Some(5));
        assert_eq!(taken_at(4 + WHILE_NS), Some(5));
        assert_eq!(taken_at(5 + WHILE_NS), Some(5 + WHILE_NS));
    }

    #[test]
    fn a_line_that_is_not_all_there_yet_does_not_count() {
        assert_eq!(count(b"pgfault 9\noom_kill 12"), None);
        assert_eq!(count(b"pgfault 9\noom_kill 12\n"), Some(12));
        assert_eq!(count(b"pgfault 9\nnot_oom_kill 12\n"), None);
    }

    #[test]
    fn the_kernel_is_read_again_and_again() {
        let mut watch = OomWatch::default();
        for _ in 0..3 {
            let kills = watch.read().expect("vmstat is readable");
            let all = std::fs::read("/proc/vmstat").expect("vmstat is readable");
            assert_eq!(kills.is_some(), count(&all).is_some());
        }
    }
}
