//! The whole page: heading, epochs, events between the lines, what is not shown.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use ktm_format::RecordedEvent;

use super::collect::{Collected, collect};
use super::layout::Layout;
use super::measures::{Measure, chosen, is_key, keys, legend};
use crate::replay::bins::Bin;
use crate::replay::engine::{Outcome, Replay, ReplayError};
use crate::replay::events::{printable, process, sentence};
use crate::replay::presentation::{Colour, Presentation};
use crate::replay::timeline::{Ending, Span, ending, target};
use crate::time::duration_text;

/// Lines after which the headings are repeated with the next epoch.
const LINES_TO_A_HEADING: usize = 15;

/// Writes the table.
pub(crate) fn write(
    replay: &Replay,
    presentation: &Presentation,
    out: &mut dyn Write,
) -> Result<Outcome, ReplayError> {
    let key_columns = replay.columns.retain(is_key);
    let by_key = replay.query.metrics.is_empty() && !key_columns.is_empty();
    let columns = if by_key {
        Arc::new(key_columns)
    } else {
        Arc::clone(&replay.columns)
    };
    let raw = presentation.raw;
    let measures = if by_key {
        keys(&columns, raw)
    } else {
        chosen(&columns, raw)
    };
    let collected = collect(replay, columns, raw)?;
    let mut page = Page {
        replay,
        presentation,
        collected,
        measures,
        by_key,
        one_day: false,
    };
    page.one_day = page.is_one_day();
    page.write(out)?;
    out.flush()?;
    Ok(page.collected.outcome)
}

struct Page<'a> {
    replay: &'a Replay,
    presentation: &'a Presentation,
    collected: Collected,
    measures: Vec<Measure>,
    by_key: bool,
    /// All of it is within one day, so that lines need no date.
    one_day: bool,
}

