//! Lengths of time: `10s`, `1500ms`, `1h30m`.

use std::fmt::Write as _;
use std::time::Duration;

use super::TimeError;

const ACCEPTED: &str = "numbers with a unit of ns, us, ms, s, m (minutes), h, d (24 hours) or w, \
                        the largest first: 10s, 1500ms, 1h30m, 3d2h";

const SECOND: u128 = 1_000_000_000;

/// Every unit with its names and its length in nanoseconds, largest first.
const UNITS: &[(&[&str], u128)] = &[
    (&["w", "week", "weeks"], 7 * 86_400 * SECOND),
    (&["d", "day", "days"], 86_400 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["ms", "msec"], SECOND / 1_000),
    (&["us", "usec"], SECOND / 1_000_000),
    (&["ns", "nsec"], 1),
];

/// Reads a length of time.
///
/// ```
/// use ktm_recorder::time::parse_duration;
/// assert_eq!(parse_duration("1h30m")?.as_secs(), 5400);
/// assert_eq!(parse_duration("1500ms")?.as_millis(), 1500);
/// let error = parse_duration("10").unwrap_err().to_string();
/// assert!(error.starts_with(r#""10": a unit is missing after "10" (at character 3)"#), "{error}");
/// # Ok::<(), ktm_recorder::time::TimeError>(())
/// ```
///
/// # Errors
///
/// [`TimeError`] names what was wrong and where.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let nanos = parse_terms(text, 0, text.len(), ACCEPTED)?;
    let seconds =
        u64::try_from(nanos / SECOND).map_err(|_| TimeError::new(text, 0, "too long", ACCEPTED))?;
    let rest = u32::try_from(nanos % SECOND).expect("less than a second in nanoseconds");
    Ok(Duration::new(seconds, rest))
}

/// Nanoseconds of `text[from..to]`; errors are reported against the whole text.
pub(super) fn parse_terms(
    text: &str,
    from: usize,
    to: usize,
    accepted: &'static str,
) -> Result<u128, TimeError> {
    let fail = |at: usize, what: String| Err(TimeError::new(text, at, what, accepted));
    let part = text.get(from..to).unwrap_or_default();
    let mut at = from + (part.len() - part.trim_start().len());
    let end = from + part.trim_end().len();
    if at >= end {
        return fail(from, "empty".into());
    }
    let mut total: u128 = 0;
    let mut smallest = u128::MAX;
    while at < end {
        let number = token(text, at, end, |c| c.is_ascii_digit() || c == '.');
        if number.is_empty() {
            let found = token(text, at, end, |c| !c.is_whitespace());
            return fail(at, format!("a number is expected, not {found:?}"));
        }
        let gap = token(text, at + number.len(), end, char::is_whitespace).len();
        let unit_at = at + number.len() + gap;
        let unit = token(text, unit_at, end, |c| c.is_alphabetic());
        let nanos = match UNITS.iter().find(|(names, _)| names.contains(&unit)) {
            Some((_, nanos)) => *nanos,
            None => return fail(unit_at, unknown_unit(text, number, unit, unit_at, end)),
        };
        if nanos >= smallest {
            return fail(
                unit_at,
                format!("{unit:?} must come before the smaller unit"),
            );
        }
        smallest = nanos;
        match scaled(number, nanos).and_then(|term| total.checked_add(term)) {
            Some(sum) => total = sum,
            None => return fail(at, format!("{number:?} is not a number that can be used")),
        }
        at = unit_at + unit.len();
        at += token(text, at, end, char::is_whitespace).len();
    }
    Ok(total)
}

fn unknown_unit(text: &str, number: &str, unit: &str, at: usize, end: usize) -> String {
    match unit {
        "" if at >= end => format!("a unit is missing after {number:?}"),
        "" => {
            let found = token(text, at, end, |c| !c.is_whitespace());
            format!("a unit is expected, not {found:?}")
        }
        "M" | "mo" | "mon" | "month" | "months" => {
            format!("{unit:?}: months have no fixed length and are not accepted; m is minutes")
        }
        "y" | "yr" | "year" | "years" => {
            format!("{unit:?}: years have no fixed length and are not accepted")
        }
        _ => format!("{unit:?} is not a unit of time"),
    }
}

