//! `verify`: everything is read, and every damaged place told, with what was lost.

use std::io::{self, BufWriter, Write};

use ktm_format::{Error, Held, Hole, Loss, Position, Recording, Snapshot, Stamp, Verification};
use ktm_recorder::replay::{DamageView, Time, Used, write_json};
use ktm_recorder::time::Zone;
use serde::Serialize;

use crate::args::Args;
use crate::status::{Failure, Status};
use crate::{say, source};

/// A recorder that writes on while we read may come round: then it is read once more.
const ATTEMPTS: u32 = 3;

pub(crate) fn run(args: &Args, json: bool) -> Result<Status, Failure> {
    let zone = args.zone()?;
    let (snapshot, verification) = read(args)?;
    let report = Report::of(args, &snapshot, &verification);
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        write_json(&report, &mut out)?;
    } else {
        report.print(&zone, &mut out)?;
        for line in lines(&verification, &zone) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", verdict(&verification))?;
    }
    out.flush()?;
    Ok(Status::of(!verification.is_sound(), false))
}

fn read(args: &Args) -> Result<(Snapshot, Verification), Failure> {
    let failure = |error| Failure::Recording {
        file: args.file.clone(),
        error,
    };
    source::check_kind(&args.file)?;
    let recording = Recording::open(&args.file).map_err(|error| {
        if matches!(error, Error::Corrupt(_)) {
            say("`ktm-dump salvage OUT` may still find rows in it");
        }
        failure(error)
    })?;
    let mut attempt = 1;
    loop {
        let snapshot = recording.snapshot().map_err(failure)?;
        let verification = snapshot.verify().map_err(failure)?;
        if verification.is_sound() || attempt == ATTEMPTS {
            return Ok((snapshot, verification));
        }
        attempt += 1;
    }
}

/// Records of one damaged place that are listed one by one.
const RECORDS: usize = 5;

/// Places that a damaged one is compared with, lest a file full of damage takes forever.
const PLACES_COMPARED: usize = 100;

/// The report for a program.
#[derive(Serialize)]
struct Report {
    /// The name it was opened by.
    file: String,
    /// No damage and no hole.
    sound: bool,
    rows: u64,
    events: u64,
    values: u64,
    blocks: u64,
    hot_segments: Used,
    cold_segments: Used,
    /// The row or event with the lowest number, and the one with the highest.
    first: Option<Place>,
    last: Option<Place>,
    /// Numbers missing where damage was met.
    lost: u64,
    /// Numbers missing at the old end because the ring has come round.
    overwritten: u64,
    damage: Vec<Damaged>,
    /// Numbers missing that no damage explains.
    holes: Vec<Span>,
}

#[derive(Serialize)]
struct Place {
    number: u64,
    time: Time,
    epoch: u32,
    run: u32,
}

#[derive(Serialize)]
struct Damaged {
    #[serde(flatten)]
    place: DamageView,
    /// What the damaged records say of themselves.
    held: Vec<HeldView>,
    /// How many numbers are missing that lay here, or may have.
    lost: u64,
    numbers: Vec<Span>,
    /// The newest rows or events may be lost as well.
    newest_perhaps_lost: bool,
}

#[derive(Serialize)]
struct HeldView {
    kind: &'static str,
    module: Option<String>,
    first_number: u64,
    last_number: u64,
    rows: u64,
    time: Time,
}

#[derive(Serialize)]
struct Span {
    first: u64,
    last: u64,
    after: Option<Place>,
    before: Option<Place>,
}

impl Report {
    fn of(args: &Args, snapshot: &Snapshot, verification: &Verification) -> Report {
        let info = snapshot.info();
        Report {
            file: args.file.display().to_string(),
            sound: verification.is_sound(),
            rows: verification.rows,
            events: verification.events,
            values: verification.values,
            blocks: info.blocks,
            hot_segments: Used {
                used: info.hot_used,
                of: info.geometry.hot_count,
            },
            cold_segments: Used {
                used: info.cold_used,
                of: info.geometry.cold_count,
            },
            first: verification.first.map(Place::of),
            last: verification.last.map(Place::of),
            lost: verification.lost,
            overwritten: verification.overwritten,
            damage: verification.damage.iter().map(Damaged::of).collect(),
            holes: verification.holes.iter().map(Span::of).collect(),
        }
    }

    /// What was read.
    fn print(&self, zone: &Zone, out: &mut dyn Write) -> io::Result<()> {
        let (hot, cold) = (self.hot_segments, self.cold_segments);
        writeln!(
            out,
            "read      {} rows of {} values, {} events, {} blocks",
            self.rows, self.values, self.events, self.blocks
        )?;
        writeln!(
            out,
            "segments  {} of {} hot, {} of {} cold",
            hot.used, hot.of, cold.used, cold.of
        )?;
        if let (Some(first), Some(last)) = (&self.first, &self.last) {
            let time = |place: &Place| zone.civil(place.time.0);
            writeln!(
                out,
                "numbers   {} to {}, {} to {} ({zone})",
                first.number,
                last.number,
                time(first),
                time(last)
            )?;
        }
        Ok(())
    }
}

impl Place {
    fn of(position: Position) -> Place {
        Place {
            number: position.seq,
            time: Time(position.stamp.realtime_ns),
            epoch: position.epoch,
            run: position.run,
        }
    }
}

impl Damaged {
    fn of(loss: &Loss) -> Damaged {
        Damaged {
            place: DamageView::of(&loss.damage),
            held: loss.held.iter().map(HeldView::of).collect(),
            lost: loss.count(),
            numbers: loss.numbers.iter().map(Span::of).collect(),
            newest_perhaps_lost: loss.tail,
        }
    }
}

