//! The loop under clocks that a test moves: steps of the wall clock, suspension.

use std::path::Path;

use clap::Parser as _;
use ktm::tracefs::TraceFs;
use ktm_format::{Recording, Select};

use super::super::clock::shift;
use super::super::{matcher, open, start_event};
use super::*;
use crate::config::{self, Flags};
use crate::replay::{Format, Presentation, Query, QueryText, Replay};
use crate::time::{Reference, Zone};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A sampler of its own series alone, every ten seconds of a clock that the test moves.
fn sampler(file: &Path) -> Sampler {
    let path = file.to_str().expect("text");
    let words = ["ktm-recorder", "--file", path, "--size", "1MiB"];
    let more = ["--target-comm", "no-such-process", "--interval", "10s"];
    let flags = Flags::parse_from([&words[..], &more].concat());
    let config = config::load(&flags, &["iomonitor"]).expect("sound").config;
    let (mut recorder, report) = open(&config).expect("opened");
    recorder
        .start(Reading::now().stamp, start_event(&config), &report)
        .expect("started");
    let mut sampler = Sampler::new(Start {
        slots: Vec::new(),
        discovery: Discovery::new(matcher(&config.target).expect("sound")),
        context: Context::new(TraceFs::Missing("a test".into())),
        config,
        recorder,
        requests: Arc::new(Requests::new().expect("made")),
        board: Arc::default(),
    })
    .expect("made");
    sampler.first();
    sampler
}

/// Ten seconds pass, and after them what the test does to the clocks.
fn pass(sampler: &mut Sampler, wall: i64, boot: i64) {
    shift::by(10 + wall, 10 + boot, 10);
    sampler.wake(false, false);
}

/// The rates of `ktm_samples_total` in recorded order, and the events of these kinds with their
/// seconds.
fn told(file: &Path) -> (Vec<bool>, Vec<(String, f64, String)>) {
    let snapshot = Arc::new(
        Recording::open(file)
            .and_then(|file| file.snapshot())
            .expect("ours"),
    );
    let text = QueryText {
        metrics: vec!["ktm_samples_total".into()],
        rate: true,
        ..QueryText::default()
    };
    let query = Query::parse(&text, &Reference::now(Zone::utc())).expect("sound");
    let mut csv = Vec::new();
    let replay = Replay::new(Arc::clone(&snapshot), query).expect("recorded");
    let plain = Presentation::plain(Zone::utc(), "box");
    replay
        .write(Format::Csv, &plain, &mut csv)
        .expect("written");
    let csv = String::from_utf8(csv).expect("text");
    let rates = csv.lines().skip(1).map(|line| !line.ends_with(','));
    let events = snapshot.events().iter().filter_map(|event| {
        let event = &event.event;
        let seconds = event.field("seconds")?.parse().expect("a number");
        let reason = event.field("reason").unwrap_or_default();
        Some((event.kind.clone(), seconds, reason.to_owned()))
    });
    (rates.collect(), events.collect())
}

fn assert_events(found: &[(String, f64, String)], expected: &[(&str, i64, &str)]) {
    let matches = |((kind, seconds, reason), wanted): (&(String, f64, String), &_)| {
        let (k, s, r): &(&str, i64, &str) = wanted;
        kind == k && (seconds - *s as f64).abs() < 0.5 && reason == r
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(matches),
        "{found:?}"
    );
}

#[test]
fn steps_are_marked_with_their_size_and_no_rate_crosses_them() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("box.ktm");
    let mut sampler = sampler(&file);
    pass(&mut sampler, 0, 0);
    for step in [-1, -60, -DAY, DAY] {
        pass(&mut sampler, step, 0);
        pass(&mut sampler, 0, 0);
    }
    let (rates, events) = told(&file);
    let (t, f) = (true, false);
    assert_eq!(rates, [f, t, f, t, f, t, f, t, f, t]);
    let step = |seconds| ("clock_step", seconds, "");
    assert_events(&events, &[step(-1), step(-60), step(-DAY), step(DAY)]);
}

/// Wall clock and boot clock go on together, the monotonic clock stands still: nobody set a clock,
/// the machine slept.
#[test]
fn suspension_is_a_gap_and_no_step_and_begins_no_epoch() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("box.ktm");
    let mut sampler = sampler(&file);
    pass(&mut sampler, 0, 0);
    pass(&mut sampler, 8 * HOUR, 8 * HOUR);
    pass(&mut sampler, 0, 0);
    let (rates, events) = told(&file);
    assert_eq!(rates, [false, true, false, true], "one sample, not 2,880");
    assert_events(&events, &[("gap", 8 * HOUR, "suspended")]);
    let snapshot = Recording::open(&file)
        .and_then(|file| file.snapshot())
        .expect("ours");
    let rows = snapshot.rows(&Select::all());
    assert!(
        rows.map(|row| row.expect("sound").epoch)
            .all(|one| one == 1),
        "the counters went on"
    );
}

/// Both at once: the clock was set while the machine slept, or by whatever woke it.
#[test]
fn a_step_during_suspension_is_told_beside_the_gap() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("box.ktm");
    let mut sampler = sampler(&file);
    pass(&mut sampler, 8 * HOUR - 60, 8 * HOUR);
    pass(&mut sampler, 0, 0);
    let (rates, events) = told(&file);
    assert_eq!(rates, [false, false, true]);
    let expected = [("clock_step", -60, ""), ("gap", 8 * HOUR, "suspended")];
    assert_events(&events, &expected);
}
