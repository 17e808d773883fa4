//! Points in time: `1h ago`, `14:03`, `2026-11-20 14:03`, RFC 3339, `@epoch`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::Time;

use super::duration::parse_terms;
use super::scanner::{ACCEPTED, Scanner};
use super::{TimeError, Zone};

/// What `now`, `1h ago` and times without a date or zone refer to.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The time of asking, nanoseconds since 1970-01-01T00:00:00Z.
    pub now_ns: i64,
    /// The zone of times that name none.
    pub zone: Zone,
}

impl Reference {
    /// The machine's clock, and this zone.
    pub fn now(zone: Zone) -> Reference {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Reference {
            now_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            zone,
        }
    }
}

/// Reads a point in time, as nanoseconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use ktm_recorder::time::{Reference, Zone, parse_point};
/// let reference = Reference { now_ns: 7_200_000_000_000, zone: Zone::utc() };
/// assert_eq!(parse_point("1h ago", &reference)?, 3_600_000_000_000);
/// assert_eq!(parse_point("01:30", &reference)?, 5_400_000_000_000);
/// assert_eq!(parse_point("@90.5", &reference)?, 90_500_000_000);
/// # Ok::<(), ktm_recorder::time::TimeError>(())
/// ```
///
/// # Errors
///
/// [`TimeError`] says what was wrong, where, and what is accepted.
pub fn parse_point(text: &str, reference: &Reference) -> Result<i64, TimeError> {
    let start = text.len() - text.trim_start().len();
    let end = text.trim_end().len();
    let mut scanner = Scanner {
        text,
        at: start,
        end: end.max(start),
    };
    let rest = scanner.rest();
    if rest.is_empty() {
        return Err(scanner.fail("empty"));
    }
    if rest.starts_with('@') {
        return epoch(&mut scanner);
    }
    if rest.starts_with(|c: char| c.is_alphabetic()) {
        return keyword(&mut scanner, reference);
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match (digits, rest.as_bytes().get(digits)) {
        (4.., Some(b'-')) => date_and_time(&mut scanner, reference),
        (1.., Some(b':')) => {
            let date = reference.zone.date(reference.now_ns);
            let time = scanner.time_of_day()?;
            scanner.finish("after the time of day")?;
            scanner.civil(date.to_datetime(time), reference)
        }
        _ => relative(&mut scanner, reference),
    }
}

/// Reads RFC 3339 and nothing else, as the Discovery Proxy does.
///
/// # Errors
///
/// A sentence that says what was wrong.
pub fn parse_rfc3339(text: &str) -> Result<i64, String> {
    let mut scanner = Scanner {
        text,
        at: 0,
        end: text.len(),
    };
    let mut read = || -> Result<i64, TimeError> {
        let date = scanner.date()?;
        if !scanner.take('T') {
            return Err(scanner.fail("\"T\" is expected between date and time"));
        }
        // Elsewhere an hour may have one digit, seconds may be left out, and a zone may stand
        // apart, be a word or lack its minutes.
        if !matches!(scanner.rest().as_bytes(), [_, _, b':', _, _, b':', ..]) {
            return Err(scanner.fail("HH:MM:SS is expected"));
        }
        let time = scanner.time_of_day()?;
        if !matches!(
            scanner.rest().as_bytes(),
            [] | [b'Z'] | [b'+' | b'-', _, _, b':', _, _]
        ) {
            return Err(scanner.fail("Z or an offset such as +01:00 is expected"));
        }
        let Some(offset) = scanner.zone_suffix()? else {
            return Err(scanner.fail("a zone is missing: Z or an offset such as +01:00"));
        };
        scanner.finish("after the zone")?;
        scanner.fixed(date.to_datetime(time), offset)
    };
    read().map_err(|error| {
        format!(
            "{:?}: {} (at character {}); accepted: RFC 3339, such as 2026-11-20T14:03:21Z",
            error.text(),
            error.what(),
            error.column()
        )
    })
}

fn epoch(scanner: &mut Scanner<'_>) -> Result<i64, TimeError> {
    scanner.take('@');
    let at = scanner.at;
    let rest = scanner.rest();
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(scanner.fail(format!("{rest:?} is not a number of seconds")));
    }
    let nanos = format!("{fraction:0<9}");
    whole
        .parse::<i64>()
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .and_then(|point| point.checked_add(nanos.parse().ok()?))
        .ok_or_else(|| scanner.fail_at(at, "too far in the future"))
}

