//! Points in time, lengths of time and ranges, as people write them.
//!
//! Nothing panics, and an error points into the text. What is well formed means what an independent
//! computation says, what we print reads back, and later texts are later points.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use ktm_recorder::replay::{Query, QueryText, Range};
use ktm_recorder::time::{
    Reference, TimeError, Zone, duration_text, parse_duration, parse_point, parse_rfc3339,
    rfc3339_nanos,
};

use crate::{Target, Twin, Verdict, ensure, insist};

/// This target.
pub const TARGET: Target = Target {
    name: "time_range",
    check,
    twins: &[
        Twin {
            bug: "an offset's sign is not looked at",
            check: |data| {
                over(
                    data,
                    &Parser {
                        point: |text, reference| parse_point(&text.replace('+', "-"), reference),
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "a fraction of a second is cut to microseconds",
            check: |data| {
                over(
                    data,
                    &Parser {
                        point: |text, reference| Ok(parse_point(text, reference)? / 1000 * 1000),
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "a range ends before its end",
            check: |data| {
                over(
                    data,
                    &Parser {
                        contains: |range, at| range.contains(at) && range.until_ns != Some(at),
                        ..HONEST
                    },
                )
            },
        },
        Twin {
            bug: "m is a month of thirty days",
            check: |data| {
                over(
                    data,
                    &Parser {
                        point: |text, reference| parse_point(&text.replace("min", "d"), reference),
                        ..HONEST
                    },
                )
            },
        },
    ],
};

/// What is under test.
struct Parser {
    point: fn(&str, &Reference) -> std::result::Result<i64, TimeError>,
    contains: fn(&Range, i64) -> bool,
}

const HONEST: Parser = Parser {
    point: parse_point,
    contains: |range, at| range.contains(at),
};

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, &HONEST)
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn over(data: &[u8], parser: &Parser) -> Verdict {
    let Some((mode, bytes)) = data.split_first() else {
        return Ok(());
    };
    let mut u = Unstructured::new(bytes);
    let verdict = match mode % 6 {
        0 => return any_text(&String::from_utf8_lossy(bytes), parser),
        1 => printed(&mut u, parser),
        2 => relative(&mut u, parser),
        3 => civil(&mut u, parser),
        4 => duration(&mut u),
        _ => range(&mut u, parser),
    };
    // Bytes that are too few for what they would have to be say nothing.
    verdict.unwrap_or(Ok(()))
}

/// 2026-11-20T14:23:21Z.
const NOW: i64 = 1_795_184_601_000_000_000;

const RULE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

fn reference(now_ns: i64, zone: &str) -> Reference {
    Reference {
        now_ns,
        zone: Zone::named(zone).expect("a zone"),
    }
}

fn points_into(error: &TimeError, text: &str) -> Verdict {
    let places = 1..=text.chars().count() + 1;
    ensure(places.contains(&error.column()), || {
        format!("the error points outside the text: {error}")
    })?;
    ensure(error.text() == text && !error.what().is_empty(), || {
        format!("the error is about another text than {text:?}: {error}")
    })
}

fn any_text(text: &str, parser: &Parser) -> Verdict {
    let reference = reference(NOW, RULE);
    let point = (parser.point)(text, &reference);
    match &point {
        Err(error) => points_into(error, text)?,
        Ok(point) => {
            let padded = format!(" {text}  ");
            ensure(
                (parser.point)(&padded, &reference).as_ref() == Ok(point),
                || format!("{text:?} means something else with spaces around it"),
            )?;
        }
    }
    if let Err(error) = Zone::named(text) {
        points_into(&error, text)?;
    }
    match parse_duration(text) {
        Err(error) => points_into(&error, text)?,
        Ok(duration) => {
            let ago =
                i128::from(NOW) - i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 2);
            let expected = i64::try_from(ago).ok();
            ensure(
                expected.is_none() || point.as_ref().ok() == expected.as_ref(),
                || format!("{text:?} is {duration:?} long, and {point:?} as a point"),
            )?;
        }
    }
    let Ok(strict) = parse_rfc3339(text) else {
        return Ok(());
    };
    let theirs = text.parse::<Timestamp>().map(Timestamp::as_nanosecond);
    ensure(theirs.as_ref().ok() == Some(&i128::from(strict)), || {
        format!("{text:?} is {strict}, and {theirs:?} to another parser")
    })?;
    ensure(point == Ok(strict), || {
        format!("{text:?} is {strict} as RFC 3339 and {point:?} as a point")
    })
}

/// What we print, and the same point in other ways.
fn printed(u: &mut Unstructured<'_>, parser: &Parser) -> Result<Verdict> {
    let point: i64 = u.arbitrary()?;
    let offset = u.int_in_range(-1439..=1439)?;
    let reference = reference(NOW, u.choose(&["UTC", "+05:30", RULE])?);
    let mut texts = vec![rfc3339_nanos(point)];
    let (seconds, nanos) = (
        point.div_euclid(1_000_000_000),
        point.rem_euclid(1_000_000_000),
    );
    if seconds >= 0 {
        texts.push(format!("@{seconds}.{nanos:09}"));
    }
    let zone = Offset::from_seconds(offset * 60).expect("within a day");
    let there = zone.to_datetime(Timestamp::from_nanosecond(point.into()).expect("in range"));
    // Beyond what 64 bits hold, the local time may be out of their range though the point is not.
    if (1678..2262).contains(&there.year()) {
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        texts.push(format!("{there:.9}{sign}{hours:02}:{minutes:02}"));
        texts.push(format!(
            "{} {sign}{hours:02}{minutes:02}",
            there.strftime("%F %T%.9f")
        ));
    }
    Ok(texts.iter().try_for_each(|text| {
        let read = (parser.point)(text, &reference);
        ensure(read == Ok(point), || {
            format!("{text:?} is {point} and is read as {read:?}")
        })
    }))
}

const UNITS: [(&str, i128); 8] = [
    ("w", 604_800_000_000_000),
    ("days", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// Terms of some units, the largest first, and their sum.
fn terms(u: &mut Unstructured<'_>) -> Result<(String, i128)> {
    let mut text = String::new();
    let mut sum = 0;
    let chosen: u8 = u.arbitrary()?;
    for (index, (name, length)) in UNITS.into_iter().enumerate() {
        // At least one term: days, if nothing else.
        if chosen >> index & 1 == 1 || (chosen == 0 && index == 1) {
            let count: u16 = u.arbitrary()?;
            let space = if u.arbitrary()? { " " } else { "" };
            let between = if text.is_empty() { "" } else { space };
            text += &format!("{between}{count}{space}{name}");
            sum += i128::from(count) * length;
        }
    }
    Ok((text, sum))
}

fn relative(u: &mut Unstructured<'_>, parser: &Parser) -> Result<Verdict> {
    let reference = reference(u.arbitrary()?, "UTC");
    let ((one, first), (other, second)) = (terms(u)?, terms(u)?);
    let read = |text: &str, sum: i128| -> std::result::Result<Option<i64>, String> {
        let expected = i64::try_from(i128::from(reference.now_ns) - sum).ok();
        for text in [text.to_owned(), format!("-{text}"), format!("{text} ago")] {
            let found = (parser.point)(&text, &reference);
            if found.as_ref().ok() != expected.as_ref() {
                let now = reference.now_ns;
                return Err(format!(
                    "{text:?} at {now} is {expected:?}, read as {found:?}"
                ));
            }
        }
        Ok(expected)
    };
    let points = read(&one, first).and_then(|one| Ok((one, read(&other, second)?)));
    Ok(points.and_then(|points| match points {
        (Some(a), Some(b)) => ensure((a >= b) == (first <= second), || {
            format!("{one:?} and {other:?} ago are in the wrong order")
        }),
        _ => Ok(()),
    }))
}

fn civil(u: &mut Unstructured<'_>, parser: &Parser) -> Result<Verdict> {
    let zones = [
        ("UTC", TimeZone::UTC),
        ("-11:00", Offset::constant(-11).to_time_zone()),
        ("+14:00", Offset::constant(14).to_time_zone()),
        (RULE, TimeZone::posix(RULE).expect("a rule")),
    ];
    let (name, zone) = u.choose(&zones)?;
    let reference = reference(NOW, name);
    let start = DateTime::constant(1600, 1, 1, 0, 0, 0, 0);
    let days: i32 = u.int_in_range(0..=300_000)?;
    let seconds: i32 = u.int_in_range(0..=86_399)?;
    let nanos: i32 = u.int_in_range(0..=999_999_999)?;
    let time = start
        .checked_add(days.days())
        .and_then(|time| time.checked_add(seconds.seconds()))
        .and_then(|time| time.checked_add(nanos.nanoseconds()))
        .expect("before the year 2500");
    let whole = time.with().subsec_nanosecond(0).build().expect("a time");
    let minute = whole.with().second(0).build().expect("a time");
    let texts = [
        (time.strftime("%F %T%.9f").to_string(), time),
        (time.strftime("%FT%T").to_string(), whole),
        (time.strftime("%F %H:%M").to_string(), minute),
        (time.strftime("%F").to_string(), time.date().at(0, 0, 0, 0)),
    ];
    Ok(texts.iter().try_for_each(|(text, time)| {
        // The library chooses as we do: what is skipped as if not yet changed, the first of two.
        let instant = time.to_zoned(zone.clone()).map(|at| at.timestamp());
        let expected = instant
            .ok()
            .and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        let found = (parser.point)(text, &reference);
        ensure(found.as_ref().ok() == expected.as_ref(), || {
            format!("{text:?} in {name} is {expected:?}, read as {found:?}")
        })
    }))
}

fn duration(u: &mut Unstructured<'_>) -> Result<Verdict> {
    let duration = Duration::from_nanos(u.arbitrary()?);
    let text = duration_text(duration);
    let read = parse_duration(&text);
    Ok(ensure(read.as_ref() == Ok(&duration), || {
        format!("{duration:?} is printed as {text:?}, which is read as {read:?}")
    }))
}

fn range(u: &mut Unstructured<'_>, parser: &Parser) -> Result<Verdict> {
    let (since, until): (i64, i64) = (u.arbitrary()?, u.arbitrary()?);
    let text = QueryText {
        since: Some(rfc3339_nanos(since)),
        until: Some(rfc3339_nanos(until)),
        ..QueryText::default()
    };
    let query = Query::parse(&text, &reference(NOW, "UTC"));
    let range = match query {
        Ok(query) => query.range,
        Err(error) => {
            return Ok(ensure(since > until, || {
                format!("{text:?} is refused: {error}")
            }));
        }
    };
    if since > until {
        return Ok(Err(format!("{text:?} is taken, and ends before it begins")));
    }
    let near = [since, until].map(|end| [end.saturating_sub(1), end, end.saturating_add(1)]);
    Ok(near.iter().flatten().try_for_each(|at| {
        let expected = since <= *at && *at <= until;
        ensure((parser.contains)(&range, *at) == expected, || {
            format!("{at} is in {text:?}: {expected}, the range says otherwise")
        })
    }))
}
