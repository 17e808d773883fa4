//! Comparing what was recorded with what is known to have happened.

use std::collections::BTreeMap;

use crate::table::{Instant, Table};
use crate::work::{ADVICE, CallCounts, Counts};

/// What a counter must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This.
    Exactly(u64),
    /// Neither less nor more than these.
    Within(u64, u64),
}

impl Expected {
    fn admits(self, value: u64) -> bool {
        match self {
            Expected::Exactly(wanted) => value == wanted,
            Expected::Within(least, most) => (least..=most).contains(&value),
        }
    }
}

/// What the counters of calls and bytes must show of this work.
pub fn expected_calls(counts: &Counts) -> BTreeMap<String, Expected> {
    let mut expected = BTreeMap::new();
    for (name, call) in [
        ("read", &counts.read),
        ("pread", &counts.pread),
        ("write", &counts.write),
        ("pwrite", &counts.pwrite),
        ("fsync", &counts.fsync),
    ] {
        expect_call(&mut expected, name, call);
    }
    let mut exactly = |name: String, value| {
        expected.insert(name, Expected::Exactly(value));
    };
    for (advice, results) in ADVICE.iter().zip(counts.fadvise) {
        for (result, calls) in ["ok", "error"].iter().zip(results) {
            let labels = format!("{{advice=\"{advice}\",result=\"{result}\"}}");
            exactly(format!("ktm_fadvise_advice_calls_total{labels}"), calls);
        }
    }
    let dontneed = counts.fadvise[4].iter().sum();
    exactly("ktm_fadvise_calls_total".to_owned(), counts.fadvise_all());
    exactly("ktm_fadvise_dontneed_total".to_owned(), dontneed);
    exactly("ktm_iomonitor_lost_total".to_owned(), 0);
    expected
}

/// What the counters of the page cache must show of this work.
pub fn expected_pages(counts: &Counts) -> BTreeMap<String, Expected> {
    let misses = Expected::Within(counts.misses_min, counts.misses_max);
    let lookups = Expected::Within(counts.buffered_reads(), u64::MAX);
    [
        ("ktm_cache_fills_total", Expected::Exactly(counts.filled)),
        ("ktm_cache_deletes_total", Expected::Exactly(counts.deleted)),
        ("ktm_cache_misses_total", misses),
        ("ktm_cache_lookups_total", lookups),
    ]
    .map(|(name, expected)| (name.to_owned(), expected))
    .into()
}

fn expect_call(expected: &mut BTreeMap<String, Expected>, name: &str, counts: &CallCounts) {
    let mut insert = |suffix: &str, value| {
        expected.insert(format!("ktm_sys_{name}_{suffix}"), value);
    };
    if name != "fsync" {
        insert("bytes_total", Expected::Exactly(counts.bytes));
    }
    insert("errors_total", Expected::Exactly(counts.errors));
    insert("again_total", Expected::Exactly(counts.again));
    let calls = Expected::Exactly(counts.calls);
    insert("latency_seconds_count", calls);
    insert("latency_seconds_bucket{le=\"+Inf\"}", calls);
    // The kernel's part of every call lies within what the caller measured.
    let least = u64::from(counts.calls > 0);
    let sum = Expected::Within(least, counts.nanoseconds);
    insert("latency_seconds_sum", sum);
}

/// Compares one instant's counters, which began at zero in its epoch, with what they must show.
///
/// # Errors
///
/// One line for each counter that differs.
pub fn equal(instant: &Instant, expected: BTreeMap<String, Expected>) -> Result<(), String> {
    let wrong: Vec<String> = expected
        .into_iter()
        .filter_map(|(series, expected)| match instant.whole(&series) {
            Ok(value) if expected.admits(value) => None,
            Ok(value) => Some(format!("{series} is {value}, not {expected:?}")),
            Err(why) => Some(why),
        })
        .collect();
    said(wrong)
}

