//! The zone in which times without a zone are read and in which a person is shown times.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::TimeError;

const ACCEPTED: &str = "a zone of the IANA database such as Europe/Berlin, UTC, an offset such as \
                        +02:00, or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3";

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The machine's zone (`TZ`, `/etc/localtime`), UTC where it does not say.
    pub fn local() -> Zone {
        let zone = TimeZone::system();
        if zone.is_unknown() {
            Zone::utc()
        } else {
            Zone(zone)
        }
    }

    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// A zone by name, offset or POSIX rule.
    ///
    /// # Errors
    ///
    /// [`TimeError`] if there is no such zone.
    pub fn named(name: &str) -> Result<Zone, TimeError> {
        let fail = |what: &str| TimeError::new(name, 0, what, ACCEPTED);
        if name.is_empty() {
            return Err(fail("empty"));
        }
        if name.eq_ignore_ascii_case("utc") || name == "Z" {
            return Ok(Zone::utc());
        }
        if let Some(seconds) = super::scanner::offset_seconds(name) {
            let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|_| fail("too far"))?;
            return Ok(Zone(offset.to_time_zone()));
        }
        TimeZone::get(name)
            .or_else(|_| TimeZone::posix(name))
            .map(Zone)
            .map_err(|_| fail("no such time zone is known on this machine"))
    }

    /// `2026-11-20 14:03:21`.
    pub fn civil(&self, unix_ns: i64) -> String {
        self.at(unix_ns).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `2026-11-20`.
    pub fn day(&self, unix_ns: i64) -> String {
        self.at(unix_ns).strftime("%Y-%m-%d").to_string()
    }

    /// `14:03:21`.
    pub fn clock(&self, unix_ns: i64) -> String {
        self.at(unix_ns).strftime("%H:%M:%S").to_string()
    }

    /// The offset in force at that time: `+01:00`.
    pub fn offset(&self, unix_ns: i64) -> String {
        let total = self.0.to_offset(timestamp(unix_ns)).seconds();
        let sign = if total < 0 { '-' } else { '+' };
        format!(
            "{sign}{:02}:{:02}",
            total.abs() / 3600,
            total.abs() / 60 % 60
        )
    }

    fn at(&self, unix_ns: i64) -> DateTime {
        self.0.to_datetime(timestamp(unix_ns))
    }

    pub(super) fn date(&self, unix_ns: i64) -> Date {
        self.at(unix_ns).date()
    }

    /// The point at which a clock in this zone shows `time`, `None` beyond what 64 bits hold.
    pub(super) fn point(&self, time: DateTime) -> Option<i64> {
        let instant = self.0.to_ambiguous_timestamp(time).compatible().ok()?;
        i64::try_from(instant.as_nanosecond()).ok()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iana_name() {
            Some("Etc/UTC" | "Etc/UCT" | "Etc/Zulu") => return f.write_str("UTC"),
            Some(name) => return f.write_str(name),
            None => {}
        }
        match self.0.to_fixed_offset() {
            Ok(_) => write!(f, "UTC{}", self.offset(0)),
            Err(_) => f.write_str("local time"),
        }
    }
}

fn timestamp(unix_ns: i64) -> Timestamp {
    // Every i64 of nanoseconds lies between the years 1677 and 2262, within jiff's range.
    Timestamp::from_nanosecond(i128::from(unix_ns)).expect("64 bits of nanoseconds are in range")
}

/// RFC 3339 in UTC with nanoseconds, the form of every machine format.
///
/// ```
/// use ktm_recorder::time::rfc3339_nanos;
/// assert_eq!(rfc3339_nanos(1_795_184_601_000_000_005), "2026-11-20T14:23:21.000000005Z");
/// ```
pub fn rfc3339_nanos(unix_ns: i64) -> String {
    format!("{:.9}", timestamp(unix_ns))
}

/// RFC 3339 in UTC with whole seconds, the fraction cut off.
pub fn rfc3339_seconds(unix_ns: i64) -> String {
    timestamp(unix_ns)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_printed_exactly_to_the_ends_of_64_bits() {
        assert_eq!(rfc3339_nanos(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339_nanos(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339_seconds(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339_seconds(1_999_999_999), "1970-01-01T00:00:01Z");
        assert_eq!(rfc3339_nanos(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(rfc3339_nanos(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        assert!(!rfc3339_seconds(i64::MIN).is_empty());
    }

    #[test]
    fn zones_have_names_and_offsets() {
        assert_eq!(Zone::utc().to_string(), "UTC");
        let fixed = Zone::named("+05:30").expect("an offset");
        assert_eq!(fixed.offset(0), "+05:30");
        assert_eq!(fixed.civil(0), "1970-01-01 05:30:00");
        let rule = Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").expect("a POSIX rule");
        assert_eq!(rule.offset(1_784_548_800_000_000_000), "+02:00");
        let error = Zone::named("Mars/Olympus").expect_err("no such zone");
        assert!(error.to_string().contains("Europe/Berlin"));
    }
}
