//! Reading dates, times of day and zones from left to right.

use jiff::civil::{Date, DateTime, Time};

use super::{Reference, TimeError, Zone};

/// What a point in time may look like.
pub(super) const ACCEPTED: &str = "1h, 3d2h, \"1h ago\" (before now; m is minutes), \
     now, today, yesterday, 14:03[:21], \
     2026-11-20[ 14:03[:21]], RFC 3339 such as 2026-11-20T14:03:21Z, \
     @1795184601 (seconds since 1970)";

/// Reads a text from left to right and knows where it is.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    pub(super) fn fail(&self, what: impl Into<String>) -> TimeError {
        self.fail_at(self.at, what)
    }

    pub(super) fn fail_at(&self, at: usize, what: impl Into<String>) -> TimeError {
        TimeError::new(self.text, at, what, ACCEPTED)
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    pub(super) fn skip_spaces(&mut self) -> bool {
        let before = self.at;
        while self.take(' ') {}
        self.at > before
    }

    pub(super) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    pub(super) fn finish(&mut self, place: &str) -> Result<(), TimeError> {
        match self.rest() {
            "" => Ok(()),
            rest => Err(self.fail(format!("{rest:?} is not expected {place}"))),
        }
    }

    /// Exactly so many digits.
    fn digits(&mut self, count: usize, name: &str) -> Result<i16, TimeError> {
        let rest = self.rest();
        let found = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest.get(..found).and_then(|digits| digits.parse().ok()) {
            Some(number) if found == count => {
                self.at += count;
                Ok(number)
            }
            _ => Err(self.fail(format!("{count} digits are expected for the {name}"))),
        }
    }

    fn small(&mut self, count: usize, name: &str) -> Result<i8, TimeError> {
        // Two digits always fit.
        self.digits(count, name)
            .map(|number| i8::try_from(number).unwrap_or(i8::MAX))
    }

    pub(super) fn date(&mut self) -> Result<Date, TimeError> {
        let start = self.at;
        let year = self.digits(4, "year")?;
        let month = self.after('-', "month")?;
        let day = self.after('-', "day")?;
        Date::new(year, month, day).map_err(|_| {
            let text = self.text.get(start..self.at).unwrap_or_default();
            self.fail_at(start, format!("there is no day {text}"))
        })
    }

    fn after(&mut self, separator: char, name: &str) -> Result<i8, TimeError> {
        if !self.take(separator) {
            return Err(self.fail(format!(
                "{:?} and the {name} are expected",
                separator.to_string()
            )));
        }
        self.small(2, name)
    }

    /// `H:MM`, `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fraction`.
    pub(super) fn time_of_day(&mut self) -> Result<Time, TimeError> {
        let start = self.at;
        let one = self.rest().as_bytes().get(1) == Some(&b':');
        let hour = self.small(if one { 1 } else { 2 }, "hour")?;
        let minute = self.after(':', "minutes")?;
        let mut second = 0;
        let mut nanos = 0;
        if self.rest().starts_with(':') {
            second = self.after(':', "seconds")?;
            if self.take('.') {
                nanos = self.fraction()?;
            }
        }
        Time::new(hour, minute, second, nanos).map_err(|_| {
            let text = self.text.get(start..self.at).unwrap_or_default();
            self.fail_at(start, format!("there is no time {text}"))
        })
    }

    fn fraction(&mut self) -> Result<i32, TimeError> {
        let rest = self.rest();
        let found = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = format!("{:0<9}", rest.get(..found).unwrap_or_default());
        match digits.parse() {
            Ok(nanos) if (1..=9).contains(&found) => {
                self.at += found;
                Ok(nanos)
            }
            _ => Err(self.fail("1 to 9 digits are expected after the point")),
        }
    }

    /// `Z`, `UTC` or an offset, after spaces or not; `None` at the end of the text.
    pub(super) fn zone_suffix(&mut self) -> Result<Option<i32>, TimeError> {
        let before = self.at;
        self.skip_spaces();
        let rest = self.rest();
        let offset = match rest {
            "" => {
                self.at = before;
                return Ok(None);
            }
            "Z" | "UTC" => 0,
            _ => offset_seconds(rest).ok_or_else(|| {
                self.fail(format!(
                    "{rest:?} is not a zone: Z, UTC or an offset such as +01:00"
                ))
            })?,
        };
        self.at = self.end;
        Ok(Some(offset))
    }

    pub(super) fn civil(&self, time: DateTime, reference: &Reference) -> Result<i64, TimeError> {
        reference
            .zone
            .point(time)
            .ok_or_else(|| self.out_of_range())
    }

    pub(super) fn fixed(&self, time: DateTime, offset: i32) -> Result<i64, TimeError> {
        let utc = Zone::utc().point(time).ok_or_else(|| self.out_of_range())?;
        utc.checked_sub(i64::from(offset) * 1_000_000_000)
            .ok_or_else(|| self.out_of_range())
    }

    fn out_of_range(&self) -> TimeError {
        self.fail_at(0, "outside the years 1678 to 2261")
    }
}

/// `+02:00`, `-0500`, `+02` as seconds east of UTC.
pub(super) fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = match (text.len(), text.get(3..)?) {
        (3, _) => "00",
        (5, minutes) => minutes,
        (6, rest) => rest.strip_prefix(':')?,
        _ => return None,
    };
    let two_digits = |digits: &str| {
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i32>().ok().filter(|_| all)
    };
    let (hours, minutes) = (two_digits(text.get(1..3)?)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