fn keyword(scanner: &mut Scanner<'_>, reference: &Reference) -> Result<i64, TimeError> {
    let at = scanner.at;
    let word = scanner.word();
    let today = reference.zone.date(reference.now_ns);
    let date = match word {
        "now" => {
            scanner.finish("after \"now\"")?;
            return Ok(reference.now_ns);
        }
        "today" => today,
        "yesterday" => today.yesterday().unwrap_or(today),
        _ => return Err(scanner.fail_at(at, format!("{word:?} is not a word for a time"))),
    };
    let time = if scanner.skip_spaces() {
        scanner.time_of_day()?
    } else {
        Time::midnight()
    };
    scanner.finish("after the time of day")?;
    scanner.civil(date.to_datetime(time), reference)
}

fn date_and_time(scanner: &mut Scanner<'_>, reference: &Reference) -> Result<i64, TimeError> {
    let date = scanner.date()?;
    if scanner.rest().is_empty() {
        return scanner.civil(date.to_datetime(Time::midnight()), reference);
    }
    if !scanner.take('T') && !scanner.skip_spaces() {
        return Err(scanner.fail("a space or \"T\" and a time are expected after the date"));
    }
    let time = scanner.time_of_day()?;
    let offset = scanner.zone_suffix()?;
    scanner.finish("after the time")?;
    let civil = date.to_datetime(time);
    match offset {
        Some(offset) => scanner.fixed(civil, offset),
        None => scanner.civil(civil, reference),
    }
}

