//! The lines of the table: bins, merged until there are few enough to read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::replay::bins::{Bin, Bins, slot};
use crate::replay::columns::Columns;
use crate::replay::engine::{Outcome, Replay, ReplayError};
use crate::replay::frames::Frames;

/// Lines that a person reads.
const LINES: usize = 40;
/// Bins held while the length of the range is not yet known.
const FINE: usize = 240;
/// Bins held where an interval was asked for.
const FINE_ASKED: usize = 480;

/// Each divides the next, so that bins can be merged on.
const FINE_STEPS: [u64; 13] = [
    1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400,
];
/// Intervals that a person finds natural.
const NICE_STEPS: [u64; 24] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400,
    21_600, 43_200, 86_400, 172_800, 345_600, 604_800,
];

/// The lines of a table.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) bins: VecDeque<Bin>,
    pub(super) outcome: Outcome,
    /// Time to a line, `None` where every sample has its own.
    pub(super) step: Option<Duration>,
    /// Early epochs that are not shown.
    pub(super) dropped_epochs: u64,
    /// All epochs of the range, and its runs.
    pub(super) epochs: u64,
    pub(super) runs: u64,
}

/// Reads the range once and merges as it goes.
pub(super) fn collect(
    replay: &Replay,
    columns: Arc<Columns>,
    raw: bool,
) -> Result<Collected, ReplayError> {
    let query = &replay.query;
    let snapshot = &replay.snapshot;
    let frames = if query.metrics.is_empty() {
        Frames::every(snapshot, &query.range, columns)
    } else {
        Frames::of_columns(snapshot, &query.range, columns)
    };
    let mut bins = Bins::new(snapshot, frames, query.interval, !raw);
    let limit = if query.interval.is_some() {
        FINE_ASKED
    } else {
        FINE
    };
    let mut collected = Collected {
        step: query.interval,
        ..Collected::default()
    };
    let mut bin = Bin::default();
    let mut newest = None;
    while bins.next(&mut bin)? {
        collected.outcome.count(&bin);
        let (run, epoch) = (bin.run, bin.epoch);
        collected.runs += u64::from(newest.is_none_or(|(known, _)| known != run));
        collected.epochs += u64::from(newest != Some((run, epoch)));
        newest = Some((run, epoch));
        collected.push(bin.clone());
        collected.keep_within(limit);
    }
    if query.interval.is_none() {
        collected.thin_to_read();
    }
    collected
        .outcome
        .add_damage(&replay.snapshot, bins.frames.damage());
    Ok(collected)
}

impl Collected {
    fn push(&mut self, bin: Bin) {
        match (self.bins.back_mut(), self.step) {
            (Some(last), Some(step)) if mergeable(last, &bin, step) => last.absorb(&bin),
            _ => self.bins.push_back(bin),
        }
    }

    fn merge(&mut self, step: Duration) {
        self.step = Some(step);
        for bin in std::mem::take(&mut self.bins) {
            self.push(bin);
        }
    }

    fn keep_within(&mut self, limit: usize) {
        while self.bins.len() > limit {
            let now = self.step.unwrap_or_default();
            let multiple = |step: &Duration| *step > now && is_multiple(*step, now);
            let next = FINE_STEPS
                .map(Duration::from_secs)
                .into_iter()
                .find(multiple);
            let before = self.bins.len();
            if let Some(step) = next {
                self.merge(step);
            }
            if next.is_none() || (self.bins.len() == before && self.lines() == 0) {
                self.drop_first_epoch();
            }
        }
    }

    fn drop_first_epoch(&mut self) {
        let Some(first) = self.bins.pop_front() else {
            return;
        };
        self.dropped_epochs += 1;
        let same = |bin: &Bin| (bin.run, bin.epoch) == (first.run, first.epoch);
        while self.bins.front().is_some_and(same) {
            self.bins.pop_front();
        }
    }

    /// The smallest natural interval that leaves about as many lines as a person reads, and the
    /// last epochs where there are more of them than that.
    fn thin_to_read(&mut self) {
        let fine = self.step.unwrap_or_default();
        let step = NICE_STEPS
            .map(Duration::from_secs)
            .into_iter()
            .find(|step| *step > fine && is_multiple(*step, fine) && self.lines_at(*step) <= LINES);
        if self.lines() > LINES
            && let Some(step) = step
        {
            self.merge(step);
        }
        while self.bins.len() > LINES && self.epochs_held() > LINES {
            self.drop_first_epoch();
        }
    }