/// The longest run of such characters from `at` on.
fn token(text: &str, at: usize, end: usize, wanted: impl Fn(char) -> bool) -> &str {
    let rest = text.get(at..end).unwrap_or_default();
    let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    rest.get(..length).unwrap_or_default()
}

/// `number` (digits with at most one point) times `nanos`, below a nanosecond cut off.
fn scaled(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok()?;
    let fraction: u128 = fraction.parse().ok()?;
    whole
        .checked_mul(nanos)?
        .checked_add(fraction.checked_mul(nanos)? / 10_u128.pow(digits))
}

/// A length of time as short text that [`parse_duration`] reads back to the same length.
///
/// ```
/// use std::time::Duration;
/// use ktm_recorder::time::duration_text;
/// assert_eq!(duration_text(Duration::from_secs(5400)), "1h30m");
/// assert_eq!(duration_text(Duration::from_millis(1500)), "1s500ms");
/// assert_eq!(duration_text(Duration::ZERO), "0s");
/// ```
pub fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    // Weeks are for reading only: 10d is clearer than 1w3d.
    for (names, nanos) in UNITS.iter().skip(1) {
        let count = left / nanos;
        if count > 0 {
            left -= count * nanos;
            let name = names.first().copied().unwrap_or_default();
            write!(text, "{count}{name}").expect("a String takes everything");
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> u128 {
        parse_duration(text)
            .map(|d| d.as_nanos())
            .unwrap_or_else(|e| panic!("{e}"))
    }

    fn what(text: &str) -> String {
        let error = parse_duration(text).expect_err(text);
        format!("{}@{}", error.what(), error.column())
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(nanos("10s"), 10 * SECOND);
        assert_eq!(nanos("1500ms"), 1500 * SECOND / 1000);
        assert_eq!(nanos("3d2h"), 74 * 3600 * SECOND);
        assert_eq!(nanos("1h 30m"), 5400 * SECOND);
        assert_eq!(nanos("2 days 3 hr 15m"), (51 * 3600 + 900) * SECOND);
        assert_eq!(nanos("1.5h"), 5400 * SECOND);
        assert_eq!(nanos(" 1w "), 7 * 86_400 * SECOND);
        assert_eq!(nanos("0s"), 0);
        assert_eq!(nanos("0.000000001s"), 1);
    }

    #[test]
    fn m_is_minutes_and_months_are_refused() {
        assert_eq!(nanos("1m"), 60 * SECOND);
        assert!(what("1M").contains("months"), "{}", what("1M"));
        assert!(what("2mo").contains("months"));
    }

    #[test]
    fn an_error_says_what_and_where() {
        assert_eq!(what("10"), "a unit is missing after \"10\"@3");
        assert_eq!(what("10x"), "\"x\" is not a unit of time@3");
        assert_eq!(what("1h5x"), "\"x\" is not a unit of time@4");
        assert_eq!(what("5m1h"), "\"h\" must come before the smaller unit@4");
        assert_eq!(what("1h1h"), "\"h\" must come before the smaller unit@4");
        assert_eq!(what(""), "empty@1");
        assert_eq!(what("h"), "a number is expected, not \"h\"@1");
        assert_eq!(what("-1h"), "a number is expected, not \"-1h\"@1");
        assert_eq!(
            what("1.2.3s"),
            "\"1.2.3\" is not a number that can be used@1"
        );
        assert_eq!(what(".s"), "\".\" is not a number that can be used@1");
        assert_eq!(what("1,5h"), "a unit is expected, not \",5h\"@2");
        assert_eq!(what("999999999999999999w"), "too long@1");
    }

    #[test]
    fn the_text_of_a_duration_reads_back() {
        for value in [
            0,
            1,
            999,
            1_500_000_000,
            86_399_999_999_999,
            90_061_000_000_001,
        ] {
            let duration = Duration::from_nanos(value);
            assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
    }
}