impl HeldView {
    fn of(held: &Held) -> HeldView {
        HeldView {
            kind: held.kind.name(),
            module: held.module.clone(),
            first_number: held.first,
            last_number: held.last,
            rows: held.rows,
            time: Time(held.stamp.realtime_ns),
        }
    }
}

impl Span {
    fn of(hole: &Hole) -> Span {
        Span {
            first: hole.first,
            last: hole.last,
            after: hole.before.map(Place::of),
            before: hole.after.map(Place::of),
        }
    }
}

/// A line for every damaged place and hole, with what was lost.
pub(crate) fn lines(verification: &Verification, zone: &Zone) -> Vec<String> {
    let mut lines = Vec::new();
    for loss in &verification.damage {
        lines.push(format!("damage {}", loss.damage));
        lines.extend(held_lines(&loss.held, zone));
        lines.push(format!("  {}", loss_text(loss, verification, zone)));
    }
    let unexplained = |hole: &Hole| {
        let (numbers, between) = (numbers_text(&[*hole]), between_text(&[*hole], zone));
        let count = hole.count();
        format!("hole: {numbers} ({count}), recorded {between}; no damage that is left explains it")
    };
    lines.extend(verification.holes.iter().map(unexplained));
    lines
}

/// The last line.
pub(crate) fn verdict(verification: &Verification) -> String {
    if verification.is_sound() {
        return "sound".into();
    }
    let holes: u64 = verification.holes.iter().map(Hole::count).sum();
    let lost = verification.lost.saturating_add(holes);
    let lost = match (lost, verification.has_lost_something()) {
        (0, false) => "nothing is lost".into(),
        (0, true) => "perhaps the newest rows or events are lost".into(),
        (1, _) => "1 row or event is lost".into(),
        (lost, _) => format!("{lost} rows or events are lost"),
    };
    let places = match verification.damage.len() {
        1 => "1 place".into(),
        places => format!("{places} places"),
    };
    format!("damaged in {places}: {lost}")
}

/// A line for each of the first records that were there.
fn held_lines(held: &[Held], zone: &Zone) -> Vec<String> {
    let mut lines: Vec<String> = held
        .iter()
        .take(RECORDS)
        .map(|held| format!("  it was {}", held_text(held, zone)))
        .collect();
    if held.len() > RECORDS {
        lines.push(format!("  and {} more records", held.len() - RECORDS));
    }
    lines
}

/// `a block of 300 rows of iomonitor, recorded from 2026-11-20 14:23:31 on`
fn held_text(held: &Held, zone: &Zone) -> String {
    let of = held.module.as_ref().map_or(String::new(), |module| {
        format!(" of {}", module.escape_debug())
    });
    let Stamp { realtime_ns, .. } = held.stamp;
    let time = zone.civil(realtime_ns);
    match held.kind.name() {
        "block" => format!("a block of {} rows{of}, recorded from {time} on", held.rows),
        "schema" => format!("the schema{of}"),
        "row" => format!("a row{of}, recorded at {time}"),
        kind => format!("an {kind}, recorded at {time}"),
    }
}

fn loss_text(loss: &Loss, verification: &Verification, zone: &Zone) -> String {
    let newest = match verification.last {
        Some(last) if loss.tail => {
            let time = zone.civil(last.stamp.realtime_ns);
            format!("perhaps lost: what followed number {}, {time}", last.seq)
        }
        None if loss.tail => "perhaps lost: all there was".into(),
        _ => String::new(),
    };
    let lost = match &loss.numbers[..] {
        [] if loss.tail => String::new(),
        [] => "nothing was lost with it".into(),
        numbers => {
            let (text, between) = (numbers_text(numbers), between_text(numbers, zone));
            let here = match is_shared(loss, verification) {
                true => "lost here or in another place",
                false => "lost",
            };
            format!("{here}: {text}, recorded {between}")
        }
    };
    match (lost.is_empty(), newest.is_empty()) {
        (false, false) => format!("{lost}; {newest}"),
        _ => lost + &newest,
    }
}

/// True where what is missing may also have lain in another damaged place.
fn is_shared(loss: &Loss, verification: &Verification) -> bool {
    let overlaps = |other: &Loss| {
        let touch = |a: &Hole, b: &Hole| a.first <= b.last && b.first <= a.last;
        loss.numbers
            .iter()
            .any(|a| other.numbers.iter().any(|b| touch(a, b)))
    };
    let others = verification
        .damage
        .iter()
        .filter(|other| other.damage != loss.damage);
    others.take(PLACES_COMPARED).any(overlaps)
}

/// `number 17`, `numbers 17 to 20`, `300 numbers from 17 to 916`
fn numbers_text(holes: &[Hole]) -> String {
    let first = holes.first().map_or(0, |hole| hole.first);
    let last = holes.last().map_or(0, |hole| hole.last);
    let count: u64 = holes.iter().map(Hole::count).sum();
    match count {
        1 => format!("number {first}"),
        count if count - 1 == last - first => format!("numbers {first} to {last}"),
        count => format!("{count} numbers from {first} to {last}"),
    }
}

/// `between 2026-11-20 14:23:31 and 2026-11-20 14:23:41 (run 2)`, by the neighbours.
fn between_text(holes: &[Hole], zone: &Zone) -> String {
    let time = |position: Position| zone.civil(position.stamp.realtime_ns);
    let before = holes.first().and_then(|hole| hole.before);
    let after = holes.last().and_then(|hole| hole.after);
    let run = before.or(after).map_or(0, |position| position.run);
    let when = match (before.map(time), after.map(time)) {
        (Some(before), Some(after)) => format!("between {before} and {after}"),
        (Some(before), None) => format!("after {before}"),
        (None, Some(after)) => format!("before {after}"),
        (None, None) => return "at an unknown time".into(),
    };
    format!("{when} (run {run})")
}
