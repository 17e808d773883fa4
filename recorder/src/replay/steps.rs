//! Steps: how much a counter grew between two samples, and where that may not be asked.
//!
//! A step never crosses an epoch, a run, a recorded gap or clock step, or more time than three
//! sampling intervals. Its length is the difference of boot times, which no clock step moves.

use std::collections::HashMap;
use std::time::Duration;

use ktm_format::{Snapshot, Stamp, Value};

use super::columns::Columns;
use super::frames::{Cell, Frame};
use crate::time::parse_duration;

/// Events after which a difference to what was before means nothing.
const BREAKS: [&str; 2] = ["gap", "clock_step"];

/// The clocks may drift apart this much between two samples before it counts as a step.
const CLOCK_TOLERANCE_NS: i128 = 1_000_000_000;

/// Without a sample for this many intervals there was a gap, recorded or not.
const INTERVALS_TO_A_GAP: f64 = 3.0;

/// Where a sample stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    seq: u64,
    stamp: Stamp,
    epoch: u32,
    run: u32,
}

impl Place {
    pub(crate) fn of(frame: &Frame) -> Place {
        Place {
            seq: frame.seq,
            stamp: frame.stamp,
            epoch: frame.epoch,
            run: frame.run,
        }
    }
}

/// Knows between which samples a difference means something.
#[derive(Debug)]
pub(crate) struct Continuity {
    /// Sequence numbers of gaps and clock steps, ascending.
    breaks: Vec<u64>,
    /// The sampling interval of each run, where its start is still in the recording.
    intervals: HashMap<u32, Duration>,
}

impl Continuity {
    pub(crate) fn of(snapshot: &Snapshot) -> Continuity {
        let events = snapshot.events();
        let breaks = events
            .iter()
            .filter(|e| BREAKS.contains(&e.event.kind.as_str()));
        let starts = events.iter().filter(|e| e.event.kind == "start");
        let interval = |text: &str| parse_duration(text).ok().filter(|d| !d.is_zero());
        Continuity {
            breaks: breaks.map(|event| event.seq).collect(),
            intervals: starts
                .filter_map(|e| Some((e.run, interval(e.event.field("interval")?)?)))
                .collect(),
        }
    }

    /// Seconds between two samples, `None` if a difference between them means nothing.
    pub(crate) fn seconds(&self, earlier: &Place, later: &Place) -> Option<f64> {
        if (earlier.epoch, earlier.run) != (later.epoch, later.run) {
            return None;
        }
        let boot = later
            .stamp
            .boottime_ns
            .checked_sub(earlier.stamp.boottime_ns)?;
        let real = i128::from(later.stamp.realtime_ns) - i128::from(earlier.stamp.realtime_ns);
        if boot == 0 || (real - i128::from(boot)).abs() > CLOCK_TOLERANCE_NS {
            return None;
        }
        let next_break = self.breaks.partition_point(|seq| *seq <= earlier.seq);
        if self
            .breaks
            .get(next_break)
            .is_some_and(|seq| *seq < later.seq)
        {
            return None;
        }
        let seconds = boot as f64 / 1e9;
        let too_long = |interval: &Duration| seconds > INTERVALS_TO_A_GAP * interval.as_secs_f64();
        (!self.intervals.get(&later.run).is_some_and(too_long)).then_some(seconds)
    }
}

/// What a counter did over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Increase {
    pub(crate) amount: f64,
    pub(crate) seconds: f64,
}

impl Increase {
    pub(crate) fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.amount / self.seconds)
    }

    pub(crate) fn add(&mut self, other: Increase) {
        self.amount += other.amount;
        self.seconds += other.seconds;
    }
}

/// Follows every counter from frame to frame.
#[derive(Debug)]
pub(crate) struct Steps {
    continuity: Continuity,
    cumulative: Vec<usize>,
    last: Vec<Option<(Place, Cell)>>,
}

impl Steps {
    pub(crate) fn new(continuity: Continuity, columns: &Columns) -> Steps {
        let list = columns.list().iter().enumerate();
        let cumulative: Vec<usize> = list
            .filter(|(_, column)| column.kind.is_cumulative())
            .map(|(i, _)| i)
            .collect();
        Steps {
            continuity,
            cumulative,
            last: vec![None; columns.len()],
        }
    }

    /// Takes the next frame and tells of every counter that can be compared with its last sample.
    pub(crate) fn advance(&mut self, frame: &Frame, mut tell: impl FnMut(usize, Increase)) {
        let now = Place::of(frame);
        // Nearly all columns were last sampled together: one answer serves them.
        let mut asked: Option<(u64, Option<f64>)> = None;
        for column in &self.cumulative {
            let Some(Some(cell)) = frame.cells.get(*column) else {
                continue;
            };
            let Some(last) = self.last.get_mut(*column) else {
                continue;
            };
            if let Some((before, old)) = last {
                let seconds = match asked {
                    Some((seq, seconds)) if seq == before.seq => seconds,
                    _ => self.continuity.seconds(before, &now),
                };
                asked = Some((before.seq, seconds));
                if let (Some(seconds), Some(amount)) = (seconds, increase(old, cell)) {
                    tell(*column, Increase { amount, seconds });
                }
            }
            *last = Some((now, *cell));
        }
    }
}