/// Every instant that was seen before must be in the recording unchanged: same time, same epoch,
/// same values, same order, and none twice. Only the last one seen may have more values by now: the
/// rows of an instant are written one after the other.
///
/// # Errors
///
/// One line for each that is missing or differs.
pub fn all_kept(seen: &Table, recorded: &Table) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut rest = recorded.instants.iter();
    for (index, instant) in seen.instants.iter().enumerate() {
        let may_have_grown = index + 1 == seen.instants.len();
        let mut others = rest.clone();
        match others.find(|other| other.timestamp == instant.timestamp) {
            None => wrong.push(format!("{} is not there", instant.timestamp)),
            Some(other) => {
                rest = others;
                wrong.extend(difference(instant, other, may_have_grown));
            }
        }
    }
    said(wrong)
}

fn difference(seen: &Instant, recorded: &Instant, may_have_grown: bool) -> Option<String> {
    let time = &seen.timestamp;
    if seen.epoch != recorded.epoch {
        return Some(format!("{time} has another epoch: {}", recorded.epoch));
    }
    if seen.values.len() != recorded.values.len() && !may_have_grown {
        return Some(format!("{time} has {} values", recorded.values.len()));
    }
    let mut values = seen.values.iter();
    let (series, value) =
        values.find(|(series, value)| recorded.values.get(*series) != Some(*value))?;
    Some(format!(
        "{time} has another value of {series}, which was {value}"
    ))
}

/// Every instant has a time of its own, later than the one before.
///
/// # Errors
///
/// One line for each that has not.
pub fn times_increase(table: &Table) -> Result<(), String> {
    let pairs = table.instants.windows(2);
    said(
        pairs
            .filter(|pair| pair[0].unix_ns >= pair[1].unix_ns)
            .map(|pair| format!("{} follows {}", pair[1].timestamp, pair[0].timestamp))
            .collect(),
    )
}

/// Within an epoch no counter ever falls.
///
/// # Errors
///
/// One line for each that does.
pub fn counters_never_fall(table: &Table) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut before: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for instant in &table.instants {
        for series in instant.values.keys().filter(|series| is_cumulative(series)) {
            let value = instant.whole(series)?;
            let last = before.insert((instant.epoch, series), value);
            if last.is_some_and(|last| last > value) {
                wrong.push(format!("{series} fell to {value} at {}", instant.timestamp));
            }
        }
    }
    said(wrong)
}

