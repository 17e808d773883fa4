//! When samples are due.
//!
//! Deadlines lie at `start + n * interval` on the boot clock, so that a late sample delays no other
//! and the wall clock's steps move none. A deadline that passed unused is not made up for: samples
//! are never bunched.

use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The plan of a run. Pure: the time is what the caller says.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: u64,
    interval: u64,
    next: u64,
}

/// What there is to say about a sample that is taken now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// How long after its deadline.
    pub(super) lateness: Duration,
    /// Deadlines that passed before that one, without a sample.
    pub(super) missed: u64,
    /// Late enough to be recorded: over a tenth of the interval, and over 50 ms.
    pub(super) is_late: bool,
}

impl Schedule {
    /// The first sample is due at once.
    pub(super) fn new(now_boottime_ns: u64, interval: Duration) -> Schedule {
        let interval = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        Schedule {
            start: now_boottime_ns,
            interval,
            next: 0,
        }
    }

    /// When the next sample is due, on the boot clock.
    pub(super) fn deadline(&self) -> u64 {
        self.start
            .saturating_add(self.next.saturating_mul(self.interval))
    }

    /// Uses the deadline that is due, if one is, and passes over those before it.
    pub(super) fn take(&mut self, now_boottime_ns: u64) -> Option<Due> {
        let behind = now_boottime_ns.checked_sub(self.deadline())?;
        let missed = behind / self.interval;
        let lateness = behind % self.interval;
        self.next += missed + 1;
        let tolerance = (self.interval / 10).max(NANOS_PER_SECOND / 20);
        Some(Due {
            lateness: Duration::from_nanos(lateness),
            missed,
            is_late: lateness > tolerance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn schedule() -> Schedule {
        Schedule::new(5_000 * MS, Duration::from_secs(1))
    }

    fn due(lateness_ms: u64, missed: u64, is_late: bool) -> Option<Due> {
        Some(Due {
            lateness: Duration::from_millis(lateness_ms),
            missed,
            is_late,
        })
    }

    #[test]
    fn the_first_sample_is_due_at_once_and_the_others_in_step_with_it() {
        let mut schedule = schedule();
        assert_eq!(schedule.take(5_000 * MS), due(0, 0, false));
        assert_eq!(schedule.take(5_999 * MS), None, "not yet");
        assert_eq!(schedule.take(6_003 * MS), due(3, 0, false));
        assert_eq!(schedule.deadline(), 7_000 * MS, "lateness does not add up");
    }

    #[test]
    fn a_late_sample_is_late_and_the_next_one_is_not_moved() {
        let mut schedule = schedule();
        schedule.take(5_000 * MS);
        assert_eq!(
            schedule.take(6_100 * MS),
            due(100, 0, false),
            "a tenth is tolerated"
        );
        assert_eq!(schedule.take(7_101 * MS), due(101, 0, true));
        assert_eq!(schedule.deadline(), 8_000 * MS);
    }

    #[test]
    fn missed_deadlines_are_counted_and_never_made_up_for() {
        let mut schedule = schedule();
        schedule.take(5_000 * MS);
        assert_eq!(schedule.take(9_400 * MS), due(400, 3, true));
        assert_eq!(schedule.take(9_400 * MS), None, "one sample, not four");
        assert_eq!(schedule.deadline(), 10_000 * MS);
    }

    #[test]
    fn a_short_interval_tolerates_fifty_milliseconds() {
        let mut schedule = Schedule::new(0, Duration::from_millis(200));
        schedule.take(0);
        assert_eq!(schedule.take(250 * MS), due(50, 0, false));
        assert_eq!(schedule.take(451 * MS), due(51, 0, true));
    }

    #[test]
    fn the_end_of_the_clock_does_not_overflow() {
        let mut schedule = Schedule::new(u64::MAX - 5, Duration::MAX);
        assert!(schedule.take(u64::MAX - 5).is_some());
        assert_eq!(schedule.deadline(), u64::MAX);
    }
}
