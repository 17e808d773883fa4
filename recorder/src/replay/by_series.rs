//! Series by series, where a format wants all times of one series together.
//!
//! The recording is in order of time, so this takes several passes. A pass collects as many groups
//! of columns as fit the budget; groups that turn out not to fit wait for the next pass, and a
//! single group too large for it is handed on piece by piece.

use std::ops::Range as Span;
use std::sync::Arc;
use std::time::Duration;

use ktm_format::{Snapshot, Stamp};

use super::bins::{Bin, Bins};
use super::columns::Columns;
use super::engine::{Outcome, ReplayError};
use super::frames::{Cell, Frames};
use super::query::Range;

/// Cells in memory at once, 24 bytes each.
const BUDGET: usize = 1 << 20;

/// Receives points: group after group, each in recorded order.
pub(crate) trait Points {
    /// The cells of one group at one time, in the group's order.
    fn point(&mut self, group: usize, at: Stamp, cells: &[Option<Cell>])
    -> Result<(), ReplayError>;
}

/// A query to be answered series by series.
pub(crate) struct BySeries<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) range: Range,
    pub(crate) interval: Option<Duration>,
    pub(crate) columns: &'a Columns,
    /// Columns that belong together, in order of output.
    pub(crate) groups: &'a [Vec<usize>],
}

impl BySeries<'_> {
    pub(crate) fn run(&self, points: &mut dyn Points) -> Result<Outcome, ReplayError> {
        self.run_within(BUDGET, points)
    }

    fn run_within(&self, budget: usize, points: &mut dyn Points) -> Result<Outcome, ReplayError> {
        let mut first_pass = None;
        let mut done = 0;
        let mut size = self.groups.len();
        while done < self.groups.len() {
            let end = (done + size).min(self.groups.len());
            let (outcome, finished) = self.pass(done..end, budget, points)?;
            first_pass.get_or_insert(outcome);
            done += finished;
            size = finished;
        }
        Ok(first_pass.unwrap_or_default())
    }

    /// One pass over the recording; tells how many groups were finished, at least one.
    fn pass(
        &self,
        groups: Span<usize>,
        budget: usize,
        points: &mut dyn Points,
    ) -> Result<(Outcome, usize), ReplayError> {
        let mut batch = Batch::new(self.groups.get(groups.clone()).unwrap_or_default());
        let columns = Arc::new(self.columns.subset(&batch.columns));
        let frames = Frames::of_columns(self.snapshot, &self.range, columns);
        let mut bins = Bins::new(self.snapshot, frames, self.interval, false);
        let mut bin = Bin::default();
        let mut outcome = Outcome::default();
        while bins.next(&mut bin)? {
            outcome.count(&bin);
            batch.collect(&bin);
            while batch.cells() > budget && batch.spans.len() > 1 {
                batch.shrink();
            }
            if batch.cells() > budget {
                batch.hand_on(groups.start, points)?;
            }
        }
        batch.hand_on(groups.start, points)?;
        outcome.add_damage(self.snapshot, bins.frames.damage());
        Ok((outcome, batch.spans.len()))
    }
}

/// The groups of one pass and what has been collected of them.
struct Batch {
    /// All columns of the pass, group after group.
    columns: Vec<usize>,
    /// Where each group's columns are.
    spans: Vec<Span<usize>>,
    stamps: Vec<Stamp>,
    /// For each group, its cells at every stamp.
    cells: Vec<Vec<Option<Cell>>>,
}

impl Batch {
    fn new(groups: &[Vec<usize>]) -> Batch {
        let columns: Vec<usize> = groups.iter().flatten().copied().collect();
        let mut start = 0;
        let spans = groups.iter().map(|group| {
            let span = start..start + group.len();
            start = span.end;
            span
        });
        let spans: Vec<Span<usize>> = spans.collect();
        let cells = vec![Vec::new(); spans.len()];
        Batch {
            columns,
            spans,
            stamps: Vec::new(),
            cells,
        }
    }

    fn collect(&mut self, bin: &Bin) {
        self.stamps.push(bin.last);
        for (span, cells) in self.spans.iter().zip(&mut self.cells) {
            cells.extend_from_slice(bin.cells.get(span.clone()).unwrap_or_default());
        }
    }

    fn cells(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end) * self.stamps.len()
    }

    /// Leaves the later half of the groups to another pass.
    fn shrink(&mut self) {
        let keep = self.spans.len().div_ceil(2);
        self.spans.truncate(keep);
        self.cells.truncate(keep);
    }

    fn hand_on(&mut self, first: usize, points: &mut dyn Points) -> Result<(), ReplayError> {
        for (index, (span, cells)) in self.spans.iter().zip(&mut self.cells).enumerate() {
            for (stamp, cells) in self
                .stamps
                .iter()
                .zip(cells.chunks_exact(span.len().max(1)))
            {
                points.point(first + index, *stamp, cells)?;
            }
            cells.clear();
        }
        self.stamps.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series};

    use super::*;
    use crate::replay::fixture::{Fixture, SECOND};

    #[derive(Default)]
    struct Seen(Vec<(usize, i64, Vec<u64>)>);

    impl Points for Seen {
        fn point(
            &mut self,
            group: usize,
            at: Stamp,
            cells: &[Option<Cell>],
        ) -> Result<(), ReplayError> {
            let values = cells
                .iter()
                .map(|c| c.map_or(0, |c| c.as_f64() as u64))
                .collect();
            self.0.push((group, at.realtime_ns / SECOND, values));
            Ok(())
        }
    }

    #[test]
    fn any_budget_gives_the_same_points_in_the_same_order() {
        let names = ["a", "b", "c", "d", "e"];
        let series = names.iter().map(|name| Series::gauge(*name, "")).collect();
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        for time in 0..20 {
            let values: Vec<Option<u64>> = (0..5).map(|i| Some(time * 10 + i)).collect();
            fixture.at(time as i64).row(&schema, &values);
        }
        let snapshot = fixture.snapshot();
        let columns = Columns::of(snapshot.schemas());
        let groups = [vec![2, 0], vec![1], vec![4], vec![3]];
        let by_series = BySeries {
            snapshot: &snapshot,
            range: Range::default(),
            interval: None,
            columns: &columns,
            groups: &groups,
        };
        let ask = |budget| {
            let mut seen = Seen::default();
            let outcome = by_series.run_within(budget, &mut seen).expect("readable");
            assert_eq!(outcome.instants, 20, "budget {budget}");
            seen.0
        };
        let all = ask(usize::MAX);
        assert_eq!(all.len(), 80);
        assert_eq!(all[1], (0, 1, vec![12, 10]));
        assert!(all.is_sorted_by_key(|(group, time, _)| (*group, *time)));
        for budget in [1, 2, 7, 39, 41, 60, 99] {
            assert_eq!(ask(budget), all, "budget {budget}");
        }
    }
}
