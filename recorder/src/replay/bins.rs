//! Bins: one line of output per interval, or per sample where no interval is asked for.

use std::time::Duration;

use ktm_format::{Error, Snapshot, Stamp};

use super::frames::{Cell, Frame, Frames};
use super::steps::{Continuity, Increase, Steps};

/// Samples of one run and one epoch that make one line.
///
/// An interval is aligned to 1970-01-01T00:00:00Z; a new epoch begins a new bin within it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bin {
    /// The first sample's time.
    pub(crate) first: Stamp,
    /// The last sample's time, which is the line's.
    pub(crate) last: Stamp,
    /// The first sample's sequence number.
    pub(crate) first_seq: u64,
    /// The last row's sequence number.
    pub(crate) seq: u64,
    pub(crate) epoch: u32,
    pub(crate) run: u32,
    /// Sampling instants.
    pub(crate) samples: u64,
    /// The last value of every column within the bin.
    pub(crate) cells: Vec<Option<Cell>>,
    /// What every counter did, as far as it could be compared. Empty where rates are not asked for.
    pub(crate) increases: Vec<Increase>,
}

impl Bin {
    fn start(&mut self, frame: &Frame, with_increases: bool) {
        self.first = frame.stamp;
        self.first_seq = frame.seq;
        self.epoch = frame.epoch;
        self.run = frame.run;
        self.samples = 0;
        self.cells.clear();
        self.cells.resize(frame.cells.len(), None);
        self.increases.clear();
        if with_increases {
            self.increases
                .resize(frame.cells.len(), Increase::default());
        }
    }

    fn add(&mut self, frame: &Frame, steps: &mut Option<Steps>) {
        self.last = frame.stamp;
        self.seq = frame.seq;
        self.samples += 1;
        for (cell, new) in self.cells.iter_mut().zip(&frame.cells) {
            if new.is_some() {
                *cell = *new;
            }
        }
        if let Some(steps) = steps {
            steps.advance(frame, |column, step| {
                if let Some(increase) = self.increases.get_mut(column) {
                    increase.add(step);
                }
            });
        }
    }

    /// Adds a later bin of the same epoch.
    pub(crate) fn absorb(&mut self, later: &Bin) {
        self.last = later.last;
        self.seq = later.seq;
        self.samples += later.samples;
        for (cell, new) in self.cells.iter_mut().zip(&later.cells) {
            if new.is_some() {
                *cell = *new;
            }
        }
        for (increase, more) in self.increases.iter_mut().zip(&later.increases) {
            increase.add(*more);
        }
    }
}

/// The interval a time belongs to.
pub(crate) fn slot(stamp: Stamp, interval: Duration) -> i64 {
    let nanos = i64::try_from(interval.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1);
    stamp.realtime_ns.div_euclid(nanos)
}

/// Bins in recorded order.
pub(crate) struct Bins<'a> {
    pub(crate) frames: Frames<'a>,
    steps: Option<Steps>,
    interval: Option<Duration>,
    frame: Frame,
    pending: bool,
}

impl<'a> Bins<'a> {
    pub(crate) fn new(
        snapshot: &Snapshot,
        frames: Frames<'a>,
        interval: Option<Duration>,
        increases: bool,
    ) -> Bins<'a> {
        let steps = increases.then(|| Steps::new(Continuity::of(snapshot), frames.columns()));
        Bins {
            frames,
            steps,
            interval,
            frame: Frame::default(),
            pending: false,
        }
    }

    /// Reads the next bin into `bin`; false at the end.
    pub(crate) fn next(&mut self, bin: &mut Bin) -> Result<bool, Error> {
        if !self.pending && !self.frames.next(&mut self.frame)? {
            return Ok(false);
        }
        bin.start(&self.frame, self.steps.is_some());
        bin.add(&self.frame, &mut self.steps);
        self.pending = false;
        let Some(interval) = self.interval else {
            return Ok(true);
        };
        while self.frames.next(&mut self.frame)? {
            let frame = &self.frame;
            let same = (frame.run, frame.epoch) == (bin.run, bin.epoch)
                && slot(frame.stamp, interval) == slot(bin.first, interval);
            if !same {
                self.pending = true;
                break;
            }
            bin.add(&self.frame, &mut self.steps);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Event, Schema, Series};

    use std::sync::Arc;

    use super::*;
    use crate::replay::columns::Columns;
    use crate::replay::fixture::{Fixture, SECOND};
    use crate::replay::query::Range;

    fn schema() -> Schema {
        let series = vec![Series::counter("a_total", ""), Series::gauge("g", "")];
        Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
    }

    fn lines(fixture: &Fixture, seconds: u64) -> Vec<(i64, u64, Option<f64>, Option<f64>)> {
        let snapshot = fixture.snapshot();
        let columns = Arc::new(Columns::of(snapshot.schemas()));
        let interval = Some(Duration::from_secs(seconds));
        let frames = Frames::of_columns(&snapshot, &Range::default(), columns);
        let mut bins = Bins::new(&snapshot, frames, interval, true);
        let mut bin = Bin::default();
        let mut lines = Vec::new();
        while bins.next(&mut bin).expect("readable") {
            lines.push((
                bin.last.realtime_ns / SECOND,
                bin.samples,
                bin.increases[0].rate(),
                bin.cells[1].map(|cell| cell.as_f64()),
            ));
        }
        lines
    }

    #[test]
    fn a_bin_has_the_last_values_and_the_whole_increase() {
        let mut fixture = Fixture::new();
        for step in 0..6_u64 {
            let gauge = (step != 5).then_some(step);
            fixture
                .at(step as i64 * 10)
                .row(&schema(), &[Some(step * step), gauge]);
        }
        assert_eq!(
            lines(&fixture, 30),
            [
                (20, 3, Some(4.0 / 20.0), Some(2.0)),
                (50, 3, Some(21.0 / 30.0), Some(4.0))
            ]
        );
    }

    #[test]
    fn an_epoch_ends_a_bin_and_a_gap_is_left_out_of_its_rate() {
        let mut fixture = Fixture::new();
        fixture.at(0).row(&schema(), &[Some(0), None]);
        fixture.at(10).row(&schema(), &[Some(10), None]);
        fixture
            .at(20)
            .event(Event::new("gap"))
            .row(&schema(), &[Some(1000), None]);
        fixture.at(30).row(&schema(), &[Some(1010), None]);
        fixture.epoch();
        fixture.at(40).row(&schema(), &[Some(0), None]);
        assert_eq!(
            lines(&fixture, 3600),
            [(30, 4, Some(1.0), None), (40, 1, None, None)]
        );
    }
}