fn relative(scanner: &mut Scanner<'_>, reference: &Reference) -> Result<i64, TimeError> {
    let minus = scanner.take('-');
    let rest = scanner.rest();
    let without = rest.strip_suffix("ago").map(str::trim_end);
    if minus && without.is_some() {
        return Err(scanner.fail("either \"-\" or \"ago\", not both"));
    }
    let end = scanner.at + without.unwrap_or(rest).len();
    let nanos = parse_terms(scanner.text, scanner.at, end, ACCEPTED)?;
    i64::try_from(i128::from(reference.now_ns) - i128::try_from(nanos).unwrap_or(i128::MAX / 2))
        .map_err(|_| scanner.fail("too far in the past"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;
    /// 2026-11-20T14:23:21Z.
    const NOW: i64 = 1_795_184_601_000_000_000;

    fn in_zone(zone: &str) -> Reference {
        Reference {
            now_ns: NOW,
            zone: Zone::named(zone).expect("a zone"),
        }
    }

    fn shown(text: &str, zone: &str) -> String {
        match parse_point(text, &in_zone(zone)) {
            Ok(point) => super::super::rfc3339_nanos(point).replace(".000000000", ""),
            Err(error) => format!("{}@{}", error.what(), error.column()),
        }
    }

    #[test]
    fn relative_times_count_back_from_now() {
        for text in ["1h", "-1h", "1h ago", "60m", "1 hour ago", " 1h ", "1hago"] {
            assert_eq!(parse_point(text, &in_zone("UTC")), Ok(NOW - HOUR), "{text}");
        }
        assert_eq!(parse_point("3d2h", &in_zone("UTC")), Ok(NOW - 74 * HOUR));
        assert_eq!(parse_point("now", &in_zone("UTC")), Ok(NOW));
    }

    #[test]
    fn days_and_times_of_day_are_the_zone_s() {
        assert_eq!(shown("today", "UTC"), "2026-11-20T00:00:00Z");
        assert_eq!(shown("yesterday", "UTC"), "2026-11-19T00:00:00Z");
        assert_eq!(shown("today", "+10:00"), "2026-11-20T14:00:00Z");
        assert_eq!(shown("today", "-10:00"), "2026-11-20T10:00:00Z");
        assert_eq!(shown("14:03", "+01:00"), "2026-11-20T13:03:00Z");
        assert_eq!(shown("9:05:07", "UTC"), "2026-11-20T09:05:07Z");
        assert_eq!(shown("yesterday 23:10", "UTC"), "2026-11-19T23:10:00Z");
        assert_eq!(shown("2026-11-18", "+01:00"), "2026-11-17T23:00:00Z");
        assert_eq!(
            shown("2026-11-18 14:03:21.25", "UTC"),
            "2026-11-18T14:03:21.250000000Z"
        );
    }

    #[test]
    fn a_written_zone_wins() {
        for text in [
            "2026-11-20T14:03:21Z",
            "2026-11-20 14:03:21 UTC",
            "2026-11-20T15:03:21+01:00",
            "2026-11-20 09:03:21-0500",
            "2026-11-20 15:03:21 +01",
        ] {
            assert_eq!(shown(text, "+05:00"), "2026-11-20T14:03:21Z", "{text}");
        }
    }

    #[test]
    fn epoch_seconds_are_exact() {
        assert_eq!(parse_point("@0", &in_zone("UTC")), Ok(0));
        assert_eq!(
            parse_point("@1795184601.000000001", &in_zone("UTC")),
            Ok(NOW + 1)
        );
        assert_eq!(shown("@", "UTC"), "\"\" is not a number of seconds@2");
        assert_eq!(shown("@12a", "UTC"), "\"12a\" is not a number of seconds@2");
        assert_eq!(shown("@99999999999", "UTC"), "too far in the future@2");
    }

    #[test]
    fn skipped_and_doubled_local_times_have_one_meaning() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!(shown("2026-03-29 02:30", berlin), "2026-03-29T01:30:00Z");
        assert_eq!(shown("2026-10-25 02:30", berlin), "2026-10-25T00:30:00Z");
    }

    #[test]
    fn an_error_says_what_and_where() {
        assert_eq!(shown("", "UTC"), "empty@1");
        assert_eq!(shown("  ", "UTC"), "empty@3");
        assert_eq!(shown("noon", "UTC"), "\"noon\" is not a word for a time@1");
        assert_eq!(shown("25:00", "UTC"), "there is no time 25:00@1");
        assert_eq!(
            shown("14:3", "UTC"),
            "2 digits are expected for the minutes@4"
        );
        assert_eq!(shown("2026-02-30", "UTC"), "there is no day 2026-02-30@1");
        assert_eq!(
            shown("2026-2-3", "UTC"),
            "2 digits are expected for the month@6"
        );
        assert_eq!(shown("2026-11-20x", "UTC").split('@').nth(1), Some("11"));
        assert_eq!(
            shown("-1h ago", "UTC"),
            "either \"-\" or \"ago\", not both@2"
        );
        assert_eq!(shown("1x", "UTC"), "\"x\" is not a unit of time@2");
        assert_eq!(
            shown("now and", "UTC"),
            "\" and\" is not expected after \"now\"@4"
        );
        let error = parse_point("1x", &in_zone("UTC"))
            .expect_err("a bad unit")
            .to_string();
        assert!(error.contains("accepted: 1h, 3d2h"), "{error}");
    }

    #[test]
    fn the_proxy_s_parameters_are_strict_rfc_3339() {
        assert_eq!(parse_rfc3339("2026-11-20T14:23:21Z"), Ok(NOW));
        assert_eq!(
            parse_rfc3339("2026-11-20T15:23:21.5+01:00"),
            Ok(NOW + 500_000_000)
        );
        for text in [
            "1h",
            "2026-11-20",
            "2026-11-20 14:23:21Z",
            "2026-11-20T14:23:21",
            "2026-11-20T14:23Z",
            "2026-11-20T14:23+01:00",
            "2026-11-20T4:23:21Z",
            "2026-11-20T14:23:21 +01:00",
            "2026-11-20T14:23:21+0100",
            "2026-11-20T14:23:21+01",
            "2026-11-20T14:23:21UTC",
            "2026-11-20T14:23:21-00:3:",
            "2026-11-20T14:23:21+01:+1",
        ] {
            assert!(parse_rfc3339(text).is_err(), "{text}");
        }
    }
}
