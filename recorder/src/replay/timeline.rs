//! The timeline: epochs, what ended each, which process was watched.

use std::sync::Arc;

use ktm_format::{Error, RecordedEvent, Snapshot, Stamp};

use super::columns::Columns;
use super::frames::{Frame, Frames};
use super::query::Range;
use crate::time::Zone;

/// One epoch of one run, as far as its rows are in the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) run: u32,
    pub(crate) epoch: u32,
    pub(crate) first: Stamp,
    pub(crate) last: Stamp,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    /// Sampling instants.
    pub(crate) samples: u64,
}

impl Span {
    pub(crate) fn add(&mut self, later: &Span) {
        self.last = later.last;
        self.last_seq = later.last_seq;
        self.samples += later.samples;
    }

    fn of(frame: &Frame) -> Span {
        Span {
            run: frame.run,
            epoch: frame.epoch,
            first: frame.stamp,
            last: frame.stamp,
            first_seq: frame.seq,
            last_seq: frame.seq,
            samples: 1,
        }
    }
}

/// Every epoch that has rows in the range, in recorded order.
pub(crate) fn spans(snapshot: &Snapshot, range: &Range) -> Result<Vec<Span>, Error> {
    let mut frames = Frames::every(snapshot, range, Arc::new(Columns::default()));
    let mut frame = Frame::default();
    let mut spans: Vec<Span> = Vec::new();
    while frames.next(&mut frame)? {
        let span = Span::of(&frame);
        match spans.last_mut() {
            Some(last) if (last.run, last.epoch) == (span.run, span.epoch) => last.add(&span),
            _ => spans.push(span),
        }
    }
    Ok(spans)
}

/// The process that was watched in a span.
pub(crate) fn target<'a>(events: &'a [RecordedEvent], span: &Span) -> Option<&'a RecordedEvent> {
    let before = events
        .iter()
        .filter(|e| e.run == span.run && e.seq < span.last_seq);
    let change = before.rev().find(|e| e.event.kind.starts_with("target_"))?;
    matches!(
        change.event.kind.as_str(),
        "target_found" | "target_restarted"
    )
    .then_some(change)
}

/// What ended a span, `None` for the last one of a run that may still be going on.
pub(crate) fn ending(events: &[RecordedEvent], span: &Span, next: Option<&Span>) -> Option<Ending> {
    const DECISIVE: [&str; 4] = ["target_lost", "target_restarted", "stop", "target_found"];
    let from = events.partition_point(|event| event.seq <= span.last_seq);
    let after = events.get(from..).unwrap_or_default();
    let until = next.map_or(u64::MAX, |next| next.first_seq);
    let between = after.iter().take_while(|event| event.seq < until);
    let same_run: Vec<&RecordedEvent> = between.filter(|event| event.run == span.run).collect();
    let decisive = same_run
        .iter()
        .find(|event| DECISIVE.contains(&event.event.kind.as_str()));
    if let Some(event) = decisive {
        return Some(Ending {
            at_ns: Some(event.stamp.realtime_ns),
            what: super::events::sentence(&event.event, &Zone::utc()),
        });
    }
    let untold = |what: &str| Ending {
        at_ns: None,
        what: what.into(),
    };
    match next {
        Some(next) if next.run == span.run => Some(untold("counters began again")),
        None if !run_has_successor(events, span.run) => None,
        _ => Some(untold("recorder ended without a stop")),
    }
}

/// How an epoch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// When, if an event tells.
    pub(crate) at_ns: Option<i64>,
    pub(crate) what: String,
}

/// True if a later run is known, which a run that goes on cannot have.
pub(crate) fn run_has_successor(events: &[RecordedEvent], run: u32) -> bool {
    events.iter().any(|event| event.run > run)
}

#[cfg(test)]
mod tests {
    use ktm_format::{Event, Schema, Series};

    use super::*;
    use crate::replay::fixture::Fixture;

    fn schema() -> Schema {
        let series = vec![Series::counter("a_total", "")];
        Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
    }

    #[test]
    fn every_epoch_has_its_target_and_its_end() {
        let mut fixture = Fixture::new();
        fixture.at(0).event(Event::new("start"));
        fixture.row(&schema(), &[Some(0)]);
        fixture.epoch();
        fixture.at(5).event(
            Event::new("target_found")
                .with("pid", 7)
                .with("comm", "banyand"),
        );
        fixture.at(10).row(&schema(), &[Some(0)]);
        fixture.at(20).row(&schema(), &[Some(0)]);
        fixture.epoch();
        let lost = Event::new("target_lost")
            .with("pid", 7)
            .with("comm", "banyand");
        fixture.at(25).event(lost.with("exit", "killed by SIGKILL"));
        fixture.at(30).row(&schema(), &[Some(0)]);
        fixture.epoch();
        fixture.at(40).row(&schema(), &[Some(0)]);
        fixture.restart();
        fixture
            .at(50)
            .event(Event::new("start"))
            .row(&schema(), &[Some(0)]);
        fixture
            .at(60)
            .event(Event::new("stop").with("reason", "SIGTERM"));

        let snapshot = fixture.snapshot();
        let spans = spans(&snapshot, &Range::default()).expect("readable");
        let samples: Vec<(u32, u32, u64)> = spans
            .iter()
            .map(|span| (span.run, span.epoch, span.samples))
            .collect();
        assert_eq!(
            samples,
            [(1, 1, 1), (1, 2, 2), (1, 3, 1), (1, 4, 1), (2, 5, 1)]
        );
        let events = snapshot.events();
        let targets: Vec<bool> = spans
            .iter()
            .map(|span| target(events, span).is_some())
            .collect();
        assert_eq!(targets, [false, true, false, false, false]);
        let ends: Vec<Option<String>> = spans
            .iter()
            .enumerate()
            .map(|(index, span)| ending(events, span, spans.get(index + 1)).map(|ended| ended.what))
            .collect();
        let ends: Vec<&str> = ends
            .iter()
            .map(|end| end.as_deref().unwrap_or("-"))
            .collect();
        assert_eq!(
            ends,
            [
                "target found: banyand (pid 7)",
                "target lost: banyand (pid 7), killed by SIGKILL",
                "counters began again",
                "recorder ended without a stop",
                "recorder stopped: SIGTERM",
            ]
        );
    }
}