impl Page<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let bins = self.collected.bins.iter();
        let time_width = if self.one_day { 8 } else { 14 };
        let room = self.presentation.width;
        let layout = Layout::of(self.measures.clone(), bins, time_width, room);
        self.heading(out)?;
        if !self.by_key {
            for measure in &layout.shown {
                writeln!(
                    out,
                    "  {:>2}  {}",
                    measure.heading,
                    printable(&measure.name)
                )?;
            }
        }
        self.body(&layout, out)?;
        self.remarks(&layout, out)
    }

    /// Which file, which span, how much, how sound.
    fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        let outcome = &self.collected.outcome;
        let zone = &self.presentation.zone;
        let file = printable(&self.presentation.file);
        let bold = |text: &str| self.presentation.paint(Colour::Bold, text);
        let (Some(first), Some(last)) = (outcome.first_ns, outcome.last_ns) else {
            return writeln!(out, "{}: no samples in the range", bold(&file));
        };
        let offset = zone.offset(last);
        let zone_text = match zone.to_string() {
            name if name == "UTC" || name.contains(&offset) => name,
            name => format!("{name}, UTC{offset}"),
        };
        let (from, to) = (zone.civil(first), zone.civil(last));
        writeln!(out, "{}: {from} to {to} ({zone_text})", bold(&file))?;
        let (runs, epochs) = (self.collected.runs, self.collected.epochs);
        let damage = match outcome.damage.len() {
            0 => "no damage".to_owned(),
            places => {
                let text = format!("damage in {}, skipped", counted(places as u64, "place"));
                self.presentation.paint(Colour::Red, &text)
            }
        };
        writeln!(
            out,
            "{}, {}, {}, {damage}; {}",
            counted(outcome.instants, "sample"),
            counted(runs, "run"),
            counted(epochs, "epoch"),
            self.per_line()
        )
    }

    fn per_line(&self) -> String {
        let most = self
            .collected
            .bins
            .iter()
            .map(|bin| bin.samples)
            .max()
            .unwrap_or(0);
        match self.collected.step {
            Some(step) if most > 1 => {
                format!("each line = up to {most} samples, {}", duration_text(step))
            }
            _ => "each line = 1 sample".into(),
        }
    }

    fn body(&self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        let mut events = self.events().into_iter().peekable();
        if self.collected.dropped_epochs > 0 {
            let earlier = counted(self.collected.dropped_epochs, "earlier epoch");
            writeln!(out, "\n{earlier} not shown; `ktm-dump runs` lists them")?;
            let first = self.collected.bins.front().map_or(0, |bin| bin.first_seq);
            while events.next_if(|event| event.seq < first).is_some() {}
        }
        let first = self
            .collected
            .bins
            .front()
            .map_or(u64::MAX, |bin| bin.first_seq);
        if events.peek().is_some_and(|event| event.seq < first) {
            writeln!(out)?;
        }
        // An epoch without any value, such as the time without a target, is told by its heading.
        let worth_lines: HashSet<(u32, u32)> = self
            .collected
            .bins
            .iter()
            .filter(|bin| layout.has_values(bin))
            .map(|bin| (bin.run, bin.epoch))
            .collect();
        let mut since_heading = usize::MAX;
        let mut previous: Option<&Bin> = None;
        for bin in &self.collected.bins {
            let same = |last: &Bin| (last.run, last.epoch) == (bin.run, bin.epoch);
            if !previous.is_some_and(same) {
                self.put_events(&mut events, bin.first_seq, out)?;
                self.epoch_heading(bin, out)?;
                let has_lines = worth_lines.contains(&(bin.run, bin.epoch));
                if has_lines && since_heading >= LINES_TO_A_HEADING {
                    for line in layout.headings() {
                        writeln!(out, "{}", self.presentation.paint(Colour::Dim, &line))?;
                    }
                    since_heading = 0;
                }
            }
            self.put_events(&mut events, bin.seq, out)?;
            previous = Some(bin);
            if !worth_lines.contains(&(bin.run, bin.epoch)) {
                continue;
            }
            let line = layout.line(&self.time(bin.last.realtime_ns), bin);
            writeln!(out, "{}", line.trim_end())?;
            since_heading = since_heading.saturating_add(1);
        }
        self.put_events(&mut events, u64::MAX, out)
    }

    /// `run 3, epoch 5: banyand (pid 4711), 18:30:00 to 18:45:10, 91 samples`, and what ended it.
    fn epoch_heading(&self, bin: &Bin, out: &mut dyn Write) -> io::Result<()> {
        let (span, next) = self.span(bin);
        let events = self.replay.snapshot.events();
        let watched = target(events, &span).map(|found| process(&found.event));
        let watched = watched.unwrap_or_else(|| "no target".into());
        let (from, to) = (
            self.time(span.first.realtime_ns),
            self.time(span.last.realtime_ns),
        );
        let when = if span.samples == 1 {
            to
        } else {
            format!("{from} to {to}")
        };
        let samples = counted(span.samples, "sample");
        let line = format!(
            "run {}, epoch {}: {watched}, {when}, {samples}",
            bin.run, bin.epoch
        );
        writeln!(out, "\n{}", self.presentation.paint(Colour::Bold, &line))?;
        match ending(events, &span, next.as_ref()) {
            Some(ended) => writeln!(out, "{}", self.ending_line(&ended)),
            None => Ok(()),
        }
    }

    /// The heading's span is that of the range, the end is the epoch's: where they may differ, the
    /// line says so.
    fn ending_line(&self, ended: &Ending) -> String {
        let what = &ended.what;
        match (self.replay.query.range.until_ns, ended.at_ns) {
            (Some(until), Some(at)) if at > until => {
                format!("goes on after this range; ended {}: {what}", self.time(at))
            }
            (Some(_), None) => format!("ended, in this range or after it: {what}"),
            _ => format!("ended: {what}"),
        }
    }

    /// The epoch of a bin as far as it is shown, and the next one.
    fn span(&self, bin: &Bin) -> (Span, Option<Span>) {
        let of = |bin: &Bin| Span {
            run: bin.run,
            epoch: bin.epoch,
            first: bin.first,
            last: bin.last,
            first_seq: bin.first_seq,
            last_seq: bin.seq,
            samples: bin.samples,
        };
        let mut span = of(bin);
        let later = self
            .collected
            .bins
            .iter()
            .filter(|other| other.first_seq > bin.first_seq);
        for other in later {
            if (other.run, other.epoch) != (bin.run, bin.epoch) {
                return (span, Some(of(other)));
            }
            span.add(&of(other));
        }
        (span, None)
    }

    fn events(&self) -> Vec<&RecordedEvent> {
        let range = self.replay.query.range;
        let events = self.replay.snapshot.events().iter();
        events
            .filter(|event| range.contains(event.stamp.realtime_ns))
            .collect()
    }

    /// Events before `seq`, a line each; probes of one start share one.
    fn put_events<'e>(
        &self,
        events: &mut std::iter::Peekable<std::vec::IntoIter<&'e RecordedEvent>>,
        seq: u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut probes: Vec<&'e RecordedEvent> = Vec::new();
        while let Some(event) = events.next_if(|event| event.seq < seq) {
            if event.event.kind == "probe" {
                probes.push(event);
                continue;
            }
            self.put_probes(&mut probes, out)?;
            self.put_event(event, &self.sentence(event), out)?;
        }
        self.put_probes(&mut probes, out)
    }

    fn put_probes(&self, probes: &mut Vec<&RecordedEvent>, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = probes.first() else {
            return Ok(());
        };
        let missing: Vec<&&RecordedEvent> = probes
            .iter()
            .filter(|probe| probe.event.field("source").is_none())
            .collect();
        let attached = counted((probes.len() - missing.len()) as u64, "probe");
        self.put_event(first, &format!("{attached} attached"), out)?;
        for probe in missing {
            self.put_event(probe, &self.sentence(probe), out)?;
        }
        probes.clear();
        Ok(())
    }

    fn sentence(&self, event: &RecordedEvent) -> String {
        sentence(&event.event, &self.presentation.zone)
    }

    fn put_event(&self, event: &RecordedEvent, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let line = format!("{}  * {text}", self.time(event.stamp.realtime_ns));
        let colour = match event.event.kind.as_str() {
            "target_lost" | "target_restarted" | "unclean_end" | "module_failed" => Colour::Red,
            _ => Colour::Yellow,
        };
        writeln!(out, "{}", self.presentation.paint(colour, &line))
    }

    /// What is not in the table, so that nothing is missing in silence.
    fn remarks(&self, layout: &Layout, out: &mut dyn Write) -> io::Result<()> {
        if self.collected.bins.is_empty() {
            return Ok(());
        }
        let mut remarks = Vec::new();
        let mut name = |what: &str, names: &[String]| {
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| printable(name)).collect();
                remarks.push(format!("{what}: {}", names.join(", ")));
            }
        };
        name("all zero", &layout.zero);
        name("absent, which is not zero", &layout.absent);
        name("no room for", &layout.narrow);
        remarks.extend(legend(&layout.shown));
        let others = self
            .replay
            .columns
            .list()
            .iter()
            .filter(|column| !is_key(column))
            .count();
        if self.by_key && others > 0 {
            let series = format!("{others} more series recorded");
            remarks.push(format!("{series}: choose with -m GLOB, or use -o csv"));
        }
        if remarks.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        for remark in remarks {
            for line in wrapped(&remark, self.presentation.width) {
                writeln!(out, "{}", self.presentation.paint(Colour::Dim, &line))?;
            }
        }
        Ok(())
    }

    fn is_one_day(&self) -> bool {
        let zone = &self.presentation.zone;
        let times = [
            self.collected.outcome.first_ns,
            self.collected.outcome.last_ns,
        ];
        let events = self.events();
        let of_events = [events.first(), events.last()].map(|e| e.map(|e| e.stamp.realtime_ns));
        let days = times
            .into_iter()
            .chain(of_events)
            .flatten()
            .map(|at| zone.day(at));
        let days: std::collections::BTreeSet<String> = days.collect();
        days.len() <= 1
    }

    fn time(&self, at_ns: i64) -> String {
        let zone = &self.presentation.zone;
        if self.one_day {
            zone.clock(at_ns)
        } else {
            zone.civil(at_ns).get(5..).unwrap_or_default().to_owned()
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Lines of at most `width` characters, broken at spaces, later ones indented.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let full = lines.last().is_some_and(|line| {
            !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width
        });
        if full {
            lines.push("   ".into());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
