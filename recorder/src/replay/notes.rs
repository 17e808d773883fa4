//! What a person should be told beside the answer: what of the range is missing, and what is
//! damaged.

use ktm_format::{Damage, Snapshot};

use super::engine::Outcome;
use super::query::Range;
use crate::time::{Reference, Zone, duration_text};

/// Data that begins or ends this much off what was asked for is worth a word.
const WORTH_A_WORD_NS: i64 = 60_000_000_000;

/// Damaged places listed one by one.
const PLACES: usize = 5;

/// Sentences about what the answer lacks. None where it lacks nothing.
pub fn notes(
    snapshot: &Snapshot,
    range: &Range,
    outcome: &Outcome,
    reference: &Reference,
) -> Vec<String> {
    let mut notes = Vec::new();
    let zone = &reference.zone;
    match (outcome.first_ns, outcome.last_ns) {
        (Some(first), Some(last)) => {
            notes.extend(
                range
                    .since_ns
                    .and_then(|since| begins_late(since, first, zone)),
            );
            // What has not happened yet cannot be missing.
            let until = range.until_ns.map(|until| until.min(reference.now_ns));
            notes.extend(until.and_then(|until| ends_early(until, last, zone)));
        }
        _ => notes.push(nothing(snapshot, range, reference)),
    }
    notes.extend(damage_notes(&outcome.damage));
    notes
}

fn begins_late(since: i64, first: i64, zone: &Zone) -> Option<String> {
    let late = first.saturating_sub(since);
    (late > WORTH_A_WORD_NS).then(|| {
        let (late, first) = (whole_seconds(late), zone.civil(first));
        format!("the data begins at {first} ({zone}), {late} later than asked")
    })
}

fn ends_early(until: i64, last: i64, zone: &Zone) -> Option<String> {
    let early = until.saturating_sub(last);
    (early > WORTH_A_WORD_NS).then(|| {
        let (early, last) = (whole_seconds(early), zone.civil(last));
        format!("the data ends at {last} ({zone}), {early} earlier than asked")
    })
}

/// Why there is nothing.
fn nothing(snapshot: &Snapshot, range: &Range, reference: &Reference) -> String {
    let zone = &reference.zone;
    let holds = match snapshot.bounds() {
        Some((first, last)) => {
            let (first, last) = (zone.civil(first), zone.civil(last));
            format!("the recording holds {first} to {last} ({zone})")
        }
        None => "the recording holds no samples at all".into(),
    };
    match range.since_ns {
        Some(since) if since > reference.now_ns => {
            let (since, now) = (zone.civil(since), zone.civil(reference.now_ns));
            format!("the range begins in the future: {since}, now it is {now} ({zone}); {holds}")
        }
        _ => format!("no samples in the range; {holds}"),
    }
}

fn whole_seconds(nanos: i64) -> String {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(0);
    duration_text(std::time::Duration::from_secs(seconds))
}

/// A sentence for each of the first damaged places.
pub fn damage_notes(damage: &[Damage]) -> Vec<String> {
    let mut notes: Vec<String> = damage
        .iter()
        .take(PLACES)
        .map(|damage| format!("damage {damage}"))
        .collect();
    if damage.len() > PLACES {
        notes.push(format!("damage in {} more places", damage.len() - PLACES));
    }
    notes
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series};

    use super::*;
    use crate::replay::fixture::{Fixture, SECOND};

    fn told(since: Option<i64>, until: Option<i64>, seen: Option<(i64, i64)>) -> Vec<String> {
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series: vec![Series::gauge("g", "")],
        };
        let mut fixture = Fixture::new();
        fixture
            .at(1000)
            .row(&schema, &[Some(1)])
            .at(2000)
            .row(&schema, &[Some(1)]);
        let range = Range {
            since_ns: since.map(|s| s * SECOND),
            until_ns: until.map(|s| s * SECOND),
        };
        let outcome = Outcome {
            first_ns: seen.map(|(first, _)| first * SECOND),
            last_ns: seen.map(|(_, last)| last * SECOND),
            ..Outcome::default()
        };
        let reference = Reference {
            now_ns: 5000 * SECOND,
            zone: Zone::utc(),
        };
        notes(&fixture.snapshot(), &range, &outcome, &reference)
    }

    #[test]
    fn a_minute_more_or_less_is_not_worth_a_word() {
        let seen = Some((1000, 2000));
        assert!(told(Some(940), Some(2060), seen).is_empty());
        assert!(told(None, None, seen).is_empty());
        let late = told(Some(939), None, seen);
        assert_eq!(
            late,
            ["the data begins at 1970-01-01 00:16:40 (UTC), 1m1s later than asked"]
        );
        let early = told(None, Some(2061), seen);
        assert_eq!(
            early,
            ["the data ends at 1970-01-01 00:33:20 (UTC), 1m1s earlier than asked"]
        );
    }

    #[test]
    fn the_future_is_not_missing() {
        assert!(told(None, Some(9000), Some((1000, 4990))).is_empty());
        let future = told(Some(6000), None, None);
        assert!(
            future[0].starts_with("the range begins in the future"),
            "{future:?}"
        );
        let before = told(None, Some(10), None);
        assert!(
            before[0].starts_with("no samples in the range; the recording holds"),
            "{before:?}"
        );
    }
}
