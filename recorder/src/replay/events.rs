//! Events: what happened, for programs and for people.

use std::io::{self, Write};

use ktm_format::{Event, RecordedEvent, Snapshot};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::presentation::Presentation;
use super::query::Range;
use crate::time::{Zone, parse_rfc3339, rfc3339_nanos};

/// A point in time that is RFC 3339 in UTC with nanoseconds wherever it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339_nanos(self.0))
    }
}

/// The events of a range, in recorded order. An array in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Events {
    /// The events.
    pub events: Vec<EventView>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// When it was recorded.
    pub timestamp: Time,
    /// Its place among all rows and events of the file.
    pub seq: u64,
    /// The run that recorded it.
    pub run: u32,
    /// The epoch in force.
    pub epoch: u32,
    /// What happened, in `snake_case`.
    pub kind: String,
    /// Details, an object of strings in JSON.
    #[serde(serialize_with = "as_object")]
    pub fields: Vec<(String, String)>,
}

pub(crate) fn as_object<S: Serializer>(
    fields: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (key, value) in fields {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// The events of a range.
pub fn events(snapshot: &Snapshot, range: &Range) -> Events {
    let wanted = |event: &&RecordedEvent| range.contains(event.stamp.realtime_ns);
    Events {
        events: snapshot
            .events()
            .iter()
            .filter(wanted)
            .map(EventView::of)
            .collect(),
    }
}

impl EventView {
    fn of(recorded: &RecordedEvent) -> EventView {
        EventView {
            timestamp: Time(recorded.stamp.realtime_ns),
            seq: recorded.seq,
            run: recorded.run,
            epoch: recorded.epoch,
            kind: recorded.event.kind.clone(),
            fields: recorded.event.fields.clone(),
        }
    }
}

impl Events {
    /// One line each: time, run and epoch, kind, details.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn print(&self, presentation: &Presentation, out: &mut dyn Write) -> io::Result<()> {
        let width = self
            .events
            .iter()
            .map(|event| event.kind.len())
            .max()
            .unwrap_or(0);
        for event in &self.events {
            let time = presentation.zone.civil(event.timestamp.0);
            let (run, epoch, kind) = (event.run, event.epoch, printable(&event.kind));
            write!(out, "{time}  run {run} epoch {epoch}  ")?;
            writeln!(
                out,
                "{}",
                format!("{kind:width$}{}", details(&event.fields)).trim_end()
            )?;
        }
        Ok(())
    }
}

fn details(fields: &[(String, String)]) -> String {
    let detail = |(key, value): &(String, String)| {
        let value = printable(value);
        let plain = !value.is_empty() && !value.contains([' ', '"', '=']);
        let value = if plain {
            value
        } else {
            format!("\"{}\"", value.replace('"', "\\\""))
        };
        format!("  {}={value}", printable(key))
    };
    fields.iter().map(detail).collect()
}

/// Text from a recording as a terminal may be shown it: control characters are spelled out.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
    }
    shown
}