/// How much larger `new` is; `None` where a counter went backwards or is not a number.
fn increase(old: &Cell, new: &Cell) -> Option<f64> {
    if old.exponent == new.exponent {
        let exact = match (old.value, new.value) {
            (Value::U64(old), Value::U64(new)) => Some(new.checked_sub(old)?),
            (Value::I64(old), Value::I64(new)) if new < old => return None,
            (Value::I64(old), Value::I64(new)) => Some(new.abs_diff(old)),
            _ => None,
        };
        if let Some(exact) = exact {
            return Some(Value::U64(exact).as_f64(new.exponent));
        }
    }
    let difference = new.as_f64() - old.as_f64();
    (difference.is_finite() && difference >= 0.0).then_some(difference)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ktm_format::{Event, Kind, Schema, Series};

    use super::*;
    use crate::replay::fixture::{Fixture, SECOND};
    use crate::replay::frames::Frames;
    use crate::replay::query::Range;

    fn counter() -> Schema {
        let series = vec![
            Series::counter("a_total", ""),
            Series::counter("b_total", ""),
        ];
        Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
    }

    /// The rate of the first counter at every frame.
    fn rates(fixture: &Fixture) -> Vec<Option<f64>> {
        let snapshot = fixture.snapshot();
        let columns = Arc::new(Columns::of(snapshot.schemas()));
        let mut steps = Steps::new(Continuity::of(&snapshot), &columns);
        let mut frames = Frames::of_columns(&snapshot, &Range::default(), columns);
        let mut frame = Frame::default();
        let mut rates = Vec::new();
        while frames.next(&mut frame).expect("readable") {
            let mut rate = None;
            steps.advance(&frame, |column, step| {
                if column == 0 {
                    rate = step.rate();
                }
            });
            rates.push(rate);
        }
        rates
    }

    #[test]
    fn the_first_sample_of_an_epoch_has_no_rate() {
        let mut fixture = Fixture::new();
        fixture.at(0).row(&counter(), &[Some(100), None]);
        fixture.at(10).row(&counter(), &[Some(150), None]);
        fixture.epoch();
        fixture.at(20).row(&counter(), &[Some(200), None]);
        fixture.at(30).row(&counter(), &[Some(201), None]);
        assert_eq!(rates(&fixture), [None, Some(5.0), None, Some(0.1)]);
    }

    #[test]
    fn a_rate_never_crosses_a_run() {
        let mut fixture = Fixture::new();
        fixture.at(0).row(&counter(), &[Some(100), None]);
        fixture.restart();
        fixture.at(10).row(&counter(), &[Some(150), None]);
        assert_eq!(rates(&fixture), [None, None]);
    }

    #[test]
    fn a_rate_never_crosses_a_gap_or_a_clock_step() {
        for kind in ["gap", "clock_step"] {
            let mut fixture = Fixture::new();
            fixture.at(0).row(&counter(), &[Some(100), None]);
            fixture
                .at(10)
                .event(Event::new(kind))
                .row(&counter(), &[Some(150), None]);
            fixture.at(20).row(&counter(), &[Some(160), None]);
            assert_eq!(rates(&fixture), [None, None, Some(1.0)], "{kind}");
        }
    }

    #[test]
    fn an_unrecorded_clock_step_is_seen_in_the_stamps() {
        let mut fixture = Fixture::new();
        fixture.at(0).row(&counter(), &[Some(100), None]);
        fixture.at(10).stamp.realtime_ns -= 3600 * SECOND;
        fixture.row(&counter(), &[Some(150), None]);
        fixture.stamp.realtime_ns += 10 * SECOND;
        fixture.stamp.boottime_ns += 10_000_000_000;
        fixture.row(&counter(), &[Some(170), None]);
        assert_eq!(rates(&fixture), [None, None, Some(2.0)]);
    }

    #[test]
    fn three_intervals_without_a_sample_are_a_gap_where_the_interval_is_known() {
        let mut fixture = Fixture::new();
        fixture
            .at(0)
            .event(Event::new("start").with("interval", "10s"));
        fixture.row(&counter(), &[Some(0), None]);
        fixture.at(30).row(&counter(), &[Some(30), None]);
        fixture.at(61).row(&counter(), &[Some(60), None]);
        assert_eq!(rates(&fixture), [None, Some(1.0), None]);
    }

    #[test]
    fn an_absent_value_is_bridged_and_a_counter_that_shrinks_has_no_rate() {
        let mut fixture = Fixture::new();
        fixture.at(0).row(&counter(), &[Some(10), None]);
        fixture.at(10).row(&counter(), &[None, Some(1)]);
        fixture.at(20).row(&counter(), &[Some(30), Some(1)]);
        fixture.at(30).row(&counter(), &[Some(5), Some(1)]);
        fixture.at(40).row(&counter(), &[Some(15), Some(1)]);
        assert_eq!(rates(&fixture), [None, None, Some(1.0), None, Some(1.0)]);
    }

    #[test]
    fn increases_are_exact_where_doubles_are_not() {
        let cell = |value, exponent| Cell { value, exponent };
        let large = u64::MAX - 10;
        let step = increase(&cell(Value::U64(large), 0), &cell(Value::U64(large + 3), 0));
        assert_eq!(step, Some(3.0));
        let step = increase(
            &cell(Value::I64(i64::MIN), 0),
            &cell(Value::I64(i64::MIN + 7), 0),
        );
        assert_eq!(step, Some(7.0));
        let step = increase(
            &cell(Value::U64(1), -9),
            &cell(Value::U64(1_000_000_001), -9),
        );
        assert_eq!(step, Some(1.0));
        let nan = cell(Value::F64(f64::NAN), 0);
        assert_eq!(increase(&nan, &cell(Value::F64(1.0), 0)), None);
        assert_eq!(increase(&cell(Value::F64(1.0), 0), &nan), None);
    }

    #[test]
    fn gauges_have_no_steps() {
        let series = vec![Series::gauge("g", "")];
        let gauge = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        assert!(!Kind::Gauge.is_cumulative());
        let mut fixture = Fixture::new();
        fixture.at(0).row(&gauge, &[Some(1)]);
        fixture.at(10).row(&gauge, &[Some(2)]);
        assert_eq!(rates(&fixture), [None, None]);
    }
}
