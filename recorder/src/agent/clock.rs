//! Three clocks read together, and what their differences say.
//!
//! The wall clock against the boot clock shows steps; the boot clock against the monotonic one,
//! which stands still in suspend, shows suspension.

use std::time::Duration;

use ktm_format::{Clock as _, Stamp, SystemClock};
use rustix::time::{ClockId, clock_gettime};

/// The clocks at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) stamp: Stamp,
    pub(super) monotonic_ns: u64,
}

/// A reading is good if it took no longer than this: else a pause between two clocks would look
/// like a step of one.
const TIGHT: u64 = 1_000_000;

impl Reading {
    /// Reads the clocks, again if this thread was held up in between.
    pub(super) fn now() -> Reading {
        let mut reading = Reading::default();
        for _ in 0..8 {
            let monotonic_ns = monotonic();
            reading = Reading {
                stamp: SystemClock.now(),
                monotonic_ns,
            };
            if monotonic().saturating_sub(monotonic_ns) <= TIGHT {
                break;
            }
        }
        #[cfg(test)]
        let reading = shift::apply(reading);
        reading
    }

    pub(super) fn boottime_ns(&self) -> u64 {
        self.stamp.boottime_ns
    }
}

/// What a test has done to the clocks of its own thread.
#[cfg(test)]
pub(super) mod shift {
    use std::cell::Cell;

    use super::Reading;

    const SECOND: i64 = 1_000_000_000;

    thread_local! {
        static SHIFT: Cell<[i64; 3]> = const { Cell::new([0; 3]) };
    }

    /// Moves wall clock, boot clock and monotonic clock on by seconds.
    pub(in crate::agent) fn by(wall: i64, boot: i64, monotonic: i64) {
        let [w, b, m] = SHIFT.get();
        SHIFT.set([w + wall * SECOND, b + boot * SECOND, m + monotonic * SECOND]);
    }

    pub(super) fn apply(mut reading: Reading) -> Reading {
        let [wall, boot, monotonic] = SHIFT.get();
        reading.stamp.realtime_ns += wall;
        reading.stamp.boottime_ns = reading.stamp.boottime_ns.saturating_add_signed(boot);
        reading.monotonic_ns = reading.monotonic_ns.saturating_add_signed(monotonic);
        reading
    }
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Compares each reading with the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockWatch {
    last: Option<Reading>,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// The wall clock moved by this many nanoseconds against the boot clock.
    pub(super) step_ns: Option<i64>,
    /// The machine slept for this long.
    pub(super) suspended: Option<Duration>,
    /// Time since the last reading, sleep included.
    pub(super) elapsed: Duration,
}

/// Differences below this are scheduling and clock discipline, not events.
const STEP_MIN_NS: u64 = 100_000_000;

impl ClockWatch {
    pub(super) fn observe(&mut self, now: Reading) -> Observed {
        let Some(last) = self.last.replace(now) else {
            return Observed::default();
        };
        let elapsed = now.boottime_ns().saturating_sub(last.boottime_ns());
        let awake = now.monotonic_ns.saturating_sub(last.monotonic_ns);
        let wall = i128::from(now.stamp.realtime_ns) - i128::from(last.stamp.realtime_ns);
        let step = i64::try_from(wall - i128::from(elapsed)).unwrap_or(i64::MAX);
        // Clock discipline slews by up to 500 ppm, so over a long interval by more than the limit.
        let tolerated = STEP_MIN_NS.max(elapsed / 1000);
        let asleep = elapsed.saturating_sub(awake);
        Observed {
            step_ns: (step.unsigned_abs() > tolerated).then_some(step),
            suspended: (asleep > STEP_MIN_NS).then(|| Duration::from_nanos(asleep)),
            elapsed: Duration::from_nanos(elapsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn at(wall_s: i64, boot_ns: u64, monotonic_ns: u64) -> Reading {
        let stamp = Stamp {
            realtime_ns: wall_s * 1_000_000_000,
            boottime_ns: boot_ns,
        };
        Reading {
            stamp,
            monotonic_ns,
        }
    }

    fn after(first: Reading, second: Reading) -> Observed {
        let mut watch = ClockWatch::default();
        assert_eq!(
            watch.observe(first),
            Observed::default(),
            "nothing to compare with"
        );
        watch.observe(second)
    }

    #[test]
    fn steps_of_the_wall_clock_are_seen_with_their_sign() {
        for step in [-86_400, -60, -1, 1, 86_400] {
            let observed = after(at(1000, 0, 0), at(1010 + step, 10 * S, 10 * S));
            assert_eq!(observed.step_ns, Some(step * 1_000_000_000), "{step} s");
            assert_eq!(observed.suspended, None);
        }
    }

    #[test]
    fn slewing_is_not_a_step_however_long_the_interval() {
        let slewed = S * 3600 + S * 3600 / 2000;
        assert_eq!(after(at(0, 0, 0), at(3600, slewed, slewed)).step_ns, None);
        assert_eq!(
            after(at(0, 0, 0), at(1, S + S / 20, S + S / 20)).step_ns,
            None
        );
    }

    #[test]
    fn sleep_is_told_from_a_step_and_from_a_late_sample() {
        let slept = after(at(0, 0, 0), at(70, 70 * S, 10 * S));
        assert_eq!(slept.suspended, Some(Duration::from_secs(60)));
        assert_eq!(slept.step_ns, None);
        let late = after(at(0, 0, 0), at(70, 70 * S, 70 * S));
        assert_eq!((late.suspended, late.step_ns), (None, None));
        assert_eq!(late.elapsed, Duration::from_secs(70));
    }

    #[test]
    fn the_machines_clocks_go_together() {
        let mut watch = ClockWatch::default();
        watch.observe(Reading::now());
        let observed = watch.observe(Reading::now());
        assert_eq!((observed.step_ns, observed.suspended), (None, None));
    }
}
