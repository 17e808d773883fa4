//! Runs: every life of the recorder, and of the processes it watched.

use std::io::{self, Write};

use ktm_format::{Clock, Error, RecordedEvent, Snapshot, SystemClock};
use serde::Serialize;

use super::events::{Time, printable, process};
use super::presentation::Presentation;
use super::query::Range;
use super::timeline::{Span, ending, run_has_successor, spans, target};
use crate::time::parse_duration;

/// The runs that have rows or events in a range. An array in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Runs {
    /// The runs, oldest first.
    pub runs: Vec<Run>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It said so itself.
    Clean,
    /// It did not, and another run came after it.
    Unclean,
    /// It did not, and it is the newest.
    OpenOrUnclean,
}

/// One life of the recorder. What its start record said is absent once the ring has overwritten it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its number.
    pub run: u32,
    /// How it ended.
    pub end: End,
    /// How it ended, in words: `clean (SIGTERM)`.
    pub ended: String,
    /// When its start was recorded.
    pub started: Option<Time>,
    /// Its first sample in the range.
    pub first_sample: Option<Time>,
    /// Its last sample in the range.
    pub last_sample: Option<Time>,
    /// Sampling instants in the range.
    pub samples: u64,
    /// The recorder's version.
    pub version: Option<String>,
    /// The recorder's process id.
    pub pid: Option<String>,
    /// The kernel's random id of the boot.
    pub boot_id: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// The sampling interval.
    pub interval: Option<String>,
    /// Its epochs in the range.
    pub epochs: Vec<Epoch>,
    /// The processes it watched.
    pub targets: Vec<TargetLife>,
}

/// A span in which counters only grow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Epoch {
    /// Its number.
    pub epoch: u32,
    /// Its first sample in the range.
    pub first_sample: Time,
    /// Its last sample in the range.
    pub last_sample: Time,
    /// Sampling instants in the range.
    pub samples: u64,
    /// The process watched, `banyand (pid 4711)`.
    pub target: Option<String>,
    /// What ended it, in words.
    pub ended: Option<String>,
}

/// One life of a watched process, as far as the run saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetLife {
    /// Process id.
    pub pid: Option<String>,
    /// Name.
    pub comm: Option<String>,
    /// When it was found.
    pub found: Time,
    /// When its end was noticed.
    pub lost: Option<Time>,
    /// How it ended, as far as the kernel told.
    pub exit: Option<String>,
}

/// The runs of a range.
///
/// # Errors
///
/// [`Error::Io`] if the recording cannot be read.
pub fn runs(snapshot: &Snapshot, range: &Range) -> Result<Runs, Error> {
    let spans = spans(snapshot, range)?;
    let events = snapshot.events();
    let in_range = events
        .iter()
        .filter(|event| range.contains(event.stamp.realtime_ns));
    let mut numbers: Vec<u32> = spans
        .iter()
        .map(|span| span.run)
        .chain(in_range.map(|event| event.run))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let newest = numbers.last().copied();
    let run = |number: u32| {
        let is_newest = newest == Some(number) && !run_has_successor(events, number);
        Run::of(number, is_newest, events, &spans)
    };
    Ok(Runs {
        runs: numbers.into_iter().map(run).collect(),
    })
}

impl Run {
    fn of(run: u32, is_newest: bool, events: &[RecordedEvent], spans: &[Span]) -> Run {
        let own: Vec<&RecordedEvent> = events.iter().filter(|event| event.run == run).collect();
        let find = |kind: &str| own.iter().find(|recorded| recorded.event.kind == kind);
        let start = find("start");
        let said = |name: &str| start.and_then(|s| s.event.field(name)).map(str::to_owned);
        let (end, ended) = match find("stop") {
            Some(stop) => {
                let reason = stop.event.field("reason").unwrap_or("no reason given");
                (End::Clean, format!("clean ({})", printable(reason)))
            }
            None if is_newest => (
                End::OpenOrUnclean,
                "still running or unclean (no stop record)".into(),
            ),
            None => (End::Unclean, "unclean (no stop record)".into()),
        };
        let own_spans: Vec<&Span> = spans.iter().filter(|span| span.run == run).collect();
        Run {
            run,
            end,
            ended,
            started: start.map(|start| Time(start.stamp.realtime_ns)),
            first_sample: own_spans.first().map(|span| Time(span.first.realtime_ns)),
            last_sample: own_spans.last().map(|span| Time(span.last.realtime_ns)),
            samples: own_spans.iter().map(|span| span.samples).sum(),
            version: said("version"),
            pid: said("pid"),
            boot_id: said("boot_id"),
            kernel: said("kernel"),
            hostname: said("hostname"),
            interval: said("interval"),
            epochs: epochs(run, events, spans),
            targets: targets(&own),
        }
    }
}