/// What happened, in words.
pub(crate) fn sentence(event: &Event, zone: &Zone) -> String {
    let field = |name: &str| event.field(name).map(printable).unwrap_or_default();
    let after = |words: &str, name: &str| match event.field(name) {
        Some(value) if !value.is_empty() => format!("{words}{}", printable(value)),
        _ => String::new(),
    };
    match event.kind.as_str() {
        "start" => format!(
            "recorder started{}{}{}{}",
            after(": version ", "version"),
            after(", pid ", "pid"),
            after(", every ", "interval"),
            after(", previous run: ", "previous")
        ),
        "stop" => {
            format!(
                "recorder stopped{}{}",
                after(": ", "reason"),
                after(", samples: ", "samples")
            )
        }
        "unclean_end" => {
            let last = event
                .field("last_sample")
                .and_then(|text| parse_rfc3339(text).ok());
            let last = last.map(|at| format!(", last record at {}", zone.civil(at)));
            format!(
                "run {} had ended without a stop{}",
                field("run"),
                last.unwrap_or_default()
            )
        }
        "target_wait" => format!("no target yet{}", after(", waiting for ", "matcher")),
        "target_found" => format!("target found: {}", process(event)),
        "target_lost" => {
            let oom = event.field("oom").is_some_and(|oom| oom == "true");
            format!(
                "target lost: {}{}{}{}",
                process(event),
                after(", ", "exit"),
                if oom { ", by the OOM killer" } else { "" },
                after(", had lived ", "lived")
            )
        }
        "target_restarted" => format!(
            "target restarted: {}{}{}",
            process(event),
            after(", was pid ", "old_pid"),
            after(", which ", "exit")
        ),
        "gap" => format!("gap of {} s{}", field("seconds"), after(": ", "reason")),
        "late" => format!("sample late by {} s", field("lateness_seconds")),
        "clock_step" => format!("clock stepped by {} s", field("seconds")),
        "probe" if event.field("source").is_some() => {
            format!("probe {} on {}", field("signal"), field("source"))
        }
        "probe" => format!("no probe for {}{}", field("signal"), after(": ", "reason")),
        "sample_now" => "sample taken on request".into(),
        "module_failed" => format!("module {} failed{}", field("module"), after(": ", "reason")),
        "module_recovered" => format!("module {} works again", field("module")),
        "mark" => format!("mark: {}", field("text")),
        kind => format!("{}{}", printable(kind), details(&event.fields)),
    }
}

/// `banyand (pid 4711)`.
pub(crate) fn process(event: &Event) -> String {
    let field = |name: &str| event.field(name).map(printable);
    match (field("comm"), field("pid")) {
        (Some(comm), Some(pid)) => format!("{comm} (pid {pid})"),
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => "unknown process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::fixture::Fixture;

    fn fixture() -> Fixture {
        let mut fixture = Fixture::new();
        fixture
            .at(10)
            .event(Event::new("mark").with("text", "de \"ploy\"\u{1b}[31m"));
        fixture
            .at(20)
            .event(Event::new("novel").with("a", "1").with("b", ""));
        fixture
    }

    #[test]
    fn events_are_json_with_fields_in_their_order() {
        let events = events(&fixture().snapshot(), &Range::default());
        let mut out = Vec::new();
        crate::replay::write_json(&events, &mut out).expect("a Vec");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("[\n  {\n    \"timestamp\": \"1970-01-01T00:00:10.000000000Z\","));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json[1]["fields"], serde_json::json!({"a": "1", "b": ""}));
    }

    #[test]
    fn a_range_chooses_events_by_their_time() {
        let range = Range {
            since_ns: Some(11_000_000_000),
            until_ns: None,
        };
        let events = events(&fixture().snapshot(), &range).events;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, "novel");
    }

    #[test]
    fn a_recording_cannot_steer_the_terminal() {
        let events = events(&fixture().snapshot(), &Range::default());
        let mut out = Vec::new();
        let plain = Presentation::plain(Zone::utc(), "box.ktm");
        events.print(&plain, &mut out).expect("a Vec");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "1970-01-01 00:00:10  run 1 epoch 1  mark   text=\"de \\\"ploy\\\"\\u{1b}[31m\"\n\
             1970-01-01 00:00:20  run 1 epoch 1  novel  a=1  b=\"\"\n"
        );
    }

    #[test]
    fn sentences_leave_out_what_is_not_known() {
        assert_eq!(
            sentence(&Event::new("target_lost"), &Zone::utc()),
            "target lost: unknown process"
        );
        let lost = Event::new("target_lost")
            .with("comm", "banyand")
            .with("pid", 7);
        let lost = lost
            .with("exit", "killed by SIGKILL")
            .with("oom", "true")
            .with("lived", "3h");
        assert_eq!(
            sentence(&lost, &Zone::utc()),
            "target lost: banyand (pid 7), killed by SIGKILL, by the OOM killer, had lived 3h"
        );
        assert_eq!(
            sentence(&Event::new("novel").with("a", "b c"), &Zone::utc()),
            "novel  a=\"b c\""
        );
    }
}
