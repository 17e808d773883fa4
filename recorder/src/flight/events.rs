//! The events that a recorder writes about itself and about time.
//!
//! Kinds and field names are part of what readers rely on; they are listed in `docs/format.md`.

use std::time::Duration;

use ktm_format::{Event, LastRecord, Stamp};

use crate::time::rfc3339_nanos;

/// The kind of the first record of a run.
pub const START: &str = "start";
/// The kind of the last record of a clean run.
pub const STOP: &str = "stop";

/// The previous run ended without a `stop`: killed, crashed, or the machine went down.
pub(super) fn unclean_end(last: &LastRecord, now: Stamp) -> Event {
    let event = Event::new("unclean_end")
        .with("run", last.run)
        .with("last_sample", rfc3339_nanos(last.stamp.realtime_ns))
        .with("epoch", last.epoch);
    match same_boot(last.stamp, now) {
        Some(true) => event.with("machine", "up since"),
        Some(false) => event.with("machine", "restarted since"),
        None => event,
    }
}

/// Whether both stamps are of one boot of the machine, where they tell: a boot clock that went back
/// is another boot's, and two clocks that agree on the time between are one boot's.
pub fn same_boot(earlier: Stamp, later: Stamp) -> Option<bool> {
    const AGREEMENT_NS: u128 = 5_000_000_000;
    if later.boottime_ns < earlier.boottime_ns {
        return Some(false);
    }
    let by_boot = i128::from(later.boottime_ns - earlier.boottime_ns);
    let by_wall = i128::from(later.realtime_ns) - i128::from(earlier.realtime_ns);
    ((by_boot - by_wall).unsigned_abs() <= AGREEMENT_NS).then_some(true)
}

/// The last record of a run. `reason` is the signal's name, or the caller's own word.
pub fn stop(reason: &str, samples: u64) -> Event {
    Event::new(STOP)
        .with("reason", reason)
        .with("samples", samples)
}

/// Time without samples.
pub fn gap(missing: Duration, reason: &str) -> Event {
    Event::new("gap")
        .with("seconds", seconds(missing))
        .with("reason", reason)
}

/// The sample that follows was taken this much later than planned.
pub fn late(lateness: Duration) -> Event {
    Event::new("late").with("lateness_seconds", seconds(lateness))
}

/// The wall clock moved by this many nanoseconds against the boot clock.
pub fn clock_step(nanos: i64) -> Event {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = seconds(Duration::from_nanos(nanos.unsigned_abs()));
    Event::new("clock_step").with("seconds", format!("{sign}{size}"))
}

/// An operator's note.
pub fn mark(text: &str) -> Event {
    Event::new("mark").with("text", text)
}

/// What this file continues could not be written on any more.
pub(super) fn file_replaced(why: &str, previous_file: &str) -> Event {
    Event::new("file_replaced")
        .with("reason", why)
        .with("previous_file", previous_file)
}

/// Seconds with as many decimals as say something: microseconds at the finest.
fn seconds(duration: Duration) -> String {
    let text = format!("{:.6}", duration.as_secs_f64());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_boot_is_told_from_another_and_a_stepped_clock_from_neither() {
        let at = |wall_s: i64, boot_s: u64| Stamp {
            realtime_ns: wall_s * 1_000_000_000,
            boottime_ns: boot_s * 1_000_000_000,
        };
        assert_eq!(same_boot(at(1000, 500), at(1060, 560)), Some(true));
        assert_eq!(same_boot(at(1000, 500), at(1060, 20)), Some(false));
        assert_eq!(
            same_boot(at(1000, 500), at(9000, 560)),
            None,
            "step, or a longer boot"
        );
    }

    #[test]
    fn seconds_are_signed_and_short() {
        let step = |nanos| clock_step(nanos).fields.remove(0).1;
        assert_eq!(step(-86_400_000_000_000), "-86400");
        assert_eq!(step(1_500_000_000), "1.5");
        assert_eq!(gap(Duration::ZERO, "x").field("seconds"), Some("0"));
        assert_eq!(
            late(Duration::from_micros(60_001)).field("lateness_seconds"),
            Some("0.060001")
        );
    }
}