fn epochs(run: u32, events: &[RecordedEvent], spans: &[Span]) -> Vec<Epoch> {
    let epoch = |(index, span): (usize, &Span)| Epoch {
        epoch: span.epoch,
        first_sample: Time(span.first.realtime_ns),
        last_sample: Time(span.last.realtime_ns),
        samples: span.samples,
        target: target(events, span).map(|found| process(&found.event)),
        ended: ending(events, span, spans.get(index + 1)).map(|ended| ended.what),
    };
    spans
        .iter()
        .enumerate()
        .filter(|(_, span)| span.run == run)
        .map(epoch)
        .collect()
}

fn targets(own: &[&RecordedEvent]) -> Vec<TargetLife> {
    let mut lives: Vec<TargetLife> = Vec::new();
    for recorded in own {
        let event = &recorded.event;
        let now = Time(recorded.stamp.realtime_ns);
        let ends = matches!(event.kind.as_str(), "target_lost" | "target_restarted");
        let begins = matches!(event.kind.as_str(), "target_found" | "target_restarted");
        if ends && let Some(life) = lives.last_mut().filter(|life| life.lost.is_none()) {
            life.lost = Some(now);
            life.exit = event.field("exit").map(str::to_owned);
        }
        if begins {
            lives.push(TargetLife {
                pid: event.field("pid").map(str::to_owned),
                comm: event.field("comm").map(str::to_owned),
                found: now,
                lost: None,
                exit: None,
            });
        }
    }
    lives
}

impl Runs {
    /// A few lines for every run.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn print(&self, presentation: &Presentation, out: &mut dyn Write) -> io::Result<()> {
        for (index, run) in self.runs.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            run.print(presentation, out)?;
        }
        Ok(())
    }
}

impl Run {
    /// The age of the last sample, in seconds, if the run has no end and a sample was due lately:
    /// the file cannot tell more, and whoever looks at it now wants to know.
    fn seems_to_run(&self) -> Option<f64> {
        let interval = parse_duration(self.interval.as_deref()?)
            .ok()?
            .as_secs_f64();
        let last = self
            .last_sample
            .filter(|_| self.end == End::OpenOrUnclean)?;
        let age = (SystemClock.now().realtime_ns.checked_sub(last.0)?) as f64 / 1e9;
        (0.0..=3.0 * interval).contains(&age).then_some(age)
    }

    fn print(&self, presentation: &Presentation, out: &mut dyn Write) -> io::Result<()> {
        match self.seems_to_run() {
            Some(age) => writeln!(out, "run {}: running, last sample {age:.1} s ago", self.run)?,
            None => writeln!(out, "run {}: {}", self.run, self.ended)?,
        }
        let facts = [
            ("recorder", &self.version),
            ("pid", &self.pid),
            ("every", &self.interval),
            ("host", &self.hostname),
            ("kernel", &self.kernel),
            ("boot", &self.boot_id),
        ];
        let known = facts.iter().filter_map(|(name, value)| {
            value
                .as_ref()
                .map(|value| format!("{name} {}", printable(value)))
        });
        let known: Vec<String> = known.collect();
        if !known.is_empty() {
            writeln!(out, "  {}", known.join(", "))?;
        }
        match (self.first_sample, self.last_sample) {
            (Some(first), Some(last)) => {
                writeln!(
                    out,
                    "  {}",
                    samples(self.samples, first, last, presentation)
                )?;
            }
            _ => writeln!(out, "  no samples in the range")?,
        }
        for epoch in &self.epochs {
            let (first, last) = (epoch.first_sample, epoch.last_sample);
            let samples = samples(epoch.samples, first, last, presentation);
            let target = epoch.target.as_deref().unwrap_or("no target");
            writeln!(out, "  epoch {}: {samples}, {target}", epoch.epoch)?;
            if let Some(ended) = &epoch.ended {
                writeln!(out, "    ended: {ended}")?;
            }
        }
        Ok(())
    }
}