fn is_cumulative(series: &str) -> bool {
    let name = series.split_once('{').map_or(series, |(name, _)| name);
    ["_total", "_bucket", "_sum", "_count"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn said(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let call = |calls| CallCounts {
            calls,
            bytes: calls * 100,
            errors: calls + 1,
            again: calls + 2,
            nanoseconds: calls * 1000,
        };
        Counts {
            fadvise: [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12], [0, 13]],
            read: call(1),
            pread: call(2),
            write: call(3),
            pwrite: call(4),
            fsync: call(5),
            filled: 600,
            deleted: 700,
            misses_min: 8,
            misses_max: 9,
        }
    }

    fn everything(counts: &Counts) -> BTreeMap<String, Expected> {
        let mut all = expected_calls(counts);
        all.extend(expected_pages(counts));
        all
    }

    fn counters_equal(instant: &Instant, counts: &Counts) -> Result<(), String> {
        equal(instant, everything(counts))
    }

    /// An instant that shows exactly this work.
    fn faithful(counts: &Counts) -> Instant {
        let text = |(series, expected): (String, Expected)| {
            let value = match expected {
                Expected::Exactly(value) | Expected::Within(value, _) => value,
            };
            let text = match series.ends_with("_seconds_sum") {
                true => format!("0.{value:09}"),
                false => value.to_string(),
            };
            (series, text)
        };
        Instant {
            timestamp: "2026-11-20T18:30:00.000000000Z".to_owned(),
            unix_ns: 0,
            epoch: 1,
            values: everything(counts).into_iter().map(text).collect(),
        }
    }

    #[test]
    fn the_faithful_recording_passes() {
        assert_eq!(counters_equal(&faithful(&counts()), &counts()), Ok(()));
    }

    #[test]
    fn one_more_or_one_fewer_in_any_counter_is_noticed() {
        let faithful = faithful(&counts());
        for (series, expected) in everything(&counts()) {
            let Expected::Exactly(value) = expected else {
                continue;
            };
            for wrong in [value + 1, value.wrapping_sub(1)] {
                let mut bad = faithful.clone();
                bad.values.insert(series.clone(), wrong.to_string());
                let said = counters_equal(&bad, &counts()).expect_err(&series);
                assert!(said.contains(&series), "{said}");
            }
        }
    }

    #[test]
    fn an_absent_counter_and_a_latency_longer_than_the_caller_saw_are_noticed() {
        for series in everything(&counts()).into_keys() {
            let mut bad = faithful(&counts());
            bad.values.remove(&series);
            assert!(counters_equal(&bad, &counts()).is_err(), "{series}");
        }
        let mut bad = faithful(&counts());
        let sum = "ktm_sys_pread_latency_seconds_sum".to_owned();
        bad.values.insert(sum, "0.000002001".to_owned());
        assert!(counters_equal(&bad, &counts()).is_err());
    }

    #[test]
    fn a_workload_that_says_one_call_too_many_is_noticed() {
        let mut wrong = counts();
        wrong.fadvise[4][0] += 1;
        let said = counters_equal(&faithful(&counts()), &wrong).expect_err("off by one");
        assert_eq!(said.lines().count(), 3, "{said}");
    }

    fn table(times: &[u32]) -> Table {
        let instant = |second: &u32| Instant {
            timestamp: format!("2026-11-20T18:30:{second:02}Z"),
            unix_ns: i128::from(*second) * 1_000_000_000,
            epoch: 1,
            values: [("a_total".to_owned(), second.to_string())].into(),
        };
        Table {
            series: vec!["a_total".to_owned()],
            instants: times.iter().map(instant).collect(),
        }
    }

    #[test]
    fn a_missing_a_changed_and_a_moved_instant_are_noticed() {
        let seen = table(&[1, 2, 3]);
        assert_eq!(all_kept(&seen, &table(&[1, 2, 3, 4])), Ok(()));
        assert_eq!(all_kept(&seen, &table(&[0, 1, 2, 3])), Ok(()));
        assert!(all_kept(&seen, &table(&[1, 3])).is_err(), "missing");
        assert!(
            all_kept(&seen, &table(&[1, 2])).is_err(),
            "missing at the end"
        );
        assert!(all_kept(&seen, &table(&[1, 3, 2])).is_err(), "moved");
        let mut changed = seen.clone();
        changed.instants[1]
            .values
            .insert("a_total".to_owned(), "7".to_owned());
        assert!(all_kept(&seen, &changed).is_err(), "changed value");
        let mut changed = seen.clone();
        changed.instants[1].epoch = 2;
        assert!(all_kept(&seen, &changed).is_err(), "changed epoch");
        for (index, allowed) in [(1, false), (2, true)] {
            let mut grown = seen.clone();
            grown.instants[index]
                .values
                .insert("b_total".to_owned(), "7".to_owned());
            assert_eq!(
                all_kept(&seen, &grown).is_ok(),
                allowed,
                "a value more at {index}"
            );
            assert!(all_kept(&grown, &seen).is_err(), "a value fewer at {index}");
        }
    }

    #[test]
    fn a_time_that_stands_still_and_a_counter_that_falls_are_noticed() {
        assert_eq!(times_increase(&table(&[1, 2, 3])), Ok(()));
        assert!(times_increase(&table(&[1, 2, 2])).is_err());
        assert_eq!(counters_never_fall(&table(&[1, 2, 2])), Ok(()));
        assert!(counters_never_fall(&table(&[1, 3, 2])).is_err());
        let mut restarted = table(&[1, 3, 2]);
        restarted.instants[2].epoch = 2;
        assert_eq!(
            counters_never_fall(&restarted),
            Ok(()),
            "another epoch has another zero"
        );
    }
}