    /// Lines beyond the one that every epoch has.
    fn lines(&self) -> usize {
        self.bins.len() - self.epochs_held()
    }

    fn lines_at(&self, step: Duration) -> usize {
        let breaks = self
            .neighbours()
            .filter(|(a, b)| !mergeable(a, b, step))
            .count();
        breaks - self.epoch_ends()
    }

    fn epochs_held(&self) -> usize {
        self.epoch_ends() + usize::from(!self.bins.is_empty())
    }

    fn epoch_ends(&self) -> usize {
        self.neighbours()
            .filter(|(a, b)| (a.run, a.epoch) != (b.run, b.epoch))
            .count()
    }

    fn neighbours(&self) -> impl Iterator<Item = (&Bin, &Bin)> {
        self.bins.iter().zip(self.bins.iter().skip(1))
    }
}

fn mergeable(a: &Bin, b: &Bin, step: Duration) -> bool {
    (a.run, a.epoch) == (b.run, b.epoch) && slot(a.first, step) == slot(b.first, step)
}

fn is_multiple(step: Duration, of: Duration) -> bool {
    of.is_zero() || step.as_nanos().is_multiple_of(of.as_nanos())
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series};

    use super::*;
    use crate::replay::fixture::{Fixture, SECOND};
    use crate::replay::{Query, QueryText};
    use crate::time::{Reference, Zone};

    fn collected(fixture: &Fixture, interval: Option<&str>) -> Collected {
        let text = QueryText {
            interval: interval.map(String::from),
            ..QueryText::default()
        };
        let reference = Reference {
            now_ns: 0,
            zone: Zone::utc(),
        };
        let query = Query::parse(&text, &reference).expect("good");
        let replay = Replay::new(fixture.snapshot().into(), query).expect("good");
        collect(&replay, Arc::clone(&replay.columns), false).expect("readable")
    }

    fn samples(epochs: u64, each: u64, every: i64) -> Fixture {
        let series = vec![Series::counter("a_total", "")];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        let mut now = 0;
        for _ in 0..epochs {
            fixture.epoch();
            for count in 0..each {
                fixture.at(now).row(&schema, &[Some(count)]);
                now += every;
            }
        }
        fixture
    }

    #[test]
    fn a_short_range_has_a_line_for_every_sample() {
        let collected = collected(&samples(1, 40, 10), None);
        assert_eq!((collected.bins.len(), collected.step), (40, None));
    }

    #[test]
    fn an_hour_is_thinned_to_natural_intervals() {
        let collected = collected(&samples(1, 360, 10), None);
        assert_eq!(collected.step, Some(Duration::from_secs(120)));
        assert_eq!(collected.bins.len(), 30);
        assert_eq!(collected.outcome.instants, 360);
        let first = &collected.bins[0];
        assert_eq!((first.samples, first.last.realtime_ns), (12, 110 * SECOND));
        // The step into the first bin is unknown, into every other it is known.
        assert_eq!(first.increases[0].amount, 11.0);
        assert_eq!(collected.bins[1].increases[0].amount, 12.0);
        assert_eq!(collected.bins[1].increases[0].seconds, 120.0);
    }

    #[test]
    fn an_interval_that_was_asked_for_is_kept() {
        let collected = collected(&samples(1, 360, 10), Some("1m"));
        assert_eq!(collected.bins.len(), 60);
    }

    #[test]
    fn a_crash_loop_shows_its_last_epochs() {
        let collected = collected(&samples(300, 1, 10), None);
        assert_eq!((collected.epochs, collected.dropped_epochs), (300, 260));
        assert_eq!(collected.bins.len(), LINES);
        assert_eq!(collected.bins.back().map(|bin| bin.epoch), Some(301));
        assert_eq!(collected.outcome.instants, 300);
    }

    #[test]
    fn every_fine_step_divides_the_next() {
        for pair in FINE_STEPS.windows(2) {
            assert_eq!(pair[1] % pair[0], 0);
        }
    }
}