/// `1 sample, 14:23:31`, with dates.
fn samples(count: u64, first: Time, last: Time, presentation: &Presentation) -> String {
    let (from, to) = (
        presentation.zone.civil(first.0),
        presentation.zone.civil(last.0),
    );
    match count {
        1 => format!("1 sample, {to}"),
        count => format!("{count} samples, {from} to {to}"),
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Event, Schema, Series};

    use super::*;
    use crate::replay::fixture::Fixture;
    use crate::time::Zone;

    fn fixture() -> Fixture {
        let series = vec![Series::counter("a_total", "")];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let mut fixture = Fixture::new();
        let start = Event::new("start")
            .with("version", "0.1.0")
            .with("interval", "10s");
        fixture.at(0).event(start.clone());
        fixture.event(
            Event::new("target_found")
                .with("pid", 7)
                .with("comm", "banyand"),
        );
        fixture.at(10).row(&schema, &[Some(0)]);
        fixture.restart();
        fixture
            .at(20)
            .event(start.clone())
            .event(Event::new("unclean_end").with("run", 1));
        fixture.event(
            Event::new("target_found")
                .with("pid", 7)
                .with("comm", "banyand"),
        );
        fixture.at(30).row(&schema, &[Some(0)]);
        fixture.epoch();
        let again = Event::new("target_restarted")
            .with("pid", 9)
            .with("old_pid", 7);
        fixture
            .at(35)
            .event(again.with("exit", "exited 0").with("comm", "banyand"));
        fixture
            .at(40)
            .row(&schema, &[Some(0)])
            .row(&schema, &[Some(0)]);
        fixture
            .at(50)
            .event(Event::new("stop").with("reason", "SIGTERM"));
        fixture.restart();
        fixture.at(60).event(start);
        fixture
    }

    #[test]
    fn a_kill_a_stop_and_a_running_recorder_are_told_apart() {
        let runs = runs(&fixture().snapshot(), &Range::default())
            .expect("readable")
            .runs;
        let ends: Vec<(u32, End, u64)> = runs.iter().map(|r| (r.run, r.end, r.samples)).collect();
        assert_eq!(
            ends,
            [
                (1, End::Unclean, 1),
                (2, End::Clean, 2),
                (3, End::OpenOrUnclean, 0)
            ]
        );
        assert_eq!(runs[1].ended, "clean (SIGTERM)");
        let lives: Vec<(Option<&str>, Option<&str>)> = runs[1]
            .targets
            .iter()
            .map(|t| (t.pid.as_deref(), t.exit.as_deref()))
            .collect();
        assert_eq!(lives, [(Some("7"), Some("exited 0")), (Some("9"), None)]);
    }

    #[test]
    fn runs_are_printed_with_their_epochs() {
        let runs = runs(&fixture().snapshot(), &Range::default()).expect("readable");
        let mut out = Vec::new();
        runs.print(&Presentation::plain(Zone::utc(), "box.ktm"), &mut out)
            .expect("a Vec");
        let text = String::from_utf8(out).expect("text");
        let expected = "\
run 1: unclean (no stop record)
  recorder 0.1.0, every 10s
  1 sample, 1970-01-01 00:00:10
  epoch 1: 1 sample, 1970-01-01 00:00:10, banyand (pid 7)
    ended: recorder ended without a stop

run 2: clean (SIGTERM)
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("  no samples in the range\n"), "{text}");
    }
}
